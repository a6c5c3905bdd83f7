//! What the two functions share: from settings to ports, and from Lambda's terms to ours.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use aws_config::SdkConfig;
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, LambdaInvocation, Runtime, Service};
use rustls::ClientConfig;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::assemble::Limits;
use crate::aws::secrets::AwsTokenSource;
use crate::aws::{Aws, AwsSettings};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{Config, ConfigErrors, EndpointKind, RulesSetting, TokenPlace, environment};
use crate::failure::{Failure, FailureKind};
use crate::invocation::InvocationError;
use crate::pipeline::{Bounds, Deadline};
use crate::plan::{KnownRoutes, PlanDefaults, SourceTimes};
use crate::quarantine::Entries;
use crate::quarantine::s3::S3Quarantine;
use crate::rulebook::{Kept, Rulebook, RulesPlace};
use crate::rules::RulesInForce;
use crate::sink::endpoint::shape_for;
use crate::store::Store;
use crate::store::s3::S3Store;
use crate::telemetry::{LogLevel, LogLines, Metric, Metrics, start_logging};
use crate::token::{FixedToken, Token, TokenError, TokenSource};

/// A token from the settings or from AWS.
pub enum ConfiguredToken {
    Fixed(FixedToken),
    Aws(AwsTokenSource),
}

impl ConfiguredToken {
    pub fn new(place: &TokenPlace, config: &SdkConfig) -> Result<Self, TokenError> {
        match place {
            TokenPlace::Given(token) => Ok(Self::Fixed(FixedToken(token.clone()))),
            TokenPlace::Secret(arn) | TokenPlace::Parameter(arn) => {
                AwsTokenSource::new(arn, config).map(Self::Aws)
            }
        }
    }
}

impl TokenSource for ConfiguredToken {
    async fn read(&self) -> Result<Token, TokenError> {
        match self {
            Self::Fixed(source) => source.read().await,
            Self::Aws(source) => source.read().await,
        }
    }
}

/// Why a function cannot start: every problem, in words that hold no secret.
#[derive(Debug, thiserror::Error)]
#[error("cannot start: {0}")]
pub struct StartError(String);

impl From<ConfigErrors> for StartError {
    fn from(errors: ConfigErrors) -> Self {
        Self(errors.to_string())
    }
}

impl StartError {
    /// A start that failed for this reason.
    pub fn because(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// The exit code of a function's process. A start that failed is logged and counted, so that the alarm
/// goes off.
pub fn exit_code(outcome: Result<(), StartError>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    start_logging(None, LogLevel::Info);
    tracing::error!(failure = FailureKind::SettingWrong.name(), %error);
    let service = environment("METRICS_SERVICE");
    let metrics = Metrics::new(service.unwrap_or_else(|| "bucket-brigade".to_owned()));
    metrics.add(Metric::FatalErrors, 1);
    publish(&metrics);
    ExitCode::FAILURE
}

/// The clients for everything on AWS, lazily connected.
pub async fn aws(config: &Config, tls: &ClientConfig) -> Result<Aws, StartError> {
    let settings = AwsSettings {
        source: config.source.clone(),
        ..AwsSettings::default()
    };
    Aws::load(settings, tls).await.map_err(StartError::because)
}

/// Where a function's rules come from: looked at with its own credentials, and while they are broken read from
/// `kept`.
pub fn rulebook(
    config: &Config,
    aws: &Aws,
    kept: Option<Kept<S3Store, S3Quarantine>>,
) -> Result<Rulebook<S3Store, S3Quarantine>, StartError> {
    let place = match &config.rules {
        RulesSetting::None => RulesPlace::Given(Arc::default()),
        RulesSetting::Given(rules) => RulesPlace::Given(Arc::clone(rules)),
        RulesSetting::Object(object) => RulesPlace::Object {
            store: S3Store::new(aws.s3()),
            object: object.clone(),
            again: config.rules_refresh,
            kept,
        },
        RulesSetting::File(path) => {
            return Err(StartError(format!(
                "RULES_URL is {:?}, expected s3://bucket/key",
                path.display()
            )));
        }
    };
    Ok(Rulebook::new(place))
}

/// Puts the rules in force that the book has now. Fails only if there are none at all.
pub async fn look_at_rules<S: Store, Q: Entries>(
    book: &Rulebook<S, Q>,
    rules: &RulesInForce,
    metrics: &Metrics,
) -> Result<(), Failure> {
    let current = match book.current().await {
        Ok(current) => current,
        Err(failure) => {
            metrics.add(Metric::FatalErrors, 1);
            metrics.add(Metric::RulesBroken, 1);
            let kind = failure.kind.name();
            tracing::error!(
                failure = kind,
                detail = failure.detail,
                "no rules, nothing is done"
            );
            return Err(failure);
        }
    };
    if current.is_broken {
        metrics.add(Metric::RulesBroken, 1);
    }
    if let Some(problem) = current.problem {
        tracing::error!(
            problem,
            rules = current.rules.digest(),
            "rules not read, the last good ones stay"
        );
    }
    rules.set(current.rules);
    Ok(())
}

/// What bounds the work on an object, from the settings, for an endpoint of that kind and with that type for
/// all records, if there is one.
pub fn bounds(config: &Config, kind: EndpointKind, log_type: Option<&str>) -> Bounds {
    Bounds {
        limits: Limits {
            batch_bytes_max: config.batch_bytes_max.get(),
            record_bytes_max: config.record_bytes_max.get(),
            level: config.compression_level.get(),
            pass_through: config.pass_through,
        },
        expansion_max: config.expansion_max,
        plan: PlanDefaults {
            shape: shape_for(kind),
            add_source_field: config.add_source_field,
            timestamps: config.timestamps,
            log_type: log_type.map(Arc::from),
            region: config.region.clone(),
            said: None,
            known: KnownRoutes::default(),
            times: SourceTimes::default(),
        },
        part_bytes: config.part_bytes.get() as u64,
        objects_in_flight_max: config.in_flight.objects_max,
        small_objects_per_turn: config.in_flight.small_objects_per_turn,
        requests_in_flight_max: config.in_flight.requests_max,
        body_bytes_in_flight_max: config.in_flight.body_bytes_max,
        share_linger: config.share_linger,
        delivery_timeout: config.delivery_timeout,
        lease: config.lease,
        restore_interval_bytes: config.restore_interval_bytes.get(),
        attempts_max: config.attempts_max.get(),
        retention: config.retention,
    }
}

/// Serves invocations until the process is asked to end by SIGTERM: then `stop` is called, which has to let
/// the invocation under way end soon, its answer is given, and this returns. No line of the log waits beyond the
/// invocation that it is of.
///
/// Lambda sends SIGTERM only where an extension is registered, and kills the process at most 2 seconds
/// later (Lambda Developer Guide, "Shutdown phase"); an emulator or a container may send it at any time.
pub async fn serve<F>(
    handler: F,
    stop: impl FnOnce(),
    log_lines: &LogLines,
) -> Result<(), StartError>
where
    F: Service<LambdaEvent<Box<RawValue>>, Response = Value, Error = Diagnostic>,
    F::Future: Future<Output = Result<Value, Diagnostic>>,
{
    let busy = watch::Sender::new(false);
    let handler = lambda_runtime::tower::ServiceBuilder::new()
        .map_future(|answer| async {
            let answer = answer.await;
            log_lines.write();
            answer
        })
        .service(handler);
    // Around all of it, so that it ends when the answer has been given.
    let watched = layer_fn(|mut answer| {
        let busy = busy.clone();
        lambda_runtime::service_fn(move |invocation: LambdaInvocation| {
            busy.send_replace(true);
            let answered = Service::call(&mut answer, invocation);
            let busy = busy.clone();
            async move {
                let answered = answered.await;
                busy.send_replace(false);
                answered
            }
        })
    });
    let serving = Runtime::new(handler)
        .layer(TracingLayer::new())
        .layer(watched)
        .run();
    let ended = async {
        terminated().await?;
        tracing::info!("asked to end: finishing what is in flight");
        stop();
        // An error would say that the sender is gone, and it is ours.
        let _ = busy.subscribe().wait_for(|busy| !busy).await;
        Ok(())
    };
    let outcome = tokio::select! {
        served = serving => served.map_err(StartError::because),
        ended = ended => ended,
        () = log_lines.written_in_time() => Ok(()),
    };
    log_lines.write();
    outcome
}

#[cfg(unix)]
async fn terminated() -> Result<(), StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signal = signal(SignalKind::terminate()).map_err(StartError::because)?;
    signal.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> Result<(), StartError> {
    std::future::pending().await
}

/// When an invocation has to stop: a margin before Lambda's own deadline, of which the ledger may use
/// three quarters for its last word.
pub fn deadline(context: &Context, config: &Config) -> Deadline {
    let end = Timestamp::from(context.deadline());
    Deadline {
        stop_at: end.minus(config.deadline_margin),
        end_at: end.minus(config.deadline_margin / 4),
    }
}

/// 64 random bits. Where the machine has none to give, the time has to do: they keep waits and owners
/// apart, and guard nothing.
pub fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| SystemClock.now().as_ms())
}

/// Writes the metrics of an invocation.
pub fn publish(metrics: &Metrics) {
    metrics.publish(SystemClock.now());
}

/// An invocation that failed, in Lambda's terms.
pub fn diagnostic(error: &InvocationError) -> Diagnostic {
    Diagnostic {
        error_type: "InvocationError".to_owned(),
        error_message: error.to_string(),
    }
}

/// A failure, in Lambda's terms.
pub fn failure_diagnostic(failure: &Failure) -> Diagnostic {
    Diagnostic {
        error_type: failure.kind.name().to_owned(),
        error_message: failure.to_string(),
    }
}
