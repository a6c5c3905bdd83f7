//! The sources that are known, each with what tells it and how it is carried: the one table of them.
//!
//! Where a source's own document gives the path and the shape of its objects, it is named in `docs/formats.md`.

use std::sync::LazyLock;

use super::head::JsonHead;
use super::text::{self, Start, Told};
use super::{Container, Leaves};
use crate::pattern::Pattern;
use crate::records::{Boundary, Dialect, Header, Heading, RowFormat, tables};
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
    /// Members of its records: each record has all those of one of these lists.
    marks: &'static [&'static [&'static str]],
    /// Whether text is its own.
    tells: Option<fn(&Start<'_>) -> Told>,
    raw: fn() -> Container,
    /// How its text becomes JSON.
    rows: Option<fn() -> Container>,
    time: Time,
}

/// Where a source writes the time of a record. Names of members have dots between those of objects within objects.
#[derive(Debug)]
enum Time {
    Unknown,
    /// The first of these members that a record has.
    Fields(&'static [&'static str], TimeFormat),
    /// In these members together; nowhere in a line that leaves as it stands.
    Together(&'static [&'static str], TimeFormat),
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

    /// Whether an object is one of its records.
    pub(super) fn is_told_by(&self, head: &JsonHead<'_>) -> bool {
        let mut lists = self.marks.iter();
        lists.any(|marks| marks.iter().all(|name| head.has(name)))
    }

    /// Whether text is its own.
    pub(super) fn tells(&self, start: &Start<'_>) -> Told {
        self.tells.map_or(Told::No, |tells| tells(start))
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
        let path = |name: &&str| FieldPath(name.split('.').map(str::to_owned).collect());
        let paths = |names: &[&str]| names.iter().map(path).collect();
        let (place, format) = match &self.time {
            Time::Unknown => return None,
            Time::Together(..) if leaves == Leaves::Raw && self.rows.is_some() => return None,
            Time::Fields(names, format) => (TimePlace::AnyOf(paths(names)), *format),
            Time::Together(names, format) => (TimePlace::Fields(paths(names)), *format),
            Time::Words(_, _, names, format) if is_row => {
                (TimePlace::Fields(paths(names)), *format)
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
            (Leaves::Raw, Container::Lines) if self.tells.is_none() => "as it is",
            (Leaves::Raw, Container::Lines | Container::HeadedLines(_)) => "the line, in `message`",
            (Leaves::Raw, Container::Multiline { .. }) => "its lines together, in `message`",
            (Leaves::Raw, Container::Subscription) => "each event, with the names of its log group",
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
    tells: None,
    raw: || Container::Lines,
    rows: None,
    time: Time::Unknown,
};

pub static LINES: Preset = Preset {
    name: "lines",
    source: "Any text",
    path: "any",
    told_by: "nothing else fits",
    tells: Some(|_| Told::Yes),
    // If it is one: nothing else that text begins with looks like it.
    time: Time::Words(0, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

pub static NDJSON: Preset = Preset {
    name: "ndjson",
    source: "Any JSON, an object a line",
    path: "any",
    told_by: "a first line that is a JSON object",
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
    told_by: "`[` and a JSON object",
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
    told_by: "one JSON object with an array of objects `Records`",
    raw: records_array,
    ..ANY
};

pub static CLOUDTRAIL: Preset = Preset {
    name: "cloudtrail",
    source: "AWS CloudTrail, Insights included",
    path: "`AWSLogs/[o-…/]ACCOUNT/CloudTrail/REGION/YYYY/MM/DD/….json.gz`",
    told_by: "`Records` with events in them (members `eventVersion`, `eventTime`, and `insightDetails` or both `eventSource` and one of `sourceIPAddress` and `eventID`), or `Records` and the key",
    log_type: Some("cloudtrail"),
    keys: &["/CloudTrail/", "/CloudTrail-Insight/"],
    // Notifications of S3 and events of streams have some of these, but none has all.
    marks: &[
        &[
            "eventVersion",
            "eventTime",
            "eventSource",
            "sourceIPAddress",
        ],
        &["eventVersion", "eventTime", "eventSource", "eventID"],
        &["eventVersion", "eventTime", "insightDetails"],
    ],
    raw: records_array,
    time: Time::Fields(&["eventTime"], TimeFormat::Rfc3339),
    ..ANY
};

pub static CONFIG: Preset = Preset {
    name: "config",
    source: "AWS Config history and snapshots",
    path: "`AWSLogs/ACCOUNT/Config/REGION/Y/M/D/ConfigHistory/….json.gz`",
    told_by: "an array of objects `configurationItems`",
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
    told_by: "`messageType` (`DATA_MESSAGE` or `CONTROL_MESSAGE`), `logGroup`, `logEvents`",
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
    marks: &[&["webaclId", "httpRequest"]],
    time: Time::Fields(&["timestamp"], TimeFormat::UnixMilliseconds),
    ..ANY
};

static GUARDDUTY: Preset = Preset {
    name: "guardduty",
    source: "Amazon GuardDuty",
    path: "`AWSLogs/ACCOUNT/GuardDuty/REGION/YYYY/MM/DD/….jsonl.gz`",
    told_by: "members `schemaVersion`, `accountId`, `service`, `severity`",
    log_type: Some("guardduty"),
    marks: &[&["schemaVersion", "accountId", "service", "severity"]],
    time: Time::Fields(&["updatedAt", "createdAt"], TimeFormat::Rfc3339),
    ..ANY
};

static ROUTE53_RESOLVER: Preset = Preset {
    name: "route53-resolver",
    source: "Route 53 Resolver queries",
    path: "`AWSLogs/ACCOUNT/vpcdnsquerylogs/VPC/YYYY/MM/DD/….log.gz`",
    told_by: "members `query_timestamp`, `query_name`",
    log_type: Some("route_53"),
    marks: &[&["query_timestamp", "query_name"]],
    time: Time::Fields(&["query_timestamp"], TimeFormat::Rfc3339),
    ..ANY
};

static NETWORK_FIREWALL: Preset = Preset {
    name: "network-firewall",
    source: "AWS Network Firewall",
    path: "`AWSLogs/ACCOUNT/network-firewall/{alert,flow,tls}/REGION/…/….log.gz`",
    told_by: "members `firewall_name`, `event_timestamp`",
    marks: &[&["firewall_name", "event_timestamp"]],
    // The former has microseconds, the latter seconds.
    time: Time::Fields(&["event.timestamp", "event_timestamp"], TimeFormat::Auto),
    ..ANY
};

static CLOUDFLARE: Preset = Preset {
    name: "cloudflare",
    source: "Cloudflare Logpush",
    path: "`[PREFIX/]YYYYMMDD/START_END_HASH.log.gz`",
    told_by: "members of its datasets: `EdgeStartTimestamp`, `EdgeEndTimestamp`, `EdgeResponseStatus` or `RayID`, or `Datetime` with `Action`, `QueryName`, `AccountID` or `ColoName`, or `Timestamp` with `ColoCode`, `AccountID`, `DeviceID`, `AlertID`, `CSPDirective` or `LastKnownGoodColoCode`, or `ActorID` with `ActionType`, `SessionStartTime` with `SessionID`, `EventTimestampMs` with `ScriptName`, `DetectedTimestamp` with `FindingTypeID`",
    marks: &[
        &["EdgeStartTimestamp"],
        &["EdgeEndTimestamp"],
        &["EdgeResponseStatus"],
        &["RayID"],
        &["Datetime", "Action"],
        &["Datetime", "QueryName"],
        &["Datetime", "AccountID"],
        &["Datetime", "ColoName"],
        &["Timestamp", "ColoCode"],
        &["Timestamp", "AccountID"],
        &["Timestamp", "DeviceID"],
        &["Timestamp", "AlertID"],
        &["Timestamp", "CSPDirective"],
        &["Timestamp", "LastKnownGoodColoCode"],
        &["ActorID", "ActionType"],
        &["SessionStartTime", "SessionID"],
        &["EventTimestampMs", "ScriptName"],
        &["DetectedTimestamp", "FindingTypeID"],
    ],
    // Each dataset names its time in its own way (Cloudflare documentation, "Datasets").
    time: Time::Fields(
        &[
            "EdgeStartTimestamp",
            "EdgeEndTimestamp",
            "Datetime",
            "Timestamp",
            "When",
            "ActionTimestamp",
            "EventTimestampMs",
            "SessionStartTime",
            "DetectedTimestamp",
            "CreatedAt",
        ],
        TimeFormat::Auto,
    ),
    ..ANY
};

static CLOUDFRONT_JSON: Preset = Preset {
    name: "cloudfront-json",
    source: "Amazon CloudFront, v2 as JSON",
    path: "`AWSLogs/ACCOUNT/CloudFront/…`",
    told_by: "members `x-edge-location` or `x-edge-request-id`",
    log_type: Some("cloudfront"),
    marks: &[&["x-edge-location"], &["x-edge-request-id"]],
    // Of its records those have a time that have both.
    time: Time::Together(&["date", "time"], TimeFormat::Rfc3339),
    ..ANY
};

/// Sources whose records are JSON objects.
pub static JSON_SOURCES: &[&Preset] = &[
    &WAF,
    &GUARDDUTY,
    &ROUTE53_RESOLVER,
    &NETWORK_FIREWALL,
    &CLOUDTRAIL,
    &CLOUDFRONT_JSON,
    &CLOUDFLARE,
];

pub static VPC_FLOW: Preset = Preset {
    name: "vpcflow",
    source: "VPC Flow Logs, default fields",
    path: "`AWSLogs/ACCOUNT/vpcflowlogs/REGION/YYYY/MM/DD/….log.gz`",
    told_by: "its first line, which is no record: the names of its fields",
    log_type: Some("vpcflow"),
    tells: Some(|start| text::is_vpc_flow_header(start.first()).into()),
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(tables::vpc_flow())),
    time: Time::Words(10, 1, &["start"], TimeFormat::UnixSeconds),
    ..ANY
};

/// The same with fields that its user chose: no parser knows their order.
pub static VPC_FLOW_CUSTOM: Preset = Preset {
    name: "vpcflow-custom",
    source: "VPC Flow Logs, fields of your choice; of transit gateways, too",
    path: "the same",
    told_by: "a first line of its field names, which is no record",
    log_type: Some("vpcflow"),
    leaves: Leaves::Json,
    tells: Some(|start| text::is_vpc_flow_names(start.first()).into()),
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(tables::vpc_flow())),
    time: Time::Together(&["start"], TimeFormat::UnixSeconds),
    ..ANY
};

/// The default fields where no header came with them.
static VPC_FLOW_ROWS: Preset = Preset {
    name: "vpcflow-rows",
    source: "VPC Flow Logs, default fields, without their header",
    path: "any",
    told_by: "14 words of which the third is `eni-…` and the eleventh and twelfth are times",
    log_type: Some("vpcflow"),
    tells: Some(|start| text::is_vpc_flow_row(start.first()).into()),
    rows: Some(|| Container::Rows(tables::vpc_flow_rows())),
    time: Time::Words(10, 1, &["start"], TimeFormat::UnixSeconds),
    ..ANY
};

static GLOBAL_ACCELERATOR: Preset = Preset {
    name: "global-accelerator",
    source: "AWS Global Accelerator",
    path: "`AWSLogs/ACCOUNT/globalaccelerator/REGION/yyyy/mm/dd/….log.gz`",
    told_by: "its first line, which is no record: the names of its fields",
    leaves: Leaves::Json,
    tells: Some(|start| start.first().starts_with(b"version aws_account_id ").into()),
    raw: || Container::HeadedLines(Heading::FirstLine),
    rows: Some(|| Container::Rows(tables::global_accelerator())),
    time: Time::Together(&["start_time"], TimeFormat::Auto),
    ..ANY
};

pub static CLOUDFRONT: Preset = Preset {
    name: "cloudfront",
    source: "Amazon CloudFront, standard logs and v2",
    path: "`[PREFIX/]DISTRIBUTION.YYYY-MM-DD-HH.ID.gz`, `AWSLogs/ACCOUNT/CloudFront/…`",
    told_by: "`#Fields:` with a name that begins with `x-edge-`, or date, time and 18 columns more between tabs",
    log_type: Some("cloudfront"),
    tells: Some(|start| text::is_cloudfront(start).into()),
    raw: || Container::HeadedLines(Heading::Directives),
    rows: Some(|| Container::Rows(tables::cloudfront())),
    time: Time::Words(0, 2, &["date", "time"], TimeFormat::Rfc3339),
    ..ANY
};

pub static W3C: Preset = Preset {
    name: "w3c",
    source: "W3C extended log file format",
    path: "any",
    told_by: "`#Fields:` among the lines that begin with `#`, of which the first is one",
    leaves: Leaves::Json,
    raw: || Container::HeadedLines(Heading::Directives),
    tells: Some(|start| start.fields().is_some().into()),
    rows: Some(|| Container::Rows(tables::w3c())),
    time: Time::Together(&["date", "time"], TimeFormat::Rfc3339),
    ..ANY
};

static ALB: Preset = Preset {
    name: "alb",
    source: "Application Load Balancer",
    path: "`AWSLogs/ACCOUNT/elasticloadbalancing/REGION/YYYY/MM/DD/…_app.NAME….log.gz`",
    told_by: "protocol, time, `app/…`, address and eight words more on the first line",
    log_type: Some("elb"),
    tells: Some(|start| text::is_alb(start.first()).into()),
    rows: Some(|| Container::Rows(tables::alb())),
    time: Time::Words(1, 1, &["time"], TimeFormat::Rfc3339),
    ..ANY
};

static ALB_CONNECTION: Preset = Preset {
    name: "alb-connection",
    source: "Application Load Balancer, connections",
    path: "the same with `conn_log.`",
    told_by: "time, address, two ports and seven words more on the first line",
    log_type: Some("elb"),
    tells: Some(|start| text::is_alb_connection(start.first()).into()),
    rows: Some(|| Container::Rows(tables::alb_connection())),
    time: Time::Words(0, 1, &["timestamp"], TimeFormat::Rfc3339),
    ..ANY
};

static ALB_HEALTH: Preset = Preset {
    name: "alb-health",
    source: "Application Load Balancer, health checks",
    path: "the same with `health_check_log_`",
    told_by: "protocol and time on the first line, and the key",
    log_type: Some("elb"),
    keys: &["health_check_log_"],
    tells: Some(|start| {
        let is_time = text::words(start.first()).nth(1).is_some_and(text::is_time);
        (is_time && ALB_HEALTH.is_keyed(start.key)).into()
    }),
    time: Time::Words(1, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

static NLB: Preset = Preset {
    name: "nlb",
    source: "Network Load Balancer",
    path: "the same with `_net.NAME`",
    told_by: "`tls`, version, time, `net/…` on the first line",
    log_type: Some("elb"),
    tells: Some(|start| text::is_nlb(start.first()).into()),
    rows: Some(|| Container::Rows(tables::nlb())),
    time: Time::Words(2, 1, &["time"], TimeFormat::Rfc3339),
    ..ANY
};

static CLB: Preset = Preset {
    name: "clb",
    source: "Classic Load Balancer",
    path: "the same, `.log`, not compressed",
    told_by: "time, name, two addresses, three durations on the first line",
    log_type: Some("elb"),
    tells: Some(|start| text::is_clb(start.first()).into()),
    rows: Some(|| Container::Rows(tables::clb())),
    time: Time::Words(0, 1, &["timestamp"], TimeFormat::Rfc3339),
    ..ANY
};

/// Whatever else the load balancers come to write.
static ELB_OTHER: Preset = Preset {
    name: "elb-other",
    source: "Load balancers, anything else",
    path: "`AWSLogs/ACCOUNT/elasticloadbalancing/…`",
    told_by: "the key, and a time at the start of the first line",
    log_type: Some("elb"),
    keys: &["/elasticloadbalancing/"],
    tells: Some(|start| {
        let is_time = text::words(start.first()).next().is_some_and(text::is_time);
        (is_time && ELB_OTHER.is_keyed(start.key)).into()
    }),
    time: Time::Words(0, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

static S3_ACCESS: Preset = Preset {
    name: "s3-access",
    source: "S3 server access",
    path: "`[PREFIX/]YYYY-mm-DD-HH-MM-SS-HASH`, not compressed",
    told_by: "owner, bucket, `[06/Feb/2019:…]` and an operation such as `REST.GET.OBJECT` on the first line",
    log_type: Some("S3Access"),
    tells: Some(|start| text::is_s3_access(start.first()).into()),
    rows: Some(|| Container::Rows(tables::s3_access())),
    time: Time::Brackets("time", TimeFormat::CommonLog),
    ..ANY
};

fn known(pattern: &str) -> Pattern {
    Pattern::new(pattern).expect("patterns of presets are compiled by their tests")
}

/// Records that begin with a line that this matches.
fn begun_by(start: &Pattern) -> Container {
    Container::Multiline {
        boundary: Boundary::Start(start.clone()),
        lines_max: None,
    }
}

static MSK: Preset = Preset {
    name: "msk",
    source: "Amazon MSK brokers",
    path: "`AWSLogs/ACCOUNT/KafkaBrokerLogs/REGION/CLUSTER/…/….log.gz`",
    told_by: "a line that begins like `[2025-07-04 11:57:55,836] INFO`, and the key or a class of Kafka's in the text",
    keys: &["/KafkaBrokerLogs/"],
    tells: Some(|start| text::is_kafka(start, MSK.is_keyed(start.key))),
    raw: || {
        static START: LazyLock<Pattern> =
            LazyLock::new(|| known(r"^(?-u:\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d)"));
        begun_by(&START)
    },
    time: Time::Brackets("", TimeFormat::Auto),
    ..ANY
};

static REDSHIFT_ACTIVITY: Preset = Preset {
    name: "redshift-activity",
    source: "Amazon Redshift, user activity",
    path: "`AWSLogs/ACCOUNT/redshift/REGION/…_useractivitylog_….gz`",
    told_by: "a line that begins like `'2013-10-29T18:01:00Z UTC [ db=`, which is the first one, or the key",
    keys: &["_useractivitylog_"],
    tells: Some(|start| {
        let is_keyed = REDSHIFT_ACTIVITY.is_keyed(start.key);
        text::is_redshift_activity(start, is_keyed)
    }),
    raw: || {
        static START: LazyLock<Pattern> =
            LazyLock::new(|| known(r"^(?-u:'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ )"));
        begun_by(&START)
    },
    time: Time::Words(0, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

static REDSHIFT_CONNECTION: Preset = Preset {
    name: "redshift-connection",
    source: "Amazon Redshift, connections",
    path: "the same with `_connectionlog_`",
    told_by: "`Tue, 29 Oct 2013 18:01:00:123` in the second of nine columns or more between vertical bars",
    leaves: Leaves::Json,
    tells: Some(|start| text::is_redshift_connection(start.first()).into()),
    rows: Some(|| Container::Rows(tables::redshift_connection())),
    time: Time::Together(&["recordtime"], TimeFormat::Auto),
    ..ANY
};

static REDSHIFT_USER: Preset = Preset {
    name: "redshift-user",
    source: "Amazon Redshift, changes of users",
    path: "the same with `_userlog_`",
    told_by: "such a time in the last of eleven columns between vertical bars",
    leaves: Leaves::Json,
    tells: Some(|start| text::is_redshift_user(start.first()).into()),
    rows: Some(|| Container::Rows(tables::redshift_user())),
    time: Time::Together(&["recordtime"], TimeFormat::Auto),
    ..ANY
};

static CLOUDWATCH_EXPORT: Preset = Preset {
    name: "cloudwatch-export",
    source: "CloudWatch Logs export tasks",
    path: "`[PREFIX/]TASK/STREAM/000000.gz`",
    told_by: "a name of six digits and `.gz`, and a time with milliseconds at the start of the first line",
    tells: Some(|start| {
        (text::is_export_key(start.key) && text::is_export_line(start.first())).into()
    }),
    raw: || {
        static START: LazyLock<Pattern> =
            LazyLock::new(|| known(r"^(?-u:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z )"));
        begun_by(&START)
    },
    time: Time::Words(0, 1, &[], TimeFormat::Rfc3339),
    ..ANY
};

/// Sources whose objects hold text, in the order in which they are asked whether it is theirs.
pub static TEXT_SOURCES: &[&Preset] = &[
    &CLOUDFRONT,
    &W3C,
    &VPC_FLOW,
    &VPC_FLOW_CUSTOM,
    &VPC_FLOW_ROWS,
    &GLOBAL_ACCELERATOR,
    &ALB,
    &ALB_CONNECTION,
    &ALB_HEALTH,
    &NLB,
    &CLB,
    &ELB_OTHER,
    &S3_ACCESS,
    &REDSHIFT_ACTIVITY,
    &REDSHIFT_CONNECTION,
    &REDSHIFT_USER,
    &CLOUDWATCH_EXPORT,
    &MSK,
    &LINES,
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
    &CLOUDFLARE,
    &CLOUDTRAIL,
    &CONFIG,
    &CLOUDWATCH_LOGS,
    &CLOUDWATCH_EXPORT,
    &VPC_FLOW,
    &VPC_FLOW_CUSTOM,
    &VPC_FLOW_ROWS,
    &ALB,
    &ALB_CONNECTION,
    &ALB_HEALTH,
    &NLB,
    &CLB,
    &ELB_OTHER,
    &CLOUDFRONT,
    &CLOUDFRONT_JSON,
    &S3_ACCESS,
    &WAF,
    &ROUTE53_RESOLVER,
    &GUARDDUTY,
    &NETWORK_FIREWALL,
    &GLOBAL_ACCELERATOR,
    &MSK,
    &REDSHIFT_ACTIVITY,
    &REDSHIFT_CONNECTION,
    &REDSHIFT_USER,
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
