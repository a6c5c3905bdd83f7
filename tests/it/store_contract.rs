//! What every object store does. [`holds`] is the suite; an implementation joins by [`Bucket`].

use std::collections::BTreeSet;
use std::future::Future;

use bucket_brigade::clock::Timestamp;
use bucket_brigade::object::{Etag, ObjectId};
use bucket_brigade::store::dir::DirStore;
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::store::{Listed, Store, StoreError};

/// One empty bucket of a store under test, and the other side of it: who puts objects there.
pub trait Bucket {
    type Store: Store;

    fn store(&self) -> &Self::Store;

    fn name(&self) -> &str;

    fn put(&self, key: &str, content: &[u8]) -> impl Future<Output = ()>;

    fn remove(&self, key: &str) -> impl Future<Output = ()>;

    /// Keys that this kind of store can hold at all. A folder cannot hold both `a` and `a/b`.
    fn can_hold(&self, _key: &str) -> bool {
        true
    }
}

/// Keys that break one implementation or another, in byte order.
fn odd_keys() -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = [
        "dir a/k+ey é日 %41.json.gz",
        "a",
        "a b",
        "a+b",
        "a%2Bb",
        "a%20b",
        "a/b",
        "a.b",
        "a/../b",
        "./c",
        "/lead",
        "two//slashes",
        "folder/",
        "control\u{1}\u{1f}\u{7f}",
        "tab\tand\r\nline",
        "xml<&>\"']]>",
        "query?a=b&c#d;e",
        "back\\slash|pipe:colon*star~{}[]^`!$(),@=",
        // In UTF-16 the second comes first.
        "\u{ff5e}",
        "\u{1f600}",
        "e\u{301}",
        "é",
    ]
    .map(str::to_owned)
    .into();
    keys.insert(format!("long/{}", "é".repeat(509)));
    keys
}

/// The suite. The bucket must be empty and nobody else may write to it.
pub async fn holds(bucket: &impl Bucket) {
    reads_exactly_the_range(bucket).await;
    what_is_not_there_is_not_found(bucket).await;
    other_content_is_replaced(bucket).await;
    lists_every_key_once_and_exactly(bucket).await;
    reads_what_it_lists(bucket).await;
}

/// Every page of a listing, in the order in which they came.
pub async fn list_all(bucket: &impl Bucket, prefix: &str) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    loop {
        let after = all.last().map(|object| object.key.clone());
        let page = bucket
            .store()
            .list(bucket.name(), prefix, after.as_deref())
            .await
            .expect("a page");
        assert!(!page.more || !page.objects.is_empty(), "an endless listing");
        all.extend(page.objects);
        if !page.more {
            return all;
        }
    }
}

async fn etag(bucket: &impl Bucket, key: &str) -> Etag {
    let object = ObjectId::new(bucket.name(), key);
    bucket.store().head(&object).await.expect("a head").etag
}

async fn reads_exactly_the_range(bucket: &impl Bucket) {
    bucket.put("range", b"0123456789").await;
    let object = ObjectId::new(bucket.name(), "range");
    let meta = bucket.store().head(&object).await.expect("a head");
    assert_eq!(meta.size, 10);
    for (range, expected) in [
        (0..10, "0123456789"),
        (0..1, "0"),
        (3..7, "3456"),
        (9..10, "9"),
        (4..4, ""),
        (0..0, ""),
    ] {
        let read = bucket.store().read(&object, &meta.etag, range.clone());
        assert_eq!(read.await.expect("the range"), expected, "{range:?}");
    }
    for range in [10..11, 5..11, 100..200] {
        let read = bucket.store().read(&object, &meta.etag, range.clone());
        let error = read.await.expect_err("a range past the end");
        assert!(
            matches!(
                error,
                StoreError::Replaced { .. } | StoreError::Unavailable { .. }
            ),
            "{range:?}: {error}"
        );
    }
    bucket.remove("range").await;
}

async fn what_is_not_there_is_not_found(bucket: &impl Bucket) {
    let object = ObjectId::new(bucket.name(), "no such key");
    let error = bucket.store().head(&object).await.expect_err("no head");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    let etag = Etag::from("e");
    let read = bucket.store().read(&object, &etag, 0..1);
    let error = read.await.expect_err("nothing to read");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert_eq!(list_all(bucket, "no such prefix/").await, []);
}

async fn other_content_is_replaced(bucket: &impl Bucket) {
    bucket.put("replaced", b"first").await;
    let first = etag(bucket, "replaced").await;
    bucket.put("replaced", b"second").await;
    let object = ObjectId::new(bucket.name(), "replaced");
    let error = bucket.store().read(&object, &first, 0..5).await;
    assert!(
        matches!(error, Err(StoreError::Replaced { .. })),
        "{error:?}"
    );
    let second = etag(bucket, "replaced").await;
    assert_ne!(first, second);
    let read = bucket.store().read(&object, &second, 0..6).await;
    assert_eq!(read.expect("the new content"), "second");
    bucket.remove("replaced").await;
    let error = bucket.store().read(&object, &second, 0..6).await;
    assert!(
        matches!(error, Err(StoreError::NotFound { .. })),
        "{error:?}"
    );
}

async fn lists_every_key_once_and_exactly(bucket: &impl Bucket) {
    let keys: Vec<String> = odd_keys()
        .into_iter()
        .filter(|key| bucket.can_hold(key))
        .collect();
    assert!(keys.len() > 8, "too few keys to tell anything");
    for key in &keys {
        bucket.put(key, key.as_bytes()).await;
    }
    let listed = |objects: Vec<Listed>| -> Vec<String> {
        objects.into_iter().map(|object| object.key).collect()
    };
    assert_eq!(listed(list_all(bucket, "").await), keys);
    for prefix in ["a", "a ", "a%", "dir a/k+", "é", "\u{1f600}", "con"] {
        let expected: Vec<&String> = keys.iter().filter(|k| k.starts_with(prefix)).collect();
        let found = listed(list_all(bucket, prefix).await);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{prefix:?}");
    }
    for (position, after) in keys.iter().enumerate() {
        let store = bucket.store();
        let page = store.list(bucket.name(), "", Some(after)).await;
        let page = page.unwrap_or_else(|error| panic!("after {after:?}: {error}"));
        let first = page.objects.into_iter().next();
        assert_eq!(
            first.map(|object| object.key).as_ref(),
            keys.get(position + 1),
            "after {after:?}"
        );
    }
}

/// Needs the objects of [`lists_every_key_once_and_exactly`].
async fn reads_what_it_lists(bucket: &impl Bucket) {
    for listed in list_all(bucket, "").await {
        let object = ObjectId::new(bucket.name(), &listed.key);
        let meta = bucket.store().head(&object).await.expect("a head");
        assert_eq!(meta.etag, listed.etag, "{object}");
        assert_eq!(meta.size, listed.size, "{object}");
        // A listing has milliseconds, a head whole seconds.
        assert_eq!(
            meta.last_modified.as_secs(),
            listed.last_modified.as_secs(),
            "{object}"
        );
        let read = bucket.store().read(&object, &listed.etag, 0..listed.size);
        assert_eq!(read.await.expect("the object"), listed.key, "{object}");
    }
}

struct MemoryBucket(MemoryStore);

impl Bucket for MemoryBucket {
    type Store = MemoryStore;

    fn store(&self) -> &MemoryStore {
        &self.0
    }

    fn name(&self) -> &str {
        "bucket"
    }

    async fn put(&self, key: &str, content: &[u8]) {
        let now = Timestamp::from_secs(1_790_000_000);
        self.0.put("bucket", key, content.to_vec(), now);
    }

    async fn remove(&self, key: &str) {
        self.0.remove("bucket", key);
    }
}

struct FolderBucket {
    folder: tempfile::TempDir,
    store: DirStore,
}

impl Bucket for FolderBucket {
    type Store = DirStore;

    fn store(&self) -> &DirStore {
        &self.store
    }

    fn name(&self) -> &str {
        "any"
    }

    async fn put(&self, key: &str, content: &[u8]) {
        let file = self.folder.path().join(key);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, content).expect("written");
    }

    async fn remove(&self, key: &str) {
        std::fs::remove_file(self.folder.path().join(key)).expect("removed");
    }

    fn can_hold(&self, key: &str) -> bool {
        let is_name = |part: &str| !["", ".", ".."].contains(&part) && part.len() <= 255;
        key != "a" && key.split('/').all(is_name)
    }
}

#[tokio::test]
async fn memory_holds_the_contract_in_pages_of_any_size() {
    for objects_max in [1, 2, 7, 1_000] {
        holds(&MemoryBucket(MemoryStore::new().with_pages_of(objects_max))).await;
    }
}

#[tokio::test]
async fn a_folder_holds_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = DirStore::new(folder.path());
    holds(&FolderBucket { folder, store }).await;
}
