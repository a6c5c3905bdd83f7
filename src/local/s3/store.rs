//! The objects of the embedded S3: buckets, versions, uploads in progress.
//!
//! Plain data and plain functions: no lock, no wire format, and time comes in as an argument.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};

use super::listing::{self, Query};
use crate::clock::Timestamp;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Smallest part of a multipart upload, except for its last.
pub const PART_BYTES_MIN: usize = 5 * 1024 * 1024;
/// Storage classes whose objects cannot be read without a restore.
const ARCHIVED: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
/// What an object is stored as unless its writer says otherwise.
pub const STANDARD: &str = "STANDARD";

/// An object as it is stored: one content of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub bytes: Bytes,
    /// Without quotes.
    pub etag: String,
    /// Whole seconds, as S3 keeps it.
    pub last_modified: Timestamp,
    pub storage_class: String,
    /// Set in versioned buckets.
    pub version_id: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

impl Object {
    /// An object of these bytes, last modified now, with the ETag that a single PUT gives.
    pub fn new(bytes: Bytes, now: Timestamp) -> Self {
        Self {
            etag: hex(&Md5::digest(&bytes)),
            bytes,
            last_modified: whole_seconds(now),
            storage_class: STANDARD.to_owned(),
            version_id: None,
            content_type: None,
            content_encoding: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Whether a GET is refused with `InvalidObjectState`.
    pub fn is_archived(&self) -> bool {
        ARCHIVED.contains(&self.storage_class.as_str())
    }

    /// Bytes in the object.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Why the store refuses. The names are S3's error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the bucket exists already")]
    BucketAlreadyOwnedByYou,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("the key does not exist")]
    NoSuchKey,
    #[error("the version does not exist")]
    NoSuchVersion,
    #[error("the key is longer than {KEY_BYTES_MAX} bytes")]
    KeyTooLong,
    #[error("a condition of the request does not hold")]
    PreconditionFailed,
    #[error("the upload does not exist")]
    NoSuchUpload,
    #[error("a part is missing or has another etag")]
    InvalidPart,
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    #[error("a part that is not the last is smaller than {PART_BYTES_MIN} bytes")]
    EntityTooSmall,
}

/// What a write demands of the object it replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WriteCondition {
    #[default]
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match`, the ETag without quotes.
    Etag(String),
}

impl WriteCondition {
    fn check(&self, current: Option<&Object>) -> Result<(), Refusal> {
        match (self, current) {
            (WriteCondition::None, _) | (WriteCondition::Absent, None) => Ok(()),
            (WriteCondition::Etag(_), None) => Err(Refusal::NoSuchKey),
            (WriteCondition::Etag(etag), Some(current)) if *etag == current.etag => Ok(()),
            (WriteCondition::Etag(_) | WriteCondition::Absent, Some(_)) => {
                Err(Refusal::PreconditionFailed)
            }
        }
    }
}

#[derive(Debug)]
struct Bucket {
    created: Timestamp,
    versioned: bool,
    /// The current object of each key.
    current: BTreeMap<String, Arc<Object>>,
    /// Every version of each key in a versioned bucket, oldest first.
    versions: BTreeMap<String, Vec<Arc<Object>>>,
}

#[derive(Debug)]
struct Upload {
    bucket: String,
    key: String,
    /// Everything but the bytes; `last_modified` is the time of initiation.
    template: Object,
    parts: BTreeMap<i32, (Bytes, [u8; 16])>,
}

/// All buckets.
#[derive(Debug, Default)]
pub struct Store {
    buckets: BTreeMap<String, Bucket>,
    uploads: HashMap<String, Upload>,
    serial: u64,
}

impl Store {
    pub fn create_bucket(&mut self, bucket: &str, now: Timestamp) -> Result<(), Refusal> {
        if self.buckets.contains_key(bucket) {
            return Err(Refusal::BucketAlreadyOwnedByYou);
        }
        let created = Bucket {
            created: whole_seconds(now),
            versioned: false,
            current: BTreeMap::new(),
            versions: BTreeMap::new(),
        };
        self.buckets.insert(bucket.to_owned(), created);
        Ok(())
    }

    pub fn delete_bucket(&mut self, bucket: &str) -> Result<(), Refusal> {
        if !self.bucket(bucket)?.current.is_empty() {
            return Err(Refusal::BucketNotEmpty);
        }
        self.buckets.remove(bucket);
        Ok(())
    }

    /// Names and times of creation.
    pub fn buckets(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.buckets
            .iter()
            .map(|(name, bucket)| (name.as_str(), bucket.created))
    }

    pub fn has_bucket(&self, bucket: &str) -> Result<(), Refusal> {
        self.bucket(bucket).map(drop)
    }

    pub fn is_versioned(&self, bucket: &str) -> Result<bool, Refusal> {
        Ok(self.bucket(bucket)?.versioned)
    }

    pub fn set_versioned(&mut self, bucket: &str, versioned: bool) -> Result<(), Refusal> {
        self.bucket_mut(bucket)?.versioned = versioned;
        Ok(())
    }

    /// Stores `object` under `key` and returns it with its version id.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &WriteCondition,
    ) -> Result<Arc<Object>, Refusal> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::KeyTooLong);
        }
        self.serial += 1;
        let serial = self.serial;
        let bucket = self.bucket_mut(bucket)?;
        condition.check(bucket.current.get(key).map(Arc::as_ref))?;
        let version_id = bucket.versioned.then(|| format!("{serial:032x}"));
        let object = Arc::new(Object {
            version_id,
            ..object
        });
        bucket.current.insert(key.to_owned(), Arc::clone(&object));
        if bucket.versioned {
            let versions = bucket.versions.entry(key.to_owned()).or_default();
            versions.push(Arc::clone(&object));
        }
        Ok(object)
    }

    /// The current object of `key`, or the version that is asked for.
    pub fn get(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Arc<Object>, Refusal> {
        let bucket = self.bucket(bucket)?;
        let current = bucket.current.get(key);
        let Some(wanted) = version_id else {
            return current.cloned().ok_or(Refusal::NoSuchKey);
        };
        let versions = bucket.versions.get(key).into_iter().flatten();
        versions
            .chain(current)
            .find(|object| object.version_id.as_deref().unwrap_or("null") == wanted)
            .cloned()
            .ok_or(Refusal::NoSuchVersion)
    }

    /// Removes the current object, or one version for good. What is not there is removed already, but for
    /// whoever says what should be.
    pub fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        condition: &WriteCondition,
    ) -> Result<(), Refusal> {
        let bucket = self.bucket_mut(bucket)?;
        condition.check(bucket.current.get(key).map(Arc::as_ref))?;
        let Some(gone) = version_id else {
            bucket.current.remove(key);
            return Ok(());
        };
        let versions = bucket.versions.entry(key.to_owned()).or_default();
        versions.retain(|object| object.version_id.as_deref() != Some(gone));
        let was_current = bucket
            .current
            .get(key)
            .is_some_and(|object| object.version_id.as_deref() == Some(gone));
        match versions.last() {
            Some(latest) if was_current => {
                bucket.current.insert(key.to_owned(), Arc::clone(latest));
            }
            None if was_current => {
                bucket.current.remove(key);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// One page of a listing.
    pub fn list(
        &self,
        bucket: &str,
        query: &Query<'_>,
    ) -> Result<listing::Page<'_, Arc<Object>>, Refusal> {
        Ok(listing::page(&self.bucket(bucket)?.current, query))
    }

    /// Opens a multipart upload: `template` without its bytes is what the object will be.
    pub fn create_upload(
        &mut self,
        bucket: &str,
        key: &str,
        template: Object,
    ) -> Result<String, Refusal> {
        self.has_bucket(bucket)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::KeyTooLong);
        }
        self.serial += 1;
        let id = format!("upload-{:016x}", self.serial);
        let upload = Upload {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            template,
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Takes a part, in any order; a number that was sent before is replaced. Returns its ETag.
    pub fn put_part(&mut self, id: &str, number: i32, bytes: Bytes) -> Result<String, Refusal> {
        let upload = self.uploads.get_mut(id).ok_or(Refusal::NoSuchUpload)?;
        let digest: [u8; 16] = Md5::digest(&bytes).into();
        upload.parts.insert(number, (bytes, digest));
        Ok(hex(&digest))
    }

    /// Makes the object of the parts that are named, with their ETags; the upload is then gone.
    pub fn complete_upload(
        &mut self,
        id: &str,
        named: &[(i32, Option<String>)],
        condition: &WriteCondition,
    ) -> Result<Arc<Object>, Refusal> {
        let upload = self.uploads.get(id).ok_or(Refusal::NoSuchUpload)?;
        let object = upload.assemble(named)?;
        let (bucket, key) = (upload.bucket.clone(), upload.key.clone());
        let object = self.put(&bucket, &key, object, condition)?;
        self.uploads.remove(id);
        Ok(object)
    }

    pub fn abort_upload(&mut self, id: &str) -> Result<(), Refusal> {
        self.uploads
            .remove(id)
            .map(drop)
            .ok_or(Refusal::NoSuchUpload)
    }

    fn bucket(&self, bucket: &str) -> Result<&Bucket, Refusal> {
        self.buckets.get(bucket).ok_or(Refusal::NoSuchBucket)
    }

    fn bucket_mut(&mut self, bucket: &str) -> Result<&mut Bucket, Refusal> {
        self.buckets.get_mut(bucket).ok_or(Refusal::NoSuchBucket)
    }
}

impl Upload {
    fn assemble(&self, named: &[(i32, Option<String>)]) -> Result<Object, Refusal> {
        if !named.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(Refusal::InvalidPartOrder);
        }
        let parts = named
            .iter()
            .map(|(number, etag)| {
                let (bytes, digest) = self.parts.get(number)?;
                let same = etag.as_deref().is_none_or(|etag| etag == hex(digest));
                same.then_some((bytes, digest))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(Refusal::InvalidPart)?;
        let Some((_, all_but_last)) = parts.split_last() else {
            return Err(Refusal::InvalidPart);
        };
        if all_but_last
            .iter()
            .any(|(bytes, _)| bytes.len() < PART_BYTES_MIN)
        {
            return Err(Refusal::EntityTooSmall);
        }
        let mut digests = Md5::new();
        let mut whole = BytesMut::with_capacity(parts.iter().map(|(bytes, _)| bytes.len()).sum());
        for (bytes, digest) in &parts {
            digests.update(digest);
            whole.extend_from_slice(bytes);
        }
        Ok(Object {
            bytes: whole.freeze(),
            etag: format!("{}-{}", hex(&digests.finalize()), parts.len()),
            ..self.template.clone()
        })
    }
}

/// S3 keeps the times of objects in whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_secs(time.as_secs())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}
