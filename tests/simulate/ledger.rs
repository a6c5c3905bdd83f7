//! The ledger in memory behind a network: moves are throttled, lost, applied late or twice, and their
//! answers lost. Rows and leases are the product's own.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::Timestamp;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::ledger::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use bucket_brigade::object::ContentId;
use futures_util::FutureExt;

use crate::faults::Fault;
use crate::world::{End, Ended, Held, State, World};

#[derive(Clone)]
pub struct SimLedger {
    pub inner: Arc<MemoryLedger>,
    pub world: Arc<World>,
    pub process: u64,
}

/// One move, with all it takes, since it may outlive whoever asked for it.
#[derive(Clone)]
enum Move {
    Claim(ContentId, Owner, Timestamp, Duration),
    Renew(Lease, Timestamp, Duration),
    Checkpoint(Lease, Checkpoint, Timestamp, Duration),
    Release(Lease, Checkpoint, Release, Timestamp),
    Settle(Lease, Account, Timestamp, Timestamp),
    Quarantine(Lease, Account, String, String, Timestamp),
    Queue(ContentId, Timestamp, Timestamp),
    Unqueue(ContentId, Timestamp),
}

enum Moved {
    Claim(Claim),
    Lease(Lease),
    Queued(bool),
    Done,
}

impl Move {
    fn content(&self) -> &ContentId {
        match self {
            Move::Claim(content, ..) | Move::Queue(content, ..) | Move::Unqueue(content, ..) => {
                content
            }
            Move::Renew(lease, ..)
            | Move::Checkpoint(lease, ..)
            | Move::Release(lease, ..)
            | Move::Settle(lease, ..)
            | Move::Quarantine(lease, ..) => &lease.content,
        }
    }

    fn owner(&self) -> Option<&Owner> {
        match self {
            Move::Claim(..) | Move::Queue(..) | Move::Unqueue(..) => None,
            Move::Renew(lease, ..)
            | Move::Checkpoint(lease, ..)
            | Move::Release(lease, ..)
            | Move::Settle(lease, ..)
            | Move::Quarantine(lease, ..) => Some(&lease.owner),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Move::Claim(..) => "claim",
            Move::Renew(..) => "renew",
            Move::Checkpoint(..) => "checkpoint",
            Move::Release(..) => "release",
            Move::Settle(..) => "settle",
            Move::Quarantine(..) => "quarantine",
            Move::Queue(..) => "queue",
            Move::Unqueue(..) => "unqueue",
        }
    }

    fn ends_the_claim(&self) -> bool {
        matches!(
            self,
            Move::Release(..) | Move::Settle(..) | Move::Quarantine(..)
        )
    }
}

/// Makes a move, and holds what it says against what is true.
fn apply(world: &World, inner: &MemoryLedger, what: &Move) -> Result<Moved, LedgerError> {
    let moved = match what {
        Move::Claim(content, owner, now, lease) => {
            let moved = inner.claim(content, owner, *now, *lease).now_or_never();
            moved.map(|moved| moved.map(Moved::Claim))
        }
        Move::Renew(lease, now, duration) => {
            let moved = inner.renew(lease, *now, *duration).now_or_never();
            moved.map(|moved| moved.map(Moved::Lease))
        }
        Move::Checkpoint(lease, checkpoint, now, duration) => {
            let moved = inner
                .checkpoint(lease, checkpoint, *now, *duration)
                .now_or_never();
            moved.map(|moved| moved.map(Moved::Lease))
        }
        Move::Release(lease, checkpoint, release, now) => {
            let moved = inner
                .release(lease, checkpoint, release, *now)
                .now_or_never();
            moved.map(|moved| moved.map(|()| Moved::Done))
        }
        Move::Settle(lease, account, now, expires) => {
            let moved = inner.settle(lease, account, *now, *expires).now_or_never();
            moved.map(|moved| moved.map(|()| Moved::Done))
        }
        Move::Quarantine(lease, account, reason, place, now) => {
            let moved = inner
                .quarantine(lease, account, reason, place, *now)
                .now_or_never();
            moved.map(|moved| moved.map(|()| Moved::Done))
        }
        Move::Queue(content, now, until) => {
            let moved = inner.queue(content, *now, *until).now_or_never();
            moved.map(|moved| moved.map(Moved::Queued))
        }
        Move::Unqueue(content, until) => {
            let moved = inner.unqueue(content, *until).now_or_never();
            moved.map(|moved| moved.map(|()| Moved::Done))
        }
    };
    let moved = moved.expect("memory never waits")?;
    let at = world.elapsed();
    let mut state = world.state();
    let Some(content) = state.by_id.get(what.content()).copied() else {
        // A key that was deleted may be tried decoded, with what the trigger said of it.
        if !state.keys.contains(&what.content().key) {
            let content = what.content().to_string();
            state.violate(
                at,
                &format!("a move on {content}, a content that nobody wrote"),
            );
        }
        return Ok(moved);
    };
    let claim = what
        .owner()
        .and_then(|owner| state.claim_of_owner.get(owner.as_str()).copied());
    let mut held = claim.map(|claim| &mut state.claims[claim]);
    if let (Some(held), Moved::Lease(lease)) = (&mut held, &moved) {
        held.until = Some(lease.until);
    }
    if let (Some(held), true) = (held, what.ends_the_claim()) {
        held.until = None;
    }
    match what {
        Move::Checkpoint(_, checkpoint, ..) | Move::Release(_, checkpoint, ..) => {
            if let Some(claim) = claim {
                state.check_checkpoint(at, claim, checkpoint);
            }
        }
        Move::Settle(_, account, ..) => {
            if let Some(claim) = claim {
                state.check_settled(at, claim, account);
            }
            state.ended.insert(content, (Ended::Settled, *account));
        }
        Move::Quarantine(_, account, reason, ..) => {
            if !account.holds() {
                state.violate(
                    at,
                    &format!("#{content}: account does not hold: {account:?}"),
                );
            }
            if !state.objects_kept.contains(&content) {
                state.violate(
                    at,
                    &format!("#{content}: quarantined, and nothing is kept of it"),
                );
            }
            if let Some(claim) = claim {
                state.check_quarantined(at, claim, reason);
            }
            let reason = reason.clone();
            state
                .ended
                .insert(content, (Ended::Quarantined { reason }, *account));
        }
        Move::Claim(_, owner, now, _) => {
            if let Moved::Claim(Claim::Granted(grant)) = &moved {
                let mut live = None;
                for claim in state.claims_of(content).to_vec() {
                    if state.claims[claim].owner != owner.as_str() {
                        live = live.max(state.claims[claim].until.take());
                    }
                }
                if live.is_some_and(|until| *now < until) {
                    let key = &what.content().key;
                    state.violate(at, &format!("{key}: claimed while another holds it"));
                }
                let is_begun = grant.checkpoint != Checkpoint::default();
                note_claim(world, &mut state, content, owner.as_str(), is_begun);
                if let Some(claim) = state.claim_of_owner.get(owner.as_str()).copied() {
                    state.claims[claim].until = Some(grant.lease.until);
                }
            }
        }
        Move::Queue(..) => {
            if let Moved::Queued(true) = &moved {
                for claim in state.claims_of(content).to_vec() {
                    state.claims[claim].until = None;
                }
            }
        }
        Move::Renew(..) | Move::Unqueue(..) => {}
    }
    Ok(moved)
}

fn note_claim(world: &World, state: &mut State, content: usize, owner: &str, is_begun: bool) {
    if state.claim_of_owner.contains_key(owner) {
        return;
    }
    let is_over_a_live_one = state
        .claims_of(content)
        .iter()
        .any(|claim| state.claims[*claim].end == End::Open);
    if is_over_a_live_one {
        state.faults.count(Fault::LeaseRanOut);
    }
    let worker = owner.split('/').next().unwrap_or(owner).to_owned();
    let said = world.said(state, &worker, content);
    let at = world.elapsed();
    let key = state.contents[content].id.key.clone();
    if said.skips {
        state.violate(at, &format!("{key}: claimed, and a rule skips it"));
    }
    let mut as_lines = said.as_lines;
    if is_begun {
        match state.contents[content].begun {
            Some(begun) if begun != as_lines => {
                state.faults.count(Fault::BegunOtherwise);
                as_lines = begun;
            }
            Some(_) => {}
            None => state.violate(at, &format!("{key}: begun, and nobody began it")),
        }
    }
    state.enter_claim(Held {
        content,
        worker,
        owner: owner.to_owned(),
        renewed: Vec::new(),
        until: None,
        end: End::Open,
        is_heard: false,
        said,
        as_lines,
        // Until its claimant hears of it.
        was_troubled: true,
    });
}

/// Renewals within the time in which one is due, each of which is a write to pay for. A late one comes
/// close to the next, and a checkpoint between two makes no difference.
const RENEWALS_MAX: usize = 3;

/// What happens to a move on its way.
#[derive(Clone, Copy, Debug)]
enum Way {
    Good,
    Throttled,
    AnswerLost,
    /// Applied after so many milliseconds; the client hears nothing of it.
    Late(u64),
    Repeated,
}

/// A move whose caller may give up waiting for it.
struct Unheard<'a> {
    world: &'a World,
    owner: Option<Owner>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let Some(owner) = &self.owner else {
            return;
        };
        let mut state = self.world.state();
        if let Some(claim) = state.claim_of_owner.get(owner.as_str()).copied() {
            state.claims[claim].was_troubled = true;
        }
    }
}

impl SimLedger {
    fn way(&self) -> Way {
        if self.is_away() {
            let mut state = self.world.state();
            return match state.random.chance(0.5) {
                true => Way::Throttled,
                false => Way::Late(state.random.log_between(1_000, 3_600_000)),
            };
        }
        let mut state = self.world.state();
        if state.strikes(Fault::LedgerThrottled) {
            Way::Throttled
        } else if state.strikes(Fault::LedgerAnswerLost) {
            Way::AnswerLost
        } else if state.strikes(Fault::LedgerLate) {
            Way::Late(state.random.log_between(10, 200_000))
        } else if state.strikes(Fault::LedgerRepeated) {
            Way::Repeated
        } else {
            Way::Good
        }
    }

    async fn make(&self, what: Move) -> Result<Moved, LedgerError> {
        let _guard = self.world.begin(self.process, |under_way, begins| {
            under_way.moves = if begins {
                under_way.moves + 1
            } else {
                under_way.moves - 1
            };
        });
        let way = self.way();
        let mut unheard = Unheard {
            world: &self.world,
            owner: what.owner().cloned(),
        };
        let moved = self.travel(way, what.clone()).await;
        unheard.owner = None;
        self.note(way, &what, &moved);
        moved
    }

    async fn travel(&self, way: Way, what: Move) -> Result<Moved, LedgerError> {
        let unavailable = |reason: &str| {
            Err(LedgerError::Unavailable {
                reason: reason.to_owned(),
            })
        };
        self.world.pass(1, 15).await;
        match way {
            Way::Throttled => return unavailable("throttled"),
            Way::Late(ms) => {
                self.note(way, &what, &unavailable("late"));
                let (world, inner) = (Arc::clone(&self.world), Arc::clone(&self.inner));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    let outcome = apply(&world, &inner, &what);
                    let said =
                        outcome.map_or_else(|error| error.to_string(), |_| "done".to_owned());
                    world.tell(&format!(
                        "late {} of {}: {said}",
                        what.name(),
                        what.content().key
                    ));
                });
                self.world.pass_log(10, 60_000).await;
                return unavailable("no answer");
            }
            Way::AnswerLost => {
                let outcome = apply(&self.world, &self.inner, &what);
                drop(outcome);
                self.world.pass_log(1, 3_000).await;
                return unavailable("no answer");
            }
            Way::Good | Way::Repeated => {}
        }
        let first = apply(&self.world, &self.inner, &what);
        if let (Way::Repeated, Ok(_)) = (way, &first) {
            self.world.pass_log(1, 2_000).await;
            return apply(&self.world, &self.inner, &what);
        }
        self.world.pass(1, 15).await;
        first
    }

    /// What the holder knows now.
    fn note(&self, way: Way, what: &Move, moved: &Result<Moved, LedgerError>) {
        let mut line = format!("p{}: {} {}", self.process, what.name(), what.content().key);
        match moved {
            Ok(Moved::Claim(Claim::Granted(grant))) => {
                let (at, attempts) = (grant.checkpoint.position.record, grant.attempts);
                line += &format!(" granted at record {at}, attempt {attempts}");
            }
            Ok(Moved::Claim(Claim::Settled)) => line += ": settled already",
            Ok(Moved::Claim(Claim::Busy { .. })) => line += ": busy",
            Ok(Moved::Queued(false)) => line += ": no need",
            Ok(_) => {}
            Err(error) => line += &format!(": {error} ({way:?})"),
        }
        if let Move::Checkpoint(_, checkpoint, ..) | Move::Release(_, checkpoint, ..) = what {
            line += &format!(", up to record {}", checkpoint.position.record);
        }
        self.world.tell(&line);
        let mut state = self.world.state();
        match moved {
            Ok(Moved::Claim(Claim::Busy { .. })) => state.faults.count(Fault::TwoWorkers),
            Err(LedgerError::LeaseLost { .. }) => state.faults.count(Fault::LedgerCondition),
            _ => {}
        }
        if let (Move::Claim(_, owner, ..), Ok(Moved::Claim(Claim::Granted(_)))) = (what, moved)
            && let Some(claim) = state.claim_of_owner.get(owner.as_str()).copied()
        {
            state.claims[claim].was_troubled = false;
            state.claims[claim].is_heard = true;
        }
        let Some(claim) = what
            .owner()
            .and_then(|owner| state.claim_of_owner.get(owner.as_str()))
        else {
            return;
        };
        let claim = *claim;
        let at = self.world.elapsed();
        let lease = self.world.bounds.lease;
        let held = &mut state.claims[claim];
        if let (Move::Renew(..), Ok(_)) = (what, moved) {
            held.renewed.push(at);
            let before = held.renewed.iter().rev().nth(RENEWALS_MAX);
            if before.is_some_and(|before| at - *before < lease / 3) {
                let key = &what.content().key;
                state.violate(at, &format!("{key}: its lease is renewed again and again"));
                return;
            }
        }
        let held = &mut state.claims[claim];
        match moved {
            Ok(_) if what.ends_the_claim() => held.end = End::Clean,
            Ok(_) => {}
            Err(LedgerError::LeaseLost { .. }) => held.end = End::LeaseLost,
            Err(_) => held.was_troubled = true,
        }
    }
}

fn lease(moved: Moved) -> Lease {
    match moved {
        Moved::Lease(lease) => lease,
        Moved::Claim(_) | Moved::Queued(_) | Moved::Done => unreachable!("asked for a lease"),
    }
}

impl Ledger for SimLedger {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        let what = Move::Claim(content.clone(), owner.clone(), now, lease);
        match self.make(what).await? {
            Moved::Claim(claim) => Ok(claim),
            Moved::Lease(_) | Moved::Queued(_) | Moved::Done => unreachable!("asked for a claim"),
        }
    }

    async fn renew(
        &self,
        held: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        self.make(Move::Renew(held.clone(), now, duration))
            .await
            .map(lease)
    }

    async fn checkpoint(
        &self,
        held: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        let what = Move::Checkpoint(held.clone(), checkpoint.clone(), now, duration);
        self.make(what).await.map(lease)
    }

    async fn release(
        &self,
        held: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        if release.reason == "not_begun" && !self.world.state().refused.contains(&self.process) {
            let key = &held.content.key;
            let what = format!("{key}: given back for the sake of others that nobody refused");
            self.world.violate(&what);
        }
        let what = Move::Release(held.clone(), checkpoint.clone(), release.clone(), now);
        self.make(what).await.map(drop)
    }

    async fn settle(
        &self,
        held: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), LedgerError> {
        self.make(Move::Settle(held.clone(), *account, now, expires))
            .await
            .map(drop)
    }

    async fn quarantine(
        &self,
        held: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (reason, place) = (reason.to_owned(), place.to_owned());
        self.make(Move::Quarantine(held.clone(), *account, reason, place, now))
            .await
            .map(drop)
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        {
            let mut state = self.world.state();
            let number = state.by_id.get(content).copied();
            let said = number.map(|number| {
                self.world
                    .said(&state, &format!("p{}", self.process), number)
            });
            if said.is_some_and(|said| said.skips) {
                let at = self.world.elapsed();
                let key = &content.key;
                state.violate(at, &format!("{key}: queued, and a rule skips it"));
            }
        }
        match self.make(Move::Queue(content.clone(), now, until)).await? {
            Moved::Queued(queued) => Ok(queued),
            Moved::Lease(_) | Moved::Claim(_) | Moved::Done => unreachable!("asked to queue"),
        }
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        self.make(Move::Unqueue(content.clone(), until))
            .await
            .map(drop)
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        self.gate().await?;
        self.inner.reopen(content, checkpoint, now, until).await
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        self.gate().await?;
        let mut rows = self.inner.range(bucket, first, last, now).await?;
        if !rows.is_empty() && self.world.strikes(Fault::LedgerStale) {
            let mut state = self.world.state();
            rows.retain(|_| state.random.chance(0.5));
        }
        Ok(rows)
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        self.gate().await?;
        self.inner.read_mark(name).await
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        self.gate().await?;
        self.inner.write_mark(name, value).await
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        self.gate().await?;
        self.inner.write_mark_once(name, value).await
    }
}

impl SimLedger {
    fn is_away(&self) -> bool {
        [Fault::LedgerAway, Fault::LedgerPartition]
            .into_iter()
            .any(|fault| self.world.spell(fault, self.process))
    }

    /// What reads and notes suffer.
    async fn gate(&self) -> Result<(), LedgerError> {
        self.world.pass(1, 20).await;
        let is_away = self.is_away();
        if is_away || self.world.strikes(Fault::LedgerThrottled) {
            return Err(LedgerError::Unavailable {
                reason: "throttled".to_owned(),
            });
        }
        Ok(())
    }
}
