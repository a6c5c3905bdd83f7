//! What a listener has been sent and what it kept, in a form that a check of millions can use.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::body::{Identity, RecordId};

/// Everything since the start.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub counts: Counts,
    /// Raw lines, in the order of their requests, if the options ask for them.
    pub lines: Vec<Bytes>,
    times: HashMap<RecordId, u32>,
}

/// The figures among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of any kind, answered or not.
    pub requests: u64,
    /// Bodies as they came over the wire.
    pub body_bytes: u64,
    /// The same bodies decoded, so far as they could be.
    pub plain_bytes: u64,
    /// Records kept, each time one is.
    pub records: u64,
    /// Lines refused in a partial success: malformed, oversized or empty.
    pub lines_refused: u64,
    /// Requests that were being answered at the same time, at most.
    pub in_flight_peak: u64,
    /// Bodies with more than one gzip member: a loss at the real receiver.
    pub second_members: u64,
    /// Bodies that could not be inflated.
    pub corrupt_bodies: u64,
    /// Answers by status; connections closed without one are under 0.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests by the `type` they named.
    pub types: BTreeMap<String, u64>,
}

impl Received {
    pub(super) fn keep(&mut self, lines: &[Bytes], ids: &[RecordId]) {
        self.counts.records += ids.len() as u64;
        for id in ids {
            *self.times.entry(*id).or_default() += 1;
        }
        self.lines.extend_from_slice(lines);
    }

    /// How often the record was kept whose identity is this text.
    pub fn times(&self, identity: &[u8]) -> u32 {
        self.times_of(RecordId::of(identity))
    }

    /// How often this record was kept.
    pub fn times_of(&self, id: RecordId) -> u32 {
        self.times.get(&id).copied().unwrap_or_default()
    }

    /// Records kept, each counted once.
    pub fn distinct(&self) -> u64 {
        self.times.len() as u64
    }

    /// Records kept beyond the first time.
    pub fn duplicates(&self) -> u64 {
        self.counts.records - self.distinct()
    }

    /// How many of these records were never kept.
    pub fn missing(&self, expected: impl IntoIterator<Item = RecordId>) -> u64 {
        let missing = expected.into_iter().filter(|id| self.times_of(*id) == 0);
        missing.count() as u64
    }
}

impl Identity {
    /// The identities of many lines.
    pub(super) fn of_all(&self, lines: &[&[u8]]) -> Vec<RecordId> {
        lines.iter().map(|line| self.of(line)).collect()
    }
}
