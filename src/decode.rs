//! Compressed bytes → plain bytes, told by magic number and never by a name.
//!
//! Goes in: the bytes of an object, in pieces of any size. Comes out: plain bytes, as many as the
//! caller has room for. It never guesses: what is truncated, corrupt or unknown is an error, and the
//! plain bytes before the damage have come out by then.
//!
//! It also tells where each DEFLATE block ends and gives its compressed bits, for whoever can use them
//! as they are.
//!
//! Decoding can be taken up at the end of a block or a member, and in what is not compressed anywhere: what that
//! needs is a [`RestorePoint`], and each member's CRC-32 and length are checked there too.
//!
//! Gzip is read member by member (RFC 1952), any number of them, empty ones and zero padding
//! included; each member's CRC-32 and length are checked.

use crc32fast::Hasher as Crc;

use crate::bits::Bits;
use crate::inflate::{Inflater, InvalidDeflate, Stop};
use crate::restore::{self, Inside, RestorePoint};

/// Longest magic number that [`sniff`] looks at.
const MAGIC_BYTES_MAX: usize = 10;

/// Why an object cannot be decoded. None of these is ever a success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a gzip member.
    #[error("gzip truncated after {input_bytes} bytes")]
    Truncated { input_bytes: u64 },
    /// The input contradicts RFC 1951 or RFC 1952.
    #[error("gzip corrupt near byte {input_bytes}: {reason}")]
    Corrupt {
        input_bytes: u64,
        reason: &'static str,
    },
    /// A container that is recognised and not read.
    #[error("{format} is not supported")]
    Unsupported { format: &'static str },
    /// Its plain bytes are not what their container has to be: see [`crate::records::Malformed`].
    #[error("malformed at plain byte {plain_bytes}: expected {expected}")]
    Malformed {
        plain_bytes: u64,
        expected: &'static str,
    },
    /// More comes out of it than is allowed: see [`crate::expansion`].
    #[error("stopped after {plain_bytes} plain bytes, by {setting}")]
    ExpandsTooFar {
        plain_bytes: u64,
        setting: &'static str,
    },
}

/// Decodes one object. Holds the 32 KB window of DEFLATE, and the compressed bits of one block of less than
/// `block_bytes_max`: at most twice as many bytes, since what gives three bytes or more takes at most 48 bits
/// (RFC 1951, section 3.2.5), in a buffer that grows by doubling.
pub struct Decoder {
    state: State,
    inflater: Inflater,
    member: Member,
    block: Collected,
    block_bytes_max: usize,
    input_bytes: u64,
    plain_head: Vec<u8>,
    /// Plain bytes of the members that are whole.
    members_plain_bytes: u64,
    /// The bytes of the object up to the end of the last of them.
    members_input_bytes: Option<u64>,
}

/// How far one push came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that were taken.
    pub taken: usize,
    /// Whether a DEFLATE block ended with the last plain byte that came out.
    pub is_block_end: bool,
}

/// A DEFLATE block, whole.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The block as it stands in the object, from its first bit (BFINAL) to its last.
    pub bits: Bits<'a>,
    /// Of its plain bytes, with their number.
    pub crc: &'a Crc,
    /// Its plain bytes.
    pub plain_bytes: u64,
    /// Plain bytes of its gzip member that come before it: its back-references reach no further.
    pub member_bytes_before: u64,
}

enum State {
    Sniff(Vec<u8>),
    Plain,
    Header(Header),
    /// Within the byte in which a block ended: so many of its bits belong to that.
    Enter(u8),
    Deflate,
    Trailer(Vec<u8>),
    BetweenMembers,
}

/// What is known of the member's plain bytes, but for those of the block under way.
#[derive(Default)]
struct Member {
    crc: Crc,
    plain_bytes: u64,
}

/// The compressed bytes of the block under way. Positions count from the start of the member's DEFLATE
/// data.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    /// Where `bytes` begins.
    first_byte: u64,
    /// Where the block begins.
    first_bit: u64,
    /// Where it ends, once it has.
    end_bit: Option<u64>,
    /// Whether it has too many plain bytes to be held. That depends on nothing else, so it is the same however
    /// the input is cut into pieces.
    is_too_large: bool,
    crc: Crc,
    plain_bytes: u64,
}

/// What tells gzip inside gzip: its magic number.
const PLAIN_HEAD_BYTES: usize = 2;

/// A bit position is at most so many bytes behind what the inflater has taken.
const BYTES_BEHIND_MAX: usize = 8;

impl Collected {
    fn push(&mut self, taken: &[u8], plain: &[u8], block_bytes_max: usize) {
        self.bytes.extend_from_slice(taken);
        self.crc.update(plain);
        self.plain_bytes += plain.len() as u64;
        self.is_too_large |= self.plain_bytes >= block_bytes_max as u64;
        if self.is_too_large {
            self.forget(self.bytes.len().saturating_sub(BYTES_BEHIND_MAX));
        }
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.first_byte += count as u64;
    }

    /// Goes on to the next block, if this one has ended.
    fn leave_ended(&mut self, member: &mut Member) {
        let Some(end_bit) = self.end_bit.take() else {
            return;
        };
        member.crc.combine(&self.crc);
        member.plain_bytes += self.plain_bytes;
        self.forget((end_bit / 8 - self.first_byte) as usize);
        self.first_bit = end_bit;
        self.is_too_large = false;
        self.crc.reset();
        self.plain_bytes = 0;
    }
}

impl Decoder {
    /// Blocks of `block_bytes_max` plain bytes or more are decoded all the same, but never given whole.
    pub fn new(block_bytes_max: usize) -> Self {
        Self {
            state: State::Sniff(Vec::with_capacity(MAGIC_BYTES_MAX)),
            inflater: Inflater::new(),
            member: Member::default(),
            block: Collected::default(),
            block_bytes_max,
            input_bytes: 0,
            plain_head: Vec::with_capacity(PLAIN_HEAD_BYTES),
            members_plain_bytes: 0,
            members_input_bytes: None,
        }
    }

    /// Goes on from `point`: push the bytes of the object from [`RestorePoint::input_offset`] on.
    pub fn restored(block_bytes_max: usize, point: &RestorePoint) -> Self {
        let mut decoder = Self::new(block_bytes_max);
        decoder.input_bytes = point.input_offset;
        // Whoever made the point has looked at them.
        decoder.plain_head = vec![0; PLAIN_HEAD_BYTES];
        match &point.inside {
            Inside::Plain => decoder.state = State::Plain,
            Inside::Members => {
                decoder.members_plain_bytes = point.plain_offset;
                decoder.state = State::BetweenMembers;
            }
            Inside::Member(member) => {
                decoder.members_plain_bytes = point.plain_offset - member.plain_bytes;
                decoder.member = Member {
                    crc: Crc::new_with_initial_len(member.crc, member.plain_bytes),
                    plain_bytes: member.plain_bytes,
                };
                decoder.inflater.restore(&member.window);
                decoder.block.first_bit = member.bits.into();
                decoder.state = match member.bits {
                    0 => State::Deflate,
                    bits => State::Enter(bits),
                };
            }
        }
        decoder
    }

    /// Whether the object is not compressed: then decoding can be taken up anywhere.
    pub fn is_plain(&self) -> bool {
        matches!(self.state, State::Plain)
    }

    /// The end of the last member that was whole, so far.
    pub fn member_end(&self) -> Option<RestorePoint> {
        let input_offset = self.members_input_bytes?;
        self.can_be_restored().then_some(RestorePoint {
            input_offset,
            plain_offset: self.members_plain_bytes,
            inside: Inside::Members,
        })
    }

    /// The end of the block that the last push ended, unless it is the last one of its member. This copies the
    /// window, so it is not for every block.
    pub fn block_end(&self) -> Option<RestorePoint> {
        let is_within = matches!(self.state, State::Deflate) && self.block.end_bit.is_some();
        if !is_within || !self.can_be_restored() {
            return None;
        }
        let bit = self.input_bytes * 8 - self.inflater.unused_bits();
        let mut crc = self.member.crc.clone();
        crc.combine(&self.block.crc);
        let plain_bytes = self.member.plain_bytes + self.block.plain_bytes;
        Some(RestorePoint {
            input_offset: bit / 8,
            plain_offset: self.members_plain_bytes + plain_bytes,
            inside: Inside::Member(restore::Member {
                bits: (bit % 8) as u8,
                plain_bytes,
                crc: crc.finalize(),
                window: self.inflater.window(),
            }),
        })
    }

    /// Whether enough was seen to tell that this is no gzip inside gzip.
    fn can_be_restored(&self) -> bool {
        self.plain_head.len() == PLAIN_HEAD_BYTES
    }

    /// Decodes from `input` into the spare capacity of `plain`, until `input` is used up, `plain` is full
    /// or a DEFLATE block ends: then push the rest of the input, even if nothing is left of it. A push that
    /// takes nothing, gives nothing and ends no block says that it needs more input. On an error, `plain`
    /// holds what came before the damage.
    pub fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, DecodeError> {
        let mut taken = 0;
        self.block.leave_ended(&mut self.member);
        loop {
            let rest = &input[taken..];
            let room = plain.capacity() - plain.len();
            let mut is_block_end = false;
            let step = match &mut self.state {
                State::Sniff(head) => {
                    let wanted = rest.len().min(MAGIC_BYTES_MAX - head.len());
                    head.extend_from_slice(&rest[..wanted]);
                    taken += wanted;
                    self.input_bytes += wanted as u64;
                    if head.len() == MAGIC_BYTES_MAX {
                        self.leave_sniff(plain)?;
                        continue;
                    }
                    return Ok(Step {
                        taken,
                        is_block_end,
                    });
                }
                State::Plain => {
                    let step = rest.len().min(room);
                    plain.extend_from_slice(&rest[..step]);
                    step
                }
                State::Header(header) => {
                    let (step, complete) =
                        header.push(rest).map_err(|reason| DecodeError::Corrupt {
                            input_bytes: self.input_bytes,
                            reason,
                        })?;
                    if complete {
                        self.inflater.reset();
                        self.member = Member::default();
                        self.block = Collected {
                            bytes: std::mem::take(&mut self.block.bytes),
                            ..Collected::default()
                        };
                        self.block.bytes.clear();
                        self.state = State::Deflate;
                    }
                    step
                }
                State::Enter(bits) => match rest.first() {
                    Some(first) => {
                        self.inflater.enter(*first, *bits);
                        self.block.bytes.push(*first);
                        self.state = State::Deflate;
                        1
                    }
                    None => 0,
                },
                State::Deflate => {
                    let (step, stop) = self.inflate(rest, plain)?;
                    match stop {
                        Stop::Halfway => {}
                        Stop::BlockEnd { end_bit } => {
                            self.block.end_bit = Some(end_bit);
                            is_block_end = true;
                        }
                        Stop::StreamEnd { end_bit } => {
                            self.block.end_bit = Some(end_bit);
                            is_block_end = true;
                            self.state = State::Trailer(Vec::with_capacity(8));
                        }
                    }
                    step
                }
                State::Trailer(trailer) => {
                    let step = rest.len().min(8 - trailer.len());
                    trailer.extend_from_slice(&rest[..step]);
                    if let Ok(trailer) = <[u8; 8]>::try_from(trailer.as_slice()) {
                        self.check_member(trailer)?;
                        self.members_plain_bytes += std::mem::take(&mut self.member).plain_bytes;
                        self.members_input_bytes = Some(self.input_bytes + step as u64);
                        self.state = State::BetweenMembers;
                    }
                    step
                }
                State::BetweenMembers => {
                    let padding = rest.iter().take_while(|byte| **byte == 0).count();
                    match rest.get(padding) {
                        Some(0x1f) => self.state = State::Header(Header::default()),
                        Some(_) => {
                            return Err(DecodeError::Corrupt {
                                input_bytes: self.input_bytes + padding as u64,
                                reason: "bytes after the last member are neither zero nor a member",
                            });
                        }
                        None => {}
                    }
                    padding
                }
            };
            taken += step;
            self.input_bytes += step as u64;
            let is_full = plain.len() == plain.capacity();
            if is_block_end || is_full || taken == input.len() {
                return Ok(Step {
                    taken,
                    is_block_end,
                });
            }
        }
    }

    /// The block that the last push ended, if it is compressed and was not too large to be held. A stored
    /// block (RFC 1951, section 3.2.4) is none: how it is padded depends on where it begins.
    pub fn block(&self) -> Option<Block<'_>> {
        let block = &self.block;
        let end_bit = block.end_bit.filter(|_| !block.is_too_large)?;
        let skipped = block.first_bit - block.first_byte * 8;
        let bits = Bits::new(&block.bytes, skipped, end_bit - block.first_bit)?;
        let is_stored = bits.without_first(1).first(2) == 0;
        (!is_stored).then_some(Block {
            bits,
            crc: &block.crc,
            plain_bytes: block.plain_bytes,
            member_bytes_before: self.member.plain_bytes,
        })
    }

    /// Whether the block under way may still be given whole: it has begun, and is not too large so far.
    pub fn holds_block(&self) -> bool {
        matches!(self.state, State::Deflate) && !self.block.is_too_large
    }

    /// Says that the input has ended. An object shorter than a magic number is plain, and comes out
    /// here, into the spare capacity of `plain` (at most 10 bytes).
    pub fn finish(&mut self, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        if let State::Sniff(_) = self.state {
            self.leave_sniff(plain)?;
        }
        match self.state {
            State::Sniff(_) | State::Plain | State::BetweenMembers => Ok(()),
            State::Header(_) | State::Enter(_) | State::Deflate | State::Trailer(_) => {
                Err(DecodeError::Truncated {
                    input_bytes: self.input_bytes,
                })
            }
        }
    }

    /// Decides what the object is, and decodes the bytes that the decision took.
    fn leave_sniff(&mut self, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        let State::Sniff(head) = std::mem::replace(&mut self.state, State::Plain) else {
            return Ok(());
        };
        match sniff(&head) {
            Magic::Plain => plain.extend_from_slice(&head),
            Magic::Unsupported(format) => return Err(DecodeError::Unsupported { format }),
            Magic::Gzip => {
                self.state = State::Header(Header::default());
                // Ten bytes are at most one member header: nothing of them is deflated data.
                self.input_bytes = 0;
                self.push(&head, plain)?;
            }
        }
        Ok(())
    }

    fn inflate(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(usize, Stop), DecodeError> {
        let before = plain.len();
        let progress = match self.inflater.inflate(input, plain) {
            Ok(progress) => progress,
            Err(InvalidDeflate) => {
                return Err(DecodeError::Corrupt {
                    input_bytes: self.input_bytes,
                    reason: "invalid DEFLATE data",
                });
            }
        };
        let produced = &plain[before..];
        self.block
            .push(&input[..progress.taken], produced, self.block_bytes_max);
        if self.plain_head.len() < PLAIN_HEAD_BYTES {
            let wanted = produced.len().min(PLAIN_HEAD_BYTES - self.plain_head.len());
            self.plain_head.extend_from_slice(&produced[..wanted]);
            if self.plain_head == [0x1f, 0x8b] {
                plain.truncate(before);
                return Err(DecodeError::Unsupported {
                    format: "gzip inside gzip",
                });
            }
        }
        Ok((progress.taken, progress.stop))
    }

    /// RFC 1952, section 2.3.1: CRC-32 and length modulo 2^32, little-endian.
    fn check_member(&mut self, trailer: [u8; 8]) -> Result<(), DecodeError> {
        self.block.leave_ended(&mut self.member);
        let [a, b, c, d, e, f, g, h] = trailer;
        let reason = if u32::from_le_bytes([a, b, c, d]) != self.member.crc.clone().finalize() {
            "wrong CRC-32"
        } else if u32::from_le_bytes([e, f, g, h]) != self.member.plain_bytes as u32 {
            "wrong length"
        } else {
            return Ok(());
        };
        Err(DecodeError::Corrupt {
            input_bytes: self.input_bytes,
            reason,
        })
    }
}

enum Magic {
    Plain,
    Gzip,
    Unsupported(&'static str),
}

fn sniff(head: &[u8]) -> Magic {
    const UNSUPPORTED: &[(&[u8], &str)] = &[
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"PAR1", "Parquet"),
        (b"ORC\n", "ORC"),
        (b"\xff\x06\0\0sNaPpY", "framed snappy"),
    ];
    if head.starts_with(b"\x1f\x8b") {
        return Magic::Gzip;
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
        return Magic::Unsupported("bzip2");
    }
    UNSUPPORTED
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map_or(Magic::Plain, |(_, format)| Magic::Unsupported(format))
}

/// A gzip member header as it arrives (RFC 1952, section 2.3).
#[derive(Default)]
struct Header {
    part: HeaderPart,
    fixed: [u8; 10],
    crc: Crc,
}

#[derive(Clone, Copy)]
enum HeaderPart {
    Fixed(usize),
    ExtraLength(Option<u8>),
    Extra(usize),
    Name,
    Comment,
    Check(Option<u8>),
    Done,
}

impl Default for HeaderPart {
    fn default() -> Self {
        HeaderPart::Fixed(0)
    }
}

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl Header {
    /// Takes header bytes from `input`; says how many, and whether the header is complete.
    fn push(&mut self, input: &[u8]) -> Result<(usize, bool), &'static str> {
        for (taken, byte) in input.iter().enumerate() {
            if self.push_byte(*byte)? {
                return Ok((taken + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn push_byte(&mut self, byte: u8) -> Result<bool, &'static str> {
        if !matches!(self.part, HeaderPart::Check(_)) {
            self.crc.update(&[byte]);
        }
        self.part = match self.part {
            HeaderPart::Fixed(at) => {
                self.fixed[at] = byte;
                if at + 1 < self.fixed.len() {
                    HeaderPart::Fixed(at + 1)
                } else {
                    self.check_fixed()?;
                    self.after(FEXTRA >> 1)
                }
            }
            HeaderPart::ExtraLength(None) => HeaderPart::ExtraLength(Some(byte)),
            HeaderPart::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.after(FEXTRA),
                length => HeaderPart::Extra(length.into()),
            },
            HeaderPart::Extra(1) => self.after(FEXTRA),
            HeaderPart::Extra(left) => HeaderPart::Extra(left - 1),
            HeaderPart::Name if byte == 0 => self.after(FNAME),
            HeaderPart::Comment if byte == 0 => self.after(FCOMMENT),
            part @ (HeaderPart::Name | HeaderPart::Comment) => part,
            HeaderPart::Check(None) => HeaderPart::Check(Some(byte)),
            HeaderPart::Check(Some(low)) => {
                if u16::from_le_bytes([low, byte]) != self.crc.clone().finalize() as u16 {
                    return Err("wrong CRC-16 of a member header");
                }
                HeaderPart::Done
            }
            HeaderPart::Done => HeaderPart::Done,
        };
        Ok(matches!(self.part, HeaderPart::Done))
    }

    fn check_fixed(&self) -> Result<(), &'static str> {
        match self.fixed {
            [0x1f, 0x8b, 8, flags, ..] if flags & RESERVED == 0 => Ok(()),
            [0x1f, 0x8b, 8, ..] => Err("reserved flags in a member header"),
            [0x1f, 0x8b, ..] => Err("compression method is not DEFLATE"),
            _ => Err("a member header has the wrong magic number"),
        }
    }

    /// The part that follows the optional part of flag `done`, in the order of RFC 1952.
    fn after(&self, done: u8) -> HeaderPart {
        let flags = self.fixed[3];
        if done < FEXTRA && flags & FEXTRA != 0 {
            HeaderPart::ExtraLength(None)
        } else if done < FNAME && flags & FNAME != 0 {
            HeaderPart::Name
        } else if done < FCOMMENT && flags & FCOMMENT != 0 {
            HeaderPart::Comment
        } else if flags & FHCRC != 0 {
            HeaderPart::Check(None)
        } else {
            HeaderPart::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn member(plain: &[u8], level: u32) -> Vec<u8> {
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(level));
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    /// Decodes in pieces of `step` bytes into room for `room` bytes at a time.
    fn decode(input: &[u8], step: usize, room: usize) -> (Vec<u8>, Result<(), DecodeError>) {
        let mut decoder = Decoder::new(1 << 20);
        let mut all = Vec::new();
        let mut plain = Vec::with_capacity(room.max(MAGIC_BYTES_MAX));
        for piece in input.chunks(step.max(1)) {
            let mut rest = piece;
            loop {
                let pushed = decoder.push(rest, &mut plain);
                let is_empty = plain.is_empty();
                all.append(&mut plain);
                match pushed {
                    Ok(step) if step.taken == 0 && is_empty && !step.is_block_end => break,
                    Ok(step) => rest = &rest[step.taken..],
                    Err(error) => return (all, Err(error)),
                }
            }
        }
        let end = decoder.finish(&mut plain);
        all.append(&mut plain);
        (all, end)
    }

    fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2_000),
            proptest::collection::vec(proptest::sample::select(b"ab\n{}".to_vec()), 0..20_000),
        ]
    }

    proptest! {
        #[test]
        fn any_members_in_any_pieces_give_the_same_plain_bytes(
            plains in proptest::collection::vec(plain_strategy(), 1..5),
            level in 0_u32..10,
            step in 1_usize..5_000,
            room in 10_usize..5_000,
            padding in 0_usize..600,
        ) {
            prop_assume!(!plains.concat().starts_with(b"\x1f\x8b"));
            let mut input: Vec<u8> = plains.iter().flat_map(|plain| member(plain, level)).collect();
            input.extend(vec![0; padding]);
            prop_assert_eq!(decode(&input, step, room), (plains.concat(), Ok(())));
        }

        #[test]
        fn every_truncation_of_a_gzip_is_an_error_and_its_plain_bytes_a_prefix(
            plain in plain_strategy(),
            cut in any::<proptest::sample::Index>(),
            step in 1_usize..5_000,
        ) {
            prop_assume!(!plain.starts_with(b"\x1f\x8b"));
            let input = member(&plain, 6);
            // Less than the magic number is plain: two bytes are needed to know better.
            let cut = 2 + cut.index(input.len() - 2);
            let (decoded, end) = decode(&input[..cut], step, 100);
            prop_assert!(plain.starts_with(&decoded));
            prop_assert_eq!(end, Err(DecodeError::Truncated { input_bytes: cut as u64 }));
        }

        #[test]
        fn a_flipped_bit_anywhere_in_data_or_trailer_never_gives_other_bytes_as_a_success(
            plain in proptest::collection::vec(any::<u8>(), 1..500),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            prop_assume!(!plain.starts_with(b"\x1f\x8b"));
            let mut input = member(&plain, 6);
            let at = 10 + at.index(input.len() - 10);
            input[at] ^= 1 << bit;
            let (decoded, end) = decode(&input, 1_000, 1_000);
            // A few bits of a Huffman table are free: another table, the same bytes.
            prop_assert!(end.is_err() || decoded == plain, "decoded {} bytes", decoded.len());
        }

        #[test]
        fn what_is_not_compressed_goes_through(plain in plain_strategy(), step in 1_usize..3_000) {
            prop_assume!(matches!(sniff(&plain), Magic::Plain));
            prop_assert_eq!(decode(&plain, step, 64), (plain, Ok(())));
        }
    }

    /// The blocks of an object, as bits with the plain bytes that belong to them.
    fn blocks(input: &[u8], step: usize, block_bytes_max: usize) -> Vec<(u64, Vec<u8>)> {
        let mut decoder = Decoder::new(block_bytes_max);
        let (mut blocks, mut of_block) = (Vec::new(), Vec::new());
        for piece in input.chunks(step) {
            let mut rest = piece;
            loop {
                let mut plain = Vec::with_capacity(64);
                let pushed = decoder.push(rest, &mut plain).unwrap();
                rest = &rest[pushed.taken..];
                of_block.extend_from_slice(&plain);
                if pushed.is_block_end {
                    if let Some(block) = decoder.block() {
                        assert_eq!(block.plain_bytes, of_block.len() as u64);
                        assert_eq!(block.crc.clone().finalize(), crc32fast::hash(&of_block));
                        blocks.push((block.bits.length(), of_block.clone()));
                    }
                    of_block.clear();
                } else if plain.is_empty() && pushed.taken == 0 {
                    break;
                }
            }
        }
        blocks
    }

    #[test]
    fn blocks_come_with_their_bits_whatever_the_pieces_and_large_or_stored_ones_do_not() {
        let plain: Vec<u8> = (0..30_000_u32)
            .flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
            .collect();
        let input = [member(&plain, 6), member(b"", 6), member(b"last\n", 1)].concat();
        let whole = blocks(&input, input.len(), 1 << 20);
        assert!(whole.len() > 3, "{} blocks", whole.len());
        let all: Vec<u8> = whole.iter().flat_map(|(_, plain)| plain.clone()).collect();
        assert_eq!(all, [plain.as_slice(), b"last\n"].concat());
        for step in [1, 7, 1_000] {
            assert_eq!(blocks(&input, step, 1 << 20), whole);
        }
        let largest = whole.iter().map(|(_, plain)| plain.len()).max().unwrap();
        let held = blocks(&input, 100, largest - 1);
        assert!(
            held.len() < whole.len() && !held.is_empty(),
            "{}",
            held.len()
        );
        assert_eq!(blocks(&member(&plain, 0), 100, 1 << 20), []);
    }

    #[test]
    fn an_empty_member_between_others_and_padding_after_the_last_are_no_damage() {
        let input = [
            member(b"a\n", 6),
            member(b"", 6),
            member(b"b\n", 1),
            vec![0; 512],
        ]
        .concat();
        assert_eq!(decode(&input, 7, 64), (b"a\nb\n".to_vec(), Ok(())));
    }

    #[test]
    fn bytes_after_the_last_member_that_are_no_member_are_damage() {
        let input = [member(b"a\n", 6), b"tail".to_vec()].concat();
        let (plain, end) = decode(&input, 100, 64);
        assert_eq!(plain, b"a\n");
        assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
    }

    #[test]
    fn a_header_with_every_optional_part_is_read_and_its_checksum_checked() {
        let mut input = GzBuilder::new()
            .extra(b"extra".to_vec())
            .filename("a.log")
            .comment("none")
            .write(Vec::new(), Compression::fast());
        input.write_all(b"a\n").unwrap();
        let mut input = input.finish().unwrap();
        assert_eq!(decode(&input, 1, 64), (b"a\n".to_vec(), Ok(())));

        // FHCRC (RFC 1952, section 2.3.1): the low half of the CRC-32 of the header before it.
        let header_bytes = input.len() - member(b"a\n", 1).len() + 10;
        input[3] |= FHCRC;
        let mut crc = Crc::new();
        crc.update(&input[..header_bytes]);
        let check = (crc.finalize() as u16).to_le_bytes();
        input.splice(header_bytes..header_bytes, check);
        assert_eq!(decode(&input, 1, 64), (b"a\n".to_vec(), Ok(())));
        input[header_bytes] ^= 1;
        let (_, end) = decode(&input, 1, 64);
        assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
    }

    #[test]
    fn wrong_crc_and_wrong_length_are_named() {
        let good = member(b"abc\n", 6);
        for (from_end, reason) in [(8, "wrong CRC-32"), (4, "wrong length")] {
            let mut input = good.clone();
            let at = input.len() - from_end;
            input[at] ^= 1;
            let (plain, end) = decode(&input, 1_000, 64);
            assert_eq!(plain, b"abc\n");
            let Err(DecodeError::Corrupt { reason: found, .. }) = end else {
                panic!("{end:?}");
            };
            assert_eq!(found, reason);
        }
    }

    /// Decodes `input` in pieces, and gives every place from which decoding can go on, with what came before it.
    fn places(input: &[u8], step: usize) -> (Vec<u8>, Vec<RestorePoint>) {
        let mut decoder = Decoder::new(1 << 20);
        let (mut all, mut points) = (Vec::new(), Vec::new());
        for mut rest in input.chunks(step) {
            loop {
                let mut plain = Vec::with_capacity(700);
                let pushed = decoder.push(rest, &mut plain).unwrap();
                rest = &rest[pushed.taken..];
                all.extend_from_slice(&plain);
                points.extend(decoder.member_end());
                if pushed.is_block_end {
                    points.extend(decoder.block_end());
                } else if plain.is_empty() && pushed.taken == 0 {
                    break;
                }
            }
        }
        points.dedup();
        (all, points)
    }

    /// As [`decode`], from a place on.
    fn decode_from(
        point: &RestorePoint,
        input: &[u8],
        step: usize,
    ) -> (Vec<u8>, Result<(), DecodeError>) {
        let mut decoder = Decoder::restored(1 << 20, point);
        let mut all = Vec::new();
        for mut rest in input[point.input_offset as usize..].chunks(step) {
            loop {
                let mut plain = Vec::with_capacity(512);
                let pushed = decoder.push(rest, &mut plain);
                all.append(&mut plain);
                match pushed {
                    Ok(step) if step.taken == 0 && !step.is_block_end && rest.is_empty() => break,
                    Ok(step) => rest = &rest[step.taken..],
                    Err(error) => return (all, Err(error)),
                }
            }
        }
        (all, decoder.finish(&mut Vec::with_capacity(16)))
    }

    fn flushed_member(pieces: &[Vec<u8>], flush: flate2::FlushCompress) -> Vec<u8> {
        let plain = pieces.concat();
        let mut compress = flate2::Compress::new(Compression::new(6), false);
        let mut out = Vec::with_capacity(plain.len() * 2 + pieces.len() * 20 + 1_000);
        for piece in pieces {
            compress.compress_vec(piece, &mut out, flush).unwrap();
        }
        compress
            .compress_vec(&[], &mut out, flate2::FlushCompress::Finish)
            .unwrap();
        let header = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice();
        let crc = crc32fast::hash(&plain).to_le_bytes();
        let length = (plain.len() as u32).to_le_bytes();
        [header, &out, &crc, &length].concat()
    }

    fn any_object() -> impl Strategy<Value = Vec<u8>> {
        use flate2::FlushCompress::{Full, Partial, Sync};
        let piece = proptest::collection::vec(b'a'..b'h', 0..12_000);
        let flush = proptest::sample::select(vec![Full, Partial, Sync]);
        let member = (proptest::collection::vec(piece, 0..8), flush)
            .prop_map(|(pieces, flush)| flushed_member(&pieces, flush));
        (proptest::collection::vec(member, 1..4), 0_usize..20).prop_map(|(members, padding)| {
            let mut object = members.concat();
            object.extend(vec![0; padding]);
            object
        })
    }

    proptest! {
        #[test]
        fn from_any_place_the_rest_comes_out_as_it_would_have(
            input in any_object(),
            step in 1_usize..3_000,
            again in 1_usize..3_000,
        ) {
            let (plain, points) = places(&input, step);
            let (_, whole) = places(&input, input.len());
            prop_assert_eq!(&points, &whole, "the places depend on the object alone");
            for point in points {
                let (rest, end) = decode_from(&point, &input, again);
                prop_assert_eq!(end, Ok(()));
                prop_assert!(rest == plain[point.plain_offset as usize..], "{:?}", point);
            }
        }

        #[test]
        fn damage_after_a_place_is_found_from_it_too(
            input in any_object(),
            at in any::<proptest::sample::Index>(),
            place in any::<proptest::sample::Index>(),
            flip in proptest::option::of(0_u32..8),
        ) {
            let (plain, points) = places(&input, 1_000);
            prop_assume!(!points.is_empty());
            let point = &points[place.index(points.len())];
            let start = point.input_offset as usize;
            prop_assume!(start < input.len());
            let at = start + at.index(input.len() - start);
            let mut damaged = input.clone();
            match flip {
                Some(bit) => damaged[at] ^= 1 << bit,
                None => damaged.truncate(at),
            }
            let (rest, end) = decode_from(point, &damaged, 777);
            if end.is_ok() {
                // A header may lie, padding may be missing, and the first bits may be those of the block before.
                prop_assert!(rest == plain[point.plain_offset as usize..]);
            }
            let (_, whole_end) = decode(&damaged, 777, 512);
            if whole_end.is_err() && start < at {
                prop_assert!(end.is_err(), "{:?} from the start", whole_end);
            }
        }
    }

    #[test]
    fn after_a_place_wrong_crc_and_wrong_length_of_its_member_are_named() {
        let pieces = [b"one\n".repeat(9_000), b"two\n".repeat(9_000)];
        let good = flushed_member(&pieces, flate2::FlushCompress::Partial);
        let (_, points) = places(&good, good.len());
        let point = points
            .iter()
            .find(|point| matches!(point.inside, Inside::Member(_)))
            .expect("a place within the member");
        for (from_end, reason) in [(8, "wrong CRC-32"), (4, "wrong length")] {
            let mut input = good.clone();
            let at = input.len() - from_end;
            input[at] ^= 1;
            let (_, end) = decode_from(point, &input, 100);
            let input_bytes = (input.len() - 8) as u64;
            let expected = DecodeError::Corrupt {
                input_bytes,
                reason,
            };
            assert_eq!(decode(&input, input.len() - 8, 1 << 20).1, Err(expected));
            assert!(
                matches!(end, Err(DecodeError::Corrupt { reason: found, .. }) if found == reason),
                "{end:?}"
            );
        }
    }

    #[test]
    fn a_place_is_none_before_it_is_known_that_this_is_no_gzip_in_gzip() {
        let nested = member(b"a\n", 6);
        let input = [
            member(b"", 6),
            member(&nested[..1], 6),
            member(&nested[1..], 6),
        ]
        .concat();
        let mut decoder = Decoder::new(1 << 20);
        let mut plain = Vec::with_capacity(100);
        let mut rest = input.as_slice();
        let end = loop {
            match decoder.push(rest, &mut plain) {
                Ok(step) => rest = &rest[step.taken..],
                Err(error) => break error,
            }
            assert_eq!(decoder.member_end(), None);
            assert_eq!(decoder.block_end(), None);
        };
        assert!(matches!(end, DecodeError::Unsupported { .. }), "{end}");
    }

    #[test]
    fn containers_that_are_not_read_are_named_and_never_taken_for_lines() {
        let nested = member(&member(b"a\n", 6), 6);
        for (input, format) in [
            (nested.as_slice(), "gzip inside gzip"),
            (b"PAR1\x15\x04\x15\x08\x15\x08\x4c", "Parquet"),
            (b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9", "zstd"),
            (b"BZh91AY&SY\x00\x00", "bzip2"),
            (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "zip"),
        ] {
            for step in [1, 3, 100] {
                let (plain, end) = decode(input, step, 64);
                // One byte of a magic number can be out before the second is there; no line ends.
                assert!(plain.len() < 2, "{format}: {plain:?}");
                assert_eq!(end, Err(DecodeError::Unsupported { format }));
            }
        }
    }
}
