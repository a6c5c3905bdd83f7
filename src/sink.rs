//! The sink: one request to a log endpoint, and what its answer means.
//!
//! Endpoints differ; the port does not. A sink makes one request and reads one answer.
//! Repeating, halving and waiting are `delivery.rs`'s business.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::body::Body;
use crate::failure::FailureKind;

pub mod endpoint;
pub mod http;
pub mod logzio;
pub mod memory;
mod post;
pub mod routed;

/// What the endpoint said of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every record was taken.
    Accepted,
    /// Every record was taken but these.
    Partial(Refusals),
    /// 413: the body is too large; nothing was taken.
    TooLarge,
    /// Something in the body is refused; nothing was taken.
    Refused { reason: String },
    /// Nothing is known to be taken; the same request may succeed, after this long if it was said.
    Retry {
        reason: RetryReason,
        after: Option<Duration>,
    },
    /// Nothing can succeed until a person acts.
    Fatal { reason: String },
}

impl Answer {
    /// Whether the body has to be cut before more is known.
    pub fn cuts(&self) -> bool {
        match self {
            Answer::TooLarge | Answer::Refused { .. } => true,
            Answer::Accepted | Answer::Partial(_) | Answer::Retry { .. } | Answer::Fatal { .. } => {
                false
            }
        }
    }

    /// Whether nothing was taken, and another body with some of the records might fare otherwise.
    pub fn may_blame_one(&self) -> bool {
        match self {
            Answer::Retry { reason, .. } => reason.is_of_the_body(),
            Answer::TooLarge | Answer::Refused { .. } => true,
            Answer::Accepted | Answer::Partial(_) | Answer::Fatal { .. } => false,
        }
    }
}

/// Which records of a body were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// These ones: the place of each in the body, from zero, rising, and why.
    Identified(Vec<(u64, RefusalReason)>),
    /// So many, nobody knows which.
    Unidentified { count: u64 },
}

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Not what the endpoint takes as a record.
    Malformed,
    /// Over the endpoint's limit for one record.
    Oversized,
    /// Refused for a reason that only the endpoint knows: alone after its batch was bisected, or
    /// together with all others.
    Refused,
}

impl RefusalReason {
    /// The failure of the record.
    pub fn kind(self) -> FailureKind {
        match self {
            RefusalReason::Malformed => FailureKind::RejectedMalformed,
            RefusalReason::Oversized => FailureKind::RejectedOversized,
            RefusalReason::Refused => FailureKind::Rejected,
        }
    }
}

/// Why a request may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryReason {
    /// An answer of 408, 425, 429 or 5xx, or one that the endpoint does not document.
    Status(u16),
    /// No answer in time: the endpoint may have taken the records.
    TimedOut,
    /// The connection broke: the endpoint may have taken the records.
    Connection(String),
    /// No connection was made: the endpoint saw nothing.
    Unreachable(String),
    /// The token cannot be read for now: nothing was sent.
    Token(String),
}

impl RetryReason {
    /// Whether the endpoint, or what stands before it, saw the body and may have failed because of it. Too many
    /// requests (429, RFC 6585, section 4) are nothing that more and smaller ones would mend.
    pub fn is_of_the_body(&self) -> bool {
        match self {
            RetryReason::Status(429) => false,
            RetryReason::Status(_) | RetryReason::TimedOut | RetryReason::Connection(_) => true,
            RetryReason::Unreachable(_) | RetryReason::Token(_) => false,
        }
    }

    /// Whether the endpoint may have taken the records although it did not say so: only then can
    /// the repeated request send a record twice.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            RetryReason::TimedOut | RetryReason::Connection(_) => true,
            RetryReason::Status(_) | RetryReason::Unreachable(_) | RetryReason::Token(_) => false,
        }
    }
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetryReason::Status(status) => write!(f, "endpoint answered {status}"),
            RetryReason::TimedOut => write!(f, "endpoint did not answer in time"),
            RetryReason::Connection(reason) => write!(f, "connection to endpoint broke: {reason}"),
            RetryReason::Unreachable(reason) => write!(f, "failed to reach endpoint: {reason}"),
            RetryReason::Token(reason) => f.write_str(reason),
        }
    }
}

/// The port.
pub trait Sink: Send + Sync {
    /// Sends `body` once and waits for the answer at most `timeout`.
    fn deliver(&self, body: &Body, timeout: Duration) -> impl Future<Output = Answer> + Send;

    /// Gets ready for the first request, as far as that can be done before there is one. What fails here
    /// fails again, and is told, with that request.
    fn prepare(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl<S: Sink> Sink for std::sync::Arc<S> {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        (**self).deliver(body, timeout).await
    }

    async fn prepare(&self) {
        (**self).prepare().await;
    }
}
