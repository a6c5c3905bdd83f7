//! A body goes in, and what became of each of its records comes out.
//!
//! A sink makes one request. Here it is repeated, after a wait, while the endpoint is out of order;
//! cut in halves while it is too large; cut down to the record that the endpoint refuses. A record
//! that was accepted is never sent again.
//!
//! Deciding is `Work`'s part, which knows neither time nor network; [`deliver`] asks and waits.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff::{self, Next};
use crate::body::Body;
use crate::checkpoint::Ranges;
use crate::sink::{Answer, RefusalReason, Refusals, RetryReason, Sink};

/// No request begins with less time than this, unless the time-out itself is shorter: an answer
/// that is cut off leaves records that may be sent twice.
pub const REQUEST_TIME_MIN: Duration = Duration::from_secs(1);

/// How long a delivery may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// No request lasts beyond this.
    pub until: Instant,
    /// No request lasts longer than this.
    pub request: Duration,
}

impl TimeLimits {
    /// How long a request may last that begins `now`. None if it had better not begin.
    fn request_at(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (left >= self.request_min()).then(|| left.min(self.request))
    }

    /// How long one may wait from `now` on and still make a request.
    fn wait_at(&self, now: Instant) -> Duration {
        self.until
            .saturating_duration_since(now)
            .saturating_sub(self.request_min())
    }

    fn request_min(&self) -> Duration {
        self.request.min(REQUEST_TIME_MIN)
    }
}

/// What became of the records of a body. Ordinals count its records from zero.
///
/// Every ordinal is in exactly one of: `accepted`, `refused`, the candidates of `unidentified`, or
/// none of them; the last only if `unfinished` says why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub accepted: Ranges,
    /// Rising.
    pub refused: Vec<(u64, RefusalReason)>,
    pub unidentified: Option<Unidentified>,
    pub unfinished: Option<Unfinished>,
    /// Plain bytes of the accepted records, newlines included. Of a part whose refused records
    /// are not identified nothing is counted.
    pub plain_bytes: u64,
    pub requests: u64,
    /// Bytes of the bodies of all requests.
    pub body_bytes: u64,
    /// Requests whose answer was lost: their records may have been sent twice.
    pub ambiguous: u64,
}

/// Records of which so many were refused, nobody knows which. None is ever sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unidentified {
    pub count: u64,
    pub candidates: Ranges,
}

/// Why some records are not answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// Time ran out. The rest may be delivered later, if the endpoint said so after this long.
    Retry {
        /// What the last request failed with. None if it did not fail, or there was none.
        reason: Option<RetryReason>,
        after: Option<Duration>,
    },
    /// Nothing can be delivered until a person acts.
    Fatal { reason: String },
}

impl Delivered {
    /// How many records the endpoint took.
    pub fn records_accepted(&self) -> u64 {
        let taken = |part: &Unidentified| part.candidates.count().saturating_sub(part.count);
        self.accepted.count() + self.unidentified.as_ref().map_or(0, taken)
    }

    /// How many records can never be accepted as they are.
    pub fn records_refused(&self) -> u64 {
        let count = self.unidentified.as_ref().map_or(0, |part| part.count);
        self.refused.len() as u64 + count
    }

    /// Every record that is answered for, one way or the other.
    pub fn answered(&self) -> Ranges {
        let mut answered = self.accepted.clone();
        answered.extend(&self.refused.iter().map(|(ordinal, _)| *ordinal).collect());
        if let Some(part) = &self.unidentified {
            answered.extend(&part.candidates);
        }
        answered
    }
}

/// Delivers the records of `body`, as far as time and the endpoint allow.
///
/// `random` gives numbers uniform over `u64`. It returns after `limits.until` at the latest, if
/// the sink keeps its time-out.
pub async fn deliver<S: Sink>(
    sink: &S,
    body: Body,
    limits: TimeLimits,
    random: impl Fn() -> u64 + Send,
) -> Delivered {
    deliver_unless(std::future::pending(), sink, body, limits, random).await
}

/// [`deliver`], but once `stop` is ready nothing is waited for any more, except the answer to a request
/// under way.
pub async fn deliver_unless<S: Sink>(
    stop: impl Future<Output = ()> + Send,
    sink: &S,
    body: Body,
    limits: TimeLimits,
    random: impl Fn() -> u64 + Send,
) -> Delivered {
    tokio::pin!(stop);
    let mut work = Work::of(body);
    while let Some(part) = work.pop() {
        let Some(timeout) = limits.request_at(Instant::now()) else {
            work.stop_for_time(None);
            break;
        };
        let answer = sink.deliver(&part.body, timeout).await;
        match work.push_answer(part, answer) {
            Step::Go => {}
            Step::Stop => break,
            Step::Wait { failures, after } => {
                let left = limits.wait_at(Instant::now());
                match backoff::before_next_attempt(failures, after, left, random()) {
                    Next::Wait(wait) => tokio::select! {
                        () = sleep(wait) => {}
                        () = &mut stop => {
                            work.stop_for_time(after);
                            break;
                        }
                    },
                    Next::GiveUp => {
                        work.stop_for_time(after);
                        break;
                    }
                }
            }
        }
    }
    work.finish()
}

/// Some of the body's records, as a body of their own.
#[derive(Debug)]
struct Part {
    /// The ordinal of the first of them.
    first: u64,
    body: Body,
}

impl Part {
    fn ordinals(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.body.records
    }
}

/// What the shell does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Go on with the next part.
    Go,
    /// The same part again, after a wait.
    Wait {
        /// In a row, this one included.
        failures: u32,
        after: Option<Duration>,
    },
    Stop,
}

/// What is yet to be sent, and what is known so far.
#[derive(Debug)]
struct Work {
    records: u64,
    /// The last is the next: parts leave in the order of their records.
    parts: Vec<Part>,
    delivered: Delivered,
    /// Failures since the endpoint last gave an answer that settles something.
    failures: u32,
    last_failure: Option<RetryReason>,
}

impl Work {
    fn of(body: Body) -> Self {
        let records = body.records;
        let whole = Part { first: 0, body };
        Self {
            records,
            parts: Vec::from_iter((records > 0).then_some(whole)),
            delivered: Delivered::default(),
            failures: 0,
            last_failure: None,
        }
    }

    fn pop(&mut self) -> Option<Part> {
        self.parts.pop()
    }

    fn push_answer(&mut self, part: Part, answer: Answer) -> Step {
        self.delivered.requests += 1;
        self.delivered.body_bytes += part.body.gzip.len() as u64;
        match answer {
            Answer::Accepted => self.accept(&part),
            Answer::Partial(Refusals::Identified(refused)) => self.refuse_some(&part, &refused),
            Answer::Partial(Refusals::Unidentified { count }) => self.lose_sight_of(&part, count),
            Answer::TooLarge => self.cut(&part, RefusalReason::Oversized),
            Answer::Refused { .. } => self.cut(&part, RefusalReason::Refused),
            Answer::Retry { reason, after } => return self.repeat(part, reason, after),
            Answer::Fatal { reason } => {
                self.delivered.unfinished = Some(Unfinished::Fatal { reason });
                return Step::Stop;
            }
        }
        self.failures = 0;
        self.last_failure = None;
        Step::Go
    }

    fn accept(&mut self, part: &Part) {
        self.delivered.accepted.insert(part.ordinals());
        self.delivered.plain_bytes += part.body.plain_bytes;
    }

    fn refuse_some(&mut self, part: &Part, refused: &[(u64, RefusalReason)]) {
        debug_assert!(refused.is_sorted_by(|a, b| a.0 < b.0));
        debug_assert!(refused.iter().all(|(place, _)| *place < part.body.records));
        let plain = part.body.plain();
        let mut refused = refused.iter().peekable();
        for (place, record) in (0..).zip(Body::records_of(&plain)) {
            let ordinal = part.first + place;
            match refused.next_if(|(at, _)| *at == place) {
                Some((_, reason)) => self.delivered.refused.push((ordinal, *reason)),
                None => {
                    self.delivered.accepted.insert(ordinal..ordinal + 1);
                    self.delivered.plain_bytes += record.len() as u64 + 1;
                }
            }
        }
    }

    fn lose_sight_of(&mut self, part: &Part, count: u64) {
        debug_assert!(count <= part.body.records);
        let unidentified = self.delivered.unidentified.get_or_insert_default();
        unidentified.count += count.min(part.body.records);
        unidentified.candidates.insert(part.ordinals());
    }

    /// Sends the halves instead. One record alone cannot be cut: it is refused.
    fn cut(&mut self, part: &Part, alone: RefusalReason) {
        match part.body.halves() {
            Some((before, after)) => {
                let first = part.first + before.records;
                self.parts.push(Part { first, body: after });
                self.parts.push(Part {
                    first: part.first,
                    body: before,
                });
            }
            None => self.delivered.refused.push((part.first, alone)),
        }
    }

    fn repeat(&mut self, part: Part, reason: RetryReason, after: Option<Duration>) -> Step {
        self.parts.push(part);
        self.delivered.ambiguous += u64::from(reason.is_ambiguous());
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(reason);
        Step::Wait {
            failures: self.failures,
            after,
        }
    }

    fn stop_for_time(&mut self, after: Option<Duration>) {
        self.delivered.unfinished = Some(Unfinished::Retry {
            reason: self.last_failure.take(),
            after,
        });
    }

    fn finish(self) -> Delivered {
        let delivered = self.delivered;
        debug_assert!(delivered.refused.is_sorted_by(|a, b| a.0 < b.0));
        debug_assert_eq!(
            delivered.records_accepted() + delivered.records_refused(),
            delivered.answered().count(),
            "no record is answered for in two ways"
        );
        debug_assert!(
            delivered.unfinished.is_some() || delivered.answered() == Ranges::from(0..self.records),
            "every record is answered for, or there is a reason why not"
        );
        delivered
    }
}
