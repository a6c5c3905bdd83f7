//! How far an object has come: positions, the account, the checkpoint, and the window that
//! turns acknowledgements in any order into a checkpoint.
//!
//! Goes in: batches sent, and which of their records were answered for. Comes out: what is
//! durable to say about it. It never waits and never writes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::restore::{RestorePoint, SavedPoint};

/// A place between two records of an object.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Decoded (plain) bytes before this place.
    pub offset: u64,
    /// Records before this place.
    pub record: u64,
}

/// A set of record indexes or ordinals, as sorted ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many indexes it holds.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// How many separate ranges it holds.
    pub fn pieces(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, index: u64) -> bool {
        let after = self.0.partition_point(|range| range.end <= index);
        self.0
            .get(after)
            .is_some_and(|range| range.contains(&index))
    }

    /// Adds a range; what it overlaps or touches becomes one with it.
    pub fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Records come in order, one by one.
        if let Some(last) = self.0.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        let first = self.0.partition_point(|held| held.end < range.start);
        let last = self.0.partition_point(|held| held.start <= range.end);
        if let Some(held) = self.0[first..last].first() {
            range.start = range.start.min(held.start);
        }
        if let Some(held) = self.0[first..last].last() {
            range.end = range.end.max(held.end);
        }
        self.0.splice(first..last, [range]);
    }

    /// Adds all of `other`, in time that grows with the pieces of both and not with their product.
    pub fn extend(&mut self, other: &Ranges) {
        if let [range] = other.0.as_slice() {
            self.insert(range.clone());
            return;
        }
        let held = std::mem::take(&mut self.0);
        let (mut held, mut more) = (
            held.into_iter().peekable(),
            other.iter().cloned().peekable(),
        );
        while let Some(range) = match (held.peek(), more.peek()) {
            (Some(one), Some(other)) if other.start < one.start => more.next(),
            (None, _) => more.next(),
            (Some(_), _) => held.next(),
        } {
            match self.0.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.0.push(range),
            }
        }
    }

    /// The largest index below `index` that is held.
    pub fn last_before(&self, index: u64) -> Option<u64> {
        let before = self.0.partition_point(|range| range.start < index);
        let range = self.0.get(before.checked_sub(1)?)?;
        Some(range.end.min(index) - 1)
    }

    /// Forgets everything below `index`.
    pub fn drop_below(&mut self, index: u64) {
        self.0.retain_mut(|range| {
            range.start = range.start.max(index);
            range.start < range.end
        });
    }

    /// The first index at or after `from` that is not held.
    pub fn first_gap(&self, from: u64) -> u64 {
        let after = self.0.partition_point(|range| range.end <= from);
        match self.0.get(after) {
            Some(range) if range.contains(&from) => range.end,
            _ => from,
        }
    }

    /// The indexes held at the given ordinals: the ordinal counts held indexes from zero.
    /// Ordinals past the end are ignored.
    pub fn at_ordinals(&self, ordinals: &Ranges) -> Ranges {
        let mut found = Ranges::new();
        let mut before = 0;
        let mut ordinals = ordinals.0.as_slice();
        for range in &self.0 {
            let length = range.end - range.start;
            while let [wanted, rest @ ..] = ordinals {
                let start = wanted.start.max(before);
                let end = wanted.end.min(before + length);
                if start < end {
                    found.insert(range.start + (start - before)..range.start + (end - before));
                }
                if wanted.end > before + length {
                    break;
                }
                ordinals = rest;
            }
            before += length;
        }
        found
    }
}

impl From<Range<u64>> for Ranges {
    fn from(range: Range<u64>) -> Self {
        let mut ranges = Self::new();
        ranges.insert(range);
        ranges
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(indexes: I) -> Self {
        let mut ranges = Self::new();
        for index in indexes {
            ranges.insert(index..index + 1);
        }
        ranges
    }
}

/// What became of the records of an object.
///
/// An object whose sum does not hold is not settled: see [`Account::holds`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Records that were answered for.
    pub records_read: u64,
    /// Records that the endpoint accepted, cut ones included.
    pub records_delivered: u64,
    /// Records that a rule left out.
    pub records_filtered: u64,
    /// Records that can never be accepted as they are.
    pub records_quarantined: u64,
    /// Delivered records that lost something to a limit; their originals are kept.
    pub records_cut: u64,
    /// Plain bytes that the endpoint accepted.
    pub plain_bytes: u64,
    /// Bytes of request bodies on the wire, repeated requests included.
    pub body_bytes: u64,
    /// Requests to the endpoint, repeated ones included.
    pub requests: u64,
}

impl Account {
    /// `read = delivered + filtered + quarantined`.
    pub fn holds(&self) -> bool {
        self.records_read
            == self.records_delivered + self.records_filtered + self.records_quarantined
    }

    /// What this has more than `earlier`.
    #[must_use]
    pub fn less(&self, earlier: &Account) -> Account {
        Account {
            records_read: self.records_read - earlier.records_read,
            records_delivered: self.records_delivered - earlier.records_delivered,
            records_filtered: self.records_filtered - earlier.records_filtered,
            records_quarantined: self.records_quarantined - earlier.records_quarantined,
            records_cut: self.records_cut - earlier.records_cut,
            plain_bytes: self.plain_bytes - earlier.plain_bytes,
            body_bytes: self.body_bytes - earlier.body_bytes,
            requests: self.requests - earlier.requests,
        }
    }

    pub fn add(&mut self, other: &Account) {
        self.records_read += other.records_read;
        self.records_delivered += other.records_delivered;
        self.records_filtered += other.records_filtered;
        self.records_quarantined += other.records_quarantined;
        self.records_cut += other.records_cut;
        self.plain_bytes += other.plain_bytes;
        self.body_bytes += other.body_bytes;
        self.requests += other.requests;
    }
}

/// What the next claimant needs to go on: everything before `position` is answered for, and
/// so are the records in `accepted`, which all lie at or after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub position: Position,
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub accepted: Ranges,
    pub account: Account,
    /// As what the object is read, as [`crate::plan::Plan::resume`] takes it: records are counted in one way as
    /// long as any of them is answered for, whatever rules say meanwhile. Without it as lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_as: Option<Arc<str>>,
    /// A place not after `position` from which the object can be decoded; without it, that is its start. It is
    /// large, so it may be an older one than could be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<SavedPoint>,
}

impl Checkpoint {
    /// Whether this says at least as much as `earlier`; a ledger takes no checkpoint that says less. Where
    /// decoding can be taken up does not count.
    pub fn covers(&self, earlier: &Checkpoint) -> bool {
        self.position >= earlier.position
            && self.account.records_read >= earlier.account.records_read
    }
}

/// Turns answers in any order into a checkpoint.
///
/// Batches are entered in order when they are launched; records are answered for in any order.
#[derive(Clone, Debug)]
pub struct Window {
    checkpoint: Checkpoint,
    /// Where the launched batches end that the position has not passed.
    ends: VecDeque<End>,
    /// The last restore point that the position has passed, if it is newer than the checkpoint's.
    passed: Option<RestorePoint>,
    /// Plain bytes before the checkpoint's restore point.
    restore_offset: u64,
}

#[derive(Clone, Debug)]
struct End {
    position: Position,
    /// Not after `position`.
    restore: Option<RestorePoint>,
}

/// Restore points with a window that a [`Window`] holds of batches that the position has not passed.
const WINDOWS_MAX: usize = 4;

impl Window {
    /// Goes on from `checkpoint`.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            ends: VecDeque::new(),
            passed: None,
            restore_offset: 0,
        }
    }

    /// Goes on from `checkpoint`, whose restore point was opened and is `point`; if that is none, so the
    /// checkpoint has none either.
    pub fn restored(mut checkpoint: Checkpoint, point: Option<&RestorePoint>) -> Self {
        if point.is_none() {
            checkpoint.restore = None;
        }
        Self {
            restore_offset: point.map_or(0, |point| point.plain_offset),
            ..Self::new(checkpoint)
        }
    }

    /// Says as what the object is read.
    pub fn read_as(&mut self, read_as: Arc<str>) {
        self.checkpoint.read_as = Some(read_as);
    }

    /// Enters the next batch, which ends at `end`.
    pub fn launch(&mut self, end: Position) {
        self.ends.push_back(End {
            position: end,
            restore: None,
        });
    }

    /// Notes a place not after the end of the batch that was entered last, from which the object can be
    /// decoded. Of those with a window it holds five: of batches that the position has not passed the last
    /// one and three others, about as far from one another.
    pub fn offer(&mut self, point: RestorePoint) {
        let has_window = point.window_bytes() > 0;
        if let Some(last) = self.ends.back_mut() {
            last.restore = Some(point);
        }
        if has_window {
            self.thin();
        }
    }

    fn thin(&mut self) {
        let windows: Vec<(usize, u64)> = (0..)
            .zip(&self.ends)
            .filter_map(|(at, end)| Some((at, end.restore.as_ref()?)))
            .filter(|(_, point)| point.window_bytes() > 0)
            .map(|(at, point)| (at, point.plain_offset))
            .collect();
        if windows.len() <= WINDOWS_MAX {
            return;
        }
        // The one whose neighbours are closest to each other.
        let dense = windows
            .windows(3)
            .min_by_key(|three| three[2].1 - three[0].1);
        if let Some([_, (at, _), _]) = dense {
            self.ends[*at].restore = None;
        }
    }

    /// Forgets the restore points that the position has not passed: nothing more is read, so little would
    /// have to be read again.
    pub fn drop_offers(&mut self) {
        for end in &mut self.ends {
            end.restore = None;
        }
    }

    /// Puts the last restore point that the position has passed into the checkpoint: one with a window only
    /// if it lies `apart_bytes` or more after the one that stands there.
    pub fn take_restore_point(&mut self, apart_bytes: u64) {
        let due = self.restore_offset + apart_bytes;
        let is_due =
            |point: &mut RestorePoint| point.window_bytes() == 0 || point.plain_offset >= due;
        if let Some(point) = self.passed.take_if(is_due) {
            self.restore_offset = point.plain_offset;
            self.checkpoint.restore = Some(SavedPoint::from(&point));
        }
    }

    /// Notes that `records` are answered for, as `account` says.
    pub fn answer(&mut self, records: &Ranges, account: &Account) {
        self.checkpoint.accepted.extend(records);
        self.checkpoint.account.add(account);
        while let Some(end) = self.ends.front() {
            let position = &mut self.checkpoint.position;
            if self.checkpoint.accepted.first_gap(position.record) < end.position.record {
                break;
            }
            *position = end.position;
            let passed = self.ends.pop_front().and_then(|end| end.restore);
            self.passed = passed.or_else(|| self.passed.take());
        }
        let passed = self.checkpoint.position.record;
        self.checkpoint.accepted.drop_below(passed);
    }

    /// Takes the restore point out of the checkpoint: it holds a part of an object that nobody goes on with.
    pub fn forget_restore_point(&mut self) {
        self.passed = None;
        self.checkpoint.restore = None;
    }

    /// What is durable to say now.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::restore::{Inside, Member};

    fn set(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flat_map(Clone::clone).collect()
    }

    fn any_ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        let range = (0_u64..60, 0_u64..8).prop_map(|(start, length)| start..start + length);
        proptest::collection::vec(range, 0..12)
    }

    fn inserted(ranges: &[Range<u64>]) -> Ranges {
        let mut all = Ranges::new();
        for range in ranges {
            all.insert(range.clone());
        }
        all
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_of_sorted_pieces_that_do_not_touch(ranges in any_ranges()) {
            let all = inserted(&ranges);
            let expected: BTreeSet<u64> = ranges.iter().flat_map(Clone::clone).collect();
            prop_assert_eq!(set(&all), expected.clone());
            prop_assert_eq!(all.count(), expected.len() as u64);
            let pieces: Vec<_> = all.iter().collect();
            prop_assert!(pieces.windows(2).all(|pair| pair[0].end < pair[1].start));
            for index in 0..70 {
                prop_assert_eq!(all.contains(index), expected.contains(&index));
                prop_assert_eq!(all.last_before(index), expected.range(..index).next_back().copied());
                let gap = (index..).find(|index| !expected.contains(index));
                prop_assert_eq!(Some(all.first_gap(index)), gap);
                let mut rest = all.clone();
                rest.drop_below(index);
                prop_assert_eq!(set(&rest), expected.range(index..).copied().collect());
            }
        }

        #[test]
        fn what_is_added_to_ranges_is_in_them_beside_what_was(one in any_ranges(), other in any_ranges()) {
            let (mut all, other) = (inserted(&one), inserted(&other));
            let expected: BTreeSet<u64> = set(&all).union(&set(&other)).copied().collect();
            all.extend(&other);
            prop_assert_eq!(set(&all), expected);
            let pieces: Vec<_> = all.iter().collect();
            prop_assert!(pieces.windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        #[test]
        fn ordinals_count_what_is_held(ranges in any_ranges(), ordinals in any_ranges()) {
            let (all, ordinals) = (inserted(&ranges), inserted(&ordinals));
            let held: Vec<u64> = set(&all).into_iter().collect();
            let expected: BTreeSet<u64> =
                set(&ordinals).iter().filter_map(|at| held.get(*at as usize)).copied().collect();
            prop_assert_eq!(set(&all.at_ordinals(&ordinals)), expected);
        }

        /// Whatever the order of the answers, the position never passes what is not answered for.
        #[test]
        fn a_checkpoint_never_passes_a_gap_and_forgets_nothing(
            sizes in proptest::collection::vec(1_u64..5, 1..10),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 40),
        ) {
            let mut window = Window::new(Checkpoint::default());
            let mut ends = vec![Position::default()];
            for size in sizes {
                let last = ends[ends.len() - 1];
                let end = Position { offset: last.offset + 10 * size, record: last.record + size };
                window.launch(end);
                ends.push(end);
            }
            let total = ends[ends.len() - 1].record;
            let mut waiting: Vec<u64> = (0..total).collect();
            let mut answered = BTreeSet::new();
            for index in order {
                if waiting.is_empty() {
                    break;
                }
                let record = waiting.swap_remove(index.index(waiting.len()));
                answered.insert(record);
                let account = Account { records_read: 1, ..Account::default() };
                window.answer(&Ranges::from(record..record + 1), &account);
                let checkpoint = window.checkpoint();
                let position = checkpoint.position;
                prop_assert!(ends.contains(&position));
                let first_gap = (0..).find(|record| !answered.contains(record)).unwrap_or(total);
                prop_assert!(position.record <= first_gap);
                let next_end = ends.iter().find(|end| end.record > position.record);
                prop_assert!(next_end.is_none_or(|end| end.record > first_gap));
                let beyond: BTreeSet<u64> = answered.range(position.record..).copied().collect();
                prop_assert_eq!(set(&checkpoint.accepted), beyond);
                prop_assert_eq!(checkpoint.account.records_read, answered.len() as u64);
            }
        }
    }

    /// A restore point that takes a window.
    fn windowed(plain_offset: u64) -> RestorePoint {
        RestorePoint {
            input_offset: plain_offset / 10,
            plain_offset,
            inside: Inside::Member(Member {
                bits: 3,
                plain_bytes: 4,
                crc: 1,
                window: b"text".to_vec(),
            }),
        }
    }

    fn end_of_batch(number: u64) -> Position {
        Position {
            offset: 1_000 * number,
            record: 10 * number,
        }
    }

    /// Enters a batch with a restore point a little before its end.
    fn launch(window: &mut Window, number: u64, point: impl Fn(u64) -> RestorePoint) {
        let end = end_of_batch(number);
        window.launch(end);
        window.offer(point(end.offset - 1));
    }

    fn answer(window: &mut Window, number: u64) {
        let records = end_of_batch(number - 1).record..end_of_batch(number).record;
        window.answer(&Ranges::from(records), &Account::default());
    }

    fn restore_of(checkpoint: &Checkpoint) -> Option<RestorePoint> {
        let saved = checkpoint.restore.as_ref()?;
        saved.open(u64::MAX, checkpoint.position.offset)
    }

    proptest! {
        #[test]
        fn few_windows_are_held_and_the_last_one_before_the_position_is_never_far(
            batches in 1_u64..60,
            lag in 1_u64..60,
        ) {
            let mut window = Window::new(Checkpoint::default());
            for number in 1..=batches + lag {
                if number <= batches {
                    launch(&mut window, number, windowed);
                }
                if number > lag && number - lag <= batches {
                    answer(&mut window, number - lag);
                }
                let held = window.ends.iter().filter(|end| end.restore.is_some()).count();
                prop_assert!(held <= WINDOWS_MAX);
                window.take_restore_point(1);
                let checkpoint = window.checkpoint();
                let place = restore_of(checkpoint).map_or(0, |point| point.plain_offset);
                prop_assert!(place <= checkpoint.position.offset);
                // Windows are spread over the batches under way, so no two are further apart than that.
                let behind = checkpoint.position.offset - place;
                prop_assert!(behind <= 1_000 * lag.max(1) + 1, "{} behind", behind);
            }
            let expected = windowed(1_000 * batches - 1);
            prop_assert_eq!(restore_of(window.checkpoint()), Some(expected));
        }
    }

    #[test]
    fn a_window_is_written_once_an_interval_and_what_needs_none_always() {
        let mut window = Window::new(Checkpoint::default());
        for number in 1..=5 {
            launch(&mut window, number, windowed);
            answer(&mut window, number);
            window.take_restore_point(4_000);
            let expected = (number == 5).then(|| windowed(4_999));
            assert_eq!(restore_of(window.checkpoint()), expected, "{number}");
        }
        launch(&mut window, 6, RestorePoint::plain);
        answer(&mut window, 6);
        window.take_restore_point(4_000);
        let expected = Some(RestorePoint::plain(5_999));
        assert_eq!(restore_of(window.checkpoint()), expected);
        launch(&mut window, 7, windowed);
        answer(&mut window, 7);
        window.take_restore_point(4_000);
        assert_eq!(restore_of(window.checkpoint()), expected);
        window.take_restore_point(1);
        let expected = Some(windowed(6_999));
        assert_eq!(restore_of(window.checkpoint()), expected);

        // The next claimant keeps it, and counts from there.
        let checkpoint = window.checkpoint().clone();
        let point = restore_of(&checkpoint);
        let mut window = Window::restored(checkpoint.clone(), point.as_ref());
        launch(&mut window, 8, windowed);
        answer(&mut window, 8);
        window.take_restore_point(4_000);
        assert_eq!(restore_of(window.checkpoint()), expected);
        let unreadable = Window::restored(checkpoint, None);
        assert_eq!(unreadable.checkpoint().restore, None);
    }

    #[test]
    fn a_checkpoint_of_an_earlier_version_is_read() {
        let text = r#"{"position":{"offset":7,"record":1},"account":{"records_read":1}}"#;
        let checkpoint: Checkpoint = serde_json::from_str(text).unwrap();
        assert_eq!((checkpoint.position.offset, checkpoint.restore), (7, None));
    }

    #[test]
    fn an_account_holds_only_if_every_record_is_answered_for_once() {
        let account = Account {
            records_read: 10,
            records_delivered: 7,
            records_filtered: 2,
            records_quarantined: 1,
            ..Account::default()
        };
        assert!(account.holds());
        let lost = Account {
            records_delivered: 6,
            ..account
        };
        assert!(!lost.holds());
    }
}
