//! A work queue in memory, with switches that make it fail.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::object::WorkItem;
use crate::queue::{QueueError, WorkQueue};

/// Makes an error.
type Failure = Box<dyn Fn() -> QueueError + Send>;

/// First in, first out; every item once.
#[derive(Default)]
pub struct MemoryQueue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<WorkItem>,
    buried: Vec<(String, String)>,
    postponed: Vec<(String, Duration)>,
    failing: (u64, Option<Failure>),
}

impl MemoryQueue {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the item that has waited longest.
    pub fn take(&self) -> Option<WorkItem> {
        self.state().waiting.pop_front()
    }

    /// The items that wait, in order.
    pub fn waiting(&self) -> Vec<WorkItem> {
        self.state().waiting.iter().cloned().collect()
    }

    /// Bodies and reasons of what was buried.
    pub fn buried(&self) -> Vec<(String, String)> {
        self.state().buried.clone()
    }

    /// Receipts and delays of what was postponed.
    pub fn postponed(&self) -> Vec<(String, Duration)> {
        self.state().postponed.clone()
    }

    /// The next `count` items to be sent, buried or postponed are not taken.
    pub fn fail(&self, count: u64, failure: impl Fn() -> QueueError + Send + 'static) {
        self.state().failing = (count, Some(Box::new(failure)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&mut self) -> Result<(), QueueError> {
        match &mut self.failing {
            (0, _) | (_, None) => Ok(()),
            (count, Some(failure)) => {
                *count -= 1;
                Err(failure())
            }
        }
    }
}

impl WorkQueue for MemoryQueue {
    async fn send(&self, items: &[WorkItem]) -> Vec<Result<(), QueueError>> {
        let mut state = self.state();
        let mut send = |item: &WorkItem| {
            state.check()?;
            state.waiting.push_back(item.clone());
            Ok(())
        };
        items.iter().map(&mut send).collect()
    }

    async fn bury(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let mut state = self.state();
        state.check()?;
        state.buried.push((body.to_owned(), reason.to_owned()));
        Ok(())
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        let mut state = self.state();
        state.check()?;
        state.postponed.push((receipt.to_owned(), delay));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_that_are_not_taken_are_named_one_by_one() {
        let queue = MemoryQueue::new();
        queue.fail(1, || QueueError::Unavailable {
            reason: "as told".to_owned(),
        });
        let items = [WorkItem::new("b", "1"), WorkItem::new("b", "2")];
        let answers = queue.send(&items).await;
        assert!(answers[0].is_err() && answers[1].is_ok(), "{answers:?}");
        assert_eq!(queue.waiting(), [WorkItem::new("b", "2")]);
    }
}
