//! One invocation of the ingest function: a payload goes in, the answer to it comes out.
//!
//! From a queue the answer is per message: a message is done when every item in it is settled,
//! skipped or quarantined. Messages that are not done are told when to come back. A body that cannot
//! be read goes to the dead-letter queue as it came, and is done.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lambda_events::sqs::SqsBatchResponse;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};

use crate::backoff::{Return, return_delay};
use crate::checkpoint::Account;
use crate::clock::Clock;
use crate::event::{EventError, Found, Ignored, Message, MessageId, Trigger, partial_answer};
use crate::failure::{Failure, FailureKind, Verdict};
use crate::ledger::Ledger;
use crate::object::WorkItem;
use crate::pipeline::{Deadline, Ingested, OBJECTS_HELD_MAX, Pipeline, Place};
use crate::quarantine::Entries;
use crate::queue::{QueueError, WorkQueue};
use crate::replay::{Carry, ReplayReport, ReplayRequest, Replayer, forget};
use crate::sink::Sink;
use crate::store::Store;
use crate::telemetry::{Metric, Metrics};

/// The answer to a payload.
#[derive(Debug)]
pub enum Answer {
    /// To a batch of messages: which of them come again.
    Messages(SqsBatchResponse),
    /// To a notification without a queue: all of it is done.
    Done,
    /// To a wish to replay what lies in quarantine.
    Replayed(ReplayReport),
}

/// Why an invocation fails as a whole. Lambda invokes the function again for a direct notification;
/// reconcile finds what is lost after that.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    #[error("cannot read the event: {0}")]
    Event(#[from] EventError),
    #[error("a request to reconcile belongs to the reconcile function")]
    NotIngest,
    #[error("not done: {0}")]
    Unfinished(Failure),
}

/// What handles invocations. One lives as long as its process.
pub struct Ingest<S, K, L, Q, C, W> {
    pub pipeline: Arc<Pipeline<S, K, L, Q, C>>,
    /// Absent if S3 invokes the function directly.
    pub queue: Option<W>,
    /// How long an object counts as queued that is replayed.
    pub queued: Duration,
    pub metrics: Metrics,
}

/// One item of a payload, and the message it came in.
struct Task<'a> {
    item: WorkItem,
    message: Option<&'a Message>,
}

impl<S, K, L, Q, C, W> Ingest<S, K, L, Q, C, W>
where
    S: Store + 'static,
    K: Sink + Clone + 'static,
    L: Ledger + Clone + 'static,
    Q: Entries + Clone + 'static,
    C: Clock + Clone + 'static,
    W: WorkQueue,
{
    /// Carries every object that `payload` names. `worker` names this invocation in the ledger.
    pub async fn invoke(
        &self,
        payload: &[u8],
        worker: &str,
        deadline: Deadline,
    ) -> Result<Answer, InvocationError> {
        for metric in [Metric::Quarantined, Metric::FatalErrors] {
            self.metrics.add(metric, 0);
        }
        match Trigger::parse(payload)? {
            Trigger::Queue(messages) => Ok(Answer::Messages(
                self.answer_messages(&messages, worker, deadline).await,
            )),
            Trigger::Direct(found) => self.answer_directly(found, worker, deadline).await,
            Trigger::Replay(request) => self.replay(&request, worker, deadline).await,
            Trigger::Reconcile(_) => Err(InvocationError::NotIngest),
        }
    }

    /// Sends records that lie in quarantine, and puts its objects on the queue. No other invocation runs in
    /// this process meanwhile.
    async fn replay(
        &self,
        request: &ReplayRequest,
        worker: &str,
        deadline: Deadline,
    ) -> Result<Answer, InvocationError> {
        let requeue = self.queue.as_ref().map(|queue| Requeue {
            queue,
            queued: self.queued,
        });
        let replayer = Replayer::beside(&self.pipeline);
        let replayed = replayer.run(request, requeue.as_ref(), worker, deadline);
        let report = replayed.await.map_err(InvocationError::Unfinished)?;
        match &report.failure {
            Some(failure) if failure.verdict() == Verdict::Fatal => {
                self.metrics.add(Metric::FatalErrors, 1);
                let kind = failure.kind.name();
                tracing::error!(failure = kind, detail = failure.detail, "replay stopped");
                Err(InvocationError::Unfinished(failure.clone()))
            }
            Some(_) | None => Ok(Answer::Replayed(report)),
        }
    }

    async fn answer_directly(
        &self,
        found: Found,
        worker: &str,
        deadline: Deadline,
    ) -> Result<Answer, InvocationError> {
        self.note_ignored(&found.ignored);
        let tasks = found
            .items
            .into_iter()
            .map(|item| Task {
                item,
                message: None,
            })
            .collect();
        let returned = self.carry_all(tasks, worker, deadline).await;
        if let Some((_, failure)) = returned.into_iter().next() {
            return Err(InvocationError::Unfinished(failure));
        }
        match found.malformed.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(Answer::Done),
        }
    }

    async fn answer_messages(
        &self,
        messages: &[Message],
        worker: &str,
        deadline: Deadline,
    ) -> SqsBatchResponse {
        let mut tasks = Vec::new();
        for message in messages {
            let Ok(found) = &message.body else {
                continue;
            };
            self.note_ignored(&found.ignored);
            tasks.extend(found.items.iter().map(|item| Task {
                item: item.clone(),
                message: Some(message),
            }));
        }
        let returned = self.carry_all(tasks, worker, deadline).await;
        let mut again: BTreeSet<&MessageId> = returned
            .iter()
            .filter_map(|(message, _)| *message)
            .map(|message| &message.id)
            .collect();
        for message in messages {
            // One that comes again for its other items is buried when these are done.
            if let Some(error) = message.burial()
                && !again.contains(&message.id)
                && !self.bury(message, error, deadline).await
            {
                again.insert(&message.id);
            }
        }
        partial_answer(again)
    }

    /// Carries all items in one round, so that small objects share requests. The ones that are not done,
    /// with their messages.
    async fn carry_all<'a>(
        &self,
        mut tasks: Vec<Task<'a>>,
        worker: &str,
        deadline: Deadline,
    ) -> Vec<(Option<&'a Message>, Failure)> {
        // Small objects first: a large one would keep its turn to be read for as long as it lasts.
        tasks.sort_by_key(|task| task.item.size);
        let has_tasks = !tasks.is_empty();
        let under_way = UnderWay::of(&tasks);
        let round = self.pipeline.round();
        let carried = stream::iter(tasks)
            .map(|task| (round.enter(), task))
            .map(|(place, task)| {
                self.carry(task, place, &under_way, worker, deadline)
                    .boxed()
            })
            .buffer_unordered(OBJECTS_HELD_MAX)
            .filter_map(std::future::ready)
            .collect();
        // While the first objects are claimed and read; nobody waits for it at the end.
        let prepared = async {
            self.pipeline.ports().sink.prepare().await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            never = prepared, if has_tasks => match never {},
            returned = carried => returned,
        }
    }

    /// Carries one item. If it is not done: its message, and why.
    async fn carry<'a>(
        &self,
        task: Task<'a>,
        place: Place<S, K, L, Q, C>,
        under_way: &UnderWay<'a>,
        worker: &str,
        deadline: Deadline,
    ) -> Option<(Option<&'a Message>, Failure)> {
        let outcome = match place.turn(&task.item, deadline.stop_at).await {
            Ok(turn) => turn.ingest(&task.item, worker, deadline).await,
            Err(failure) => Ingested::returned(failure),
        };
        self.note(&task.item, &outcome);
        if task.item.is_replay
            && matches!(outcome, Ingested::Settled { .. })
            && let Some(content) = task.item.content()
        {
            let ports = self.pipeline.ports();
            let left = deadline.end_at.since(ports.clock.now());
            forget(&ports.quarantine, &content, left).boxed().await;
        }
        if let Some(message) = task.message
            && let Some(delay) = under_way.end(message, self.delay(message, &outcome))
        {
            self.postpone(message, delay, deadline).await;
        }
        match outcome {
            Ingested::Returned { failure, .. } => Some((task.message, failure)),
            Ingested::Settled { .. } | Ingested::Skipped { .. } | Ingested::Quarantined { .. } => {
                None
            }
        }
    }

    /// Sends an unreadable message to the dead-letter queue. False if that failed.
    async fn bury(&self, message: &Message, error: &EventError, deadline: Deadline) -> bool {
        tracing::error!(
            message_id = %message.id,
            failure = FailureKind::MessageMalformed.name(),
            %error,
            "message cannot be read; sent to the dead-letter queue"
        );
        self.metrics.add(Metric::Quarantined, 1);
        let Some(queue) = &self.queue else {
            return false;
        };
        let left = deadline.end_at.since(self.pipeline.ports().clock.now());
        let reason = error.to_string();
        let buried = tokio::time::timeout(left, queue.bury(&message.raw, &reason)).await;
        match buried.unwrap_or_else(|_| Err(out_of_time())) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(message_id = %message.id, %error, "message not buried; it comes again");
                false
            }
        }
    }

    /// How long a message stays away for an item of it that is not done.
    fn delay(&self, message: &Message, outcome: &Ingested) -> Option<Duration> {
        let Ingested::Returned {
            failure,
            progress,
            held_until,
            ..
        } = outcome
        else {
            return None;
        };
        let ports = self.pipeline.ports();
        let why = match held_until {
            Some(until) => Return::Held {
                remaining: until.since(ports.clock.now()),
            },
            None if *progress => Return::Progress,
            None => Return::NoProgress {
                attempts: message.receive_count.max(1),
            },
        };
        Some(return_delay(why, failure.after, (ports.random)()))
    }

    /// Sets when a message comes back. If that fails it comes back when its visibility time-out ends.
    async fn postpone(&self, message: &Message, delay: Duration, deadline: Deadline) {
        let Some(queue) = &self.queue else {
            return;
        };
        // The ledger may have used up its time, and the answer is all that is left to give.
        let left = deadline.end_at.since(self.pipeline.ports().clock.now());
        let left = left.max(POSTPONE_TIME_MIN);
        let postponed = tokio::time::timeout(left, queue.postpone(&message.receipt, delay)).await;
        if let Err(error) = postponed.unwrap_or_else(|_| Err(out_of_time())) {
            tracing::warn!(message_id = %message.id, %error, "visibility not changed");
        }
    }

    fn note_ignored(&self, ignored: &[Ignored]) {
        for ignored in ignored {
            self.metrics.add(Metric::ObjectsSkipped, 1);
            tracing::info!(
                failure = FailureKind::NotAnObject.name(),
                what = ignored.name(),
                subject = %ignored,
                "skipped"
            );
        }
    }

    /// One line and the metrics of one item.
    fn note(&self, item: &WorkItem, outcome: &Ingested) {
        let object = item.object();
        match outcome {
            Ingested::Settled { account } => {
                self.metrics.add(Metric::ObjectsSettled, 1);
                self.count_records(account);
                tracing::info!(
                    %object,
                    records_read = account.records_read,
                    records_delivered = account.records_delivered,
                    records_quarantined = account.records_quarantined,
                    records_cut = account.records_cut,
                    requests = account.requests,
                    body_bytes = account.body_bytes,
                    "settled"
                );
                if account.records_quarantined > 0 {
                    self.publish();
                    tracing::warn!(
                        %object,
                        records_quarantined = account.records_quarantined,
                        "records quarantined"
                    );
                }
            }
            Ingested::Skipped { failure } => {
                self.metrics.add(Metric::ObjectsSkipped, 1);
                tracing::info!(%object, failure = failure.kind.name(), detail = failure.detail, "skipped");
            }
            Ingested::Quarantined {
                failure,
                place,
                account,
            } => {
                self.metrics.add(Metric::Quarantined, 1);
                self.count_records(account);
                self.publish();
                tracing::error!(
                    %object,
                    failure = failure.kind.name(),
                    detail = failure.detail,
                    place,
                    records_delivered = account.records_delivered,
                    "quarantined"
                );
            }
            Ingested::Returned {
                failure,
                progress,
                attempts,
                ..
            } => {
                let kind = failure.kind.name();
                if failure.verdict() == Verdict::Fatal {
                    self.metrics.add(Metric::FatalErrors, 1);
                    tracing::error!(%object, failure = kind, detail = failure.detail, "returned");
                } else {
                    tracing::warn!(
                        %object, failure = kind, detail = failure.detail, progress, attempts, "returned"
                    );
                }
            }
        }
    }

    /// Writes what was counted so far. What is quarantined is in the ledger by now and never seen again, so its alarm
    /// does not wait for the end of an invocation that may be killed.
    fn publish(&self) {
        self.metrics.publish(self.pipeline.ports().clock.now());
    }

    fn count_records(&self, account: &Account) {
        self.metrics
            .add(Metric::RecordsDelivered, account.records_delivered);
        self.metrics
            .add(Metric::RecordsFiltered, account.records_filtered);
        self.metrics
            .add(Metric::RecordsQuarantined, account.records_quarantined);
        self.metrics
            .add(Metric::Quarantined, account.records_quarantined);
        self.metrics.add(Metric::Requests, account.requests);
        self.metrics.add(Metric::BodyBytes, account.body_bytes);
    }
}

/// Puts objects that are replayed on the queue.
struct Requeue<'a, W> {
    queue: &'a W,
    queued: Duration,
}

impl<W: WorkQueue> Carry for Requeue<'_, W> {
    fn queued_for(&self) -> Duration {
        self.queued
    }

    async fn carry(&self, item: WorkItem) -> Result<(), Failure> {
        let sent = self.queue.send(&[item]).await.into_iter().next();
        let unsent = QueueError::Unavailable {
            reason: "no answer for an item".to_owned(),
        };
        Ok(sent.unwrap_or(Err(unsent))?)
    }
}

/// What postponing a message may take when the invocation's time is up: less than what
/// `DEADLINE_MARGIN_MS` leaves, unless that is set to little.
const POSTPONE_TIME_MIN: Duration = Duration::from_secs(1);

fn out_of_time() -> QueueError {
    QueueError::Unavailable {
        reason: "time ran out".to_owned(),
    }
}

/// The messages whose items are being carried: how many of them are left, and how long the message is
/// to stay away. A message that came back while an item of it is under way would only find that held.
struct UnderWay<'a>(Mutex<BTreeMap<&'a MessageId, (usize, Option<Duration>)>>);

impl<'a> UnderWay<'a> {
    fn of(tasks: &[Task<'a>]) -> Self {
        let mut left = BTreeMap::new();
        for message in tasks.iter().filter_map(|task| task.message) {
            left.entry(&message.id).or_insert((0, None)).0 += 1;
        }
        Self(Mutex::new(left))
    }

    /// Notes that an item has ended. With the last one: how long the message stays away, if any item
    /// is not done.
    fn end(&self, message: &Message, delay: Option<Duration>) -> Option<Duration> {
        // A panic while the lock was held leaves every count whole.
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, longest) = under_way.get_mut(&message.id)?;
        *left -= 1;
        *longest = (*longest).max(delay);
        (*left == 0).then_some(*longest).flatten()
    }
}
