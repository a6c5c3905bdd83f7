//! The ingest function as a process, interrupted in mid-object: asked to end, or left by S3 and the ledger.
#![cfg(feature = "local")]

use std::time::Duration;

use bucket_brigade::ledger::State;
use bucket_brigade::local::listener::body::RecordId;
use bucket_brigade::object::ContentId;
use tokio::process::Command;

use crate::functions::{Deployment, by_ray_id, failed, item, sqs_event};
use crate::support::gate::{Gate, Way};
use crate::support::runtime_api::{Function, LambdaProcess};
use crate::tool::{PATIENCE, until};
use crate::world::{gzip, lines, records};

const RECORDS: usize = 20_000;
const BATCH_BYTES_MAX: usize = 16_384;
const REQUESTS_IN_FLIGHT_MAX: u64 = 2;

/// An object of many batches, and an endpoint that takes its time.
struct World {
    deployment: Deployment,
    content: ContentId,
    records: Vec<Vec<u8>>,
}

impl World {
    async fn new() -> Self {
        let deployment = Deployment::new(by_ray_id()).await;
        let records = records(RECORDS);
        let content = deployment.put("logs/big.gz", gzip(&lines(&records)));
        deployment.listener.set_delay(Duration::from_millis(50));
        Self {
            deployment,
            content,
            records,
        }
    }

    fn function(&self, timeout: Duration) -> Function {
        self.deployment
            .function(env!("CARGO_BIN_EXE_ingest"), timeout)
            .env("BATCH_BYTES_MAX", BATCH_BYTES_MAX.to_string())
            .env("RECORD_BYTES_MAX", BATCH_BYTES_MAX.to_string())
            .env("PART_BYTES", "16384")
            .env("REQUESTS_IN_FLIGHT_MAX", REQUESTS_IN_FLIGHT_MAX.to_string())
            .env("LEASE_MS", "1000")
    }

    fn payload(&self) -> Vec<u8> {
        sqs_event(&[item(&self.content)])
    }

    /// Waits until some batches were taken, and not all.
    async fn midway(&self) {
        let taken = || self.deployment.listener.counts().records;
        until(PATIENCE, "some records", || taken() > 1_000).await;
        assert!(taken() < RECORDS as u64 / 2, "too late to show anything");
    }

    /// Lets another process go on without hindrance; then everything has arrived, and at most so many records
    /// twice.
    async fn ends_with_duplicates_up_to(&self, most: u64) {
        self.deployment.listener.set_delay(Duration::ZERO);
        let ingest = LambdaProcess::new(self.function(PATIENCE));
        until_done(&ingest, &self.payload()).await;
        assert_eq!(
            self.deployment.state(&self.content).await,
            Some(State::Settled)
        );
        let received = self.deployment.listener.received();
        let ids = self.records.iter().map(|record| ray_id(record));
        assert_eq!(received.missing(ids), 0);
        let duplicates = received.duplicates();
        assert!(duplicates <= most, "{duplicates} > {most}");
    }

    /// Records of the batches in flight.
    fn in_flight(&self) -> u64 {
        let shortest = self.records.iter().map(Vec::len).min().expect("records");
        REQUESTS_IN_FLIGHT_MAX * (BATCH_BYTES_MAX / shortest + 1) as u64
    }
}

/// Invokes until the message does not come back, as a lease may have to run out first.
async fn until_done(ingest: &LambdaProcess, payload: &[u8]) {
    for _ in 0..100 {
        let answer = ingest.invoke(payload).await.expect("an answer");
        if failed(&answer).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the message comes back for ever: {}", ingest.logs());
}

fn ray_id(record: &[u8]) -> RecordId {
    let record: serde_json::Value = serde_json::from_slice(record).expect("JSON");
    RecordId::of(record["RayID"].as_str().expect("an id").as_bytes())
}

#[tokio::test]
async fn p5_ingest_asked_to_end_checkpoints_gives_the_lease_back_and_sends_nothing_twice() {
    let world = World::new().await;
    let ingest = LambdaProcess::new(world.function(PATIENCE));
    let payload = world.payload();
    let (answer, ()) = tokio::join!(ingest.invoke(&payload), async {
        world.midway().await;
        let id = ingest.process_id().expect("it runs").to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(kill.expect("kill runs").success());
    });
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}: {}", ingest.logs()));
    assert_eq!(failed(&answer), ["message-0"], "{}", ingest.logs());
    let state = world.deployment.state(&world.content).await;
    assert!(matches!(state, Some(State::Queued { .. })), "{state:?}");
    let gone = ingest.invoke(&payload).await;
    gone.expect_err("the process ended after its answer");

    world.ends_with_duplicates_up_to(0).await;
}

#[tokio::test]
async fn ingest_goes_on_when_s3_and_the_ledger_are_back_in_time() {
    let world = World::new().await;
    let gate = Gate::before(world.deployment.aws.endpoint()).await;
    let function = world.function(PATIENCE).env("AWS_ENDPOINT_URL", gate.url());
    let ingest = LambdaProcess::new(function);
    let payload = world.payload();
    let (answer, ()) = tokio::join!(ingest.invoke(&payload), async {
        world.midway().await;
        gate.set(Way::Cut);
        until(PATIENCE, "someone at the gate", || gate.turned_away() >= 3).await;
        gate.set(Way::Open);
    });
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}: {}", ingest.logs()));
    // The lease may have run out meanwhile, but nobody else is there to take it.
    assert_eq!(failed(&answer), [""; 0], "{}", ingest.logs());
    world.ends_with_duplicates_up_to(0).await;
}

#[tokio::test]
async fn ingest_returns_what_it_cannot_end_while_s3_and_the_ledger_are_away() {
    let world = World::new().await;
    let gate = Gate::before(world.deployment.aws.endpoint()).await;
    let function = world
        .function(Duration::from_secs(6))
        .env("AWS_ENDPOINT_URL", gate.url())
        .env("DEADLINE_MARGIN_MS", "2000");
    let ingest = LambdaProcess::new(function);
    let payload = world.payload();
    let (answer, ()) = tokio::join!(ingest.invoke(&payload), async {
        world.midway().await;
        gate.set(Way::Gone);
    });
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}: {}", ingest.logs()));
    assert_eq!(failed(&answer), ["message-0"], "{}", ingest.logs());
    let state = world.deployment.state(&world.content).await;
    assert!(
        matches!(state, Some(State::Claimed { .. })),
        "nobody could give it back: {state:?}"
    );

    // The process is still warm, and the port is the same.
    gate.set(Way::Open);
    until_done(&ingest, &payload).await;
    world.ends_with_duplicates_up_to(world.in_flight()).await;
}
