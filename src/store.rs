//! The object store: where log objects are read and listed.

use std::future::Future;
use std::ops::Range;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::object::{Etag, ObjectId};

pub mod dir;
pub mod memory;
#[cfg(feature = "aws")]
pub mod s3;

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    pub etag: Etag,
    /// Bytes as stored.
    pub size: u64,
    pub last_modified: Timestamp,
}

/// An object as a listing gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub etag: Etag,
    /// Bytes as stored.
    pub size: u64,
    /// For an object of a multipart upload, the time at which the upload was initiated
    /// (S3 User Guide, UsingMetadata), so an object can appear with a time long past.
    pub last_modified: Timestamp,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Page {
    /// In the store's order, which for S3 is the byte order of the keys.
    pub objects: Vec<Listed>,
    /// Whether more follow; the next page starts after the last key of this one.
    pub more: bool,
}

/// Why an object could not be read or listed, by what the caller does next.
///
/// The place (`s3://bucket/key` or `s3://bucket/prefix`) is part of each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// 404 NoSuchKey: gone, by deletion or expiry.
    #[error("{place} does not exist")]
    NotFound { place: String },
    /// 412, or a length or range that is no longer true: other content stands there now.
    #[error("{place} was replaced")]
    Replaced { place: String },
    /// 403 for this object: an ACL, or no such object where ListBucket is not allowed. Also every
    /// other answer that concerns one object alone and that no repetition would change.
    #[error("access to {place} denied: {reason}")]
    Denied { place: String, reason: String },
    /// 403 or 400 because of its encryption key.
    #[error("the key that encrypts {place} was refused: {reason}")]
    KeyDenied { place: String, reason: String },
    /// 403 InvalidObjectState: in an archive tier, not restored.
    #[error("{place} is archived: {reason}")]
    Archived { place: String, reason: String },
    /// Slow, throttled, broken off, timed out: the same request may succeed.
    #[error("failed to read {place}: {reason}")]
    Unavailable { place: String, reason: String },
    /// 301: the bucket is in another region than the one configured.
    #[error("{place} is in another region: {reason}")]
    WrongRegion { place: String, reason: String },
    /// No request can succeed until a person acts: no such bucket, listing denied, credentials
    /// refused.
    #[error("cannot use {place}: {reason}")]
    Unusable { place: String, reason: String },
}

/// The port.
pub trait Store: Send + Sync {
    /// Identity and size of an object.
    fn head(
        &self,
        object: &ObjectId,
    ) -> impl Future<Output = Result<ObjectMeta, StoreError>> + Send;

    /// Exactly the bytes of `range`, which must lie within the object; the whole answer is received
    /// before this returns, so memory is bounded by the range. Fewer bytes than asked for is
    /// [`StoreError::Unavailable`], never a success.
    ///
    /// The content read is always the one whose entity tag is `etag` (`If-Match`), of the object's
    /// version where it names one: the version id of a bucket without versioning is `null` for one
    /// content after another. Other content is [`StoreError::Replaced`], and so is a range that
    /// reaches past its end.
    fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// The objects whose keys begin with `prefix` and come after `start_after`, one page. Keys are
    /// exact, whatever characters they hold. The order is the store's; who depends on it checks it.
    /// A page that says more follow has an object. Being denied a listing is
    /// [`StoreError::Unusable`].
    fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;
}

impl<S: Store> Store for std::sync::Arc<S> {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        (**self).head(object).await
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        (**self).read(object, etag, range).await
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        (**self).list(bucket, prefix, start_after).await
    }
}
