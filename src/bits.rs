//! Runs of bits, one after the other, into bytes: how DEFLATE blocks are put together.
//!
//! DEFLATE packs bits into bytes starting with the least significant one (RFC 1951, section 3.1.1), and
//! its blocks begin and end anywhere within a byte.

/// A run of bits within bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits of the first byte that come before the run: 0 to 7.
    skipped: u32,
    length: u64,
}

impl<'a> Bits<'a> {
    /// `length` bits of `bytes`, after the first `skipped` ones. `None` if there are not so many.
    pub fn new(bytes: &'a [u8], skipped: u64, length: u64) -> Option<Self> {
        let end = skipped.checked_add(length)?.div_ceil(8);
        let bytes = bytes.get(..usize::try_from(end).ok()?)?;
        let whole = usize::try_from(skipped / 8).ok()?;
        Some(Self {
            bytes: bytes.get(whole..)?,
            skipped: (skipped % 8) as u32,
            length,
        })
    }

    /// How many bits they are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The first `count` bits, at most 8, the first of them least significant.
    pub fn first(&self, count: u32) -> u8 {
        let low = self.bytes.first().copied().unwrap_or_default();
        let high = self.bytes.get(1).copied().unwrap_or_default();
        let both = u16::from_le_bytes([low, high]) >> self.skipped;
        both as u8 & low_bits(count) as u8
    }

    /// The bits from `start` to `end`. `None` if there are none such.
    pub fn range(&self, start: u64, end: u64) -> Option<Self> {
        let length = end.checked_sub(start).filter(|_| end <= self.length)?;
        Self::new(self.bytes, u64::from(self.skipped) + start, length)
    }

    /// The bits from `start` on, the first of them least significant: at least 25 of them, as far as there
    /// are so many, and whatever follows.
    pub fn peek(&self, start: u64) -> u32 {
        let at = u64::from(self.skipped) + start;
        let from = usize::try_from(at / 8).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let mut four = [0; 4];
        let there = rest.len().min(four.len());
        four[..there].copy_from_slice(&rest[..there]);
        u32::from_le_bytes(four) >> (at % 8)
    }

    /// The same bits without the first `count`.
    #[must_use]
    pub fn without_first(&self, count: u64) -> Self {
        let count = count.min(self.length);
        Self::new(
            self.bytes,
            u64::from(self.skipped) + count,
            self.length - count,
        )
        .expect("some of the bits that there are")
    }
}

fn low_bits(count: u32) -> u64 {
    (1 << count) - 1
}

/// Appends bits to bytes.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that fill no byte yet, the first of them least significant; the others are zero.
    open: u64,
    /// How many they are: 0 to 7.
    open_bits: u32,
}

impl BitWriter {
    /// Goes on after `bytes`.
    pub fn after(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    /// Makes room for so many bytes at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    /// How many bits there are.
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.open_bits)
    }

    /// Whether the bits fill whole bytes.
    pub fn is_aligned(&self) -> bool {
        self.open_bits == 0
    }

    /// Appends the `count` least significant bits of `value`, at most 32.
    pub fn push(&mut self, value: u32, count: u32) {
        self.open |= (u64::from(value) & low_bits(count)) << self.open_bits;
        self.open_bits += count;
        while self.open_bits >= 8 {
            self.bytes.push(self.open as u8);
            self.open >>= 8;
            self.open_bits -= 8;
        }
    }

    /// Fills the last byte with zeros.
    pub fn align(&mut self) {
        self.push(0, (8 - self.open_bits) % 8);
    }

    /// Appends a run of bits.
    pub fn append(&mut self, bits: Bits<'_>) {
        // Up to the next edge of a byte in the source.
        let lead = u64::from((8 - bits.skipped) % 8).min(bits.length) as u32;
        self.push(bits.first(lead).into(), lead);
        let bits = bits.without_first(lead.into());
        let (whole, last) = (bits.length / 8, (bits.length % 8) as u32);
        let (whole, rest) = bits.bytes.split_at(whole as usize);
        self.append_bytes(whole);
        let rest = rest.first().copied().unwrap_or_default();
        self.push(rest.into(), last);
    }

    /// Appends whole bytes, at whatever bit they come to begin.
    pub fn append_bytes(&mut self, bytes: &[u8]) {
        if self.is_aligned() {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        let (shift, mut open) = (self.open_bits, self.open);
        self.bytes.reserve(bytes.len() + 1);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let word = u64::from_le_bytes(*word);
            let joined = open | word << shift;
            self.bytes.extend_from_slice(&joined.to_le_bytes());
            open = word >> (64 - shift);
        }
        for byte in rest {
            let joined = open | u64::from(*byte) << shift;
            self.bytes.push(joined as u8);
            open = joined >> 8;
        }
        self.open = open;
    }

    /// The bytes, the last one filled with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit(bytes: &[u8], at: u64) -> bool {
        bytes[(at / 8) as usize] >> (at % 8) & 1 == 1
    }

    fn run() -> impl Strategy<Value = (Vec<u8>, u64, u64)> {
        (
            proptest::collection::vec(any::<u8>(), 0..60),
            any::<proptest::sample::Index>(),
            any::<proptest::sample::Index>(),
        )
            .prop_map(|(bytes, skipped, length)| {
                let bits = bytes.len() as u64 * 8;
                let skipped = skipped.index(bits as usize + 1) as u64;
                let length = length.index((bits - skipped) as usize + 1) as u64;
                (bytes, skipped, length)
            })
    }

    proptest! {
        #[test]
        fn runs_come_out_one_after_the_other_bit_by_bit(runs in proptest::collection::vec(run(), 0..10)) {
            let mut writer = BitWriter::default();
            let mut expected = Vec::new();
            for (bytes, skipped, length) in &runs {
                let bits = Bits::new(bytes, *skipped, *length).expect("so many bits");
                prop_assert_eq!(bits.length(), *length);
                writer.append(bits);
                expected.extend((*skipped..skipped + length).map(|at| bit(bytes, at)));
                prop_assert_eq!(writer.length(), expected.len() as u64);
            }
            let bytes = writer.finish();
            prop_assert_eq!(bytes.len(), expected.len().div_ceil(8));
            for (at, expected) in expected.iter().enumerate() {
                prop_assert_eq!(bit(&bytes, at as u64), *expected);
            }
            for at in expected.len() as u64..bytes.len() as u64 * 8 {
                prop_assert!(!bit(&bytes, at), "the last byte is filled with zeros");
            }
        }

        #[test]
        fn the_first_bits_are_told((bytes, skipped, length) in run(), count in 0_u32..9) {
            let bits = Bits::new(&bytes, skipped, length).expect("so many bits");
            let count = count.min(length.min(8) as u32);
            let first = bits.first(count);
            for at in 0..8 {
                let expected = at < count && bit(&bytes, skipped + u64::from(at));
                prop_assert_eq!(first >> at & 1 == 1, expected);
            }
        }
    }

    #[test]
    fn more_bits_than_there_are_is_none() {
        assert_eq!(Bits::new(&[0, 0], 9, 8), None);
        assert_eq!(Bits::new(&[], 0, 1), None);
        assert_eq!(Bits::new(&[0], u64::MAX, 1), None);
    }
}
