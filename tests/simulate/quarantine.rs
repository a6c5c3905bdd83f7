//! Quarantine in memory: reads what is kept, and holds it against what was written.

use std::sync::Arc;

use bucket_brigade::object::{ContentId, ObjectId};
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::quarantine::{Entries, Entry, EntryPage, Quarantine, QuarantineError};
use bytes::Bytes;
use serde::Deserialize;

use crate::faults::Fault;
use crate::object::identity;
use crate::world::World;

#[derive(Clone)]
pub struct SimQuarantine {
    pub inner: Arc<MemoryQuarantine>,
    pub world: Arc<World>,
}

#[derive(Deserialize)]
struct RecordLine {
    reason: String,
    source: ContentId,
    record: u64,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    hex: Option<String>,
}

#[derive(Deserialize)]
struct ObjectEntry {
    reason: String,
    source: ContentId,
}

impl Quarantine for SimQuarantine {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        self.world.pass(5, 100).await;
        let unavailable = || QuarantineError::Unavailable {
            place: name.to_owned(),
            reason: "503".to_owned(),
        };
        let is_away = self.world.spell(Fault::QuarantineOutage, 0);
        if is_away || self.world.strikes(Fault::QuarantineAway) {
            self.note_unkept(&content);
            return Err(unavailable());
        }
        self.take_in(name, &content);
        self.inner.keep(name, content.clone()).await?;
        if self.world.strikes(Fault::QuarantineAnswerLost) {
            self.note_unkept(&content);
            self.world.pass_log(1, 5_000).await;
            return Err(unavailable());
        }
        self.world.pass(1, 50).await;
        Ok(format!("memory:{name}"))
    }
}

/// Nothing is replayed here.
impl Entries for SimQuarantine {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        self.inner.list(under, after).await
    }

    async fn read(&self, entry: &Entry) -> Result<Option<Bytes>, QuarantineError> {
        self.inner.read(entry).await
    }

    async fn replace(&self, entry: &Entry, rest: Option<Bytes>) -> Result<bool, QuarantineError> {
        self.inner.replace(entry, rest).await
    }

    fn object(&self, name: &str) -> ObjectId {
        self.inner.object(name)
    }
}

impl SimQuarantine {
    /// Notes of whose records nobody says which ones the endpoint took.
    fn note_unkept(&self, content: &[u8]) {
        let text = String::from_utf8_lossy(content);
        let mut state = self.world.state();
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str::<RecordLine>(line).ok())
        {
            if let Some(content) = state.by_id.get(&line.source).copied()
                && line.reason == "rejected_unidentified"
            {
                state.unkept.insert(content);
            }
        }
    }

    fn take_in(&self, name: &str, content: &[u8]) {
        let text = String::from_utf8_lossy(content);
        for line in text.lines() {
            if name.starts_with("objects/") {
                match serde_json::from_str::<ObjectEntry>(line) {
                    Ok(entry) => self.keep_object(&entry),
                    Err(error) => self.world.violate(&format!("{name}: {error}")),
                }
            } else {
                match serde_json::from_str::<RecordLine>(line) {
                    Ok(line) => self.keep_record(&line, name.starts_with("records/")),
                    Err(error) => self.world.violate(&format!("{name}: {error}")),
                }
            }
        }
    }

    fn keep_object(&self, entry: &ObjectEntry) {
        let key = &entry.source.key;
        self.world.tell(&format!("kept {key}: {}", entry.reason));
        let mut state = self.world.state();
        if let Some(content) = state.by_id.get(&entry.source).copied() {
            state.objects_kept.insert(content);
        }
    }

    fn keep_record(&self, line: &RecordLine, is_refused: bool) {
        let bytes = match (&line.text, &line.hex) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(hex)) => (0..hex.len() / 2)
                .filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
                .collect(),
            (None, None) => Vec::new(),
        };
        let (key, record) = (&line.source.key, line.record);
        let at = self.world.elapsed();
        let mut state = self.world.state();
        let content = state.by_id.get(&line.source).copied();
        let found = identity(&bytes);
        let is_it = content.is_some_and(|content| {
            let mut claims = state.claims_of(content).iter();
            claims.any(|claim| {
                let first = state.contents[content].first(state.claims[*claim].as_lines);
                found == Some((content, first + record as usize))
            })
        });
        let Some((content, record)) = found.filter(|_| is_it) else {
            state.violate(
                at,
                &format!("kept as record {record} of {key}, and it is {found:?}"),
            );
            return;
        };
        state.tell(
            at,
            &format!("kept record {content}.{record}: {}", line.reason),
        );
        if is_refused {
            state.fates[content][record].kept = true;
        }
    }
}
