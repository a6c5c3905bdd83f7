//! What is kept in quarantine: the names and the text of its entries.
//!
//! Names are a function of what is kept, so keeping the same thing twice is one thing:
//! `records/BUCKET/CONTENT/INDEX.ndjson` for refused records, `cut/…` for the originals of records
//! that were cut, `objects/BUCKET/CONTENT.json` for an object, by reference. CONTENT is a hash of key,
//! entity tag and size, because a key may be as long as S3 allows any name to be; INDEX is that of the
//! first record in it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Account, Checkpoint, Position, Ranges};
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
    /// The Logz.io type with which it was sent, or would have been, if it had one of its own.
    pub log_type: Option<&'a str>,
}

/// A line of an entry for records, as it is written and as it is read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLine {
    pub reason: String,
    pub source: ContentId,
    /// Its number in the object.
    pub record: u64,
    /// Plain bytes of the object before it.
    pub offset: u64,
    /// Bytes of the whole record, of which fewer may be kept here.
    pub length: u64,
    /// The Logz.io type with which it was sent, or would have been, if it had one of its own.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub log_type: Option<String>,
    /// The record, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The record in hexadecimal digits, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

impl RecordLine {
    fn new(content: &ContentId, record: &KeptRecord<'_>) -> Self {
        let text = std::str::from_utf8(record.bytes).ok();
        Self {
            reason: record.reason.to_owned(),
            source: content.clone(),
            record: record.position.record,
            offset: record.position.offset,
            length: record.length,
            log_type: record.log_type.map(str::to_owned),
            text: text.map(str::to_owned),
            hex: text.is_none().then(|| hex(record.bytes)),
        }
    }

    /// None if it cannot be read as one.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The bytes of the record that are kept; none if they cannot be read.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.text, &self.hex) {
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(hex)) => unhex(hex),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// As a line of an entry.
    pub fn to_line(&self) -> String {
        format!("{}\n", json(self))
    }
}

/// An entry for an object, as it is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptObject {
    pub reason: String,
    pub source: ContentId,
    pub version: Option<String>,
    /// Where to go on.
    pub checkpoint: Checkpoint,
}

impl KeptObject {
    /// None if it cannot be read as one.
    pub fn parse(entry: &[u8]) -> Option<Self> {
        let entry: ObjectEntry = serde_json::from_slice(entry).ok()?;
        let position = Position {
            offset: entry.offset,
            record: entry.record,
        };
        Some(Self {
            reason: entry.reason,
            source: entry.source,
            version: entry.version,
            checkpoint: Checkpoint {
                position,
                accepted: entry.accepted,
                account: entry.account,
                read_as: entry.read_as,
                // It is large, and without it the object is read from its start.
                restore: None,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ObjectEntry {
    reason: String,
    detail: String,
    source: ContentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Plain bytes that were read before the damage.
    offset: u64,
    /// Records before that place.
    record: u64,
    /// Records behind it that are answered for.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    accepted: Ranges,
    account: Account,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_as: Option<Arc<str>>,
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
    let lines = records
        .iter()
        .map(|record| RecordLine::new(content, record).to_line());
    let text: String = lines.collect();
    (name, Bytes::from(text))
}

/// The name and the text of the entry for an object.
pub fn object_entry(
    content: &ContentId,
    version: Option<&str>,
    failure: &Failure,
    checkpoint: &Checkpoint,
) -> (String, Bytes) {
    let mut text = json(&ObjectEntry {
        reason: failure.kind.name().to_owned(),
        detail: failure.detail.clone(),
        source: content.clone(),
        version: version.map(str::to_owned),
        offset: checkpoint.position.offset,
        record: checkpoint.position.record,
        accepted: checkpoint.accepted.clone(),
        account: checkpoint.account,
        read_as: checkpoint.read_as.clone(),
    });
    text.push('\n');
    (object_entry_name(content), Bytes::from(text))
}

/// The name of the entry for an object.
pub fn object_entry_name(content: &ContentId) -> String {
    format!("objects/{}/{}.json", content.bucket, content_hash(content))
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

/// As hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let &[high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        u8::try_from(digit(high)? * 16 + digit(low)?).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;
    use crate::object::Etag;

    fn content() -> ContentId {
        ContentId {
            bucket: "b".to_owned(),
            key: "logs/a \n\u{e9}.gz".to_owned(),
            etag: Etag::from("e"),
            size: 7,
        }
    }

    #[test]
    fn records_are_read_as_they_were_kept() {
        for bytes in [
            &b"{\"a\":\"\xc3\xa9\"}"[..],
            b"\xff\x00\x80",
            b"\"\\\x01",
            b"",
        ] {
            let kept = KeptRecord {
                reason: "rejected",
                position: Position {
                    offset: 12,
                    record: 3,
                },
                length: 100,
                bytes,
                log_type: None,
            };
            let (_, entry) = records_entry("records", &content(), &[kept.clone(), kept]);
            let lines: Vec<_> = entry.split_inclusive(|byte| *byte == b'\n').collect();
            assert_eq!(lines.len(), 2);
            let line = RecordLine::parse(lines[1]).expect("a line");
            assert_eq!(line.bytes().as_deref(), Some(bytes));
            assert_eq!((line.record, line.offset, line.length), (3, 12, 100));
            assert_eq!(line.source, content());
            assert_eq!(line.to_line().as_bytes(), lines[1]);
        }
    }

    #[test]
    fn an_object_is_read_with_all_that_its_checkpoint_knew() {
        let mut checkpoint = Checkpoint {
            position: Position {
                offset: 900,
                record: 9,
            },
            ..Checkpoint::default()
        };
        checkpoint.accepted.insert(11..14);
        checkpoint.account.records_read = 12;
        checkpoint.account.records_delivered = 12;
        let failure = Failure::new(FailureKind::Archived, "in an archive");
        let (name, entry) = object_entry(&content(), Some("v1"), &failure, &checkpoint);
        assert_eq!(name, object_entry_name(&content()));
        let expected = KeptObject {
            reason: "archived".to_owned(),
            source: content(),
            version: Some("v1".to_owned()),
            checkpoint,
        };
        assert_eq!(KeptObject::parse(&entry), Some(expected));
        assert_eq!(KeptObject::parse(b"{\"reason\":\"archived\"}"), None);
    }
}
