//! Listing minus ledger → work items: finds every object that no notification brought.
//!
//! Goes in: a watched prefix and a window. Comes out: work items on the queue, and a report. It never
//! reads an object and never claims one.
//!
//! Windows, not cursors: objects appear behind any last key. A pass looks back over its window, and
//! never less far than the start of the last completed pass over the same prefix. When time or pages run
//! out, the position is saved in the ledger and the next pass goes on from there.

use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::config::WatchedPrefix;
use crate::failure::{Failure, FailureKind, Verdict};
use crate::ledger::Ledger;
use crate::object::{ContentId, WorkItem};
use crate::queue::WorkQueue;
use crate::store::{Listed, Page, Store};
use crate::telemetry::{Metric, Metrics};

mod diff;

pub use diff::{Diff, Eligible, diff};

/// How long before the first pass of a deployment an object may have been written and still be
/// carried without being asked for: wiring a notification takes some five minutes
/// (S3 User Guide, "Enabling and configuring event notifications"), setting up a stack longer.
const SINCE_BEFORE_FIRST_PASS: Duration = Duration::from_secs(60 * 60);

/// Missing items that are noted and sent together: four batches of what SQS takes.
const ITEMS_AT_A_TIME: usize = 40;

/// How far a pass looks back that is not told.
pub const WINDOW_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

/// What bounds a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileBounds {
    /// Objects younger than this are left to their notifications.
    pub grace: Duration,
    /// How long an item that was queued is left alone.
    pub queued: Duration,
    /// Pages of 1,000 keys at most in one pass over one prefix.
    pub pages_max: u32,
    /// Nothing written before this is carried; by default one hour before the first pass.
    pub since: Option<Timestamp>,
    /// How long a settled row is kept: an older object cannot be told from a missing one.
    pub retention: Duration,
}

/// What a pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassReport {
    pub pages: u32,
    /// Objects listed, whatever they are.
    pub listed: u64,
    /// Objects that nothing takes care of.
    pub missing: u64,
    /// Those of them that are on the queue now.
    pub requeued: u64,
    /// When the oldest object was written that is neither settled nor quarantined.
    pub oldest_unsettled: Option<Timestamp>,
    /// Whether the pass came to its end; otherwise the next one goes on from where it stopped.
    pub complete: bool,
}

impl PassReport {
    pub fn add(&mut self, other: &PassReport) {
        self.pages += other.pages;
        self.listed += other.listed;
        self.missing += other.missing;
        self.requeued += other.requeued;
        self.oldest_unsettled = [self.oldest_unsettled, other.oldest_unsettled]
            .into_iter()
            .flatten()
            .min();
        self.complete &= other.complete;
    }
}

/// Where an unfinished pass stopped: kept in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    started: Timestamp,
    from: Timestamp,
    /// The prefix that was being listed, dates filled in.
    prefix: String,
    /// The last key that was compared.
    after: Option<String>,
}

/// Compares listings with the ledger.
pub struct Reconciler<S, L, W, C> {
    pub store: S,
    pub ledger: L,
    pub queue: W,
    pub clock: C,
    pub bounds: ReconcileBounds,
}

impl<S: Store, L: Ledger, W: WorkQueue, C: Clock> Reconciler<S, L, W, C> {
    /// One pass over each watched prefix, logged and counted. A prefix that fails keeps no other from its
    /// pass; the first failure is the answer then.
    pub async fn pass_all(
        &self,
        watched: &[WatchedPrefix],
        window: Duration,
        stop_at: Timestamp,
        metrics: &Metrics,
    ) -> Result<PassReport, Failure> {
        metrics.add(Metric::FatalErrors, 0);
        let mut total = PassReport {
            complete: true,
            ..PassReport::default()
        };
        let mut failed = None;
        for (at, prefix) in watched.iter().enumerate() {
            // What is left of the time is shared, or a prefix that needs it all would keep the ones
            // after it from ever being listed.
            let now = self.clock.now();
            let share = stop_at.since(now) / u32::try_from(watched.len() - at).unwrap_or(u32::MAX);
            match Box::pin(self.pass(prefix, window, now.plus(share))).await {
                Ok(report) => {
                    tracing::info!(
                        prefix = %prefix,
                        pages = report.pages,
                        listed = report.listed,
                        missing = report.missing,
                        requeued = report.requeued,
                        complete = report.complete,
                        "reconciled"
                    );
                    total.add(&report);
                }
                Err(failure) => {
                    let kind = failure.kind.name();
                    tracing::error!(prefix = %prefix, failure = kind, detail = failure.detail);
                    if failure.verdict() == Verdict::Fatal {
                        metrics.add(Metric::FatalErrors, 1);
                    }
                    failed = failed.or(Some(failure));
                }
            }
        }
        metrics.add(Metric::Listed, total.listed);
        metrics.add(Metric::Missing, total.missing);
        metrics.add(Metric::Requeued, total.requeued);
        // A pass that failed cannot say how old the oldest is; the alarm takes silence for trouble.
        if failed.is_none() {
            let now = self.clock.now();
            let age = total.oldest_unsettled.map(|oldest| now.since(oldest));
            metrics.raise(
                Metric::OldestUnsettledAge,
                age.unwrap_or_default().as_secs(),
            );
        }
        failed.map_or(Ok(total), Err)
    }

    /// One pass over `watched`, looking back over `window`, until it ends or `stop_at` comes.
    ///
    /// An unfinished pass is gone on with first, unless this one looks back further. Running it twice
    /// sends nothing twice: an item is noted as queued in the ledger before it is sent.
    pub async fn pass(
        &self,
        watched: &WatchedPrefix,
        window: Duration,
        stop_at: Timestamp,
    ) -> Result<PassReport, Failure> {
        let now = self.clock.now();
        let since = self.since(now).await?;
        let unfinished = self.read_mark::<Progress>(&position_mark(watched)).await?;
        let anew = self.begin(watched, window, since, now).await?;
        let goes_on = unfinished
            .as_ref()
            .is_some_and(|unfinished| unfinished.from <= anew.from);
        let progress = unfinished.clone().filter(|_| goes_on).unwrap_or(anew);
        let mut report = self.run(watched, progress, since, stop_at).await?;
        if !report.complete {
            return Ok(report);
        }
        // Another pass may have run out of time meanwhile: its position is not ours to forget.
        let position = position_mark(watched);
        if unfinished.is_some() && self.read_mark::<Progress>(&position).await? == unfinished {
            self.ledger.write_mark(&position, None).await?;
        }
        if goes_on && self.clock.now() < stop_at {
            let anew = self.begin(watched, window, since, self.clock.now()).await?;
            report.add(&self.run(watched, anew, since, stop_at).await?);
        }
        Ok(report)
    }

    /// Nothing that was written before this is carried.
    async fn since(&self, now: Timestamp) -> Result<Timestamp, Failure> {
        if let Some(since) = self.bounds.since {
            return Ok(since);
        }
        let first = now.minus(SINCE_BEFORE_FIRST_PASS).as_ms().to_string();
        let since = self.ledger.write_mark_once("since", &first).await?;
        since.parse().map(Timestamp::from_ms).map_err(|_| {
            let detail = format!("the ledger's mark `since` is {since:?}, not milliseconds");
            Failure::new(FailureKind::LedgerRefused, detail)
        })
    }

    /// A pass from the start: how far it looks back, and where it begins.
    async fn begin(
        &self,
        watched: &WatchedPrefix,
        window: Duration,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        let completed = self
            .read_mark::<Timestamp>(&completed_mark(watched))
            .await?;
        let last = completed.map_or(since, |last| last.minus(self.bounds.grace));
        let from = now.minus(window).min(last).max(since);
        Ok(Progress {
            started: now,
            from: from.max(self.oldest_known(now)),
            prefix: String::new(),
            after: None,
        })
    }

    /// What was written before this may have been settled and forgotten since.
    fn oldest_known(&self, now: Timestamp) -> Timestamp {
        now.minus(self.bounds.retention)
    }

    async fn run(
        &self,
        watched: &WatchedPrefix,
        mut progress: Progress,
        since: Timestamp,
        stop_at: Timestamp,
    ) -> Result<PassReport, Failure> {
        let mut report = PassReport::default();
        let prefixes = watched.prefixes_between(progress.from, progress.started);
        let at = prefixes
            .iter()
            .position(|prefix| *prefix == progress.prefix);
        let oldest_known = self.oldest_known(progress.started).max(since);
        let eligible = Eligible {
            // A dated prefix is listed whole: what stands there belongs to that time, whatever its
            // LastModified says.
            from: if watched.is_dated() {
                oldest_known
            } else {
                progress.from.max(oldest_known)
            },
            until: progress.started.minus(self.bounds.grace),
        };
        for prefix in prefixes.into_iter().skip(at.unwrap_or(0)) {
            if progress.prefix != prefix {
                progress.prefix = prefix;
                progress.after = None;
            }
            loop {
                if report.pages >= self.bounds.pages_max {
                    self.save(watched, &progress).await?;
                    return Ok(report);
                }
                let after = progress.after.as_deref();
                let listing = self.store.list(watched.bucket(), &progress.prefix, after);
                let Some(page) = self.within(stop_at, listing).await else {
                    self.save(watched, &progress).await?;
                    return Ok(report);
                };
                let page = page?;
                check_order(&page, after, watched)?;
                report.pages += 1;
                let bucket = watched.bucket();
                let is_compared = self
                    .compare(bucket, &page.objects, &eligible, stop_at, &mut report)
                    .await?;
                if !is_compared {
                    self.save(watched, &progress).await?;
                    return Ok(report);
                }
                match page.objects.last() {
                    Some(last) if page.more => progress.after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        let completed = progress.started.as_ms().to_string();
        self.ledger
            .write_mark(&completed_mark(watched), Some(&completed))
            .await?;
        report.complete = true;
        Ok(report)
    }

    /// Saves where a pass stopped that has no more pages or time.
    async fn save(&self, watched: &WatchedPrefix, progress: &Progress) -> Result<(), Failure> {
        let position = serde_json::to_string(progress).map_err(unserializable)?;
        let mark = position_mark(watched);
        Ok(self.ledger.write_mark(&mark, Some(&position)).await?)
    }

    /// The outcome of something, unless `until` is there or comes first.
    async fn within<F: Future>(&self, until: Timestamp, outcome: F) -> Option<F::Output> {
        let left = until.since(self.clock.now());
        match left.is_zero() {
            true => None,
            false => tokio::time::timeout(left, outcome).await.ok(),
        }
    }

    /// Compares one page with its range of the ledger, and queues what is missing. False if time ran
    /// out first: then the page is to be compared again.
    async fn compare(
        &self,
        bucket: &str,
        objects: &[Listed],
        eligible: &Eligible,
        stop_at: Timestamp,
        report: &mut PassReport,
    ) -> Result<bool, Failure> {
        report.listed += objects.len() as u64;
        // A page without anything to look up costs no reading of the ledger: most pages of a prefix
        // without a date are like that.
        let mut ours = objects.iter().filter(|object| eligible.concerns(object));
        let Some(first) = ours.next() else {
            return Ok(true);
        };
        let last = ours.next_back().unwrap_or(first);
        let now = self.clock.now();
        let range = self.ledger.range(bucket, &first.key, &last.key, now);
        let Some(rows) = self.within(stop_at, range).await else {
            return Ok(false);
        };
        let rows = rows?;
        let Diff {
            missing,
            oldest_unsettled,
        } = diff(bucket, objects, &rows, eligible, now);
        report.missing += missing.len() as u64;
        report.oldest_unsettled = [report.oldest_unsettled, oldest_unsettled]
            .into_iter()
            .flatten()
            .min();

        for missing in missing.chunks(ITEMS_AT_A_TIME) {
            if self.clock.now() >= stop_at {
                return Ok(false);
            }
            report.requeued += self.requeue(missing).await?;
        }
        Ok(true)
    }

    /// Notes items as queued and sends them; says how many were sent. What was noted is sent or
    /// taken back, whatever fails beside it: it would be left alone for as long as the note holds.
    async fn requeue(&self, missing: &[ContentId]) -> Result<u64, Failure> {
        let now = self.clock.now();
        let until = now.plus(self.bounds.queued);
        let notes = missing
            .iter()
            .map(|content| self.ledger.queue(content, now, until));
        let mut items = Vec::with_capacity(missing.len());
        let mut failed: Option<Failure> = None;
        for (content, noted) in missing.iter().zip(join_all(notes).await) {
            match noted {
                Ok(true) => items.push(content.clone()),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(error.into())),
            }
        }
        let work: Vec<WorkItem> = items.iter().cloned().map(WorkItem::from).collect();
        let mut requeued = 0;
        for (content, sent) in items.iter().zip(self.queue.send(&work).await) {
            let Err(error) = sent else {
                requeued += 1;
                continue;
            };
            tracing::warn!(%content, %error, "not queued; the next pass finds it again");
            failed = failed.or(Some(error.into()));
            if let Err(error) = self.ledger.unqueue(content, until).await {
                tracing::warn!(%content, %error, "left alone until {until}");
            }
        }
        failed.map_or(Ok(requeued), Err)
    }

    async fn read_mark<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.ledger.read_mark(name).await? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let detail = format!("the ledger's mark {name:?} cannot be read: {error}");
            Failure::new(FailureKind::LedgerRefused, detail)
        })
    }
}

fn position_mark(watched: &WatchedPrefix) -> String {
    format!("position {watched}")
}

fn completed_mark(watched: &WatchedPrefix) -> String {
    format!("completed {watched}")
}

fn unserializable(error: serde_json::Error) -> Failure {
    Failure::new(FailureKind::LedgerRefused, error.to_string())
}

/// S3 lists keys in the byte order of their UTF-8 (User Guide, "Listing object keys
/// programmatically"). In a store that does not, objects would be passed over unseen.
pub fn check_order(
    page: &Page,
    after: Option<&str>,
    watched: &WatchedPrefix,
) -> Result<(), Failure> {
    let mut last = after;
    for object in &page.objects {
        if last.is_some_and(|last| object.key.as_bytes() <= last.as_bytes()) {
            let detail = format!(
                "{watched}: the store lists {:?} after {:?}; keys must come in byte order",
                object.key,
                last.unwrap_or_default()
            );
            return Err(Failure::new(FailureKind::StoreUnusable, detail));
        }
        last = Some(&object.key);
    }
    Ok(())
}
