//! The part of the pipeline between claim and settle: parts in, batches out, several in flight, and
//! checkpoints as the answers come.
//!
//! Bytes sent but not covered by a durable checkpoint never exceed the requests in flight: a batch
//! that was answered keeps its slot until a checkpoint that covers it is durable.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Interval, MissedTickBehavior};

use super::input::Input;
use super::parcel::{Carried, Parcel, carry, refused_all};
use super::reading::Reading;
use super::round::Seat;
use super::{Bounds, Deadline, Pipeline};
use crate::assemble::Assembler;
use crate::checkpoint::{Checkpoint, Position, Window};
use crate::clock::Clock;
use crate::failure::{Failure, FailureKind};
use crate::fetch::{Parts, Source};
use crate::ledger::{Lease, Ledger, LedgerError};
use crate::object::ObjectId;
use crate::plan::Plan;
use crate::quarantine::Quarantine;
use crate::restore::RestorePoint;
use crate::sink::Sink;
use crate::store::Store;

/// How often a place is noted between two restore points that are written, so that the last one before a stop
/// is not far behind.
const PLACES_AN_INTERVAL: u64 = 8;

type Saving<'a> =
    Pin<Box<dyn Future<Output = Result<(Checkpoint, Lease), LedgerError>> + Send + 'a>>;

/// The work on one claimed object.
pub struct Stream<'a, S, K, L, Q, C> {
    pipeline: &'a Pipeline<S, K, L, Q, C>,
    object: &'a ObjectId,
    lease: Lease,
    deadline: Deadline,
    window: Window,
    /// Where decoding begins; without it, at the object's start.
    restore: Option<RestorePoint>,
    /// The last checkpoint that is durable.
    saved: Checkpoint,
    /// Batches that were answered and are not covered by `saved`.
    unsaved: usize,
    /// How many of them the checkpoint covers that is being saved.
    saving: usize,
    /// Where the object's records end, once that is known.
    end: Option<Position>,
}

impl<'a, S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock> Stream<'a, S, K, L, Q, C> {
    pub fn new(
        pipeline: &'a Pipeline<S, K, L, Q, C>,
        object: &'a ObjectId,
        lease: Lease,
        checkpoint: Checkpoint,
        deadline: Deadline,
    ) -> Self {
        let (size, position) = (lease.content.size, checkpoint.position);
        let saved = checkpoint.restore.as_ref();
        let restore = saved.and_then(|saved| saved.open(size, position.offset));
        if saved.is_some() && restore.is_none() {
            tracing::warn!(content = %lease.content, "unreadable restore point, reading from the start");
        }
        Self {
            pipeline,
            object,
            lease,
            deadline,
            window: Window::restored(checkpoint.clone(), restore.as_ref()),
            restore,
            saved: checkpoint,
            unsaved: 0,
            saving: 0,
            end: None,
        }
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What is answered for so far, durable or not.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.window.checkpoint()
    }

    /// Lets the checkpoint say of the last place where decoding can be taken up, however large that is: for the
    /// last write of this holder, if the next one is to go on.
    pub fn keep_place(&mut self) {
        self.window.take_restore_point(1);
    }

    /// Lets the checkpoint say nothing of such a place: nobody goes on with this object.
    pub fn forget_place(&mut self) {
        self.window.forget_restore_point();
    }

    /// Records of the whole object; zero as long as that is unknown.
    pub fn records(&self) -> u64 {
        self.end.map_or(0, |end| end.record)
    }

    /// Carries the object from the checkpoint to its end. `reading` is the turn to be read, and given on
    /// as soon as all is assembled; the last batch may share a request, if it is small. On a failure,
    /// every request that was under way has been waited for (unless the lease is lost), and
    /// [`Stream::checkpoint`] says what was achieved.
    pub async fn run(&mut self, plan: Plan, seat: Seat, reading: Reading) -> Result<(), Failure> {
        let pipeline = self.pipeline;
        let content = self.lease.content.clone();
        let source = Source {
            store: &pipeline.ports.store,
            clock: &pipeline.ports.clock,
            object: self.object,
            content: &content,
            part_bytes: pipeline.bounds.part_bytes,
            until: self.deadline.stop_at,
            random: pipeline.ports.random,
        };
        let restore = self.restore.take();
        let start = restore.as_ref().map_or(0, |point| point.input_offset);
        let parts = Parts::new(source, start);
        let checkpoint = self.window.checkpoint().clone();
        let begin = move || assembler(&pipeline.bounds, &plan, &checkpoint, restore.as_ref());
        let sharing = seat.sharing();
        let memory = (&pipeline.bodies, pipeline.bounds.body_bytes_in_flight_max);
        let workspaces = &pipeline.workspaces;
        let input = Input::new(parts, begin, workspaces, memory, seat, reading);
        // What is waited for once all is read takes no room for what was being read.
        let mut input = Some(Box::new(input));
        let mut ended = Ok(Position::default());
        let mut deliveries = FuturesUnordered::new();
        let mut saving: Option<Saving<'_>> = None;
        let mut renewal = self.renewal();
        let time_left = self.time_left();
        let time_is_up = async {
            tokio::select! {
                biased;
                () = tokio::time::sleep(time_left) => {}
                () = pipeline.stopped() => {}
            }
        };
        let refused = sharing.refused();
        tokio::pin!(time_is_up, refused);
        let mut failure: Option<Failure> = None;
        let slots = pipeline.bounds.requests_in_flight_max;

        loop {
            if failure.is_some() {
                // Nothing more is read, so nobody need wait for it, nor for the memory it takes.
                input = None;
            }
            let has_slot = input.is_some() && deliveries.len() + self.unsaved < slots;
            let mut can_step = false;
            if has_slot && let Some(reader) = &mut input {
                reader.step();
                can_step = reader.can_step();
            }
            if let Some(reader) = input.take_if(|reader| reader.is_ended()) {
                ended = reader.end().records;
                self.window.drop_offers();
            }
            let is_fed = input.is_none();
            if deliveries.is_empty() && is_fed && saving.is_none() {
                break;
            }
            // Each checkpoint is a write to pay for, so there is one for half of the slots, or when a slot is
            // waited for. Without more input nobody waits for one: what ends the work says all.
            let is_due = self.unsaved * 2 >= slots || (self.unsaved > 0 && !has_slot);
            if saving.is_none() && !is_fed && is_due {
                saving = Some(self.save());
            }

            tokio::select! {
                biased;
                Some(carried) = deliveries.next() => {
                    let carried: Carried = carried;
                    self.window.answer(&carried.answered, &carried.account);
                    self.unsaved += 1;
                    note_failure(&mut failure, carried.failure);
                }
                saved = async { saving.as_mut().expect("polled only while something is being saved").await }, if saving.is_some() => {
                    saving = None;
                    match saved {
                        Ok(saved) => self.note_saved(saved),
                        Err(error @ LedgerError::LeaseLost { .. }) => return Err(error.into()),
                        Err(error) => note_failure(&mut failure, Some(error.into())),
                    }
                }
                () = &mut refused, if failure.is_none() => failure = Some(refused_all()),
                () = &mut time_is_up, if failure.is_none() => {
                    failure = Some(Failure::new(FailureKind::OutOfTime, content.to_string()));
                }
                _ = renewal.tick(), if saving.is_none() => saving = Some(self.save()),
                read = async { input.as_mut().expect("polled only while there is input").progress().await }, if !is_fed => {
                    match read {
                        Ok(Some((mut batch, held))) => {
                            if let Some(read_as) = batch.read_as.take() {
                                self.window.read_as(read_as);
                            }
                            self.window.launch(batch.end);
                            if let Some(point) = batch.restore.take() {
                                self.window.offer(point);
                            }
                            let last = input.take_if(|reader| reader.is_ended()).map(|reader| reader.end());
                            let seat = last.map(|last| {
                                ended = last.records;
                                self.window.drop_offers();
                                last.seat
                            });
                            let parcel = Parcel { batch, held, seat };
                            deliveries.push(carry(pipeline, &content, &sharing, parcel, self.deadline));
                        }
                        Ok(None) => {}
                        Err(error) => failure = Some(error.into()),
                    }
                }
                () = tokio::task::yield_now(), if can_step => {}
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.end = Some(ended?);
        Ok(())
    }

    /// Does `work` under the lease: it is renewed meanwhile, with the checkpoint if the ledger does not have that.
    /// Where this fails, the next move in the ledger says so.
    pub async fn under_lease<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut renewal = self.renewal();
        let mut saving: Option<Saving<'_>> = None;
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                saved = async { saving.as_mut().expect("polled only while something is being saved").await }, if saving.is_some() => {
                    saving = None;
                    if let Ok(saved) = saved {
                        self.note_saved(saved);
                    }
                }
                _ = renewal.tick(), if saving.is_none() => saving = Some(self.save()),
            }
        };
        if let Some(saving) = saving
            && let Ok(saved) = saving.await
        {
            self.note_saved(saved);
        }
        done
    }

    /// When the lease is to be renewed, from now on.
    fn renewal(&self) -> Interval {
        let mut renewal = tokio::time::interval(self.pipeline.bounds.lease / 3);
        // Renewals that were missed while a checkpoint was being written need no making up for.
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewal.reset();
        renewal
    }

    fn note_saved(&mut self, (checkpoint, lease): (Checkpoint, Lease)) {
        self.unsaved -= std::mem::take(&mut self.saving);
        self.saved = checkpoint;
        self.lease = lease;
    }

    fn time_left(&self) -> Duration {
        self.deadline.stop_at.since(self.pipeline.ports.clock.now())
    }

    /// Writes the checkpoint, or renews the lease if there is nothing new to say.
    fn save(&mut self) -> Saving<'a> {
        self.saving = self.unsaved;
        let pipeline = self.pipeline;
        let apart_bytes = pipeline.bounds.restore_interval_bytes;
        self.window.take_restore_point(apart_bytes);
        let (lease, end_at) = (self.lease.clone(), self.deadline.end_at);
        let checkpoint = self.window.checkpoint().clone();
        let is_new = checkpoint != self.saved;
        Box::pin(async move {
            let (ledger, clock) = (&pipeline.ports.ledger, &pipeline.ports.clock);
            let duration = pipeline.bounds.lease;
            let saved = if is_new {
                let write = || ledger.checkpoint(&lease, &checkpoint, clock.now(), duration);
                pipeline.persist(end_at, write).await
            } else {
                let write = || ledger.renew(&lease, clock.now(), duration);
                pipeline.persist(end_at, write).await
            };
            saved.map(|lease| (checkpoint, lease))
        })
    }
}

/// What goes on from the checkpoint.
fn assembler(
    bounds: &Bounds,
    plan: &Plan,
    checkpoint: &Checkpoint,
    restore: Option<&RestorePoint>,
) -> Assembler {
    let (limits, plan) = (bounds.limits, plan.clone());
    let assembler = match restore {
        Some(point) => Assembler::restored(limits, plan, checkpoint, point),
        None => Assembler::new(limits, plan, checkpoint),
    };
    assembler
        .bounded(bounds.expansion_max)
        .noting_places(bounds.restore_interval_bytes / PLACES_AN_INTERVAL)
}

/// The first failure stays, but time that ran out over another failure is that failure.
fn note_failure(noted: &mut Option<Failure>, failure: Option<Failure>) {
    let gives_way = noted
        .as_ref()
        .is_none_or(|noted| noted.kind == FailureKind::OutOfTime);
    if gives_way && failure.is_some() {
        *noted = failure;
    }
}
