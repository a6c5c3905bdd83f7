//! Records → batches: what one request carries, and what is kept beside it.
//!
//! A batch is a function of the object's bytes, the place it starts from, the shape and the limits
//! alone. Whoever fills it asks *is it full, does this fit, take it*.
//!
//! A body is filled in two ways: records are compressed, or the DEFLATE block that holds them is copied as
//! it stands in the object. A block may be copied only where the body holds what its back-references
//! reach, so the batcher keeps track of how far the end of the body is the object's own plain bytes,
//! the *run*. To let blocks follow one another, the run may end with a record that is not complete yet,
//! the *partial*. If that record must not go out as it came after all, the body is taken apart and
//! compressed without it: rare, and at most once for each batch.

use std::ops::Range;
use std::sync::Arc;

use crate::body::{Body, BodyWriter, Tools};
use crate::checkpoint::{Position, Ranges};
use crate::decode::Block;
use crate::records::{Frame, Record};
use crate::restore::RestorePoint;
use crate::route::Route;
use crate::symbols::{self, Entry};

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
    /// Where the batch ends: everything between is in the body, kept, left out, or answered for already.
    pub end: Position,
    /// Records to be kept in quarantine before the batch counts as answered for.
    pub kept: Vec<Kept>,
    /// Indexes of the records that a rule leaves out. They are answered for with the records of the body that
    /// stand before them.
    pub filtered: Ranges,
    /// A place not after `end` from which the object can be decoded, if there is a new one.
    pub restore: Option<RestorePoint>,
    /// As what its object is read.
    pub read_as: Option<Arc<str>>,
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
    /// The records that are left out and can be answered for with those of the body that are `answered` for: each
    /// with the last one of the body before it, and those before all of the body at once.
    pub fn filtered_beside(&self, answered: &Ranges) -> Ranges {
        let mut beside = Ranges::new();
        for range in self.filtered.iter() {
            let before = self.sent.last_before(range.start);
            if before.is_none_or(|before| answered.contains(before)) {
                beside.insert(range.clone());
            }
        }
        beside
    }

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

/// A batch covers at most this many plain bytes of its object, so that an offset fits 32 bits.
const SPAN_BYTES_MAX: u64 = 1 << 31;

/// A batch that holds anything ends before a record that begins so many plain bytes after its start, full or not:
/// what is left out takes no room, and the checkpoint is to go forward all the same.
const COVERED_BYTES_MAX: u64 = 64 << 20;

/// A batch holds at most this many records, so that what is noted of each is bounded too: 4 bytes.
const RECORDS_MAX: usize = 1 << 17;

/// Records that a batch has room for from the start.
const RECORDS_ORDINARY: usize = 256;

/// How far a back-reference reaches (RFC 1951, section 2).
const WINDOW_BYTES: u64 = 32 * 1024;

/// The least of a block that is worth being entered for.
const ENTER_BYTES_MIN: u64 = 8 * 1024;

/// Plain bytes of the smallest block that is copied. A copied block can cost some 20 bytes around it, and a block may
/// take more bytes than it holds; so that a body is never much larger than what it inflates to, blocks
/// that are small or that large are compressed again, which takes hardly longer.
const COPIED_BYTES_MIN: u64 = 1024;

/// The largest partial. A record that is longer has the blocks it stands in compressed again.
const PARTIAL_BYTES_MAX: u64 = 64 * 1024;

/// Plain bytes of an object, and where they stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub plain: &'a [u8],
    pub offset: u64,
}

impl<'a> Source<'a> {
    pub fn end(&self) -> u64 {
        self.offset + self.plain.len() as u64
    }

    /// What stands at `range`, as far as it is here.
    fn slice(&self, range: Range<u64>) -> &'a [u8] {
        let at = |offset: u64| offset.saturating_sub(self.offset) as usize;
        self.plain
            .get(at(range.start)..at(range.end))
            .unwrap_or_default()
    }
}

/// Fills one batch after another.
pub struct Batcher {
    batch_bytes_max: usize,
    body: BodyWriter,
    open: Option<Open>,
    /// Where the next batch begins.
    start: Position,
}

struct Open {
    sent: Ranges,
    offsets: Vec<u32>,
    kept: Vec<Kept>,
    kept_bytes: usize,
    filtered: Ranges,
    /// Plain bytes of the object with which the batch ends as they are: those of the body, then those that
    /// are yet to be written to it.
    run: Range<u64>,
    /// How many of them are yet to be written.
    unwritten: u64,
    /// How many of them belong to a record that is not complete.
    partial: u64,
    /// Whether a partial was taken out of this batch. Then it takes no other.
    took_apart: bool,
}

impl Batcher {
    /// Batches of at most `batch_bytes_max` plain bytes (a single larger record goes alone),
    /// compressed at `level`.
    pub fn new(batch_bytes_max: usize, level: u32, start: Position) -> Self {
        Self {
            batch_bytes_max,
            body: BodyWriter::new(level),
            open: None,
            start,
        }
    }

    /// Compresses with what another one has left. Nothing was taken yet.
    pub fn set_tools(&mut self, tools: Tools) {
        self.body.set_tools(tools);
    }

    /// What another one can use.
    pub fn into_tools(self) -> Tools {
        self.body.into_tools()
    }

    /// Says where this batch and those after it go.
    pub fn set_route(&mut self, route: Route) {
        self.body.set_route(route);
    }

    /// Whether a record of `length` bytes that begins at `position` fits the open batch; one always
    /// fits an empty batch.
    pub fn fits(&self, position: Position, length: usize) -> bool {
        let Some(open) = &self.open else {
            return true;
        };
        let held = self.held(open) - open.partial as usize;
        // Of an object that does not read as it did before, a record may stand before the checkpoint.
        let covered = position.offset.saturating_sub(self.start.offset);
        let covered_max = COVERED_BYTES_MAX.max(self.batch_bytes_max as u64);
        let has_room = held == 0 || held + length < self.batch_bytes_max;
        (held == 0 && open.filtered.is_empty())
            || (has_room
                && open.offsets.len() < RECORDS_MAX
                && open.filtered.pieces() <= RECORDS_MAX
                && covered < covered_max.min(SPAN_BYTES_MAX))
    }

    /// Whether `plain_bytes` of unchanged records all fit the open batch. A 128th part of it is left free, so
    /// that the record with which a block ends nearly always fits as well.
    pub fn fits_block(&self, plain_bytes: u64) -> bool {
        let held = |open: &Open| self.held(open) - open.partial as usize;
        let held = self.open.as_ref().map_or(0, held);
        held + plain_bytes as usize + self.batch_bytes_max / 128 < self.batch_bytes_max
    }

    /// Whether the batch is better ended now than filled with a part of a block of `plain_bytes`:
    /// then less of that block is compressed again, and the batch is at least three quarters full.
    pub fn is_full_enough(&self, plain_bytes: u64) -> bool {
        self.open.is_some()
            && !self.fits_block(plain_bytes)
            && plain_bytes as usize <= self.batch_bytes_max / 4
    }

    /// Whether `block`, whose plain bytes `source` holds, may be copied into the open batch, if none of its
    /// records has to change, and is worth it. `incomplete` is the length of the record in which it begins.
    pub fn may_copy(&self, block: &Block<'_>, source: Source<'_>, incomplete: u64) -> bool {
        if block.plain_bytes < COPIED_BYTES_MIN || block.bits.length() > block.plain_bytes * 8 {
            return false;
        }
        let Some(open) = &self.open else {
            return incomplete == 0 && block.member_bytes_before == 0;
        };
        let reach = WINDOW_BYTES.min(block.member_bytes_before);
        open.run.end == source.offset
            && open.partial == incomplete
            && open.run.end - open.run.start >= reach
    }

    /// Takes a record that goes out as it came. `source` holds its bytes, but for those of the partial.
    /// False if it does not go on where the batch ended.
    pub fn send_unchanged(&mut self, record: &Record<'_>, source: Source<'_>) -> bool {
        self.note(record);
        let Some(open) = &mut self.open else {
            return false;
        };
        let start = match open.partial {
            0 => record.position.offset,
            partial => record.position.offset + partial,
        };
        let goes_on = open.run.end == start;
        if start < source.offset {
            // Its start came with an earlier source, so only the record itself has all of it.
            self.body.push(record.bytes);
        } else {
            if !goes_on {
                self.body
                    .write(source.slice(open.run.end - open.unwritten..open.run.end));
                open.unwritten = 0;
            }
            open.unwritten += record.end - start;
            self.body.count(1);
        }
        let run_start = if goes_on {
            open.run.start
        } else {
            record.position.offset
        };
        open.run = run_start..record.end;
        open.partial = 0;
        if record.frame == Frame::ObjectEnd && start >= source.offset {
            self.write(source);
            self.body.write(b"\n");
        }
        goes_on
    }

    /// Takes a record that goes out as `outgoing`. Nothing is unwritten.
    pub fn send(&mut self, record: &Record<'_>, outgoing: &[u8]) {
        self.note(record);
        self.body.push(outgoing);
        self.break_run(record.end);
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
        self.break_run(record.end);
    }

    /// Leaves a record out. Nothing is unwritten.
    pub fn leave_out(&mut self, record: &Record<'_>) {
        let index = record.position.record;
        self.open().filtered.insert(index..index + 1);
        self.break_run(record.end);
    }

    /// Writes what is unwritten to the body. `source` holds it.
    pub fn write(&mut self, source: Source<'_>) {
        if let Some(open) = &mut self.open {
            let unwritten = open.run.end - open.unwritten..open.run.end;
            self.body.write(source.slice(unwritten));
            open.unwritten = 0;
        }
    }

    /// Opens a batch that begins with `source`, if none is open.
    pub fn begin(&mut self, source: Source<'_>) {
        if self.open.is_none() {
            self.open().run = source.offset..source.offset;
        }
    }

    /// Copies a block that [`Batcher::may_copy`] and whose records were all taken, each going on where the
    /// one before ended. What is unwritten is part of it; its last `partial` bytes are of a record that is
    /// not complete.
    pub fn copy(&mut self, block: &Block<'_>, source: Source<'_>, partial: u64) {
        self.body.copy(block);
        let open = self.open();
        open.unwritten = 0;
        open.run.end = source.end();
        open.partial = partial;
    }

    /// Copies as much of a block as may be copied, and writes what comes before it: what is unwritten, and
    /// the start of a record, `incomplete` bytes so far, that [`Batcher::may_hold`]. The records of
    /// the block were all taken.
    pub fn copy_rest(&mut self, block: &Block<'_>, source: Source<'_>, incomplete: u64) {
        let held = source.end() - incomplete.min(source.plain.len() as u64);
        if self.open.is_none() && held < source.end() {
            self.open().run = held..held;
        }
        let entry = self.entry(block, source);
        let Some(open) = &mut self.open else {
            return;
        };
        let unwritten = open.run.end - open.unwritten..source.end();
        open.unwritten = 0;
        open.run.end = source.end();
        open.partial = incomplete;
        match entry {
            Some(entry) => {
                let from = source.offset + entry.plain_bytes;
                let rest = source.slice(from..unwritten.end);
                self.body.write(source.slice(unwritten.start..from));
                self.body.copy_from(block, entry, rest);
            }
            None => self.body.write(source.slice(unwritten)),
        }
    }

    /// Where in the block that was the source copying may begin.
    fn entry(&self, block: &Block<'_>, source: Source<'_>) -> Option<Entry> {
        let open = self.open.as_ref()?;
        let unwritten = open.run.end - open.unwritten;
        let member = source.offset - block.member_bytes_before;
        let reached = if member >= open.run.start {
            unwritten
        } else {
            unwritten.max(open.run.start + WINDOW_BYTES)
        };
        if reached + ENTER_BYTES_MIN > source.end() {
            return None;
        }
        let entry = symbols::enter(block.bits, reached - source.offset)?;
        let rest = (source.plain.len() as u64).checked_sub(entry.plain_bytes)?;
        let rest_bits = entry.header_bits + block.bits.length() - entry.bits;
        (rest > 0 && rest_bits <= rest * 8).then_some(entry)
    }

    /// Whether the start of a record, `incomplete` bytes so far, with which `source` ends, may become the
    /// partial.
    pub fn may_hold(&self, source: Source<'_>, incomplete: u64) -> bool {
        let here = incomplete.min(source.plain.len() as u64);
        let fits = incomplete <= PARTIAL_BYTES_MAX;
        let Some(open) = &self.open else {
            return fits && here == incomplete;
        };
        let is_new = here == incomplete && open.partial == 0;
        let grows = here < incomplete && open.partial == incomplete - here;
        fits && !open.took_apart
            && (is_new || grows)
            && (open.run.end == source.end() - here)
            && self.held(open) + (here as usize) < self.batch_bytes_max
    }

    /// Writes the start of a record that [`Batcher::may_hold`], if there is any. Nothing is unwritten.
    pub fn hold(&mut self, source: Source<'_>, incomplete: u64) {
        if incomplete == 0 {
            return;
        }
        let here = source.end() - incomplete.min(source.plain.len() as u64)..source.end();
        if self.open.is_none() {
            self.open().run = here.start..here.start;
        }
        self.body.write(source.slice(here.clone()));
        let open = self.open();
        open.run.end = here.end;
        open.partial = incomplete;
    }

    /// Takes the partial out of the body again, unless it is the start of the record at `position`: what is
    /// incomplete can turn out to be no record at all, such as a CR or a byte order mark alone on its line.
    pub fn take_out_other_partial(&mut self, position: Position) {
        let is_other = |open: &Open| open.run.end - open.partial != position.offset;
        if self.open.as_ref().is_some_and(is_other) {
            self.take_out_partial();
        }
    }

    /// Takes the partial out of the body again.
    pub fn take_out_partial(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        if open.partial == 0 {
            return;
        }
        let body = self.body.finish();
        let plain = body.plain();
        let complete = plain.len() - open.partial as usize;
        self.body.write(&plain[..complete]);
        self.body.count(body.records);
        open.run.end -= open.partial;
        open.run.start = open.run.start.min(open.run.end);
        open.partial = 0;
        open.took_apart = true;
    }

    /// Ends the open batch at `end`. `None` if it holds nothing. `source` holds what is unwritten.
    pub fn cut(&mut self, end: Position, source: Source<'_>) -> Option<Batch> {
        self.write(source);
        self.take_out_partial();
        let mut open = self.open.take()?;
        let body = self.body.finish();
        if body.records == 0 && open.kept.is_empty() && open.filtered.is_empty() {
            return None;
        }
        open.offsets.shrink_to_fit();
        let start = std::mem::replace(&mut self.start, end);
        Some(Batch {
            body,
            sent: open.sent,
            offsets: open.offsets,
            start,
            end,
            kept: open.kept,
            filtered: open.filtered,
            restore: None,
            read_as: None,
        })
    }

    /// Plain bytes of the batch, and bytes of what is kept beside it.
    fn held(&self, open: &Open) -> usize {
        self.body.plain_bytes() as usize + open.unwritten as usize + open.kept_bytes
    }

    fn note(&mut self, record: &Record<'_>) {
        if record.position.offset.saturating_sub(self.start.offset) >= SPAN_BYTES_MAX {
            // It is the first of its batch, and follows that many bytes of blank lines.
            self.start = record.position;
        }
        let offset = record.position.offset.saturating_sub(self.start.offset);
        let open = self.open();
        let index = record.position.record;
        open.sent.insert(index..index + 1);
        open.offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
    }

    /// From here on the batch no longer ends with what stands in the object before `offset`.
    fn break_run(&mut self, offset: u64) {
        let open = self.open();
        debug_assert_eq!((open.unwritten, open.partial), (0, 0));
        open.run = offset..offset;
    }

    fn open(&mut self) -> &mut Open {
        self.open.get_or_insert_with(|| Open {
            sent: Ranges::new(),
            offsets: Vec::with_capacity(RECORDS_ORDINARY),
            kept: Vec::new(),
            kept_bytes: 0,
            filtered: Ranges::new(),
            run: 0..0,
            unwritten: 0,
            partial: 0,
            took_apart: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Form;

    #[test]
    fn the_offset_of_a_record_after_gigabytes_of_blank_lines_is_right() {
        let mut batcher = Batcher::new(100, 1, Position::default());
        let position = Position {
            offset: 5_000_000_000,
            record: 0,
        };
        let record = Record {
            bytes: b"late",
            position,
            length: 4,
            end: position.offset + 5,
            frame: Frame::LineFeed,
            form: Form::Line,
        };
        assert!(batcher.fits(position, 4));
        batcher.send(&record, record.bytes);
        let end = Position {
            offset: record.end,
            record: 1,
        };
        let source = Source {
            plain: b"",
            offset: record.end,
        };
        let batch = batcher.cut(end, source).expect("one record");
        assert_eq!(batch.position_of(0), Some(position));
    }
}
