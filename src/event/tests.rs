//! Every shape, and every trap that the shapes are known to hold.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object::Etag;
use crate::replay::ReplayRequest;

/// Encodes a key as S3 does in notifications.
fn as_s3_encodes(key: &str) -> String {
    let mut encoded = String::new();
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn s3_record(encoded_key: &str) -> Value {
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-03-14T09:05:12.418Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": { "name": "b", "arn": "arn:aws:s3:::b" },
            "object": { "key": encoded_key, "size": 7, "eTag": "e", "sequencer": "0A" }
        }
    })
}

fn s3_event(encoded_key: &str) -> Value {
    json!({ "Records": [s3_record(encoded_key)] })
}

fn eventbridge(key: &str) -> Value {
    json!({
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {
            "version": "0",
            "bucket": { "name": "b" },
            "object": { "key": key, "size": 7, "etag": "e", "sequencer": "0A" },
            "reason": "PutObject"
        }
    })
}

fn manual(key: &str) -> Value {
    json!({ "bucket": "b", "key": key, "etag": "e", "size": 7 })
}

fn envelope(message: &Value) -> Value {
    json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:r:1:t", "Message": message.to_string() })
}

fn sns(message: &Value) -> Value {
    json!({ "Records": [{ "EventSource": "aws:sns", "EventVersion": "1.0", "Sns": envelope(message) }] })
}

fn sqs_of(bodies: &[String]) -> Value {
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| {
            json!({
                "messageId": format!("m{index}"),
                "receiptHandle": format!("r{index}"),
                "body": body,
                "attributes": { "ApproximateReceiveCount": "3" },
                "messageAttributes": {},
                "eventSource": "aws:sqs"
            })
        })
        .collect();
    json!({ "Records": records })
}

fn sqs(body: &Value) -> Value {
    sqs_of(&[body.to_string()])
}

/// The key through every shape that carries one.
fn shapes(key: &str) -> Vec<(&'static str, Value)> {
    let s3 = s3_event(&as_s3_encodes(key));
    vec![
        ("S3", s3.clone()),
        ("S3, SQS", sqs(&s3)),
        ("S3, SNS", sns(&s3)),
        ("S3, SNS raw, SQS", sqs(&s3)),
        ("S3, SNS wrapped, SQS", sqs(&envelope(&s3))),
        ("EventBridge", eventbridge(key)),
        ("EventBridge, SQS", sqs(&eventbridge(key))),
        ("EventBridge, SNS, SQS", sqs(&envelope(&eventbridge(key)))),
        ("by hand", manual(key)),
        ("reconcile, SQS", sqs(&manual(key))),
    ]
}

fn parse(event: &Value) -> Result<Trigger, EventError> {
    Trigger::parse(event.to_string().as_bytes())
}

/// What a payload holds, whether a queue brought it or not.
fn found(event: &Value) -> Found {
    match parse(event).expect("readable") {
        Trigger::Direct(found) => found,
        Trigger::Queue(messages) => {
            let mut all = Found::default();
            for message in messages {
                all.append(message.body.expect("readable body"));
            }
            all
        }
        other @ (Trigger::Reconcile(_) | Trigger::Replay(_)) => panic!("{other:?}"),
    }
}

fn only_item(event: &Value) -> WorkItem {
    let mut found = found(event);
    assert_eq!(
        (found.items.len(), &found.ignored, &found.malformed),
        (1, &vec![], &vec![])
    );
    found.items.remove(0)
}

fn only_ignored(event: &Value) -> Ignored {
    let mut found = found(event);
    assert_eq!(
        (&found.items, found.ignored.len(), &found.malformed),
        (&vec![], 1, &vec![])
    );
    found.ignored.remove(0)
}

proptest! {
    #[test]
    fn any_key_arrives_intact_through_every_shape(
        chars in proptest::collection::vec(any::<char>(), 1..80)
    ) {
        let key: String = chars.into_iter().collect();
        for (shape, event) in shapes(&key) {
            prop_assert_eq!(only_item(&event).key, key.clone(), "{}", shape);
        }
    }

    #[test]
    fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Trigger::parse(&payload);
    }
}

#[test]
fn a_key_with_space_plus_percent_and_unicode_arrives_through_every_shape() {
    let key = "dir a/k+ey é日 %41.json.gz";
    for (shape, event) in shapes(key) {
        let item = only_item(&event);
        let expected = WorkItem {
            etag: Some(Etag::from("e")),
            size: Some(7),
            alternate_key: shape
                .starts_with("EventBridge")
                .then(|| "dir a/k ey é日 A.json.gz".to_owned()),
            ..WorkItem::new("b", key)
        };
        assert_eq!(item, expected, "{shape}");
    }
}

#[test]
fn e1_plus_in_an_s3_notification_is_a_space() {
    assert_eq!(only_item(&s3_event("my+file.log")).key, "my file.log");
}

#[test]
fn e2_escaped_characters_give_the_exact_key() {
    for (encoded, key) in [
        ("a%2Bb", "a+b"),
        ("100%25", "100%"),
        ("%2541", "%41"),
        ("day%3D14/x", "day=14/x"),
        ("a%26b", "a&b"),
        ("2026-03-14T09%3A05", "2026-03-14T09:05"),
        ("caf%c3%a9/%E6%97%A5", "café/日"),
        ("a//b/", "a//b/"),
        ("/leading", "/leading"),
        ("%0A", "\n"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
    ] {
        assert_eq!(only_item(&s3_event(encoded)).key, key, "{encoded}");
    }
}

#[test]
fn e3_an_eventbridge_key_is_used_as_it_is() {
    assert_eq!(only_item(&eventbridge("a+b%20c")).key, "a+b%20c");
}

#[test]
fn e4_only_an_eventbridge_key_that_decoding_changes_has_an_alternate() {
    let alternate = |event: &Value| only_item(event).alternate_key;
    assert_eq!(alternate(&eventbridge("a+b%20c")).as_deref(), Some("a b c"));
    assert_eq!(alternate(&eventbridge("a b")), None);
    assert_eq!(alternate(&eventbridge("100%")), None);
    assert_eq!(alternate(&eventbridge("%FF")), None);
    assert_eq!(alternate(&s3_event("a%2Bb")), None);
    assert_eq!(alternate(&manual("a+b")), None);
}

#[test]
fn e5_every_record_of_an_event_is_work_or_ignored_or_malformed() {
    let mut removed = s3_record("gone");
    removed["eventName"] = json!("ObjectRemoved:Delete");
    let mut foreign = s3_record("x");
    foreign["eventSource"] = json!("aws:dynamodb");
    let records = [
        s3_record("one"),
        removed,
        s3_record("%FF"),
        foreign,
        s3_record("two"),
    ];
    let all = found(&json!({ "Records": records }));
    let keys: Vec<&str> = all.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["one", "two"]);
    assert_eq!(
        all.ignored,
        [Ignored::Removal {
            event: "ObjectRemoved:Delete".into(),
            object: "s3://b/gone".into()
        }]
    );
    assert_eq!(
        all.malformed,
        [
            EventError::KeyNotUtf8 {
                key: "%FF".into(),
                valid_up_to: 0
            },
            EventError::ForeignSource {
                found: "aws:dynamodb".into(),
                expected: "aws:s3"
            }
        ]
    );
}

#[test]
fn e6_a_test_event_is_ignored_in_every_envelope() {
    let test = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b" });
    let expected = Ignored::TestEvent { bucket: "b".into() };
    for event in [test.clone(), sqs(&test), sns(&test), sqs(&envelope(&test))] {
        assert_eq!(only_ignored(&event), expected);
    }
}

#[test]
fn e7_sns_to_sqs_works_raw_and_wrapped_and_its_confirmations_are_ignored() {
    let s3 = s3_event("k");
    assert_eq!(only_item(&sqs(&s3)), only_item(&sqs(&envelope(&s3))));
    for (kind, expected) in [
        (
            "SubscriptionConfirmation",
            Ignored::SubscriptionConfirmation { topic: "t".into() },
        ),
        (
            "UnsubscribeConfirmation",
            Ignored::UnsubscribeConfirmation { topic: "t".into() },
        ),
    ] {
        let message = json!({ "Type": kind, "TopicArn": "t", "Message": "You have chosen …" });
        assert_eq!(only_ignored(&sqs(&message)), expected);
    }
}

#[test]
fn e8_unknown_fields_are_ignored_and_only_name_bucket_and_key_are_needed() {
    let mut record = s3_record("k");
    record["eventVersion"] = json!("2.6");
    record["glacierEventData"] = json!({ "restoreEventData": {} });
    record["s3"]["bucket"]["awsGeneratedTags"] = json!({ "aws:cloudformation:stack-name": "s" });
    record["s3"]["object"] = json!({ "key": "k", "future": [1, { "deep": null }] });
    let item = only_item(&json!({ "Records": [record] }));
    assert_eq!(item, WorkItem::new("b", "k"));
}

#[test]
fn e9_creations_and_finished_restores_are_work_and_the_rest_is_ignored_by_name() {
    let named = |name: &str| {
        let mut record = s3_record("k");
        record["eventName"] = json!(name);
        json!({ "Records": [record] })
    };
    for name in [
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectRestore:Completed",
        "s3:ObjectCreated:Put",
    ] {
        assert_eq!(only_item(&named(name)).key, "k", "{name}");
    }
    for name in [
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
        "LifecycleExpiration:Delete",
    ] {
        assert_eq!(only_ignored(&named(name)).name(), "removal", "{name}");
    }
    for name in ["ObjectRestore:Post", "ObjectTagging:Put", "ObjectAcl:Put"] {
        let ignored = only_ignored(&named(name));
        assert_eq!(ignored.to_string(), format!("{name} of s3://b/k"));
    }
    for (kind, name) in [
        ("Object Deleted", "removal"),
        ("Object Restore Initiated", "other_event"),
        ("Object Tags Added", "other_event"),
    ] {
        let mut event = eventbridge("k");
        event["detail-type"] = json!(kind);
        assert_eq!(only_ignored(&event).name(), name, "{kind}");
    }
    let mut restored = eventbridge("k");
    restored["detail-type"] = json!("Object Restore Completed");
    assert_eq!(only_item(&restored).key, "k");
}

#[test]
fn e12_a_malformed_body_is_its_own_failure() {
    let good = s3_event("k").to_string();
    let bodies = [
        good,
        "{\"Records\":[".to_owned(),
        s3_event("%FF").to_string(),
    ];
    let Ok(Trigger::Queue(messages)) = parse(&sqs_of(&bodies)) else {
        panic!("not a queue");
    };
    let items: Vec<usize> = messages
        .iter()
        .map(|message| message.body.as_ref().map_or(0, |found| found.items.len()))
        .collect();
    assert_eq!(items, [1, 0, 0]);
    assert_eq!(messages[0].burial(), None);
    assert_eq!(
        messages[1].burial(),
        Some(&EventError::NotJson {
            line: 1,
            column: 12
        })
    );
    assert!(matches!(
        messages[2].burial(),
        Some(EventError::KeyNotUtf8 { .. })
    ));
    assert_eq!(messages[1].raw, bodies[1]);
    assert_eq!(messages[1].receipt, "r1");
    assert_eq!(messages[1].receive_count, 3);
}

#[test]
fn e14_the_answer_names_failed_messages_and_cannot_name_an_empty_one() {
    let Ok(Trigger::Queue(messages)) = parse(&sqs_of(&["{}".into(), "{}".into()])) else {
        panic!("not a queue");
    };
    let answer = serde_json::to_value(partial_answer([&messages[1].id])).expect("json");
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "m1" }] })
    );
    let nothing = serde_json::to_value(partial_answer([])).expect("json");
    assert_eq!(nothing, json!({ "batchItemFailures": [] }));
    for id in [json!(""), json!(null)] {
        let mut event = sqs_of(&["{}".into()]);
        event["Records"][0]["messageId"] = id;
        let error = parse(&event).expect_err("no id");
        assert_eq!(
            error.to_string(),
            "malformed SQS event: a message without messageId"
        );
    }
}

#[test]
fn an_event_of_another_source_is_an_error_that_says_what_was_found() {
    let kinesis = json!({ "Records": [{ "eventSource": "aws:kinesis" }] });
    let error = parse(&kinesis).expect_err("foreign");
    assert_eq!(
        error.to_string(),
        "event source is aws:kinesis, expected aws:s3, aws:sns or aws:sqs"
    );
    let mut ec2 = eventbridge("k");
    ec2["source"] = json!("aws.ec2");
    let error = parse(&ec2).expect_err("foreign");
    assert_eq!(
        error.to_string(),
        "event source is aws.ec2, expected aws.s3"
    );
}

#[test]
fn an_unknown_shape_is_an_error_that_names_fields_and_shows_no_values() {
    let error = parse(&json!({ "hello": "secret", "world": 1 })).expect_err("unknown");
    let text = error.to_string();
    assert!(
        text.contains("an object with the fields hello, world"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    assert!(Trigger::parse(b"").is_err());
    assert!(parse(&json!([])).is_err());
    assert!(parse(&json!(null)).is_err());
}

#[test]
fn a_version_of_null_is_no_version() {
    let mut event = s3_event("k");
    event["Records"][0]["s3"]["object"]["versionId"] = json!("null");
    assert_eq!(only_item(&event).version, None);
    event["Records"][0]["s3"]["object"]["versionId"] = json!("v1");
    assert_eq!(only_item(&event).version.as_deref(), Some("v1"));
    let mut event = eventbridge("k");
    event["detail"]["object"]["version-id"] = json!("v2");
    assert_eq!(only_item(&event).version.as_deref(), Some("v2"));
}

#[test]
fn a_key_that_s3_could_not_keep_is_malformed() {
    assert!(matches!(
        parse(&manual("")),
        Err(EventError::KeyLength { bytes: 0 })
    ));
    assert!(matches!(
        parse(&manual(&"é".repeat(513))),
        Err(EventError::KeyLength { bytes: 1_026 })
    ));
    assert_eq!(only_item(&manual(&"é".repeat(512))).key.len(), 1_024);
    assert!(matches!(
        parse(&json!({ "bucket": "", "key": "k" })),
        Err(EventError::NoBucket)
    ));
}

#[test]
fn the_schedule_asks_for_a_window_or_for_the_default() {
    let window = |event: &Value| match parse(event) {
        Ok(Trigger::Reconcile(request)) => request.window,
        other => panic!("{other:?}"),
    };
    let input = json!({ "reconcile": { "window_ms": 172_800_000 } });
    assert_eq!(window(&input), Some(Duration::from_hours(48)));
    assert_eq!(window(&json!({ "reconcile": {} })), None);
    assert_eq!(window(&json!({})), None);
    for source in ["aws.events", "aws.scheduler"] {
        let event = json!({ "detail-type": "Scheduled Event", "source": source, "detail": "{}" });
        assert_eq!(window(&event), None);
    }
    for misspelt in [
        json!({ "windowMs": 1 }),
        json!({ "window_ms": 0 }),
        json!(5),
    ] {
        assert!(parse(&json!({ "reconcile": misspelt })).is_err());
    }
}

#[test]
fn a_request_to_replay_says_what() {
    let input = json!({ "replay": {
        "under": "records/", "after": "records/b", "only": ["archived"], "may_double": true,
        "dry_run": true,
    } });
    let expected = ReplayRequest {
        under: "records/".to_owned(),
        after: Some("records/b".to_owned()),
        only: BTreeSet::from(["archived".to_owned()]),
        may_double: true,
        dry_run: true,
    };
    assert_eq!(parse(&input), Ok(Trigger::Replay(expected)));
    let everything = Trigger::Replay(ReplayRequest::default());
    assert_eq!(parse(&json!({ "replay": {} })), Ok(everything));
    for misspelt in [
        json!({ "dryRun": true }),
        json!({ "only": "archived" }),
        json!(5),
    ] {
        assert!(parse(&json!({ "replay": misspelt })).is_err());
    }
}

#[test]
fn a_request_to_reconcile_or_replay_through_a_queue_is_malformed() {
    for request in [json!({}), json!({ "replay": {} })] {
        let Ok(Trigger::Queue(messages)) = parse(&sqs(&request)) else {
            panic!("not a queue");
        };
        assert!(matches!(
            messages[0].body,
            Err(EventError::Misplaced { .. })
        ));
    }
}

#[test]
fn an_event_without_records_is_ignored() {
    assert_eq!(only_ignored(&json!({ "Records": [] })), Ignored::NoRecords);
}

/// What each file of `events/` holds: kind of trigger, work items, names of what is ignored.
const SAMPLES: &[(&str, &str, usize, &[&str])] = &[
    ("eventbridge-removal.json", "direct", 0, &["removal"]),
    ("eventbridge-sqs.json", "queue", 1, &[]),
    ("eventbridge.json", "direct", 1, &[]),
    ("manual.json", "direct", 1, &[]),
    ("replay.json", "replay", 0, &[]),
    ("s3-several.json", "direct", 3, &["removal"]),
    ("s3-test-event.json", "direct", 0, &["test_event"]),
    ("s3.json", "direct", 1, &[]),
    ("schedule-eventbridge.json", "reconcile", 0, &[]),
    ("schedule.json", "reconcile", 0, &[]),
    ("sns-sqs-raw.json", "queue", 1, &[]),
    (
        "sns-sqs-subscription.json",
        "queue",
        0,
        &["subscription_confirmation"],
    ),
    ("sns-sqs-test-event.json", "queue", 0, &["test_event"]),
    ("sns-sqs-wrapped.json", "queue", 1, &[]),
    ("sns-test-event.json", "direct", 0, &["test_event"]),
    ("sns.json", "direct", 1, &[]),
    ("sqs-test-event.json", "queue", 0, &["test_event"]),
    ("sqs-work-item.json", "queue", 1, &[]),
    ("sqs.json", "queue", 2, &[]),
];

#[test]
fn every_sample_event_holds_what_its_name_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let files: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("folder events")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .collect();
    let named: BTreeSet<String> = SAMPLES.iter().map(|sample| sample.0.to_owned()).collect();
    assert_eq!(files, named, "files in events/ and rows of SAMPLES");

    for &(name, kind, items, ignored) in SAMPLES {
        let text = std::fs::read_to_string(folder.join(name)).expect("readable");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        let trigger = match parse(&event).expect(name) {
            Trigger::Queue(_) => "queue",
            Trigger::Direct(_) => "direct",
            Trigger::Reconcile(_) => "reconcile",
            Trigger::Replay(_) => "replay",
        };
        assert_eq!(trigger, kind, "{name}");
        if kind.starts_with("re") {
            continue;
        }
        let all = found(&event);
        let names: Vec<&str> = all.ignored.iter().map(Ignored::name).collect();
        assert_eq!(
            (all.items.len(), names.as_slice()),
            (items, ignored),
            "{name}"
        );
        assert_eq!(all.malformed, [], "{name}");
        for item in all.items {
            assert_eq!(item.bucket, "example-logs", "{name}");
        }
    }
}
