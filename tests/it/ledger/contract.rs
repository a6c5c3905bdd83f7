//! What every ledger does. Each function is one sentence of the contract, over an empty ledger.

use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::checkpoint::{Account, Checkpoint, Position, Ranges};
use bucket_brigade::clock::Timestamp;
use bucket_brigade::ledger::{
    Claim, Grant, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row, State,
};
use bucket_brigade::object::{ContentId, Etag};
use bucket_brigade::restore::{SAVED_BYTES_MAX, SavedPoint};
use futures_util::future::join_all;

pub const LEASE: Duration = Duration::from_secs(60);

pub fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

pub fn content(key: &str) -> ContentId {
    ContentId {
        bucket: "logs".into(),
        key: key.into(),
        etag: Etag::from("9b2cf535f27731c974343645a3985328-2"),
        size: 42,
    }
}

pub fn owner(name: &str) -> Owner {
    Owner::new(name, 7)
}

pub fn checkpoint(offset: u64, record: u64) -> Checkpoint {
    Checkpoint {
        position: Position { offset, record },
        accepted: Ranges::new(),
        account: Account {
            records_read: record,
            records_delivered: record,
            ..Account::default()
        },
        read_as: None,
        restore: None,
    }
}

fn release(until: Timestamp, blames_object: bool) -> Release {
    Release {
        queued_until: until,
        blames_object,
        reason: "out of time".into(),
    }
}

async fn claim(ledger: &impl Ledger, content: &ContentId, by: &str, now: Timestamp) -> Claim {
    ledger
        .claim(content, &owner(by), now, LEASE)
        .await
        .expect("claim")
}

async fn granted(ledger: &impl Ledger, content: &ContentId, by: &str, now: Timestamp) -> Grant {
    match claim(ledger, content, by, now).await {
        Claim::Granted(grant) => *grant,
        other => panic!("{by} was not granted {content}: {other:?}"),
    }
}

async fn states(ledger: &impl Ledger, now: Timestamp) -> Vec<(String, State)> {
    let rows = ledger.range("logs", "", "\u{10ffff}", now).await;
    rows.expect("range")
        .into_iter()
        .map(|row| (row.content.key, row.state))
        .collect()
}

async fn state(ledger: &impl Ledger, content: &ContentId, now: Timestamp) -> Option<State> {
    let key = &content.key;
    let rows = ledger.range(&content.bucket, key, key, now).await;
    let found: Vec<_> = rows
        .expect("range")
        .into_iter()
        .filter(|row| row.content == *content)
        .collect();
    assert!(found.len() <= 1, "one row for each content: {found:?}");
    found.first().map(|row| row.state)
}

fn lost<T: std::fmt::Debug>(answer: Result<T, LedgerError>) {
    match answer {
        Err(LedgerError::LeaseLost { .. }) => {}
        other => panic!("expected a lost lease, got {other:?}"),
    }
}

fn behind<T: std::fmt::Debug>(answer: Result<T, LedgerError>) {
    match answer {
        Err(LedgerError::CheckpointBehind { .. }) => {}
        other => panic!("expected a checkpoint that is behind, got {other:?}"),
    }
}

pub async fn an_absent_row_is_granted_with_nothing_done<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let expected = Grant {
        lease: Lease {
            content: k.clone(),
            owner: owner("a"),
            until: at(60),
        },
        checkpoint: Checkpoint::default(),
        attempts: 1,
        last_reason: None,
    };
    assert_eq!(granted(&ledger, &k, "a", at(0)).await, expected);
    let expected = Some(State::Claimed { until: at(60) });
    assert_eq!(state(&ledger, &k, at(0)).await, expected);
}

pub async fn a_held_row_is_busy_until_its_lease_runs_out<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    granted(&ledger, &k, "a", at(0)).await;
    let busy = Claim::Busy { until: at(60) };
    assert_eq!(claim(&ledger, &k, "b", at(0)).await, busy);
    let last_moment = at(60).minus(Duration::from_millis(1));
    assert_eq!(claim(&ledger, &k, "b", last_moment).await, busy);
    assert_eq!(granted(&ledger, &k, "b", at(60)).await.attempts, 2);
}

pub async fn a_repeated_claim_is_answered_as_the_first<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let first = granted(&ledger, &k, "a", at(0)).await;
    assert_eq!(granted(&ledger, &k, "a", at(1)).await, first);
    assert_eq!(granted(&ledger, &k, "a", at(90)).await, first);
}

pub async fn a_queued_row_is_granted_before_and_after_it_lapses<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    for (key, now) in [("early", 10), ("late", 1_000)] {
        let k = content(key);
        assert!(ledger.queue(&k, at(0), at(600)).await.expect("queue"));
        let grant = granted(&ledger, &k, "a", at(now)).await;
        assert_eq!((grant.attempts, grant.last_reason), (1, None));
        assert_eq!(grant.checkpoint, Checkpoint::default());
    }
}

pub async fn renewing_extends_the_lease<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let renewed = ledger.renew(&lease, at(30), LEASE).await.expect("renew");
    let expected = Lease {
        until: at(90),
        ..lease
    };
    assert_eq!(renewed, expected);
    let busy = Claim::Busy { until: at(90) };
    assert_eq!(claim(&ledger, &k, "b", at(60)).await, busy);
}

pub async fn a_lease_that_ran_out_is_taken_over_with_its_checkpoint<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let reached = checkpoint(100, 3);
    let extended = ledger.checkpoint(&lease, &reached, at(10), LEASE).await;
    assert_eq!(extended.expect("checkpoint").until, at(70));
    let busy = Claim::Busy { until: at(70) };
    assert_eq!(claim(&ledger, &k, "b", at(69)).await, busy);
    let grant = granted(&ledger, &k, "b", at(70)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached, 1));
    assert_eq!(grant.lease.until, at(130));
}

pub async fn a_lost_lease_fails_every_move_and_changes_nothing<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    for way in [
        "taken over",
        "released",
        "queued",
        "settled",
        "quarantined",
        "absent",
    ] {
        let k = content(way);
        let account = Account::default();
        let stale = if way == "absent" {
            Lease {
                content: k.clone(),
                owner: owner("a"),
                until: at(60),
            }
        } else {
            granted(&ledger, &k, "a", at(0)).await.lease
        };
        let reached = checkpoint(50, 2);
        match way {
            "absent" => {}
            "queued" => assert!(ledger.queue(&k, at(60), at(600)).await.expect("queue")),
            _ => {
                let lease = granted(&ledger, &k, "b", at(60)).await.lease;
                let given_up = release(at(600), false);
                match way {
                    "released" => ledger.release(&lease, &reached, &given_up, at(61)).await,
                    "settled" => ledger.settle(&lease, &account, at(61), at(9_000)).await,
                    "quarantined" => ledger.quarantine(&lease, &account, "r", "p", at(61)).await,
                    _ => ledger
                        .checkpoint(&lease, &reached, at(61), LEASE)
                        .await
                        .map(drop),
                }
                .expect("move of the new holder");
            }
        }
        let before = state(&ledger, &k, at(62)).await;

        let far = checkpoint(1_000, 9);
        lost(ledger.renew(&stale, at(62), LEASE).await);
        lost(ledger.checkpoint(&stale, &far, at(62), LEASE).await);
        let given_up = release(at(700), true);
        lost(ledger.release(&stale, &far, &given_up, at(62)).await);
        lost(ledger.settle(&stale, &account, at(62), at(9_000)).await);
        lost(ledger.quarantine(&stale, &account, "r", "p", at(62)).await);

        assert_eq!(state(&ledger, &k, at(62)).await, before, "{way}");
        match claim(&ledger, &k, "c", at(800)).await {
            Claim::Granted(grant) => {
                let (expected, attempts) = match way {
                    "queued" => (Checkpoint::default(), 2),
                    "absent" => (Checkpoint::default(), 1),
                    _ => (reached, 1),
                };
                assert_eq!(
                    (grant.checkpoint, grant.attempts),
                    (expected, attempts),
                    "{way}"
                );
            }
            Claim::Settled => assert!(matches!(way, "settled" | "quarantined"), "{way}"),
            Claim::Busy { .. } => panic!("{way}: busy"),
        }
    }
}

pub async fn a_lease_that_ran_out_still_holds_until_somebody_moves_the_row<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let reached = checkpoint(10, 1);
    let extended = ledger.checkpoint(&lease, &reached, at(100), LEASE).await;
    assert_eq!(extended.expect("late checkpoint").until, at(160));
    let renewed = ledger.renew(&lease, at(300), LEASE).await;
    assert_eq!(renewed.expect("late renewal").until, at(360));
    let settled = ledger
        .settle(&lease, &reached.account, at(500), at(9_000))
        .await;
    settled.expect("late settling");
    assert_eq!(claim(&ledger, &k, "b", at(501)).await, Claim::Settled);
}

pub async fn a_checkpoint_never_goes_backward<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let reached = checkpoint(100, 5);
    let extended = ledger.checkpoint(&lease, &reached, at(1), LEASE).await;
    let lease = extended.expect("checkpoint");
    let mut fewer_read = checkpoint(200, 7);
    fewer_read.account.records_read = 4;
    for backward in [
        checkpoint(99, 5),
        checkpoint(100, 4),
        Checkpoint::default(),
        fewer_read,
    ] {
        behind(ledger.checkpoint(&lease, &backward, at(2), LEASE).await);
        let given_up = release(at(600), false);
        behind(ledger.release(&lease, &backward, &given_up, at(2)).await);
    }
    let expected = Some(State::Claimed { until: at(61) });
    assert_eq!(state(&ledger, &k, at(2)).await, expected);
    let further = checkpoint(101, 5);
    let extended = ledger.checkpoint(&lease, &further, at(3), LEASE).await;
    extended.expect("checkpoint that goes forward");
    let grant = granted(&ledger, &k, "b", at(90)).await;
    assert_eq!(grant.checkpoint, further);
}

pub async fn a_repeated_checkpoint_is_no_error_and_no_progress<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let reached = checkpoint(100, 5);
    for now in [1, 2] {
        let extended = ledger.checkpoint(&lease, &reached, at(now), LEASE).await;
        assert_eq!(extended.expect("checkpoint").until, at(now + 60));
    }
    let grant = granted(&ledger, &k, "b", at(100)).await;
    assert_eq!(grant.attempts, 1);
    let extended = ledger
        .checkpoint(&grant.lease, &reached, at(101), LEASE)
        .await;
    assert_eq!(extended.expect("checkpoint").until, at(161));
    let grant = granted(&ledger, &k, "c", at(200)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached, 2));
}

pub async fn accepted_ranges_survive_to_the_next_claimant<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let mut reached = checkpoint(100, 5);
    reached.accepted.insert(7..9);
    reached.accepted.insert(20..1_000);
    reached.account.records_read += 982;
    let given_up = release(at(600), false);
    let released = ledger.release(&lease, &reached, &given_up, at(1)).await;
    released.expect("release");
    let grant = granted(&ledger, &k, "b", at(2)).await;
    assert_eq!(grant.checkpoint, reached);

    // The prefix may grow over what was accepted beyond it, with no record more answered for.
    let mut further = reached.clone();
    further.position = Position {
        offset: 180,
        record: 9,
    };
    further.accepted.drop_below(9);
    let extended = ledger
        .checkpoint(&grant.lease, &further, at(3), LEASE)
        .await;
    extended.expect("checkpoint");
    // And one more answer may come in beyond a prefix that stays.
    let mut more = further.clone();
    more.accepted.insert(1_000..1_001);
    more.account.records_read += 1;
    let extended = ledger.checkpoint(&grant.lease, &more, at(4), LEASE).await;
    extended.expect("checkpoint");
    assert_eq!(granted(&ledger, &k, "c", at(900)).await.checkpoint, more);
}

pub async fn a_restore_point_survives_as_long_as_checkpoints_say_it<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    let k = content("k");
    let saved = |bytes| Some(SavedPoint::from("Aa0+/".repeat(bytes / 5)));
    let mut reached = checkpoint(100, 5);
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    // As large as one can be.
    reached.restore = saved(SAVED_BYTES_MAX);
    let extended = ledger.checkpoint(&lease, &reached, at(1), LEASE).await;
    extended.expect("checkpoint");
    let renewed = ledger.renew(&lease, at(50), LEASE).await;
    renewed.expect("renew");
    // The worker died, and reconcile brought the object back.
    assert!(ledger.queue(&k, at(200), at(300)).await.expect("queue"));
    let grant = granted(&ledger, &k, "b", at(201)).await;
    assert_eq!(grant.checkpoint, reached);

    // A newer one at the same position is said by a release.
    reached.restore = saved(1_000);
    let given_up = release(at(600), false);
    let released = ledger.release(&grant.lease, &reached, &given_up, at(202));
    released.await.expect("release");
    let grant = granted(&ledger, &k, "c", at(203)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached, 1));

    let further = checkpoint(200, 10);
    let extended = ledger.checkpoint(&grant.lease, &further, at(204), LEASE);
    extended.await.expect("checkpoint");
    let grant = granted(&ledger, &k, "d", at(900)).await;
    assert_eq!(grant.checkpoint, further);
}

pub async fn numbers_and_texts_survive_exactly<L: Ledger + 'static>(ledger: Arc<L>) {
    // Beyond 2^53 a float would round.
    let odd = (1 << 60) + 1;
    let k = ContentId {
        size: odd,
        etag: Etag::from("W/é #:\u{1}"),
        ..content("ключ:\u{1}\u{7f}#日🎉 %41+\r\n")
    };
    let lease = granted(&ledger, &k, "é/🎉", at(0)).await.lease;
    let reached = Checkpoint {
        position: Position {
            offset: odd,
            record: odd,
        },
        accepted: Ranges::from(odd + 2..odd + 4),
        account: Account {
            records_read: odd,
            records_delivered: odd - 6,
            records_filtered: 1,
            records_quarantined: 2,
            records_cut: 3,
            plain_bytes: odd + 8,
            body_bytes: 5,
            requests: 6,
        },
        read_as: Some("{\"array\":{\"fields\":[\"é\"]}}".into()),
        restore: Some(SavedPoint::from("é/🎉 \"\u{1}".to_owned())),
    };
    let now = at(0).plus(Duration::from_millis(1));
    let given_up = Release {
        queued_until: now,
        blames_object: true,
        reason: "tausend „Gründe“\n#:\u{1}".into(),
    };
    let released = ledger.release(&lease, &reached, &given_up, now).await;
    released.expect("release");
    let expected = Some(State::Queued { until: now });
    assert_eq!(state(&ledger, &k, now).await, expected);
    let grant = granted(&ledger, &k, "b", now).await;
    assert_eq!(grant.checkpoint, reached);
    assert_eq!(grant.last_reason, Some(given_up.reason));
    assert_eq!(grant.lease.until, now.plus(LEASE));
}

pub async fn attempts_count_claims_without_progress<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let mut now = 0;
    for attempts in 1..=6 {
        let grant = granted(&ledger, &k, &format!("crashed{attempts}"), at(now)).await;
        assert_eq!(grant.attempts, attempts);
        now += 100;
    }
    let grant = granted(&ledger, &k, "b", at(now)).await;
    assert_eq!(grant.attempts, 7);
    let reached = checkpoint(1, 1);
    let extended = ledger
        .checkpoint(&grant.lease, &reached, at(now), LEASE)
        .await;
    extended.expect("checkpoint");
    assert_eq!(granted(&ledger, &k, "c", at(now + 100)).await.attempts, 1);
    let queued = ledger.queue(&k, at(now + 200), at(now + 300)).await;
    assert!(queued.expect("queue"));
    assert_eq!(granted(&ledger, &k, "d", at(now + 200)).await.attempts, 2);
}

pub async fn a_release_counts_the_attempt_only_if_it_blames_the_object<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    let k = content("k");
    let start = Checkpoint::default();
    let reached = checkpoint(5, 1);
    // What is released, whether it blames, and the attempts of the next claim.
    for (step, (said, blames, attempts)) in [
        (&start, false, 1),
        (&start, true, 2),
        (&start, true, 3),
        (&start, true, 4),
        (&start, false, 4),
        (&reached, true, 1),
        (&reached, true, 2),
        (&reached, false, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let now = step as u64;
        let lease = granted(&ledger, &k, &format!("o{step}"), at(now))
            .await
            .lease;
        let given_up = release(at(600), blames);
        let released = ledger.release(&lease, said, &given_up, at(now)).await;
        released.expect("release");
        let next = granted(&ledger, &k, &format!("next{step}"), at(now)).await;
        assert_eq!(next.attempts, attempts, "step {step}");
        // Given back without blame, this claim leaves no trace.
        let unblamed = release(at(600), false);
        let released = ledger.release(&next.lease, said, &unblamed, at(now)).await;
        released.expect("release");
    }

    // After a checkpoint that went forward there is no attempt to give back.
    let lease = granted(&ledger, &k, "z", at(20)).await.lease;
    let further = checkpoint(9, 2);
    let extended = ledger.checkpoint(&lease, &further, at(20), LEASE).await;
    extended.expect("checkpoint");
    let unblamed = release(at(600), false);
    let released = ledger.release(&lease, &further, &unblamed, at(20)).await;
    released.expect("release");
    assert_eq!(granted(&ledger, &k, "y", at(20)).await.attempts, 1);
}

pub async fn a_released_row_is_queued_with_its_reason<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let reached = checkpoint(5, 1);
    let given_up = release(at(600), false);
    let released = ledger.release(&lease, &reached, &given_up, at(1)).await;
    released.expect("release");
    let queued = State::Queued { until: at(600) };
    assert_eq!(state(&ledger, &k, at(1)).await, Some(queued));
    assert_eq!(state(&ledger, &k, at(700)).await, Some(queued));
    let again = ledger.queue(&k, at(599), at(900)).await;
    assert!(!again.expect("queue"), "it is queued already");
    let grant = granted(&ledger, &k, "b", at(2)).await;
    assert_eq!(grant.last_reason.as_deref(), Some("out of time"));
    assert_eq!(grant.checkpoint, reached);
}

pub async fn a_settled_row_is_done<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let account = checkpoint(0, 10).account;
    let settled = ledger.settle(&lease, &account, at(1), at(9_000)).await;
    settled.expect("settle");
    assert_eq!(state(&ledger, &k, at(2)).await, Some(State::Settled));
    assert_eq!(claim(&ledger, &k, "b", at(2)).await, Claim::Settled);
    assert_eq!(claim(&ledger, &k, "a", at(2)).await, Claim::Settled);
    lost(ledger.renew(&lease, at(2), LEASE).await);
    let reached = checkpoint(9, 10);
    lost(ledger.checkpoint(&lease, &reached, at(2), LEASE).await);
    let given_up = release(at(600), false);
    lost(ledger.release(&lease, &reached, &given_up, at(2)).await);
    lost(ledger.quarantine(&lease, &account, "r", "p", at(2)).await);
    assert_eq!(state(&ledger, &k, at(8_999)).await, Some(State::Settled));
}

pub async fn a_quarantined_row_is_done_and_never_forgotten<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let account = checkpoint(0, 10).account;
    let kept = ledger
        .quarantine(
            &lease,
            &account,
            "truncated gzip",
            "s3://q/objects/1.json",
            at(1),
        )
        .await;
    kept.expect("quarantine");
    let much_later = at(10_000_000_000);
    for now in [at(2), much_later] {
        assert_eq!(state(&ledger, &k, now).await, Some(State::Quarantined));
        assert_eq!(claim(&ledger, &k, "b", now).await, Claim::Settled);
        let queued = ledger.queue(&k, now, now.plus(LEASE)).await;
        assert!(!queued.expect("queue"));
    }
    lost(ledger.settle(&lease, &account, at(3), at(9_000)).await);
}

pub async fn repeating_the_last_move_is_no_error<L: Ledger + 'static>(ledger: Arc<L>) {
    let account = Account::default();
    let k = content("settled");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    for now in [1, 2] {
        let settled = ledger.settle(&lease, &account, at(now), at(9_000)).await;
        settled.expect("settle");
    }
    let k = content("quarantined");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    for now in [1, 2] {
        let kept = ledger.quarantine(&lease, &account, "r", "p", at(now)).await;
        kept.expect("quarantine");
    }
    let k = content("released");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    for until in [600, 700] {
        let given_up = release(at(until), true);
        let start = Checkpoint::default();
        let released = ledger.release(&lease, &start, &given_up, at(1)).await;
        released.expect("release");
    }
    let expected = Some(State::Queued { until: at(600) });
    assert_eq!(state(&ledger, &k, at(2)).await, expected);
    assert_eq!(granted(&ledger, &k, "b", at(2)).await.attempts, 2);
}

pub async fn queueing_answers_for_every_state<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let queue = async |now: u64| {
        let queued = ledger.queue(&k, at(now), at(now + 300)).await;
        queued.expect("queue")
    };
    assert!(queue(0).await, "absent");
    let expected = Some(State::Queued { until: at(300) });
    assert_eq!(state(&ledger, &k, at(0)).await, expected);
    assert!(!queue(0).await, "queued");
    assert!(!queue(299).await, "queued");
    assert!(queue(300).await, "lapsed");
    let lease = granted(&ledger, &k, "a", at(300)).await.lease;
    let mut reached = checkpoint(5, 1);
    reached.accepted.insert(3..4);
    let extended = ledger.checkpoint(&lease, &reached, at(300), LEASE).await;
    extended.expect("checkpoint");
    assert!(!queue(359).await, "claimed");
    assert!(queue(360).await, "claimed, and the lease ran out");
    let grant = granted(&ledger, &k, "b", at(361)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached.clone(), 1));
    let given_up = release(at(400), true);
    let released = ledger
        .release(&grant.lease, &reached, &given_up, at(362))
        .await;
    released.expect("release");
    assert!(!queue(399).await, "released");
    assert!(queue(400).await, "released, and lapsed");
    let grant = granted(&ledger, &k, "c", at(401)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached.clone(), 2));
    assert_eq!(grant.last_reason.as_deref(), Some("out of time"));
    let settled = ledger
        .settle(&grant.lease, &reached.account, at(402), at(9_000))
        .await;
    settled.expect("settle");
    assert!(!queue(403).await, "settled");
    assert!(!queue(8_999).await, "settled");
    assert!(queue(9_000).await, "settled, and past its retention");
}

pub async fn reopening_answers_for_every_state<L: Ledger + 'static>(ledger: Arc<L>) {
    let reached = checkpoint(500, 12);
    let reopen = async |k: &ContentId, now: u64| {
        let reopened = ledger.reopen(k, &reached, at(now), at(now + 300)).await;
        reopened.expect("reopen")
    };
    let k = content("quarantined");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let kept = ledger.quarantine(&lease, &reached.account, "archived", "p", at(1));
    kept.await.expect("quarantine");
    assert_eq!(reopen(&k, 2).await, Reopened::Queued);
    let expected = Some(State::Queued { until: at(302) });
    assert_eq!(state(&ledger, &k, at(2)).await, expected);
    assert_eq!(reopen(&k, 3).await, Reopened::UnderWay, "queued");
    lost(
        ledger
            .settle(&lease, &reached.account, at(3), at(9_000))
            .await,
    );
    let grant = granted(&ledger, &k, "b", at(4)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached.clone(), 1));
    assert_eq!(grant.last_reason.as_deref(), Some("archived"));
    assert_eq!(reopen(&k, 5).await, Reopened::UnderWay, "claimed");

    // Whoever went on since the evidence was written knows more than it.
    let further = checkpoint(900, 30);
    let extended = ledger
        .checkpoint(&grant.lease, &further, at(6), LEASE)
        .await;
    extended.expect("checkpoint");
    assert_eq!(reopen(&k, 66).await, Reopened::Queued, "the lease ran out");
    let grant = granted(&ledger, &k, "c", at(67)).await;
    assert_eq!(grant.checkpoint, further);
    let settled = ledger.settle(&grant.lease, &further.account, at(68), at(9_000));
    settled.await.expect("settle");
    assert_eq!(reopen(&k, 69).await, Reopened::Settled);
    assert_eq!(state(&ledger, &k, at(69)).await, Some(State::Settled));

    let k = content("absent");
    assert_eq!(reopen(&k, 0).await, Reopened::Queued);
    let grant = granted(&ledger, &k, "a", at(1)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (reached.clone(), 1));
    assert_eq!(grant.last_reason, None);
}

pub async fn of_many_who_reopen_a_row_one_does<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let account = Account::default();
    let kept = ledger.quarantine(&lease, &account, "r", "p", at(1)).await;
    kept.expect("quarantine");
    let reopened = (0..16).map(|_| {
        let (ledger, k) = (Arc::clone(&ledger), k.clone());
        tokio::spawn(async move {
            let start = Checkpoint::default();
            ledger.reopen(&k, &start, at(2), at(300)).await
        })
    });
    let answers = join_all(reopened).await;
    let queued = answers
        .into_iter()
        .map(|answer| answer.expect("no panic").expect("reopen"))
        .filter(|answer| *answer == Reopened::Queued);
    assert_eq!(queued.count(), 1);
}

pub async fn unqueueing_lets_just_that_note_lapse<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    ledger.unqueue(&k, at(300)).await.expect("absent");
    assert_eq!(state(&ledger, &k, at(0)).await, None);

    assert!(ledger.queue(&k, at(0), at(300)).await.expect("queue"));
    ledger.unqueue(&k, at(299)).await.expect("another note");
    let expected = Some(State::Queued { until: at(300) });
    assert_eq!(state(&ledger, &k, at(0)).await, expected);
    ledger.unqueue(&k, at(300)).await.expect("this note");
    let lapsed = state(&ledger, &k, at(0)).await.expect("a row");
    assert!(!lapsed.is_live(at(0)), "{lapsed:?}");
    let again = ledger.queue(&k, at(0), at(300)).await;
    assert!(again.expect("queue"));

    let lease = granted(&ledger, &k, "a", at(1)).await.lease;
    ledger.unqueue(&k, at(300)).await.expect("claimed");
    let expected = Some(State::Claimed { until: at(61) });
    assert_eq!(state(&ledger, &k, at(1)).await, expected);
    let given_up = release(at(300), false);
    let released = ledger
        .release(&lease, &Checkpoint::default(), &given_up, at(2))
        .await;
    released.expect("release");
    ledger.unqueue(&k, at(300)).await.expect("released");
    let expected = Some(State::Queued { until: at(300) });
    assert_eq!(state(&ledger, &k, at(2)).await, expected);
}

pub async fn a_settled_row_past_its_retention_counts_as_absent<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    let (claimed, queued) = (content("claimed"), content("queued"));
    for k in [&claimed, &queued] {
        let lease = granted(&ledger, k, "a", at(0)).await.lease;
        let reached = checkpoint(100, 5);
        let extended = ledger.checkpoint(&lease, &reached, at(1), LEASE).await;
        extended.expect("checkpoint");
        let settled = ledger
            .settle(&lease, &reached.account, at(2), at(100))
            .await;
        settled.expect("settle");
    }
    assert_eq!(states(&ledger, at(99)).await.len(), 2);
    assert_eq!(claim(&ledger, &claimed, "b", at(99)).await, Claim::Settled);
    assert_eq!(states(&ledger, at(100)).await, []);

    let grant = granted(&ledger, &claimed, "b", at(100)).await;
    assert_eq!(
        (grant.checkpoint, grant.attempts, grant.last_reason),
        (Checkpoint::default(), 1, None)
    );
    let noted = ledger.queue(&queued, at(100), at(400)).await;
    assert!(noted.expect("queue"));
    // Whoever forgets expired rows must not forget these: they are new.
    let expected = [
        ("claimed".to_owned(), State::Claimed { until: at(160) }),
        ("queued".to_owned(), State::Queued { until: at(400) }),
    ];
    assert_eq!(states(&ledger, at(100_000)).await, expected);
    let grant = granted(&ledger, &queued, "b", at(200)).await;
    assert_eq!(
        (grant.checkpoint, grant.attempts),
        (Checkpoint::default(), 1)
    );
}

pub async fn two_contents_of_one_key_are_two_rows<L: Ledger + 'static>(ledger: Arc<L>) {
    let first = content("k");
    let other_etag = ContentId {
        etag: Etag::from("other"),
        ..content("k")
    };
    let other_size = ContentId {
        size: 43,
        ..content("k")
    };
    let other_bucket = ContentId {
        bucket: "logs-2".into(),
        ..content("k")
    };
    let all = [first, other_etag, other_size, other_bucket];
    for k in &all {
        let lease = granted(&ledger, k, "a", at(0)).await.lease;
        assert_eq!(lease.content, *k);
    }
    let rows = ledger.range("logs", "k", "k", at(0)).await.expect("range");
    assert_eq!(rows.len(), 3, "{rows:?}");
    for row in rows {
        assert!(all.contains(&row.content), "{row:?}");
    }
}

pub async fn a_range_lists_as_s3_does<L: Ledger + 'static>(ledger: Arc<L>) {
    let mut keys = [
        "a",
        "a/b",
        "a b",
        "a\u{1}",
        "a\u{1}b",
        "a\u{1f}",
        "a!",
        "a-b",
        "a.b",
        "a:b:c#d",
        "aa",
        "A",
        "B",
        "b",
        "\u{1}",
        "\u{7f}",
        "é",
        "e\u{301}",
        "日本",
        "\u{ffff}",
        // Behind the former as bytes, before it as UTF-16.
        "🎉",
        "dir a/k+ey é日 %41.json.gz",
        "logs/2026-01-02T03:04:05Z/x\r\ny\tz",
    ];
    for key in keys {
        let queued = ledger.queue(&content(key), at(0), at(300)).await;
        assert!(queued.expect("queue"), "{key:?}");
    }
    keys.sort_unstable_by_key(|key| key.as_bytes());
    let found: Vec<_> = states(&ledger, at(0)).await;
    let found: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, keys);
    for (first, first_key) in keys.iter().enumerate() {
        for (last, last_key) in keys.iter().enumerate().skip(first) {
            // Every fifth pair will do.
            if (first + last) % 5 == 0 {
                let rows = ledger.range("logs", first_key, last_key, at(0)).await;
                let rows = rows.expect("range");
                let found: Vec<_> = rows.iter().map(|row| row.content.key.as_str()).collect();
                assert_eq!(found, keys[first..=last]);
            }
        }
    }
}

pub async fn keys_alike_in_their_first_960_bytes_are_told_apart<L: Ledger + 'static>(
    ledger: Arc<L>,
) {
    // Odd, so that byte 960 lies within an é.
    let stem = format!("x{}", "é".repeat(500));
    let key = |tail: &str| format!("{stem}{tail:z<23}");
    let keys = ["a", "b", "c", "d"].map(key);
    for (step, key) in keys.iter().enumerate() {
        assert_eq!(key.len(), 1_024);
        let grant = granted(&ledger, &content(key), "a", at(step as u64)).await;
        assert_eq!(grant.lease.content.key, *key);
    }
    let row = |step: usize| Row {
        content: content(&keys[step]),
        state: State::Claimed {
            until: at(60 + step as u64),
        },
    };
    for first in 0..4 {
        for last in first..4 {
            let rows = ledger.range("logs", &keys[first], &keys[last], at(0)).await;
            let expected: Vec<_> = (first..=last).map(row).collect();
            assert_eq!(rows.expect("range"), expected);
        }
    }
    let rows = ledger.range("logs", &stem, &key("bz"), at(0)).await;
    assert_eq!(rows.expect("range").len(), 2);
}

pub async fn a_range_ends_at_its_bounds_and_at_its_bucket<L: Ledger + 'static>(ledger: Arc<L>) {
    for bucket in ["log", "logs", "logs-2", "logs#1"] {
        for key in ["b", "c", "d"] {
            let k = ContentId {
                bucket: bucket.into(),
                ..content(key)
            };
            granted(&ledger, &k, "a", at(0)).await;
        }
    }
    let keys = async |first: &str, last: &str| -> String {
        let rows = ledger.range("logs", first, last, at(0)).await;
        let rows = rows.expect("range");
        assert!(rows.iter().all(|row| row.content.bucket == "logs"));
        rows.into_iter().map(|row| row.content.key).collect()
    };
    assert_eq!(keys("b", "d").await, "bcd");
    assert_eq!(keys("", "c").await, "bc");
    assert_eq!(keys("c", "c").await, "c");
    assert_eq!(keys("b\u{1}", "c\u{1}").await, "c");
    assert_eq!(keys("", "").await, "");
    assert_eq!(keys("e", "z").await, "");
    assert_eq!(keys("d", "b").await, "");
    let rows = ledger.range("nothing", "a", "z", at(0)).await;
    assert_eq!(rows.expect("range"), []);
}

pub async fn a_range_of_thousands_is_whole<L: Ledger + 'static>(ledger: Arc<L>) {
    // Long keys make more than a megabyte of rows in each of DynamoDB's shards: two pages.
    const ROWS: usize = 4_500;
    let key = |number: usize| format!("{number:05}/{}", "x".repeat(1_000));
    for numbers in (0..ROWS).collect::<Vec<_>>().chunks(20) {
        let queued = numbers.iter().map(|number| {
            let ledger = &ledger;
            async move {
                let queued = ledger.queue(&content(&key(*number)), at(0), at(300)).await;
                assert!(queued.expect("queue"));
            }
        });
        join_all(queued).await;
    }
    let rows = ledger.range("logs", "0", "1", at(0)).await.expect("range");
    assert_eq!(rows.len(), ROWS);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row.content.key, key(number));
    }
    let rows = ledger.range("logs", &key(1_000), &key(2_999), at(0)).await;
    assert_eq!(rows.expect("range").len(), 2_000);
}

pub async fn marks_are_read_as_written<L: Ledger + 'static>(ledger: Arc<L>) {
    let long = format!("position/{}", "é/".repeat(700));
    let large = "v".repeat(4_000);
    assert_eq!(ledger.read_mark("since").await.expect("read"), None);
    ledger
        .write_mark("since", None)
        .await
        .expect("nothing to remove");
    assert_eq!(ledger.read_mark("since").await.expect("read"), None);
    for (name, value) in [
        ("since", "1"),
        ("since", "2 é\n"),
        (&long, &large),
        ("empty", ""),
    ] {
        ledger.write_mark(name, Some(value)).await.expect("write");
        let read = ledger.read_mark(name).await.expect("read");
        assert_eq!(read.as_deref(), Some(value));
    }
    ledger.write_mark(&long, None).await.expect("remove");
    assert_eq!(ledger.read_mark(&long).await.expect("read"), None);

    for (name, value, stands) in [
        ("since", "3", "2 é\n"),
        ("once", "1", "1"),
        ("once", "2", "1"),
        (&long, "again", "again"),
    ] {
        let found = ledger.write_mark_once(name, value).await;
        assert_eq!(found.expect("write once"), stands);
        let read = ledger.read_mark(name).await.expect("read");
        assert_eq!(read.as_deref(), Some(stands));
    }
    assert_eq!(states(&ledger, at(0)).await, []);
}

pub async fn one_of_sixteen_claimants_wins<L: Ledger + 'static>(ledger: Arc<L>) {
    for way in ["absent", "queued", "lapsed", "left", "crashing", "expired"] {
        let k = content(way);
        match way {
            "queued" => assert!(ledger.queue(&k, at(0), at(900)).await.expect("queue")),
            "lapsed" => assert!(ledger.queue(&k, at(0), at(1)).await.expect("queue")),
            "left" => drop(granted(&ledger, &k, "dead", at(0)).await),
            "crashing" => {
                for crash in 0..4 {
                    let by = owner(&format!("crashed{crash}"));
                    let lease = Duration::from_secs(1);
                    let claimed = ledger.claim(&k, &by, at(crash * 2), lease).await;
                    assert!(matches!(claimed, Ok(Claim::Granted(_))), "{claimed:?}");
                }
            }
            "expired" => {
                let lease = granted(&ledger, &k, "a", at(0)).await.lease;
                let settled = ledger
                    .settle(&lease, &Account::default(), at(0), at(1))
                    .await;
                settled.expect("settle");
            }
            _ => {}
        }
        let claimants = (0..16).map(|number| {
            let (ledger, k) = (Arc::clone(&ledger), k.clone());
            tokio::spawn(
                async move { claim(&ledger, &k, &format!("racer{number}"), at(100)).await },
            )
        });
        let (mut won, mut busy) = (0, 0);
        for answer in join_all(claimants).await {
            match answer.expect("claimant") {
                Claim::Granted(_) => won += 1,
                Claim::Busy { until } => {
                    assert_eq!(until, at(160));
                    busy += 1;
                }
                Claim::Settled => panic!("{way}: settled"),
            }
        }
        assert_eq!((won, busy), (1, 15), "{way}");
        let queued = ledger.queue(&k, at(100), at(200)).await;
        assert!(!queued.expect("queue"));
    }
}

pub async fn moves_of_one_owner_at_once_lose_nothing<L: Ledger + 'static>(ledger: Arc<L>) {
    let k = content("k");
    let lease = granted(&ledger, &k, "a", at(0)).await.lease;
    let renewals = (0..8).map(|_| {
        let (ledger, lease) = (Arc::clone(&ledger), lease.clone());
        tokio::spawn(async move { ledger.renew(&lease, at(1), LEASE).await })
    });
    let checkpoints = (1..=8).map(|record| {
        let (ledger, lease) = (Arc::clone(&ledger), lease.clone());
        tokio::spawn(async move {
            let reached = checkpoint(record * 10, record);
            ledger.checkpoint(&lease, &reached, at(1), LEASE).await
        })
    });
    for answer in join_all(renewals.chain(checkpoints)).await {
        match answer.expect("move") {
            // Of checkpoints at once, one may find a later one written.
            Ok(_) | Err(LedgerError::CheckpointBehind { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let grant = granted(&ledger, &k, "b", at(100)).await;
    assert_eq!((grant.checkpoint, grant.attempts), (checkpoint(80, 8), 1));
}
