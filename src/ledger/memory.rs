//! The ledger in memory, for tests and for runs that remember nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::row::{self, Decision, StoredRow};
use super::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use crate::checkpoint::{Account, Checkpoint};
use crate::clock::Timestamp;
use crate::object::{ContentId, Etag};

/// Keeps the whole protocol and forgets everything when it is dropped.
///
/// Expired rows stay, as they may in DynamoDB: they count as absent.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Contents sort by bucket and key first, strings by their bytes: the order of a listing.
    rows: BTreeMap<ContentId, StoredRow>,
    marks: BTreeMap<String, String>,
    ranges: u64,
}

impl MemoryLedger {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many ranges were asked for.
    pub fn ranges(&self) -> u64 {
        self.held().ranges
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No move leaves a row half written, so what a panicking thread left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply<T>(
        &self,
        content: &ContentId,
        decide: impl FnOnce(Option<&StoredRow>) -> Result<Decision<T>, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut held = self.held();
        let Decision { answer, write } = decide(held.rows.get(content))?;
        if let Some(row) = write {
            held.rows.insert(content.clone(), row);
        }
        Ok(answer)
    }
}

impl Ledger for MemoryLedger {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        self.apply(content, |row| {
            Ok(row::claim(row, content, owner, now, lease))
        })
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        self.apply(&lease.content, |row| row::renew(row, lease, now, duration))
    }

    async fn checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        self.apply(&lease.content, |row| {
            row::checkpoint(row, lease, checkpoint, now, duration)
        })
    }

    async fn release(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.apply(&lease.content, |row| {
            row::release(row, lease, checkpoint, release, now)
        })
    }

    async fn settle(
        &self,
        lease: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), LedgerError> {
        self.apply(&lease.content, |row| {
            row::settle(row, lease, account, now, expires)
        })
    }

    async fn quarantine(
        &self,
        lease: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.apply(&lease.content, |row| {
            row::quarantine(row, lease, account, reason, place, now)
        })
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.apply(content, |row| Ok(row::queue(row, now, until)))
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        self.apply(content, |row| Ok(row::unqueue(row, until)))
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        self.apply(content, |row| Ok(row::reopen(row, checkpoint, now, until)))
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        let start = ContentId {
            bucket: bucket.to_owned(),
            key: first.to_owned(),
            etag: Etag::from(""),
            size: 0,
        };
        let mut held = self.held();
        held.ranges += 1;
        Ok(held
            .rows
            .range(start..)
            .take_while(|(content, _)| content.bucket == bucket && content.key.as_str() <= last)
            .filter_map(|(content, row)| {
                Some(Row {
                    content: content.clone(),
                    state: row.seen_at(now)?,
                })
            })
            .collect())
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        Ok(self.held().marks.get(name).cloned())
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        let mut held = self.held();
        match value {
            Some(value) => held.marks.insert(name.to_owned(), value.to_owned()),
            None => held.marks.remove(name),
        };
        Ok(())
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        Ok(self
            .held()
            .marks
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned())
            .clone())
    }
}
