//! The bytes of an object → batches: decode, split, shape and batch as one machine.
//!
//! Goes in: an object's bytes in pieces of any size, and where to go on. Comes out: batches. It is
//! plain code: no I/O, no clock, no randomness; the same bytes, place, shape and limits give the same
//! batches however the bytes are cut into pieces.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::{Batch, Batcher, KeptBecause, Source};
use crate::checkpoint::{Checkpoint, Position, Ranges};
use crate::decode::{DecodeError, Decoder};
use crate::expansion::ExpansionMax;
use crate::format::Splitter;
use crate::plan::{Plan, Reading};
use crate::records::{Frame, LineSplitter, Record};
use crate::restore::RestorePoint;
use crate::shape::{Scratch, Shape, Shaped, is_text};

mod opening;
mod workspace;

pub use opening::{GoOn, Opened, Opening};
pub use workspace::{Workspace, Workspaces};

/// Plain bytes that are decoded at a time where there are no blocks, and the least that a block is
/// given room for.
const PIECE_BYTES: usize = 64 * 1024;

/// A block that may be copied has fewer plain bytes than this. The usual encoders end a block after some ten
/// thousand symbols; a larger block is compressed again piece by piece.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;

/// What bounds the batches of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Plain bytes of one batch.
    pub batch_bytes_max: usize,
    /// Bytes of one record that are held; a longer one is cut or kept, by the shape.
    pub record_bytes_max: usize,
    /// Compression level of what is compressed, as `Compressor::new` takes it.
    pub level: u32,
    /// Whether blocks that are compressed already are copied where nothing in them has to change.
    /// The batches hold the same records either way.
    pub pass_through: bool,
}

/// Turns one object into batches.
///
/// Memory: one open batch's body, a piece of at most [`BLOCK_BYTES_MAX`] plain bytes, one record, and what decoder
/// and compressor hold. Where a body has to be taken apart
/// (see [`Batcher`]), that batch inflated, during one call.
pub struct Assembler {
    decoder: Decoder,
    piece: Piece,
    /// The start of the object, as long as it is not known what it is.
    opening: Option<Opening>,
    /// What is to be decoded before anything else.
    held: Held,
    read_as: Option<Arc<str>>,
    splitter: Splitter,
    intake: Intake,
    record_bytes_max: usize,
    pass_through: bool,
    /// Whether the batch ends with the next record.
    is_full: bool,
    /// Nothing more is decoded once the object has so many plain bytes.
    plain_bytes_max: Option<u64>,
    /// Plain bytes before this are decoded and passed over: the checkpoint covers them.
    covered: u64,
    places: Places,
}

/// Bytes of the object, those before `at` decoded.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    at: usize,
}

/// The places from which the object can be decoded.
#[derive(Default)]
struct Places {
    /// Plain bytes between two of them that need a window. Without it none are noted.
    apart_bytes: Option<u64>,
    /// From here on the next such place is noted.
    due: u64,
    /// One that no batch has been given.
    noted: Option<RestorePoint>,
    /// Where the last one is that a batch was given.
    given: u64,
    /// Whether there was one that needs a window.
    took_window: bool,
}

/// Where records go.
struct Intake {
    shape: Shape,
    batcher: Batcher,
    /// Records that are answered for, from the checkpoint.
    done: Ranges,
    scratch: Scratch,
    ready: VecDeque<Batch>,
}

/// Plain bytes that were decoded together: a block, if it is not too large.
struct Piece {
    plain: Vec<u8>,
    /// Where they begin.
    offset: u64,
    /// How much of them is split already.
    split: usize,
    /// Whether they are decoded as far as they are to be.
    is_complete: bool,
    /// Whether a block ends with them.
    is_block_end: bool,
    is_text: bool,
}

impl Piece {
    fn new() -> Self {
        Self {
            plain: Vec::new(),
            offset: 0,
            split: 0,
            is_complete: false,
            is_block_end: false,
            is_text: false,
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
            plain: &self.plain,
            offset: self.offset,
        }
    }

    /// Makes room for the next piece.
    fn clear(&mut self) {
        self.offset += self.plain.len() as u64;
        self.plain.clear();
        self.split = 0;
        self.is_complete = false;
    }

    /// Says that there is no more to it.
    fn complete(&mut self, is_block_end: bool) {
        self.is_complete = true;
        self.is_block_end = is_block_end;
        self.is_text = is_text(&self.plain);
    }
}

impl Assembler {
    /// Goes on from `checkpoint`: what it covers is read again but not sent again.
    pub fn new(limits: Limits, plan: impl Into<Plan>, checkpoint: &Checkpoint) -> Self {
        let mut done = checkpoint.accepted.clone();
        done.insert(0..checkpoint.position.record);
        let plan = plan.into();
        let is_begun = *checkpoint != Checkpoint::default();
        let reading = match is_begun {
            true => plan.resume(checkpoint.read_as.as_deref()),
            false => plan.known(),
        };
        let mut assembler = Self {
            decoder: Decoder::new(BLOCK_BYTES_MAX),
            piece: Piece::new(),
            opening: None,
            held: Held::default(),
            read_as: None,
            splitter: Splitter::Lines(LineSplitter::new(limits.record_bytes_max)),
            intake: Intake {
                shape: plan.shape.clone(),
                batcher: Batcher::new(limits.batch_bytes_max, limits.level, checkpoint.position),
                done,
                scratch: Scratch::default(),
                ready: VecDeque::new(),
            },
            record_bytes_max: limits.record_bytes_max,
            pass_through: limits.pass_through,
            is_full: false,
            plain_bytes_max: None,
            covered: 0,
            places: Places::default(),
        };
        match reading {
            Some(reading) => assembler.read(reading),
            None => assembler.opening = Some(Opening::new(plan)),
        }
        assembler
    }

    /// Reads the object as what it is from now on.
    fn read(&mut self, reading: Reading) {
        let Reading {
            container,
            shape,
            route,
            read_as,
        } = reading;
        self.splitter = container.splitter(self.record_bytes_max);
        self.intake.shape = shape;
        self.intake.batcher.set_route(route);
        self.read_as = Some(read_as);
    }

    /// The same, with what another one has left. Nothing was pushed yet.
    #[must_use]
    pub fn using(mut self, workspace: Workspace) -> Self {
        self.piece.plain = workspace.plain;
        self.decoder.set_spare(workspace.spare);
        self.intake.batcher.set_tools(workspace.tools);
        self
    }

    /// What another one can use.
    pub fn into_workspace(self) -> Workspace {
        let mut plain = self.piece.plain;
        plain.clear();
        plain.shrink_to(workspace::PLAIN_BYTES_KEPT);
        Workspace {
            plain,
            spare: self.decoder.into_spare(),
            tools: self.intake.batcher.into_tools(),
        }
    }

    /// The same, but it takes no more bytes once the object has so many plain ones.
    pub fn small(self, plain_bytes_max: u64) -> Self {
        Self {
            plain_bytes_max: Some(plain_bytes_max),
            ..self
        }
    }

    /// The same, but the object is damaged where more comes out of it than `max` allows.
    #[must_use]
    pub fn bounded(self, max: ExpansionMax) -> Self {
        Self {
            decoder: self.decoder.bounded(max),
            ..self
        }
    }

    /// Whether it takes no more bytes, because the object is larger than it was said to be. Then it is not to be
    /// finished: its decoder may hold more.
    pub fn is_outgrown(&self) -> bool {
        self.plain_bytes_max
            .is_some_and(|max| self.plain_bytes() >= max)
    }

    /// Plain bytes of the object so far.
    pub fn plain_bytes(&self) -> u64 {
        self.piece.offset + self.piece.plain.len() as u64
    }

    /// Goes on from `checkpoint` without what comes before `point`, which is not after the checkpoint's
    /// position: push the bytes of the object from [`RestorePoint::input_offset`] on.
    pub fn restored(
        limits: Limits,
        plan: impl Into<Plan>,
        checkpoint: &Checkpoint,
        point: &RestorePoint,
    ) -> Self {
        let position = checkpoint.position;
        let piece = Piece {
            offset: point.plain_offset,
            ..Piece::new()
        };
        let places = Places {
            given: point.plain_offset,
            took_window: point.window_bytes() > 0,
            ..Places::default()
        };
        let mut begun = Self::new(limits, plan, checkpoint);
        if let Splitter::Lines(lines) = &mut begun.splitter {
            lines.move_to(position);
        }
        Self {
            decoder: Decoder::restored(BLOCK_BYTES_MAX, point),
            piece,
            covered: position.offset,
            places,
            ..begun
        }
    }

    /// Gives batches a [`Batch::restore`]: one that needs a window if it lies `apart_bytes` or more after the
    /// last one of these, others always.
    #[must_use]
    pub fn noting_places(mut self, apart_bytes: u64) -> Self {
        self.places.apart_bytes = Some(apart_bytes);
        self.places.due = self.places.given + apart_bytes;
        self
    }

    /// Takes bytes of the object until a batch is ready, and returns how many it took. Call it again
    /// with the rest, even if nothing is left of it, until [`Assembler::pop`] has nothing to give.
    ///
    /// On an error, every complete record before the damage comes out of `pop`.
    pub fn push(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let plain = &mut self.piece.plain;
        plain.reserve_exact(PIECE_BYTES.saturating_sub(plain.capacity()));
        let mut taken = self.open(input)?;
        if self.opening.is_some() {
            return Ok(taken);
        }
        self.advance_held(true)?;
        if self.held.bytes.is_empty() {
            taken += self.advance(&input[taken..], true)?;
        }
        Ok(taken)
    }

    /// Takes bytes of the object until it is known what it is, if it is not.
    fn open(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let Some(opening) = &mut self.opening else {
            return Ok(0);
        };
        let Opened {
            taken,
            reading,
            damage,
        } = opening.push(&mut self.decoder, &mut self.piece.plain, input);
        if let Some(reading) = reading {
            self.begin(reading);
        }
        match damage {
            // Where the start is decoded again, so is the damage found again.
            Some(damage) if self.held.bytes.is_empty() => {
                self.give_up();
                Err(damage)
            }
            Some(_) | None => Ok(taken),
        }
    }

    /// Ends the opening: now it is known what the object is.
    fn begin(&mut self, reading: Reading) {
        self.read(reading);
        match self.opening.take().map(Opening::go_on) {
            Some(GoOn::Again(held)) => {
                let begun = std::mem::replace(&mut self.decoder, Decoder::new(BLOCK_BYTES_MAX));
                self.decoder = begun.afresh();
                self.piece.plain.clear();
                self.held.bytes = held;
            }
            Some(GoOn::Here { is_block_end: true }) => {
                self.piece.complete(true);
                self.note_place();
            }
            Some(GoOn::Here {
                is_block_end: false,
            })
            | None => {}
        }
    }

    /// Decodes what is held, as [`Assembler::advance`].
    fn advance_held(&mut self, until_ready: bool) -> Result<(), DecodeError> {
        while !self.held.bytes.is_empty() {
            let Held { bytes, at } = std::mem::take(&mut self.held);
            let taken = self.advance(&bytes[at..], until_ready)?;
            if at + taken < bytes.len() {
                self.held = Held {
                    bytes,
                    at: at + taken,
                };
            }
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Decodes and splits, until the input is used up, or until a batch is ready.
    fn advance(&mut self, input: &[u8], until_ready: bool) -> Result<usize, DecodeError> {
        let mut taken = 0;
        while !(self.is_outgrown() || until_ready && self.has_batch()) {
            if self.piece.is_complete {
                if let Err(error) = self.split() {
                    self.cut();
                    return Err(error);
                }
                continue;
            }
            let decoded_before = self.piece.plain.len();
            let step = match self.decoder.push(&input[taken..], &mut self.piece.plain) {
                Ok(step) => step,
                Err(error) => {
                    self.give_up();
                    return Err(error);
                }
            };
            taken += step.taken;
            if self.is_outgrown() {
                break;
            }
            let plain = &mut self.piece.plain;
            if plain.len() >= BLOCK_BYTES_MAX {
                // Even if a block ends just here: whether that shows yet depends on where the input was cut.
                self.piece.complete(false);
            } else if step.is_block_end {
                self.piece.complete(true);
                self.note_place();
            } else if plain.len() == plain.capacity() {
                if self.decoder.holds_block() {
                    plain.reserve_exact(plain.len().min(BLOCK_BYTES_MAX - plain.len()));
                } else {
                    self.piece.complete(false);
                }
            } else if step.taken == 0 && plain.len() == decoded_before {
                break;
            }
        }
        Ok(taken)
    }

    /// Reads no further: every complete record so far comes out of `pop`.
    pub fn give_up(&mut self) {
        // What it may say is wrong is not what it is given up for.
        let _ = self.split_all();
        self.cut();
    }

    /// The next batch that is ready.
    pub fn pop(&mut self) -> Option<Batch> {
        let mut batch = self.intake.ready.pop_front()?;
        batch.restore = self.take_place(batch.end.offset);
        batch.read_as = self.read_as.clone();
        Some(batch)
    }

    /// Whether there may be restore points with a window among its batches'.
    pub fn took_window(&self) -> bool {
        self.places.took_window
    }

    /// Whether [`Assembler::pop`] has something to give.
    pub fn has_batch(&self) -> bool {
        !self.intake.ready.is_empty()
    }

    /// Says that the object has ended: what is left comes out of [`Assembler::pop`]. Returns where the
    /// object's records end. An object that is not complete is an error; its complete records come
    /// out of `pop` all the same.
    pub fn finish(&mut self) -> Result<Position, DecodeError> {
        let end = self.finish_records();
        self.cut();
        end?;
        if self.piece.offset < self.covered {
            // No checkpoint of this object says that. Without its records it is not settled.
            return Ok(Position {
                offset: self.piece.offset,
                record: 0,
            });
        }
        Ok(self.splitter.position())
    }

    fn finish_records(&mut self) -> Result<(), DecodeError> {
        let plain = &self.piece.plain;
        let told = self
            .opening
            .as_ref()
            .and_then(|opening| opening.tell(plain));
        if let Some(reading) = told {
            self.begin(reading);
        }
        self.advance_held(false)?;
        self.split_all()?;
        let end = self.decoder.finish(&mut self.piece.plain);
        self.split_all()?;
        end?;
        // Twice, where the last line of an object of several lines a record begins one of its own.
        while let Some(record) = self.splitter.finish()? {
            self.intake.take(record, self.piece.source(), false);
        }
        Ok(())
    }

    /// Notes the place at the end of the block that was just decoded, if one is due.
    fn note_place(&mut self) {
        let (places, end) = (&mut self.places, self.piece.source().end());
        if let Some(apart_bytes) = places.apart_bytes
            && end >= places.due
            && let Some(point) = self.decoder.block_end()
        {
            debug_assert_eq!(point.plain_offset, end);
            places.due = end + apart_bytes;
            places.noted = Some(point);
            places.took_window = true;
        }
    }

    /// The last place that is not after `offset`, if it is a new one.
    fn take_place(&mut self, offset: u64) -> Option<RestorePoint> {
        let Self {
            decoder, places, ..
        } = self;
        places.apart_bytes?;
        if !self.splitter.is_lines() {
            return None;
        }
        let is_reached = |point: &RestorePoint| point.plain_offset <= offset;
        let place = if decoder.is_plain() {
            Some(RestorePoint::plain(offset))
        } else {
            let noted = places.noted.take_if(|point| is_reached(point));
            let member_end = decoder.member_end().filter(is_reached);
            // Of two at one place the one without a window.
            [noted, member_end]
                .into_iter()
                .flatten()
                .max_by_key(|point| point.plain_offset)
        };
        let given = places.given;
        let place = place.filter(|point| point.plain_offset > given)?;
        places.given = place.plain_offset;
        Some(place)
    }

    /// Passes over what is covered of the piece. Whether that is all of it.
    fn pass_over(&mut self) -> bool {
        let piece = &mut self.piece;
        let covered = self.covered.saturating_sub(piece.offset);
        let covered = piece
            .plain
            .len()
            .min(usize::try_from(covered).unwrap_or(usize::MAX));
        if covered > 0 && covered == piece.plain.len() {
            piece.clear();
            return true;
        }
        piece.split = piece.split.max(covered);
        false
    }

    /// Splits what there is of the piece, also if more would belong to it.
    fn split_all(&mut self) -> Result<(), DecodeError> {
        if !self.piece.is_complete {
            self.piece.complete(false);
        }
        while self.piece.is_complete {
            self.split()?;
        }
        Ok(())
    }

    /// Takes records from the piece until it is used up or a batch is ready.
    fn split(&mut self) -> Result<(), DecodeError> {
        if self.pass_over() {
            return Ok(());
        }
        let mut copies = self.begin_piece();
        let Self {
            piece,
            splitter,
            intake,
            is_full,
            ..
        } = self;
        let source = piece.source();
        let ready_before = intake.ready.len();
        let mut rest = &piece.plain[piece.split..];
        while intake.ready.len() == ready_before {
            let Some(record) = splitter.pop(&mut rest)? else {
                break;
            };
            let end = Position {
                offset: record.end,
                record: record.position.record + 1,
            };
            copies &= intake.take(record, source, piece.is_text);
            if std::mem::take(is_full) {
                intake.cut(end, source);
            }
        }
        copies &= intake.ready.len() == ready_before;
        piece.split = piece.plain.len() - rest.len();
        if rest.is_empty() {
            self.end_piece(copies);
        }
        Ok(())
    }

    /// Decides on the open batch before the first record of a block. Whether the block is to be copied,
    /// unless one of its records has to change.
    fn begin_piece(&mut self) -> bool {
        let Self {
            decoder,
            piece,
            splitter,
            intake,
            ..
        } = self;
        if piece.split > 0 || !piece.is_block_end || piece.plain.is_empty() || !splitter.is_lines()
        {
            return false;
        }
        let Some(block) = decoder.block() else {
            return false;
        };
        let source = piece.source();
        let (_, incomplete) = splitter.incomplete();
        let plain_bytes = incomplete + block.plain_bytes;
        if intake.batcher.is_full_enough(plain_bytes) {
            if incomplete > 0 {
                self.is_full = true;
                return false;
            }
            intake.cut(splitter.position(), source);
        }
        let batcher = &mut intake.batcher;
        let copies = self.pass_through
            && batcher.fits_block(plain_bytes)
            && batcher.may_copy(&block, source, incomplete);
        if copies {
            batcher.begin(source);
        }
        copies
    }

    /// Copies the block that was the piece, or writes what was taken of it.
    fn end_piece(&mut self, copies: bool) {
        let Self {
            decoder,
            piece,
            splitter,
            intake,
            ..
        } = self;
        if piece.plain.is_empty() {
            piece.clear();
            return;
        }
        let source = piece.source();
        let (start, incomplete) = splitter.incomplete();
        let holds = self.pass_through
            && splitter.is_lines()
            && piece.is_block_end
            && intake.may_hold(start, incomplete, splitter.position(), source);
        let batcher = &mut intake.batcher;
        match decoder.block().filter(|_| holds) {
            Some(block) if copies => batcher.copy(&block, source, incomplete),
            Some(block) => batcher.copy_rest(&block, source, incomplete),
            None if holds => {
                batcher.write(source);
                batcher.hold(source, incomplete);
            }
            None => {
                batcher.write(source);
                batcher.take_out_partial();
            }
        }
        piece.clear();
    }

    fn cut(&mut self) {
        let end = self.splitter.position();
        self.intake.cut(end, self.piece.source());
    }
}

impl Intake {
    /// Shapes a record and puts it into the open batch, or after it into a new one. Whether it leaves as
    /// it came, right after the one before it. `is_text` speaks of all of `source`.
    fn take(&mut self, record: Record<'_>, source: Source<'_>, is_text: bool) -> bool {
        if self.done.contains(record.position.record) {
            return false;
        }
        let is_text = is_text && record.position.offset >= source.offset;
        let shaped = self.shape.shape(&record, is_text, &mut self.scratch);
        let length = match shaped {
            Shaped::Unchanged(outgoing) | Shaped::Edited(outgoing) => outgoing.len(),
            Shaped::Cut(outgoing) => outgoing.len() + record.bytes.len(),
            Shaped::TooLong => record.bytes.len(),
            Shaped::Filtered => 0,
        };
        let batcher = &mut self.batcher;
        batcher.take_out_other_partial(record.position);
        if !batcher.fits(record.position, length) {
            self.ready.extend(batcher.cut(record.position, source));
        }
        if matches!(shaped, Shaped::Unchanged(_)) && record.frame != Frame::Stripped {
            return batcher.send_unchanged(&record, source);
        }
        batcher.write(source);
        batcher.take_out_partial();
        match shaped {
            Shaped::Unchanged(outgoing) | Shaped::Edited(outgoing) => {
                batcher.send(&record, outgoing);
            }
            Shaped::Cut(outgoing) => {
                batcher.send(&record, outgoing);
                batcher.keep(&record, KeptBecause::Cut);
            }
            Shaped::TooLong => batcher.keep(&record, KeptBecause::TooLong),
            Shaped::Filtered => batcher.leave_out(&record),
        }
        false
    }

    /// Whether the start of the record at `next`, with which `source` ends, may go into the body before
    /// the rest of it is known; also if it is nothing yet.
    fn may_hold(&self, start: &[u8], incomplete: u64, next: Position, source: Source<'_>) -> bool {
        let is_promising = incomplete == 0
            || (self.shape.may_leave_unchanged(start) && !self.done.contains(next.record));
        is_promising && self.batcher.may_hold(source, incomplete)
    }

    fn cut(&mut self, end: Position, source: Source<'_>) {
        self.ready.extend(self.batcher.cut(end, source));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::body::Body;
    use crate::checkpoint::{Account, Window};
    use crate::pattern::Pattern;
    use crate::plan::Said;
    use crate::shape::ObjectFacts;
    use crate::shape::spec::{Condition, ShapeSpec};

    fn limits(batch_bytes_max: usize) -> Limits {
        Limits {
            batch_bytes_max,
            record_bytes_max: 64,
            level: 6,
            pass_through: true,
        }
    }

    fn logzio() -> Shape {
        Shape {
            json_only: true,
            record_bytes_max: Some(40_000),
            field_chars_max: Some(40),
            ..Shape::default()
        }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn r8_a_last_line_that_begins_a_record_is_sent_after_the_record_before_it() {
        use crate::format::Container;
        use crate::records::Boundary;

        let plain = b"A 1\n x\nA 2";
        let boundary = Boundary::Start(Pattern::new("^A").unwrap());
        let plan = Plan {
            said: Some(Said::Container(Container::Multiline {
                boundary,
                lines_max: None,
            })),
            ..Plan::from(logzio())
        };
        let assembler = Assembler::new(limits(1_000), plan, &Checkpoint::default());
        let (batches, end) = assemble(assembler, plain, 3);
        assert_eq!(
            lines(&batches),
            [
                b"{\"message\":\"A 1\\n x\"}".to_vec(),
                b"{\"message\":\"A 2\"}".to_vec()
            ]
        );
        let offset = plain.len() as u64;
        assert_eq!(end, Ok(Position { offset, record: 2 }));
    }

    type Assembled = (Vec<Batch>, Result<Position, DecodeError>);

    fn assemble(assembler: Assembler, input: &[u8], step: usize) -> Assembled {
        assemble_with(assembler, input, step).0
    }

    fn assemble_with(
        mut assembler: Assembler,
        input: &[u8],
        step: usize,
    ) -> (Assembled, Workspace) {
        let mut batches = Vec::new();
        let mut drain = |assembler: &mut Assembler, mut rest: &[u8]| loop {
            let taken = assembler.push(rest)?;
            rest = &rest[taken..];
            let before = batches.len();
            batches.extend(std::iter::from_fn(|| assembler.pop()));
            if rest.is_empty() && batches.len() == before {
                return Ok(());
            }
        };
        let pushed = input
            .chunks(step)
            .try_for_each(|piece| drain(&mut assembler, piece));
        let end = pushed.and_then(|()| assembler.finish());
        batches.extend(std::iter::from_fn(|| assembler.pop()));
        ((batches, end), assembler.into_workspace())
    }

    fn lines(batches: &[Batch]) -> Vec<Vec<u8>> {
        batches
            .iter()
            .flat_map(|batch| {
                let plain = batch.body.plain();
                Body::records_of(&plain)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "\\{\"a\":[0-9]{1,12}\\}",
            2 => "[ -~]{0,30}",
            1 => "[a-z]{60,90}",
            1 => Just(String::new()),
        ];
        (proptest::collection::vec(line, 0..200), any::<bool>()).prop_map(|(lines, ends)| {
            let mut plain = lines.join("\n").into_bytes();
            if ends {
                plain.push(b'\n');
            }
            plain
        })
    }

    proptest! {
        #[test]
        fn chunking_never_changes_the_batches(
            plain in plain_strategy(),
            step in 1_usize..300,
            batch_bytes in 100_usize..2_000,
            compressed in any::<bool>(),
        ) {
            let input = if compressed { gzip(&plain) } else { plain };
            let new = || Assembler::new(limits(batch_bytes), logzio(), &Checkpoint::default());
            let (whole, whole_end) = assemble(new(), &input, input.len().max(1));
            let (pieces, pieces_end) = assemble(new(), &input, step);
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(whole_end, pieces_end);
        }

        #[test]
        fn what_another_object_has_left_changes_nothing(
            first in plain_strategy(),
            second in plain_strategy(),
            compressed in any::<[bool; 2]>(),
            cut in any::<proptest::sample::Index>(),
            levels in any::<[bool; 2]>(),
            batch_bytes in 100_usize..2_000,
            blocks in 0_usize..3,
        ) {
            let [mut first, second] = [(first, compressed[0]), (second, compressed[1])]
                .map(|(plain, compressed)| if compressed { gzip(&plain) } else { plain });
            // A block that takes more room than the others.
            first.extend(gzip(&b"{\"a\":0}\n".repeat(blocks * 20_000)));
            first.truncate(cut.index(2 * first.len() + 1));
            let new = |is_high: bool| {
                let level = if is_high { 9 } else { 1 };
                let limits = Limits { level, ..limits(batch_bytes) };
                Assembler::new(limits, logzio(), &Checkpoint::default())
            };
            let (_, workspace) = assemble_with(new(levels[0]), &first, 1_000);
            let using = new(levels[1]).using(workspace);
            let (after, _) = assemble_with(using, &second, 1_000);
            prop_assert_eq!(after, assemble(new(levels[1]), &second, 1_000));
        }

        #[test]
        fn batches_cover_the_object_without_gap_or_overlap_and_keep_their_limit(
            plain in plain_strategy(),
            batch_bytes in 100_usize..2_000,
        ) {
            let assembler = Assembler::new(limits(batch_bytes), logzio(), &Checkpoint::default());
            let (batches, end) = assemble(assembler, &gzip(&plain), 97);
            let end = end.unwrap();
            let mut at = Position::default();
            let mut sent = Ranges::new();
            for batch in &batches {
                prop_assert_eq!(batch.start, at);
                at = batch.end;
                prop_assert!(batch.body.plain_bytes as usize <= batch_bytes || batch.body.records == 1);
                prop_assert_eq!(batch.body.records, batch.sent.count());
                for (ordinal, offset) in batch.offsets.iter().enumerate() {
                    let position = batch.position_of(ordinal as u64).unwrap();
                    prop_assert_eq!(position.offset, batch.start.offset + u64::from(*offset));
                    let at = position.offset as usize;
                    prop_assert!(at == 0 || plain[at - 1] == b'\n');
                }
                sent.extend(&batch.sent);
            }
            prop_assert_eq!(sent, Ranges::from(0..end.record));
            prop_assert_eq!(end.offset, plain.len() as u64);
        }

        #[test]
        fn going_on_from_any_answers_sends_the_rest_and_nothing_twice(
            plain in plain_strategy(),
            batch_bytes in 100_usize..1_000,
            other_batch_bytes in 100_usize..1_000,
            answered in proptest::collection::vec(any::<bool>(), 1..40),
            partly in any::<proptest::sample::Index>(),
        ) {
            let assembler = Assembler::new(limits(batch_bytes), logzio(), &Checkpoint::default());
            let (batches, end) = assemble(assembler, &plain, 1_000);
            let mut window = Window::new(Checkpoint::default());
            let mut first = Ranges::new();
            for (batch, is_answered) in batches.iter().zip(answered.iter().cycle()) {
                window.launch(batch.end);
                let records = if *is_answered {
                    batch.sent.clone()
                } else {
                    let some = partly.index(batch.body.records as usize + 1) as u64;
                    batch.sent.at_ordinals(&Ranges::from(0..some))
                };
                first.extend(&records);
                let account = Account { records_read: records.count(), ..Account::default() };
                window.answer(&records, &account);
            }
            let checkpoint = window.checkpoint();
            let again = Assembler::new(limits(other_batch_bytes), logzio(), checkpoint);
            let (rest, again_end) = assemble(again, &plain, 777);
            prop_assert_eq!(&again_end, &end);
            let mut second = Ranges::new();
            for batch in &rest {
                second.extend(&batch.sent);
            }
            prop_assert_eq!(first.count(), checkpoint.account.records_read);
            prop_assert_eq!(first.count() + second.count(), end.unwrap().record);
            first.extend(&second);
            prop_assert_eq!(first.pieces() <= 1, true);
        }
    }

    /// Lines of JSON, of which some are a member of their own and the others blocks of one that a flush has ended.
    fn in_blocks(lines: &[Vec<String>]) -> Vec<u8> {
        let encoder = |bytes| flate2::write::GzEncoder::new(bytes, flate2::Compression::fast());
        let mut gzip = encoder(Vec::new());
        for (number, lines) in lines.iter().enumerate() {
            if number % 3 == 1 {
                gzip = encoder(gzip.finish().unwrap());
            }
            for line in lines {
                gzip.write_all(line.as_bytes()).unwrap();
                gzip.write_all(b"\n").unwrap();
            }
            gzip.flush().unwrap();
        }
        gzip.finish().unwrap()
    }

    proptest! {
        #[test]
        fn being_told_by_content_changes_nothing_but_what_is_known(
            lines in proptest::collection::vec(
                proptest::collection::vec("\\{\"a\":[0-9]{1,40}\\}", 0..120), 1..8,
            ),
            step in 1_usize..2_000,
            batch_bytes in 100_usize..20_000,
        ) {
            let input = in_blocks(&lines);
            let told = Plan { said: None, ..Plan::from(logzio()) };
            let preset = crate::format::preset("ndjson").expect("a preset");
            let known = Plan { said: Some(Said::Preset(preset)), ..told.clone() };
            let new = |plan: &Plan| {
                Assembler::new(limits(batch_bytes), plan.clone(), &Checkpoint::default())
            };
            prop_assume!(lines.iter().any(|lines| !lines.is_empty()));
            let (known, known_end) = assemble(new(&known), &input, input.len());
            let (told, told_end) = assemble(new(&told), &input, step);
            prop_assert_eq!(told, known);
            prop_assert_eq!(told_end, known_end);
        }
    }

    /// A gzip member whose blocks are these, which end anywhere.
    fn of_blocks(blocks: &[&[u8]]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for block in blocks {
            gzip.write_all(block).unwrap();
            gzip.flush().unwrap();
        }
        gzip.finish().unwrap()
    }

    proptest! {
        #[test]
        fn r6_headings_never_leave_with_the_blocks_that_are_copied(
            rows in proptest::collection::vec("[#a-c][a-c ]{0,50}", 0..150),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 1..8),
            is_first_line in any::<bool>(),
            takes_text in any::<bool>(),
            step in 1_usize..2_000,
            batch_bytes in 100_usize..20_000,
        ) {
            use crate::format::Container;
            use crate::records::Heading;
            let plain = rows.join("\n").into_bytes();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(plain.len() + 1)).collect();
            ends.push(plain.len());
            ends.sort_unstable();
            let mut at = 0;
            let blocks: Vec<&[u8]> = ends
                .iter()
                .map(|end| &plain[std::mem::replace(&mut at, *end)..*end])
                .collect();
            let heading = if is_first_line { Heading::FirstLine } else { Heading::Directives };
            let plan = Plan {
                said: Some(Said::Container(Container::HeadedLines(heading))),
                ..Plan::from(if takes_text { Shape::default() } else { logzio() })
            };
            let new = |pass_through| {
                let limits = Limits { pass_through, ..limits(batch_bytes) };
                Assembler::new(limits, plan.clone(), &Checkpoint::default())
            };
            let input = of_blocks(&blocks);
            let (written, end) = assemble(new(false), &input, 1_000);
            let (copied, copied_end) = assemble(new(true), &input, step);
            prop_assert_eq!(lines(&copied), lines(&written));
            prop_assert_eq!(&copied_end, &end);
            let is_record = |row: &&String| is_first_line || !row.starts_with('#');
            let records = rows.iter().skip(usize::from(is_first_line)).filter(is_record);
            let records: Vec<&[u8]> = records.map(|row| row.as_bytes()).collect();
            prop_assert_eq!(end.unwrap().record, records.len() as u64);
            if takes_text {
                prop_assert_eq!(lines(&copied), records);
            }
        }
    }

    fn filtering(pattern: &str) -> Shape {
        let spec = ShapeSpec {
            exclude: vec![Condition {
                field: None,
                pattern: Pattern::new(pattern).unwrap(),
            }],
            ..ShapeSpec::default()
        };
        logzio().editing(spec.for_object(&ObjectFacts::default()))
    }

    proptest! {
        #[test]
        fn every_record_is_sent_or_left_out_however_the_object_is_cut_into_pieces(
            plain in plain_strategy(),
            step in 1_usize..300,
            batch_bytes in 100_usize..2_000,
            compressed in any::<bool>(),
            pattern in "[0-9a-f]",
        ) {
            let input = if compressed { gzip(&plain) } else { plain.clone() };
            let shape = filtering(&pattern);
            let new = |shape: &Shape, pass_through| {
                let limits = Limits { pass_through, ..limits(batch_bytes) };
                Assembler::new(limits, shape.clone(), &Checkpoint::default())
            };
            let (batches, end) = assemble(new(&shape, true), &input, step);
            let (whole, _) = assemble(new(&shape, true), &input, input.len().max(1));
            prop_assert_eq!(&batches, &whole);
            let (mut sent, mut filtered) = (Ranges::new(), Ranges::new());
            for batch in &batches {
                sent.extend(&batch.sent);
                filtered.extend(&batch.filtered);
            }
            let records = end.unwrap().record;
            prop_assert_eq!(sent.count() + filtered.count(), records, "read = sent + filtered");
            let mut all = sent.clone();
            all.extend(&filtered);
            prop_assert_eq!(all, Ranges::from(0..records));
            // The lines that are sent are those of the same object without the others.
            let (unfiltered, _) = assemble(new(&logzio(), false), &input, step);
            let expected: Vec<Vec<u8>> = lines(&unfiltered)
                .into_iter()
                .zip(0..)
                .filter(|(_, index)| sent.contains(*index))
                .map(|(line, _)| line)
                .collect();
            prop_assert_eq!(lines(&batches), expected);
            let is_left_out = |line: &&[u8]| line.windows(1).any(|byte| byte == pattern.as_bytes());
            let source = plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let held = source.map(|line| &line[..line.len().min(64)]);
            prop_assert_eq!(filtered.count(), held.filter(is_left_out).count() as u64);
        }

        #[test]
        fn what_was_left_out_is_answered_for_once_whatever_of_the_rest_is(
            plain in plain_strategy(),
            batch_bytes in 100_usize..1_000,
            partly in proptest::collection::vec(any::<proptest::sample::Index>(), 1..20),
        ) {
            let shape = filtering("[13579]");
            let assembler = Assembler::new(limits(batch_bytes), shape.clone(), &Checkpoint::default());
            let (batches, end) = assemble(assembler, &plain, 1_000);
            let mut window = Window::new(Checkpoint::default());
            let (mut first, mut first_filtered) = (Ranges::new(), 0);
            for (batch, some) in batches.iter().zip(partly.iter().cycle()) {
                window.launch(batch.end);
                let some = some.index(batch.body.records as usize + 1) as u64;
                let mut answered = batch.sent.at_ordinals(&Ranges::from(0..some));
                let beside = batch.filtered_beside(&answered);
                first_filtered += beside.count();
                answered.extend(&beside);
                prop_assert!(answered.pieces() <= 1, "one run of the body, one piece");
                first.extend(&answered);
                let account = Account { records_read: answered.count(), ..Account::default() };
                window.answer(&answered, &account);
            }
            let again = Assembler::new(limits(batch_bytes), shape, window.checkpoint());
            let (rest, again_end) = assemble(again, &plain, 777);
            prop_assert_eq!(&again_end, &end);
            let (mut second, mut second_filtered) = (Ranges::new(), 0);
            for batch in &rest {
                second.extend(&batch.sent);
                second.extend(&batch.filtered);
                second_filtered += batch.filtered.count();
            }
            let filtered: u64 = batches.iter().map(|batch| batch.filtered.count()).sum();
            prop_assert_eq!(first_filtered + second_filtered, filtered);
            prop_assert_eq!(first.count() + second.count(), end.unwrap().record);
            first.extend(&second);
            prop_assert!(first.pieces() <= 1);
        }
    }

    #[test]
    fn an_object_of_which_all_is_left_out_is_answered_for_by_batches_with_nothing_to_send() {
        let line = [&b"{\"a\":\""[..], &[b'x'; 60_000], b"\"}\n"].concat();
        let plain = line.repeat((70 << 20) / line.len());
        let limits = Limits {
            record_bytes_max: 1 << 20,
            ..limits(10_000)
        };
        let assembler = Assembler::new(limits, filtering("x"), &Checkpoint::default());
        let (batches, end) = assemble(assembler, &plain, 1 << 20);
        let records = end.expect("a whole object").record;
        assert_eq!(batches.len(), 2, "one for every 64 MiB");
        let mut at = 0;
        for batch in &batches {
            assert_eq!((batch.body.records, batch.sent.count()), (0, 0));
            assert_eq!(batch.start.record, at);
            assert_eq!(batch.filtered, Ranges::from(at..batch.end.record));
            at = batch.end.record;
        }
        assert_eq!(at, records);
    }

    #[test]
    fn records_that_stand_before_the_checkpoints_position_are_sent_like_any_other() {
        // As in an object that was damaged on its way: its records are not where they were.
        let checkpoint = Checkpoint {
            position: Position {
                offset: 1_000,
                record: 1,
            },
            ..Checkpoint::default()
        };
        let plain = b"{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
        let assembler = Assembler::new(limits(1_000), logzio(), &checkpoint);
        let (batches, end) = assemble(assembler, plain, 7);
        end.expect("a whole object");
        let mut sent = Ranges::new();
        for batch in &batches {
            sent.extend(&batch.sent);
        }
        assert_eq!(sent, Ranges::from(1..4));
    }

    #[test]
    fn a_truncated_gzip_gives_its_complete_records_and_an_error() {
        let plain: String = (0..5_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let input = gzip(plain.as_bytes());
        let assembler = Assembler::new(limits(1_000), logzio(), &Checkpoint::default());
        let (batches, end) = assemble(assembler, &input[..input.len() / 2], 100);
        assert!(matches!(end, Err(DecodeError::Truncated { .. })), "{end:?}");
        let lines = lines(&batches);
        assert!(lines.len() > 1_000, "{}", lines.len());
        for (n, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("{{\"n\":{n}}}").into_bytes());
        }
    }

    #[test]
    fn a_thousandfold_expansion_comes_out_batch_by_batch() {
        let input = gzip(&b"{\"a\":0}\n".repeat(1_000_000));
        let mut assembler = Assembler::new(limits(10_000), logzio(), &Checkpoint::default());
        let taken = assembler.push(&input).unwrap();
        assert!(taken < input.len(), "a push stops at the first batch");
        assert!(assembler.pop().is_some());
    }
}
