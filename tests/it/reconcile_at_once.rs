//! Reconcile does many things at a time: within its bounds, and whatever fails, nothing is passed over.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::clock::Clock as _;
use bucket_brigade::config::WatchedPrefix;
use bucket_brigade::failure::Failure;
use bucket_brigade::ledger::Ledger as _;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::object::ContentId;
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::reconcile::{PassReport, Reconciler};
use bucket_brigade::rules::RulesInForce;
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::telemetry::Metrics;
use proptest::prelude::*;
use serde_json::Value;

use crate::reconcile::{Fixture, WINDOW, reconciler, watched};
use crate::troubled::{Gauge, Trouble, Troubled};
use crate::world::{BUCKET, VirtualClock};

type TroubledReconciler =
    Reconciler<Troubled<MemoryStore>, Troubled<MemoryLedger>, Troubled<MemoryQueue>, VirtualClock>;

const SECOND: Duration = Duration::from_secs(1);

fn with_pages_of(objects: usize) -> Fixture {
    let mut fixture = reconciler();
    fixture.store = Arc::new(MemoryStore::new().with_pages_of(objects));
    Fixture(fixture)
}

fn troubled(world: &Fixture, trouble: Trouble, gauge: &Arc<Gauge>) -> TroubledReconciler {
    Reconciler {
        store: Troubled::gauged(&world.0.store, trouble, gauge),
        ledger: Troubled::gauged(&world.0.ledger, trouble, gauge),
        queue: Troubled::gauged(&world.0.queue, trouble, gauge),
        clock: world.0.clock,
        bounds: world.0.bounds.clone(),
        rules: RulesInForce::default(),
    }
}

/// A pass over several prefixes in which each move takes a second, and what was under way at most.
async fn each_takes_a_second(world: &Fixture, prefixes: &[&str]) -> (Duration, Arc<Gauge>) {
    let gauge = Arc::new(Gauge::default());
    let slow = troubled(world, Trouble::EachSlow(SECOND), &gauge);
    let begin = world.0.clock.now();
    let prefixes: Vec<_> = prefixes.iter().map(|prefix| watched(prefix)).collect();
    let report = slow
        .pass_all(
            &prefixes,
            WINDOW,
            begin.plus(3_600 * SECOND),
            &Metrics::new("test"),
        )
        .await
        .expect("a pass");
    assert!(report.complete);
    (world.0.clock.now().since(begin), gauge)
}

async fn settled_pages(prefix: &str, pages: usize, world: &Fixture) {
    for n in 0..pages {
        world
            .settle(&world.put(&format!("{prefix}{n:03}"), 600))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_listed_while_one_is_compared() {
    let world = with_pages_of(1);
    settled_pages("logs/", 20, &world).await;
    let (time, gauge) = each_takes_a_second(&world, &["logs/"]).await;
    // 20 listings, the last range, and the mark that says the pass is complete: not 41.
    assert_eq!(time, 22 * SECOND);
    assert_eq!(gauge.peak("page"), 2);
}

#[tokio::test(start_paused = true)]
async fn prefixes_and_dates_share_the_slots_for_pages() {
    let mut world = with_pages_of(1);
    for prefix in ["a/", "b/", "c/", "d/", "e/", "f/"] {
        settled_pages(prefix, 10, &world).await;
    }
    let now = world.0.clock.now().to_string();
    let hour = |hour: u32| format!("{}{}{}{hour:02}/", &now[..4], &now[5..7], &now[8..10]);
    assert!(now[11..13] == *"08", "{now}");
    for n in 6..=8 {
        settled_pages(&hour(n), 10, &world).await;
    }
    for slots in [1, 2, 5] {
        world.0.bounds.pages_in_flight_max = slots;
        let prefixes = ["a/", "b/", "c/", "d/", "e/", "f/", "%Y%m%d%H/"];
        let (time, gauge) = each_takes_a_second(&world, &prefixes).await;
        assert_eq!(gauge.peak("page"), slots as u64);
        // 90 pages are listed, and compared unless they lie in `a/` to `f/` for the second time; marks
        // take the rest.
        let least = 180 / slots as u32;
        assert!(time <= (least + 30) * SECOND, "{slots} slots: {time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_items_are_noted_and_sent_within_their_bound() {
    for (bound, notes, sends) in [(1, 1, 1), (7, 7, 1), (40, 40, 4)] {
        let mut world = with_pages_of(500);
        world.0.bounds.requeues_in_flight_max = bound;
        for n in 0..200 {
            world.put(&format!("a/{n:03}"), 600);
            world.put(&format!("b/{n:03}"), 600);
        }
        let (_, gauge) = each_takes_a_second(&world, &["a/", "b/"]).await;
        assert_eq!(gauge.peak("queue"), notes, "of {bound}");
        assert!((1..=sends).contains(&gauge.peak("send")), "of {bound}");
        assert_eq!(world.queued().len(), 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_that_fails_keeps_no_other_from_its_turn() {
    let mut world = with_pages_of(10);
    world.0.bounds.since = Some(world.0.clock.now().minus(6 * 3_600 * SECOND));
    let now = world.0.clock.now().to_string();
    let day = format!("{}{}{}", &now[..4], &now[5..7], &now[8..10]);
    for hour in ["02", "07", "08"] {
        world.put(&format!("{day}{hour}/a"), 600);
    }
    let failed = pass(&world, Trouble::Fails("list", 1), 60).await;
    failed.expect_err("slow down");
    assert_eq!(world.queued(), [format!("{day}07/a"), format!("{day}08/a")]);
    pass(&world, Trouble::Fails("list", 99), 60)
        .await
        .expect("a pass");
    assert_eq!(world.queued(), [format!("{day}02/a")]);
}

const DATED: &str = "%Y%m%d%H/";

async fn pass(world: &Fixture, trouble: Trouble, seconds: u32) -> Result<PassReport, Failure> {
    let stop_at = world.0.clock.now().plus(seconds * SECOND);
    troubled(world, trouble, &Arc::default())
        .pass(&watched(DATED), 6 * 3_600 * SECOND, stop_at)
        .await
}

/// Whether the position that an unfinished pass saved lies behind a key.
fn is_passed(position: &Value, key: &str) -> bool {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let under_way = position["under_way"].as_array().expect("places");
    let place = under_way
        .iter()
        .find(|place| key.starts_with(&text(&place["prefix"]).expect("a prefix")));
    match place {
        Some(place) => text(&place["after"]).is_some_and(|after| key <= after.as_str()),
        // These prefixes sort as their dates do.
        None => text(&position["next"]).is_none_or(|next| key < next.as_str()),
    }
}

async fn is_taken_care_of(world: &Fixture, content: &ContentId) -> bool {
    let now = world.0.clock.now();
    let rows = world
        .0
        .ledger
        .range(BUCKET, &content.key, &content.key, now);
    let rows = rows.await.expect("rows");
    rows.iter()
        .any(|row| row.content == *content && row.state.is_live(now))
}

/// Nothing before the saved position, or anywhere once a pass is complete, is left without a row.
async fn nothing_is_passed_over(world: &Fixture, objects: &[ContentId], complete: bool) {
    let mark = world
        .0
        .ledger
        .read_mark(&format!("progress {}", prefix()))
        .await;
    let position: Option<Value> = mark
        .expect("a ledger")
        .map(|mark| serde_json::from_str(&mark).expect("JSON"));
    for content in objects {
        let is_passed = complete
            || position
                .as_ref()
                .is_some_and(|position| is_passed(position, &content.key));
        if is_passed {
            assert!(
                is_taken_care_of(world, content).await,
                "{content} was passed over: {position:?}"
            );
        }
    }
}

fn prefix() -> WatchedPrefix {
    watched(DATED)
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let moves = prop_oneof![
        Just("list"),
        Just("range"),
        Just("queue"),
        Just("send"),
        Just("write_mark"),
    ];
    prop_oneof![
        (moves, 1u64..30).prop_map(|(name, nth)| Trouble::Fails(name, nth)),
        (1u32..20).prop_map(|seconds| Trouble::EachSlow(seconds * SECOND)),
        Just(Trouble::Fails("none", 1)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever fails and whenever time or pages run out, the saved position never passes work that is not
    /// done, and in the end each missing object was sent once.
    #[test]
    fn whatever_fails_the_position_never_passes_unfinished_work(
        hours in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 0..12), 6),
        troubles in proptest::collection::vec(trouble(), 0..8),
        objects_a_page in 1usize..5,
        pages_max in 1u32..12,
        pages_in_flight_max in 1usize..6,
        requeues_in_flight_max in 1usize..15,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut world = with_pages_of(objects_a_page);
            world.0.bounds.pages_max = pages_max;
            world.0.bounds.pages_in_flight_max = pages_in_flight_max;
            world.0.bounds.requeues_in_flight_max = requeues_in_flight_max;
            world.0.bounds.since = Some(world.0.clock.now().minus(6 * 3_600 * SECOND));
            world.0.bounds.queued = 30 * 86_400 * SECOND;
            let (mut objects, mut missing) = (Vec::new(), Vec::new());
            for (age, hour) in hours.iter().enumerate() {
                let time = world.0.clock.now().minus(age as u32 * 3_600 * SECOND);
                let prefix = prefix().prefixes_between(time, time).remove(0);
                for (n, is_settled) in hour.iter().enumerate() {
                    let content = world.put(&format!("{prefix}{n:02}"), 600);
                    match is_settled {
                        true => world.settle(&content).await,
                        false => missing.push(content.key.clone()),
                    }
                    objects.push(content);
                }
            }
            let mut queued = Vec::new();
            for trouble in troubles {
                let passed = pass(&world, trouble, 60).await;
                let complete = passed.is_ok_and(|report| report.complete);
                nothing_is_passed_over(&world, &objects, complete).await;
                queued.extend(world.queued());
            }
            for _ in 0..100 {
                let report = pass(&world, Trouble::Fails("none", 1), 60).await.expect("a pass");
                nothing_is_passed_over(&world, &objects, report.complete).await;
                queued.extend(world.queued());
            }
            queued.sort();
            missing.sort();
            assert_eq!(queued, missing);
        });
    }
}
