//! Places within an object from which it can be decoded without what comes before.
//!
//! Goes in: what a decoder knows at such a place, or the text of it that a ledger row holds. Comes out: the
//! other. Text that is damaged in any way, or that belongs elsewhere, is none: then the object is read from its
//! start. It never gives a place that is not just what was written.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use crc32fast::Hasher as Crc;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use serde::{Deserialize, Serialize};

use crate::inflate::WINDOW_BYTES;

/// What the text of one takes at most: a window that does not compress, and some 50 bytes, as base64.
pub const SAVED_BYTES_MAX: usize = 44 * 1024;

/// The version of the text, its first byte.
const VERSION: u8 = 1;

/// A place from which decoding can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// The byte of the object at which reading begins.
    pub input_offset: u64,
    /// Plain bytes before the place.
    pub plain_offset: u64,
    pub inside: Inside,
}

/// What stands around a [`RestorePoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// An object that is not compressed.
    Plain,
    /// The end of a gzip member; another one may follow.
    Members,
    /// The end of a DEFLATE block, with another one after it.
    Member(Member),
}

/// What is known of a gzip member in its midst.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// How many bits of the byte at [`RestorePoint::input_offset`] belong to what comes before: 0 to 7.
    pub bits: u8,
    /// Plain bytes of the member so far.
    pub plain_bytes: u64,
    /// Their CRC-32.
    pub crc: u32,
    /// The last [`WINDOW_BYTES`] of them, or all.
    pub window: Vec<u8>,
}

impl fmt::Debug for Member {
    /// Without the window, which is part of somebody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("bits", &self.bits)
            .field("plain_bytes", &self.plain_bytes)
            .field("crc", &self.crc)
            .field("window_bytes", &self.window.len())
            .finish()
    }
}

impl RestorePoint {
    /// The place in an object that is not compressed.
    pub fn plain(offset: u64) -> Self {
        Self {
            input_offset: offset,
            plain_offset: offset,
            inside: Inside::Plain,
        }
    }

    /// Bytes that it takes beside a few numbers: what makes it dear to keep.
    pub fn window_bytes(&self) -> usize {
        match &self.inside {
            Inside::Plain | Inside::Members => 0,
            Inside::Member(member) => member.window.capacity(),
        }
    }

    /// Whether it is a place in an object of `size` bytes at which the plain bytes before `plain_offset` are
    /// not over yet.
    fn fits(&self, size: u64, plain_offset: u64) -> bool {
        let is_consistent = match &self.inside {
            Inside::Plain => self.input_offset == self.plain_offset,
            Inside::Members => true,
            Inside::Member(member) => {
                let window_bytes = member.plain_bytes.min(WINDOW_BYTES as u64);
                member.bits < 8
                    && member.plain_bytes <= self.plain_offset
                    && member.window.len() as u64 == window_bytes
            }
        };
        is_consistent && self.input_offset <= size && self.plain_offset <= plain_offset
    }

    /// All but the window.
    fn numbers(&self) -> Vec<u8> {
        let mut numbers = vec![VERSION];
        let (kind, member) = match &self.inside {
            Inside::Plain => (0, None),
            Inside::Members => (1, None),
            Inside::Member(member) => (2, Some(member)),
        };
        numbers.push(kind);
        numbers.extend_from_slice(&self.input_offset.to_le_bytes());
        numbers.extend_from_slice(&self.plain_offset.to_le_bytes());
        if let Some(member) = member {
            numbers.push(member.bits);
            numbers.extend_from_slice(&member.plain_bytes.to_le_bytes());
            numbers.extend_from_slice(&member.crc.to_le_bytes());
        }
        numbers
    }

    fn window(&self) -> &[u8] {
        match &self.inside {
            Inside::Plain | Inside::Members => &[],
            Inside::Member(member) => &member.window,
        }
    }

    /// Of the numbers and the window as they are, not as they are written.
    fn check(&self) -> u32 {
        let mut crc = Crc::new();
        crc.update(&self.numbers());
        crc.update(self.window());
        crc.finalize()
    }
}

/// A [`RestorePoint`] as text: its numbers, the CRC-32 of all of it, and its window compressed; in base64. A clone
/// shares it. Any text can be one; what it is worth, [`SavedPoint::open`] says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SavedPoint(Arc<str>);

impl From<String> for SavedPoint {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<SavedPoint> for String {
    fn from(point: SavedPoint) -> Self {
        (*point.0).to_owned()
    }
}

impl fmt::Debug for SavedPoint {
    /// Without the text, which holds part of somebody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedPoint({} bytes)", self.0.len())
    }
}

impl From<&RestorePoint> for SavedPoint {
    fn from(point: &RestorePoint) -> Self {
        let mut bytes = point.numbers();
        bytes.extend_from_slice(&point.check().to_le_bytes());
        if !point.window().is_empty() {
            let mut deflate = DeflateEncoder::new(bytes, Compression::new(6));
            bytes = deflate
                .write_all(point.window())
                .and_then(|()| deflate.finish())
                .expect("memory takes every byte");
        }
        Self(BASE64.encode(bytes).into())
    }
}

impl SavedPoint {
    /// The place, if the text is whole and the place is one in an object of `size` bytes and not after
    /// `plain_offset`. Takes at most some 40 KB more than the text, whatever it says.
    pub fn open(&self, size: u64, plain_offset: u64) -> Option<RestorePoint> {
        if self.0.len() > SAVED_BYTES_MAX {
            return None;
        }
        let bytes = BASE64.decode(self.0.as_bytes()).ok()?;
        let mut rest = Rest(&bytes);
        if rest.byte()? != VERSION {
            return None;
        }
        let kind = rest.byte()?;
        let (input_offset, plain_offset_here) = (rest.u64()?, rest.u64()?);
        let mut inside = match kind {
            0 => Inside::Plain,
            1 => Inside::Members,
            2 => Inside::Member(Member {
                bits: rest.byte()?,
                plain_bytes: rest.u64()?,
                crc: rest.u32()?,
                window: Vec::new(),
            }),
            _ => return None,
        };
        let check = rest.u32()?;
        if let Inside::Member(member) = &mut inside {
            member.window = inflate_window(rest.0)?;
        } else if !rest.0.is_empty() {
            return None;
        }
        let point = RestorePoint {
            input_offset,
            plain_offset: plain_offset_here,
            inside,
        };
        (point.check() == check && point.fits(size, plain_offset)).then_some(point)
    }
}

fn inflate_window(deflated: &[u8]) -> Option<Vec<u8>> {
    if deflated.is_empty() {
        return Some(Vec::new());
    }
    let mut window = Vec::with_capacity(WINDOW_BYTES);
    let mut inflate = Decompress::new(false);
    let status = inflate.decompress_vec(deflated, &mut window, FlushDecompress::Finish);
    let is_end = matches!(status, Ok(Status::StreamEnd));
    (is_end && inflate.total_in() == deflated.len() as u64).then_some(window)
}

/// What is left to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 1 << 40;

    fn any_point() -> impl Strategy<Value = RestorePoint> {
        let window = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2_000),
            Just(b"{\"n\":1}\n".repeat(4_096)),
        ];
        let member = (0_u8..8, 0_u64..1 << 30, any::<u32>(), window).prop_map(
            |(bits, more, crc, window)| {
                let is_full = window.len() == WINDOW_BYTES;
                Inside::Member(Member {
                    bits,
                    plain_bytes: window.len() as u64 + if is_full { more } else { 0 },
                    crc,
                    window,
                })
            },
        );
        let inside = prop_oneof![Just(Inside::Plain), Just(Inside::Members), member];
        (0..SIZE, 1_u64 << 31..1 << 50, inside).prop_map(|(input_offset, plain_offset, inside)| {
            match inside {
                Inside::Plain => RestorePoint::plain(input_offset),
                Inside::Members | Inside::Member(_) => RestorePoint {
                    input_offset,
                    plain_offset,
                    inside,
                },
            }
        })
    }

    proptest! {
        #[test]
        fn what_was_saved_opens_as_it_was_and_only_where_it_fits(point in any_point()) {
            let saved = SavedPoint::from(&point);
            let (input, plain) = (point.input_offset, point.plain_offset);
            prop_assert_eq!(saved.open(SIZE, plain), Some(point.clone()));
            prop_assert_eq!(saved.open(input, u64::MAX), Some(point));
            if input > 0 {
                prop_assert_eq!(saved.open(input - 1, plain), None);
            }
            if plain > 0 {
                prop_assert_eq!(saved.open(SIZE, plain - 1), None);
            }
            let json = serde_json::to_string(&saved).unwrap();
            prop_assert_eq!(serde_json::from_str::<SavedPoint>(&json).unwrap(), saved);
        }

        #[test]
        fn what_was_damaged_is_no_place_or_still_the_same_one(
            point in any_point(),
            at in any::<proptest::sample::Index>(),
            other in proptest::sample::select(b"AZaz09+/=- \"".to_vec()),
            cuts in any::<bool>(),
        ) {
            let mut text = String::from(SavedPoint::from(&point)).into_bytes();
            let at = at.index(text.len());
            if cuts {
                text.truncate(at);
            } else {
                text[at] = other;
            }
            let damaged = SavedPoint::from(String::from_utf8(text).unwrap());
            if let Some(opened) = damaged.open(SIZE, u64::MAX) {
                prop_assert_eq!(opened, point);
            }
        }

        #[test]
        fn any_text_may_be_opened(text in ".{0,400}") {
            prop_assert_eq!(SavedPoint::from(text).open(SIZE, SIZE), None);
        }
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let step = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(step).collect()
    }

    fn within(window: Vec<u8>) -> RestorePoint {
        RestorePoint {
            input_offset: 1,
            plain_offset: 1 << 20,
            inside: Inside::Member(Member {
                bits: 7,
                plain_bytes: 1 << 20,
                crc: 5,
                window,
            }),
        }
    }

    #[test]
    fn a_window_that_does_not_compress_keeps_the_bound_and_one_of_another_length_is_no_place() {
        let point = within(noise(WINDOW_BYTES));
        let saved = SavedPoint::from(&point);
        assert!(saved.0.len() <= SAVED_BYTES_MAX, "{}", saved.0.len());
        assert_eq!(saved.open(SIZE, SIZE), Some(point));
        for length in [0, 1, WINDOW_BYTES - 1, WINDOW_BYTES + 1] {
            let saved = SavedPoint::from(&within(noise(length)));
            assert_eq!(saved.open(SIZE, SIZE), None, "{length}");
        }
    }

    #[test]
    fn nothing_prints_what_a_window_holds() {
        let point = within(b"secret".repeat(6_000));
        let saved = SavedPoint::from(&point);
        let printed = format!("{point:?} {saved:?}");
        assert!(printed.len() < 300, "{printed}");
        assert!(!printed.contains("115, 101, 99"), "{printed}");
    }
}
