//! A folder, or one file, as an object store: `brigade ship PATH`.
//!
//! Keys are paths relative to the folder with `/` between their parts; the key of a single file
//! is its name. It has one bucket, whatever name that is asked by. Links to files are followed,
//! links to folders are not. Nothing is ever written.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::object::{Etag, ObjectId};
use crate::store::{Listed, ObjectMeta, Page, Store, StoreError};

/// As S3 does.
const PAGE_OBJECTS_MAX: usize = 1_000;

#[derive(Clone, Debug)]
pub struct DirStore {
    root: PathBuf,
}

impl DirStore {
    /// `root` is a folder, or one file. It is looked at when something is asked for.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file behind a key; none behind a key that would lead out of the folder.
    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        let plain = Path::new(key)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        // `components` drops what a key may not have lost: empty parts and dots.
        let whole = key.split('/').all(|part| !part.is_empty() && part != ".");
        match (plain && whole, self.root.is_file()) {
            (true, false) => Ok(self.root.join(key)),
            (true, true) if self.root.file_name().is_some_and(|name| name == key) => {
                Ok(self.root.clone())
            }
            _ => Err(StoreError::NotFound {
                place: self.root.join(key).display().to_string(),
            }),
        }
    }
}

impl Store for DirStore {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        let path = self.path(&object.key)?;
        blocking(move || {
            let metadata = fs::metadata(&path).map_err(|error| failed(&path, &error))?;
            meta(&path, &metadata)
        })
        .await
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let path = self.path(&object.key)?;
        let etag = etag.clone();
        blocking(move || read(&path, &etag, range)).await
    }

    /// In byte order of the keys, whatever the order in which the folder gives its names. A name
    /// that is not UTF-8 cannot be a key: it fails the page rather than be passed over.
    async fn list(
        &self,
        _bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        let mut walk = Walk {
            prefix: prefix.to_owned(),
            start_after: start_after.map(str::to_owned),
            found: Vec::new(),
        };
        let root = self.root.clone();
        blocking(move || {
            let metadata = fs::metadata(&root).map_err(|error| StoreError::Unusable {
                place: root.display().to_string(),
                reason: error.to_string(),
            })?;
            match metadata.is_dir() {
                true => walk.folder(&root, "")?,
                false => walk.file(name(&root)?, &root)?,
            }
            let more = walk.found.len() > PAGE_OBJECTS_MAX;
            walk.found.truncate(PAGE_OBJECTS_MAX);
            Ok(Page {
                objects: walk.found,
                more,
            })
        })
        .await
    }
}

/// One page's way through the folder.
struct Walk {
    prefix: String,
    start_after: Option<String>,
    found: Vec<Listed>,
}

impl Walk {
    /// `key` is the folder's own, with a `/` at its end, or empty for the root.
    fn folder(&mut self, folder: &Path, key: &str) -> Result<(), StoreError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
            let entry = entry.map_err(|error| failed(folder, &error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| failed(&path, &error))?;
            // With its `/`, a folder sorts among its siblings as its keys do.
            let slash = if kind.is_dir() { "/" } else { "" };
            entries.push((format!("{key}{}{slash}", name(&path)?), path));
        }
        entries.sort();
        for (key, path) in entries {
            if self.found.len() > PAGE_OBJECTS_MAX {
                break;
            }
            match key.ends_with('/') {
                true if self.may_hold(&key) => self.folder(&path, &key)?,
                true => {}
                false => self.file(key, &path)?,
            }
        }
        Ok(())
    }

    /// Whether keys that begin with this folder's can be wanted.
    fn may_hold(&self, folder: &str) -> bool {
        let prefixed = folder.starts_with(&self.prefix) || self.prefix.starts_with(folder);
        let passed = self
            .start_after
            .as_deref()
            .is_some_and(|after| folder < after && !after.starts_with(folder));
        prefixed && !passed
    }

    fn file(&mut self, key: String, path: &Path) -> Result<(), StoreError> {
        let passed = self.start_after.as_ref().is_some_and(|after| key <= *after);
        if passed || !key.starts_with(&self.prefix) {
            return Ok(());
        }
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // Removed since, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(path, &error)),
        };
        if metadata.is_file() {
            let ObjectMeta {
                etag,
                size,
                last_modified,
            } = meta(path, &metadata)?;
            self.found.push(Listed {
                key,
                etag,
                size,
                last_modified,
            });
        }
        Ok(())
    }
}

fn read(path: &Path, etag: &Etag, range: Range<u64>) -> Result<Bytes, StoreError> {
    let io = |error: io::Error| failed(path, &error);
    let mut file = File::open(path).map_err(io)?;
    let unchanged = |file: &File| match meta(path, &file.metadata().map_err(io)?)? {
        meta if meta.etag == *etag && range.end <= meta.size => Ok(()),
        _ => Err(StoreError::Replaced {
            place: path.display().to_string(),
        }),
    };
    unchanged(&file)?;
    let length = range.end.saturating_sub(range.start);
    let length = usize::try_from(length).map_err(|error| io(io::Error::other(error)))?;
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(range.start)).map_err(io)?;
    let received = file.read_exact(&mut bytes);
    // A file that was written in place meanwhile gave bytes of two contents.
    unchanged(&file)?;
    received.map_err(io)?;
    Ok(bytes.into())
}

fn meta(path: &Path, metadata: &Metadata) -> Result<ObjectMeta, StoreError> {
    let modified = metadata.modified().map_err(|error| failed(path, &error))?;
    let ns = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ObjectMeta {
        etag: Etag::from(format!("{:x}-{:x}", metadata.len(), ns.as_nanos())),
        size: metadata.len(),
        last_modified: Timestamp::from(modified),
    })
}

fn name(path: &Path) -> Result<String, StoreError> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_str()
        .map(str::to_owned)
        .ok_or_else(|| StoreError::Unusable {
            place: path.display().to_string(),
            reason: "its name is not UTF-8, so it cannot be a key".to_owned(),
        })
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let place = path.display().to_string();
    let reason = error.to_string();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::NotFound { place },
        io::ErrorKind::PermissionDenied => StoreError::Denied { place, reason },
        _ => StoreError::Unavailable { place, reason },
    }
}

/// Files are read on a thread of their own, so that a slow disk stops nothing else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|o| o.key.as_str()).collect()
    }

    #[tokio::test]
    async fn a_folder_is_listed_in_byte_order_of_whole_keys() {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["a", "b/c"] {
            fs::create_dir_all(dir.path().join(folder)).expect("made");
        }
        for file in ["a/z", "a.log", "a-b", "a0", "b/c/d", "é"] {
            fs::write(dir.path().join(file), file).expect("written");
        }
        let store = DirStore::new(dir.path());
        let all = ["a-b", "a.log", "a/z", "a0", "b/c/d", "é"];
        let page = store.list("any", "", None).await.expect("a page");
        assert_eq!(keys(&page), all);
        assert!(!page.more);
        for (position, after) in all.iter().enumerate() {
            let page = store.list("any", "", Some(after)).await.expect("a page");
            assert_eq!(keys(&page), all[position + 1..], "after {after}");
        }
        let page = store.list("any", "b/", None).await.expect("a page");
        assert_eq!(keys(&page), ["b/c/d"]);
    }

    #[tokio::test]
    async fn more_files_than_a_page_holds_come_in_pages() {
        let dir = tempfile::tempdir().expect("a folder");
        for number in 0..PAGE_OBJECTS_MAX + 5 {
            fs::write(dir.path().join(format!("{number:05}")), "x").expect("written");
        }
        let store = DirStore::new(dir.path());
        let first = store.list("any", "", None).await.expect("a page");
        assert_eq!((first.objects.len(), first.more), (PAGE_OBJECTS_MAX, true));
        let page = store.list("any", "", Some("00999")).await.expect("a page");
        assert_eq!((page.objects.len(), page.more), (5, false));
    }

    #[tokio::test]
    async fn a_single_file_is_a_store_of_one_object() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("one.log");
        fs::write(&file, "abc").expect("written");
        let store = DirStore::new(&file);
        let page = store.list("any", "", None).await.expect("a page");
        assert_eq!(keys(&page), ["one.log"]);
        let object = ObjectId::new("any", "one.log");
        let etag = &page.objects[0].etag;
        assert_eq!(store.read(&object, etag, 1..3).await.expect("read"), "bc");
        let other = ObjectId::new("any", "two.log");
        store.head(&other).await.expect_err("not there");
    }

    #[tokio::test]
    async fn no_key_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("in")).expect("made");
        fs::write(dir.path().join("out"), "secret").expect("written");
        let store = DirStore::new(dir.path().join("in"));
        for key in ["../out", "a/../../out", "/etc/hostname", "./../out", ""] {
            let error = store
                .head(&ObjectId::new("any", key))
                .await
                .expect_err("refused");
            assert!(
                matches!(error, StoreError::NotFound { .. }),
                "{key}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_that_is_no_key_is_not_passed_over() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().expect("a folder");
        let name = std::ffi::OsStr::from_bytes(b"bad-\xff.log");
        fs::write(dir.path().join(name), "x").expect("written");
        let error = DirStore::new(dir.path()).list("any", "", None).await;
        assert!(
            matches!(error, Err(StoreError::Unusable { .. })),
            "{error:?}"
        );
    }
}
