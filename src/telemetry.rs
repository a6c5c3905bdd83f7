//! Telemetry: one log line for what happened to each object, and one line of metrics.
//!
//! Log lines go to standard error, so that standard output holds data and metrics alone. Values are
//! fields; a payload or a secret never is one. Metrics are written in CloudWatch's embedded metric
//! format: CloudWatch makes them from the log, without a call.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::clock::Timestamp;

mod lines;

pub use lines::LogLines;

/// How log lines are written: `AWS_LAMBDA_LOG_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One object a line, flat, with `timestamp` (RFC 3339) and `level`, by which Lambda filters.
    Json,
    /// For a person.
    Text,
}

impl LogFormat {
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Which log lines are written: `AWS_LAMBDA_LOG_LEVEL`. A custom runtime has to honour it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Some(Self::Trace),
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            // Nothing here is written above `error`.
            "error" | "fatal" => Some(Self::Error),
            _ => None,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// Starts writing log lines, each at once; once in a process, and every later call does nothing.
/// Without a format it is text on a terminal, otherwise JSON.
pub fn start_logging(format: Option<LogFormat>, level: LogLevel) {
    start(dispatch(
        format.unwrap_or_else(usual_format),
        level,
        io::stderr,
    ));
}

/// The same, but ordinary lines wait for others, as [`LogLines`] says. They are also written when a thread panics.
pub fn start_logging_together(format: Option<LogFormat>, level: LogLevel) -> LogLines {
    let lines = LogLines::new(io::stderr());
    let format = format.unwrap_or_else(usual_format);
    start(dispatch(format, level, lines.clone()));
    let (before, waiting) = (std::panic::take_hook(), lines.clone());
    std::panic::set_hook(Box::new(move |panic| {
        waiting.write();
        before(panic);
    }));
    lines
}

fn usual_format() -> LogFormat {
    match io::stderr().is_terminal() {
        true => LogFormat::Text,
        false => LogFormat::Json,
    }
}

fn start(dispatch: tracing::Dispatch) {
    // An error says that the process writes its log already.
    let _ = tracing::dispatcher::set_global_default(dispatch);
}

/// Our own lines from `level` on, those of dependencies from `warn`: below, the HTTP client writes
/// URLs, which carry the token.
fn dispatch<W>(format: LogFormat, level: LogLevel, writer: W) -> tracing::Dispatch
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let own = level.filter();
    let filter = ["bucket_brigade", "ingest", "reconcile", "brigade"]
        .into_iter()
        .fold(
            Targets::new().with_default(own.min(LevelFilter::WARN)),
            |filter, target| filter.with_target(target, own),
        );
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        // Colours would take a feature of the crate, and asking for them without it is a panic.
        LogFormat::Text => layer.with_ansi(false).with_target(false).boxed(),
    };
    registry().with(layer.with_filter(filter)).into()
}

/// What is measured. Alarms and the dashboard name these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Objects that reconcile saw in listings.
    Listed,
    /// Objects that no notification brought.
    Missing,
    /// Items that reconcile put on the queue: missing ones, and those whose lease ran out.
    Requeued,
    /// Age of the oldest object that is not settled.
    OldestUnsettledAge,
    ObjectsSettled,
    ObjectsSkipped,
    /// Objects quarantined.
    Quarantined,
    /// Failures with which nothing can succeed until a person acts.
    FatalErrors,
    RecordsDelivered,
    /// Records that rules left out.
    RecordsFiltered,
    RecordsQuarantined,
    /// Objects that were carried though no rule matches, where there are rules.
    ObjectsUnmatched,
    /// Invocations under rules that are broken or out of reach; earlier ones stay in force.
    RulesBroken,
    /// Bytes of request bodies as sent.
    BodyBytes,
    Requests,
}

impl Metric {
    pub const ALL: [Self; 15] = [
        Self::Listed,
        Self::Missing,
        Self::Requeued,
        Self::OldestUnsettledAge,
        Self::ObjectsSettled,
        Self::ObjectsSkipped,
        Self::Quarantined,
        Self::FatalErrors,
        Self::RecordsDelivered,
        Self::RecordsFiltered,
        Self::RecordsQuarantined,
        Self::ObjectsUnmatched,
        Self::RulesBroken,
        Self::BodyBytes,
        Self::Requests,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Listed => "Listed",
            Self::Missing => "Missing",
            Self::Requeued => "Requeued",
            Self::OldestUnsettledAge => "OldestUnsettledAge",
            Self::ObjectsSettled => "ObjectsSettled",
            Self::ObjectsSkipped => "ObjectsSkipped",
            Self::Quarantined => "Quarantined",
            Self::FatalErrors => "FatalErrors",
            Self::RecordsDelivered => "RecordsDelivered",
            Self::RecordsFiltered => "RecordsFiltered",
            Self::RecordsQuarantined => "RecordsQuarantined",
            Self::ObjectsUnmatched => "ObjectsUnmatched",
            Self::RulesBroken => "RulesBroken",
            Self::BodyBytes => "BodyBytes",
            Self::Requests => "Requests",
        }
    }

    /// A unit of CloudWatch.
    pub fn unit(self) -> &'static str {
        match self {
            Self::OldestUnsettledAge => "Seconds",
            Self::BodyBytes => "Bytes",
            Self::Listed
            | Self::Missing
            | Self::Requeued
            | Self::ObjectsSettled
            | Self::ObjectsSkipped
            | Self::Quarantined
            | Self::FatalErrors
            | Self::RecordsDelivered
            | Self::RecordsFiltered
            | Self::ObjectsUnmatched
            | Self::RulesBroken
            | Self::RecordsQuarantined
            | Self::Requests => "Count",
        }
    }
}

/// The metrics of one invocation. Only what was noted is published, zeros too.
#[derive(Debug)]
pub struct Metrics {
    service: String,
    values: Mutex<BTreeMap<Metric, u64>>,
}

impl Metrics {
    pub const NAMESPACE: &'static str = "BucketBrigade";
    pub const DIMENSION: &'static str = "Service";

    /// `service` is the value of the dimension `Service`.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            values: Mutex::default(),
        }
    }

    /// Adds to a count.
    pub fn add(&self, metric: Metric, count: u64) {
        self.note(metric, |value| value.saturating_add(count));
    }

    /// Raises a level to `value`, if it was lower.
    pub fn raise(&self, metric: Metric, value: u64) {
        self.note(metric, |noted| noted.max(value));
    }

    fn note(&self, metric: Metric, change: impl FnOnce(u64) -> u64) {
        let mut values = self.values();
        let value = values.entry(metric).or_default();
        *value = change(*value);
    }

    /// A panic while the lock was held leaves every count whole.
    fn values(&self) -> MutexGuard<'_, BTreeMap<Metric, u64>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one line that CloudWatch reads, without its end (CloudWatch user guide, "Specification:
    /// Embedded metric format").
    pub fn emf(&self, now: Timestamp) -> String {
        self.line(&self.values(), now)
    }

    fn line(&self, values: &BTreeMap<Metric, u64>, now: Timestamp) -> String {
        let metrics: Vec<Value> = values
            .keys()
            .map(|metric| json!({ "Name": metric.name(), "Unit": metric.unit() }))
            .collect();
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": now.as_ms(),
                "CloudWatchMetrics": [{
                    "Namespace": Self::NAMESPACE,
                    "Dimensions": [[Self::DIMENSION]],
                    "Metrics": metrics,
                }],
            }),
        );
        line.insert(Self::DIMENSION.to_owned(), json!(self.service));
        for (metric, value) in values {
            line.insert(metric.name().to_owned(), json!(value));
        }
        Value::Object(line).to_string()
    }

    /// Writes the line on standard output, unless nothing was noted, and begins anew. A line that cannot be written
    /// is a line in the log.
    pub fn publish(&self, now: Timestamp) {
        if let Err(error) = self.write(now, &mut io::stdout().lock()) {
            tracing::warn!(%error, "metrics not written");
        }
    }

    fn write(&self, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
        let values = std::mem::take(&mut *self.values());
        if values.is_empty() {
            return Ok(());
        }
        let line = self.line(&values, now) + "\n";
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_773_479_112_418);

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, log: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let dispatch = dispatch(format, level, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, log);
        let text = String::from_utf8(lines.0.lock().expect("lock").clone()).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_json_line_is_flat_and_says_when_and_how_bad() {
        let lines = logged(LogFormat::Json, LogLevel::Info, || {
            tracing::info!(key = "a\n\"b\"", records = 7_u64, "settled");
        });
        let [line] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "settled");
        assert_eq!(line["key"], "a\n\"b\"");
        assert_eq!(line["records"], 7);
        let time = line["timestamp"].as_str().expect("text");
        time.parse::<jiff::Timestamp>().expect("RFC 3339");
    }

    #[test]
    fn the_level_holds_for_our_lines_and_dependencies_stay_quiet() {
        let log = || {
            tracing::debug!("ours");
            tracing::debug!(target: "reqwest::connect", "https://h/?token=secret");
            tracing::info!(target: "aws_smithy_runtime", "theirs");
            tracing::warn!(target: "aws_config", "theirs, worth a look");
        };
        let count = |level| logged(LogFormat::Json, level, log).len();
        assert_eq!(count(LogLevel::Trace), 2);
        assert_eq!(count(LogLevel::Debug), 2);
        assert_eq!(count(LogLevel::Info), 1);
        assert_eq!(count(LogLevel::Error), 0);
    }

    #[test]
    fn ordinary_lines_wait_for_others_and_a_warning_for_nothing() {
        let written = Lines::default();
        let bytes = || written.0.lock().expect("lock").len();
        let lines = LogLines::new(written.clone());
        let dispatch = dispatch(LogFormat::Json, LogLevel::Info, lines.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!("settled");
            assert_eq!(bytes(), 0);
            tracing::warn!("returned");
            let text = written.0.lock().expect("lock").clone();
            let text = String::from_utf8(text).expect("UTF-8");
            let order: Vec<usize> = ["settled", "returned"]
                .map(|m| text.find(m).expect(m))
                .into();
            assert!(order.is_sorted(), "{text}");
            let before = bytes();
            tracing::info!("settled");
            assert_eq!(bytes(), before);
            lines.write();
            let line = bytes() - before;
            assert!(line > 0);
            for _ in 0..1_000 {
                tracing::info!("settled");
            }
            assert!(bytes() > before + 900 * line, "many do not wait");
        });
    }

    #[tokio::test(start_paused = true)]
    async fn no_line_waits_for_long() {
        let written = Lines::default();
        let lines = LogLines::new(written.clone());
        let dispatch = dispatch(LogFormat::Json, LogLevel::Info, lines.clone());
        tracing::dispatcher::with_default(&dispatch, || tracing::info!("settled"));
        let second = std::time::Duration::from_secs(1);
        let _ = tokio::time::timeout(second, lines.written_in_time()).await;
        assert!(!written.0.lock().expect("lock").is_empty());
    }

    #[test]
    fn a_text_line_is_one_line() {
        let lines = logged(LogFormat::Text, LogLevel::Info, || {
            tracing::info!(key = "a\nb", "settled");
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("INFO settled key=\"a\\nb\""), "{lines:?}");
    }

    #[test]
    fn formats_and_levels_are_those_of_lambda() {
        assert_eq!(LogFormat::parse("JSON"), Some(LogFormat::Json));
        assert_eq!(LogFormat::parse("Text"), Some(LogFormat::Text));
        assert_eq!(LogFormat::parse("xml"), None);
        assert_eq!(LogLevel::parse("FATAL"), Some(LogLevel::Error));
        assert_eq!(LogLevel::parse("debug"), Some(LogLevel::Debug));
        assert_eq!(LogLevel::parse("loud"), None);
    }

    #[test]
    fn metrics_are_one_line_that_keeps_the_rules_of_the_embedded_format() {
        let metrics = Metrics::new("logs-stack");
        for metric in Metric::ALL {
            metrics.add(metric, 3);
        }
        let line = metrics.emf(NOW);
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["_aws"]["Timestamp"], NOW.as_ms());
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().expect("list");
        assert_eq!(directives.len(), 1);
        let directive = &directives[0];
        assert_eq!(directive["Namespace"], "BucketBrigade");
        assert_eq!(directive["Dimensions"], json!([["Service"]]));
        // Every dimension and every metric is a member of the root: text, and a number.
        assert_eq!(line["Service"], "logs-stack");
        let named = directive["Metrics"].as_array().expect("list");
        assert!(named.len() == Metric::ALL.len() && named.len() <= 100);
        for metric in named {
            let name = metric["Name"].as_str().expect("text");
            assert_eq!(line[name], 3, "{name}");
            let unit = metric["Unit"].as_str().expect("text");
            assert!(["Count", "Seconds", "Bytes"].contains(&unit), "{unit}");
        }
        let root = line.as_object().expect("object");
        assert_eq!(root.len(), "_aws Service".split(' ').count() + named.len());
    }

    #[test]
    fn only_what_was_noted_is_published_and_once() {
        let metrics = Metrics::new("s");
        let mut out = Vec::new();
        metrics.write(NOW, &mut out).expect("written");
        assert_eq!(out, b"");
        metrics.add(Metric::Quarantined, 0);
        metrics.add(Metric::Requests, 2);
        metrics.add(Metric::Requests, 1);
        metrics.raise(Metric::OldestUnsettledAge, 60);
        metrics.raise(Metric::OldestUnsettledAge, 30);
        metrics.write(NOW, &mut out).expect("written");
        metrics.write(NOW, &mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.lines().count(), 1);
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (
                &line["Quarantined"],
                &line["Requests"],
                &line["OldestUnsettledAge"]
            ),
            (&json!(0), &json!(3), &json!(60))
        );
        assert_eq!(line.get("Listed"), None);
    }
}
