//! `brigade rules explain`: which rule an object has and why, what it is, and what of it would be sent.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::super::arguments::{Kind, RulesArgs, StoreArgs, ToolError, settings, tls_config};
use super::super::look::{Look, Seen, Wanted};
use super::super::looks::{format_name, type_sent};
use super::super::place::Source;
use super::super::ship::LOCAL_BUCKET;
use super::rules_now;
use crate::config::EndpointKind;
use crate::function;
use crate::object::{ContentId, ObjectId};
use crate::pipeline::Bounds;
use crate::plan::{Plan, Planned};
use crate::rules::{Explanation, NotALog, Outcome, Rules, not_a_log};
use crate::store::Store;
use crate::store::dir::DirStore;

/// Records that are shown.
const RECORDS_SHOWN: usize = 3;
/// Bytes of the object that are read first; each part after that has twice as many, up to [`PART_BYTES_MAX`].
const PART_BYTES: u64 = 64 * 1024;
/// Bytes of one ranged read.
const PART_BYTES_MAX: u64 = 4 << 20;
/// No more of an object is read, whatever was seen by then.
const READ_BYTES_MAX: u64 = 64 << 20;

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// An object, or a file, which stands for an object of its name
    #[arg(value_name = "s3://BUCKET/KEY|FILE")]
    pub of: String,
    #[command(flatten)]
    pub rules: RulesArgs,
    /// A file with the content of the object, which then need not exist
    #[arg(long, value_name = "FILE")]
    pub object: Option<PathBuf>,
    /// What the endpoint speaks
    #[arg(long, value_enum, default_value = "logzio", help_heading = "Endpoint")]
    pub kind: Kind,
    /// The Logz.io type of every record that no rule gives one [default: that of the source, else http-bulk]
    #[arg(long = "type", value_name = "TYPE", help_heading = "Endpoint")]
    pub log_type: Option<String>,
    /// Give each record a field s3_object_key with bucket/key
    #[arg(long, help_heading = "Endpoint")]
    pub add_source_field: bool,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Say it as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is to be said of one object.
pub struct Explained {
    bucket: String,
    key: String,
    /// Which rule and why, for a person.
    why: String,
    /// The same for a program.
    outcome: Value,
    /// What was seen of it, if it is carried.
    seen: Option<Shown>,
    /// Why no more of it can be said.
    pub problem: Option<String>,
}

/// What an object is, and what of it would be sent.
struct Shown {
    seen: Seen,
    kind: EndpointKind,
    /// Whether there are no other records.
    is_all: bool,
}

/// The object, and where its content is.
struct Subject {
    bucket: String,
    key: String,
    store: Source,
    /// Where the content is in the store.
    place: ObjectId,
}

/// Explains what becomes of an object. An error says that the question cannot be answered as it was asked.
pub async fn explain(args: &ExplainArgs) -> Result<Explained, ToolError> {
    let tls = tls_config()?;
    let aws = args.store.aws(&tls).await?;
    let kind = args.kind.into();
    let config = settings(kind, &args.rules, |_| None)?;
    let rules = rules_now(&config.rules, &aws).await?;
    let mut bounds = function::bounds(&config, kind, args.log_type.as_deref());
    bounds.plan.add_source_field |= args.add_source_field;
    let subject = match (args.of.strip_prefix("s3://"), &args.object) {
        (Some(place), content) => {
            let (bucket, key) = place
                .split_once('/')
                .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
                .ok_or_else(|| {
                    ToolError::Usage(format!(
                        "{} is no object: expected s3://bucket/key",
                        args.of
                    ))
                })?;
            let (store, place) = match content {
                Some(file) => local(file)?,
                None => (Source::s3(aws.source_store()), ObjectId::new(bucket, key)),
            };
            Subject {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                store,
                place,
            }
        }
        (None, None) => {
            let (store, place) = local(Path::new(&args.of))?;
            Subject {
                bucket: place.bucket.clone(),
                key: place.key.clone(),
                store,
                place,
            }
        }
        (None, Some(_)) => {
            return Err(ToolError::usage(
                "--object gives the content of an object: name that as s3://bucket/key",
            ));
        }
    };
    Ok(subject.explain(&rules, &bounds, kind).await)
}

/// A file as an object of its name.
fn local(file: &Path) -> Result<(Source, ObjectId), ToolError> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        ToolError::Usage(format!("cannot read {}: {reason}", file.display()))
    };
    let metadata = std::fs::metadata(file).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(unreadable(&"it is no file"));
    }
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| unreadable(&"its name is not UTF-8"))?;
    let store = Source::dir(DirStore::new(file));
    Ok((store, ObjectId::new(LOCAL_BUCKET, name)))
}

impl Subject {
    async fn explain(self, rules: &Rules, bounds: &Bounds, kind: EndpointKind) -> Explained {
        let explanation = rules.explain(&self.bucket, &self.key);
        let mut explained = Explained {
            why: explanation.to_string(),
            outcome: outcome(&explanation),
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            seen: None,
            problem: None,
        };
        if matches!(
            explanation.outcome,
            Outcome::NotALog(_) | Outcome::Skipped(_) | Outcome::UnmatchedSkipped
        ) {
            return explained;
        }
        let meta = match self.store.head(&self.place).await {
            Ok(meta) => meta,
            Err(error) => {
                explained.problem = Some(error.to_string());
                return explained;
            }
        };
        let content = ContentId {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            etag: meta.etag,
            size: meta.size,
        };
        if let Some(why) = not_a_log(&content.key, Some(content.size)) {
            explained.is_no_log(why);
            return explained;
        }
        if let Planned::Carry { plan, .. } = bounds.plan.plan(rules, &content) {
            let (seen, is_all, problem) = self.look(*plan, &content, bounds).await;
            explained.seen = Some(Shown { seen, kind, is_all });
            explained.problem = problem;
        }
        explained
    }

    /// Reads as much of the object as is needed. What was seen, whether there are no other records, and
    /// what is wrong.
    async fn look(
        &self,
        plan: Plan,
        content: &ContentId,
        bounds: &Bounds,
    ) -> (Seen, bool, Option<String>) {
        let record_bytes_max = bounds.limits.record_bytes_max;
        let wanted = Wanted::First(RECORDS_SHOWN);
        let mut look = Look::new(plan, record_bytes_max, bounds.expansion_max, wanted);
        let (mut at, mut part_bytes) = (0, PART_BYTES);
        let end = content.size.min(READ_BYTES_MAX);
        while at < end && !look.is_done() {
            let range = at..(at + part_bytes).min(end);
            at = range.end;
            part_bytes = (part_bytes * 2).min(PART_BYTES_MAX);
            let part = match self.store.read(&self.place, &content.etag, range).await {
                Ok(part) => part,
                Err(error) => return (look.stop(), false, Some(error.to_string())),
            };
            if let Err(error) = look.push(&part) {
                return (look.stop(), false, Some(error.to_string()));
            }
        }
        if look.is_done() || at < content.size {
            return (look.stop(), false, None);
        }
        let (seen, ended) = look.finish();
        // With as many as are shown it did not look whether there are more.
        let is_all = seen.first.len() < RECORDS_SHOWN;
        (seen, is_all, ended.err().map(|error| error.to_string()))
    }
}

/// What was decided, for a program.
fn outcome(explanation: &Explanation<'_>) -> Value {
    let (outcome, rule) = match &explanation.outcome {
        Outcome::NotALog(_) => ("skipped", None),
        Outcome::Skipped(rule) => ("skipped", Some(rule.name())),
        Outcome::Carried(rule, _) => ("carried", Some(rule.name())),
        Outcome::UnmatchedCarried => ("carried", None),
        Outcome::UnmatchedSkipped => ("skipped", None),
    };
    let captures: Value = match &explanation.outcome {
        Outcome::Carried(_, captures) => captures
            .iter()
            .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
            .collect(),
        Outcome::NotALog(_)
        | Outcome::Skipped(_)
        | Outcome::UnmatchedCarried
        | Outcome::UnmatchedSkipped => json!({}),
    };
    let asked: Vec<String> = explanation.asked.iter().map(ToString::to_string).collect();
    json!({
        "outcome": outcome,
        "rule": rule,
        "why": explanation.outcome.to_string(),
        "captures": captures,
        "asked": asked,
    })
}

impl Explained {
    /// Skips an object that shows only now that it is none.
    fn is_no_log(&mut self, why: NotALog) {
        let outcome = Outcome::NotALog(why);
        let _ = write!(self.why, "\n{outcome}");
        self.outcome["outcome"] = "skipped".into();
        self.outcome["why"] = outcome.to_string().into();
    }

    /// For a program.
    pub fn json(&self) -> Value {
        let mut all = self.outcome.clone();
        all["bucket"] = self.bucket.as_str().into();
        all["key"] = self.key.as_str().into();
        all["problem"] = self.problem.as_deref().into();
        if let Some(shown) = &self.seen {
            let Shown { seen, kind, .. } = shown;
            if let Some(reading) = &seen.reading {
                all["format"] = format_name(reading).into();
                all["type"] = type_sent(&reading.route, *kind).into();
            }
            let records = seen.first.iter();
            let records = records.map(|record| String::from_utf8_lossy(record).into_owned());
            all["endpoint"] = shown.endpoint().into();
            all["compression"] = seen.layers.as_slice().into();
            all["records"] = records.collect();
            all["filtered"] = seen.filtered.into();
            all["too_long"] = seen.too_long.into();
        }
        all
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.why);
        if let Some(shown) = &self.seen {
            shown.write(&mut text);
        }
        text
    }
}

impl Shown {
    /// The address of the endpoint, without what may be a secret; none if it is that of the settings.
    fn endpoint(&self) -> Option<String> {
        let endpoint = self.seen.reading.as_ref()?.route.endpoint.as_ref()?;
        Some(endpoint.url.origin().ascii_serialization())
    }

    fn write(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let seen = &self.seen;
        if let Some(reading) = &seen.reading {
            let _ = writeln!(text, "format: {}", format_name(reading));
            let compression = match seen.layers.as_slice() {
                [] => "none".to_owned(),
                layers => layers.join(", within it "),
            };
            let _ = writeln!(text, "compression: {compression}");
            if let Some(log_type) = type_sent(&reading.route, self.kind) {
                let _ = writeln!(text, "type: {log_type}");
            }
        }
        let endpoint = self.endpoint();
        let endpoint = endpoint.as_deref().unwrap_or("that of the settings");
        let _ = writeln!(text, "endpoint: {endpoint}");
        let left_out = match (seen.filtered, seen.too_long) {
            (0, 0) => String::new(),
            (filtered, 0) => format!(", {filtered} left out"),
            (0, too_long) => format!(", {too_long} too long to be sent"),
            (filtered, too_long) => {
                format!(", {filtered} left out, {too_long} too long to be sent")
            }
        };
        let count = match (seen.first.len(), self.is_all) {
            (0, true) => "no record would be sent".to_owned(),
            (0, false) => "no record was found".to_owned(),
            (1, true) => "its one record, as it would be sent".to_owned(),
            (count, true) => format!("its {count} records, as they would be sent"),
            (1, false) => "its first record, as it would be sent".to_owned(),
            (count, false) => format!("its first {count} records, as they would be sent"),
        };
        let _ = writeln!(
            text,
            "{count}{left_out}{}",
            if seen.first.is_empty() { "" } else { ":" }
        );
        for record in &seen.first {
            let _ = writeln!(text, "{}", String::from_utf8_lossy(record));
        }
    }
}
