//! What all ports of one world share: what was written, what the endpoint took, who holds what, and what
//! must not happen.
//!
//! Ports report what they saw; whatever breaks a promise becomes a line of [`State::violations`] at once, so
//! that the story ends where it went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::{Clock, Timestamp};
use bucket_brigade::object::ContentId;
use bucket_brigade::pipeline::Bounds;
use tokio::time::Instant;

use crate::faults::{Fault, Faults};
use crate::object::{Content, Health, Kind, Nature};
use crate::random::Random;
use crate::rules::{Ruling, Said};

/// When every world begins.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub const BUCKET: &str = "example-logs";
/// What the token would look like if it were seen.
pub const TOKEN: &str = "TOKEN-that-nobody-may-see";

/// One time that the endpoint took a record.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub request: usize,
    /// The claim under which it was sent; none if nobody held one.
    pub claim: Option<usize>,
    pub bytes: usize,
}

/// One request, as far as its client knows.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Whether the client never heard the answer.
    pub is_lost: bool,
    /// Whether some of its records were refused, and the endpoint's counts did not tell which.
    pub is_unclear: bool,
}

/// How the holder of a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Open,
    /// The ledger confirmed that it was given back, settled or quarantined.
    Clean,
    Crashed,
    LeaseLost,
    /// The ledger did not confirm in time.
    LedgerAway,
}

/// One granted claim.
#[derive(Clone, Debug)]
pub struct Held {
    pub content: usize,
    pub worker: String,
    pub owner: String,
    pub end: End,
    /// When its last renewals were confirmed, the latest last.
    pub renewed: Vec<Duration>,
    /// Until when the ledger says that it is held; none once it says that it is not.
    pub until: Option<Timestamp>,
    /// Whether a move under it failed or was not confirmed.
    pub was_troubled: bool,
    /// Whether its claimant knows of it.
    pub is_heard: bool,
    /// What the rules that its invocation had say of its object.
    pub said: Said,
    /// Whether its object is read as lines, though it is something else.
    pub as_lines: bool,
}

/// What became of one record.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    pub taken: Vec<Taken>,
    /// Kept in quarantine as one that was refused.
    pub kept: bool,
}

/// What is under way in one process.
#[derive(Clone, Debug, Default)]
pub struct UnderWay {
    pub requests: usize,
    pub body_bytes: usize,
    pub reads: usize,
    pub moves: usize,
}

/// Why a record was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    LostAnswer,
    Crash,
    LostLease,
    LedgerAway,
    QuarantineAway,
}

impl Cause {
    pub const ALL: [Cause; 5] = [
        Cause::LostAnswer,
        Cause::Crash,
        Cause::LostLease,
        Cause::LedgerAway,
        Cause::QuarantineAway,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Cause::LostAnswer => "lost answer",
            Cause::Crash => "crash",
            Cause::LostLease => "lost lease",
            Cause::LedgerAway => "lease not given back, ledger away",
            Cause::QuarantineAway => "refusals not kept, quarantine away",
        }
    }
}

/// A period in which something is wrong.
#[derive(Clone, Debug)]
pub struct Spell {
    pub from: Duration,
    pub until: Duration,
    pub fault: Fault,
    /// The process that alone is concerned; none for all.
    pub process: Option<u64>,
}

pub struct State {
    pub random: Random,
    pub faults: Faults,
    pub spells: Vec<Spell>,
    /// Whether nothing goes wrong any more.
    pub is_calm: bool,
    pub contents: Vec<Content>,
    pub by_id: BTreeMap<ContentId, usize>,
    /// By content, then by record.
    pub fates: Vec<Vec<Fate>>,
    /// Contents of which the endpoint gave counts that are not true.
    pub miscounted: BTreeSet<usize>,
    /// Contents of which something could not be kept in quarantine when it was tried, unclear refusals.
    pub unkept: BTreeSet<usize>,
    /// Contents whose object is in quarantine.
    pub objects_kept: BTreeSet<usize>,
    /// What the ledger was last told of a content, by applied moves.
    pub ended: BTreeMap<usize, (Ended, Account)>,
    pub claims: Vec<Held>,
    pub claims_of_content: BTreeMap<usize, Vec<usize>>,
    pub claims_of_worker: BTreeMap<String, Vec<usize>>,
    pub claim_of_owner: BTreeMap<String, usize>,
    pub requests: Vec<Request>,
    pub under_way: BTreeMap<u64, UnderWay>,
    /// Which rules are in force, and which each invocation has.
    pub ruling: usize,
    pub ruling_of_worker: BTreeMap<String, usize>,
    /// Processes that the endpoint of the settings has refused everything.
    pub refused: BTreeSet<u64>,
    pub keys: BTreeSet<String>,
    /// How many rules there are.
    pub rulings: usize,
    /// The most requests under way at once, of all processes.
    pub requests_at_once: usize,
    pub violations: Vec<String>,
    pub story: String,
    pub tells: bool,
    pub records_sent: u64,
    pub bodies: u64,
}

/// How a row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Settled,
    Quarantined { reason: String },
}

pub struct World {
    state: Mutex<State>,
    epoch: Instant,
    pub bounds: Bounds,
    /// The rules, one file after the other.
    pub rulings: Vec<Ruling>,
    /// Whether the endpoint is a Logz.io listener; else one that takes all or nothing.
    pub is_logzio: bool,
    /// Plain bytes of the largest body that the endpoint takes.
    pub body_bytes_max: usize,
    /// How long the endpoint takes at most before it takes a request in.
    pub endpoint_ms_max: u64,
}

/// Virtual time, apart from everyone else's by `ahead_ms`.
#[derive(Clone, Copy, Debug)]
pub struct SkewedClock {
    pub epoch: Instant,
    pub ahead_ms: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.epoch.elapsed().as_millis() as u64 + START.as_ms();
        Timestamp::from_ms(elapsed.saturating_add_signed(self.ahead_ms))
    }
}

impl World {
    pub fn new(
        bounds: Bounds,
        rulings: Vec<Ruling>,
        is_logzio: bool,
        body_bytes_max: usize,
        endpoint_ms_max: u64,
        random: Random,
        faults: Faults,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                random,
                faults,
                spells: Vec::new(),
                is_calm: false,
                contents: Vec::new(),
                by_id: BTreeMap::new(),
                fates: Vec::new(),
                miscounted: BTreeSet::new(),
                unkept: BTreeSet::new(),
                objects_kept: BTreeSet::new(),
                ended: BTreeMap::new(),
                claims: Vec::new(),
                claims_of_content: BTreeMap::new(),
                claims_of_worker: BTreeMap::new(),
                claim_of_owner: BTreeMap::new(),
                requests: Vec::new(),
                under_way: BTreeMap::new(),
                ruling: 0,
                ruling_of_worker: BTreeMap::new(),
                refused: BTreeSet::new(),
                rulings: rulings.len(),
                keys: BTreeSet::new(),
                requests_at_once: 0,
                violations: Vec::new(),
                story: String::new(),
                tells: true,
                records_sent: 0,
                bodies: 0,
            }),
            epoch: Instant::now(),
            bounds,
            rulings,
            is_logzio,
            body_bytes_max,
            endpoint_ms_max,
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("one thread, and no panic within")
    }

    pub fn clock(&self, ahead_ms: i64) -> SkewedClock {
        SkewedClock {
            epoch: self.epoch,
            ahead_ms,
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        START.plus(self.elapsed())
    }

    pub fn last_ruling(&self) -> &Ruling {
        self.rulings.last().expect("at least one")
    }

    /// Gives an invocation the rules that are in force, or those that were before.
    pub fn rule(&self, worker: &str) -> &Ruling {
        let mut state = self.state();
        let mut ruling = state.ruling;
        if ruling > 0 && state.strikes(Fault::RulesOld) {
            ruling -= 1;
        }
        state.ruling_of_worker.insert(worker.to_owned(), ruling);
        &self.rulings[ruling]
    }

    /// What the rules that an invocation has say of a content.
    pub fn said(&self, state: &State, worker: &str, content: usize) -> Said {
        let ruling = state.ruling_of_worker.get(worker).copied();
        let ruling = &self.rulings[ruling.unwrap_or_default()];
        ruling.of(state.contents[content].folder)
    }

    /// Whether the endpoint is a Logz.io listener to which the objects go of which rules say so.
    pub fn goes_to_logzio(&self, said: &Said) -> bool {
        said.own.unwrap_or(self.is_logzio)
    }

    pub fn tell(&self, line: &str) {
        let at = self.elapsed();
        self.state().tell(at, line);
    }

    pub fn violate(&self, what: &str) {
        let at = self.elapsed();
        self.state().violate(at, what);
    }

    /// Whether a fault strikes now.
    pub fn strikes(&self, fault: Fault) -> bool {
        self.state().strikes(fault)
    }

    /// Whether a spell of this kind is on.
    pub fn spell(&self, fault: Fault, process: u64) -> bool {
        let at = self.elapsed();
        let mut state = self.state();
        let is_on = !state.is_calm
            && state.spells.iter().any(|spell| {
                spell.fault == fault
                    && (spell.from..spell.until).contains(&at)
                    && spell.process.is_none_or(|of| of == process)
            });
        if is_on {
            state.faults.count(fault);
        }
        is_on
    }

    /// Waits for a while that depends on the seed.
    pub async fn pass(&self, from_ms: u64, to_ms: u64) {
        let wait = self.state().random.between(from_ms, to_ms);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Waits for a while of any magnitude.
    pub async fn pass_log(&self, from_ms: u64, to_ms: u64) {
        let wait = self.state().random.log_between(from_ms, to_ms);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Counts something as under way in a process for as long as the guard lives.
    pub fn begin(
        self: &Arc<Self>,
        process: u64,
        change: impl Fn(&mut UnderWay, bool) + Send + 'static,
    ) -> Guard {
        let at = self.elapsed();
        let mut state = self.state();
        let under_way = state.under_way.entry(process).or_default();
        change(under_way, true);
        let now = under_way.clone();
        let at_once = state.under_way.values().map(|of| of.requests).sum();
        state.requests_at_once = state.requests_at_once.max(at_once);
        let bounds = &self.bounds;
        if now.requests > bounds.requests_in_flight_max {
            state.violate(at, &format!("{} requests under way at once", now.requests));
        }
        let held = now.body_bytes > bounds.body_bytes_in_flight_max as usize && now.requests > 1;
        if held {
            state.violate(at, &format!("{} bytes of bodies at once", now.body_bytes));
        }
        let reads_max = match bounds.small_objects_per_turn {
            0 | 1 => bounds.objects_in_flight_max,
            _ => bounds.objects_in_flight_max.max(SMALL_READS_MAX),
        };
        if now.reads > reads_max {
            state.violate(at, &format!("{} objects read at once", now.reads));
        }
        if now.moves > MOVES_MAX {
            state.violate(at, &format!("{} moves under way at once", now.moves));
        }
        Guard {
            world: Arc::clone(self),
            process,
            change: Box::new(change),
        }
    }
}

/// `LEDGER_MOVES_MAX` of the pipeline.
const MOVES_MAX: usize = 16;

/// `SMALL_OBJECTS_MAX` of its turns to read.
const SMALL_READS_MAX: usize = 32;

/// Counts something as begun, or as ended.
type Change = Box<dyn Fn(&mut UnderWay, bool) + Send>;

/// Something that is under way in a process.
pub struct Guard {
    world: Arc<World>,
    process: u64,
    change: Change,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.world.state();
        (self.change)(state.under_way.entry(self.process).or_default(), false);
    }
}

impl State {
    pub fn tell(&mut self, at: Duration, line: &str) {
        if self.tells {
            let seconds = at.as_secs();
            let _ = writeln!(
                self.story,
                "{:>3}:{:02}:{:02}.{:03} {line}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60,
                at.subsec_millis()
            );
        }
    }

    pub fn violate(&mut self, at: Duration, what: &str) {
        self.tell(at, &format!("VIOLATION {what}"));
        self.violations.push(what.to_owned());
    }

    pub fn strikes(&mut self, fault: Fault) -> bool {
        let rate = self.faults.rate(fault);
        if self.is_calm || rate == 0.0 || !self.random.chance(rate) {
            return false;
        }
        self.faults.count(fault);
        true
    }

    /// Whether a fault that may yet not come to pass is to strike; who makes it come to pass counts it.
    pub fn strikes_quietly(&mut self, fault: Fault) -> bool {
        let rate = self.faults.rate(fault);
        !self.is_calm && rate > 0.0 && self.random.chance(rate)
    }

    /// Whether a record is answered for: taken, kept, or left out.
    fn is_answered(&self, content: usize, record: usize) -> bool {
        let fate = &self.fates[content][record];
        fate.kept || !fate.taken.is_empty() || self.may_be_left_out(content, record)
    }

    /// Whether some claim left it out.
    fn may_be_left_out(&self, content: usize, record: usize) -> bool {
        let written = &self.contents[content].records[record];
        let claims = self.claims_of(content).iter();
        let mut said = claims.map(|claim| &self.claims[*claim].said);
        written.is_control || (written.is_marked && said.any(|said| said.leaves_out))
    }

    /// Whether all claims on a content left out the same records.
    fn is_ruled_once(&self, content: usize) -> bool {
        let claims = self.claims_of(content).iter();
        let mut leave_out = claims.map(|claim| self.claims[*claim].said.leaves_out);
        let first = leave_out.next();
        leave_out.all(|leaves_out| Some(leaves_out) == first)
    }

    /// The claim of a process on a content: the last one that it knows of.
    pub fn claim_of_process(&self, process: u64, content: usize) -> Option<usize> {
        let worker = format!("p{process}.");
        let mut claims = self.claims_of(content).iter();
        let of_process = |claim: &&usize| {
            let claim = &self.claims[**claim];
            claim.is_heard && claim.worker.starts_with(&worker)
        };
        claims.rfind(of_process).copied()
    }

    /// The claims on a content, oldest first.
    pub fn claims_of(&self, content: usize) -> &[usize] {
        self.claims_of_content
            .get(&content)
            .map_or(&[], Vec::as_slice)
    }

    /// Enters a claim; the first move of its owner.
    pub fn enter_claim(&mut self, held: Held) {
        let claim = self.claims.len();
        self.claims_of_content
            .entry(held.content)
            .or_default()
            .push(claim);
        self.claims_of_worker
            .entry(held.worker.clone())
            .or_default()
            .push(claim);
        self.claim_of_owner.insert(held.owner.clone(), claim);
        self.claims.push(held);
    }

    /// What a checkpoint says must be true already.
    pub fn check_checkpoint(&mut self, at: Duration, claim: usize, checkpoint: &Checkpoint) {
        let Held {
            content, as_lines, ..
        } = self.claims[claim];
        let name = self.contents[content].id.key.clone();
        if !checkpoint.account.holds() {
            self.violate(
                at,
                &format!("{name}: account does not hold: {:?}", checkpoint.account),
            );
        }
        if *checkpoint != Checkpoint::default() {
            let of = &mut self.contents[content];
            let is_new = of.begun.replace(of.begun.unwrap_or(as_lines)).is_none();
            if is_new && of.kind == Kind::Csv && !self.is_calm && self.random.chance(0.8) {
                self.change_rules(at);
            }
        }
        let first = self.contents[content].first(as_lines);
        let total = (self.contents[content].records.len() - first) as u64;
        let before = 0..checkpoint.position.record;
        let covers = || {
            std::iter::once(&before)
                .chain(checkpoint.accepted.iter())
                .flat_map(Clone::clone)
        };
        let is_answered =
            |record: u64| record < total && self.is_answered(content, first + record as usize);
        if let Some(record) = covers().find(|record| !is_answered(*record)) {
            self.violate(
                at,
                &format!("{name}: a checkpoint covers record {record}, which nobody answered for"),
            );
            return;
        }
        let covered = checkpoint.position.record + checkpoint.accepted.count();
        if covered != checkpoint.account.records_read {
            let read = checkpoint.account.records_read;
            self.violate(
                at,
                &format!("{name}: a checkpoint covers {covered} records and counts {read}"),
            );
        }
        let left_out = covers()
            .filter(|record| self.may_be_left_out(content, first + *record as usize))
            .count() as u64;
        let counted = checkpoint.account.records_filtered;
        if self.is_ruled_once(content) && left_out != counted {
            self.violate(
                at,
                &format!("{name}: a checkpoint covers {left_out} records that are left out and counts {counted}"),
            );
        }
    }

    /// What a settled row says must be true already.
    pub fn check_settled(&mut self, at: Duration, claim: usize, account: &Account) {
        let Held {
            content, as_lines, ..
        } = self.claims[claim];
        let Content { id, health, .. } = &self.contents[content];
        let (name, health) = (id.key.clone(), *health);
        let first = self.contents[content].first(as_lines);
        let end = self.contents[content].records.len();
        let total = end - first;
        if health != Health::Whole {
            self.violate(at, &format!("{name}: settled, and it is {health:?}"));
        }
        let open = (first..end).find(|record| !self.is_answered(content, *record));
        if let Some(record) = open {
            self.violate(
                at,
                &format!("{name}: settled, and nobody answered for record {record} of {total}"),
            );
        }
        let fates = &self.fates[content][first..];
        let delivered = fates.iter().filter(|fate| !fate.taken.is_empty()).count() as u64;
        let kept = |record: &usize| self.fates[content][*record].kept;
        let taken = |record: &usize| !self.fates[content][*record].taken.is_empty();
        let may_be = (first..end).filter(|record| self.may_be_left_out(content, *record));
        let must_be = may_be
            .clone()
            .filter(|record| !kept(record) && !taken(record));
        let (may_be, must_be) = (may_be.count() as u64, must_be.count() as u64);
        let filtered = account.records_filtered;
        let is_counted = match self.is_ruled_once(content) {
            true => {
                filtered == may_be
                    && (self.miscounted.contains(&content)
                        || (account.records_delivered, account.records_quarantined)
                            == (delivered, total as u64 - delivered - filtered))
            }
            false => (must_be..=may_be).contains(&filtered),
        };
        if !account.holds() || account.records_read != total as u64 || !is_counted {
            self.violate(
                at,
                &format!("{name}: {total} records, {delivered} of them taken and {may_be} to be left out, and settled with {account:?}"),
            );
        }
        self.note_left_out(filtered);
    }

    /// What is quarantined for its damage must have given what comes before that.
    pub fn check_quarantined(&mut self, at: Duration, claim: usize, reason: &str) {
        let Held {
            content, as_lines, ..
        } = self.claims[claim];
        let Health::Damaged { good } = self.contents[content].health else {
            return;
        };
        let name = self.contents[content].id.key.clone();
        let first = self.contents[content].first(as_lines);
        let open = (first..good).find(|record| !self.is_answered(content, *record));
        if let (Some(record), true) = (open, reason != "attempts_exhausted") {
            self.violate(
                at,
                &format!("{name}: quarantined for {reason}, and nobody answered for record {record}, which is good"),
            );
        }
    }

    /// The next rules come into force, if there are any.
    pub fn change_rules(&mut self, at: Duration) {
        if self.ruling + 1 < self.rulings {
            self.ruling += 1;
            self.faults.count(Fault::RulesChanged);
            self.tell(at, &format!("RULES {} are in force", self.ruling));
        }
    }

    fn note_left_out(&mut self, records: u64) {
        self.faults.counts[Fault::RulesLeaveOut as usize] += records;
    }

    /// What the endpoint does with one record, whenever it comes. None if it takes it.
    pub fn refusal(&self, content: usize, record: usize) -> Option<Nature> {
        match self.contents[content].records[record].nature {
            Nature::Good => None,
            refused @ (Nature::Malformed | Nature::Strange) => Some(refused),
        }
    }
}
