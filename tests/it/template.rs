//! What the functions rely on stands in the template.

use std::collections::BTreeSet;

use bucket_brigade::pipeline::OBJECTS_HELD_MAX;
use bucket_brigade::telemetry::{Metric, Metrics};
use serde_json::Value;

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

/// The dashboard as CloudWatch gets it, every name in `${}` standing for `1`.
fn dashboard(alarms_of_rules: &str) -> Value {
    let (_, body) = TEMPLATE
        .split_once("DashboardBody: !Sub\n        - |\n")
        .expect("a dashboard");
    let (body, _) = body.split_once("\n        - ").expect("its end");
    let body = ["RulesBroken", "ObjectsUnmatched"]
        .iter()
        .fold(body.to_owned(), |body, alarm| {
            body.replace(&format!("${{{alarm}}}"), alarms_of_rules)
        });
    let mut pieces = body.split("${");
    let mut json = pieces.next().expect("a start").to_owned();
    for piece in pieces {
        let (_, after) = piece.split_once('}').expect("the end of a name");
        json.push('1');
        json.push_str(after);
    }
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// Namespace and name of each metric of a widget; `.` and `...` stand for what stood before.
fn metrics(widget: &Value) -> Vec<(String, String)> {
    let mut metrics: Vec<(String, String)> = Vec::new();
    for metric in widget["properties"]["metrics"].as_array().unwrap() {
        let text = |index: usize| metric[index].as_str().unwrap_or("...").to_owned();
        let (namespace, name) = (text(0), text(1));
        let before = metrics.last().cloned().unwrap_or_default();
        metrics.push(match (namespace.as_str(), name.as_str()) {
            ("...", _) => before,
            (".", _) => (before.0, name),
            _ => (namespace, name),
        });
    }
    metrics
}

#[test]
fn the_dashboard_shows_every_metric_that_is_published_and_no_other() {
    let dashboard = dashboard(r#", "1""#);
    let mut shown = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().unwrap() {
        if widget["type"] == "metric" {
            shown.extend(metrics(widget));
        }
    }
    shown.retain(|(namespace, _)| !namespace.starts_with("AWS/"));
    let published = Metric::ALL
        .iter()
        .map(|metric| (Metrics::NAMESPACE.to_owned(), metric.name().to_owned()))
        .collect();
    assert_eq!(shown, published);
}

#[test]
fn the_dashboard_shows_every_alarm() {
    let alarms = lines()
        .filter(|line| line.trim() == "Type: AWS::CloudWatch::Alarm")
        .count();
    let shown = |alarms_of_rules| {
        let dashboard = dashboard(alarms_of_rules);
        dashboard["widgets"][0]["properties"]["alarms"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(shown(r#", "1""#), alarms);
    assert_eq!(shown(""), alarms - 2);
}

/// A dashboard is 24 columns wide.
#[test]
fn no_widget_of_the_dashboard_covers_another() {
    let dashboard = dashboard("");
    let mut covered = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().unwrap() {
        let [x, y, width, height] =
            ["x", "y", "width", "height"].map(|name| widget[name].as_u64().unwrap());
        assert!(x + width <= 24, "{widget}");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(covered.insert(cell), "{widget}");
        }
    }
}
