//! What editing records costs before they are compressed, beside what they take to inflate.

use std::hint::black_box;

use bucket_brigade::pattern::Pattern;
use bucket_brigade::records::LineSplitter;
use bucket_brigade::shape::spec::{
    Condition, FieldPath, Redaction, ShapeSpec, SourceValue, TimeFormat, TimePlace, TimeSource,
    TimestampSpec, TimestampWhen,
};
use bucket_brigade::shape::{ObjectFacts, Scratch, Shape, Shaped, is_text};

use super::{PIECE_BYTES, inflated, median};

/// Prints a row for each typical shape. `object` is NDJSON as Cloudflare writes it, as gzip.
pub fn run(object: &[u8], plain: &[u8]) {
    println!(
        "\n{:<58} {:>7} {:>8} {:>8} {:>10}",
        "records edited, before compression", "MiB/s", "memcpy", "inflate", "serde_json"
    );
    let mut copied = vec![0; PIECE_BYTES];
    let memcpy = median(|| {
        for piece in plain.chunks(PIECE_BYTES) {
            copied[..piece.len()].copy_from_slice(piece);
            black_box(&mut copied);
        }
    });
    let inflate = median(|| assert_eq!(inflated(object), plain.len()));
    let mut out = Vec::new();
    let serde_json = median(|| {
        for line in plain
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            out.clear();
            serde_json::to_writer(&mut out, &value).expect("memory takes every byte");
            black_box(&mut out);
        }
    });
    let mut rows = vec![
        ("memcpy", memcpy),
        ("inflate", inflate),
        ("serde_json: parse and write every record", serde_json),
    ];
    for (name, spec) in shapes() {
        let shape = Shape {
            json_only: true,
            record_bytes_max: Some(500_000),
            field_chars_max: Some(32_700),
            ..Shape::default()
        };
        let shape = shape.editing(spec.for_object(&ObjectFacts {
            bucket: "bucket",
            key: "logs/20260314/object.log.gz",
            etag: "etag",
            ..ObjectFacts::default()
        }));
        rows.push((name, median(|| assert!(shaped(plain, &shape) > 0))));
    }
    for (name, time) in rows {
        let times = |other: std::time::Duration| other.as_secs_f64() / time.as_secs_f64();
        let speed = plain.len() as f64 / (1 << 20) as f64 / time.as_secs_f64();
        println!(
            "{name:<58} {speed:>7.0} {:>8.2} {:>8.2} {:>10.1}",
            times(memcpy),
            times(inflate),
            times(serde_json)
        );
    }
}

fn shapes() -> Vec<(&'static str, ShapeSpec)> {
    let timestamp = TimestampSpec {
        when: TimestampWhen::Always,
        from: Some(TimeSource {
            place: TimePlace::Fields(vec![FieldPath(vec!["EdgeStartTimestamp".to_owned()])]),
            format: TimeFormat::Auto,
        }),
    };
    let named = |value, name: &str| (value, name.to_owned());
    let source = vec![
        named(SourceValue::Bucket, "s3_bucket"),
        named(SourceValue::Key, "s3_key"),
        named(SourceValue::Index, "s3_record_index"),
    ];
    let pattern = |text| Pattern::new(text).expect("a pattern");
    vec![
        ("unchanged", ShapeSpec::default()),
        (
            "@timestamp and source fields",
            ShapeSpec {
                timestamp: timestamp.clone(),
                source: source.clone(),
                ..ShapeSpec::default()
            },
        ),
        (
            "the same and a record id",
            ShapeSpec {
                timestamp,
                source: [source, vec![named(SourceValue::Id, "s3_record_id")]].concat(),
                ..ShapeSpec::default()
            },
        ),
        (
            "a dropped field",
            ShapeSpec {
                drop_fields: vec![FieldPath(vec!["ClientIP".to_owned()])],
                ..ShapeSpec::default()
            },
        ),
        (
            "an exclude on a field",
            ShapeSpec {
                exclude: vec![Condition {
                    field: Some(FieldPath(vec!["EdgeResponseStatus".to_owned()])),
                    pattern: pattern("^404$"),
                }],
                ..ShapeSpec::default()
            },
        ),
        (
            "e-mail and card numbers redacted",
            ShapeSpec {
                redact: vec![Redaction::Email, Redaction::CardNumber],
                ..ShapeSpec::default()
            },
        ),
        (
            "IP addresses redacted",
            ShapeSpec {
                redact: vec![Redaction::IpAddress],
                ..ShapeSpec::default()
            },
        ),
    ]
}

/// Splits and shapes; how many bytes would leave.
fn shaped(plain: &[u8], shape: &Shape) -> usize {
    let mut splitter = LineSplitter::new(1 << 20);
    let mut scratch = Scratch::default();
    let mut bytes = 0;
    for mut piece in plain.chunks(PIECE_BYTES) {
        let is_text = is_text(piece);
        while let Some(record) = splitter.pop(&mut piece) {
            bytes += match shape.shape(&record, is_text, &mut scratch) {
                Shaped::Unchanged(out) | Shaped::Edited(out) | Shaped::Cut(out) => {
                    black_box(out).len()
                }
                Shaped::TooLong | Shaped::Filtered => 0,
            };
        }
    }
    bytes
}
