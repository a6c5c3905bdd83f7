//! Bounds from below: inflating an object and nothing else, and filling bodies with it at a level.

use std::path::PathBuf;

use bucket_brigade::assemble::{Assembler, Limits};
use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::shape::spec::{FieldValue, ShapeSpec};
use bucket_brigade::shape::{ObjectFacts, SOURCE_FIELD, Shape};
use flate2::{Decompress, FlushDecompress, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Outcome;

#[derive(Deserialize)]
pub struct Inflate {
    /// One gzip member, in a file.
    file: PathBuf,
}

/// zlib-rs alone, with the CRC that a gzip member is checked by.
pub fn inflate(input: &Inflate) -> Outcome<Value> {
    let object = std::fs::read(&input.file)?;
    let mut inflater = Decompress::new_gzip(15);
    let mut plain = vec![0; 64 * 1024];
    loop {
        let taken = usize::try_from(inflater.total_in())?;
        let status = inflater.decompress(&object[taken..], &mut plain, FlushDecompress::None)?;
        std::hint::black_box(&plain);
        if status == Status::StreamEnd {
            break;
        }
    }
    Ok(json!({ "plain_bytes": inflater.total_out() }))
}

#[derive(Deserialize)]
pub struct Recode {
    file: PathBuf,
    level: u32,
    /// The source field to add, if any; lines that are not JSON become a `message` either way.
    source: Option<String>,
}

/// The product's own way from an object to bodies whose records all change.
pub fn recode(input: &Recode) -> Outcome<Value> {
    let object = std::fs::read(&input.file)?;
    let limits = Limits {
        batch_bytes_max: 8 << 20,
        record_bytes_max: 1 << 20,
        level: input.level,
        pass_through: true,
    };
    let shape = Shape {
        json_only: true,
        record_bytes_max: Some(500_000),
        field_chars_max: Some(32_700),
        ..Shape::default()
    };
    let field = |source: &String| {
        let json = FieldValue::Json(json!(source).to_string());
        (SOURCE_FIELD.to_owned(), json)
    };
    let spec = ShapeSpec {
        fields: input.source.iter().map(field).collect(),
        ..ShapeSpec::default()
    };
    let shape = shape.editing(spec.for_object(&ObjectFacts::default()));
    let mut assembler = Assembler::new(limits, shape, &Checkpoint::default());
    let (mut rest, mut body_bytes, mut requests) = (&object[..], 0, 0_u64);
    let mut keep = |body: bytes::Bytes| {
        body_bytes += body.len();
        requests += 1;
    };
    loop {
        let taken = assembler.push(rest)?;
        rest = &rest[taken..];
        let Some(batch) = assembler.pop() else {
            break;
        };
        keep(batch.body.gzip);
    }
    assembler.finish()?;
    while let Some(batch) = assembler.pop() {
        keep(batch.body.gzip);
    }
    Ok(json!({ "body_bytes": body_bytes, "requests": requests }))
}
