//! What every work queue does. [`holds`] is the suite; an implementation joins by [`Receiver`].

use std::future::Future;
use std::time::Duration;

use bucket_brigade::object::{ContentId, Etag, WorkItem};
use bucket_brigade::queue::WorkQueue;
use bucket_brigade::queue::memory::MemoryQueue;

/// One empty queue under test, and the other side of it: who receives.
pub trait Receiver {
    type Queue: WorkQueue;

    fn queue(&self) -> &Self::Queue;

    /// Everything that waits now, in any order, gone from the queue afterwards.
    fn receive_all(&self) -> impl Future<Output = Vec<WorkItem>>;

    /// Bodies and reasons of everything that was buried.
    fn buried(&self) -> impl Future<Output = Vec<(String, String)>>;

    /// Sends an item, receives it without letting it go, and hands out its receipt.
    fn receipt(&self) -> impl Future<Output = String>;
}

/// The suite. The queue must be empty and nobody else may use it.
pub async fn holds(receiver: &impl Receiver) {
    what_is_sent_arrives_as_it_is(receiver).await;
    any_number_is_sent(receiver).await;
    what_cannot_be_read_is_buried_with_its_reason(receiver).await;
    a_message_can_be_postponed(receiver).await;
}

async fn what_is_sent_arrives_as_it_is(receiver: &impl Receiver) {
    let mut items = vec![WorkItem::new("b", "k")];
    for key in [
        "dir a/k+ey é日 %41.json.gz",
        "control\u{0}\u{1}\n\u{1f}",
        "not in XML \u{fffe}\u{ffff}",
        "<&>\"'",
    ] {
        let mut item = WorkItem::from(ContentId {
            bucket: "b".to_owned(),
            key: key.to_owned(),
            etag: Etag::from("e-2"),
            size: 5_000_000_000,
        });
        item.version = Some("v".to_owned());
        item.alternate_key = Some("other".to_owned());
        items.push(item);
    }
    assert_sent(receiver, &items).await;
    assert_eq!(sorted(receiver.receive_all().await), sorted(items));
}

async fn any_number_is_sent(receiver: &impl Receiver) {
    for count in [0, 1, 9, 10, 11, 95] {
        let long = "é".repeat(500);
        let items: Vec<_> = (0..count)
            .map(|number| WorkItem::new("b", format!("{number:03}{long}")))
            .collect();
        assert_sent(receiver, &items).await;
        assert_eq!(sorted(receiver.receive_all().await), items);
    }
}

async fn what_cannot_be_read_is_buried_with_its_reason(receiver: &impl Receiver) {
    let queue = receiver.queue();
    queue.bury("{not json", "no JSON").await.expect("buried");
    queue.bury("x", "").await.expect("buried");
    let mut buried = receiver.buried().await;
    buried.sort();
    assert_eq!(buried.len(), 2);
    assert_eq!(buried[0].0, "x");
    assert_eq!(buried[1], ("{not json".to_owned(), "no JSON".to_owned()));
    assert_eq!(receiver.receive_all().await, []);
}

async fn a_message_can_be_postponed(receiver: &impl Receiver) {
    let receipt = receiver.receipt().await;
    for delay in [Duration::from_secs(900), Duration::MAX] {
        // A queue may count from when the message was received, so the longest delay may be
        // refused; but it is never an error that stops everything.
        let postponed = receiver.queue().postpone(&receipt, delay).await;
        assert!(
            !matches!(
                postponed,
                Err(bucket_brigade::queue::QueueError::Refused { .. })
            ),
            "{postponed:?}"
        );
    }
}

async fn assert_sent(receiver: &impl Receiver, items: &[WorkItem]) {
    let answers = receiver.queue().send(items).await;
    assert_eq!(answers.len(), items.len());
    for answer in answers {
        answer.expect("taken");
    }
}

fn sorted(mut items: Vec<WorkItem>) -> Vec<WorkItem> {
    items.sort_by(|a, b| a.key.cmp(&b.key));
    items
}

struct MemoryReceiver(MemoryQueue);

impl Receiver for MemoryReceiver {
    type Queue = MemoryQueue;

    fn queue(&self) -> &MemoryQueue {
        &self.0
    }

    async fn receive_all(&self) -> Vec<WorkItem> {
        std::iter::from_fn(|| self.0.take()).collect()
    }

    async fn buried(&self) -> Vec<(String, String)> {
        self.0.buried()
    }

    async fn receipt(&self) -> String {
        "receipt".to_owned()
    }
}

#[tokio::test]
async fn memory_holds_the_contract() {
    holds(&MemoryReceiver(MemoryQueue::new())).await;
}
