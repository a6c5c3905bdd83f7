//! Listing minus ledger → work items: finds every object that no notification brought.
//!
//! Goes in: a watched prefix and a window. Comes out: work items on the queue, and a report. It never
//! reads an object and never claims one.
//!
//! Windows, not cursors: objects appear behind any last key. A pass looks back over its window, and
//! never less far than the start of the last completed pass over the same prefix. When time or pages run
//! out, the position is saved in the ledger and the next pass goes on from there.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::clock::{Clock, Timestamp};
use crate::config::WatchedPrefix;
use crate::failure::{Failure, FailureKind, Verdict};
use crate::ledger::{Ledger, State};
use crate::queue::WorkQueue;
use crate::rules::RulesInForce;
use crate::store::{Page, Store};
use crate::telemetry::{Metric, Metrics};

mod diff;
mod progress;
mod requeue;
mod waiting;
mod walk;

use progress::Progress;
use waiting::{Memory, Waiting, earliest};
use walk::{Run, Slots};

pub use diff::{Diff, Eligible, diff};

/// How long before the first pass of a deployment an object may have been written and still be
/// carried without being asked for: wiring a notification takes some five minutes
/// (S3 User Guide, "Enabling and configuring event notifications"), setting up a stack longer.
const SINCE_BEFORE_FIRST_PASS: Duration = Duration::from_secs(60 * 60);

/// How far a pass looks back that is not told.
pub const WINDOW_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

/// A pass that looks back as far or further is a sweep: it also looks for what waits for longer than that.
const SWEEP_WINDOW_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What bounds a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileBounds {
    /// Objects younger than this are left to their notifications.
    pub grace: Duration,
    /// How long an item that was queued is left alone.
    pub queued: Duration,
    /// Pages of 1,000 keys at most in one pass over one prefix.
    pub pages_max: u32,
    /// Pages held at a time, from the request for one until it is compared, over all prefixes. Memory is
    /// bounded by this: a page is 1,000 keys, and 1,000 rows of the ledger (more where keys were overwritten).
    pub pages_in_flight_max: usize,
    /// Missing items noted and sent at a time, over all prefixes.
    pub requeues_in_flight_max: usize,
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
        self.oldest_unsettled = earliest(self.oldest_unsettled, other.oldest_unsettled);
        self.complete &= other.complete;
    }
}

/// Compares listings with the ledger.
pub struct Reconciler<S, L, W, C> {
    pub store: S,
    pub ledger: L,
    pub queue: W,
    pub clock: C,
    pub bounds: ReconcileBounds,
    /// What they leave out counts as no log.
    pub rules: RulesInForce,
}

impl<S: Store, L: Ledger, W: WorkQueue, C: Clock> Reconciler<S, L, W, C> {
    /// One pass over each watched prefix, several at a time, logged and counted. A prefix that fails keeps
    /// no other from its pass; the first failure is the answer then.
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
        let slots = Slots::new(&self.bounds);
        let at_a_time = self.bounds.pages_in_flight_max;
        let passes = watched.iter().enumerate().map(async |(at, prefix)| {
            // What is left of the time is shared, or prefixes that need it all would keep the ones after
            // them from ever being listed.
            let now = self.clock.now();
            let turns = (watched.len() - at).div_ceil(at_a_time);
            let share = stop_at.since(now) / u32::try_from(turns).unwrap_or(u32::MAX);
            let passed = self.pass_with(&slots, prefix, window, now.plus(share));
            (prefix, Box::pin(passed).await)
        });
        let mut passes = stream::iter(passes).buffer_unordered(at_a_time);
        while let Some((prefix, passed)) = passes.next().await {
            match passed {
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
                    tracing::error!(
                        prefix = %prefix,
                        failure = kind,
                        detail = failure.detail,
                        "not reconciled"
                    );
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
        let slots = Slots::new(&self.bounds);
        self.pass_with(&slots, watched, window, stop_at).await
    }

    async fn pass_with(
        &self,
        slots: &Slots,
        watched: &WatchedPrefix,
        window: Duration,
        stop_at: Timestamp,
    ) -> Result<PassReport, Failure> {
        let now = self.clock.now();
        let since = self.since(now).await?;
        let mut memory = self.recall(watched, since, now, stop_at).await?;
        let unfinished = self.read_mark::<Progress>(&progress_mark(watched)).await?;
        let anew = self.begin(watched, window, since, &memory, now).await?;
        let goes_on = unfinished
            .as_ref()
            .is_some_and(|unfinished| unfinished.from <= anew.from);
        let progress = unfinished.clone().filter(|_| goes_on).unwrap_or(anew);
        let mut report = self
            .run(watched, progress, since, stop_at, slots, &mut memory)
            .await?;
        if !report.complete {
            return Ok(report);
        }
        // Another pass may have run out of time meanwhile: its position is not ours to forget.
        let position = progress_mark(watched);
        if unfinished.is_some() && self.read_mark::<Progress>(&position).await? == unfinished {
            self.ledger.write_mark(&position, None).await?;
        }
        if goes_on && self.clock.now() < stop_at {
            let now = self.clock.now();
            let anew = self.begin(watched, window, since, &memory, now).await?;
            let again = self.run(watched, anew, since, stop_at, slots, &mut memory);
            report.add(&again.await?);
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
        memory: &Memory,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        let completed = self
            .read_mark::<Timestamp>(&completed_mark(watched))
            .await?;
        let last = completed.map_or(since, |last| last.minus(self.bounds.grace));
        let waiting = memory.since.filter(|_| window >= SWEEP_WINDOW_MIN);
        let from = waiting.unwrap_or(now).min(now).minus(window).min(last);
        let from = from.max(since).max(self.oldest_known(now));
        Ok(Progress::new(watched, now, from))
    }

    /// What passes before this one saw waiting, without what does not wait any more.
    async fn recall(
        &self,
        watched: &WatchedPrefix,
        since: Timestamp,
        now: Timestamp,
        stop_at: Timestamp,
    ) -> Result<Memory, Failure> {
        let mark = self.read_mark::<Memory>(&waiting_mark(watched)).await?;
        let mut memory = mark.unwrap_or_default();
        let floor = since.max(self.oldest_known(now));
        let mut newer = memory.clone().since_at_least(floor);
        if let Some(oldest) = &newer.oldest {
            let waits = self.within(stop_at, self.still_waits(oldest, now)).await;
            if !waits.transpose()?.unwrap_or(true) {
                newer.oldest = None;
            }
        }
        self.remember(watched, &mut memory, newer).await?;
        Ok(memory)
    }

    /// Whether an object stands there as it did, is neither settled nor quarantined, and no rule skips it since.
    async fn still_waits(&self, waiting: &Waiting, now: Timestamp) -> Result<bool, Failure> {
        let content = &waiting.content;
        let (bucket, key) = (&content.bucket, &content.key);
        if self.rules.get().skips(bucket, key) {
            return Ok(false);
        }
        // Of all the keys that begin with a key, itself comes first.
        let page = self.store.list(bucket, key, None).await?;
        let is_listed = page.objects.first().is_some_and(|object| {
            (&object.key, &object.etag, object.size) == (key, &content.etag, content.size)
        });
        if !is_listed {
            return Ok(false);
        }
        let rows = self.ledger.range(bucket, key, key, now).await?;
        let is_done = rows.iter().any(|row| {
            row.content == *content && matches!(row.state, State::Settled | State::Quarantined)
        });
        Ok(!is_done)
    }

    /// What was written before this may have been settled and forgotten since.
    fn oldest_known(&self, now: Timestamp) -> Timestamp {
        now.minus(self.bounds.retention)
    }

    /// Lists what is left of a pass, several prefixes of a date at a time, oldest first.
    ///
    /// A listing that fails keeps no other from its turn, but the answer is its failure then, and no
    /// position is saved: the next pass begins where this one did, so nothing behind the failure is passed over.
    async fn run(
        &self,
        watched: &WatchedPrefix,
        mut progress: Progress,
        since: Timestamp,
        stop_at: Timestamp,
        slots: &Slots,
        memory: &mut Memory,
    ) -> Result<PassReport, Failure> {
        let oldest_known = self.oldest_known(progress.started).max(since);
        let run = Run {
            watched,
            eligible: Eligible {
                rules: self.rules.get(),
                // A dated prefix is listed whole: what stands there belongs to that time, whatever its
                // LastModified says.
                from: if watched.is_dated() {
                    oldest_known
                } else {
                    progress.from.max(oldest_known)
                },
                until: progress.started.minus(self.bounds.grace),
            },
            stop_at,
            slots,
            pages_left: AtomicU32::new(self.bounds.pages_max),
            is_hopeless: AtomicBool::new(false),
        };
        let mut report = PassReport {
            complete: true,
            ..PassReport::default()
        };
        let mut agenda = progress.agenda(watched);
        let mut walks = FuturesUnordered::new();
        let mut stopped = Vec::new();
        let mut waiting: Option<Waiting> = None;
        let mut failed: Option<Failure> = None;
        loop {
            // One that stopped for lack of pages or time says that the others would, too.
            while walks.len() < self.bounds.pages_in_flight_max
                && stopped.is_empty()
                && !run.is_hopeless()
                && let Some(place) = agenda.next()
            {
                walks.push(self.walk(&run, place));
            }
            match walks.next().await {
                None => break,
                Some(Ok(walked)) => {
                    report.add(&walked.report);
                    waiting = earliest(waiting, walked.oldest_waiting);
                    stopped.extend(walked.stopped);
                }
                Some(Err(failure)) => {
                    run.note(&failure);
                    failed = failed.or(Some(failure));
                }
            }
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        report.complete = stopped.is_empty();
        let found = waiting.as_ref().map(|waiting| waiting.written);
        progress.oldest_waiting = earliest(progress.oldest_waiting, found);
        let (from, oldest) = (progress.from, progress.oldest_waiting);
        self.remember(
            watched,
            memory,
            memory.after(from, report.complete, oldest, waiting),
        )
        .await?;
        let known = memory.oldest.as_ref().map(|oldest| oldest.written);
        report.oldest_unsettled = earliest(report.oldest_unsettled, known);
        if report.complete {
            let completed = progress.started.as_ms().to_string();
            let mark = completed_mark(watched);
            self.ledger.write_mark(&mark, Some(&completed)).await?;
        } else {
            self.save(watched, &progress.stopped(stopped, agenda))
                .await?;
        }
        Ok(report)
    }

    /// Writes down what is remembered if it is not what was.
    async fn remember(
        &self,
        watched: &WatchedPrefix,
        memory: &mut Memory,
        newer: Memory,
    ) -> Result<(), Failure> {
        if newer != *memory {
            let mark = waiting_mark(watched);
            let text = serde_json::to_string(&newer).map_err(unserializable)?;
            self.ledger.write_mark(&mark, Some(&text)).await?;
            *memory = newer;
        }
        Ok(())
    }

    /// Saves where a pass stopped that has no more pages or time.
    async fn save(&self, watched: &WatchedPrefix, progress: &Progress) -> Result<(), Failure> {
        let position = serde_json::to_string(progress).map_err(unserializable)?;
        let mark = progress_mark(watched);
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

fn progress_mark(watched: &WatchedPrefix) -> String {
    format!("progress {watched}")
}

fn waiting_mark(watched: &WatchedPrefix) -> String {
    format!("waiting {watched}")
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::ledger::memory::MemoryLedger;
    use crate::queue::memory::MemoryQueue;
    use crate::rules::Rules;
    use crate::store::memory::MemoryStore;

    /// Seed 317 of the simulation: its age grew until its row could be forgotten.
    #[tokio::test]
    async fn an_object_that_waits_and_is_skipped_by_new_rules_waits_no_more() {
        let now = Timestamp::from_secs(1_800_000_000);
        let hour = Duration::from_secs(3_600);
        let reconciler = Reconciler {
            store: MemoryStore::new(),
            ledger: MemoryLedger::new(),
            queue: MemoryQueue::default(),
            clock: ManualClock::at(now),
            bounds: ReconcileBounds {
                grace: hour / 4,
                queued: hour,
                pages_max: 10,
                pages_in_flight_max: 1,
                requeues_in_flight_max: 1,
                since: Some(now.minus(24 * hour)),
                retention: 720 * hour,
            },
            rules: RulesInForce::default(),
        };
        let watched = WatchedPrefix::parse("s3://example-logs/logs/").expect("a prefix");
        let written = now.minus(hour);
        reconciler
            .store
            .put("example-logs", "logs/a/1", "{}", written);
        let pass = async || {
            let stop_at = reconciler.clock.now().plus(hour);
            let passed = reconciler.pass(&watched, 2 * hour, stop_at).await;
            passed.expect("a pass").oldest_unsettled
        };
        assert_eq!(pass().await, Some(written));
        let text =
            r#"{"version":1,"rules":[{"name":"a","match":{"prefix":"logs/a/"},"skip":true}]}"#;
        let rules = Rules::parse(text).expect("rules");
        reconciler.rules.set(Arc::new(rules));
        assert_eq!(pass().await, None);
    }
}
