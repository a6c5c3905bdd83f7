//! The sources that are known, each with what tells it and how it is carried: the one table of them.
//!
//! Where a source's own document gives the path and the shape of its objects, it is named in `docs/formats.md`.

use super::head::JsonHead;
use super::recognise::words;
use super::{Boundary, Container, Leaves};
use crate::records::{Dialect, Header, Heading, RowFormat, tables};
use crate::shape::spec::{FieldPath, TimeFormat, TimePlace, TimeSource};

/// What is known of one source.
#[derive(Debug)]
pub struct Preset {
    /// Its name in rules, in logs and in the ledger.
    pub name: &'static str,
    /// For a person: what writes such objects, where, and how they are told.
    pub source: &'static str,
    pub path: &'static str,
    pub told_by: &'static str,
    /// The Logz.io type whose pipeline parses it (Logz.io documentation, "Default parsing").
    pub log_type: Option<&'static str>,
    pub leaves: Leaves,
    /// Parts of a key that only this source's keys have.
    keys: &'static [&'static str],
    /// Members that each of its records has.
    marks: &'static [&'static str],
    /// Whether a line looks like one of its own.
    is_line: Option<fn(&[u8]) -> bool>,
    raw: fn() -> Container,
    /// How its text becomes JSON.
    rows: Option<fn() -> Container>,
    time: Time,
}

/// Where a source writes the time of a record.
#[derive(Debug)]
enum Time {
    Unknown,
    /// The first of these members that a record has.
    Fields(&'static [&'static str], TimeFormat),
    /// So many words of a line from this one on; and as JSON in these members.
    Words(usize, usize, &'static [&'static str], TimeFormat),
    /// In brackets; and as JSON in this member.
    Brackets(&'static str, TimeFormat),
}

impl Eq for Preset {}

impl PartialEq for Preset {
    /// There is one of each name.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Preset {
    /// Whether a key is one that this source writes.
    pub fn is_keyed(&self, key: &str) -> bool {
        self.keys.iter().any(|part| key.contains(part))
    }

    pub(super) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    pub(super) fn is_told_by(&self, head: &JsonHead<'_>) -> bool {
        self.has_marks() && self.marks.iter().all(|name| head.has(name))
    }

    pub(super) fn is_line_of(&self, key: &str, line: &[u8]) -> bool {
        match self.is_line {
            Some(is_line) => is_line(line),
            None => self.is_keyed(key),
        }
    }

    /// How its objects hold records that are to leave in this way.
    pub fn container(&self, leaves: Leaves) -> Container {
        match (leaves, self.rows) {
            (Leaves::Json, Some(rows)) => rows(),
            (Leaves::Json | Leaves::Raw, _) => (self.raw)(),
        }
    }

    /// Where the time stands in a record that leaves in this way.
    pub fn time(&self, leaves: Leaves) -> Option<TimeSource> {
        let is_row = leaves == Leaves::Json && self.rows.is_some();
        let path = |name: &&str| FieldPath(vec![(*name).to_owned()]);
        let (place, format) = match &self.time {
            Time::Unknown => return None,
            Time::Fields(names, format) => {
                (TimePlace::AnyOf(names.iter().map(path).collect()), *format)
            }
            Time::Words(_, _, names, format) if is_row => {
                (TimePlace::Fields(names.iter().map(path).collect()), *format)
            }
            Time::Words(first, count, _, format) => (
                TimePlace::Words {
                    first: *first,
                    count: *count,
                },
                *format,
            ),
            Time::Brackets(name, format) if is_row => {
                (TimePlace::Fields(vec![path(name)]), *format)
            }
            Time::Brackets(_, format) => (TimePlace::Brackets, *format),
        };
        Some(TimeSource { place, format })
    }

    /// A row of the table of sources, in Markdown.
    fn row(&self) -> String {
        let form = match (self.leaves, (self.raw)()) {
            (Leaves::Json, _) => "a JSON object a row",
            (Leaves::Raw, Container::Lines) if self.has_marks() || self.name == "ndjson" => {
                "as it is"
            }
            (Leaves::Raw, Container::Lines | Container::HeadedLines(_)) => "the line, in `message`",
            (Leaves::Raw, Container::Multiline { .. }) => "its lines together, in `message`",
            (Leaves::Raw, _) => "each JSON object by itself",
        };
        let on_request = match (self.leaves, self.rows) {
            (Leaves::Raw, Some(_)) => "; JSON on request",
            _ => "",
        };
        let log_type = self
            .log_type
            .map_or(String::new(), |name| format!("`{name}`"));
        let Self {
            name,
            source,
            path,
            told_by,
            ..
        } = self;
        format!("| `{name}` | {source} | {path} | {told_by} | {form}{on_request} | {log_type} |\n")
    }
}

/// The table of sources as `docs/formats.md` shows it: Markdown, a row for each.
pub fn table() -> String {
    let mut table = String::from(
        "| name | source | objects | told by | each record is sent as | type |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    table.extend(PRESETS.iter().map(|preset| preset.row()));
    table
}

/// What all have in common that have nothing else.
const ANY: Preset = Preset {
    name: "",
    source: "",
    path: "",
    told_by: "",
    log_type: None,
    leaves: Leaves::Raw,
    keys: &[],
    marks: &[],
    is_line: None,
    raw: || Container::Lines,
    rows: None,
    time: Time::Unknown,
};

pub static LINES: Preset = Preset {
    name: "lines",
    source: "Any text",
    path: "any",
    told_by: "nothing else fits",
    ..ANY
};

pub static NDJSON: Preset = Preset {
    name: "ndjson",
    source: "Any JSON, an object a line",
    path: "any",
    told_by: "the first line is a JSON object",
    ..ANY
};

pub static JSON_VALUES: Preset = Preset {
    name: "json-values",
    source: "JSON values back to back, or over several lines (Firehose)",
    path: "any",
    told_by: "a JSON object that another follows on its line, or that stands on several lines",
    raw: || Container::Values,
    ..ANY
};

pub static JSON_ARRAY: Preset = Preset {
    name: "json-array",
    source: "A JSON array of objects (Cloudflare with `batch_prefix`)",
    path: "any",
    told_by: "`[{`",
    raw: || Container::Array { fields: Vec::new() },
    ..ANY
};

fn records_array() -> Container {
    Container::Array {
        fields: vec!["Records".to_owned()],
    }
}

pub static JSON_DOCUMENT: Preset = Preset {
    name: "json-records",
    source: "A JSON document with `Records`",
    path: "any",
    told_by: "one object with an array `Records`",
    raw: records_array,
    ..ANY
};

pub static CLOUDTRAIL: Preset = Preset {
    name: "cloudtrail",
    source: "AWS CloudTrail, Insights included",
    path: "`AWSLogs/[o-…/]ACCOUNT/CloudTrail/REGION/YYYY/MM/DD/….json.gz`",
    told_by: "`Records` with an `eventSource`, or the key",
    log_type: Some("cloudtrail"),
    keys: &["/CloudTrail/", "/CloudTrail-Insight/"],
    raw: records_array,
    time: Time::Fields(&["eventTime"], TimeFormat::Rfc3339),
    ..ANY
};

pub static CONFIG: Preset = Preset {
    name: "config",
    source: "AWS Config history and snapshots",
    path: "`AWSLogs/ACCOUNT/Config/REGION/Y/M/D/ConfigHistory/….json.gz`",
    told_by: "`configurationItems`, or the key",
    keys: &["/ConfigHistory/", "/ConfigSnapshot/"],
    raw: || Container::Array {
        fields: vec!["configurationItems".to_owned()],
    },
    time: Time::Fields(&["configurationItemCaptureTime"], TimeFormat::Rfc3339),
    ..ANY
};

pub static CLOUDWATCH_LOGS: Preset = Preset {
    name: "cloudwatch-logs",
    source: "CloudWatch Logs subscription, also through Firehose",
    path: "`YYYY/MM/dd/HH/STREAM-…`, with gzip within gzip or without",
    told_by: "`messageType` with `logGroup`",
    raw: || Container::Subscription,
    time: Time::Fields(&["timestamp"], TimeFormat::UnixMilliseconds),
    ..ANY
};

static WAF: Preset = Preset {
    name: "waf",
    source: "AWS WAF",
    path: "`AWSLogs/ACCOUNT/WAFLogs/REGION/ACL/YYYY/MM/dd/HH/mm/….log.gz`",
    told_by: "members `webaclId`, `httpRequest`",
    log_type: Some("awswaf"),
    keys: &["/WAFLogs/", "_waflogs_"],
    marks: &["webaclId", "httpRequest"],
    time: Time::Fields(&["timestamp"], TimeFormat::UnixMilliseconds),
    ..ANY
};

static GUARDDUTY: Preset = Preset {
    name: "guardduty",
    source: "Amazon GuardDuty",
    path: "`AWSLogs/ACCOUNT/GuardDuty/REGION/YYYY/MM/DD/….jsonl.gz`",
    told_by: "members `schemaVersion`, `accountId`, `service`, `severity`",
    log_type: Some("guardduty"),
    keys: &["/GuardDuty/"],
    marks: &["schemaVersion", "accountId", "service", "severity"],
    time: Time::Fields(&["updatedAt", "createdAt"], TimeFormat::Rfc3339),
    ..ANY
};

static ROUTE53_RESOLVER: Preset = Preset {
    name: "route53-resolver",
    source: "Route 53 Resolver queries",
    path: "`AWSLogs/ACCOUNT/vpcdnsquerylogs/VPC/YYYY/MM/DD/….log.gz`",
    told_by: "members `query_timestamp`, `query_name`",
    log_type: Some("route_53"),
    keys: &["/vpcdnsquerylogs/"],
    marks: &["query_timestamp", "query_name"],
    time: Time::Fields(&["query_timestamp"], TimeFormat::Rfc3339),
    ..ANY
};

static NETWORK_FIREWALL: Preset = Preset {
    name: "network-firewall",
    source: "AWS Network Firewall",
    path: "`AWSLogs/ACCOUNT/network-firewall/{alert,flow,tls}/REGION/…/….log.gz`",
    told_by: "members `firewall_name`, `event_timestamp`",
    keys: &["/network-firewall/"],
    marks: &["firewall_name", "event_timestamp"],
    time: Time::Fields(&["event_timestamp"], TimeFormat::Auto),
    ..ANY
};

/// Each dataset names its time in its own way (Cloudflare documentation, "Datasets").
const CLOUDFLARE_TIME: Time = Time::Fields(
    &[
        "EdgeStartTimestamp",
        "Datetime",
        "Timestamp",
        "When",
        "EventTimestampMs",
        "SessionStartTime",
        "CreatedAt",
    ],
    TimeFormat::Auto,
);

static CLOUDFLARE_HTTP: Preset = Preset {
    name: "cloudflare",
    source: "Cloudflare Logpush, any dataset",
    path: "`[PREFIX/]YYYYMMDD/START_END_HASH.log.gz`",
    told_by: "members `EdgeStartTimestamp`, or `RayID`, or `Datetime` and `Action`",
    marks: &["EdgeStartTimestamp"],
    time: CLOUDFLARE_TIME,
    ..ANY
};

static CLOUDFLARE_RAY: Preset = Preset {
    name: "cloudflare",
    marks: &["RayID"],
    time: CLOUDFLARE_TIME,
    ..ANY
};

static CLOUDFLARE_FIREWALL: Preset = Preset {
    name: "cloudflare",
    marks: &["Datetime", "Action"],
    time: CLOUDFLARE_TIME,
    ..ANY
};

/// Sources whose objects hold a JSON object a line.
pub static NDJSON_SOURCES: &[&Preset] = &[
    &WAF,
    &GUARDDUTY,
    &ROUTE53_RESOLVER,
    &NETWORK_FIREWALL,
    &CLOUDFLARE_HTTP,
    &CLOUDFLARE_RAY,
    &CLOUDFLARE_FIREWALL,
];

pub static VPC_FLOW: Preset = Preset {
    name: "vpcflow",
    source: "VPC Flow Logs, default fields",
    path: "`AWSLogs/ACCOUNT/vpcflowlogs/REGION/YYYY/MM/DD/….log.gz`",
    told_by: "its header, which is no record",
    log_type: Some("vpcflow"),
    keys: &["/vpcflowlogs/", "aws-service=vpcflowlogs"],
    is_line: Some(is_vpc_flow_header),
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(tables::vpc_flow())),
    time: Time::Words(10, 1, &["start"], TimeFormat::UnixSeconds),
    ..ANY
};

/// The same with fields that its user chose: no parser knows their order.
pub static VPC_FLOW_CUSTOM: Preset = Preset {
    name: "vpcflow-custom",
    source: "VPC Flow Logs, fields of your choice",
    path: "the same",
    told_by: "a header of its field names",
    log_type: Some("vpcflow"),
    leaves: Leaves::Json,
    is_line: Some(|line| {
        words(line).filter(|word| is_vpc_flow_field(word)).count() >= 3
            && words(line).all(is_vpc_flow_field)
    }),
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(tables::vpc_flow())),
    time: Time::Words(0, 0, &["start"], TimeFormat::UnixSeconds),
    ..ANY
};

static GLOBAL_ACCELERATOR: Preset = Preset {
    name: "global-accelerator",
    source: "AWS Global Accelerator",
    path: "`AWSLogs/ACCOUNT/globalaccelerator/REGION/yyyy/mm/dd/….log.gz`",
    told_by: "its header, which is no record",
    leaves: Leaves::Json,
    keys: &["/globalaccelerator/"],
    is_line: Some(|line| line.starts_with(b"version aws_account_id ")),
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(tables::global_accelerator())),
    time: Time::Words(0, 0, &["start_time"], TimeFormat::Auto),
    ..ANY
};

pub static CLOUDFRONT: Preset = Preset {
    name: "cloudfront",
    source: "Amazon CloudFront, standard logs and v2",
    path: "`[PREFIX/]DISTRIBUTION.YYYY-MM-DD-HH.ID.gz`, `AWSLogs/ACCOUNT/CloudFront/…`",
    told_by: "`#Fields:` with `x-edge-location`, or its columns",
    log_type: Some("cloudfront"),
    keys: &["/CloudFront/"],
    is_line: Some(is_cloudfront_line),
    raw: || Container::HeadedLines(Heading::Directives),
    rows: Some(|| Container::Rows(tables::cloudfront())),
    time: Time::Words(0, 2, &["date", "time"], TimeFormat::Rfc3339),
    ..ANY
};

pub static W3C: Preset = Preset {
    name: "w3c",
    source: "W3C extended log file format",
    path: "any",
    told_by: "`#Version:` or `#Fields:`",
    leaves: Leaves::Json,
    raw: || Container::HeadedLines(Heading::Directives),
    rows: Some(|| Container::Rows(tables::w3c())),
    time: Time::Words(0, 2, &["date", "time"], TimeFormat::Rfc3339),
    ..ANY
};

static ALB: Preset = Preset {
    name: "alb",
    source: "Application Load Balancer",
    path: "`AWSLogs/ACCOUNT/elasticloadbalancing/REGION/YYYY/MM/DD/…_app.NAME….log.gz`",
    told_by: "protocol, time, `app/…` at the start of the first line",
    log_type: Some("elb"),
    is_line: Some(|line| {
        let mut words = words(line);
        matches!(
            words.next(),
            Some(b"http" | b"https" | b"h2" | b"grpcs" | b"ws" | b"wss")
        ) && words.next().is_some_and(is_time)
            && words.next().is_some_and(|name| name.contains(&b'/'))
    }),
    rows: Some(|| Container::Rows(tables::alb())),
    time: Time::Words(1, 1, &["time"], TimeFormat::Rfc3339),
    ..ANY
};

static NLB: Preset = Preset {
    name: "nlb",
    source: "Network Load Balancer",
    path: "the same with `_net.NAME`",
    told_by: "`tls`, version, time at the start of the first line",
    log_type: Some("elb"),
    is_line: Some(|line| {
        let mut words = words(line);
        words.next() == Some(b"tls")
            && words
                .next()
                .is_some_and(|version| version.first().is_some_and(u8::is_ascii_digit))
            && words.next().is_some_and(is_time)
    }),
    rows: Some(|| Container::Rows(tables::nlb())),
    time: Time::Words(2, 1, &["time"], TimeFormat::Rfc3339),
    ..ANY
};

static CLB: Preset = Preset {
    name: "clb",
    source: "Classic Load Balancer",
    path: "the same, `.log`, not compressed",
    told_by: "time, name, two addresses, three durations at the start of the first line",
    log_type: Some("elb"),
    is_line: Some(|line| {
        let is_address = |word: &[u8]| word == b"-" || word.contains(&b':');
        let is_seconds =
            |word: &[u8]| word == b"-1" || (word.contains(&b'.') && word[0].is_ascii_digit());
        let mut words = words(line);
        words.next().is_some_and(is_time)
            && words.next().is_some()
            && words.next().is_some_and(is_address)
            && words.next().is_some_and(is_address)
            && words.take(3).filter(|word| is_seconds(word)).count() == 3
    }),
    rows: Some(|| Container::Rows(tables::clb())),
    time: Time::Words(0, 1, &["time"], TimeFormat::Rfc3339),
    ..ANY
};

/// Connection and health check logs, and whatever else the load balancers come to write.
static ELB_OTHER: Preset = Preset {
    name: "elb-other",
    source: "Load balancers: connections, health checks",
    path: "`AWSLogs/ACCOUNT/elasticloadbalancing/…`",
    told_by: "the key",
    log_type: Some("elb"),
    keys: &["/elasticloadbalancing/"],
    time: Time::Words(0, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

static S3_ACCESS: Preset = Preset {
    name: "s3-access",
    source: "S3 server access",
    path: "`[PREFIX/]YYYY-mm-DD-HH-MM-SS-HASH`, not compressed",
    told_by: "owner, bucket, `[06/Feb/2019:…]` at the start of the first line",
    log_type: Some("S3Access"),
    is_line: Some(|line| {
        let mut words = words(line);
        let is_owner = |word: &[u8]| {
            word == b"-" || (word.len() == 64 && word.iter().all(u8::is_ascii_hexdigit))
        };
        words.next().is_some_and(is_owner)
            && words.next().is_some()
            && words
                .next()
                .is_some_and(|time| time.first() == Some(&b'[') && time.contains(&b'/'))
    }),
    rows: Some(|| Container::Rows(tables::s3_access())),
    time: Time::Brackets("time", TimeFormat::CommonLog),
    ..ANY
};

static MSK: Preset = Preset {
    name: "msk",
    source: "Amazon MSK brokers",
    path: "`AWSLogs/ACCOUNT/KafkaBrokerLogs/REGION/CLUSTER/…/….log.gz`",
    told_by: "`[2025-07-04 11:57:55,836]` at the start of the first line, or the key",
    keys: &["/KafkaBrokerLogs/"],
    raw: || Container::Multiline {
        boundary: Boundary::Start(r"^(?-u:\[\d{4}-\d\d-\d\d )".to_owned()),
        lines_max: None,
    },
    time: Time::Brackets("", TimeFormat::Auto),
    ..ANY
};

static REDSHIFT_ACTIVITY: Preset = Preset {
    name: "redshift-activity",
    source: "Amazon Redshift, user activity",
    path: "`AWSLogs/ACCOUNT/redshift/REGION/…_useractivitylog_….gz`",
    told_by: "the key",
    keys: &["_useractivitylog_"],
    raw: || Container::Multiline {
        boundary: Boundary::Start(r"^(?-u:'\d{4}-\d\d-\d\dT)".to_owned()),
        lines_max: None,
    },
    ..ANY
};

static REDSHIFT: Preset = Preset {
    name: "redshift",
    source: "Amazon Redshift, connections and users",
    path: "`AWSLogs/ACCOUNT/redshift/REGION/…_{connectionlog,userlog}_….gz`",
    told_by: "the key",
    keys: &["_redshift_"],
    ..ANY
};

static CLOUDWATCH_EXPORT: Preset = Preset {
    name: "cloudwatch-export",
    source: "CloudWatch Logs export tasks",
    path: "`[PREFIX/]TASK/STREAM/000000.gz`",
    told_by: "the key",
    keys: &["/000000.gz"],
    raw: || Container::Multiline {
        boundary: Boundary::Start(r"^(?-u:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)".to_owned()),
        lines_max: None,
    },
    time: Time::Words(0, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

/// Sources whose objects hold text, by their first line or their keys.
pub static TEXT_SOURCES: &[&Preset] = &[
    &VPC_FLOW,
    &VPC_FLOW_CUSTOM,
    &GLOBAL_ACCELERATOR,
    &CLOUDFRONT,
    &ALB,
    &NLB,
    &CLB,
    &S3_ACCESS,
    &ELB_OTHER,
    &MSK,
    &REDSHIFT_ACTIVITY,
    &REDSHIFT,
    &CLOUDWATCH_EXPORT,
];

pub static CSV: Preset = Preset {
    name: "csv",
    source: "Comma-separated values with a header",
    path: "any",
    told_by: "a rule alone",
    leaves: Leaves::Json,
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(separated(Dialect::CSV))),
    ..ANY
};

pub static TSV: Preset = Preset {
    name: "tsv",
    source: "Tab-separated values with a header",
    path: "any",
    told_by: "a rule alone",
    leaves: Leaves::Json,
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(separated(Dialect::TSV))),
    ..ANY
};

/// Every source that is known by name.
pub static PRESETS: &[&Preset] = &[
    &LINES,
    &NDJSON,
    &JSON_VALUES,
    &JSON_ARRAY,
    &JSON_DOCUMENT,
    &CSV,
    &TSV,
    &W3C,
    &CLOUDFLARE_HTTP,
    &CLOUDTRAIL,
    &CONFIG,
    &CLOUDWATCH_LOGS,
    &CLOUDWATCH_EXPORT,
    &VPC_FLOW,
    &VPC_FLOW_CUSTOM,
    &ALB,
    &NLB,
    &CLB,
    &ELB_OTHER,
    &CLOUDFRONT,
    &S3_ACCESS,
    &WAF,
    &ROUTE53_RESOLVER,
    &GUARDDUTY,
    &NETWORK_FIREWALL,
    &GLOBAL_ACCELERATOR,
    &MSK,
    &REDSHIFT,
    &REDSHIFT_ACTIVITY,
];

/// With the names of the columns in the first row.
fn separated(dialect: Dialect) -> RowFormat {
    RowFormat {
        dialect,
        header: Header::FirstLine,
        numbers: Vec::new(),
    }
}

/// The source of that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().copied().find(|preset| preset.name == name)
}

/// The fields of a flow log as AWS writes it if nothing else is asked for (Amazon VPC User Guide, "Flow log
/// records", version 2).
const VPC_FLOW_DEFAULT: &[u8] = b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";

fn is_vpc_flow_header(line: &[u8]) -> bool {
    words(line).eq(words(VPC_FLOW_DEFAULT))
}

fn is_vpc_flow_field(word: &[u8]) -> bool {
    VPC_FLOW_FIELDS.iter().any(|name| name.as_bytes() == word)
}

/// The names of its fields in all versions (Amazon VPC User Guide, "Flow log records").
const VPC_FLOW_FIELDS: &[&str] = &[
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
    "vpc-id",
    "subnet-id",
    "instance-id",
    "tcp-flags",
    "type",
    "pkt-srcaddr",
    "pkt-dstaddr",
    "region",
    "az-id",
    "sublocation-type",
    "sublocation-id",
    "pkt-src-aws-service",
    "pkt-dst-aws-service",
    "flow-direction",
    "traffic-path",
    "ecs-cluster-arn",
    "ecs-cluster-name",
    "ecs-container-instance-arn",
    "ecs-container-instance-id",
    "ecs-container-id",
    "ecs-second-container-id",
    "ecs-service-name",
    "ecs-task-definition-arn",
    "ecs-task-arn",
    "ecs-task-id",
    "reject-reason",
    "resource-id",
    "encryption-status",
];

/// Twenty columns and more behind a date, a time and an edge location.
fn is_cloudfront_line(line: &[u8]) -> bool {
    let mut columns = line.split(|byte| *byte == b'\t');
    let is_digits = |text: &[u8], separator: u8, count: usize| {
        text.split(|byte| *byte == separator).count() == count
            && text
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == separator)
    };
    columns.next().is_some_and(|date| is_digits(date, b'-', 3))
        && columns.next().is_some_and(|time| is_digits(time, b':', 3))
        && columns.count() >= 18
}

/// `2022-12-06T17:42:16`, and what may follow.
fn is_time(word: &[u8]) -> bool {
    let pattern = b"dddd-dd-ddTdd:dd:dd";
    word.len() >= pattern.len()
        && pattern.iter().zip(word).all(|(wanted, byte)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => wanted == byte,
        })
}
