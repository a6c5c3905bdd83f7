//! Which small bodies share a request, and what became of each of them.
//!
//! Goes in: bodies, one for each object at most, and how many objects may still bring one. Comes out:
//! groups of them, each for one request; and from the account of a shared body one for each member.
//! It never waits, and time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::body::Body;
use crate::checkpoint::Ranges;
use crate::delivery::{Delivered, Unidentified};
use crate::route::Route;

/// How long bodies wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// After the last one came.
    pub idle: Duration,
    /// After the first one came.
    pub whole: Duration,
}

/// Bodies that wait to share a request, those of each route in the order in which they came. `T` stands for
/// one of them.
#[derive(Debug)]
pub struct Pool<T> {
    bytes_max: u64,
    linger: Linger,
    /// How many may still bring a body.
    expected: usize,
    /// One for each route at most, and few.
    open: Vec<Open<T>>,
    ready: VecDeque<Vec<T>>,
}

/// A group that is being filled. It holds one member at least.
#[derive(Debug)]
struct Open<T> {
    route: Route,
    members: Vec<T>,
    bytes: u64,
    first_came: Instant,
    last_came: Instant,
}

impl<T> Pool<T> {
    /// Groups of at most `bytes_max` plain bytes.
    pub fn new(bytes_max: u64, linger: Linger) -> Self {
        Self {
            bytes_max,
            linger,
            expected: 0,
            open: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Whether a body of so many plain bytes leaves room for another one like it, so that waiting for
    /// others may save a request.
    pub fn takes(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max / 2
    }

    /// One more may bring a body.
    pub fn expect(&mut self) {
        self.expected += 1;
    }

    /// One that was expected brings nothing more. With the last of them every open group is ready.
    pub fn leave(&mut self) {
        debug_assert!(self.expected > 0, "only who was expected leaves");
        self.expected = self.expected.saturating_sub(1);
        if self.expected == 0 {
            self.flush();
        }
    }

    /// One that was expected brings its body, which has so many plain bytes, and leaves.
    pub fn push(&mut self, member: T, route: &Route, bytes: u64, now: Instant) {
        let at = match self.open.iter().position(|open| open.route == *route) {
            Some(at) if self.open[at].bytes.saturating_add(bytes) <= self.bytes_max => at,
            other => {
                let full = other.map(|at| self.open.remove(at).members);
                self.ready.extend(full);
                self.open.push(Open {
                    route: route.clone(),
                    members: Vec::new(),
                    bytes: 0,
                    first_came: now,
                    last_came: now,
                });
                self.open.len() - 1
            }
        };
        let open = &mut self.open[at];
        open.members.push(member);
        open.bytes = open.bytes.saturating_add(bytes);
        open.last_came = now;
        self.leave();
    }

    /// The open groups wait no longer.
    pub fn flush(&mut self) {
        let open = self.open.drain(..);
        self.ready.extend(open.map(|open| open.members));
    }

    /// Until when the first of the open groups waits at the longest.
    pub fn due(&self) -> Option<Instant> {
        self.open.iter().map(|open| open.due(self.linger)).min()
    }

    /// The open groups that have waited long enough wait no longer.
    pub fn flush_if_due(&mut self, now: Instant) {
        let linger = self.linger;
        let due = self.open.extract_if(.., |open| open.due(linger) <= now);
        self.ready.extend(due.map(|open| open.members));
    }

    /// The next group that waits no longer.
    pub fn pop(&mut self) -> Option<Vec<T>> {
        self.ready.pop_front()
    }
}

impl<T> Open<T> {
    fn due(&self, linger: Linger) -> Instant {
        (self.last_came + linger.idle).min(self.first_came + linger.whole)
    }
}

/// How much of a shared body is one member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub records: u64,
    pub plain_bytes: u64,
}

impl Extent {
    pub fn of(body: &Body) -> Self {
        Self {
            records: body.records,
            plain_bytes: body.plain_bytes,
        }
    }
}

/// What became of each member's records, given what became of the body that holds those of all
/// members, one member after the other. Ordinals count the member's own records.
///
/// Every record is answered for under its member as it is in the whole, and all sums are exact. What
/// cannot be told apart is shared out: the number of unidentified refusals in the order of the members,
/// as far as each has candidates; bytes of bodies by plain bytes; requests (and lost answers) all to the
/// first member. `plain` gives the shared body inflated; it is asked for only if a member's records were
/// accepted in part.
pub fn split(
    delivered: &Delivered,
    members: &[Extent],
    plain: impl FnOnce() -> Vec<u8>,
) -> Vec<Delivered> {
    let plain_bytes = members.iter().map(|member| member.plain_bytes).sum();
    let mut refused = delivered.refused.iter().peekable();
    let mut unidentified_left = delivered.unidentified.as_ref().map_or(0, |part| part.count);
    let (mut first, mut bytes_before) = (0, 0);
    let mut parts = Vec::with_capacity(members.len());
    for member in members {
        let end = first + member.records;
        let bytes_end = bytes_before + member.plain_bytes;
        let mut part = Delivered {
            accepted: within(&delivered.accepted, first, end),
            body_bytes: share(delivered.body_bytes, bytes_end, plain_bytes)
                - share(delivered.body_bytes, bytes_before, plain_bytes),
            ..Delivered::default()
        };
        while let Some((ordinal, reason)) = refused.next_if(|(ordinal, _)| *ordinal < end) {
            part.refused.push((ordinal - first, *reason));
        }
        part.unidentified = delivered.unidentified.as_ref().and_then(|whole| {
            let candidates = within(&whole.candidates, first, end);
            let count = candidates.count().min(unidentified_left);
            unidentified_left -= count;
            (!candidates.is_empty()).then_some(Unidentified { count, candidates })
        });
        if part.answered().count() < member.records {
            part.unfinished.clone_from(&delivered.unfinished);
        }
        if part.accepted.count() == member.records {
            part.plain_bytes = member.plain_bytes;
        }
        parts.push(part);
        (first, bytes_before) = (end, bytes_end);
    }
    if let Some(part) = parts.first_mut() {
        part.requests = delivered.requests;
        part.ambiguous = delivered.ambiguous;
    }
    let is_partial = |(part, member): (&Delivered, &Extent)| {
        !part.accepted.is_empty() && part.accepted.count() < member.records
    };
    if parts.iter().zip(members).any(is_partial) {
        count_plain_bytes(&mut parts, members, &plain());
    }
    parts
}

/// The indexes from `first` to before `end`, counted from `first`.
fn within(ranges: &Ranges, first: u64, end: u64) -> Ranges {
    let mut found = Ranges::new();
    for range in ranges.iter() {
        let (start, end) = (range.start.max(first), range.end.min(end));
        if start < end {
            found.insert(start - first..end - first);
        }
    }
    found
}

/// `part / whole` of a number, rounded down.
fn share(number: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(number) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(number)
}

/// Counts the plain bytes of the accepted records, newlines included.
fn count_plain_bytes(parts: &mut [Delivered], members: &[Extent], plain: &[u8]) {
    let mut records = Body::records_of(plain);
    for (part, member) in parts.iter_mut().zip(members) {
        part.plain_bytes = (0..member.records)
            .zip(&mut records)
            .filter(|(ordinal, _)| part.accepted.contains(*ordinal))
            .map(|(_, record)| record.len() as u64 + 1)
            .sum();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::body::BodyWriter;
    use crate::delivery::Unfinished;
    use crate::sink::RefusalReason;

    const LINGER: Linger = Linger {
        idle: Duration::from_millis(500),
        whole: Duration::from_secs(20),
    };

    fn ready<T>(pool: &mut Pool<T>) -> Vec<Vec<T>> {
        std::iter::from_fn(|| pool.pop()).collect()
    }

    #[test]
    fn one_alone_waits_for_nobody() {
        let mut pool = Pool::new(1_000, LINGER);
        pool.expect();
        pool.push("a", &Route::default(), 10, Instant::now());
        assert_eq!(ready(&mut pool), [["a"]]);
        assert_eq!(pool.due(), None);
    }

    #[test]
    fn a_hundred_of_a_hundredth_and_a_bit_share_two_requests() {
        let mut pool = Pool::new(8 << 20, LINGER);
        let now = Instant::now();
        (0..100).for_each(|_| pool.expect());
        for n in 0..100 {
            assert!(pool.takes(100_000));
            pool.push(n, &Route::default(), 100_000, now);
        }
        let sizes: Vec<usize> = ready(&mut pool).iter().map(Vec::len).collect();
        assert_eq!(sizes, [83, 17]);
    }

    #[test]
    fn a_group_waits_for_the_next_one_but_not_for_ever() {
        let mut pool = Pool::new(1 << 30, LINGER);
        (0..1_000).for_each(|_| pool.expect());
        let began = Instant::now();
        let mut now = began;
        while pool.due().is_none_or(|due| due > now) {
            pool.push((), &Route::default(), 1, now);
            now += LINGER.idle - Duration::from_millis(1);
            pool.flush_if_due(now);
            if !ready(&mut pool).is_empty() {
                break;
            }
        }
        let waited = now - began;
        assert!(
            waited >= LINGER.whole && waited < LINGER.whole + LINGER.idle,
            "it waited {waited:?}"
        );
        pool.push((), &Route::default(), 1, now);
        pool.flush_if_due(now + LINGER.idle - Duration::from_millis(1));
        assert!(pool.pop().is_none());
        pool.flush_if_due(now + LINGER.idle);
        assert_eq!(ready(&mut pool), [[()]]);
    }

    proptest! {
        /// Each step: how many bytes a member brings and on which route, or that it brings none.
        #[test]
        fn every_body_is_in_one_group_of_its_route_in_order_and_no_group_is_too_large(
            steps in prop::collection::vec(prop::option::of((0_u64..=500, 0_usize..3)), 1..80),
            flushes in prop::collection::btree_set(0_usize..80, 0..6),
        ) {
            let routes = [Route::default(), Route::typed("elb"), Route::typed("vpcflow")];
            let mut pool = Pool::new(1_000, LINGER);
            let now = Instant::now();
            steps.iter().for_each(|_| pool.expect());
            let mut groups: Vec<Vec<(usize, u64, usize)>> = Vec::new();
            for (n, step) in steps.iter().enumerate() {
                match step {
                    Some((bytes, route)) => pool.push((n, *bytes, *route), &routes[*route], *bytes, now),
                    None => pool.leave(),
                }
                if flushes.contains(&n) {
                    pool.flush();
                }
                let last = n + 1 == steps.len();
                let more = ready(&mut pool);
                prop_assert!(last || flushes.contains(&n) || more.len() <= 1);
                groups.extend(more);
            }
            prop_assert_eq!(pool.due(), None, "something is left behind");
            prop_assert!(groups.iter().all(|group| !group.is_empty()));
            let size = |group: &Vec<(usize, u64, usize)>| group.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
            prop_assert!(groups.iter().all(|group| size(group) <= 1_000));
            for route in 0..routes.len() {
                let of_route: Vec<_> = groups.iter().filter(|group| group[0].2 == route).collect();
                if flushes.is_empty() {
                    for pair in of_route.windows(2) {
                        prop_assert!(size(pair[0]) + pair[1][0].1 > 1_000, "a group left early");
                    }
                }
                let came: Vec<_> = of_route.into_iter().flatten().copied().collect();
                let expected: Vec<_> = steps
                    .iter()
                    .enumerate()
                    .filter_map(|(n, step)| step.map(|(bytes, route)| (n, bytes, route)))
                    .filter(|(_, _, its)| *its == route)
                    .collect();
                prop_assert_eq!(came, expected);
            }
        }

        #[test]
        fn the_parts_of_a_delivery_are_the_whole(
            members in prop::collection::vec(1_u64..9, 1..9),
            fates in prop::collection::vec(0_u8..4, 80),
            lost_share in 0_u64..=100,
            requests in 0_u64..50,
            body_bytes in 0_u64..100_000,
        ) {
            let mut writer = BodyWriter::new(1);
            let mut extents = Vec::new();
            let mut lengths = Vec::new();
            for records in &members {
                let before = writer.plain_bytes();
                for _ in 0..*records {
                    let length = lengths.len() % 7;
                    writer.push(&vec![b'x'; length]);
                    lengths.push(length as u64 + 1);
                }
                extents.push(Extent { records: *records, plain_bytes: writer.plain_bytes() - before });
            }
            let body = writer.finish();
            let of = |fate: u8| -> Ranges {
                (0..body.records).filter(|ordinal| fates[*ordinal as usize] == fate).collect()
            };
            let (accepted, candidates) = (of(0), of(2));
            let bytes_of = |ranges: &Ranges| -> u64 {
                ranges.iter().flat_map(Clone::clone).map(|ordinal| lengths[ordinal as usize]).sum()
            };
            let whole = Delivered {
                plain_bytes: bytes_of(&accepted),
                accepted,
                refused: of(1).iter().flat_map(Clone::clone)
                    .map(|ordinal| (ordinal, RefusalReason::Malformed)).collect(),
                unidentified: (!candidates.is_empty()).then(|| Unidentified {
                    count: candidates.count() * lost_share / 100,
                    candidates,
                }),
                unfinished: (!of(3).is_empty()).then(|| Unfinished::Fatal { reason: "401".into() }),
                requests,
                body_bytes,
                ambiguous: requests / 3,
            };

            let parts = split(&whole, &extents, || body.plain());
            prop_assert_eq!(parts.len(), members.len());
            let sum = |number: fn(&Delivered) -> u64| parts.iter().map(number).sum::<u64>();
            prop_assert_eq!(sum(|part| part.requests), whole.requests);
            prop_assert_eq!(sum(|part| part.body_bytes), whole.body_bytes);
            prop_assert_eq!(sum(|part| part.ambiguous), whole.ambiguous);
            prop_assert_eq!(sum(|part| part.plain_bytes), whole.plain_bytes);
            prop_assert_eq!(sum(Delivered::records_accepted), whole.records_accepted());
            prop_assert_eq!(sum(Delivered::records_refused), whole.records_refused());
            let mut first = 0;
            for (part, records) in parts.iter().zip(&members) {
                let refused: BTreeSet<u64> = part.refused.iter().map(|(ordinal, _)| *ordinal).collect();
                let none = Unidentified::default();
                let unidentified = part.unidentified.as_ref().unwrap_or(&none);
                for ordinal in 0..*records {
                    let fate = fates[(first + ordinal) as usize];
                    prop_assert_eq!(part.accepted.contains(ordinal), fate == 0);
                    prop_assert_eq!(refused.contains(&ordinal), fate == 1);
                    prop_assert_eq!(unidentified.candidates.contains(ordinal), fate == 2);
                }
                let answered = part.answered();
                prop_assert_eq!(
                    part.records_accepted() + part.records_refused(), answered.count(),
                    "each account holds"
                );
                prop_assert_eq!(part.unfinished.is_some(), answered.count() < *records);
                prop_assert!(part.accepted.iter().all(|range| range.end <= *records));
                first += records;
            }
        }
    }
}
