//! Answers out of the ordinary, in the order in which a test or a demonstration wants them.

use std::collections::VecDeque;

/// How a request is answered in place of the ordinary answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With this status; nothing of the request is kept.
    Status {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Never; nothing is kept.
    HangBeforeHeaders,
    /// 200, and the announced body never comes. What the request carried is kept.
    HangAfterHeaders,
    /// What the request carried is kept, then the connection closes without a word.
    Lost,
    /// The connection is reset before the body is read.
    Reset,
}

impl Answer {
    /// This status, without headers or body.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Adds a header to a status; other answers have none.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    /// Gives a status a body; other answers have none.
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Self::Status { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }
}

/// What is to be answered out of the ordinary.
#[derive(Debug, Default)]
pub(super) struct Script {
    next: VecDeque<Answer>,
    containing: Vec<(Vec<u8>, Answer)>,
}

impl Script {
    pub(super) fn extend(&mut self, answers: impl IntoIterator<Item = Answer>) {
        self.next.extend(answers);
    }

    pub(super) fn answer_containing(&mut self, needle: Vec<u8>, answer: Answer) {
        self.containing.push((needle, answer));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The answer that the next request gets, whatever it carries.
    pub(super) fn take_next(&mut self) -> Option<Answer> {
        self.next.pop_front()
    }

    /// The answer to a request that carries these plain bytes, by the first rule that applies.
    pub(super) fn for_content(&self, plain: &[u8]) -> Option<Answer> {
        let rule = self
            .containing
            .iter()
            .find(|(needle, _)| memchr::memmem::find(plain, needle).is_some());
        rule.map(|(_, answer)| answer.clone())
    }
}
