//! bzip2 streams → plain bytes.
//!
//! Goes in: any number of streams one after the other, empty ones included, in pieces of any size. Comes out: plain
//! bytes. The library checks the CRC of each block, after its plain bytes came out, and of each stream. Of a block that
//! is damaged more or less comes out, by how much room there was; of those before it all does. There is no standard;
//! the format is that of bzip2 1.0.

use bzip2::{Decompress, Status};

use super::{Damage, Step};

/// "BZh" and the level.
const HEADER_BYTES: usize = 4;

/// Decodes the streams of one object, or of what another layer gives. Holds one block as the library does: 4 bytes
/// for each of at most 900,000 (bzip2 manual, section 2.4), and tables of some 100 KB.
pub(super) struct Bzip2 {
    /// The stream under way.
    stream: Option<Decompress>,
    /// The header of the next one, as far as it is there.
    header: Vec<u8>,
    input_bytes: u64,
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self {
            stream: None,
            header: Vec::with_capacity(HEADER_BYTES),
            input_bytes: 0,
        }
    }

    pub(super) fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    /// Whether the input may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.stream.is_none() && self.header.is_empty()
    }

    /// Decodes until the input is used up or `plain` is full.
    pub(super) fn push(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<Step, Damage> {
        let mut taken = 0;
        while plain.len() < plain.capacity() {
            let rest = &input[taken..];
            let step = if self.stream.is_some() {
                self.decompress(rest, plain)?
            } else {
                match rest.first() {
                    Some(byte) => self.push_header(*byte, plain)?,
                    None => 0,
                }
            };
            taken += step;
            // With room left nothing more comes of what was taken.
            if taken == input.len() && plain.len() < plain.capacity() {
                break;
            }
        }
        Ok(Step {
            taken,
            is_block_end: false,
        })
    }

    /// Takes a byte between streams.
    fn push_header(&mut self, byte: u8, plain: &mut Vec<u8>) -> Result<usize, Damage> {
        let is_header = match self.header.as_slice() {
            [] => byte == b'B',
            [_] => byte == b'Z',
            [_, _] => byte == b'h',
            [..] => (b'1'..=b'9').contains(&byte),
        };
        if !is_header {
            return Err(self.damage("bytes after the last stream are no stream"));
        }
        self.header.push(byte);
        if self.header.len() < HEADER_BYTES {
            self.input_bytes += 1;
            return Ok(1);
        }
        self.stream = Some(Decompress::new(false));
        self.input_bytes -= (HEADER_BYTES - 1) as u64;
        let header = std::mem::take(&mut self.header);
        let taken = self.decompress(&header, plain)?;
        debug_assert_eq!(taken, HEADER_BYTES);
        self.header = header;
        self.header.clear();
        Ok(1)
    }

    fn decompress(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<usize, Damage> {
        let Some(stream) = &mut self.stream else {
            return Ok(0);
        };
        let before = stream.total_in();
        let status = stream.decompress_vec(input, plain);
        let taken = (stream.total_in() - before) as usize;
        match status {
            Ok(Status::StreamEnd) => self.stream = None,
            Ok(Status::Ok | Status::FlushOk | Status::RunOk | Status::FinishOk) => {}
            Ok(Status::MemNeeded) => return Err(self.damage("no memory for a block")),
            Err(_) => return Err(self.damage("invalid data, or a wrong CRC")),
        }
        self.input_bytes += taken as u64;
        Ok(taken)
    }

    fn damage(&self, reason: &'static str) -> Damage {
        Damage::Corrupt {
            input_bytes: self.input_bytes,
            reason,
        }
    }
}
