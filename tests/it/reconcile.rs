//! Listing minus ledger, over ports in memory and in virtual time.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::{Clock as _, Timestamp};
use bucket_brigade::config::WatchedPrefix;
use bucket_brigade::failure::FailureKind;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::ledger::{Claim, Ledger as _, Owner, Release};
use bucket_brigade::object::{ContentId, WorkItem};
use bucket_brigade::queue::QueueError;
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::reconcile::{PassReport, ReconcileBounds, Reconciler};
use bucket_brigade::rules::RulesInForce;
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::store::{Listed, ObjectMeta, Page, Store, StoreError};

use bucket_brigade::telemetry::Metrics;

use crate::troubled::{Trouble, Troubled};
use crate::world::{BUCKET, START, VirtualClock};

pub const WINDOW: Duration = Duration::from_secs(2 * 3_600);

pub type MemoryReconciler =
    Reconciler<Arc<MemoryStore>, Arc<MemoryLedger>, Arc<MemoryQueue>, VirtualClock>;

pub fn reconciler() -> MemoryReconciler {
    Reconciler {
        store: Arc::new(MemoryStore::new()),
        ledger: Arc::new(MemoryLedger::new()),
        queue: Arc::new(MemoryQueue::new()),
        clock: VirtualClock::new(),
        bounds: ReconcileBounds {
            grace: Duration::from_secs(300),
            queued: Duration::from_secs(3_600),
            pages_max: 1_000,
            pages_in_flight_max: 4,
            requeues_in_flight_max: 40,
            since: None,
            retention: Duration::from_secs(30 * 86_400),
        },
        rules: RulesInForce::default(),
    }
}

pub fn watched(prefix: &str) -> WatchedPrefix {
    WatchedPrefix::parse(&format!("s3://{BUCKET}/{prefix}")).expect("a prefix")
}

impl Fixture {
    pub fn put(&self, key: &str, age_secs: u64) -> ContentId {
        let written = self.0.clock.now().minus(Duration::from_secs(age_secs));
        self.0.store.put(BUCKET, key, key.to_owned(), written)
    }

    pub async fn settle(&self, content: &ContentId) {
        let now = self.0.clock.now();
        let lease = self.claim(content).await;
        let expires = now.plus(self.0.bounds.retention);
        self.0
            .ledger
            .settle(&lease, &Account::default(), now, expires)
            .await
            .expect("settled");
    }

    async fn claim(&self, content: &ContentId) -> bucket_brigade::ledger::Lease {
        let owner = Owner::new("test", crate::world::random());
        let lease = Duration::from_secs(60);
        match self
            .0
            .ledger
            .claim(content, &owner, self.0.clock.now(), lease)
            .await
        {
            Ok(Claim::Granted(grant)) => grant.lease,
            other => panic!("not granted: {other:?}"),
        }
    }

    async fn pass(&self, prefix: &str) -> PassReport {
        let stop_at = self.0.clock.now().plus(Duration::from_secs(60));
        self.0
            .pass(&watched(prefix), WINDOW, stop_at)
            .await
            .expect("a pass")
    }

    pub fn queued(&self) -> Vec<String> {
        std::iter::from_fn(|| self.0.queue.take())
            .map(|item: WorkItem| item.key)
            .collect()
    }
}

pub struct Fixture(pub MemoryReconciler);

#[tokio::test(start_paused = true)]
async fn of_10_000_listed_objects_the_37_that_were_never_notified_are_queued_once() {
    let world = Fixture(reconciler());
    let mut missing = Vec::new();
    for n in 0..10_000 {
        let content = world.put(&format!("logs/{n:05}.gz"), 600 + n % 1_000);
        if n % 271 == 13 {
            missing.push(content.key);
        } else {
            world.settle(&content).await;
        }
    }
    assert_eq!(missing.len(), 37);
    let report = world.pass("logs/").await;
    assert_eq!(
        (
            report.listed,
            report.missing,
            report.requeued,
            report.complete
        ),
        (10_000, 37, 37, true)
    );
    let mut queued = world.queued();
    queued.sort();
    assert_eq!(queued, missing);
    assert_eq!(world.pass("logs/").await.missing, 0);
    assert_eq!(world.queued(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_queued_item_that_nobody_takes_is_queued_again_after_it_lapsed() {
    let world = Fixture(reconciler());
    world.put("logs/a", 600);
    assert_eq!(world.pass("logs/").await.requeued, 1);
    tokio::time::sleep(Duration::from_secs(3_599)).await;
    assert_eq!(world.pass("logs/").await.requeued, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.pass("logs/").await.requeued, 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_worker_died_comes_back_with_its_checkpoint() {
    let world = Fixture(reconciler());
    let content = world.put("logs/a", 600);
    let lease = world.claim(&content).await;
    let mut checkpoint = Checkpoint::default();
    checkpoint.position.record = 7;
    let (now, minute) = (world.0.clock.now(), Duration::from_secs(60));
    world
        .0
        .ledger
        .checkpoint(&lease, &checkpoint, now, minute)
        .await
        .expect("written");
    assert_eq!(world.pass("logs/").await.missing, 0);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.pass("logs/").await.requeued, 1);
    let owner = Owner::new("next", 1);
    let claim = world
        .0
        .ledger
        .claim(&content, &owner, world.0.clock.now(), minute)
        .await;
    let Ok(Claim::Granted(grant)) = claim else {
        panic!("not granted");
    };
    assert_eq!(grant.checkpoint, checkpoint);
}

#[tokio::test(start_paused = true)]
async fn a_released_object_is_left_alone_until_its_message_is_due() {
    let world = Fixture(reconciler());
    let content = world.put("logs/a", 600);
    let lease = world.claim(&content).await;
    let now = world.0.clock.now();
    let release = Release {
        queued_until: now.plus(Duration::from_secs(60)),
        blames_object: false,
        reason: "endpoint_unavailable".into(),
    };
    world
        .0
        .ledger
        .release(&lease, &Checkpoint::default(), &release, now)
        .await
        .expect("released");
    assert_eq!(world.pass("logs/").await.missing, 0);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.pass("logs/").await.missing, 1);
}

#[tokio::test(start_paused = true)]
async fn p7_an_object_behind_any_last_key_is_found() {
    let world = Fixture(reconciler());
    world.settle(&world.put("logs/z", 600)).await;
    assert_eq!(world.pass("logs/").await.missing, 0);
    // CloudFront writes logs of an hour long past, under its name.
    world.put("logs/a", 400);
    world.pass("logs/").await;
    assert_eq!(world.queued(), ["logs/a"]);
}

#[tokio::test(start_paused = true)]
async fn p7_a_pass_that_runs_out_of_pages_goes_on_from_where_it_stopped() {
    let mut fixture = reconciler();
    fixture.store = Arc::new(MemoryStore::new().with_pages_of(10));
    fixture.bounds.pages_max = 3;
    let world = Fixture(fixture);
    let all: Vec<String> = (0..75)
        .map(|n| world.put(&format!("logs/{n:03}"), 600).key)
        .collect();
    // A pass that is gone on with to its end is followed by one from the start.
    for pages in [3, 3, 5] {
        assert_eq!(world.pass("logs/").await.pages, pages);
    }
    assert_eq!(world.queued(), all);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_reconcile_itself_loses_nothing() {
    let mut fixture = reconciler();
    fixture.bounds.since = Some(START.minus(Duration::from_secs(86_400)));
    let world = Fixture(fixture);
    world.pass("logs/").await;
    // Written right after the pass, found five days later, though the window is two hours.
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.put("logs/a", 0);
    tokio::time::sleep(Duration::from_secs(5 * 86_400)).await;
    world.pass("logs/").await;
    assert_eq!(world.queued(), ["logs/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_deployment_leaves_history_alone_and_loses_nothing_while_it_is_set_up() {
    let world = Fixture(reconciler());
    world.put("logs/old", 2 * 3_600);
    world.put("logs/young", 1_800);
    world.pass("logs/").await;
    assert_eq!(world.queued(), ["logs/young"]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.put("logs/old-too", 4_300);
    world.pass("logs/").await;
    assert_eq!(world.queued(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn since_reaches_back_further_than_the_first_window() {
    let mut fixture = reconciler();
    fixture.bounds.since = Some(START.minus(Duration::from_secs(10 * 86_400)));
    let world = Fixture(fixture);
    world.put("logs/wanted", 9 * 86_400);
    world.put("logs/too-old", 11 * 86_400);
    world.pass("logs/").await;
    assert_eq!(world.queued(), ["logs/wanted"]);
}

#[tokio::test(start_paused = true)]
async fn only_living_partitions_of_a_dated_prefix_are_listed() {
    let world = Fixture(reconciler());
    let today = world.0.clock.now().to_string();
    let (year, month, day) = (&today[..4], &today[5..7], &today[8..10]);
    world.put(&format!("logs/{year}{month}{day}/a"), 600);
    world.put("logs/20200101/b", 600);
    let report = world.pass("logs/%Y%m%d/").await;
    assert_eq!((report.listed, report.requeued), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn young_objects_are_left_to_their_notifications_and_show_in_the_age() {
    let world = Fixture(reconciler());
    world.put("logs/a", 100);
    let report = world.pass("logs/").await;
    assert_eq!(report.missing, 0);
    let written = world.0.clock.now().minus(Duration::from_secs(100));
    assert_eq!(report.oldest_unsettled, Some(written));
}

#[tokio::test(start_paused = true)]
async fn an_item_that_the_queue_does_not_take_is_found_again_at_once() {
    let world = Fixture(reconciler());
    world.put("logs/a", 600);
    world.0.queue.fail(1, || QueueError::Unavailable {
        reason: "503".into(),
    });
    let stop_at = world.0.clock.now().plus(Duration::from_secs(60));
    let failed = world.0.pass(&watched("logs/"), WINDOW, stop_at).await;
    assert_eq!(
        failed.expect_err("not sent").kind,
        FailureKind::QueueUnavailable
    );
    assert_eq!(world.pass("logs/").await.requeued, 1);
}

/// A store that lists folders before the keys beside them, as some S3-compatible ones do.
struct OutOfOrder;

impl Store for OutOfOrder {
    async fn head(&self, _: &bucket_brigade::object::ObjectId) -> Result<ObjectMeta, StoreError> {
        unreachable!("reconcile reads no object")
    }

    async fn read(
        &self,
        _: &bucket_brigade::object::ObjectId,
        _: &bucket_brigade::object::Etag,
        _: std::ops::Range<u64>,
    ) -> Result<bytes::Bytes, StoreError> {
        unreachable!("reconcile reads no object")
    }

    async fn list(&self, _: &str, _: &str, _: Option<&str>) -> Result<Page, StoreError> {
        let listed = |key: &str| Listed {
            key: key.into(),
            etag: "e".into(),
            size: 1,
            last_modified: Timestamp::default(),
        };
        let objects = vec![listed("a"), listed("a/b"), listed("a b")];
        Ok(Page {
            objects,
            more: false,
        })
    }
}

#[tokio::test(start_paused = true)]
async fn p7_a_store_that_lists_out_of_order_is_refused_and_not_trusted() {
    let MemoryReconciler {
        ledger,
        queue,
        clock,
        bounds,
        ..
    } = reconciler();
    let reconciler = Reconciler {
        store: OutOfOrder,
        ledger,
        queue,
        clock,
        bounds,
        rules: RulesInForce::default(),
    };
    let stop_at = reconciler.clock.now().plus(Duration::from_secs(60));
    let failure = reconciler
        .pass(&watched(""), WINDOW, stop_at)
        .await
        .expect_err("refused");
    assert_eq!(failure.kind, FailureKind::StoreUnusable);
    assert!(failure.detail.contains("byte order"), "{failure}");
}

/// A reconciler over the same ports as `world`, of which some have trouble.
fn troubled(
    world: &Fixture,
    trouble: Trouble,
) -> Reconciler<Troubled<MemoryStore>, Troubled<MemoryLedger>, Arc<MemoryQueue>, VirtualClock> {
    Reconciler {
        store: Troubled::new(&world.0.store, trouble),
        ledger: Troubled::new(&world.0.ledger, trouble),
        queue: Arc::clone(&world.0.queue),
        clock: world.0.clock,
        bounds: world.0.bounds.clone(),
        rules: RulesInForce::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_noted_as_queued_is_sent_though_the_ledger_fails_at_the_next_note() {
    let world = Fixture(reconciler());
    for n in 0..5 {
        world.put(&format!("logs/{n}"), 600);
    }
    let stop_at = world.0.clock.now().plus(Duration::from_secs(60));
    let failed = troubled(&world, Trouble::Fails("queue", 3))
        .pass(&watched("logs/"), WINDOW, stop_at)
        .await;
    assert_eq!(
        failed.expect_err("throttled").kind,
        FailureKind::LedgerUnavailable
    );
    world.pass("logs/").await;
    let mut queued = world.queued();
    queued.sort();
    assert_eq!(queued, ["logs/0", "logs/1", "logs/2", "logs/3", "logs/4"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_full_of_missing_objects_does_not_outlast_the_deadline() {
    let world = Fixture(reconciler());
    for n in 0..1_000 {
        world.put(&format!("logs/{n:04}"), 600);
    }
    for slow in ["queue", "list", "range"] {
        let time = Duration::from_secs(if slow == "queue" { 2 } else { 600 });
        let stop_at = world.0.clock.now().plus(Duration::from_secs(20));
        let report = troubled(&world, Trouble::Slow(slow, time))
            .pass(&watched("logs/"), WINDOW, stop_at)
            .await
            .expect("a pass");
        assert!(!report.complete);
        let late = world.0.clock.now().since(stop_at);
        assert!(late <= Duration::from_secs(2), "{slow}: {late:?} late");
        if slow == "queue" {
            assert!(report.requeued > 0);
        }
    }
    let begun = world.queued();
    world.pass("logs/").await;
    let mut queued = [begun, world.queued()].concat();
    queued.sort();
    queued.dedup();
    assert_eq!(queued.len(), 1_000, "what was noted was sent");
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_takes_all_the_time_keeps_no_other_from_its_pass() {
    let mut fixture = reconciler();
    fixture.store = Arc::new(MemoryStore::new().with_pages_of(1));
    let world = Fixture(fixture);
    for n in 0..100 {
        world.settle(&world.put(&format!("huge/{n:03}"), 600)).await;
    }
    world.put("small/a", 600);
    let both = [watched("huge/"), watched("small/")];
    for _ in 0..3 {
        let stop_at = world.0.clock.now().plus(Duration::from_secs(30));
        troubled(&world, Trouble::Slow("list", Duration::from_secs(1)))
            .pass_all(&both, WINDOW, stop_at, &Metrics::new("test"))
            .await
            .expect("passes");
    }
    assert_eq!(world.queued(), ["small/a"]);
}

/// A listing of eight pages, three in a pass, that was compared to its end a moment ago.
async fn eight_pages() -> Fixture {
    let mut fixture = reconciler();
    fixture.store = Arc::new(MemoryStore::new().with_pages_of(10));
    let mut world = Fixture(fixture);
    for n in 0..75 {
        world.settle(&world.put(&format!("logs/{n:03}"), 600)).await;
    }
    world.0.bounds.since = Some(START.minus(Duration::from_secs(10 * 86_400)));
    assert!(world.pass("logs/").await.complete);
    world
}

const SWEEP: Duration = Duration::from_secs(48 * 3_600);

#[tokio::test(start_paused = true)]
async fn p7_a_sweep_is_not_put_off_by_an_unfinished_pass_that_looks_back_less_far() {
    let mut world = eight_pages().await;
    // A multipart upload that was initiated ten hours ago.
    world.put("logs/000-late", 36_000);
    world.0.bounds.pages_max = 3;
    assert!(!world.pass("logs/").await.complete);
    let stop_at = world.0.clock.now().plus(Duration::from_secs(60));
    let sweep = world.0.pass(&watched("logs/"), SWEEP, stop_at).await;
    assert!(!sweep.expect("a pass").complete);
    for _ in 0..3 {
        world.pass("logs/").await;
    }
    assert_eq!(world.queued(), ["logs/000-late"]);
}

#[tokio::test(start_paused = true)]
async fn p7_a_pass_that_ends_leaves_the_position_of_another_that_ran_out_of_time() {
    let world = eight_pages().await;
    world.put("logs/074-late", 36_000);
    let slow = troubled(&world, Trouble::Slow("list", Duration::from_secs(1)));
    let prefix = watched("logs/");
    let now = world.0.clock.now();
    let (sweep, pass) = tokio::join!(
        slow.pass(&prefix, SWEEP, now.plus(Duration::from_secs(4))),
        slow.pass(&prefix, WINDOW, now.plus(Duration::from_secs(60))),
    );
    assert!(!sweep.expect("a pass").complete);
    assert!(pass.expect("a pass").complete);
    assert_eq!(world.queued(), [""; 0]);
    world.pass("logs/").await;
    assert_eq!(world.queued(), ["logs/074-late"]);
}

/// The alarm takes silence for a fault, and a zero for good news.
#[tokio::test(start_paused = true)]
async fn a_pass_that_failed_publishes_no_age() {
    let world = Fixture(reconciler());
    world.put("logs/a", 100);
    let prefix = [watched("logs/")];
    let stop_at = world.0.clock.now().plus(Duration::from_secs(60));
    let metrics = Metrics::new("test");
    world
        .0
        .store
        .fail_lists(1, |place| StoreError::Unavailable {
            place,
            reason: "503".into(),
        });
    let failed = world.0.pass_all(&prefix, WINDOW, stop_at, &metrics).await;
    failed.expect_err("503");
    let line = metrics.emf(world.0.clock.now());
    assert!(!line.contains("OldestUnsettledAge"), "{line}");
    let passed = world.0.pass_all(&prefix, WINDOW, stop_at, &metrics).await;
    passed.expect("a pass");
    let line = metrics.emf(world.0.clock.now());
    assert!(line.contains("\"OldestUnsettledAge\":100"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn the_ledger_is_read_only_for_pages_that_hold_something_within_the_window() {
    let mut fixture = reconciler();
    fixture.store = Arc::new(MemoryStore::new().with_pages_of(10));
    let world = Fixture(fixture);
    for n in 0..50 {
        world.put(&format!("logs/{n:02}"), if n == 25 { 600 } else { 90_000 });
    }
    let report = world.pass("logs/").await;
    assert_eq!((report.pages, report.listed, report.requeued), (5, 50, 1));
    assert_eq!(world.0.ledger.ranges(), 1);
}
