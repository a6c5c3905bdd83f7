//! One page of a listing against its range of the ledger: a pure difference.

use std::sync::Arc;

use super::waiting::{Waiting, earliest};
use crate::clock::Timestamp;
use crate::ledger::{Row, State};
use crate::object::ContentId;
use crate::rules::{Rules, not_a_log};
use crate::store::Listed;

/// Which objects a pass cares for, by the time at which they were written.
#[derive(Clone, Debug)]
pub struct Eligible {
    /// Not those that these leave out.
    pub rules: Arc<Rules>,
    /// Not before this.
    pub from: Timestamp,
    /// Not after this: younger ones may still have a notification on its way.
    pub until: Timestamp,
}

impl Eligible {
    /// Whether the ledger is to be asked about an object: it is a log, not too old, and no rule leaves it out.
    pub fn concerns(&self, bucket: &str, object: &Listed) -> bool {
        object.last_modified >= self.from
            && not_a_log(&object.key, Some(object.size)).is_none()
            && !self.rules.skips(bucket, &object.key)
    }
}

/// What the ledger does not take care of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Oldest first.
    pub missing: Vec<ContentId>,
    /// When the oldest object was written that is neither settled nor quarantined, young ones
    /// included.
    pub oldest_unsettled: Option<Timestamp>,
    /// The oldest of them that is not young: missing, or taken care of and not settled yet.
    pub oldest_waiting: Option<Waiting>,
}

/// `listed − (settled ∪ quarantined ∪ claimed with a live lease ∪ queued and not lapsed)`, without what
/// is no log and what is not eligible.
///
/// Both sides come in the byte order of their keys: a listing that was checked, and a range of the ledger.
/// A row out of order would count as absent; its object is sent once more then, and the claim finds it.
pub fn diff(
    bucket: &str,
    listed: &[Listed],
    rows: &[Row],
    eligible: &Eligible,
    now: Timestamp,
) -> Diff {
    let mut at = 0;
    let mut missing = Vec::new();
    let mut oldest_unsettled = None;
    let mut oldest_waiting: Option<Waiting> = None;
    for object in listed {
        if !eligible.concerns(bucket, object) {
            continue;
        }
        while rows.get(at).is_some_and(|row| row.content.key < object.key) {
            at += 1;
        }
        let state = rows[at..]
            .iter()
            .take_while(|row| row.content.key == object.key)
            .find(|row| row.content.etag == object.etag && row.content.size == object.size)
            .map(|row| row.state);
        if matches!(state, Some(State::Settled | State::Quarantined)) {
            continue;
        }
        let written = object.last_modified;
        oldest_unsettled =
            Some(oldest_unsettled.map_or(written, |oldest: Timestamp| oldest.min(written)));
        if written > eligible.until {
            continue;
        }
        let is_live = state.is_some_and(|state| state.is_live(now));
        let is_older = |oldest: &Waiting| oldest.written <= written;
        if is_live && oldest_waiting.as_ref().is_some_and(is_older) {
            continue;
        }
        let waiting = Waiting {
            written,
            content: ContentId {
                bucket: bucket.to_owned(),
                key: object.key.clone(),
                etag: object.etag.clone(),
                size: object.size,
            },
        };
        if !is_live {
            missing.push(waiting.clone());
        }
        oldest_waiting = earliest(oldest_waiting, Some(waiting));
    }
    missing.sort();
    Diff {
        missing: missing.into_iter().map(|missing| missing.content).collect(),
        oldest_unsettled,
        oldest_waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Etag;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn listed(key: &str, written_secs: u64) -> Listed {
        Listed {
            key: key.into(),
            etag: Etag::from("e"),
            size: 10,
            last_modified: Timestamp::from_secs(written_secs),
        }
    }

    fn row(key: &str, state: State) -> Row {
        Row {
            content: ContentId {
                bucket: "b".into(),
                key: key.into(),
                etag: Etag::from("e"),
                size: 10,
            },
            state,
        }
    }

    fn keys(diff: &Diff) -> Vec<&str> {
        diff.missing.iter().map(|content| &*content.key).collect()
    }

    fn eligible() -> Eligible {
        Eligible {
            rules: Arc::default(),
            from: Timestamp::from_secs(900_000),
            until: Timestamp::from_secs(999_700),
        }
    }

    #[test]
    fn what_no_row_takes_care_of_is_missing_oldest_first() {
        let lapsed = Timestamp::from_secs(999_999);
        let live = Timestamp::from_secs(1_000_001);
        let objects = [
            listed("a", 999_000),
            listed("b", 998_000),
            listed("c", 997_000),
            listed("d", 996_000),
            listed("e", 995_000),
            listed("f", 994_000),
            listed("g", 993_000),
        ];
        let rows = [
            row("b", State::Settled),
            row("c", State::Quarantined),
            row("d", State::Claimed { until: live }),
            row("e", State::Claimed { until: lapsed }),
            row("f", State::Queued { until: live }),
            row("g", State::Queued { until: lapsed }),
        ];
        let diff = diff("b", &objects, &rows, &eligible(), NOW);
        assert_eq!(keys(&diff), ["g", "e", "a"]);
        assert_eq!(diff.oldest_unsettled, Some(Timestamp::from_secs(993_000)));
        let oldest = diff.oldest_waiting.expect("some wait");
        assert_eq!(oldest.content.key, "g");
    }

    #[test]
    fn an_overwritten_object_is_missing_though_its_old_content_is_settled() {
        let mut other = row("a", State::Settled);
        other.content.etag = Etag::from("old");
        let diff = diff("b", &[listed("a", 999_000)], &[other], &eligible(), NOW);
        assert_eq!(keys(&diff), ["a"]);
    }

    #[test]
    fn young_objects_are_left_to_their_notifications_but_count_as_unsettled() {
        let diff = diff("b", &[listed("a", 999_900)], &[], &eligible(), NOW);
        assert_eq!(keys(&diff), [""; 0]);
        assert_eq!(diff.oldest_unsettled, Some(Timestamp::from_secs(999_900)));
        assert_eq!(diff.oldest_waiting, None);
    }

    #[test]
    fn old_objects_and_test_objects_are_not_ours() {
        let objects = [
            listed("a", 800_000),
            listed("ownership-challenge.txt", 999_000),
        ];
        assert_eq!(diff("b", &objects, &[], &eligible(), NOW), Diff::default());
    }
}
