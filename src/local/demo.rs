//! `brigade demo`: the whole system in one process, with nothing installed and nothing faked behind a
//! port.
//!
//! Producers put objects into an embedded S3 server through the AWS SDK; it notifies; some notifications
//! are lost, one comes twice; the pipeline carries the objects to an endpoint that answers as the Logz.io
//! listener is documented to, and is out of order for a while; reconcile finds what was lost; a checker
//! that believes nobody counts every record.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;

use self::checker::{check, described};
use self::notice::notification;
use self::producer::{CHALLENGE_KEY, IDENTITY_FIELD, Notice, Produced, Upload, produce};
use super::account::{CameBy, TotalAccount};
use super::arguments::ToolError;
use super::crew::{Crew, CrewBounds, Task};
use super::destination::{Destination, GivenToken, Way};
use super::listener::answer::Answer;
use super::listener::body::Identity;
use super::listener::{ListenerServer, Options};
use super::place::{Keep, Source};
use super::progress::Progress;
use super::s3::{ObjectCreated, S3Server};
use super::stop::Stop;
use crate::aws::{Aws, AwsSettings};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Endpoint, EndpointKind, TokenPlace, WatchedPrefix};
use crate::event::Trigger;
use crate::function::{self, ConfiguredToken, random};
use crate::ledger::sqlite::SqliteLedger;
use crate::object::WorkItem;
use crate::pipeline::{OBJECTS_HELD_MAX, Ports};
use crate::quarantine::S3Place;
use crate::quarantine::s3::S3Quarantine;
use crate::queue::memory::MemoryQueue;
use crate::reconcile::{PassReport, ReconcileBounds, Reconciler};
use crate::rules::RulesInForce;
use crate::sink::endpoint::EndpointSink;
use crate::sink::routed::RoutedSink;
use crate::store::s3::S3Store;
use crate::tls;
use crate::token::{FixedToken, Token};

mod checker;
mod notice;
mod outcome;
mod producer;

pub use self::outcome::Outcome;

/// The type of all records.
const LOG_TYPE: &str = "brigade-demo";
const LOGS: &str = "brigade-demo-logs";
const QUARANTINE: &str = "brigade-demo-quarantine";
const REGION: &str = "eu-central-1";
const WATCH: &str = "s3://brigade-demo-logs/";
/// Small, so that an object takes several requests.
const BATCH_BYTES_MAX: usize = 96 * 1024;
const OBJECTS_IN_FLIGHT_MAX: usize = 4;
const LEASE: Duration = Duration::from_secs(20);
/// Without an end in sight something is wrong, and a person has waited long enough.
const PATIENCE: Duration = Duration::from_secs(40);
/// So that a person can follow.
const PACE: Duration = Duration::from_millis(180);
const WINDOW: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How many log objects the producers write
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(6..=2_000))]
    pub objects: u32,
    /// Repeat the objects of an earlier run; by default others every time
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Show no progress; the last line of standard output is the account as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Go on serving after the account is made, until Ctrl-C, so that other commands can be tried on what
    /// is left behind
    #[arg(long)]
    pub stay: bool,
}

/// A folder of its own for the ledger, removed at the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("brigade-demo-{:016x}", random()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left in a temporary folder is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The stage: everything that runs in place of the cloud, and what stands on it.
struct Stage {
    s3: S3Server,
    client: Client,
    store: S3Store,
    listener: ListenerServer,
    token: String,
    ledger: SqliteLedger,
    crew: Arc<Crew<SqliteLedger>>,
    progress: Progress,
    folder: TempDir,
}

/// Runs the demonstration to its account.
pub async fn demo(args: &DemoArgs, stop: Stop) -> Result<Outcome, ToolError> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => random() >> 32,
    };
    let stage = Stage::build(args.json, stop).await?;
    let progress = &stage.progress;
    progress.say(&format!(
        "brigade demo, seed {seed}\n\
         1. An S3 server ({}) and a log endpoint ({}) run in this process, on loopback.",
        stage.s3.endpoint(),
        stage.listener.url()
    ));
    let produced = produce(seed, args.objects, SystemClock.now());
    let lost = produced
        .iter()
        .filter(|object| object.notice == Notice::Lost)
        .count() as u64;
    let mut total = TotalAccount::default();

    progress.say(&format!(
        "2. Producers write {} objects as Cloudflare and AWS do; {lost} notifications get lost, one comes \
         twice, and the endpoint will be out of order for a moment.",
        produced.len()
    ));
    let pace = if args.json { Duration::ZERO } else { PACE };
    stage.notify_and_carry(&produced, pace, &mut total).await?;
    let arrived = stage.listener.counts();
    progress.say(&format!(
        "   All notifications are through: {} objects carried in {} requests, {} records at the endpoint; \
         it answered {}.",
        total.objects(),
        arrived.requests,
        arrived.records,
        answers(&arrived.statuses)
    ));

    let report = stage.reconcile(&mut total).await?;
    let (again, _) = stage.pass().await?;
    progress.say(&format!(
        "   Another pass lists {} objects and finds {} missing: {} were found before, and are done.",
        again.listed, again.missing, report.requeued
    ));
    progress.finish();
    let received = stage.listener.received();
    let quarantine = stage.quarantined()?;
    let findings = check(&produced, &received, &quarantine, &total);
    let mut complaints = findings.complaints(&total, &received, lost);
    if again.missing > 0 {
        complaints.push(format!(
            "{} objects are missing after reconcile",
            again.missing
        ));
    }
    total.is_stopped = stage.crew.stop().is_asked();
    total.fatal = stage.crew.fatal();
    if let Some(failure) = &total.fatal {
        complaints.push(format!("it could not go on: {failure}"));
    } else if total.is_stopped {
        complaints.push("it was stopped before its end".to_owned());
    }
    progress.say(
        "4. The account of every object, and what a checker says that counted every record:\n",
    );
    if args.stay && complaints.is_empty() {
        stage.stay().await?;
    }
    Ok(Outcome {
        seed,
        lost,
        total,
        findings,
        kept: described(&quarantine),
        complaints,
    })
}

impl Stage {
    async fn build(quiet: bool, stop: Stop) -> Result<Self, ToolError> {
        let folder = TempDir::new().map_err(ToolError::failed)?;
        let tls = tls::client_config(None).map_err(ToolError::failed)?;
        let s3 = S3Server::start().await.map_err(ToolError::failed)?;
        for bucket in [LOGS, QUARANTINE] {
            s3.create_bucket(bucket).map_err(ToolError::failed)?;
        }
        let token = format!("demo-{:016x}", random());
        let listener = ListenerServer::start(Options {
            token: token.clone(),
            identity: Identity::Field(IDENTITY_FIELD.to_owned()),
            delay: Duration::from_millis(20),
            ..Options::default()
        });
        let listener = listener.await.map_err(ToolError::failed)?;
        let aws = Aws::load(
            AwsSettings {
                endpoint_url: Some(s3.endpoint().to_string()),
                region: Some(REGION.to_owned()),
                credentials: Some(Credentials::new("demo", "demo", None, None, "brigade demo")),
                ..AwsSettings::default()
            },
            &tls,
        );
        let aws = aws.await.map_err(ToolError::failed)?;
        let ledger = SqliteLedger::open(folder.0.join("ledger"))?;
        let destination = destination(&tls, &listener, token.clone(), &aws)?;
        let progress = Progress::new(quiet, destination.meter());
        let ports = Ports {
            store: Source::s3(aws.source_store()),
            sink: destination,
            ledger: ledger.clone(),
            quarantine: Keep::S3(S3Quarantine::new(aws.s3(), S3Place::new(QUARANTINE, ""))),
            clock: SystemClock,
            random,
        };
        let config = Config::parse(|_| None).map_err(ToolError::failed)?;
        let mut bounds = function::bounds(&config, EndpointKind::Logzio, Some(LOG_TYPE));
        bounds.lease = LEASE;
        bounds.limits.batch_bytes_max = BATCH_BYTES_MAX;
        bounds.limits.record_bytes_max = BATCH_BYTES_MAX;
        bounds.objects_in_flight_max = OBJECTS_IN_FLIGHT_MAX;
        let crew_bounds = CrewBounds {
            objects_held_max: OBJECTS_HELD_MAX,
            patience: PATIENCE,
        };
        Ok(Self {
            crew: Crew::new(ports, bounds, crew_bounds, stop),
            client: aws.s3(),
            store: aws.source_store(),
            s3,
            listener,
            token,
            ledger,
            progress,
            folder,
        })
    }

    /// Serves until it is asked to stop, and says how to reach what runs here.
    async fn stay(&self) -> Result<(), ToolError> {
        // A file, since a process's arguments are anyone's to read.
        let token = self.folder.0.join("token");
        std::fs::write(&token, &self.token).map_err(ToolError::failed)?;
        eprintln!(
            "5. It goes on serving; Ctrl-C ends it. To try other commands on what is left behind:\n\n\
             export AWS_ENDPOINT_URL={} AWS_REGION={REGION} AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo\n\
             export ENDPOINT_URL={} LEDGER={} TOKEN_FILE={}\n\
             brigade replay s3://{QUARANTINE}/ --dry-run\n\
             brigade replay s3://{QUARANTINE}/ --ledger $LEDGER --token-file $TOKEN_FILE\n",
            self.s3.endpoint(),
            self.listener.url(),
            self.folder.0.join("ledger").display(),
            token.display(),
        );
        self.crew.stop().asked().await;
        Ok(())
    }

    /// Writes every object, and carries what the notifications bring.
    async fn notify_and_carry(
        &self,
        produced: &[Produced],
        pace: Duration,
        total: &mut TotalAccount,
    ) -> Result<(), ToolError> {
        let (tasks, found) = mpsc::channel(produced.len() * 2 + 1);
        let writing = self.write_all(produced, pace, tasks);
        let carrying = self.carry(found, total);
        let (written, ()) = tokio::join!(writing, carrying);
        written
    }

    async fn write_all(
        &self,
        produced: &[Produced],
        pace: Duration,
        tasks: mpsc::Sender<Task>,
    ) -> Result<(), ToolError> {
        let mut created = self.s3.watch();
        let challenge = Bytes::from_static(b"eyJhbGciOiJub25lIn0.demo");
        self.put(CHALLENGE_KEY, challenge).await?;
        let challenge = next_log(&mut created).await?;
        self.notify(&notification(&challenge), CameBy::Notification, &tasks)
            .await?;
        for (index, object) in produced.iter().enumerate() {
            if index == produced.len() / 3 {
                self.progress
                    .say("   The endpoint is out of order: 429 with Retry-After, then 503.");
                self.listener.script(outage());
            }
            match object.upload {
                Upload::Put => self.put(&object.key, object.bytes.clone()).await?,
                Upload::Multipart => self.put_in_parts(&object.key, object.bytes.clone()).await?,
            }
            let created = next_log(&mut created).await?;
            let times = match object.notice {
                Notice::Once => 1,
                Notice::Twice => 2,
                Notice::Lost => {
                    self.progress
                        .say(&format!("   lost: the notification of {}", object.key));
                    0
                }
            };
            for _ in 0..times {
                self.notify(&notification(&created), CameBy::Notification, &tasks)
                    .await?;
            }
            tokio::time::sleep(pace).await;
        }
        Ok(())
    }

    /// Reads a payload as the ingest function does, and sends on what it asks for.
    async fn notify(
        &self,
        payload: &[u8],
        came_by: CameBy,
        tasks: &mpsc::Sender<Task>,
    ) -> Result<(), ToolError> {
        let Trigger::Direct(found) = Trigger::parse(payload).map_err(ToolError::failed)? else {
            return Err(ToolError::failed("a notification was not read as one"));
        };
        for item in found.items {
            self.progress.found();
            // An error says that the crew was asked to stop.
            let _ = tasks.send(Task { item, came_by }).await;
        }
        Ok(())
    }

    async fn carry(&self, tasks: mpsc::Receiver<Task>, total: &mut TotalAccount) {
        self.crew
            .carry_all(tasks, |_, row| {
                self.progress.done(&row);
                total.add(row);
            })
            .await;
    }

    /// Finds what no notification brought, and carries it.
    async fn reconcile(&self, total: &mut TotalAccount) -> Result<PassReport, ToolError> {
        let (report, items) = self.pass().await?;
        self.progress.say(&format!(
            "3. Reconcile lists the bucket and compares it with the ledger: {} objects listed, {} missing.",
            report.listed, report.missing
        ));
        let (tasks, found) = mpsc::channel(items.len() + 1);
        for item in items {
            let message = serde_json::to_vec(&item).map_err(ToolError::failed)?;
            self.notify(&message, CameBy::Reconcile, &tasks).await?;
        }
        drop(tasks);
        self.carry(found, total).await;
        Ok(report)
    }

    /// A pass, and the items that it sent to the queue.
    async fn pass(&self) -> Result<(PassReport, Vec<WorkItem>), ToolError> {
        let watched = WatchedPrefix::parse(WATCH).map_err(ToolError::failed)?;
        let now = SystemClock.now();
        let reconciler = Reconciler {
            store: self.store.clone(),
            ledger: self.ledger.clone(),
            queue: MemoryQueue::new(),
            clock: SystemClock,
            bounds: ReconcileBounds {
                grace: Duration::ZERO,
                queued: PATIENCE,
                pages_max: 100,
                pages_in_flight_max: 4,
                requeues_in_flight_max: 40,
                since: Some(now.minus(WINDOW)),
                retention: 2 * WINDOW,
            },
            rules: RulesInForce::default(),
        };
        let report = reconciler
            .pass(&watched, WINDOW, now.plus(PATIENCE))
            .await?;
        Ok((report, reconciler.queue.waiting()))
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), ToolError> {
        let put = self.client.put_object().bucket(LOGS).key(key);
        put.body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(not_written)?;
        Ok(())
    }

    /// As Logpush uploads: in parts, of which a small object has one.
    async fn put_in_parts(&self, key: &str, bytes: Bytes) -> Result<(), ToolError> {
        let begun = self.client.create_multipart_upload().bucket(LOGS).key(key);
        let begun = begun.send().await.map_err(not_written)?;
        let upload = begun.upload_id().unwrap_or_default();
        let part = self
            .client
            .upload_part()
            .bucket(LOGS)
            .key(key)
            .upload_id(upload);
        let part = part.part_number(1).body(ByteStream::from(bytes));
        let part = part.send().await.map_err(not_written)?;
        let part = CompletedPart::builder()
            .part_number(1)
            .set_e_tag(part.e_tag().map(str::to_owned))
            .build();
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(LOGS)
            .key(key);
        complete
            .upload_id(upload)
            .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
            .send()
            .await
            .map_err(not_written)?;
        Ok(())
    }

    /// Everything in quarantine.
    fn quarantined(&self) -> Result<Vec<(String, Bytes)>, ToolError> {
        let listed = self.s3.list(QUARANTINE, "").map_err(ToolError::failed)?;
        Ok(listed
            .into_iter()
            .map(|(name, object)| (name, object.bytes.clone()))
            .collect())
    }
}

/// The next object in the bucket of the logs; what quarantine writes notifies nobody.
async fn next_log(
    created: &mut mpsc::UnboundedReceiver<ObjectCreated>,
) -> Result<ObjectCreated, ToolError> {
    while let Some(created) = created.recv().await {
        if created.bucket == LOGS {
            return Ok(created);
        }
    }
    Err(ToolError::failed("the embedded S3 server stopped"))
}

fn destination(
    tls: &rustls::ClientConfig,
    listener: &ListenerServer,
    token: String,
    aws: &Aws,
) -> Result<Destination, ToolError> {
    let token = Token::new(token);
    let endpoint = Endpoint {
        url: listener.url().clone(),
        kind: EndpointKind::Logzio,
        token: Some(TokenPlace::Given(token.clone())),
        log_type: Some(LOG_TYPE.to_owned()),
    };
    let client = tls::http_client(tls).map_err(ToolError::failed)?;
    let given = GivenToken::Fixed(FixedToken(token));
    let sink = EndpointSink::new(client.clone(), &endpoint, Some(given))
        .ok_or_else(|| ToolError::failed("the endpoint of the demonstration wants a token"))?;
    let aws = aws.config().clone();
    let token = move |place: &_| ConfiguredToken::new(place, &aws).map(GivenToken::Configured);
    let sink = RoutedSink::new(sink, client, Box::new(token));
    Ok(Destination::new(Way::Endpoint(sink)))
}

/// Some requests are put off, some fail: none is lost by it.
fn outage() -> Vec<Answer> {
    let put_off = || Answer::status(429).header("Retry-After", "1");
    vec![
        put_off(),
        put_off(),
        Answer::status(503),
        Answer::status(503),
    ]
}

fn answers(statuses: &std::collections::BTreeMap<u16, u64>) -> String {
    let texts: Vec<String> = statuses
        .iter()
        .map(|(status, times)| format!("{status} {times} times"))
        .collect();
    texts.join(", ")
}

fn not_written<E: std::error::Error + 'static>(error: E) -> ToolError {
    ToolError::Failed(format!(
        "failed to write an object: {}",
        DisplayErrorContext(error)
    ))
}
