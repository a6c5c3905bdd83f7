//! The SQLite ledger as a file: opened again, by many, by another process, by another version.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use bucket_brigade::checkpoint::Checkpoint;
use bucket_brigade::ledger::sqlite::SqliteLedger;
use bucket_brigade::ledger::{Claim, Ledger, LedgerError};

use super::contract::{LEASE, at, checkpoint, content, owner};

const CONTENTS: usize = 300;

/// Claims what nobody else has, and says how much that was.
async fn claim_all(path: &Path, by: &str) -> usize {
    let ledger = SqliteLedger::open(path).expect("open");
    let mut granted = 0;
    for number in 0..CONTENTS {
        let k = content(&format!("k{number}"));
        match ledger.claim(&k, &owner(by), at(0), LEASE).await {
            Ok(Claim::Granted(_)) => granted += 1,
            Ok(Claim::Busy { .. }) => {}
            other => panic!("{by}: {other:?}"),
        }
    }
    granted
}

#[tokio::test]
async fn two_processes_share_one_file() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("ledger.sqlite");
    let mut other = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("ledger::processes::the_other_process")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the other process");
    let mut stdin = other.stdin.take().expect("stdin");
    stdin
        .write_all(path.as_os_str().as_encoded_bytes())
        .expect("tell it the path");
    drop(stdin);
    let ours = claim_all(&path, "ours").await;
    let output = other.wait_with_output().expect("the other process");
    let output = String::from_utf8_lossy(&output.stdout);
    let theirs: usize = output
        .split_once("granted=")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no answer in {output}"));
    assert_eq!(ours + theirs, CONTENTS);
}

#[tokio::test]
#[ignore = "the other process of two_processes_share_one_file"]
async fn the_other_process() {
    let mut path = String::new();
    std::io::stdin().read_to_string(&mut path).expect("a path");
    println!("granted={} ", claim_all(Path::new(&path), "theirs").await);
}

#[test]
fn a_new_file_may_be_opened_by_many_at_once() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("ledger.sqlite");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| SqliteLedger::open(&path).expect("open"));
            }
        });
    }
}

#[tokio::test]
async fn a_file_remembers() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("ledger.sqlite");
    let ledger = SqliteLedger::open(&path).expect("open");
    let k = content("k");
    let claimed = ledger.claim(&k, &owner("a"), at(0), LEASE).await;
    let Ok(Claim::Granted(grant)) = claimed else {
        panic!("{claimed:?}");
    };
    let reached = checkpoint(10, 2);
    let extended = ledger
        .checkpoint(&grant.lease, &reached, at(1), LEASE)
        .await;
    extended.expect("checkpoint");
    ledger.write_mark("since", Some("1")).await.expect("mark");
    drop(ledger);

    let ledger = SqliteLedger::open(&path).expect("open again");
    let claimed = ledger.claim(&k, &owner("b"), at(100), LEASE).await;
    let Ok(Claim::Granted(grant)) = claimed else {
        panic!("{claimed:?}");
    };
    assert_eq!(grant.checkpoint, reached);
    let mark = ledger.read_mark("since").await.expect("mark");
    assert_eq!(mark.as_deref(), Some("1"));
}

#[test]
fn what_is_no_ledger_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no database".repeat(1_000)).expect("write");
    let later = folder.path().join("later.sqlite");
    rusqlite::Connection::open(&later)
        .and_then(|connection| connection.pragma_update(None, "user_version", 2))
        .expect("a file of a later schema");
    for path in [&text, &later, &folder.path().join("no/such/folder/ledger")] {
        match SqliteLedger::open(path) {
            Err(LedgerError::Refused { .. }) => {}
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("ledger.sqlite");
    let ledger = SqliteLedger::open(&path).expect("open");
    let k = content("k");
    let queued = ledger.queue(&k, at(0), at(300)).await;
    assert!(queued.expect("queue"));
    for (damage, attribute) in [
        ("checkpoint = '{'", "checkpoint"),
        ("attempts = NULL", "attempts"),
        ("queued_until = NULL", "queued_until"),
        ("state = 'odd'", "state"),
    ] {
        rusqlite::Connection::open(&path)
            .and_then(|connection| connection.execute(&format!("UPDATE rows SET {damage}"), []))
            .expect("damage");
        let claimed = ledger.claim(&k, &owner("a"), at(0), LEASE).await;
        let error = claimed.expect_err(attribute).to_string();
        let expected = format!(
            "ledger refused: {}: the row of s3://logs/k has no readable {attribute}",
            path.display()
        );
        assert_eq!(error, expected);
        if attribute == "checkpoint" {
            let whole = format!(
                "checkpoint = '{}'",
                serde_json::to_string(&Checkpoint::default()).expect("json")
            );
            rusqlite::Connection::open(&path)
                .and_then(|connection| connection.execute(&format!("UPDATE rows SET {whole}"), []))
                .expect("mend");
        }
    }
}
