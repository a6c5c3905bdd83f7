//! Any bytes as a gzip member or as anything else that is compressed, in a layer around it or not: in two sizes of
//! pieces, with the blocks put together again, and what comes out from each place at which it can be taken up. What
//! is a gzip member miniz_oxide decodes too.

#![no_main]

use std::io::Write as _;
use std::ops::Range;

use bucket_brigade::bits::BitWriter;
use bucket_brigade::decode::{DecodeError, Decoder};
use bucket_brigade::restore::RestorePoint;
use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec};
const PLAIN_BYTES_MAX: usize = 200_000;
/// Small, so that some blocks are too large.
const BLOCK_BYTES_MAX: usize = 20_000;

/// What came out, the blocks that were given (where their plain bytes stand, and their bits), and the first places
/// at which decoding can be taken up.
struct Decoded {
    plain: Vec<u8>,
    blocks: Vec<(Range<usize>, Vec<u8>)>,
    places: Vec<RestorePoint>,
    end: Result<(), DecodeError>,
}

const PLACES_MAX: usize = 20;

/// So many bytes always tell whether there is another layer.
const MAGIC_BYTES_MAX: usize = 10;

/// From a place on, or from the start.
fn decode(place: Option<&RestorePoint>, object: &[u8], step: usize, room: usize) -> Decoded {
    let (mut decoder, start, before) = match place {
        None => (Decoder::new(BLOCK_BYTES_MAX), 0, 0),
        Some(place) => {
            let decoder = Decoder::restored(BLOCK_BYTES_MAX, place);
            (
                decoder,
                place.input_offset as usize,
                place.plain_offset as usize,
            )
        }
    };
    let input = &object[start..];
    let (mut all, mut blocks, mut block_start) = (Vec::new(), Vec::new(), 0);
    let mut places = Vec::new();
    let mut plain = Vec::with_capacity(room);
    for mut piece in input.chunks(step) {
        loop {
            let pushed = decoder.push(piece, &mut plain);
            let is_empty = plain.is_empty();
            all.append(&mut plain);
            let step = match pushed {
                Ok(step) => step,
                Err(error) => {
                    let (plain, end) = (all, Err(error));
                    return Decoded {
                        plain,
                        blocks,
                        places,
                        end,
                    };
                }
            };
            piece = &piece[step.taken..];
            if step.is_block_end {
                if let Some(block) = decoder.block() {
                    assert_eq!(block.plain_bytes, (all.len() - block_start) as u64);
                    assert!(block.member_bytes_before <= (before + block_start) as u64);
                    let mut bits = BitWriter::default();
                    bits.append(block.bits);
                    blocks.push((block_start..all.len(), bits.finish()));
                }
                block_start = all.len();
                if places.len() < PLACES_MAX {
                    places.extend(decoder.block_end());
                    places.extend(decoder.member_end());
                }
            } else if step.taken == 0 && is_empty {
                break;
            }
        }
        if all.len() > PLAIN_BYTES_MAX * 4 {
            break;
        }
    }
    let end = decoder.finish(&mut plain);
    all.append(&mut plain);
    let plain = all;
    Decoded {
        plain,
        blocks,
        places,
        end,
    }
}

/// Inflates one block alone, whatever its back-references lead to.
fn inflated_block(bits: &[u8], window: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    let mut last = bits.to_vec();
    *last.first_mut()? |= 1;
    let mut out = window.to_vec();
    out.resize(window.len() + plain_bytes, 0);
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let inflater = &mut DecompressorOxide::new();
    let (status, _, given) = decompress(inflater, &last, &mut out, window.len(), flags);
    (status == TINFLStatus::Done && given == plain_bytes).then(|| out.split_off(window.len()))
}

/// The start of what is compressed, each up to where anything may follow.
const STARTS: [&[u8]; 6] = [
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    b"",
    b"\x28\xb5\x2f\xfd",
    b"\x52\x2a\x4d\x18\0\0\0\0\x28\xb5\x2f\xfd",
    b"BZh1\x31\x41\x59\x26\x53\x59",
    b"\xff\x06\0\0sNaPpY",
];

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte")
}

fuzz_target!(|input: &[u8]| {
    let [a, b, c, rest @ ..] = input else {
        return;
    };
    let (step, room) = (usize::from(*a) * 3 + 1, usize::from(*b) * 40 + 1);
    let (start, layers) = (
        usize::from(*c) % STARTS.len(),
        usize::from(*c) / STARTS.len() % 3,
    );
    let innermost = [STARTS[start], rest].concat();
    let object = (0..layers).fold(innermost, |inner, _| gzip(&inner));
    let Decoded {
        plain,
        blocks,
        places,
        end,
    } = decode(None, &object, step, room);
    let again = decode(None, &object, object.len(), 1 << 20);
    if plain.len() > PLAIN_BYTES_MAX || again.plain.len() > PLAIN_BYTES_MAX {
        return;
    }
    assert_eq!(end.is_ok(), again.end.is_ok());
    assert_eq!(blocks, again.blocks);
    if end.is_ok() {
        assert_eq!(plain, again.plain);
    } else {
        // Of a damaged block bzip2 gives more or less.
        assert!(plain.starts_with(&again.plain) || again.plain.starts_with(&plain));
    }
    for place in &places {
        let rest = decode(Some(place), &object, step, room);
        assert_eq!(rest.plain, plain[place.plain_offset as usize..]);
        assert_eq!(rest.end.is_ok(), end.is_ok());
    }
    for (range, bits) in blocks.iter().take(20) {
        let found = inflated_block(bits, &plain[..range.start], range.len());
        assert_eq!(found.as_deref(), Some(&plain[range.clone()]));
    }
    let is_gzip_member = start == 0 && layers == 0;
    if is_gzip_member && end.is_ok() && object.len() < 60_000 {
        let by_miniz = decompress_to_vec(&object[10..]).expect("DEFLATE for miniz_oxide too");
        if by_miniz.len() >= MAGIC_BYTES_MAX {
            // What comes out may be compressed itself, and go on in the next member.
            let decoded = decode(None, &by_miniz, by_miniz.len(), 1 << 20);
            assert!(plain.starts_with(&decoded.plain));
        }
    }
});
