//! The process that is measured: one pass, and what it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use bucket_brigade::aws::{Aws, AwsSettings};
use bucket_brigade::clock::{Clock as _, SystemClock};
use bucket_brigade::config::{Config, SourceAccess, WatchedPrefix};
use bucket_brigade::ledger::Ledger;
use bucket_brigade::ledger::dynamodb::DynamoLedger;
use bucket_brigade::ledger::sqlite::SqliteLedger;
use bucket_brigade::queue::memory::MemoryQueue;
use bucket_brigade::reconcile::{ReconcileBounds, Reconciler, WINDOW_DEFAULT};
use bucket_brigade::rules::RulesInForce;
use bucket_brigade::store::s3::S3Store;
use bucket_brigade::tls;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::ledger::{CountedLedger, TABLE};
use crate::{BUCKET, Outcome, PREFIX};

/// What a pass took; written as JSON to standard output.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub listed: u64,
    pub requeued: u64,
    pub wall_ms: u64,
    /// Of the whole process, its start included.
    pub cpu_ms: u64,
    pub listings: u64,
    /// Requests to DynamoDB, or calls of SQLite.
    pub ledger_requests: u64,
    /// The most that was resident at a time.
    pub peak_bytes: u64,
}

/// One pass with the settings' defaults, but for the number of pages.
pub async fn pass(s3: &Url, kind: &str, place: &str) -> Outcome<()> {
    let listings = Requests::default();
    let source = aws(s3).await?.source_s3();
    let counted = source.config().to_builder().interceptor(listings.clone());
    let store = S3Store::new(aws_sdk_s3::Client::from_conf(counted.build()));
    let requests = Requests::default();
    let mut measured = match kind {
        "file" => {
            let ledger = CountedLedger::new(SqliteLedger::open(place)?, requests.clone());
            pass_over(store, ledger).await?
        }
        _ => {
            let client = aws(&place.parse()?).await?.dynamodb();
            let counted = client.config().to_builder().interceptor(requests.clone());
            let client = aws_sdk_dynamodb::Client::from_conf(counted.build());
            pass_over(store, DynamoLedger::new(client, TABLE.to_owned())).await?
        }
    };
    measured.listings = listings.count();
    measured.ledger_requests = requests.count();
    (measured.cpu_ms, measured.peak_bytes) = process()?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn pass_over<L: Ledger>(store: S3Store, ledger: L) -> Outcome<Measured> {
    let config = Config::parse(|_| None)?;
    let reconciler = Reconciler {
        store,
        ledger,
        queue: MemoryQueue::new(),
        clock: SystemClock,
        bounds: ReconcileBounds {
            grace: config.grace,
            queued: config.queued,
            pages_max: u32::MAX,
            pages_in_flight_max: config.pages_in_flight_max.get(),
            requeues_in_flight_max: config.requeues_in_flight_max.get(),
            since: Some(SystemClock.now().minus(WINDOW_DEFAULT)),
            retention: config.retention,
        },
        rules: RulesInForce::default(),
    };
    let watched = WatchedPrefix::parse(&format!("s3://{BUCKET}/{PREFIX}"))?;
    let begin = SystemClock.now();
    let stop_at = begin.plus(Duration::from_secs(3_600));
    let report = reconciler.pass(&watched, WINDOW_DEFAULT, stop_at).await?;
    let wall = SystemClock.now().since(begin);
    Ok(Measured {
        listed: report.listed,
        requeued: report.requeued,
        wall_ms: u64::try_from(wall.as_millis())?,
        cpu_ms: 0,
        listings: 0,
        ledger_requests: 0,
        peak_bytes: 0,
    })
}

/// The adapters at a local AWS.
pub async fn aws(endpoint: &Url) -> Outcome<Aws> {
    let settings = AwsSettings {
        endpoint_url: Some(endpoint.to_string()),
        region: Some("us-east-1".to_owned()),
        profile: None,
        credentials: Some(Credentials::new("any", "any", None, None, "scale")),
        source: SourceAccess::Own,
    };
    Ok(Aws::load(settings, &tls::client_config(None)?).await?)
}

/// Counts requests, each repetition as one more.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<AtomicU64>);

impl Requests {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "Requests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.add();
        Ok(())
    }
}

/// CPU time in milliseconds, and peak memory in bytes, of this process, as Linux tells them (proc(5)).
fn process() -> Outcome<(u64, u64)> {
    const TICKS_PER_SEC: u64 = 100;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may hold anything; behind it, fields 14 and 15 are the 12th and 13th.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .ok_or("no VmHWM")?;
    Ok((ticks * 1_000 / TICKS_PER_SEC, peak.parse::<u64>()? * 1_024))
}
