//! Every wait ends before the deadline: what hangs costs the work that hangs, and no checkpoint.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::clock::Clock as _;
use bucket_brigade::failure::FailureKind;
use bucket_brigade::invocation::{Answer, Ingest};
use bucket_brigade::ledger::{Ledger as _, State};
use bucket_brigade::object::WorkItem;
use bucket_brigade::pipeline::{Deadline, Ingested, Pipeline, Ports};
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::sink::memory::MemorySink;
use bucket_brigade::sink::{Answer as Said, RefusalReason, Refusals, RetryReason};
use bucket_brigade::telemetry::Metrics;

use crate::troubled::{Trouble, Troubled};
use crate::world::{BUCKET, World, lines, records};

fn deadline(world: &World) -> Deadline {
    let stop_at = world.clock.now().plus(Duration::from_secs(20));
    Deadline {
        stop_at,
        end_at: stop_at.plus(Duration::from_secs(6)),
    }
}

/// One attempt with ports that have `trouble`, and whether it ended in time.
async fn ingest(world: &World, item: &WorkItem, trouble: Trouble) -> Ingested {
    let ports = Ports {
        store: Troubled::new(&world.store, trouble),
        sink: Arc::clone(&world.sink),
        ledger: Troubled::new(&world.ledger, trouble),
        quarantine: Troubled::new(&world.quarantine, trouble),
        clock: world.clock,
        random: crate::world::random,
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    let deadline = deadline(world);
    let outcome = tokio::time::timeout(
        Duration::from_secs(3_600),
        pipeline.ingest(item, "test", deadline),
    )
    .await
    .expect("it ends");
    assert!(
        world.clock.now() <= deadline.end_at,
        "{trouble:?}: it ended {:?} late",
        world.clock.now().since(deadline.end_at)
    );
    outcome
}

fn returned(outcome: &Ingested) -> FailureKind {
    match outcome {
        Ingested::Returned { failure, .. } => failure.kind,
        other => panic!("not returned: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_claim_or_a_head_that_hangs_ends_in_time() {
    let world = World::new();
    let item = world.put("logs/a", lines(&records(3)));
    let outcome = ingest(&world, &item, Trouble::Hangs("claim")).await;
    assert_eq!(returned(&outcome), FailureKind::LedgerUnavailable);
    let by_hand = WorkItem::new(BUCKET, "logs/a");
    let outcome = ingest(&world, &by_hand, Trouble::Hangs("head")).await;
    assert_eq!(returned(&outcome), FailureKind::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn p5_a_ledger_that_hangs_midway_ends_in_time() {
    for hanging in ["checkpoint", "renew", "settle", "release"] {
        let world = World::new();
        let item = world.put("logs/a", lines(&records(200)));
        let outcome = ingest(&world, &item, Trouble::Hangs(hanging)).await;
        let is_settled = matches!(outcome, Ingested::Settled { .. });
        assert_eq!(
            is_settled,
            matches!(hanging, "renew" | "release"),
            "{hanging}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_quarantine_that_hangs_ends_in_time_and_what_was_accepted_is_not_sent_again() {
    let world = World::with_sink(MemorySink::judging(|records: &[&[u8]]| {
        let bad = records
            .iter()
            .position(|record| record.starts_with(b"{bad"));
        bad.map_or(Said::Accepted, |at| {
            let refused = vec![(at as u64, RefusalReason::Malformed)];
            Said::Partial(Refusals::Identified(refused))
        })
    }));
    let good = records(200);
    let all = [&good[..150], &[b"{bad}".to_vec()], &good[150..]].concat();
    let item = world.put("logs/a", lines(&all));
    let outcome = ingest(&world, &item, Trouble::Hangs("keep")).await;
    assert_eq!(returned(&outcome), FailureKind::QuarantineUnavailable);
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Settled { account } if account.records_quarantined == 1
    ));
    assert_eq!(world.missing_and_extra(&good), (0, 0));

    let archived = world.put("logs/b", lines(&records(3)));
    world.store.refuse(BUCKET, "logs/b", |place| {
        bucket_brigade::store::StoreError::Archived {
            place,
            reason: "InvalidObjectState".into(),
        }
    });
    let outcome = ingest(&world, &archived, Trouble::Hangs("keep")).await;
    assert_eq!(returned(&outcome), FailureKind::QuarantineUnavailable);
    let content = archived.content().expect("complete");
    assert!(matches!(
        world.state(&content).await,
        Some(State::Queued { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_that_takes_longer_than_a_lease_costs_nobodys_lease_and_nothing_is_sent_twice()
{
    let world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| Said::Accepted));
    let all = records(200);
    let whole = crate::world::gzip(&lines(&all));
    let item = world.put("logs/a", whole[..whole.len() - 8].to_vec());
    let trouble = Trouble::Slow("keep", world.bounds.lease * 3);
    let ports = Ports {
        store: Arc::clone(&world.store),
        sink: Arc::clone(&world.sink),
        ledger: Arc::clone(&world.ledger),
        quarantine: Troubled::new(&world.quarantine, trouble),
        clock: world.clock,
        random: crate::world::random,
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    let other = async {
        tokio::time::sleep(world.bounds.lease * 2).await;
        world.ingest(&item).await
    };
    let (outcome, other) =
        tokio::join!(pipeline.ingest(&item, "test", world.deadline(3_600)), other);
    assert!(
        matches!(outcome, Ingested::Quarantined { .. }),
        "{outcome:?}"
    );
    assert_eq!(returned(&other), FailureKind::LeaseHeld);
    assert_eq!(world.missing_and_extra(&all), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn p5_a_queue_that_hangs_does_not_keep_the_answer_back() {
    let world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| Said::Retry {
        reason: RetryReason::Status(503),
        after: None,
    }));
    let item = world.put("a", lines(&records(3)));
    let bodies = [
        serde_json::to_string(&item).expect("JSON"),
        "{not json".to_owned(),
    ];
    for hanging in ["postpone", "bury"] {
        let queue = Arc::new(MemoryQueue::new());
        let ingest = Ingest {
            pipeline: world.pipeline(),
            queue: Some(Troubled::new(&queue, Trouble::Hangs(hanging))),
            queued: Duration::from_secs(3_600),
            metrics: Metrics::new("test"),
        };
        let deadline = deadline(&world);
        let payload = crate::invocation::sqs(&bodies);
        let answer = tokio::time::timeout(
            Duration::from_secs(3_600),
            ingest.invoke(&payload, "request", deadline),
        )
        .await
        .expect("it ends")
        .expect("messages are answered");
        assert!(world.clock.now() <= deadline.end_at, "{hanging}");
        let Answer::Messages(answer) = answer else {
            panic!("{answer:?}");
        };
        let failed = answer.batch_item_failures.len();
        assert_eq!(failed, if hanging == "bury" { 2 } else { 1 });
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
}

/// One write that hangs, as on a connection that is gone, must not cost the lease.
#[tokio::test(start_paused = true)]
async fn a_ledger_write_that_hangs_is_made_again_before_the_lease_runs_out() {
    for hanging in ["checkpoint", "renew", "settle"] {
        let mut world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| {
            let slow = Duration::from_secs(30);
            bucket_brigade::sink::memory::Reply::from(Said::Accepted).after(slow)
        }));
        world.bounds.delivery_timeout = Duration::from_secs(60);
        let item = world.put("logs/a", lines(&records(200)));
        let ports = Ports {
            store: Arc::clone(&world.store),
            sink: Arc::clone(&world.sink),
            ledger: Troubled::new(&world.ledger, Trouble::HangsAt(hanging, 1)),
            quarantine: Arc::clone(&world.quarantine),
            clock: world.clock,
            random: crate::world::random,
        };
        let pipeline = Pipeline::new(ports, world.bounds.clone());
        let stop_at = world.clock.now().plus(Duration::from_secs(800));
        let deadline = Deadline {
            stop_at,
            end_at: stop_at.plus(Duration::from_secs(6)),
        };
        let content = item.content().expect("complete");
        let rivals = async {
            for n in 0..10 {
                tokio::time::sleep(Duration::from_secs(7)).await;
                let owner = bucket_brigade::ledger::Owner::new("rival", n);
                let (now, lease) = (world.clock.now(), Duration::from_secs(60));
                let claim = world.ledger.claim(&content, &owner, now, lease).await;
                let granted = matches!(claim, Ok(bucket_brigade::ledger::Claim::Granted(_)));
                assert!(!granted, "{hanging}: taken over after {} s", (n + 1) * 7);
            }
        };
        let (outcome, ()) = tokio::join!(pipeline.ingest(&item, "test", deadline), rivals);
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
        let took = world.clock.now().since(crate::world::START);
        assert!(
            took < Duration::from_secs(200),
            "{hanging}: it took {took:?}"
        );
    }
}

/// What is kept is read back by a person, an entry at a time, and built in a function of 128 MB.
#[tokio::test(start_paused = true)]
async fn refused_records_are_kept_in_entries_of_bounded_size_one_after_the_other() {
    let mut world = World::with_sink(MemorySink::judging(|records: &[&[u8]]| {
        let all = (0..records.len() as u64).map(|n| (n, RefusalReason::Refused));
        Said::Partial(Refusals::Identified(all.collect()))
    }));
    world.bounds.limits.batch_bytes_max = 8 << 20;
    world.bounds.part_bytes = 4 << 20;
    let all = records(300_000);
    let item = world.put("logs/a", lines(&all));
    let quarantine = Arc::new(OneAtATime::default());
    let ports = Ports {
        store: Arc::clone(&world.store),
        sink: Arc::clone(&world.sink),
        ledger: Arc::clone(&world.ledger),
        quarantine: Arc::clone(&quarantine),
        clock: world.clock,
        random: crate::world::random,
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    let outcome = pipeline.ingest(&item, "test", deadline(&world)).await;
    let Ingested::Settled { account } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(account.records_quarantined, 300_000);
    let kept = quarantine.inner.kept();
    let lines: usize = kept
        .values()
        .map(|entry| entry.iter().filter(|byte| **byte == b'\n').count())
        .sum();
    assert_eq!(lines, 300_000);
    let longest = kept.values().map(bytes::Bytes::len).max();
    assert!(longest < Some(2 << 20), "an entry of {longest:?} bytes");
}

/// Takes a while, and fails a test that keeps two things at once.
#[derive(Default)]
struct OneAtATime {
    inner: MemoryQuarantine,
    busy: std::sync::atomic::AtomicBool,
}

impl bucket_brigade::quarantine::Quarantine for OneAtATime {
    async fn keep(
        &self,
        name: &str,
        content: bytes::Bytes,
    ) -> Result<String, bucket_brigade::quarantine::QuarantineError> {
        use std::sync::atomic::Ordering;
        assert!(!self.busy.swap(true, Ordering::Relaxed), "two at once");
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.busy.store(false, Ordering::Relaxed);
        self.inner.keep(name, content).await
    }
}

/// Whatever the event rule covers, what is put away is not work.
#[tokio::test(start_paused = true)]
async fn p4_what_lies_in_quarantine_is_never_carried() {
    struct InBucket(Arc<MemoryQuarantine>);
    impl bucket_brigade::quarantine::Quarantine for InBucket {
        async fn keep(
            &self,
            name: &str,
            content: bytes::Bytes,
        ) -> Result<String, bucket_brigade::quarantine::QuarantineError> {
            self.0.keep(name, content).await
        }

        fn holds(&self, object: &bucket_brigade::object::ObjectId) -> bool {
            object.key.starts_with("q/records/")
        }
    }
    let world = World::new();
    let ports = Ports {
        store: Arc::clone(&world.store),
        sink: Arc::clone(&world.sink),
        ledger: Arc::clone(&world.ledger),
        quarantine: InBucket(Arc::clone(&world.quarantine)),
        clock: world.clock,
        random: crate::world::random,
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    let item = world.put("q/records/b/0.ndjson", lines(&records(3)));
    let outcome = pipeline.ingest(&item, "test", deadline(&world)).await;
    let Ingested::Skipped { failure } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(failure.kind, FailureKind::NotALog);
    let item = world.put("q/a", lines(&records(3)));
    let outcome = pipeline.ingest(&item, "test", deadline(&world)).await;
    assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
}
