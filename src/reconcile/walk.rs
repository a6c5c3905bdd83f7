//! One listing, page by page, each against its range of the ledger.
//!
//! Goes in: a place in a listing. Comes out: missing items, noted and sent, and the place it came to. While a
//! page is compared the next one is fetched, and other listings have pages of their own under way: never
//! more than [`ReconcileBounds::pages_in_flight_max`](super::ReconcileBounds) all together.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::{OptionFuture, join};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::progress::Place;
use super::waiting::{Waiting, earliest};
use super::{Diff, Eligible, PassReport, ReconcileBounds, Reconciler, check_order, diff};
use crate::clock::{Clock, Timestamp};
use crate::config::WatchedPrefix;
use crate::failure::{Failure, Verdict};
use crate::ledger::Ledger;
use crate::queue::WorkQueue;
use crate::store::{Page, Store};

/// What everything that is under way at a time shares.
pub struct Slots {
    pages: Semaphore,
    pub(super) requeues: Semaphore,
}

impl Slots {
    pub fn new(bounds: &ReconcileBounds) -> Self {
        Self {
            pages: Semaphore::new(bounds.pages_in_flight_max),
            requeues: Semaphore::new(bounds.requeues_in_flight_max),
        }
    }
}

/// One run over the listings of a watched prefix.
pub struct Run<'a> {
    pub watched: &'a WatchedPrefix,
    pub eligible: Eligible,
    pub stop_at: Timestamp,
    pub slots: &'a Slots,
    /// Pages that may still be asked for.
    pub pages_left: AtomicU32,
    /// Set when nothing can succeed until a person acts: then no page is asked for any more.
    pub is_hopeless: AtomicBool,
}

impl Run<'_> {
    /// Takes one from the pages that may be asked for.
    fn take_page(&self) -> bool {
        let less_one = |left: u32| left.checked_sub(1);
        !self.is_hopeless()
            && self
                .pages_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one)
                .is_ok()
    }

    pub fn is_hopeless(&self) -> bool {
        self.is_hopeless.load(Ordering::Relaxed)
    }

    /// Keeps the others from what cannot succeed.
    pub fn note(&self, failure: &Failure) {
        if failure.verdict() == Verdict::Fatal {
            self.is_hopeless.store(true, Ordering::Relaxed);
        }
    }
}

/// A listing that went on for as long as it could.
#[derive(Default)]
pub struct Walked {
    pub report: PassReport,
    pub oldest_waiting: Option<Waiting>,
    /// Where it stopped because pages or time ran out; none if it came to its end.
    pub stopped: Option<Place>,
}

/// A page, and the slot that it holds until it is compared.
struct Held<'a> {
    page: Page,
    _slot: SemaphorePermit<'a>,
}

impl<S: Store, L: Ledger, W: WorkQueue, C: Clock> Reconciler<S, L, W, C> {
    /// Lists from `place` and compares page after page. A place passes a page only when that was compared
    /// and all it lacks is on the queue; after a failure the caller has no place, and begins where it did.
    pub(super) async fn walk(&self, run: &Run<'_>, mut place: Place) -> Result<Walked, Failure> {
        let mut walked = Walked::default();
        let mut fetched = self.fetch(run, &place).await;
        while let Some(held) = fetched {
            let held = held?;
            walked.report.pages += 1;
            let following = match held.page.objects.last() {
                Some(last) if held.page.more => Some(Place {
                    after: Some(last.key.clone()),
                    ..place.clone()
                }),
                _ => None,
            };
            let ahead: OptionFuture<_> = following
                .as_ref()
                .map(|place| self.fetch(run, place))
                .into();
            let (compared, ahead) = join(self.compare(run, held, &mut walked), ahead).await;
            if !compared? {
                break;
            }
            let (Some(after), Some(ahead)) = (following, ahead) else {
                return Ok(walked);
            };
            (place, fetched) = (after, ahead);
        }
        walked.stopped = Some(place);
        Ok(walked)
    }

    /// The page behind a place, as soon as there is a slot for it. None if pages or time ran out first.
    async fn fetch<'a>(&self, run: &Run<'a>, place: &Place) -> Option<Result<Held<'a>, Failure>> {
        let after = place.after.as_deref();
        let fetched = self.within(run.stop_at, async {
            let slot = run.slots.pages.acquire().await.ok()?;
            if !run.take_page() {
                return None;
            }
            let bucket = run.watched.bucket();
            let listed = self.store.list(bucket, &place.prefix, after).await;
            Some((listed, slot))
        });
        let (listed, slot) = fetched.await.flatten()?;
        Some(match listed {
            Ok(page) => check_order(&page, after, run.watched).map(|()| Held { page, _slot: slot }),
            Err(error) => Err(error.into()),
        })
    }

    /// Compares one page with its range of the ledger, and queues what is missing. False if time ran
    /// out first: then the page is to be compared again.
    async fn compare(
        &self,
        run: &Run<'_>,
        held: Held<'_>,
        walked: &mut Walked,
    ) -> Result<bool, Failure> {
        let report = &mut walked.report;
        let (bucket, objects) = (run.watched.bucket(), &held.page.objects);
        report.listed += objects.len() as u64;
        // A page without anything to look up costs no reading of the ledger: most pages of a prefix
        // without a date are like that.
        let mut ours = objects
            .iter()
            .filter(|object| run.eligible.concerns(bucket, object));
        let Some(first) = ours.next() else {
            return Ok(true);
        };
        let last = ours.next_back().unwrap_or(first);
        let now = self.clock.now();
        let range = self.ledger.range(bucket, &first.key, &last.key, now);
        let Some(rows) = self.within(run.stop_at, range).await else {
            return Ok(false);
        };
        let Diff {
            missing,
            oldest_unsettled,
            oldest_waiting,
        } = diff(bucket, objects, &rows?, &run.eligible, now);
        report.missing += missing.len() as u64;
        report.oldest_unsettled = earliest(report.oldest_unsettled, oldest_unsettled);
        walked.oldest_waiting = earliest(walked.oldest_waiting.take(), oldest_waiting);
        let requeued = self.requeue_all(run, &missing).await?;
        report.requeued += requeued.items;
        Ok(requeued.is_all)
    }
}
