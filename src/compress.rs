//! Plain bytes → DEFLATE blocks of which none is the last, so that more can follow.
//!
//! libdeflate compresses logs by some 5 % better than zlib for the same CPU, and bytes on the wire cost far
//! more than CPU (`make cost`). It takes a whole input at a time and ends it with a last block. To find where
//! that block begins, what was compressed is inflated again, which costs little beside it (`make bench`) and
//! proves it right as well.

use crc32fast::Hasher as Crc;
use libdeflater::CompressionLvl;

use crate::bits::{BitWriter, Bits};
use crate::inflate::{Inflater, Stop};

/// Plain bytes that are inflated at a time.
const INFLATED_BYTES: usize = 64 * 1024;

/// Compresses one input after the other. Memory: some 700 KB, and the compressed bytes of the largest
/// input.
pub struct Compressor {
    level: u32,
    deflater: libdeflater::Compressor,
    inflater: Inflater,
    deflated: Vec<u8>,
    inflated: Vec<u8>,
}

impl Compressor {
    /// Compresses at `level`: 0 stores, 1 is the quickest, 12 the smallest; from 10 on it takes some 9 MB.
    /// A level beyond that counts as 12.
    pub fn new(level: u32) -> Self {
        let strength = CompressionLvl::new(level as i32).unwrap_or_else(|_| CompressionLvl::best());
        Self {
            level,
            deflater: libdeflater::Compressor::new(strength),
            inflater: Inflater::new(),
            deflated: Vec::new(),
            inflated: Vec::with_capacity(INFLATED_BYTES),
        }
    }

    /// What it was made with.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Appends the blocks of `plain` to `out`, whose bits fill whole bytes: a stored block's padding depends
    /// on that. Nothing refers to what came before. `crc` is of `plain`.
    ///
    /// # Panics
    ///
    /// If what was compressed does not inflate to `plain`. No answer to that fault of the compressor could
    /// save the records, and a wrong body must not leave.
    pub fn append(&mut self, plain: &[u8], crc: &Crc, out: &mut BitWriter) {
        debug_assert!(out.is_aligned());
        let bound = self.deflater.deflate_compress_bound(plain.len());
        if self.deflated.len() < bound {
            self.deflated.resize(bound, 0);
        }
        let length = self
            .deflater
            .deflate_compress(plain, &mut self.deflated)
            .expect("the output is as large as it can get");
        let (last_block, end) = self
            .check(length, crc)
            .expect("what was compressed inflates to what it was");
        let deflated = &self.deflated[..length];
        let before = Bits::new(deflated, 0, last_block).expect("blocks before the last");
        let last = Bits::new(deflated, last_block + 1, end - last_block - 1).expect("a last block");
        out.append(before);
        // BFINAL, the first bit of a block.
        out.push(0, 1);
        out.append(last);
    }

    /// Where the last block begins and ends, in bits, if the blocks inflate to what has this CRC-32.
    fn check(&mut self, length: usize, crc: &Crc) -> Option<(u64, u64)> {
        self.inflater.reset();
        let mut found = Crc::new();
        let (mut taken, mut last_block) = (0, 0);
        loop {
            self.inflated.clear();
            let rest = &self.deflated[taken..length];
            let progress = self.inflater.inflate(rest, &mut self.inflated).ok()?;
            taken += progress.taken;
            found.update(&self.inflated);
            match progress.stop {
                Stop::Halfway if progress.taken == 0 && self.inflated.is_empty() => return None,
                Stop::Halfway => {}
                Stop::BlockEnd { end_bit } => last_block = end_bit,
                Stop::StreamEnd { end_bit } => {
                    let is_same = found.finalize() == crc.clone().finalize();
                    return is_same.then_some((last_block, end_bit));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn crc(plain: &[u8]) -> Crc {
        let mut crc = Crc::new();
        crc.update(plain);
        crc
    }

    proptest! {
        #[test]
        fn inputs_follow_one_another_and_more_can_follow(
            inputs in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 1..3_000),
                    proptest::collection::vec(b'a'..b'e', 1..100_000),
                ],
                1..4,
            ),
            level in 0_u32..13,
        ) {
            let mut compressor = Compressor::new(level);
            let mut out = BitWriter::default();
            for input in &inputs {
                // An empty stored block, to the edge of a byte.
                out.push(0, 3);
                out.align();
                out.append_bytes(&[0, 0, 0xff, 0xff]);
                compressor.append(input, &crc(input), &mut out);
            }
            out.push(0b011, 10);
            let deflated = out.finish();
            let mut plain = Vec::with_capacity(inputs.concat().len() + 1);
            let (mut inflater, mut taken) = (Inflater::new(), 0);
            loop {
                let progress = inflater.inflate(&deflated[taken..], &mut plain).expect("valid");
                taken += progress.taken;
                match progress.stop {
                    Stop::BlockEnd { .. } => {}
                    Stop::StreamEnd { .. } => break,
                    Stop::Halfway => prop_assert!(false, "the end is missing"),
                }
            }
            prop_assert_eq!(plain, inputs.concat());
        }
    }

    #[test]
    #[should_panic(expected = "inflates to what it was")]
    fn what_does_not_inflate_to_what_it_was_never_leaves() {
        let other = crc(b"something else");
        Compressor::new(1).append(b"something", &other, &mut BitWriter::default());
    }
}
