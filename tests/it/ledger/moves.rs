//! Random moves: two ledgers give equal answers, whatever happens in whatever order.

use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint, Position};
use bucket_brigade::clock::Timestamp;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::ledger::sqlite::SqliteLedger;
use bucket_brigade::ledger::{Lease, Ledger, Owner, Release};
use bucket_brigade::object::{ContentId, Etag};
use bucket_brigade::restore::SavedPoint;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::contract::at;

#[derive(Clone, Debug)]
enum Move {
    Claim(ContentId, Owner, Duration),
    Renew(Lease, Duration),
    Checkpoint(Lease, Checkpoint, Duration),
    Release(Lease, Checkpoint, Release),
    Settle(Lease, Account, Timestamp),
    Quarantine(Lease, Account),
    Queue(ContentId, Timestamp),
    Unqueue(ContentId, Timestamp),
    Reopen(ContentId, Checkpoint, Timestamp),
    Range(String, String),
    WriteMark(&'static str, Option<&'static str>),
    WriteMarkOnce(&'static str, &'static str),
    ReadMark(&'static str),
}

/// What the ledger answers, as text: errors have no equality.
async fn answer(ledger: &impl Ledger, step: &Move, now: Timestamp) -> String {
    match step {
        Move::Claim(content, owner, lease) => {
            format!("{:?}", ledger.claim(content, owner, now, *lease).await)
        }
        Move::Renew(lease, duration) => {
            format!("{:?}", ledger.renew(lease, now, *duration).await)
        }
        Move::Checkpoint(lease, checkpoint, duration) => {
            let answer = ledger.checkpoint(lease, checkpoint, now, *duration).await;
            format!("{answer:?}")
        }
        Move::Release(lease, checkpoint, release) => {
            let answer = ledger.release(lease, checkpoint, release, now).await;
            format!("{answer:?}")
        }
        Move::Settle(lease, account, expires) => {
            format!("{:?}", ledger.settle(lease, account, now, *expires).await)
        }
        Move::Quarantine(lease, account) => {
            let answer = ledger.quarantine(lease, account, "r", "p", now).await;
            format!("{answer:?}")
        }
        Move::Queue(content, until) => format!("{:?}", ledger.queue(content, now, *until).await),
        Move::Unqueue(content, until) => format!("{:?}", ledger.unqueue(content, *until).await),
        Move::Reopen(content, checkpoint, until) => {
            let answer = ledger.reopen(content, checkpoint, now, *until).await;
            format!("{answer:?}")
        }
        Move::Range(first, last) => {
            let mut rows = ledger.range("logs", first, last, now).await.expect("range");
            assert!(rows.is_sorted_by_key(|row| row.content.key.clone()));
            // Rows of one key come in any order.
            rows.sort_by_key(|row| row.content.clone());
            format!("{rows:?}")
        }
        Move::WriteMark(name, value) => format!("{:?}", ledger.write_mark(name, *value).await),
        Move::WriteMarkOnce(name, value) => {
            format!("{:?}", ledger.write_mark_once(name, value).await)
        }
        Move::ReadMark(name) => format!("{:?}", ledger.read_mark(name).await),
    }
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (0u64..30).prop_map(at)
}

fn duration() -> impl Strategy<Value = Duration> {
    (0u64..6).prop_map(Duration::from_secs)
}

fn a_content() -> impl Strategy<Value = ContentId> {
    (prop_oneof![Just("a"), Just("a/b")], 1u64..3).prop_map(|(key, size)| ContentId {
        bucket: "logs".into(),
        key: key.into(),
        etag: Etag::from("e"),
        size,
    })
}

fn an_owner() -> impl Strategy<Value = Owner> {
    (0u64..3).prop_map(|number| Owner::new("o", number))
}

fn a_lease() -> impl Strategy<Value = Lease> {
    (a_content(), an_owner(), moment()).prop_map(|(content, owner, until)| Lease {
        content,
        owner,
        until,
    })
}

fn a_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let restore = || prop::option::of("[a-c]");
    (
        0u64..3,
        0u64..3,
        0u64..3,
        prop::option::of(3u64..6),
        restore(),
    )
        .prop_map(|(offset, record, read, accepted, restore)| Checkpoint {
            position: Position { offset, record },
            accepted: accepted.into_iter().collect(),
            account: Account {
                records_read: read,
                ..Account::default()
            },
            read_as: None,
            restore: restore.map(SavedPoint::from),
        })
}

fn a_release() -> impl Strategy<Value = Release> {
    (moment(), any::<bool>(), "[a-c]{0,2}").prop_map(|(queued_until, blames_object, reason)| {
        Release {
            queued_until,
            blames_object,
            reason,
        }
    })
}

fn a_move() -> impl Strategy<Value = Move> {
    let account = (0u64..9).prop_map(|requests| Account {
        requests,
        ..Account::default()
    });
    let name = || prop_oneof![Just("m"), Just("n")];
    prop_oneof![
        6 => (a_content(), an_owner(), duration()).prop_map(|(c, o, d)| Move::Claim(c, o, d)),
        2 => (a_lease(), duration()).prop_map(|(l, d)| Move::Renew(l, d)),
        4 => (a_lease(), a_checkpoint(), duration())
            .prop_map(|(l, c, d)| Move::Checkpoint(l, c, d)),
        3 => (a_lease(), a_checkpoint(), a_release()).prop_map(|(l, c, r)| Move::Release(l, c, r)),
        1 => (a_lease(), account.clone(), moment()).prop_map(|(l, a, e)| Move::Settle(l, a, e)),
        1 => (a_lease(), account).prop_map(|(l, a)| Move::Quarantine(l, a)),
        3 => (a_content(), moment()).prop_map(|(c, u)| Move::Queue(c, u)),
        2 => (a_content(), moment()).prop_map(|(c, u)| Move::Unqueue(c, u)),
        2 => (a_content(), a_checkpoint(), moment()).prop_map(|(c, k, u)| Move::Reopen(c, k, u)),
        2 => ("[ab/]{0,2}", "[ab/]{0,3}").prop_map(|(f, l)| Move::Range(f, l)),
        1 => (name(), prop::option::of(prop_oneof![Just("1"), Just("2")]))
            .prop_map(|(n, v)| Move::WriteMark(n, v)),
        1 => (name(), prop_oneof![Just("3"), Just("4")])
            .prop_map(|(n, v)| Move::WriteMarkOnce(n, v)),
        1 => name().prop_map(Move::ReadMark),
    ]
}

/// Moves with the seconds since the start at which they are made; time may stand still.
fn moves() -> impl Strategy<Value = Vec<(u64, Move)>> {
    prop::collection::vec((0u64..3, a_move()), 1..60).prop_map(|steps| {
        steps
            .into_iter()
            .scan(0, |now, (pause, step)| {
                *now += pause / 2;
                Some((*now, step))
            })
            .collect()
    })
}

async fn agree(one: &impl Ledger, other: &impl Ledger, moves: &[(u64, Move)]) {
    let all = Move::Range(String::new(), "z".into());
    for (now, step) in moves {
        for step in [step, &all] {
            let answers = (
                answer(one, step, at(*now)).await,
                answer(other, step, at(*now)).await,
            );
            assert_eq!(answers.0, answers.1, "at {now}: {step:?}");
        }
    }
}

#[test]
fn memory_and_sqlite_answer_alike() {
    let runtime = Runtime::new().expect("runtime");
    let mut runner = TestRunner::new(Config::with_cases(256));
    let agreed = runner.run(&moves(), |moves| {
        let sqlite = SqliteLedger::in_memory().expect("open");
        runtime.block_on(agree(&MemoryLedger::new(), &sqlite, &moves));
        Ok(())
    });
    agreed.expect("equal answers");
}

#[test]
fn memory_and_dynamodb_answer_alike() {
    let runtime = Runtime::new().expect("runtime");
    let mut runner = TestRunner::new(Config::with_cases(32));
    let agreed = runner.run(&moves(), |moves| {
        runtime.block_on(async {
            let dynamodb = super::dynamodb::ledger().await;
            agree(&MemoryLedger::new(), &dynamodb, &moves).await;
        });
        Ok(())
    });
    agreed.expect("equal answers");
}
