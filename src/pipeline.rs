//! Claim, stream, deliver, settle: one object from its bucket to the endpoint.
//!
//! This is the shell around [`Assembler`] and [`Window`]: it holds the ports and the clock, and
//! decides nothing that they can decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};

use crate::assemble::{Limits, Workspaces};
use crate::backoff::{Next, before_last_word, before_next_attempt, return_delay_max};
use crate::checkpoint::Account;
use crate::clock::{Clock, Timestamp};
use crate::evidence::object_entry;
use crate::expansion::ExpansionMax;
use crate::failure::{Failure, FailureKind, Verdict};
use crate::ledger::{Claim, Grant, Ledger, LedgerError, Owner, Release};
use crate::object::{ContentId, ObjectId, WorkItem};
use crate::plan::{Plan, PlanDefaults, Planned};
use crate::quarantine::{Quarantine, QuarantineError};
use crate::rules::{RulesInForce, not_a_log};
use crate::sink::Sink;
use crate::store::{Store, StoreError};

mod input;
mod parcel;
mod reading;
mod round;
mod stream;

use reading::Reading;
use round::Seat;
use stream::Stream;

pub use reading::{SMALL_OBJECT_BYTES, SMALL_OBJECT_PLAIN_BYTES};
pub use round::{Place, Round, Turn};

/// Objects that are held at a time, from their claim or the wait for it to their end: as many as one
/// batch of messages brings, so that all of them can share requests. Each takes some kilobytes.
pub const OBJECTS_HELD_MAX: usize = 100;

/// Moves in the ledger under way at once. Each takes a connection, whose TLS handshake costs more than
/// many moves do; and at 10 ms a move so many settle 1,600 objects a second, which is more than one
/// function carries. A function that reads fewer objects at once has no CPU for more either.
const LEDGER_MOVES_MAX: usize = 16;
/// So that one write that hangs does not keep all others waiting.
const LEDGER_MOVES_MIN: usize = 4;

/// How often an entry is put into quarantine before the item goes back to the queue: as often as a part is
/// asked for.
const KEEP_TRIES_MAX: u32 = 6;

/// The ports that the pipeline stands on.
pub struct Ports<S, K, L, Q, C> {
    pub store: S,
    pub sink: K,
    pub ledger: L,
    pub quarantine: Q,
    pub clock: C,
    /// 64 random bits at a time.
    pub random: fn() -> u64,
}

/// What bounds the work on objects, one and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub limits: Limits,
    /// How far an object may inflate.
    pub expansion_max: ExpansionMax,
    /// How objects are read and records leave, as far as no rule says otherwise.
    pub plan: PlanDefaults,
    /// Bytes of one ranged GET.
    pub part_bytes: u64,
    /// Objects that are claimed, fetched and assembled at once. Those that wait for the endpoint alone
    /// do not count.
    pub objects_in_flight_max: usize,
    /// Small objects that are read in the place of another one.
    pub small_objects_per_turn: usize,
    /// Requests to the endpoint under way at once, over all objects, and batches of one object that are
    /// sent and not covered by a durable checkpoint.
    pub requests_in_flight_max: usize,
    /// Bytes of batches that wait or are under way, over all objects. One that is larger takes all of it.
    pub body_bytes_in_flight_max: u32,
    /// How long a small body waits for the next one to share its request.
    pub share_linger: Duration,
    /// How long one request may take.
    pub delivery_timeout: Duration,
    pub lease: Duration,
    /// Plain bytes between two restore points that need a window, as a checkpoint has them.
    pub restore_interval_bytes: u64,
    /// Attempts without progress after which an object is quarantined.
    pub attempts_max: u32,
    /// How long a settled row is kept.
    pub retention: Duration,
}

/// Until when the work on one item may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// No request, read or repetition begins after this; an answer may come a little later.
    pub stop_at: Timestamp,
    /// The ledger has the last word by this.
    pub end_at: Timestamp,
}

impl Deadline {
    /// Until when an answer is waited for to a request that began in time.
    fn answer_until(&self) -> Timestamp {
        self.stop_at.plus(self.end_at.since(self.stop_at) / 4)
    }

    /// Until when something may still be put into quarantine: the ledger's last word comes after it.
    fn keep_until(&self) -> Timestamp {
        self.stop_at.plus(self.end_at.since(self.stop_at) / 2)
    }
}

/// What became of a work item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Every record is answered for, and the ledger says so.
    Settled { account: Account },
    /// There was nothing to do.
    Skipped { failure: Failure },
    /// It can never succeed; the evidence is kept at `place`.
    Quarantined {
        failure: Failure,
        place: String,
        account: Account,
    },
    /// Not done: the item is to come back.
    Returned {
        failure: Failure,
        /// Whether the checkpoint went forward.
        progress: bool,
        /// Claims without progress so far, at least 1.
        attempts: u32,
        /// Until when another holds the lease.
        held_until: Option<Timestamp>,
        /// What this try added to the account.
        account: Account,
    },
}

impl Ingested {
    /// Returned without a claim.
    pub fn returned(failure: Failure) -> Self {
        Ingested::Returned {
            failure,
            progress: false,
            attempts: 1,
            held_until: None,
            account: Account::default(),
        }
    }
}

/// Carries objects. One pipeline serves many objects at once, and bounds what they take together.
///
/// Whoever waits for a turn at one of its bounds holds none that comes before it in this order:
/// `requests`, `cutting`, `keeping`, `bodies`, `reading`. So nobody waits in a circle: a delivery never waits for
/// memory, nor does what holds memory wait to be read.
pub struct Pipeline<S, K, L, Q, C> {
    ports: Ports<S, K, L, Q, C>,
    bounds: Bounds,
    /// Objects that are claimed, fetched and assembled.
    reading: reading::Turns,
    /// Bytes of batches.
    bodies: Arc<Semaphore>,
    requests: Semaphore,
    /// Bodies that are cut, which is memory beside their own.
    cutting: Semaphore,
    /// Entries of the quarantine are built one at a time, since each is in memory whole, and so is
    /// the body it is taken from.
    keeping: Semaphore,
    moves: Semaphore,
    workspaces: Workspaces,
    stopping: watch::Sender<bool>,
    rules: RulesInForce,
    unmatched: AtomicU64,
}

impl<S, K, L, Q, C> Pipeline<S, K, L, Q, C>
where
    S: Store + 'static,
    K: Sink + 'static,
    L: Ledger + 'static,
    Q: Quarantine + 'static,
    C: Clock + 'static,
{
    pub fn new(ports: Ports<S, K, L, Q, C>, bounds: Bounds) -> Arc<Self> {
        Self::stopped_by(watch::Sender::new(false), ports, bounds)
    }

    fn stopped_by(
        stopping: watch::Sender<bool>,
        ports: Ports<S, K, L, Q, C>,
        bounds: Bounds,
    ) -> Arc<Self> {
        let reading =
            reading::Turns::new(bounds.objects_in_flight_max, bounds.small_objects_per_turn);
        let moves = reading.small_objects_max();
        let moves = moves.clamp(LEDGER_MOVES_MIN, LEDGER_MOVES_MAX);
        Arc::new(Self {
            reading,
            bodies: Arc::new(Semaphore::new(bounds.body_bytes_in_flight_max as usize)),
            requests: Semaphore::new(bounds.requests_in_flight_max),
            cutting: Semaphore::new(1),
            keeping: Semaphore::new(1),
            moves: Semaphore::new(moves),
            workspaces: Workspaces::default(),
            stopping,
            rules: RulesInForce::default(),
            unmatched: AtomicU64::new(0),
            ports,
            bounds,
        })
    }

    /// Objects that enter one round may share requests.
    pub fn round(self: &Arc<Self>) -> Arc<Round<S, K, L, Q, C>> {
        Round::new(self)
    }

    /// Carries one object in a round of its own.
    pub async fn ingest(
        self: &Arc<Self>,
        item: &WorkItem,
        worker: &str,
        deadline: Deadline,
    ) -> Ingested {
        match self.round().enter().turn(item, deadline.stop_at).await {
            Ok(turn) => turn.ingest(item, worker, deadline).await,
            Err(failure) => Ingested::returned(failure),
        }
    }
}

impl<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock> Pipeline<S, K, L, Q, C> {
    /// Ends the work on every object, under way or to come, as if its time had run out: requests under
    /// way are waited for, checkpoints are written, leases are given back.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Another one, on ports and within bounds of its own. What stops one stops the other.
    pub fn beside<T, R>(
        &self,
        ports: Ports<T, K, L, R, C>,
        bounds: Bounds,
    ) -> Arc<Pipeline<T, K, L, R, C>>
    where
        T: Store + 'static,
        K: 'static,
        L: 'static,
        R: Quarantine + 'static,
        C: 'static,
    {
        Pipeline::stopped_by(self.stopping.clone(), ports, bounds)
    }

    /// Ready once [`Pipeline::stop`] was called.
    async fn stopped(&self) {
        // An error would say that the sender is gone, and it is ours.
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    /// The rules that hold for objects that are not begun.
    pub fn rules(&self) -> &RulesInForce {
        &self.rules
    }

    /// How many objects were carried that no rule matches, since this was asked last.
    pub fn take_unmatched(&self) -> u64 {
        self.unmatched.swap(0, Ordering::Relaxed)
    }

    /// How an object is read and its records leave; not at all if a rule says so.
    fn plan(&self, content: &ContentId) -> Result<Plan, Failure> {
        match self.bounds.plan.plan(&self.rules.get(), content) {
            Planned::Carry { plan, is_unmatched } => {
                self.unmatched
                    .fetch_add(u64::from(is_unmatched), Ordering::Relaxed);
                Ok(*plan)
            }
            Planned::Skip { rule } => {
                let why = rule.unwrap_or_else(|| "no rule matches".to_owned());
                let detail = format!("{content}: {why}");
                Err(Failure::new(FailureKind::SkippedByRule, detail))
            }
        }
    }

    pub fn ports(&self) -> &Ports<S, K, L, Q, C> {
        &self.ports
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Carries one object, whose turn to be read it is and which may share a request.
    async fn ingest_key(
        &self,
        item: &WorkItem,
        worker: &str,
        deadline: Deadline,
        seat: Seat,
        reading: Reading,
    ) -> Ingested {
        let content = match self.identify(item, deadline).await {
            Ok(content) => content,
            Err(failure) => return self.unclaimed(failure),
        };
        let plan = match self.plan(&content) {
            Ok(plan) => plan,
            Err(failure) => return self.unclaimed(failure),
        };
        let owner = Owner::new(worker, (self.ports.random)());
        let claim = async {
            let _turn = self.moves.acquire().await;
            let (ledger, now) = (&self.ports.ledger, self.ports.clock.now());
            ledger.claim(&content, &owner, now, self.bounds.lease).await
        };
        let claim = self.within(deadline.stop_at, claim).await;
        match claim.unwrap_or_else(|| Err(LedgerError::out_of_time())) {
            Ok(Claim::Granted(grant)) => {
                let object = item.object();
                let turn = (seat, reading);
                self.carry(&object, plan, *grant, deadline, turn).await
            }
            Ok(Claim::Settled) => Ingested::Skipped {
                failure: Failure::new(FailureKind::AlreadySettled, content.to_string()),
            },
            Ok(Claim::Busy { until }) => Ingested::Returned {
                failure: Failure::new(FailureKind::LeaseHeld, format!("{content} until {until}")),
                progress: false,
                attempts: 1,
                held_until: Some(until),
                account: Account::default(),
            },
            Err(error) => self.unclaimed(error.into()),
        }
    }

    /// The content to claim: what the trigger said, completed by a HEAD where it did not say all.
    async fn identify(&self, item: &WorkItem, deadline: Deadline) -> Result<ContentId, Failure> {
        let object = item.object();
        // An event rule may cover more than what is watched, and an entry for a record that was cut
        // would be cut in its turn, and so on for ever.
        if self.ports.quarantine.holds(&object) {
            let detail = format!("{object}: kept in quarantine");
            return Err(Failure::new(FailureKind::NotALog, detail));
        }
        let not_a_log = |size| {
            not_a_log(&item.key, size).map_or(Ok(()), |why| {
                let detail = format!("{object}: {}", why.as_str());
                Err(Failure::new(FailureKind::NotALog, detail))
            })
        };
        not_a_log(item.size)?;
        if let Some(content) = item.content() {
            return Ok(content);
        }
        let head = self.ports.store.head(&object).boxed();
        let meta = match self.within(deadline.stop_at, head).await {
            Some(meta) => meta?,
            None => {
                let place = object.to_string();
                let reason = "time ran out".to_owned();
                return Err(StoreError::Unavailable { place, reason }.into());
            }
        };
        not_a_log(Some(meta.size))?;
        if item.etag.as_ref().is_some_and(|etag| *etag != meta.etag) {
            let detail = format!("{object} was replaced");
            return Err(Failure::new(FailureKind::Superseded, detail));
        }
        Ok(ContentId {
            bucket: item.bucket.clone(),
            key: item.key.clone(),
            etag: meta.etag,
            size: meta.size,
        })
    }

    /// What becomes of an item that was never claimed.
    fn unclaimed(&self, failure: Failure) -> Ingested {
        match failure.verdict() {
            Verdict::Skip => Ingested::Skipped { failure },
            Verdict::Retry | Verdict::Fatal | Verdict::Quarantine => Ingested::returned(failure),
        }
    }

    async fn carry(
        &self,
        object: &ObjectId,
        plan: Plan,
        grant: Grant,
        deadline: Deadline,
        (seat, reading): (Seat, Reading),
    ) -> Ingested {
        let begun = grant.checkpoint.clone();
        let attempts = grant.attempts;
        let mut stream = Stream::new(self, object, grant.lease, grant.checkpoint, deadline);
        let failure = if attempts > self.bounds.attempts_max {
            let last = grant.last_reason.as_deref().unwrap_or("the worker died");
            Failure::new(
                FailureKind::AttemptsExhausted,
                format!("{attempts} attempts, last: {last}"),
            )
        } else {
            match stream.run(plan, seat, reading).await {
                Ok(()) => match self.settle(&mut stream, deadline).await {
                    Ok(account) => return Ingested::Settled { account },
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            }
        };
        let progress = stream.checkpoint().account.records_read > begun.account.records_read;
        let failure =
            if failure.kind.blames_object() && !progress && attempts >= self.bounds.attempts_max {
                Failure::new(
                    FailureKind::AttemptsExhausted,
                    format!("{attempts} attempts, last: {failure}"),
                )
            } else {
                failure
            };
        // What is rare is boxed, so that no object that waits takes room for it.
        match failure.verdict() {
            Verdict::Quarantine => {
                self.quarantine(object, &mut stream, failure, deadline)
                    .boxed()
                    .await
            }
            Verdict::Skip => {
                stream.forget_place();
                self.release(&stream, &failure, Duration::ZERO, deadline)
                    .boxed()
                    .await;
                Ingested::Skipped { failure }
            }
            Verdict::Retry | Verdict::Fatal => {
                let queued = self.left_alone(progress, failure.after);
                stream.keep_place();
                self.release(&stream, &failure, queued, deadline)
                    .boxed()
                    .await;
                Ingested::Returned {
                    failure,
                    progress,
                    attempts,
                    held_until: None,
                    account: stream.checkpoint().account.less(&begun.account),
                }
            }
        }
    }

    /// Settles an object whose account holds.
    async fn settle(
        &self,
        stream: &mut Stream<'_, S, K, L, Q, C>,
        deadline: Deadline,
    ) -> Result<Account, Failure> {
        let account = stream.checkpoint().account;
        let records = stream.records();
        if !account.holds() || account.records_read != records {
            let detail = format!("{records} records, but {account:?}");
            return Err(Failure::new(FailureKind::AccountMismatch, detail));
        }
        let now = self.ports.clock.now();
        let expires = now.plus(self.bounds.retention);
        let ledger = &self.ports.ledger;
        self.persist(deadline.end_at, || {
            ledger.settle(stream.lease(), &account, self.ports.clock.now(), expires)
        })
        .await?;
        Ok(account)
    }

    /// Keeps the object by reference, then ends its row.
    async fn quarantine(
        &self,
        object: &ObjectId,
        stream: &mut Stream<'_, S, K, L, Q, C>,
        failure: Failure,
        deadline: Deadline,
    ) -> Ingested {
        let account = stream.checkpoint().account;
        let (name, entry) = object_entry(
            &stream.lease().content,
            object.version.as_deref(),
            &failure,
            stream.checkpoint(),
        );
        let keep = async { Ok(self.keep(&name, entry).await?) };
        let kept = stream.under_lease(self.keep_in_time(deadline, keep)).await;
        let ended = async {
            let place = kept?;
            let (ledger, clock) = (&self.ports.ledger, &self.ports.clock);
            self.persist(deadline.end_at, || {
                ledger.quarantine(
                    stream.lease(),
                    &account,
                    failure.kind.name(),
                    &place,
                    clock.now(),
                )
            })
            .await?;
            Ok::<_, Failure>(place)
        };
        match ended.await {
            Ok(place) => Ingested::Quarantined {
                failure,
                place,
                account,
            },
            Err(error) => {
                let queued = self.left_alone(false, error.after);
                self.release(stream, &error, queued, deadline).await;
                Ingested::returned(error)
            }
        }
    }

    /// How long reconcile leaves an item alone that is handed back: until its message is due. Otherwise
    /// every pass during an outage would put another message for the same object on the queue.
    fn left_alone(&self, progress: bool, after: Option<Duration>) -> Duration {
        return_delay_max(progress, after) + self.bounds.lease
    }

    /// Puts an entry into quarantine, and tries that again while the quarantine is unavailable and nobody
    /// stops the work. Until it is kept nobody answers for its records, and those of them that the endpoint
    /// took, if it did not say which, would be sent again.
    async fn keep(&self, name: &str, entry: Bytes) -> Result<String, QuarantineError> {
        let mut tries = 0;
        loop {
            let error = match self.ports.quarantine.keep(name, entry.clone()).await {
                Err(error @ QuarantineError::Unavailable { .. }) => error,
                answer => return answer,
            };
            tries += 1;
            // Whoever calls this has a deadline.
            let next = before_next_attempt(tries, None, Duration::MAX, (self.ports.random)());
            let Next::Wait(pause) = next else {
                return Err(error);
            };
            if tries >= KEEP_TRIES_MAX {
                return Err(error);
            }
            tokio::select! {
                biased;
                () = self.stopped() => return Err(error),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The outcome of putting something into quarantine, in time for the ledger's last word.
    async fn keep_in_time<T>(
        &self,
        deadline: Deadline,
        keep: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let kept = self.within(deadline.keep_until(), keep).await;
        kept.unwrap_or_else(|| {
            let kind = FailureKind::QuarantineUnavailable;
            Err(Failure::new(kind, "time ran out"))
        })
    }

    /// The outcome of something, unless `until` comes first.
    async fn within<F: Future>(&self, until: Timestamp, outcome: F) -> Option<F::Output> {
        let left = until.since(self.ports.clock.now());
        tokio::time::timeout(left, outcome).await.ok()
    }

    /// Gives the lease back. If that fails, the lease runs out by itself.
    async fn release(
        &self,
        stream: &Stream<'_, S, K, L, Q, C>,
        failure: &Failure,
        queued: Duration,
        deadline: Deadline,
    ) {
        if failure.kind == FailureKind::LeaseLost {
            return;
        }
        let release = Release {
            queued_until: self.ports.clock.now().plus(queued),
            blames_object: failure.kind.blames_object(),
            reason: failure.kind.name().to_owned(),
        };
        let (ledger, clock) = (&self.ports.ledger, &self.ports.clock);
        let released = self
            .persist(deadline.end_at, || {
                ledger.release(stream.lease(), stream.checkpoint(), &release, clock.now())
            })
            .await;
        if let Err(error) = released {
            tracing::warn!(content = %stream.lease().content, %error, "lease not released");
        }
    }

    /// Repeats a ledger write while the ledger is unavailable, until it is too late for another attempt.
    async fn persist<T, F>(
        &self,
        until: Timestamp,
        mut write: impl FnMut() -> F,
    ) -> Result<T, LedgerError>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let mut failures = 0;
        loop {
            // A write that hangs is made again while there is still a lease to extend.
            let try_until = self
                .ports
                .clock
                .now()
                .plus(self.bounds.lease / 3)
                .min(until);
            let write = async {
                let _turn = self.moves.acquire().await;
                write().await
            };
            let error = match self.within(try_until, write).await {
                Some(Err(error @ LedgerError::Unavailable { .. })) => error,
                Some(answer) => return answer,
                None => LedgerError::out_of_time(),
            };
            failures += 1;
            let left = until.since(self.ports.clock.now());
            // Several attempts fit between a renewal that fails and the end of the lease.
            let longest = self.bounds.lease / 12;
            match before_last_word(failures, longest, left, (self.ports.random)()) {
                Next::Wait(pause) => tokio::time::sleep(pause).await,
                Next::GiveUp => return Err(error),
            }
        }
    }
}
