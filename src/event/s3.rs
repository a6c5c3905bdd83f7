//! One record of an S3 notification, read leniently: unknown fields are ignored, and only the event's
//! name, the bucket and the key have to be there.
//!
//! The type of `aws_lambda_events` wants fields that real events lack and never decodes the key.

use serde::Deserialize;
use serde_json::Value;

use super::{EventError, Ignored, Read, checked, text};
use crate::object::{Etag, WorkItem};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    e_tag: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
}

/// Reads a record: creations and finished restores are work, everything else is ignored by name.
pub(super) fn read(record: &Value) -> Result<Read, EventError> {
    match text(record, "eventSource") {
        Some("aws:s3") => {}
        found => {
            return Err(EventError::ForeignSource {
                found: found.unwrap_or("absent").to_owned(),
                expected: "aws:s3",
            });
        }
    }
    let record = Record::deserialize(record).map_err(|error| EventError::Record {
        reason: error.to_string(),
    })?;
    // Amazon S3 writes the name without `s3:`; some compatible stores write it with.
    let name = record.event_name.strip_prefix("s3:");
    let name = name.unwrap_or(&record.event_name);
    let Entity { bucket, object } = record.s3;
    if name.starts_with("ObjectCreated:") || name == "ObjectRestore:Completed" {
        let item = WorkItem {
            key: decode_key(&object.key)?,
            version: version(object.version_id),
            etag: etag(object.e_tag),
            size: object.size,
            ..WorkItem::new(bucket.name, "")
        };
        return checked(item).map(Read::Item);
    }
    let key = decode_key(&object.key).unwrap_or(object.key);
    let object = format!("s3://{}/{}", bucket.name, key.escape_debug());
    let event = name.to_owned();
    Ok(Read::Ignored(
        if name.starts_with("ObjectRemoved:") || name.starts_with("LifecycleExpiration:") {
            Ignored::Removal { event, object }
        } else {
            Ignored::OtherEvent { event, object }
        },
    ))
}

/// The version to read. A bucket that never had versioning says nothing or `null`.
pub(super) fn version(id: Option<String>) -> Option<String> {
    id.filter(|id| !id.is_empty() && id != "null")
}

pub(super) fn etag(tag: Option<String>) -> Option<Etag> {
    tag.map(Etag::from).filter(|tag| !tag.as_str().is_empty())
}

/// Decodes a key as S3 encodes it in notifications: `+` is a space, then `%XX` is a byte.
/// A `%` that no two hexadecimal digits follow stands for itself.
pub(super) fn decode_key(key: &str) -> Result<String, EventError> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, next) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, next @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, next),
                _ => (b'%', after),
            },
            _ => (first, after),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8(bytes).map_err(|error| EventError::KeyNotUtf8 {
        key: key.escape_debug().to_string(),
        valid_up_to: error.utf8_error().valid_up_to(),
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
