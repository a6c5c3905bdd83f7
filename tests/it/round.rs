//! Objects side by side: what they share, and that none of them can tell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_brigade::body::Body;
use bucket_brigade::checkpoint::Account;
use bucket_brigade::clock::Clock as _;
use bucket_brigade::failure::FailureKind;
use bucket_brigade::ledger::{Claim, Ledger as _, Owner, State};
use bucket_brigade::object::WorkItem;
use bucket_brigade::pipeline::{Ingested, Pipeline, Ports};
use bucket_brigade::sink::memory::{MemorySink, Reply};
use bucket_brigade::sink::{Answer, RefusalReason, Refusals, RetryReason, Sink};
use proptest::prelude::*;
use serde_json::Value;

use crate::troubled::{Trouble, Troubled};
use crate::world::{START, World, carry_together, gzip, lines};

/// Records that no other object has.
fn records(object: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| format!("{{\"object\":{object:04},\"n\":{n:08}}}").into_bytes())
        .collect()
}

/// Objects of `count` records each, and all of their records.
fn objects(world: &World, number: usize, count: usize) -> (Vec<WorkItem>, Vec<Vec<u8>>) {
    let each: Vec<Vec<Vec<u8>>> = (0..number).map(|n| records(n, count)).collect();
    let put = |(n, records): (usize, &Vec<Vec<u8>>)| {
        world.put(&format!("logs/{n:04}.gz"), gzip(&lines(records)))
    };
    (each.iter().enumerate().map(put).collect(), each.concat())
}

fn slow(delay: Duration) -> MemorySink {
    MemorySink::judging(move |_: &[&[u8]]| Reply::from(Answer::Accepted).after(delay))
}

fn account(outcome: &Ingested) -> Account {
    match outcome {
        Ingested::Settled { account } | Ingested::Quarantined { account, .. } => *account,
        other => panic!("neither settled nor quarantined: {other:?}"),
    }
}

fn failure(outcome: &Ingested) -> FailureKind {
    match outcome {
        Ingested::Returned { failure, .. } => failure.kind,
        other => panic!("not returned: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_objects_of_100_kb_are_two_requests_and_each_has_an_account_of_its_own() {
    let mut world = World::with_sink(slow(Duration::from_millis(100)));
    world.bounds.limits.batch_bytes_max = 8 << 20;
    world.bounds.part_bytes = 4 << 20;
    let (items, records) = objects(&world, 100, 100_000 / 29);
    let ended = world.ingest_together(&items, 60).await;
    let accounts: Vec<Account> = ended.iter().map(|(outcome, _)| account(outcome)).collect();
    assert_eq!(world.sink.requests(), 2);
    let sum = |number: fn(&Account) -> u64| accounts.iter().map(number).sum::<u64>();
    assert_eq!(sum(|account| account.requests), 2);
    assert_eq!(
        sum(|account| account.records_delivered),
        records.len() as u64
    );
    let plain_bytes = lines(&records).len() as u64;
    assert_eq!(sum(|account| account.plain_bytes), plain_bytes);
    assert!(
        accounts
            .iter()
            .all(|account| account.holds() && account.records_read == 3_448)
    );
    assert!(accounts.iter().all(|account| account.body_bytes > 0));
    assert_eq!(world.missing_and_extra(&records), (0, 0));
    for item in &items {
        let content = item.content().expect("complete");
        assert_eq!(world.state(&content).await, Some(State::Settled));
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_alone_waits_for_nobody() {
    let world = World::new();
    let (items, _) = objects(&world, 1, 5);
    let ended = world.ingest_together(&items, 60).await;
    assert!(matches!(ended[0].0, Ingested::Settled { .. }));
    assert_eq!(ended[0].1, Duration::ZERO);
    let outcome = world
        .ingest(&world.put("logs/b", lines(&records(7, 5))))
        .await;
    assert!(matches!(outcome, Ingested::Settled { .. }));
    assert_eq!(world.clock.now(), START);
}

/// What is settled already, gone, or no log brings nothing, and nobody waits for it.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_object_that_brings_nothing() {
    let world = World::new();
    let (items, _) = objects(&world, 6, 5);
    world.ingest(&items[1]).await;
    world.store.remove("example-logs", &items[2].key);
    let marker = world.put("logs/", "");
    let mixed = [&items[..], &[marker]].concat();
    let ended = world.ingest_together(&mixed, 60).await;
    let settled = ended
        .iter()
        .filter(|(outcome, _)| matches!(outcome, Ingested::Settled { .. }));
    assert_eq!(settled.count(), 4);
    assert!(ended.iter().all(|(_, at)| at.is_zero()), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_object_does_not_hold_small_ones_back() {
    for is_first in [true, false] {
        let world = World::with_sink(slow(Duration::from_millis(200)));
        let large_records = records(9_999, 3_000);
        let large = world.put("logs/large", lines(&large_records));
        let (small, small_records) = objects(&world, 20, 3);
        let mut items = small.clone();
        items.insert(if is_first { 0 } else { 20 }, large.clone());
        let ended = world.ingest_together(&items, 600).await;
        let mut took = Duration::ZERO;
        let mut large_took = Duration::ZERO;
        for (item, (outcome, at)) in items.iter().zip(&ended) {
            assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
            match *item == large {
                true => large_took = *at,
                false => took = took.max(*at),
            }
        }
        assert!(large_took > Duration::from_secs(4), "{large_took:?}");
        assert!(took < large_took / 4, "{took:?} of {large_took:?}");
        let all = [large_records, small_records].concat();
        assert_eq!(world.missing_and_extra(&all), (0, 0));
    }
}

/// With one turn to read, small objects are read before a large one that came first.
#[tokio::test(start_paused = true)]
async fn an_invocation_reads_small_objects_first() {
    let mut world = World::with_sink(slow(Duration::from_millis(200)));
    world.bounds.objects_in_flight_max = 1;
    let large = world.put("logs/large", lines(&records(9_999, 3_000)));
    let (mut items, _) = objects(&world, 20, 3);
    items.insert(0, large);
    let bodies: Vec<String> = items
        .iter()
        .map(|item| serde_json::to_string(item).expect("JSON"))
        .collect();
    let invoked = crate::invocation::invoke(&world, &crate::invocation::sqs(&bodies)).await;
    assert_eq!(invoked.failed(), [""; 0]);
    let accepted = world.sink.accepted();
    let large_begins = accepted
        .iter()
        .position(|record| record.starts_with(b"{\"object\":9999"));
    let small_ends = accepted
        .iter()
        .rposition(|record| !record.starts_with(b"{\"object\":9999"));
    // The small ones share a request, which waits until the large one has filled a batch.
    assert!(
        large_begins < Some(60) && small_ends < Some(300),
        "{large_begins:?} {small_ends:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_the_endpoint_does_not_take_keeps_none_that_shared_its_request() {
    let world = World::with_sink(MemorySink::judging(|records: &[&[u8]]| {
        match records.iter().any(|record| record.starts_with(b"{\"later")) {
            true => Answer::Retry {
                reason: RetryReason::Status(500),
                after: None,
            },
            false => Answer::Accepted,
        }
    }));
    let (mut items, records) = objects(&world, 8, 1);
    items.insert(3, world.put("logs/later", b"{\"later\":1}\n"));
    let ended = world.ingest_together(&items, 60).await;
    for (n, (outcome, at)) in ended.iter().enumerate() {
        match n {
            3 => assert_eq!(failure(outcome), FailureKind::EndpointUnavailable),
            _ => {
                assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
                assert!(*at < Duration::from_secs(8), "it waited {at:?}");
            }
        }
    }
    assert_eq!(world.missing_and_extra(&records), (0, 0));
}

/// What no object can be to blame for is repeated as it was.
#[tokio::test(start_paused = true)]
async fn an_endpoint_out_of_reach_or_that_throttles_takes_a_shared_request_when_it_is_back() {
    for reason in [
        RetryReason::Unreachable("refused".into()),
        RetryReason::Status(429),
    ] {
        let world = World::new();
        world.sink.plan((0..5).map(|_| Answer::Retry {
            reason: reason.clone(),
            after: None,
        }));
        let (items, records) = objects(&world, 20, 1);
        let ended = world.ingest_together(&items, 600).await;
        assert!(
            ended
                .iter()
                .all(|(outcome, _)| matches!(outcome, Ingested::Settled { .. }))
        );
        assert_eq!(world.sink.requests(), 6, "{reason}");
        assert_eq!(world.missing_and_extra(&records), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_loses_its_lease_takes_no_other_with_it() {
    for loser in [0, 3, 7] {
        let mut world = World::with_sink(slow(Duration::from_secs(30)));
        world.bounds.delivery_timeout = Duration::from_secs(60);
        let (items, records) = objects(&world, 8, 1);
        let content = items[loser].content().expect("complete");
        let thief = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let later = START.plus(Duration::from_secs(86_400));
            let lease = Duration::from_secs(60);
            let claim = world
                .ledger
                .claim(&content, &Owner::new("thief", 7), later, lease)
                .await;
            assert!(matches!(claim, Ok(Claim::Granted(_))));
        };
        let (ended, ()) = tokio::join!(world.ingest_together(&items, 300), thief);
        for (n, (outcome, at)) in ended.iter().enumerate() {
            if n == loser {
                assert_eq!(failure(outcome), FailureKind::LeaseLost);
                assert!(*at < Duration::from_secs(30), "it went on for {at:?}");
            } else {
                assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
            }
        }
        assert_eq!(world.sink.requests(), 1);
        assert_eq!(world.missing_and_extra(&records), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_for_others_and_gives_every_lease_back() {
    let mut world = World::new();
    world.bounds.share_linger = Duration::from_secs(20);
    let (items, _) = objects(&world, 5, 1);
    let pipeline = world.pipeline();
    let round = pipeline.round();
    // Somebody may still come, so everyone waits.
    let _expected = round.enter();
    let deadline = world.deadline(60);
    let carried = items
        .iter()
        .map(|item| (round.enter(), item))
        .collect::<Vec<_>>();
    let carried = carried.into_iter().map(async |(place, item)| {
        let turn = place.turn(item, deadline.stop_at).await.expect("its turn");
        turn.ingest(item, "test", deadline).await
    });
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        pipeline.stop();
    };
    let (outcomes, ()) = tokio::join!(futures_util::future::join_all(carried), stop);
    assert!(
        outcomes
            .iter()
            .all(|outcome| failure(outcome) == FailureKind::OutOfTime)
    );
    assert_eq!(world.clock.now().since(START), Duration::from_secs(1));
    assert_eq!(world.sink.requests(), 0);
    let ended = world.ingest_together(&items, 60).await;
    assert!(
        ended
            .iter()
            .all(|(outcome, _)| matches!(outcome, Ingested::Settled { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_others_leaves_time_for_the_request() {
    let mut world = World::new();
    world.bounds.share_linger = Duration::from_secs(60);
    let (items, records) = objects(&world, 5, 1);
    let pipeline = world.pipeline();
    let round = pipeline.round();
    let _expected = round.enter();
    let deadline = world.deadline(10);
    let entered: Vec<_> = items.iter().map(|item| (round.enter(), item)).collect();
    let carried = entered.into_iter().map(async |(place, item)| {
        let turn = place.turn(item, deadline.stop_at).await.expect("its turn");
        turn.ingest(item, "test", deadline).await
    });
    let outcomes = futures_util::future::join_all(carried).await;
    for outcome in outcomes {
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
    }
    assert!(world.clock.now() < deadline.stop_at);
    assert_eq!(world.sink.requests(), 1);
    assert_eq!(world.missing_and_extra(&records), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn moves_in_the_ledger_run_side_by_side_within_their_bound() {
    for slow in ["claim", "settle"] {
        let world = World::new();
        let (items, records) = objects(&world, 100, 1);
        let trouble = Trouble::Slow(slow, Duration::from_secs(1));
        let mut bounds = world.bounds.clone();
        bounds.objects_in_flight_max = 100;
        bounds.limits.batch_bytes_max = 100_000;
        bounds.share_linger = Duration::from_secs(60);
        let ports = Ports {
            store: Arc::clone(&world.store),
            sink: Arc::clone(&world.sink),
            ledger: Troubled::new(&world.ledger, trouble),
            quarantine: Arc::clone(&world.quarantine),
            clock: world.clock,
            random: crate::world::random,
        };
        let ended = carry_together(&Pipeline::new(ports, bounds), &items, world.deadline(60)).await;
        assert!(
            ended
                .iter()
                .all(|(outcome, _)| matches!(outcome, Ingested::Settled { .. }))
        );
        // Sixteen at a time.
        let took = world.clock.now().since(START);
        assert_eq!(took, Duration::from_secs(100_u64.div_ceil(16)), "{slow}");
        assert_eq!(world.sink.requests(), 1);
        assert_eq!(world.missing_and_extra(&records), (0, 0));
    }
}

/// Takes a while, and adds up the bodies under way.
struct Weighing {
    inner: MemorySink,
    under_way: AtomicU64,
    most: AtomicU64,
}

impl Sink for Weighing {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        let bytes = body.gzip.len() as u64;
        let under_way = self.under_way.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(under_way, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = self.inner.deliver(body, timeout).await;
        self.under_way.fetch_sub(bytes, Ordering::Relaxed);
        answer
    }
}

/// Even a budget that holds no body at all lets one at a time pass.
#[tokio::test(start_paused = true)]
async fn bodies_under_way_keep_to_their_budget_and_nobody_waits_for_ever() {
    for budget in [1, 20_000, 60_000] {
        let world = World::new();
        let sink = Arc::new(Weighing {
            inner: MemorySink::new(),
            under_way: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let mut bounds = world.bounds.clone();
        bounds.limits.batch_bytes_max = 20_000;
        bounds.body_bytes_in_flight_max = budget;
        let (mut items, mut all) = objects(&world, 30, 20);
        for n in 0..3 {
            let records = records(1_000 + n, 5_000);
            items.push(world.put(&format!("logs/large-{n}"), lines(&records)));
            all.extend(records);
        }
        let ports = Ports {
            store: Arc::clone(&world.store),
            sink: Arc::clone(&sink),
            ledger: Arc::clone(&world.ledger),
            quarantine: Arc::clone(&world.quarantine),
            clock: world.clock,
            random: crate::world::random,
        };
        let ended =
            carry_together(&Pipeline::new(ports, bounds), &items, world.deadline(600)).await;
        for (outcome, _) in &ended {
            assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
        }
        assert_eq!(sink.inner.accepted().len(), all.len());
        let most = sink.most.load(Ordering::Relaxed);
        // One body alone may be larger than the budget.
        assert!(
            most <= u64::from(budget).max(20_000),
            "{most} bytes of {budget}"
        );
    }
}

fn in_virtual_time<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without i/o needs nothing")
        .block_on(future)
}

/// One object of a mix.
#[derive(Clone, Debug)]
struct Sample {
    records: usize,
    /// Which of them the endpoint refuses, and how.
    refused: Vec<(usize, bool)>,
    compressed: bool,
    truncated: bool,
}

impl Sample {
    fn records(&self, object: usize) -> Vec<Vec<u8>> {
        let mut records = records(object, self.records);
        for (at, is_poison) in &self.refused {
            let word = if *is_poison { "poison" } else { "bad" };
            let at = at % self.records;
            records[at] = format!("{{\"{word}\":\"{object}/{at}\"}}").into_bytes();
        }
        records
    }

    fn content(&self, object: usize) -> Vec<u8> {
        let plain = lines(&self.records(object));
        let whole = if self.compressed { gzip(&plain) } else { plain };
        match self.compressed && self.truncated {
            true => whole[..whole.len() - 9].to_vec(),
            false => whole,
        }
    }
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let refused = prop::collection::vec((any::<usize>(), any::<bool>()), 0..3);
    let records = prop_oneof![4 => 1_usize..12, 1 => 12_usize..90];
    (records, refused, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(records, refused, compressed, truncated)| Sample {
            records,
            refused,
            compressed,
            truncated,
        },
    )
}

/// An endpoint that refuses the same records whatever the request, and is out of order as `script` says.
fn picky(script: Vec<u8>, body_bytes_max: usize) -> MemorySink {
    let script = Mutex::new(script.into_iter());
    let begins = |record: &&&[u8], word: &[u8]| record.starts_with(word);
    MemorySink::judging(move |records: &[&[u8]]| {
        let step = script
            .lock()
            .expect("no test panics here")
            .next()
            .unwrap_or(9);
        let delay = Duration::from_millis(u64::from(step) * 70);
        let retry = |reason, after| Answer::Retry { reason, after };
        let bytes: usize = records.iter().map(|record| record.len() + 1).sum();
        let bad: Vec<(u64, RefusalReason)> = (0..)
            .zip(records)
            .filter(|(_, record)| begins(record, b"{\"bad"))
            .map(|(ordinal, _)| (ordinal, RefusalReason::Malformed))
            .collect();
        let answer = match step {
            0 => retry(RetryReason::Status(503), None),
            1 => retry(RetryReason::Status(429), Some(Duration::from_secs(1))),
            2 => retry(RetryReason::Unreachable("refused".into()), None),
            _ if bytes > body_bytes_max => Answer::TooLarge,
            _ if records.iter().any(|record| begins(&record, b"{\"poison")) => Answer::Refused {
                reason: "400".into(),
            },
            _ if !bad.is_empty() => Answer::Partial(Refusals::Identified(bad)),
            _ => Answer::Accepted,
        };
        Reply::from(answer).after(delay)
    })
}

/// What is left when all is done: by key its state and account, and what is kept; but not how many
/// requests it took.
type Left = (
    BTreeMap<String, (Option<State>, Account)>,
    BTreeMap<String, Vec<Value>>,
);

async fn left(world: &World, items: &[WorkItem], outcomes: &[Ingested]) -> Left {
    let mut rows = BTreeMap::new();
    for (item, outcome) in items.iter().zip(outcomes) {
        let state = world.state(&item.content().expect("complete")).await;
        let of_requests = Account {
            requests: 0,
            body_bytes: 0,
            ..account(outcome)
        };
        rows.insert(item.key.clone(), (state, of_requests));
    }
    let mut kept = BTreeMap::new();
    for (name, entry) in world.quarantine.kept() {
        let lines = entry
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let mut lines: Vec<Value> = lines
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        for account in lines.iter_mut().filter_map(|line| line.get_mut("account")) {
            account["requests"] = Value::Null;
            account["body_bytes"] = Value::Null;
        }
        kept.insert(name, lines);
    }
    (rows, kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// The same accounts, rows and entries of the quarantine as of one object after the other.
    #[test]
    fn no_object_can_tell_whether_it_shared_a_request(
        samples in prop::collection::vec(any_sample(), 1..14),
        order in any::<prop::sample::Index>(),
        script in prop::collection::vec(0_u8..40, 0..40),
        body_bytes_max in prop_oneof![Just(usize::MAX), 60_usize..1_000],
        objects_in_flight_max in 1_usize..6,
        small_objects_per_turn in 1_usize..6,
        linger_ms in prop_oneof![Just(0_u64), 1_u64..600],
        budget in prop_oneof![Just(64 << 20_u32), 20_000_u32..60_000],
    ) {
        let put_all = |world: &World| -> Vec<WorkItem> {
            samples
                .iter()
                .enumerate()
                .map(|(n, sample)| world.put(&format!("logs/{n:03}"), sample.content(n)))
                .collect()
        };
        let alone = in_virtual_time(async {
            let world = World::with_sink(picky(Vec::new(), body_bytes_max));
            let items = put_all(&world);
            let mut outcomes = Vec::new();
            for item in &items {
                outcomes.push(world.ingest_within(item, 3_000).await);
            }
            left(&world, &items, &outcomes).await
        });
        let (together, (requests, counted), (missing, extra)) = in_virtual_time(async {
            let mut world = World::with_sink(picky(script, body_bytes_max));
            world.bounds.objects_in_flight_max = objects_in_flight_max;
            world.bounds.small_objects_per_turn = small_objects_per_turn;
            world.bounds.share_linger = Duration::from_millis(linger_ms);
            world.bounds.body_bytes_in_flight_max = budget;
            let mut items = put_all(&world);
            let from = order.index(items.len());
            items.rotate_left(from);
            let ended = world.ingest_together(&items, 3_000).await;
            let outcomes: Vec<Ingested> = ended.into_iter().map(|(outcome, _)| outcome).collect();
            let counted: u64 = outcomes.iter().map(|outcome| account(outcome).requests).sum();
            let good: Vec<Vec<u8>> = samples
                .iter()
                .enumerate()
                .filter(|(_, sample)| !sample.truncated)
                .flat_map(|(n, sample)| sample.records(n))
                .filter(|record| record.starts_with(b"{\"object"))
                .filter(|record| record.len() < body_bytes_max)
                .collect();
            let left = left(&world, &items, &outcomes).await;
            (left, (world.sink.requests(), counted), world.missing_and_extra(&good))
        });
        prop_assert_eq!(together, alone);
        prop_assert_eq!(counted, requests);
        prop_assert_eq!((missing, extra), (0, 0));
    }

    /// Killed at any moments, nothing is lost, and of no object more is sent again than its batches in
    /// flight.
    #[test]
    fn any_stop_of_a_round_is_survivable(
        crashes_ms in prop::collection::vec(1_u64..2_500, 1..4),
        sizes in prop::collection::vec(prop_oneof![4 => 1_usize..10, 1 => 10_usize..120], 1..12),
    ) {
        in_virtual_time(async {
            let world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| {
                let delay = Duration::from_millis(crate::world::random() >> 54);
                Reply::from(Answer::Accepted).after(delay)
            }));
            let each: Vec<Vec<Vec<u8>>> =
                sizes.iter().enumerate().map(|(n, count)| records(n, *count)).collect();
            let items: Vec<WorkItem> = each
                .iter()
                .enumerate()
                .map(|(n, records)| world.put(&format!("logs/{n}"), lines(records)))
                .collect();
            for crash in &crashes_ms {
                let carried = world.ingest_together(&items, 60);
                let _ = tokio::time::timeout(Duration::from_millis(*crash), carried).await;
                tokio::time::sleep(world.bounds.lease).await;
            }
            let ended = world.ingest_together(&items, 600).await;
            for (records, (outcome, _)) in each.iter().zip(&ended) {
                let is_given_up = match outcome {
                    Ingested::Settled { account } => {
                        prop_assert_eq!(account.records_read, records.len() as u64);
                        false
                    }
                    Ingested::Skipped { failure } => {
                        prop_assert_eq!(failure.kind, FailureKind::AlreadySettled);
                        false
                    }
                    // Claims that died before any progress count against the object.
                    Ingested::Quarantined { failure, .. } => {
                        prop_assert_eq!(failure.kind, FailureKind::AttemptsExhausted);
                        true
                    }
                    Ingested::Returned { failure, .. } => panic!("{failure}"),
                };
                let accepted = world.sink.accepted();
                let times = |record| accepted.iter().filter(|taken| *taken == record).count();
                let extra: usize = records.iter().map(|record| times(record).saturating_sub(1)).sum();
                prop_assert!(is_given_up || records.iter().all(|record| times(record) > 0));
                let batch_records = 1_000 / (records[0].len() + 1);
                let bound = crashes_ms.len() * world.bounds.requests_in_flight_max * batch_records;
                prop_assert!(extra <= bound, "{} doubled, at most {}", extra, bound);
            }
            Ok(())
        })?;
    }
}
