//! A round with the two functions: three ingest processes on one queue, one reconcile process, between AWS
//! (moto, or doubles in this process) and the flaky endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use crate::checker::{Evidence, Row};
use crate::dice::Dice;
use crate::endpoint::{DELIVERY_TIMEOUT, Endpoint, TOKEN};
use crate::front::Front;
use crate::objects::{BATCH_BYTES_MAX, Object, RESTORE_INTERVAL_BYTES};
use crate::support::aws::Aws;
use crate::support::runtime_api::{Function, LambdaProcess};
use crate::support::sdk;
use crate::tally::Tally;

const REQUESTS_IN_FLIGHT_MAX: u64 = 3;
const LEASE: Duration = Duration::from_secs(4);
const WORKERS: usize = 3;
/// How long a message is hidden from other receivers: less than an invocation may take, so that some are
/// received while they are worked on.
const VISIBILITY: Duration = Duration::from_secs(6);
/// How long a message may stay postponed: what the functions ask for is cut to this, for a round is short.
const POSTPONED_MAX: Duration = Duration::from_secs(3);
/// How long all may take to be settled once nobody is killed any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// What a round takes: who plays AWS, the seed, and how long processes are killed.
pub struct Round {
    pub number: u64,
    pub seed: u64,
    pub kill_for: Duration,
    /// A local AWS; without one it is played in this process.
    pub aws: Option<Url>,
}

struct World {
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    bucket: String,
    table: String,
    queue: String,
    dead_letters: String,
    front: Front,
    endpoint: Endpoint,
    /// Objects that were put, in order.
    objects: Mutex<Vec<Object>>,
    /// How often the holder of an object was killed.
    kills: Mutex<BTreeMap<u32, u64>>,
    /// Messages that were not done: their receipts, and since when.
    undone: Mutex<BTreeMap<String, (String, Instant)>>,
    faults: Mutex<Vec<String>>,
    ingest_killed: AtomicU64,
    reconcile_killed: AtomicU64,
    found_by_reconcile: AtomicU64,
    is_over: AtomicBool,
    kill_until: Instant,
}

/// A process of a function, and as what the endpoint knows it.
struct Process {
    name: String,
    function: LambdaProcess,
}

impl World {
    async fn new(round: &Round, aws: &Url) -> Self {
        let client = sdk::http_client();
        let number = round.number;
        let shared = sdk::shared(aws);
        let (s3, sqs) = (sdk::s3(aws), aws_sdk_sqs::Client::new(&shared));
        let dynamodb = aws_sdk_dynamodb::Client::new(&shared);
        let bucket = format!("logs-{number}");
        for name in [&bucket, &format!("quarantine-{number}")] {
            let created = s3.create_bucket().bucket(name).send().await;
            created.expect("a bucket");
        }
        let table = format!("ledger-{number}");
        sdk::create_ledger_table(&dynamodb, &table).await;
        let queue = async |name: String| {
            let visibility = VISIBILITY.as_secs().to_string();
            let created = sqs
                .create_queue()
                .queue_name(name)
                .attributes(QueueAttributeName::VisibilityTimeout, visibility)
                .send()
                .await;
            let url = created.expect("a queue").queue_url;
            url.expect("its URL")
        };
        Self {
            queue: queue(format!("work-{number}")).await,
            dead_letters: queue(format!("dead-letters-{number}")).await,
            front: Front::start(client.clone(), aws).await,
            endpoint: Endpoint::start(client, Dice::new(round.seed, "endpoint")).await,
            s3,
            sqs,
            dynamodb,
            bucket,
            table,
            objects: Mutex::default(),
            kills: Mutex::default(),
            undone: Mutex::default(),
            faults: Mutex::default(),
            ingest_killed: AtomicU64::new(0),
            reconcile_killed: AtomicU64::new(0),
            found_by_reconcile: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            kill_until: Instant::now() + round.kill_for,
        }
    }

    /// A process of a function, which the endpoint knows by that name.
    fn process(&self, binary: &str, number: u64, name: String) -> Process {
        let url = self.endpoint.url_of(&name);
        let function = self.function(binary, number).env("ENDPOINT_URL", url);
        Process {
            name,
            function: LambdaProcess::new(function),
        }
    }

    fn function(&self, binary: &str, number: u64) -> Function {
        let ms = |time: Duration| time.as_millis().to_string();
        Function::new(binary, Duration::from_secs(15))
            .env("AWS_ENDPOINT_URL", self.front.url.as_str())
            .env("LEDGER_TABLE", &self.table)
            .env("QUEUE_URL", &self.queue)
            .env("DEAD_LETTER_QUEUE_URL", &self.dead_letters)
            .env("QUARANTINE_URL", format!("s3://quarantine-{number}/kept"))
            .env("ENDPOINT_TOKEN", TOKEN)
            .env("WATCH", format!("s3://{}/logs/", self.bucket))
            .env("BATCH_BYTES_MAX", BATCH_BYTES_MAX.to_string())
            .env("RECORD_BYTES_MAX", BATCH_BYTES_MAX.to_string())
            .env("PART_BYTES", "65536")
            .env("RESTORE_INTERVAL_BYTES", RESTORE_INTERVAL_BYTES.to_string())
            .env("REQUESTS_IN_FLIGHT_MAX", REQUESTS_IN_FLIGHT_MAX.to_string())
            .env("DELIVERY_TIMEOUT_MS", ms(DELIVERY_TIMEOUT))
            .env("DEADLINE_MARGIN_MS", "3000")
            .env("LEASE_MS", ms(LEASE))
            .env("GRACE_MS", "1500")
            .env("QUEUED_MS", "5000")
            // Being killed is nobody's fault here.
            .env("ATTEMPTS_MAX", "100")
    }

    fn is_killing(&self) -> bool {
        Instant::now() < self.kill_until
    }

    fn fault(&self, fault: String) {
        self.faults.lock().expect("whole").push(fault);
    }

    /// Writes objects, most with a notification, until processes are killed no more.
    async fn produce(&self, seed: u64) {
        let (mut content, mut notices) = (Dice::new(seed, "objects"), Dice::new(seed, "notices"));
        for number in 0.. {
            if !self.is_killing() {
                return;
            }
            let object = Object::make(number, &mut content);
            let put = self.s3.put_object().bucket(&self.bucket).key(&object.key);
            let put = put.body(object.bytes.clone().into()).send().await;
            let etag = put.expect("put").e_tag.expect("an entity tag");
            let notice = json!({ "Records": [{
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": { "name": self.bucket },
                    "object": {
                        "key": object.key,
                        "size": object.bytes.len(),
                        "eTag": etag.trim_matches('"'),
                    },
                },
            }]});
            self.objects.lock().expect("whole").push(object);
            let times = match notices.between(1, 10) {
                ..=2 => 0,
                3 => 2,
                _ => 1,
            };
            for _ in 0..times {
                let sent = self.sqs.send_message().queue_url(&self.queue);
                sent.message_body(notice.to_string())
                    .send()
                    .await
                    .expect("sent");
            }
            sleep(notices.millis(20, 300)).await;
        }
    }

    /// Receives messages and invokes ingest with them, as Lambda does, until the round is over.
    async fn work(&self, ingest: &Process, mut dice: Dice) {
        while !self.is_over.load(Ordering::Relaxed) {
            let received = self
                .sqs
                .receive_message()
                .queue_url(&self.queue)
                .max_number_of_messages(dice.between(1, 10) as i32)
                .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
                .send()
                .await;
            let messages = received.expect("an answer").messages.unwrap_or_default();
            if messages.is_empty() {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            let mut undone: BTreeSet<String> = messages.iter().map(id).collect();
            let kill_after = dice.happens(40).then(|| dice.moment(12));
            match self
                .invoke(ingest, &event(&messages), kill_after, &self.ingest_killed)
                .await
            {
                Some(answer) => {
                    let failures = answer["batchItemFailures"].as_array();
                    let failures = failures.into_iter().flatten();
                    undone = failures
                        .filter_map(|failure| failure["itemIdentifier"].as_str())
                        .map(str::to_owned)
                        .collect();
                    for message in messages
                        .iter()
                        .filter(|message| !undone.contains(&id(message)))
                    {
                        let deleted = self.sqs.delete_message().queue_url(&self.queue);
                        let receipt = message.receipt_handle().unwrap_or_default();
                        deleted
                            .receipt_handle(receipt)
                            .send()
                            .await
                            .expect("deleted");
                    }
                }
                None => self.blame_kill(&messages).await,
            }
            let mut all = self.undone.lock().expect("whole");
            for message in &messages {
                let id = id(message);
                match (undone.contains(&id), message.receipt_handle()) {
                    (true, Some(receipt)) => {
                        all.insert(id, (receipt.to_owned(), Instant::now()));
                    }
                    (true, None) | (false, _) => {
                        all.remove(&id);
                    }
                }
            }
        }
    }

    /// Invokes, and kills the process after that time if it still works then. No answer if it was killed.
    async fn invoke(
        &self,
        process: &Process,
        payload: &[u8],
        kill_after: Option<Duration>,
        killed: &AtomicU64,
    ) -> Option<Value> {
        let invoked = process.function.invoke(payload);
        tokio::pin!(invoked);
        let answer = tokio::select! {
            answer = &mut invoked => answer,
            () = sleep(kill_after.unwrap_or_default()), if kill_after.is_some() && self.is_killing() => {
                self.endpoint.note_kill(&process.name);
                process.function.kill();
                invoked.await
            }
        };
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                let is_killed =
                    error.message == "signal: killed" || error.kind == "Sandbox.Timedout";
                killed.fetch_add(u64::from(is_killed), Ordering::Relaxed);
                // A pass of reconcile fails while S3 or the ledger is away, and so it should.
                if !is_killed && !error.kind.ends_with("_unavailable") {
                    self.fault(format!(
                        "a function failed: {}: {}",
                        error.kind, error.message
                    ));
                }
                None
            }
        }
    }

    /// Notes the objects of these messages that were claimed as their process was killed.
    async fn blame_kill(&self, messages: &[Message]) {
        let rows = self.rows().await;
        let keys = messages.iter().filter_map(|message| key(message.body()?));
        let objects: BTreeSet<u32> = keys.filter_map(|key| Object::number_of(&key)).collect();
        let mut kills = self.kills.lock().expect("whole");
        for object in objects {
            if rows.get(&object).is_some_and(|row| row.state == "claimed") {
                *kills.entry(object).or_default() += 1;
            }
        }
    }

    /// Runs reconcile again and again until the round is over.
    async fn reconcile(&self, reconcile: &Process, mut dice: Dice) {
        while !self.is_over.load(Ordering::Relaxed) {
            sleep(dice.millis(500, 2_000)).await;
            let payload = br#"{"reconcile":{}}"#;
            // A pass is short.
            let kill_after = dice.happens(60).then(|| dice.moment(6));
            let passed = self.invoke(reconcile, payload, kill_after, &self.reconcile_killed);
            if let Some(report) = passed.await {
                let requeued = report["requeued"].as_u64().unwrap_or(0);
                self.found_by_reconcile
                    .fetch_add(requeued, Ordering::Relaxed);
            }
        }
    }

    /// Brings postponed messages back early until the round is over.
    async fn hurry(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(500)).await;
            let due: Vec<String> = {
                let mut undone = self.undone.lock().expect("whole");
                let is_due = |_: &String, (_, since): &mut (String, Instant)| {
                    since.elapsed() > POSTPONED_MAX
                };
                undone
                    .extract_if(.., is_due)
                    .map(|(_, (receipt, _))| receipt)
                    .collect()
            };
            for receipt in due {
                let change = self.sqs.change_message_visibility().queue_url(&self.queue);
                // It may be back already, with another receipt.
                let _ = change
                    .receipt_handle(receipt)
                    .visibility_timeout(0)
                    .send()
                    .await;
            }
        }
    }

    /// Every row of the ledger, by object.
    async fn rows(&self) -> BTreeMap<u32, Row> {
        let mut rows = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self
                .dynamodb
                .scan()
                .table_name(&self.table)
                .consistent_read(true)
                .set_exclusive_start_key(after)
                .send()
                .await
                .expect("a page");
            for item in page.items() {
                let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
                let number = |name: &str| {
                    let value = item
                        .get(name)
                        .and_then(|value: &AttributeValue| value.as_n().ok());
                    value.and_then(|number| number.parse().ok()).unwrap_or(0)
                };
                let Some(object) = text("key").and_then(|key| Object::number_of(key)) else {
                    continue;
                };
                let row = Row {
                    state: text("state").cloned().unwrap_or_default(),
                    read: number("records_read"),
                    delivered: number("records_delivered"),
                    filtered: number("records_filtered"),
                    quarantined: number("records_quarantined"),
                    text: format!("{item:?}"),
                };
                rows.insert(object, row);
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                return rows;
            }
        }
    }

    /// Waits until every object has ended, once nobody is killed any more.
    async fn settle(&self) {
        tokio::time::sleep_until(self.kill_until).await;
        self.endpoint.calm_down();
        let give_up = self.kill_until + SETTLED_WITHIN;
        loop {
            let objects = self.objects.lock().expect("whole").len();
            let rows = self.rows().await;
            let ended = rows.values().filter(|row| row.has_ended()).count();
            if ended == objects || Instant::now() > give_up {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn id(message: &Message) -> String {
    message.message_id().unwrap_or_default().to_owned()
}

/// The event with which Lambda hands messages to a function.
fn event(messages: &[Message]) -> Vec<u8> {
    let record = |message: &Message| {
        let attributes = message.attributes();
        let received = attributes
            .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
        json!({
            "messageId": message.message_id(),
            "receiptHandle": message.receipt_handle(),
            "body": message.body(),
            "attributes": { "ApproximateReceiveCount": received },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:work",
            "awsRegion": "us-east-1",
        })
    };
    let records: Vec<Value> = messages.iter().map(record).collect();
    json!({ "Records": records }).to_string().into_bytes()
}

/// The key that a message is about: a notification's, or a work item's of reconcile.
fn key(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let key = body["Records"][0]["s3"]["object"]["key"].as_str();
    key.or_else(|| body["key"].as_str()).map(str::to_owned)
}

/// One round. What it saw goes to `tally`; what must hold is checked.
pub async fn round(round: &Round, tally: &mut Tally) -> Vec<String> {
    let (_doubles, aws) = match &round.aws {
        Some(aws) => (None, aws.clone()),
        None => {
            let doubles = Aws::start().await;
            let endpoint = doubles.endpoint().clone();
            (Some(doubles), endpoint)
        }
    };
    let world = World::new(round, &aws).await;
    let ingest: Vec<Process> = (0..WORKERS)
        .map(|n| {
            world.process(
                env!("CARGO_BIN_EXE_ingest"),
                round.number,
                format!("worker-{n}"),
            )
        })
        .collect();
    let reconcile = env!("CARGO_BIN_EXE_reconcile");
    let reconcile = world.process(reconcile, round.number, "reconcile".to_owned());
    let dice = |name: &str| Dice::new(round.seed, name);
    let workers = ingest.iter().enumerate();
    let workers = workers.map(|(n, ingest)| world.work(ingest, dice(&format!("worker {n}"))));
    tokio::join!(
        world.produce(round.seed),
        futures_util::future::join_all(workers),
        world.reconcile(&reconcile, dice("reconcile")),
        world.front.trouble(dice("front"), world.kill_until),
        world.hurry(),
        world.settle(),
    );

    let logs: Vec<String> = ingest
        .iter()
        .chain([&reconcile])
        .map(|process| process.function.logs())
        .collect();
    let mut interruptions = world.kills.lock().expect("whole").clone();
    for (message, times) in [
        ("lease_lost", &mut tally.leases_lost),
        // The ledger is away: the lease runs out, and what was sent since the last checkpoint is sent again.
        ("lease not released", &mut tally.leases_not_released),
    ] {
        for object in logs.iter().flat_map(|logs| objects_with(message, logs)) {
            *times += 1;
            *interruptions.entry(object).or_default() += 1;
        }
    }
    tally.ingest_killed += world.ingest_killed.load(Ordering::Relaxed);
    tally.reconcile_killed += world.reconcile_killed.load(Ordering::Relaxed);
    tally.found_by_reconcile += world.found_by_reconcile.load(Ordering::Relaxed);
    let (times, requests) = world.front.away();
    tally.went_away += times;
    tally.requests_while_away += requests;
    let rows = world.rows().await;
    let evidence = Evidence {
        objects: &world.objects.lock().expect("whole"),
        rows: &rows,
        taken: &world.endpoint.taken(),
        listener: &world.endpoint.listener.counts(),
        interruptions: &interruptions,
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
        output: &logs.concat(),
    };
    let mut faults = evidence.check(tally);
    faults.append(&mut world.faults.lock().expect("whole"));
    faults
}

/// The objects of which processes wrote that, each time.
fn objects_with(message: &str, logs: &str) -> Vec<u32> {
    let said = logs.lines().filter(|line| line.contains(message));
    said.filter_map(|line| Object::number_of(&line[line.find("logs/0")?..]))
        .collect()
}
