use std::io::Write as _;

use crc32fast::Hasher as Crc;
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;

use super::gzip::FHCRC;
use super::*;

fn member(plain: &[u8], level: u32) -> Vec<u8> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(level));
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

/// Decodes in pieces of `step` bytes into room for `room` bytes at a time.
fn decode(input: &[u8], step: usize, room: usize) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut decoder = Decoder::new(1 << 20);
    let mut all = Vec::new();
    let mut plain = Vec::with_capacity(room);
    for piece in input.chunks(step.max(1)) {
        let mut rest = piece;
        loop {
            let pushed = decoder.push(rest, &mut plain);
            let is_empty = plain.is_empty();
            all.append(&mut plain);
            match pushed {
                Ok(step) if step.taken == 0 && is_empty && !step.is_block_end => break,
                Ok(step) => rest = &rest[step.taken..],
                Err(error) => return (all, Err(error)),
            }
        }
    }
    let end = decoder.finish(&mut plain);
    all.append(&mut plain);
    (all, end)
}

fn truncated(format: &'static str, layer: usize, cut: usize) -> Result<(), DecodeError> {
    Err(DecodeError::Truncated {
        format,
        layer,
        input_bytes: cut as u64,
    })
}

/// Whether nothing takes it for anything else, also if there is no more of it.
fn is_plain(bytes: &[u8]) -> bool {
    match sniff(bytes) {
        Sniffed::Undecided => sniff_all(bytes) == Sniffed::Plain,
        sniffed => sniffed == Sniffed::Plain,
    }
}

fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..2_000),
        proptest::collection::vec(proptest::sample::select(b"ab\n{}".to_vec()), 0..20_000),
    ]
}

proptest! {
    #[test]
    fn any_members_in_any_pieces_give_the_same_plain_bytes(
        plains in proptest::collection::vec(plain_strategy(), 1..5),
        level in 0_u32..10,
        step in 1_usize..5_000,
        room in 1_usize..5_000,
        padding in 0_usize..600,
    ) {
        prop_assume!(is_plain(&plains.concat()));
        let mut input: Vec<u8> = plains.iter().flat_map(|plain| member(plain, level)).collect();
        input.extend(vec![0; padding]);
        prop_assert_eq!(decode(&input, step, room), (plains.concat(), Ok(())));
    }

    #[test]
    fn every_truncation_of_a_gzip_is_an_error_and_its_plain_bytes_a_prefix(
        plain in plain_strategy(),
        cut in any::<proptest::sample::Index>(),
        step in 1_usize..5_000,
    ) {
        prop_assume!(is_plain(&plain));
        let input = member(&plain, 6);
        let cut = 1 + cut.index(input.len() - 1);
        let (decoded, end) = decode(&input[..cut], step, 100);
        prop_assert!(plain.starts_with(&decoded));
        prop_assert_eq!(end, truncated("gzip", 1, cut));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_data_or_trailer_never_gives_other_bytes_as_a_success(
        plain in proptest::collection::vec(any::<u8>(), 1..500),
        at in any::<proptest::sample::Index>(),
        bit in 0_u8..8,
    ) {
        prop_assume!(is_plain(&plain));
        let mut input = member(&plain, 6);
        let at = 10 + at.index(input.len() - 10);
        input[at] ^= 1 << bit;
        let (decoded, end) = decode(&input, 1_000, 1_000);
        // A few bits of a Huffman table are free: another table, the same bytes.
        prop_assert!(end.is_err() || decoded == plain, "decoded {} bytes", decoded.len());
    }

    #[test]
    fn what_is_not_compressed_goes_through(plain in plain_strategy(), step in 1_usize..3_000) {
        prop_assume!(is_plain(&plain));
        prop_assert_eq!(decode(&plain, step, 64), (plain, Ok(())));
    }
}

/// The blocks of an object, as bits with the plain bytes that belong to them.
fn blocks(input: &[u8], step: usize, block_bytes_max: usize) -> Vec<(u64, Vec<u8>)> {
    let mut decoder = Decoder::new(block_bytes_max);
    let (mut blocks, mut of_block) = (Vec::new(), Vec::new());
    for piece in input.chunks(step) {
        let mut rest = piece;
        loop {
            let mut plain = Vec::with_capacity(64);
            let pushed = decoder.push(rest, &mut plain).unwrap();
            rest = &rest[pushed.taken..];
            of_block.extend_from_slice(&plain);
            if pushed.is_block_end {
                if let Some(block) = decoder.block() {
                    assert_eq!(block.plain_bytes, of_block.len() as u64);
                    assert_eq!(block.crc.clone().finalize(), crc32fast::hash(&of_block));
                    blocks.push((block.bits.length(), of_block.clone()));
                }
                of_block.clear();
            } else if plain.is_empty() && pushed.taken == 0 {
                break;
            }
        }
    }
    blocks
}

#[test]
fn blocks_come_with_their_bits_whatever_the_pieces_and_large_or_stored_ones_do_not() {
    let plain: Vec<u8> = (0..30_000_u32)
        .flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    let input = [member(&plain, 6), member(b"", 6), member(b"last\n", 1)].concat();
    let whole = blocks(&input, input.len(), 1 << 20);
    assert!(whole.len() > 3, "{} blocks", whole.len());
    let all: Vec<u8> = whole.iter().flat_map(|(_, plain)| plain.clone()).collect();
    assert_eq!(all, [plain.as_slice(), b"last\n"].concat());
    for step in [1, 7, 1_000] {
        assert_eq!(blocks(&input, step, 1 << 20), whole);
    }
    let largest = whole.iter().map(|(_, plain)| plain.len()).max().unwrap();
    let held = blocks(&input, 100, largest - 1);
    assert!(
        held.len() < whole.len() && !held.is_empty(),
        "{}",
        held.len()
    );
    assert_eq!(blocks(&member(&plain, 0), 100, 1 << 20), []);
}

#[test]
fn an_empty_member_between_others_and_padding_after_the_last_are_no_damage() {
    let input = [
        member(b"a\n", 6),
        member(b"", 6),
        member(b"b\n", 1),
        vec![0; 512],
    ]
    .concat();
    assert_eq!(decode(&input, 7, 64), (b"a\nb\n".to_vec(), Ok(())));
}

#[test]
fn bytes_after_the_last_member_that_are_no_member_are_damage() {
    let input = [member(b"a\n", 6), b"tail".to_vec()].concat();
    let (plain, end) = decode(&input, 100, 64);
    assert_eq!(plain, b"a\n");
    assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
}

#[test]
fn a_header_with_every_optional_part_is_read_and_its_checksum_checked() {
    let mut input = GzBuilder::new()
        .extra(b"extra".to_vec())
        .filename("a.log")
        .comment("none")
        .write(Vec::new(), Compression::fast());
    input.write_all(b"a\n").unwrap();
    let mut input = input.finish().unwrap();
    assert_eq!(decode(&input, 1, 64), (b"a\n".to_vec(), Ok(())));

    // FHCRC (RFC 1952, section 2.3.1): the low half of the CRC-32 of the header before it.
    let header_bytes = input.len() - member(b"a\n", 1).len() + 10;
    input[3] |= FHCRC;
    let mut crc = Crc::new();
    crc.update(&input[..header_bytes]);
    let check = (crc.finalize() as u16).to_le_bytes();
    input.splice(header_bytes..header_bytes, check);
    assert_eq!(decode(&input, 1, 64), (b"a\n".to_vec(), Ok(())));
    input[header_bytes] ^= 1;
    let (_, end) = decode(&input, 1, 64);
    assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
}

#[test]
fn wrong_crc_and_wrong_length_are_named() {
    let good = member(b"abc\n", 6);
    for (from_end, reason) in [(8, "wrong CRC-32"), (4, "wrong length")] {
        let mut input = good.clone();
        let at = input.len() - from_end;
        input[at] ^= 1;
        let (plain, end) = decode(&input, 1_000, 64);
        assert_eq!(plain, b"abc\n");
        let Err(DecodeError::Corrupt { reason: found, .. }) = end else {
            panic!("{end:?}");
        };
        assert_eq!(found, reason);
    }
}

/// Decodes `input` in pieces, and gives every place from which decoding can go on, with what came before it.
fn places(input: &[u8], step: usize) -> (Vec<u8>, Vec<RestorePoint>) {
    let mut decoder = Decoder::new(1 << 20);
    let (mut all, mut points) = (Vec::new(), Vec::new());
    for mut rest in input.chunks(step) {
        loop {
            let mut plain = Vec::with_capacity(700);
            let pushed = decoder.push(rest, &mut plain).unwrap();
            rest = &rest[pushed.taken..];
            all.extend_from_slice(&plain);
            points.extend(decoder.member_end());
            if pushed.is_block_end {
                points.extend(decoder.block_end());
            } else if plain.is_empty() && pushed.taken == 0 {
                break;
            }
        }
    }
    points.dedup();
    (all, points)
}

/// As [`decode`], from a place on.
fn decode_from(
    point: &RestorePoint,
    input: &[u8],
    step: usize,
) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut decoder = Decoder::restored(1 << 20, point);
    let mut all = Vec::new();
    for mut rest in input[point.input_offset as usize..].chunks(step) {
        loop {
            let mut plain = Vec::with_capacity(512);
            let pushed = decoder.push(rest, &mut plain);
            all.append(&mut plain);
            match pushed {
                Ok(step) if step.taken == 0 && !step.is_block_end && rest.is_empty() => break,
                Ok(step) => rest = &rest[step.taken..],
                Err(error) => return (all, Err(error)),
            }
        }
    }
    (all, decoder.finish(&mut Vec::with_capacity(16)))
}

fn flushed_member(pieces: &[Vec<u8>], flush: flate2::FlushCompress) -> Vec<u8> {
    let plain = pieces.concat();
    let mut compress = flate2::Compress::new(Compression::new(6), false);
    let mut out = Vec::with_capacity(plain.len() * 2 + pieces.len() * 20 + 1_000);
    for piece in pieces {
        compress.compress_vec(piece, &mut out, flush).unwrap();
    }
    compress
        .compress_vec(&[], &mut out, flate2::FlushCompress::Finish)
        .unwrap();
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice();
    let crc = crc32fast::hash(&plain).to_le_bytes();
    let length = (plain.len() as u32).to_le_bytes();
    [header, &out, &crc, &length].concat()
}

fn any_object() -> impl Strategy<Value = Vec<u8>> {
    use flate2::FlushCompress::{Full, Partial, Sync};
    let piece = proptest::collection::vec(b'a'..b'h', 0..12_000);
    let flush = proptest::sample::select(vec![Full, Partial, Sync]);
    let member = (proptest::collection::vec(piece, 0..8), flush)
        .prop_map(|(pieces, flush)| flushed_member(&pieces, flush));
    (proptest::collection::vec(member, 1..4), 0_usize..20).prop_map(|(members, padding)| {
        let mut object = members.concat();
        object.extend(vec![0; padding]);
        object
    })
}

proptest! {
    #[test]
    fn from_any_place_the_rest_comes_out_as_it_would_have(
        input in any_object(),
        step in 1_usize..3_000,
        again in 1_usize..3_000,
    ) {
        let (plain, points) = places(&input, step);
        let (_, whole) = places(&input, input.len());
        prop_assert_eq!(&points, &whole, "the places depend on the object alone");
        for point in points {
            let (rest, end) = decode_from(&point, &input, again);
            prop_assert_eq!(end, Ok(()));
            prop_assert!(rest == plain[point.plain_offset as usize..], "{:?}", point);
        }
    }

    #[test]
    fn damage_after_a_place_is_found_from_it_too(
        input in any_object(),
        at in any::<proptest::sample::Index>(),
        place in any::<proptest::sample::Index>(),
        flip in proptest::option::of(0_u32..8),
    ) {
        let (plain, points) = places(&input, 1_000);
        prop_assume!(!points.is_empty());
        let point = &points[place.index(points.len())];
        let start = point.input_offset as usize;
        prop_assume!(start < input.len());
        let at = start + at.index(input.len() - start);
        let mut damaged = input.clone();
        match flip {
            Some(bit) => damaged[at] ^= 1 << bit,
            None => damaged.truncate(at),
        }
        let before = &plain[..point.plain_offset as usize];
        let (rest, end) = decode_from(point, &damaged, 777);
        if end.is_ok() {
            // A header may lie, padding may be missing, and the first bits may be those of the block
            // before. An object that was cut off where a member ends is whole, and has fewer bytes.
            prop_assert!(plain[before.len()..].starts_with(&rest));
            prop_assert!(before.len() + rest.len() == plain.len() || flip.is_none());
        }
        if start < at {
            let (whole, whole_end) = decode(&damaged, 777, 512);
            prop_assert_eq!(end.is_ok(), whole_end.is_ok(), "{:?} from the start", whole_end);
            prop_assert!(end.is_err() || whole == [before, &rest].concat());
        }
    }

    #[test]
    fn cut_off_where_a_member_ends_an_object_is_whole_from_any_place(
        members in proptest::collection::vec("[a-h]{1,40}", 2..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let kept = 1 + cut.index(members.len() - 1);
        let input = |plains: &[String]| -> Vec<u8> {
            plains.iter().flat_map(|plain| member(plain.as_bytes(), 6)).collect()
        };
        let (_, points) = places(&input(&members), 1_000);
        let cut_off = input(&members[..kept]);
        let plain = members[..kept].concat().into_bytes();
        prop_assert!(points.iter().any(|point| point.input_offset == cut_off.len() as u64));
        for point in points.iter().filter(|point| point.input_offset <= cut_off.len() as u64) {
            let (rest, end) = decode_from(point, &cut_off, 777);
            prop_assert_eq!(end, Ok(()));
            prop_assert!(rest == plain[point.plain_offset as usize..], "{:?}", point);
        }
    }
}

#[test]
fn after_a_place_wrong_crc_and_wrong_length_of_its_member_are_named() {
    let pieces = [b"one\n".repeat(9_000), b"two\n".repeat(9_000)];
    let good = flushed_member(&pieces, flate2::FlushCompress::Partial);
    let (_, points) = places(&good, good.len());
    let point = points
        .iter()
        .find(|point| matches!(point.inside, Inside::Member(_)))
        .expect("a place within the member");
    for (from_end, reason) in [(8, "wrong CRC-32"), (4, "wrong length")] {
        let mut input = good.clone();
        let at = input.len() - from_end;
        input[at] ^= 1;
        let (_, end) = decode_from(point, &input, 100);
        let input_bytes = (input.len() - 8) as u64;
        let expected = DecodeError::Corrupt {
            format: "gzip",
            layer: 1,
            input_bytes,
            reason,
        };
        assert_eq!(decode(&input, input.len() - 8, 1 << 20).1, Err(expected));
        assert!(
            matches!(end, Err(DecodeError::Corrupt { reason: found, .. }) if found == reason),
            "{end:?}"
        );
    }
}

#[test]
fn a_place_or_a_block_is_none_before_it_is_known_that_there_is_no_other_layer() {
    let nested = member(b"a\n", 6);
    let input = [
        member(b"", 6),
        member(&nested[..1], 6),
        member(&nested[1..], 6),
    ]
    .concat();
    let mut decoder = Decoder::new(1 << 20);
    let mut plain = Vec::with_capacity(100);
    for byte in &input {
        let mut rest = std::slice::from_ref(byte);
        loop {
            let step = decoder.push(rest, &mut plain).unwrap();
            rest = &rest[step.taken..];
            assert_eq!(decoder.member_end(), None);
            assert_eq!(decoder.block_end(), None);
            assert!(decoder.block().is_none());
            if step.taken == 0 && !step.is_block_end {
                break;
            }
        }
    }
    decoder.finish(&mut plain).unwrap();
    assert_eq!(plain, b"a\n");
}

#[test]
fn blocks_that_ended_before_it_was_known_that_they_are_plain_are_not_given() {
    let rest = b"Zh is no word\n".repeat(100);
    let input = [member(b"B", 6), member(&rest, 6), member(&rest, 6)].concat();
    for step in [1, 5, input.len()] {
        let given = blocks_and_pieces(&input, step);
        let whole = [b"B".as_slice(), &rest].concat();
        assert_eq!(given, [(false, whole), (true, rest.clone())], "{step}");
    }
}

/// What came out up to each block end, and whether the block was given.
fn blocks_and_pieces(input: &[u8], step: usize) -> Vec<(bool, Vec<u8>)> {
    let mut decoder = Decoder::new(1 << 20);
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    for mut rest in input.chunks(step) {
        loop {
            let mut plain = Vec::with_capacity(700);
            let pushed = decoder.push(rest, &mut plain).unwrap();
            rest = &rest[pushed.taken..];
            let is_stuck = plain.is_empty() && pushed.taken == 0;
            piece.append(&mut plain);
            if pushed.is_block_end {
                pieces.push((decoder.block().is_some(), std::mem::take(&mut piece)));
            } else if is_stuck {
                break;
            }
        }
    }
    pieces
}

fn zstd(plain: &[u8], level: i32, has_checksum: bool) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), level).unwrap();
    encoder.include_checksum(has_checksum).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(plain: &[u8], level: u32) -> Vec<u8> {
    let level = ::bzip2::Compression::new(level);
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ::snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(plain).unwrap();
    let encoded = encoder.into_inner().unwrap();
    // The encoder writes nothing at all if there is nothing to write.
    match encoded.is_empty() {
        true => b"\xff\x06\0\0sNaPpY".to_vec(),
        false => encoded,
    }
}

const FORMATS: [Format; 4] = [Format::Gzip, Format::Zstd, Format::Bzip2, Format::Snappy];

fn compressed(format: Format, plain: &[u8]) -> Vec<u8> {
    match format {
        Format::Gzip => member(plain, 6),
        Format::Zstd => zstd(plain, 3, true),
        Format::Bzip2 => bzip2(plain, 1),
        Format::Snappy => snappy(plain),
    }
}

/// Something between members, frames, streams or chunks that says nothing.
fn filler(format: Format, length: usize) -> Vec<u8> {
    let content = vec![0xa5; length];
    let size = (length as u32).to_le_bytes();
    match format {
        Format::Gzip => member(b"", 1),
        Format::Zstd => [b"\x55\x2a\x4d\x18".as_slice(), &size, &content].concat(),
        Format::Bzip2 => bzip2(b"", 9),
        // A reserved chunk that may be skipped, and padding.
        Format::Snappy => [b"\x80", &size[..3], &content, b"\xfe", &size[..3], &content].concat(),
    }
}

fn any_format() -> impl Strategy<Value = Format> {
    proptest::sample::select(FORMATS.to_vec())
}

proptest! {
    #[test]
    fn b5_any_format_in_any_pieces_gives_the_same_plain_bytes(
        format in any_format(),
        plains in proptest::collection::vec(plain_strategy(), 1..4),
        fillers in proptest::collection::vec(0_usize..3_000, 3),
        step in 1_usize..5_000,
        room in 1_usize..5_000,
    ) {
        prop_assume!(is_plain(&plains.concat()));
        let parts = plains.iter().zip(&fillers);
        let input: Vec<u8> = parts
            .flat_map(|(plain, length)| [compressed(format, plain), filler(format, *length)])
            .flatten()
            .collect();
        prop_assert_eq!(decode(&input, step, room), (plains.concat(), Ok(())));
        let whole = decode(&input, input.len(), 1 << 20);
        prop_assert_eq!(whole, (plains.concat(), Ok(())));
    }

    #[test]
    fn b3_r4_any_layers_in_any_pieces_give_the_same_plain_bytes(
        formats in proptest::collection::vec(any_format(), 1..=LAYERS_MAX),
        plains in proptest::collection::vec(plain_strategy(), 1..4),
        step in 1_usize..3_000,
        room in 1_usize..3_000,
    ) {
        prop_assume!(is_plain(&plains.concat()));
        let mut formats = formats.into_iter();
        let innermost = formats.next().unwrap_or(Format::Gzip);
        let records: Vec<u8> = plains.iter().flat_map(|plain| compressed(innermost, plain)).collect();
        let input = formats.fold(records, |inner, format| compressed(format, &inner));
        prop_assert_eq!(decode(&input, step, room), (plains.concat(), Ok(())));
    }

    #[test]
    fn b2_every_truncation_of_layers_is_an_error_and_its_plain_bytes_a_prefix(
        formats in proptest::collection::vec(any_format(), 2..=LAYERS_MAX),
        plain in plain_strategy(),
        cut in any::<proptest::sample::Index>(),
        step in 1_usize..3_000,
    ) {
        prop_assume!(is_plain(&plain) && formats.last() != Some(&Format::Snappy));
        let whole = formats.iter().fold(plain.clone(), |inner, format| compressed(*format, &inner));
        let cut = 4 + cut.index(whole.len() - 4);
        let (decoded, end) = decode(&whole[..cut], step, 100);
        prop_assert!(plain.starts_with(&decoded));
        let is_truncated = matches!(end, Err(DecodeError::Truncated { layer: 1, input_bytes, .. })
            if input_bytes == cut as u64);
        prop_assert!(is_truncated, "{end:?}");
    }

    #[test]
    fn b2_a_flipped_bit_in_any_format_never_gives_other_bytes_as_a_success(
        format in any_format(),
        plain in plain_strategy(),
        at in any::<proptest::sample::Index>(),
        bit in 0_u8..8,
        step in 1_usize..3_000,
    ) {
        prop_assume!(is_plain(&plain) && !plain.is_empty());
        let mut input = compressed(format, &plain);
        // Behind the magic number: without it nothing is known.
        let start = match format {
            Format::Zstd => 4,
            Format::Gzip | Format::Bzip2 | Format::Snappy => 10,
        };
        let at = start + at.index(input.len() - start);
        input[at] ^= 1 << bit;
        // This makes a chunk one that may be skipped; nothing in the format tells.
        prop_assume!(format != Format::Snappy || bit != 7 || at != start);
        let (decoded, end) = decode(&input, step, 1_000);
        prop_assert!(end.is_err() || decoded == plain, "decoded {} bytes", decoded.len());
    }
}

proptest! {
    #[test]
    fn b2_damage_of_any_kind_ends_the_same_whatever_the_pieces(
        formats in proptest::collection::vec(any_format(), 1..=LAYERS_MAX),
        plain in plain_strategy(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0_u8..8), 1..4),
        step in 1_usize..3_000,
        room in 1_usize..3_000,
    ) {
        let mut input = formats.iter().fold(plain, |inner, format| compressed(*format, &inner));
        for (at, bit) in flips {
            let at = at.index(input.len());
            input[at] ^= 1 << bit;
        }
        let (decoded, end) = decode(&input, step, room);
        let (whole, whole_end) = decode(&input, input.len(), 1 << 20);
        prop_assert_eq!(end.is_ok(), whole_end.is_ok(), "{:?} {:?}", end, whole_end);
        // Of a damaged block bzip2 gives more or less.
        let is_same = match formats.contains(&Format::Bzip2) {
            true => decoded.starts_with(&whole) || whole.starts_with(&decoded),
            false => decoded == whole,
        };
        prop_assert!(is_same, "{} and {} bytes", decoded.len(), whole.len());
    }
}

/// Text of some blocks in every format that has blocks, for tests of every byte.
fn some_text() -> Vec<u8> {
    (0..60_u32)
        .flat_map(|n| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

#[test]
fn b2_b5_each_format_cut_at_any_byte_is_truncated() {
    let plain = some_text();
    for format in FORMATS {
        let one = compressed(format, &plain);
        let two = [one.clone(), compressed(format, &plain)].concat();
        // In snappy each chunk is whole; the identifier is one.
        let wholes = match format {
            Format::Gzip | Format::Zstd | Format::Bzip2 => vec![one.len(), two.len()],
            Format::Snappy => vec![10, one.len(), one.len() + 10, two.len()],
        };
        // So much of a magic number may be all of a text.
        let text_bytes = match format {
            Format::Gzip | Format::Snappy => 0,
            Format::Zstd => 1,
            Format::Bzip2 => 3,
        };
        for cut in text_bytes + 1..=two.len() {
            let (decoded, end) = decode(&two[..cut], 17, 64);
            assert!(plain.repeat(2).starts_with(&decoded), "{format:?} {cut}");
            let expected = match wholes.contains(&cut) {
                true => Ok(()),
                false => truncated(format.name(), 1, cut),
            };
            assert_eq!(end, expected, "{format:?} {cut}");
        }
        for cut in 0..=text_bytes {
            assert_eq!(decode(&two[..cut], 17, 64), (two[..cut].to_vec(), Ok(())));
        }
    }
}

#[test]
fn b2_what_a_layer_still_holds_is_not_taken_for_the_end() {
    let plain = b"a".repeat(50_000);
    let nested = [member(&plain, 6), member(&plain, 6)].concat();
    for input in [
        snappy(&plain),
        snappy(&nested),
        zstd(&nested, 3, true),
        bzip2(&nested, 9),
        // The inner layer might end just where the room does.
        zstd(&snappy(&plain[..25_000]).repeat(2), 3, true),
    ] {
        let mut decoder = Decoder::new(1 << 20);
        let mut room = Vec::with_capacity(25_000);
        decoder.push(&input, &mut room).unwrap();
        assert_eq!(room.len(), 25_000);
        let end = decoder.finish(&mut Vec::with_capacity(16));
        assert!(matches!(end, Err(DecodeError::Truncated { .. })), "{end:?}");
    }
}

#[test]
fn b5_bytes_after_the_last_frame_or_stream_are_damage_in_every_format() {
    for format in FORMATS {
        for tail in [
            b"tail\n".as_slice(),
            b"\x28\xb5\x2f\x00",
            b"BZh0",
            b"\x02\0\0\0",
        ] {
            let input = [compressed(format, b"a\n"), tail.to_vec()].concat();
            for step in [1, 100] {
                let (plain, end) = decode(&input, step, 64);
                assert_eq!(plain, b"a\n", "{format:?} {tail:?}");
                let is_corrupt = matches!(
                    end,
                    Err(DecodeError::Corrupt { format: named, layer: 1, .. }) if named == format.name()
                );
                assert!(is_corrupt, "{format:?} {tail:?} {end:?}");
            }
        }
    }
}

#[test]
fn b5_what_came_before_damage_comes_out_whatever_the_pieces() {
    // Blocks of 128 KiB in zstd, of 64 KiB in snappy and of 100 KB in bzip2, the last of which is damaged.
    let plain: Vec<u8> = (0..60_000_u32)
        .flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    for format in [Format::Zstd, Format::Bzip2, Format::Snappy] {
        let mut input = compressed(format, &plain);
        let at = input.len() - 40;
        input[at] ^= 0x10;
        let mut given = Vec::new();
        for step in [1, 1_000, input.len()] {
            for room in [1_000, 1 << 20] {
                let (decoded, end) = decode(&input, step, room);
                assert!(matches!(end, Err(DecodeError::Corrupt { .. })), "{end:?}");
                given.push(decoded);
            }
        }
        given.dedup();
        assert_eq!(given.len(), 1, "{format:?}");
        let good = plain.iter().zip(&given[0]).take_while(|(a, b)| a == b);
        assert!(good.count() > plain.len() / 2, "{format:?}");
    }
}

#[test]
fn b2_damage_of_a_layer_lets_out_what_came_before_it_through_the_others() {
    let text = some_text();
    let inner = [member(&text, 6), member(&text, 0)].concat();
    for format in FORMATS {
        // Behind what is compressed there is something that is not.
        let damaged = [compressed(format, &inner), b"tail".to_vec()].concat();
        let twice = member(&damaged, 6);
        for (object, layer) in [(&damaged, 1), (&twice, 2)] {
            for step in [1, 1_000, object.len()] {
                for room in [100, 1 << 20] {
                    let (decoded, end) = decode(object, step, room);
                    assert!(
                        decoded == text.repeat(2),
                        "{format:?} {layer} {}",
                        decoded.len()
                    );
                    let is_there = matches!(
                        end,
                        Err(DecodeError::Corrupt { layer: found, .. }) if found == layer
                    );
                    assert!(is_there, "{format:?} {end:?}");
                }
            }
        }
    }
    // All of a layer may stand in the bytes by which it is told: 100 bytes in a frame of 10.
    let frame = b"\x28\xb5\x2f\xfd\x20\x64\x23\x03\x00a";
    let damaged = [member(frame, 6), b"tail".to_vec()].concat();
    for step in [1, damaged.len()] {
        let (decoded, end) = decode(&damaged, step, 64);
        assert_eq!(decoded, b"a".repeat(100));
        assert!(
            matches!(end, Err(DecodeError::Corrupt { layer: 1, .. })),
            "{end:?}"
        );
    }
}

#[test]
fn b5_wrong_checksums_are_named() {
    for (format, from_end, reason) in [
        (Format::Zstd, 1, "Restored data doesn't match checksum"),
        (Format::Bzip2, 3, "invalid data, or a wrong CRC"),
        (Format::Snappy, 2 + 4, "wrong CRC-32C"),
    ] {
        let mut input = compressed(format, b"a\n");
        let at = input.len() - from_end;
        input[at] ^= 1;
        let (_, end) = decode(&input, 1_000, 64);
        let found = end.expect_err("damage").to_string();
        assert!(
            found.contains(reason) && found.starts_with(format.name()),
            "{found}"
        );
    }
}

#[test]
fn b5_a_zstd_window_of_8_mib_is_read_and_a_larger_one_is_not() {
    let plain = some_text();
    let windowed = |window_log: u32| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let too_large = DecodeError::Unsupported {
        format: "zstd with a window of more than 8 MiB",
    };
    for step in [1, 10_000] {
        assert_eq!(
            decode(&windowed(23), step, 1 << 16),
            (plain.clone(), Ok(()))
        );
        let (decoded, end) = decode(&windowed(24), step, 1 << 16);
        assert_eq!((decoded, end), (Vec::new(), Err(too_large.clone())));
    }
    // A frame of one segment, whose content is its window: of 8 MiB, and of one byte more.
    for (size, is_read) in [(8_u32 << 20, true), ((8 << 20) + 1, false)] {
        let header = [b"\x28\xb5\x2f\xfd\xa0".as_slice(), &size.to_le_bytes()].concat();
        let (_, end) = decode(&header, 100, 64);
        assert_eq!(
            end == truncated("zstd", 1, header.len()),
            is_read,
            "{end:?}"
        );
        assert_eq!(end == Err(too_large.clone()), !is_read, "{end:?}");
    }
    let with_dictionary = b"\x28\xb5\x2f\xfd\x01\x00\x07\x01\x00\x00";
    let format = "zstd with a dictionary";
    let (_, end) = decode(with_dictionary, 3, 64);
    assert_eq!(end, Err(DecodeError::Unsupported { format }));
}

#[test]
fn b5_framed_snappy_refuses_chunks_that_it_may_not_pass_over() {
    let chunk = |kind: u8, content: &[u8]| {
        let [low, middle, high, _] = (content.len() as u32).to_le_bytes();
        [
            b"\xff\x06\0\0sNaPpY".as_slice(),
            &[kind, low, middle, high],
            content,
        ]
        .concat()
    };
    for (input, reason) in [
        (chunk(0x02, b""), "a chunk of a type that is not known"),
        (chunk(0x7f, b"abc"), "a chunk of a type that is not known"),
        (chunk(0xff, b"SnApPy"), "wrong stream identifier"),
        (
            chunk(0xff, b"sNaPp"),
            "a chunk has a length that it cannot have",
        ),
        (
            chunk(0x01, b"abc"),
            "a chunk has a length that it cannot have",
        ),
        (
            chunk(0x01, &[0; 65_541]),
            "a chunk has a length that it cannot have",
        ),
        (
            chunk(0x00, &[0; 80_000]),
            "a chunk has a length that it cannot have",
        ),
        (chunk(0x01, b"\0\0\0\0abc"), "wrong CRC-32C"),
        (
            chunk(0x00, b"\0\0\0\0\xff\xff\xff\xff\xff"),
            "invalid data in a chunk",
        ),
        // 65,537 plain bytes by its own account.
        (
            chunk(0x00, b"\0\0\0\0\x81\x80\x04\0a"),
            "a chunk has more than 65,536 plain bytes",
        ),
    ] {
        let (plain, end) = decode(&input, 1_000, 64);
        assert_eq!(plain, b"");
        let found = end.expect_err(reason).to_string();
        assert!(found.ends_with(reason), "{found}");
    }
    for kind in [0x80, 0xfd, 0xfe] {
        assert_eq!(decode(&chunk(kind, b"abc"), 3, 64), (Vec::new(), Ok(())));
    }
}

#[test]
fn r4_records_that_a_producer_compressed_come_out_of_an_object_that_another_compressed() {
    // As Firehose with GZIP writes what CloudWatch Logs sends: documents back to back, each a member of its own.
    let documents: Vec<String> = (0..50)
        .map(|n| format!("{{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[{{\"id\":\"{n}\"}}]}}"))
        .collect();
    let inner: Vec<u8> = documents
        .iter()
        .flat_map(|one| member(one.as_bytes(), 6))
        .collect();
    let plain = documents.concat().into_bytes();
    for outer in [
        vec![],
        vec![Format::Gzip],
        vec![Format::Zstd],
        vec![Format::Gzip; 2],
    ] {
        let object = outer
            .iter()
            .fold(inner.clone(), |inner, format| compressed(*format, &inner));
        for step in [1, 100, object.len()] {
            assert_eq!(decode(&object, step, 300), (plain.clone(), Ok(())));
        }
        let mut damaged = object.clone();
        damaged.truncate(object.len() - 1);
        let (decoded, end) = decode(&damaged, 100, 300);
        assert_eq!(decoded, plain, "what came before the end is there");
        assert!(
            matches!(end, Err(DecodeError::Truncated { layer: 1, .. })),
            "{end:?}"
        );
    }
    // Damage within the inner layer is its own.
    let cut = compressed(Format::Gzip, &inner[..inner.len() - 1]);
    assert_eq!(
        decode(&cut, 100, 300),
        (plain, truncated("gzip", 2, inner.len() - 1))
    );
    let shown = truncated("gzip", 2, 7).expect_err("an error").to_string();
    assert_eq!(shown, "gzip in layer 2 truncated after 7 bytes");
}

#[test]
fn b3_layers_may_end_before_it_is_known_what_is_in_them() {
    for format in FORMATS {
        for (plain, is_text) in [
            (b"".as_slice(), true),
            (b"B", true),
            (b"PAR", true),
            (b"\x28\xb5", false),
        ] {
            let end = match is_text {
                true => (plain.to_vec(), Ok(())),
                false => (Vec::new(), truncated("zstd", 2, 2)),
            };
            assert_eq!(
                decode(&compressed(format, plain), 1, 64),
                end,
                "{format:?} {plain:?}"
            );
        }
    }
}

#[test]
fn more_layers_than_are_read_are_refused() {
    let deep = (0..=LAYERS_MAX).fold(b"a\n".to_vec(), |inner, _| member(&inner, 6));
    let (plain, end) = decode(&deep, 100, 64);
    assert_eq!(plain, b"");
    let format = "compression in more than 3 layers";
    assert_eq!(end, Err(DecodeError::Unsupported { format }));
}

#[test]
fn only_what_is_gzip_alone_or_plain_gives_places_and_blocks() {
    let text = some_text().repeat(100);
    let gzip = member(&text, 6);
    for (object, has_places) in [
        (gzip.clone(), true),
        (member(&gzip, 6), false),
        (zstd(&text, 3, true), false),
        (zstd(&gzip, 3, true), false),
        (bzip2(&gzip, 1), false),
        (member(&snappy(&text), 6), false),
    ] {
        let mut decoder = Decoder::new(1 << 20);
        let (mut plain, mut rest) = (Vec::with_capacity(1 << 20), object.as_slice());
        let mut blocks = 0;
        while !rest.is_empty() {
            let step = decoder.push(rest, &mut plain).unwrap();
            rest = &rest[step.taken..];
            assert!(!step.is_block_end || has_places);
            blocks += usize::from(decoder.block().is_some());
            assert!(decoder.block_end().is_none() || has_places);
            assert!(!decoder.holds_block() || has_places);
            assert!(!decoder.is_plain());
        }
        assert_eq!(decoder.member_end().is_some(), has_places);
        assert_eq!(blocks > 0, has_places);
        assert_eq!(plain, text);
    }
}

/// What the object gives, as it comes, and the most that was asked to be held at a time.
fn bounded(object: &[u8], max: ExpansionMax) -> (u64, Result<(), DecodeError>) {
    let mut decoder = Decoder::new(1 << 20).bounded(max);
    let (mut bytes, mut rest) = (0, object);
    let mut plain = Vec::with_capacity(1 << 16);
    loop {
        match decoder.push(rest, &mut plain) {
            Ok(step) if step.taken == 0 && plain.is_empty() && !step.is_block_end => break,
            Ok(step) => rest = &rest[step.taken..],
            Err(error) => return (bytes + plain.len() as u64, Err(error)),
        }
        for layer in &decoder.layers {
            assert!(
                layer.input.capacity() <= BETWEEN_BYTES,
                "{}",
                layer.input.capacity()
            );
        }
        bytes += plain.len() as u64;
        plain.clear();
    }
    (bytes, decoder.finish(&mut plain))
}

#[test]
fn b4_a_bomb_within_a_layer_is_stopped_whether_or_not_anything_comes_out_of_it() {
    let max = ExpansionMax {
        plain_bytes: 1 << 40,
        ratio: 20,
    };
    let zeros = vec![0; 24 << 20];
    let empty = member(b"", 6).repeat(1_200_000);
    let skipped = filler(Format::Zstd, 24 << 20);
    let stopped = |object: &[u8]| match bounded(object, max) {
        (given, Err(DecodeError::ExpandsTooFar { setting, .. })) => Some((given, setting)),
        (_, _) => None,
    };
    for bomb in [
        member(&zeros, 9),
        member(&member(&zeros, 1), 9),
        zstd(&bzip2(&zeros, 9), 1, true),
        bzip2(&zeros, 9),
    ] {
        let (given, setting) = stopped(&bomb).expect("a bomb");
        assert!(given <= 21 << 20, "{given}");
        assert_eq!(setting, "EXPANSION_MAX");
    }
    // Nothing comes out of these, but of the layers around.
    for bomb in [member(&empty, 9), zstd(&empty, 3, true), bzip2(&skipped, 9)] {
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        assert_eq!(stopped(&bomb), Some((0, "EXPANSION_MAX")));
    }
    let enough = ExpansionMax {
        ratio: 1_000,
        ..max
    };
    assert_eq!(bounded(&member(&empty, 9), enough), (0, Ok(())));
    assert_eq!(bounded(&bzip2(&zeros, 9), enough), (24 << 20, Ok(())));
}

#[test]
fn b5_containers_that_are_not_read_are_named_and_never_taken_for_lines() {
    for (input, format) in [
        (b"PAR1\x15\x04\x15\x08\x15\x08\x4c".as_slice(), "Parquet"),
        (b"ORC\x0a\x03\0\0\0\x0a\x06", "ORC"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "zip"),
        (b"PK\x05\x06\0\0\0\0\0\0", "zip"),
        (b"\xfd7zXZ\0\0\x04\xe6\xd6", "xz"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        (b"\x04\x22\x4d\x18\x64\x40\xa7", "lz4"),
        (b"Obj\x01\x04\x16avro", "Avro"),
    ] {
        for step in [1, 3, 100] {
            let expected = (Vec::new(), Err(DecodeError::Unsupported { format }));
            assert_eq!(decode(input, step, 64), expected);
            for outer in FORMATS {
                assert_eq!(decode(&compressed(outer, input), step, 64), expected);
            }
        }
    }
}
