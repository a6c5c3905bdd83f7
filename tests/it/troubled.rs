//! Ports in memory that hang, are slow or fail at one of their moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::Timestamp;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::ledger::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use bucket_brigade::object::{ContentId, Etag, ObjectId, WorkItem};
use bucket_brigade::quarantine::{Entries, Entry, EntryPage, Quarantine, QuarantineError};
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::queue::{QueueError, WorkQueue};
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::store::{ObjectMeta, Page, Store, StoreError};

/// What is wrong with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A move of this name never ends.
    Hangs(&'static str),
    /// The nth move of this name never ends, counted from one.
    HangsAt(&'static str, u64),
    /// A move of this name takes this long.
    Slow(&'static str, Duration),
    /// The nth move of this name fails, counted from one.
    Fails(&'static str, u64),
    /// Every move takes this long.
    EachSlow(Duration),
}

/// How many moves are under way at a time, by name.
#[derive(Default)]
pub struct Gauge(Mutex<BTreeMap<&'static str, (u64, u64)>>);

impl Gauge {
    /// The most there were of any of these names together, if they are counted as one.
    pub fn peak(&self, name: &str) -> u64 {
        let moves = self.0.lock().expect("whole");
        moves.get(name).map_or(0, |(_, peak)| *peak)
    }

    fn begin(&self, name: &'static str) {
        let mut moves = self.0.lock().expect("whole");
        let (now, peak) = moves.entry(name).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
    }

    fn end(&self, name: &'static str) {
        let mut moves = self.0.lock().expect("whole");
        moves.entry(name).or_default().0 -= 1;
    }
}

/// A page is held from its listing to its range.
const PAGE: [&str; 2] = ["list", "range"];

pub struct Troubled<P> {
    pub inner: Arc<P>,
    trouble: Trouble,
    moves: AtomicU64,
    gauge: Arc<Gauge>,
}

impl<P> Troubled<P> {
    /// Over a port that shares its gauge with others: `list` and `range` count as `page`.
    pub fn gauged(inner: &Arc<P>, trouble: Trouble, gauge: &Arc<Gauge>) -> Self {
        Self {
            gauge: Arc::clone(gauge),
            ..Self::new(inner, trouble)
        }
    }

    pub fn new(inner: &Arc<P>, trouble: Trouble) -> Self {
        Self {
            inner: Arc::clone(inner),
            trouble,
            moves: AtomicU64::new(0),
            gauge: Arc::default(),
        }
    }

    /// Suffers the trouble of a move; true if the move fails.
    async fn suffer(&self, name: &'static str) -> bool {
        let counted = if PAGE.contains(&name) { "page" } else { name };
        self.gauge.begin(counted);
        let fails = self.trouble_at(name).await;
        self.gauge.end(counted);
        fails
    }

    async fn trouble_at(&self, name: &str) -> bool {
        match self.trouble {
            Trouble::EachSlow(time) => {
                tokio::time::sleep(time).await;
                false
            }
            Trouble::Hangs(hanging) if hanging == name => std::future::pending().await,
            Trouble::Slow(slow, time) if slow == name => {
                tokio::time::sleep(time).await;
                false
            }
            Trouble::HangsAt(hanging, nth) if hanging == name => {
                if self.moves.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                    std::future::pending().await
                }
                false
            }
            Trouble::Fails(failing, nth) if failing == name => {
                self.moves.fetch_add(1, Ordering::Relaxed) + 1 == nth
            }
            Trouble::Hangs(_) | Trouble::HangsAt(..) | Trouble::Slow(..) | Trouble::Fails(..) => {
                false
            }
        }
    }
}

impl Troubled<MemoryLedger> {
    async fn gate(&self, name: &'static str) -> Result<(), LedgerError> {
        match self.suffer(name).await {
            true => Err(LedgerError::Unavailable {
                reason: "throttled".into(),
            }),
            false => Ok(()),
        }
    }
}

impl Ledger for Troubled<MemoryLedger> {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        self.gate("claim").await?;
        self.inner.claim(content, owner, now, lease).await
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        self.gate("renew").await?;
        self.inner.renew(lease, now, duration).await
    }

    async fn checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        self.gate("checkpoint").await?;
        self.inner
            .checkpoint(lease, checkpoint, now, duration)
            .await
    }

    async fn release(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.gate("release").await?;
        self.inner.release(lease, checkpoint, release, now).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), LedgerError> {
        self.gate("settle").await?;
        self.inner.settle(lease, account, now, expires).await
    }

    async fn quarantine(
        &self,
        lease: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.gate("quarantine").await?;
        self.inner
            .quarantine(lease, account, reason, place, now)
            .await
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.gate("queue").await?;
        self.inner.queue(content, now, until).await
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        self.gate("reopen").await?;
        self.inner.reopen(content, checkpoint, now, until).await
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        self.gate("unqueue").await?;
        self.inner.unqueue(content, until).await
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        self.gate("range").await?;
        self.inner.range(bucket, first, last, now).await
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        self.inner.read_mark(name).await
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        self.gate("write_mark").await?;
        self.inner.write_mark(name, value).await
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        self.inner.write_mark_once(name, value).await
    }
}

impl Store for Troubled<MemoryStore> {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        self.suffer("head").await;
        self.inner.head(object).await
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: std::ops::Range<u64>,
    ) -> Result<bytes::Bytes, StoreError> {
        if self.suffer("read").await {
            return Err(StoreError::Unavailable {
                place: object.to_string(),
                reason: "broken off".into(),
            });
        }
        self.inner.read(object, etag, range).await
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        if self.suffer("list").await {
            return Err(StoreError::Unavailable {
                place: format!("s3://{bucket}/{prefix}"),
                reason: "slow down".into(),
            });
        }
        self.inner.list(bucket, prefix, start_after).await
    }
}

impl<Q: Quarantine> Quarantine for Troubled<Q> {
    async fn keep(&self, name: &str, content: bytes::Bytes) -> Result<String, QuarantineError> {
        self.suffer("keep").await;
        self.inner.keep(name, content).await
    }
}

impl<Q: Entries> Entries for Troubled<Q> {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        self.suffer("entries").await;
        self.inner.list(under, after).await
    }

    async fn read(&self, entry: &Entry) -> Result<Option<bytes::Bytes>, QuarantineError> {
        self.suffer("entry").await;
        self.inner.read(entry).await
    }

    async fn replace(
        &self,
        entry: &Entry,
        rest: Option<bytes::Bytes>,
    ) -> Result<bool, QuarantineError> {
        self.suffer("replace").await;
        self.inner.replace(entry, rest).await
    }

    fn object(&self, name: &str) -> ObjectId {
        self.inner.object(name)
    }
}

impl WorkQueue for Troubled<MemoryQueue> {
    async fn send(&self, items: &[WorkItem]) -> Vec<Result<(), QueueError>> {
        if self.suffer("send").await {
            let failed = |_: &WorkItem| {
                Err(QueueError::Unavailable {
                    reason: "503".into(),
                })
            };
            return items.iter().map(failed).collect();
        }
        self.inner.send(items).await
    }

    async fn bury(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.suffer("bury").await;
        self.inner.bury(body, reason).await
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        self.suffer("postpone").await;
        self.inner.postpone(receipt, delay).await
    }
}
