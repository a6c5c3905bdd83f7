//! The ledger in DynamoDB.
//!
//! Each move is one conditional write in the ordinary case. The condition guesses the row as it ordinarily
//! stands; when it fails, DynamoDB gives back the row, [`super::row`] decides what the move does to it, and a
//! second write makes that so on condition that nothing the decision rests on has changed. So there is no
//! read before a write, and no write that anyone else's write could have made wrong.
//!
//! The functions need `dynamodb:GetItem`, `PutItem`, `UpdateItem` and `Query` on the table. Nothing here
//! deletes a row; only TTL does.
//!
//! The table, by its attributes:
//!
//! - `pk` (S, partition key): `bucket#shard`, or `#marks`.
//! - `sk` (B, sort key): the key's first 960 bytes, 0x00, and a hash of the content.
//! - `state`, `bucket`, `key`, `etag`, `size`, `changed_at` (ms): on every row.
//! - `owner`: the holder, or the last one.
//! - `lease_until` (ms) while claimed, `queued_until` (ms) while queued.
//! - `attempts`, `checkpoint` (JSON; up to some 45 KB with a restore point in it), `position_offset`,
//!   `position_record`, `records_read`, `reason` while queued or claimed. The numbers repeat the checkpoint
//!   where conditions can read it.
//! - the counts of the account, once settled or quarantined; `reason` and `place` with the latter.
//! - `expires_at` (N, seconds): the table's TTL attribute, on settled rows alone.
//! - `state_index` (S): `quarantined` or `stuck`, partition key of the sparse index `by_state`, whose sort
//!   key is `changed_at`. Rows in good order are not in it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure,
};
use futures_util::FutureExt;
use futures_util::future::try_join_all;

use self::expression::{
    ABSENT, CHECKPOINT, CLAIM, CLAIMABLE, GLANCE, HELD, HELD_AND_BEHIND, NOT_LIVE, QUEUE,
    QUEUED_UNTIL, REMOVE_MARK, RENEW, UNQUEUE, Value, WITHIN, WRITE_MARK, WRITE_MARK_ONCE, names,
    unchanged, values,
};
use self::failure::failure;
use self::item::{Item, number, string, time};
use super::attributes::text;
use super::row::{self, Decision, Progress, RowState, StoredRow};
use super::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use crate::checkpoint::{Account, Checkpoint};
use crate::clock::Timestamp;
use crate::object::ContentId;

mod expression;
mod failure;
mod item;
mod layout;

pub use self::item::{STUCK, STUCK_ATTEMPTS, primary_key};
pub use self::layout::SHARDS;

/// How often a move is decided anew because the row changed meanwhile, before the ledger counts as
/// unavailable. Twice is already rare: it takes two moves of one content in one millisecond.
const DECISIONS_MAX: u32 = 8;

/// The ledger in one table. Retries and time-outs are those of the client.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    client: Client,
    table: String,
}

/// A write whose condition failed: the row as it stands, if there is one.
struct ConditionFailed(Option<Item>);

type Written<T> = Result<Result<T, ConditionFailed>, LedgerError>;

impl DynamoLedger {
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Updates the row on a condition.
    async fn update(
        &self,
        content: &ContentId,
        update: &str,
        condition: &str,
        operands: Vec<Value>,
    ) -> Written<()> {
        let returned = ReturnValue::None;
        let updated = self.update_returning(content, update, condition, operands, returned);
        Ok(updated.await?.map(drop))
    }

    /// Updates the row on a condition, and gives back what is asked for of it.
    async fn update_returning(
        &self,
        content: &ContentId,
        update: &str,
        condition: &str,
        operands: Vec<Value>,
        returned: ReturnValue,
    ) -> Written<Item> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::primary_key(content)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(names(&[update, condition]))
            .set_expression_attribute_values(values(operands))
            .return_values(returned)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .boxed()
            .await;
        match sent {
            Ok(updated) => Ok(Ok(updated.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(ConditionFailed(failed.item.clone())))
                }
                _ => Err(failure("UpdateItem", error)),
            },
        }
    }

    /// Writes the whole row on a condition.
    async fn put(
        &self,
        content: &ContentId,
        row: &StoredRow,
        condition: &str,
        operands: Vec<Value>,
    ) -> Written<()> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::of(content, row)))
            .condition_expression(condition)
            .set_expression_attribute_names(names(&[condition]))
            .set_expression_attribute_values(values(operands))
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .boxed()
            .await;
        match sent {
            Ok(_) => Ok(Ok(())),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(ConditionFailed(failed.item.clone())))
                }
                _ => Err(failure("PutItem", error)),
            },
        }
    }

    /// What was written answers the move; if the row is not as was guessed, what the move decides then.
    async fn or_decide<T: Send>(
        &self,
        content: &ContentId,
        written: Result<T, ConditionFailed>,
        decide: impl Fn(Option<&StoredRow>) -> Result<Decision<T>, LedgerError> + Send + Sync,
    ) -> Result<T, LedgerError> {
        match written {
            Ok(answer) => Ok(answer),
            // Boxed, so that the ordinary move takes no room for what is rare.
            Err(failed) => self.decide(content, failed, decide).boxed().await,
        }
    }

    async fn decide<T: Send>(
        &self,
        content: &ContentId,
        ConditionFailed(mut found): ConditionFailed,
        decide: impl Fn(Option<&StoredRow>) -> Result<Decision<T>, LedgerError> + Send + Sync,
    ) -> Result<T, LedgerError> {
        for _ in 0..DECISIONS_MAX {
            let row = match &found {
                Some(item) => Some(item::row(item, content)?),
                None => None,
            };
            let Decision { answer, write } = decide(row.as_ref())?;
            let Some(row) = write else {
                return Ok(answer);
            };
            let (condition, operands) = unchanged(found.as_ref());
            match self.put(content, &row, &condition, operands).await? {
                Ok(()) => return Ok(answer),
                Err(ConditionFailed(newer)) => found = newer,
            }
        }
        Err(LedgerError::Unavailable {
            reason: format!("the row of {content} changed {DECISIONS_MAX} times in a moment"),
        })
    }

    /// One shard's rows with sort keys within the bounds.
    async fn query(
        &self,
        partition: String,
        (lower, upper): (Vec<u8>, Vec<u8>),
    ) -> Result<Vec<Item>, LedgerError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            // What was queued or settled a moment ago must be seen, or reconcile would ask for it
            // again. It costs a read unit for each 4 KB of rows, twice what a stale read does: $0.016
            // for a million rows of half a kilobyte, at $0.125 for a million units.
            .consistent_read(true)
            .key_condition_expression(WITHIN)
            .projection_expression(GLANCE)
            .set_expression_attribute_names(names(&[WITHIN, GLANCE]))
            .set_expression_attribute_values(values(vec![
                ("pk", string(partition)),
                ("lower", AttributeValue::B(Blob::new(lower))),
                ("upper", AttributeValue::B(Blob::new(upper))),
            ]));
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let page = query
                .clone()
                .set_exclusive_start_key(after)
                .send()
                .boxed()
                .await
                .map_err(|error| failure("Query", error))?;
            items.extend(page.items.unwrap_or_default());
            after = page.last_evaluated_key;
            if after.is_none() {
                return Ok(items);
            }
        }
    }
}

impl Ledger for DynamoLedger {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        let decide = |row: Option<&StoredRow>| Ok(row::claim(row, content, owner, now, lease));
        let mut operands = identity(content);
        operands.extend([
            ("queued", string("queued")),
            ("claimed", string("claimed")),
            ("owner", string(owner.as_str())),
            ("now", time(now)),
            ("until", time(now.plus(lease))),
            ("zero", number(0)),
            ("one", number(1)),
            ("nearly_stuck", number(STUCK_ATTEMPTS - 1)),
        ]);
        let row = ReturnValue::AllNew;
        let claimed = self.update_returning(content, CLAIM, CLAIMABLE, operands, row);
        match claimed.await? {
            // The row as it was just written answers the claim as it would a repetition.
            Ok(claimed) => decide(Some(&item::row(&claimed, content)?)).map(|claim| claim.answer),
            Err(failed) => self.or_decide(content, Err(failed), decide).await,
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        let mut operands = holder(lease);
        operands.extend([("until", time(now.plus(duration))), ("now", time(now))]);
        let written = self
            .update(&lease.content, RENEW, HELD, operands)
            .await?
            .map(|()| extended(lease, now, duration));
        self.or_decide(&lease.content, written, |row| {
            row::renew(row, lease, now, duration)
        })
        .await
    }

    async fn checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        let mut operands = holder(lease);
        operands.extend(item::position(checkpoint));
        operands.extend([
            ("until", time(now.plus(duration))),
            ("now", time(now)),
            ("zero", number(0)),
            ("checkpoint", string(text(checkpoint))),
        ]);
        let written = self
            .update(&lease.content, CHECKPOINT, HELD_AND_BEHIND, operands)
            .await?
            .map(|()| extended(lease, now, duration));
        self.or_decide(&lease.content, written, |row| {
            row::checkpoint(row, lease, checkpoint, now, duration)
        })
        .await
    }

    async fn release(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let forward = StoredRow {
            state: RowState::Queued {
                until: release.queued_until,
                released_by: Some(lease.owner.clone()),
                progress: Progress {
                    attempts: 0,
                    checkpoint: checkpoint.clone(),
                    reason: Some(release.reason.clone()),
                },
            },
            changed_at: now,
        };
        let mut operands = holder(lease);
        operands.extend(item::position(checkpoint));
        let written = self
            .put(&lease.content, &forward, HELD_AND_BEHIND, operands)
            .await?;
        self.or_decide(&lease.content, written, |row| {
            row::release(row, lease, checkpoint, release, now)
        })
        .await
    }

    async fn settle(
        &self,
        lease: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), LedgerError> {
        let settled = StoredRow {
            state: RowState::Settled {
                owner: lease.owner.clone(),
                account: *account,
                expires,
            },
            changed_at: now,
        };
        let written = self
            .put(&lease.content, &settled, HELD, holder(lease))
            .await?;
        self.or_decide(&lease.content, written, |row| {
            row::settle(row, lease, account, now, expires)
        })
        .await
    }

    async fn quarantine(
        &self,
        lease: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let quarantined = StoredRow {
            state: RowState::Quarantined {
                owner: lease.owner.clone(),
                account: *account,
                reason: reason.to_owned(),
                place: place.to_owned(),
            },
            changed_at: now,
        };
        let written = self
            .put(&lease.content, &quarantined, HELD, holder(lease))
            .await?;
        self.or_decide(&lease.content, written, |row| {
            row::quarantine(row, lease, account, reason, place, now)
        })
        .await
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        let mut operands = identity(content);
        operands.extend([
            ("queued", string("queued")),
            ("claimed", string("claimed")),
            ("until", time(until)),
            ("now", time(now)),
            ("zero", number(0)),
        ]);
        let written = self.update(content, QUEUE, NOT_LIVE, operands).await?;
        self.or_decide(content, written.map(|()| true), |row| {
            Ok(row::queue(row, now, until))
        })
        .await
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        let operands = vec![
            ("queued", string("queued")),
            ("until", time(until)),
            ("zero", number(0)),
        ];
        // A row that is not as it was queued is someone else's business by now.
        self.update(content, UNQUEUE, QUEUED_UNTIL, operands)
            .await
            .map(drop)
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        // Whatever a row says is decided on; that there is none is the guess that writes nothing wrong.
        let decide = |row: Option<&StoredRow>| Ok(row::reopen(row, checkpoint, now, until));
        let Decision { answer, write } = decide(None)?;
        let written = match write {
            Some(row) => self.put(content, &row, ABSENT, Vec::new()).await?,
            None => Ok(()),
        };
        self.or_decide(content, written.map(|()| answer), decide)
            .await
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        let Some(bounds) = layout::bounds(first, last) else {
            return Ok(Vec::new());
        };
        let shards = (0..layout::SHARDS)
            .map(|shard| self.query(layout::partition(bucket, shard), bounds.clone()));
        let mut rows = Vec::new();
        for item in try_join_all(shards).await?.iter().flatten() {
            let content = item::content(item, bucket)?;
            if !(first..=last).contains(&content.key.as_str()) {
                continue;
            }
            if let Some(state) = item::glance(item, &content)?.seen_at(&content, now)? {
                rows.push(Row { content, state });
            }
        }
        rows.sort_unstable_by(|a, b| a.content.cmp(&b.content));
        Ok(rows)
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item::mark_primary_key(name)))
            .consistent_read(true)
            .send()
            .boxed()
            .await
            .map_err(|error| failure("GetItem", error))?;
        read.item
            .as_ref()
            .and_then(|item| item.get("value"))
            .map(|value| mark(name, value))
            .transpose()
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        match value {
            Some(value) => {
                self.update_mark(
                    name,
                    WRITE_MARK,
                    vec![("name", string(name)), ("value", string(value))],
                )
                .await
            }
            None => self.update_mark(name, REMOVE_MARK, Vec::new()).await,
        }
        .map(drop)
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        let written = self
            .update_mark(
                name,
                WRITE_MARK_ONCE,
                vec![("name", string(name)), ("value", string(value))],
            )
            .await?;
        let value = written.get("value").ok_or_else(|| unreadable_mark(name))?;
        mark(name, value)
    }
}

impl DynamoLedger {
    async fn update_mark(
        &self,
        name: &str,
        update: &str,
        operands: Vec<Value>,
    ) -> Result<Item, LedgerError> {
        let written = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::mark_primary_key(name)))
            .update_expression(update)
            .set_expression_attribute_names(names(&[update]))
            .set_expression_attribute_values(values(operands))
            .return_values(ReturnValue::AllNew)
            .send()
            .boxed()
            .await
            .map_err(|error| failure("UpdateItem", error))?;
        Ok(written.attributes.unwrap_or_default())
    }
}

fn identity(content: &ContentId) -> Vec<Value> {
    vec![
        ("bucket", string(&content.bucket)),
        ("key", string(&content.key)),
        ("etag", string(content.etag.as_str())),
        ("size", number(content.size)),
    ]
}

fn holder(lease: &Lease) -> Vec<Value> {
    vec![
        ("claimed", string("claimed")),
        ("owner", string(lease.owner.as_str())),
    ]
}

fn extended(lease: &Lease, now: Timestamp, duration: Duration) -> Lease {
    Lease {
        until: now.plus(duration),
        ..lease.clone()
    }
}

fn mark(name: &str, value: &AttributeValue) -> Result<String, LedgerError> {
    match value {
        AttributeValue::S(value) => Ok(value.clone()),
        _ => Err(unreadable_mark(name)),
    }
}

fn unreadable_mark(name: &str) -> LedgerError {
    LedgerError::Refused {
        reason: format!("the mark {name} has no readable value"),
    }
}
