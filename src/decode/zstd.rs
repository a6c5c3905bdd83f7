//! Zstandard frames (RFC 8878) → plain bytes.
//!
//! Goes in: any number of frames one after the other, empty and skippable ones included, in pieces of any size. Comes
//! out: plain bytes. The library checks the content size and the checksum of a frame that has them.
//!
//! Frame and block headers are read here too, and the library is given no more than the rest of a header or a block
//! at a time: it keeps back what came before the damage if it finds both in one call, and takes a shortcut, without
//! looking at the window, if it is given a whole frame. So what comes out never depends on the pieces.

use ::zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, get_error_name};

use super::{Damage, Step};

/// What a decoder is recommended to support, and encoders therefore not to exceed (RFC 8878, section 3.1.1.1.2).
const WINDOW_BYTES_MAX: u64 = 8 << 20;

/// The longest frame header, with its magic number (RFC 8878, section 3.1.1.1).
const HEADER_BYTES_MAX: usize = 18;

/// Decodes the frames of one object, or of what another layer gives. Holds a window of at most 8 MiB, of which a
/// frame touches no more than it has plain bytes, and besides what the library does: three blocks of 128 KiB (RFC 8878,
/// section 3.1.1.2.4) and tables of some 160 KiB.
pub(super) struct Zstd {
    context: DCtx<'static>,
    state: State,
    /// What is there of the frame header or block header.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Whether the frame ends with a checksum.
    has_checksum: bool,
    /// Whether the library may hold plain bytes for which there was no room.
    holds_plain: bool,
    input_bytes: u64,
}

#[derive(Clone, Copy)]
enum State {
    /// Between frames, or in a frame header.
    Header,
    /// In a skippable frame, of which so many bytes are left.
    Skip(u64),
    BlockHeader,
    /// In a block or after it in a checksum, of which so many bytes are left.
    Content {
        left: usize,
        then: Then,
    },
}

/// What follows.
#[derive(Clone, Copy)]
enum Then {
    Block,
    Checksum,
    Frame,
}

/// RFC 8878, section 3.1.1.4.
const CHECKSUM_BYTES: usize = 4;

/// RFC 8878, section 3.1.1.2.
const BLOCK_HEADER_BYTES: usize = 3;

/// Its magic number and its size (RFC 8878, section 3.1.2).
const SKIPPABLE_HEADER_BYTES: usize = 8;

impl Zstd {
    pub(super) fn new() -> Self {
        Self {
            context: DCtx::create(),
            state: State::Header,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            has_checksum: false,
            holds_plain: false,
            input_bytes: 0,
        }
    }

    pub(super) fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    /// Whether the input may end here.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.state, State::Header) && self.header_bytes == 0
    }

    /// Decodes until the input is used up or `plain` is full.
    pub(super) fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, Damage> {
        let mut taken = 0;
        while plain.len() < plain.capacity() {
            if self.holds_plain {
                self.decompress(&[], plain)?;
                continue;
            }
            let rest = &input[taken..];
            let Some(first) = rest.first() else {
                break;
            };
            let step = match &mut self.state {
                State::Header => self.push_header(*first, plain)?,
                State::BlockHeader => self.push_block_header(*first, plain)?,
                State::Skip(left) => {
                    let step = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= step as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                    step
                }
                State::Content { left, then } => {
                    let (left, then) = (*left, *then);
                    let step = self.decompress(&rest[..rest.len().min(left)], plain)?;
                    self.state = if step < left {
                        State::Content {
                            left: left - step,
                            then,
                        }
                    } else {
                        self.after(then)
                    };
                    step
                }
            };
            taken += step;
            self.input_bytes += step as u64;
        }
        Ok(Step {
            taken,
            is_block_end: false,
        })
    }

    fn after(&self, then: Then) -> State {
        match then {
            Then::Block => State::BlockHeader,
            Then::Checksum if self.has_checksum => State::Content {
                left: CHECKSUM_BYTES,
                then: Then::Frame,
            },
            Then::Checksum | Then::Frame => State::Header,
        }
    }

    /// Takes a byte of a frame header.
    fn push_header(&mut self, byte: u8, plain: &mut Vec<u8>) -> Result<usize, Damage> {
        self.header[self.header_bytes] = byte;
        self.header_bytes += 1;
        let wanted = match &self.header[..self.header_bytes] {
            [0x28] | [0x28, 0xb5] | [0x28, 0xb5, 0x2f] | [0x28, 0xb5, 0x2f, 0xfd] => return Ok(1),
            [0x50..=0x5f] | [0x50..=0x5f, 0x2a] | [0x50..=0x5f, 0x2a, 0x4d] => return Ok(1),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => SKIPPABLE_HEADER_BYTES,
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] => frame_header_bytes(*descriptor),
            _ => return Err(self.damage("bytes after the last frame are no frame")),
        };
        if self.header_bytes < wanted {
            return Ok(1);
        }
        self.header_bytes = 0;
        let header = self.header;
        self.state = match &header[..wanted] {
            [_, _, _, 0x18, size @ ..] => match little_endian(size) {
                0 => State::Header,
                left => State::Skip(left),
            },
            [_, _, _, _, descriptor, rest @ ..] => {
                self.has_checksum = descriptor & HAS_CHECKSUM != 0;
                check_frame(*descriptor, rest)?;
                self.decompress(&header[..wanted], plain)?;
                State::BlockHeader
            }
            _ => State::Header,
        };
        Ok(1)
    }

    /// Takes a byte of a block header (RFC 8878, section 3.1.1.2).
    fn push_block_header(&mut self, byte: u8, plain: &mut Vec<u8>) -> Result<usize, Damage> {
        self.header[self.header_bytes] = byte;
        self.header_bytes += 1;
        if self.header_bytes < BLOCK_HEADER_BYTES {
            return Ok(1);
        }
        self.header_bytes = 0;
        let header = self.header;
        let header = &header[..BLOCK_HEADER_BYTES];
        self.decompress(header, plain)?;
        let bits = little_endian(header);
        let then = if bits & 1 == 0 {
            Then::Block
        } else {
            Then::Checksum
        };
        let is_repeated_byte = (bits >> 1) & 3 == 1;
        let left = if is_repeated_byte { 1 } else { bits >> 3 };
        self.state = match left {
            0 => self.after(then),
            left => State::Content {
                left: left as usize,
                then,
            },
        };
        Ok(1)
    }

    /// Lets the library take what it can.
    fn decompress(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<usize, Damage> {
        let mut input = InBuffer::around(input);
        let at = plain.len();
        let mut output = OutBuffer::around_pos(plain, at);
        let decompressed = self.context.decompress_stream(&mut output, &mut input);
        self.holds_plain = plain.len() == plain.capacity();
        match decompressed {
            Ok(_) => Ok(input.pos()),
            Err(code) => Err(self.damage(get_error_name(code))),
        }
    }

    fn damage(&self, reason: &'static str) -> Damage {
        Damage::Corrupt {
            input_bytes: self.input_bytes,
            reason,
        }
    }
}

/// Bits of the frame header descriptor (RFC 8878, section 3.1.1.1.1).
const HAS_CHECKSUM: u8 = 1 << 2;
const IS_SINGLE_SEGMENT: u8 = 1 << 5;

/// Of the window descriptor, the dictionary ID and the content size (RFC 8878, section 3.1.1.1.1).
fn field_bytes(descriptor: u8) -> (usize, usize, usize) {
    let is_single_segment = descriptor & IS_SINGLE_SEGMENT != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = match descriptor >> 6 {
        0 => usize::from(is_single_segment),
        flag => 1 << flag,
    };
    (usize::from(!is_single_segment), dictionary, content)
}

/// From the magic number on.
fn frame_header_bytes(descriptor: u8) -> usize {
    let (window, dictionary, content) = field_bytes(descriptor);
    5 + window + dictionary + content
}

/// Refuses what cannot be read. `rest` is what follows the descriptor.
fn check_frame(descriptor: u8, rest: &[u8]) -> Result<(), Damage> {
    let (window, dictionary, content) = field_bytes(descriptor);
    let (window, rest) = rest.split_at(window);
    let (dictionary, content_size) = rest.split_at(dictionary);
    if dictionary.iter().any(|byte| *byte != 0) {
        return Err(Damage::Unsupported("zstd with a dictionary"));
    }
    let window_bytes = match window {
        // Section 3.1.1.1.2.
        [window, ..] => {
            let base = 1_u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        }
        // The content is the window (section 3.1.1.1.1.2), and 2 bytes count from 256 on (section 3.1.1.1.4).
        [] => little_endian(content_size) + if content == 2 { 256 } else { 0 },
    };
    if window_bytes > WINDOW_BYTES_MAX {
        return Err(Damage::Unsupported("zstd with a window of more than 8 MiB"));
    }
    Ok(())
}

/// Of at most 8 bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    let joined = |number, byte: &u8| (number << 8) | u64::from(*byte);
    bytes.iter().rev().fold(0, joined)
}
