//! The usual design, without what makes ours slower: no ledger, no account, no second try.
//!
//! It reads an object whole, inflates it, goes through its lines, deflates them into bodies of 10 MB
//! (plain) and posts them one after the other.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use flate2::Compression;
#[expect(
    clippy::disallowed_types,
    reason = "the design that the product is measured against uses it"
)]
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, http_client, post};

/// Just below the 10,485,760 bytes that the Logz.io listener takes.
const BODY_BYTES_MAX: usize = 10_000_000;

#[derive(Deserialize)]
pub struct Input {
    /// Where the objects can be had without a signature.
    objects: Vec<String>,
    endpoint: String,
    level: u32,
    change: Change,
    roots: Option<PathBuf>,
}

/// What happens to a line on its way.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Unchanged,
    /// `{"message": line}`.
    Message,
    /// This JSON string as a field `s3_object_key`, put in front by text: cheaper than the usual way,
    /// which parses every record.
    Source(String),
}

#[expect(
    clippy::disallowed_types,
    reason = "the design that the product is measured against uses it"
)]
pub async fn run(input: Input) -> Outcome<Value> {
    let client = http_client(input.roots.as_ref())?;
    let (mut requests, mut body_bytes) = (0_u64, 0_usize);
    for url in &input.objects {
        let answer = client.get(url).send().await?.error_for_status()?;
        let object = answer.bytes().await?;
        let mut batch = Batch::new(input.level);
        for line in BufReader::new(MultiGzDecoder::new(&object[..])).lines() {
            let line = line?;
            if batch.plain_bytes + line.len() >= BODY_BYTES_MAX {
                let full = std::mem::replace(&mut batch, Batch::new(input.level)).finish()?;
                requests += 1;
                body_bytes += full.len();
                post(&client, &input.endpoint, full).await?;
            }
            batch.push(&line, &input.change)?;
        }
        let last = batch.finish()?;
        requests += 1;
        body_bytes += last.len();
        post(&client, &input.endpoint, last).await?;
    }
    Ok(json!({ "requests": requests, "body_bytes": body_bytes }))
}

struct Batch {
    gzip: GzEncoder<Vec<u8>>,
    plain_bytes: usize,
}

impl Batch {
    fn new(level: u32) -> Self {
        Self {
            gzip: GzEncoder::new(Vec::new(), Compression::new(level)),
            plain_bytes: 0,
        }
    }

    fn push(&mut self, line: &str, change: &Change) -> Outcome<()> {
        self.plain_bytes += line.len() + 1;
        match change {
            Change::Unchanged => self.gzip.write_all(line.as_bytes())?,
            Change::Message => {
                let wrapped = json!({ "message": line }).to_string();
                self.plain_bytes += wrapped.len() - line.len();
                self.gzip.write_all(wrapped.as_bytes())?;
            }
            Change::Source(source) => {
                let rest = line.strip_prefix('{').ok_or("a record is an object")?;
                let field = format!("{{\"s3_object_key\":\"{source}\",");
                self.plain_bytes += field.len() - 1;
                self.gzip.write_all(field.as_bytes())?;
                self.gzip.write_all(rest.as_bytes())?;
            }
        }
        Ok(self.gzip.write_all(b"\n")?)
    }

    fn finish(self) -> Outcome<Vec<u8>> {
        Ok(self.gzip.finish()?)
    }
}
