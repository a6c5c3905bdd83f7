//! How the doubles of the JSON services refuse, by themselves or because a test says so.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

/// An error as the AWS JSON protocols write it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceError {
    pub status: u16,
    pub code: String,
    pub message: String,
    /// Members beside type and message, such as `Item`.
    pub more: Map<String, Value>,
}

impl ServiceError {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            more: Map::new(),
        }
    }

    /// The error of a request that makes no sense.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    pub fn body(&self, namespace: &str) -> Value {
        let mut body = self.more.clone();
        body.insert(
            "__type".to_owned(),
            format!("{namespace}#{}", self.code).into(),
        );
        body.insert("message".to_owned(), self.message.clone().into());
        body.into()
    }
}

/// What a test can make go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// `ProvisionedThroughputExceededException`, or what the service calls it.
    Throttled,
    /// 500 `InternalServerError`.
    Unavailable,
    /// `AccessDeniedException`.
    Denied,
    /// The request takes effect, and the connection closes without an answer.
    AnswerLost,
}

/// The failures in force, for one service.
#[derive(Debug, Default)]
pub struct Faults {
    next: VecDeque<(Option<String>, Failure)>,
    always: Vec<(Option<String>, Failure)>,
}

impl Faults {
    /// The next `times` requests fail so.
    pub fn next(&mut self, times: usize, failure: Failure) {
        self.next
            .extend(std::iter::repeat_n((None, failure), times));
    }

    /// The next `times` requests of this operation fail so.
    pub fn next_of(&mut self, operation: &str, times: usize, failure: Failure) {
        let of = Some(operation.to_owned());
        self.next.extend(std::iter::repeat_n((of, failure), times));
    }

    /// Every request fails so, until [`Faults::clear`].
    pub fn always(&mut self, failure: Failure) {
        self.always.push((None, failure));
    }

    /// Every request of this operation fails so, until [`Faults::clear`].
    pub fn always_of(&mut self, operation: &str, failure: Failure) {
        self.always.push((Some(operation.to_owned()), failure));
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The failure of this request, used up by it.
    pub fn take(&mut self, operation: &str) -> Option<Failure> {
        let applies =
            |(of, _): &(Option<String>, Failure)| of.as_deref().is_none_or(|of| of == operation);
        match self.next.iter().position(applies) {
            Some(at) => self.next.remove(at).map(|(_, failure)| failure),
            None => self
                .always
                .iter()
                .find(|rule| applies(rule))
                .map(|(_, failure)| *failure),
        }
    }
}

impl Failure {
    /// The answer, unless the failure is that there is none.
    pub fn error(self, throttled: &str) -> Option<ServiceError> {
        match self {
            Self::Throttled => Some(ServiceError::new(400, throttled, "Rate exceeded")),
            Self::Unavailable => Some(ServiceError::new(
                500,
                "InternalServerError",
                "The request processing has failed because of an unknown error",
            )),
            Self::Denied => Some(ServiceError::new(
                400,
                "AccessDeniedException",
                "User: arn:aws:sts::123456789012:assumed-role/role/session is not authorized",
            )),
            Self::AnswerLost => None,
        }
    }
}

/// A required member of a request.
pub fn text<'a>(input: &'a Value, name: &str) -> Result<&'a str, ServiceError> {
    input
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| ServiceError::validation(format!("Missing required parameter {name}")))
}

/// An answer without members.
pub fn nothing() -> Value {
    json!({})
}
