//! What turning an object into batches costs, beside inflating it: `make bench`.
//!
//! It prints medians of several rounds and, for each stage, how many times the inflating of the same
//! object it takes in the same run. Absolute speeds are this machine's; the ratios are ours.

use std::time::{Duration, Instant};

use bucket_brigade::assemble::{Assembler, BLOCK_BYTES_MAX, Limits};
use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::decode::Decoder;
use bucket_brigade::records::{
    Dialect, Form, Header, LineSplitter, RowFormat, RowSplitter, tables,
};
use bucket_brigade::shape::spec::{ShapeSpec, SourceValue};
use bucket_brigade::shape::{ObjectFacts, SOURCE_FIELD, Shape};

#[path = "../tests/it/cloudflare.rs"]
mod cloudflare;

const PLAIN_BYTES: usize = 200 << 20;
const ROUNDS: usize = 5;

fn main() {
    let (object, records) = cloudflare::cloudflare_like(PLAIN_BYTES);
    println!(
        "object: {} MiB plain, {} MiB gzip, {records} records; median of {ROUNDS} rounds",
        PLAIN_BYTES >> 20,
        object.len() >> 20,
    );
    let shape = Shape {
        json_only: true,
        record_bytes_max: Some(500_000),
        field_chars_max: Some(32_700),
        ..Shape::default()
    };
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
    rows();
}

/// Splitting delimited text, and making JSON of its rows; nothing is inflated.
fn rows() {
    let vpc =
        b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
        start end action log-status\n";
    let vpc = repeated(vpc, |row| {
        format!(
            "2 123456789012 eni-0050644426037aa0f 10.26.{}.153 3.239.232.{} {} 443 6 48 {} 1669842701 \
             1669842702 ACCEPT OK\n",
            row % 256,
            row / 256 % 256,
            1024 + row % 60_000,
            row * 37,
        )
    });
    let csv = repeated(b"id,time,path,agent,status,text\n", |row| {
        format!(
            "{row},2026-03-14T07:25:11Z,/a/{row},\"Mozilla/5.0 (X11, like \"\"Gecko\"\")\",{},\"a,b\nc\"\n",
            200 + row % 300,
        )
    });
    let csv_format = RowFormat {
        dialect: Dialect::CSV,
        header: Header::FirstLine,
        numbers: Vec::new(),
    };
    for (name, text, format) in [
        ("VPC flow", vpc, tables::vpc_flow()),
        ("CSV with quotes", csv, csv_format),
    ] {
        let lines = median(|| {
            let splitter = RowSplitter::new(format.clone(), 1 << 20).as_lines();
            assert!(split_rows(splitter, &text) > 0);
        });
        let split = median(|| {
            assert!(split_rows(RowSplitter::new(format.clone(), 1 << 20), &text) > 0);
        });
        let json = median(|| {
            assert!(rows_to_json(RowSplitter::new(format.clone(), 1 << 20), &text) > text.len());
        });
        for (stage, time) in [("lines", lines), ("rows", split), ("rows, JSON", json)] {
            let speed = text.len() as f64 / (1 << 20) as f64 / time.as_secs_f64();
            println!("{:<40} {speed:>7.0} MiB/s", format!("{name}: {stage}"));
        }
    }
}

/// 64 MiB of rows after a header.
fn repeated(header: &[u8], row: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = header.to_vec();
    for number in 0.. {
        if text.len() > 64 << 20 {
            break;
        }
        text.extend_from_slice(row(number).as_bytes());
    }
    text
}

fn split_rows(mut splitter: RowSplitter, text: &[u8]) -> u64 {
    for mut piece in text.chunks(64 * 1024) {
        while splitter.pop(&mut piece).expect("rows").is_some() {}
    }
    splitter.position().record
}

fn rows_to_json(mut splitter: RowSplitter, text: &[u8]) -> usize {
    let mut out = Vec::new();
    let mut bytes = 0;
    for mut piece in text.chunks(64 * 1024) {
        while let Some(record) = splitter.pop(&mut piece).expect("rows") {
            let Form::Row(table) = record.form else {
                unreachable!("rows are not asked for as lines");
            };
            assert!(!table.render(record.bytes, &mut out));
            if out.len() > 1 << 20 {
                bytes += out.len();
                out.clear();
            }
        }
    }
    bytes + out.len()
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
