//! What editing records costs before they are compressed, beside what they take to inflate.

use bucket_brigade::format::Container;
use bucket_brigade::pattern::Pattern;
use bucket_brigade::shape::ObjectFacts;
use bucket_brigade::shape::spec::{
    Condition, FieldPath, Redaction, ShapeSpec, SourceValue, TimeFormat, TimePlace, TimeSource,
    TimestampSpec, TimestampWhen,
};

use super::containers::shaped;
use super::table::{Yardsticks, head};
use super::{logzio, median};

/// Prints a row for each typical shape. `object` is NDJSON as Cloudflare writes it, as gzip.
pub fn run(object: &[u8], plain: &[u8]) {
    head("records edited, before compression");
    let yardsticks = Yardsticks::measure(plain, object, plain);
    yardsticks.print();
    for (name, spec) in shapes() {
        let shape = logzio().editing(spec.for_object(&ObjectFacts {
            bucket: "bucket",
            key: "logs/20260314/object.log.gz",
            etag: "etag",
            ..ObjectFacts::default()
        }));
        let time = median(|| {
            let mut bytes = 0;
            shaped(&Container::Lines, plain, &shape, |out| bytes += out.len());
            assert!(bytes > 0);
        });
        yardsticks.row(name, time);
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
