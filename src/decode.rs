//! Compressed bytes → plain bytes, told by magic number and never by a name.
//!
//! Goes in: the bytes of an object, in pieces of any size. Comes out: plain bytes, as many as the
//! caller has room for. It never guesses: what is truncated, corrupt or unknown is an error, and the
//! plain bytes before the damage have come out by then.
//!
//! It reads gzip (RFC 1952), zstd (RFC 8878), bzip2 and framed snappy, any number of members, frames or streams one
//! after the other, empty ones included, and zero padding after gzip. What comes out of one of these is looked at
//! again: up to [`LAYERS_MAX`] may lie within each other, as where a producer compresses records and then the file of
//! them. Checksums are checked wherever the format has them. Snappy has no end: an object that was cut off between two
//! of its chunks looks whole, as one does that was cut off between two members, frames or streams.
//!
//! Of an object that is gzip and nothing else it also tells where each DEFLATE block ends and gives its compressed
//! bits, for whoever can use them as they are. Decoding of such an object can be taken up at the end of a block or a
//! member, and of what is not compressed anywhere: what that needs is a [`RestorePoint`], and each member's CRC-32 and
//! length are checked there too. Whatever is compressed in another way gives no blocks, and is decoded from its
//! start.

mod bzip2;
mod gzip;
mod magic;
mod snappy;
mod zstd;

use std::fmt;

pub use self::gzip::Block;

use self::bzip2::Bzip2;
use self::gzip::Gzip;
use self::magic::{Format, MAGIC_BYTES_MAX, Sniffed, sniff, sniff_all};
use self::snappy::Snappy;
use self::zstd::Zstd;
use crate::expansion::{Expansion, ExpansionMax};
use crate::records::Malformed;
use crate::restore::{Inside, RestorePoint};

/// How often an object may be compressed. Firehose compresses once what CloudWatch Logs compressed before (Amazon
/// Data Firehose Developer Guide, "Send CloudWatch Logs to Firehose"); one more is somebody's archive of that.
pub const LAYERS_MAX: usize = 3;

/// Bytes that one layer gives the next at a time.
const BETWEEN_BYTES: usize = 64 * 1024;

/// Why an object cannot be decoded. None of these is ever a success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a member, a frame, a stream or a chunk, after so many bytes of that layer.
    #[error("{} truncated after {input_bytes} bytes", Named(.format, .layer))]
    Truncated {
        format: &'static str,
        /// 1 for the object itself, 2 for what is compressed within it.
        layer: usize,
        input_bytes: u64,
    },
    /// The input contradicts its format, near so many bytes of that layer.
    #[error("{} corrupt near byte {input_bytes}: {reason}", Named(.format, .layer))]
    Corrupt {
        format: &'static str,
        /// 1 for the object itself, 2 for what is compressed within it.
        layer: usize,
        input_bytes: u64,
        reason: &'static str,
    },
    /// A format that is recognised and not read.
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

impl From<Malformed> for DecodeError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed {
            plain_bytes: malformed.offset,
            expected: malformed.expected,
        }
    }
}

/// A layer as an error shows it.
struct Named<'a>(&'a str, &'a usize);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named(format, 1) => f.write_str(format),
            Named(format, layer) => write!(f, "{format} in layer {layer}"),
        }
    }
}

/// Decodes one object.
///
/// Memory, whatever the object holds: for each layer what its format takes, and between two layers 64 KiB.
///
/// - gzip: a window of 32 KiB, tables of some 10 KiB, and without another layer the compressed bits of one block of less
///   than `block_bytes_max`, which are at most twice as many bytes, in a buffer that grows by doubling.
/// - zstd: some 8.6 MiB for a frame with the largest window that is read, 8 MiB; a frame of fewer plain bytes touches
///   less of it.
/// - bzip2: some 3.7 MB for blocks of the usual 900 KB.
/// - framed snappy: 142,030 bytes.
pub struct Decoder {
    /// The outermost first.
    layers: Vec<Layer>,
    /// The first bytes that the innermost layer gave, until it is known what they are, and then until they are out.
    head: Vec<u8>,
    /// Whether it is known that they are plain.
    is_sniffed: bool,
    /// Whether a block ends with `head`, which is plain.
    ends_block: bool,
    /// Whether the block under way has plain bytes of an earlier block before it, because nothing was known of them
    /// when that ended. It is not given.
    is_merged: bool,
    /// Whether the last push ended a block.
    ended_block: bool,
    block_bytes_max: usize,
    expansion_max: Option<ExpansionMax>,
    given: Given,
    spare: Option<Spare>,
}

/// What another decoder has left, for the next one.
pub struct Spare(Box<Gzip>);

/// One of the formats, within the object or another layer.
struct Layer {
    format: Format,
    machine: Machine,
    /// What the layer around it gave, or the bytes by which the format was told.
    input: Vec<u8>,
    /// How many of these it took.
    taken: usize,
    /// All that it was given by now.
    around: Given,
    /// Why it is given no more.
    damage: Option<DecodeError>,
}

enum Machine {
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
    Bzip2(Box<Bzip2>),
    Snappy(Box<Snappy>),
}

/// How many bytes came out of a layer, and whether that is too many.
struct Given {
    bytes: u64,
    expansion: Option<Expansion>,
}

/// How far one push came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that were taken.
    pub taken: usize,
    /// Whether a DEFLATE block ended with the last plain byte that came out. Never with two layers or more, and not for
    /// a block at whose end all plain bytes of the object might still be the start of another layer: what is given next
    /// belongs to the same piece then.
    pub is_block_end: bool,
}

/// What a format has to say against its input.
enum Damage {
    Corrupt {
        input_bytes: u64,
        reason: &'static str,
    },
    Unsupported(&'static str),
}

impl Decoder {
    /// Blocks of `block_bytes_max` plain bytes or more are decoded all the same, but never given whole.
    pub fn new(block_bytes_max: usize) -> Self {
        Self {
            layers: Vec::new(),
            head: Vec::with_capacity(MAGIC_BYTES_MAX),
            is_sniffed: false,
            ends_block: false,
            is_merged: false,
            ended_block: false,
            block_bytes_max,
            expansion_max: None,
            given: Given {
                bytes: 0,
                expansion: None,
            },
            spare: None,
        }
    }

    /// Decodes with what another one has left. Nothing was pushed yet.
    pub fn set_spare(&mut self, spare: Option<Spare>) {
        self.spare = spare;
    }

    /// What another one can use.
    pub fn into_spare(self) -> Option<Spare> {
        let outermost = self.layers.into_iter().next();
        match outermost.map(|layer| layer.machine) {
            Some(Machine::Gzip(gzip)) => Some(Spare(gzip)),
            Some(_) | None => self.spare,
        }
    }

    /// Goes on from `point`: push the bytes of the object from [`RestorePoint::input_offset`] on.
    pub fn restored(block_bytes_max: usize, point: &RestorePoint) -> Self {
        let mut decoder = Self::new(block_bytes_max);
        // Whoever made the point has looked at what comes out.
        decoder.is_sniffed = true;
        decoder.given.bytes = point.plain_offset;
        let (input_bytes, plain_bytes) = (point.input_offset, point.plain_offset);
        let gzip = match &point.inside {
            Inside::Plain => return decoder,
            Inside::Members => Gzip::after_members(block_bytes_max, input_bytes, plain_bytes),
            Inside::Member(member) => {
                Gzip::within_member(block_bytes_max, input_bytes, plain_bytes, member)
            }
        };
        let machine = Machine::Gzip(Box::new(gzip));
        let layer = decoder.layer(Format::Gzip, machine, Vec::new());
        decoder.layers.push(layer);
        decoder
    }

    /// Fails where more comes out than `max` allows, of the last layer or of one around it: what is compressed so that
    /// layers give much and the last one nothing ends there too. Each push then does bounded work.
    #[must_use]
    pub fn bounded(mut self, max: ExpansionMax) -> Self {
        self.expansion_max = Some(max);
        self.given = Given::new(Some(max), self.given.bytes);
        self
    }

    /// One that decodes the object from its start, as this one would have.
    #[must_use]
    pub fn afresh(self) -> Self {
        let mut decoder = Self::new(self.block_bytes_max);
        let expansion_max = self.expansion_max;
        decoder.set_spare(self.into_spare());
        match expansion_max {
            Some(max) => decoder.bounded(max),
            None => decoder,
        }
    }

    /// Whether the object is not compressed: then decoding can be taken up anywhere.
    pub fn is_plain(&self) -> bool {
        self.is_sniffed && self.layers.is_empty()
    }

    /// How the object is compressed, as far as that is known: the outermost layer first.
    pub fn layers(&self) -> impl Iterator<Item = &'static str> {
        self.layers.iter().map(|layer| layer.format.name())
    }

    /// The end of the last member that was whole, so far.
    pub fn member_end(&self) -> Option<RestorePoint> {
        self.only_gzip()?.member_end()
    }

    /// The end of the block that the last push ended, unless it is the last one of its member. This copies the
    /// window, so it is not for every block.
    pub fn block_end(&self) -> Option<RestorePoint> {
        self.only_gzip()?.block_end()
    }

    /// Decodes from `input` into the spare capacity of `plain`, until `input` is used up, `plain` is full
    /// or a DEFLATE block ends: then push the rest of the input, even if nothing is left of it. A push that
    /// takes nothing, gives nothing and ends no block says that it needs more input. On an error, `plain`
    /// holds what came before the damage, but for at most 9 bytes at the very start of the object that might have been
    /// that of another layer: no line is among them.
    pub fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, DecodeError> {
        if std::mem::take(&mut self.ended_block) {
            self.is_merged = false;
        }
        let before = plain.len();
        let step = self.decode(input, plain)?;
        self.ended_block = step.is_block_end;
        self.given.note(step.taken, plain.len() - before)?;
        Ok(step)
    }

    fn decode(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, DecodeError> {
        let mut taken = 0;
        while !self.is_sniffed {
            let head_bytes = self.head.len();
            let step = match pull(&mut self.layers, &input[taken..], &mut self.head) {
                Ok(step) => step,
                Err(error) => {
                    self.keep_head(error, plain)?;
                    continue;
                }
            };
            taken += step.taken;
            match sniff(&self.head) {
                Sniffed::Plain => {
                    self.is_sniffed = true;
                    self.ends_block = step.is_block_end;
                }
                Sniffed::Compressed(format) => self.enter(format)?,
                Sniffed::Unsupported(format) => return Err(DecodeError::Unsupported { format }),
                Sniffed::Undecided if step.is_block_end && self.head.is_empty() => {
                    return Ok(Step { taken, ..step });
                }
                Sniffed::Undecided if step.is_block_end => self.is_merged = true,
                Sniffed::Undecided if step.taken == 0 && self.head.len() == head_bytes => {
                    return Ok(Step { taken, ..step });
                }
                Sniffed::Undecided => {}
            }
        }
        if !self.head.is_empty() {
            let room = plain.capacity() - plain.len();
            plain.extend(self.head.drain(..self.head.len().min(room)));
            let is_block_end = self.head.is_empty() && std::mem::take(&mut self.ends_block);
            if is_block_end || plain.len() == plain.capacity() {
                return Ok(Step {
                    taken,
                    is_block_end,
                });
            }
        }
        let step = pull(&mut self.layers, &input[taken..], plain)?;
        Ok(Step {
            taken: taken + step.taken,
            ..step
        })
    }

    /// The block that the last push ended, if it is compressed and was not too large to be held. A stored
    /// block (RFC 1951, section 3.2.4) is none: how it is padded depends on where it begins.
    pub fn block(&self) -> Option<Block<'_>> {
        self.only_gzip().filter(|_| !self.is_merged)?.block()
    }

    /// Whether the block under way may still be given whole: it has begun, and is not too large so far.
    pub fn holds_block(&self) -> bool {
        !self.is_merged && self.only_gzip().is_some_and(Gzip::holds_block)
    }

    /// Says that the input has ended, after a push that gave nothing: what a layer still holds is an error. An object
    /// shorter than a magic number is plain, and comes out here, into the spare capacity of `plain` (at most 10 bytes).
    pub fn finish(&mut self, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        let truncated = |format: Format, layer, input_bytes| DecodeError::Truncated {
            format: format.name(),
            layer,
            input_bytes,
        };
        for (around, layer) in self.layers.iter().enumerate() {
            if !layer.machine.is_whole() || layer.taken < layer.input.len() {
                let input_bytes = layer.machine.input_bytes();
                return Err(truncated(layer.format, around + 1, input_bytes));
            }
        }
        if !self.is_sniffed {
            let (layer, input_bytes) = (self.layers.len() + 1, self.head.len() as u64);
            match sniff_all(&self.head) {
                Sniffed::Plain | Sniffed::Undecided => self.is_sniffed = true,
                Sniffed::Compressed(format) => return Err(truncated(format, layer, input_bytes)),
                Sniffed::Unsupported(format) => return Err(DecodeError::Unsupported { format }),
            }
        }
        plain.append(&mut self.head);
        Ok(())
    }

    /// The only layer, if it is gzip and what it gives is plain.
    fn only_gzip(&self) -> Option<&Gzip> {
        match self.layers.as_slice() {
            [
                Layer {
                    machine: Machine::Gzip(gzip),
                    ..
                },
            ] if self.is_sniffed => Some(gzip),
            _ => None,
        }
    }

    /// Lets what came before the damage come out, through another layer if that is what it is.
    fn keep_head(&mut self, error: DecodeError, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        match sniff(&self.head) {
            Sniffed::Plain => plain.append(&mut self.head),
            Sniffed::Undecided | Sniffed::Unsupported(_) => {}
            Sniffed::Compressed(format) => {
                self.enter(format)?;
                if let Some(layer) = self.layers.last_mut() {
                    layer.damage = Some(error);
                    return Ok(());
                }
            }
        }
        Err(error)
    }

    /// Takes `head` for the start of another layer.
    fn enter(&mut self, format: Format) -> Result<(), DecodeError> {
        if self.layers.len() == LAYERS_MAX {
            return Err(DecodeError::Unsupported {
                format: "compression in more than 3 layers",
            });
        }
        let block_bytes_max = if self.layers.is_empty() {
            self.block_bytes_max
        } else {
            0
        };
        for layer in &mut self.layers {
            if let Machine::Gzip(gzip) = &mut layer.machine {
                gzip.give_no_blocks();
            }
        }
        let machine = match format {
            Format::Gzip => Machine::Gzip(self.gzip(block_bytes_max)),
            Format::Zstd => Machine::Zstd(Box::new(Zstd::new())),
            Format::Bzip2 => Machine::Bzip2(Box::new(Bzip2::new())),
            Format::Snappy => Machine::Snappy(Box::new(Snappy::new())),
        };
        let head = std::mem::replace(&mut self.head, Vec::with_capacity(MAGIC_BYTES_MAX));
        self.is_merged = false;
        let layer = self.layer(format, machine, head);
        self.layers.push(layer);
        Ok(())
    }

    fn gzip(&mut self, block_bytes_max: usize) -> Box<Gzip> {
        match self.spare.take() {
            Some(Spare(mut gzip)) => {
                gzip.begin_again(block_bytes_max);
                gzip
            }
            None => Box::new(Gzip::new(block_bytes_max)),
        }
    }

    fn layer(&self, format: Format, machine: Machine, input: Vec<u8>) -> Layer {
        Layer {
            format,
            machine,
            around: Given::new(self.expansion_max, 0),
            damage: None,
            input,
            taken: 0,
        }
    }
}

/// Lets the innermost layer decode into the spare capacity of `out`, with as much of `input` as that takes. Ends as
/// [`Decoder::push`] does.
fn pull(layers: &mut [Layer], input: &[u8], out: &mut Vec<u8>) -> Result<Step, DecodeError> {
    let number = layers.len();
    let Some((layer, around)) = layers.split_last_mut() else {
        let taken = input.len().min(out.capacity() - out.len());
        out.extend_from_slice(&input[..taken]);
        return Ok(Step {
            taken,
            is_block_end: false,
        });
    };
    let mut taken = 0;
    loop {
        let is_outermost = around.is_empty() && layer.taken == layer.input.len();
        let rest = match is_outermost {
            true => &input[taken..],
            false => &layer.input[layer.taken..],
        };
        let pushed = layer.machine.push(rest, out);
        let step = pushed.map_err(|damage| damage.of(layer.format, number))?;
        if is_outermost {
            taken += step.taken;
        } else {
            layer.taken += step.taken;
        }
        let is_block_end = step.is_block_end && around.is_empty();
        if is_outermost || is_block_end || out.len() == out.capacity() {
            return Ok(Step {
                taken,
                is_block_end,
            });
        }
        if around.is_empty() || step.is_block_end {
            continue;
        }
        if let Some(error) = layer.damage.take() {
            return Err(error);
        }
        layer.input.clear();
        layer.taken = 0;
        layer.input.reserve_exact(BETWEEN_BYTES);
        let pulled = pull(around, &input[taken..], &mut layer.input);
        let noted = pulled.and_then(|step| {
            taken += step.taken;
            layer.around.note(step.taken, layer.input.len())?;
            Ok(step)
        });
        match noted {
            Ok(step) if step.taken == 0 && layer.input.is_empty() && !step.is_block_end => {
                return Ok(Step {
                    taken,
                    is_block_end: false,
                });
            }
            Ok(_) => {}
            // What came before the damage is decoded first.
            Err(error) => layer.damage = Some(error),
        }
    }
}

impl Machine {
    /// Takes all of `input`, unless `plain` is full or, with gzip alone, a block ends.
    fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, Damage> {
        match self {
            Machine::Gzip(gzip) => gzip.push(input, plain),
            Machine::Zstd(zstd) => zstd.push(input, plain),
            Machine::Bzip2(bzip2) => bzip2.push(input, plain),
            Machine::Snappy(snappy) => snappy.push(input, plain),
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Machine::Gzip(gzip) => gzip.is_whole(),
            Machine::Zstd(zstd) => zstd.is_whole(),
            Machine::Bzip2(bzip2) => bzip2.is_whole(),
            Machine::Snappy(snappy) => snappy.is_whole(),
        }
    }

    fn input_bytes(&self) -> u64 {
        match self {
            Machine::Gzip(gzip) => gzip.input_bytes(),
            Machine::Zstd(zstd) => zstd.input_bytes(),
            Machine::Bzip2(bzip2) => bzip2.input_bytes(),
            Machine::Snappy(snappy) => snappy.input_bytes(),
        }
    }
}

impl Given {
    fn new(max: Option<ExpansionMax>, bytes: u64) -> Self {
        Self {
            bytes,
            expansion: max.map(|max| Expansion::new(max, bytes)),
        }
    }

    /// Notes that so many more bytes came out, with so many more of the object.
    fn note(&mut self, taken: usize, given: usize) -> Result<(), DecodeError> {
        self.bytes += given as u64;
        match &mut self.expansion {
            Some(expansion) => expansion.note(taken, self.bytes),
            None => Ok(()),
        }
    }
}

impl Damage {
    fn of(self, format: Format, layer: usize) -> DecodeError {
        match self {
            Damage::Corrupt {
                input_bytes,
                reason,
            } => DecodeError::Corrupt {
                format: format.name(),
                layer,
                input_bytes,
                reason,
            },
            Damage::Unsupported(format) => DecodeError::Unsupported { format },
        }
    }
}

#[cfg(test)]
mod tests;
