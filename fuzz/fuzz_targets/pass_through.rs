//! Objects of every kind, assembled in both ways: see tests/it/both_ways.rs for what must hold.

#![no_main]

use arbitrary::Arbitrary;
use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::decode::Decoder;
use bucket_brigade::shape::Shape;
use flate2::{Compress, Compression, FlushCompress};
use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/both_ways.rs"]
mod both_ways;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/deflater.rs"]
mod deflater;

use both_ways::{Case, json_only};
use deflater::Kind;

#[derive(Arbitrary, Debug)]
struct Input {
    is_json: bool,
    batch_bytes_max: u32,
    record_bytes_max: u16,
    level: u8,
    step: u16,
    /// Where to go on: after so many batches, without these records.
    batches_done: u8,
    done: Vec<(u8, u8)>,
    object: Object,
    damage: Option<(u16, Option<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Object {
    /// Whatever it is.
    Bytes(Vec<u8>),
    /// Whatever it is, as DEFLATE data with the right trailer.
    Deflated(Vec<u8>),
    Members(Vec<Member>),
}

#[derive(Arbitrary, Debug)]
struct Member {
    pieces: Vec<Piece>,
    encoder: Encoder,
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// A line that differs a little from those before.
    Line(u8),
    /// So many of them.
    Lines(u8),
    Long(u16),
    LineFeed,
    CrLf,
    Cr,
    Mark,
}

#[derive(Arbitrary, Debug)]
enum Encoder {
    Zlib { level: u8, flush: u8, every: u16 },
    Handmade(Vec<(u8, u16)>),
}

impl Member {
    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        let line = |n: u32| format!("{{\"n\":{},\"status\":200,\"path\":\"/{n}\"}}\n", n * 7919);
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => plain.extend_from_slice(bytes),
                Piece::Line(n) => plain.extend(line((*n).into()).bytes()),
                Piece::Lines(count) => {
                    (0..u32::from(*count)).for_each(|n| plain.extend(line(n).bytes()));
                }
                Piece::Long(length) => {
                    plain.extend(b"{\"long\":\"");
                    plain.extend((0..*length).map(|n| b'a' + (n % 19) as u8));
                    plain.extend(b"\"}\n");
                }
                Piece::LineFeed => plain.push(b'\n'),
                Piece::CrLf => plain.extend_from_slice(b"\r\n"),
                Piece::Cr => plain.push(b'\r'),
                Piece::Mark => plain.extend_from_slice(b"\xef\xbb\xbf"),
            }
        }
        plain.truncate(PLAIN_BYTES_MAX);
        plain
    }

    fn deflate(&self, plain: &[u8]) -> Vec<u8> {
        match &self.encoder {
            Encoder::Zlib {
                level,
                flush,
                every,
            } => {
                let flush = [
                    FlushCompress::None,
                    FlushCompress::Partial,
                    FlushCompress::Sync,
                    FlushCompress::Full,
                ][usize::from(flush % 4)];
                let every = usize::from(*every).max(20);
                let level = Compression::new(u32::from(level % 10));
                let mut compress = Compress::new(level, false);
                let mut out = Vec::with_capacity(plain.len() * 2 + 100_000);
                for piece in plain.chunks(every) {
                    compress.compress_vec(piece, &mut out, flush).unwrap();
                }
                compress
                    .compress_vec(&[], &mut out, FlushCompress::Finish)
                    .unwrap();
                out
            }
            Encoder::Handmade(blocks) => {
                let mut rest = plain;
                let mut parts = Vec::new();
                let kinds = [Kind::Stored, Kind::Literals, Kind::Far, Kind::Near];
                for (kind, length) in blocks {
                    let (part, later) = rest.split_at(rest.len().min((*length).into()));
                    parts.push((kinds[usize::from(*kind) % 4], part));
                    rest = later;
                }
                parts.push((Kind::Near, rest));
                deflater::deflate(&parts)
            }
        }
    }
}

const PLAIN_BYTES_MAX: usize = 300_000;

/// Whether what is in an object is taken for compressed once more.
fn is_compressed(plain: &[u8]) -> bool {
    let mut decoder = Decoder::new(1);
    let decoded = decoder.push(plain, &mut Vec::with_capacity(64));
    let ended = decoded.and_then(|_| decoder.finish(&mut Vec::with_capacity(64)));
    ended.is_err() || decoder.layers().next().is_some()
}

fuzz_target!(|input: Input| {
    let (mut object, plain) = match &input.object {
        Object::Bytes(bytes) => (bytes.clone(), None),
        Object::Deflated(deflated) => match decompress_to_vec_with_limit(deflated, PLAIN_BYTES_MAX) {
            Ok(plain) => (deflater::wrap(deflated, &plain), None),
            Err(_) => return,
        },
        Object::Members(members) => {
            let plains: Vec<Vec<u8>> = members.iter().take(4).map(Member::plain).collect();
            let object = members
                .iter()
                .zip(&plains)
                .flat_map(|(member, plain)| deflater::wrap(&member.deflate(plain), plain))
                .collect();
            (object, Some(plains.concat()))
        }
    };
    if let Some((at, flip)) = input.damage
        && !object.is_empty()
    {
        let at = usize::from(at) % object.len();
        match flip {
            Some(bit) => object[at] ^= 1 << (bit % 8),
            None => object.truncate(at),
        }
    }
    let mut case = Case {
        input: &object,
        shape: if input.is_json { json_only() } else { Shape::default() },
        batch_bytes_max: input.batch_bytes_max as usize % 400_000 + 50,
        record_bytes_max: usize::from(input.record_bytes_max) + 1,
        level: u32::from(input.level % 9) + 1,
        step: usize::from(input.step).max(object.len() / 2_000 + 1),
        checkpoint: Checkpoint::default(),
    };
    case.record_bytes_max = case.record_bytes_max.min(case.batch_bytes_max);
    let outcome = case.check();
    if let Some(plain) = plain
        && input.damage.is_none()
        && !is_compressed(&plain)
        && !object.is_empty()
    {
        let end = outcome.end.clone().expect("a whole object");
        assert_eq!(end.offset, plain.len() as u64);
        case.check_lines(&outcome, &plain);
    }
    if let Some(batch) = outcome.copied.get(usize::from(input.batches_done)) {
        case.checkpoint.position = batch.start;
        let mut at = batch.start.record;
        for (after, length) in input.done.iter().take(4) {
            at += u64::from(*after);
            case.checkpoint.accepted.insert(at..at + u64::from(*length) + 1);
        }
        assert_eq!(case.check().end, outcome.end);
    }
});
