//! Pass-through against compressing again, over encoders, levels, strategies, flushes, members, limits and
//! damage. Encoders that exist only outside of crates are in `encoders.rs`.

use std::num::NonZeroU64;

use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::decode::DecodeError;
use bucket_brigade::shape::Shape;
use flate2::{Compress, Compression, FlushCompress};
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use zlib_rs::{DeflateConfig, Strategy as ZlibStrategy, compress_slice};

use super::both_ways::{Case, Outcome, json_only, lines_of};
use super::deflater::{self, Kind};

/// What logs are made of, and what may come between.
#[derive(Clone, Debug)]
pub struct Log {
    seed: u64,
    bytes: usize,
    /// One line in so many is odd; 0: none.
    odd_one_in: u64,
    starts_with_mark: bool,
    ends: bool,
}

impl Log {
    pub fn plain(&self) -> Vec<u8> {
        let mut state = self.seed | 1;
        let mut random = move |below: u64| {
            // Knuth's constants for a linear congruence modulo 2^64.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut plain = Vec::new();
        if self.starts_with_mark {
            plain.extend_from_slice(b"\xef\xbb\xbf");
        }
        let mut n = 0;
        while plain.len() < self.bytes {
            n += 1;
            if self.odd_one_in > 0 && random(self.odd_one_in) == 0 {
                match random(12) {
                    0 => plain.extend_from_slice(b"\n"),
                    1 => plain.extend_from_slice(b"\r\n"),
                    2 => plain.extend_from_slice(b"\r\r\n\n\n"),
                    3 => plain.extend(format!("{{\"crlf\":{n}}}\r\n").bytes()),
                    4 => plain.extend(format!("text {n}\n").bytes()),
                    5 => plain.extend_from_slice(b"{\"nul\":\"\0\"}\n"),
                    6 => plain.extend_from_slice(b"{\"no utf-8\":\"\xff\xc3\"}\n"),
                    7 => plain.extend_from_slice(b"\xef\xbb\xbf\n"),
                    // Nothing that an encoder finds twice.
                    8 => {
                        plain.extend((0..random(60_000)).map(|_| b' ' + random(90) as u8));
                        plain.push(b'\n');
                    }
                    length => {
                        // Around the limits of a field, a partial, a window, a batch.
                        let about = [1_990, 2_010, 32_700, 65_500][length as usize % 4];
                        let text = "long ".repeat(about / 5 + random(20) as usize);
                        plain.extend(format!("{{\"long\":\"{text}\"}}\n").bytes());
                    }
                }
                continue;
            }
            let line = format!(
                "{{\"n\":{n},\"status\":{},\"path\":\"/{}/{:x}\",\"na\u{ef}ve\":\"{}\"}}\n",
                [200, 200, 200, 304, 404][random(5) as usize],
                ["index", "images", "api/v1/items"][random(3) as usize],
                random(1 << 30),
                ["\u{e9}\u{20ac}\u{1f600}", "plain", "\u{65e5}\u{672c}"][random(3) as usize],
            );
            plain.extend_from_slice(line.as_bytes());
        }
        if !self.ends {
            plain.pop();
        }
        plain
    }
}

pub fn log(bytes: std::ops::Range<usize>) -> impl Strategy<Value = Log> {
    (
        any::<u64>(),
        bytes,
        prop_oneof![2 => Just(0_u64), 1 => 1_u64..10, 3 => 50_u64..3_000],
        prop::bool::weighted(0.1),
        any::<bool>(),
    )
        .prop_map(|(seed, bytes, odd_one_in, starts_with_mark, ends)| Log {
            seed,
            bytes,
            odd_one_in,
            starts_with_mark,
            ends,
        })
}

/// Who compresses a member.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// zlib-rs, with a flush every so many bytes.
    Flate2 {
        level: u32,
        flush: FlushCompress,
        every: usize,
    },
    /// zlib-rs in one go. A small `mem_level` gives small blocks.
    ZlibRs {
        level: i32,
        strategy: ZlibStrategy,
        mem_level: i32,
        window_bits: i32,
    },
    Miniz {
        level: i32,
        strategy: i32,
        flush: TDEFLFlush,
        every: usize,
    },
    Zopfli {
        iterations: u64,
    },
    Libdeflate {
        level: i32,
    },
    /// Blocks of these kinds and lengths, one after the other.
    Handmade {
        blocks: Vec<(Kind, usize)>,
    },
}

impl Encoder {
    pub fn member(&self, plain: &[u8]) -> Vec<u8> {
        deflater::wrap(&self.deflate(plain), plain)
    }

    fn deflate(&self, plain: &[u8]) -> Vec<u8> {
        match self {
            Encoder::Flate2 {
                level,
                flush,
                every,
            } => {
                let mut compress = Compress::new(Compression::new(*level), false);
                let room = plain.len() * 2 + plain.len() / every * 20 + 100_000;
                let mut out = Vec::with_capacity(room);
                for piece in plain.chunks(*every) {
                    compress.compress_vec(piece, &mut out, *flush).unwrap();
                }
                compress
                    .compress_vec(&[], &mut out, FlushCompress::Finish)
                    .unwrap();
                assert_eq!(compress.total_in(), plain.len() as u64);
                out
            }
            Encoder::ZlibRs {
                level,
                strategy,
                mem_level,
                window_bits,
            } => {
                let config = DeflateConfig {
                    level: *level,
                    window_bits: -window_bits,
                    mem_level: *mem_level,
                    strategy: *strategy,
                    ..DeflateConfig::default()
                };
                let mut out = vec![0; plain.len() * 2 + 100_000];
                let (out, status) = compress_slice(&mut out, plain, config);
                assert_eq!(status, zlib_rs::ReturnCode::Ok);
                out.to_vec()
            }
            Encoder::Miniz {
                level,
                strategy,
                flush,
                every,
            } => {
                let flags = create_comp_flags_from_zip_params(*level, -15, *strategy);
                let mut compress = CompressorOxide::new(flags);
                let mut out = Vec::new();
                let mut push = |piece: &[u8], flush| {
                    compress_to_output(&mut compress, piece, flush, |bytes| {
                        out.extend_from_slice(bytes);
                        true
                    })
                };
                for piece in plain.chunks(*every) {
                    assert_eq!(push(piece, *flush), (TDEFLStatus::Okay, piece.len()));
                }
                assert_eq!(push(&[], TDEFLFlush::Finish).0, TDEFLStatus::Done);
                out
            }
            Encoder::Zopfli { iterations } => {
                let options = zopfli::Options {
                    iteration_count: NonZeroU64::new(*iterations).unwrap(),
                    ..zopfli::Options::default()
                };
                let mut out = Vec::new();
                zopfli::compress(options, zopfli::Format::Deflate, plain, &mut out).unwrap();
                out
            }
            Encoder::Libdeflate { level } => {
                let level = libdeflater::CompressionLvl::new(*level).unwrap();
                let mut compressor = libdeflater::Compressor::new(level);
                let mut out = vec![0; compressor.deflate_compress_bound(plain.len())];
                let length = compressor.deflate_compress(plain, &mut out).unwrap();
                out.truncate(length);
                out
            }
            Encoder::Handmade { blocks } => {
                let mut rest = plain;
                let mut parts = Vec::new();
                // Empty blocks alone would never come to the end.
                let all_are_empty = blocks.iter().all(|(_, length)| *length == 0);
                let least = if all_are_empty { 1_000 } else { 0 };
                for (kind, length) in blocks.iter().cycle() {
                    let (part, later) = rest.split_at(rest.len().min(least.max(*length)));
                    parts.push((*kind, part));
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                deflater::deflate(&parts)
            }
        }
    }
}

fn encoder() -> impl Strategy<Value = Encoder> {
    let every = || prop_oneof![1 => 20_usize..400, 3 => 1_000_usize..200_000];
    let flush = select(vec![
        FlushCompress::None,
        FlushCompress::Partial,
        FlushCompress::Sync,
        FlushCompress::Full,
    ]);
    let strategy = select(vec![
        ZlibStrategy::Default,
        ZlibStrategy::Filtered,
        ZlibStrategy::HuffmanOnly,
        ZlibStrategy::Rle,
        ZlibStrategy::Fixed,
    ]);
    let miniz_flush = select(vec![TDEFLFlush::None, TDEFLFlush::Sync, TDEFLFlush::Full]);
    let kind = select(vec![
        Kind::Stored,
        Kind::Literals,
        Kind::Far,
        Kind::Far,
        Kind::Near,
        Kind::Near,
    ]);
    let length = prop_oneof![
        1 => 0_usize..40,
        3 => 1_000_usize..20_000,
        2 => 32_700_usize..32_800,
        1 => 100_000_usize..200_000,
    ];
    prop_oneof![
        3 => (0_u32..10, flush, every())
            .prop_map(|(level, flush, every)| Encoder::Flate2 { level, flush, every }),
        3 => (0_i32..10, strategy, 1_i32..10, 9_i32..16).prop_map(
            |(level, strategy, mem_level, window_bits)| Encoder::ZlibRs {
                level,
                strategy,
                mem_level,
                window_bits,
            }
        ),
        2 => (0_i32..11, 0_i32..5, miniz_flush, every()).prop_map(
            |(level, strategy, flush, every)| Encoder::Miniz { level, strategy, flush, every }
        ),
        2 => (0_i32..13).prop_map(|level| Encoder::Libdeflate { level }),
        3 => prop::collection::vec((kind, length), 1..12)
            .prop_map(|blocks| Encoder::Handmade { blocks }),
    ]
}

/// An object of members: where each ends, and who compresses it in turn.
#[derive(Clone, Debug)]
pub struct Layout {
    cuts: Vec<Index>,
    encoders: Vec<Encoder>,
    padding: usize,
}

impl Layout {
    pub fn object(&self, plain: &[u8]) -> Vec<u8> {
        let mut cuts: Vec<usize> = self
            .cuts
            .iter()
            .map(|cut| cut.index(plain.len() + 1))
            .chain([0, plain.len()])
            .collect();
        cuts.sort_unstable();
        let members = cuts.windows(2).zip(self.encoders.iter().cycle());
        let mut object: Vec<u8> = members
            .flat_map(|(cut, encoder)| encoder.member(&plain[cut[0]..cut[1]]))
            .collect();
        object.extend(vec![0; self.padding]);
        object
    }
}

pub fn layout() -> impl Strategy<Value = Layout> {
    (
        prop_oneof![
            3 => prop::collection::vec(any::<Index>(), 0..1),
            2 => prop::collection::vec(any::<Index>(), 1..6),
            // Twice the same place is an empty member.
            1 => any::<Index>().prop_map(|cut| vec![cut, cut]),
        ],
        prop::collection::vec(encoder(), 1..4),
        prop_oneof![3 => Just(0_usize), 1 => 1_usize..600],
    )
        .prop_map(|(cuts, encoders, padding)| Layout {
            cuts,
            encoders,
            padding,
        })
}

/// How the object is assembled.
pub fn case() -> impl Strategy<Value = Case<'static>> {
    (
        any::<bool>(),
        prop_oneof![200_usize..5_000, 5_000_usize..800_000],
        prop_oneof![100_usize..3_000, 3_000_usize..200_000],
        1_u32..10,
        prop_oneof![1 => 1_usize..100, 4 => 100_usize..100_000],
    )
        .prop_map(
            |(is_json, batch_bytes_max, record_bytes_max, level, step)| Case {
                input: &[],
                shape: if is_json {
                    json_only()
                } else {
                    Shape::default()
                },
                batch_bytes_max,
                record_bytes_max: record_bytes_max.min(batch_bytes_max),
                level,
                step,
                checkpoint: Checkpoint::default(),
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_the_encoder_the_batches_are_the_same_either_way(
        log in log(1..400_000),
        layout in layout(),
        case in case(),
        done in prop::collection::vec((0_u64..4_000, 1_u64..200), 0..3),
        from_checkpoint in prop::bool::weighted(0.2),
    ) {
        let plain = log.plain();
        prop_assume!(!plain.starts_with(b"\x1f\x8b"));
        let object = layout.object(&plain);
        let mut case = Case { input: &object, ..case };
        let outcome = case.check();
        let end = outcome.end.clone().expect("a whole object");
        prop_assert_eq!(end.offset, plain.len() as u64);
        prop_assert_eq!(end.record, lines_of(&plain).count() as u64);
        case.check_lines(&outcome, &plain);

        if from_checkpoint && let Some(batch) = outcome.copied.get(outcome.copied.len() / 2) {
            case.checkpoint.position = batch.start;
            for (start, length) in done {
                case.checkpoint.accepted.insert(start..start + length);
            }
            prop_assert_eq!(case.check().end, Ok(end));
        }
    }

    #[test]
    fn damage_is_found_either_way_and_what_came_before_it_is_the_same(
        log in log(1..200_000),
        layout in layout(),
        case in case(),
        at in any::<Index>(),
        flip in prop::option::of(0_u8..8),
    ) {
        let plain = log.plain();
        let mut object = layout.object(&plain);
        let at = at.index(object.len());
        match flip {
            Some(bit) => object[at] ^= 1 << bit,
            None => object.truncate(at),
        }
        let case = Case { input: &object, ..case };
        let outcome = case.check();
        if flip.is_none() && layout.padding == 0 && at > 1 && at < object.len() {
            let is_truncated = matches!(outcome.end, Err(DecodeError::Truncated { .. }));
            prop_assert!(is_truncated, "at {} of {}", at, layout.padding);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_zopfli_wrote_is_the_same_either_way(
        log in log(1..60_000),
        iterations in 1_u64..3,
        case in case(),
    ) {
        let plain = log.plain();
        let object = Encoder::Zopfli { iterations }.member(&plain);
        let case = Case { input: &object, ..case };
        let outcome = case.check();
        case.check_lines(&outcome, &plain);
    }
}

fn plain_case(input: &[u8]) -> Case<'_> {
    Case {
        input,
        shape: Shape::default(),
        batch_bytes_max: 3 << 20,
        record_bytes_max: 1 << 20,
        level: 1,
        step: 65_536,
        checkpoint: Checkpoint::default(),
    }
}

pub fn ordinary(bytes: usize) -> Vec<u8> {
    let log = Log {
        seed: 7,
        bytes,
        odd_one_in: 0,
        starts_with_mark: false,
        ends: true,
    };
    log.plain()
}

/// Bytes of the bodies over bytes of the object, and the same where everything is compressed again.
fn carried(encoder: &Encoder, plain: &[u8]) -> (f64, f64) {
    let object = encoder.member(plain);
    let outcome = plain_case(&object).check();
    assert_eq!(outcome.plain(), plain);
    let over = |bytes: usize| bytes as f64 / object.len() as f64;
    (
        over(Outcome::body_bytes(&outcome.copied)),
        over(Outcome::body_bytes(&outcome.compressed)),
    )
}

#[test]
fn blocks_of_every_encoder_are_copied() {
    let plain = ordinary(6 << 20);
    let encoders = [
        Encoder::Flate2 {
            level: 9,
            flush: FlushCompress::None,
            every: 1 << 20,
        },
        Encoder::Flate2 {
            level: 9,
            flush: FlushCompress::Sync,
            every: 100_000,
        },
        Encoder::Miniz {
            level: 9,
            strategy: 0,
            flush: TDEFLFlush::None,
            every: 1 << 20,
        },
        Encoder::Libdeflate { level: 12 },
    ];
    for encoder in encoders {
        let (copied, compressed) = carried(&encoder, &plain);
        assert!(copied < 1.12, "{encoder:?}: {copied}");
        assert!(compressed > 1.2, "{encoder:?}: {compressed}");
    }
}

#[test]
fn stored_blocks_and_blocks_too_large_are_compressed_again() {
    let plain = ordinary(5 << 20);
    for blocks in [
        vec![(Kind::Stored, 30_000)],
        vec![(Kind::Near, 5 << 20)],
        vec![(Kind::Near, (5 << 19) + 1_000)],
    ] {
        let object = Encoder::Handmade { blocks }.member(&plain);
        let outcome = plain_case(&object).check();
        assert_eq!(outcome.plain(), plain);
        let [copied, compressed] =
            [&outcome.copied, &outcome.compressed].map(|batches| Outcome::body_bytes(batches));
        // Not quite the same: what is compressed is written in other pieces.
        assert!(copied.abs_diff(compressed) < compressed / 100);
    }
}

#[test]
fn a_block_of_just_the_largest_size_is_cut_alike_in_any_pieces() {
    let plain = ordinary(5 << 20);
    for length in [(2 << 20) - 1, 2 << 20, (2 << 20) + 1] {
        let blocks = vec![(Kind::Near, length)];
        let object = Encoder::Handmade { blocks }.member(&plain);
        let assemble = |step| {
            let case = Case {
                step,
                batch_bytes_max: 9 << 20,
                ..plain_case(&object)
            };
            case.assemble(true)
        };
        let whole = assemble(object.len());
        for step in [1, 17, 65_536] {
            assert!(assemble(step) == whole, "{length} in steps of {step}");
        }
    }
}

#[test]
fn lines_that_vanish_over_the_edge_of_a_block_leave_nothing_behind() {
    let first = ordinary(50_000);
    for vanishing in [&b"\r\n"[..], b"\xef\xbb\xbf\n", b"\xef\xbb\xbf\r\n"] {
        for at in 0..=vanishing.len() {
            let lines = ordinary(40_000);
            let plain = match vanishing[0] {
                b'\r' => [&first, vanishing, &lines].concat(),
                _ => [vanishing, &lines].concat(),
            };
            let cut = plain.len() - lines.len() - vanishing.len() + at;
            let parts = [(Kind::Near, &plain[..cut]), (Kind::Near, &plain[cut..])];
            let object = deflater::member(&parts);
            let outcome = plain_case(&object).check();
            plain_case(&object).check_lines(&outcome, &plain);
        }
    }
}

#[test]
fn a_body_is_never_much_larger_than_what_it_inflates_to() {
    let plain = ordinary(100_000);
    for length in [1, 2, 7, 100] {
        for kinds in [
            [Kind::Literals, Kind::Literals],
            [Kind::Literals, Kind::Stored],
        ] {
            let blocks = kinds.map(|kind| (kind, length)).to_vec();
            let object = Encoder::Handmade { blocks }.member(&plain);
            let outcome = plain_case(&object).check();
            assert_eq!(outcome.plain(), plain);
        }
    }
}

#[test]
fn blocks_that_take_more_than_they_hold_are_not_copied_in_part_either() {
    // The fixed codes have nine bits for each of these.
    let plain = "\u{e9}\u{e9}\u{e9}\u{e9}\n".repeat(50_000);
    let blocks = vec![(Kind::Literals, 60_000)];
    let object = Encoder::Handmade { blocks }.member(plain.as_bytes());
    let outcome = plain_case(&object).check();
    assert_eq!(outcome.plain(), plain.as_bytes());
    assert!(Outcome::body_bytes(&outcome.copied) < plain.len() / 10);
}
