//! What the ledger keeps in DynamoDB, as an operator and the bill see it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bucket_brigade::aws::http::SdkHttpClient;
use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::ledger::dynamodb::{DynamoLedger, STUCK, STUCK_ATTEMPTS};
use bucket_brigade::ledger::{Claim, Lease, Ledger, Release};

use super::contract::{LEASE, at, checkpoint, content, owner};
use super::dynamodb::{client, endpoint, http_client, new_table_name};
use crate::support::sdk::create_ledger_table;

/// Counts what is sent.
#[derive(Debug, Clone)]
struct Counted {
    client: SdkHttpClient,
    sent: Arc<AtomicU64>,
}

impl HttpClient for Counted {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(CountedConnector {
            connector: self.client.http_connector(settings, components),
            sent: Arc::clone(&self.sent),
        })
    }
}

#[derive(Debug)]
struct CountedConnector {
    connector: SharedHttpConnector,
    sent: Arc<AtomicU64>,
}

impl HttpConnector for CountedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.connector.call(request)
    }
}

struct Table {
    client: Client,
    name: String,
    ledger: DynamoLedger,
    sent: Arc<AtomicU64>,
}

impl Table {
    async fn new() -> Self {
        let client = client(&endpoint());
        let name = new_table_name();
        create_ledger_table(&client, &name).await;
        let sent = Arc::new(AtomicU64::new(0));
        let counted = client
            .config()
            .to_builder()
            .http_client(Counted {
                client: http_client(),
                sent: Arc::clone(&sent),
            })
            .build();
        Self {
            client,
            ledger: DynamoLedger::new(Client::from_conf(counted), name.clone()),
            name,
            sent,
        }
    }

    async fn granted(&self, key: &str, by: &str, secs: u64) -> Lease {
        let claimed = self
            .ledger
            .claim(&content(key), &owner(by), at(secs), LEASE)
            .await;
        match claimed.expect("claim") {
            Claim::Granted(grant) => grant.lease,
            other => panic!("{by} was not granted {key}: {other:?}"),
        }
    }

    /// How many requests were sent since this was last asked.
    fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    async fn item(&self, key: &str) -> HashMap<String, AttributeValue> {
        let all = self.client.scan().table_name(&self.name).send().await;
        all.expect("scan")
            .items
            .unwrap_or_default()
            .into_iter()
            .find(|item| item.get("key") == Some(&AttributeValue::S(key.into())))
            .expect("a row")
    }

    /// The keys in the index under this state.
    async fn indexed(&self, state: &str) -> Vec<String> {
        let found = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("by_state")
            .key_condition_expression("state_index = :state")
            .expression_attribute_values(":state", AttributeValue::S(state.into()))
            .send()
            .await
            .expect("query");
        let mut keys: Vec<_> = found
            .items()
            .iter()
            .map(|item| item["key"].as_s().expect("text").clone())
            .collect();
        keys.sort();
        keys
    }
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[tokio::test]
async fn each_move_is_one_request_in_the_ordinary_case() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let lease = table.granted("k", "a", 0).await;
    assert_eq!(table.sent(), 1, "claim of an absent row");
    ledger.renew(&lease, at(1), LEASE).await.expect("renew");
    assert_eq!(table.sent(), 1, "renew");
    let reached = checkpoint(1, 1);
    let extended = ledger.checkpoint(&lease, &reached, at(1), LEASE).await;
    extended.expect("checkpoint");
    assert_eq!(table.sent(), 1, "checkpoint");
    let claimed = ledger.claim(&content("k"), &owner("b"), at(2), LEASE).await;
    assert_eq!(claimed.expect("claim"), Claim::Busy { until: at(61) });
    assert_eq!(table.sent(), 1, "claim of a held row");
    let reached = checkpoint(2, 2);
    let given_up = Release {
        queued_until: at(100),
        blames_object: false,
        reason: "out of time".into(),
    };
    let released = ledger.release(&lease, &reached, &given_up, at(3)).await;
    released.expect("release");
    assert_eq!(table.sent(), 1, "release");
    table.granted("k", "c", 4).await;
    assert_eq!(table.sent(), 1, "claim of a queued row");
    let lease = table.granted("k", "d", 100).await;
    assert_eq!(table.sent(), 1, "takeover");
    let settled = ledger
        .settle(&lease, &reached.account, at(101), at(9_000))
        .await;
    settled.expect("settle");
    assert_eq!(table.sent(), 1, "settle");
    let claimed = ledger
        .claim(&content("k"), &owner("e"), at(102), LEASE)
        .await;
    assert_eq!(claimed.expect("claim"), Claim::Settled);
    assert_eq!(table.sent(), 1, "claim of a settled row");
    assert!(
        !ledger
            .queue(&content("k"), at(102), at(200))
            .await
            .expect("queue")
    );
    assert_eq!(table.sent(), 1, "queue of a settled row");
    assert!(
        ledger
            .queue(&content("q"), at(102), at(200))
            .await
            .expect("queue")
    );
    assert_eq!(table.sent(), 1, "queue of an absent row");
}

#[tokio::test]
async fn a_settled_row_shows_its_account_and_expires_in_whole_seconds() {
    let table = Table::new().await;
    let lease = table.granted("k", "a", 0).await;
    assert!(!table.item("k").await.contains_key("expires_at"));
    let account = Account {
        records_read: 10,
        records_delivered: 7,
        records_filtered: 2,
        records_quarantined: 1,
        ..Account::default()
    };
    let expires = at(9_000).plus(std::time::Duration::from_millis(1));
    let settled = table.ledger.settle(&lease, &account, at(1), expires).await;
    settled.expect("settle");
    let item = table.item("k").await;
    for (name, expected) in [
        ("expires_at", number(at(9_001).as_secs())),
        ("changed_at", number(at(1).as_ms())),
        ("records_read", number(10)),
        ("records_delivered", number(7)),
        ("records_filtered", number(2)),
        ("records_quarantined", number(1)),
        ("state", AttributeValue::S("settled".into())),
        ("bucket", AttributeValue::S("logs".into())),
        ("owner", AttributeValue::S(lease.owner.as_str().into())),
    ] {
        assert_eq!(item.get(name), Some(&expected), "{name}");
    }
    for name in ["lease_until", "checkpoint", "state_index", "attempts"] {
        assert!(!item.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn quarantined_and_stuck_rows_alone_are_in_the_index() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    table.granted("claimed", "a", 0).await;
    let queued = ledger.queue(&content("queued"), at(0), at(300)).await;
    assert!(queued.expect("queue"));
    let lease = table.granted("settled", "a", 0).await;
    let settled = ledger
        .settle(&lease, &Account::default(), at(1), at(9_000))
        .await;
    settled.expect("settle");
    let lease = table.granted("quarantined", "a", 0).await;
    let kept = ledger
        .quarantine(
            &lease,
            &Account::default(),
            "truncated gzip",
            "s3://q/1",
            at(1),
        )
        .await;
    kept.expect("quarantine");
    for attempt in 1..=u64::from(STUCK_ATTEMPTS) {
        assert_eq!(table.indexed(STUCK).await, [""; 0], "attempt {attempt}");
        table
            .granted("crashing", &format!("c{attempt}"), attempt * 100)
            .await;
    }
    assert_eq!(table.indexed(STUCK).await, ["crashing"]);
    assert_eq!(table.indexed("quarantined").await, ["quarantined"]);

    // Out of the index with progress, by either move that makes some; and stuck until then.
    for moved in ["checkpoint", "release"] {
        let lease = table.granted(moved, "a", 0).await;
        let blamed = |secs| Release {
            queued_until: at(secs),
            blames_object: true,
            reason: "again".into(),
        };
        let start = Checkpoint::default();
        let released = ledger.release(&lease, &start, &blamed(1), at(1)).await;
        released.expect("release");
        table.granted(moved, "b", 100).await;
        let lease = table.granted(moved, "c", 200).await;
        let stuck = table.indexed(STUCK).await;
        assert_eq!(stuck.len(), 2, "{stuck:?}");
        assert!(stuck.iter().any(|key| key == moved), "{stuck:?}");
        let reached = checkpoint(1, 1);
        match moved {
            "release" => {
                ledger
                    .release(&lease, &reached, &blamed(300), at(201))
                    .await
            }
            _ => ledger
                .checkpoint(&lease, &reached, at(201), LEASE)
                .await
                .map(drop),
        }
        .expect("progress");
        assert_eq!(table.indexed(STUCK).await, ["crashing"]);
    }
}
