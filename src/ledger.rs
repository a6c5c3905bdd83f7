//! The ledger: one row for each content of each object, and the moves between its states.
//!
//! Every implementation keeps the same protocol and passes the same contract suite.
//!
//! ```text
//!            queue                claim                settle
//!  (absent) ───────▶ queued ───────────────▶ claimed ─────────▶ settled
//!      │               ▲  ▲                   │  │ │
//!      └── claim ──────┼──┼──▶ claimed        │  │ └ quarantine ▶ quarantined
//!                      │  └──── release ──────┘  └ checkpoint, renew ▶ claimed
//!                      └─ queue, when the lease ran out
//!
//! quarantined ──── reopen ▶ queued
//! ```
//!
//! - A claim is granted when the row is absent, queued (lapsed or not), claimed with a lease that
//!   ran out, or settled and past its retention (expired rows may still be readable).
//! - `checkpoint`, `renew`, `release`, `settle` and `quarantine` carry the lease's owner and fail with
//!   [`LedgerError::LeaseLost`] once anyone else moved the row. A holder whose lease ran out may
//!   still write as long as nobody has.
//! - Repeating the last move, by the same owner, is no error and changes nothing: an HTTP client repeats a
//!   request whose answer was lost, and must not take itself for a stranger.
//! - Only `reopen` leads out of quarantined, by a person's wish: the row is queued, with what was achieved.
//! - Attempts count claims that made no progress: a claim adds one, a checkpoint that goes forward
//!   sets them to zero, a release gives one back unless it blames the object.
//! - Time is the caller's: every move takes `now`, so that clocks are the caller's business and
//!   tests need no sleep.
//! - When the ledger is unavailable the item fails; nothing is ever processed unclaimed.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Account, Checkpoint};
use crate::clock::Timestamp;
use crate::object::ContentId;

#[cfg(any(feature = "aws", feature = "local"))]
mod attributes;
#[cfg(feature = "aws")]
pub mod dynamodb;
pub mod memory;
mod row;
#[cfg(feature = "local")]
pub mod sqlite;

/// Who holds a lease. Different for every claim, also of the same process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(String);

impl Owner {
    /// A new owner: `name` (a request id, a host) for the reader, and 64 random bits.
    pub fn new(name: &str, random: u64) -> Self {
        Self(format!("{name}/{random:016x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Owner {
    fn from(owner: String) -> Self {
        Self(owner)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The right to work on one content until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub content: ContentId,
    pub owner: Owner,
    pub until: Timestamp,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Granted(Box<Grant>),
    /// Settled or quarantined: nothing is left to do.
    Settled,
    /// Another holds a lease that has not run out.
    Busy {
        until: Timestamp,
    },
}

/// A granted claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub lease: Lease,
    /// Where to go on; the default one for a row that nobody has worked on.
    pub checkpoint: Checkpoint,
    /// Claims without progress, this one included: at least 1.
    pub attempts: u32,
    /// The reason that the last release gave, if any.
    pub last_reason: Option<String>,
}

/// How a lease is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Until when the row counts as queued: someone is expected to claim it by then, and reconcile
    /// leaves it alone.
    pub queued_until: Timestamp,
    /// Whether this attempt counts against the object.
    pub blames_object: bool,
    /// Why the work was not finished, for the next reader.
    pub reason: String,
}

/// The answer to [`Ledger::reopen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopened {
    /// The row is queued now, and nobody else was told so.
    Queued,
    /// The row is queued or claimed, and has not lapsed: someone is expected to carry it, or does.
    UnderWay,
    /// The row is settled: nothing is left to do.
    Settled,
}

/// A row as the range query gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub content: ContentId,
    pub state: State,
}

/// What reconcile needs to know of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Queued { until: Timestamp },
    Claimed { until: Timestamp },
    Settled,
    Quarantined,
}

impl State {
    /// Whether the row is taken care of at `now`: settled, quarantined, claimed with a live lease, or
    /// queued and not lapsed.
    pub fn is_live(self, now: Timestamp) -> bool {
        match self {
            State::Queued { until } | State::Claimed { until } => now < until,
            State::Settled | State::Quarantined => true,
        }
    }
}

/// Why a move failed, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Stop at once: another holds, or has finished, this content.
    #[error("lost the lease on {content}")]
    LeaseLost { content: ContentId },
    /// A checkpoint that says less than the row already does. A defect of the caller.
    #[error("checkpoint of {content} would go backward")]
    CheckpointBehind { content: ContentId },
    /// Throttled, timed out or unreachable: try again later.
    #[error("ledger unavailable: {reason}")]
    Unavailable { reason: String },
    /// Refused for good: a missing table, a missing permission, a row that cannot be read.
    #[error("ledger refused: {reason}")]
    Refused { reason: String },
}

impl LedgerError {
    /// The caller's time was up before the ledger answered.
    pub fn out_of_time() -> Self {
        LedgerError::Unavailable {
            reason: "time ran out".to_owned(),
        }
    }
}

/// The port.
pub trait Ledger: Send + Sync {
    /// Asks for the right to work on `content` until `now + lease`.
    /// The holder itself is granted what it was granted before.
    fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, LedgerError>> + Send;

    /// Extends the lease to `now + duration` and returns it.
    fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> impl Future<Output = Result<Lease, LedgerError>> + Send;

    /// Makes `checkpoint` durable and extends the lease to `now + duration`.
    /// If it goes forward, attempts become zero. Repeating the same checkpoint is no error.
    fn checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> impl Future<Output = Result<Lease, LedgerError>> + Send;

    /// Makes `checkpoint` durable and gives the lease back: the row is queued.
    /// Attempts become zero if the checkpoint goes forward, else they fall by one unless the
    /// release blames the object. A checkpoint that is behind is an error, and the lease stays.
    fn release(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Ends the work: the row is settled with its account, and may be forgotten after `expires`.
    fn settle(
        &self,
        lease: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Ends the work: the row is quarantined with its account so far, the reason, and the place where the
    /// evidence lies. Such a row is never forgotten.
    fn quarantine(
        &self,
        lease: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Notes that `content` is about to be sent to the work queue, until `until`.
    /// True if it was noted: the row was absent, or not live at `now`; checkpoint and attempts in the
    /// row stay. Of any number of callers at once, one gets true. Should that answer be lost, nobody
    /// does, and the item waits until the note lapses.
    fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Takes back a [`Ledger::queue`] whose item could not be sent: if the row still is as that left it,
    /// queued until exactly `until`, it lapses at once.
    fn unqueue(
        &self,
        content: &ContentId,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Asks for a quarantined content to be carried again, until `until`, as if it had never been claimed
    /// but for what was achieved.
    ///
    /// A quarantined row, or none, is queued with `checkpoint`, which is what the evidence says; a row
    /// that lapsed is queued with its own, for it knows more. Of any number of callers at once, one gets
    /// [`Reopened::Queued`].
    fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Reopened, LedgerError>> + Send;

    /// Every row of `bucket` with `first <= key <= last`, keys compared as bytes, in the order in which
    /// ListObjectsV2 lists keys (rows of one key in any order). Rows that expired by `now` are left
    /// out; every move that was answered before is seen. All rows are in memory at once, some hundred bytes
    /// each: the caller bounds the range, by a page of a listing.
    fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Row>, LedgerError>> + Send;

    /// Reads what [`Ledger::write_mark`] wrote: positions of unfinished passes, the `SINCE` of a deployment.
    fn read_mark(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<String>, LedgerError>> + Send;

    /// Writes a small note (at most a few KB) under a name; `None` removes it.
    fn write_mark(
        &self,
        name: &str,
        value: Option<&str>,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Writes a note unless one stands there already, and returns the one that stands there now.
    fn write_mark_once(
        &self,
        name: &str,
        value: &str,
    ) -> impl Future<Output = Result<String, LedgerError>> + Send;
}

impl<L: Ledger> Ledger for std::sync::Arc<L> {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        (**self).claim(content, owner, now, lease).await
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        (**self).renew(lease, now, duration).await
    }

    async fn checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        (**self).checkpoint(lease, checkpoint, now, duration).await
    }

    async fn release(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        (**self).release(lease, checkpoint, release, now).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), LedgerError> {
        (**self).settle(lease, account, now, expires).await
    }

    async fn quarantine(
        &self,
        lease: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        (**self)
            .quarantine(lease, account, reason, place, now)
            .await
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        (**self).queue(content, now, until).await
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        (**self).unqueue(content, until).await
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        (**self).reopen(content, checkpoint, now, until).await
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        (**self).range(bucket, first, last, now).await
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        (**self).read_mark(name).await
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        (**self).write_mark(name, value).await
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        (**self).write_mark_once(name, value).await
    }
}
