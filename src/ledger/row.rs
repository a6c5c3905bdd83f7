//! What a row holds, and the moves between its states.
//!
//! Goes in: the row as it stands, or none, and the operands of a move. Comes out: the answer, with the
//! row to write in its place if the move changes it. It never reads, writes or asks for the time.
//!
//! SQLite and memory decide and write in one transaction. DynamoDB guesses the ordinary case in one
//! conditional write and comes here when the guess was wrong.

use std::time::Duration;

use super::{Claim, Grant, Lease, LedgerError, Owner, Release, Reopened, State};
use crate::checkpoint::{Account, Checkpoint};
use crate::clock::Timestamp;
use crate::object::ContentId;

/// A row as it is stored, but for the identity of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredRow {
    pub state: RowState,
    /// When a move last wrote this row.
    pub changed_at: Timestamp,
}

/// What each state knows.
///
/// The owner stays in the row after its last move, so that repeating that move (an HTTP client does
/// when an answer is lost) finds itself there and not a stranger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    Queued {
        until: Timestamp,
        /// Who released the row; none if it was queued by [`queue`].
        released_by: Option<Owner>,
        progress: Progress,
    },
    Claimed {
        owner: Owner,
        until: Timestamp,
        progress: Progress,
    },
    Settled {
        owner: Owner,
        account: Account,
        expires: Timestamp,
    },
    Quarantined {
        owner: Owner,
        account: Account,
        reason: String,
        place: String,
    },
}

/// What passes from one claimant to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Claims since the checkpoint last went forward.
    pub attempts: u32,
    pub checkpoint: Checkpoint,
    /// The reason that the last release gave.
    pub reason: Option<String>,
}

/// The outcome of a move.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision<T> {
    pub answer: T,
    /// The row to write; none if the move changes nothing.
    pub write: Option<StoredRow>,
}

impl<T> Decision<T> {
    fn keep(answer: T) -> Self {
        Self {
            answer,
            write: None,
        }
    }

    fn write(answer: T, state: RowState, changed_at: Timestamp) -> Self {
        Self {
            answer,
            write: Some(StoredRow { state, changed_at }),
        }
    }
}

impl StoredRow {
    /// What [`super::Ledger::range`] says of this row; none if it expired by `now`.
    pub fn seen_at(&self, now: Timestamp) -> Option<State> {
        match self.state {
            RowState::Queued { until, .. } => Some(State::Queued { until }),
            RowState::Claimed { until, .. } => Some(State::Claimed { until }),
            RowState::Settled { expires, .. } => (now < expires).then_some(State::Settled),
            RowState::Quarantined { .. } => Some(State::Quarantined),
        }
    }
}

impl Progress {
    /// This progress with `checkpoint` in it, and whether that went forward.
    fn advance(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
    ) -> Result<(Progress, bool), LedgerError> {
        if !checkpoint.covers(&self.checkpoint) {
            return Err(LedgerError::CheckpointBehind {
                content: content.clone(),
            });
        }
        let forward = !self.checkpoint.covers(checkpoint);
        let progress = Progress {
            attempts: if forward { 0 } else { self.attempts },
            checkpoint: checkpoint.clone(),
            reason: self.reason.clone(),
        };
        Ok((progress, forward))
    }
}

/// The row, unless it is past its retention.
fn unexpired(row: Option<&StoredRow>, now: Timestamp) -> Option<&RowState> {
    row.filter(|row| row.seen_at(now).is_some())
        .map(|row| &row.state)
}

/// The progress of a row that this lease still holds.
fn held<'a>(row: Option<&'a StoredRow>, lease: &Lease) -> Result<&'a Progress, LedgerError> {
    match row.map(|row| &row.state) {
        Some(RowState::Claimed {
            owner, progress, ..
        }) if *owner == lease.owner => Ok(progress),
        _ => Err(LedgerError::LeaseLost {
            content: lease.content.clone(),
        }),
    }
}

pub(super) fn claim(
    row: Option<&StoredRow>,
    content: &ContentId,
    claimant: &Owner,
    now: Timestamp,
    lease: Duration,
) -> Decision<Claim> {
    let grant = |until, progress: &Progress| {
        Claim::Granted(Box::new(Grant {
            lease: Lease {
                content: content.clone(),
                owner: claimant.clone(),
                until,
            },
            checkpoint: progress.checkpoint.clone(),
            attempts: progress.attempts,
            last_reason: progress.reason.clone(),
        }))
    };
    let before = match unexpired(row, now) {
        None => Progress::default(),
        Some(RowState::Queued { progress, .. }) => progress.clone(),
        Some(RowState::Claimed {
            owner,
            until,
            progress,
        }) => {
            if owner == claimant {
                return Decision::keep(grant(*until, progress));
            }
            if now < *until {
                return Decision::keep(Claim::Busy { until: *until });
            }
            progress.clone()
        }
        Some(RowState::Settled { .. } | RowState::Quarantined { .. }) => {
            return Decision::keep(Claim::Settled);
        }
    };
    let until = now.plus(lease);
    let progress = Progress {
        attempts: before.attempts.saturating_add(1),
        ..before
    };
    Decision::write(
        grant(until, &progress),
        RowState::Claimed {
            owner: claimant.clone(),
            until,
            progress,
        },
        now,
    )
}

pub(super) fn renew(
    row: Option<&StoredRow>,
    lease: &Lease,
    now: Timestamp,
    duration: Duration,
) -> Result<Decision<Lease>, LedgerError> {
    let progress = held(row, lease)?.clone();
    Ok(extend(lease, progress, now, duration))
}

pub(super) fn checkpoint(
    row: Option<&StoredRow>,
    lease: &Lease,
    checkpoint: &Checkpoint,
    now: Timestamp,
    duration: Duration,
) -> Result<Decision<Lease>, LedgerError> {
    let (progress, _) = held(row, lease)?.advance(&lease.content, checkpoint)?;
    Ok(extend(lease, progress, now, duration))
}

fn extend(
    lease: &Lease,
    progress: Progress,
    now: Timestamp,
    duration: Duration,
) -> Decision<Lease> {
    let extended = Lease {
        until: now.plus(duration),
        ..lease.clone()
    };
    let state = RowState::Claimed {
        owner: extended.owner.clone(),
        until: extended.until,
        progress,
    };
    Decision::write(extended, state, now)
}

pub(super) fn release(
    row: Option<&StoredRow>,
    lease: &Lease,
    checkpoint: &Checkpoint,
    release: &Release,
    now: Timestamp,
) -> Result<Decision<()>, LedgerError> {
    if let Some(RowState::Queued {
        released_by: Some(owner),
        ..
    }) = row.map(|row| &row.state)
        && *owner == lease.owner
    {
        return Ok(Decision::keep(()));
    }
    let (mut progress, forward) = held(row, lease)?.advance(&lease.content, checkpoint)?;
    if !forward && !release.blames_object {
        progress.attempts = progress.attempts.saturating_sub(1);
    }
    progress.reason = Some(release.reason.clone());
    let state = RowState::Queued {
        until: release.queued_until,
        released_by: Some(lease.owner.clone()),
        progress,
    };
    Ok(Decision::write((), state, now))
}

pub(super) fn settle(
    row: Option<&StoredRow>,
    lease: &Lease,
    account: &Account,
    now: Timestamp,
    expires: Timestamp,
) -> Result<Decision<()>, LedgerError> {
    if let Some(RowState::Settled { owner, .. }) = row.map(|row| &row.state)
        && *owner == lease.owner
    {
        return Ok(Decision::keep(()));
    }
    held(row, lease)?;
    let state = RowState::Settled {
        owner: lease.owner.clone(),
        account: *account,
        expires,
    };
    Ok(Decision::write((), state, now))
}

pub(super) fn quarantine(
    row: Option<&StoredRow>,
    lease: &Lease,
    account: &Account,
    reason: &str,
    place: &str,
    now: Timestamp,
) -> Result<Decision<()>, LedgerError> {
    if let Some(RowState::Quarantined { owner, .. }) = row.map(|row| &row.state)
        && *owner == lease.owner
    {
        return Ok(Decision::keep(()));
    }
    held(row, lease)?;
    let state = RowState::Quarantined {
        owner: lease.owner.clone(),
        account: *account,
        reason: reason.to_owned(),
        place: place.to_owned(),
    };
    Ok(Decision::write((), state, now))
}

pub(super) fn queue(row: Option<&StoredRow>, now: Timestamp, until: Timestamp) -> Decision<bool> {
    let progress = match unexpired(row, now) {
        None => Progress::default(),
        Some(
            RowState::Queued {
                until: live_until,
                progress,
                ..
            }
            | RowState::Claimed {
                until: live_until,
                progress,
                ..
            },
        ) if *live_until <= now => progress.clone(),
        Some(
            RowState::Queued { .. }
            | RowState::Claimed { .. }
            | RowState::Settled { .. }
            | RowState::Quarantined { .. },
        ) => return Decision::keep(false),
    };
    let state = RowState::Queued {
        until,
        released_by: None,
        progress,
    };
    Decision::write(true, state, now)
}

/// A row that its holder released meanwhile is not what [`queue`] noted, and stays. Knowing no
/// time, this lets the row lapse in 1970.
pub(super) fn unqueue(row: Option<&StoredRow>, until: Timestamp) -> Decision<()> {
    let Some(row) = row else {
        return Decision::keep(());
    };
    match &row.state {
        RowState::Queued {
            until: queued,
            released_by: None,
            progress,
        } if *queued == until => Decision::write(
            (),
            RowState::Queued {
                until: Timestamp::default(),
                released_by: None,
                progress: progress.clone(),
            },
            row.changed_at,
        ),
        RowState::Queued { .. }
        | RowState::Claimed { .. }
        | RowState::Settled { .. }
        | RowState::Quarantined { .. } => Decision::keep(()),
    }
}

pub(super) fn reopen(
    row: Option<&StoredRow>,
    checkpoint: &Checkpoint,
    now: Timestamp,
    until: Timestamp,
) -> Decision<Reopened> {
    let progress = match unexpired(row, now) {
        None | Some(RowState::Quarantined { .. }) => Progress {
            attempts: 0,
            checkpoint: checkpoint.clone(),
            reason: match row.map(|row| &row.state) {
                Some(RowState::Quarantined { reason, .. }) => Some(reason.clone()),
                _ => None,
            },
        },
        Some(RowState::Settled { .. }) => return Decision::keep(Reopened::Settled),
        Some(RowState::Queued { .. } | RowState::Claimed { .. }) => {
            let Decision { answer, write } = queue(row, now, until);
            return Decision {
                answer: match answer {
                    true => Reopened::Queued,
                    false => Reopened::UnderWay,
                },
                write,
            };
        }
    };
    let state = RowState::Queued {
        until,
        released_by: None,
        progress,
    };
    Decision::write(Reopened::Queued, state, now)
}
