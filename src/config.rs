//! Settings: the environment goes in, once; values that cannot be wrong come out, or every problem
//! at once.
//!
//! [`Config`] is what every program takes; [`IngestConfig`] and [`ReconcileConfig`] add what their
//! function cannot do without. Nothing here connects to anything, and no secret is ever printed.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::clock::Timestamp;
use crate::expansion::ExpansionMax;
use crate::object::ObjectId;
use crate::quarantine::S3Place;
use crate::rules::Rules;
use crate::shape::spec::TimestampWhen;
use crate::telemetry::{LogFormat, LogLevel};

mod endpoint;
mod memory;
mod reader;
#[cfg(test)]
mod tests;
mod vars;
mod watch;

use endpoint::LOGZIO_BODY_BYTES_MAX;
use reader::{Parsed, Reader, Reported};
use watch::bucket_and_prefix;

pub(crate) use endpoint::endpoint_url;
pub use endpoint::{Endpoint, EndpointKind, TokenPlace};
pub use memory::{InFlight, Sizes};
pub use reader::{ConfigErrors, Problem};
pub use vars::{SetBy, Shown, VARS, Var, settings_table};
pub use watch::WatchedPrefix;

/// Reads one variable of the environment. Every other module takes settings as arguments.
/// What is not UTF-8 is read with marks in it, to be refused rather than taken for absent.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// What every program takes. Each field has a default, so it can be read from nothing.
#[derive(Clone, Debug)]
pub struct Config {
    pub source: SourceAccess,
    /// Empty if nothing is watched.
    pub watch: Vec<WatchedPrefix>,
    pub add_source_field: bool,
    pub timestamps: TimestampWhen,
    pub rules: RulesSetting,
    /// May be zero.
    pub rules_refresh: Duration,
    /// Where the function runs.
    pub region: Option<String>,
    pub pass_through: bool,
    pub compression_level: NonZeroU32,
    pub part_bytes: NonZeroUsize,
    /// Never more than the endpoint's kind takes.
    pub batch_bytes_max: NonZeroUsize,
    /// Never more than `batch_bytes_max`.
    pub record_bytes_max: NonZeroUsize,
    pub expansion_max: ExpansionMax,
    pub in_flight: InFlight,
    /// May be zero.
    pub share_linger: Duration,
    pub list_pages_max: NonZeroU32,
    pub pages_in_flight_max: NonZeroUsize,
    pub requeues_in_flight_max: NonZeroUsize,
    pub attempts_max: NonZeroU32,
    pub delivery_timeout: Duration,
    pub deadline_margin: Duration,
    pub lease: Duration,
    pub restore_interval_bytes: NonZeroU64,
    /// May be zero.
    pub grace: Duration,
    pub queued: Duration,
    pub retention: Duration,
    /// If absent, an hour before the first reconcile pass.
    pub since: Option<Timestamp>,
    pub metrics_service: String,
    /// Certificate authorities to trust beside the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// Another store than Amazon's; it is addressed by path.
    pub aws_endpoint: Option<Url>,
    /// If absent, text on a terminal and JSON otherwise.
    pub log_format: Option<LogFormat>,
    pub log_level: LogLevel,
}

/// What carries objects.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    pub config: Config,
    pub endpoint: Endpoint,
    pub ledger_table: String,
    pub quarantine: S3Place,
    /// Absent if S3 invokes the function without a queue between.
    pub queues: Option<Queues>,
}

/// What finds missing objects.
#[derive(Clone, Debug)]
pub struct ReconcileConfig {
    /// Here `watch` is never empty.
    pub config: Config,
    pub ledger_table: String,
    pub queue_url: String,
    /// Where ingest keeps the last good rules.
    pub quarantine: Option<S3Place>,
}

/// As whom the source buckets are listed and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceAccess {
    /// As the program itself.
    #[default]
    Own,
    /// As a role that is assumed, and assumed again before its session ends.
    Role {
        arn: String,
        external_id: Option<String>,
    },
    /// With an access key that a Secrets Manager secret or SSM parameter holds.
    Keys { secret_arn: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    pub work_url: String,
    pub dead_letter_url: String,
}

impl Config {
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::parse(environment)
    }

    /// Reads settings by name; an empty value counts as absent. All problems are reported together.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let config = Self::read(&mut reader);
        reader.finish(config)
    }

    /// Reads every setting before it gives up on one.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let source = SourceAccess::read(reader);
        let watch = reader.optional(&vars::WATCH, watched_prefixes);
        let add_source_field = reader.required(&vars::ADD_SOURCE_FIELD, BOOL, bool);
        let timestamps = reader.required(&vars::ADD_TIMESTAMP, TIMESTAMPS, timestamps);
        let rules = RulesSetting::read(reader);
        let rules_refresh = reader.millis(&vars::RULES_REFRESH_MS);
        let region = reader.optional(&vars::AWS_REGION, |text| Ok(text.to_owned()));
        let pass_through = reader.required(&vars::PASS_THROUGH, BOOL, bool);
        let compression_level = reader.count(&vars::COMPRESSION_LEVEL);
        let part_bytes: Result<NonZeroUsize, _> = reader.count(&vars::PART_BYTES);
        let batch_bytes_max: Result<NonZeroUsize, _> = reader.count(&vars::BATCH_BYTES_MAX);
        let record_bytes_max: Result<NonZeroUsize, _> = reader.count(&vars::RECORD_BYTES_MAX);
        let sizes = Sizes::read(part_bytes, batch_bytes_max, record_bytes_max);
        let in_flight = InFlight::read(reader, sizes);
        let object_plain_bytes_max = reader.number(&vars::OBJECT_PLAIN_BYTES_MAX);
        let expansion_ratio_max = reader.number(&vars::EXPANSION_MAX);
        let share_linger = reader.millis(&vars::SHARE_LINGER_MS);
        let list_pages_max = reader.count(&vars::LIST_PAGES_MAX);
        let pages_in_flight_max = reader.count(&vars::PAGES_IN_FLIGHT_MAX);
        let requeues_in_flight_max = reader.count(&vars::REQUEUES_IN_FLIGHT_MAX);
        let attempts_max = reader.count(&vars::ATTEMPTS_MAX);
        let delivery_timeout = reader.millis(&vars::DELIVERY_TIMEOUT_MS);
        let deadline_margin = reader.millis(&vars::DEADLINE_MARGIN_MS);
        let lease = reader.millis(&vars::LEASE_MS);
        let restore_interval_bytes = reader.count(&vars::RESTORE_INTERVAL_BYTES);
        let grace = reader.millis(&vars::GRACE_MS);
        let queued = reader.millis(&vars::QUEUED_MS);
        let retention_days = reader.number(&vars::RETENTION_DAYS);
        let since = reader.optional(&vars::SINCE, since);
        let metrics_service =
            reader.required(&vars::METRICS_SERVICE, DIMENSION_VALUE, dimension_value);
        let ca_file = reader.optional(&vars::SSL_CERT_FILE, |text| Ok(PathBuf::from(text)));
        let aws_endpoint = reader.optional(&vars::AWS_ENDPOINT_URL, web_url);
        let log_format = reader.optional(&vars::AWS_LAMBDA_LOG_FORMAT, |text| {
            LogFormat::parse(text).ok_or("JSON or Text".to_owned())
        });
        let log_level = reader.required(&vars::AWS_LAMBDA_LOG_LEVEL, LOG_LEVEL, |text| {
            LogLevel::parse(text).ok_or(LOG_LEVEL.to_owned())
        });

        let kind = EndpointKind::read(reader);
        if let (Ok(EndpointKind::Logzio), Ok(bytes)) = (kind, batch_bytes_max)
            && bytes.get() > LOGZIO_BODY_BYTES_MAX
        {
            let expected = format!("at most {LOGZIO_BODY_BYTES_MAX}, the limit of Logz.io");
            reader.refuse(&vars::BATCH_BYTES_MAX, expected);
        }
        if let (Ok(record), Ok(batch)) = (record_bytes_max, batch_bytes_max)
            && record > batch
        {
            let expected = format!("at most BATCH_BYTES_MAX, which is {batch}");
            reader.refuse(&vars::RECORD_BYTES_MAX, expected);
        }

        Ok(Self {
            source: source?,
            watch: watch?.unwrap_or_default(),
            add_source_field: add_source_field?,
            timestamps: timestamps?,
            rules: rules?,
            rules_refresh: rules_refresh?,
            region: region?,
            pass_through: pass_through?,
            compression_level: compression_level?,
            part_bytes: part_bytes?,
            batch_bytes_max: batch_bytes_max?,
            record_bytes_max: record_bytes_max?,
            expansion_max: ExpansionMax {
                plain_bytes: object_plain_bytes_max?,
                ratio: expansion_ratio_max?,
            },
            in_flight: in_flight?,
            share_linger: share_linger?,
            list_pages_max: list_pages_max?,
            pages_in_flight_max: pages_in_flight_max?,
            requeues_in_flight_max: requeues_in_flight_max?,
            attempts_max: attempts_max?,
            delivery_timeout: delivery_timeout?,
            deadline_margin: deadline_margin?,
            lease: lease?,
            restore_interval_bytes: restore_interval_bytes?,
            grace: grace?,
            queued: queued?,
            retention: Duration::from_hours(24 * retention_days?),
            since: since?,
            metrics_service: metrics_service?,
            ca_file: ca_file?,
            aws_endpoint: aws_endpoint?,
            log_format: log_format?,
            log_level: log_level?,
        })
    }
}

/// Where rules come from.
#[derive(Clone, Debug, Default)]
pub enum RulesSetting {
    /// There are none.
    #[default]
    None,
    Given(Arc<Rules>),
    Object(ObjectId),
    /// A file of this machine: for the tool alone.
    File(PathBuf),
}

impl RulesSetting {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let given = reader.optional(&vars::RULES, |text| {
            Rules::parse(text)
                .map_err(|errors| format!("rules as docs/rules.md has them: {errors}"))
        });
        let place = reader.optional(&vars::RULES_URL, |text| match text.strip_prefix("s3://") {
            None => Ok(Self::File(PathBuf::from(text))),
            Some(place) => match place.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                    Ok(Self::Object(ObjectId::new(bucket, key)))
                }
                _ => Err("s3://bucket/key".to_owned()),
            },
        });
        match (given?, place?) {
            (Some(_), Some(_)) => {
                Err(reader.refuse(&vars::RULES_URL, "to be absent, since RULES is set"))
            }
            (Some(rules), None) => Ok(Self::Given(Arc::new(rules))),
            (None, place) => Ok(place.unwrap_or_default()),
        }
    }
}

impl IngestConfig {
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::parse(environment)
    }

    /// As [`Config::parse`], and what is missing among the problems.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let config = Self::read(&mut reader);
        reader.finish(config)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let config = Config::read(reader);
        let endpoint = Endpoint::read(reader);
        let ledger_table = reader.required(&vars::LEDGER_TABLE, TABLE, table);
        let quarantine = quarantine_place(reader);
        let queues = Queues::read(reader);
        let quarantine = match quarantine? {
            Some(place) => place,
            None => return Err(reader.refuse(&vars::QUARANTINE_URL, "s3://bucket/prefix")),
        };
        Ok(Self {
            config: config?,
            endpoint: endpoint?,
            ledger_table: ledger_table?,
            quarantine,
            queues: queues?,
        })
    }
}

impl ReconcileConfig {
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::parse(environment)
    }

    /// As [`Config::parse`], and what is missing among the problems.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let config = Self::read(&mut reader);
        reader.finish(config)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let config = Config::read(reader);
        let ledger_table = reader.required(&vars::LEDGER_TABLE, TABLE, table);
        let queue_url = reader.required(&vars::QUEUE_URL, WEB_URL, queue_url);
        let watch = reader.required(&vars::WATCH, WATCHED, watched_prefixes);
        // What it lists must not be what ingest puts away.
        let quarantine = quarantine_place(reader);
        watch?;
        Ok(Self {
            config: config?,
            ledger_table: ledger_table?,
            queue_url: queue_url?,
            quarantine: quarantine?,
        })
    }
}

impl SourceAccess {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let role = reader.optional(&vars::SOURCE_ROLE_ARN, |text| match arn(text) {
            Some(("iam", resource)) if resource.starts_with("role/") => Ok(text.to_owned()),
            _ => Err("the ARN of an IAM role".to_owned()),
        });
        // The bounds that sts:AssumeRole sets (AWS STS API reference, "AssumeRole").
        let external_id = reader.optional(&vars::SOURCE_EXTERNAL_ID, |text| {
            (2..=1_224)
                .contains(&text.len())
                .then(|| text.to_owned())
                .ok_or("2 to 1224 characters".to_owned())
        });
        let keys = reader.optional(&vars::SOURCE_KEYS_ARN, |text| match arn(text) {
            Some(("secretsmanager", resource)) if resource.starts_with("secret:") => {
                Ok(text.to_owned())
            }
            _ => Err("the ARN of a Secrets Manager secret".to_owned()),
        });
        match (role?, external_id?, keys?) {
            (Some(_), _, Some(_)) => Err(reader.refuse(
                &vars::SOURCE_KEYS_ARN,
                "to be absent, since SOURCE_ROLE_ARN is set",
            )),
            (None, Some(_), _) => Err(reader.refuse(
                &vars::SOURCE_EXTERNAL_ID,
                "to be absent unless SOURCE_ROLE_ARN is set",
            )),
            (Some(arn), external_id, None) => Ok(Self::Role { arn, external_id }),
            (None, None, Some(secret_arn)) => Ok(Self::Keys { secret_arn }),
            (None, None, None) => Ok(Self::Own),
        }
    }
}

/// Refuses a place where what is put away would come back as work.
fn quarantine_place(reader: &mut Reader<'_>) -> Result<Option<S3Place>, Reported> {
    let place = reader.optional(&vars::QUARANTINE_URL, |text| {
        let (bucket, prefix) = bucket_and_prefix(text)?;
        Ok(S3Place::new(bucket, prefix))
    })?;
    let watch = reader.optional(&vars::WATCH, watched_prefixes);
    let (Some(place), Ok(Some(watch))) = (&place, watch) else {
        return Ok(place);
    };
    match watch.iter().find(|prefix| prefix.touches(place)) {
        Some(prefix) => {
            let expected = format!("a place apart from the watched prefix {prefix}");
            Err(reader.refuse(&vars::QUARANTINE_URL, expected))
        }
        None => Ok(Some(place.clone())),
    }
}

impl Queues {
    /// Both or none: a message that can never be read must have somewhere to go.
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Reported> {
        let work = reader.optional(&vars::QUEUE_URL, queue_url);
        let dead_letter = reader.optional(&vars::DEAD_LETTER_QUEUE_URL, queue_url);
        match (work?, dead_letter?) {
            (Some(work_url), Some(dead_letter_url)) => Ok(Some(Self {
                work_url,
                dead_letter_url,
            })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(reader.refuse(
                &vars::DEAD_LETTER_QUEUE_URL,
                "a URL, since QUEUE_URL is set",
            )),
            (None, Some(_)) => Err(reader.refuse(
                &vars::QUEUE_URL,
                "a URL, since DEAD_LETTER_QUEUE_URL is set",
            )),
        }
    }
}

const BOOL: &str = "true or false";
const TIMESTAMPS: &str = "auto, true or false";
const DIMENSION_VALUE: &str = "1 to 255 printable ASCII characters, the first not a colon";
const LOG_LEVEL: &str = "TRACE, DEBUG, INFO, WARN, ERROR or FATAL";
const TABLE: &str = "the name or ARN of a DynamoDB table";
const WATCHED: &str = "s3://bucket/prefix, several separated by commas";
const WEB_URL: &str = "an http or https URL";

fn timestamps(text: &str) -> Parsed<TimestampWhen> {
    match text {
        "auto" => Ok(TimestampWhen::WhereRewritten),
        "true" => Ok(TimestampWhen::Always),
        "false" => Ok(TimestampWhen::Never),
        _ => Err(TIMESTAMPS.to_owned()),
    }
}

fn bool(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| BOOL.to_owned())
}

/// A dimension's value as CloudWatch takes it (CloudWatch API reference, "Dimension").
fn dimension_value(text: &str) -> Parsed<String> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain && text.len() <= 255 && !text.starts_with(':') {
        Ok(text.to_owned())
    } else {
        Err(DIMENSION_VALUE.to_owned())
    }
}

fn table(text: &str) -> Parsed<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    if text.len() >= 3 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(TABLE.to_owned())
    }
}

fn web_url(text: &str) -> Parsed<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(WEB_URL.to_owned())
}

/// The text as it was given: SQS compares it as text.
fn queue_url(text: &str) -> Parsed<String> {
    web_url(text).map(|_| text.to_owned())
}

/// Service and resource of an ARN: `arn:partition:service:region:account:resource`.
fn arn(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.splitn(6, ':');
    let named = parts.next() == Some("arn") && parts.next()?.starts_with("aws");
    let service = parts.next()?;
    let (_region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let owned = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    (named && owned && plain).then_some((service, resource))
}

fn watched_prefixes(text: &str) -> Parsed<Vec<WatchedPrefix>> {
    let mut watched: Vec<WatchedPrefix> = Vec::new();
    for part in text.split(',') {
        let prefix = WatchedPrefix::parse(part.trim())?;
        if watched.contains(&prefix) {
            return Err(format!("each prefix once, not {prefix} again"));
        }
        watched.push(prefix);
    }
    Ok(watched)
}

fn since(text: &str) -> Parsed<Timestamp> {
    /// `YYYY-MM-DD`; longer, and jiff would read a local time and drop it.
    const DATE_CHARS: usize = 10;
    let midnight = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        let start = date.at(0, 0, 0, 0);
        jiff::tz::Offset::UTC.to_timestamp(start).ok()
    };
    let time = if text.len() == DATE_CHARS {
        midnight()
    } else {
        text.parse().ok()
    };
    time.and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .map(Timestamp::from_ms)
        .ok_or("an RFC 3339 time such as 2026-03-14T09:00:00Z, or a date, since 1970".to_owned())
}
