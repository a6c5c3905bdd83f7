//! Every source, with objects made as it makes them: path, compression, header, quirks.
//!
//! Text, names and numbers are made up. Addresses are from RFC 5737 and RFC 3849, accounts from AWS's documents.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::assemble::{Assembler, Limits};
use crate::batch::Batch;
use crate::body::Body;
use crate::checkpoint::Checkpoint;
use crate::decode::DecodeError;
use crate::plan::{Plan, Said};
use crate::shape::spec::{ShapeSpec, TimestampSpec, TimestampWhen};
use crate::shape::{ObjectFacts, Shape};

mod samples;

use samples::{Sample, samples};

const LIMITS: Limits = Limits {
    batch_bytes_max: 3_000_000,
    record_bytes_max: 1 << 20,
    level: 1,
    pass_through: true,
};

/// As Logz.io takes records, with a time where the rule says.
fn logzio(when: TimestampWhen) -> Shape {
    let spec = ShapeSpec {
        timestamp: TimestampSpec { when, from: None },
        ..ShapeSpec::default()
    };
    Shape {
        json_only: true,
        record_bytes_max: Some(500_000),
        field_chars_max: Some(32_700),
        edits: Arc::new(spec.for_object(&ObjectFacts::default())),
    }
}

fn auto() -> Shape {
    logzio(TimestampWhen::WhereRewritten)
}

#[derive(Debug, PartialEq)]
struct Carried {
    batches: Vec<Batch>,
    /// Records of the object.
    end: Result<u64, DecodeError>,
}

impl Carried {
    fn lines(&self) -> Vec<String> {
        let plain: Vec<u8> = self
            .batches
            .iter()
            .flat_map(|batch| batch.body.plain())
            .collect();
        Body::records_of(&plain)
            .map(|line| String::from_utf8(line.to_vec()).expect("UTF-8"))
            .collect()
    }

    fn read_as(&self) -> Option<&str> {
        self.batches.first()?.read_as.as_deref()
    }
}

fn plan(sample: &Sample, key: &str, shape: Shape) -> Plan {
    Plan {
        key: key.to_owned(),
        said: sample
            .said
            .map(|name| Said::Preset(preset(name).expect("a preset"))),
        leaves: sample.leaves,
        route: crate::route::Route::default(),
        shape,
        times: crate::plan::SourceTimes::default(),
    }
}

fn carry(plan: Plan, object: &[u8], step: usize) -> Carried {
    let mut assembler = Assembler::new(LIMITS, plan, &Checkpoint::default());
    let mut batches = Vec::new();
    let pushed = object.chunks(step.max(1)).try_for_each(|mut piece| {
        loop {
            let taken = assembler.push(piece)?;
            piece = &piece[taken..];
            let before = batches.len();
            batches.extend(std::iter::from_fn(|| assembler.pop()));
            if piece.is_empty() && batches.len() == before {
                return Ok(());
            }
        }
    });
    let end = pushed.and_then(|()| assembler.finish());
    batches.extend(std::iter::from_fn(|| assembler.pop()));
    Carried {
        batches,
        end: end.map(|end| end.record),
    }
}

fn carried(sample: &Sample, shape: Shape) -> Carried {
    carry(
        plan(sample, sample.key, shape),
        &sample.object(),
        usize::MAX,
    )
}

/// The value of `@timestamp`, or nothing.
fn time_of(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
    value["@timestamp"].as_str().unwrap_or_default().to_owned()
}

/// Which source, and in what.
fn told(key: &str, text: impl AsRef<[u8]>) -> String {
    let plan = Plan {
        key: key.to_owned(),
        said: None,
        ..Plan::from(Shape::default())
    };
    let told = plan.told(text.as_ref(), true).expect("always told");
    told.read_as.to_string()
}

#[test]
fn every_source_of_the_table_has_an_object() {
    let samples = samples();
    for preset in PRESETS {
        let is_shown = samples.iter().any(|sample| sample.preset == preset.name);
        assert!(is_shown, "no object of {}", preset.name);
    }
}

#[test]
fn each_object_is_recognised_and_each_record_leaves_with_its_time_and_type() {
    for sample in samples() {
        let what = sample.what;
        let found = carried(&sample, auto());
        assert_eq!(found.end, Ok(sample.records), "{what}");
        let sent = found.lines();
        let first = sent.first().map(String::as_str).unwrap_or_default();
        assert_eq!(first, sample.first, "{what}");
        assert_eq!(sent.len(), sample.times.len(), "{what}");
        for line in &sent {
            serde_json::from_str::<serde_json::Value>(line).expect(what);
        }
        if !sent.is_empty() {
            assert_eq!(found.read_as(), Some(sample.read_as), "{what}");
        }
        let log_type = preset(sample.preset).expect("a preset").log_type;
        for batch in &found.batches {
            assert_eq!(batch.body.route.log_type.as_deref(), log_type, "{what}");
        }
        let timed = carried(&sample, logzio(TimestampWhen::Always)).lines();
        let times: Vec<String> = timed.iter().map(|line| time_of(line)).collect();
        assert_eq!(times, sample.times, "{what}");
    }
}

/// The same objects under a name that says nothing, as in a folder of samples.
#[test]
fn content_tells_what_a_name_does_not() {
    for sample in samples() {
        let mut plan = plan(&sample, "samples/1", auto());
        plan.said = None;
        let found = carry(plan, &sample.object(), usize::MAX);
        if sample.is_told_by_content && sample.said.is_none() {
            assert_eq!(found, carried(&sample, auto()), "{}", sample.what);
        } else {
            let read_as = found.read_as();
            assert_ne!(
                read_as.unwrap_or_default(),
                sample.read_as,
                "{}",
                sample.what
            );
        }
    }
}

#[test]
fn any_pieces_of_an_object_give_the_same_batches() {
    for sample in samples() {
        for shape in [auto(), Shape::default()] {
            let object = sample.object();
            let carry = |step| carry(plan(&sample, sample.key, shape.clone()), &object, step);
            let whole = carry(object.len());
            for step in [1, 7, 100] {
                assert_eq!(carry(step), whole, "{} in pieces of {step}", sample.what);
            }
        }
    }
}

/// Whether its records stand in a document, whose end is part of it.
fn is_document(sample: &Sample) -> bool {
    let container = sample
        .read_as
        .split_once(' ')
        .map(|(_, container)| container);
    let is_array = container.is_some_and(|container| container.starts_with("{\"array\""));
    is_array
        || (container.is_none()
            && matches!(
                sample.preset,
                "json-array" | "json-records" | "cloudtrail" | "config" | "cloudwatch-logs"
            ))
}

#[test]
fn text_that_was_cut_off_gives_its_whole_records_and_a_document_an_error() {
    for sample in samples() {
        let text = sample.text();
        let whole = carried(&sample, auto()).lines();
        let start = text.len() - text.trim_start_matches('\u{feff}').len();
        for place in 1..20 {
            let mut end = (start + 1).max(text.len() * place / 20);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let object = gzip_of(&text[..end]);
            let found = carry(plan(&sample, sample.key, auto()), &object, usize::MAX);
            let lines = found.lines();
            let at = format!("{} cut at {end} of {}", sample.what, text.len());
            let is_told = found.read_as() == Some(sample.read_as);
            if is_document(&sample) && (is_told || found.batches.is_empty()) {
                let is_whole = text[end..].trim().is_empty() || text[..end].ends_with("]}");
                assert_eq!(found.end.is_err(), !is_whole, "{at}: {found:?}");
            }
            if is_told {
                assert!(lines.len() <= whole.len(), "{at}");
                // Of lines the last one may be a part of one.
                let good = match found.end {
                    Ok(_) => lines.len().saturating_sub(1),
                    Err(_) => lines.len(),
                };
                assert_eq!(lines[..good], whole[..good], "{at}");
            }
        }
    }
}

fn gzip_of(text: &str) -> Vec<u8> {
    samples::gzip(text.as_bytes())
}

#[test]
fn a_gzip_that_was_cut_off_is_an_error_in_every_format() {
    for sample in samples() {
        let object = gzip_of(&sample.text());
        let whole = carried(&sample, auto()).lines();
        for place in 1..20 {
            let end = object.len() * place / 20;
            let found = carry(plan(&sample, sample.key, auto()), &object[..end.max(3)], 7);
            assert!(found.end.is_err(), "{} cut at {end}", sample.what);
            assert!(found.lines().len() <= whole.len().max(1), "{}", sample.what);
        }
    }
}

/// A receiver of anything gets lines and JSON lines as they stand.
#[test]
fn what_is_a_line_leaves_unchanged_where_any_text_may_leave() {
    let mut lines_of = std::collections::BTreeSet::new();
    for sample in samples() {
        let found = carried(&sample, Shape::default());
        assert_eq!(found.end, Ok(sample.records), "{}", sample.what);
        let text = sample.text();
        let container = plan(&sample, sample.key, Shape::default());
        let container = container
            .known()
            .or_else(|| container.told(text.as_bytes(), true));
        let heading = match container.map(|reading| reading.container) {
            Some(Container::Lines) => None,
            Some(Container::HeadedLines(heading)) => Some(heading),
            _ => continue,
        };
        lines_of.insert(sample.preset);
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let expected: Vec<&str> = match heading {
            None => lines.collect(),
            Some(Heading::FirstLine) => lines.by_ref().skip(1).collect(),
            Some(Heading::Directives) => lines.filter(|line| !line.starts_with('#')).collect(),
        };
        assert_eq!(found.lines(), expected, "{}", sample.what);
    }
    for preset in [
        "lines",
        "ndjson",
        "cloudflare",
        "alb",
        "vpcflow",
        "cloudfront",
        "waf",
    ] {
        assert!(lines_of.contains(preset), "{preset}");
    }
}

#[test]
fn text_that_only_resembles_something_is_lines() {
    let trace = "java.lang.IllegalStateException: x\n\tat a.b.C.d(C.java:1)\nCaused by: y\n";
    for text in [
        "",
        " \n\r\n",
        "[INFO] started",
        "[{main}] INFO started",
        "[{\"thread\":\"main\"}] INFO started",
        "[{\"a\":1},\n{\"a\":2}] and more",
        "[{\"a\":1} {\"a\":2}]",
        "[1, 2]",
        "[]: nothing",
        "[2026-03-14 09:26:53,433] INFO in app: a log of Flask",
        "[2026-03-14 09:26:53 +0000] [7] [INFO] Listening",
        "{main} INFO started",
        "{2026-03-14} INFO",
        "{'a': 1}",
        "{{ template }}",
        "{\"a\":1} and more",
        "{\"a\":1}{oops",
        "{\"a\":1}, and more",
        "{\n  \"port\": 80\n}\n2026-03-14 09:26:53 started\n",
        "{\n  key = value\n}\n",
        "2026-03-14 09:26:53 INFO a",
        "2026-03-14T09:26:53.433Z INFO a",
        "2026-03-14T09:26:53.433Z app 192.0.2.1:80 - took 0.1 0.2",
        "http 2026-03-14T09:26:53Z /path took 3",
        "tls 1.2 handshake at 2026-03-14T09:26:53",
        "192.0.2.7 - - [14/Mar/2026:09:26:53 +0000] \"GET / HTTP/1.1\" 200 12",
        "- alice [14/Mar/2026:09:26:53 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"A.B/1\"",
        "level=info msg=\"a b\" start=1773480413",
        "version 2 of type start was seen",
        "start end action",
        "a|Sat, 14 Mar 2026 09:26:53:433|b",
        "id,name\n1,a\n",
        "<?xml version=\"1.0\"?>\n<Event/>",
        "<!doctype html>\n<html></html>",
        "---\na: [{b: 1}]\n",
        "# a comment\n# another one\nkey value\n",
        "#Fields of the valley\na b\n",
        "#Version: 1.0\n2026-03-14\t09:26:53\tFRA\n",
        "\u{feff}text",
        "\"text\"",
        "null",
        trace,
    ] {
        assert_eq!(told("logs/app.log", text), "lines", "{text}");
    }
    assert_eq!(
        told("logs/app.log", b"\0\x01\x02\xff\xfe{\"a\":1}"),
        "lines"
    );
    assert_eq!(
        told("logs/app.log", b"\xff\xfe{\0\"\0}\0"),
        "lines",
        "UTF-16"
    );
}

#[test]
fn a_key_alone_makes_nothing_of_text_that_does_not_look_like_it() {
    for key in [
        "AWSLogs/123456789012/CloudTrail/eu-west-1/x.json.gz",
        "AWSLogs/123456789012/Config/eu-west-1/2026/3/14/ConfigHistory/x.json.gz",
        "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/x.log.gz",
        "AWSLogs/123456789012/KafkaBrokerLogs/eu-west-1/x.log.gz",
        "AWSLogs/123456789012/redshift/eu-west-1/a_useractivitylog_b.gz",
        "exported/1/2/000000.gz",
        "AWSLogs/123456789012/vpcflowlogs/x.log.gz",
    ] {
        assert_eq!(told(key, "some text\nand more\n"), "lines", "{key}");
        assert_eq!(told(key, "{\"a\":1}\n{\"a\":2}\n"), "ndjson", "{key}");
    }
}

#[test]
fn r1_json_lines_with_a_member_records_are_lines() {
    for text in [
        "{\"Records\":[{\"a\":1}],\"b\":1}\n{\"c\":1}\n",
        "{\"Records\":[{\"a\":1}]}\n{\"Records\":[{\"a\":2}]}\n",
        "{\"Records\":null,\"message\":\"none\"}\n",
        "{\"Records\":[],\"message\":\"none\"}\n",
        "{\"Records\":7}\n",
        "{\"Records\":[1,2]}\n",
        "{\"messageType\":\"DATA_MESSAGE\",\"logGroup\":\"a\"}\n",
        "{\"messageType\":\"chat\",\"logGroup\":\"a\",\"logEvents\":[]}\n",
        "{\"events\":[{\"RayID\":\"1\"}],\"beside\":1}\n",
    ] {
        assert_eq!(told("app.log", text), "ndjson", "{text}");
    }
    // A notification of S3 has a source and a time as well, but is no event of CloudTrail's.
    let notification = "{\"Records\":[{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\",\"eventTime\":\"2026-03-14T09:26:53.433Z\",\"eventName\":\"ObjectCreated:Put\"}]}";
    assert_eq!(told("app.log", notification), "json-records");
}

#[test]
fn r3_a_first_line_that_was_cut_off_makes_no_document_of_the_lines_after_it() {
    for first in [
        "{\"level\":\"info\",\"tags\":[\"a\",\"b\"",
        "{\"a\":{\"b\":1,",
        "{\"a\":[",
        "[{\"a\":[1",
    ] {
        let text = format!("{first}\n{}", "{\"n\":1,\"m\":[{}]}\n".repeat(10_000));
        let last = HEAD_BYTES[HEAD_BYTES.len() - 1];
        assert_eq!(told("app.log", &text[..last]), "lines", "{first}");
    }
}

#[test]
fn leading_blank_lines_a_byte_order_mark_and_crlf_hide_nothing() {
    for sample in samples() {
        if sample.said.is_some() {
            continue;
        }
        let text = sample.text();
        let bare = text.trim_start_matches('\u{feff}');
        assert_eq!(
            told(sample.key, format!("\u{feff}\r\n\n{bare}")),
            sample_told(&sample)
        );
        let crlf = bare.replace('\n', "\r\n");
        assert_eq!(
            told(sample.key, crlf),
            sample_told(&sample),
            "{}",
            sample.what
        );
    }
}

/// What is said of it where nobody asks for another way to leave.
fn sample_told(sample: &Sample) -> String {
    match sample.read_as.rsplit_once(':') {
        Some((name, "raw" | "json")) => name.to_owned(),
        _ => sample.read_as.to_owned(),
    }
}

#[test]
fn a_first_line_longer_than_what_is_looked_at_is_told_by_its_start() {
    let long = "x".repeat(70_000);
    for (key, text, expected) in [
        ("a", format!("{long} {long}\n"), "lines"),
        ("a", format!("{{\"a\":\"{long}\"}}\n"), "ndjson"),
        (
            "a",
            format!("{{\"EdgeStartTimestamp\":1,\"a\":\"{long}\"}}\n"),
            "cloudflare",
        ),
        ("a", format!("{{\n\"a\":\"{long}\"}}\n"), "json-values"),
        ("a", format!("[{{\"a\":\"{long}\"}}]\n"), "json-array"),
        (
            "a",
            format!("{{\"Records\":[{{\"a\":\"{long}\"}}]}}"),
            "json-records",
        ),
        (
            "a",
            format!(
                "{{\"Records\":[{{\"eventVersion\":\"1\",\"eventTime\":\"\",\"eventSource\":\"\",\"eventID\":\"\",\"a\":\"{long}\"}}]}}"
            ),
            "cloudtrail",
        ),
        (
            "AWSLogs/1/CloudTrail/x",
            format!("{{\"a\":\"{long}\",\"Records\":[]}}"),
            "cloudtrail",
        ),
    ] {
        let plan = Plan {
            key: key.to_owned(),
            said: None,
            ..Plan::from(auto())
        };
        let found = carry(plan, text.as_bytes(), 1_000);
        assert!(found.end.is_ok(), "{expected}: {:?}", found.end);
        if !found.batches.is_empty() {
            assert_eq!(found.read_as(), Some(expected));
        }
        let last = HEAD_BYTES[HEAD_BYTES.len() - 1];
        assert_eq!(told(key, &text[..last]), expected);
    }
}

#[test]
fn every_dataset_of_cloudflare_is_told_and_has_its_time() {
    let datasets = [
        (
            "access_requests",
            r#"{"Action":"login","CreatedAt":TIME,"RayID":"00c0"}"#,
        ),
        (
            "audit_logs",
            r#"{"ActionType":"add","ActorID":"a","ID":"b","When":TIME}"#,
        ),
        (
            "casb_findings",
            r#"{"AssetLink":"a","DetectedTimestamp":TIME,"FindingTypeID":"b"}"#,
        ),
        (
            "device_posture_results",
            r#"{"DeviceID":"a","PostureCheckName":"b","Timestamp":TIME}"#,
        ),
        (
            "dex_application_tests",
            r#"{"AccountID":"a","TestID":"b","Timestamp":TIME}"#,
        ),
        (
            "dlp_forensic_copies",
            r#"{"AccountID":"a","ForensicCopyID":"b","Datetime":TIME}"#,
        ),
        (
            "dns_firewall_logs",
            r#"{"ClusterID":"a","ColoCode":"FRA","QueryName":"b","Timestamp":TIME}"#,
        ),
        (
            "email_security_alerts",
            r#"{"AlertID":"a","Subject":"b","Timestamp":TIME}"#,
        ),
        (
            "gateway_dns",
            r#"{"AccountID":"a","Datetime":TIME,"QueryName":"b"}"#,
        ),
        (
            "http_requests",
            r#"{"ClientIP":"192.0.2.7","EdgeEndTimestamp":TIME}"#,
        ),
        (
            "magic_ids_detections",
            r#"{"Action":"pass","ColoCode":"NRT","SignatureID":1,"Timestamp":TIME}"#,
        ),
        (
            "nel_reports",
            r#"{"ClientIPASN":"1","LastKnownGoodColoCode":"SJC","Timestamp":TIME}"#,
        ),
        (
            "network_analytics_logs",
            r#"{"AttackID":"a","ColoName":"SJC","Datetime":TIME}"#,
        ),
        (
            "page_shield_events",
            r#"{"Action":"log","CSPDirective":"a","Timestamp":TIME}"#,
        ),
        (
            "sinkhole_http_logs",
            r#"{"AccountID":"a","SinkholeID":"b","Timestamp":TIME}"#,
        ),
        (
            "spectrum_events",
            r#"{"Application":"a","ColoCode":"SOF","ConnectTimestamp":0,"Timestamp":TIME}"#,
        ),
        (
            "workers_trace_events",
            r#"{"Event":{"RayID":"a"},"EventTimestampMs":TIME,"ScriptName":"b"}"#,
        ),
        (
            "zero_trust_network_sessions",
            r#"{"SessionEndTime":0,"SessionID":"a","SessionStartTime":TIME}"#,
        ),
    ];
    let times = [
        "\"2026-03-14T09:26:53Z\"",
        "1773480413",
        "1773480413000",
        "1773480413000000000",
        "\"1773480413\"",
        "\"1773480413000000000\"",
    ];
    for (dataset, record) in datasets {
        for time in times {
            let text = record.replace("TIME", time) + "\n";
            let plan = Plan {
                key: format!(
                    "{dataset}/20260314/20260314T092600Z_20260314T092630Z_0a1b2c3d.log.gz"
                ),
                said: None,
                ..Plan::from(logzio(TimestampWhen::Always))
            };
            let found = carry(plan, &gzip_of(&text), 100);
            assert_eq!(found.read_as(), Some("cloudflare"), "{dataset}");
            let line = &found.lines()[0];
            let expected = "{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",";
            assert!(line.starts_with(expected), "{dataset}: {line}");
        }
    }
}

#[test]
fn r8_a_stack_trace_longer_than_the_first_look_does_not_hide_what_follows() {
    let trace = "\tat kafka.log.Log.read(Log.scala:42)\n".repeat(200);
    let text = format!("{trace}[2026-03-14 09:26:53,433] INFO a (kafka.A)\n");
    let plan = Plan {
        key: "AWSLogs/1/KafkaBrokerLogs/eu-west-1/x.log.gz".to_owned(),
        said: None,
        ..Plan::from(auto())
    };
    let found = carry(plan, &gzip_of(&text), 100);
    assert_eq!((found.read_as(), &found.end), (Some("msk"), &Ok(2)));
}

#[test]
fn r9_a_findings_own_type_stays_beside_that_of_its_route() {
    let samples = samples();
    let finding = samples
        .iter()
        .find(|sample| sample.preset == "guardduty")
        .expect("a sample");
    let found = carried(finding, auto());
    let route = &found.batches[0].body.route;
    assert_eq!(route.log_type.as_deref(), Some("guardduty"));
    let first = &found.lines()[0];
    assert!(
        first.contains("\"type\":\"Recon:EC2/PortProbeUnprotectedPort\""),
        "{first}"
    );
}

#[test]
fn the_document_shows_the_table_of_sources() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let document = std::fs::read_to_string(path).expect("a file of the repository");
    let shown = document
        .split_once("<!-- formats -->\n")
        .and_then(|(_, rest)| rest.split_once("<!-- /formats -->"))
        .map_or("", |(shown, _)| shown.trim());
    let expected = presets::table();
    assert!(
        shown == expected.trim(),
        "docs/formats.md must hold, between <!-- formats --> and <!-- /formats -->:\n\n{expected}"
    );
}

/// Text with the parts in it that something is told by.
fn parts() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..20),
        6 => proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "\r\n", "\t", " ", "1", "null",
            "\"Records\":", "\"logEvents\":[", "\"messageType\":\"DATA_MESSAGE\",", "\"a\":1",
            "{\"a\":1}", "[{\"a\":1}", "#Fields: a", "#", "'2026-03-14T09:26:53Z UTC [ db=",
            "2026-03-14T09:26:53.433Z ", "[2026-03-14 09:26:53,433] INFO ", "kafka.", "tls 2.0 ",
            "http ", "a/b ", "192.0.2.1:80 ", "|", "Sat, 14 Mar 2026 09:26:53:433", "\u{feff}",
        ]).prop_map(|part| part.as_bytes().to_vec()),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_what_is_told_can_be_read_again(
        text in parts(),
        key in proptest::sample::select(vec![
            "a",
            "AWSLogs/1/CloudTrail/x",
            "AWSLogs/1/KafkaBrokerLogs/x",
            "x_useractivitylog_y",
            "a/000000.gz",
        ]),
    ) {
        for end in [text.len() / 2, text.len()] {
            recognise(key, &text[..end], false);
            let plan = Plan { key: key.to_owned(), said: None, ..Plan::from(Shape::default()) };
            let reading = plan.told(&text[..end], true).expect("always told");
            let again = plan.resume(Some(&reading.read_as)).expect("understood");
            prop_assert_eq!(again.container, reading.container);
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_are_told_alike(text in parts(), times in 1_usize..400, step in 1_usize..5_000) {
        let text = text.repeat(times);
        let new = || Plan { key: "a".to_owned(), said: None, ..Plan::from(auto()) };
        let whole = carry(new(), &text, usize::MAX);
        prop_assert_eq!(carry(new(), &text, step), whole);
    }
}
