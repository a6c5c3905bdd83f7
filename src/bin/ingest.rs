//! The notification handler: wiring only.

use std::process::ExitCode;
use std::sync::Arc;

use bucket_brigade::clock::SystemClock;
use bucket_brigade::config::{IngestConfig, TokenPlace};
use bucket_brigade::function::{self, ConfiguredToken, StartError};
use bucket_brigade::invocation::{Answer, Ingest};
use bucket_brigade::ledger::dynamodb::DynamoLedger;
use bucket_brigade::pipeline::{Pipeline, Ports};
use bucket_brigade::quarantine::s3::S3Quarantine;
use bucket_brigade::queue::sqs::SqsQueue;
use bucket_brigade::rulebook::{Kept, Rulebook};
use bucket_brigade::sink::endpoint::EndpointSink;
use bucket_brigade::sink::routed::RoutedSink;
use bucket_brigade::store::s3::S3Store;
use bucket_brigade::telemetry::{Metric, Metrics, start_logging_together};
use bucket_brigade::tls;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;

type Handler = Ingest<
    S3Store,
    Arc<RoutedSink<ConfiguredToken>>,
    DynamoLedger,
    S3Quarantine,
    SystemClock,
    SqsQueue,
>;

type Book = Rulebook<S3Store, S3Quarantine>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    function::exit_code(run().await)
}

async fn run() -> Result<(), StartError> {
    let settings = IngestConfig::from_env()?;
    let (format, level) = (settings.config.log_format, settings.config.log_level);
    let log_lines = start_logging_together(format, level);
    let (handler, rulebook) = handler(&settings).await?;
    let (handler, rulebook) = (Arc::new(handler), Arc::new(rulebook));
    let config = Arc::new(settings.config);
    let pipeline = Arc::clone(&handler.pipeline);
    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let (handler, config) = (Arc::clone(&handler), Arc::clone(&config));
        let rulebook = Arc::clone(&rulebook);
        async move {
            let (rules, metrics) = (handler.pipeline.rules(), &handler.metrics);
            let looked = function::look_at_rules(&rulebook, rules, metrics).await;
            if let Err(failure) = looked {
                function::publish(metrics);
                return Err(function::failure_diagnostic(&failure));
            }
            let deadline = function::deadline(&event.context, &config);
            let payload = event.payload.get().as_bytes();
            let worker = &event.context.request_id;
            let answer = handler.invoke(payload, worker, deadline).await;
            let unmatched = handler.pipeline.take_unmatched();
            handler.metrics.add(Metric::ObjectsUnmatched, unmatched);
            function::publish(&handler.metrics);
            match answer {
                Ok(Answer::Messages(answer)) => Ok(serde_json::json!(answer)),
                Ok(Answer::Done) => Ok(serde_json::json!({ "done": true })),
                Ok(Answer::Replayed(report)) => Ok(serde_json::json!(report)),
                // The runtime logs it.
                Err(error) => Err(function::diagnostic(&error)),
            }
        }
    });
    function::serve(service, || pipeline.stop(), &log_lines).await
}

async fn handler(settings: &IngestConfig) -> Result<(Handler, Book), StartError> {
    let config = &settings.config;
    let tls = tls::client_config(config.ca_file.as_deref()).map_err(StartError::because)?;
    let http = tls::http_client(&tls).map_err(StartError::because)?;
    let aws = function::aws(config, &tls).await?;
    let token = settings
        .endpoint
        .token
        .as_ref()
        .map(|place| ConfiguredToken::new(place, aws.config()))
        .transpose()
        .map_err(StartError::because)?;
    let sink = EndpointSink::new(http.clone(), &settings.endpoint, token)
        .ok_or_else(|| StartError::because("the endpoint's kind needs a token"))?;
    let aws_config = aws.config().clone();
    let make_token = move |place: &TokenPlace| ConfiguredToken::new(place, &aws_config);
    let sink = RoutedSink::new(sink, http, Box::new(make_token));
    let ports = Ports {
        store: aws.source_store(),
        sink: Arc::new(sink),
        ledger: DynamoLedger::new(aws.dynamodb(), settings.ledger_table.clone()),
        quarantine: S3Quarantine::new(aws.s3(), settings.quarantine.clone()),
        clock: SystemClock,
        random: function::random,
    };
    let queue = settings.queues.as_ref().map(|queues| {
        let dead_letter = Some(queues.dead_letter_url.clone());
        SqsQueue::new(aws.sqs(), &queues.work_url, dead_letter)
    });
    let log_type = settings.endpoint.log_type.as_deref();
    let bounds = function::bounds(config, settings.endpoint.kind, log_type);
    let kept = Kept {
        store: S3Store::new(aws.s3()),
        quarantine: S3Quarantine::new(aws.s3(), settings.quarantine.clone()),
        is_written: true,
    };
    let rulebook = function::rulebook(config, &aws, Some(kept))?;
    let handler = Ingest {
        pipeline: Pipeline::new(ports, bounds),
        queue,
        queued: config.queued,
        metrics: Metrics::new(&config.metrics_service),
    };
    Ok((handler, rulebook))
}
