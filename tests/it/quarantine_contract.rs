//! What every quarantine does. [`holds`] is the suite; an implementation joins by [`Reader`].

use std::future::Future;

use bucket_brigade::quarantine::dir::DirQuarantine;
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::quarantine::{Entries, Entry, Quarantine};
use bytes::Bytes;

/// One empty quarantine under test, and the other side of it: who reads what was kept.
pub trait Reader {
    type Quarantine: Entries;

    fn quarantine(&self) -> &Self::Quarantine;

    /// What is kept at a place that [`Quarantine::keep`] named.
    fn read(&self, place: &str) -> impl Future<Output = Bytes>;

    /// How many things are kept.
    fn count(&self) -> impl Future<Output = usize>;
}

/// The suite. The quarantine must be empty and nobody else may write to it.
pub async fn holds(reader: &impl Reader) {
    let names = [
        "records/b/0123abcd/0.ndjson",
        "cut/b/0123abcd/0.ndjson",
        "objects/b/0123abcd.json",
    ];
    for (number, name) in names.iter().enumerate() {
        let content = Bytes::from(format!("{{\"n\":{number}}}\n\u{0}é"));
        let place = keep(reader, name, content.clone()).await;
        assert!(place.ends_with(name), "{place}");
        assert_eq!(reader.read(&place).await, content);
    }
    assert_eq!(reader.count().await, names.len());

    // The same name again is the same thing, with the newest content.
    let place = keep(reader, names[0], Bytes::from("again")).await;
    assert_eq!(reader.read(&place).await, "again");
    assert_eq!(reader.count().await, names.len());

    let large = Bytes::from(vec![b'x'; 11 * 1024 * 1024]);
    let place = keep(reader, "records/b/large/0.ndjson", large.clone()).await;
    assert_eq!(reader.read(&place).await, large);
    let place = keep(reader, "records/b/empty/0.ndjson", Bytes::new()).await;
    assert_eq!(reader.read(&place).await, "");

    are_found_again(reader).await;
}

/// What is kept is listed by name, read, and removed or replaced as long as it is what was listed.
async fn are_found_again(reader: &impl Reader) {
    let quarantine = reader.quarantine();
    keep(reader, "records/b/0123abcd/0-fffe-1.ndjson", "x".into()).await;
    let listed = list(quarantine, "").await;
    let names: Vec<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
    // In byte order: what stands for a record that was refused again comes before what it came from.
    let expected = [
        "cut/b/0123abcd/0.ndjson",
        "objects/b/0123abcd.json",
        "records/b/0123abcd/0-fffe-1.ndjson",
        "records/b/0123abcd/0.ndjson",
        "records/b/empty/0.ndjson",
        "records/b/large/0.ndjson",
    ];
    assert_eq!(names, expected);
    assert_eq!(list(quarantine, "records/b/0123").await, listed[2..4]);
    let after = quarantine
        .list("", Some(expected[4]))
        .await
        .expect("listed");
    assert_eq!(after.entries, listed[5..]);

    let read = async |entry: &Entry| quarantine.read(entry).await.expect("read");
    assert_eq!(read(&listed[2]).await, Some("x".into()));
    assert_eq!(read(&listed[4]).await, Some("".into()));
    let object = quarantine.object(expected[2]);
    assert!(object.key.ends_with(expected[2]), "{object}");

    // One that was kept anew since it was listed stays, and is not taken for what was listed.
    let (fresh, stale) = (&listed[3], &listed[2]);
    keep(reader, expected[2], "kept anew".into()).await;
    assert_eq!(read(stale).await, None);
    let replace = async |entry: &Entry, rest: Option<Bytes>| {
        let replaced = quarantine.replace(entry, rest).await;
        replaced.expect("replaced")
    };
    assert!(!replace(stale, None).await);
    assert!(!replace(stale, Some("rest".into())).await);
    let now = &list(quarantine, expected[2]).await[0];
    assert_eq!(read(now).await, Some("kept anew".into()));

    assert!(replace(fresh, Some("a rest".into())).await);
    let now = &list(quarantine, expected[3]).await[0];
    assert_eq!(read(now).await, Some("a rest".into()));
    assert!(replace(now, None).await);
    assert_eq!(list(quarantine, expected[3]).await, []);
    assert_eq!(read(now).await, None);
    assert!(replace(now, None).await, "what is gone is removed already");
}

async fn list(quarantine: &impl Entries, under: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = quarantine.list(under, after.as_deref()).await;
        let page = page.expect("listed");
        entries.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => return entries,
        }
    }
}

async fn keep(reader: &impl Reader, name: &str, content: Bytes) -> String {
    let kept = reader.quarantine().keep(name, content).await;
    kept.expect("kept")
}

struct MemoryReader(MemoryQuarantine);

impl Reader for MemoryReader {
    type Quarantine = MemoryQuarantine;

    fn quarantine(&self) -> &MemoryQuarantine {
        &self.0
    }

    async fn read(&self, place: &str) -> Bytes {
        let name = place.strip_prefix("memory:").expect("a name");
        self.0.kept()[name].clone()
    }

    async fn count(&self) -> usize {
        self.0.kept().len()
    }
}

struct FolderReader {
    folder: tempfile::TempDir,
    quarantine: DirQuarantine,
}

impl Reader for FolderReader {
    type Quarantine = DirQuarantine;

    fn quarantine(&self) -> &DirQuarantine {
        &self.quarantine
    }

    async fn read(&self, place: &str) -> Bytes {
        std::fs::read(place).expect("read").into()
    }

    async fn count(&self) -> usize {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files += 1,
                }
            }
        }
        files
    }
}

#[tokio::test]
async fn memory_holds_the_contract() {
    holds(&MemoryReader(MemoryQuarantine::new())).await;
}

#[tokio::test]
async fn a_folder_holds_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let quarantine = DirQuarantine::new(folder.path().join("made/by/need"));
    holds(&FolderReader { folder, quarantine }).await;
}
