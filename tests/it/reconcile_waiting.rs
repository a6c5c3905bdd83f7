//! An object that waits is known until it is settled or gone, wherever the passes look meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::clock::Clock as _;
use bucket_brigade::reconcile::PassReport;
use bucket_brigade::store::memory::MemoryStore;

use crate::reconcile::{Fixture, WINDOW, reconciler, watched};
use crate::world::START;

const HOUR: Duration = Duration::from_secs(3_600);
const SWEEP: Duration = Duration::from_secs(48 * 3_600);

/// A deployment of ten days, with pages of ten objects.
fn world() -> Fixture {
    let mut fixture = reconciler();
    fixture.store = Arc::new(MemoryStore::new().with_pages_of(10));
    fixture.bounds.since = Some(START.minus(240 * HOUR));
    Fixture(fixture)
}

async fn pass(world: &Fixture, prefix: &str, window: Duration) -> PassReport {
    let stop_at = world.0.clock.now().plus(Duration::from_secs(60));
    let passed = world.0.pass(&watched(prefix), window, stop_at).await;
    passed.expect("a pass")
}

fn age(world: &Fixture, report: &PassReport) -> Duration {
    let oldest = report.oldest_unsettled;
    oldest.map_or(Duration::ZERO, |oldest| world.0.clock.now().since(oldest))
}

#[tokio::test(start_paused = true)]
async fn the_age_does_not_fall_while_a_long_listing_is_read_elsewhere() {
    let mut world = world();
    world.0.bounds.pages_max = 3;
    let waiting = world.put("logs/000", 1_800);
    for n in 1..100 {
        world.settle(&world.put(&format!("logs/{n:03}"), 600)).await;
    }
    for n in 0..8 {
        let report = pass(&world, "logs/", WINDOW).await;
        assert!(!report.complete, "pass {n}");
        assert_eq!(age(&world, &report), Duration::from_secs(1_800 + n * 300));
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
    world.settle(&waiting).await;
    assert_eq!(
        age(&world, &pass(&world, "logs/", WINDOW).await),
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn the_age_does_not_fall_when_an_object_leaves_the_window() {
    let world = world();
    let waiting = world.put("logs/a", 600);
    pass(&world, "logs/", WINDOW).await;
    tokio::time::sleep(5 * HOUR).await;
    let report = pass(&world, "logs/", WINDOW).await;
    assert_eq!(age(&world, &report), 5 * HOUR + Duration::from_secs(600));
    world.settle(&waiting).await;
    assert_eq!(
        age(&world, &pass(&world, "logs/", WINDOW).await),
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_or_replaced_does_not_wait() {
    for is_replaced in [false, true] {
        let world = world();
        world.put("logs/a", 600);
        pass(&world, "logs/", WINDOW).await;
        world.0.store.remove("example-logs", "logs/a");
        if is_replaced {
            let now = world.0.clock.now();
            let content = world.0.store.put("example-logs", "logs/a", "new", now);
            world.settle(&content).await;
        }
        tokio::time::sleep(5 * HOUR).await;
        assert_eq!(
            age(&world, &pass(&world, "logs/", WINDOW).await),
            Duration::ZERO
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_longer_than_a_sweep_looks_back_is_found_by_the_next_sweep() {
    for prefix in ["logs/", "logs/%Y%m%d/"] {
        let world = world();
        let now = world.0.clock.now();
        let mut late = Vec::new();
        for n in 0..3 {
            let folder = watched(prefix).prefixes_between(now, now).remove(0);
            late.push(world.put(&format!("{folder}{n}"), 600 + n));
        }
        assert_eq!(pass(&world, prefix, SWEEP).await.requeued, 3);
        for day in 1..6 {
            // The queue loses every message, again and again.
            world.queued();
            tokio::time::sleep(24 * HOUR).await;
            if day == 3 {
                // What is settled is no reason to forget the others.
                world.settle(&late.remove(2)).await;
            }
            let report = pass(&world, prefix, SWEEP).await;
            assert_eq!(report.requeued, late.len() as u64, "{prefix}, day {day}");
            // A pass that looks less far changes nothing about it.
            pass(&world, prefix, WINDOW).await;
        }
        for content in late {
            world.settle(&content).await;
        }
        pass(&world, prefix, SWEEP).await;
        // Nothing waits any more, so a sweep looks back no further than its window.
        let report = pass(&world, prefix, SWEEP).await;
        assert_eq!(report.missing, 0);
        if prefix != "logs/" {
            assert_eq!(report.listed, 0, "{prefix}");
        }
    }
}
