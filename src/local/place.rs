//! Where the tool reads and where it keeps: a bucket or a folder, behind one type each.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::looks::Looks;
use crate::object::{Etag, ObjectId};
use crate::quarantine::dir::DirQuarantine;
use crate::quarantine::s3::S3Quarantine;
use crate::quarantine::{Entries, Entry, EntryPage, Quarantine, QuarantineError};
use crate::store::dir::DirStore;
use crate::store::s3::S3Store;
use crate::store::{ObjectMeta, Page, Store, StoreError};

/// Where objects are read, and who looks on.
pub struct Source {
    place: Place,
    looks: Option<Arc<Looks>>,
}

enum Place {
    S3(S3Store),
    Dir(DirStore),
}

impl Source {
    pub fn s3(store: S3Store) -> Self {
        Self {
            place: Place::S3(store),
            looks: None,
        }
    }

    pub fn dir(store: DirStore) -> Self {
        Self {
            place: Place::Dir(store),
            looks: None,
        }
    }

    /// The same, but what is read is looked at.
    #[must_use]
    pub fn looked_at_by(self, looks: Arc<Looks>) -> Self {
        Self {
            looks: Some(looks),
            ..self
        }
    }
}

impl Store for Source {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        match &self.place {
            Place::S3(store) => store.head(object).await,
            Place::Dir(store) => store.head(object).await,
        }
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let start = range.start;
        let bytes = match &self.place {
            Place::S3(store) => store.read(object, etag, range).await?,
            Place::Dir(store) => store.read(object, etag, range).await?,
        };
        if let Some(looks) = &self.looks {
            looks.read(&object.key, start, bytes.clone()).await;
        }
        Ok(bytes)
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        match &self.place {
            Place::S3(store) => store.list(bucket, prefix, start_after).await,
            Place::Dir(store) => store.list(bucket, prefix, start_after).await,
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
