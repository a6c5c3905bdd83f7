//! The two functions as processes, driven as Lambda drives them, against AWS in this process.
#![cfg(feature = "local")]

use std::collections::BTreeSet;
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint};
use bucket_brigade::clock::{Clock as _, SystemClock, Timestamp};
use bucket_brigade::ledger::dynamodb::DynamoLedger;
use bucket_brigade::ledger::{Claim, Ledger as _, Owner, State};
use bucket_brigade::local::listener::answer::Answer;
use bucket_brigade::local::listener::body::{Identity, Scrutiny};
use bucket_brigade::local::listener::{ListenerServer, Options};
use bucket_brigade::local::s3::PutOptions;
use bucket_brigade::object::{ContentId, Etag, WorkItem};
use serde_json::{Value, json};

use crate::cloudflare::cloudflare_like;
use crate::support::aws::Aws;
use crate::support::aws::sqs::QueueOptions;
use crate::support::runtime_api::{Function, LambdaProcess};
use crate::support::sdk;
use crate::world::{gzip, lines, records};

pub const BUCKET: &str = "example-logs";
const TABLE: &str = "ledger";
const TOKEN: &str = "s3cr3t-t0ken/with+odd=characters";
const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf";

/// AWS, an endpoint, and the functions between them.
pub struct Deployment {
    pub aws: Aws,
    pub listener: ListenerServer,
    ledger: DynamoLedger,
}

impl Deployment {
    pub async fn new(options: Options) -> Self {
        let aws = Aws::start().await;
        aws.s3.create_bucket(BUCKET).expect("a bucket");
        aws.s3.create_bucket("quarantine").expect("a bucket");
        aws.sqs.create_queue("work", QueueOptions::default());
        aws.sqs
            .create_queue("dead-letters", QueueOptions::default());
        aws.secrets.set_secret(SECRET, TOKEN);
        let client = aws_sdk_dynamodb::Client::new(&sdk::shared(aws.endpoint()));
        sdk::create_ledger_table(&client, TABLE).await;
        let listener = ListenerServer::start(Options {
            token: TOKEN.to_owned(),
            ..options
        })
        .await
        .expect("a listener");
        Self {
            ledger: DynamoLedger::new(client, TABLE.to_owned()),
            aws,
            listener,
        }
    }

    pub fn function(&self, binary: &str, timeout: Duration) -> Function {
        Function::new(binary, timeout)
            .env("AWS_ENDPOINT_URL", self.aws.endpoint().as_str())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAANY")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("LEDGER_TABLE", TABLE)
            .env("QUEUE_URL", self.aws.sqs.queue_url("work"))
            .env(
                "DEAD_LETTER_QUEUE_URL",
                self.aws.sqs.queue_url("dead-letters"),
            )
            .env("QUARANTINE_URL", "s3://quarantine/kept")
            .env("ENDPOINT_URL", self.listener.url().as_str())
            .env("ENDPOINT_TOKEN_ARN", SECRET)
            .env("WATCH", format!("s3://{BUCKET}/"))
            .env("DEADLINE_MARGIN_MS", "1000")
    }

    pub fn ingest(&self, timeout: Duration) -> LambdaProcess {
        LambdaProcess::new(self.function(env!("CARGO_BIN_EXE_ingest"), timeout))
    }

    pub fn put(&self, key: &str, content: Vec<u8>) -> ContentId {
        let size = content.len() as u64;
        let object = self.aws.s3.put(BUCKET, key, content).expect("put");
        ContentId {
            bucket: BUCKET.to_owned(),
            key: key.to_owned(),
            etag: Etag::from(object.etag.as_str()),
            size,
        }
    }

    pub async fn state(&self, content: &ContentId) -> Option<State> {
        let now = SystemClock.now();
        let rows = self
            .ledger
            .range(BUCKET, &content.key, &content.key, now)
            .await;
        rows.expect("rows")
            .into_iter()
            .find(|row| row.content == *content)
            .map(|row| row.state)
    }

    /// Every row of the ledger and every entry in quarantine, as text.
    async fn everything_kept(&self) -> String {
        let client = aws_sdk_dynamodb::Client::new(&sdk::shared(self.aws.endpoint()));
        let rows = client.scan().table_name(TABLE).send().await.expect("rows");
        let kept = self.aws.s3.list("quarantine", "").expect("a listing");
        let kept: Vec<_> = kept
            .iter()
            .map(|(key, object)| (key, String::from_utf8_lossy(&object.bytes)))
            .collect();
        format!("{:?} {kept:?}", rows.items())
    }

    pub fn quarantined(&self) -> Vec<String> {
        let kept = self.aws.s3.list("quarantine", "kept/").expect("a listing");
        kept.into_iter().map(|(key, _)| key).collect()
    }
}

pub fn by_ray_id() -> Options {
    Options {
        identity: Identity::Field("RayID".to_owned()),
        ..Options::default()
    }
}

pub fn item(content: &ContentId) -> Vec<u8> {
    serde_json::to_vec(&WorkItem::from(content.clone())).expect("JSON")
}

pub fn sqs_event(bodies: &[Vec<u8>]) -> Vec<u8> {
    let messages: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| {
            json!({
                "messageId": format!("message-{n}"),
                "receiptHandle": format!("receipt-{n}"),
                "body": String::from_utf8_lossy(body),
                "attributes": { "ApproximateReceiveCount": "1" },
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:work",
            })
        })
        .collect();
    json!({ "Records": messages }).to_string().into_bytes()
}

pub fn failed(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"]
        .as_array()
        .expect("an answer to messages");
    failures
        .iter()
        .filter_map(|failure| failure["itemIdentifier"].as_str())
        .collect()
}

/// The samples to try: one if `EVENT` names it, as `make invoke` does, else all.
#[expect(
    clippy::disallowed_methods,
    reason = "what to try is a matter of the run"
)]
fn sample_events() -> Vec<(String, Vec<u8>)> {
    let wanted = std::env::var("EVENT").ok();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/events");
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name");
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            samples.push((name.to_owned(), std::fs::read(&path).expect("a file")));
        }
    }
    assert!(!samples.is_empty(), "no such event: {wanted:?}");
    samples
}

#[tokio::test]
async fn every_sample_event_is_answered() {
    let deployment = Deployment::new(Options::default()).await;
    // The one object whose sample names no entity tag, so that any content will do.
    let manual = include_str!("../../events/manual.json");
    let manual: WorkItem = serde_json::from_str(manual).expect("an item");
    deployment.put(&manual.key, gzip(&lines(&records(3))));
    let ingest = deployment.ingest(Duration::from_secs(20));
    let reconcile = deployment.function(env!("CARGO_BIN_EXE_reconcile"), Duration::from_secs(20));
    let reconcile = LambdaProcess::new(reconcile);
    for (name, payload) in sample_events() {
        let is_schedule = name.starts_with("schedule");
        let function = if is_schedule { &reconcile } else { &ingest };
        let answer = function
            .invoke(&payload)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        println!("{name}: {answer}");
        if name.contains("sqs") {
            // None of the objects exists, so there is nothing to do and nothing to come back.
            assert_eq!(failed(&answer), [""; 0], "{name}");
        }
    }
    assert!(ingest.starts() <= 1 && reconcile.starts() <= 1);
    print!("{}{}", ingest.logs(), reconcile.logs());
}

#[tokio::test]
async fn over_sqs_of_five_messages_only_the_one_that_can_succeed_later_comes_back() {
    let deployment = Deployment::new(by_ray_id()).await;
    let records = records(300);
    let good = [
        deployment.put("logs/good-1.gz", gzip(&lines(&records[..100]))),
        deployment.put("logs/good-2.log", lines(&records[100..150])),
    ];
    let whole = gzip(&lines(&records[150..250]));
    let truncated = deployment.put("logs/truncated.gz", whole[..whole.len() - 20].to_vec());
    let later = deployment.put("logs/later.log", b"{\"RayID\":\"later\"}\n".to_vec());
    deployment
        .listener
        .answer_containing("\"later\"", Answer::status(503));
    let ingest = deployment.ingest(Duration::from_secs(5));
    let payload = sqs_event(&[
        item(&good[0]),
        item(&truncated),
        b"{ malformed".to_vec(),
        item(&later),
        item(&good[1]),
    ]);
    let answer = ingest.invoke(&payload).await.expect("an answer");
    assert_eq!(failed(&answer), ["message-3"]);
    assert_eq!(deployment.state(&good[0]).await, Some(State::Settled));
    assert_eq!(deployment.state(&good[1]).await, Some(State::Settled));
    assert_eq!(deployment.state(&truncated).await, Some(State::Quarantined));
    assert!(matches!(
        deployment.state(&later).await,
        Some(State::Queued { .. })
    ));
    let quarantined = deployment.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert!(
        quarantined[0].starts_with("kept/objects/example-logs/"),
        "{quarantined:?}"
    );
    let dead = deployment.aws.sqs.messages("dead-letters");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].body, "{ malformed");
    let logs = ingest.logs();
    let published = logs
        .lines()
        .filter(|line| line.contains("\"BucketBrigade\""));
    assert_eq!(
        published.count(),
        2,
        "what was quarantined at once, the rest at the end: {logs}"
    );

    deployment.listener.clear_script();
    let answer = ingest
        .invoke(&sqs_event(&[item(&later)]))
        .await
        .expect("an answer");
    assert_eq!(failed(&answer), [""; 0]);
    assert_eq!(deployment.listener.received().duplicates(), 0);
    assert_eq!(deployment.listener.received().times(b"later"), 1);
}

#[tokio::test]
async fn h2_p11_with_a_wrong_token_nothing_is_settled_and_after_the_secret_changed_it_is_delivered()
{
    let deployment = Deployment::new(by_ray_id()).await;
    let wrong = "wr0ng-t0ken/also+secret";
    deployment.aws.secrets.set_secret(SECRET, wrong);
    let content = deployment.put("logs/a.gz", gzip(&lines(&records(10))));
    let ingest = deployment.ingest(Duration::from_secs(10));
    let payload = sqs_event(&[item(&content)]);
    let answer = ingest.invoke(&payload).await.expect("an answer");
    assert_eq!(failed(&answer), ["message-0"]);
    assert!(matches!(
        deployment.state(&content).await,
        Some(State::Queued { .. })
    ));
    assert_eq!(deployment.quarantined(), [""; 0]);
    let logs = ingest.logs();
    let errors: Vec<&str> = logs
        .lines()
        .filter(|line| line.contains("\"ERROR\""))
        .collect();
    assert_eq!(errors.len(), 1, "{logs}");
    assert!(
        errors[0].contains("401") && errors[0].contains("endpoint_refused"),
        "{errors:?}"
    );
    assert!(logs.contains("\"FatalErrors\":1"), "{logs}");

    deployment.aws.secrets.set_secret(SECRET, TOKEN);
    let answer = ingest.invoke(&payload).await.expect("an answer");
    assert_eq!(failed(&answer), [""; 0]);
    assert_eq!(deployment.state(&content).await, Some(State::Settled));
    assert_eq!(deployment.listener.received().distinct(), 10);
    let logs = ingest.logs();
    let rows = deployment.everything_kept().await;
    assert!(rows.contains("settled"), "{rows}");
    for secret in [wrong, TOKEN, "wr0ng-t0ken", "s3cr3t-t0ken"] {
        // Its log lines and metrics are both in what it wrote.
        assert!(!logs.contains(secret), "{logs}");
        assert!(!rows.contains(secret), "{rows}");
    }
}

#[tokio::test]
async fn reconcile_sends_exactly_the_37_of_10_000_objects_that_were_never_notified() {
    let deployment = Deployment::new(Options::default()).await;
    let now = SystemClock.now();
    let mut missing = BTreeSet::new();
    for n in 0..10_000_u32 {
        let key = format!("logs/{:04}/{n:05}.log", n % 97);
        let options = PutOptions {
            last_modified: Some(now.minus(Duration::from_secs(600 + u64::from(n) % 1_000))),
            ..PutOptions::default()
        };
        let line = format!("{{\"n\":{n}}}\n").into_bytes();
        let size = line.len() as u64;
        let object = deployment
            .aws
            .s3
            .put_with(BUCKET, &key, line, options)
            .expect("put");
        let content = ContentId {
            bucket: BUCKET.to_owned(),
            key,
            etag: Etag::from(object.etag.as_str()),
            size,
        };
        if n % 271 == 13 {
            missing.insert(content.key);
        } else {
            settle(&deployment.ledger, &content, now).await;
        }
    }
    assert_eq!(missing.len(), 37);

    let function = deployment.function(env!("CARGO_BIN_EXE_reconcile"), Duration::from_secs(60));
    let reconcile = LambdaProcess::new(function);
    let pass = async || {
        reconcile
            .invoke(br#"{"reconcile":{}}"#)
            .await
            .expect("a report")
    };
    let report = pass().await;
    assert_eq!(
        (&report["listed"], &report["missing"]),
        (&json!(10_000), &json!(37))
    );
    assert_eq!(
        (&report["requeued"], &report["complete"]),
        (&json!(37), &json!(true))
    );
    let messages = deployment.aws.sqs.messages("work");
    let queued: Vec<WorkItem> = messages
        .iter()
        .map(|message| serde_json::from_str(&message.body).expect("an item"))
        .collect();
    assert_eq!(queued.len(), 37);
    let keys: BTreeSet<String> = queued.iter().map(|item| item.key.clone()).collect();
    assert_eq!(keys, missing);

    assert_eq!(pass().await["missing"], 0, "run again at once");
    let ingest = deployment.ingest(Duration::from_secs(30));
    let bodies: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| message.body.clone().into_bytes())
        .collect();
    let answer = ingest.invoke(&sqs_event(&bodies)).await.expect("an answer");
    assert_eq!(failed(&answer), [""; 0]);
    assert_eq!(deployment.listener.counts().records, 37);
    assert_eq!(pass().await["missing"], 0, "after ingest");
    assert_eq!(deployment.aws.sqs.messages("work").len(), 37);
}

async fn settle(ledger: &DynamoLedger, content: &ContentId, now: Timestamp) {
    let lease = Duration::from_secs(60);
    let claim = ledger
        .claim(content, &Owner::new("test", 1), now, lease)
        .await;
    let Ok(Claim::Granted(grant)) = claim else {
        panic!("not granted: {claim:?}");
    };
    assert_eq!(grant.checkpoint, Checkpoint::default());
    let expires = now.plus(Duration::from_secs(86_400));
    let settled = ledger
        .settle(&grant.lease, &Account::default(), now, expires)
        .await;
    settled.expect("settled");
}

#[tokio::test]
async fn a_function_without_its_settings_names_every_problem_and_starts_nothing() {
    let function = Function::new(env!("CARGO_BIN_EXE_ingest"), Duration::from_secs(5))
        .env("ENDPOINT_URL", "http://example.com/")
        .env("LEASE_MS", "soon");
    let ingest = LambdaProcess::new(function);
    ingest.invoke(b"{}").await.expect_err("it cannot start");
    let logs = ingest.logs();
    for problem in [
        "ENDPOINT_URL",
        "LEASE_MS",
        "LEDGER_TABLE",
        "QUARANTINE_URL",
        "setting_wrong",
    ] {
        assert!(logs.contains(problem), "{problem}: {logs}");
    }
}

/// Plain bytes of the large object: 2 GB with `BRIGADE_TEST_PLAIN_BYTES=2147483648`, as `make large`
/// sets it, less in an ordinary run.
#[expect(
    clippy::disallowed_methods,
    reason = "the size of a test is a matter of its run"
)]
fn plain_bytes() -> usize {
    let given = std::env::var("BRIGADE_TEST_PLAIN_BYTES").ok();
    given.map_or(100 << 20, |bytes| bytes.parse().expect("a number of bytes"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o11_a_large_object_is_delivered_whole_in_bounded_memory_and_its_redelivery_sends_nothing()
{
    const MEMORY_BYTES_MAX: u64 = 64 << 20;
    let (object, count) = tokio::task::spawn_blocking(|| cloudflare_like(plain_bytes()))
        .await
        .expect("an object");
    println!(
        "{} plain bytes, {} compressed, {count} records",
        plain_bytes(),
        object.len()
    );
    let object = bytes::Bytes::from(object);
    for delay in [Duration::ZERO, Duration::from_millis(50)] {
        let deployment = Deployment::new(Options {
            scrutiny: Scrutiny::Brackets,
            delay,
            ..by_ray_id()
        })
        .await;
        let stored = deployment
            .aws
            .s3
            .put(BUCKET, "logs/large.log.gz", object.clone())
            .expect("put");
        let content = ContentId {
            bucket: BUCKET.to_owned(),
            key: "logs/large.log.gz".to_owned(),
            etag: Etag::from(stored.etag.as_str()),
            size: object.len() as u64,
        };
        let ingest = deployment.ingest(Duration::from_secs(600));
        let payload = sqs_event(&[item(&content)]);
        let answer = ingest.invoke(&payload).await.expect("an answer");
        assert_eq!(failed(&answer), [""; 0], "{}", ingest.logs());
        let received = deployment.listener.received();
        assert_eq!((received.distinct(), received.duplicates()), (count, 0));
        assert_eq!(received.counts.second_members, 0);
        assert_eq!(deployment.state(&content).await, Some(State::Settled));
        let rows = deployment.aws.dynamodb.items(TABLE);
        let row = format!("{rows:?}");
        assert!(row.contains(&count.to_string()), "{row}");

        let answer = ingest.invoke(&payload).await.expect("an answer");
        assert_eq!(failed(&answer), [""; 0]);
        assert_eq!(
            deployment.listener.counts().requests,
            received.counts.requests
        );
        let peak = ingest.peak_memory_bytes();
        println!(
            "delay {delay:?}: {} requests, peak memory {} KiB",
            received.counts.requests,
            peak >> 10
        );
        assert!(peak < MEMORY_BYTES_MAX, "peak memory {peak} bytes");
    }
}

/// Records that a compressor makes hardly any shorter.
fn noisy_records(object: usize, bytes: usize) -> Vec<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = || (0..10).map(|n| LETTERS[(crate::world::random() >> (6 * n)) as usize % 64]);
    let record = |n| {
        let noise: Vec<u8> = (0..100).flat_map(|_| letters()).collect();
        let id = format!("{{\"RayID\":\"{object:04}{n:012}\",\"x\":\"");
        [id.as_bytes(), &noise, b"\"}"].concat()
    };
    (0..bytes / 1_040).map(record).collect()
}

/// Large objects and small ones, in the smallest function there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o11_a_function_of_128_mb_carries_what_does_not_compress_within_its_memory() {
    let deployment = Deployment::new(Options {
        scrutiny: Scrutiny::Brackets,
        delay: Duration::from_millis(50),
        ..by_ray_id()
    })
    .await;
    let function = deployment
        .function(env!("CARGO_BIN_EXE_ingest"), Duration::from_secs(120))
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
    let ingest = LambdaProcess::new(function);
    let first = deployment.put("logs/first", lines(&noisy_records(9_999, 10_000)));
    let answer = ingest.invoke(&sqs_event(&[item(&first)])).await;
    assert_eq!(failed(&answer.expect("an answer")), [""; 0]);
    println!(
        "small: peak memory {} KiB",
        ingest.peak_memory_bytes() >> 10
    );

    let mut count = 9;
    let mut bodies = Vec::new();
    for (n, bytes) in [&[40 << 20; 3][..], &[100_000; 60]]
        .concat()
        .iter()
        .enumerate()
    {
        let records = noisy_records(n, *bytes);
        count += records.len() as u64;
        bodies.push(item(
            &deployment.put(&format!("logs/{n}"), gzip(&lines(&records))),
        ));
    }
    let answer = ingest.invoke(&sqs_event(&bodies)).await.expect("an answer");
    assert_eq!(failed(&answer), [""; 0], "{}", ingest.logs());
    let received = deployment.listener.received();
    assert_eq!((received.distinct(), received.duplicates()), (count, 0));
    let peak = ingest.peak_memory_bytes();
    println!(
        "{} requests, peak memory {} KiB",
        received.counts.requests,
        peak >> 10
    );
    assert!(peak < 128 << 20, "peak memory {peak} bytes");
}

#[tokio::test]
async fn a_hundred_small_objects_of_one_batch_of_messages_are_two_requests() {
    let deployment = Deployment::new(by_ray_id()).await;
    let records = records(100 * 2_000);
    let bodies: Vec<Vec<u8>> = records
        .chunks(2_000)
        .enumerate()
        .map(|(n, records)| item(&deployment.put(&format!("logs/{n}.gz"), gzip(&lines(records)))))
        .collect();
    assert_eq!(bodies.len(), 100);
    let ingest = deployment.ingest(Duration::from_secs(60));
    let answer = ingest.invoke(&sqs_event(&bodies)).await.expect("an answer");
    assert_eq!(failed(&answer), [""; 0], "{}", ingest.logs());
    let received = deployment.listener.received();
    assert_eq!((received.distinct(), received.duplicates()), (200_000, 0));
    assert_eq!(received.counts.second_members, 0);
    assert!(
        received.counts.requests <= 2,
        "{} requests",
        received.counts.requests
    );
}

#[tokio::test]
async fn the_key_of_must_show_arrives_through_a_queue_as_it_is() {
    let deployment = Deployment::new(by_ray_id()).await;
    let key = "dir a/k+ey é日 %41.json.gz";
    let content = deployment.put(key, gzip(&lines(&records(7))));
    let ingest = deployment.ingest(Duration::from_secs(10));
    let s3_event = json!({
        "Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": { "name": BUCKET },
                "object": {
                    "key": "dir+a/k%2Bey+%C3%A9%E6%97%A5+%2541.json.gz",
                    "size": content.size,
                    "eTag": content.etag.as_str(),
                },
            },
        }],
    });
    let answer = ingest
        .invoke(&sqs_event(&[s3_event.to_string().into_bytes()]))
        .await
        .expect("an answer");
    assert_eq!(failed(&answer), [""; 0], "{}", ingest.logs());
    assert_eq!(deployment.state(&content).await, Some(State::Settled));
    assert_eq!(deployment.listener.received().distinct(), 7);
}
