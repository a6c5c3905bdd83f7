//! A body goes in, and what became of each of its records comes out.
//!
//! A sink makes one request. Here it is repeated, after a wait, while the endpoint is out of order;
//! cut in halves while it is too large; cut down to the record that the endpoint refuses. A record
//! that was accepted is never sent again.
//!
//! Deciding is `Work`'s part, which knows neither time nor network; [`deliver`] asks and waits.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use crate::backoff::{self, Next};
use crate::body::Body;
use crate::checkpoint::Ranges;
use crate::sink::{Answer, RefusalReason, Refusals, RetryReason, Sink};

/// No request begins with less time than this, unless the time-out itself is shorter: an answer
/// that is cut off leaves records that may be sent twice.
pub const REQUEST_TIME_MIN: Duration = Duration::from_secs(1);

/// When a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// No request begins with less than [`REQUEST_TIME_MIN`] until this.
    pub begin: Instant,
    /// No answer is waited for beyond this, which is not before `begin`: what was sent shortly before that is
    /// still heard of.
    pub answer: Instant,
}

impl Until {
    /// Both at once.
    pub fn at(time: Instant) -> Self {
        Self {
            begin: time,
            answer: time,
        }
    }

    /// The earlier of each.
    pub fn min(self, other: Self) -> Self {
        Self {
            begin: self.begin.min(other.begin),
            answer: self.answer.min(other.answer),
        }
    }
}

/// How long a delivery may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    pub until: Until,
    /// No request lasts longer than this.
    pub request: Duration,
}

impl TimeLimits {
    /// How long a request may last that begins `now`. None if it had better not begin.
    fn request_at(&self, now: Instant) -> Option<Duration> {
        let Until { begin, answer } = self.until;
        let may_begin = begin.saturating_duration_since(now) >= self.request_min();
        may_begin.then(|| answer.saturating_duration_since(now).min(self.request))
    }

    /// How long one may wait from `now` on and still make a request.
    fn wait_at(&self, now: Instant) -> Duration {
        self.until
            .begin
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
/// `random` gives numbers uniform over `u64`. It returns after `limits.until.answer` at the latest, if
/// the sink keeps its time-out.
pub async fn deliver<S: Sink>(
    sink: &S,
    body: Body,
    limits: TimeLimits,
    random: impl Fn() -> u64 + Send,
) -> Delivered {
    let (requests, cutting) = (Semaphore::new(1), Semaphore::new(1));
    let turns = Turns {
        requests: &requests,
        cutting: &cutting,
    };
    let (stop, begun) = (std::future::pending(), Tries::default());
    deliver_in_turn(turns, stop, sink, body, begun, limits, random).await
}

/// What deliveries take turns at.
#[derive(Clone, Copy, Debug)]
pub struct Turns<'a> {
    /// Requests under way. A delivery leaves its turn to others while it waits to repeat one.
    pub requests: &'a Semaphore,
    /// Bodies that are cut: such a delivery holds its parts beside the whole. It gives them up, and its
    /// turn, while it waits to repeat a request.
    pub cutting: &'a Semaphore,
}

/// [`deliver`] among others; and once `stop` is ready no request begins, and nothing is waited for any
/// more except the answer to one that is under way. `begun` is what earlier requests for the same records have come to.
pub async fn deliver_in_turn<S: Sink>(
    turns: Turns<'_>,
    stop: impl Future<Output = ()> + Send,
    sink: &S,
    body: Body,
    begun: Tries,
    limits: TimeLimits,
    random: impl Fn() -> u64 + Send,
) -> Delivered {
    let mut courier = Courier {
        turns,
        stop: std::pin::pin!(stop),
        sink,
        limits,
        random,
    };
    let mut work = Work::of(body, begun);
    let mut cutting = None;
    if !courier.wait_again(&mut work).await {
        return work.finish();
    }
    while !work.is_done() {
        if work.is_cut() && cutting.is_none() {
            cutting = courier.turn(turns.cutting).await;
        }
        let may_go_on = cutting.is_some() || !work.is_cut();
        let Some((part, answer)) = courier.ask(&mut work, may_go_on).await else {
            work.stop_for_time();
            break;
        };
        if answer.cuts() && cutting.is_none() {
            cutting = courier.turn(turns.cutting).await;
            if cutting.is_none() {
                work.put_back(part);
                work.stop_for_time();
                break;
            }
        }
        match work.push_answer(part, answer) {
            Step::Go => {}
            Step::Stop => break,
            Step::Wait => {
                work.forget_parts();
                cutting = None;
                if !courier.wait_again(&mut work).await {
                    break;
                }
            }
        }
    }
    work.finish()
}

/// What became of a body that several objects share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedDelivered {
    /// As of any other body.
    Ended(Delivered),
    /// Nothing of it is answered for, and one object's records may be why: they are to go on in smaller
    /// company, or alone. This is what the requests so far have come to.
    Parted(Tries),
}

/// [`deliver_in_turn`] for a body that several objects share: it is never cut, and not repeated after an
/// answer that one of them alone may be to blame for, so that no object keeps others from being
/// delivered.
pub async fn deliver_shared<S: Sink>(
    turns: Turns<'_>,
    stop: impl Future<Output = ()> + Send,
    sink: &S,
    body: Body,
    begun: Tries,
    limits: TimeLimits,
    random: impl Fn() -> u64 + Send,
) -> SharedDelivered {
    let mut courier = Courier {
        turns,
        stop: std::pin::pin!(stop),
        sink,
        limits,
        random,
    };
    let mut work = Work::of(body, begun);
    while !work.is_done() {
        if !courier.wait_again(&mut work).await {
            break;
        }
        let Some((part, answer)) = courier.ask(&mut work, true).await else {
            work.stop_for_time();
            break;
        };
        if answer.may_blame_one() {
            return SharedDelivered::Parted(work.part(&part, answer));
        }
        if work.push_answer(part, answer) == Step::Stop {
            break;
        }
    }
    SharedDelivered::Ended(work.finish())
}

/// Asks and waits.
struct Courier<'a, S, F, R> {
    turns: Turns<'a>,
    stop: std::pin::Pin<&'a mut F>,
    sink: &'a S,
    limits: TimeLimits,
    random: R,
}

impl<S: Sink, F: Future<Output = ()> + Send, R: Fn() -> u64 + Send> Courier<'_, S, F, R> {
    /// A turn, unless time runs out before.
    async fn turn<'s>(&mut self, turns: &'s Semaphore) -> Option<SemaphorePermit<'s>> {
        tokio::select! {
            biased;
            () = &mut self.stop => None,
            turn = timeout_at(self.limits.until.begin, turns.acquire()) => turn.ok()?.ok(),
        }
    }

    /// Sends the next part, and gives its answer. None if no time is left for the request.
    async fn ask(&mut self, work: &mut Work, may_go_on: bool) -> Option<(Part, Answer)> {
        let turn = match may_go_on {
            true => self.turn(self.turns.requests).await?,
            false => return None,
        };
        let timeout = self.limits.request_at(Instant::now())?;
        let part = work.pop()?;
        let answer = self.sink.deliver(&part.body, timeout).await;
        drop(turn);
        Some((part, answer))
    }

    /// Waits before a request is repeated, if the last one failed. False if that takes too long: then the
    /// work has noted it.
    async fn wait_again(&mut self, work: &mut Work) -> bool {
        let Some(failed) = work.tries.failed.as_ref() else {
            return true;
        };
        let left = self.limits.wait_at(Instant::now());
        let random = (self.random)();
        let next = backoff::before_next_attempt(failed.failures, failed.after, left, random);
        let waited = match next {
            Next::Wait(wait) => tokio::select! {
                biased;
                () = &mut self.stop => false,
                () = sleep(wait) => true,
            },
            Next::GiveUp => false,
        };
        if !waited {
            work.stop_for_time();
        }
        waited
    }
}

/// What requests for some records have come to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    pub requests: u64,
    /// Bytes of the bodies of all requests.
    pub body_bytes: u64,
    /// Requests whose answer was lost.
    pub ambiguous: u64,
    /// How the last request failed, if it did.
    pub failed: Option<Failed>,
}

/// A request that failed and may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In a row, this one included, since the endpoint last gave an answer that settles something.
    pub failures: u32,
    pub reason: RetryReason,
    /// How long the endpoint asked to be left alone.
    pub after: Option<Duration>,
}

impl Tries {
    fn add(&mut self, body: &Body) {
        self.requests += 1;
        self.body_bytes += body.gzip.len() as u64;
    }

    fn fail(&mut self, reason: RetryReason, after: Option<Duration>) {
        self.ambiguous += u64::from(reason.is_ambiguous());
        let failures = self.failed.as_ref().map_or(0, |failed| failed.failures);
        self.failed = Some(Failed {
            failures: failures.saturating_add(1),
            reason,
            after,
        });
    }
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
    Wait,
    Stop,
}

/// Records that are yet to be sent.
#[derive(Debug)]
struct Queued {
    first: u64,
    records: u64,
    /// None if it has to be cut from the whole again.
    body: Option<Body>,
}

/// What is yet to be sent, and what is known so far.
#[derive(Debug)]
struct Work {
    whole: Body,
    /// The last is the next: parts leave in the order of their records.
    parts: Vec<Queued>,
    delivered: Delivered,
    tries: Tries,
}

impl Work {
    fn of(body: Body, begun: Tries) -> Self {
        let queued = Queued {
            first: 0,
            records: body.records,
            body: Some(body.clone()),
        };
        Self {
            parts: Vec::from_iter((body.records > 0).then_some(queued)),
            whole: body,
            delivered: Delivered::default(),
            tries: begun,
        }
    }

    fn is_done(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether what is left is part of the body.
    fn is_cut(&self) -> bool {
        let whole = self.whole.records;
        self.parts.iter().any(|queued| queued.records < whole)
    }

    fn pop(&mut self) -> Option<Part> {
        let queued = self.parts.pop()?;
        let ordinals = queued.first..queued.first + queued.records;
        let body = queued.body.unwrap_or_else(|| slice(&self.whole, ordinals));
        Some(Part {
            first: queued.first,
            body,
        })
    }

    fn put_back(&mut self, part: Part) {
        self.parts.push(Queued {
            first: part.first,
            records: part.body.records,
            body: Some(part.body),
        });
    }

    /// Gives up the memory of all parts of the body.
    fn forget_parts(&mut self) {
        for queued in &mut self.parts {
            if queued.records < self.whole.records {
                queued.body = None;
            }
        }
    }

    fn push_answer(&mut self, part: Part, answer: Answer) -> Step {
        self.tries.add(&part.body);
        match answer {
            Answer::Accepted => self.accept(&part),
            Answer::Partial(Refusals::Identified(refused)) => self.refuse_some(&part, &refused),
            Answer::Partial(Refusals::Unidentified { count }) => self.lose_sight_of(&part, count),
            Answer::TooLarge => self.cut(&part, RefusalReason::Oversized),
            Answer::Refused { .. } => self.cut(&part, RefusalReason::Refused),
            Answer::Retry { reason, after } => {
                self.put_back(part);
                self.tries.fail(reason, after);
                return Step::Wait;
            }
            Answer::Fatal { reason } => {
                self.delivered.unfinished = Some(Unfinished::Fatal { reason });
                return Step::Stop;
            }
        }
        self.tries.failed = None;
        Step::Go
    }

    /// Ends the work on a shared body, with an answer that settles nothing.
    fn part(mut self, part: &Part, answer: Answer) -> Tries {
        self.tries.add(&part.body);
        match answer {
            Answer::Retry { reason, after } => self.tries.fail(reason, after),
            Answer::TooLarge | Answer::Refused { .. } => self.tries.failed = None,
            Answer::Accepted | Answer::Partial(_) | Answer::Fatal { .. } => {}
        }
        self.tries
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
                self.put_back(Part { first, body: after });
                let first = part.first;
                self.put_back(Part {
                    first,
                    body: before,
                });
            }
            None => self.delivered.refused.push((part.first, alone)),
        }
    }

    fn stop_for_time(&mut self) {
        let failed = self.tries.failed.take();
        let (reason, after) =
            failed.map_or((None, None), |failed| (Some(failed.reason), failed.after));
        self.delivered.unfinished = Some(Unfinished::Retry { reason, after });
    }

    fn finish(self) -> Delivered {
        let delivered = Delivered {
            requests: self.tries.requests,
            body_bytes: self.tries.body_bytes,
            ambiguous: self.tries.ambiguous,
            ..self.delivered
        };
        debug_assert!(delivered.refused.is_sorted_by(|a, b| a.0 < b.0));
        debug_assert_eq!(
            delivered.records_accepted() + delivered.records_refused(),
            delivered.answered().count(),
            "no record is answered for in two ways"
        );
        debug_assert!(
            delivered.unfinished.is_some()
                || delivered.answered() == Ranges::from(0..self.whole.records),
            "every record is answered for, or there is a reason why not"
        );
        delivered
    }
}

/// Some records of a body, as a body of their own.
fn slice(whole: &Body, ordinals: std::ops::Range<u64>) -> Body {
    let from = match whole.split_at_ordinal(ordinals.start) {
        Some((_, from)) => from,
        None => whole.clone(),
    };
    match from.split_at_ordinal(ordinals.end - ordinals.start) {
        Some((slice, _)) => slice,
        None => from,
    }
}
