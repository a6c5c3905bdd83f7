//! One object assembled in both ways, and everything that must hold between them and of each. Shared with
//! the fuzz target, so it panics where something does not hold.

use std::io::Read as _;

use bucket_brigade::assemble::{Assembler, Limits};
use bucket_brigade::batch::Batch;
use bucket_brigade::body::Body;
use bucket_brigade::checkpoint::{Checkpoint, Position};
use bucket_brigade::decode::DecodeError;
use bucket_brigade::shape::Shape;

/// An object, and how it is to be assembled.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    pub input: &'a [u8],
    pub shape: Shape,
    pub batch_bytes_max: usize,
    pub record_bytes_max: usize,
    pub level: u32,
    /// Bytes of the object that are pushed at a time.
    pub step: usize,
    pub checkpoint: Checkpoint,
}

/// What came of it, in both ways.
#[derive(Debug)]
pub struct Outcome {
    pub copied: Vec<Batch>,
    pub compressed: Vec<Batch>,
    /// What the bodies of either inflate to.
    pub plains: Vec<Vec<u8>>,
    pub end: Result<Position, DecodeError>,
}

impl Outcome {
    pub fn plain(&self) -> Vec<u8> {
        self.plains.concat()
    }

    pub fn body_bytes(batches: &[Batch]) -> usize {
        batches.iter().map(|batch| batch.body.gzip.len()).sum()
    }
}

/// The shape of records for an endpoint that takes JSON objects only, with limits that are soon reached.
pub fn json_only() -> Shape {
    Shape {
        json_only: true,
        record_bytes_max: Some(40_000),
        field_chars_max: Some(2_000),
        ..Shape::default()
    }
}

impl Case<'_> {
    /// Assembles it in both ways, and checks that only the bytes of the bodies differ, that each body is one
    /// gzip member for two decoders, that limits are kept, and that bodies can be joined.
    pub fn check(&self) -> Outcome {
        let (copied, end) = self.assemble(true);
        let (compressed, compressed_end) = self.assemble(false);
        assert_eq!(end, compressed_end);
        assert_eq!(copied.len(), compressed.len(), "batches");
        let mut plains = Vec::new();
        for (at, (copied, compressed)) in copied.iter().zip(&compressed).enumerate() {
            let facts = |batch: &Batch| {
                let Batch {
                    body,
                    sent,
                    offsets,
                    start,
                    end,
                    kept,
                    filtered,
                    restore,
                    read_as,
                } = batch.clone();
                (
                    body.records,
                    body.plain_bytes,
                    sent,
                    offsets,
                    start,
                    end,
                    kept,
                    filtered,
                    (restore, read_as),
                )
            };
            assert_eq!(facts(copied), facts(compressed), "batch {at}");
            let plain = plain_of(&copied.body);
            assert!(plain == plain_of(&compressed.body), "plain of batch {at}");
            self.check_batch(copied, &plain);
            plains.push(plain);
        }
        let ends: Vec<Position> = copied.iter().map(|batch| batch.end).collect();
        let starts: Vec<Position> = copied.iter().skip(1).map(|batch| batch.start).collect();
        assert!(ends.starts_with(&starts), "batches follow one another");
        check_joined(&copied, &plains);
        Outcome {
            copied,
            compressed,
            plains,
            end,
        }
    }

    fn check_batch(&self, batch: &Batch, plain: &[u8]) {
        assert_eq!(batch.body.records, batch.sent.count());
        assert_eq!(batch.body.records, batch.offsets.len() as u64);
        assert_eq!(
            batch.body.records,
            Body::records_of(plain).count() as u64,
            "every record is one line"
        );
        assert!(plain.is_empty() || plain.ends_with(b"\n"));
        let kept: usize = batch.kept.iter().map(|kept| kept.bytes.len()).sum();
        let units = batch.body.records.max(batch.kept.len() as u64);
        assert!(plain.len() + kept <= self.batch_bytes_max || units == 1);
        let gzip_bytes_max = plain.len() + plain.len() / 4 + 1_000;
        assert!(
            batch.body.gzip.len() <= gzip_bytes_max,
            "{} bytes carry {}",
            batch.body.gzip.len(),
            plain.len()
        );
    }

    /// Checks that an object of `plain` became what its lines must, if they may leave as they are.
    pub fn check_lines(&self, outcome: &Outcome, plain: &[u8]) {
        if self.shape.json_only {
            return;
        }
        let fits = |line: &&[u8]| line.len() <= self.record_bytes_max;
        let expected: Vec<u8> = lines_of(plain)
            .filter(fits)
            .flat_map(|line| [line, b"\n"].concat())
            .collect();
        assert!(outcome.plains.concat() == expected, "lines that fit");
        let kept: usize = outcome.copied.iter().map(|batch| batch.kept.len()).sum();
        let too_long = lines_of(plain).filter(|line| !fits(line)).count();
        assert_eq!(kept, too_long, "lines that do not");
    }

    pub fn assemble(&self, pass_through: bool) -> Assembled {
        let limits = Limits {
            batch_bytes_max: self.batch_bytes_max,
            record_bytes_max: self.record_bytes_max,
            level: self.level,
            pass_through,
        };
        let assembler = Assembler::new(limits, self.shape.clone(), &self.checkpoint);
        assemble(assembler, self.input, self.step)
    }
}

/// Batches, and where the records end.
pub type Assembled = (Vec<Batch>, Result<Position, DecodeError>);

/// All that comes of `input` in pieces of `step` bytes.
pub fn assemble(mut assembler: Assembler, input: &[u8], step: usize) -> Assembled {
    let mut batches = Vec::new();
    let pushed = input.chunks(step).try_for_each(|mut piece| {
        loop {
            let taken = assembler.push(piece)?;
            piece = &piece[taken..];
            let before = batches.len();
            batches.extend(std::iter::from_fn(|| assembler.pop()));
            if piece.is_empty() && batches.len() == before {
                return Ok(());
            }
        }
    });
    let end = pushed.and_then(|()| assembler.finish());
    batches.extend(std::iter::from_fn(|| assembler.pop()));
    (batches, end)
}

/// Bodies in one, as small objects share a request: the last one first, since others seldom end with a copied
/// block.
fn check_joined(batches: &[Batch], plains: &[Vec<u8>]) {
    let (batches, plains) = (batches.iter().rev().take(4), plains.iter().rev().take(4));
    let joined = Body::concat(batches.clone().map(|batch| &batch.body));
    let expected: Vec<u8> = plains.flatten().copied().collect();
    assert!(plain_of(&joined) == expected, "joined bodies");
    let records: u64 = batches.map(|batch| batch.body.records).sum();
    assert_eq!(joined.records, records);
}

/// What a body inflates to. It must be exactly one gzip member, for two decoders that share no code with
/// each other: zlib-rs, and miniz_oxide with a check of header and trailer that is written out here.
pub fn plain_of(body: &Body) -> Vec<u8> {
    let gzip: &[u8] = &body.gzip;
    let mut rest = gzip;
    let mut plain = Vec::new();
    flate2::bufread::GzDecoder::new(&mut rest)
        .read_to_end(&mut plain)
        .expect("one gzip member for zlib-rs");
    assert_eq!(rest, b"", "bytes after the member");
    assert_eq!(plain.len() as u64, body.plain_bytes);

    assert_eq!(gzip[..10], *b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    let (deflated, trailer) = gzip[10..].split_at(gzip.len() - 18);
    let (again, taken) = inflate_by_miniz(deflated, plain.len());
    assert_eq!(taken, deflated.len(), "bytes after the last block");
    assert!(again == plain, "two decoders differ");
    assert_eq!(trailer[..4], crc32(&plain).to_le_bytes());
    assert_eq!(trailer[4..], (plain.len() as u32).to_le_bytes());
    plain
}

fn inflate_by_miniz(deflated: &[u8], plain_bytes: usize) -> (Vec<u8>, usize) {
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
    let mut plain = vec![0; plain_bytes];
    let (status, taken, given) = decompress(
        &mut DecompressorOxide::new(),
        deflated,
        &mut plain,
        0,
        inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
    );
    assert_eq!(status, TINFLStatus::Done, "DEFLATE for miniz_oxide");
    assert_eq!(given, plain_bytes);
    (plain, taken)
}

/// CRC-32 as RFC 1952, section 8, computes it.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut c = n as u32;
            let mut k = 0;
            while k < 8 {
                c = if c & 1 == 1 {
                    0xedb8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                };
                k += 1;
            }
            table[n] = c;
            n += 1;
        }
        table
    };
    !bytes
        .iter()
        .fold(!0, |c, byte| TABLE[usize::from(c as u8 ^ byte)] ^ (c >> 8))
}

/// The records of an object of lines.
pub fn lines_of(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    plain
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(plain)
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}
