//! What every quarantine does. [`holds`] is the suite; an implementation joins by [`Reader`].

use std::future::Future;

use bucket_brigade::quarantine::Quarantine;
use bucket_brigade::quarantine::dir::DirQuarantine;
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bytes::Bytes;

/// One empty quarantine under test, and the other side of it: who reads what was kept.
pub trait Reader {
    type Quarantine: Quarantine;

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
