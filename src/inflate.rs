//! DEFLATE bytes → plain bytes, with a stop after every block.
//!
//! Goes in: raw DEFLATE (RFC 1951) in pieces of any size. Comes out: plain bytes, and at which bit each
//! block ends: what copying a block without compressing it again needs, and what flate2 does not tell.
//!
//! It can also be left after a block and taken up there by another inflater, which needs the last 32 KB of plain
//! bytes and what is left of the byte within which the block ended.
//!
//! This is the one file with unsafe code: eight calls of zlib's C interface as zlib-rs provides it.

#![expect(
    unsafe_code,
    reason = "only zlib's C interface tells where a block ends; each call says why it is sound"
)]

use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateGetDictionary,
    inflateInit2_, inflatePrime, inflateReset, inflateSetDictionary, z_stream, zlibVersion,
};

/// Raw DEFLATE with the largest window, as `inflateInit2` is told (zlib manual, "inflateInit2").
const RAW_WINDOW_BITS: i32 = -15;

/// How far a back-reference reaches (RFC 1951, section 2).
pub const WINDOW_BYTES: usize = 32 * 1024;

/// Bits of `data_type` after a call with `Z_BLOCK` (zlib manual, "inflate").
mod data_type {
    /// How many bits of the last byte taken are not used yet.
    pub const UNUSED_BITS: i32 = 63;
    pub const IS_LAST_BLOCK: i32 = 64;
    pub const IS_AT_BLOCK_END: i32 = 128;
}

/// The input is no DEFLATE data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDeflate;

/// How far one call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that were taken.
    pub taken: usize,
    pub stop: Stop,
}

/// Why a call returned. `end_bit` counts bits of the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The input is used up, or there is no room.
    Halfway,
    /// A block ended, and another one follows.
    BlockEnd { end_bit: u64 },
    /// The last block ended, and the stream with it.
    StreamEnd { end_bit: u64 },
}

/// Inflates one stream after the other. Holds a window of 32 KiB and tables of some 10 KiB.
pub struct Inflater {
    /// Boxed, so that its address never changes: zlib allows an implementation to depend on it.
    stream: Box<z_stream>,
    taken: u64,
}

// SAFETY: the stream's pointers lead to memory that it alone owns (its state), or are not used between
// calls (`next_in`, `next_out` are set anew by each call). Nothing of it is tied to a thread.
unsafe impl Send for Inflater {}
// SAFETY: what is done by way of `&self` only reads the stream and its state, and sets no pointer.
unsafe impl Sync for Inflater {}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    pub fn new() -> Self {
        let mut stream = Box::new(z_stream::default());
        // SAFETY: the stream is a valid `z_stream` whose allocation functions are set by its default,
        // and version and size are those of the library that is called.
        let status = unsafe {
            inflateInit2_(
                &raw mut *stream,
                RAW_WINDOW_BITS,
                zlibVersion(),
                size_of::<z_stream>() as i32,
            )
        };
        assert_eq!(status, Z_OK, "fails only without memory");
        Self { stream, taken: 0 }
    }

    /// Makes it ready for another stream.
    pub fn reset(&mut self) {
        // SAFETY: the stream was initialised by `new` and is ended by nothing but `drop`.
        let status = unsafe { inflateReset(&raw mut *self.stream) };
        debug_assert_eq!(status, Z_OK);
        self.taken = 0;
    }

    /// What back-references can still reach: the last [`WINDOW_BYTES`] of the stream's plain bytes, or all of
    /// them.
    pub fn window(&self) -> Vec<u8> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut length = 0;
        // SAFETY: the stream was initialised by `new` and is only read. `window` has room for the 32,768 bytes
        // that are always enough (zlib manual, "inflateGetDictionary"), and like `length` is borrowed
        // mutably during the call.
        let status = unsafe {
            inflateGetDictionary(
                &raw const *self.stream,
                window.as_mut_ptr(),
                &raw mut length,
            )
        };
        debug_assert_eq!(status, Z_OK);
        window.truncate(length as usize);
        window
    }

    /// Makes it ready for a stream from the end of one of its blocks on, as zlib's example `zran.c` does.
    /// `window` is what [`Inflater::window`] gave there. Bits of the stream then count from the first byte
    /// that is given here, by [`Inflater::enter`] if the block ended within a byte.
    pub fn restore(&mut self, window: &[u8]) {
        self.reset();
        let length = u32::try_from(window.len()).unwrap_or(u32::MAX);
        // SAFETY: the stream was initialised by `new`. `window` holds at least `length` bytes that stay
        // borrowed during the call and are only read.
        let status =
            unsafe { inflateSetDictionary(&raw mut *self.stream, window.as_ptr(), length) };
        debug_assert_eq!(status, Z_OK);
    }

    /// Takes the first byte after [`Inflater::restore`], of which the lowest `bits`, 1 to 7, belong to the
    /// block that ended.
    pub fn enter(&mut self, first: u8, bits: u8) {
        debug_assert!((1..8).contains(&bits), "{bits} bits of a byte");
        let value = i32::from(first) >> bits;
        // SAFETY: the stream was initialised by `new`; the bits are passed by value.
        let status = unsafe { inflatePrime(&raw mut *self.stream, 8 - i32::from(bits), value) };
        debug_assert_eq!(status, Z_OK);
        self.taken = 1;
    }

    /// Bits that were taken and belong to what comes next. Only right after a block has ended.
    pub fn unused_bits(&self) -> u64 {
        (self.stream.data_type & data_type::UNUSED_BITS) as u64
    }

    /// Inflates `input` into the spare capacity of `plain`, until a block ends, the input is used up, or
    /// there is no room. On an error, `plain` holds what came before the damage.
    pub fn inflate(
        &mut self,
        input: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Progress, InvalidDeflate> {
        let (taken, status) = self.step(input, plain);
        let progress = |stop| Ok(Progress { taken, stop });
        match status {
            Z_OK | Z_BUF_ERROR if self.is_at_block_end() => {
                let end_bit = self.end_bit();
                if self.stream.data_type & data_type::IS_LAST_BLOCK == 0 {
                    return progress(Stop::BlockEnd { end_bit });
                }
                // Nothing is left to read: this only lets the stream notice that it has ended.
                match self.step(&[], plain) {
                    (0, Z_STREAM_END) => progress(Stop::StreamEnd { end_bit }),
                    _ => Err(InvalidDeflate),
                }
            }
            Z_OK | Z_BUF_ERROR => progress(Stop::Halfway),
            _ => Err(InvalidDeflate),
        }
    }

    fn is_at_block_end(&self) -> bool {
        self.stream.data_type & data_type::IS_AT_BLOCK_END != 0
    }

    fn end_bit(&self) -> u64 {
        self.taken * 8 - self.unused_bits()
    }

    fn step(&mut self, input: &[u8], plain: &mut Vec<u8>) -> (usize, i32) {
        let room = plain.spare_capacity_mut();
        let (before_in, before_out) = (
            u32::try_from(input.len()).unwrap_or(u32::MAX),
            u32::try_from(room.len()).unwrap_or(u32::MAX),
        );
        self.stream.next_in = input.as_ptr();
        self.stream.avail_in = before_in;
        self.stream.next_out = room.as_mut_ptr().cast();
        self.stream.avail_out = before_out;
        // SAFETY: the stream was initialised by `new`. `next_in` points to at least `avail_in` bytes that
        // stay borrowed during the call and are only read; `next_out` to at least `avail_out` bytes that
        // are borrowed mutably, and are only written.
        let status = unsafe { inflate(&raw mut *self.stream, Z_BLOCK) };
        let taken = (before_in - self.stream.avail_in) as usize;
        let given = (before_out - self.stream.avail_out) as usize;
        // SAFETY: `inflate` wrote the first `given` bytes of the spare capacity.
        unsafe { plain.set_len(plain.len() + given) };
        self.taken += taken as u64;
        (taken, status)
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new`, and this is the only place that ends it.
        let status = unsafe { inflateEnd(&raw mut *self.stream) };
        debug_assert_eq!(status, Z_OK);
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    /// Blocks of the given plain bytes, each flushed at a byte's edge, and where each ends.
    fn deflate(blocks: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
        let mut compress = Compress::new(Compression::new(6), false);
        let mut out = Vec::with_capacity(1 << 20);
        let mut ends = Vec::new();
        for block in blocks {
            compress
                .compress_vec(block, &mut out, FlushCompress::Sync)
                .expect("deflated");
            ends.push(out.len() as u64 * 8);
        }
        compress
            .compress_vec(&[], &mut out, FlushCompress::Finish)
            .expect("deflated");
        (out, ends)
    }

    fn inflate_all(input: &[u8], step: usize, room: usize) -> (Vec<u8>, Vec<u64>, bool, usize) {
        let mut inflater = Inflater::new();
        let (mut all, mut ends, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            let mut plain = Vec::with_capacity(room);
            let rest = &input[at..input.len().min(at + step)];
            let progress = inflater.inflate(rest, &mut plain).expect("valid");
            at += progress.taken;
            let is_stuck = progress.taken == 0 && plain.is_empty();
            all.append(&mut plain);
            match progress.stop {
                Stop::Halfway if is_stuck => return (all, ends, false, at),
                Stop::Halfway => {}
                Stop::BlockEnd { end_bit } => ends.push(end_bit),
                Stop::StreamEnd { end_bit } => {
                    ends.push(end_bit);
                    return (all, ends, true, at);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_block_end_is_told_whatever_the_pieces(
            blocks in proptest::collection::vec(proptest::collection::vec(b'a'..b'f', 0..3_000), 1..6),
            step in 1_usize..400,
            room in 1_usize..400,
        ) {
            let (input, flushed) = deflate(&blocks);
            let with_more = [input.as_slice(), b"what follows"].concat();
            let (plain, ends, ended, taken) = inflate_all(&with_more, step, room);
            prop_assert_eq!(plain, blocks.concat());
            prop_assert!(ended);
            prop_assert_eq!(taken, input.len());
            for end in flushed {
                prop_assert!(ends.contains(&end), "{} is not among {:?}", end, ends);
            }
            prop_assert!(ends.is_sorted());
        }
    }

    proptest! {
        #[test]
        fn from_every_block_end_another_inflater_goes_on(
            blocks in proptest::collection::vec(proptest::collection::vec(b'a'..b'f', 0..9_000), 1..9),
            flush in proptest::sample::select(vec![FlushCompress::Sync, FlushCompress::Partial]),
            step in 1_usize..400,
        ) {
            let mut compress = Compress::new(Compression::new(6), false);
            let mut input = Vec::with_capacity(1 << 20);
            for block in &blocks {
                compress.compress_vec(block, &mut input, flush).expect("deflated");
            }
            compress.compress_vec(&[], &mut input, FlushCompress::Finish).expect("deflated");
            let whole = blocks.concat();

            let mut first = Inflater::new();
            let mut plain = Vec::with_capacity(whole.len() + 1);
            let mut at = 0;
            loop {
                let progress = first.inflate(&input[at..], &mut plain).expect("valid");
                at += progress.taken;
                if matches!(progress.stop, Stop::StreamEnd { .. }) {
                    break;
                }
                let window = first.window();
                prop_assert!(plain.ends_with(&window));
                prop_assert_eq!(window.len(), plain.len().min(WINDOW_BYTES));
                let bit = at as u64 * 8 - first.unused_bits();
                let (mut from, bits) = ((bit / 8) as usize, (bit % 8) as u8);
                let mut second = Inflater::new();
                second.restore(&window);
                if bits > 0 {
                    second.enter(input[from], bits);
                    from += 1;
                }
                let mut rest = Vec::with_capacity(whole.len() + 1);
                loop {
                    let until = input.len().min(from + step);
                    let progress = second.inflate(&input[from..until], &mut rest).expect("valid");
                    from += progress.taken;
                    if matches!(progress.stop, Stop::StreamEnd { .. }) {
                        break;
                    }
                }
                prop_assert_eq!(from, input.len());
                prop_assert!(rest == whole[plain.len()..], "after {} bytes", plain.len());
            }
        }
    }

    #[test]
    fn a_reset_inflater_reads_another_stream() {
        let (input, _) = deflate(&[b"one".to_vec()]);
        let mut inflater = Inflater::new();
        let mut plain = Vec::with_capacity(100);
        inflater.inflate(&input[..4], &mut plain).expect("valid");
        inflater.reset();
        plain.clear();
        while let Stop::BlockEnd { .. } = {
            let rest = &input[inflater.taken as usize..];
            inflater.inflate(rest, &mut plain).expect("valid").stop
        } {}
        assert_eq!(plain, b"one");
    }

    #[test]
    fn what_is_no_deflate_is_an_error() {
        let mut plain = Vec::with_capacity(100);
        let reserved_block_type = [0b111];
        let inflated = Inflater::new().inflate(&reserved_block_type, &mut plain);
        assert_eq!(inflated, Err(InvalidDeflate));
    }
}
