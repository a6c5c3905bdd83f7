//! What is carried: the identity of an object, and a work item that asks for one.
//!
//! Goes in: names as a trigger or a listing gives them. Comes out: types that cannot be wrong.
//! It never looks anything up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an object is: what a GET asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    pub bucket: String,
    /// The exact key, decoded, at most 1,024 bytes of UTF-8.
    pub key: String,
    /// The version to read; the latest one if absent.
    pub version: Option<String>,
}

impl ObjectId {
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
            version: None,
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key.escape_debug())
    }
}

/// An entity tag without its quotes: notifications give it bare, HTTP headers and listings quoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Etag(String);

impl Etag {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As HTTP wants it in `If-Match` (RFC 9110, section 8.8.3).
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl From<&str> for Etag {
    fn from(tag: &str) -> Self {
        Self(tag.trim_matches('"').to_owned())
    }
}

impl From<String> for Etag {
    fn from(tag: String) -> Self {
        Self::from(tag.as_str())
    }
}

impl From<Etag> for String {
    fn from(tag: Etag) -> Self {
        tag.0
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One content of one object: the identity of a ledger row, the same for every trigger,
/// because a listing gives just these and no version id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContentId {
    pub bucket: String,
    pub key: String,
    pub etag: Etag,
    /// Bytes as stored.
    pub size: u64,
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key.escape_debug())
    }
}

/// A request to carry one object. Notification, reconcile, backfill, replay and the local tool
/// differ only in where work items come from.
///
/// As JSON it is `{"bucket", "key"}` with optional `version`, `etag`, `size`: what a person writes
/// by hand and what reconcile puts on the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkItem {
    pub bucket: String,
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// Bytes as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The key to try once if `key` does not exist: EventBridge keys are raw, but that is
    /// contested, and a raw key that holds `%` or `+` would be another one when decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternate_key: Option<String>,
    /// Whether its entry in quarantine is to be removed once it is settled.
    #[serde(default, rename = "replay", skip_serializing_if = "std::ops::Not::not")]
    pub is_replay: bool,
}

impl WorkItem {
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
            version: None,
            etag: None,
            size: None,
            alternate_key: None,
            is_replay: false,
        }
    }

    pub fn object(&self) -> ObjectId {
        ObjectId {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            version: self.version.clone(),
        }
    }

    /// The ledger identity, if the trigger gave all of it; otherwise a HEAD has to.
    pub fn content(&self) -> Option<ContentId> {
        Some(ContentId {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            etag: self.etag.clone()?,
            size: self.size?,
        })
    }
}

impl From<ContentId> for WorkItem {
    fn from(content: ContentId) -> Self {
        Self {
            bucket: content.bucket,
            key: content.key,
            version: None,
            etag: Some(content.etag),
            size: Some(content.size),
            alternate_key: None,
            is_replay: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_the_same_with_and_without_quotes() {
        assert_eq!(Etag::from("\"abc-2\""), Etag::from("abc-2"));
        assert_eq!(Etag::from("abc-2").quoted(), "\"abc-2\"");
    }

    #[test]
    fn a_work_item_written_by_hand_needs_bucket_and_key_alone() {
        let item: WorkItem = serde_json::from_str(r#"{"bucket":"b","key":"k"}"#).expect("json");
        assert_eq!(item, WorkItem::new("b", "k"));
        assert_eq!(item.content(), None);
    }

    #[test]
    fn a_work_item_from_a_listing_survives_the_queue() {
        let content = ContentId {
            bucket: "b".into(),
            key: "dir a/k+ey é日 %41.json.gz".into(),
            etag: Etag::from("e"),
            size: 7,
        };
        let text = serde_json::to_string(&WorkItem::from(content.clone())).expect("json");
        let item: WorkItem = serde_json::from_str(&text).expect("json");
        assert_eq!(item.content(), Some(content));
    }
}
