//! Replay: what lies in quarantine is carried once more, because a person has removed the cause.
//!
//! Goes in: a wish, by names and reasons. Comes out: a report; records sent, objects asked for again, and
//! entries removed whose content is settled.
//!
//! An entry is removed only when the ledger says that nothing is left to do, so a kill at any moment
//! loses nothing:
//!
//! - *An object* is reopened in the ledger, with the checkpoint of its evidence, and carried as any other,
//!   so what was delivered before is not sent again. Whoever settles it removes its entry ([`forget`]);
//!   if it is killed before that, the next replay finds the row settled and removes it.
//! - *Records* of an entry are an object of their own, one for each reason: claimed, delivered, settled
//!   by the same pipeline. What is refused again is kept beside the entry, as records of the object that
//!   they came from, before the row is settled; then the entry is removed, or what is left of it written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::evidence::{KeptObject, object_entry_name};
use crate::failure::{Failure, FailureKind};
use crate::format::presets;
use crate::ledger::{Ledger, Reopened};
use crate::object::{ContentId, WorkItem};
use crate::pipeline::{Bounds, Deadline, Ingested, Pipeline, Ports, Round};
use crate::plan::{KnownRoutes, PlanDefaults, Said};
use crate::quarantine::{Entries, Entry, QuarantineError};
use crate::route::Route;
use crate::rules::{self, Decision, Rules};
use crate::shape::spec::{ShapeSpec, TimestampWhen};
use crate::sink::Sink;
use crate::store::Store;

mod entry;
mod records;

use entry::{Group, RecordEntry, UNREADABLE};
use records::{Again, EntryStore, Loaded};

/// Entries that are replayed at a time, so that their records share requests. Each is in memory whole, twice:
/// a megabyte of records, or one record.
const ENTRIES_AT_A_TIME: usize = 4;

/// Reasons for which records are kept that the endpoint may have accepted all the same.
const MAY_DOUBLE: [&str; 2] = [FailureKind::RejectedUnidentified.name(), CUT];
/// The originals of records that were delivered; never sent again unless asked for by name.
const CUT: &str = "record_cut";

/// What to replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayRequest {
    /// What the names of the entries begin with.
    pub under: String,
    /// Entries up to this name are left out: where an earlier run stopped.
    pub after: Option<String>,
    /// These reasons only; all that can be replayed, if empty.
    pub only: BTreeSet<String>,
    /// Whether records go too that the endpoint may have accepted before.
    pub may_double: bool,
    /// Only say what there is.
    pub dry_run: bool,
}

impl ReplayRequest {
    /// Whether what was kept for this reason is looked at.
    fn asks_for(&self, reason: &str) -> bool {
        self.only.is_empty() || self.only.contains(reason)
    }

    /// Why what was kept for this reason is left alone, if it is.
    fn leaves(&self, reason: &str) -> Option<&'static str> {
        let is_named = self.only.contains(reason);
        if reason == UNREADABLE {
            Some("cannot be read")
        } else if reason == CUT && !is_named {
            Some("was delivered, cut")
        } else if MAY_DOUBLE.contains(&reason) && !self.may_double {
            Some("may be sent twice")
        } else {
            None
        }
    }
}

/// What there was, and what became of it, for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Objects kept by reference.
    pub objects: u64,
    /// Records kept one by one.
    pub records: u64,
    /// Bytes of those objects as stored, and of those records.
    pub bytes: u64,
    /// Objects that are asked for again.
    pub objects_requeued: u64,
    /// Records that the endpoint accepted.
    pub records_delivered: u64,
    /// Records that it refused again, and that are kept again.
    pub records_refused: u64,
    /// Objects and records of which the ledger says that an earlier run has done them.
    pub done_before: u64,
    /// Objects and records that stay as they are.
    pub left: u64,
    /// Why, of the last of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_because: Option<&'static str>,
}

impl Tally {
    fn leave(&mut self, count: u64, because: &'static str) {
        self.left += count;
        self.left_because = Some(because);
    }

    fn add(&mut self, other: &Tally) {
        self.objects += other.objects;
        self.records += other.records;
        self.bytes += other.bytes;
        self.objects_requeued += other.objects_requeued;
        self.records_delivered += other.records_delivered;
        self.records_refused += other.records_refused;
        self.done_before += other.done_before;
        self.left += other.left;
        self.left_because = other.left_because.or(self.left_because);
    }
}

/// What became of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    pub reasons: BTreeMap<String, Tally>,
    /// Whether everything had its turn.
    pub complete: bool,
    /// Where to go on if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why it stopped, if not for time.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub failure: Option<Failure>,
}

impl ReplayReport {
    /// Whether anything left quarantine, or was asked for.
    pub fn has_done_something(&self) -> bool {
        self.reasons
            .values()
            .any(|tally| tally.objects_requeued + tally.records_delivered + tally.done_before > 0)
    }

    /// Adds what became of a run that went on where this one stopped.
    pub fn go_on(&mut self, later: ReplayReport) {
        for (reason, tally) in later.reasons {
            self.reasons.entry(reason).or_default().add(&tally);
        }
        self.complete = later.complete;
        self.next = later.next;
        self.failure = later.failure;
    }
}

fn as_text<S: serde::Serializer>(
    failure: &Option<Failure>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match failure {
        Some(failure) => serializer.collect_str(failure),
        None => serializer.serialize_none(),
    }
}

/// What happens to objects that were reopened.
pub trait Carry: Send + Sync {
    /// How long a reopened row counts as queued.
    fn queued_for(&self) -> Duration;

    /// Sees to it that the object is carried. After an error the row lapses, and its entry stays.
    fn carry(&self, item: WorkItem) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Replays what one quarantine holds.
pub struct Replayer<K, L, Q, C> {
    pipeline: Arc<Pipeline<EntryStore, K, L, Again<Q>, C>>,
    loaded: Loaded,
    known: KnownRoutes,
    /// Those that held when it was made.
    rules: Arc<Rules>,
    ledger: L,
    quarantine: Q,
    clock: C,
}

type EntryRound<K, L, Q, C> = Round<EntryStore, K, L, Again<Q>, C>;

/// What one entry came to.
#[derive(Default)]
struct Visited {
    reasons: Vec<(String, Tally)>,
    /// Why no other entry needs to be begun.
    stop: Option<Failure>,
    /// It had no turn.
    is_unseen: bool,
}

impl<K, L, Q, C> Replayer<K, L, Q, C>
where
    K: Sink + Clone + 'static,
    L: Ledger + Clone + 'static,
    Q: Entries + Clone + 'static,
    C: Clock + Clone + 'static,
{
    /// On the ports and within the bounds of a pipeline, which is to rest meanwhile: the bounds of memory
    /// hold for each of the two. It stops when the pipeline does.
    pub fn beside<S: Store>(pipeline: &Pipeline<S, K, L, Q, C>) -> Self {
        let (ports, loaded) = (pipeline.ports(), Loaded::default());
        let known = KnownRoutes::default();
        let bounds = Bounds {
            // Records were taken out of their objects and shaped before they were refused.
            plan: PlanDefaults {
                add_source_field: false,
                timestamps: TimestampWhen::Never,
                said: Some(Said::Preset(&presets::LINES)),
                known: known.clone(),
                ..pipeline.bounds().plan.clone()
            },
            ..pipeline.bounds().clone()
        };
        let beside = Ports {
            store: EntryStore(loaded.clone()),
            sink: ports.sink.clone(),
            ledger: ports.ledger.clone(),
            quarantine: Again {
                inner: ports.quarantine.clone(),
                loaded: loaded.clone(),
            },
            clock: ports.clock.clone(),
            random: ports.random,
        };
        Self {
            ledger: ports.ledger.clone(),
            quarantine: ports.quarantine.clone(),
            clock: ports.clock.clone(),
            pipeline: pipeline.beside(beside, bounds),
            loaded,
            known,
            rules: pipeline.rules().get(),
        }
    }

    /// Where records of a group go: as the type with which they were sent, and to the endpoint that the rules
    /// give their object now.
    fn route(&self, group: &Group) -> Route {
        let endpoint = self.rule(group).and_then(|carry| carry.destination.clone());
        Route {
            log_type: group.log_type.as_deref().map(Arc::from),
            endpoint: endpoint.map(Arc::new),
        }
    }

    /// What is still to be done to records of a group. Refused ones were shaped before; the original of one that was
    /// cut is as it stood in its object, and what the rules hide in that they hide here.
    fn hidden(&self, group: &Group, reason: &str) -> ShapeSpec {
        match self.rule(group).filter(|_| reason == CUT) {
            Some(carry) => ShapeSpec {
                drop_fields: carry.shape.drop_fields.clone(),
                redact: carry.shape.redact.clone(),
                ..ShapeSpec::default()
            },
            None => ShapeSpec::default(),
        }
    }

    /// Whether the rules leave out the object of a group now, and so its records.
    fn is_skipped(&self, group: &Group) -> bool {
        let source = &group.source;
        let decision = self.rules.of(&source.bucket, &source.key);
        matches!(decision, Decision::Skip { .. } | Decision::Unmatched(None))
    }

    /// How the object of a group is carried now, if it is.
    fn rule(&self, group: &Group) -> Option<&rules::Carry> {
        let source = &group.source;
        match self.rules.of(&source.bucket, &source.key) {
            Decision::Carry { carry, .. } => Some(carry),
            Decision::Unmatched(carry) => carry,
            Decision::Skip { .. } => None,
        }
    }

    /// Goes through what is kept, in the order of the names, until the end or `deadline`. Without `objects`
    /// those stay where they are.
    ///
    /// Running it twice sends nothing twice, but for records that were refused again: they are kept, and so
    /// they are tried again. After a failure the report says where it stopped; an error says that it could
    /// not begin.
    pub async fn run(
        &self,
        request: &ReplayRequest,
        objects: Option<&impl Carry>,
        worker: &str,
        deadline: Deadline,
    ) -> Result<ReplayReport, Failure> {
        let mut report = ReplayReport::default();
        let mut after = request.after.clone();
        let round = self.pipeline.round();
        loop {
            let listed = self.quarantine.list(&request.under, after.as_deref());
            let page = match self.in_time(deadline, listed).await {
                Ok(page) => page,
                Err(failure) if after == request.after => return Err(failure),
                Err(failure) => {
                    report.failure = Some(failure);
                    report.next = after;
                    return Ok(report);
                }
            };
            let has_stopped = AtomicBool::new(false);
            let run = Run {
                request,
                objects,
                round: &round,
                worker,
                deadline,
            };
            let visits = page.entries.iter().map(async |entry| {
                if has_stopped.load(Ordering::Relaxed) || self.clock.now() >= deadline.stop_at {
                    return Visited {
                        is_unseen: true,
                        ..Visited::default()
                    };
                }
                let visited = self.visit(&run, entry).await;
                has_stopped.fetch_or(visited.stop.is_some(), Ordering::Relaxed);
                visited
            });
            let visits: Vec<Visited> = stream::iter(visits)
                .buffer_unordered(ENTRIES_AT_A_TIME)
                .collect()
                .await;
            let mut is_whole = true;
            for visited in visits {
                is_whole &= visited.stop.is_none() && !visited.is_unseen;
                for (reason, tally) in visited.reasons {
                    report.reasons.entry(reason).or_default().add(&tally);
                }
                report.failure = report.failure.or(visited.stop);
            }
            if !is_whole {
                report.next = after;
                return Ok(report);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        report.complete = true;
        Ok(report)
    }

    async fn visit(&self, run: &Run<'_, impl Carry, K, L, Q, C>, entry: &Entry) -> Visited {
        let read = self.quarantine.read(entry);
        let text = match self.in_time(run.deadline, read).await {
            Ok(Some(text)) => text,
            // Someone else was here.
            Ok(None) => return Visited::default(),
            Err(failure) => return Visited::stopped(failure),
        };
        if !entry.name.starts_with("objects/") {
            return self
                .visit_records(run, entry, RecordEntry::parse(text))
                .await;
        }
        match KeptObject::parse(&text) {
            Some(object) if !run.request.asks_for(&object.reason) => Visited::default(),
            None if !run.request.asks_for(UNREADABLE) => Visited::default(),
            Some(object) => {
                let reason = object.reason.clone();
                let mut tally = Tally {
                    objects: 1,
                    bytes: object.source.size,
                    ..Tally::default()
                };
                let stop = match run.request.leaves(&reason) {
                    Some(because) => {
                        tally.leave(1, because);
                        None
                    }
                    None if run.request.dry_run => None,
                    None => {
                        let visited = self.visit_object(run, entry, object, &mut tally);
                        visited.await.err()
                    }
                };
                Visited {
                    reasons: vec![(reason, tally)],
                    stop,
                    is_unseen: false,
                }
            }
            None => {
                let mut tally = Tally {
                    objects: 1,
                    ..Tally::default()
                };
                tally.leave(1, "cannot be read");
                Visited {
                    reasons: vec![(UNREADABLE.to_owned(), tally)],
                    ..Visited::default()
                }
            }
        }
    }

    /// Reopens an object's row, and has it carried.
    async fn visit_object(
        &self,
        run: &Run<'_, impl Carry, K, L, Q, C>,
        entry: &Entry,
        object: KeptObject,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let Some(objects) = run.objects else {
            tally.leave(1, "there is no queue to put it on");
            return Ok(());
        };
        let content = &object.source;
        let now = self.clock.now();
        let until = now.plus(objects.queued_for());
        let reopened = self
            .ledger
            .reopen(content, &object.checkpoint, now, until)
            .await?;
        match reopened {
            Reopened::Settled => {
                self.replace(run.deadline, entry, None).await?;
                tally.done_before += 1;
            }
            Reopened::UnderWay => tally.leave(1, "is under way"),
            Reopened::Queued => {
                let item = WorkItem {
                    version: object.version,
                    is_replay: true,
                    ..WorkItem::from(content.clone())
                };
                if let Err(failure) = objects.carry(item).await {
                    tally.leave(1, "could not be queued");
                    self.ledger.unqueue(content, until).await?;
                    return Err(failure);
                }
                tally.objects_requeued += 1;
                tracing::info!(entry = entry.name, reason = object.reason, object = %content, "replayed");
            }
        }
        Ok(())
    }

    /// Carries the records of an entry, one reason after the other, and takes away those that are done.
    async fn visit_records(
        &self,
        run: &Run<'_, impl Carry, K, L, Q, C>,
        entry: &Entry,
        kept: RecordEntry,
    ) -> Visited {
        let mut visited = Visited::default();
        let mut done = BTreeSet::new();
        let object = self.quarantine.object(&entry.name);
        let reasons = kept.reasons().into_iter();
        for (reason, records, bytes) in reasons.filter(|(reason, ..)| run.request.asks_for(reason))
        {
            let mut tally = Tally {
                records,
                bytes,
                ..Tally::default()
            };
            let group = kept.group(&entry.name, &object, reason);
            match (run.request.leaves(reason), group) {
                (Some(because), _) => tally.leave(records, because),
                (None, None) => tally.leave(records, "only their beginnings are kept"),
                (None, Some(group)) if self.is_skipped(&group) => {
                    tally.leave(records, "rules skip their object");
                }
                (None, Some(_)) if run.request.dry_run => {}
                (None, Some(_)) if visited.stop.is_some() => tally.leave(records, "not begun"),
                (None, Some(group)) => {
                    let key = group.content.key.clone();
                    let hidden = self.hidden(&group, reason);
                    self.known.set(&key, self.route(&group), hidden);
                    let held = self.loaded.hold(group);
                    match self
                        .carry(run, &held.group.content, records, &mut tally)
                        .await
                    {
                        Ok(true) => {
                            done.insert(reason.to_owned());
                            tracing::info!(
                                entry = entry.name,
                                reason,
                                records_delivered = tally.records_delivered,
                                records_refused = tally.records_refused,
                                "replayed"
                            );
                        }
                        Ok(false) => {}
                        Err(failure) => {
                            tally.leave(records, failure.kind.name());
                            visited.stop = Some(failure);
                        }
                    }
                    self.known.forget(&key);
                }
            }
            visited.reasons.push((reason.to_owned(), tally));
        }
        if !done.is_empty()
            && let Err(failure) = self.replace(run.deadline, entry, kept.without(&done)).await
        {
            // The rows are settled: the next replay takes them away.
            visited.stop = visited.stop.or(Some(failure));
        }
        visited
    }

    /// Carries a group of records. Whether they are done: each accepted, or kept again.
    async fn carry(
        &self,
        run: &Run<'_, impl Carry, K, L, Q, C>,
        content: &ContentId,
        records: u64,
        tally: &mut Tally,
    ) -> Result<bool, Failure> {
        let now = self.clock.now();
        let start = Checkpoint::default();
        let reopened = self.ledger.reopen(content, &start, now, now).await?;
        if reopened == Reopened::Settled {
            tally.done_before += records;
            return Ok(true);
        }
        let item = WorkItem::from(content.clone());
        let turn = run.round.enter().turn(&item, run.deadline.stop_at).await?;
        match turn.ingest(&item, run.worker, run.deadline).await {
            Ingested::Settled { account } => {
                tally.records_delivered += account.records_delivered;
                tally.records_refused += account.records_quarantined;
                Ok(true)
            }
            Ingested::Returned { failure, .. } if failure.kind == FailureKind::LeaseHeld => {
                tally.leave(records, "is under way");
                Ok(false)
            }
            Ingested::Returned { failure, .. } => Err(failure),
            Ingested::Skipped { failure } | Ingested::Quarantined { failure, .. } => {
                tally.leave(records, failure.kind.name());
                Ok(false)
            }
        }
    }

    async fn replace(
        &self,
        deadline: Deadline,
        entry: &Entry,
        rest: Option<bytes::Bytes>,
    ) -> Result<(), Failure> {
        let replaced = self.quarantine.replace(entry, rest);
        let left = deadline.end_at.since(self.clock.now());
        let replaced = tokio::time::timeout(left, replaced).await;
        if !replaced.unwrap_or_else(|_| Err(out_of_time(&entry.name)))? {
            tracing::warn!(entry = entry.name, "kept anew meanwhile; it stays");
        }
        Ok(())
    }

    async fn in_time<T>(
        &self,
        deadline: Deadline,
        asked: impl Future<Output = Result<T, QuarantineError>>,
    ) -> Result<T, Failure> {
        let left = deadline.stop_at.since(self.clock.now());
        let answer = tokio::time::timeout(left, asked).await;
        Ok(answer.unwrap_or_else(|_| Err(out_of_time("entries")))?)
    }
}

/// What does not change while one replay runs.
struct Run<'a, O, K, L, Q, C> {
    request: &'a ReplayRequest,
    objects: Option<&'a O>,
    round: &'a Arc<EntryRound<K, L, Q, C>>,
    worker: &'a str,
    deadline: Deadline,
}

impl Visited {
    fn stopped(failure: Failure) -> Self {
        Self {
            stop: Some(failure),
            ..Self::default()
        }
    }
}

fn out_of_time(place: &str) -> QuarantineError {
    QuarantineError::Unavailable {
        place: place.to_owned(),
        reason: "time ran out".to_owned(),
    }
}

/// Removes the entry of an object that was replayed and is settled. An entry that cannot be removed now, or in
/// time, is by the next replay.
pub async fn forget(quarantine: &impl Entries, content: &ContentId, within: Duration) {
    let name = object_entry_name(content);
    let forgotten = async {
        let page = quarantine.list(&name, None).await?;
        for entry in page.entries.iter().filter(|entry| entry.name == name) {
            quarantine.replace(entry, None).await?;
        }
        Ok::<_, QuarantineError>(())
    };
    let forgotten = tokio::time::timeout(within, forgotten).await;
    if let Err(error) = forgotten.unwrap_or_else(|_| Err(out_of_time(&name))) {
        tracing::warn!(entry = name, %error, "not removed; the next replay does");
    }
}
