//! Ledgers full of settled rows, and one that counts what it is asked.

use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest,
    ScalarAttributeType, WriteRequest,
};
use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::{Clock as _, SystemClock, Timestamp};
use bucket_brigade::ledger::dynamodb::{DynamoLedger, primary_key};
use bucket_brigade::ledger::sqlite::SqliteLedger;
use bucket_brigade::ledger::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use bucket_brigade::object::{ContentId, Etag};
use rusqlite::Connection;
use url::Url;

use crate::measured::{Requests, aws};
use crate::{BUCKET, CONTENT, Outcome, is_missing, key};

pub const TABLE: &str = "ledger";
/// What one request may write (API reference, BatchWriteItem).
const BATCH_ITEMS_MAX: usize = 25;
const LEASE: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// A ledger in a file: one row is settled by the ledger's own moves, and the others are copies of it. A million
/// moves would each wait for the disk.
pub async fn fill_file(file: &Path, etag: &str, count: usize) -> Outcome<()> {
    let ledger = SqliteLedger::open(file)?;
    settle(&ledger, &content(0, etag)).await?;
    let mut connection = Connection::open(file)?;
    connection
        .execute_batch("PRAGMA synchronous = OFF; CREATE TEMP TABLE copy AS SELECT * FROM rows;")?;
    let transaction = connection.transaction()?;
    {
        let mut rename = transaction.prepare("UPDATE copy SET key = ?1")?;
        let mut insert = transaction.prepare("INSERT INTO rows SELECT * FROM copy")?;
        for n in (1..count).filter(|n| !is_missing(*n)) {
            rename.execute([key(n).as_bytes()])?;
            insert.execute([])?;
        }
    }
    Ok(transaction.commit()?)
}

/// A ledger in a new table of a local DynamoDB, made in the same way. Says how large a row is.
pub async fn fill_table(endpoint: &Url, etag: &str, count: usize) -> Outcome<usize> {
    let client = aws(endpoint).await?.dynamodb();
    let mut table = client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, kind, place) in [
        ("pk", ScalarAttributeType::S, KeyType::Hash),
        ("sk", ScalarAttributeType::B, KeyType::Range),
    ] {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind);
        let element = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(place);
        table = table
            .attribute_definitions(attribute.build()?)
            .key_schema(element.build()?);
    }
    table.send().await?;
    let ledger = DynamoLedger::new(client.clone(), TABLE.to_owned());
    settle(&ledger, &content(0, etag)).await?;
    let settled = client
        .get_item()
        .table_name(TABLE)
        .set_key(Some(primary_key(&content(0, etag))))
        .send()
        .await?;
    let settled = settled.item.ok_or("the row is not there")?;
    let others: Vec<usize> = (1..count).filter(|n| !is_missing(*n)).collect();
    for batch in others.chunks(BATCH_ITEMS_MAX) {
        let mut puts = Vec::with_capacity(batch.len());
        for n in batch {
            let mut row = settled.clone();
            row.extend(primary_key(&content(*n, etag)));
            row.insert("key".to_owned(), AttributeValue::S(key(*n)));
            let put = PutRequest::builder().set_item(Some(row)).build()?;
            puts.push(WriteRequest::builder().put_request(put).build());
        }
        let write = client.batch_write_item().request_items(TABLE, puts);
        write.send().await?;
    }
    Ok(settled.iter().map(attribute_bytes).sum())
}

/// What DynamoDB counts for an attribute (Developer Guide, "Item sizes and formats"): the bytes of its name
/// and value, of a number one for each two digits and one more.
fn attribute_bytes((name, value): (&String, &AttributeValue)) -> usize {
    let value = match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.trim_end_matches('0').len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        _ => 1,
    };
    name.len() + value
}

fn content(n: usize, etag: &str) -> ContentId {
    ContentId {
        bucket: BUCKET.to_owned(),
        key: key(n),
        etag: Etag::from(etag),
        size: CONTENT.len() as u64,
    }
}

async fn settle(ledger: &impl Ledger, content: &ContentId) -> Outcome<()> {
    let now = SystemClock.now();
    let owner = Owner::new("scale", 1);
    let Claim::Granted(grant) = ledger.claim(content, &owner, now, LEASE).await? else {
        return Err(format!("{content} is not ours").into());
    };
    let expires = now.plus(RETENTION);
    let account = Account::default();
    ledger.settle(&grant.lease, &account, now, expires).await?;
    Ok(())
}

/// A ledger that counts what reconcile asks of it.
pub struct CountedLedger<L> {
    ledger: L,
    requests: Requests,
}

impl<L> CountedLedger<L> {
    pub fn new(ledger: L, requests: Requests) -> Self {
        Self { ledger, requests }
    }
}

const NOT_RECONCILE: &str = "reconcile holds no lease";

impl<L: Ledger> Ledger for CountedLedger<L> {
    async fn claim(
        &self,
        _: &ContentId,
        _: &Owner,
        _: Timestamp,
        _: Duration,
    ) -> Result<Claim, LedgerError> {
        unreachable!("{NOT_RECONCILE}")
    }

    async fn renew(&self, _: &Lease, _: Timestamp, _: Duration) -> Result<Lease, LedgerError> {
        unreachable!("{NOT_RECONCILE}")
    }

    async fn checkpoint(
        &self,
        _: &Lease,
        _: &Checkpoint,
        _: Timestamp,
        _: Duration,
    ) -> Result<Lease, LedgerError> {
        unreachable!("{NOT_RECONCILE}")
    }

    async fn release(
        &self,
        _: &Lease,
        _: &Checkpoint,
        _: &Release,
        _: Timestamp,
    ) -> Result<(), LedgerError> {
        unreachable!("{NOT_RECONCILE}")
    }

    async fn settle(
        &self,
        _: &Lease,
        _: &Account,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<(), LedgerError> {
        unreachable!("{NOT_RECONCILE}")
    }

    async fn quarantine(
        &self,
        _: &Lease,
        _: &Account,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<(), LedgerError> {
        unreachable!("{NOT_RECONCILE}")
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.requests.add();
        self.ledger.queue(content, now, until).await
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        self.requests.add();
        self.ledger.reopen(content, checkpoint, now, until).await
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        self.requests.add();
        self.ledger.unqueue(content, until).await
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        self.requests.add();
        self.ledger.range(bucket, first, last, now).await
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        self.requests.add();
        self.ledger.read_mark(name).await
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        self.requests.add();
        self.ledger.write_mark(name, value).await
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        self.requests.add();
        self.ledger.write_mark_once(name, value).await
    }
}
