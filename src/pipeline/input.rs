//! The input side of an object: its parts in, batches out, each with the memory that holds it.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reading::{Reading, SMALL_OBJECT_PLAIN_BYTES};
use super::round::Seat;
use crate::assemble::Assembler;
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
    assembler: Assembler,
    /// Makes another one for the whole object, should it be larger than it looked.
    begin: Option<Box<dyn FnOnce() -> Assembler + Send + 'a>>,
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
    /// `begin` makes an assembler for what is to be read; `bodies` has `body_bytes_max` permits, one for
    /// each byte of a batch.
    pub(super) fn new(
        parts: Parts<'a, S, C>,
        begin: impl Fn() -> Assembler + Send + 'a,
        (bodies, body_bytes_max): (&'a Arc<Semaphore>, u32),
        seat: Seat,
        reading: Reading,
    ) -> Self {
        let (assembler, begin): (_, Option<Box<dyn FnOnce() -> Assembler + Send + 'a>>) =
            match reading.is_small() {
                true => (
                    begin().small(SMALL_OBJECT_PLAIN_BYTES),
                    Some(Box::new(begin)),
                ),
                false => (begin(), None),
            };
        Self {
            parts,
            part: Bytes::new(),
            assembler,
            begin,
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
            self.waiting = self.assembler.pop().map(|batch| {
                let reserving = self.reserve(&batch);
                (batch, reserving)
            });
        }
    }

    fn assemble(&mut self) {
        if self.part.is_empty() {
            self.part = self.parts.take().unwrap_or_default();
        }
        let slice = &self.part[..self.part.len().min(SLICE_BYTES)];
        match self.assembler.push(slice) {
            Ok(taken) => self.part.advance(taken),
            Err(error) => self.ended = Some(Err(error)),
        }
        let is_used_up = self.part.is_empty() && !self.assembler.has_batch();
        if self.ended.is_none() && is_used_up && self.parts.is_done() {
            self.ended = Some(self.assembler.finish());
        }
        if self.ended.is_none() && (self.assembler.is_outgrown() || self.assembler.has_batch()) {
            self.outgrow();
        }
    }

    /// Gives up what was read of an object that is not small after all. No batch of it has left.
    fn outgrow(&mut self) {
        if let Some(begin) = self.begin.take()
            && let Some(reading) = self.turn.take()
        {
            self.assembler = begin();
            self.part = Bytes::new();
            self.parts.restart();
            // It takes longer than others can wait for.
            self.seat.step_aside();
            self.awaited = Some(reading.give_up_for_whole());
        }
    }

    fn can_assemble(&self) -> bool {
        let is_free = self.waiting.is_none() && !self.assembler.has_batch();
        is_free && self.turn.is_some() && self.ended.is_none()
    }

    fn reserve(&self, batch: &Batch) -> Reserving {
        let places = if self.assembler.took_window() {
            PLACES_BYTES
        } else {
            0
        };
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
        self.ended.is_some() && self.waiting.is_none() && !self.assembler.has_batch()
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
