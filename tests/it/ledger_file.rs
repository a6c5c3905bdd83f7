//! The tool on a ledger file that cannot grow, or is damaged.
#![cfg(feature = "local")]

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::tool::{Sync, account, ids, output, records, stderr};

/// The same command under a limit for every file that it writes, in units of 512 or 1,024 bytes, by the shell.
fn with_files_up_to(units: u64, command: &Command) -> Command {
    let command = command.as_std();
    let mut limited = Command::new("sh");
    limited
        .args([
            "-c",
            &format!("trap '' XFSZ; ulimit -f {units}; exec \"$@\""),
            "sh",
        ])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().expect("a folder"))
        .env_clear();
    for (name, value) in command.get_envs() {
        limited.env(name, value.expect("set"));
    }
    limited
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    limited
}

#[tokio::test]
async fn sync_without_room_for_its_ledger_names_the_file_and_goes_on_when_there_is() {
    let sync = Sync::start().await;
    let records = records(0..20_000);
    sync.put("in/big.gz", &records);
    // Room for a new ledger and some moves.
    let command = sync.command(&["--patience", "2s"]);
    let full = output(&mut with_files_up_to(96, &command)).await;
    let said = stderr(&full);
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(
        said.contains("brigade.ledger") && said.contains("disk"),
        "{said}"
    );
    let undelivered = &account(&full)["undelivered"][0];
    assert_eq!(undelivered["reason"], "ledger_unavailable", "{said}");
    let before = sync.listener.counts().records;
    assert!(
        0 < before && before < 20_000,
        "{before} records without room"
    );

    let again = output(&mut sync.command(&[])).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let received = sync.listener.received();
    assert_eq!(received.missing(ids(&records)), 0);
    const REQUESTS_IN_FLIGHT: u64 = 4;
    let most = REQUESTS_IN_FLIGHT * (65_536 / (records[0].len() as u64 + 1) + 1);
    assert!(
        received.duplicates() <= most,
        "{} > {most}",
        received.duplicates()
    );
}

/// Damages a ledger of many rows, and expects that sync refuses it, sends nothing, and leaves it as it is.
async fn expect_refusal(what: &str, damage: impl Fn(&mut Vec<u8>)) {
    let sync = Sync::start().await;
    let records = records(0..200);
    for (number, record) in records.chunks(1).enumerate() {
        sync.put(&format!("in/{number:0200}.gz"), record);
    }
    let first = output(&mut sync.command(&[])).await;
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let path = sync.folder.path().join("brigade.ledger");
    let mut bytes = fs::read(&path).expect("a ledger");
    assert!(bytes.len() > 65_536, "{} bytes are too few", bytes.len());
    damage(&mut bytes);
    fs::write(&path, &bytes).expect("damaged");

    sync.listener.forget();
    let began = tokio::time::Instant::now();
    let refused = output(&mut sync.command(&[])).await;
    let said = stderr(&refused);
    assert!(
        matches!(refused.status.code(), Some(1 | 2)),
        "{what}: {said}"
    );
    for part in ["brigade.ledger", "restore a copy", "move it away"] {
        assert!(said.contains(part), "{what}: {part}: {said}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{what} is not tried again"
    );
    assert_eq!(sync.listener.counts().requests, 0, "{what}");
    assert_eq!(fs::read(&path).expect("still there"), bytes, "{what}");
}

#[tokio::test]
async fn a_ledger_that_is_cut_off_is_refused_and_nothing_is_sent_again() {
    expect_refusal("half of the file", |bytes| bytes.truncate(bytes.len() / 2)).await;
    expect_refusal("a part of a page", |bytes| bytes.truncate(1_000)).await;
    expect_refusal("a few bytes", |bytes| bytes.truncate(10)).await;
    expect_refusal("nothing", Vec::clear).await;
}

#[tokio::test]
async fn a_ledger_that_is_damaged_is_refused_and_nothing_is_sent_again() {
    expect_refusal("its header", |bytes| bytes[..100].fill(0xa5)).await;
    expect_refusal("all pages but the first", |bytes| bytes[4_096..].fill(0xa5)).await;
}
