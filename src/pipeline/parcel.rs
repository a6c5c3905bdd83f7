//! One batch on its way: what is to be kept of it is kept, the rest is delivered, alone or with
//! those of other objects, and what is refused is kept too.

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::round::{Part, Seat, Sharing};
use super::{Deadline, Pipeline};
use crate::batch::{Batch, KeptBecause};
use crate::body::Body;
use crate::checkpoint::{Account, Ranges};
use crate::clock::Clock;
use crate::delivery::{Delivered, Unfinished, Until};
use crate::evidence::{KeptRecord, entry_records, records_entry};
use crate::failure::{Failure, FailureKind};
use crate::ledger::Ledger;
use crate::object::ContentId;
use crate::quarantine::Quarantine;
use crate::sink::Sink;
use crate::store::Store;

/// A batch that leaves.
pub(super) struct Parcel {
    pub(super) batch: Batch,
    /// The memory it is held in.
    pub(super) held: OwnedSemaphorePermit,
    /// With the last batch of its object: the right to share a request.
    pub(super) seat: Option<Seat>,
}

/// What became of one batch.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) answered: Ranges,
    pub(super) account: Account,
    pub(super) failure: Option<Failure>,
}

/// What became of a batch's body.
struct Sent {
    delivered: Delivered,
    /// The body that was sent, and the ordinal in it of the batch's first record.
    body: Body,
    first: u64,
    _held: Held,
}

/// The memory that a batch is held in.
enum Held {
    Alone { _permit: OwnedSemaphorePermit },
    Shared { _part: Part },
}

/// Keeps what is to be kept of a batch, delivers the rest, and keeps what was refused.
pub(super) async fn carry<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock>(
    pipeline: &Pipeline<S, K, L, Q, C>,
    content: &ContentId,
    sharing: &Sharing,
    parcel: Parcel,
    deadline: Deadline,
) -> Carried {
    let Parcel {
        mut batch,
        held,
        seat,
    } = parcel;
    let mut carried = Carried::default();
    // What is rare is boxed, so that no batch that waits takes room for it.
    if !batch.kept.is_empty() {
        let beside = keep_beside(pipeline, content, &batch, &mut carried);
        if let Err(failure) = pipeline.keep_in_time(deadline, beside).boxed().await {
            carried.failure = Some(failure);
            return carried;
        }
    }
    if batch.body.records == 0 {
        carried.leave_out(&batch, &Ranges::new());
        return carried;
    }
    let (now, clock) = (Instant::now(), pipeline.ports.clock.now());
    let until = Until {
        begin: now + deadline.stop_at.since(clock),
        answer: now + deadline.answer_until().since(clock),
    };
    let body = batch.body.clone();
    // A shared body holds the records of this one.
    batch.body.gzip = Bytes::new();
    let sent = match seat {
        Some(seat) if seat.takes(&body) => {
            let part = seat.deliver(body, held, until).await;
            Sent {
                delivered: part.delivered().clone(),
                body: part.body().clone(),
                first: part.first(),
                _held: Held::Shared { _part: part },
            }
        }
        seat => {
            drop(seat);
            Sent {
                delivered: sharing.deliver_alone(body.clone(), until).await,
                body,
                first: 0,
                _held: Held::Alone { _permit: held },
            }
        }
    };
    let delivered = &sent.delivered;
    let account = &mut carried.account;
    account.requests = delivered.requests;
    account.body_bytes = delivered.body_bytes;
    account.plain_bytes = delivered.plain_bytes;
    carried.failure = match &delivered.unfinished {
        Some(Unfinished::Retry { reason: None, .. }) if sharing.is_refused() => Some(refused_all()),
        other => other.as_ref().map(|unfinished| {
            let is_of_rule = sent.body.route.endpoint.is_some();
            failure_of(unfinished, is_of_rule)
        }),
    };
    let kept = if delivered.refused.is_empty() && delivered.unidentified.is_none() {
        Ok(())
    } else {
        let refused = keep_refused(pipeline, content, &batch, &sent);
        pipeline.keep_in_time(deadline, refused).boxed().await
    };
    match kept {
        Ok(()) => carried.answer(&batch, delivered),
        Err(failure) => {
            // The refused ones are not answered for until they are kept.
            let accepted = Delivered {
                accepted: delivered.accepted.clone(),
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
        self.leave_out(batch, &answered);
        self.answered.extend(&answered);
    }

    /// Answers for the records that a rule leaves out, given those of the body that are answered for. So what is
    /// answered for of a batch has hardly more pieces than what was accepted of its body.
    fn leave_out(&mut self, batch: &Batch, answered: &Ranges) {
        let left_out = batch.filtered_beside(answered);
        self.account.records_read += left_out.count();
        self.account.records_filtered += left_out.count();
        self.answered.extend(&left_out);
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
                log_type: batch.body.route.log_type.as_deref(),
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
    sent: &Sent,
) -> Result<(), Failure> {
    let delivered = &sent.delivered;
    let unidentified = delivered.unidentified.as_ref();
    let _turn = pipeline.keeping.acquire().await;
    let plain = sent.body.plain();
    let before = usize::try_from(sent.first).unwrap_or(usize::MAX);
    let records = Body::records_of(&plain).skip(before);
    let mut kept = Vec::new();
    let mut refused = delivered.refused.iter().peekable();
    for (ordinal, bytes) in (0..batch.body.records).zip(records) {
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
                log_type: sent.body.route.log_type.as_deref(),
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
        pipeline.keep(&name, entry).await?;
        rest = later;
    }
    Ok(())
}

/// `is_of_rule` says that the endpoint is one that a rule names: others have nothing to do with it.
fn failure_of(unfinished: &Unfinished, is_of_rule: bool) -> Failure {
    match unfinished {
        Unfinished::Retry { reason, after } => Failure {
            after: *after,
            ..match reason {
                Some(reason) => Failure::new(FailureKind::EndpointUnavailable, reason.to_string()),
                None => Failure::new(FailureKind::OutOfTime, "no time was left for the request"),
            }
        },
        Unfinished::Fatal { reason } if is_of_rule => {
            Failure::new(FailureKind::EndpointOfRuleRefused, reason)
        }
        Unfinished::Fatal { reason } => Failure::new(FailureKind::EndpointRefused, reason),
    }
}

/// Why an object is not carried on after the endpoint has refused everything.
pub(super) fn refused_all() -> Failure {
    Failure::new(FailureKind::NotBegun, "another item met a fatal failure")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batcher;
    use crate::checkpoint::Position;
    use crate::records::{Form, Frame, Record};

    /// A batch of ten records, of which `is_left_out` says what is left out.
    fn batch(is_left_out: impl Fn(u64) -> bool) -> Batch {
        let position = |record| Position {
            offset: record * 2,
            record,
        };
        let mut batcher = Batcher::new(1_000, 1, Position::default());
        for index in 0..10 {
            let record = Record {
                bytes: b"x",
                position: position(index),
                length: 1,
                end: index * 2 + 2,
                frame: Frame::LineFeed,
                form: Form::Line,
            };
            match is_left_out(index) {
                true => batcher.leave_out(&record),
                false => batcher.send(&record, record.bytes),
            }
        }
        let source = crate::batch::Source {
            plain: b"",
            offset: 20,
        };
        batcher.cut(position(10), source).expect("ten records")
    }

    #[test]
    fn the_account_holds_of_what_is_delivered_and_left_out_together_and_in_part() {
        let batch = batch(|index| index % 3 == 0);
        for accepted in 0..=batch.body.records {
            let mut carried = Carried::default();
            let delivered = Delivered {
                accepted: Ranges::from(0..accepted),
                ..Delivered::default()
            };
            carried.answer(&batch, &delivered);
            let account = carried.account;
            assert!(account.holds(), "{account:?}");
            assert_eq!(account.records_delivered, accepted);
            assert_eq!(account.records_read, carried.answered.count());
            assert_eq!(carried.answered.pieces(), 1, "{:?}", carried.answered);
            assert_eq!(carried.answered.first_gap(0), account.records_read);
        }
        let whole = Ranges::from(0..6);
        assert_eq!(
            batch
                .filtered_beside(&batch.sent.at_ordinals(&whole))
                .count(),
            4
        );
    }

    #[test]
    fn a_batch_with_nothing_to_send_is_answered_for() {
        let batch = batch(|_| true);
        assert_eq!(batch.body.records, 0);
        let mut carried = Carried::default();
        carried.leave_out(&batch, &Ranges::new());
        assert_eq!(carried.answered, Ranges::from(0..10));
        let expected = Account {
            records_read: 10,
            records_filtered: 10,
            ..Account::default()
        };
        assert_eq!(carried.account, expected);
    }
}
