//! Settings as a function or a person gives them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SECRET: &str = "s3cr3tTOKENs3cr3t";
const SECRET_ARN: &str = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:token-AbCdEf";

/// Settings with which `ingest` starts.
fn complete() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("ENDPOINT_URL", "https://listener.logz.io:8071"),
        ("ENDPOINT_TOKEN_ARN", SECRET_ARN),
        ("LEDGER_TABLE", "bucket-brigade-Ledger-1A2B"),
        (
            "QUEUE_URL",
            "https://sqs.eu-central-1.amazonaws.com/111122223333/items",
        ),
        (
            "DEAD_LETTER_QUEUE_URL",
            "https://sqs.eu-central-1.amazonaws.com/111122223333/dead-letters",
        ),
        (
            "WATCH",
            "s3://example-logs/web/, s3://example-logs/l/%Y/%m/%d/",
        ),
        ("QUARANTINE_URL", "s3://example-quarantine"),
    ])
}

fn with(changes: &[(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let mut settings = complete();
    settings.extend(changes.iter().copied());
    move |name| settings.get(name).map(|&value| value.to_owned())
}

fn ingest(changes: &[(&'static str, &'static str)]) -> Result<IngestConfig, ConfigErrors> {
    IngestConfig::parse(with(changes))
}

/// The one problem that a change makes, as it is told.
fn problem(changes: &[(&'static str, &'static str)]) -> String {
    let errors = ingest(changes).expect_err("a problem");
    assert_eq!(errors.problems().len(), 1, "{errors}");
    errors.problems()[0].to_string()
}

#[test]
fn the_defaults_are_in_their_bounds_and_start_with_nothing_set() {
    let config = Config::parse(|_| None).expect("defaults");
    assert_eq!(config.part_bytes.get(), 4_194_304);
    assert_eq!(config.batch_bytes_max.get(), 8_388_608);
    assert_eq!(config.record_bytes_max.get(), 1_048_576);
    assert_eq!(config.in_flight.requests_max, 4);
    assert_eq!(config.in_flight.objects_max, 4);
    assert_eq!(config.share_linger, Duration::from_millis(500));
    assert_eq!(config.list_pages_max.get(), 1_000);
    assert_eq!(config.pages_in_flight_max.get(), 4);
    assert_eq!(config.requeues_in_flight_max.get(), 40);
    assert_eq!(config.attempts_max.get(), 5);
    assert_eq!(config.delivery_timeout, Duration::from_secs(30));
    assert_eq!(config.deadline_margin, Duration::from_secs(10));
    assert_eq!(config.lease, Duration::from_secs(60));
    assert_eq!(config.grace, Duration::from_secs(300));
    assert_eq!(config.queued, Duration::from_hours(1));
    assert_eq!(config.retention, Duration::from_hours(30 * 24));
    assert_eq!(config.since, None);
    assert_eq!(config.metrics_service, "bucket-brigade");
    assert_eq!(config.source, SourceAccess::Own);
    assert_eq!(config.watch, []);
    assert_eq!(config.log_level, LogLevel::Info);
    assert!(!config.add_source_field);
}

#[test]
fn a_complete_environment_starts_ingest() {
    let ingest = ingest(&[]).expect("complete");
    assert_eq!(
        ingest.endpoint.url.as_str(),
        "https://listener.logz.io:8071/"
    );
    assert_eq!(ingest.endpoint.kind, EndpointKind::Logzio);
    assert_eq!(
        ingest.endpoint.token,
        Some(TokenPlace::Secret(SECRET_ARN.into()))
    );
    assert_eq!(ingest.endpoint.log_type, None);
    assert_eq!(ingest.quarantine, S3Place::new("example-quarantine", ""));
    assert!(ingest.queues.is_some());
    let watched: Vec<String> = ingest
        .config
        .watch
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        watched,
        ["s3://example-logs/web/", "s3://example-logs/l/%Y/%m/%d/"]
    );
}

#[test]
fn every_problem_is_reported_at_once_with_name_value_and_expectation() {
    let errors = IngestConfig::parse(|name| {
        let value = match name {
            "ENDPOINT_KIND" => "splunk",
            "ENDPOINT_TOKEN" => "two words",
            "ENDPOINT_TOKEN_ARN" => "arn:x",
            "BATCH_BYTES_MAX" => "0",
            "GRACE_MS" => "5 min",
            "WATCH" => "s3://b/%y/",
            "SINCE" => "yesterday",
            _ => return None,
        };
        Some(value.to_owned())
    })
    .expect_err("problems");
    let told: BTreeSet<String> = errors.problems().iter().map(ToString::to_string).collect();
    let expected = [
        "BATCH_BYTES_MAX is \"0\", expected a whole number from 1 to 67108864",
        "ENDPOINT_KIND is \"splunk\", expected logzio or http",
        "ENDPOINT_TOKEN is [not shown], expected printable characters without spaces",
        "ENDPOINT_TOKEN_ARN is \"arn:x\", expected the ARN of a Secrets Manager secret or an SSM parameter",
        "ENDPOINT_URL is missing, expected a URL such as https://listener.logz.io:8071",
        "GRACE_MS is \"5 min\", expected a whole number from 0 to 86400000",
        "LEDGER_TABLE is missing, expected the name or ARN of a DynamoDB table",
        "QUARANTINE_URL is missing, expected s3://bucket/prefix",
        "SINCE is \"yesterday\", expected an RFC 3339 time such as 2026-03-14T09:00:00Z, or a date, since 1970",
        "WATCH is \"s3://b/%y/\", expected only %Y, %m, %d, %H and %% after a percent sign",
    ];
    assert_eq!(told, expected.map(str::to_owned).into());
    assert_eq!(errors.problems().len(), told.len(), "each once");
}

#[test]
fn an_empty_value_counts_as_absent() {
    let ingest = ingest(&[("SOURCE_ROLE_ARN", ""), ("SINCE", " "), ("LEASE_MS", "")]);
    let config = ingest.expect("as if unset").config;
    assert_eq!(config.source, SourceAccess::Own);
    assert_eq!(config.since, None);
    assert_eq!(config.lease, Duration::from_secs(60));
    assert!(problem(&[("LEDGER_TABLE", "")]).starts_with("LEDGER_TABLE is missing"));
}

#[test]
fn reconcile_needs_no_endpoint_and_ingest_no_watch() {
    let reconcile = with(&[
        ("ENDPOINT_URL", ""),
        ("ENDPOINT_TOKEN_ARN", ""),
        ("QUARANTINE_URL", ""),
    ]);
    assert!(ReconcileConfig::parse(reconcile).is_ok());
    let errors = ReconcileConfig::parse(|_| None).expect_err("nothing set");
    let missing: Vec<&str> = errors
        .problems()
        .iter()
        .map(|problem| problem.name)
        .collect();
    assert_eq!(missing, ["LEDGER_TABLE", "QUEUE_URL", "WATCH"]);
    assert!(ingest(&[("WATCH", "")]).is_ok());
    assert!(ingest(&[("QUEUE_URL", ""), ("DEAD_LETTER_QUEUE_URL", "")]).is_ok());
    assert!(problem(&[("DEAD_LETTER_QUEUE_URL", "")]).ends_with("since QUEUE_URL is set"));
    assert!(problem(&[("QUEUE_URL", "")]).ends_with("since DEAD_LETTER_QUEUE_URL is set"));
}

#[test]
fn p4_a_quarantine_under_a_watched_prefix_is_refused() {
    for place in [
        "s3://example-logs/web/quarantine",
        "s3://example-logs/web",
        "s3://example-logs/l/2026/03/14/q",
        "s3://example-logs/l/",
        "s3://example-logs",
    ] {
        let told = problem(&[("QUARANTINE_URL", place)]);
        assert!(
            told.contains("expected a place apart from the watched prefix s3://"),
            "{told}"
        );
        let errors = ReconcileConfig::parse(with(&[("QUARANTINE_URL", place)]));
        assert!(errors.is_err(), "{place}");
    }
    for place in [
        "s3://example-logs/quarantine",
        "s3://example-logs/web2/",
        "s3://example-logs/l/quarantine/",
        "s3://other/web/",
    ] {
        assert!(ingest(&[("QUARANTINE_URL", place)]).is_ok(), "{place}");
    }
    let place = ingest(&[("QUARANTINE_URL", "s3://example-logs/q")])
        .expect("apart")
        .quarantine;
    assert_eq!(place.prefix(), "q/");
}

#[test]
fn the_endpoint_is_https_except_on_loopback() {
    for url in [
        "http://localhost:8070",
        "http://127.0.0.1:1/x",
        "http://[::1]:9/",
        "https://h/p?a=b",
    ] {
        assert!(ingest(&[("ENDPOINT_URL", url)]).is_ok(), "{url}");
    }
    let told = problem(&[("ENDPOINT_URL", "http://listener.logz.io:8070")]);
    assert_eq!(
        told,
        "ENDPOINT_URL is \"http://listener.logz.io:8070\", expected https, except to loopback"
    );
    for url in [
        "listener.logz.io:8071",
        "ftp://h/",
        "https://",
        "http://localhost.example.com/",
    ] {
        assert!(ingest(&[("ENDPOINT_URL", url)]).is_err(), "{url}");
    }
}

#[test]
fn no_problem_shows_a_secret() {
    for (name, value) in [
        (
            "ENDPOINT_URL",
            "https://listener.logz.io:8071/?token=s3cr3tTOKENs3cr3t",
        ),
        ("ENDPOINT_URL", "https://h/x?TYPE=a&b=s3cr3tTOKENs3cr3t"),
        (
            "ENDPOINT_URL",
            "https://me:s3cr3tTOKENs3cr3t@listener.logz.io:8071/",
        ),
        ("ENDPOINT_URL", "http://h/s3cr3tTOKENs3cr3t"),
        (
            "ENDPOINT_URL",
            "listener.logz.io:8071?token=s3cr3tTOKENs3cr3t",
        ),
        ("ENDPOINT_TOKEN", SECRET),
        ("ENDPOINT_TOKEN", "two words s3cr3tTOKENs3cr3t"),
        ("ENDPOINT_TOKEN_ARN", SECRET),
        ("SOURCE_KEYS_ARN", SECRET),
    ] {
        let errors = ingest(&[(name, value)]).expect_err(value);
        let told = format!("{errors} {errors:?}");
        assert!(told.contains(name), "{told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn no_configuration_prints_a_secret() {
    let ingest = ingest(&[
        (
            "ENDPOINT_URL",
            "https://hooks.example.com/s3cr3tTOKENs3cr3t?key=s3cr3tTOKENs3cr3t",
        ),
        ("ENDPOINT_TOKEN_ARN", ""),
        ("ENDPOINT_TOKEN", SECRET),
    ])
    .expect("complete");
    let printed = format!("{ingest:?}");
    assert!(printed.contains("hooks.example.com"), "{printed}");
    assert!(!printed.contains(SECRET), "{printed}");
}

#[test]
fn logzio_needs_a_token_and_http_does_not() {
    let told = problem(&[("ENDPOINT_TOKEN_ARN", "")]);
    assert!(told.starts_with("ENDPOINT_TOKEN_ARN is missing"), "{told}");
    let http = ingest(&[("ENDPOINT_TOKEN_ARN", ""), ("ENDPOINT_KIND", "http")]);
    assert_eq!(http.expect("no token").endpoint.token, None);
    let told = problem(&[("ENDPOINT_TOKEN", SECRET)]);
    assert_eq!(
        told,
        "ENDPOINT_TOKEN is [not shown], expected to be absent, since ENDPOINT_TOKEN_ARN is set"
    );
    let arn = "arn:aws-cn:ssm:cn-north-1:111122223333:parameter/logs/token";
    let ssm = ingest(&[("ENDPOINT_TOKEN_ARN", arn)]).expect("a parameter");
    assert_eq!(ssm.endpoint.token, Some(TokenPlace::Parameter(arn.into())));
    let told = problem(&[("ENDPOINT_TOKEN_ARN", "arn:aws:iam::111122223333:role/r")]);
    assert!(told.contains("arn:aws:iam"), "{told}");
}

#[test]
fn the_source_is_read_with_a_role_or_with_keys_or_with_neither() {
    let role = "arn:aws:iam::111122223333:role/reader";
    let keys = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:keys";
    let source = |changes: &[(&'static str, &'static str)]| {
        ingest(changes).map(|ingest| ingest.config.source)
    };
    assert_eq!(
        source(&[("SOURCE_ROLE_ARN", role), ("SOURCE_EXTERNAL_ID", "x1")]),
        Ok(SourceAccess::Role {
            arn: role.into(),
            external_id: Some("x1".into())
        })
    );
    assert_eq!(
        source(&[("SOURCE_KEYS_ARN", keys)]),
        Ok(SourceAccess::Keys {
            secret_arn: keys.into()
        })
    );
    assert!(problem(&[("SOURCE_ROLE_ARN", role), ("SOURCE_KEYS_ARN", keys)]).contains("absent"));
    assert!(problem(&[("SOURCE_EXTERNAL_ID", "x1")]).contains("absent unless SOURCE_ROLE_ARN"));
    assert!(problem(&[("SOURCE_ROLE_ARN", "reader")]).contains("the ARN of an IAM role"));
}

#[test]
fn the_sizes_fit_into_each_other() {
    let told = problem(&[("BATCH_BYTES_MAX", "10485761")]);
    assert!(
        told.ends_with("at most 10485760, the limit of Logz.io"),
        "{told}"
    );
    assert!(ingest(&[("BATCH_BYTES_MAX", "10485761"), ("ENDPOINT_KIND", "http")]).is_ok());
    let told = problem(&[("BATCH_BYTES_MAX", "1048575")]);
    assert_eq!(
        told,
        "RECORD_BYTES_MAX is \"1048576\", expected at most BATCH_BYTES_MAX, which is 1048575"
    );
    assert!(problem(&[("RETENTION_DAYS", "2")]).contains("from 3 to 3650"));
    assert!(ingest(&[("GRACE_MS", "0")]).is_ok());
    assert!(ingest(&[("LEASE_MS", "0")]).is_err());
}

fn in_flight(changes: &[(&'static str, &'static str)]) -> (Sizes, InFlight) {
    let config = ingest(changes).expect("complete").config;
    let sizes = Sizes {
        part_bytes: config.part_bytes.get() as u64,
        batch_bytes_max: config.batch_bytes_max.get() as u64,
        record_bytes_max: config.record_bytes_max.get() as u64,
    };
    (sizes, config.in_flight)
}

/// What a function of each size has by default, as the README shows it.
#[test]
fn the_defaults_fit_the_functions_memory() {
    let mut table = String::from(
        "| memory | `REQUESTS_IN_FLIGHT_MAX` | `OBJECTS_IN_FLIGHT_MAX` | `BODY_BYTES_IN_FLIGHT_MAX` | at worst |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for memory in ["128", "192", "256", "512", "1024", "1769", "3008", "10240"] {
        let (sizes, in_flight) = in_flight(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)]);
        let bytes = sizes.bytes_max(&in_flight);
        let memory_bytes = memory.parse::<u64>().expect("a number") << 20;
        assert!(
            bytes <= memory_bytes,
            "{memory} MB: {bytes} bytes with {in_flight:?}"
        );
        let InFlight {
            objects_max,
            requests_max,
            body_bytes_max,
            ..
        } = in_flight;
        assert!(requests_max >= 4);
        assert!(
            u64::from(body_bytes_max) > requests_max as u64 * sizes.batch_bytes_max,
            "{memory} MB: as many bodies that do not compress"
        );
        table.push_str(&format!(
            "| {memory} MB | {requests_max} | {objects_max} | {body_bytes_max} | {} MiB |\n",
            bytes.div_ceil(1 << 20)
        ));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("a file of the repository");
    let shown = readme
        .split_once("<!-- memory -->\n")
        .and_then(|(_, rest)| rest.split_once("<!-- /memory -->"))
        .map_or("", |(shown, _)| shown.trim());
    assert!(
        shown == table.trim(),
        "README.md must hold, between <!-- memory --> and <!-- /memory -->:\n\n{table}"
    );
}

#[test]
fn what_is_given_is_kept_and_the_rest_fits_beside_it() {
    let (_, given) = in_flight(&[
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("REQUESTS_IN_FLIGHT_MAX", "16"),
        ("OBJECTS_IN_FLIGHT_MAX", "2"),
        ("BODY_BYTES_IN_FLIGHT_MAX", "1000000"),
    ]);
    let expected = InFlight {
        objects_max: 2,
        small_objects_per_turn: 7,
        requests_max: 16,
        body_bytes_max: 1_000_000,
    };
    assert_eq!(given, expected);
    for changes in [
        [("REQUESTS_IN_FLIGHT_MAX", "16"), ("LOG_TYPE", "x")],
        [("OBJECTS_IN_FLIGHT_MAX", "3"), ("LOG_TYPE", "x")],
        [
            ("BATCH_BYTES_MAX", "2097152"),
            ("OBJECTS_IN_FLIGHT_MAX", "3"),
        ],
    ] {
        let memory = ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "192");
        let (sizes, in_flight) = in_flight(&[changes[0], changes[1], memory]);
        assert!(sizes.bytes_max(&in_flight) <= 192 << 20, "{in_flight:?}");
    }
    // Where nothing fits, one batch and one object must do.
    let (_, least) = in_flight(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1")]);
    assert_eq!((least.objects_max, least.body_bytes_max), (1, 9 << 20));
    assert!(problem(&[("BODY_BYTES_IN_FLIGHT_MAX", "0")]).contains("from 1 to 1073741824"));
}

#[test]
fn a_type_has_no_spaces() {
    assert_eq!(
        problem(&[("LOG_TYPE", "my type")]),
        "LOG_TYPE is \"my type\", expected text without spaces"
    );
}

#[test]
fn since_is_a_time_or_a_date() {
    let since = |text| ingest(&[("SINCE", text)]).map(|ingest| ingest.config.since);
    let day = Some(Timestamp::from_secs(1_773_446_400));
    assert_eq!(since("2026-03-14"), Ok(day));
    assert_eq!(since("2026-03-14T00:00:00Z"), Ok(day));
    assert_eq!(since("2026-03-14T01:00:00+01:00"), Ok(day));
    for wrong in [
        "2026-03-14T00:00:00",
        "1969-12-31",
        "14.03.2026",
        "2026-02-30",
        "1773446400",
    ] {
        assert!(since(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_prefix_watched_twice_is_refused() {
    let told = problem(&[("WATCH", "s3://b/x/,s3://b/x/")]);
    assert!(
        told.ends_with("expected each prefix once, not s3://b/x/ again"),
        "{told}"
    );
    assert!(ingest(&[("WATCH", "s3://b/x/,")]).is_err());
}

#[test]
fn no_setting_is_read_that_the_table_does_not_name() {
    let asked = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    let _ = IngestConfig::parse(lookup);
    let _ = ReconcileConfig::parse(lookup);
    let named: BTreeSet<String> = VARS.iter().map(|var| var.name.to_owned()).collect();
    assert_eq!(asked.into_inner(), named);
}
