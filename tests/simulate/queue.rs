//! An SQS standard queue in virtual time: visibility, receive counts, retention, the limit of messages in
//! flight, and a dead-letter queue.
//!
//! Source of the figures: Amazon SQS Developer Guide, "Amazon SQS message quotas".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bucket_brigade::object::WorkItem;
use bucket_brigade::queue::{QueueError, WorkQueue};
use tokio::sync::Notify;

use crate::faults::Fault;
use crate::world::World;

/// What a standard queue hands out at most before anything is deleted.
pub const IN_FLIGHT_MAX: usize = 120_000;

/// As `template.yaml` has it; [`crate::drill`] reads it from there.
#[derive(Clone, Copy, Debug)]
pub struct QueueTerms {
    pub visibility: Duration,
    pub retention: Duration,
    pub receives_max: u32,
    pub in_flight_max: usize,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub id: u64,
    pub body: String,
    pub receive_count: u32,
    sent_at: Duration,
    visible_at: Duration,
}

impl Message {
    pub fn receipt(&self) -> String {
        format!("{}-{}", self.id, self.receive_count)
    }
}

#[derive(Default)]
struct Held {
    /// By when a message is visible, then by its number.
    waiting: BTreeMap<(Duration, u64), Message>,
    /// By number: when it is visible again.
    in_flight: BTreeMap<u64, (Duration, Message)>,
    /// The same, by time.
    due: BTreeSet<(Duration, u64)>,
    next: u64,
    dead: Vec<String>,
    expired: u64,
    in_flight_most: usize,
}

pub struct SqsQueue {
    pub terms: QueueTerms,
    held: Mutex<Held>,
    changed: Notify,
}

impl SqsQueue {
    pub fn new(terms: QueueTerms) -> Arc<Self> {
        Arc::new(Self {
            terms,
            held: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("one thread, and no panic within")
    }

    pub fn send(&self, body: String, now: Duration) {
        let mut held = self.held();
        let id = held.next;
        held.next += 1;
        let message = Message {
            id,
            body,
            receive_count: 0,
            sent_at: now,
            visible_at: now,
        };
        held.waiting.insert((now, id), message);
        drop(held);
        self.changed.notify_waiters();
    }

    /// Messages that wait or are in flight.
    pub fn len(&self) -> usize {
        let held = self.held();
        held.waiting.len() + held.in_flight.len()
    }

    pub fn dead(&self) -> Vec<String> {
        self.held().dead.clone()
    }

    pub fn expired(&self) -> u64 {
        self.held().expired
    }

    pub fn in_flight_most(&self) -> usize {
        self.held().in_flight_most
    }

    /// What is due now, at most `max` messages.
    pub fn receive(&self, now: Duration, max: usize) -> Vec<Message> {
        let terms = self.terms;
        let mut held = self.held();
        held.come_back(now);
        let mut received = Vec::new();
        while received.len() < max && held.in_flight.len() < terms.in_flight_max {
            let Some(entry) = held.waiting.first_entry() else {
                break;
            };
            if entry.key().0 > now {
                break;
            }
            let mut message = entry.remove();
            if now.saturating_sub(message.sent_at) >= terms.retention {
                held.expired += 1;
                continue;
            }
            if message.receive_count >= terms.receives_max {
                held.dead.push(message.body);
                continue;
            }
            message.receive_count += 1;
            message.visible_at = now + terms.visibility;
            held.due.insert((message.visible_at, message.id));
            held.in_flight
                .insert(message.id, (message.visible_at, message.clone()));
            received.push(message);
        }
        held.in_flight_most = held.in_flight_most.max(held.in_flight.len());
        received
    }

    pub fn delete(&self, id: u64) {
        let mut held = self.held();
        if let Some((due, _)) = held.in_flight.remove(&id) {
            held.due.remove(&(due, id));
        }
    }

    /// Ready when something may be due.
    pub async fn changed(&self, now: Duration, at_most: Duration) {
        let due = {
            let held = self.held();
            // What waits has to wait on if no more may be in flight.
            let is_full = held.in_flight.len() >= self.terms.in_flight_max;
            let waiting = held.waiting.first_key_value().map(|((due, _), _)| *due);
            let waiting = waiting.filter(|_| !is_full);
            let in_flight = held.due.first().map(|(due, _)| *due);
            waiting.into_iter().chain(in_flight).min()
        };
        let wait = due
            .map_or(at_most, |due| due.saturating_sub(now))
            .min(at_most);
        tokio::select! {
            biased;
            () = self.changed.notified() => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
        }
    }
}

impl Held {
    /// Whoever's visibility time-out is over is handed out again.
    fn come_back(&mut self, now: Duration) {
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            if let Some((due, message)) = self.in_flight.remove(&id) {
                self.waiting.insert((due, id), message);
            }
        }
    }
}

/// The way of one process to the queue.
pub struct SimQueue {
    pub inner: Arc<SqsQueue>,
    pub world: Arc<World>,
}

impl SimQueue {
    fn away() -> QueueError {
        QueueError::Unavailable {
            reason: "503".to_owned(),
        }
    }
}

impl WorkQueue for SimQueue {
    async fn send(&self, items: &[WorkItem]) -> Vec<Result<(), QueueError>> {
        self.world.pass(5, 50).await;
        let mut answers = Vec::new();
        for item in items {
            if self.world.strikes(Fault::QueueAway) {
                answers.push(Err(Self::away()));
                continue;
            }
            self.world.state().faults.count(Fault::ShapeReconcile);
            let body = serde_json::to_string(item).expect("a work item is JSON");
            let times = 1 + usize::from(self.world.strikes(Fault::QueueDoubled));
            for _ in 0..times {
                self.inner.send(body.clone(), self.world.elapsed());
            }
            match self.world.strikes(Fault::QueueAnswerLost) {
                true => answers.push(Err(Self::away())),
                false => answers.push(Ok(())),
            }
        }
        self.world.pass(1, 20).await;
        answers
    }

    async fn bury(&self, body: &str, _reason: &str) -> Result<(), QueueError> {
        self.world.pass(5, 50).await;
        if self.world.strikes(Fault::QueueAway) {
            return Err(Self::away());
        }
        self.inner.held().dead.push(body.to_owned());
        Ok(())
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        self.world.pass(5, 50).await;
        if self.world.strikes(Fault::QueueAway) {
            return Err(Self::away());
        }
        let now = self.world.elapsed();
        let mut held = self.inner.held();
        let id = receipt.split('-').next().and_then(|id| id.parse().ok());
        let Some(id) = id.filter(|id| {
            held.in_flight
                .get(id)
                .is_some_and(|(_, m)| m.receipt() == receipt)
        }) else {
            return Err(Self::away());
        };
        if let Some((due, _)) = held.in_flight.get_mut(&id) {
            let before = std::mem::replace(due, now + delay);
            held.due.remove(&(before, id));
            held.due.insert((now + delay, id));
        }
        Ok(())
    }
}
