//! Snappy's framing format → plain bytes.
//!
//! Goes in: chunks, in pieces of any size. Comes out: plain bytes, of each chunk once its checksum was right. Padding,
//! skippable chunks and further stream identifiers are passed over. The format has no end: what is cut off between two
//! chunks is whole. ("Snappy framing format description", in google/snappy; the sections named here are its.)

use snap::raw::{Decoder, decompress_len};

use super::{Damage, Step};

/// Plain bytes of a chunk (section 4.2).
const CHUNK_PLAIN_BYTES_MAX: usize = 65_536;

/// A chunk as it stands: its checksum, and what 65,536 bytes take at most that an encoder made longer
/// (`snap::raw::max_compress_len`).
const CHUNK_BYTES_MAX: usize =
    CHECKSUM_BYTES + 32 + CHUNK_PLAIN_BYTES_MAX + CHUNK_PLAIN_BYTES_MAX / 6;

/// Type and length (section 1).
const HEADER_BYTES: usize = 4;

/// Section 3.
const CHECKSUM_BYTES: usize = 4;

/// What follows the header of a stream identifier (section 4.1).
const IDENTIFIER: &[u8] = b"sNaPpY";

/// Decodes the chunks of one object, or of what another layer gives. Holds one chunk and its plain bytes, 142,030
/// bytes.
pub(super) struct Snappy {
    decoder: Decoder,
    header: Vec<u8>,
    state: State,
    /// The chunk under way, from its checksum on.
    chunk: Vec<u8>,
    /// The plain bytes of the last one.
    plain: Vec<u8>,
    /// How many of them came out.
    given: usize,
    input_bytes: u64,
}

#[derive(Clone, Copy)]
enum State {
    Header,
    /// In a chunk that says nothing, of which so many bytes are left.
    Skip(usize),
    Chunk {
        kind: Kind,
        length: usize,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    Identifier,
    Compressed,
    Uncompressed,
}

impl Snappy {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            header: Vec::with_capacity(HEADER_BYTES),
            state: State::Header,
            chunk: Vec::new(),
            plain: Vec::new(),
            given: 0,
            input_bytes: 0,
        }
    }

    pub(super) fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    /// Whether the input may end here.
    pub(super) fn is_whole(&self) -> bool {
        let is_given = self.given == self.plain.len();
        is_given && matches!(self.state, State::Header) && self.header.is_empty()
    }

    /// Decodes until the input is used up or `plain` is full.
    pub(super) fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, Damage> {
        let mut taken = 0;
        loop {
            let held = &self.plain[self.given..];
            let room = plain.capacity() - plain.len();
            let given = held.len().min(room);
            plain.extend_from_slice(&held[..given]);
            self.given += given;
            let rest = &input[taken..];
            if given == room || rest.is_empty() {
                return Ok(Step {
                    taken,
                    is_block_end: false,
                });
            }
            let step = match &mut self.state {
                State::Header => {
                    let step = rest.len().min(HEADER_BYTES - self.header.len());
                    self.header.extend_from_slice(&rest[..step]);
                    if self.header.len() == HEADER_BYTES {
                        self.begin_chunk()?;
                    }
                    step
                }
                State::Skip(left) => {
                    let step = rest.len().min(*left);
                    *left -= step;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                    step
                }
                State::Chunk { kind, length } => {
                    let (kind, length) = (*kind, *length);
                    let step = rest.len().min(length - self.chunk.len());
                    self.chunk.extend_from_slice(&rest[..step]);
                    if self.chunk.len() == length {
                        self.end_chunk(kind)?;
                    }
                    step
                }
            };
            taken += step;
            self.input_bytes += step as u64;
        }
    }

    fn begin_chunk(&mut self) -> Result<(), Damage> {
        let &[kind, low, middle, high] = self.header.as_slice() else {
            return Ok(());
        };
        self.header.clear();
        self.chunk.clear();
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        let kind = match kind {
            0xff => Kind::Identifier,
            0x00 => Kind::Compressed,
            0x01 => Kind::Uncompressed,
            // Section 4.5: types that may come to be, and that no decoder may pass over.
            0x02..=0x7f => return Err(self.damage("a chunk of a type that is not known")),
            // Sections 4.4 and 4.6.
            0x80..=0xfe => {
                self.state = match length {
                    0 => State::Header,
                    left => State::Skip(left),
                };
                return Ok(());
            }
        };
        let lengths = match kind {
            Kind::Identifier => IDENTIFIER.len()..=IDENTIFIER.len(),
            Kind::Compressed => CHECKSUM_BYTES + 1..=CHUNK_BYTES_MAX,
            Kind::Uncompressed => CHECKSUM_BYTES..=CHECKSUM_BYTES + CHUNK_PLAIN_BYTES_MAX,
        };
        if !lengths.contains(&length) {
            return Err(self.damage("a chunk has a length that it cannot have"));
        }
        self.state = State::Chunk { kind, length };
        Ok(())
    }

    fn end_chunk(&mut self, kind: Kind) -> Result<(), Damage> {
        self.state = State::Header;
        self.plain.clear();
        self.given = 0;
        if let Kind::Identifier = kind {
            return match self.chunk.as_slice() {
                IDENTIFIER => Ok(()),
                _ => Err(self.damage("wrong stream identifier")),
            };
        }
        let Some((checksum, content)) = self.chunk.split_first_chunk::<CHECKSUM_BYTES>() else {
            return Ok(());
        };
        let decoded = match kind {
            Kind::Identifier | Kind::Uncompressed => {
                self.plain.extend_from_slice(content);
                Ok(())
            }
            Kind::Compressed => decompress(&mut self.decoder, content, &mut self.plain),
        };
        let checked = decoded.and_then(|()| {
            match masked(crc32c(&self.plain)) == u32::from_le_bytes(*checksum) {
                true => Ok(()),
                false => Err("wrong CRC-32C"),
            }
        });
        checked.map_err(|reason| {
            self.plain.clear();
            self.damage(reason)
        })
    }

    fn damage(&self, reason: &'static str) -> Damage {
        Damage::Corrupt {
            input_bytes: self.input_bytes,
            reason,
        }
    }
}

fn decompress(
    decoder: &mut Decoder,
    content: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let invalid = |_| "invalid data in a chunk";
    let length = decompress_len(content).map_err(invalid)?;
    if length > CHUNK_PLAIN_BYTES_MAX {
        return Err("a chunk has more than 65,536 plain bytes");
    }
    plain.resize(length, 0);
    decoder.decompress(content, plain).map_err(invalid)?;
    Ok(())
}

/// Section 3.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (RFC 3720, section 12.1), by tables for eight bytes at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let &[a, b, c, d, e, f, g, h] = eight else {
            continue;
        };
        let [a, b, c, d] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        crc = [h, g, f, e, d, c, b, a]
            .iter()
            .zip(&CRC32C)
            .fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
    }
    for byte in eights.remainder() {
        let [low, ..] = crc.to_le_bytes();
        crc = CRC32C[0][usize::from(low ^ byte)] ^ (crc >> 8);
    }
    !crc
}

/// For each byte what it does to the checksum, with as many zeros behind it as the table's number.
static CRC32C: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc: u32 = tables[table - 1][byte];
            tables[table][byte] = tables[0][(crc & 0xff) as usize] ^ (crc >> 8);
            byte += 1;
        }
        table += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        // Section B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&counting), 0x46dd_794e);
        // The check value of the catalogue of CRCs, of a length that is no multiple of eight.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
