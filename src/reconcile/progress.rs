//! How far a pass over one watched prefix has come: what is left to list, and what is remembered of it.
//!
//! Goes in: listings that began, ended or stopped. Comes out: the listings that are left, oldest first,
//! and the mark from which another pass goes on. It never leaves out a key that was not compared.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::WatchedPrefix;

/// A place in the listing of one prefix, dates filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub prefix: String,
    /// The last key of which it is certain that it and every key before it was compared.
    pub after: Option<String>,
}

impl Place {
    fn start(prefix: String) -> Self {
        Self {
            prefix,
            after: None,
        }
    }
}

/// A pass, and where it stopped if it did: kept in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub started: Timestamp,
    pub from: Timestamp,
    /// Listings that had begun and not ended: no more of them than there were at a time.
    under_way: Vec<Place>,
    /// The first prefix, in the order of time, of which no listing had begun, if there was one. Every
    /// prefix before it that is not under way was compared to its end.
    next: Option<String>,
    /// When the oldest object was written that it has found waiting so far.
    pub oldest_waiting: Option<Timestamp>,
}

impl Progress {
    /// A pass from the start.
    pub fn new(watched: &WatchedPrefix, started: Timestamp, from: Timestamp) -> Self {
        let prefixes = watched.prefixes_between(from, started);
        Self {
            started,
            from,
            under_way: Vec::new(),
            next: prefixes.into_iter().next(),
            oldest_waiting: None,
        }
    }

    /// What is left of it to list.
    pub fn agenda(&self, watched: &WatchedPrefix) -> Agenda {
        let mut fresh: VecDeque<String> = match self.next {
            Some(_) => watched.prefixes_between(self.from, self.started).into(),
            None => VecDeque::new(),
        };
        // A prefix that is not there any more is a change of how dates are written: all of them, then.
        let begun = fresh
            .iter()
            .position(|prefix| Some(prefix) == self.next.as_ref());
        fresh.drain(..begun.unwrap_or(0));
        Agenda {
            begun: self.under_way.clone().into(),
            fresh,
        }
    }

    /// The same pass, of which these listings stopped and the rest of the agenda did not begin.
    pub fn stopped(&self, mut stopped: Vec<Place>, rest: Agenda) -> Self {
        stopped.extend(rest.begun);
        // In the order of time, as far as names tell: older ones go on first.
        stopped.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        Self {
            started: self.started,
            from: self.from,
            under_way: stopped,
            next: rest.fresh.into_iter().next(),
            oldest_waiting: self.oldest_waiting,
        }
    }
}

/// Listings that wait for their turn, those that another pass began first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agenda {
    begun: VecDeque<Place>,
    fresh: VecDeque<String>,
}

impl Iterator for Agenda {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let fresh = || self.fresh.pop_front().map(Place::start);
        self.begun.pop_front().or_else(fresh)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;
    /// 2027-01-15T08:00:00Z.
    const FROM: u64 = 1_800_000_000;

    fn watched() -> WatchedPrefix {
        WatchedPrefix::parse("s3://b/%Y%m%d%H/").expect("a prefix")
    }

    fn pass(hours: u64) -> Progress {
        let to = Timestamp::from_secs(FROM + (hours - 1) * HOUR);
        Progress::new(&watched(), to, Timestamp::from_secs(FROM))
    }

    #[test]
    fn a_new_pass_lists_every_prefix_from_its_start_oldest_first() {
        let prefixes: Vec<_> = pass(3).agenda(&watched()).collect();
        let expected = ["2027011508/", "2027011509/", "2027011510/"];
        assert_eq!(prefixes, expected.map(|prefix| Place::start(prefix.into())));
    }

    #[test]
    fn a_window_that_ends_before_it_begins_has_nothing_to_list() {
        let (from, to) = (Timestamp::from_secs(FROM), Timestamp::from_secs(FROM - 1));
        let progress = Progress::new(&watched(), to, from);
        assert_eq!(progress.agenda(&watched()).next(), None);
    }

    #[test]
    fn the_mark_stays_small_however_many_prefixes_there_are() {
        let progress = pass(20_000);
        let mut agenda = progress.agenda(&watched());
        let begun: Vec<_> = agenda.by_ref().take(10_000).collect();
        let stopped = progress.stopped(begun[..4].to_vec(), agenda);
        let mark = serde_json::to_string(&stopped).expect("JSON");
        assert!(mark.len() < 300, "{mark}");
    }

    proptest! {
        /// However often it stops, and whatever ended by then, each prefix is compared to its end once, and
        /// none is begun again that ended.
        #[test]
        fn stopping_anywhere_leaves_out_nothing(
            hours in 1u64..30,
            at_a_time in 1usize..5,
            ends in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut progress = pass(hours);
            let all: Vec<_> = progress.agenda(&watched()).map(|place| place.prefix).collect();
            let mut ended = Vec::new();
            let mut ends = ends.into_iter();
            loop {
                let mut agenda = progress.agenda(&watched());
                let begun: Vec<_> = agenda.by_ref().take(at_a_time).collect();
                if begun.is_empty() {
                    break;
                }
                let mut stopped = Vec::new();
                for place in begun {
                    match ends.next().unwrap_or(true) {
                        true => ended.push(place.prefix),
                        false => stopped.push(Place { after: Some("k".into()), ..place }),
                    }
                }
                let mark = serde_json::to_string(&progress.stopped(stopped, agenda)).expect("JSON");
                progress = serde_json::from_str(&mark).expect("JSON");
            }
            ended.sort();
            prop_assert_eq!(ended, all);
        }
    }
}
