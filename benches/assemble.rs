//! What turning an object into batches costs, beside inflating it: `make bench`.
//!
//! It prints medians of several rounds and, for each stage, how many times the inflating of the same
//! object it takes in the same run. Then what splitting JSON costs, beside copying the same bytes, inflating them
//! from `gzip -6`, and parsing and writing every record with serde_json. Absolute speeds are this machine's; the
//! ratios are ours.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bucket_brigade::assemble::{Assembler, BLOCK_BYTES_MAX, Limits};
use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::decode::Decoder;
use bucket_brigade::records::{
    ArraySplitter, Dialect, Form, Header, LineSplitter, RECORD_MEMBERS, Record, RowFormat,
    RowSplitter, SubscriptionSplitter, ValueSplitter, json, tables,
};
use bucket_brigade::shape::spec::{ShapeSpec, SourceValue};
use bucket_brigade::shape::{ObjectFacts, SOURCE_FIELD, Shape};

#[path = "../tests/it/cloudflare.rs"]
mod cloudflare;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../tests/it/cloudtrail.rs"]
mod cloudtrail;
#[path = "assemble/shapes.rs"]
mod shapes;

const PLAIN_BYTES: usize = 200 << 20;
const JSON_BYTES: usize = 100 << 20;
/// As the decoder gives them.
const PIECE_BYTES: usize = 64 << 10;
const ROUNDS: usize = 5;

fn main() {
    stages();
    json_containers();
}

fn stages() {
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
    let mut plain = Vec::with_capacity(PLAIN_BYTES);
    decode(&object, |piece| plain.extend_from_slice(piece));
    shapes::run(&object, &plain);
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
        let split = median(|| {
            assert!(split_rows(RowSplitter::new(format.clone(), 1 << 20), &text) > 0);
        });
        let json = median(|| {
            assert!(rows_to_json(RowSplitter::new(format.clone(), 1 << 20), &text) > text.len());
        });
        for (stage, time) in [("rows", split), ("rows, JSON", json)] {
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

fn json_containers() {
    let events = events();
    println!("\n{:<66}  times the speed of", "");
    println!(
        "{:<58} {:>7} {:>8} {:>8} {:>10}",
        "JSON, plain bytes in pieces of 64 KiB", "MiB/s", "memcpy", "inflate", "serde_json"
    );
    let count = events.len() as u64;
    let document = format!(
        "{}{}{}",
        cloudtrail::OPENING,
        events.join(","),
        cloudtrail::CLOSING
    );
    container(&Container {
        name: "array: CloudTrail",
        plain: document.as_bytes(),
        count,
        split: &split_array,
    });
    drop(document);
    let values = events.concat();
    container(&Container {
        name: "values: the same without commas",
        plain: values.as_bytes(),
        count,
        split: &split_values,
    });
    drop(values);
    let documents = subscription(&events);
    container(&Container {
        name: "subscription: the same as escaped messages",
        plain: documents.as_bytes(),
        count,
        split: &split_subscription,
    });
}

/// Events of CloudTrail, together [`JSON_BYTES`].
fn events() -> Vec<String> {
    let (mut events, mut event) = (cloudtrail::Events::default(), String::new());
    let (mut all, mut bytes) = (Vec::new(), 0);
    while bytes < JSON_BYTES {
        events.next(&mut event);
        bytes += event.len();
        all.push(event.trim_start_matches(',').to_owned());
    }
    all
}

/// As CloudWatch Logs would send them, 50 a document.
fn subscription(events: &[String]) -> String {
    let mut documents = String::new();
    for some in events.chunks(50) {
        documents.push_str(
            r#"{"messageType":"DATA_MESSAGE","owner":"123456789010","logGroup":"trail","logStream":"123456789010_CloudTrail_eu-west-1","subscriptionFilters":["all"],"logEvents":["#,
        );
        for (index, event) in some.iter().enumerate() {
            let message = serde_json::Value::from(event.as_str());
            let comma = if index == 0 { "" } else { "," };
            documents.push_str(&format!(
                r#"{comma}{{"id":"{index:056}","timestamp":1773478800000,"message":{message}}}"#
            ));
        }
        documents.push_str("]}");
    }
    documents
}

type Each<'e> = &'e mut dyn FnMut(&Record<'_>);

struct Container<'c> {
    name: &'c str,
    plain: &'c [u8],
    count: u64,
    split: &'c dyn Fn(&[u8], Each<'_>),
}

fn container(container: &Container<'_>) {
    let Container { plain, split, .. } = container;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(plain).expect("memory takes every byte");
    let object = gzip.finish().expect("memory takes every byte");

    let mut copied = vec![0; PIECE_BYTES];
    let memcpy = median(|| {
        for piece in plain.chunks(PIECE_BYTES) {
            copied[..piece.len()].copy_from_slice(piece);
            black_box(&mut copied);
        }
    });
    let inflate = median(|| assert_eq!(inflated(&object), plain.len()));
    let split_alone = median(|| {
        let mut count = 0;
        split(plain, &mut |record| {
            black_box(record);
            count += 1;
        });
        assert_eq!(count, container.count);
    });
    let members = median(|| {
        let mut last = 0;
        split(plain, &mut |record| {
            let ends = json::members(record.bytes).map(|member| member.expect("whole").end);
            last = last.max(ends.sum());
        });
        assert!(last > 0);
    });
    let mut out = Vec::new();
    let written = median(|| {
        split(plain, &mut |record| {
            out.clear();
            if let Form::Event(group) = record.form {
                group.render(record.bytes, &mut out);
            } else {
                json::minify(record.bytes, &mut out);
            }
            black_box(&mut out);
        });
    });
    let serde_json = median(|| {
        split(plain, &mut |record| {
            let value: serde_json::Value = serde_json::from_slice(record.bytes).expect("JSON");
            out.clear();
            serde_json::to_writer(&mut out, &value).expect("memory takes every byte");
            black_box(&mut out);
        });
    });
    println!(
        "{}: {} MiB plain, {:.1} MiB gzip -6, {} records",
        container.name,
        plain.len() >> 20,
        object.len() as f64 / (1 << 20) as f64,
        container.count
    );
    for (stage, time) in [
        ("  memcpy", memcpy),
        ("  inflate", inflate),
        ("  split", split_alone),
        ("  split, go over the members of every record", members),
        ("  split, write every record on one line", written),
        (
            "  split, parse and write every record with serde_json",
            serde_json,
        ),
    ] {
        let times = |other: Duration| other.as_secs_f64() / time.as_secs_f64();
        let speed = plain.len() as f64 / (1 << 20) as f64 / time.as_secs_f64();
        println!(
            "{stage:<58} {speed:>7.0} {:>8.2} {:>8.2} {:>10.1}",
            times(memcpy),
            times(inflate),
            times(serde_json)
        );
    }
}

macro_rules! split_with {
    ($splitter:expr, $plain:expr, $each:expr) => {{
        let mut splitter = $splitter;
        for mut piece in $plain.chunks(PIECE_BYTES) {
            while let Some(record) = splitter.pop(&mut piece).expect("whole documents") {
                $each(&record);
            }
        }
        assert_eq!(splitter.finish(), Ok(None));
    }};
}

fn split_array(plain: &[u8], each: Each<'_>) {
    let members = RECORD_MEMBERS.map(str::to_owned).to_vec();
    split_with!(ArraySplitter::new(1 << 20, members), plain, each);
}

fn split_values(plain: &[u8], each: Each<'_>) {
    split_with!(ValueSplitter::new(1 << 20), plain, each);
}

fn split_subscription(plain: &[u8], each: Each<'_>) {
    split_with!(SubscriptionSplitter::new(1 << 20), plain, each);
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
