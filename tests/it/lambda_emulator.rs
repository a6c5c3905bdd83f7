//! The emulator of Lambda's Runtime API, around a function that the real runtime crate serves.
#![cfg(feature = "local")]

use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

use crate::support::runtime_api::{Function, LambdaProcess};

/// This very test binary, as a function.
fn function(timeout: Duration) -> LambdaProcess {
    let mut function = Function::new(std::env::current_exe().unwrap(), timeout);
    let name = "lambda_emulator::serves_as_a_function_when_started_by_the_emulator";
    function.arguments = [name, "--exact", "--nocapture", "--test-threads=1"]
        .map(str::to_owned)
        .into();
    LambdaProcess::new(function.env("MARK", "set"))
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process without settings of the crate's own"
)]
fn serves_as_a_function_when_started_by_the_emulator() {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(lambda_runtime::run(service_fn(perform)))
        .unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a process without settings of the crate's own"
)]
async fn perform(event: LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    println!("asked to {}", event.payload["do"]);
    match event.payload["do"].as_str() {
        Some("sleep") => tokio::time::sleep(Duration::from_secs(60)).await,
        Some("exit") => std::process::exit(3),
        Some("fail") => return Err("told to fail".into()),
        Some("grow") => drop(std::hint::black_box(vec![1_u8; 200 << 20])),
        _ => {}
    }
    let now = std::time::SystemTime::now();
    let left = event
        .context
        .deadline()
        .duration_since(now)
        .unwrap_or_default();
    Ok(json!({
        "left_ms": left.as_millis() as u64,
        "mark": std::env::var("MARK").unwrap_or_default(),
        "home": std::env::var("HOME").is_ok(),
        "arn": event.context.invoked_function_arn,
    }))
}

#[tokio::test]
async fn an_invocation_has_its_deadline_and_its_own_environment() {
    let lambda = function(Duration::from_secs(5));
    for _ in 0..2 {
        let answer = lambda.invoke(b"{}").await.unwrap();
        let left = answer["left_ms"].as_u64().unwrap();
        assert!((4_000..=5_000).contains(&left), "{left}");
        assert_eq!(
            (&answer["mark"], &answer["home"]),
            (&json!("set"), &json!(false))
        );
        assert!(
            answer["arn"]
                .as_str()
                .unwrap()
                .starts_with("arn:aws:lambda:")
        );
    }
    assert_eq!(lambda.starts(), 1);
    assert!(lambda.time_to_first_poll().unwrap() < Duration::from_secs(5));
    assert_eq!(lambda.logs().matches("asked to").count(), 2);
}

#[tokio::test]
async fn an_error_is_reported_and_the_process_goes_on() {
    let lambda = function(Duration::from_secs(5));
    let error = lambda.invoke(br#"{"do":"fail"}"#).await.unwrap_err();
    assert_eq!(error.message, "told to fail");
    lambda.invoke(b"{}").await.unwrap();
    assert_eq!(lambda.starts(), 1);
}

#[tokio::test]
async fn a_process_is_killed_at_the_timeout_and_started_anew() {
    let lambda = function(Duration::from_millis(700));
    let error = lambda.invoke(br#"{"do":"sleep"}"#).await.unwrap_err();
    assert_eq!(error.kind, "Sandbox.Timedout");
    assert_eq!(error.message, "Task timed out after 0.70 seconds");
    let killed = lambda.process_id().unwrap();
    lambda.invoke(b"{}").await.unwrap();
    assert_eq!(lambda.starts(), 2);
    assert_ne!(lambda.process_id().unwrap(), killed);
}

#[tokio::test]
async fn a_process_that_ends_or_is_killed_fails_its_invocation_only() {
    let lambda = function(Duration::from_secs(30));
    let error = lambda.invoke(br#"{"do":"exit"}"#).await.unwrap_err();
    assert_eq!(error.kind, "Runtime.ExitError");
    assert!(
        error.message.contains("exit status: 3"),
        "{}",
        error.message
    );
    let (killed, ()) = tokio::join!(lambda.invoke(br#"{"do":"sleep"}"#), async {
        while !lambda.logs().contains("sleep") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lambda.kill();
    });
    assert_eq!(killed.unwrap_err().message, "signal: killed");
    lambda.invoke(b"{}").await.unwrap();
    assert_eq!(lambda.starts(), 3);
}

#[tokio::test]
async fn peak_memory_is_seen_after_it_was_given_back() {
    let lambda = function(Duration::from_secs(30));
    lambda.invoke(b"{}").await.unwrap();
    let before = lambda.peak_memory_bytes();
    assert!(before > 0);
    lambda.invoke(br#"{"do":"grow"}"#).await.unwrap();
    assert!(lambda.peak_memory_bytes() > before + (190 << 20));
}
