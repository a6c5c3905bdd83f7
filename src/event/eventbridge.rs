//! One event of S3 as EventBridge delivers it.

use serde::Deserialize;
use serde_json::Value;

use super::{EventError, Ignored, Read, checked, s3, text};
use crate::object::WorkItem;

#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Object {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
}

/// Reads an event: creations and finished restores are work, everything else is ignored by name.
///
/// The key is taken as it is. AWS does not say whether it is encoded, and code that decodes it
/// exists, so a key that decoding would change carries the decoded one as its alternate.
pub(super) fn read(event: &Value) -> Result<Read, EventError> {
    match text(event, "source") {
        Some("aws.s3") => {}
        found => {
            return Err(EventError::ForeignSource {
                found: found.unwrap_or("absent").to_owned(),
                expected: "aws.s3",
            });
        }
    }
    let kind = text(event, "detail-type").unwrap_or_default();
    let detail = event.get("detail").unwrap_or(&Value::Null);
    let Detail { bucket, object } =
        Detail::deserialize(detail).map_err(|error| EventError::EventBridge {
            reason: error.to_string(),
        })?;
    match kind {
        "Object Created" | "Object Restore Completed" => {
            let decoded = s3::decode_key(&object.key).ok();
            checked(WorkItem {
                alternate_key: decoded.filter(|decoded| *decoded != object.key),
                version: s3::version(object.version_id),
                etag: s3::etag(object.etag),
                size: object.size,
                ..WorkItem::new(bucket.name, object.key)
            })
            .map(Read::Item)
        }
        _ => {
            let event = kind.to_owned();
            let object = format!("s3://{}/{}", bucket.name, object.key.escape_debug());
            Ok(Read::Ignored(if kind == "Object Deleted" {
                Ignored::Removal { event, object }
            } else {
                Ignored::OtherEvent { event, object }
            }))
        }
    }
}
