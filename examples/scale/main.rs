//! What reconcile costs by the number of listed keys: `make scale`.
//!
//! Three processes take part, so that what is measured is reconcile alone: one holds the objects (the
//! embedded S3), this one prepares the ledger and prints, and one makes a single pass and says what it
//! took. The keys lie under one prefix without a date, the slowest case: a listing is read page by page.
//! All but one row of each thousand are settled; the others are missing, and must be found.

mod ledger;
mod measured;
mod model;

use std::error::Error;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bucket_brigade::clock::{Clock as _, SystemClock};
use bucket_brigade::local::s3::{PutOptions, S3Server};
use url::Url;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub const BUCKET: &str = "example-logs";
pub const PREFIX: &str = "logs/";
const CONTENT: &[u8] = b"{}\n";
/// Written an hour ago: older than the grace period, within the window.
const AGE: Duration = Duration::from_secs(3_600);
/// One object of so many is missing.
const MISSING_EVERY: usize = 1_000;
const OVER_SQLITE: [usize; 3] = [10_000, 100_000, 1_000_000];
const OVER_DYNAMODB: usize = 10_000;

/// Keys as Cloudflare Logpush writes them, in the byte order in which they are listed.
pub fn key(n: usize) -> String {
    format!("{PREFIX}20270115/20270115T{n:07}Z_20270115T{n:07}Z_8a2f01c4.log.gz")
}

pub fn is_missing(n: usize) -> bool {
    n % MISSING_EVERY == MISSING_EVERY / 2
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["objects", count] => serve(count.parse()?).await,
        ["pass", s3, kind, place] => measured::pass(&s3.parse()?, kind, place).await,
        [] => measure_all(None).await,
        ["dynamodb", endpoint] => measure_all(Some(&endpoint.parse()?)).await,
        ["model", objects, bytes, seconds, passes, list, row, cpu] => {
            model::print(model::Given {
                objects: objects.parse()?,
                object_bytes: bytes.parse()?,
                invocation_secs: seconds.parse()?,
                passes: passes.parse()?,
                list_secs: list.parse()?,
                row_bytes: row.parse()?,
                cpu_us_per_key: cpu.parse()?,
            });
            Ok(())
        }
        _ => {
            Err("usage: scale [dynamodb URL | model OBJECTS BYTES SECONDS PASSES LIST_SECONDS ROW_BYTES CPU_US]".into())
        }
    }
}

/// Holds the objects until its standard input ends.
async fn serve(count: usize) -> Outcome<()> {
    let server = S3Server::start().await?;
    server.create_bucket(BUCKET)?;
    let options = PutOptions {
        last_modified: Some(SystemClock.now().minus(AGE)),
        ..PutOptions::default()
    };
    for n in 0..count {
        server.put_with(BUCKET, &key(n), CONTENT, options.clone())?;
    }
    let etag = &server.get(BUCKET, &key(0))?.etag;
    println!("{} {etag}", server.endpoint());
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    Ok(())
}

/// The process that holds the objects; it ends when this is dropped.
struct Objects {
    process: Child,
    endpoint: String,
    etag: String,
}

impl Objects {
    fn start(count: usize) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["objects", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let (endpoint, etag) = line.trim().split_once(' ').ok_or("it did not start")?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            etag: etag.to_owned(),
            process,
        })
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Its end is not waited for in vain: it ends with its standard input.
        let _ = self.process.wait();
    }
}

/// A row of the table for each number of keys.
async fn measure_all(dynamodb: Option<&Url>) -> Outcome<()> {
    println!("One pass over one prefix without a date, one of {MISSING_EVERY} keys missing.\n");
    println!("- Machine: {}", machine());
    println!("- Date: {}", &SystemClock.now().to_string()[..10]);
    println!("- Command: `make scale`\n");
    println!(
        "| ledger | keys | keys/s | wall s | CPU s | CPU µs/key | listing requests | ledger requests | peak memory MB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for count in OVER_SQLITE {
        let objects = Objects::start(count)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("ledger");
        ledger::fill_file(&file, &objects.etag, count).await?;
        measure("SQLite", "file", &file.to_string_lossy(), &objects, count)?;
    }
    if let Some(endpoint) = dynamodb {
        let objects = Objects::start(OVER_DYNAMODB)?;
        let row_bytes = ledger::fill_table(endpoint, &objects.etag, OVER_DYNAMODB).await?;
        measure(
            "DynamoDB (moto)",
            "table",
            endpoint.as_str(),
            &objects,
            OVER_DYNAMODB,
        )?;
        let key_bytes = key(0).len();
        println!("\nA settled row in DynamoDB: {row_bytes} bytes, with a key of {key_bytes}.");
    }
    Ok(())
}

/// One pass in a process of its own, and its row.
fn measure(name: &str, kind: &str, place: &str, objects: &Objects, count: usize) -> Outcome<()> {
    let output = Command::new(std::env::current_exe()?)
        .args(["pass", &objects.endpoint, kind, place])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the pass over {count} keys failed").into());
    }
    let measured: measured::Measured = serde_json::from_slice(&output.stdout)?;
    let missing = (0..count).filter(|n| is_missing(*n)).count() as u64;
    if (measured.listed, measured.requeued) != (count as u64, missing) {
        return Err(format!("{missing} of {count} keys are missing: {measured:?}").into());
    }
    let wall = Duration::from_millis(measured.wall_ms).as_secs_f64();
    let cpu = Duration::from_millis(measured.cpu_ms).as_secs_f64();
    println!(
        "| {name} | {count} | {:.0} | {wall:.1} | {cpu:.1} | {:.1} | {} | {} | {:.1} |",
        count as f64 / wall,
        cpu * 1e6 / count as f64,
        measured.listings,
        measured.ledger_requests,
        measured.peak_bytes as f64 / 1e6,
    );
    Ok(std::io::stdout().flush()?)
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, {model}, {}", std::env::consts::OS)
}
