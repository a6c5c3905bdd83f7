//! A round with `brigade sync`: one process after the other on one ledger file, between an S3 server in this
//! process and the flaky endpoint.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use bucket_brigade::local::s3::S3Server;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::checker::{Evidence, Row};
use crate::dice::Dice;
use crate::endpoint::{DELIVERY_TIMEOUT, Endpoint, TOKEN};
use crate::objects::{BATCH_BYTES_MAX, Object, RESTORE_INTERVAL_BYTES};
use crate::support::sdk;
use crate::tally::Tally;

const REQUESTS_IN_FLIGHT_MAX: u64 = 4;
const BUCKET: &str = "logs";
const LEDGER: &str = "brigade.ledger";
/// How long a process may take to end by itself: what a killed one held is free again after 10 seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

struct World {
    s3: S3Server,
    endpoint: Endpoint,
    folder: TempDir,
    objects: Mutex<Vec<Object>>,
    kill_until: Instant,
}

impl World {
    /// Writes objects until processes are killed no more.
    async fn produce(&self, seed: u64) {
        let (mut content, mut pauses) = (Dice::new(seed, "objects"), Dice::new(seed, "pauses"));
        for number in 0.. {
            if Instant::now() >= self.kill_until {
                return;
            }
            let object = Object::make(number, &mut content);
            let put = self.s3.put(BUCKET, &object.key, object.bytes.clone());
            put.expect("put");
            self.objects.lock().expect("whole").push(object);
            sleep(pauses.millis(20, 300)).await;
        }
    }

    fn start(&self, number: usize, arguments: &[&str]) -> Child {
        let output = |name| {
            let path = self.folder.path().join(format!("{number:04}.{name}"));
            Stdio::from(File::create(path).expect("a file"))
        };
        Command::new(env!("CARGO_BIN_EXE_brigade"))
            .args(["sync", &format!("s3://{BUCKET}/logs/"), "--json"])
            .args(["--to", self.endpoint.url_of(&number.to_string()).as_str()])
            .args(["--endpoint-url", self.s3.endpoint().as_str()])
            .args(["--requests-in-flight", &REQUESTS_IN_FLIGHT_MAX.to_string()])
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("ENDPOINT_TOKEN", TOKEN)
            .env("BRIGADE_LOG", "debug")
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("BATCH_BYTES_MAX", BATCH_BYTES_MAX.to_string())
            .env("RECORD_BYTES_MAX", BATCH_BYTES_MAX.to_string())
            .env("PART_BYTES", "65536")
            .env("RESTORE_INTERVAL_BYTES", RESTORE_INTERVAL_BYTES.to_string())
            .env(
                "DELIVERY_TIMEOUT_MS",
                DELIVERY_TIMEOUT.as_millis().to_string(),
            )
            .env("ATTEMPTS_MAX", "100")
            .stdin(Stdio::null())
            .stdout(output("out"))
            .stderr(output("err"))
            .kill_on_drop(true)
            .spawn()
            .expect("brigade starts")
    }

    /// Starts processes, and kills or stops each at some moment. How often each object's holder was killed.
    async fn kill(
        &self,
        mut dice: Dice,
        tally: &mut Tally,
        faults: &mut Vec<String>,
    ) -> BTreeMap<u32, u64> {
        let mut kills = BTreeMap::new();
        for number in 0.. {
            if Instant::now() >= self.kill_until {
                break;
            }
            let mut child = self.start(number, &["--watch", "300ms"]);
            let id = child.id().expect("it runs");
            // It needs some time to begin at all.
            sleep(Duration::from_millis(150) + dice.moment(12)).await;
            if dice.happens(80) {
                self.endpoint.note_kill(&number.to_string());
                child.kill().await.expect("killed");
                tally.sync_killed += 1;
                for object in claimed_by(&self.folder.path().join(LEDGER), id) {
                    *kills.entry(object).or_default() += 1;
                }
            } else {
                let kill = Command::new("kill")
                    .args(["-TERM", &id.to_string()])
                    .status()
                    .await;
                assert!(
                    kill.expect("kill runs").success(),
                    "a process ended by itself"
                );
                let ended = tokio::time::timeout(ENDS_WITHIN, child.wait()).await;
                tally.sync_stopped += 1;
                match ended.map(|status| status.expect("a status").code()) {
                    // Stopped before it listened to signals, or watching and stopped cleanly.
                    Ok(None | Some(0 | 1)) => {}
                    other => {
                        faults.push(format!("brigade sync, asked to stop, ended with {other:?}"))
                    }
                }
            }
        }
        kills
    }

    /// Lets one process go on undisturbed until it has carried all.
    async fn settle(&self, faults: &mut Vec<String>) {
        self.endpoint.calm_down();
        let mut child = self.start(9_999, &[]);
        match tokio::time::timeout(ENDS_WITHIN, child.wait()).await {
            // 1 says that records are in quarantine.
            Ok(Ok(status)) if matches!(status.code(), Some(0 | 1)) => {}
            other => faults.push(format!("the last brigade sync ended with {other:?}")),
        }
    }

    fn output(&self) -> String {
        let files = std::fs::read_dir(&self.folder).expect("a folder");
        let paths = files.map(|file| file.expect("a file").path());
        let written = paths.filter(|path| {
            path.extension()
                .is_some_and(|end| end == "out" || end == "err")
        });
        written
            .map(|path| std::fs::read_to_string(path).expect("text"))
            .collect()
    }
}

/// The objects that this process held when it was killed.
fn claimed_by(ledger: &Path, id: u32) -> Vec<u32> {
    // Killed before it made one, or while it did.
    let Ok(connection) = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE)
    else {
        return Vec::new();
    };
    let query = "SELECT key FROM rows WHERE state = 'claimed' AND owner LIKE ?1";
    let Ok(mut statement) = connection.prepare(query) else {
        return Vec::new();
    };
    let keys = statement.query_map([format!("brigade {id}/%")], |row| row.get::<_, Vec<u8>>(0));
    let keys = keys.expect("rows").map(|key| key.expect("a key"));
    keys.filter_map(|key| Object::number_of(&String::from_utf8_lossy(&key)))
        .collect()
}

/// Every row of the ledger, by object.
fn rows(ledger: &Path) -> BTreeMap<u32, Row> {
    let connection = Connection::open(ledger).expect("a ledger");
    let mut statement = connection
        .prepare(
            "SELECT key, state, records_read, records_delivered, records_filtered, records_quarantined,
             concat_ws(' ', owner, checkpoint, reason, place) FROM rows",
        )
        .expect("a ledger");
    let rows = statement.query_map([], |row| {
        let number = |at: usize| {
            row.get(at)
                .map(|count: Option<i64>| count.unwrap_or(0) as u64)
        };
        let key: Vec<u8> = row.get(0)?;
        let found = Row {
            state: row.get(1)?,
            read: number(2)?,
            delivered: number(3)?,
            filtered: number(4)?,
            quarantined: number(5)?,
            text: row.get(6)?,
        };
        Ok((Object::number_of(&String::from_utf8_lossy(&key)), found))
    });
    let rows = rows.expect("rows").map(|row| row.expect("a row"));
    rows.filter_map(|(object, row)| Some((object?, row)))
        .collect()
}

/// One round. What it saw goes to `tally`; what must hold is checked.
pub async fn round(seed: u64, kill_for: Duration, tally: &mut Tally) -> Vec<String> {
    let s3 = S3Server::start().await.expect("a server");
    s3.create_bucket(BUCKET).expect("a bucket");
    let world = World {
        s3,
        endpoint: Endpoint::start(sdk::http_client(), Dice::new(seed, "endpoint of sync")).await,
        folder: tempfile::tempdir().expect("a folder"),
        objects: Mutex::default(),
        kill_until: Instant::now() + kill_for,
    };
    let mut faults = Vec::new();
    let dice = Dice::new(seed, "sync");
    let ((), kills) = tokio::join!(
        world.produce(seed ^ 1),
        world.kill(dice, tally, &mut faults)
    );
    world.settle(&mut faults).await;
    let evidence = Evidence {
        objects: &world.objects.lock().expect("whole"),
        rows: &rows(&world.folder.path().join(LEDGER)),
        taken: &world.endpoint.taken(),
        listener: &world.endpoint.listener.counts(),
        interruptions: &kills,
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
        output: &world.output(),
    };
    faults.extend(evidence.check(tally));
    faults
}
