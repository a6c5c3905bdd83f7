//! Gzip members (RFC 1952) → plain bytes, block by block.
//!
//! Goes in: any number of members one after the other, empty ones and zero padding included, in pieces of any
//! size. Comes out: plain bytes, and where each DEFLATE block ends, with its compressed bits and with what
//! taking decoding up there needs. Each member's CRC-32 and length are checked, from a restore point on too.

use crc32fast::Hasher as Crc;

use super::{Damage, Step};
use crate::bits::Bits;
use crate::inflate::{Inflater, InvalidDeflate, Stop};
use crate::restore::{self, Inside, RestorePoint};

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

/// Decodes the members of one object, or of what another layer gives. Holds what [`Inflater`] holds, and the
/// compressed bits of one block of less than `block_bytes_max` plain bytes: at most twice as many bytes, since what
/// gives three bytes or more takes at most 48 bits (RFC 1951, section 3.2.5), in a buffer that grows by doubling.
pub(super) struct Gzip {
    state: State,
    inflater: Inflater,
    member: Member,
    block: Collected,
    block_bytes_max: usize,
    input_bytes: u64,
    /// Plain bytes of the members that are whole.
    members_plain_bytes: u64,
    /// The bytes of the object up to the end of the last of them.
    members_input_bytes: Option<u64>,
}

enum State {
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

/// Compressed bytes of a block for which there stays room for the next object.
const BLOCK_BYTES_KEPT: usize = 64 * 1024;

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

impl Gzip {
    /// Blocks of `block_bytes_max` plain bytes or more are decoded all the same, but never given whole.
    pub(super) fn new(block_bytes_max: usize) -> Self {
        Self {
            state: State::Header(Header::default()),
            inflater: Inflater::new(),
            member: Member::default(),
            block: Collected::default(),
            block_bytes_max,
            input_bytes: 0,
            members_plain_bytes: 0,
            members_input_bytes: None,
        }
    }

    /// Makes it ready for another object. It keeps its buffers.
    pub(super) fn begin_again(&mut self, block_bytes_max: usize) {
        let mut bytes = std::mem::take(&mut self.block.bytes);
        bytes.clear();
        bytes.shrink_to(BLOCK_BYTES_KEPT);
        self.state = State::Header(Header::default());
        self.member = Member::default();
        self.block = Collected {
            bytes,
            ..Collected::default()
        };
        self.block_bytes_max = block_bytes_max;
        self.input_bytes = 0;
        self.members_plain_bytes = 0;
        self.members_input_bytes = None;
    }

    /// Goes on after the last of some members, of `plain_bytes` in all.
    pub(super) fn after_members(
        block_bytes_max: usize,
        input_bytes: u64,
        plain_bytes: u64,
    ) -> Self {
        Self {
            state: State::BetweenMembers,
            input_bytes,
            members_plain_bytes: plain_bytes,
            ..Self::new(block_bytes_max)
        }
    }

    /// Goes on within a member, at the end of one of its blocks, with `plain_bytes` before it in all.
    pub(super) fn within_member(
        block_bytes_max: usize,
        input_bytes: u64,
        plain_bytes: u64,
        member: &restore::Member,
    ) -> Self {
        let mut gzip = Self::new(block_bytes_max);
        gzip.input_bytes = input_bytes;
        gzip.members_plain_bytes = plain_bytes - member.plain_bytes;
        gzip.member = Member {
            crc: Crc::new_with_initial_len(member.crc, member.plain_bytes),
            plain_bytes: member.plain_bytes,
        };
        gzip.inflater.restore(&member.window);
        gzip.block.first_bit = member.bits.into();
        gzip.state = match member.bits {
            0 => State::Deflate,
            bits => State::Enter(bits),
        };
        gzip
    }

    /// Gives no block whole any more.
    pub(super) fn give_no_blocks(&mut self) {
        self.block_bytes_max = 0;
    }

    /// Bytes that were taken, with those before the place it was restored at.
    pub(super) fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    /// The end of the last member that was whole, so far.
    pub(super) fn member_end(&self) -> Option<RestorePoint> {
        Some(RestorePoint {
            input_offset: self.members_input_bytes?,
            plain_offset: self.members_plain_bytes,
            inside: Inside::Members,
        })
    }

    /// The end of the block that the last push ended, unless it is the last one of its member. This copies the
    /// window.
    pub(super) fn block_end(&self) -> Option<RestorePoint> {
        let is_within = matches!(self.state, State::Deflate) && self.block.end_bit.is_some();
        if !is_within {
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

    /// Decodes until the input is used up, `plain` is full or a DEFLATE block ends.
    pub(super) fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, Damage> {
        let mut taken = 0;
        self.block.leave_ended(&mut self.member);
        loop {
            let rest = &input[taken..];
            let mut is_block_end = false;
            let step = match &mut self.state {
                State::Header(header) => {
                    let (step, complete) = header.push(rest).map_err(|reason| Damage::Corrupt {
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
                            return Err(Damage::Corrupt {
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
    pub(super) fn block(&self) -> Option<Block<'_>> {
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
    pub(super) fn holds_block(&self) -> bool {
        matches!(self.state, State::Deflate) && !self.block.is_too_large
    }

    /// Whether the input may end here.
    pub(super) fn is_whole(&self) -> bool {
        match self.state {
            State::BetweenMembers => true,
            State::Header(_) | State::Enter(_) | State::Deflate | State::Trailer(_) => false,
        }
    }

    fn inflate(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(usize, Stop), Damage> {
        let before = plain.len();
        let progress = match self.inflater.inflate(input, plain) {
            Ok(progress) => progress,
            Err(InvalidDeflate) => {
                return Err(Damage::Corrupt {
                    input_bytes: self.input_bytes,
                    reason: "invalid DEFLATE data",
                });
            }
        };
        self.block.push(
            &input[..progress.taken],
            &plain[before..],
            self.block_bytes_max,
        );
        Ok((progress.taken, progress.stop))
    }

    /// RFC 1952, section 2.3.1: CRC-32 and length modulo 2^32, little-endian.
    fn check_member(&mut self, trailer: [u8; 8]) -> Result<(), Damage> {
        self.block.leave_ended(&mut self.member);
        let [a, b, c, d, e, f, g, h] = trailer;
        let reason = if u32::from_le_bytes([a, b, c, d]) != self.member.crc.clone().finalize() {
            "wrong CRC-32"
        } else if u32::from_le_bytes([e, f, g, h]) != self.member.plain_bytes as u32 {
            "wrong length"
        } else {
            return Ok(());
        };
        Err(Damage::Corrupt {
            input_bytes: self.input_bytes,
            reason,
        })
    }
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

pub(super) const FHCRC: u8 = 1 << 1;
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
