//! What is kept in quarantine: the names and the text of its entries.
//!
//! Names are a function of what is kept, so keeping the same thing twice is one thing:
//! `records/BUCKET/CONTENT/INDEX.ndjson` for refused records, `cut/…` for the originals of records
//! that were cut, `objects/BUCKET/CONTENT.json` for an object, by reference. CONTENT is a hash of key,
//! entity tag and size, because a key may be as long as S3 allows any name to be; INDEX is that of the
//! first record in it.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::checkpoint::{Account, Position};
use crate::failure::Failure;
use crate::object::ContentId;

/// One kept record: a line of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord<'a> {
    pub reason: &'a str,
    pub position: Position,
    /// Bytes of the record, of which `bytes` may hold only the first.
    pub length: u64,
    pub bytes: &'a [u8],
}

#[derive(Serialize)]
struct RecordLine<'a> {
    reason: &'a str,
    source: &'a ContentId,
    record: u64,
    offset: u64,
    length: u64,
    /// The record, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The record in hexadecimal digits, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

#[derive(Serialize)]
struct ObjectEntry<'a> {
    reason: &'a str,
    detail: &'a str,
    source: &'a ContentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Plain bytes that were read before the damage.
    offset: u64,
    account: &'a Account,
}

/// Bytes of an entry before they are escaped: it is built in memory, and read by a person. More records
/// make another entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// What stands around each record in an entry, beside its bucket and key.
const LINE_BYTES: usize = 256;

/// How many of `records` make one entry: at least one of them.
pub fn entry_records(content: &ContentId, records: &[KeptRecord<'_>]) -> usize {
    let around = LINE_BYTES + content.bucket.len() + content.key.len();
    let mut bytes = 0;
    let fit = records.iter().take_while(|record| {
        bytes += around + record.bytes.len();
        bytes <= ENTRY_BYTES_MAX
    });
    fit.count().max(1)
}

/// The name and the text of an entry for refused records (`folder` is `records`) or for the originals of
/// cut ones (`cut`). `records` is not empty.
pub fn records_entry(
    folder: &str,
    content: &ContentId,
    records: &[KeptRecord<'_>],
) -> (String, Bytes) {
    let first = records.first().map_or(0, |record| record.position.record);
    let name = format!(
        "{folder}/{}/{}/{first:012}.ndjson",
        content.bucket,
        content_hash(content)
    );
    let mut text = String::new();
    for record in records {
        let as_text = std::str::from_utf8(record.bytes).ok();
        text.push_str(&json(&RecordLine {
            reason: record.reason,
            source: content,
            record: record.position.record,
            offset: record.position.offset,
            length: record.length,
            text: as_text,
            hex: as_text.is_none().then(|| hex(record.bytes)),
        }));
        text.push('\n');
    }
    (name, Bytes::from(text))
}

/// The name and the text of the entry for an object.
pub fn object_entry(
    content: &ContentId,
    version: Option<&str>,
    failure: &Failure,
    offset: u64,
    account: &Account,
) -> (String, Bytes) {
    let name = format!("objects/{}/{}.json", content.bucket, content_hash(content));
    let mut text = json(&ObjectEntry {
        reason: failure.kind.name(),
        detail: &failure.detail,
        source: content,
        version,
        offset,
        account,
    });
    text.push('\n');
    (name, Bytes::from(text))
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("structs of strings and numbers always serialize")
}

/// 128 bits of SHA-256 over key, entity tag and size.
fn content_hash(content: &ContentId) -> String {
    let mut hash = Sha256::new();
    hash.update(content.key.as_bytes());
    hash.update([0]);
    hash.update(content.etag.as_str().as_bytes());
    hash.update([0]);
    hash.update(content.size.to_be_bytes());
    hex(&hash.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
