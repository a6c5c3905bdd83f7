//! A row as an item.
//!
//! Goes in: a row, or an item. Comes out: the other. Times are milliseconds, but for `expires_at`, which
//! DynamoDB's TTL wants in seconds; a part of a second counts as a whole one.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::layout;
use crate::checkpoint::Checkpoint;
use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::attributes::{
    Attributes, COUNT_NAMES, QUARANTINED, account, counts, unreadable,
};
use crate::ledger::row::{RowState, StoredRow};
use crate::object::{ContentId, Etag};

pub type Item = HashMap<String, AttributeValue>;

/// From this many claims without progress on, a row is in the index as stuck.
pub const STUCK_ATTEMPTS: u32 = 3;

/// What `state_index` says of such a row.
pub const STUCK: &str = "stuck";

pub fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub fn time(time: Timestamp) -> AttributeValue {
    number(time.as_ms())
}

/// Where the row of a content lies: its partition key `pk` and its sort key `sk`.
pub fn primary_key(content: &ContentId) -> Item {
    located(
        layout::partition(&content.bucket, layout::shard(&content.key)),
        layout::sort_key(content),
    )
}

/// The primary key of a mark.
pub fn mark_primary_key(name: &str) -> Item {
    located(layout::MARKS.to_owned(), layout::mark_sort_key(name))
}

fn located(partition: String, sort_key: Vec<u8>) -> Item {
    Item::from([
        ("pk".to_owned(), string(partition)),
        ("sk".to_owned(), AttributeValue::B(Blob::new(sort_key))),
    ])
}

/// The attributes by which a conditional write tells whether a checkpoint goes forward.
pub fn position(checkpoint: &Checkpoint) -> [(&'static str, AttributeValue); 3] {
    [
        ("position_offset", number(checkpoint.position.offset)),
        ("position_record", number(checkpoint.position.record)),
        ("records_read", number(checkpoint.account.records_read)),
    ]
}

/// The whole item of a row.
pub fn of(content: &ContentId, row: &StoredRow) -> Item {
    let mut item = primary_key(content);
    let mut set = |name: &str, value| item.insert(name.to_owned(), value);
    set("bucket", string(&content.bucket));
    set("key", string(&content.key));
    set("etag", string(content.etag.as_str()));
    set("size", number(content.size));

    let attributes = Attributes::of(row);
    set("state", string(attributes.state));
    set("changed_at", time(attributes.changed_at));
    for (name, value) in [
        ("owner", attributes.owner.map(string)),
        ("queued_until", attributes.queued_until.map(time)),
        ("lease_until", attributes.lease_until.map(time)),
        ("expires_at", attributes.expires_at.map(whole_seconds)),
        ("attempts", attributes.attempts.map(number)),
        ("checkpoint", attributes.checkpoint.map(string)),
        ("reason", attributes.reason.map(string)),
        ("place", attributes.place.map(string)),
        ("state_index", index(&row.state).map(string)),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    match &row.state {
        RowState::Queued { progress, .. } | RowState::Claimed { progress, .. } => {
            for (name, value) in position(&progress.checkpoint) {
                set(name, value);
            }
        }
        RowState::Settled { account, .. } | RowState::Quarantined { account, .. } => {
            for (name, count) in COUNT_NAMES.iter().zip(counts(account)) {
                set(name, number(count));
            }
        }
    }
    item
}

/// Only rows that a person should see are in the index.
fn index(state: &RowState) -> Option<&'static str> {
    match state {
        RowState::Queued { progress, .. } | RowState::Claimed { progress, .. } => {
            (progress.attempts >= STUCK_ATTEMPTS).then_some(STUCK)
        }
        RowState::Settled { .. } => None,
        RowState::Quarantined { .. } => Some(QUARANTINED),
    }
}

/// The row of `content` that `item` holds.
pub fn row(item: &Item, content: &ContentId) -> Result<StoredRow, LedgerError> {
    let read = Reader { item, content };
    let mut numbers = [None; COUNT_NAMES.len()];
    for (count, name) in numbers.iter_mut().zip(COUNT_NAMES) {
        *count = read.number(name)?;
    }
    let attributes = Attributes {
        owner: read.string("owner")?,
        attempts: read.number("attempts")?,
        checkpoint: read.string("checkpoint")?,
        account: numbers
            .iter()
            .all(Option::is_some)
            .then(|| account(numbers.map(Option::unwrap_or_default))),
        reason: read.string("reason")?,
        place: read.string("place")?,
        changed_at: read.time("changed_at")?.unwrap_or_default(),
        ..glance(item, content)?
    };
    attributes.row(content)
}

/// The attributes that a range asks for.
pub fn glance(item: &Item, content: &ContentId) -> Result<Attributes, LedgerError> {
    let read = Reader { item, content };
    Ok(Attributes {
        state: read
            .string("state")?
            .ok_or_else(|| unreadable(content, "state"))?,
        queued_until: read.time("queued_until")?,
        lease_until: read.time("lease_until")?,
        expires_at: read.number("expires_at")?.map(Timestamp::from_secs),
        ..Attributes::default()
    })
}

/// The identity that `item` holds; the bucket is the one that was asked for.
pub fn content(item: &Item, bucket: &str) -> Result<ContentId, LedgerError> {
    let unnamed = ContentId {
        bucket: bucket.to_owned(),
        key: String::new(),
        etag: Etag::from(""),
        size: 0,
    };
    let read = Reader {
        item,
        content: &unnamed,
    };
    let need = |name| unreadable(&unnamed, name);
    Ok(ContentId {
        key: read.string("key")?.ok_or_else(|| need("key"))?,
        etag: Etag::from(read.string("etag")?.ok_or_else(|| need("etag"))?),
        size: read.number("size")?.ok_or_else(|| need("size"))?,
        bucket: unnamed.bucket.clone(),
    })
}

fn whole_seconds(time: Timestamp) -> AttributeValue {
    number(time.as_ms().div_ceil(1_000))
}

/// Reads attributes of known types; one of another type is an error.
struct Reader<'a> {
    item: &'a Item,
    content: &'a ContentId,
}

impl Reader<'_> {
    fn string(&self, name: &str) -> Result<Option<String>, LedgerError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text.clone())),
            Some(_) => Err(unreadable(self.content, name)),
        }
    }

    fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, LedgerError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(text)) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(unreadable(self.content, name)),
            },
            Some(_) => Err(unreadable(self.content, name)),
        }
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, LedgerError> {
        Ok(self.number(name)?.map(Timestamp::from_ms))
    }
}
