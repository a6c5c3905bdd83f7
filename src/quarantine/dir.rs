//! Quarantine in a folder, for the tool.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::object::ObjectId;
use crate::quarantine::{
    Entries, Entry, EntryPage, Quarantine, QuarantineError, read_entry, unreadable,
};
use crate::store::dir::DirStore;
use crate::store::{Store, StoreError};

/// A folder, made when something is first kept there.
#[derive(Clone, Debug)]
pub struct DirQuarantine {
    root: PathBuf,
}

impl DirQuarantine {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Quarantine for DirQuarantine {
    /// A reader sees the old file or the new one, never a part: it is written beside its place,
    /// synced, and renamed, and the folders on the way are synced too.
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        let plain = name
            .split('/')
            .all(|part| match Path::new(part).components().next() {
                Some(Component::Normal(only)) => only == part,
                _ => false,
            });
        let file = self.root.join(name);
        let place = file.display().to_string();
        if !plain {
            return Err(QuarantineError::Refused {
                place,
                reason: "the name leads out of the folder".to_owned(),
            });
        }
        let root = self.root.clone();
        let written = tokio::task::spawn_blocking(move || write(&root, &file, &content)).await;
        match written {
            Ok(Ok(())) => Ok(place),
            Ok(Err(error)) => Err(failed(place, &error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Entries for DirQuarantine {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        match self.store().list(FOLDER_BUCKET, under, after).await {
            Ok(page) => Ok(EntryPage::of(page, "")),
            Err(error) => Err(unreadable(self.root.display().to_string(), &error)),
        }
    }

    async fn read(&self, entry: &Entry) -> Result<Option<Bytes>, QuarantineError> {
        read_entry(&self.store(), &self.object(&entry.name), entry).await
    }

    /// A folder knows no conditions: what is written between the look and the move is lost.
    async fn replace(&self, entry: &Entry, rest: Option<Bytes>) -> Result<bool, QuarantineError> {
        match self.store().head(&self.object(&entry.name)).await {
            Ok(meta) if meta.etag == entry.etag => {}
            Ok(_) => return Ok(false),
            Err(StoreError::NotFound { .. }) => return Ok(true),
            Err(error) => return Err(unreadable(entry.name.clone(), &error)),
        }
        if let Some(rest) = rest {
            return self.keep(&entry.name, rest).await.map(|_| true);
        }
        let file = self.root.join(&entry.name);
        let place = file.display().to_string();
        match tokio::task::spawn_blocking(move || fs::remove_file(file)).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Ok(Err(error)) => Err(failed(place, &error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn object(&self, name: &str) -> ObjectId {
        ObjectId::new(FOLDER_BUCKET, name)
    }
}

impl DirQuarantine {
    fn store(&self) -> DirStore {
        DirStore::new(&self.root)
    }
}

/// What stands in place of a bucket's name; no bucket can be called so.
const FOLDER_BUCKET: &str = "#folder";

fn write(root: &Path, file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(format!(".{:016x}.tmp", getrandom::u64()?));
    let moved =
        write_synced(Path::new(&unfinished), content).and_then(|()| fs::rename(&unfinished, file));
    if moved.is_err() {
        // What went wrong first is what is reported.
        let _ = fs::remove_file(&unfinished);
    }
    moved?;
    for folder in folder.ancestors() {
        File::open(folder)?.sync_all()?;
        if folder == root {
            break;
        }
    }
    Ok(())
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn failed(place: String, error: &io::Error) -> QuarantineError {
    let reason = error.to_string();
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy | io::ErrorKind::TimedOut => {
            QuarantineError::Unavailable { place, reason }
        }
        _ => QuarantineError::Refused { place, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_name_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let quarantine = DirQuarantine::new(dir.path().join("in"));
        for name in ["../out", "a/../../out", "/out", "a//b", "a/./b", ""] {
            let error = quarantine.keep(name, Bytes::new()).await;
            assert!(
                matches!(error, Err(QuarantineError::Refused { .. })),
                "{name}: {error:?}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn nothing_unfinished_is_left_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let quarantine = DirQuarantine::new(dir.path());
        fs::create_dir(dir.path().join("taken")).expect("made");
        let kept = quarantine.keep("taken", Bytes::from("x")).await;
        kept.expect_err("a folder stands there");
        let kept = quarantine.keep("objects/b/1.json", Bytes::from("x")).await;
        let place = kept.expect("kept");
        assert_eq!(fs::read(place).expect("read"), b"x");
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
