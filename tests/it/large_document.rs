//! A JSON document of any size on one line, through the function's binary.

use std::time::Duration;

use bucket_brigade::ledger::State;
use bucket_brigade::local::listener::Options;
use bucket_brigade::local::listener::body::{Identity, Scrutiny};

use crate::cloudtrail::{self, cloudtrail_like};
use crate::functions::{Deployment, failed, item, sqs_event};

/// `make large` asks for 500 MB.
#[expect(
    clippy::disallowed_methods,
    reason = "how large the object is, not a setting of the product"
)]
fn plain_bytes() -> usize {
    let given = std::env::var("BRIGADE_TEST_DOCUMENT_BYTES").ok();
    given.map_or(50 << 20, |bytes| bytes.parse().expect("a number of bytes"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_a_document_of_cloudtrail_on_one_line_passes_event_by_event_in_bounded_memory() {
    const MEMORY_BYTES_MAX: u64 = 64 << 20;
    let (object, count) = tokio::task::spawn_blocking(|| cloudtrail_like(plain_bytes()))
        .await
        .expect("an object");
    println!(
        "{} plain bytes, {} compressed, {count} events",
        plain_bytes(),
        object.len()
    );
    let deployment = Deployment::new(Options {
        identity: Identity::Field("eventID".to_owned()),
        scrutiny: Scrutiny::Brackets,
        ..Options::default()
    })
    .await;
    let content = deployment.put(&format!("logs/{}", cloudtrail::KEY), object);
    let ingest = deployment.ingest(Duration::from_secs(600));
    let answer = ingest.invoke(&sqs_event(&[item(&content)])).await;
    assert_eq!(
        failed(&answer.expect("an answer")),
        [""; 0],
        "{}",
        ingest.logs()
    );
    let received = deployment.listener.received();
    assert_eq!((received.distinct(), received.duplicates()), (count, 0));
    let types: Vec<&String> = received.counts.types.keys().collect();
    assert_eq!(types, ["cloudtrail"]);
    assert_eq!(deployment.state(&content).await, Some(State::Settled));
    let peak = ingest.peak_memory_bytes();
    println!(
        "{} requests, peak memory {} KiB",
        received.counts.requests,
        peak >> 10
    );
    assert!(peak < MEMORY_BYTES_MAX, "peak memory {peak} bytes");
}
