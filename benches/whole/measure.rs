//! Measures one round of one case: the function under an emulated Lambda, or a yardstick.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use crate::endpoint;
use crate::figures::{Design, Run, Sample, Workload};
use crate::process::{cpu_time, peak_memory_bytes};
use crate::support::runtime_api::{Function, LambdaProcess};
use crate::tls_front;
use crate::world::{Carried, Change, World};

/// Lambda's own limit.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(900);
/// Nothing to do, so that what follows meets a process that waits, as on Lambda.
const TEST_EVENT: &[u8] = include_bytes!("../../events/s3-test-event.json");

pub struct Programs {
    /// The folder of the release binaries.
    pub folder: PathBuf,
    /// None where the machine has no Python.
    pub python: Option<PathBuf>,
}

impl Programs {
    pub fn find(folder: PathBuf) -> Self {
        let version = std::process::Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .stderr(Stdio::null())
            .output();
        let python = version.ok().filter(|output| output.status.success());
        let python = python.and_then(|output| String::from_utf8(output.stdout).ok());
        Self {
            folder,
            // Not the name on the path: a shim in front of Python would be measured with it.
            python: python.map(|path| PathBuf::from(path.trim())),
        }
    }
}

pub fn change(workload: Workload) -> Change {
    match workload {
        Workload::CloudflareSource => Change::Source,
        Workload::VpcMessage => Change::Message,
        _ => Change::Unchanged,
    }
}

/// # Panics
///
/// If anything was not carried whole, exactly once: then the figure would be of something else.
pub async fn sample(world: &World, programs: &Programs, run: &Run) -> Sample {
    world
        .endpoint
        .set_delay(Duration::from_millis(run.delay_ms));
    let (store_before, ledger_before) = world.aws_requests();
    let taken = match run.design {
        Design::Brigade => brigade(world, programs, run).await,
        _ => yardstick(world, programs, run).await,
    };
    let (store, ledger) = world.aws_requests();
    let bodies = world.endpoint.take();
    let (mut requests, mut body_bytes) = (bodies.len() as u64, endpoint::wire_bytes(&bodies));
    match run.design {
        Design::Inflate | Design::Calls => {}
        Design::Recode => {
            requests = taken.about["requests"].as_u64().unwrap_or_default();
            body_bytes = taken.about["body_bytes"].as_u64().unwrap_or_default();
        }
        Design::Brigade | Design::Plain | Design::Python => {
            let found = tokio::task::spawn_blocking(move || endpoint::content(&bodies));
            let is_ours = run.design == Design::Brigade;
            let expected = world.carried(run.workload).expected(run.workload, is_ours);
            assert_eq!(found.await.expect("readable bodies"), expected, "{run:?}");
        }
    }
    Sample {
        wall_s: taken.wall.as_secs_f64(),
        cpu_s: taken.cpu.as_secs_f64(),
        requests,
        body_bytes,
        peak_bytes: taken.peak_bytes,
        store_requests: store - store_before,
        ledger_writes: ledger - ledger_before,
    }
}

struct Taken {
    wall: Duration,
    cpu: Duration,
    peak_bytes: u64,
    /// What a yardstick says about its work.
    about: Value,
}

async fn brigade(world: &World, programs: &Programs, run: &Run) -> Taken {
    let carried = world.carried(run.workload);
    let lambda = LambdaProcess::new(function(world, programs, run));
    lambda
        .invoke(TEST_EVENT)
        .await
        .expect("an answer to nothing");
    let event = carried.event();
    let start = Instant::now();
    let answer = lambda.invoke(&event).await;
    let wall = start.elapsed();
    let process_id = lambda.process_id().expect("it was started");
    let cpu = cpu_time(process_id);
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}\n{}", lambda.logs()));
    assert_eq!(answer["batchItemFailures"], json!([]), "{}", lambda.logs());
    Taken {
        wall,
        cpu,
        peak_bytes: peak_memory_bytes(process_id),
        about: Value::Null,
    }
}

/// The ingest function, set up for a run, with a ledger of its own.
pub fn function(world: &World, programs: &Programs, run: &Run) -> Function {
    let mut function = Function::new(programs.folder.join("ingest"), FUNCTION_TIMEOUT);
    function.environment = world.aws_environment(run.https);
    let kind = match (run.workload, run.batch_bytes) {
        (Workload::VpcText, _) | (_, Some(_)) => "http",
        (_, None) => "logzio",
    };
    if let Some(bytes) = run.batch_bytes {
        // The template's default; with the 128 MB of the others fewer batches would be in flight.
        function = function
            .env("BATCH_BYTES_MAX", bytes.to_string())
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
    }
    function
        .env("ENDPOINT_URL", world.endpoint_url(run.https))
        .env("ENDPOINT_KIND", kind)
        .env("ENDPOINT_TOKEN", "token")
        .env("LEDGER_TABLE", world.new_table())
        .env("QUARANTINE_URL", "s3://quarantine/kept")
        .env(
            "ADD_SOURCE_FIELD",
            (change(run.workload) == Change::Source).to_string(),
        )
        .env(
            "REQUESTS_IN_FLIGHT_MAX",
            run.in_flight.unwrap_or(4).to_string(),
        )
        // The yardsticks add none.
        .env("ADD_TIMESTAMP", "false")
}

async fn yardstick(world: &World, programs: &Programs, run: &Run) -> Taken {
    let (name, input) = input(world, run);
    let mut command = match run.design {
        Design::Python => {
            let python = programs
                .python
                .as_ref()
                .expect("it is only asked for where it is");
            let mut command = Command::new(python);
            command.arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/benches/yardsticks/naive.py"
            ));
            command
        }
        _ => {
            let mut command = Command::new(programs.folder.join("yardstick"));
            command.arg(name);
            command
        }
    };
    command
        .arg(input.to_string())
        .envs(world.aws_environment(run.https));
    observe(command)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a yardstick is asked to do.
fn input(world: &World, run: &Run) -> (&'static str, Value) {
    let carried = world.carried(run.workload);
    let roots = run.https.then(tls_front::certificate_file);
    let endpoint = world.endpoint_url(run.https);
    match run.design {
        Design::Inflate => ("inflate", json!({ "file": carried.file })),
        Design::Recode => {
            let source = (change(run.workload) == Change::Source).then(|| carried.source());
            let input = json!({ "file": carried.file, "level": run.level, "source": source });
            ("recode", input)
        }
        Design::Calls => (
            "calls",
            json!({
                "objects": carried.contents,
                "table": world.new_table(),
                "endpoint": endpoint,
                "body": carried.file,
                "roots": roots,
            }),
        ),
        Design::Plain | Design::Python | Design::Brigade => (
            "plain",
            json!({
                "objects": addresses(&world.aws_url(run.https), carried),
                "endpoint": endpoint,
                "level": run.level,
                "change": change_input(change(run.workload), carried),
                "roots": roots,
            }),
        ),
    }
}

fn change_input(change: Change, carried: &Carried) -> Value {
    match change {
        Change::Unchanged => json!("unchanged"),
        Change::Message => json!("message"),
        Change::Source => json!({ "source": carried.source() }),
    }
}

/// Where the embedded S3, which checks no signature, has the objects.
fn addresses(aws_url: &str, carried: &Carried) -> Vec<String> {
    let contents = carried.contents.iter();
    contents
        .map(|content| format!("{aws_url}/{}/{}", content.bucket, content.key))
        .collect()
}

/// Runs a process until it has said what it did, and looks at it before it ends.
async fn observe(mut command: Command) -> io::Result<Taken> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await?;
    let wall = start.elapsed();
    let about = serde_json::from_str(&line).map_err(|_| io::Error::other("it said nothing"))?;
    let process_id = child.id().expect("it waits for its input to end");
    let taken = Taken {
        wall,
        cpu: cpu_time(process_id),
        peak_bytes: peak_memory_bytes(process_id),
        about,
    };
    drop(child.stdin.take());
    child.wait().await?;
    Ok(taken)
}

/// What a yardstick says that needs the function's settings and nothing else.
pub async fn start_steps(world: &World, programs: &Programs, run: &Run) -> io::Result<Value> {
    let mut command = Command::new(programs.folder.join("yardstick"));
    command
        .arg("start")
        .envs(function(world, programs, run).environment);
    Ok(observe(command).await?.about)
}
