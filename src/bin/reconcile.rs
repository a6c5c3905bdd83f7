//! The scheduled handler: wiring only.

use std::process::ExitCode;
use std::sync::Arc;

use bucket_brigade::clock::SystemClock;
use bucket_brigade::config::ReconcileConfig;
use bucket_brigade::event::Trigger;
use bucket_brigade::function::{self, StartError};
use bucket_brigade::ledger::dynamodb::DynamoLedger;
use bucket_brigade::quarantine::s3::S3Quarantine;
use bucket_brigade::queue::sqs::SqsQueue;
use bucket_brigade::reconcile::{ReconcileBounds, Reconciler, WINDOW_DEFAULT};
use bucket_brigade::rulebook::Kept;
use bucket_brigade::rules::RulesInForce;
use bucket_brigade::store::s3::S3Store;
use bucket_brigade::telemetry::{Metrics, start_logging};
use bucket_brigade::tls;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    function::exit_code(run().await)
}

async fn run() -> Result<(), StartError> {
    let settings = ReconcileConfig::from_env()?;
    let config = &settings.config;
    start_logging(config.log_format, config.log_level);
    let tls = tls::client_config(config.ca_file.as_deref()).map_err(StartError::because)?;
    let aws = function::aws(config, &tls).await?;
    let reconciler = Arc::new(Reconciler {
        store: aws.source_store(),
        ledger: DynamoLedger::new(aws.dynamodb(), settings.ledger_table.clone()),
        queue: SqsQueue::new(aws.sqs(), &settings.queue_url, None),
        clock: SystemClock,
        bounds: ReconcileBounds {
            grace: config.grace,
            queued: config.queued,
            pages_max: config.list_pages_max.get(),
            pages_in_flight_max: config.pages_in_flight_max.get(),
            requeues_in_flight_max: config.requeues_in_flight_max.get(),
            since: config.since,
            retention: config.retention,
        },
        rules: RulesInForce::default(),
    });
    let metrics = Arc::new(Metrics::new(&config.metrics_service));
    // Ingest writes them.
    let kept = settings.quarantine.clone().map(|place| Kept {
        store: S3Store::new(aws.s3()),
        quarantine: S3Quarantine::new(aws.s3(), place),
        is_written: false,
    });
    let rulebook = Arc::new(function::rulebook(config, &aws, kept)?);
    let settings = Arc::new(settings);
    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let (reconciler, metrics, settings) = (
            Arc::clone(&reconciler),
            Arc::clone(&metrics),
            Arc::clone(&settings),
        );
        let rulebook = Arc::clone(&rulebook);
        async move {
            // Without rules all that they skip would count as missing.
            let looked = function::look_at_rules(&rulebook, &reconciler.rules, &metrics).await;
            if let Err(failure) = looked {
                function::publish(&metrics);
                return Err(function::failure_diagnostic(&failure));
            }
            let request = match Trigger::parse(event.payload.get().as_bytes()) {
                Ok(Trigger::Reconcile(request)) => request,
                Ok(_) => {
                    return Err(Diagnostic {
                        error_type: "NotReconcile".to_owned(),
                        error_message: "a notification belongs to the ingest function".to_owned(),
                    });
                }
                Err(error) => {
                    return Err(Diagnostic {
                        error_type: "EventError".to_owned(),
                        error_message: error.to_string(),
                    });
                }
            };
            let deadline = function::deadline(&event.context, &settings.config);
            let window = request.window.unwrap_or(WINDOW_DEFAULT);
            let report = reconciler
                .pass_all(&settings.config.watch, window, deadline.stop_at, &metrics)
                .await;
            function::publish(&metrics);
            report.map_err(|failure| function::failure_diagnostic(&failure))
        }
    });
    lambda_runtime::run(service)
        .await
        .map_err(StartError::because)
}
