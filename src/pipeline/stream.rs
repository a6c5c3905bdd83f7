//! The part of the pipeline between claim and settle: parts in, batches out, several in flight, and
//! checkpoints as the answers come.
//!
//! Bytes sent but not covered by a durable checkpoint never exceed the requests in flight: a batch
//! that was answered keeps its slot until a checkpoint that covers it is durable.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{Deadline, Pipeline};
use crate::assemble::Assembler;
use crate::batch::{Batch, KeptBecause};
use crate::body::Body;
use crate::checkpoint::{Account, Checkpoint, Position, Ranges, Window};
use crate::clock::Clock;
use crate::decode::DecodeError;
use crate::delivery::{Delivered, TimeLimits, Unfinished, deliver_in_turn};
use crate::evidence::{KeptRecord, entry_records, records_entry};
use crate::failure::{Failure, FailureKind};
use crate::fetch::{Parts, Source};
use crate::ledger::{Lease, Ledger, LedgerError};
use crate::object::{ContentId, ObjectId};
use crate::quarantine::Quarantine;
use crate::shape::Shape;
use crate::sink::Sink;
use crate::store::Store;

/// Bytes of a part that are assembled before the answers are looked at.
const SLICE_BYTES: usize = 128 * 1024;

type Saving<'a> =
    Pin<Box<dyn Future<Output = Result<(Checkpoint, Lease), LedgerError>> + Send + 'a>>;

/// The work on one claimed object.
pub struct Stream<'a, S, K, L, Q, C> {
    pipeline: &'a Pipeline<S, K, L, Q, C>,
    object: &'a ObjectId,
    lease: Lease,
    deadline: Deadline,
    window: Window,
    /// The last checkpoint that is durable.
    saved: Checkpoint,
    /// Batches that were answered and are not covered by `saved`.
    unsaved: usize,
    /// How many of them the checkpoint covers that is being saved.
    saving: usize,
    /// Where the object's records end, once that is known.
    end: Option<Position>,
}

/// What became of one batch.
#[derive(Default)]
struct Carried {
    answered: Ranges,
    account: Account,
    failure: Option<Failure>,
}

impl<'a, S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock> Stream<'a, S, K, L, Q, C> {
    pub fn new(
        pipeline: &'a Pipeline<S, K, L, Q, C>,
        object: &'a ObjectId,
        lease: Lease,
        checkpoint: Checkpoint,
        deadline: Deadline,
    ) -> Self {
        Self {
            pipeline,
            object,
            lease,
            deadline,
            window: Window::new(checkpoint.clone()),
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

    /// Records of the whole object; zero as long as that is unknown.
    pub fn records(&self) -> u64 {
        self.end.map_or(0, |end| end.record)
    }

    /// Carries the object from the checkpoint to its end. On a failure, every request that was under way
    /// has been waited for (unless the lease is lost), and [`Stream::checkpoint`] says what was achieved.
    pub async fn run(&mut self) -> Result<(), Failure> {
        let pipeline = self.pipeline;
        let content = self.lease.content.clone();
        let mut parts = Parts::new(Source {
            store: &pipeline.ports.store,
            clock: &pipeline.ports.clock,
            object: self.object,
            content: &content,
            part_bytes: pipeline.bounds.part_bytes,
            until: self.deadline.stop_at,
            random: pipeline.ports.random,
        });
        let mut feed = Feed {
            assembler: Assembler::new(
                pipeline.bounds.limits,
                self.shape(),
                self.window.checkpoint(),
            ),
            part: Bytes::new(),
            ended: None,
        };
        let mut deliveries = FuturesUnordered::new();
        let mut saving: Option<Saving<'_>> = None;
        let mut renewal = tokio::time::interval(pipeline.bounds.lease / 3);
        renewal.reset();
        let time_left = self.time_left();
        let time_is_up = async {
            tokio::select! {
                () = tokio::time::sleep(time_left) => {}
                () = pipeline.stopped() => {}
            }
        };
        tokio::pin!(time_is_up);
        let mut failure: Option<Failure> = None;

        loop {
            let has_slot = failure.is_none()
                && deliveries.len() + self.unsaved < pipeline.bounds.requests_in_flight_max;
            if has_slot {
                if let Some(batch) = feed.assembler.pop() {
                    self.window.launch(batch.end);
                    deliveries.push(carry(pipeline, &content, batch, self.deadline));
                    continue;
                }
                feed.step(&mut parts);
            }
            let is_fed = feed.is_ended();
            if deliveries.is_empty() && (failure.is_some() || is_fed) && saving.is_none() {
                break;
            }
            if saving.is_none() && self.unsaved > 0 && !(is_fed && deliveries.is_empty()) {
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
                        Ok((checkpoint, lease)) => {
                            self.unsaved -= std::mem::take(&mut self.saving);
                            self.saved = checkpoint;
                            self.lease = lease;
                        }
                        Err(error @ LedgerError::LeaseLost { .. }) => return Err(error.into()),
                        Err(error) => note_failure(&mut failure, Some(error.into())),
                    }
                }
                () = &mut time_is_up, if failure.is_none() => {
                    failure = Some(Failure::new(FailureKind::OutOfTime, content.to_string()));
                }
                _ = renewal.tick(), if saving.is_none() => saving = Some(self.save()),
                filled = parts.fill(), if failure.is_none() && parts.can_fill() => {
                    if let Err(error) = filled {
                        failure = Some(error.into());
                    }
                }
                () = tokio::task::yield_now(), if has_slot && feed.can_step(&parts) => {}
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.end = Some(feed.ended.unwrap_or_else(|| Ok(Position::default()))?);
        Ok(())
    }

    /// The shape of this object's records.
    fn shape(&self) -> Shape {
        let bounds = &self.pipeline.bounds;
        Shape {
            source: bounds
                .add_source_field
                .then(|| format!("{}/{}", self.object.bucket, self.object.key)),
            ..bounds.shape.clone()
        }
    }

    fn time_left(&self) -> Duration {
        self.deadline.stop_at.since(self.pipeline.ports.clock.now())
    }

    /// Writes the checkpoint, or renews the lease if there is nothing new to say.
    fn save(&mut self) -> Saving<'a> {
        self.saving = self.unsaved;
        let pipeline = self.pipeline;
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

/// The first failure stays, but time that ran out over another failure is that failure.
fn note_failure(noted: &mut Option<Failure>, failure: Option<Failure>) {
    let gives_way = noted
        .as_ref()
        .is_none_or(|noted| noted.kind == FailureKind::OutOfTime);
    if gives_way && failure.is_some() {
        *noted = failure;
    }
}

/// The input side: parts of the object, and the machine that turns them into batches.
struct Feed {
    assembler: Assembler,
    part: Bytes,
    /// Where the records end, or why they cannot be read to their end.
    ended: Option<Result<Position, DecodeError>>,
}

impl Feed {
    /// Assembles a slice of the current part, or goes on to the next one, or ends the object.
    fn step<S: Store, C: Clock>(&mut self, parts: &mut Parts<'_, S, C>) {
        if self.ended.is_some() {
            return;
        }
        if self.part.is_empty() {
            self.part = parts.take().unwrap_or_default();
        }
        let slice = &self.part[..self.part.len().min(SLICE_BYTES)];
        match self.assembler.push(slice) {
            Ok(taken) => self.part.advance(taken),
            Err(error) => self.ended = Some(Err(error)),
        }
        let is_used_up = self.part.is_empty() && !self.assembler.has_batch();
        if self.ended.is_none() && is_used_up && parts.is_done() {
            self.ended = Some(self.assembler.finish());
        }
    }

    /// Whether there is something to do without waiting for another part.
    fn can_step<S: Store, C: Clock>(&self, parts: &Parts<'_, S, C>) -> bool {
        let has_bytes = !self.part.is_empty() || parts.has_part();
        self.assembler.has_batch() || (self.ended.is_none() && has_bytes)
    }

    /// Whether every batch of the object was given out.
    fn is_ended(&self) -> bool {
        self.ended.is_some() && !self.assembler.has_batch()
    }
}

/// Keeps what is to be kept of a batch, delivers the rest, and keeps what was refused.
async fn carry<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock>(
    pipeline: &Pipeline<S, K, L, Q, C>,
    content: &ContentId,
    batch: Batch,
    deadline: Deadline,
) -> Carried {
    let mut carried = Carried::default();
    let beside = keep_beside(pipeline, content, &batch, &mut carried);
    if let Err(failure) = pipeline.keep_in_time(deadline, beside).await {
        carried.failure = Some(failure);
        return carried;
    }
    if batch.body.records == 0 {
        return carried;
    }
    let delivered = {
        let now = pipeline.ports.clock.now();
        let limits = TimeLimits {
            until: tokio::time::Instant::now() + deadline.stop_at.since(now),
            request: pipeline.bounds.delivery_timeout,
        };
        let (sink, body) = (&pipeline.ports.sink, batch.body.clone());
        deliver_in_turn(
            &pipeline.requests,
            pipeline.stopped(),
            sink,
            body,
            limits,
            pipeline.ports.random,
        )
        .await
    };
    let account = &mut carried.account;
    account.requests = delivered.requests;
    account.body_bytes = delivered.body_bytes;
    account.plain_bytes = delivered.plain_bytes;
    carried.failure = delivered.unfinished.as_ref().map(unfinished);
    let refused = keep_refused(pipeline, content, &batch, &delivered);
    match pipeline.keep_in_time(deadline, refused).await {
        Ok(()) => carried.answer(&batch, &delivered),
        Err(failure) => {
            // The refused ones are not answered for until they are kept.
            let accepted = Delivered {
                accepted: delivered.accepted,
                ..Delivered::default()
            };
            carried.answer(&batch, &accepted);
            carried.failure.get_or_insert(failure);
        }
    }
    carried
}

impl Carried {
    fn answer(&mut self, batch: &Batch, delivered: &Delivered) {
        let answered = batch.sent.at_ordinals(&delivered.answered());
        self.account.records_read += answered.count();
        self.account.records_delivered += delivered.records_accepted();
        self.account.records_quarantined += delivered.records_refused();
        let accepted = batch.sent.at_ordinals(&delivered.accepted);
        self.account.records_cut += batch
            .kept
            .iter()
            .filter(|kept| accepted.contains(kept.position.record))
            .count() as u64;
        self.answered.extend(&answered);
    }
}

/// Keeps the records that were too long, which are answered for by that, and the originals of those
/// that were cut.
async fn keep_beside<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock>(
    pipeline: &Pipeline<S, K, L, Q, C>,
    content: &ContentId,
    batch: &Batch,
    carried: &mut Carried,
) -> Result<(), Failure> {
    if batch.kept.is_empty() {
        return Ok(());
    }
    let _turn = pipeline.keeping.acquire().await;
    for (why, folder, reason) in [
        (KeptBecause::Cut, "cut", "record_cut"),
        (
            KeptBecause::TooLong,
            "records",
            FailureKind::RecordTooLong.name(),
        ),
    ] {
        let kept: Vec<KeptRecord<'_>> = batch
            .kept
            .iter()
            .filter(|kept| kept.why == why)
            .map(|kept| KeptRecord {
                reason,
                position: kept.position,
                length: kept.length,
                bytes: &kept.bytes,
            })
            .collect();
        keep(pipeline, content, folder, &kept).await?;
        if why == KeptBecause::TooLong {
            let records: Ranges = kept.iter().map(|kept| kept.position.record).collect();
            carried.account.records_read += records.count();
            carried.account.records_quarantined += records.count();
            carried.answered.extend(&records);
        }
    }
    Ok(())
}

/// Keeps what the endpoint refused.
async fn keep_refused<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock>(
    pipeline: &Pipeline<S, K, L, Q, C>,
    content: &ContentId,
    batch: &Batch,
    delivered: &Delivered,
) -> Result<(), Failure> {
    let unidentified = delivered.unidentified.as_ref();
    if delivered.refused.is_empty() && unidentified.is_none() {
        return Ok(());
    }
    let _turn = pipeline.keeping.acquire().await;
    let plain = batch.body.plain();
    let mut kept = Vec::new();
    let mut refused = delivered.refused.iter().peekable();
    for (ordinal, bytes) in (0..).zip(Body::records_of(&plain)) {
        let identified = refused
            .next_if(|(refused, _)| *refused == ordinal)
            .map(|(_, reason)| reason.kind().name());
        let candidate = unidentified
            .filter(|part| part.candidates.contains(ordinal))
            .map(|_| FailureKind::RejectedUnidentified.name());
        if let (Some(reason), Some(position)) =
            (identified.or(candidate), batch.position_of(ordinal))
        {
            kept.push(KeptRecord {
                reason,
                position,
                length: bytes.len() as u64,
                bytes,
            });
        }
    }
    keep(pipeline, content, "records", &kept).await
}

async fn keep<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock>(
    pipeline: &Pipeline<S, K, L, Q, C>,
    content: &ContentId,
    folder: &str,
    records: &[KeptRecord<'_>],
) -> Result<(), Failure> {
    let mut rest = records;
    while !rest.is_empty() {
        let (together, later) = rest.split_at(entry_records(content, rest));
        let (name, entry) = records_entry(folder, content, together);
        pipeline.ports.quarantine.keep(&name, entry).await?;
        rest = later;
    }
    Ok(())
}

fn unfinished(unfinished: &Unfinished) -> Failure {
    match unfinished {
        Unfinished::Retry { reason, after } => Failure {
            after: *after,
            ..match reason {
                Some(reason) => Failure::new(FailureKind::EndpointUnavailable, reason.to_string()),
                None => Failure::new(FailureKind::OutOfTime, "no time was left for the request"),
            }
        },
        Unfinished::Fatal { reason } => Failure::new(FailureKind::EndpointRefused, reason),
    }
}
