//! How far an object has come: positions, the account, the checkpoint, and the window that
//! turns acknowledgements in any order into a checkpoint.
//!
//! Goes in: batches sent, and which of their records were answered for. Comes out: what is
//! durable to say about it. It never waits and never writes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A place between two records of an object.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Decoded (plain) bytes before this place.
    pub offset: u64,
    /// Records before this place.
    pub record: u64,
}

/// A set of record indexes or ordinals, as sorted ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many indexes it holds.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// How many separate ranges it holds.
    pub fn pieces(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, index: u64) -> bool {
        let after = self.0.partition_point(|range| range.end <= index);
        self.0
            .get(after)
            .is_some_and(|range| range.contains(&index))
    }

    /// Adds a range; what it overlaps or touches becomes one with it.
    pub fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|held| held.end < range.start);
        let last = self.0.partition_point(|held| held.start <= range.end);
        if let Some(held) = self.0[first..last].first() {
            range.start = range.start.min(held.start);
        }
        if let Some(held) = self.0[first..last].last() {
            range.end = range.end.max(held.end);
        }
        self.0.splice(first..last, [range]);
    }

    pub fn extend(&mut self, other: &Ranges) {
        for range in other.iter() {
            self.insert(range.clone());
        }
    }

    /// Forgets everything below `index`.
    pub fn drop_below(&mut self, index: u64) {
        self.0.retain_mut(|range| {
            range.start = range.start.max(index);
            range.start < range.end
        });
    }

    /// The first index at or after `from` that is not held.
    pub fn first_gap(&self, from: u64) -> u64 {
        let after = self.0.partition_point(|range| range.end <= from);
        match self.0.get(after) {
            Some(range) if range.contains(&from) => range.end,
            _ => from,
        }
    }

    /// The indexes held at the given ordinals: the ordinal counts held indexes from zero.
    /// Ordinals past the end are ignored.
    pub fn at_ordinals(&self, ordinals: &Ranges) -> Ranges {
        let mut found = Ranges::new();
        let mut before = 0;
        for range in &self.0 {
            let length = range.end - range.start;
            for wanted in ordinals.iter() {
                let start = wanted.start.max(before);
                let end = wanted.end.min(before + length);
                if start < end {
                    found.insert(range.start + (start - before)..range.start + (end - before));
                }
            }
            before += length;
        }
        found
    }
}

impl From<Range<u64>> for Ranges {
    fn from(range: Range<u64>) -> Self {
        let mut ranges = Self::new();
        ranges.insert(range);
        ranges
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(indexes: I) -> Self {
        let mut ranges = Self::new();
        for index in indexes {
            ranges.insert(index..index + 1);
        }
        ranges
    }
}

/// What became of the records of an object.
///
/// An object whose sum does not hold is not settled: see [`Account::holds`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Records that were answered for.
    pub records_read: u64,
    /// Records that the endpoint accepted, cut ones included.
    pub records_delivered: u64,
    /// Records that a rule left out.
    pub records_filtered: u64,
    /// Records that can never be accepted as they are.
    pub records_quarantined: u64,
    /// Delivered records that lost something to a limit; their originals are kept.
    pub records_cut: u64,
    /// Plain bytes that the endpoint accepted.
    pub plain_bytes: u64,
    /// Bytes of request bodies on the wire, repeated requests included.
    pub body_bytes: u64,
    /// Requests to the endpoint, repeated ones included.
    pub requests: u64,
}

impl Account {
    /// `read = delivered + filtered + quarantined`.
    pub fn holds(&self) -> bool {
        self.records_read
            == self.records_delivered + self.records_filtered + self.records_quarantined
    }

    /// What this has more than `earlier`.
    #[must_use]
    pub fn less(&self, earlier: &Account) -> Account {
        Account {
            records_read: self.records_read - earlier.records_read,
            records_delivered: self.records_delivered - earlier.records_delivered,
            records_filtered: self.records_filtered - earlier.records_filtered,
            records_quarantined: self.records_quarantined - earlier.records_quarantined,
            records_cut: self.records_cut - earlier.records_cut,
            plain_bytes: self.plain_bytes - earlier.plain_bytes,
            body_bytes: self.body_bytes - earlier.body_bytes,
            requests: self.requests - earlier.requests,
        }
    }

    pub fn add(&mut self, other: &Account) {
        self.records_read += other.records_read;
        self.records_delivered += other.records_delivered;
        self.records_filtered += other.records_filtered;
        self.records_quarantined += other.records_quarantined;
        self.records_cut += other.records_cut;
        self.plain_bytes += other.plain_bytes;
        self.body_bytes += other.body_bytes;
        self.requests += other.requests;
    }
}

/// What the next claimant needs to go on: everything before `position` is answered for, and
/// so are the records in `accepted`, which all lie at or after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub position: Position,
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub accepted: Ranges,
    pub account: Account,
}

impl Checkpoint {
    /// Whether this says at least as much as `earlier`; a ledger takes no checkpoint that says less.
    pub fn covers(&self, earlier: &Checkpoint) -> bool {
        self.position >= earlier.position
            && self.account.records_read >= earlier.account.records_read
    }
}

/// Turns answers in any order into a checkpoint.
///
/// Batches are entered in order when they are launched; records are answered for in any order.
#[derive(Clone, Debug)]
pub struct Window {
    checkpoint: Checkpoint,
    /// Where the launched batches end that the position has not passed.
    ends: std::collections::VecDeque<Position>,
}

impl Window {
    /// Goes on from `checkpoint`.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            ends: std::collections::VecDeque::new(),
        }
    }

    /// Enters the next batch, which ends at `end`.
    pub fn launch(&mut self, end: Position) {
        self.ends.push_back(end);
    }

    /// Notes that `records` are answered for, as `account` says.
    pub fn answer(&mut self, records: &Ranges, account: &Account) {
        self.checkpoint.accepted.extend(records);
        self.checkpoint.account.add(account);
        while let Some(end) = self.ends.front() {
            let position = &mut self.checkpoint.position;
            if self.checkpoint.accepted.first_gap(position.record) < end.record {
                break;
            }
            *position = *end;
            self.ends.pop_front();
        }
        let passed = self.checkpoint.position.record;
        self.checkpoint.accepted.drop_below(passed);
    }

    /// What is durable to say now.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}
