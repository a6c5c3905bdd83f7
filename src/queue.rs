//! The work queue: where reconcile puts what it found, and where unreadable messages end.

use std::future::Future;
use std::time::Duration;

use crate::object::WorkItem;

pub mod memory;
#[cfg(feature = "aws")]
pub mod sqs;

/// Why the queue did not take something, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Throttled, timed out, unreachable: try again later.
    #[error("queue unavailable: {reason}")]
    Unavailable { reason: String },
    /// No such queue, or no permission: nothing can succeed until a person acts.
    #[error("queue refused: {reason}")]
    Refused { reason: String },
}

/// The port.
pub trait WorkQueue: Send + Sync {
    /// Sends work items; any number, in batches of what the queue takes. The answer says for each item,
    /// in order, whether it was taken. An item that was sent may still be delivered more than once.
    fn send(&self, items: &[WorkItem]) -> impl Future<Output = Vec<Result<(), QueueError>>> + Send;

    /// Sends a message body that cannot be parsed to the dead-letter queue, as it came, with as much
    /// of the reason as the queue holds.
    fn bury(&self, body: &str, reason: &str)
    -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Sets when a message that is being handed back comes again: at most 12 hours from now
    /// (SQS, ChangeMessageVisibility). A message that is out of our hands already is
    /// [`QueueError::Unavailable`]: it comes back by itself, and nothing needs to be done.
    fn postpone(
        &self,
        receipt: &str,
        delay: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}

impl<Q: WorkQueue> WorkQueue for std::sync::Arc<Q> {
    async fn send(&self, items: &[WorkItem]) -> Vec<Result<(), QueueError>> {
        (**self).send(items).await
    }

    async fn bury(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        (**self).bury(body, reason).await
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        (**self).postpone(receipt, delay).await
    }
}
