//! What passes over one prefix remember of objects that wait: found, older than the grace period, and not
//! settled. Pure; the shell keeps it as a mark in the ledger.
//!
//! A pass sees only a part of what waits: the part of a long listing that it has pages for, and what was
//! written within its window. Without a memory the published age would fall as soon as a pass looked elsewhere,
//! and an object older than the widest window would be found by none.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::object::ContentId;

/// An object that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Waiting {
    pub written: Timestamp,
    pub content: ContentId,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The oldest object that a pass saw waiting. Asked after by every pass, until it is settled or gone.
    pub oldest: Option<Waiting>,
    /// When the oldest was written that waited when a pass that looked back as far came to its end: a sweep
    /// looks back over its window from there.
    pub since: Option<Timestamp>,
}

impl Memory {
    /// After a pass that looked back to `from`: `oldest` is what it found, in all its parts, and `found` what
    /// it found this time.
    pub fn after(
        &self,
        from: Timestamp,
        is_complete: bool,
        oldest: Option<Timestamp>,
        found: Option<Waiting>,
    ) -> Self {
        let looked_as_far = self.since.is_none_or(|since| from <= since);
        Self {
            oldest: earliest(self.oldest.clone(), found),
            since: match is_complete && looked_as_far {
                true => oldest,
                false => earliest(self.since, oldest),
            },
        }
    }

    /// Without what was written before `floor`, which is nobody's business any more.
    pub fn since_at_least(self, floor: Timestamp) -> Self {
        Self {
            oldest: self.oldest.filter(|oldest| oldest.written >= floor),
            since: self.since.map(|since| since.max(floor)),
        }
    }
}

/// The lesser of what there is.
pub fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Etag;

    fn waiting(secs: u64) -> Waiting {
        Waiting {
            written: Timestamp::from_secs(secs),
            content: ContentId {
                bucket: "b".into(),
                key: format!("k{secs}"),
                etag: Etag::from("e"),
                size: 1,
            },
        }
    }

    fn after(memory: &Memory, from: u64, is_complete: bool, found: Option<u64>) -> Memory {
        let found = found.map(waiting);
        let oldest = found.as_ref().map(|found| found.written);
        memory.after(Timestamp::from_secs(from), is_complete, oldest, found)
    }

    #[test]
    fn only_a_pass_that_looked_as_far_and_came_to_its_end_forgets() {
        let memory = after(&Memory::default(), 100, true, Some(150));
        assert_eq!(memory.since, Some(Timestamp::from_secs(150)));
        let less_far = after(&memory, 200, true, None);
        assert_eq!(less_far, memory);
        let unfinished = after(&memory, 100, false, None);
        assert_eq!(unfinished, memory);
        let as_far = after(&memory, 150, true, Some(180));
        assert_eq!(as_far.since, Some(Timestamp::from_secs(180)));
        assert_eq!(as_far.oldest, Some(waiting(150)), "until it is asked after");
    }

    #[test]
    fn what_is_older_than_anyone_may_know_is_forgotten() {
        let floor = Timestamp::from_secs(160);
        let memory = after(&Memory::default(), 100, true, Some(150)).since_at_least(floor);
        assert_eq!((memory.oldest, memory.since), (None, Some(floor)));
    }
}
