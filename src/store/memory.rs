//! An object store in memory, with switches that make it fail.
//!
//! It lists in byte order, in pages of any size, and keeps no versions: a version id is read as
//! the content that stands there now.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::object::{ContentId, Etag, ObjectId};
use crate::store::{Listed, ObjectMeta, Page, Store, StoreError};

/// As S3 does.
const PAGE_OBJECTS_MAX: usize = 1_000;

/// Makes an error for the place it is given.
type Failure = Box<dyn Fn(String) -> StoreError + Send>;

/// Buckets come into being with their first object; an unknown bucket is an empty one.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

struct State {
    /// By bucket and key. The order of strings is the byte order of their UTF-8.
    objects: BTreeMap<(String, String), Stored>,
    page_objects_max: usize,
    reads: u64,
    bytes_read: u64,
    lists: u64,
    failing_reads: (u64, Option<Failure>),
    failing_lists: (u64, Option<Failure>),
    refused: BTreeMap<(String, String), Failure>,
    /// What is put in place of an object once `reads` has come to the number.
    replacements: Vec<(u64, (String, String), Stored)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            page_objects_max: PAGE_OBJECTS_MAX,
            reads: 0,
            bytes_read: 0,
            lists: 0,
            failing_reads: (0, None),
            failing_lists: (0, None),
            refused: BTreeMap::new(),
            replacements: Vec::new(),
        }
    }
}

#[derive(Clone)]
struct Stored {
    content: Bytes,
    meta: ObjectMeta,
}

impl Stored {
    fn new(content: Bytes, last_modified: Timestamp) -> Self {
        let meta = ObjectMeta {
            etag: etag_of(&content),
            size: content.len() as u64,
            last_modified,
        };
        Self { content, meta }
    }
}

/// As long as an MD5, which S3 uses; only equality matters.
fn etag_of(content: &[u8]) -> Etag {
    let digest = Sha256::digest(content);
    let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    Etag::from(hex)
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Pages of at most this many objects, instead of S3's 1,000.
    #[must_use]
    pub fn with_pages_of(self, objects_max: usize) -> Self {
        self.state().page_objects_max = objects_max.max(1);
        self
    }

    /// Puts an object, over whatever stood there.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        content: impl Into<Bytes>,
        last_modified: Timestamp,
    ) -> ContentId {
        let stored = Stored::new(content.into(), last_modified);
        let id = ContentId {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            etag: stored.meta.etag.clone(),
            size: stored.meta.size,
        };
        self.state().objects.insert(at(bucket, key), stored);
        id
    }

    /// Removes an object; one that is not there is no error.
    pub fn remove(&self, bucket: &str, key: &str) {
        self.state().objects.remove(&at(bucket, key));
    }

    /// The next `count` reads fail, whatever they ask for. A broken-off or short read is
    /// [`StoreError::Unavailable`], as everywhere.
    pub fn fail_reads(&self, count: u64, failure: impl Fn(String) -> StoreError + Send + 'static) {
        self.state().failing_reads = (count, Some(Box::new(failure)));
    }

    /// The next `count` pages fail.
    pub fn fail_lists(&self, count: u64, failure: impl Fn(String) -> StoreError + Send + 'static) {
        self.state().failing_lists = (count, Some(Box::new(failure)));
    }

    /// Every head and read of this object fails, until [`MemoryStore::allow`].
    pub fn refuse(
        &self,
        bucket: &str,
        key: &str,
        failure: impl Fn(String) -> StoreError + Send + 'static,
    ) {
        self.state()
            .refused
            .insert(at(bucket, key), Box::new(failure));
    }

    pub fn allow(&self, bucket: &str, key: &str) {
        self.state().refused.remove(&at(bucket, key));
    }

    /// Lets `reads` more reads pass, then replaces an object: what happens to a download that is
    /// under way.
    pub fn replace_after_reads(
        &self,
        reads: u64,
        bucket: &str,
        key: &str,
        content: impl Into<Bytes>,
        last_modified: Timestamp,
    ) {
        let stored = Stored::new(content.into(), last_modified);
        let mut state = self.state();
        let due = state.reads + reads;
        state.replacements.push((due, at(bucket, key), stored));
    }

    /// How many reads were asked for, failed ones included.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many bytes were given out by reads.
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// How many pages were asked for, failed ones included.
    pub fn lists(&self) -> u64 {
        self.state().lists
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, object: &ObjectId) -> Result<&Stored, StoreError> {
        let at = at(&object.bucket, &object.key);
        if let Some(failure) = self.refused.get(&at) {
            return Err(failure(object.to_string()));
        }
        self.objects.get(&at).ok_or_else(|| StoreError::NotFound {
            place: object.to_string(),
        })
    }

    fn replace_what_is_due(&mut self) {
        let reads = self.reads;
        let (due, later) = std::mem::take(&mut self.replacements)
            .into_iter()
            .partition(|(after, ..)| *after <= reads);
        self.replacements = later;
        let due: Vec<_> = due;
        for (_, at, stored) in due {
            self.objects.insert(at, stored);
        }
    }
}

fn at(bucket: &str, key: &str) -> (String, String) {
    (bucket.to_owned(), key.to_owned())
}

/// Takes one from a count of failures to come.
fn fail(failing: &mut (u64, Option<Failure>), place: &str) -> Result<(), StoreError> {
    match failing {
        (0, _) | (_, None) => Ok(()),
        (count, Some(failure)) => {
            *count -= 1;
            Err(failure(place.to_owned()))
        }
    }
}

impl Store for MemoryStore {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        Ok(self.state().find(object)?.meta.clone())
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let mut state = self.state();
        state.replace_what_is_due();
        state.reads += 1;
        fail(&mut state.failing_reads, &object.to_string())?;
        let stored = state.find(object)?;
        let replaced = || StoreError::Replaced {
            place: object.to_string(),
        };
        if stored.meta.etag != *etag {
            return Err(replaced());
        }
        let bytes = match (usize::try_from(range.start), usize::try_from(range.end)) {
            _ if range.is_empty() => Bytes::new(),
            (Ok(start), Ok(end)) if end <= stored.content.len() => stored.content.slice(start..end),
            _ => return Err(replaced()),
        };
        state.bytes_read += bytes.len() as u64;
        Ok(bytes)
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        let mut state = self.state();
        state.lists += 1;
        fail(&mut state.failing_lists, &format!("s3://{bucket}/{prefix}"))?;
        let from = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(at(bucket, after)),
            _ => Bound::Included(at(bucket, prefix)),
        };
        let mut found = state
            .objects
            .range((from, Bound::Unbounded))
            .take_while(|((b, key), _)| b == bucket && key.starts_with(prefix))
            .map(|((_, key), stored)| Listed {
                key: key.clone(),
                etag: stored.meta.etag.clone(),
                size: stored.meta.size,
                last_modified: stored.meta.last_modified,
            });
        let objects = found.by_ref().take(state.page_objects_max).collect();
        Ok(Page {
            objects,
            more: found.next().is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(place: String) -> StoreError {
        StoreError::Unavailable {
            place,
            reason: "as told".to_owned(),
        }
    }

    #[tokio::test]
    async fn it_fails_as_often_as_it_was_told() {
        let store = MemoryStore::new();
        let id = store.put("b", "k", "abc", Timestamp::from_ms(0));
        let object = ObjectId::new("b", "k");
        store.fail_reads(2, unavailable);
        for _ in 0..2 {
            let error = store.read(&object, &id.etag, 0..3).await.expect_err("told");
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        }
        assert_eq!(
            store.read(&object, &id.etag, 0..3).await.expect("read"),
            "abc"
        );
        assert_eq!(store.reads(), 3);
    }

    #[tokio::test]
    async fn an_object_can_be_replaced_while_it_is_read() {
        let store = MemoryStore::new();
        let id = store.put("b", "k", "abcdef", Timestamp::from_ms(0));
        store.replace_after_reads(1, "b", "k", "ghijkl", Timestamp::from_ms(1));
        let object = ObjectId::new("b", "k");
        assert_eq!(
            store.read(&object, &id.etag, 0..3).await.expect("read"),
            "abc"
        );
        let error = store.read(&object, &id.etag, 3..6).await.expect_err("gone");
        assert!(matches!(error, StoreError::Replaced { .. }), "{error}");
    }

    #[tokio::test]
    async fn one_object_can_be_refused_and_allowed_again() {
        let store = MemoryStore::new();
        let id = store.put("b", "k", "abc", Timestamp::from_ms(0));
        let object = ObjectId::new("b", "k");
        store.refuse("b", "k", unavailable);
        store.head(&object).await.expect_err("refused");
        store
            .read(&object, &id.etag, 0..1)
            .await
            .expect_err("refused");
        store.allow("b", "k");
        store.head(&object).await.expect("allowed");
    }
}
