//! `brigade sync`: the pipeline as a plain process with a ledger in a file, once or for ever.
//!
//! A pass lists the prefix, takes away what the ledger says is done, and carries the rest, several
//! objects at a time. Nothing but the ledger is remembered between passes, so a process may be killed
//! at any moment and the next one goes on from the last checkpoint.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;

use super::account::{CameBy, Ended, TotalAccount};
use super::arguments::{
    EndpointArgs, RulesArgs, StoreArgs, ToolError, WorkArgs, duration, tls_config,
};
use super::crew::{Crew, Task};
use super::place::Source;
use super::progress::Progress;
use super::rules::RulesWatch;
use super::stop::Stop;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::WatchedPrefix;
use crate::failure::{Failure, FailureKind, Verdict};
use crate::function::{self, random};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Ledger, State};
use crate::object::{ContentId, WorkItem};
use crate::pipeline::Ports;
use crate::reconcile::{Eligible, check_order, diff};
use crate::rules::Rules;
use crate::store::Store;

/// How long a claim holds here. Renewed three times as often, it outlives any pause of a live process;
/// and after `kill -9` nobody waits longer for it. Whether the holder is alive is not asked: a process
/// number says nothing about a ledger that another machine or container has open as well.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// A row is the only proof that an object was delivered, and the object may be listed for years.
pub(super) const RETENTION: Duration = Duration::from_secs(1_000 * 366 * 24 * 60 * 60);
/// How far a prefix with dates is looked back over without `--since`.
const LOOK_BACK: Duration = Duration::from_secs(48 * 60 * 60);
/// Items that are found before they are carried.
const FOUND_MAX: usize = 1_000;
/// Rows of the table for a person.
const ROWS_MAX: usize = 50;

#[derive(Clone, Debug, Args)]
pub struct SyncArgs {
    /// What to carry; the prefix may hold the date as %Y, %m, %d, %H (UTC), and %% for a percent sign
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub from: String,
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[command(flatten)]
    pub rules: RulesArgs,
    /// The file that remembers what was delivered; made if it is not there
    #[arg(
        long,
        value_name = "FILE",
        default_value = "brigade.ledger",
        help_heading = "Work"
    )]
    pub ledger: PathBuf,
    /// Go on for ever, and look for new objects this often, as 5s or 1m
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Work")]
    pub watch: Option<Duration>,
    /// Leave out what was last modified before: 2026-03-14 or 2026-03-14T09:00:00Z; of an object
    /// uploaded in parts that is when its upload began. A prefix with dates is looked back over from
    /// here, by default 48 hours
    #[arg(long, value_name = "TIME", help_heading = "Work")]
    pub since: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub work: WorkArgs,
}

/// What one run works with.
struct Run<'a> {
    crew: &'a Crew<SqliteLedger>,
    watched: &'a WatchedPrefix,
    since: Option<Timestamp>,
    tasks: mpsc::Sender<Task>,
    progress: &'a Progress,
    /// Handed to the crew and not back yet.
    under_way: &'a UnderWay,
    rules: &'a RulesWatch,
}

#[derive(Default)]
struct UnderWay(Mutex<Known>);

/// What is not sent to the crew again.
#[derive(Default)]
struct Known {
    under_way: HashSet<(String, String)>,
    /// What a rule left out, which the ledger knows nothing of: it is shown once, not at every pass.
    skipped: HashSet<(String, String)>,
}

/// Objects that are known to be left out. More are not: then what rules leave out is passed over, and not shown.
const SKIPPED_MAX: usize = 100_000;

impl UnderWay {
    fn held(&self) -> MutexGuard<'_, Known> {
        // Insertions and removals leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether the object is to be sent to the crew.
    fn begin(&mut self, item: &WorkItem) -> bool {
        let name = name(item);
        !self.skipped.contains(&name) && self.under_way.insert(name)
    }

    fn end(&mut self, item: &WorkItem, ended: &Ended) {
        let name = name(item);
        self.under_way.remove(&name);
        let skipped = |failure: &Failure| failure.kind == FailureKind::SkippedByRule;
        if ended.failure().is_some_and(skipped) && !self.is_full() {
            self.skipped.insert(name);
        }
    }

    /// Forgets what other rules do not leave out.
    fn ask_again(&mut self, rules: &Rules, bucket: &str) {
        self.skipped.retain(|(key, _)| rules.skips(bucket, key));
    }

    fn is_full(&self) -> bool {
        self.skipped.len() >= SKIPPED_MAX
    }
}

/// Key and entity tag: in one bucket that is a content.
fn name(item: &WorkItem) -> (String, String) {
    let etag = item.etag.as_ref().map(|etag| etag.as_str().to_owned());
    (item.key.clone(), etag.unwrap_or_default())
}

/// Carries everything under the prefix that the ledger does not know, once or until `stop` is asked. The
/// account says what was not delivered, and why it could not go on; an error says that it did not begin.
pub async fn sync(args: &SyncArgs, stop: Stop) -> Result<TotalAccount, ToolError> {
    let watched = WatchedPrefix::parse(&args.from).map_err(|expected| {
        ToolError::Usage(format!("cannot sync {}: expected {expected}", args.from))
    })?;
    if args.endpoint.is_stdout() {
        return Err(ToolError::usage(
            "sync remembers what an endpoint accepted, so it does not write to standard output: \
             use `brigade ship` for that",
        ));
    }
    let tls = tls_config()?;
    let aws = args.store.aws(&tls).await?;
    let (destination, kind, log_type) = args.endpoint.destination(&tls, &aws)?;
    let since = args.since.as_deref();
    let config = args.work.pace.config(kind, &args.rules, since)?;
    let book = RulesWatch::new(&config, &aws)?;
    let rules = book.begin().await?;
    let keep = args.work.keep(Some(&aws), Some(&watched))?;
    let ledger = SqliteLedger::open(&args.ledger).map_err(ToolError::usage)?;

    let mut bounds = function::bounds(&config, kind, log_type.as_deref());
    bounds.plan.add_source_field |= args.endpoint.add_source_field;
    bounds.lease = LEASE;
    bounds.retention = RETENTION;
    let progress = Progress::new(args.work.pace.json, destination.meter());
    let ports = Ports {
        store: Source::s3(aws.source_store()),
        sink: destination,
        ledger,
        quarantine: keep,
        clock: SystemClock,
        random,
    };
    if let Some(pause) = args.watch {
        progress.say(&format!(
            "watching {watched} every {pause:?}; Ctrl-C ends it"
        ));
    }
    let crew = Crew::new(ports, bounds, args.work.pace.crew(), stop);
    crew.pipeline().rules().set(rules);
    let (tasks, found) = mpsc::channel(FOUND_MAX);
    let under_way = UnderWay::default();
    let mut total = TotalAccount::default();
    let run = Run {
        crew: &crew,
        watched: &watched,
        since: config.since,
        tasks,
        progress: &progress,
        under_way: &under_way,
        rules: &book,
    };
    let carried = crew.carry_all(found, |task, row| {
        under_way.held().end(&task.item, &row.ended);
        progress.done(&row);
        total.add(row);
    });
    let (passes, ()) = tokio::join!(run.passes(args.watch), carried);
    progress.finish();
    total.is_stopped = crew.stop().is_asked();
    total.fatal = crew.fatal().or(passes.err());
    Ok(total)
}

impl Run<'_> {
    /// One pass, or one after the other. Consumes the sender, so that the crew ends with it.
    async fn passes(self, watch: Option<Duration>) -> Result<(), Failure> {
        let Some(pause) = watch else {
            return self.ended(self.pass_unless_stopped().await);
        };
        loop {
            match self.pass_unless_stopped().await {
                // A store that is out of order is asked again; one that refuses is not.
                Err(failure) if failure.verdict() == Verdict::Retry => {
                    self.progress
                        .say(&format!("listing failed, trying again: {failure}"));
                    tracing::warn!(%failure, "listing failed");
                }
                passed => self.ended(passed)?,
            }
            if !self.crew.stop().outlasts(pause).await {
                return Ok(());
            }
        }
    }

    /// A pass that failed stops the crew as well.
    fn ended(&self, passed: Result<(), Failure>) -> Result<(), Failure> {
        if passed.is_err() {
            self.crew.stop().ask();
        }
        passed
    }

    /// A pass, or as much of it as was done when a stop was asked for.
    async fn pass_unless_stopped(&self) -> Result<(), Failure> {
        tokio::select! {
            passed = self.pass() => passed,
            () = self.crew.stop().asked() => Ok(()),
        }
    }

    /// Lists, compares with the ledger, and sends what is missing to be carried.
    async fn pass(&self) -> Result<(), Failure> {
        let ports = self.crew.ports();
        let now = ports.clock.now();
        let mut eligible = Eligible {
            rules: Arc::default(),
            from: match (self.since, self.watched.is_dated()) {
                (Some(since), false) => since,
                // What stands under a date belongs to it, whatever its LastModified says.
                (Some(_), true) | (None, _) => Timestamp::from_ms(0),
            },
            // The store's clock may be ahead of ours.
            until: Timestamp::from_ms(u64::MAX),
        };
        let from = self.since.unwrap_or(now.minus(LOOK_BACK));
        for prefix in self.watched.prefixes_between(from.min(now), now) {
            let mut after: Option<String> = None;
            loop {
                let bucket = self.watched.bucket();
                let page = ports.store.list(bucket, &prefix, after.as_deref()).await?;
                check_order(&page, after.as_deref(), self.watched)?;
                // After the listing: what it shows is carried by rules that are not older.
                let rules = self.crew.pipeline().rules();
                if self.rules.look(rules, self.progress).await {
                    self.under_way.held().ask_again(&rules.get(), bucket);
                }
                eligible.rules = match self.under_way.held().is_full() {
                    true => rules.get(),
                    // What they leave out is skipped and shown.
                    false => Arc::default(),
                };
                let (Some(first), Some(last)) = (page.objects.first(), page.objects.last()) else {
                    break;
                };
                let mut rows = ports
                    .ledger
                    .range(bucket, &first.key, &last.key, now)
                    .await?;
                // A row that is claimed or queued is work too: whoever held it may be gone, and the crew
                // waits if not.
                rows.retain(|row| matches!(row.state, State::Settled | State::Quarantined));
                let last = last.key.clone();
                for content in diff(bucket, &page.objects, &rows, &eligible, now).missing {
                    if !self.send(content).await {
                        return Ok(());
                    }
                }
                if !page.more {
                    break;
                }
                after = Some(last);
            }
        }
        Ok(())
    }

    /// Sends an object to be carried unless it is under way. False if nobody takes it any more.
    async fn send(&self, content: ContentId) -> bool {
        let item = WorkItem::from(content);
        if !self.under_way.held().begin(&item) {
            return true;
        }
        self.progress.found();
        let task = Task {
            item,
            came_by: CameBy::Listing,
        };
        self.tasks.send(task).await.is_ok()
    }
}

/// The account as the command prints it.
pub fn table(total: &TotalAccount) -> String {
    total.table(ROWS_MAX)
}
