//! The bytes of an object → batches: decode, split, shape and batch as one machine.
//!
//! Goes in: an object's bytes in pieces of any size, and where to go on. Comes out: batches. It is
//! plain code: no I/O, no clock, no randomness; the same bytes, place, shape and limits give the same
//! batches however the bytes are cut into pieces.

use std::collections::VecDeque;

use crate::batch::{Batch, Batcher, KeptBecause};
use crate::checkpoint::{Checkpoint, Position, Ranges};
use crate::decode::{DecodeError, Decoder};
use crate::records::{LineSplitter, Record};
use crate::shape::{Shape, Shaped};

/// Plain bytes that are decoded at a time.
const PLAIN_BYTES: usize = 64 * 1024;

/// What bounds the batches of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Plain bytes of one batch.
    pub batch_bytes_max: usize,
    /// Bytes of one record that are held; a longer one is cut or kept, by the shape.
    pub record_bytes_max: usize,
    /// Compression level of bodies, 1 to 9.
    pub level: u32,
}

/// Turns one object into batches.
///
/// Memory: one open batch's body, [`PLAIN_BYTES`], one record, and the window of the decoder.
pub struct Assembler {
    decoder: Decoder,
    splitter: LineSplitter,
    shape: Shape,
    batcher: Batcher,
    /// Records that are answered for, from the checkpoint.
    done: Ranges,
    plain: Vec<u8>,
    /// How much of `plain` is split already.
    plain_split: usize,
    scratch: Vec<u8>,
    ready: VecDeque<Batch>,
}

impl Assembler {
    /// Goes on from `checkpoint`: what it covers is read again but not sent again.
    pub fn new(limits: Limits, shape: Shape, checkpoint: &Checkpoint) -> Self {
        let mut done = checkpoint.accepted.clone();
        done.insert(0..checkpoint.position.record);
        Self {
            decoder: Decoder::new(),
            splitter: LineSplitter::new(limits.record_bytes_max),
            shape,
            batcher: Batcher::new(limits.batch_bytes_max, limits.level, checkpoint.position),
            done,
            plain: Vec::with_capacity(PLAIN_BYTES),
            plain_split: 0,
            scratch: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes bytes of the object until a batch is ready, and returns how many it took. Call it again
    /// with the rest, even if nothing is left of it, until [`Assembler::pop`] has nothing to give.
    ///
    /// On an error, every complete record before the damage comes out of `pop`.
    pub fn push(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let mut taken = 0;
        while self.ready.is_empty() {
            if self.plain_split < self.plain.len() {
                self.split();
                continue;
            }
            self.plain.clear();
            self.plain_split = 0;
            let decoded = self.decoder.push(&input[taken..], &mut self.plain);
            match decoded {
                Ok(step) => taken += step,
                Err(error) => {
                    self.split_all();
                    self.cut();
                    return Err(error);
                }
            }
            if self.plain.is_empty() {
                break;
            }
        }
        Ok(taken)
    }

    /// The next batch that is ready.
    pub fn pop(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }

    /// Whether [`Assembler::pop`] has something to give.
    pub fn has_batch(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Says that the object has ended: what is left comes out of [`Assembler::pop`]. Returns where the
    /// object's records end. An object that is not complete is an error; its complete records come
    /// out of `pop` all the same.
    pub fn finish(&mut self) -> Result<Position, DecodeError> {
        self.split_all();
        let end = self.decoder.finish(&mut self.plain);
        self.split_all();
        if end.is_ok() {
            self.take_last_record();
        }
        self.cut();
        end.map(|()| self.splitter.position())
    }

    /// Bytes of the object that were decoded, for the report of a damage.
    pub fn input_bytes(&self) -> u64 {
        self.decoder.input_bytes()
    }

    /// Where the next record begins.
    pub fn position(&self) -> Position {
        self.splitter.position()
    }

    fn split_all(&mut self) {
        while self.plain_split < self.plain.len() {
            self.split();
        }
        self.plain.clear();
        self.plain_split = 0;
    }

    /// Takes records from the plain bytes until they are used up or a batch is ready.
    fn split(&mut self) {
        let Self {
            splitter,
            shape,
            batcher,
            done,
            plain,
            plain_split,
            scratch,
            ready,
            ..
        } = self;
        let mut rest = &plain[*plain_split..];
        while let Some(record) = splitter.pop(&mut rest) {
            let before = ready.len();
            take(record, shape, batcher, done, scratch, ready);
            if ready.len() > before {
                break;
            }
        }
        *plain_split = plain.len() - rest.len();
    }

    fn take_last_record(&mut self) {
        let Self {
            splitter,
            shape,
            batcher,
            done,
            scratch,
            ready,
            ..
        } = self;
        if let Some(record) = splitter.finish() {
            take(record, shape, batcher, done, scratch, ready);
        }
    }

    fn cut(&mut self) {
        self.ready
            .extend(self.batcher.cut(self.splitter.position()));
    }
}

/// Shapes a record and puts it into the open batch, or after it into a new one.
fn take(
    record: Record<'_>,
    shape: &Shape,
    batcher: &mut Batcher,
    done: &Ranges,
    scratch: &mut Vec<u8>,
    ready: &mut VecDeque<Batch>,
) {
    if done.contains(record.position.record) {
        return;
    }
    let shaped = shape.shape(&record, scratch);
    let length = match shaped {
        Shaped::Unchanged(outgoing) | Shaped::Edited(outgoing) => outgoing.len(),
        Shaped::Cut(outgoing) => outgoing.len() + record.bytes.len(),
        Shaped::TooLong => record.bytes.len(),
    };
    if !batcher.fits(record.position, length) {
        ready.extend(batcher.cut(record.position));
    }
    match shaped {
        Shaped::Unchanged(outgoing) | Shaped::Edited(outgoing) => batcher.send(&record, outgoing),
        Shaped::Cut(outgoing) => {
            batcher.send(&record, outgoing);
            batcher.keep(&record, KeptBecause::Cut);
        }
        Shaped::TooLong => batcher.keep(&record, KeptBecause::TooLong),
    }
}
