//! Rules in the tool, as a person runs it: checked, explained, and in force.
#![cfg(feature = "local")]

use std::path::Path;

use bucket_brigade::local::listener::{ListenerServer, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::aws::Aws;
use crate::tool::{PATIENCE, Sync, TOKEN, account, brigade, gzip, output, signal, stderr, until};

const RULES: &str = r#"version: 1
rules:
  - name: zones
    match: {bucket: logs, pattern: '^zones/(?<zone>[^/]+)/'}
    format: cloudflare
    type: cf-${zone}
    timestamp: true
    fields: {zone: "${zone}"}
    drop_fields: [Secret]
    redact: [email]
  - name: builds
    match: {prefix: builds/}
    skip: true
  - name: balancer
    match: {glob: "lb/**"}
    format: alb
"#;

const ALB: &str = "http 2022-12-06T17:42:16.176563Z app/lb/1 192.0.2.1:40860 - -1 -1 -1 301 - 204 333 \
    \"GET http://192.0.2.9:80/ HTTP/1.1\" \"agent\" - - - \"Root=1\" \"-\" \"-\" 0 \
    2022-12-06T17:42:16.176000Z \"redirect\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\"\n";

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let file = folder.join(name);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(file, content).expect("written");
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_right_file_has_so_many_rules_and_a_wrong_one_every_error_by_line_and_column() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "good.yaml", RULES);
    let checked = output(&mut brigade(&folder, &["rules", "check", "good.yaml"])).await;
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert_eq!(stdout(&checked), "good.yaml: 3 rules\n");

    let bad = "version: 1\nrules:\n  - name: a\n    match: {prefx: a/}\n  - name: b\n    match: {prefix: b/}\n    format: cloudtrial\n";
    write(folder.path(), "bad.yaml", bad);
    let checked = output(&mut brigade(&folder, &["rules", "check", "bad.yaml"])).await;
    assert_eq!(checked.status.code(), Some(2));
    assert_eq!(stdout(&checked), "");
    let said = stderr(&checked);
    let places: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split(", column").next())
        .collect();
    assert!(places.contains(&"bad.yaml: line 4"), "{said}");
    assert!(places.contains(&"bad.yaml: line 7"), "{said}");
    assert!(
        said.lines().all(|line| line.starts_with("bad.yaml: line ")),
        "{said}"
    );
    assert!(said.contains("perhaps \"cloudtrail\""), "{said}");

    let checked = output(&mut brigade(&folder, &["rules", "check", "none.yaml"])).await;
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        stderr(&checked).contains("none.yaml"),
        "{}",
        stderr(&checked)
    );
}

#[tokio::test]
async fn a_file_in_a_bucket_is_checked_as_well() {
    let sync = Sync::start().await;
    sync.s3.put("logs", "rules.yaml", RULES).expect("put");
    sync.s3
        .put("logs", "bad.yaml", "version: 2\nrules: 7\n")
        .expect("put");
    let store = ["--endpoint-url", sync.s3.endpoint().as_str()];
    let check = async |place: &str| {
        let arguments = [&["rules", "check", place], &store[..]].concat();
        output(&mut brigade(&sync.folder, &arguments)).await
    };
    let checked = check("s3://logs/rules.yaml").await;
    assert_eq!(
        stdout(&checked),
        "s3://logs/rules.yaml: 3 rules\n",
        "{}",
        stderr(&checked)
    );
    let checked = check("s3://logs/bad.yaml").await;
    assert_eq!(checked.status.code(), Some(2));
    let said = stderr(&checked);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.lines()
            .all(|line| line.starts_with("s3://logs/bad.yaml: line ")),
        "{said}"
    );
    let checked = check("s3://logs/none.yaml").await;
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        stderr(&checked).contains("s3://logs/none.yaml"),
        "{}",
        stderr(&checked)
    );
}

#[tokio::test]
async fn explain_says_of_five_keys_which_rule_and_why_and_what_would_be_sent() {
    let sync = Sync::start().await;
    write(sync.folder.path(), "rules.yaml", RULES);
    let store = sync.s3.endpoint().as_str();
    let ray = r#"{"EdgeStartTimestamp":1700000000,"RayID":"7","Secret":"x","By":"jo@example.com"}"#;
    let big = gzip(format!("{ray}\n").repeat(1_000_000).as_bytes());
    let big_bytes = big.len() as u64;
    for (key, content) in [
        ("zones/example.com/a.log.gz", big),
        ("builds/a.log", b"x".to_vec()),
        ("lb/a.log.gz", gzip(ALB.as_bytes())),
        ("other/a.log", b"one\ntwo\nthree\nfour\n".to_vec()),
        ("zones/a/ownership-challenge.txt", b"secret".to_vec()),
    ] {
        sync.s3.put("logs", key, content).expect("put");
    }
    let explain = async |key: &str| {
        let of = format!("s3://logs/{key}");
        let arguments = [
            "rules",
            "explain",
            &of,
            "--rules",
            "rules.yaml",
            "--endpoint-url",
            store,
        ];
        let explained = output(&mut brigade(&sync.folder, &arguments)).await;
        assert_eq!(
            explained.status.code(),
            Some(0),
            "{key}: {}",
            stderr(&explained)
        );
        stdout(&explained)
    };
    let captured = r#"  rule zones, line 3: bucket "logs" holds, pattern "^zones/(?<zone>[^/]+)/" holds, so it matches"#;
    let sent = r#"{"zone":"example.com","@timestamp":"2023-11-14T22:13:20.000Z","EdgeStartTimestamp":1700000000,"RayID":"7","By":"[redacted]"}"#;
    let before = sync.s3.counts().bytes_served;
    assert_eq!(
        explain("zones/example.com/a.log.gz").await,
        format!(
            "s3://logs/zones/example.com/a.log.gz\n{captured}\n\
             carried by rule zones with zone \"example.com\"\n\
             format: cloudflare\ncompression: gzip\ntype: cf-example.com\n\
             endpoint: that of the settings\n\
             its first 3 records, as they would be sent:\n{sent}\n{sent}\n{sent}\n"
        )
    );
    let served = sync.s3.counts().bytes_served - before;
    assert!(
        served <= 64 * 1024 && served < big_bytes,
        "{served} of {big_bytes} bytes"
    );

    let not_zones =
        r#"  rule zones, line 3: bucket "logs" holds, pattern "^zones/(?<zone>[^/]+)/" does not"#;
    let not_builds = r#"  rule builds, line 11: prefix "builds/" does not"#;
    let before = sync.s3.counts().gets;
    assert_eq!(
        explain("builds/a.log").await,
        format!(
            "s3://logs/builds/a.log\n{not_zones}\n  rule builds, line 11: prefix \"builds/\" holds, \
             so it matches\nskipped by rule builds\n"
        )
    );
    assert_eq!(
        explain("zones/a/ownership-challenge.txt").await,
        "s3://logs/zones/a/ownership-challenge.txt\nskipped: no log but test object of a producer\n"
    );
    assert_eq!(
        sync.s3.counts().gets,
        before,
        "nothing is read of what is skipped"
    );

    let told = explain("lb/a.log.gz").await;
    assert!(
        told.starts_with(&format!(
            "s3://logs/lb/a.log.gz\n{not_zones}\n{not_builds}\n  rule balancer, line 14: glob \"lb/**\" \
             holds, so it matches\ncarried by rule balancer\nformat: alb\ncompression: gzip\ntype: elb\n"
        )),
        "{told}"
    );
    assert!(
        told.contains("its one record, as it would be sent:\n{"),
        "{told}"
    );
    let told = explain("other/a.log").await;
    assert!(
        told.ends_with(
            "carried: no rule matches, as its content says\nformat: lines\ncompression: none\n\
             type: http-bulk\nendpoint: that of the settings\n\
             its first 3 records, as they would be sent:\n\
             {\"message\":\"one\"}\n{\"message\":\"two\"}\n{\"message\":\"three\"}\n"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn explain_takes_a_file_for_the_object_and_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rules.yaml", RULES);
    write(
        folder.path(),
        "sample.log.gz",
        gzip(b"{\"RayID\":\"1\"}\n{\"RayID\":\"2\"}"),
    );
    let explain = async |arguments: &[&str]| {
        let arguments = [&["rules", "explain"], arguments].concat();
        let mut command = brigade(&folder, &arguments);
        output(command.env("RULES_URL", "rules.yaml")).await
    };
    let of = "s3://logs/zones/z/x";
    let explained = explain(&[of, "--object", "sample.log.gz", "--kind", "http", "--json"]).await;
    assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
    let said: Value = serde_json::from_str(&stdout(&explained)).expect("one JSON object");
    assert_eq!(
        (&said["outcome"], &said["rule"], &said["captures"]),
        (&json!("carried"), &json!("zones"), &json!({"zone": "z"}))
    );
    assert_eq!(
        (
            &said["format"],
            &said["compression"],
            &said["type"],
            &said["problem"]
        ),
        (
            &json!("cloudflare"),
            &json!(["gzip"]),
            &json!(null),
            &json!(null)
        )
    );
    let records = json!([r#"{"zone":"z","RayID":"1"}"#, r#"{"zone":"z","RayID":"2"}"#]);
    assert_eq!(said["records"], records);

    let explained = explain(&["./sample.log.gz"]).await;
    assert_eq!(explained.status.code(), Some(0));
    let said = stdout(&explained);
    assert!(said.starts_with("s3://local/sample.log.gz\n"), "{said}");
    assert!(
        said.contains("its 2 records, as they would be sent:"),
        "{said}"
    );

    write(folder.path(), "x.parquet", b"PAR1\x15\x04\x15\x10\x15\x14");
    let explained = explain(&[of, "--object", "x.parquet"]).await;
    assert_eq!(explained.status.code(), Some(1));
    assert!(stdout(&explained).contains("carried by rule zones"));
    assert!(
        stderr(&explained).contains("Parquet is not supported"),
        "{}",
        stderr(&explained)
    );

    write(folder.path(), "empty", b"");
    let explained = explain(&[of, "--object", "empty"]).await;
    assert!(stdout(&explained).ends_with("skipped: no log but empty object\n"));

    for (arguments, advice) in [
        (&["s3://logs"][..], "s3://bucket/key"),
        (&["none.log"], "none.log"),
        (
            &["sample.log.gz", "--object", "sample.log.gz"],
            "s3://bucket/key",
        ),
        (
            &[of, "--rules", "sample.log.gz"],
            "sample.log.gz: expected UTF-8",
        ),
    ] {
        let explained = explain(arguments).await;
        assert_eq!(explained.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&explained).contains(advice),
            "{arguments:?}: {}",
            stderr(&explained)
        );
    }
}

#[tokio::test]
async fn ship_goes_by_rules_and_says_what_each_object_was_told_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "version: 1
rules:
  - {name: tests, match: {prefix: test/}, skip: true}
  - name: orders
    match: {glob: '**/*.csv'}
    format: {container: delimited, delimiter: ';'}
    type: orders
    timestamp: {field: placed}
    exclude: [{field: id, pattern: '^2$'}]
";
    write(folder.path(), "rules.yaml", rules);
    let csv = "id;placed\n1;2024-01-02T03:04:05Z\n2;2025-01-02T03:04:06Z\n3;2024-01-02T03:04:07Z\n";
    write(folder.path(), "logs/a/x.csv", csv);
    write(folder.path(), "logs/lb.log.gz", gzip(ALB.as_bytes()));
    write(folder.path(), "logs/lines.txt", "plain\n");
    write(folder.path(), "logs/test/x.log", "skipped\n");
    let arguments = ["ship", "logs", "--to", "stdout", "--rules", "rules.yaml"];
    let json = [&arguments[..], &["--json"]].concat();
    let shipped = output(&mut brigade(&folder, &json)).await;
    assert_eq!(shipped.status.code(), Some(0), "{}", stderr(&shipped));
    let account = account(&shipped);
    assert_eq!(
        (
            &account["objects"],
            &account["objects_skipped"],
            &account["records_read"],
            &account["records_delivered"],
            &account["records_filtered"]
        ),
        (&json!(3), &json!(1), &json!(5), &json!(4), &json!(1))
    );
    let told = account["told"].as_array().expect("a list");
    let told: Vec<Value> = told
        .iter()
        .map(|one| {
            json!([
                one["key"],
                one["format"],
                one["type"],
                one["first"],
                one["last"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!([
                "a/x.csv",
                "delimited",
                "orders",
                "2024-01-02T03:04:05.000Z",
                "2024-01-02T03:04:07.000Z"
            ]),
            json!([
                "lb.log.gz",
                "alb",
                "elb",
                "2022-12-06T17:42:16.176Z",
                "2022-12-06T17:42:16.176Z"
            ]),
            json!(["lines.txt", "lines", "http-bulk", null, null]),
        ]
    );
    let sent = stdout(&shipped);
    let first =
        r#"{"@timestamp":"2024-01-02T03:04:05.000Z","id":"1","placed":"2024-01-02T03:04:05Z"}"#;
    assert_eq!(sent.lines().next(), Some(first));

    let shipped = output(&mut brigade(&folder, &arguments)).await;
    let table = stderr(&shipped);
    let row = |key: &str| {
        let row = table.lines().find(|line| line.starts_with(key));
        row.unwrap_or_else(|| panic!("{key}: {table}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        row("a/x.csv"),
        [
            "a/x.csv",
            "settled",
            "3",
            "2",
            "1",
            "0",
            "1",
            "delimited",
            "orders",
            "2024-01-02T03:04:05Z",
            "2024-01-02T03:04:07Z"
        ]
    );
    assert_eq!(row("test/x.log ")[1], "skipped");
    assert!(table.contains("test/x.log: skipped_by_rule"), "{table}");

    write(
        folder.path(),
        "bad.yaml",
        "version: 1\nrules:\n  - name: a\n    match: {}\n    fromat: x\n",
    );
    let arguments = ["ship", "logs", "--to", "stdout", "--rules", "bad.yaml"];
    let shipped = output(&mut brigade(&folder, &arguments)).await;
    assert_eq!(shipped.status.code(), Some(2));
    assert_eq!(
        shipped.stdout, b"",
        "nothing is sent by rules that are wrong"
    );
    for place in ["bad.yaml: line 4", "bad.yaml: line 5"] {
        assert!(stderr(&shipped).contains(place), "{}", stderr(&shipped));
    }
}

#[tokio::test]
async fn a_rule_sends_its_objects_to_an_endpoint_of_its_own_with_a_token_of_its_own() {
    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:other-AbCdEf";
    let aws = Aws::start().await;
    aws.secrets.set_secret(ARN, "an0ther-t0ken");
    let main = crate::tool::listener().await;
    let options = Options {
        token: "an0ther-t0ken".to_owned(),
        ..Options::default()
    };
    let other = ListenerServer::start(options).await.expect("a listener");
    let folder = tempfile::tempdir().expect("a folder");
    let rules = format!(
        "version: 1\nrules:\n  - name: other\n    match: {{prefix: other/}}\n    type: t\n    \
         endpoint: {{url: '{}', token_arn: '{ARN}'}}\n",
        other.url()
    );
    write(folder.path(), "rules.yaml", rules);
    write(folder.path(), "logs/other/a.log", "{\"n\":1}\n{\"n\":2}\n");
    write(folder.path(), "logs/a.log", "{\"n\":3}\n");
    let to = main.url().as_str();
    let arguments = [
        "ship",
        "logs",
        "--to",
        to,
        "--rules",
        "rules.yaml",
        "--json",
    ];
    let mut command = brigade(&folder, &arguments);
    let url = aws.endpoint().as_str();
    command
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_REGION", "us-east-1");
    let shipped = output(&mut command).await;
    assert_eq!(shipped.status.code(), Some(0), "{}", stderr(&shipped));
    assert_eq!((main.counts().records, other.counts().records), (1, 2));
    assert_eq!(other.counts().types["t"], 1);
    for text in [stdout(&shipped), stderr(&shipped)] {
        assert!(
            !text.contains("an0ther-t0ken") && !text.contains(TOKEN),
            "{text}"
        );
    }
}

fn typed(log_type: &str) -> String {
    format!(
        "version: 1\nrules:\n  - {{name: skip, match: {{prefix: in/skip/}}, skip: true}}\n  \
         - {{name: all, match: {{glob: '**'}}, type: {log_type}}}\n"
    )
}

/// Sync, watching, with rules that change while it runs.
async fn rules_change_under(sync: &Sync, mut command: Command, put: impl Fn(&str)) {
    let mut watching = command.spawn().expect("started");
    let mut said = BufReader::new(watching.stderr.take().expect("piped")).lines();
    let types = |log_type: &str| {
        let counts = sync.listener.counts();
        counts.types.get(log_type).copied().unwrap_or(0)
    };
    sync.put("in/skip/a.gz", &crate::tool::records(0..1));
    sync.put("in/a.gz", &crate::tool::records(0..10));
    until(PATIENCE, "the first rules", || types("one") == 1).await;

    put(&typed("two"));
    sync.put("in/b.gz", &crate::tool::records(10..20));
    until(PATIENCE, "the second rules", || types("two") == 1).await;

    put("version: 1\nrules:\n  - name: all\n    match: {glob: '**'}\n    typo: three\n");
    let problem = async {
        while let Some(line) = said.next_line().await.expect("text") {
            if line.contains("line 5, column") && line.contains("typo") {
                return;
            }
        }
        panic!("it ended");
    };
    let problem = tokio::time::timeout(PATIENCE, problem).await;
    problem.expect("the problem is said");
    sync.put("in/c.gz", &crate::tool::records(20..30));
    until(PATIENCE, "the last good rules", || types("two") == 2).await;

    put(&typed("four"));
    sync.put("in/d.gz", &crate::tool::records(30..40));
    until(PATIENCE, "the rules put right", || types("four") == 1).await;

    signal(&watching, "TERM").await;
    let mut rest = String::new();
    let ended = async {
        while let Some(line) = said.next_line().await.expect("text") {
            rest.push_str(&line);
        }
        watching.wait_with_output().await.expect("an output")
    };
    let ended = tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{rest}");
    assert!(!rest.contains("typo"), "the problem is said once: {rest}");
    let account = account(&ended);
    assert_eq!(
        (&account["objects_settled"], &account["objects_skipped"]),
        (&json!(4), &json!(1)),
        "what is skipped is shown once, however many passes there are"
    );
    assert_eq!(types("one") + types("two") + types("four"), 4);
}

#[tokio::test]
async fn sync_sees_a_changed_rules_file_without_a_restart_and_keeps_the_last_good_one() {
    let sync = Sync::start().await;
    let folder = sync.folder.path().to_owned();
    let put = |text: &str| write(&folder, "rules.yaml", text);
    put(&typed("one"));
    let arguments = ["--watch", "100ms", "--rules", "rules.yaml"];
    let mut command = sync.command(&arguments);
    command.env("RULES_REFRESH_MS", "0");
    rules_change_under(&sync, command, put).await;
}

#[tokio::test]
async fn sync_sees_changed_rules_in_a_bucket() {
    let sync = Sync::start().await;
    let put = |text: &str| {
        let put = sync.s3.put("logs", "rules.yaml", text.to_owned());
        put.expect("put");
    };
    put(&typed("one"));
    let mut command = sync.command(&["--watch", "100ms"]);
    command
        .env("RULES_URL", "s3://logs/rules.yaml")
        .env("AWS_ENDPOINT_URL", sync.s3.endpoint().as_str())
        .env("RULES_REFRESH_MS", "0");
    rules_change_under(&sync, command, put).await;
}

#[tokio::test]
async fn sync_does_not_begin_with_rules_that_are_wrong() {
    let sync = Sync::start().await;
    sync.put("in/a.gz", &crate::tool::records(0..1));
    write(
        sync.folder.path(),
        "rules.yaml",
        "version: 1\nrules:\n  - {name: A, match: {}}\n",
    );
    let ended = output(&mut sync.command(&["--rules", "rules.yaml"])).await;
    assert_eq!(ended.status.code(), Some(2), "{}", stderr(&ended));
    let said = stderr(&ended);
    assert!(
        said.matches("rules.yaml: line 3, column").count() >= 2,
        "{said}"
    );
    assert_eq!(sync.listener.counts().requests, 0);
}
