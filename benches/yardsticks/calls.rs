//! The calls that carrying small objects cannot do without, and nothing else: one GET for each
//! object, one write to claim it and one to settle it, through the same SDK clients, and one POST
//! of a body that was made before.

use std::path::PathBuf;
use std::time::Duration;

use bucket_brigade::aws::{Aws, AwsSettings};
use bucket_brigade::checkpoint::Account;
use bucket_brigade::clock::{Clock, SystemClock};
use bucket_brigade::ledger::dynamodb::DynamoLedger;
use bucket_brigade::ledger::{Claim, Ledger, Owner};
use bucket_brigade::object::ContentId;
use bucket_brigade::tls;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, http_client, post};

/// As wide as helps on a machine of two cores.
const OBJECTS_IN_FLIGHT: usize = 16;
const LEASE: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

#[derive(Deserialize)]
pub struct Input {
    objects: Vec<ContentId>,
    table: String,
    endpoint: String,
    /// A file.
    body: PathBuf,
    roots: Option<PathBuf>,
}

pub async fn run(input: Input) -> Outcome<Value> {
    let tls = tls::client_config(input.roots.as_deref())?;
    let aws = Aws::load(AwsSettings::default(), &tls).await?;
    let s3 = aws.source_s3();
    let ledger = DynamoLedger::new(aws.dynamodb(), input.table.clone());
    let carried = stream::iter(&input.objects)
        .map(|content| carry(&s3, &ledger, content))
        .buffer_unordered(OBJECTS_IN_FLIGHT);
    let bytes: Vec<usize> = carried.try_collect().await?;
    let body = std::fs::read(&input.body)?;
    let body_bytes = body.len();
    let client = http_client(input.roots.as_ref())?;
    post(&client, &input.endpoint, body).await?;
    let source_bytes: usize = bytes.iter().sum();
    Ok(json!({ "requests": 1, "body_bytes": body_bytes, "source_bytes": source_bytes }))
}

async fn carry(
    s3: &aws_sdk_s3::Client,
    ledger: &DynamoLedger,
    content: &ContentId,
) -> Outcome<usize> {
    let owner = Owner::new("yardstick", 1);
    let claim = ledger.claim(content, &owner, SystemClock.now(), LEASE);
    let Claim::Granted(grant) = claim.await? else {
        return Err("not granted".into());
    };
    let get = s3.get_object().bucket(&content.bucket).key(&content.key);
    let mut body = get.if_match(content.etag.quoted()).send().await?.body;
    let mut bytes = 0;
    while let Some(more) = body.try_next().await? {
        bytes += more.len();
    }
    // The numbers are as long as real ones are.
    let account = Account {
        records_read: 123,
        records_delivered: 123,
        plain_bytes: 123_456,
        body_bytes: 12_345,
        requests: 1,
        ..Account::default()
    };
    let now = SystemClock.now();
    let settled = ledger.settle(&grant.lease, &account, now, now.plus(RETENTION));
    settled.await?;
    Ok(bytes)
}
