//! A sink in memory: an endpoint that takes records as real ones do, and can be told to answer
//! otherwise.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Answer, Refusals, RetryReason, Sink};
use crate::body::Body;

/// Judges a body by its records.
type Judge = Box<dyn Fn(&[&[u8]]) -> Reply + Send + Sync>;

/// One answer, as it was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the endpoint does with the records.
    pub answer: Answer,
    /// How long it takes to say so.
    pub delay: Duration,
    /// Whether the answer arrives: if not, the connection breaks after the endpoint did its work.
    pub lost: bool,
}

impl Reply {
    pub fn lost(answer: Answer) -> Self {
        Self {
            lost: true,
            ..answer.into()
        }
    }

    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            delay: Duration::ZERO,
            lost: false,
        }
    }
}

/// The sink. Planned replies come first, in order; then its judge, or `Accepted`, answers.
///
/// It keeps the records that its answers say were taken, also when nobody hears the answer. Of
/// unidentified refusals it refuses the last records of the body.
#[derive(Default)]
pub struct MemorySink {
    judge: Option<Judge>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    accepted: Vec<Vec<u8>>,
    requests: u64,
}

impl MemorySink {
    /// Accepts everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers each body as `judge` says of its records.
    pub fn judging<R: Into<Reply>>(judge: impl Fn(&[&[u8]]) -> R + Send + Sync + 'static) -> Self {
        Self {
            judge: Some(Box::new(move |records| judge(records).into())),
            ..Self::default()
        }
    }

    /// Plans the next replies.
    pub fn plan<R: Into<Reply>>(&self, replies: impl IntoIterator<Item = R>) {
        self.state()
            .replies
            .extend(replies.into_iter().map(Into::into));
    }

    /// Every record it took so far, in the order of arrival.
    pub fn accepted(&self) -> Vec<Vec<u8>> {
        self.state().accepted.clone()
    }

    /// How many requests it saw.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the endpoint does with a body, and says how the answer travels.
    fn take_in(&self, body: &Body) -> Reply {
        let plain = body.plain();
        let records: Vec<&[u8]> = Body::records_of(&plain).collect();
        let mut state = self.state();
        state.requests += 1;
        let reply = state.replies.pop_front().unwrap_or_else(|| {
            let judged = self.judge.as_ref().map(|judge| judge(&records));
            judged.unwrap_or_else(|| Answer::Accepted.into())
        });
        let taken = (0_u64..)
            .zip(&records)
            .filter(|(ordinal, _)| is_taken(&reply.answer, *ordinal, body.records))
            .map(|(_, record)| record.to_vec());
        state.accepted.extend(taken);
        reply
    }
}

/// Whether an endpoint that gives this answer took the record.
fn is_taken(answer: &Answer, ordinal: u64, records: u64) -> bool {
    match answer {
        Answer::Accepted => true,
        Answer::Partial(Refusals::Identified(refused)) => {
            refused.iter().all(|(place, _)| *place != ordinal)
        }
        Answer::Partial(Refusals::Unidentified { count }) => {
            ordinal < records.saturating_sub(*count)
        }
        Answer::TooLarge | Answer::Refused { .. } | Answer::Retry { .. } | Answer::Fatal { .. } => {
            false
        }
    }
}

impl Sink for MemorySink {
    async fn deliver(&self, body: &Body, time_limit: Duration) -> Answer {
        let reply = self.take_in(body);
        if timeout(time_limit, sleep(reply.delay)).await.is_err() {
            return Answer::Retry {
                reason: RetryReason::TimedOut,
                after: None,
            };
        }
        if reply.lost {
            return Answer::Retry {
                reason: RetryReason::Connection("closed before the answer".into()),
                after: None,
            };
        }
        reply.answer
    }
}
