//! What must hold of a round, object by object, whatever was killed when.

use std::collections::BTreeMap;

use bucket_brigade::local::listener::received::Counts;

use crate::endpoint::{SECRETS, Taken};
use crate::objects::Object;
use crate::tally::Tally;

/// A row of the ledger.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub state: String,
    pub read: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub quarantined: u64,
    /// All of it, to look for secrets in.
    pub text: String,
}

impl Row {
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "settled" | "quarantined")
    }
}

/// What was seen of a round.
pub struct Evidence<'a> {
    pub objects: &'a [Object],
    pub rows: &'a BTreeMap<u32, Row>,
    pub taken: &'a Taken,
    pub listener: &'a Counts,
    /// How often an object's holder was killed, lost its lease or could not give it back.
    pub interruptions: &'a BTreeMap<u32, u64>,
    pub requests_in_flight_max: u64,
    /// All that the processes wrote.
    pub output: &'a str,
}

impl Evidence<'_> {
    /// Adds the round to `tally`; what does not hold, in words.
    pub fn check(&self, tally: &mut Tally) -> Vec<String> {
        let mut faults = Vec::new();
        for object in self.objects {
            let before = faults.len();
            self.check_object(object, tally, &mut faults);
            if faults.len() > before {
                let story = self
                    .output
                    .lines()
                    .filter(|line| line.contains(&object.key));
                faults.extend(story.map(|line| format!("  {line}")));
            }
        }
        if self.taken.strangers > 0 {
            faults.push(format!(
                "{} lines of no object were sent",
                self.taken.strangers
            ));
        }
        let (second, corrupt) = (self.listener.second_members, self.listener.corrupt_bodies);
        if (second, corrupt) != (0, 0) {
            faults.push(format!(
                "{second} bodies of several members, {corrupt} corrupt ones"
            ));
        }
        if let Some(line) = self.output.lines().find(|line| holds_secret(line)) {
            let shown: String = line.chars().take(80).collect();
            faults.push(format!("the token is in what a process wrote: {shown}…"));
        }
        tally.answers_lost += self.taken.answers_lost();
        for (answer, times) in &self.taken.answers {
            *tally.answers.entry(answer).or_default() += times;
        }
        faults
    }

    fn check_object(&self, object: &Object, tally: &mut Tally, faults: &mut Vec<String>) {
        let key = &object.key;
        let none = Vec::new();
        let times = self.taken.times.get(&object.number).unwrap_or(&none);
        let of = |index: u32| u64::from(times.get(index as usize).copied().unwrap_or(0));
        let good = u64::from(object.records) - u64::from(object.malformed.is_some());
        let lost = object.good().filter(|index| of(*index) == 0).count() as u64;
        let taken: u64 = times.iter().map(|times| u64::from(*times)).sum();
        let duplicates = taken - (good - lost);

        let interruptions = self.interruptions.get(&object.number).copied().unwrap_or(0);
        let in_flight = self.requests_in_flight_max * object.batch_records_max;
        let unheard = self.taken.unheard.get(&object.number).copied().unwrap_or(0);
        let bound = interruptions * good.min(in_flight) + unheard;

        tally.objects += 1;
        tally.records += u64::from(object.records);
        tally.records_lost += lost;
        tally.duplicates += duplicates;
        tally.records_unheard += unheard;
        tally.bound += bound;
        tally.objects_interrupted += u64::from(interruptions > 0);

        if lost > 0 {
            faults.push(format!("{key}: {lost} of {good} records were never taken"));
        }
        if duplicates > bound {
            faults.push(format!(
                "{key}: {duplicates} records too many; {interruptions} interruptions and {unheard} records \
                 of lost answers explain {bound}"
            ));
        }
        let Some(row) = self.rows.get(&object.number) else {
            faults.push(format!("{key}: the ledger has no row"));
            return;
        };
        if row.state != "settled" {
            faults.push(format!(
                "{key}: is {}, not settled: {}",
                row.state, row.text
            ));
            return;
        }
        tally.records_quarantined += row.quarantined;
        let account = (row.read, row.delivered, row.filtered, row.quarantined);
        let expected = (
            u64::from(object.records),
            good - lost,
            0,
            u64::from(object.malformed.is_some()),
        );
        if account != expected {
            faults.push(format!(
                "{key}: read, delivered, filtered, quarantined are {account:?} in its row, {expected:?} by what \
                 the endpoint took"
            ));
        }
        if holds_secret(&row.text) {
            faults.push(format!("{key}: the token is in its row"));
        }
    }
}

fn holds_secret(text: &str) -> bool {
    SECRETS.iter().any(|secret| text.contains(secret))
}
