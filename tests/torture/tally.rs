//! The table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Sums over all rounds.
#[derive(Debug, Default)]
pub struct Tally {
    pub ingest_killed: u64,
    pub reconcile_killed: u64,
    pub sync_killed: u64,
    /// Asked to stop by SIGTERM, which may send nothing twice.
    pub sync_stopped: u64,
    pub leases_lost: u64,
    /// Not given back because the ledger was away.
    pub leases_not_released: u64,
    /// Times that S3 or DynamoDB went away, and the requests that found it so.
    pub went_away: u64,
    pub requests_while_away: u64,
    pub found_by_reconcile: u64,
    pub answers: BTreeMap<&'static str, u64>,
    pub answers_lost: u64,
    pub records_unheard: u64,
    pub objects: u64,
    pub objects_interrupted: u64,
    pub records: u64,
    pub records_lost: u64,
    pub records_quarantined: u64,
    pub duplicates: u64,
    pub bound: u64,
}

impl Tally {
    pub fn killed(&self) -> u64 {
        self.ingest_killed + self.reconcile_killed + self.sync_killed
    }

    pub fn add(&mut self, other: Self) {
        let Self {
            ingest_killed,
            reconcile_killed,
            sync_killed,
            sync_stopped,
            leases_lost,
            leases_not_released,
            went_away,
            requests_while_away,
            found_by_reconcile,
            answers,
            answers_lost,
            records_unheard,
            objects,
            objects_interrupted,
            records,
            records_lost,
            records_quarantined,
            duplicates,
            bound,
        } = other;
        self.ingest_killed += ingest_killed;
        self.reconcile_killed += reconcile_killed;
        self.sync_killed += sync_killed;
        self.sync_stopped += sync_stopped;
        self.leases_lost += leases_lost;
        self.leases_not_released += leases_not_released;
        self.went_away += went_away;
        self.requests_while_away += requests_while_away;
        self.found_by_reconcile += found_by_reconcile;
        for (answer, times) in answers {
            *self.answers.entry(answer).or_default() += times;
        }
        self.answers_lost += answers_lost;
        self.records_unheard += records_unheard;
        self.objects += objects;
        self.objects_interrupted += objects_interrupted;
        self.records += records;
        self.records_lost += records_lost;
        self.records_quarantined += records_quarantined;
        self.duplicates += duplicates;
        self.bound += bound;
    }

    pub fn table(&self) -> String {
        let answers = |name| self.answers.get(name).copied().unwrap_or(0);
        let mut table = String::new();
        for (what, number) in [
            ("processes killed", self.killed()),
            ("  ingest", self.ingest_killed),
            ("  reconcile", self.reconcile_killed),
            ("  brigade sync", self.sync_killed),
            ("brigade sync stopped by SIGTERM", self.sync_stopped),
            ("leases lost", self.leases_lost),
            ("leases not given back", self.leases_not_released),
            ("times S3 or DynamoDB went away", self.went_away),
            ("  requests that found it so", self.requests_while_away),
            ("requests refused with 503", answers("503")),
            ("requests refused with 429", answers("429")),
            ("requests broken off", answers("reset")),
            ("answers heard", answers("heard")),
            ("answers lost", self.answers_lost),
            ("  connection dropped", answers("lost")),
            ("  later than anyone waits", answers("late")),
            ("answers to processes killed by then", answers("killed")),
            ("objects, each settled once", self.objects),
            ("  found by reconcile, times", self.found_by_reconcile),
            ("  whose holder was killed", self.objects_interrupted),
            ("records", self.records),
            ("  quarantined", self.records_quarantined),
            ("  lost", self.records_lost),
            ("duplicates", self.duplicates),
            ("  their bound", self.bound),
            ("  of it by lost answers", self.records_unheard),
        ] {
            let _ = writeln!(table, "{what:<35} {number:>9}");
        }
        table
    }
}
