//! Quarantine in memory, with a switch that makes it fail.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::object::{Etag, ObjectId};
use crate::quarantine::{Entries, Entry, EntryPage, Quarantine, QuarantineError, is_entry};

/// Small, so that tests see pages.
const PAGE_ENTRIES_MAX: usize = 3;

/// Makes an error for the place it is given.
type Failure = Box<dyn Fn(String) -> QuarantineError + Send>;

#[derive(Default)]
pub struct MemoryQuarantine {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<String, Bytes>,
    writes: u64,
    failing: (u64, Option<Failure>),
}

impl MemoryQuarantine {
    pub fn new() -> Self {
        Self::default()
    }

    /// What is kept, by name.
    pub fn kept(&self) -> BTreeMap<String, Bytes> {
        self.state().kept.clone()
    }

    /// How many writes were asked for, failed ones included.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// The next `count` writes fail.
    pub fn fail(&self, count: u64, failure: impl Fn(String) -> QuarantineError + Send + 'static) {
        self.state().failing = (count, Some(Box::new(failure)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quarantine for MemoryQuarantine {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        let mut state = self.state();
        let place = format!("memory:{name}");
        state.writes += 1;
        if let (count @ 1.., Some(failure)) = &mut state.failing {
            *count -= 1;
            return Err(failure(place));
        }
        state.kept.insert(name.to_owned(), content);
        Ok(place)
    }
}

impl Entries for MemoryQuarantine {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        let state = self.state();
        let mut entries: Vec<Entry> = state
            .kept
            .iter()
            .filter(|(name, _)| name.starts_with(under) && is_entry(name))
            .filter(|(name, _)| after.is_none_or(|after| name.as_str() > after))
            .take(PAGE_ENTRIES_MAX + 1)
            .map(|(name, content)| Entry {
                name: name.clone(),
                etag: etag(content),
                size: content.len() as u64,
            })
            .collect();
        let more = entries.len() > PAGE_ENTRIES_MAX;
        entries.truncate(PAGE_ENTRIES_MAX);
        let last = entries.last().map(|entry| entry.name.clone());
        Ok(EntryPage {
            entries,
            next: last.filter(|_| more),
        })
    }

    async fn read(&self, entry: &Entry) -> Result<Option<Bytes>, QuarantineError> {
        let content = self.state().kept.get(&entry.name).cloned();
        Ok(content.filter(|content| etag(content) == entry.etag))
    }

    async fn replace(&self, entry: &Entry, rest: Option<Bytes>) -> Result<bool, QuarantineError> {
        let mut state = self.state();
        match state.kept.get(&entry.name) {
            Some(content) if etag(content) != entry.etag => return Ok(false),
            None => return Ok(true),
            Some(_) => {}
        }
        match rest {
            Some(rest) => state.kept.insert(entry.name.clone(), rest),
            None => state.kept.remove(&entry.name),
        };
        Ok(true)
    }

    fn object(&self, name: &str) -> ObjectId {
        ObjectId::new("memory", name)
    }
}

fn etag(content: &Bytes) -> Etag {
    Etag::from(format!("{:08x}", crc32fast::hash(content)))
}
