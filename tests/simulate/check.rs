//! What must be true once faults have ceased and reconcile has run its windows.

use std::collections::BTreeMap;

use crate::object::Health;
use crate::rules::Ruling;
use crate::world::{Cause, End, Ended, State, Taken, World};

/// What was sent twice, and why.
#[derive(Clone, Debug, Default)]
pub struct Doubles {
    pub by_cause: BTreeMap<Cause, u64>,
    /// The most that one unclean end of a claim has doubled, as a share of what it may.
    pub bound_used: f64,
}

/// Contents that are not done: they stand, the last rules carry them, and their rows have not ended.
pub fn unfinished(state: &State, last: &Ruling) -> Vec<usize> {
    let stands = |content: &usize| {
        let content = &state.contents[*content];
        content.stands && !last.of(content.folder).skips
    };
    let all = 0..state.contents.len();
    all.filter(stands)
        .filter(|content| !state.ended.contains_key(content))
        .collect()
}

/// Holds every object's end, and everything that was sent twice, against the promises.
pub fn check(world: &World) -> Doubles {
    let at = world.elapsed();
    let mut state = world.state();
    let mut found = Vec::new();
    for content in unfinished(&state, world.last_ruling()) {
        found.push(format!("{}: stuck", state.contents[content].id.key));
    }
    for (content, (ended, account)) in &state.ended {
        let name = &state.contents[*content].id.key;
        let health = state.contents[*content].health;
        if !account.holds() {
            found.push(format!("{name}: account does not hold: {account:?}"));
        }
        match ended {
            Ended::Settled if health == Health::Whole => {}
            Ended::Settled => found.push(format!("{name}: settled, and it is {health:?}")),
            Ended::Quarantined { reason } => {
                if !may_be_quarantined(world, &state, *content, reason) {
                    found.push(format!("{name}: {health:?}, and quarantined for {reason}"));
                }
            }
        }
    }
    let doubles = doubles(world, &state, &mut found);
    for what in found {
        state.violate(at, &what);
    }
    doubles
}

fn may_be_quarantined(world: &World, state: &State, content: usize, reason: &str) -> bool {
    let is_exhausted = reason == "attempts_exhausted";
    // Who died again and again on an object cannot tell whose fault it was.
    let claims = state.claims_of(content).iter();
    let unclean = claims.filter(|claim| !matches!(state.claims[**claim].end, End::Clean));
    if is_exhausted && unclean.count() >= world.bounds.attempts_max as usize {
        return true;
    }
    match state.contents[content].health {
        Health::Whole => false,
        Health::Damaged { .. } => matches!(reason, "truncated" | "corrupt" | "malformed"),
        Health::Denied => is_exhausted,
        Health::Archived => reason == "archived",
    }
}

/// Why a record that was taken may be taken once more. None if it may not.
fn excuse(state: &State, taken: &Taken) -> Option<Cause> {
    if state.requests[taken.request].is_lost {
        return Some(Cause::LostAnswer);
    }
    match state.claims[taken.claim?].end {
        End::Open | End::Clean => {
            let content = state.claims[taken.claim?].content;
            let is_unclear = state.requests[taken.request].is_unclear;
            (is_unclear && state.unkept.contains(&content)).then_some(Cause::QuarantineAway)
        }
        End::Crashed => Some(Cause::Crash),
        End::LeaseLost => Some(Cause::LostLease),
        End::LedgerAway => Some(Cause::LedgerAway),
    }
}

fn doubles(world: &World, state: &State, found: &mut Vec<String>) -> Doubles {
    let mut doubles = Doubles::default();
    let mut by_claim: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (content, fates) in state.fates.iter().enumerate() {
        for (record, fate) in fates.iter().enumerate() {
            let Some(extra) = fate.taken.len().checked_sub(1).filter(|extra| *extra > 0) else {
                continue;
            };
            let mut excused: Vec<(&Taken, Cause)> = fate
                .taken
                .iter()
                .filter_map(|taken| Some((taken, excuse(state, taken)?)))
                .collect();
            if excused.len() < extra {
                let times = fate.taken.len();
                let key = &state.contents[content].id.key;
                let excused: Vec<_> = excused.iter().map(|(_, cause)| cause.name()).collect();
                found.push(format!(
                    "{key}: record {record} was taken {times} times, excused by {excused:?}"
                ));
                continue;
            }
            // What a lost answer explains no claim has to answer for.
            excused.sort_by_key(|(_, cause)| *cause);
            for (taken, cause) in excused.into_iter().take(extra) {
                *doubles.by_cause.entry(cause).or_default() += 1;
                if let (Some(claim), true) = (
                    taken.claim,
                    !matches!(cause, Cause::LostAnswer | Cause::QuarantineAway),
                ) {
                    let of = by_claim.entry(claim).or_insert((content, 0));
                    of.1 += taken.bytes;
                }
            }
        }
    }
    for (claim, (content, bytes)) in by_claim {
        // A batch is full with the record that no longer fits, and one that is larger is alone in it.
        let taken = state.fates[content].iter().flat_map(|fate| &fate.taken);
        let longest = taken.map(|taken| taken.bytes).max().unwrap_or_default();
        let batch = world.bounds.limits.batch_bytes_max.max(longest);
        let most = world.bounds.requests_in_flight_max * batch;
        doubles.bound_used = doubles.bound_used.max(bytes as f64 / most as f64);
        if bytes > most {
            let (key, held) = (&state.contents[content].id.key, &state.claims[claim]);
            found.push(format!(
                "{key}: {bytes} bytes were doubled by one claim of {} ({:?}), and {most} may be in flight",
                held.worker, held.end
            ));
        }
    }
    doubles
}
