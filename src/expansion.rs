//! How far an object may inflate: what stops a bomb.
//!
//! Goes in: how many bytes were read and how many came of them. Comes out: whether to go on.
//! Memory does not depend on it: plain bytes leave as batches or are passed over. It bounds time, so what
//! comes out of an inner layer of compression is watched like what comes out of the last one.

use crate::decode::DecodeError;

/// Bytes of the object over which the ratio is taken. Shorter stretches of ordinary logs reach what DEFLATE can
/// do at most, and far more in the formats that can do more; a megabyte of them does not.
pub const WINDOW_BYTES: u64 = 1 << 20;

/// The bounds of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpansionMax {
    /// Plain bytes of a compressed object.
    pub plain_bytes: u64,
    /// Plain bytes for each compressed one, over [`WINDOW_BYTES`].
    pub ratio: u64,
}

/// Watches what comes out of an object, or of one of its layers.
#[derive(Clone, Debug)]
pub struct Expansion {
    max: ExpansionMax,
    read_bytes: u64,
    /// Bytes read and plain bytes where the window began.
    window: (u64, u64),
}

impl Expansion {
    /// From `plain_bytes` of the object on, which count as if as many had been read: so they have, if it is not
    /// compressed.
    pub fn new(max: ExpansionMax, plain_bytes: u64) -> Self {
        Self {
            max,
            read_bytes: plain_bytes,
            window: (plain_bytes, plain_bytes),
        }
    }

    /// Notes that `taken` more bytes were read, and that there are `plain_bytes` of the object by now. Bytes that
    /// are not compressed never fail.
    pub fn note(&mut self, taken: usize, plain_bytes: u64) -> Result<(), DecodeError> {
        self.read_bytes += taken as u64;
        let (read_before, plain_before) = self.window;
        let in_window = plain_bytes.saturating_sub(plain_before);
        if in_window > self.max.ratio.saturating_mul(WINDOW_BYTES) {
            return Err(DecodeError::ExpandsTooFar {
                plain_bytes,
                setting: "EXPANSION_MAX",
            });
        }
        if self.read_bytes - read_before >= WINDOW_BYTES {
            self.window = (self.read_bytes, plain_bytes);
        }
        if plain_bytes > self.max.plain_bytes && plain_bytes > self.read_bytes {
            return Err(DecodeError::ExpandsTooFar {
                plain_bytes,
                setting: "OBJECT_PLAIN_BYTES_MAX",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: ExpansionMax = ExpansionMax {
        plain_bytes: 1 << 40,
        ratio: 900,
    };

    fn setting(noted: Result<(), DecodeError>) -> Option<&'static str> {
        match noted {
            Err(DecodeError::ExpandsTooFar { setting, .. }) => Some(setting),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn the_ratio_is_taken_over_a_window_and_not_in_a_moment() {
        let mut expansion = Expansion::new(MAX, 0);
        let mut plain = 0;
        // A megabyte of plain bytes out of a kilobyte, again and again among ordinary ones.
        for _ in 0..10_000 {
            plain += 1_032 * 1_024;
            assert_eq!(setting(expansion.note(1_024, plain)), None);
            plain += 20 * 8_192;
            assert_eq!(setting(expansion.note(8_192, plain)), None);
        }
        // A bomb that begins anywhere ends before it has read two windows.
        let stopped = (1..).find(|_| {
            plain += 1_030 * 1_024;
            setting(expansion.note(1_024, plain)) == Some("EXPANSION_MAX")
        });
        let read = stopped.expect("a number") * 1_024;
        assert!(read <= 2 * WINDOW_BYTES, "{read}");
    }

    #[test]
    fn the_last_plain_byte_that_is_allowed_is_allowed() {
        let max = ExpansionMax {
            plain_bytes: 1_000,
            ratio: 900,
        };
        let mut expansion = Expansion::new(max, 0);
        assert_eq!(setting(expansion.note(10, 1_000)), None);
        let noted = setting(expansion.note(0, 1_001));
        assert_eq!(noted, Some("OBJECT_PLAIN_BYTES_MAX"));
        // What is not compressed is as large as it is.
        let mut expansion = Expansion::new(max, 0);
        assert_eq!(setting(expansion.note(5_000, 5_000)), None);
        assert_eq!(setting(expansion.note(5_000, 9_999)), None);
    }
}
