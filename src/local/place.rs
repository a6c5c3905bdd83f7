//! Where the tool reads and where it keeps: a bucket or a folder, behind one type each.

use std::ops::Range;

use bytes::Bytes;

use crate::object::{Etag, ObjectId};
use crate::quarantine::dir::DirQuarantine;
use crate::quarantine::s3::S3Quarantine;
use crate::quarantine::{Entries, Entry, EntryPage, Quarantine, QuarantineError};
use crate::store::dir::DirStore;
use crate::store::s3::S3Store;
use crate::store::{ObjectMeta, Page, Store, StoreError};

/// Where objects are read.
pub enum Source {
    S3(S3Store),
    Dir(DirStore),
}

impl Store for Source {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        match self {
            Source::S3(store) => store.head(object).await,
            Source::Dir(store) => store.head(object).await,
        }
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        match self {
            Source::S3(store) => store.read(object, etag, range).await,
            Source::Dir(store) => store.read(object, etag, range).await,
        }
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        match self {
            Source::S3(store) => store.list(bucket, prefix, start_after).await,
            Source::Dir(store) => store.list(bucket, prefix, start_after).await,
        }
    }
}

/// Where what can never succeed is kept.
#[derive(Clone)]
pub enum Keep {
    S3(S3Quarantine),
    Dir(DirQuarantine),
}

impl Quarantine for Keep {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        match self {
            Keep::S3(place) => place.keep(name, content).await,
            Keep::Dir(place) => place.keep(name, content).await,
        }
    }

    fn holds(&self, object: &ObjectId) -> bool {
        match self {
            Keep::S3(place) => place.holds(object),
            Keep::Dir(place) => place.holds(object),
        }
    }
}

impl Entries for Keep {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        match self {
            Keep::S3(place) => place.list(under, after).await,
            Keep::Dir(place) => place.list(under, after).await,
        }
    }

    async fn read(&self, entry: &Entry) -> Result<Option<Bytes>, QuarantineError> {
        match self {
            Keep::S3(place) => place.read(entry).await,
            Keep::Dir(place) => place.read(entry).await,
        }
    }

    async fn replace(&self, entry: &Entry, rest: Option<Bytes>) -> Result<bool, QuarantineError> {
        match self {
            Keep::S3(place) => place.replace(entry, rest).await,
            Keep::Dir(place) => place.replace(entry, rest).await,
        }
    }

    fn object(&self, name: &str) -> ObjectId {
        match self {
            Keep::S3(place) => place.object(name),
            Keep::Dir(place) => place.object(name),
        }
    }
}
