//! What the pipeline stands on while it carries records out of quarantine: a store of the entries that are
//! replayed, and a quarantine that keeps what is refused again as what it was.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::entry::Group;
use crate::clock::Timestamp;
use crate::evidence::{KeptObject, RecordLine};
use crate::object::{Etag, ObjectId};
use crate::quarantine::{Quarantine, QuarantineError};
use crate::store::{ObjectMeta, Page, Store, StoreError};

/// The groups that are being replayed, by the keys of their objects.
#[derive(Clone, Default)]
pub struct Loaded(Arc<Mutex<BTreeMap<String, Arc<Group>>>>);

impl Loaded {
    /// Holds a group until the answer is dropped.
    pub fn hold(&self, group: Group) -> Held<'_> {
        let group = Arc::new(group);
        let key = group.content.key.clone();
        self.groups().insert(key, Arc::clone(&group));
        Held {
            loaded: self,
            group,
        }
    }

    fn get(&self, key: &str) -> Option<Arc<Group>> {
        self.groups().get(key).cloned()
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Group>>> {
        // Insertions and removals leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Held<'a> {
    loaded: &'a Loaded,
    pub group: Arc<Group>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.loaded.groups().remove(&self.group.content.key);
    }
}

/// The groups as objects. Nothing else is in it.
pub struct EntryStore(pub Loaded);

impl Store for EntryStore {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        let group = self.group(object)?;
        Ok(ObjectMeta {
            etag: group.content.etag.clone(),
            size: group.content.size,
            last_modified: Timestamp::default(),
        })
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let group = self.group(object)?;
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let range = bound(range.start)..bound(range.end);
        match group.plain.get(range.clone()) {
            Some(_) if group.content.etag == *etag => Ok(group.plain.slice(range)),
            Some(_) | None => Err(StoreError::Replaced {
                place: object.to_string(),
            }),
        }
    }

    async fn list(&self, _: &str, _: &str, _: Option<&str>) -> Result<Page, StoreError> {
        Ok(Page::default())
    }
}

impl EntryStore {
    fn group(&self, object: &ObjectId) -> Result<Arc<Group>, StoreError> {
        self.0.get(&object.key).ok_or_else(|| StoreError::NotFound {
            place: object.to_string(),
        })
    }
}

/// Keeps records of a group as records of the objects that they came from. An entry is its own evidence:
/// none is kept for it.
pub struct Again<Q> {
    pub inner: Q,
    pub loaded: Loaded,
}

impl<Q: Quarantine> Quarantine for Again<Q> {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        if let Some(object) = KeptObject::parse(&content) {
            return Ok(object.source.to_string());
        }
        let first = content.split(|byte| *byte == b'\n').next();
        let source = first.and_then(RecordLine::parse).map(|line| line.source);
        match source.and_then(|source| self.loaded.get(&source.key)) {
            Some(group) => {
                let (name, content) = group.again(name, &content);
                self.inner.keep(&name, content).await
            }
            None => self.inner.keep(name, content).await,
        }
    }
}
