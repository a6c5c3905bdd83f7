//! What turning an object into batches costs, beside inflating it: `make bench`.
//!
//! It prints medians of several rounds and, for each stage, how many times the inflating of the same
//! object it takes in the same run. Then what typical shapes cost, and each container, beside copying the same
//! bytes, inflating them, and parsing and writing every record with serde_json. Absolute speeds are this
//! machine's; the ratios are ours.

use std::time::{Duration, Instant};

use bucket_brigade::assemble::{Assembler, BLOCK_BYTES_MAX, Limits};
use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::decode::Decoder;
use bucket_brigade::records::LineSplitter;
use bucket_brigade::shape::spec::{ShapeSpec, SourceValue};
use bucket_brigade::shape::{ObjectFacts, SOURCE_FIELD, Shape};

#[path = "../tests/it/cloudflare.rs"]
mod cloudflare;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../tests/it/cloudtrail.rs"]
mod cloudtrail;
#[path = "assemble/containers.rs"]
mod containers;
#[path = "assemble/shapes.rs"]
mod shapes;
#[path = "assemble/table.rs"]
mod table;
#[path = "assemble/texts.rs"]
mod texts;

const PLAIN_BYTES: usize = 200 << 20;
/// As the decoder gives them.
const PIECE_BYTES: usize = 64 << 10;
const ROUNDS: usize = 5;

fn main() {
    stages();
    containers::run();
}

fn stages() {
    let (object, records) = cloudflare::cloudflare_like(PLAIN_BYTES);
    println!(
        "object: {} MiB plain, {} MiB gzip, {records} records; median of {ROUNDS} rounds",
        PLAIN_BYTES >> 20,
        object.len() >> 20,
    );
    let shape = logzio();
    let source_field = ShapeSpec {
        source: vec![(SourceValue::ObjectKey, SOURCE_FIELD.to_owned())],
        ..ShapeSpec::default()
    };
    let facts = ObjectFacts {
        bucket: "bucket",
        key: "logs/20260314/object.log.gz",
        ..ObjectFacts::default()
    };
    let with_source = shape.clone().editing(source_field.for_object(&facts));
    let inflate = median(|| assert!(inflated(&object) >= PLAIN_BYTES));
    let split = median(|| assert_eq!(split(&object), records));
    let pass = median(|| assert_eq!(assembled(&object, &shape, true), records));
    let assemble = median(|| assert_eq!(assembled(&object, &shape, false), records));
    let edit = median(|| assert_eq!(assembled(&object, &with_source, false), records));
    for (stage, time) in [
        ("inflate", inflate),
        ("inflate, split", split),
        ("inflate, split, shape, batch, copy", pass),
        ("inflate, split, shape, batch, deflate", assemble),
        ("the same with the source field", edit),
    ] {
        let speed = (PLAIN_BYTES >> 20) as f64 / time.as_secs_f64();
        let ratio = time.as_secs_f64() / inflate.as_secs_f64();
        println!("{stage:<40} {speed:>7.0} MiB/s {ratio:>6.2} x inflate");
    }
    let mut plain = Vec::with_capacity(PLAIN_BYTES);
    decode(&object, |piece| plain.extend_from_slice(piece));
    shapes::run(&object, &plain);
}

/// What Logz.io needs records to be.
fn logzio() -> Shape {
    Shape {
        json_only: true,
        record_bytes_max: Some(500_000),
        field_chars_max: Some(32_700),
        ..Shape::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn median(mut stage: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            stage();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

/// Gives every piece of plain bytes to `each`.
fn decode(object: &[u8], mut each: impl FnMut(&[u8])) {
    let mut decoder = Decoder::new(BLOCK_BYTES_MAX);
    let mut plain = Vec::with_capacity(64 * 1024);
    let mut rest = object;
    loop {
        let step = decoder.push(rest, &mut plain).expect("a whole object");
        rest = &rest[step.taken..];
        if plain.is_empty() && step.taken == 0 && !step.is_block_end {
            break;
        }
        each(&plain);
        plain.clear();
    }
    decoder.finish(&mut plain).expect("a whole object");
}

fn inflated(object: &[u8]) -> usize {
    let mut bytes = 0;
    decode(object, |plain| bytes += plain.len());
    bytes
}

fn split(object: &[u8]) -> u64 {
    let mut splitter = LineSplitter::new(1 << 20);
    decode(
        object,
        |mut plain| {
            while splitter.pop(&mut plain).is_some() {}
        },
    );
    splitter.position().record
}

fn assembled(object: &[u8], shape: &Shape, pass_through: bool) -> u64 {
    let limits = Limits {
        pass_through,
        batch_bytes_max: 8 << 20,
        record_bytes_max: 1 << 20,
        level: 6,
    };
    // As often as with the default of RESTORE_INTERVAL_BYTES.
    let mut assembler =
        Assembler::new(limits, shape.clone(), &Checkpoint::default()).noting_places(8 << 20);
    let (mut rest, mut records) = (object, 0);
    loop {
        let taken = assembler.push(rest).expect("a whole object");
        rest = &rest[taken..];
        let Some(batch) = assembler.pop() else {
            break;
        };
        records += batch.body.records;
    }
    assembler.finish().expect("a whole object");
    let last = std::iter::from_fn(|| assembler.pop()).map(|batch| batch.body.records);
    records + last.sum::<u64>()
}
