//! The two functions, as Lambda runs them: processes that live from invocation to invocation, until they
//! are killed or stopped; an event source mapping that polls the queue; asynchronous invocations that are
//! tried again twice; a schedule.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bucket_brigade::config::WatchedPrefix;
use bucket_brigade::invocation::{Answer, Ingest};
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::pipeline::{Deadline, Pipeline, Ports};
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::reconcile::{ReconcileBounds, Reconciler};
use bucket_brigade::rules::RulesInForce;
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::telemetry::Metrics;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::endpoint::SimSink;
use crate::faults::Fault;
use crate::ledger::SimLedger;
use crate::producer::Producer;
use crate::quarantine::SimQuarantine;
use crate::queue::{Message, SimQueue, SqsQueue};
use crate::random::product_random;
use crate::store::SimStore;
use crate::world::{End, SkewedClock, Spell, World};

type Function = Ingest<SimStore, SimSink, SimLedger, SimQuarantine, SkewedClock, SimQueue>;

/// What the functions run on.
pub struct Platform {
    pub world: Arc<World>,
    pub producer: Arc<Producer>,
    pub store: Arc<MemoryStore>,
    pub ledger: Arc<MemoryLedger>,
    pub quarantine: Arc<MemoryQuarantine>,
    pub queue: Arc<SqsQueue>,
    /// How long an invocation may take.
    pub timeout: Duration,
    pub margin: Duration,
    /// Messages that come with one invocation.
    pub messages_max: usize,
    pub watched: Vec<WatchedPrefix>,
    pub reconcile: ReconcileBounds,
    pub processes: AtomicU64,
    /// Invocations of the first function under way.
    pub busy: AtomicU64,
}

/// One process of the first function.
pub struct Process {
    id: u64,
    ahead_ms: i64,
    ingest: Function,
    invocations: u64,
}

/// Polls a future only so often.
struct Mortal<F> {
    inner: Pin<Box<F>>,
    polls_left: Option<u64>,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(left) = &mut self.polls_left {
            if *left == 0 {
                return Poll::Ready(None);
            }
            *left -= 1;
        }
        self.inner.as_mut().poll(context).map(Some)
    }
}

impl Platform {
    fn clock(&self) -> (i64, SkewedClock) {
        let mut ahead_ms = 0;
        if self.world.strikes(Fault::ClockApart) {
            let away = self.world.state().random.between(0, 16_000) as i64;
            ahead_ms = away - 8_000;
        }
        (ahead_ms, self.world.clock(ahead_ms))
    }

    fn next_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    fn store(&self, process: u64) -> SimStore {
        SimStore {
            inner: Arc::clone(&self.store),
            world: Arc::clone(&self.world),
            producer: Arc::clone(&self.producer),
            process,
        }
    }

    fn ledger(&self, process: u64) -> SimLedger {
        SimLedger {
            inner: Arc::clone(&self.ledger),
            world: Arc::clone(&self.world),
            process,
        }
    }

    fn queue(&self) -> SimQueue {
        SimQueue {
            inner: Arc::clone(&self.queue),
            world: Arc::clone(&self.world),
        }
    }

    fn start(&self) -> Process {
        let id = self.next_process();
        let (ahead_ms, clock) = self.clock();
        self.world
            .tell(&format!("p{id} starts, {ahead_ms} ms ahead"));
        let ports = Ports {
            store: self.store(id),
            sink: SimSink {
                world: Arc::clone(&self.world),
                process: id,
            },
            ledger: self.ledger(id),
            quarantine: SimQuarantine {
                inner: Arc::clone(&self.quarantine),
                world: Arc::clone(&self.world),
            },
            clock,
            random: product_random,
        };
        Process {
            id,
            ahead_ms,
            ingest: Ingest {
                pipeline: Pipeline::new(ports, self.world.bounds.clone()),
                queue: Some(self.queue()),
                queued: self.reconcile.queued,
                metrics: Metrics::new("simulation"),
            },
            invocations: 0,
        }
    }

    /// Invokes a process. The answer, if there is one; and the process, if it lives.
    async fn invoke(
        &self,
        mut process: Process,
        payload: &str,
    ) -> (Option<Answer>, Option<Process>) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        process.invocations += 1;
        let (id, number) = (process.id, process.invocations);
        let worker = format!("p{id}.{number}");
        let (timeout, polls_left, stop_after) = self.plan(id);
        let end = self.world.now().plus(timeout);
        let deadline = Deadline {
            stop_at: end.minus(self.margin),
            end_at: end.minus(self.margin / 4),
        };
        self.world
            .tell(&format!("{worker} invoked, {} ms", timeout.as_millis()));
        let pipeline = Arc::clone(&process.ingest.pipeline);
        pipeline
            .rules()
            .set(Arc::clone(&self.world.rule(&worker).rules));
        let outcome = {
            let invoked = process.ingest.invoke(payload.as_bytes(), &worker, deadline);
            let mortal = Mortal {
                inner: Box::pin(invoked),
                polls_left,
            };
            let stopping = async {
                match stop_after {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
                pipeline.stop();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                answer = mortal => Some(answer),
                () = stopping => None,
                () = tokio::time::sleep(timeout) => None,
            }
        };
        self.busy.fetch_sub(1, Ordering::Relaxed);
        let is_stopped = stop_after.is_some();
        match outcome {
            Some(Some(answer)) => {
                self.end(&worker, false);
                match &answer {
                    Ok(_) => self.world.tell(&format!("{worker} answered")),
                    Err(error) => self.world.tell(&format!("{worker} failed: {error}")),
                }
                if is_stopped {
                    self.world.state().faults.count(Fault::CleanStop);
                }
                (answer.ok(), (!is_stopped).then_some(process))
            }
            Some(None) => {
                self.world.tell(&format!("{worker} KILLED"));
                self.world.state().faults.count(Fault::Killed);
                self.end(&worker, true);
                (None, None)
            }
            None => {
                self.world.tell(&format!("{worker} ran into its deadline"));
                // A clock that is behind by more than the rest of the margin cannot know.
                let is_behind = process.ahead_ms < -(self.margin.as_millis() as i64) / 4 + 1_000;
                if !is_behind {
                    self.world
                        .violate(&format!("{worker} did not end before its deadline"));
                }
                self.end(&worker, true);
                (None, None)
            }
        }
    }

    /// How long an invocation may take, after how many polls it is killed, when it is told to stop.
    fn plan(&self, process: u64) -> (Duration, Option<u64>, Option<Duration>) {
        let at = self.world.elapsed();
        let mut state = self.world.state();
        if state.strikes_quietly(Fault::LedgerPartition) {
            let from = at + Duration::from_millis(state.random.log_between(20, 20_000));
            let until = from + Duration::from_secs(state.random.log_between(5, 300));
            state.spells.push(Spell {
                from,
                until,
                fault: Fault::LedgerPartition,
                process: Some(process),
            });
        }
        let mut timeout = self.timeout;
        if state.strikes(Fault::DeadlineStruck) {
            let margin = self.margin.as_millis() as u64;
            let least = margin + 100;
            timeout =
                Duration::from_millis(state.random.log_between(least, timeout.as_millis() as u64));
        }
        let polls_left = state
            .strikes_quietly(Fault::Killed)
            .then(|| state.random.log_between(1, 600));
        let stop_after = state.strikes_quietly(Fault::CleanStop).then(|| {
            let longest = timeout.as_millis() as u64;
            Duration::from_millis(state.random.log_between(5, longest))
        });
        (timeout, polls_left, stop_after)
    }

    /// Notes how each lease of an invocation ended.
    fn end(&self, worker: &str, is_killed: bool) {
        let at = self.world.elapsed();
        let mut state = self.world.state();
        let mut left = Vec::new();
        for claim in state.claims_of_worker.remove(worker).unwrap_or_default() {
            let held = &mut state.claims[claim];
            if held.end != End::Open {
                continue;
            }
            held.end = match is_killed {
                true => End::Crashed,
                false => End::LedgerAway,
            };
            if !is_killed && !held.was_troubled {
                left.push(held.content);
            }
        }
        for content in left {
            let key = state.contents[content].id.key.clone();
            state.violate(at, &format!("{key}: its lease was not given back"));
        }
    }

    /// Polls the queue and invokes, for ever.
    pub async fn poll(self: Arc<Self>) {
        let mut process = None;
        loop {
            let now = self.world.elapsed();
            let messages = self.queue.receive(now, self.messages_max);
            if messages.is_empty() {
                self.queue.changed(now, Duration::from_secs(3_600)).await;
                continue;
            }
            let payload = payload(&messages);
            let running = process.take().unwrap_or_else(|| self.start());
            let (answer, alive) = self.invoke(running, &payload).await;
            process = alive;
            if let Some(Answer::Messages(again)) = answer {
                for message in &messages {
                    let id = message.id.to_string();
                    if again
                        .batch_item_failures
                        .iter()
                        .all(|failed| failed.item_identifier != id)
                    {
                        self.queue.delete(message.id);
                    }
                }
            }
        }
    }

    /// Invokes for each notification that comes without a queue; what fails is tried again twice
    /// (Lambda Developer Guide, "Asynchronous invocation").
    pub async fn serve(self: Arc<Self>, mut direct: UnboundedReceiver<String>) {
        while let Some(payload) = direct.recv().await {
            let platform = Arc::clone(&self);
            tokio::task::spawn_local(async move {
                for wait in [60, 120, 0] {
                    let process = platform.start();
                    let (answer, _) = platform.invoke(process, &payload).await;
                    if answer.is_some() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(wait)).await;
                }
                platform.world.tell("Lambda gives a notification up");
            });
        }
    }

    /// One invocation of the second function.
    pub async fn reconcile(
        &self,
        window: Duration,
    ) -> Option<bucket_brigade::reconcile::PassReport> {
        let id = self.next_process();
        let (_, clock) = self.clock();
        let reconciler = Reconciler {
            store: self.store(id),
            ledger: self.ledger(id),
            queue: self.queue(),
            clock,
            bounds: self.reconcile.clone(),
            rules: RulesInForce::default(),
        };
        reconciler
            .rules
            .set(Arc::clone(&self.world.rule(&format!("p{id}")).rules));
        let stop_at = self.world.now().plus(Duration::from_secs(290));
        let metrics = Metrics::new("simulation");
        let polls_left = {
            let mut state = self.world.state();
            state
                .strikes(Fault::ReconcileKilled)
                .then(|| state.random.log_between(1, 300))
        };
        let mortal = Mortal {
            inner: Box::pin(reconciler.pass_all(&self.watched, window, stop_at, &metrics)),
            polls_left,
        };
        let passed = tokio::time::timeout(Duration::from_secs(300), mortal).await;
        match passed {
            Ok(Some(Ok(report))) => {
                self.world.tell(&format!("p{id} reconciled: {report:?}"));
                Some(report)
            }
            Ok(Some(Err(failure))) => {
                self.world
                    .tell(&format!("p{id} did not reconcile: {failure}"));
                None
            }
            Ok(None) => {
                self.world
                    .tell(&format!("p{id} KILLED while it reconciled"));
                None
            }
            Err(_) => {
                self.world
                    .tell(&format!("p{id} reconciled until its deadline"));
                None
            }
        }
    }
}

/// A batch of messages as Lambda hands it over.
fn payload(messages: &[Message]) -> String {
    let records: Vec<_> = messages
        .iter()
        .map(|message| {
            json!({
                "messageId": message.id.to_string(),
                "receiptHandle": message.receipt(),
                "body": message.body,
                "attributes": {"ApproximateReceiveCount": message.receive_count.to_string()},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:bucket-brigade",
                "awsRegion": "eu-central-1",
            })
        })
        .collect();
    json!({"Records": records}).to_string()
}
