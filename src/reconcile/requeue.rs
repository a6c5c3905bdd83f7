//! Missing items → the queue, each noted in the ledger before it is sent.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::Reconciler;
use super::walk::Run;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::object::{ContentId, WorkItem};
use crate::queue::WorkQueue;
use crate::store::Store;

/// Missing items that are noted and sent together: what SQS takes in one request
/// (API reference, SendMessageBatch).
const ITEMS_AT_A_TIME: usize = 10;

/// What became of missing items.
pub struct Requeued {
    /// Those that are on the queue now.
    pub items: u64,
    /// Whether each had its turn before time ran out.
    pub is_all: bool,
}

impl<S: Store, L: Ledger, W: WorkQueue, C: Clock> Reconciler<S, L, W, C> {
    /// Notes missing items as queued and sends them, in their order, several batches of them at a time. After
    /// a failure, or when time is up, no further batch begins.
    pub(super) async fn requeue_all(
        &self,
        run: &Run<'_>,
        missing: &[ContentId],
    ) -> Result<Requeued, Failure> {
        let in_flight_max = self.bounds.requeues_in_flight_max;
        let at_a_time = ITEMS_AT_A_TIME.min(in_flight_max);
        let has_failed = AtomicBool::new(false);
        let mut batches = Vec::with_capacity(missing.len().div_ceil(at_a_time));
        for batch in missing.chunks(at_a_time) {
            batches.push(self.requeue_in_turn(run, batch, &has_failed));
        }
        // Each that began comes to its end, whatever fails beside it: none may be dropped half-way.
        let outcomes: Vec<_> = stream::iter(batches)
            .buffered(in_flight_max.div_ceil(at_a_time))
            .collect()
            .await;
        let mut requeued = Requeued {
            items: 0,
            is_all: true,
        };
        for outcome in outcomes {
            match outcome? {
                Some(items) => requeued.items += items,
                None => requeued.is_all = false,
            }
        }
        Ok(requeued)
    }

    /// One batch, when there is a slot for it. None if it did not begin.
    async fn requeue_in_turn(
        &self,
        run: &Run<'_>,
        batch: &[ContentId],
        has_failed: &AtomicBool,
    ) -> Result<Option<u64>, Failure> {
        let slots = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let _slots = run.slots.requeues.acquire_many(slots).await;
        if has_failed.load(Ordering::Relaxed) || self.clock.now() >= run.stop_at {
            return Ok(None);
        }
        let requeued = self.requeue(batch).await;
        has_failed.fetch_or(requeued.is_err(), Ordering::Relaxed);
        requeued.map(Some)
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
                Ok(true) => items.push(content),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(error.into())),
            }
        }
        if items.is_empty() {
            return failed.map_or(Ok(0), Err);
        }
        let work: Vec<WorkItem> = items.iter().map(|item| (*item).clone().into()).collect();
        let mut requeued = 0;
        let mut unsent = Vec::new();
        for (content, sent) in items.into_iter().zip(self.queue.send(&work).await) {
            let Err(error) = sent else {
                requeued += 1;
                continue;
            };
            tracing::warn!(%content, %error, "not queued; the next pass finds it again");
            failed = failed.or(Some(error.into()));
            unsent.push(content);
        }
        join_all(unsent.into_iter().map(async |content| {
            if let Err(error) = self.ledger.unqueue(content, until).await {
                tracing::warn!(%content, %error, "left alone until {until}");
            }
        }))
        .await;
        failed.map_or(Ok(requeued), Err)
    }
}
