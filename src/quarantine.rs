//! Quarantine: where records and objects go that can never succeed as they are.
//!
//! Names are a function of what is kept, so writing the same thing twice is one thing:
//! `records/BUCKET/CONTENT/INDEX.ndjson` for refused records, `cut/…` for the originals of records that
//! were cut, `objects/BUCKET/CONTENT.json` for an object, by reference. CONTENT is a hash of key, entity
//! tag and size: a key may be as long as S3 allows any name to be.

use std::future::Future;
use std::path::PathBuf;

use bytes::Bytes;
use url::Url;

use crate::object::{Etag, ObjectId};
use crate::store::{Page, Store, StoreError};

pub mod dir;
pub mod memory;
#[cfg(feature = "aws")]
pub mod s3;

/// Why something could not be kept, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineError {
    /// Throttled, timed out, unreachable: try again later.
    #[error("quarantine {place} unavailable: {reason}")]
    Unavailable { place: String, reason: String },
    /// No such bucket, no permission: nothing can succeed until a person acts.
    #[error("quarantine {place} refused: {reason}")]
    Refused { place: String, reason: String },
}

/// The port.
pub trait Quarantine: Send + Sync {
    /// Makes `content` durable under `name`, replacing what stood there, and returns the full place.
    fn keep(
        &self,
        name: &str,
        content: Bytes,
    ) -> impl Future<Output = Result<String, QuarantineError>> + Send;

    /// Whether an object is one that was kept here, which is not to be carried in its turn, whatever
    /// brought it. Never, unless this is a place among buckets.
    fn holds(&self, _object: &ObjectId) -> bool {
        false
    }
}

/// The other side of the port: what was kept is found again, by whoever replays it.
pub trait Entries: Quarantine {
    /// What is kept under names that begin with `under` and come after `after`, one page, in byte order of
    /// the names. Whatever else lies in the place is left out, so a page may be empty and have more after it.
    fn list(
        &self,
        under: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<EntryPage, QuarantineError>> + Send;

    /// An entry as it was listed; none if it is gone or another one by now. All of it is in memory: its
    /// size is that of the listing.
    fn read(
        &self,
        entry: &Entry,
    ) -> impl Future<Output = Result<Option<Bytes>, QuarantineError>> + Send;

    /// Removes an entry, or puts `rest` in its place, if it still is as it was listed. True unless it is
    /// another one by now, which then stays. What is gone is removed already.
    fn replace(
        &self,
        entry: &Entry,
        rest: Option<Bytes>,
    ) -> impl Future<Output = Result<bool, QuarantineError>> + Send;

    /// What an entry is called as an object.
    fn object(&self, name: &str) -> ObjectId;
}

/// One kept thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub etag: Etag,
    pub size: u64,
}

/// One page of what is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    pub entries: Vec<Entry>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

impl EntryPage {
    /// What a store lists under `prefix`, of which `place` says what is kept there.
    fn of(page: Page, prefix: &str) -> Self {
        let last = page.objects.last().map(|object| object.key.clone());
        let next = last.filter(|_| page.more);
        let name = |key: String| key.strip_prefix(prefix).map(str::to_owned);
        let entries = page.objects.into_iter().filter_map(|object| {
            let name = name(object.key).filter(|name| is_entry(name))?;
            Some(Entry {
                name,
                etag: object.etag,
                size: object.size,
            })
        });
        Self {
            entries: entries.collect(),
            next: next.and_then(name),
        }
    }
}

/// Whether a name is one of something kept, and not of a file that is being written.
fn is_entry(name: &str) -> bool {
    is_kept(name) && (name.ends_with(".ndjson") || name.ends_with(".json"))
}

fn is_kept(name: &str) -> bool {
    FOLDERS.iter().any(|folder| name.starts_with(folder))
}

/// A failure to look at what is kept, as one of the quarantine.
fn unreadable(place: String, error: &StoreError) -> QuarantineError {
    let reason = error.to_string();
    match error {
        StoreError::Unavailable { .. } => QuarantineError::Unavailable { place, reason },
        _ => QuarantineError::Refused { place, reason },
    }
}

/// The bytes of an entry, if it still is what was listed.
async fn read_entry(
    store: &impl Store,
    object: &ObjectId,
    entry: &Entry,
) -> Result<Option<Bytes>, QuarantineError> {
    match store.read(object, &entry.etag, 0..entry.size).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound { .. } | StoreError::Replaced { .. }) => Ok(None),
        Err(error) => Err(unreadable(object.to_string(), &error)),
    }
}

impl<Q: Entries> Entries for std::sync::Arc<Q> {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        (**self).list(under, after).await
    }

    async fn read(&self, entry: &Entry) -> Result<Option<Bytes>, QuarantineError> {
        (**self).read(entry).await
    }

    async fn replace(&self, entry: &Entry, rest: Option<Bytes>) -> Result<bool, QuarantineError> {
        (**self).replace(entry, rest).await
    }

    fn object(&self, name: &str) -> ObjectId {
        (**self).object(name)
    }
}

impl<Q: Quarantine> Quarantine for std::sync::Arc<Q> {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        (**self).keep(name, content).await
    }

    fn holds(&self, object: &ObjectId) -> bool {
        (**self).holds(object)
    }
}

/// Where things are kept, as configured (`QUARANTINE_URL`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuarantinePlace {
    S3(S3Place),
    Dir(PathBuf),
}

/// What the names of all that is kept begin with.
const FOLDERS: [&str; 3] = ["records/", "cut/", "objects/"];

/// A bucket, and what the names in it begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    pub bucket: String,
    prefix: String,
}

impl S3Place {
    /// The prefix is taken as it is written, and ends with a `/` afterwards unless it is empty.
    pub fn new(bucket: &str, prefix: &str) -> Self {
        let slash = match prefix.is_empty() || prefix.ends_with('/') {
            true => "",
            false => "/",
        };
        Self {
            bucket: bucket.to_owned(),
            prefix: format!("{prefix}{slash}"),
        }
    }

    /// Empty, or with a `/` at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether an object is one that was kept here.
    pub fn holds(&self, object: &ObjectId) -> bool {
        let name = object.key.strip_prefix(&self.prefix);
        object.bucket == self.bucket && name.is_some_and(is_kept)
    }
}

/// A text that names no place to keep things in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no place for quarantine: expected `s3://bucket/prefix`, `file:///folder`, or a folder"
)]
pub struct NoSuchPlace {
    pub given: String,
}

impl QuarantinePlace {
    /// `s3://bucket/prefix`, `file:///folder`, or a folder's path.
    pub fn parse(given: &str) -> Result<Self, NoSuchPlace> {
        let no_such_place = || NoSuchPlace {
            given: given.to_owned(),
        };
        if let Some(place) = given.strip_prefix("s3://") {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            return match bucket {
                "" => Err(no_such_place()),
                _ => Ok(Self::S3(S3Place::new(bucket, prefix))),
            };
        }
        if given.starts_with("file:") {
            let path = Url::parse(given)
                .ok()
                .and_then(|url| url.to_file_path().ok());
            return path.map(Self::Dir).ok_or_else(no_such_place);
        }
        match given.is_empty() || given.contains("://") {
            true => Err(no_such_place()),
            false => Ok(Self::Dir(given.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> QuarantinePlace {
        QuarantinePlace::S3(S3Place::new(bucket, prefix))
    }

    #[test]
    fn a_place_is_a_bucket_or_a_folder() {
        for (given, place) in [
            ("s3://b", s3("b", "")),
            ("s3://b/", s3("b", "")),
            ("s3://b/q", s3("b", "q/")),
            ("s3://b/q a/é/", s3("b", "q a/é/")),
            ("file:///var/q%20a", QuarantinePlace::Dir("/var/q a".into())),
            ("/var/q", QuarantinePlace::Dir("/var/q".into())),
            ("q", QuarantinePlace::Dir("q".into())),
        ] {
            assert_eq!(QuarantinePlace::parse(given), Ok(place), "{given}");
        }
        for given in ["", "s3://", "s3:///q", "https://b/q", "file://host/q"] {
            assert!(QuarantinePlace::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn what_is_kept_in_a_place_is_told_from_what_lies_beside_it() {
        for (bucket, key, holds) in [
            ("b", "q/records/b/0/000000000000.ndjson", true),
            ("b", "q/cut/b/0/000000000000.ndjson", true),
            ("b", "q/objects/b/0.json", true),
            ("b", "q/logs/a.gz", false),
            ("b", "records/a.gz", false),
            ("c", "q/records/b/0/000000000000.ndjson", false),
        ] {
            let object = ObjectId::new(bucket, key);
            assert_eq!(S3Place::new("b", "q").holds(&object), holds, "{key}");
        }
    }
}
