//! A DEFLATE block → a place within it where its symbols can be entered.
//!
//! What stands behind such a place is a block of its own, once the block's header is put in front of it.
//! So a block of which the first part has to be compressed again can be copied from there on. It reads as
//! little of the block as it must, and nothing of a block that was not inflated already: it decides
//! where to cut, never what is valid.

use crate::bits::Bits;

/// A place between two symbols of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bits of the block's header: BFINAL, BTYPE, and the description of the codes if there is one.
    pub header_bits: u64,
    /// Bits of the block before the place.
    pub bits: u64,
    /// Plain bytes of the block before the place.
    pub plain_bytes: u64,
}

/// The first place with at least `plain_bytes_min` plain bytes of the block before it. `None` if there is
/// none before the block's end, or the block is stored.
pub fn enter(block: Bits<'_>, plain_bytes_min: u64) -> Option<Entry> {
    let mut reader = Reader { block, at: 1 };
    let (literals, distances) = match reader.take(2)? {
        0b01 => fixed_codes()?,
        0b10 => reader.dynamic_codes()?,
        _ => return None,
    };
    let header_bits = reader.at;
    let mut plain_bytes = 0;
    while plain_bytes < plain_bytes_min {
        plain_bytes += match reader.symbol(&literals)? {
            0..=255 => 1,
            END_OF_BLOCK => return None,
            symbol => {
                let (base, extra) = *LENGTHS.get(usize::from(symbol) - 257)?;
                let length = base + reader.take(extra)?;
                let distance = reader.symbol(&distances)?;
                reader.take(*DISTANCE_EXTRA_BITS.get(usize::from(distance))?)?;
                u64::from(length)
            }
        };
    }
    Some(Entry {
        header_bits,
        bits: reader.at,
        plain_bytes,
    })
}

const END_OF_BLOCK: u16 = 256;

/// Length and extra bits of the symbols from 257 on (RFC 1951, section 3.2.5).
const LENGTHS: [(u32, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// Extra bits of the distances (RFC 1951, section 3.2.5).
const DISTANCE_EXTRA_BITS: [u32; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// In which order the lengths of the code length code stand (RFC 1951, section 3.2.7).
const CODE_LENGTH_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

const CODE_BITS_MAX: usize = 15;

struct Reader<'a> {
    block: Bits<'a>,
    at: u64,
}

impl Reader<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let bits = self.block.peek(self.at) & ((1 << count) - 1);
        self.skip(count)?;
        Some(bits)
    }

    fn skip(&mut self, count: u32) -> Option<()> {
        self.at += u64::from(count);
        (self.at <= self.block.length()).then_some(())
    }

    fn symbol(&mut self, code: &Code) -> Option<u16> {
        let bits = self.block.peek(self.at) as usize & (code.symbols.len() - 1);
        let (symbol, length) = code.symbols[bits];
        self.skip(length.into())?;
        (length > 0).then_some(symbol)
    }

    /// RFC 1951, section 3.2.7.
    fn dynamic_codes(&mut self) -> Option<(Code, Code)> {
        let literals = self.take(5)? as usize + 257;
        let distances = self.take(5)? as usize + 1;
        let code_lengths = self.take(4)? as usize + 4;
        let mut lengths = [0; CODE_LENGTH_ORDER.len()];
        for symbol in CODE_LENGTH_ORDER.iter().take(code_lengths) {
            lengths[*symbol] = self.take(3)? as u8;
        }
        let code = Code::new(&lengths)?;
        let mut lengths: Vec<u8> = Vec::with_capacity(literals + distances);
        while lengths.len() < literals + distances {
            let (length, count) = match self.symbol(&code)? {
                16 => (*lengths.last()?, 3 + self.take(2)?),
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(length, count as usize));
        }
        let (literals, rest) = lengths.split_at(literals);
        Some((Code::new(literals)?, Code::new(rest.get(..distances)?)?))
    }
}

/// RFC 1951, section 3.2.6.
fn fixed_codes() -> Option<(Code, Code)> {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    Some((Code::new(&lengths)?, Code::new(&[5; 30])?))
}

/// A Huffman code: the next bits, as many as the longest code has, to the symbol with which they begin
/// and the length of its code; 0 where there is none.
struct Code {
    symbols: Vec<(u16, u8)>,
}

impl Code {
    /// From the length of each symbol's code (RFC 1951, section 3.2.2). `None` if no code is like that.
    fn new(lengths: &[u8]) -> Option<Self> {
        let longest = usize::from(lengths.iter().copied().max()?);
        let mut count = [0_u32; CODE_BITS_MAX + 1];
        for length in lengths {
            *count.get_mut(usize::from(*length))? += 1;
        }
        count[0] = 0;
        let mut next = [0_u32; CODE_BITS_MAX + 1];
        for bits in 1..=CODE_BITS_MAX {
            next[bits] = (next[bits - 1] + count[bits - 1]) << 1;
        }
        let mut symbols = vec![(0, 0); 1 << longest];
        for (symbol, length) in lengths
            .iter()
            .enumerate()
            .filter(|(_, length)| **length > 0)
        {
            let bits = usize::from(*length);
            let code = next[bits];
            next[bits] += 1;
            // Codes stand in the stream with their first bit first, which is the least significant one.
            let first = (code.reverse_bits() >> (32 - bits)) as usize;
            if code >> bits > 0 {
                return None;
            }
            for at in (first..symbols.len()).step_by(1 << bits) {
                symbols[at] = (symbol as u16, *length);
            }
        }
        Some(Self { symbols })
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;
    use crate::bits::BitWriter;
    use crate::inflate::{Inflater, Stop};

    /// The first block of `plain`, and its plain bytes.
    fn first_block(plain: &[u8], level: u32) -> (Vec<u8>, u64, Vec<u8>) {
        let mut compress = Compress::new(Compression::new(level), false);
        let mut deflated = Vec::with_capacity(2 * plain.len() + 100);
        compress
            .compress_vec(plain, &mut deflated, FlushCompress::Finish)
            .expect("deflated");
        let mut inflated = Vec::with_capacity(plain.len() + 1);
        let progress = Inflater::new()
            .inflate(&deflated, &mut inflated)
            .expect("valid");
        match progress.stop {
            Stop::BlockEnd { end_bit } | Stop::StreamEnd { end_bit } => {
                (deflated, end_bit, inflated)
            }
            Stop::Halfway => panic!("no block ends"),
        }
    }

    proptest! {
        /// What stands behind an entry, under the block's header and after the plain bytes before it, gives
        /// the rest.
        #[test]
        fn a_block_can_be_entered_after_any_number_of_plain_bytes(
            words in proptest::collection::vec("[a-e]{1,9}|[ -~]{1,3}", 1..400),
            level in 1_u32..10,
            at in any::<proptest::sample::Index>(),
        ) {
            let (deflated, end_bit, plain) = first_block(words.concat().as_bytes(), level);
            let block = Bits::new(&deflated, 0, end_bit).expect("so many bits");
            let wanted = at.index(plain.len() + 1);
            let is_stored = block.without_first(1).first(2) == 0;
            let Some(entry) = enter(block, wanted as u64) else {
                prop_assert!(is_stored);
                return Ok(());
            };
            let before = entry.plain_bytes as usize;
            prop_assert!((wanted..wanted + 258).contains(&before));

            let mut out = BitWriter::default();
            // What comes before, as stored blocks, and then the rest as the last block.
            for piece in plain[..before].chunks(60_000) {
                out.push(0b000, 3);
                out.align();
                let length = piece.len() as u16;
                out.append_bytes(&length.to_le_bytes());
                out.append_bytes(&(!length).to_le_bytes());
                out.append_bytes(piece);
            }
            out.push(1, 1);
            out.append(block.range(1, entry.header_bits).expect("a header"));
            out.append(block.range(entry.bits, end_bit).expect("symbols"));
            let mut inflated = Vec::with_capacity(plain.len() + 1);
            let joined = out.finish();
            let (mut inflater, mut taken) = (Inflater::new(), 0);
            loop {
                let progress = inflater.inflate(&joined[taken..], &mut inflated).expect("valid");
                taken += progress.taken;
                match progress.stop {
                    Stop::StreamEnd { .. } => break,
                    Stop::BlockEnd { .. } => {}
                    Stop::Halfway => prop_assert!(false, "the end is missing"),
                }
            }
            prop_assert_eq!(inflated, plain);
        }

        #[test]
        fn any_bits_are_refused_or_entered_within_their_length(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            wanted in 0_u64..1_000,
        ) {
            let length = bytes.len() as u64 * 8;
            let block = Bits::new(&bytes, 0, length).expect("so many bits");
            if let Some(entry) = enter(block, wanted) {
                prop_assert!(entry.header_bits <= entry.bits && entry.bits <= length);
            }
        }
    }
}
