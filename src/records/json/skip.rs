//! Where one JSON value ends.
//!
//! Goes in: the bytes of a value (RFC 8259) and of what stands after it, in pieces of any size. Comes out: how
//! many of them are the value's. It holds the brackets that are open, never a byte of the value.
//!
//! It checks what is needed to find the end: that strings end, that brackets close in pairs of their kind, that
//! no backslash stands outside a string, that a literal is `true`, `false` or `null`. It does not check what
//! stands between the brackets of an array or an object (commas, colons, names), how a number is written, which
//! escapes a string holds, or that it is UTF-8.

/// Most brackets that may be open at once. serde_json takes 128.
pub const DEPTH_MAX: usize = 512;

/// A value cannot go on as it does.
#[derive(Debug)]
pub(super) struct Fault {
    /// Bytes before the place, of those that were given.
    pub at: usize,
    pub expected: &'static str,
}

/// Finds the end of one value after the other. Holds [`DEPTH_MAX`] bits.
#[derive(Clone, Debug)]
pub(super) struct Skip {
    kind: Kind,
    in_string: bool,
    /// Whether the next byte stands after a backslash that escapes it.
    is_escaped: bool,
    depth: usize,
    /// For each open bracket whether it is a brace.
    braces: [u64; DEPTH_MAX / 64],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// An array or an object.
    Nested,
    String,
    Number,
    /// What has to come of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

impl Skip {
    pub fn new() -> Self {
        Self {
            kind: Kind::Number,
            in_string: false,
            is_escaped: false,
            depth: 0,
            braces: [0; DEPTH_MAX / 64],
        }
    }

    /// Begins a value at its first byte, which is read with it. False if no value begins so.
    pub fn begin(&mut self, first: u8) -> bool {
        self.in_string = false;
        self.is_escaped = false;
        self.depth = 0;
        self.kind = match first {
            b'{' | b'[' => {
                self.depth = 1;
                self.braces[0] = u64::from(first == b'{');
                Kind::Nested
            }
            b'"' => Kind::String,
            b'-' | b'0'..=b'9' => Kind::Number,
            b't' => Kind::Literal(b"rue"),
            b'f' => Kind::Literal(b"alse"),
            b'n' => Kind::Literal(b"ull"),
            _ => return false,
        };
        true
    }

    /// How many of `bytes`, which go on after what was read, belong to the value; `None` when all do and its
    /// end has not come. A number ends before the byte that ends it.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self.kind {
            Kind::Nested => self.nested(bytes),
            Kind::String => Ok(self.string(bytes)),
            Kind::Number => Ok(bytes.iter().position(|byte| !is_of_number(*byte))),
            Kind::Literal(rest) => {
                let matching = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
                if matching == rest.len() {
                    return Ok(Some(matching));
                }
                if matching < bytes.len() {
                    return Err(Fault {
                        at: matching,
                        expected: "true, false or null",
                    });
                }
                self.kind = Kind::Literal(&rest[matching..]);
                Ok(None)
            }
        }
    }

    /// Whether the value is complete if nothing comes after it.
    pub fn may_end(&self) -> bool {
        matches!(self.kind, Kind::Number)
    }

    /// [`Self::advance`] in a string.
    pub fn string(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.is_escaped && !bytes.is_empty() {
            self.is_escaped = false;
            at = 1;
        }
        while let Some(found) = quote_or_backslash(&bytes[at..]) {
            let after = at + found + 1;
            if bytes[at + found] == b'"' {
                return Some(after);
            }
            if after == bytes.len() {
                self.is_escaped = true;
                return None;
            }
            at = after + 1;
        }
        None
    }

    fn nested(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let (blocks, rest) = bytes.as_chunks::<64>();
        for (index, block) in blocks.iter().enumerate() {
            let mut marks = self.marks(block);
            while marks != 0 {
                let at = marks.trailing_zeros() as usize;
                if self.mark(block[at], index * 64 + at)? {
                    return Ok(Some(index * 64 + at + 1));
                }
                marks &= marks - 1;
            }
        }
        let before = bytes.len() - rest.len();
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'"' => self.in_string = !self.in_string,
                b'\\' if self.in_string => self.is_escaped = true,
                b'{' | b'[' | b'}' | b']' | b'\\'
                    if !self.in_string && self.mark(*byte, before + at)? =>
                {
                    return Ok(Some(before + at + 1));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Where in the next 64 bytes a bracket or a backslash stands outside strings, as bits.
    ///
    /// After Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019, section 3.1: strings are found
    /// for all bytes at once, so that the cost is the same whatever they hold.
    fn marks(&mut self, block: &[u8; 64]) -> u64 {
        let quotes = bits(block, |byte| byte == b'"');
        // `[` and `{`, and `]` and `}`, are one bit apart.
        let brackets = bits(block, |byte| matches!(byte | 0x20, b'{' | b'}'));
        let (mut backslashes, mut escaped) = (0, 0);
        if self.is_escaped || block.iter().fold(false, |any, byte| any | (*byte == b'\\')) {
            backslashes = bits(block, |byte| byte == b'\\');
            escaped = self.escaped(backslashes);
        }
        let mut in_string = quotes & !escaped;
        for shift in [1, 2, 4, 8, 16, 32] {
            in_string ^= in_string << shift;
        }
        if self.in_string {
            in_string = !in_string;
        }
        self.in_string = in_string >> 63 == 1;
        (brackets | backslashes) & !in_string
    }

    /// Which bytes follow a run of backslashes whose last one escapes them.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let first = u64::from(self.is_escaped);
        let runs = backslashes & !first;
        let starts = runs & !(runs << 1);
        // Adding its start to a run leaves one bit, right after it: at an odd distance if it escapes.
        let after_even = runs.wrapping_add(starts & EVEN);
        let (after_odd, overflow) = runs.overflowing_add(starts & !EVEN);
        self.is_escaped = overflow;
        first | (!runs & ((after_even & !EVEN) | (after_odd & EVEN)))
    }

    /// Goes over a bracket or a backslash outside strings. Whether it ends the value.
    fn mark(&mut self, byte: u8, at: usize) -> Result<bool, Fault> {
        let fault = |expected| Err(Fault { at, expected });
        match byte {
            b'{' | b'[' => {
                if self.depth == DEPTH_MAX {
                    return fault("at most 512 open brackets");
                }
                let (word, bit) = (self.depth / 64, self.depth % 64);
                self.braces[word] &= !(1 << bit);
                self.braces[word] |= u64::from(byte == b'{') << bit;
                self.depth += 1;
                Ok(false)
            }
            b'}' | b']' => {
                let (word, bit) = ((self.depth - 1) / 64, (self.depth - 1) % 64);
                let is_brace = self.braces[word] >> bit & 1 == 1;
                if is_brace != (byte == b'}') {
                    return fault(if is_brace { "a `}`" } else { "a `]`" });
                }
                self.depth -= 1;
                Ok(self.depth == 0)
            }
            _ => fault("no backslash outside a string"),
        }
    }
}

/// Where the first quote or backslash stands. Most strings are short, so that calling memchr would cost more
/// than going over the first words here.
#[inline(always)]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const WORDS: usize = 4;
    const ONES: u64 = 0x0101_0101_0101_0101;
    /// The high bit of the first byte that is 0, and as it may be of bytes after it.
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & (ONES << 7)
    }
    for (index, word) in bytes.as_chunks::<8>().0.iter().take(WORDS).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found =
            zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(8 * index + found.trailing_zeros() as usize / 8);
        }
    }
    let before = bytes.len().min(8 * WORDS) / 8 * 8;
    memchr::memchr2(b'"', b'\\', &bytes[before..]).map(|at| before + at)
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// A bit for each byte that is asked for. Written so that the compiler compares many bytes at once: each byte
/// becomes its bit within eight, and a product gathers eight of them.
#[inline(always)]
fn bits(block: &[u8; 64], is_asked_for: impl Fn(u8) -> bool) -> u64 {
    let mut weighted = [0; 64];
    for (index, (bit, byte)) in weighted.iter_mut().zip(block).enumerate() {
        *bit = u8::from(is_asked_for(*byte)) << (index % 8);
    }
    let mut gathered = 0;
    for (index, eight) in weighted.as_chunks::<8>().0.iter().enumerate() {
        let byte = u64::from_le_bytes(*eight).wrapping_mul(0x0101_0101_0101_0101) >> 56;
        gathered |= byte << (8 * index);
    }
    gathered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the value ends that `bytes` begin with, and what is wrong with it, by going over byte after byte
    /// with all that is open in a list.
    fn reference(bytes: &[u8]) -> Result<Option<usize>, usize> {
        let (mut open, mut in_string) = (vec![bytes[0]], false);
        let mut rest = bytes.iter().enumerate().skip(1);
        while let Some((at, byte)) = rest.next() {
            match (in_string, byte) {
                (true, b'\\') => {
                    rest.next();
                }
                (_, b'"') => in_string = !in_string,
                (true, _) => {}
                (false, b'\\') => return Err(at),
                (false, b'{' | b'[') if open.len() == DEPTH_MAX => return Err(at),
                (false, b'{' | b'[') => open.push(*byte),
                (false, b'}' | b']') => {
                    let opened = open.pop();
                    if opened != Some(if *byte == b'}' { b'{' } else { b'[' }) {
                        return Err(at);
                    }
                    if open.is_empty() {
                        return Ok(Some(at + 1));
                    }
                }
                (false, _) => {}
            }
        }
        Ok(None)
    }

    fn skip(bytes: &[u8], steps: &[usize]) -> Result<Option<usize>, usize> {
        let mut skip = Skip::new();
        assert!(skip.begin(bytes[0]));
        let mut taken = 1;
        let mut steps = steps.iter().cycle();
        while taken < bytes.len() {
            let step = steps
                .next()
                .map_or(1, |step| *step)
                .clamp(1, bytes.len() - taken);
            match skip.advance(&bytes[taken..taken + step]) {
                Ok(Some(length)) => return Ok(Some(taken + length)),
                Ok(None) => taken += step,
                Err(fault) => return Err(taken + fault.at),
            }
        }
        Ok(None)
    }

    proptest! {
        #[test]
        fn blocks_and_bytes_find_the_same_end(
            inside in r#"([{}\[\]]|"[a\[}]{0,90}"|"(\\\\|\\"|\[){0,99}"|a{0,70}|["\\]){0,30}"#,
            first in prop_oneof![Just("{"), Just("["), Just("[[[[[[{{{{{{{{[[[[[[")],
            steps in proptest::collection::vec(prop_oneof![1_usize..4, 1_usize..300], 1..6),
        ) {
            let bytes = [first, &inside].concat().into_bytes();
            let expected = reference(&bytes);
            prop_assert_eq!(skip(&bytes, &[1]), expected);
            prop_assert_eq!(skip(&bytes, &[bytes.len()]), expected);
            prop_assert_eq!(skip(&bytes, &steps), expected);
        }
    }

    proptest! {
        #[test]
        fn the_first_quote_or_backslash_is_found(
            bytes in proptest::collection::vec(
                prop_oneof![9 => any::<u8>(), 9 => Just(b'#'), 9 => Just(b'!'), 9 => Just(b']'), 1 => Just(b'"')],
                0..80,
            ),
        ) {
            let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(quote_or_backslash(&bytes), expected);
        }
    }

    #[test]
    fn what_escapes_at_the_edge_of_a_block_is_seen_in_the_next() {
        for backslashes in 0..140 {
            for before in 0..66 {
                let text = format!(
                    "[\"{}{}\"]\"]",
                    "a".repeat(before),
                    "\\".repeat(backslashes)
                );
                let padded = format!("{text}{}", " ".repeat(130)).into_bytes();
                let end = text.len() - if backslashes % 2 == 0 { 2 } else { 0 };
                assert_eq!(skip(&padded, &[padded.len()]), Ok(Some(end)));
                assert_eq!(reference(&padded), Ok(Some(end)));
            }
        }
    }

    #[test]
    fn deep_brackets_close_in_pairs_of_their_kind() {
        let open = "[{[[{".repeat(100);
        let text = format!("{open}{}", "}]]}]".repeat(100)).into_bytes();
        assert_eq!(skip(&text, &[text.len()]), Ok(Some(1000)));
        for at in 500..1000 {
            let mut text = text.clone();
            text[at] ^= b'}' ^ b']';
            assert_eq!(skip(&text, &[text.len()]), Err(at));
        }
    }
}
