//! A round: objects that are carried side by side, and may share requests.
//!
//! Whoever starts an object takes a place for it first, so that the round knows who may still bring a
//! small body when another asks. An object waits for its turn to be read, is read, and gives the turn
//! on when its last batch is assembled; what it then waits for, others may join.
//!
//! A shared request belongs to all of its members alike: each holds the one future that drives it, so
//! it goes on if any of them is dropped, and ends with the last. Nothing outlives the work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::reading::Reading;
use super::{Deadline, Ingested, Pipeline};
use crate::body::Body;
use crate::clock::{Clock, Timestamp};
use crate::delivery::{
    Delivered, REQUEST_TIME_MIN, SharedDelivered, TimeLimits, Tries, Turns, Unfinished, Until,
    deliver_in_turn, deliver_shared,
};
use crate::failure::{Failure, FailureKind, Verdict};
use crate::ledger::Ledger;
use crate::object::WorkItem;
use crate::quarantine::Quarantine;
use crate::share::{Extent, Linger, Pool, split};
use crate::sink::Sink;
use crate::store::Store;

/// Objects that are carried side by side: those of one invocation, for instance.
pub struct Round<S, K, L, Q, C> {
    pipeline: Arc<Pipeline<S, K, L, Q, C>>,
    sharing: Arc<Sharing>,
    /// Whether an object met a fatal failure: no other begins.
    is_over: AtomicBool,
}

/// The place of one object that has not begun. Until it is dropped, or the object has filled a batch or
/// ended, others may wait for what it brings.
pub struct Place<S, K, L, Q, C> {
    round: Arc<Round<S, K, L, Q, C>>,
    seat: Seat,
}

/// The turn of one object to be read.
pub struct Turn<S, K, L, Q, C> {
    round: Arc<Round<S, K, L, Q, C>>,
    seat: Seat,
    reading: Reading,
}

impl<S, K, L, Q, C> Round<S, K, L, Q, C>
where
    S: Store + 'static,
    K: Sink + 'static,
    L: Ledger + 'static,
    Q: Quarantine + 'static,
    C: Clock + 'static,
{
    pub(super) fn new(pipeline: &Arc<Pipeline<S, K, L, Q, C>>) -> Arc<Self> {
        let bounds = &pipeline.bounds;
        let linger = Linger {
            idle: bounds.share_linger,
            // As often as a lease is renewed.
            whole: bounds.lease / 3,
        };
        let refused = watch::Sender::new(false);
        Arc::new(Self {
            pipeline: Arc::clone(pipeline),
            sharing: Arc::new(Sharing {
                pool: Mutex::new(Pool::new(bounds.limits.batch_bytes_max as u64, linger)),
                stopping: pipeline.stopping.subscribe(),
                refused: refused.subscribe(),
                deliver: Arc::new(Courier {
                    pipeline: Arc::clone(pipeline),
                    refused,
                }),
            }),
            is_over: AtomicBool::new(false),
        })
    }

    /// Takes a place. The places of objects that are to share requests are taken before any of them is
    /// begun.
    pub fn enter(self: &Arc<Self>) -> Place<S, K, L, Q, C> {
        Place {
            round: Arc::clone(self),
            seat: Seat::take(&self.sharing),
        }
    }
}

impl<S, K, L, Q, C> Place<S, K, L, Q, C>
where
    S: Store + 'static,
    K: Sink + 'static,
    L: Ledger + 'static,
    Q: Quarantine + 'static,
    C: Clock + 'static,
{
    /// Waits until the item's object may be read, at most until then. Fails as not begun if time runs out, the
    /// pipeline stops, or another object of the round has met a fatal failure.
    pub async fn turn(
        self,
        item: &WorkItem,
        until: Timestamp,
    ) -> Result<Turn<S, K, L, Q, C>, Failure> {
        let Self { round, seat } = self;
        let pipeline = &round.pipeline;
        let reading = async {
            tokio::select! {
                biased;
                () = pipeline.stopped() => None,
                reading = pipeline.reading.take(item.size) => Some(reading),
            }
        };
        let reading = pipeline.within(until, reading).await.flatten();
        let not_begun = |why| Err(Failure::new(FailureKind::NotBegun, why));
        if round.is_over.load(Ordering::Relaxed) {
            return not_begun("another item met a fatal failure");
        }
        match reading {
            Some(reading) if pipeline.ports.clock.now() < until => Ok(Turn {
                round,
                seat,
                reading,
            }),
            Some(_) | None => not_begun("time ran out before its turn"),
        }
    }
}

impl<S, K, L, Q, C> Turn<S, K, L, Q, C>
where
    S: Store + 'static,
    K: Sink + 'static,
    L: Ledger + 'static,
    Q: Quarantine + 'static,
    C: Clock + 'static,
{
    /// Carries one object, or says why not.
    ///
    /// Idempotent: a content that is settled is skipped, one that another holds is returned, and one
    /// that was begun goes on from its checkpoint. `worker` names this process for whoever reads
    /// the ledger.
    pub async fn ingest(self, item: &WorkItem, worker: &str, deadline: Deadline) -> Ingested {
        let Self {
            round,
            seat,
            reading,
        } = self;
        let pipeline = &round.pipeline;
        let first = pipeline
            .ingest_key(item, worker, deadline, seat, reading)
            .await;
        let outcome = match (&first, &item.alternate_key) {
            (Ingested::Skipped { failure }, Some(key)) if failure.kind == FailureKind::Gone => {
                tracing::warn!(
                    bucket = item.bucket,
                    key = item.key,
                    alternate_key = key,
                    "no such key; trying it decoded"
                );
                let item = WorkItem {
                    key: key.clone(),
                    alternate_key: None,
                    ..item.clone()
                };
                match round.enter().turn(&item, deadline.stop_at).await {
                    Ok(turn) => {
                        pipeline
                            .ingest_key(&item, worker, deadline, turn.seat, turn.reading)
                            .await
                    }
                    Err(failure) => Ingested::returned(failure),
                }
            }
            _ => first,
        };
        if let Ingested::Returned { failure, .. } = &outcome
            && failure.verdict() == Verdict::Fatal
        {
            round.is_over.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

/// What makes requests for the objects of a round.
trait Deliver: Send + Sync {
    /// What becomes of one object's records.
    fn alone(&self, body: Body, begun: Tries, until: Until) -> BoxFuture<'_, Delivered>;

    /// What becomes of those of several objects.
    fn shared(&self, body: Body, begun: Tries, until: Until) -> BoxFuture<'_, SharedDelivered>;
}

/// Delivers until the endpoint refuses everything; then no request of the round begins any more.
struct Courier<S, K, L, Q, C> {
    pipeline: Arc<Pipeline<S, K, L, Q, C>>,
    refused: watch::Sender<bool>,
}

impl<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock> Courier<S, K, L, Q, C> {
    fn turns(&self) -> Turns<'_> {
        Turns {
            requests: &self.pipeline.requests,
            cutting: &self.pipeline.cutting,
        }
    }

    fn limits(&self, until: Until) -> TimeLimits {
        let request = self.pipeline.bounds.delivery_timeout;
        TimeLimits { until, request }
    }

    async fn stopped(&self) {
        tokio::select! {
            biased;
            () = self.pipeline.stopped() => {}
            () = is_set(self.refused.subscribe()) => {}
        }
    }

    /// `is_of_rule` says that the endpoint is one that a rule names: what it refuses others may take.
    fn note(&self, delivered: &Delivered, is_of_rule: bool) {
        if let (Some(Unfinished::Fatal { .. }), false) = (&delivered.unfinished, is_of_rule) {
            self.refused.send_replace(true);
        }
    }
}

impl<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock> Deliver for Courier<S, K, L, Q, C> {
    fn alone(&self, body: Body, begun: Tries, until: Until) -> BoxFuture<'_, Delivered> {
        let (sink, random) = (&self.pipeline.ports.sink, self.pipeline.ports.random);
        let (turns, limits) = (self.turns(), self.limits(until));
        let is_of_rule = body.route.endpoint.is_some();
        async move {
            let stop = self.stopped();
            let delivered = deliver_in_turn(turns, stop, sink, body, begun, limits, random).await;
            self.note(&delivered, is_of_rule);
            delivered
        }
        .boxed()
    }

    fn shared(&self, body: Body, begun: Tries, until: Until) -> BoxFuture<'_, SharedDelivered> {
        let (sink, random) = (&self.pipeline.ports.sink, self.pipeline.ports.random);
        let (turns, limits) = (self.turns(), self.limits(until));
        let is_of_rule = body.route.endpoint.is_some();
        async move {
            let stop = self.stopped();
            let delivered = deliver_shared(turns, stop, sink, body, begun, limits, random).await;
            if let SharedDelivered::Ended(delivered) = &delivered {
                self.note(delivered, is_of_rule);
            }
            delivered
        }
        .boxed()
    }
}

/// Ready once `flag` is set.
async fn is_set(mut flag: watch::Receiver<bool>) {
    // Where nobody is left to set it, nobody is left to wait either.
    let _ = flag.wait_for(|flag| *flag).await;
}

/// What the places of a round have in common: how bodies are delivered, and those that wait for others.
pub(super) struct Sharing {
    pool: Mutex<Pool<Parcel>>,
    deliver: Arc<dyn Deliver>,
    stopping: watch::Receiver<bool>,
    refused: watch::Receiver<bool>,
}

/// A small body, and who waits to hear what became of it.
struct Parcel {
    body: Body,
    member: Member,
    reply: oneshot::Sender<Membership>,
}

/// One object's part in a group.
struct Member {
    extent: Extent,
    /// The memory that its records are held in.
    _held: OwnedSemaphorePermit,
    until: Until,
}

/// What drives a group; it is every member's.
type Driven = Shared<BoxFuture<'static, Outcome>>;

/// What a member waits for.
struct Membership {
    index: usize,
    outcome: Driven,
}

/// What became of a group.
#[derive(Clone)]
enum Outcome {
    Ended(Arc<Group>),
    /// It goes on as two: the members before `at`, and the others.
    Parted {
        at: usize,
        halves: [Driven; 2],
    },
}

/// A body, and what became of the records of each member.
struct Group {
    body: Body,
    members: Vec<Member>,
    parts: Vec<Delivered>,
}

impl Sharing {
    /// Delivers a body that is one object's alone.
    pub(super) async fn deliver_alone(&self, body: Body, until: Until) -> Delivered {
        self.deliver.alone(body, Tries::default(), until).await
    }

    /// Ready once the endpoint has refused everything.
    pub(super) async fn refused(&self) {
        is_set(self.refused.clone()).await;
    }

    pub(super) fn is_refused(&self) -> bool {
        *self.refused.borrow()
    }

    /// Changes the pool, and sends off the groups that then wait no longer.
    fn change(&self, change: impl FnOnce(&mut Pool<Parcel>)) {
        let groups: Vec<_> = {
            let mut pool = self.pool();
            change(&mut pool);
            std::iter::from_fn(|| pool.pop()).collect()
        };
        for group in groups {
            self.send(group);
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Parcel>> {
        // No change leaves the pool half made, so what a panicking thread left is whole.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every member the future that delivers the group. A body whose object is gone, because it
    /// lost its lease, stays behind.
    fn send(&self, group: Vec<Parcel>) {
        let (mut bodies, mut members, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        for parcel in group {
            if !parcel.reply.is_closed() {
                bodies.push(parcel.body);
                members.push(parcel.member);
                replies.push(parcel.reply);
            }
        }
        let deliver = Arc::clone(&self.deliver);
        let outcome = async move {
            let body = match <[Body; 1]>::try_from(bodies) {
                Ok([body]) => body,
                Err(bodies) => Body::concat(&bodies),
            };
            drive(deliver, body, members, Tries::default()).await
        };
        let outcome = outcome.boxed().shared();
        for (index, reply) in replies.into_iter().enumerate() {
            let outcome = outcome.clone();
            // An error says that the member is gone since.
            let _ = reply.send(Membership { index, outcome });
        }
    }
}

/// Delivers the records of a group, or parts it.
async fn drive(
    deliver: Arc<dyn Deliver>,
    body: Body,
    members: Vec<Member>,
    begun: Tries,
) -> Outcome {
    let until = members.iter().map(|member| member.until);
    let until = until.reduce(Until::min);
    let until = until.unwrap_or_else(|| Until::at(Instant::now()));
    let delivered = match members.len() {
        0 | 1 => SharedDelivered::Ended(deliver.alone(body.clone(), begun, until).await),
        _ => deliver.shared(body.clone(), begun, until).await,
    };
    match delivered {
        SharedDelivered::Ended(delivered) => {
            let extents: Vec<Extent> = members.iter().map(|member| member.extent).collect();
            let parts = split(&delivered, &extents, || body.plain());
            Outcome::Ended(Arc::new(Group {
                body,
                members,
                parts,
            }))
        }
        SharedDelivered::Parted(tries) => part(&deliver, &body, members, tries),
    }
}

/// Goes on with each half of a group's members. What was tried so far is the first one's.
fn part(
    deliver: &Arc<dyn Deliver>,
    body: &Body,
    mut members: Vec<Member>,
    tries: Tries,
) -> Outcome {
    let at = members.len() / 2;
    let others = members.split_off(at);
    let records = members.iter().map(|member| member.extent.records).sum();
    let (before, after) = body
        .split_at_ordinal(records)
        .expect("each of the two members or more has a record at least");
    let failed = Tries {
        failed: tries.failed.clone(),
        ..Tries::default()
    };
    let half = |body, members, tries| -> Driven {
        drive(Arc::clone(deliver), body, members, tries)
            .boxed()
            .shared()
    };
    Outcome::Parted {
        at,
        halves: [half(before, members, tries), half(after, others, failed)],
    }
}

/// The right to bring one small body. As long as it is held, others may wait for that.
pub(super) struct Seat {
    sharing: Arc<Sharing>,
    is_expected: bool,
}

impl Seat {
    fn take(sharing: &Arc<Sharing>) -> Self {
        sharing.change(Pool::expect);
        Self {
            sharing: Arc::clone(sharing),
            is_expected: true,
        }
    }

    /// Whether a body is small enough to wait for others.
    pub(super) fn takes(&self, body: &Body) -> bool {
        self.sharing.pool().takes(body.plain_bytes)
    }

    /// Nobody waits for this body any more. If it comes all the same, it joins those that still wait.
    pub(super) fn step_aside(&mut self) {
        if std::mem::take(&mut self.is_expected) {
            self.sharing.change(Pool::leave);
        }
    }

    /// Ends the wait of the bodies that were brought so far, whoever may still come: memory is short.
    pub(super) fn hurry(&self) {
        self.sharing.change(Pool::flush);
    }

    /// Delivers a body together with those that others bring. `held` is the memory it takes.
    pub(super) async fn deliver(
        mut self,
        body: Body,
        held: OwnedSemaphorePermit,
        until: Until,
    ) -> Part {
        let (reply, mut membership) = oneshot::channel();
        let (bytes, route) = (body.plain_bytes, body.route.clone());
        let member = Member {
            extent: Extent::of(&body),
            _held: held,
            until,
        };
        let parcel = Parcel {
            body,
            member,
            reply,
        };
        let was_expected = std::mem::take(&mut self.is_expected);
        let sharing = &self.sharing;
        sharing.change(|pool| {
            if !was_expected {
                pool.expect();
            }
            pool.push(parcel, &route, bytes, Instant::now());
        });
        // A last request must have time to begin.
        let last = until.begin.checked_sub(2 * REQUEST_TIME_MIN);
        let last = last.unwrap_or(until.begin);
        let Membership { index, outcome } = loop {
            // Without an open group this body is on its way, and it may be although others are open.
            let due = sharing.pool().due().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                membership = &mut membership => {
                    break membership.expect("the pool gives up no body that someone waits for");
                }
                () = is_set(sharing.stopping.clone()) => sharing.change(Pool::flush),
                () = sleep_until(last) => sharing.change(Pool::flush),
                () = sleep_until(due) => sharing.change(|pool| pool.flush_if_due(Instant::now())),
            }
        };
        Part::of(index, outcome).await
    }

    pub(super) fn sharing(&self) -> Arc<Sharing> {
        Arc::clone(&self.sharing)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.step_aside();
    }
}

/// What became of one member's body.
pub(super) struct Part {
    index: usize,
    group: Arc<Group>,
}

impl Part {
    /// What becomes of a member, however often its group is parted.
    async fn of(mut index: usize, mut driven: Driven) -> Self {
        loop {
            match driven.await {
                Outcome::Ended(group) => return Self { index, group },
                Outcome::Parted { at, halves } => {
                    let [before, after] = halves;
                    (index, driven) = match index.checked_sub(at) {
                        None => (index, before),
                        Some(index) => (index, after),
                    };
                }
            }
        }
    }

    /// As if the body had been alone.
    pub(super) fn delivered(&self) -> &Delivered {
        &self.group.parts[self.index]
    }

    /// The body that was sent.
    pub(super) fn body(&self) -> &Body {
        &self.group.body
    }

    /// The ordinal in it of the member's first record.
    pub(super) fn first(&self) -> u64 {
        let before = &self.group.members[..self.index];
        before.iter().map(|member| member.extent.records).sum()
    }
}
