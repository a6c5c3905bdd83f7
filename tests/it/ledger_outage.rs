//! A ledger that is away: nothing is processed unclaimed, and nothing runs ahead of it.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::{Clock as _, Timestamp};
use bucket_brigade::failure::FailureKind;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::ledger::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use bucket_brigade::object::{ContentId, WorkItem};
use bucket_brigade::pipeline::{Deadline, Ingested, Pipeline, Ports};

use crate::world::{World, gzip, lines, records};

/// Which moves fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// All of them.
    Throttled,
    /// All of them, for good.
    Refusing,
    /// All but the claim.
    SinceTheClaim,
}

struct AwayLedger {
    away: Away,
    inner: Arc<MemoryLedger>,
}

impl AwayLedger {
    fn fails<T>(&self) -> Result<T, LedgerError> {
        match self.away {
            Away::Throttled | Away::SinceTheClaim => Err(LedgerError::Unavailable {
                reason: "throttled".into(),
            }),
            Away::Refusing => Err(LedgerError::Refused {
                reason: "no such table".into(),
            }),
        }
    }
}

impl Ledger for AwayLedger {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        match self.away {
            Away::SinceTheClaim => self.inner.claim(content, owner, now, lease).await,
            Away::Throttled | Away::Refusing => self.fails(),
        }
    }

    async fn renew(&self, _: &Lease, _: Timestamp, _: Duration) -> Result<Lease, LedgerError> {
        self.fails()
    }

    async fn checkpoint(
        &self,
        _: &Lease,
        _: &Checkpoint,
        _: Timestamp,
        _: Duration,
    ) -> Result<Lease, LedgerError> {
        self.fails()
    }

    async fn release(
        &self,
        _: &Lease,
        _: &Checkpoint,
        _: &Release,
        _: Timestamp,
    ) -> Result<(), LedgerError> {
        self.fails()
    }

    async fn settle(
        &self,
        _: &Lease,
        _: &Account,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<(), LedgerError> {
        self.fails()
    }

    async fn quarantine(
        &self,
        _: &Lease,
        _: &Account,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<(), LedgerError> {
        self.fails()
    }

    async fn queue(&self, _: &ContentId, _: Timestamp, _: Timestamp) -> Result<bool, LedgerError> {
        self.fails()
    }

    async fn reopen(
        &self,
        _: &ContentId,
        _: &Checkpoint,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        self.fails()
    }

    async fn unqueue(&self, _: &ContentId, _: Timestamp) -> Result<(), LedgerError> {
        self.fails()
    }

    async fn range(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        self.fails()
    }

    async fn read_mark(&self, _: &str) -> Result<Option<String>, LedgerError> {
        self.fails()
    }

    async fn write_mark(&self, _: &str, _: Option<&str>) -> Result<(), LedgerError> {
        self.fails()
    }

    async fn write_mark_once(&self, _: &str, _: &str) -> Result<String, LedgerError> {
        self.fails()
    }
}

/// One attempt of a minute with a ledger that is away.
async fn ingest(world: &World, item: &WorkItem, away: Away) -> FailureKind {
    let ports = Ports {
        store: Arc::clone(&world.store),
        sink: Arc::clone(&world.sink),
        ledger: AwayLedger {
            away,
            inner: Arc::clone(&world.ledger),
        },
        quarantine: Arc::clone(&world.quarantine),
        clock: world.clock,
        random: crate::world::random,
    };
    let stop_at = world.clock.now().plus(Duration::from_secs(60));
    let deadline = Deadline {
        stop_at,
        end_at: stop_at.plus(Duration::from_secs(5)),
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    match pipeline.ingest(item, "test", deadline).await {
        Ingested::Returned { failure, .. } => failure.kind,
        other => panic!("not returned: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn p10_what_cannot_be_claimed_is_neither_read_nor_sent() {
    let world = World::new();
    let records = records(20);
    let item = world.put("logs/a.gz", gzip(&lines(&records)));
    for (away, expected) in [
        (Away::Throttled, FailureKind::LedgerUnavailable),
        (Away::Refusing, FailureKind::LedgerRefused),
    ] {
        assert_eq!(ingest(&world, &item, away).await, expected);
    }
    assert_eq!((world.store.reads(), world.sink.requests()), (0, 0));
    assert!(world.quarantine.kept().is_empty());
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Settled { .. }
    ));
    assert_eq!(world.missing_and_extra(&records), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn p10_no_more_is_sent_than_may_be_in_flight_while_no_checkpoint_is_durable() {
    let world = World::new();
    let records = records(2_000);
    let item = world.put("logs/a.gz", gzip(&lines(&records)));
    let kind = ingest(&world, &item, Away::SinceTheClaim).await;
    assert!(
        matches!(
            kind,
            FailureKind::LedgerUnavailable | FailureKind::OutOfTime
        ),
        "{kind:?}"
    );
    let in_flight = world.bounds.requests_in_flight_max as u64;
    assert_eq!(world.sink.requests(), in_flight);

    // The lease runs out, and the next claimant knows nothing of what was sent.
    tokio::time::sleep(world.bounds.lease).await;
    assert!(matches!(
        world.ingest(&item).await,
        Ingested::Settled { .. }
    ));
    let (missing, extra) = world.missing_and_extra(&records);
    let batch_records = world.bounds.limits.batch_bytes_max / records[0].len() + 1;
    assert_eq!(missing, 0);
    assert!(
        extra > 0 && extra <= world.bounds.requests_in_flight_max * batch_records,
        "{extra} doubled"
    );
}
