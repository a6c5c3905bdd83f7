//! A payload in, the answer out: what comes back to the queue, and what does not.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::body::Body;
use bucket_brigade::clock::Clock as _;
use bucket_brigade::event::EventError;
use bucket_brigade::invocation::{Answer, Ingest, InvocationError};
use bucket_brigade::ledger::State;
use bucket_brigade::object::WorkItem;
use bucket_brigade::pipeline::{Deadline, Ingested, Pipeline, Ports};
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::sink::memory::MemorySink;
use bucket_brigade::sink::{Answer as Said, RetryReason, Sink};
use bucket_brigade::telemetry::Metrics;
use serde_json::{Value, json};

use crate::world::{World, gzip, lines, records};

pub fn sqs(bodies: &[String]) -> Vec<u8> {
    let messages: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| {
            json!({
                "messageId": format!("message-{n}"),
                "receiptHandle": format!("receipt-{n}"),
                "body": body,
                "attributes": { "ApproximateReceiveCount": "1" },
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:work",
            })
        })
        .collect();
    json!({ "Records": messages }).to_string().into_bytes()
}

fn body(item: &WorkItem) -> String {
    serde_json::to_string(item).expect("JSON")
}

pub struct Invoked {
    answer: Result<Answer, InvocationError>,
    queue: Arc<MemoryQueue>,
}

impl Invoked {
    pub fn failed(&self) -> Vec<String> {
        match &self.answer {
            Ok(Answer::Messages(answer)) => answer
                .batch_item_failures
                .iter()
                .map(|failed| failed.item_identifier.clone())
                .collect(),
            other => panic!("no answer to messages: {other:?}"),
        }
    }
}

pub async fn invoke(world: &World, payload: &[u8]) -> Invoked {
    let queue = Arc::new(MemoryQueue::new());
    let ingest = Ingest {
        pipeline: world.pipeline(),
        queue: Some(Arc::clone(&queue)),
        queued: Duration::from_secs(3_600),
        metrics: Metrics::new("test"),
    };
    let stop_at = world.clock.now().plus(Duration::from_secs(60));
    let deadline = Deadline {
        stop_at,
        end_at: stop_at.plus(Duration::from_secs(5)),
    };
    let answer = ingest.invoke(payload, "request", deadline).await;
    Invoked { answer, queue }
}

#[tokio::test(start_paused = true)]
async fn e12_of_five_messages_only_the_one_that_can_succeed_later_comes_back() {
    let world = World::with_sink(MemorySink::judging(|records: &[&[u8]]| {
        match records.iter().any(|record| record.ends_with(b"\"later\"}")) {
            true => Said::Retry {
                reason: RetryReason::Status(503),
                after: None,
            },
            false => Said::Accepted,
        }
    }));
    let good = [
        world.put("good-1.gz", gzip(&lines(&records(50)))),
        world.put("good-2", lines(&records(5))),
    ];
    let whole = gzip(&lines(&records(200)));
    let truncated = world.put("truncated.gz", &whole[..whole.len() / 2]);
    let later = world.put("later", lines(&[b"{\"a\":\"later\"}".to_vec()]));
    let bodies = [
        body(&good[0]),
        body(&truncated),
        "{not json".to_owned(),
        body(&later),
        body(&good[1]),
    ];
    let invoked = invoke(&world, &sqs(&bodies)).await;
    assert_eq!(invoked.failed(), ["message-3"]);

    let state = async |item: &WorkItem| world.state(&item.content().expect("complete")).await;
    assert_eq!(state(&good[0]).await, Some(State::Settled));
    assert_eq!(state(&good[1]).await, Some(State::Settled));
    assert_eq!(state(&truncated).await, Some(State::Quarantined));
    assert!(matches!(state(&later).await, Some(State::Queued { .. })));
    assert_eq!(world.quarantine.kept().len(), 1);
    let buried = invoked.queue.buried();
    assert_eq!(buried.len(), 1);
    assert_eq!(buried[0].0, "{not json");
    let postponed = invoked.queue.postponed();
    assert_eq!(postponed.len(), 1);
    assert_eq!(postponed[0].0, "receipt-3");
    assert!(postponed[0].1 >= Duration::from_secs(15), "{postponed:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_fatal_failure_every_unfinished_message_comes_back_untouched() {
    let world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| Said::Fatal {
        reason: "endpoint answered 401".into(),
    }));
    let items: Vec<WorkItem> = (0..30)
        .map(|n| world.put(&format!("{n}"), lines(&records(n + 1))))
        .collect();
    let bodies: Vec<String> = items.iter().map(body).collect();
    let invoked = invoke(&world, &sqs(&bodies)).await;
    assert_eq!(invoked.failed().len(), 30);
    assert!(
        world.sink.requests() <= 4,
        "{} requests",
        world.sink.requests()
    );
    assert!(world.quarantine.kept().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_object_another_holds_comes_back_when_the_lease_may_have_run_out() {
    let world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| {
        bucket_brigade::sink::memory::Reply::from(Said::Accepted).after(Duration::from_secs(1))
    }));
    let item = world.put("a", lines(&records(5)));
    let twice = [body(&item), body(&item)];
    let invoked = invoke(&world, &sqs(&twice)).await;
    assert_eq!(invoked.failed().len(), 1);
    let postponed = invoked.queue.postponed();
    let lease = world.bounds.lease;
    assert!(
        postponed[0].1 <= lease && postponed[0].1 > lease / 2,
        "{postponed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn e5_every_record_of_a_direct_notification_is_carried_and_a_failure_fails_the_invocation() {
    let world = World::new();
    let items = [
        world.put("a", lines(&records(5))),
        world.put("b", lines(&records(7))),
    ];
    let payload = |items: &[WorkItem]| {
        let records: Vec<Value> = items
            .iter()
            .map(|item| {
                let etag = item.etag.as_ref().map(|etag| etag.as_str());
                json!({
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": { "name": item.bucket },
                        "object": { "key": item.key, "size": item.size, "eTag": etag },
                    },
                })
            })
            .collect();
        json!({ "Records": records }).to_string().into_bytes()
    };
    let invoked = invoke(&world, &payload(&items)).await;
    assert!(
        matches!(invoked.answer, Ok(Answer::Done)),
        "{:?}",
        invoked.answer
    );
    assert_eq!(world.sink.accepted().len(), 12);

    let more = [
        world.put("c", lines(&records(3))),
        world.put("d", lines(&records(4))),
    ];
    world.sink.plan([Said::Fatal {
        reason: "endpoint answered 403".into(),
    }]);
    let invoked = invoke(&world, &payload(&more)).await;
    assert!(
        matches!(invoked.answer, Err(InvocationError::Unfinished(_))),
        "{:?}",
        invoked.answer
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_nobody_understands_is_an_error_and_no_success() {
    let world = World::new();
    let invoked = invoke(&world, b"{\"detail-type\":\"Something Else\"}").await;
    let Err(InvocationError::Event(error)) = invoked.answer else {
        panic!("{:?}", invoked.answer);
    };
    assert!(
        matches!(
            error,
            EventError::UnknownShape { .. } | EventError::ForeignSource { .. }
        ),
        "{error}"
    );
    let invoked = invoke(&world, b"{\"reconcile\":{}}").await;
    assert!(matches!(invoked.answer, Err(InvocationError::NotIngest)));
}

fn notification(items: &[&WorkItem]) -> Value {
    let records: Vec<Value> = items
        .iter()
        .map(|item| {
            let etag = item.etag.as_ref().map(|etag| etag.as_str());
            json!({
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": { "name": item.bucket },
                    "object": { "key": item.key, "size": item.size, "eTag": etag },
                },
            })
        })
        .collect();
    json!({ "Records": records })
}

fn out_of_order(word: &'static [u8]) -> MemorySink {
    MemorySink::judging(move |records: &[&[u8]]| {
        match records.iter().any(|record| record.starts_with(word)) {
            true => Said::Retry {
                reason: RetryReason::Status(503),
                after: None,
            },
            false => Said::Accepted,
        }
    })
}

/// Otherwise each pass of an outage would put one more message on the queue for each object.
#[tokio::test(start_paused = true)]
async fn h7_reconcile_leaves_an_object_alone_until_its_message_is_due() {
    for (receive_count, after) in [(1, None), (20, None), (1, Some(Duration::from_secs(300)))] {
        let world = World::with_sink(MemorySink::judging(move |_: &[&[u8]]| Said::Retry {
            reason: RetryReason::Status(503),
            after,
        }));
        let item = world.put("a", lines(&records(5)));
        let payload = String::from_utf8(sqs(&[body(&item)])).expect("JSON");
        let payload = payload.replace(
            r#""ApproximateReceiveCount":"1""#,
            &format!(r#""ApproximateReceiveCount":"{receive_count}""#),
        );
        let invoked = invoke(&world, payload.as_bytes()).await;
        let postponed = invoked.queue.postponed();
        let due = world.clock.now().plus(postponed[0].1);
        let Some(State::Queued { until }) = world.state(&item.content().expect("complete")).await
        else {
            panic!("not queued");
        };
        assert!(until >= due, "left alone until {until}, due at {due}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_the_endpoint_does_not_take_keeps_no_other_from_its_turn() {
    let world = World::with_sink(out_of_order(b"{\"later\""));
    let later: Vec<Vec<u8>> = (0..500)
        .map(|n| format!("{{\"later\":\"{n:020}\"}}").into_bytes())
        .collect();
    let later = world.put("later", lines(&later));
    let good = world.put("good", lines(&records(500)));
    let pipeline = world.pipeline();
    let stop_at = world.clock.now().plus(Duration::from_secs(60));
    let deadline = Deadline {
        stop_at,
        end_at: stop_at.plus(Duration::from_secs(5)),
    };
    let (later, settled) = tokio::join!(pipeline.ingest(&later, "test", deadline), async {
        let outcome = pipeline.ingest(&good, "test", deadline).await;
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
        world.clock.now()
    });
    assert!(matches!(later, Ingested::Returned { .. }), "{later:?}");
    let waited = settled.since(crate::world::START);
    assert!(waited < Duration::from_secs(2), "it waited {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn e12_an_unreadable_record_is_buried_once_though_its_message_comes_back() {
    let world = World::with_sink(out_of_order(b"{\"RayID\""));
    let item = world.put("a", lines(&records(5)));
    let mut event = notification(&[&item]);
    let records = event["Records"].as_array_mut().expect("a list");
    records.push(json!({ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {} }));
    let payload = sqs(&[event.to_string()]);
    let invoked = invoke(&world, &payload).await;
    assert_eq!(invoked.failed(), ["message-0"]);
    assert_eq!(invoked.queue.buried(), []);

    let world = World::new();
    world.put("a", lines(&crate::world::records(5)));
    let invoked = invoke(&world, &payload).await;
    assert_eq!(invoked.failed(), [""; 0]);
    assert_eq!(invoked.queue.buried().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_several_objects_is_handed_back_once_when_all_of_them_have_ended() {
    let world = World::with_sink(out_of_order(b"{\"RayID\""));
    let held = world.put("held", lines(&records(9)));
    let content = held.content().expect("complete");
    let owner = bucket_brigade::ledger::Owner::new("other", 1);
    use bucket_brigade::ledger::Ledger as _;
    world
        .ledger
        .claim(&content, &owner, world.clock.now(), Duration::from_secs(5))
        .await
        .expect("claimed");
    let out_of_order = world.put("out-of-order", lines(&records(5)));
    let event = notification(&[&held, &out_of_order]);
    let invoked = invoke(&world, &sqs(&[event.to_string()])).await;
    assert_eq!(invoked.failed(), ["message-0"]);
    let postponed = invoked.queue.postponed();
    assert_eq!(postponed.len(), 1, "{postponed:?}");
    assert!(postponed[0].1 >= Duration::from_secs(15), "{postponed:?}");
}

/// Getting ready takes it for ever, and it knows when that began.
struct NeverReady {
    sink: Arc<MemorySink>,
    began: std::sync::Mutex<Vec<u64>>,
}

impl Sink for &NeverReady {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Said {
        self.sink.deliver(body, timeout).await
    }

    async fn prepare(&self) {
        let requests = self.sink.requests();
        self.began.lock().expect("nobody panics").push(requests);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_got_ready_while_the_first_objects_are_read_and_nobody_waits_for_it() {
    let world = World::new();
    let item = world.put("logs/one", lines(&records(3)));
    let sink: &'static NeverReady = Box::leak(Box::new(NeverReady {
        sink: Arc::clone(&world.sink),
        began: std::sync::Mutex::default(),
    }));
    let ports = Ports {
        store: Arc::clone(&world.store),
        sink,
        ledger: Arc::clone(&world.ledger),
        quarantine: Arc::clone(&world.quarantine),
        clock: world.clock,
        random: crate::world::random,
    };
    let ingest = Ingest {
        pipeline: Pipeline::new(ports, world.bounds.clone()),
        queue: Some(Arc::new(MemoryQueue::new())),
        queued: Duration::from_secs(3_600),
        metrics: Metrics::new("test"),
    };
    let nothing = ingest
        .invoke(&sqs(&[]), "request", world.deadline(60))
        .await;
    assert!(nothing.is_ok(), "{nothing:?}");
    assert_eq!(*sink.began.lock().expect("nobody panics"), [0_u64; 0]);
    let answer = ingest
        .invoke(&sqs(&[body(&item)]), "request", world.deadline(60))
        .await;
    assert!(matches!(answer, Ok(Answer::Messages(_))), "{answer:?}");
    assert_eq!(*sink.began.lock().expect("nobody panics"), [0]);
    assert_eq!(world.sink.requests(), 1);
}
