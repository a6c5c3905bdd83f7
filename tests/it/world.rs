//! A pipeline over ports in memory, in virtual time, and what a test asks of it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bucket_brigade::assemble::Limits;
use bucket_brigade::clock::{Clock, Timestamp};
use bucket_brigade::expansion::ExpansionMax;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::ledger::{Ledger, State};
use bucket_brigade::object::{ContentId, WorkItem};
use bucket_brigade::pipeline::{Bounds, Deadline, Ingested, Pipeline, Ports};
use bucket_brigade::plan::PlanDefaults;
use bucket_brigade::quarantine::Quarantine;
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::shape::Shape;
use bucket_brigade::sink::Sink;
use bucket_brigade::sink::memory::MemorySink;
use bucket_brigade::store::Store;
use bucket_brigade::store::memory::MemoryStore;
use tokio::time::Instant;

pub const BUCKET: &str = "example-logs";
/// When a test begins.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The clock of tokio's virtual time.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock(Instant);

impl VirtualClock {
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        START.plus(self.0.elapsed())
    }
}

pub type MemoryPipeline = Pipeline<
    Arc<MemoryStore>,
    Arc<MemorySink>,
    Arc<MemoryLedger>,
    Arc<MemoryQuarantine>,
    VirtualClock,
>;

pub struct World {
    pub store: Arc<MemoryStore>,
    pub sink: Arc<MemorySink>,
    pub ledger: Arc<MemoryLedger>,
    pub quarantine: Arc<MemoryQuarantine>,
    pub clock: VirtualClock,
    pub bounds: Bounds,
}

impl World {
    pub fn new() -> Self {
        Self::with_sink(MemorySink::new())
    }

    pub fn with_sink(sink: MemorySink) -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            sink: Arc::new(sink),
            ledger: Arc::new(MemoryLedger::new()),
            quarantine: Arc::new(MemoryQuarantine::new()),
            clock: VirtualClock::new(),
            bounds: bounds(),
        }
    }

    pub fn pipeline(&self) -> Arc<MemoryPipeline> {
        let ports = Ports {
            store: Arc::clone(&self.store),
            sink: Arc::clone(&self.sink),
            ledger: Arc::clone(&self.ledger),
            quarantine: Arc::clone(&self.quarantine),
            clock: self.clock,
            random,
        };
        Pipeline::new(ports, self.bounds.clone())
    }

    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) -> WorkItem {
        let written = START.minus(Duration::from_secs(60));
        WorkItem::from(self.store.put(BUCKET, key, content.into(), written))
    }

    /// One attempt with `seconds` of time.
    pub async fn ingest_within(&self, item: &WorkItem, seconds: u64) -> Ingested {
        let deadline = self.deadline(seconds);
        self.pipeline().ingest(item, "test", deadline).await
    }

    pub async fn ingest(&self, item: &WorkItem) -> Ingested {
        self.ingest_within(item, 60).await
    }

    /// What ends after `seconds`.
    pub fn deadline(&self, seconds: u64) -> Deadline {
        let stop_at = self.clock.now().plus(Duration::from_secs(seconds));
        Deadline {
            stop_at,
            end_at: stop_at.plus(Duration::from_secs(5)),
        }
    }

    /// One attempt at each of `items`, in one round, and when each of them ended.
    pub async fn ingest_together(
        &self,
        items: &[WorkItem],
        seconds: u64,
    ) -> Vec<(Ingested, Duration)> {
        let ended = carry_together(&self.pipeline(), items, self.deadline(seconds)).await;
        let since_start = |ended: Timestamp| ended.since(START);
        ended
            .into_iter()
            .map(|(outcome, ended)| (outcome, since_start(ended)))
            .collect()
    }

    /// The state of a content's row.
    pub async fn state(&self, content: &ContentId) -> Option<State> {
        let rows = self
            .ledger
            .range(
                &content.bucket,
                &content.key,
                &content.key,
                self.clock.now(),
            )
            .await
            .expect("the memory ledger is always there");
        rows.into_iter()
            .find(|row| row.content == *content)
            .map(|row| row.state)
    }

    /// How often each of `expected` arrived: (missing, extra).
    pub fn missing_and_extra(&self, expected: &[Vec<u8>]) -> (usize, usize) {
        let mut arrived = std::collections::HashMap::new();
        for record in self.sink.accepted() {
            *arrived.entry(record).or_insert(0_usize) += 1;
        }
        let missing = expected
            .iter()
            .filter(|record| !arrived.contains_key(*record))
            .count();
        let extra = arrived.values().map(|times| times - 1).sum();
        (missing, extra)
    }
}

/// Carries `items` in one round, and says when each of them ended.
pub async fn carry_together<S, K, L, Q, C>(
    pipeline: &Arc<Pipeline<S, K, L, Q, C>>,
    items: &[WorkItem],
    deadline: Deadline,
) -> Vec<(Ingested, Timestamp)>
where
    S: Store + 'static,
    K: Sink + 'static,
    L: Ledger + 'static,
    Q: Quarantine + 'static,
    C: Clock + 'static,
{
    let round = pipeline.round();
    let entered: Vec<_> = items.iter().map(|item| (round.enter(), item)).collect();
    let carried = entered.into_iter().map(async |(place, item)| {
        let outcome = match place.turn(item, deadline.stop_at).await {
            Ok(turn) => turn.ingest(item, "test", deadline).await,
            Err(failure) => Ingested::returned(failure),
        };
        (outcome, pipeline.ports().clock.now())
    });
    futures_util::future::join_all(carried).await
}

pub fn bounds() -> Bounds {
    Bounds {
        limits: Limits {
            pass_through: true,
            batch_bytes_max: 1_000,
            record_bytes_max: 500,
            level: 1,
        },
        expansion_max: ExpansionMax {
            plain_bytes: 1 << 40,
            ratio: 900,
        },
        plan: PlanDefaults {
            shape: Shape {
                json_only: true,
                ..Shape::default()
            },
            ..PlanDefaults::default()
        },
        part_bytes: 700,
        objects_in_flight_max: 4,
        small_objects_per_turn: 2,
        requests_in_flight_max: 4,
        body_bytes_in_flight_max: 64 << 20,
        share_linger: Duration::from_millis(500),
        delivery_timeout: Duration::from_secs(5),
        lease: Duration::from_secs(60),
        restore_interval_bytes: 8_000,
        attempts_max: 3,
        retention: Duration::from_secs(30 * 86_400),
    }
}

/// A number different from the last one.
pub fn random() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(1);
    let step = STATE.fetch_add(1, Ordering::Relaxed);
    step.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub fn records(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| format!("{{\"RayID\":\"{n:016x}\",\"n\":{n}}}").into_bytes())
        .collect()
}

pub fn lines(records: &[Vec<u8>]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| [record, &b"\n"[..]].concat())
        .collect()
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).expect("memory takes every byte");
    gzip.finish().expect("memory takes every byte")
}
