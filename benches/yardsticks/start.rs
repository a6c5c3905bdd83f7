//! What the ingest function does before its first poll, step by step, in a fresh process.

use bucket_brigade::config::IngestConfig;
use bucket_brigade::function::{self, ConfiguredToken};
use bucket_brigade::queue::sqs::SqsQueue;
use bucket_brigade::sink::endpoint::EndpointSink;
use bucket_brigade::telemetry::start_logging;
use bucket_brigade::tls;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Outcome;

pub async fn run() -> Outcome<Value> {
    let mut steps = Vec::new();
    let mut last = Instant::now();
    let mut done = |step: &str| {
        let now = Instant::now();
        steps.push(json!({ "step": step, "seconds": (now - last).as_secs_f64() }));
        last = now;
    };
    let settings = IngestConfig::from_env()?;
    done("settings");
    start_logging(settings.config.log_format, settings.config.log_level);
    done("logging");
    let tls = tls::client_config(settings.config.ca_file.as_deref())?;
    done("TLS configuration");
    let http = tls::http_client(&tls)?;
    done("HTTP client of the sink");
    let aws = function::aws(&settings.config, &tls).await?;
    done("AWS configuration");
    let token = settings.endpoint.token.as_ref();
    let token = token.map(|place| ConfiguredToken::new(place, aws.config()));
    let sink = EndpointSink::new(http, &settings.endpoint, token.transpose()?);
    done("sink");
    let store = aws.source_store();
    done("S3 client of the sources");
    let quarantine = aws.s3();
    done("S3 client of the quarantine");
    let ledger = aws.dynamodb();
    done("DynamoDB client");
    let queue = SqsQueue::new(aws.sqs(), "https://sqs/queue", None);
    done("SQS client");
    drop((sink, store, quarantine, ledger, queue));
    Ok(Value::Array(steps))
}
