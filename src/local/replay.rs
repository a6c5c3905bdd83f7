//! `brigade replay`: what lies in quarantine is carried once more, after the cause was removed.
//!
//! Records are sent, and objects that are kept by reference are read and carried again, under the ledger that
//! knows them; what succeeds leaves quarantine. It may be stopped or killed at any time and run again.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::account::{CameBy, TotalAccount};
use super::arguments::{EndpointArgs, PaceArgs, RulesArgs, StoreArgs, ToolError, tls_config};
use super::crew::{Crew, LEDGER_MARGIN, Task};
use super::destination::{Destination, StdoutSink, Way};
use super::place::{Keep, Source};
use super::progress::Progress;
use super::rules::rules_now;
use super::stop::Stop;
use super::sync::{LEASE, RETENTION};
use crate::aws::Aws;
use crate::clock::{Clock, SystemClock};
use crate::config::EndpointKind;
use crate::failure::{Failure, FailureKind};
use crate::function::{self, random};
use crate::ledger::Ledger;
use crate::ledger::dynamodb::DynamoLedger;
use crate::ledger::memory::MemoryLedger;
use crate::ledger::sqlite::SqliteLedger;
use crate::object::WorkItem;
use crate::pipeline::{Bounds, Deadline, Ports};
use crate::quarantine::QuarantinePlace;
use crate::quarantine::dir::DirQuarantine;
use crate::quarantine::s3::S3Quarantine;
use crate::replay::{Carry, ReplayReport, ReplayRequest, Replayer};
use crate::rules::Rules;

/// Objects that are found before they are carried.
const FOUND_MAX: usize = 1_000;
/// Rows of the table for a person.
const ROWS_MAX: usize = 50;
/// Where in a place the names of what is kept begin.
const FOLDERS: [&str; 3] = ["/records/", "/cut/", "/objects/"];

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A place of quarantine, or a part of it: a folder or s3://bucket/prefix
    #[arg(value_name = "FOLDER|s3://BUCKET/PREFIX")]
    pub from: String,
    /// Only show what there is, by reason
    #[arg(long)]
    pub dry_run: bool,
    /// Only what was kept for this reason; may be given several times
    #[arg(long, value_name = "reason=REASON", value_parser = reason)]
    pub only: Vec<String>,
    /// Send records too that the endpoint may have accepted before (rejected_unidentified; record_cut, if
    /// --only names it)
    #[arg(long)]
    pub may_double: bool,
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[command(flatten)]
    pub rules: RulesArgs,
    /// The file that remembers what was delivered: that of `brigade sync`
    #[arg(
        long,
        value_name = "FILE",
        default_value = "brigade.ledger",
        help_heading = "Work"
    )]
    pub ledger: PathBuf,
    /// The DynamoDB table that remembers it, for the quarantine of a deployed stack
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "ledger",
        help_heading = "Work"
    )]
    pub table: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub pace: PaceArgs,
}

fn reason(text: &str) -> Result<String, String> {
    match text.strip_prefix("reason=") {
        Some(reason) if !reason.is_empty() => Ok(reason.to_owned()),
        _ => Err("expected reason=REASON, for instance reason=archived".to_owned()),
    }
}

/// What became of a replay.
pub struct Outcome {
    is_dry_run: bool,
    report: ReplayReport,
    /// The objects among it.
    pub total: TotalAccount,
}

/// Replays what `args` ask for. An error says that it did not begin.
pub async fn replay(args: &ReplayArgs, stop: Stop) -> Result<Outcome, ToolError> {
    let tls = tls_config()?;
    let (place, under) = place_and_part(&args.from);
    let place = QuarantinePlace::parse(place).map_err(ToolError::usage)?;
    let aws = args.store.aws(&tls).await?;
    let keep = match &place {
        QuarantinePlace::Dir(root) => Keep::Dir(DirQuarantine::new(root)),
        QuarantinePlace::S3(place) => Keep::S3(S3Quarantine::new(aws.s3(), place.clone())),
    };
    let (destination, kind, log_type) = match args.dry_run {
        true => (
            Destination::new(Way::Stdout(StdoutSink)),
            EndpointKind::Logzio,
            None,
        ),
        false => args.endpoint.destination(&tls, &aws)?,
    };
    let config = args.pace.config(kind, &args.rules, None)?;
    let rules = rules_now(&config.rules, &aws).await?;
    let mut bounds = function::bounds(&config, kind, log_type.as_deref());
    bounds.plan.add_source_field |= args.endpoint.add_source_field;
    bounds.lease = LEASE;
    let request = ReplayRequest {
        under: under.to_owned(),
        after: None,
        only: args.only.iter().cloned().collect(),
        may_double: args.may_double,
        dry_run: args.dry_run,
    };
    let work = Work {
        request,
        patience: args.pace.patience,
        progress: Progress::new(
            args.pace.json || args.endpoint.is_stdout(),
            destination.meter(),
        ),
        keep,
        destination,
        rules,
        aws,
    };
    let crew = args.pace.crew();
    if args.dry_run {
        return work
            .run(Arc::new(MemoryLedger::new()), bounds, crew, stop)
            .await;
    }
    match &args.table {
        Some(table) => {
            bounds.retention = config.retention;
            let ledger = DynamoLedger::new(work.aws.dynamodb(), table.clone());
            work.run(Arc::new(ledger), bounds, crew, stop).await
        }
        None => {
            bounds.retention = RETENTION;
            let ledger = SqliteLedger::open(&args.ledger).map_err(ToolError::usage)?;
            work.run(Arc::new(ledger), bounds, crew, stop).await
        }
    }
}

struct Work {
    request: ReplayRequest,
    patience: Duration,
    progress: Progress,
    keep: Keep,
    destination: Destination,
    /// By which objects are carried that are kept by reference.
    rules: Arc<Rules>,
    aws: Aws,
}

impl Work {
    async fn run<L: Ledger + 'static>(
        self,
        ledger: Arc<L>,
        bounds: Bounds,
        crew: super::crew::CrewBounds,
        stop: Stop,
    ) -> Result<Outcome, ToolError> {
        let ports = Ports {
            store: Source::s3(self.aws.source_store()),
            sink: self.destination.clone(),
            ledger,
            quarantine: self.keep.clone(),
            clock: SystemClock,
            random,
        };
        let crew = Crew::new(ports, bounds, crew, stop);
        crew.pipeline().rules().set(Arc::clone(&self.rules));
        let replayer = Replayer::beside(crew.pipeline());
        let (tasks, found) = mpsc::channel(FOUND_MAX);
        let mut total = TotalAccount::default();
        let carried = crew.carry_all(found, |_, row| {
            self.progress.done(&row);
            total.add(row);
        });
        // Whoever asks the crew to stop has stopped the replayer too; what is under way comes to its end by itself.
        let replayed = async {
            let objects = ToCrew {
                tasks,
                progress: &self.progress,
            };
            self.replay(&replayer, &objects).await
        };
        let (report, ()) = tokio::join!(replayed, carried);
        self.progress.finish();
        total.is_stopped = crew.stop().is_asked();
        total.fatal = crew.fatal();
        Ok(Outcome {
            is_dry_run: self.request.dry_run,
            report: report.map_err(ToolError::failed)?,
            total,
        })
    }

    /// One run after the other, as long as each gets somewhere.
    async fn replay<L: Ledger + 'static>(
        &self,
        replayer: &Replayer<Destination, Arc<L>, Keep, SystemClock>,
        objects: &ToCrew<'_>,
    ) -> Result<ReplayReport, Failure> {
        let worker = format!("brigade {}", std::process::id());
        let mut request = self.request.clone();
        let mut all = ReplayReport::default();
        loop {
            let stop_at = SystemClock.now().plus(self.patience);
            let deadline = Deadline {
                stop_at,
                end_at: stop_at.plus(LEDGER_MARGIN),
            };
            let report = replayer
                .run(&request, Some(objects), &worker, deadline)
                .await?;
            let has_time_run_out = report.failure.as_ref().is_none_or(|failure| {
                matches!(failure.kind, FailureKind::NotBegun | FailureKind::OutOfTime)
            });
            let gets_somewhere = report.has_done_something();
            all.go_on(report);
            if all.complete || !has_time_run_out || !gets_somewhere {
                return Ok(all);
            }
            request.after = all.next.clone();
        }
    }
}

/// Hands objects to the crew.
struct ToCrew<'a> {
    tasks: mpsc::Sender<Task>,
    progress: &'a Progress,
}

impl Carry for ToCrew<'_> {
    /// The crew carries it now, and waits for nobody.
    fn queued_for(&self) -> Duration {
        Duration::ZERO
    }

    async fn carry(&self, item: WorkItem) -> Result<(), Failure> {
        self.progress.found();
        let task = Task {
            item,
            came_by: CameBy::Replay,
        };
        let sent = self.tasks.send(task).await;
        sent.map_err(|_| Failure::new(FailureKind::NotBegun, "asked to stop"))
    }
}

/// A place of quarantine, and what the names begin with of the part of it that is meant.
fn place_and_part(text: &str) -> (&str, &str) {
    let at = FOLDERS.iter().filter_map(|folder| text.find(folder)).min();
    match at {
        Some(at) => text.split_at(at + 1),
        None => (text, ""),
    }
}

impl Outcome {
    /// Whether everything that was asked for has left quarantine; of a dry run, whether it came to its end.
    pub fn is_well(&self) -> bool {
        let is_done = self
            .report
            .reasons
            .values()
            .all(|tally| tally.left == 0 && tally.records_refused == 0);
        self.report.complete && (self.is_dry_run || (is_done && self.total.is_all_delivered()))
    }

    /// For a program.
    pub fn json(&self) -> Map<String, Value> {
        let mut map = self.total.json();
        if let Value::Object(report) = json!(self.report) {
            map.extend(report);
        }
        map
    }

    /// For a person.
    pub fn table(&self) -> String {
        let reasons = &self.report.reasons;
        let width = reasons.keys().map(String::len).max().unwrap_or(0).max(6);
        let mut table = format!(
            "{:<width$}  {:>8}  {:>8}  {:>10}",
            "reason", "objects", "records", "bytes"
        );
        if !self.is_dry_run {
            let _ = write!(
                table,
                "  {:>8}  {:>9}  {:>8}",
                "again", "delivered", "refused"
            );
        }
        table.push_str("      left\n");
        for (reason, tally) in reasons {
            let _ = write!(
                table,
                "{reason:<width$}  {:>8}  {:>8}  {:>10}",
                tally.objects, tally.records, tally.bytes
            );
            if !self.is_dry_run {
                let _ = write!(
                    table,
                    "  {:>8}  {:>9}  {:>8}",
                    tally.objects_requeued, tally.records_delivered, tally.records_refused
                );
            }
            let because = tally.left_because.map(|because| format!(": {because}"));
            let _ = writeln!(table, "  {:>8}{}", tally.left, because.unwrap_or_default());
        }
        if !self.total.rows().is_empty() {
            let _ = write!(table, "\n{}", self.total.table(ROWS_MAX));
        }
        if let Some(failure) = &self.report.failure {
            let _ = writeln!(table, "it stopped: {failure}");
        }
        if !self.report.complete {
            table.push_str("not everything had its turn: run it again\n");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_place_is_told_from_the_place() {
        for (text, expected) in [
            ("s3://q", ("s3://q", "")),
            ("s3://q/kept/", ("s3://q/kept/", "")),
            ("s3://q/records/my-logs/", ("s3://q/", "records/my-logs/")),
            ("./brigade-quarantine", ("./brigade-quarantine", "")),
            ("/var/q/objects/b/0.json", ("/var/q/", "objects/b/0.json")),
        ] {
            assert_eq!(place_and_part(text), expected, "{text}");
        }
    }
}
