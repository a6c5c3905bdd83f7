//! What the functions rely on stands in the template.

use std::collections::BTreeSet;

use bucket_brigade::pipeline::OBJECTS_HELD_MAX;
use bucket_brigade::telemetry::{Metric, Metrics};

const TEMPLATE: &str = include_str!("../../template.yaml");

/// The template without its comments.
fn lines() -> impl Iterator<Item = &'static str> {
    TEMPLATE
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
}

fn count(text: &str) -> usize {
    lines().filter(|line| line.trim() == text).count()
}

/// Without it SQS takes every answer for "all done" and forgets the messages that are not.
#[test]
fn e13_the_queues_mapping_asks_which_messages_are_not_done() {
    assert_eq!(count("Type: SQS"), 1);
    assert_eq!(count("FunctionResponseTypes: [ReportBatchItemFailures]"), 1);
}

/// Lambda asks for a window with more than 10 messages.
#[test]
fn one_batch_of_messages_is_one_round_of_objects() {
    assert_eq!(count(&format!("BatchSize: {OBJECTS_HELD_MAX}")), 1);
    let window =
        lines().find_map(|line| line.trim().strip_prefix("MaximumBatchingWindowInSeconds: "));
    let seconds: u64 = window.expect("a window").parse().expect("seconds");
    assert!(seconds >= 1);
}

/// Lambda stops a chain of invocations after some sixteen hops.
#[test]
fn p1_no_function_invokes_a_function() {
    assert!(!TEMPLATE.contains("lambda:Invoke"));
    assert!(!TEMPLATE.contains("RecursiveLoop"));
}

#[test]
fn p5_a_message_is_hidden_for_six_times_as_long_as_a_function_may_run() {
    let (_, map) = TEMPLATE
        .split_once("Visibility:\n    Seconds: {")
        .expect("a map");
    let (map, _) = map.split_once('}').expect("its end");
    let window = 1;
    assert_eq!(
        count(&format!("MaximumBatchingWindowInSeconds: {window}")),
        1
    );
    for entry in map.split(", ") {
        let (timeout, visibility) = entry.split_once(": ").expect("an entry");
        let timeout: u64 = timeout.trim_matches('"').parse().expect("seconds");
        let visibility: u64 = visibility.parse().expect("seconds");
        assert_eq!(visibility, 6 * timeout + window, "{entry}");
    }
}

#[test]
fn o12_uploads_that_were_never_completed_are_removed() {
    let abort = "AbortIncompleteMultipartUpload: {DaysAfterInitiation: 7}";
    assert_eq!(count(abort), 1);
    assert_eq!(count("LifecycleConfiguration: &abort"), 1);
    assert_eq!(count("LifecycleConfiguration: *abort"), 1);
}

#[test]
fn the_table_has_the_keys_and_the_expiry_of_the_ledger() {
    for line in [
        "- {AttributeName: pk, AttributeType: S}",
        "- {AttributeName: sk, AttributeType: B}",
        "- {AttributeName: state_index, AttributeType: S}",
        "- {AttributeName: changed_at, AttributeType: N}",
        "- {AttributeName: pk, KeyType: HASH}",
        "- {AttributeName: sk, KeyType: RANGE}",
        "- {AttributeName: state_index, KeyType: HASH}",
        "- {AttributeName: changed_at, KeyType: RANGE}",
        "- IndexName: by_state",
        "AttributeName: expires_at",
    ] {
        assert_eq!(count(line), 1, "{line}");
    }
}

#[test]
fn every_alarm_watches_a_metric_that_is_published() {
    let published: BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let namespace = format!("Namespace: {}", Metrics::NAMESPACE);
    let mut alarms = 0;
    let mut of_ours = false;
    for line in lines().map(str::trim) {
        if line.starts_with("Namespace: ") {
            of_ours = line == namespace;
        } else if let Some(metric) = line.strip_prefix("MetricName: ")
            && of_ours
        {
            assert!(published.contains(metric), "{metric}");
            alarms += 1;
        }
    }
    assert_eq!(alarms, 5);
}
