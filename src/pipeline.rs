//! Claim, stream, deliver, settle: one object from its bucket to the endpoint.
//!
//! This is the shell around [`Assembler`] and [`Window`]: it holds the ports and the clock, and
//! decides nothing that they can decide.

use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::assemble::Limits;
use crate::backoff::{Next, before_next_attempt};
use crate::checkpoint::Account;
use crate::clock::{Clock, Timestamp};
use crate::evidence::object_entry;
use crate::failure::{Failure, FailureKind, Verdict};
use crate::ledger::{Claim, Grant, Ledger, LedgerError, Owner, Release};
use crate::object::{ContentId, ObjectId, WorkItem};
use crate::quarantine::Quarantine;
use crate::rules::not_a_log;
use crate::shape::Shape;
use crate::sink::Sink;
use crate::store::Store;

mod stream;

use stream::Stream;

/// The ports that the pipeline stands on.
pub struct Ports<S, K, L, Q, C> {
    pub store: S,
    pub sink: K,
    pub ledger: L,
    pub quarantine: Q,
    pub clock: C,
    /// 64 random bits at a time.
    pub random: fn() -> u64,
}

/// What bounds the work on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub limits: Limits,
    /// How records leave; the source field is set for each object.
    pub shape: Shape,
    /// Whether records carry the object they came from.
    pub add_source_field: bool,
    /// Bytes of one ranged GET.
    pub part_bytes: u64,
    /// Requests to the endpoint under way at once, over all objects.
    pub requests_in_flight_max: usize,
    /// How long one request may take.
    pub delivery_timeout: Duration,
    pub lease: Duration,
    /// Attempts without progress after which an object is quarantined.
    pub attempts_max: u32,
    /// How long a settled row is kept.
    pub retention: Duration,
}

/// Until when the work on one item may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// No request, read or repetition begins after this.
    pub stop_at: Timestamp,
    /// The ledger has the last word by this.
    pub end_at: Timestamp,
}

/// What became of a work item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Every record is answered for, and the ledger says so.
    Settled { account: Account },
    /// There was nothing to do.
    Skipped { failure: Failure },
    /// It can never succeed; the evidence is kept at `place`.
    Quarantined {
        failure: Failure,
        place: String,
        account: Account,
    },
    /// Not done: the item is to come back.
    Returned {
        failure: Failure,
        /// Whether the checkpoint went forward.
        progress: bool,
        /// Claims without progress so far, at least 1.
        attempts: u32,
        /// Until when another holds the lease.
        held_until: Option<Timestamp>,
        /// What this try added to the account.
        account: Account,
    },
}

impl Ingested {
    /// Returned without a claim.
    pub fn returned(failure: Failure) -> Self {
        Ingested::Returned {
            failure,
            progress: false,
            attempts: 1,
            held_until: None,
            account: Account::default(),
        }
    }
}

/// Carries objects. One pipeline serves many objects at once.
pub struct Pipeline<S, K, L, Q, C> {
    ports: Ports<S, K, L, Q, C>,
    bounds: Bounds,
    requests: Semaphore,
    stopping: watch::Sender<bool>,
}

impl<S: Store, K: Sink, L: Ledger, Q: Quarantine, C: Clock> Pipeline<S, K, L, Q, C> {
    pub fn new(ports: Ports<S, K, L, Q, C>, bounds: Bounds) -> Self {
        let requests = Semaphore::new(bounds.requests_in_flight_max);
        Self {
            ports,
            bounds,
            requests,
            stopping: watch::Sender::new(false),
        }
    }

    /// Ends the work on every object, under way or to come, as if its time had run out: requests under
    /// way are waited for, checkpoints are written, leases are given back.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ready once [`Pipeline::stop`] was called.
    async fn stopped(&self) {
        // An error would say that the sender is gone, and it is ours.
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    pub fn ports(&self) -> &Ports<S, K, L, Q, C> {
        &self.ports
    }

    /// Carries one object, or says why not.
    ///
    /// Idempotent: a content that is settled is skipped, one that another holds is returned, and one
    /// that was begun goes on from its checkpoint. `worker` names this process for whoever reads
    /// the ledger. Memory: two parts, one open batch, and the bodies in flight.
    pub async fn ingest(&self, item: &WorkItem, worker: &str, deadline: Deadline) -> Ingested {
        let first = self.ingest_key(item, worker, deadline).await;
        match (&first, &item.alternate_key) {
            (Ingested::Skipped { failure }, Some(key)) if failure.kind == FailureKind::Gone => {
                tracing::warn!(
                    bucket = item.bucket,
                    key = item.key,
                    alternate_key = key,
                    "no such key; trying it decoded"
                );
                let item = WorkItem {
                    key: key.clone(),
                    alternate_key: None,
                    ..item.clone()
                };
                self.ingest_key(&item, worker, deadline).await
            }
            _ => first,
        }
    }

    async fn ingest_key(&self, item: &WorkItem, worker: &str, deadline: Deadline) -> Ingested {
        let content = match self.identify(item).await {
            Ok(content) => content,
            Err(failure) => return self.unclaimed(failure),
        };
        let owner = Owner::new(worker, (self.ports.random)());
        let now = self.ports.clock.now();
        let claim = self
            .ports
            .ledger
            .claim(&content, &owner, now, self.bounds.lease)
            .await;
        match claim {
            Ok(Claim::Granted(grant)) => {
                let object = item.object();
                self.carry(&object, *grant, deadline).await
            }
            Ok(Claim::Settled) => Ingested::Skipped {
                failure: Failure::new(FailureKind::AlreadySettled, content.to_string()),
            },
            Ok(Claim::Busy { until }) => Ingested::Returned {
                failure: Failure::new(FailureKind::LeaseHeld, format!("{content} until {until}")),
                progress: false,
                attempts: 1,
                held_until: Some(until),
                account: Account::default(),
            },
            Err(error) => self.unclaimed(error.into()),
        }
    }

    /// The content to claim: what the trigger said, completed by a HEAD where it did not say all.
    async fn identify(&self, item: &WorkItem) -> Result<ContentId, Failure> {
        let not_a_log = |size| {
            not_a_log(&item.key, size).map_or(Ok(()), |why| {
                let detail = format!("{}: {}", item.object(), why.as_str());
                Err(Failure::new(FailureKind::NotALog, detail))
            })
        };
        not_a_log(item.size)?;
        if let Some(content) = item.content() {
            return Ok(content);
        }
        let meta = self.ports.store.head(&item.object()).await?;
        not_a_log(Some(meta.size))?;
        if item.etag.as_ref().is_some_and(|etag| *etag != meta.etag) {
            let detail = format!("{} was replaced", item.object());
            return Err(Failure::new(FailureKind::Superseded, detail));
        }
        Ok(ContentId {
            bucket: item.bucket.clone(),
            key: item.key.clone(),
            etag: meta.etag,
            size: meta.size,
        })
    }

    /// What becomes of an item that was never claimed.
    fn unclaimed(&self, failure: Failure) -> Ingested {
        match failure.verdict() {
            Verdict::Skip => Ingested::Skipped { failure },
            Verdict::Retry | Verdict::Fatal | Verdict::Quarantine => Ingested::returned(failure),
        }
    }

    async fn carry(&self, object: &ObjectId, grant: Grant, deadline: Deadline) -> Ingested {
        let begun = grant.checkpoint.clone();
        let attempts = grant.attempts;
        let mut stream = Stream::new(self, object, grant.lease, grant.checkpoint, deadline);
        let failure = if attempts > self.bounds.attempts_max {
            let last = grant.last_reason.as_deref().unwrap_or("the worker died");
            Failure::new(
                FailureKind::AttemptsExhausted,
                format!("{attempts} attempts, last: {last}"),
            )
        } else {
            match stream.run().await {
                Ok(()) => match self.settle(&mut stream, deadline).await {
                    Ok(account) => return Ingested::Settled { account },
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            }
        };
        let progress = stream.checkpoint().account.records_read > begun.account.records_read;
        let failure =
            if failure.kind.blames_object() && !progress && attempts >= self.bounds.attempts_max {
                Failure::new(
                    FailureKind::AttemptsExhausted,
                    format!("{attempts} attempts, last: {failure}"),
                )
            } else {
                failure
            };
        match failure.verdict() {
            Verdict::Quarantine => self.quarantine(object, &stream, failure, deadline).await,
            Verdict::Skip => {
                self.release(&stream, &failure, Duration::ZERO, deadline)
                    .await;
                Ingested::Skipped { failure }
            }
            Verdict::Retry | Verdict::Fatal => {
                self.release(&stream, &failure, self.bounds.lease, deadline)
                    .await;
                Ingested::Returned {
                    failure,
                    progress,
                    attempts,
                    held_until: None,
                    account: stream.checkpoint().account.less(&begun.account),
                }
            }
        }
    }

    /// Settles an object whose account holds.
    async fn settle(
        &self,
        stream: &mut Stream<'_, S, K, L, Q, C>,
        deadline: Deadline,
    ) -> Result<Account, Failure> {
        let account = stream.checkpoint().account;
        let records = stream.records();
        if !account.holds() || account.records_read != records {
            let detail = format!("{records} records, but {account:?}");
            return Err(Failure::new(FailureKind::AccountMismatch, detail));
        }
        let now = self.ports.clock.now();
        let expires = now.plus(self.bounds.retention);
        let ledger = &self.ports.ledger;
        self.persist(deadline.end_at, || {
            ledger.settle(stream.lease(), &account, self.ports.clock.now(), expires)
        })
        .await?;
        Ok(account)
    }

    /// Keeps the object by reference, then ends its row.
    async fn quarantine(
        &self,
        object: &ObjectId,
        stream: &Stream<'_, S, K, L, Q, C>,
        failure: Failure,
        deadline: Deadline,
    ) -> Ingested {
        let account = stream.checkpoint().account;
        let lease = stream.lease();
        let (name, entry) = object_entry(
            &lease.content,
            object.version.as_deref(),
            &failure,
            stream.checkpoint().position.offset,
            &account,
        );
        let ended = async {
            let place = self.ports.quarantine.keep(&name, entry).await?;
            let (ledger, clock) = (&self.ports.ledger, &self.ports.clock);
            self.persist(deadline.end_at, || {
                ledger.quarantine(lease, &account, failure.kind.name(), &place, clock.now())
            })
            .await?;
            Ok::<_, Failure>(place)
        };
        match ended.await {
            Ok(place) => Ingested::Quarantined {
                failure,
                place,
                account,
            },
            Err(error) => {
                self.release(stream, &error, self.bounds.lease, deadline)
                    .await;
                Ingested::returned(error)
            }
        }
    }

    /// Gives the lease back. If that fails, the lease runs out by itself.
    async fn release(
        &self,
        stream: &Stream<'_, S, K, L, Q, C>,
        failure: &Failure,
        queued: Duration,
        deadline: Deadline,
    ) {
        if failure.kind == FailureKind::LeaseLost {
            return;
        }
        let release = Release {
            queued_until: self.ports.clock.now().plus(queued),
            blames_object: failure.kind.blames_object(),
            reason: failure.kind.name().to_owned(),
        };
        let (ledger, clock) = (&self.ports.ledger, &self.ports.clock);
        let released = self
            .persist(deadline.end_at, || {
                ledger.release(stream.lease(), stream.checkpoint(), &release, clock.now())
            })
            .await;
        if let Err(error) = released {
            tracing::warn!(content = %stream.lease().content, %error, "lease not released");
        }
    }

    /// Repeats a ledger write while the ledger is unavailable and time is left.
    async fn persist<T, F>(
        &self,
        until: Timestamp,
        mut write: impl FnMut() -> F,
    ) -> Result<T, LedgerError>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let mut failures = 0;
        loop {
            let left = until.since(self.ports.clock.now());
            let error = match tokio::time::timeout(left, write()).await {
                Ok(Err(error @ LedgerError::Unavailable { .. })) => error,
                Ok(answer) => return answer,
                Err(_) => LedgerError::Unavailable {
                    reason: "time ran out".to_owned(),
                },
            };
            failures += 1;
            let left = until.since(self.ports.clock.now());
            match before_next_attempt(failures, None, left, (self.ports.random)()) {
                Next::Wait(pause) => tokio::time::sleep(pause).await,
                Next::GiveUp => return Err(error),
            }
        }
    }
}
