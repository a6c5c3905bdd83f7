//! A row as named attributes: what SQLite has as columns and DynamoDB as attributes of an item.
//!
//! Goes in: a row, or the attributes that a store gave back. Comes out: the other. Attributes that
//! make no row are an error that names the first one amiss; nothing is guessed.

use super::row::{Progress, RowState, StoredRow};
use super::{LedgerError, Owner, State};
use crate::checkpoint::{Account, Checkpoint};
use crate::clock::Timestamp;
use crate::object::ContentId;

pub(super) const QUEUED: &str = "queued";
pub(super) const CLAIMED: &str = "claimed";
pub(super) const SETTLED: &str = "settled";
pub(super) const QUARANTINED: &str = "quarantined";

/// The counts of an account, in the order of [`counts`].
pub(super) const COUNT_NAMES: [&str; 8] = [
    "records_read",
    "records_delivered",
    "records_filtered",
    "records_quarantined",
    "records_cut",
    "plain_bytes",
    "body_bytes",
    "requests",
];

pub(super) fn counts(account: &Account) -> [u64; 8] {
    let Account {
        records_read,
        records_delivered,
        records_filtered,
        records_quarantined,
        records_cut,
        plain_bytes,
        body_bytes,
        requests,
    } = *account;
    [
        records_read,
        records_delivered,
        records_filtered,
        records_quarantined,
        records_cut,
        plain_bytes,
        body_bytes,
        requests,
    ]
}

pub(super) fn account(counts: [u64; 8]) -> Account {
    let [
        records_read,
        records_delivered,
        records_filtered,
        records_quarantined,
        records_cut,
        plain_bytes,
        body_bytes,
        requests,
    ] = counts;
    Account {
        records_read,
        records_delivered,
        records_filtered,
        records_quarantined,
        records_cut,
        plain_bytes,
        body_bytes,
        requests,
    }
}

/// Which attributes a row has depends on its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub state: String,
    pub owner: Option<String>,
    pub queued_until: Option<Timestamp>,
    pub lease_until: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub attempts: Option<u32>,
    /// JSON text; absent while it is the default one.
    pub checkpoint: Option<String>,
    pub account: Option<Account>,
    pub reason: Option<String>,
    pub place: Option<String>,
    pub changed_at: Timestamp,
}

impl Attributes {
    pub fn of(row: &StoredRow) -> Self {
        let mut attributes = Self {
            changed_at: row.changed_at,
            ..Self::default()
        };
        match &row.state {
            RowState::Queued {
                until,
                released_by,
                progress,
            } => {
                QUEUED.clone_into(&mut attributes.state);
                attributes.owner = released_by.as_ref().map(|owner| owner.as_str().to_owned());
                attributes.queued_until = Some(*until);
                attributes.set_progress(progress);
            }
            RowState::Claimed {
                owner,
                until,
                progress,
            } => {
                CLAIMED.clone_into(&mut attributes.state);
                attributes.owner = Some(owner.as_str().to_owned());
                attributes.lease_until = Some(*until);
                attributes.set_progress(progress);
            }
            RowState::Settled {
                owner,
                account,
                expires,
            } => {
                SETTLED.clone_into(&mut attributes.state);
                attributes.owner = Some(owner.as_str().to_owned());
                attributes.account = Some(*account);
                attributes.expires_at = Some(*expires);
            }
            RowState::Quarantined {
                owner,
                account,
                reason,
                place,
            } => {
                QUARANTINED.clone_into(&mut attributes.state);
                attributes.owner = Some(owner.as_str().to_owned());
                attributes.account = Some(*account);
                attributes.reason = Some(reason.clone());
                attributes.place = Some(place.clone());
            }
        }
        attributes
    }

    fn set_progress(&mut self, progress: &Progress) {
        self.attempts = Some(progress.attempts);
        self.checkpoint =
            (progress.checkpoint != Checkpoint::default()).then(|| text(&progress.checkpoint));
        self.reason = progress.reason.clone();
    }

    /// The whole row.
    pub fn row(self, content: &ContentId) -> Result<StoredRow, LedgerError> {
        let need = |name| unreadable(content, name);
        let changed_at = self.changed_at;
        let state = match self.state.as_str() {
            QUEUED => RowState::Queued {
                until: self.queued_until.ok_or_else(|| need("queued_until"))?,
                released_by: self.owner.clone().map(Owner::from),
                progress: self.progress(content)?,
            },
            CLAIMED => RowState::Claimed {
                owner: Owner::from(self.owner.clone().ok_or_else(|| need("owner"))?),
                until: self.lease_until.ok_or_else(|| need("lease_until"))?,
                progress: self.progress(content)?,
            },
            SETTLED => RowState::Settled {
                owner: Owner::from(self.owner.ok_or_else(|| need("owner"))?),
                account: self.account.ok_or_else(|| need("records_read"))?,
                expires: self.expires_at.ok_or_else(|| need("expires_at"))?,
            },
            QUARANTINED => RowState::Quarantined {
                owner: Owner::from(self.owner.ok_or_else(|| need("owner"))?),
                account: self.account.ok_or_else(|| need("records_read"))?,
                reason: self.reason.ok_or_else(|| need("reason"))?,
                place: self.place.ok_or_else(|| need("place"))?,
            },
            _ => return Err(need("state")),
        };
        Ok(StoredRow { state, changed_at })
    }

    fn progress(self, content: &ContentId) -> Result<Progress, LedgerError> {
        let checkpoint = match &self.checkpoint {
            None => Checkpoint::default(),
            Some(text) => {
                serde_json::from_str(text).map_err(|_| unreadable(content, "checkpoint"))?
            }
        };
        Ok(Progress {
            attempts: self
                .attempts
                .ok_or_else(|| unreadable(content, "attempts"))?,
            checkpoint,
            reason: self.reason,
        })
    }

    /// What a range says of a row, for which `state` and the times suffice; none if it expired by `now`.
    pub fn seen_at(
        &self,
        content: &ContentId,
        now: Timestamp,
    ) -> Result<Option<State>, LedgerError> {
        let need = |name| unreadable(content, name);
        let state = match self.state.as_str() {
            QUEUED => State::Queued {
                until: self.queued_until.ok_or_else(|| need("queued_until"))?,
            },
            CLAIMED => State::Claimed {
                until: self.lease_until.ok_or_else(|| need("lease_until"))?,
            },
            SETTLED => {
                let expires = self.expires_at.ok_or_else(|| need("expires_at"))?;
                return Ok((now < expires).then_some(State::Settled));
            }
            QUARANTINED => State::Quarantined,
            _ => return Err(need("state")),
        };
        Ok(Some(state))
    }
}

/// The checkpoint as JSON text.
pub(super) fn text(checkpoint: &Checkpoint) -> String {
    serde_json::to_string(checkpoint).expect("numbers and names always make JSON")
}

/// A row without an attribute that its state needs, or with one of another type.
pub(super) fn unreadable(content: &ContentId, name: &str) -> LedgerError {
    LedgerError::Refused {
        reason: format!("the row of {content} has no readable {name}"),
    }
}
