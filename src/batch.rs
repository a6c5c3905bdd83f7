//! Records → batches: what one request carries, and what is kept beside it.
//!
//! A batch is a function of the object's bytes, the place it starts from, the shape and the limits
//! alone. Whoever fills it asks *is it full, does this fit, take it*.

use crate::body::{Body, BodyWriter};
use crate::checkpoint::{Position, Ranges};
use crate::records::Record;

/// A run of records on their way to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub body: Body,
    /// Indexes of the records in the body, in order.
    pub sent: Ranges,
    /// Where each record of the body begins in the object, in plain bytes after `start`.
    pub offsets: Vec<u32>,
    /// Where the batch begins: after all that earlier batches cover.
    pub start: Position,
    /// Where the batch ends: everything between is in the body, kept, or answered for already.
    pub end: Position,
    /// Records to be kept in quarantine before the batch counts as answered for.
    pub kept: Vec<Kept>,
}

/// A record that is kept as it stood in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub why: KeptBecause,
    pub position: Position,
    /// Bytes of the record, of which `bytes` may hold only the first.
    pub length: u64,
    pub bytes: Vec<u8>,
}

/// Why a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeptBecause {
    /// It was cut to a limit, and the cut record is delivered.
    Cut,
    /// It is too long to be delivered at all.
    TooLong,
}

impl Batch {
    /// The position of the record at `ordinal` in the body.
    pub fn position_of(&self, ordinal: u64) -> Option<Position> {
        let record = self.sent.at_ordinals(&Ranges::from(ordinal..ordinal + 1));
        let offset = self.offsets.get(usize::try_from(ordinal).ok()?)?;
        Some(Position {
            offset: self.start.offset + u64::from(*offset),
            record: record.iter().next()?.start,
        })
    }
}

/// Fills one batch after another.
pub struct Batcher {
    batch_bytes_max: usize,
    level: u32,
    open: Option<Open>,
    /// Where the next batch begins.
    start: Position,
}

struct Open {
    body: BodyWriter,
    sent: Ranges,
    offsets: Vec<u32>,
    kept: Vec<Kept>,
    kept_bytes: usize,
}

/// A batch covers at most this many plain bytes of its object, so that an offset fits 32 bits.
const SPAN_BYTES_MAX: u64 = 1 << 31;

impl Batcher {
    /// Batches of at most `batch_bytes_max` plain bytes (a single larger record goes alone),
    /// compressed at `level`.
    pub fn new(batch_bytes_max: usize, level: u32, start: Position) -> Self {
        Self {
            batch_bytes_max,
            level,
            open: None,
            start,
        }
    }

    /// Whether a record of `length` bytes that begins at `position` fits the open batch; one always
    /// fits an empty batch.
    pub fn fits(&self, position: Position, length: usize) -> bool {
        let Some(open) = &self.open else {
            return true;
        };
        let held = open.body.plain_bytes() as usize + open.kept_bytes;
        held == 0
            || (held + length < self.batch_bytes_max
                && position.offset - self.start.offset < SPAN_BYTES_MAX)
    }

    /// Puts a record into the body, as `outgoing`.
    pub fn send(&mut self, record: &Record<'_>, outgoing: &[u8]) {
        let start = self.start.offset;
        let open = self.open();
        open.body.push(outgoing);
        let index = record.position.record;
        open.sent.insert(index..index + 1);
        let offset = record.position.offset.saturating_sub(start);
        open.offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
    }

    /// Keeps a record beside the body.
    pub fn keep(&mut self, record: &Record<'_>, why: KeptBecause) {
        let open = self.open();
        open.kept_bytes += record.bytes.len();
        open.kept.push(Kept {
            why,
            position: record.position,
            length: record.length,
            bytes: record.bytes.to_vec(),
        });
    }

    /// Ends the open batch at `end`. `None` if it holds nothing.
    pub fn cut(&mut self, end: Position) -> Option<Batch> {
        let open = self.open.take()?;
        let start = std::mem::replace(&mut self.start, end);
        Some(Batch {
            body: open.body.finish(),
            sent: open.sent,
            offsets: open.offsets,
            start,
            end,
            kept: open.kept,
        })
    }

    fn open(&mut self) -> &mut Open {
        self.open.get_or_insert_with(|| Open {
            body: BodyWriter::new(flate2::Compression::new(self.level)),
            sent: Ranges::new(),
            offsets: Vec::new(),
            kept: Vec::new(),
            kept_bytes: 0,
        })
    }
}
