//! The simulation: the real pipeline, reconcile, event, invocation and ledger protocol over ports that
//! misbehave on purpose, in virtual time, from a seed.
//!
//! `make simulate SEEDS=2000` runs many seeds; `make simulate SEED=123` tells the story of one.

mod check;
mod drill;
mod endpoint;
mod faults;
mod functions;
mod ledger;
mod object;
mod producer;
mod quarantine;
mod queue;
mod random;
mod rules;
mod run;
mod store;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faults::Fault;
use run::{Outcome, run};
use world::Cause;

/// A number that the run is given, as `make simulate` does.
#[expect(
    clippy::disallowed_methods,
    reason = "which seeds are run is a matter of the run"
)]
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// What all seeds came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    counts: Vec<u64>,
    doubles: BTreeMap<Cause, u64>,
    bound_used: f64,
    objects: u64,
    records: u64,
    records_sent: u64,
    requests: u64,
    elapsed: Duration,
    failed: BTreeMap<u64, Outcome>,
}

impl Total {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.counts.resize(Fault::ALL.len(), 0);
        for (total, count) in self.counts.iter_mut().zip(&outcome.counts) {
            *total += count;
        }
        for (cause, count) in &outcome.doubles.by_cause {
            *self.doubles.entry(*cause).or_default() += count;
        }
        self.bound_used = self.bound_used.max(outcome.doubles.bound_used);
        self.objects += outcome.objects;
        self.records += outcome.records;
        self.records_sent += outcome.records_sent;
        self.requests += outcome.requests;
        self.elapsed += outcome.elapsed;
        if !outcome.violations.is_empty() {
            self.failed.insert(outcome.seed, outcome);
        }
    }

    fn print(&self) {
        println!("\n{:<42} times", "what went wrong");
        for fault in Fault::ALL {
            println!("{:<42} {}", fault.name(), self.counts[*fault as usize]);
        }
        println!(
            "\n{} seeds, {} days of virtual time",
            self.seeds,
            self.elapsed.as_secs() / 86_400
        );
        println!("{} objects with {} records", self.objects, self.records);
        println!(
            "{} records sent in {} requests",
            self.records_sent, self.requests
        );
        println!("\nrecords taken twice, by cause");
        for cause in Cause::ALL {
            let count = self.doubles.get(&cause).copied().unwrap_or_default();
            println!("{:<42} {count}", cause.name());
        }
        println!(
            "the most that one crash or lost lease doubled: {:.0} % of the batches in flight",
            self.bound_used * 100.0
        );
    }
}

/// Runs seeds on two threads, each of which runs one world at a time.
fn run_all(from: u64, count: u64, failures_max: usize) -> Total {
    let next = AtomicU64::new(from);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_enough = total.lock().expect("whole").failed.len() >= failures_max;
                    if seed >= from + count || is_enough {
                        return;
                    }
                    let outcome = run(seed);
                    total.lock().expect("whole").add(outcome);
                }
            });
        }
    });
    total.into_inner().expect("whole")
}

fn assert_good(outcome: &Outcome) {
    if let Some(first) = outcome.violations.first() {
        panic!(
            "seed {}: {first}; its story: make simulate SEED={}",
            outcome.seed, outcome.seed
        );
    }
}

/// `BRIGADE_TEST_SEEDS` many from `BRIGADE_TEST_SEED_FIRST` on; few of them in an ordinary run.
#[test]
fn whatever_goes_wrong_nothing_is_lost_and_hardly_anything_sent_twice() {
    if let Some(seed) = given("BRIGADE_TEST_SEED") {
        let outcome = run(seed);
        println!("{}", outcome.story);
        for violation in &outcome.violations {
            println!("seed {seed}: {violation}");
        }
        assert!(outcome.violations.is_empty(), "seed {seed}");
        return;
    }
    let asked_for = given("BRIGADE_TEST_SEEDS");
    let from = given("BRIGADE_TEST_SEED_FIRST").unwrap_or(1);
    let failures_max = given("BRIGADE_TEST_FAILURES_MAX").unwrap_or(3);
    let total = run_all(from, asked_for.unwrap_or(50), failures_max as usize);
    total.print();
    for (seed, outcome) in &total.failed {
        println!("\nseed {seed} failed; its story: make simulate SEED={seed}");
        for violation in outcome.violations.iter().take(5) {
            println!("  {violation}");
        }
    }
    assert!(total.failed.is_empty(), "seeds failed");
    if asked_for.is_some_and(|count| count >= 500) {
        let never: Vec<_> = Fault::ALL
            .iter()
            .filter(|fault| total.counts[**fault as usize] == 0)
            .map(|fault| fault.name())
            .collect();
        assert!(never.is_empty(), "never happened: {never:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [1, 2, 3, 5, 8] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.story, second.story, "seed {seed}");
        assert_good(&first);
    }
}
