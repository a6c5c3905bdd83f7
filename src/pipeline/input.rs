//! The input side of an object: its parts in, batches out, each with the memory that holds it.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reading::{Reading, SMALL_OBJECT_PLAIN_BYTES};
use super::round::Seat;
use crate::assemble::{Assembler, Workspaces};
use crate::batch::Batch;
use crate::checkpoint::Position;
use crate::clock::Clock;
use crate::decode::DecodeError;
use crate::fetch::Parts;
use crate::inflate::WINDOW_BYTES;
use crate::restore::SAVED_BYTES_MAX;
use crate::store::{Store, StoreError};

/// Bytes of a part that are assembled before anything else has its turn.
const SLICE_BYTES: usize = 128 * 1024;

/// What a batch takes beside its bytes: its object's place in the ledger, names and waits. It keeps
/// objects of a few bytes from being held without number.
const BESIDE_BYTES: usize = 16 * 1024;

/// What the restore points of an object take that has any: one as it is written, and one that is newer.
const PLACES_BYTES: usize = SAVED_BYTES_MAX + WINDOW_BYTES;

type Reserving = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;

/// What is being read of one object, and the turn to read it.
pub(super) struct Input<'a, S, C> {
    parts: Parts<'a, S, C>,
    part: Bytes,
    /// Made for the first bytes, and gone with the last: what is waited for takes no buffers.
    assembler: Option<Assembler>,
    begin: Box<dyn Fn() -> Assembler + Send + 'a>,
    workspaces: &'a Workspaces,
    /// Whether the object may still be larger than it looked.
    may_outgrow: bool,
    /// Batches that were ready when the object ended.
    last: VecDeque<Batch>,
    took_window: bool,
    /// Where the records end, or why they cannot be read to their end.
    ended: Option<Result<Position, DecodeError>>,
    /// A batch and the memory it waits for. Until it has that nothing is assembled.
    waiting: Option<(Batch, Reserving)>,
    bodies: &'a Arc<Semaphore>,
    body_bytes_max: u32,
    seat: Seat,
    /// None while it waits for a whole turn, because it is larger than it looked. Nothing is read meanwhile.
    turn: Option<Reading>,
    awaited: Option<BoxFuture<'static, Reading>>,
}

/// How an object's input ended.
pub(super) struct Ended {
    pub(super) records: Result<Position, DecodeError>,
    pub(super) seat: Seat,
}

impl<'a, S: Store, C: Clock> Input<'a, S, C> {
    /// `begin` makes an assembler for what is to be read, with one of the `workspaces`; `bodies` has `body_bytes_max` permits, one for
    /// each byte of a batch.
    pub(super) fn new(
        parts: Parts<'a, S, C>,
        begin: impl Fn() -> Assembler + Send + 'a,
        workspaces: &'a Workspaces,
        (bodies, body_bytes_max): (&'a Arc<Semaphore>, u32),
        seat: Seat,
        reading: Reading,
    ) -> Self {
        Self {
            parts,
            part: Bytes::new(),
            assembler: None,
            begin: Box::new(begin),
            workspaces,
            may_outgrow: reading.is_small(),
            last: VecDeque::new(),
            took_window: false,
            ended: None,
            waiting: None,
            bodies,
            body_bytes_max,
            seat,
            turn: Some(reading),
            awaited: None,
        }
    }

    /// Assembles a slice of the current part, or goes on to the next one, or ends the object. A batch that
    /// is ready has to leave by [`Input::progress`] first.
    pub(super) fn step(&mut self) {
        if self.can_assemble() {
            self.assemble();
        }
        if self.waiting.is_none() {
            let next = match &mut self.assembler {
                Some(assembler) => assembler.pop(),
                None => self.last.pop_front(),
            };
            self.waiting = next.map(|batch| {
                let reserving = self.reserve(&batch);
                (batch, reserving)
            });
        }
    }

    fn assemble(&mut self) {
        if self.part.is_empty() {
            self.part = self.parts.take().unwrap_or_default();
        }
        if self.assembler.is_none() && self.part.is_empty() && !self.parts.is_done() {
            return;
        }
        let assembler = self.assembler.get_or_insert_with(|| {
            let assembler = (self.begin)().using(self.workspaces.take());
            match self.may_outgrow {
                true => assembler.small(SMALL_OBJECT_PLAIN_BYTES),
                false => assembler,
            }
        });
        let slice = &self.part[..self.part.len().min(SLICE_BYTES)];
        match assembler.push(slice) {
            Ok(taken) => self.part.advance(taken),
            Err(error) => self.ended = Some(Err(error)),
        }
        let is_used_up = self.part.is_empty() && !assembler.has_batch();
        if self.ended.is_none() && is_used_up && self.parts.is_done() && !assembler.is_outgrown() {
            self.ended = Some(assembler.finish());
        }
        if assembler.is_outgrown() {
            // It has taken no more, so it does not know how the object ends.
            self.ended = None;
            self.outgrow();
        } else if self.ended.is_some() {
            self.end_assembling();
        } else if self.may_outgrow && assembler.has_batch() {
            self.outgrow();
        }
    }

    fn end_assembling(&mut self) {
        if let Some(mut assembler) = self.assembler.take() {
            self.took_window = assembler.took_window();
            self.last.extend(std::iter::from_fn(|| assembler.pop()));
            self.workspaces.give_back(assembler.into_workspace());
        }
    }

    /// Gives up what was read of an object that is not small after all. No batch of it has left.
    fn outgrow(&mut self) {
        if let Some(reading) = self.turn.take() {
            self.may_outgrow = false;
            self.assembler = None;
            self.part = Bytes::new();
            self.parts.restart();
            // It takes longer than others can wait for.
            self.seat.step_aside();
            self.awaited = Some(reading.give_up_for_whole());
        }
    }

    /// Whether a batch is ready that has not been taken from what assembled it.
    fn has_batch(&self) -> bool {
        let assembler = self.assembler.as_ref();
        assembler.is_some_and(Assembler::has_batch) || !self.last.is_empty()
    }

    fn can_assemble(&self) -> bool {
        let is_free = self.waiting.is_none() && !self.has_batch();
        is_free && self.turn.is_some() && self.ended.is_none()
    }

    fn reserve(&self, batch: &Batch) -> Reserving {
        let assembler = self.assembler.as_ref();
        let took_window = assembler.map_or(self.took_window, Assembler::took_window);
        let places = if took_window { PLACES_BYTES } else { 0 };
        let bytes = u32::try_from(held_bytes(batch) + places).unwrap_or(u32::MAX);
        let bytes = bytes.min(self.body_bytes_max);
        if self.bodies.available_permits() < bytes as usize {
            self.seat.hurry();
        }
        let bodies = Arc::clone(self.bodies);
        Box::pin(async move {
            let held = bodies.acquire_many_owned(bytes).await;
            held.expect("nobody closes this semaphore")
        })
    }

    /// Whether [`Input::step`] has something to do before [`Input::progress`] has.
    pub(super) fn can_step(&self) -> bool {
        let has_bytes = !self.part.is_empty() || self.parts.has_part();
        self.waiting.is_none() && self.ended.is_none() && has_bytes
    }

    /// Fetches a part ahead, unless a batch leaves first. Dropping this before it is ready loses nothing.
    pub(super) async fn progress(
        &mut self,
    ) -> Result<Option<(Batch, OwnedSemaphorePermit)>, StoreError> {
        if let Some(awaited) = &mut self.awaited {
            self.turn = Some(awaited.await);
            self.awaited = None;
            return Ok(None);
        }
        let Self { parts, waiting, .. } = self;
        let has_memory = async {
            match waiting {
                Some((_, reserving)) => reserving.await,
                None => std::future::pending().await,
            }
        };
        let can_fill = parts.can_fill();
        tokio::select! {
            biased;
            held = has_memory => {
                let batch = waiting.take().map(|(batch, _)| batch);
                if !self.is_ended() {
                    // What fills a batch may take long.
                    self.seat.step_aside();
                }
                Ok(batch.map(|batch| (batch, held)))
            }
            filled = parts.fill(), if can_fill => filled.map(|()| None),
        }
    }

    /// Whether the last batch has left. Only then does [`Input::end`] say how the object ended.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_some() && self.waiting.is_none() && !self.has_batch()
    }

    /// How the object ended. Gives on the turn to read.
    pub(super) fn end(self) -> Ended {
        Ended {
            records: self.ended.unwrap_or_else(|| Ok(Position::default())),
            seat: self.seat,
        }
    }
}

/// Bytes that a batch takes in memory.
fn held_bytes(batch: &Batch) -> usize {
    let kept: usize = batch.kept.iter().map(|kept| kept.bytes.capacity()).sum();
    let offsets = batch.offsets.capacity() * size_of::<u32>();
    let pieces = batch.sent.pieces() + batch.filtered.pieces();
    let ranges = pieces * size_of::<Range<u64>>();
    BESIDE_BYTES + batch.body.gzip.len() + kept + offsets + ranges
}
