//! The tool as a person runs it: the real binary, its output and its exit code.
#![cfg(feature = "local")]

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::local::listener::answer::Answer;
use bucket_brigade::local::listener::body::RecordId;
use bucket_brigade::local::listener::{ListenerServer, Options};
use bucket_brigade::local::s3::S3Server;
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

pub const TOKEN: &str = "tool-test-s3cr3t-token";
/// Far more than anything here takes, on a machine that does much else at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Records `{"n":…}` of about a hundred bytes each, a line each.
pub fn records(numbers: std::ops::Range<u64>) -> Vec<String> {
    let padding = "x".repeat(80);
    numbers
        .map(|number| format!("{{\"n\":{number},\"padding\":\"{padding}\"}}"))
        .collect()
}

fn lines(records: &[String]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| [record.as_bytes(), b"\n"].concat())
        .collect()
}

pub fn ids(records: &[String]) -> impl Iterator<Item = RecordId> {
    records.iter().map(|record| RecordId::of(record.as_bytes()))
}

/// The tool in a folder of its own, with nothing of this machine's environment but a token.
pub fn brigade(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .env("ENDPOINT_TOKEN", TOKEN)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub async fn output(command: &mut Command) -> Output {
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output.expect("it ends").expect("it starts")
}

/// The last line of standard output, which is the account.
pub fn account(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last();
    let last = last.unwrap_or_else(|| panic!("no output, but: {}", stderr(output)));
    serde_json::from_str(last).expect("the last line is JSON")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub async fn listener() -> ListenerServer {
    let options = Options {
        token: TOKEN.to_owned(),
        ..Options::default()
    };
    ListenerServer::start(options).await.expect("a listener")
}

/// Waits until `reached`, as long as is sensible for `limit`.
pub async fn until(limit: Duration, what: &str, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A bucket on loopback, and the arguments that sync it to a listener.
pub struct Sync {
    pub s3: S3Server,
    pub listener: ListenerServer,
    pub folder: TempDir,
}

impl Sync {
    pub async fn start() -> Self {
        let s3 = S3Server::start().await.expect("a server");
        s3.create_bucket("logs").expect("a bucket");
        Self {
            s3,
            listener: listener().await,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let (to, store) = (self.listener.url().as_str(), self.s3.endpoint().as_str());
        let mut arguments = vec!["sync", "s3://logs/in/", "--to", to, "--endpoint-url", store];
        arguments.push("--json");
        arguments.extend(more);
        let mut command = brigade(&self.folder, &arguments);
        command.env("BATCH_BYTES_MAX", "65536");
        command.env("RECORD_BYTES_MAX", "65536");
        command.env("RESTORE_INTERVAL_BYTES", "65536");
        command
    }

    pub fn put(&self, key: &str, records: &[String]) {
        self.s3
            .put("logs", key, gzip(&lines(records)))
            .expect("put");
    }
}

#[tokio::test]
async fn the_demo_accounts_for_every_record_and_exits_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let output = output(&mut brigade(
        &folder,
        &["demo", "--json", "--objects", "10", "--seed", "7"],
    ))
    .await;
    let account = account(&output);
    assert_eq!(output.status.code(), Some(0), "{account}");
    assert!(began.elapsed() < PATIENCE);
    let number = |name: &str| account[name].as_u64().expect(name);
    assert_eq!(number("objects"), 10);
    assert_eq!(number("objects_quarantined"), 1);
    assert_eq!(number("records_quarantined"), 1);
    assert_eq!(number("found_by_reconcile"), 2);
    assert_eq!((number("missing"), number("duplicates")), (0, 0));
    assert_eq!(
        number("records_read"),
        number("records_delivered") + number("records_filtered") + number("records_quarantined")
    );
    assert_eq!(
        number("records_produced"),
        number("records_read") + number("records_behind_damage")
    );
    assert!(number("requests") > 10 && number("body_bytes") > 0);
    let left = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(left, 0, "the demo cleans up after itself");
}

/// The commands of the README, on what the demonstration leaves behind.
#[tokio::test]
async fn what_the_demo_leaves_in_quarantine_is_shown_replayed_and_taken_away_when_it_succeeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = brigade(&folder, &["demo", "--stay", "--json", "--seed", "7"])
        .spawn()
        .expect("started");
    let mut said = BufReader::new(demo.stderr.take().expect("piped")).lines();
    let mut exports = Vec::new();
    let read = async {
        while let Some(line) = said.next_line().await.expect("text") {
            if let Some(variables) = line.strip_prefix("export ") {
                let pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
                exports.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            if line.ends_with("$TOKEN_FILE") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("it stays");
    let value = |wanted: &str| {
        let found = exports.iter().find(|(name, _)| name == wanted);
        found.expect("exported").1.as_str()
    };
    let replay = async |more: &[&str]| {
        let place = ["replay", "s3://brigade-demo-quarantine/", "--json"];
        let mut command = brigade(&folder, &[&place[..], more].concat());
        command.envs(exports.iter().map(|(name, value)| (name, value)));
        let output = output(&mut command).await;
        (output.status.code(), account(&output), output)
    };
    let (code, there, _) = replay(&["--dry-run"]).await;
    assert_eq!(code, Some(0), "{there}");
    assert_eq!(there["reasons"]["truncated"]["objects"], 1);
    assert_eq!(there["reasons"]["rejected_malformed"]["records"], 1);

    let under = [
        "--ledger",
        value("LEDGER"),
        "--token-file",
        value("TOKEN_FILE"),
    ];
    let (code, report, _) = replay(&under).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(
        report["reasons"]["rejected_malformed"]["records_refused"],
        1
    );
    assert_eq!(report["objects_quarantined"], 1);

    let elsewhere = [
        "--only",
        "reason=rejected_malformed",
        "--to",
        "stdout",
        "--kind",
        "http",
    ];
    let (code, report, output) = replay(&[&under[..2], &elsewhere].concat()).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let (_, there, _) = replay(&["--dry-run"]).await;
    let reasons = there["reasons"].as_object().expect("reasons");
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["truncated"]);

    signal(&demo, "INT").await;
    let ended = tokio::time::timeout(PATIENCE, demo.wait_with_output()).await;
    let ended = ended.expect("it ends").expect("an output");
    // The truncated object's records were not sent a second time.
    let account = account(&ended);
    assert_eq!(
        (ended.status.code(), &account["duplicates"]),
        (Some(0), &0.into())
    );
}

#[tokio::test]
async fn ship_writes_what_would_be_sent_a_record_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).expect("made");
    std::fs::write(logs.join("a.gz"), gzip(b"{\"a\":1}\n{\"a\":2}")).expect("written");
    std::fs::write(logs.join("b.log"), b"plain \"text\"\r\n\r\nmore\n").expect("written");
    let shipped = output(&mut brigade(
        &folder,
        &["ship", "logs", "--to", "stdout", "--json"],
    ))
    .await;
    assert_eq!(shipped.status.code(), Some(0), "{}", stderr(&shipped));
    let stdout = String::from_utf8_lossy(&shipped.stdout).into_owned();
    let written: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        written[..4],
        [
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"message":"plain \"text\""}"#,
            r#"{"message":"more"}"#
        ]
    );
    let account = account(&shipped);
    assert_eq!(
        (&account["objects"], &account["records_delivered"]),
        (&2.into(), &4.into())
    );

    let shipped = output(&mut brigade(
        &folder,
        &["ship", "logs/a.gz", "--to", "stdout"],
    ))
    .await;
    assert_eq!(shipped.stdout, b"{\"a\":1}\n{\"a\":2}\n", "data alone");
    assert!(
        stderr(&shipped).contains("total"),
        "the table goes elsewhere"
    );
}

#[tokio::test]
async fn ship_delivers_what_it_can_and_its_exit_code_says_that_something_is_left() {
    let listener = listener().await;
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(0..100);
    let whole = gzip(&lines(&records[..50]));
    std::fs::write(folder.path().join("good.gz"), &whole).expect("written");
    let to = listener.url().as_str();
    let arguments = ["ship", "good.gz", "--to", to, "--type", "t", "--json"];
    let shipped = output(&mut brigade(&folder, &arguments)).await;
    assert_eq!(shipped.status.code(), Some(0), "{}", stderr(&shipped));
    assert_eq!(listener.received().missing(ids(&records[..50])), 0);
    assert_eq!(listener.counts().types["t"], 1);

    std::fs::write(folder.path().join("plain.log"), lines(&records[50..])).expect("written");
    std::fs::write(folder.path().join("cut.gz"), &whole[..whole.len() - 9]).expect("written");
    listener.forget();
    let shipped = output(&mut brigade(&folder, &["ship", ".", "--to", to, "--json"])).await;
    assert_eq!(shipped.status.code(), Some(1), "{}", stderr(&shipped));
    assert_eq!(listener.received().missing(ids(&records)), 0);
    let account = account(&shipped);
    assert_eq!(account["objects_quarantined"], 1, "{account}");
    assert_eq!(account["undelivered"][0]["reason"], "truncated");
    let place = account["undelivered"][0]["place"]
        .as_str()
        .expect("a place");
    assert!(folder.path().join(place).exists(), "{place}");
}

#[tokio::test]
async fn a_wrong_token_delivers_nothing_exits_with_1_and_is_not_shown() {
    let listener = listener().await;
    listener.set_token("another");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.log"), "{}\n").expect("written");
    let arguments = ["ship", "a.log", "--to", listener.url().as_str(), "--json"];
    let shipped = output(brigade(&folder, &arguments).env("BRIGADE_LOG", "trace")).await;
    assert_eq!(shipped.status.code(), Some(1));
    assert!(stderr(&shipped).contains("401"), "{}", stderr(&shipped));
    assert_eq!(account(&shipped)["objects_returned"], 1);
    for text in [&shipped.stdout, &shipped.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(TOKEN));
    }
    assert_eq!(listener.counts().records, 0);
    assert!(!folder.path().join("brigade-quarantine").exists());
}

#[tokio::test]
async fn what_cannot_be_done_as_it_was_asked_for_exits_with_2_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let https = "https://listener.example:8071";
    for (arguments, advice) in [
        (
            &["ship", "nothing-here", "--to", "stdout"][..],
            "nothing-here",
        ),
        (&["ship", "."], "--to is missing"),
        (&["ship", ".", "--to", "http://listener.example"], "https"),
        (
            &["ship", ".", "--to", https, "--token-file", "none"],
            "none",
        ),
        (&["sync", "logs/", "--to", https], "s3://bucket/prefix"),
        (&["sync", "s3://b/%q/", "--to", https], "%Y"),
        (&["sync", "s3://b/", "--to", "stdout"], "brigade ship"),
        (
            &["sync", "s3://b/", "--to", https, "--quarantine", "s3://b/q"],
            "choose a place",
        ),
        (
            &["sync", "s3://b/", "--to", https, "--since", "soon"],
            "RFC 3339",
        ),
        (
            &["sync", "s3://b/", "--to", https, "--watch", "0s"],
            "above zero",
        ),
    ] {
        let output = output(&mut brigade(&folder, arguments)).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(advice), "{arguments:?}: {said}");
    }
    let arguments = ["ship", ".", "--to", https];
    let output = output(brigade(&folder, &arguments).env_remove("ENDPOINT_TOKEN")).await;
    assert!(
        stderr(&output).contains("--token-file"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn sync_carries_each_object_once_however_often_it_runs() {
    let sync = Sync::start().await;
    let records = records(0..300);
    sync.put("in/a.gz", &records[..100]);
    sync.put("in/k+ey é %41.gz", &records[100..200]);
    sync.put("elsewhere/x.gz", &records[..1]);
    let first = output(&mut sync.command(&[])).await;
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert_eq!(account(&first)["records_delivered"], 200);

    sync.put("in/b.gz", &records[200..]);
    let second = output(&mut sync.command(&[])).await;
    assert_eq!(account(&second)["objects"], 1, "{}", stderr(&second));
    let third = output(&mut sync.command(&[])).await;
    assert_eq!(
        (&account(&third)["objects"], &account(&third)["requests"]),
        (&0.into(), &0.into())
    );
    let received = sync.listener.received();
    assert_eq!(
        (received.missing(ids(&records)), received.duplicates()),
        (0, 0)
    );
}

#[tokio::test]
async fn sync_watching_brings_a_new_object_within_seconds_and_ends_cleanly() {
    let sync = Sync::start().await;
    let records = records(0..200);
    sync.put("in/a.gz", &records[..100]);
    let mut watching = sync
        .command(&["--watch", "500ms"])
        .spawn()
        .expect("started");
    until(PATIENCE, "the first object", || {
        sync.listener.counts().records == 100
    })
    .await;

    sync.put("in/b.gz", &records[100..]);
    until(Duration::from_secs(5), "the new object", || {
        sync.listener.received().missing(ids(&records)) == 0
    })
    .await;
    signal(&watching, "TERM").await;
    let status = tokio::time::timeout(PATIENCE, watching.wait()).await;
    assert_eq!(status.expect("it ends").expect("a status").code(), Some(0));
    assert_eq!(sync.listener.received().duplicates(), 0);
}

#[tokio::test]
async fn sync_killed_in_mid_object_loses_nothing_and_doubles_at_most_what_was_in_flight() {
    let sync = Sync::start().await;
    let records = records(0..20_000);
    sync.put("in/big.gz", &records);
    sync.listener.set_delay(Duration::from_millis(150));
    let mut killed = sync.command(&[]).spawn().expect("started");
    until(PATIENCE, "some records", || {
        sync.listener.counts().records > 4_000
    })
    .await;
    killed.kill().await.expect("killed");
    let at_kill = sync.listener.counts().records;
    assert!(at_kill < 20_000, "killed too late to show anything");

    sync.listener.set_delay(Duration::ZERO);
    let again = output(&mut sync.command(&[])).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(account(&again)["records_delivered"], 20_000);
    let received = sync.listener.received();
    assert_eq!(received.missing(ids(&records)), 0);
    const REQUESTS_IN_FLIGHT: u64 = 4;
    let batch = 65_536 / (records[0].len() as u64 + 1) + 1;
    let most = REQUESTS_IN_FLIGHT * batch;
    assert!(
        received.duplicates() <= most,
        "{} > {most}",
        received.duplicates()
    );
}

#[tokio::test]
async fn sync_stopped_in_mid_object_sends_nothing_twice() {
    stop_in_mid_object_with("INT").await;
}

#[tokio::test]
async fn sync_terminated_in_mid_object_sends_nothing_twice() {
    stop_in_mid_object_with("TERM").await;
}

/// Stops a sync, looks at what it left behind, and lets another one go on.
async fn stop_in_mid_object_with(name: &str) {
    let sync = Sync::start().await;
    let records = records(0..20_000);
    sync.put("in/big.gz", &records);
    sync.listener.set_delay(Duration::from_millis(150));
    let stopped = sync.command(&[]).spawn().expect("started");
    until(PATIENCE, "some records", || {
        sync.listener.counts().records > 4_000
    })
    .await;
    signal(&stopped, name).await;
    let stopped = tokio::time::timeout(PATIENCE, stopped.wait_with_output()).await;
    let stopped = stopped.expect("it ends").expect("an output");
    assert_eq!(stopped.status.code(), Some(1), "{}", stderr(&stopped));
    assert_eq!(
        account(&stopped)["objects_returned"],
        1,
        "{}",
        stderr(&stopped)
    );

    let ledger = rusqlite::Connection::open(sync.folder.path().join("brigade.ledger"));
    let (state, checkpoint): (String, String) = ledger
        .and_then(|ledger| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            ledger.query_row("SELECT state, checkpoint FROM rows", [], row)
        })
        .expect("one row");
    assert_eq!(state, "queued", "the lease was given back");
    let checkpoint: Checkpoint = serde_json::from_str(&checkpoint).expect("a checkpoint");
    assert_eq!(
        checkpoint.account.records_delivered,
        sync.listener.counts().records
    );

    sync.listener.set_delay(Duration::ZERO);
    let again = output(&mut sync.command(&[])).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let received = sync.listener.received();
    assert_eq!(
        (received.missing(ids(&records)), received.duplicates()),
        (0, 0)
    );
}

#[tokio::test]
async fn sync_stopped_while_the_endpoint_is_out_of_order_ends_soon_and_goes_on_later() {
    let sync = Sync::start().await;
    let records = records(0..1_000);
    sync.put("in/a.gz", &records);
    let long = Answer::status(429).header("Retry-After", "120");
    sync.listener.answer_containing("{", long);
    let stopped = sync.command(&[]).spawn().expect("started");
    until(PATIENCE, "a request", || {
        sync.listener.counts().requests > 0
    })
    .await;
    signal(&stopped, "INT").await;
    let limit = Duration::from_secs(10);
    let stopped = tokio::time::timeout(limit, stopped.wait_with_output()).await;
    let stopped = stopped.expect("it ends soon").expect("an output");
    assert_eq!(stopped.status.code(), Some(1), "{}", stderr(&stopped));

    sync.listener.clear_script();
    let again = output(&mut sync.command(&[])).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let received = sync.listener.received();
    assert_eq!(
        (received.missing(ids(&records)), received.duplicates()),
        (0, 0)
    );
}

pub async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let kill = Command::new("kill")
        .args([&format!("-{name}"), &id])
        .status()
        .await;
    assert!(kill.expect("kill runs").success());
}
