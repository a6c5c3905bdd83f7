//! What lies in quarantine is carried once more: sent, asked for again, and taken away when it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bucket_brigade::failure::{Failure, FailureKind};
use bucket_brigade::invocation::{Answer, Ingest, InvocationError};
use bucket_brigade::ledger::State;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::object::WorkItem;
use bucket_brigade::pipeline::{Ingested, Pipeline, Ports};
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::quarantine::{Quarantine as _, QuarantineError};
use bucket_brigade::queue::QueueError;
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::replay::{Carry, ReplayReport, ReplayRequest, Replayer, Tally};
use bucket_brigade::rules::Rules;
use bucket_brigade::sink::memory::{MemorySink, Reply};
use bucket_brigade::sink::{Answer as Said, RefusalReason, Refusals, RetryReason};
use bucket_brigade::store::StoreError;
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::telemetry::Metrics;
use proptest::prelude::*;
use serde_json::Value;

use crate::troubled::{Trouble, Troubled};
use crate::world::{BUCKET, VirtualClock, World, gzip, lines, random, records};

/// A sink that refuses every record whose number ends with seven, as long as it is told to.
struct Fussy(Arc<AtomicBool>);

impl Fussy {
    fn sink(&self) -> MemorySink {
        let refuses = Arc::clone(&self.0);
        MemorySink::judging(move |records: &[&[u8]]| {
            let refused: Vec<_> = (0_u64..)
                .zip(records)
                .filter(|(_, record)| record.ends_with(b"7}") && refuses.load(Ordering::Relaxed))
                .map(|(ordinal, _)| (ordinal, RefusalReason::Malformed))
                .collect();
            match refused.is_empty() {
                true => Said::Accepted,
                false => Said::Partial(Refusals::Identified(refused)),
            }
        })
    }

    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    fn takes_all(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

type MemoryIngest = Ingest<
    Arc<MemoryStore>,
    Arc<MemorySink>,
    Arc<MemoryLedger>,
    Arc<MemoryQuarantine>,
    VirtualClock,
    Arc<MemoryQueue>,
>;

struct Function {
    ingest: MemoryIngest,
    queue: Arc<MemoryQueue>,
}

impl Function {
    fn new(world: &World) -> Self {
        let queue = Arc::new(MemoryQueue::new());
        Self {
            ingest: Ingest {
                pipeline: world.pipeline(),
                queue: Some(Arc::clone(&queue)),
                queued: Duration::from_secs(3_600),
                metrics: Metrics::new("test"),
            },
            queue,
        }
    }

    async fn invoke(&self, world: &World, payload: &str) -> Result<Answer, InvocationError> {
        let deadline = world.deadline(60);
        self.ingest
            .invoke(payload.as_bytes(), "request", deadline)
            .await
    }

    async fn replay(&self, world: &World, payload: &str) -> ReplayReport {
        match self.invoke(world, payload).await {
            Ok(Answer::Replayed(report)) => report,
            other => panic!("{other:?}"),
        }
    }
}

fn tally(report: &ReplayReport, reason: FailureKind) -> Tally {
    report
        .reasons
        .get(reason.name())
        .copied()
        .unwrap_or_default()
}

/// The names and lines of what is kept.
fn kept(world: &World) -> BTreeMap<String, Vec<Value>> {
    let parse = |content: &[u8]| {
        content
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect()
    };
    let kept = world.quarantine.kept();
    kept.into_iter()
        .map(|(name, content)| (name, parse(&content)))
        .collect()
}

/// Puts the object `logs/a` into an archive.
fn archive(world: &World) {
    let archived = |place| StoreError::Archived {
        place,
        reason: "InvalidObjectState".into(),
    };
    world.store.refuse(BUCKET, "logs/a", archived);
}

/// 100 records of which ten are in quarantine.
async fn with_refused_records() -> (World, Fussy, Vec<Vec<u8>>) {
    let fussy = Fussy::new();
    let world = World::with_sink(fussy.sink());
    let records = records(100);
    let item = world.put("logs/a.gz", gzip(&lines(&records)));
    let Ingested::Settled { account } = world.ingest(&item).await else {
        panic!("not settled");
    };
    assert_eq!(account.records_quarantined, 10);
    (world, fussy, records)
}

#[tokio::test(start_paused = true)]
async fn refused_records_are_sent_once_more_and_leave_quarantine_when_they_are_taken() {
    let (world, fussy, records) = with_refused_records().await;
    let function = Function::new(&world);
    fussy.takes_all();
    let dry = function
        .replay(&world, r#"{"replay":{"dry_run":true}}"#)
        .await;
    let there = Tally {
        records: 10,
        bytes: records
            .iter()
            .skip(7)
            .step_by(10)
            .map(|r| r.len() as u64)
            .sum(),
        ..Tally::default()
    };
    assert_eq!(tally(&dry, FailureKind::RejectedMalformed), there);
    assert_eq!(world.sink.accepted().len(), 90);

    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert!(report.complete, "{report:?}");
    let expected = Tally {
        records_delivered: 10,
        ..there
    };
    assert_eq!(tally(&report, FailureKind::RejectedMalformed), expected);
    assert_eq!(world.missing_and_extra(&records), (0, 0));
    assert_eq!(kept(&world), BTreeMap::new());
    let again = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(again.reasons, BTreeMap::new());
    assert_eq!(world.missing_and_extra(&records), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn records_that_are_refused_again_stay_once_and_say_where_they_came_from() {
    let (world, fussy, records) = with_refused_records().await;
    let function = Function::new(&world);
    let lines = |world: &World| -> BTreeSet<(String, u64, u64, String)> {
        let kept: Vec<Value> = kept(world).into_values().flatten().collect();
        let line = |line: &Value| {
            let text = |name: &str| line[name].as_str().expect("text").to_owned();
            let number = |name: &str| line[name].as_u64().expect("a number");
            assert_eq!(line["source"]["bucket"], BUCKET);
            assert_eq!(line["source"]["key"], "logs/a.gz");
            (
                text("reason"),
                number("record"),
                number("offset"),
                text("text"),
            )
        };
        assert_eq!(kept.len(), 10);
        kept.iter().map(line).collect()
    };
    let before = lines(&world);
    for _ in 0..3 {
        let report = function.replay(&world, r#"{"replay":{}}"#).await;
        let tally = tally(&report, FailureKind::RejectedMalformed);
        assert!(report.complete, "{report:?}");
        assert_eq!((tally.records_delivered, tally.records_refused), (0, 10));
        assert_eq!(lines(&world), before);
    }
    fussy.takes_all();
    function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(world.missing_and_extra(&records), (0, 0));
    assert_eq!(kept(&world), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn an_object_goes_on_where_it_stopped_and_leaves_quarantine_when_it_is_settled() {
    let world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| {
        Reply::from(Said::Accepted).after(Duration::from_millis(10))
    }));
    let records = records(4_000);
    let item = world.put("logs/a", lines(&records));
    // What was restored is archived again in mid-object.
    let archive = async {
        tokio::time::sleep(Duration::from_millis(15)).await;
        archive(&world);
    };
    let (outcome, ()) = tokio::join!(world.ingest(&item), archive);
    let Ingested::Quarantined { account, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        (1..4_000).contains(&account.records_delivered),
        "{account:?}"
    );

    let function = Function::new(&world);
    let report = function
        .replay(&world, r#"{"replay":{"only":["rejected"]}}"#)
        .await;
    assert_eq!(report.reasons, BTreeMap::new());
    world.store.allow(BUCKET, "logs/a");
    let report = function
        .replay(&world, r#"{"replay":{"only":["archived"]}}"#)
        .await;
    assert_eq!(tally(&report, FailureKind::Archived).objects_requeued, 1);
    // It is under way now, and its entry stays until it is settled.
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(tally(&report, FailureKind::Archived).left, 1);
    assert_eq!(kept(&world).len(), 1);
    let asked = function.queue.waiting();
    assert_eq!(asked.len(), 1);
    let message = serde_json::to_string(&asked[0]).expect("JSON");
    function.invoke(&world, &message).await.expect("settled");
    assert_eq!(world.missing_and_extra(&records), (0, 0));
    assert_eq!(kept(&world), BTreeMap::new());
    let content = item.content().expect("complete");
    assert_eq!(world.state(&content).await, Some(State::Settled));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_damaged_as_before_is_put_back_and_nothing_of_it_is_sent_again() {
    let world = World::new();
    let records = records(200);
    let whole = gzip(&lines(&records));
    let item = world.put("logs/a.gz", &whole[..whole.len() / 2]);
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Quarantined { .. }
    ));
    let (before, sent) = (kept(&world), world.sink.accepted().len());
    assert!(sent > 0);
    let function = Function::new(&world);
    for _ in 0..3 {
        let report = function.replay(&world, r#"{"replay":{}}"#).await;
        assert_eq!(tally(&report, FailureKind::Truncated).objects_requeued, 1);
        let asked = function.queue.take().expect("asked for");
        let message = serde_json::to_string(&asked).expect("JSON");
        function
            .invoke(&world, &message)
            .await
            .expect("quarantined");
        assert_eq!(kept(&world), before);
        assert_eq!(world.sink.accepted().len(), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_object_was_settled_meanwhile_is_taken_away() {
    let world = World::new();
    let item = world.put("logs/a", lines(&records(3)));
    archive(&world);
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Quarantined { .. }
    ));
    world.store.allow(BUCKET, "logs/a");
    let function = Function::new(&world);
    function.replay(&world, r#"{"replay":{}}"#).await;
    // As if whoever settled it was killed before it removed the entry.
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Settled { .. }
    ));
    assert_eq!(kept(&world).len(), 1);
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(tally(&report, FailureKind::Archived).done_before, 1);
    assert_eq!(kept(&world), BTreeMap::new());
    assert_eq!(world.sink.accepted().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_the_queue_does_not_take_stays_and_is_asked_for_again() {
    let world = World::new();
    let item = world.put("logs/a", lines(&records(3)));
    archive(&world);
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Quarantined { .. }
    ));
    let function = Function::new(&world);
    function.queue.fail(1, || QueueError::Unavailable {
        reason: "503".into(),
    });
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert!(!report.complete && report.failure.is_some(), "{report:?}");
    assert_eq!(kept(&world).len(), 1);
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(tally(&report, FailureKind::Archived).objects_requeued, 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_sent_twice_goes_only_when_that_is_asked_for() {
    let world = World::with_sink(MemorySink::new());
    let unidentified = Said::Partial(Refusals::Unidentified { count: 2 });
    world.sink.plan([unidentified]);
    let refused = records(5);
    let item = world.put("logs/a", lines(&refused));
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Settled { .. }
    ));
    let long = [b"{\"a\":\"".to_vec(), vec![b'x'; 600], b"\"}".to_vec()].concat();
    let item = world.put("logs/cut", lines(&[long]));
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Settled { .. }
    ));
    let delivered = world.sink.accepted().len();
    assert_eq!(kept(&world).len(), 2);

    let function = Function::new(&world);
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(tally(&report, FailureKind::RejectedUnidentified).left, 5);
    assert_eq!(report.reasons["record_cut"].left, 1);
    assert_eq!(world.sink.accepted().len(), delivered);
    let report = function
        .replay(&world, r#"{"replay":{"may_double":true}}"#)
        .await;
    let tally = tally(&report, FailureKind::RejectedUnidentified);
    assert_eq!(tally.records_delivered, 5);
    // The cut record was delivered: its original goes by name alone, and here not even a whole one is kept.
    assert_eq!(report.reasons["record_cut"].left, 1);
    assert_eq!(kept(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_of_an_object_that_rules_skip_now_stay() {
    let (world, fussy, _) = with_refused_records().await;
    fussy.takes_all();
    let before = kept(&world);
    let function = Function::new(&world);
    let rules = "version: 1\nrules:\n  - {name: none, match: {prefix: logs/}, skip: true}\n";
    let rules = Rules::parse(rules).expect("right");
    function.ingest.pipeline.rules().set(Arc::new(rules));
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(tally(&report, FailureKind::RejectedMalformed).left, 10);
    assert_eq!(kept(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_replay_stops_with_its_function() {
    let (world, fussy, _) = with_refused_records().await;
    fussy.takes_all();
    let before = kept(&world);
    let function = Function::new(&world);
    function.ingest.pipeline.stop();
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert!(!report.complete, "{report:?}");
    assert_eq!(kept(&world), before);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_a_replay_and_everything_stays() {
    for (answer, kind) in [
        (
            Said::Retry {
                reason: RetryReason::Status(503),
                after: None,
            },
            FailureKind::EndpointUnavailable,
        ),
        (
            Said::Fatal {
                reason: "401".into(),
            },
            FailureKind::EndpointRefused,
        ),
    ] {
        let (world, _, _) = with_refused_records().await;
        let before = kept(&world);
        world.sink.plan((0..1_000).map(|_| answer.clone()));
        let function = Function::new(&world);
        let failure = match function.invoke(&world, r#"{"replay":{}}"#).await {
            Ok(Answer::Replayed(report)) => {
                assert!(!report.complete, "{report:?}");
                report.failure.expect("a failure")
            }
            // Only what a person has to see to fails the invocation.
            Err(InvocationError::Unfinished(failure)) => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(failure.kind, kind);
        assert_eq!(kept(&world), before);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stays_and_keeps_nothing_from_its_turn() {
    let (world, fussy, records) = with_refused_records().await;
    fussy.takes_all();
    for (name, text) in [
        ("objects/b/0.json", "{\"reason\":\"archived\"}"),
        ("records/a/0/0.ndjson", "not JSON\n{\"reason\":1}\n"),
        ("records/README", "not ours"),
    ] {
        world
            .quarantine
            .keep(name, text.into())
            .await
            .expect("kept");
    }
    let function = Function::new(&world);
    let report = function.replay(&world, r#"{"replay":{}}"#).await;
    assert_eq!(report.reasons["unreadable"].left, 3);
    assert_eq!(world.missing_and_extra(&records), (0, 0));
    assert_eq!(world.quarantine.kept().len(), 3);
}

/// Notes what it is given.
struct Noted(std::sync::Mutex<Vec<WorkItem>>);

impl Carry for Noted {
    fn queued_for(&self) -> Duration {
        Duration::ZERO
    }

    async fn carry(&self, item: WorkItem) -> Result<(), Failure> {
        self.0.lock().expect("whole").push(item);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whenever it is killed, the next replay goes on: nothing is lost, nothing is kept twice, and at most
    /// the requests under way are sent twice.
    #[test]
    fn a_replay_may_be_killed_at_any_moment(
        kills_ms in proptest::collection::vec(1_u64..900, 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let fussy = Fussy::new();
            let world = World::with_sink(fussy.sink());
            let all = records(300);
            for (number, part) in all.chunks(100).enumerate() {
                let item = world.put(&format!("logs/{number}"), lines(part));
                let settled = matches!(world.ingest(&item).await, Ingested::Settled { .. });
                prop_assert!(settled);
            }
            let poison: BTreeSet<Vec<u8>> = all.iter().filter(|r| r.ends_with(b"17}")).cloned().collect();
            fussy.takes_all();
            let still_refused = poison.clone();
            let sink = Arc::new(MemorySink::judging(move |records: &[&[u8]]| {
                let refused: Vec<_> = (0_u64..)
                    .zip(records)
                    .filter(|(_, record)| still_refused.contains(**record))
                    .map(|(ordinal, _)| (ordinal, RefusalReason::Malformed))
                    .collect();
                let answer = match refused.is_empty() {
                    true => Said::Accepted,
                    false => Said::Partial(Refusals::Identified(refused)),
                };
                Reply::from(answer).after(Duration::from_millis(35))
            }));
            let slow = Trouble::EachSlow(Duration::from_millis(11));
            let ports = Ports {
                store: Arc::clone(&world.store),
                sink: Arc::clone(&sink),
                ledger: Arc::new(Troubled::new(&world.ledger, slow)),
                quarantine: Arc::new(Troubled::new(&world.quarantine, slow)),
                clock: world.clock,
                random,
            };
            let pipeline = Pipeline::new(ports, world.bounds.clone());
            let objects = Noted(std::sync::Mutex::default());
            let request = ReplayRequest::default();
            for kill in &kills_ms {
                let replayer = Replayer::beside(&pipeline);
                let run = replayer.run(&request, Some(&objects), "test", world.deadline(60));
                let _ = tokio::time::timeout(Duration::from_millis(*kill), run).await;
                tokio::time::sleep(world.bounds.lease).await;
            }
            // The first may leave an entry whose attempts are exhausted, since each kill may have hit it; the
            // last takes away what an earlier one had kept anew, and was killed.
            for _ in 0..3 {
                let replayer = Replayer::beside(&pipeline);
                let run = replayer.run(&request, Some(&objects), "test", world.deadline(60));
                let report = run.await.expect("listed");
                prop_assert!(report.complete, "{:?}", report);
            }
            let mut times = BTreeMap::new();
            for record in sink.accepted() {
                *times.entry(record).or_insert(0_usize) += 1;
            }
            let refused_once = all.iter().filter(|record| record.ends_with(b"7}"));
            for record in refused_once {
                let taken = times.get(record).copied().unwrap_or_default();
                prop_assert_eq!(taken == 0, poison.contains(record));
            }
            let extra: usize = times.values().map(|times| times - 1).sum();
            prop_assert!(extra <= kills_ms.len() * 4 * 10, "{}", extra);
            let left: Vec<String> = kept(&world)
                .into_values()
                .flatten()
                .map(|line| line["text"].as_str().expect("text").to_owned())
                .collect();
            let distinct: BTreeSet<Vec<u8>> = left.iter().map(|text| text.clone().into_bytes()).collect();
            prop_assert_eq!(&distinct, &poison);
            prop_assert_eq!(left.len(), poison.len(), "{:?}", left);
            Ok(())
        })?;
    }
}

/// An entry that is kept anew while it is replayed has what was not read: it stays.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_kept_anew_meanwhile_stays() -> Result<(), QuarantineError> {
    let (world, fussy, _) = with_refused_records().await;
    fussy.takes_all();
    let (name, text) = world
        .quarantine
        .kept()
        .into_iter()
        .next()
        .expect("an entry");
    let more = [&text[..], &text[..]].concat();
    let (pipeline, objects) = (world.pipeline(), Noted(std::sync::Mutex::default()));
    let request = ReplayRequest::default();
    let replayer = Replayer::beside(&pipeline);
    let replay = replayer.run(&request, Some(&objects), "test", world.deadline(60));
    let accepted = world.sink.accepted().len();
    let rewrite = async {
        while world.sink.accepted().len() == accepted {
            tokio::task::yield_now().await;
        }
        world.quarantine.keep(&name, more.clone().into()).await
    };
    let (report, kept) = tokio::join!(replay, rewrite);
    kept?;
    assert!(report.expect("listed").complete);
    assert_eq!(world.quarantine.kept()[&name], more);
    Ok(())
}
