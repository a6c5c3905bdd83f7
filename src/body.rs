//! The body of a request: records go in, one gzip member comes out.
//!
//! Only the compressed bytes are kept for retries. The plain bytes are found again by inflating,
//! which happens on rare paths alone: a body that is too large, a record that is refused.

use std::io::Write;

use bytes::Bytes;
use crc32fast::Hasher as Crc;
use flate2::write::GzDecoder;
use memchr::{memchr, memchr_iter};

use crate::bits::{BitWriter, Bits};
use crate::compress::Compressor;
use crate::decode::Block;
use crate::route::Route;
use crate::symbols::Entry;

/// How hard the parts of a body that was cut are compressed.
/// They are few, and bytes on the wire cost more than the time it takes to save them.
const CUT_LEVEL: u32 = 6;

/// A member header (RFC 1952, section 2.3.1): DEFLATE, no flags, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty block that says it is the last: BFINAL, BTYPE 01, and the end of the block, whose code is
/// seven zeros (RFC 1951, sections 3.2.3 and 3.2.6). Every body ends with it, so the blocks before it
/// can be put into another body as they are.
const LAST_BLOCK: (u32, u32) = (0b011, 10);

/// Plain bytes that are gathered before they are compressed. Nothing refers to what was compressed before
/// them, so fewer would make bodies larger; more would take more memory.
pub const STAGED_BYTES: usize = 1 << 20;

/// A request body: records, a newline after each, as one gzip member.
///
/// A clone shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// One gzip member (RFC 1952), never several: some receivers drop all but the first.
    pub gzip: Bytes,
    /// Length when inflated.
    pub plain_bytes: u64,
    pub records: u64,
    /// Where it goes, and as what.
    pub route: Route,
    /// Bits of its blocks, all but [`LAST_BLOCK`]. They begin at the edge of a byte.
    block_bits: u64,
}

impl Body {
    /// One body with the records of all, in their order, which are of one route. Nothing is compressed
    /// again.
    pub fn concat<'a>(bodies: impl IntoIterator<Item = &'a Body, IntoIter: Clone>) -> Body {
        let mut writer = BodyWriter::new(CUT_LEVEL);
        let bodies = bodies.into_iter();
        // What joins two of them is shorter than what each has around its blocks.
        let gzip_bytes = bodies.clone().map(|body| body.gzip.len()).sum();
        writer.out.reserve(gzip_bytes);
        for body in bodies {
            writer.set_route(body.route.clone());
            writer.append(body);
        }
        writer.finish()
    }

    /// The records, a newline after each. It holds the whole body inflated, so its size is bounded
    /// by the limit of a batch.
    ///
    /// # Panics
    ///
    /// If `gzip` is not what the type promises. Bodies are made by this process alone, so that is a
    /// fault of the program, and no answer to it could save the records.
    pub fn plain(&self) -> Vec<u8> {
        let capacity = usize::try_from(self.plain_bytes).unwrap_or_default();
        let mut inflater = GzDecoder::new(Vec::with_capacity(capacity));
        inflater
            .write_all(&self.gzip)
            .and_then(|()| inflater.finish())
            .expect("a body is one whole gzip member, made by this process")
    }

    /// The records of a body's plain bytes, without their newlines.
    pub fn records_of(plain: &[u8]) -> RecordsOf<'_> {
        RecordsOf { rest: plain }
    }

    /// The records before `ordinal`, and those from it on. None if either would be empty.
    pub fn split_at_ordinal(&self, ordinal: u64) -> Option<(Body, Body)> {
        if ordinal == 0 || ordinal >= self.records {
            return None;
        }
        let plain = self.plain();
        let nth = usize::try_from(ordinal - 1).ok()?;
        let cut = memchr_iter(b'\n', &plain).nth(nth)? + 1;
        let (before, after) = plain.split_at(cut);
        Some((
            self.encode(before, ordinal),
            self.encode(after, self.records - ordinal),
        ))
    }

    /// Two bodies with half of the records each. None if there is only one record, or none.
    pub fn halves(&self) -> Option<(Body, Body)> {
        self.split_at_ordinal(self.records / 2)
    }

    /// A body with some of its records.
    fn encode(&self, plain: &[u8], records: u64) -> Body {
        let mut writer = BodyWriter::new(CUT_LEVEL);
        writer.set_route(self.route.clone());
        writer.write(plain);
        writer.count(records);
        writer.finish()
    }
}

/// See [`Body::records_of`].
#[derive(Clone, Debug)]
pub struct RecordsOf<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RecordsOf<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let record = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(record)
    }
}

/// Fills one [`Body`] after the other: with records, which it compresses, and with blocks that are
/// compressed already.
///
/// A body is a function of what it is filled with and the level: the same gives the same bytes, on any
/// day and on any machine. Memory: the body's bytes, and from the first record on twice [`STAGED_BYTES`] and
/// the compressor, which serves all bodies.
pub struct BodyWriter {
    level: u32,
    out: BitWriter,
    tools: Tools,
    crc: Crc,
    plain_bytes: u64,
    records: u64,
    route: Route,
}

/// What compressing takes. It is the same before and after each body.
#[derive(Default)]
pub struct Tools {
    compressor: Option<Compressor>,
    /// Plain bytes that are yet to be compressed.
    staged: Vec<u8>,
    /// Room for a small body.
    room: Vec<u8>,
}

/// Bytes of a body that is copied when it ends, so that what it was written in serves the next one.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// What a body begins with, in that room.
fn begun(mut room: Vec<u8>) -> BitWriter {
    room.clear();
    room.extend_from_slice(&HEADER);
    BitWriter::after(room)
}

impl BodyWriter {
    /// Compresses at `level`, as [`Compressor::new`] takes it.
    pub fn new(level: u32) -> Self {
        Self {
            level,
            out: begun(Vec::new()),
            tools: Tools::default(),
            crc: Crc::new(),
            plain_bytes: 0,
            records: 0,
            route: Route::default(),
        }
    }

    /// Compresses with what another one has left. Nothing was written yet.
    pub fn set_tools(&mut self, mut tools: Tools) {
        tools.staged.clear();
        let level = self.level;
        tools.compressor = tools.compressor.filter(|with| with.level() == level);
        self.out = begun(std::mem::take(&mut tools.room));
        self.tools = tools;
    }

    /// What another one can use.
    pub fn into_tools(self) -> Tools {
        let mut room = self.out.finish();
        room.clear();
        room.shrink_to(SMALL_BYTES_MAX);
        Tools { room, ..self.tools }
    }

    /// Says where this body and those after it go.
    pub fn set_route(&mut self, route: Route) {
        self.route = route;
    }

    /// Appends a record, which holds no newline, and a newline.
    pub fn push(&mut self, record: &[u8]) {
        debug_assert_eq!(memchr(b'\n', record), None, "a record holds no newline");
        self.write(record);
        self.write(b"\n");
        self.records += 1;
    }

    /// Appends plain bytes. Whoever does counts the records that they complete, with
    /// [`BodyWriter::count`].
    pub fn write(&mut self, plain: &[u8]) {
        let mut rest = plain;
        while !rest.is_empty() {
            let room = STAGED_BYTES - self.tools.staged.len();
            let (fits, later) = rest.split_at(rest.len().min(room));
            self.tools.staged.extend_from_slice(fits);
            rest = later;
            if self.tools.staged.len() == STAGED_BYTES {
                self.flush();
            }
        }
        self.plain_bytes += plain.len() as u64;
    }

    /// Appends a block as it is. The plain bytes before it must be those that stand before it in
    /// its object: as many as its back-references can reach, which are 32 KB (RFC 1951, section 2), or all
    /// of its member.
    pub fn copy(&mut self, block: &Block<'_>) {
        self.flush();
        // Another block follows: BFINAL, the first bit, is cleared.
        self.out.push(0, 1);
        self.out.append(block.bits.without_first(1));
        self.crc.combine(block.crc);
        self.plain_bytes += block.plain_bytes;
    }

    /// Appends what of a block stands behind `entry`. `rest` is its plain bytes. The plain bytes before it
    /// must be those that stand before it in its object, as for [`BodyWriter::copy`].
    pub fn copy_from(&mut self, block: &Block<'_>, entry: Entry, rest: &[u8]) {
        let header = block.bits.range(1, entry.header_bits);
        let symbols = block.bits.range(entry.bits, block.bits.length());
        let (Some(header), Some(symbols)) = (header, symbols) else {
            self.write(rest);
            return;
        };
        self.flush();
        self.out.push(0, 1);
        self.out.append(header);
        self.out.append(symbols);
        self.crc.update(rest);
        self.plain_bytes += rest.len() as u64;
    }

    /// Counts records that were appended as plain bytes or with blocks.
    pub fn count(&mut self, records: u64) {
        self.records += records;
    }

    /// How long the body is so far when inflated.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Ends the body, and begins another one. The body holds no more memory than its bytes.
    pub fn finish(&mut self) -> Body {
        self.flush();
        let mut out = std::mem::take(&mut self.out);
        let block_bits = out.length() - HEADER.len() as u64 * 8;
        let (bits, count) = LAST_BLOCK;
        out.push(bits, count);
        let crc = std::mem::take(&mut self.crc).finalize();
        let plain_bytes = std::mem::take(&mut self.plain_bytes);
        let mut gzip = out.finish();
        gzip.extend_from_slice(&crc.to_le_bytes());
        // ISIZE is the length modulo 2^32 (RFC 1952, section 2.3.1).
        gzip.extend_from_slice(&(plain_bytes as u32).to_le_bytes());
        let gzip = if gzip.len() <= SMALL_BYTES_MAX {
            let small = Bytes::copy_from_slice(&gzip);
            self.out = begun(gzip);
            small
        } else {
            gzip.shrink_to_fit();
            self.out = begun(Vec::new());
            gzip.into()
        };
        Body {
            gzip,
            plain_bytes,
            records: std::mem::take(&mut self.records),
            route: self.route.clone(),
            block_bits,
        }
    }

    fn append(&mut self, body: &Body) {
        self.flush();
        // Its blocks began at the edge of a byte, and the padding of stored ones among them depends on that.
        self.align();
        let trailer = body.gzip.len() - 8;
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| body.gzip[trailer + at]);
        let blocks = Bits::new(&body.gzip, HEADER.len() as u64 * 8, body.block_bits)
            .expect("a body holds its blocks");
        self.out.append(blocks);
        let crc = u32::from_le_bytes([a, b, c, d]);
        self.crc
            .combine(&Crc::new_with_initial_len(crc, body.plain_bytes));
        self.plain_bytes += body.plain_bytes;
        self.records += body.records;
    }

    /// Compresses what is staged.
    fn flush(&mut self) {
        if self.tools.staged.is_empty() {
            return;
        }
        self.align();
        let Tools {
            compressor, staged, ..
        } = &mut self.tools;
        let mut crc = Crc::new();
        crc.update(staged);
        let level = self.level;
        compressor
            .get_or_insert_with(|| Compressor::new(level))
            .append(staged, &crc, &mut self.out);
        self.crc.combine(&crc);
        staged.clear();
    }

    /// Goes on to the edge of a byte, with an empty stored block (RFC 1951, section 3.2.4).
    fn align(&mut self) {
        if !self.out.is_aligned() {
            self.out.push(0b000, 3);
            self.out.align();
            self.out.append_bytes(&[0, 0, 0xff, 0xff]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(records: &[Vec<u8>]) -> Body {
        let mut writer = BodyWriter::new(3);
        for record in records {
            writer.push(record);
        }
        writer.finish()
    }

    fn records(body: &Body) -> Vec<Vec<u8>> {
        Body::records_of(&body.plain()).map(Vec::from).collect()
    }

    fn any_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = any::<u8>().prop_filter("a record holds no newline", |byte| *byte != b'\n');
        prop::collection::vec(prop::collection::vec(byte, 0..40), 0..40)
    }

    /// Inflates the first member only, and says how many compressed bytes it took.
    fn first_member(gzip: &[u8]) -> (Vec<u8>, usize) {
        let mut inflater = GzDecoder::new(Vec::new());
        let mut taken = 0;
        while taken < gzip.len() {
            match inflater.write(&gzip[taken..]).expect("it is gzip") {
                0 => break,
                more => taken += more,
            }
        }
        (inflater.finish().expect("the member is whole"), taken)
    }

    proptest! {
        #[test]
        fn a_body_is_exactly_one_gzip_member_of_its_records(given in any_records()) {
            let body = body(&given);
            let (plain, taken) = first_member(&body.gzip);
            prop_assert_eq!(taken, body.gzip.len());
            prop_assert_eq!(plain.len() as u64, body.plain_bytes);
            prop_assert_eq!(body.records, given.len() as u64);
            prop_assert_eq!(&plain, &body.plain());
            prop_assert_eq!(records(&body), given);
        }

        #[test]
        fn the_same_records_give_the_same_bytes(given in any_records()) {
            prop_assert_eq!(body(&given), body(&given));
        }

        #[test]
        fn a_cut_at_any_record_loses_nothing(given in any_records(), at in 0_u64..45) {
            let whole = body(&given);
            let Some((before, after)) = whole.split_at_ordinal(at) else {
                prop_assert!(at == 0 || at >= whole.records);
                return Ok(());
            };
            prop_assert_eq!(before.records, at);
            prop_assert_eq!(before.records + after.records, whole.records);
            prop_assert_eq!(before.plain_bytes + after.plain_bytes, whole.plain_bytes);
            prop_assert_eq!([before.plain(), after.plain()].concat(), whole.plain());
            prop_assert_eq!(first_member(&before.gzip).1, before.gzip.len());
            prop_assert_eq!(first_member(&after.gzip).1, after.gzip.len());
        }
    }

    proptest! {
        #[test]
        fn bodies_are_joined_without_a_change(given in prop::collection::vec(any_records(), 0..6)) {
            let bodies: Vec<Body> = given.iter().map(|records| body(records)).collect();
            let joined = Body::concat(&bodies);
            prop_assert_eq!(records(&joined), given.concat());
            prop_assert_eq!(joined.records, given.concat().len() as u64);
            let plain = joined.plain();
            prop_assert_eq!(plain.len() as u64, joined.plain_bytes);
            prop_assert_eq!(first_member(&joined.gzip).1, joined.gzip.len());
            // And once more, since the parts of a shared request may be joined in steps.
            let twice = Body::concat([&joined, &joined]);
            prop_assert_eq!(twice.plain(), [plain.as_slice(), &plain].concat());
        }
    }

    #[test]
    fn bodies_that_end_within_a_byte_are_joined_too() {
        // Fixed codes, literals `a` and LF, the end of the block: 3 + 8 + 8 + 7 bits, so the next block begins within
        // a byte.
        let mut block = BitWriter::default();
        block.push(0b010, 3);
        for literal in [b'a', b'\n'] {
            block.push((0x30 + u32::from(literal)).reverse_bits() >> 24, 8);
        }
        block.push(0, 7);
        let bits = block.length();
        let bytes = block.finish();
        let mut crc = Crc::new();
        crc.update(b"a\n");
        let mut writer = BodyWriter::new(1);
        writer.copy(&Block {
            bits: Bits::new(&bytes, 0, bits).unwrap(),
            crc: &crc,
            plain_bytes: 2,
            member_bytes_before: 0,
        });
        writer.count(1);
        let copied = writer.finish();
        assert_eq!(copied.plain(), b"a\n");
        let compressed = body(&[b"b".to_vec()]);
        let joined = Body::concat([&copied, &compressed, &copied, &copied, &compressed]);
        assert_eq!(joined.plain(), b"a\nb\na\na\nb\n");
        assert_eq!(first_member(&joined.gzip).1, joined.gzip.len());
    }

    #[test]
    fn a_body_does_not_depend_on_those_before_it() {
        let small = vec![b"a".to_vec(), b"bc".to_vec()];
        let mut random = 1_u64;
        let mut noise = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8 | 0x80
        };
        let large = vec![
            std::iter::repeat_with(&mut noise)
                .take(4 * SMALL_BYTES_MAX)
                .collect(),
        ];
        assert!(body(&large).gzip.len() > SMALL_BYTES_MAX);
        let mut writer = BodyWriter::new(3);
        for given in [&small, &large, &small, &small, &large, &large] {
            given.iter().for_each(|record| writer.push(record));
            assert_eq!(writer.finish(), body(given));
            let mut next = BodyWriter::new(3);
            next.set_tools(writer.into_tools());
            given.iter().for_each(|record| next.push(record));
            assert_eq!(next.finish(), body(given));
            writer = next;
        }
    }

    #[test]
    fn one_record_cannot_be_halved() {
        assert_eq!(body(&[]).halves(), None);
        assert_eq!(body(&[b"alone".to_vec()]).halves(), None);
    }

    #[test]
    fn halves_hold_half_of_the_records_each() {
        let whole = body(&[b"a".to_vec(), b"".to_vec(), b"c".to_vec()]);
        let (before, after) = whole.halves().expect("three records can be halved");
        assert_eq!(records(&before), [b"a".to_vec()]);
        assert_eq!(records(&after), [b"".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn no_time_is_written_into_the_body() {
        let header = &body(&[b"a".to_vec()]).gzip[..10];
        assert_eq!(&header[4..8], [0; 4]);
    }
}
