//! Delivering a body: what is accepted, what is refused, what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use bucket_brigade::backoff;
use bucket_brigade::body::{Body, BodyWriter};
use bucket_brigade::checkpoint::Ranges;
use bucket_brigade::delivery::{self, Delivered, REQUEST_TIME_MIN, TimeLimits, Unfinished, Until};
use bucket_brigade::sink::memory::{MemorySink, Reply};
use bucket_brigade::sink::{Answer, RefusalReason, Refusals, RetryReason};
use proptest::prelude::*;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

fn body(records: &[Vec<u8>]) -> Body {
    let mut writer = BodyWriter::new(1);
    for record in records {
        writer.push(record);
    }
    writer.finish()
}

/// Records that differ, so that each can be told from the others: `0`, `1`, `2`, …
fn numbered(records: u64) -> Vec<Vec<u8>> {
    (0..records).map(|n| n.to_string().into_bytes()).collect()
}

async fn deliver(sink: &MemorySink, body: &Body, within: Duration) -> Delivered {
    let limits = TimeLimits {
        until: Until::at(Instant::now() + within),
        request: Duration::from_secs(30),
    };
    delivery::deliver(sink, body.clone(), limits, || u64::MAX / 2).await
}

fn retry(reason: RetryReason) -> Answer {
    let after = None;
    Answer::Retry { reason, after }
}

fn unavailable() -> Answer {
    retry(RetryReason::Status(503))
}

fn refused() -> Answer {
    let reason = "endpoint answered 400".into();
    Answer::Refused { reason }
}

/// Runs to the end with time that passes by itself.
fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without i/o needs nothing")
        .block_on(future)
}

#[tokio::test(start_paused = true)]
async fn an_accepted_body_is_one_request() {
    let sink = MemorySink::new();
    let body = body(&numbered(3));
    let delivered = deliver(&sink, &body, HOUR).await;
    let expected = Delivered {
        accepted: Ranges::from(0..3),
        plain_bytes: body.plain_bytes,
        requests: 1,
        body_bytes: body.gzip.len() as u64,
        ..Delivered::default()
    };
    assert_eq!(delivered, expected);
    assert_eq!(sink.accepted(), numbered(3));
}

#[tokio::test(start_paused = true)]
async fn a_body_without_records_is_no_request() {
    let sink = MemorySink::new();
    assert_eq!(deliver(&sink, &body(&[]), HOUR).await, Delivered::default());
    assert_eq!(sink.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_request_that_began_in_time_is_waited_for_a_little_longer() {
    let begin = Instant::now() + REQUEST_TIME_MIN;
    let deliver = async |answer_takes: Duration| {
        let sink = MemorySink::new();
        sink.plan([Reply::from(Answer::Accepted).after(answer_takes)]);
        let limits = TimeLimits {
            until: Until {
                begin,
                answer: begin + Duration::from_secs(5),
            },
            request: Duration::from_secs(30),
        };
        delivery::deliver(&sink, body(&numbered(1)), limits, || 0).await
    };
    let heard = deliver(REQUEST_TIME_MIN + Duration::from_secs(4)).await;
    assert_eq!((heard.accepted, heard.ambiguous), (Ranges::from(0..1), 0));
    // Now it is too late to begin.
    let unasked = deliver(Duration::ZERO).await;
    assert_eq!((unasked.accepted, unasked.requests), (Ranges::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_sends_nothing_twice() {
    let sink = MemorySink::new();
    let identified = vec![(1, RefusalReason::Malformed), (4, RefusalReason::Oversized)];
    sink.plan([Answer::Partial(Refusals::Identified(identified.clone()))]);
    let delivered = deliver(&sink, &body(&numbered(5)), HOUR).await;
    assert_eq!(delivered.accepted, Ranges::from_iter([0, 2, 3]));
    assert_eq!(delivered.refused, identified);
    assert_eq!(delivered.plain_bytes, 6);
    assert_eq!(delivered.unfinished, None);
    assert_eq!(sink.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn unidentified_refusals_keep_every_record_of_the_body_as_a_candidate() {
    let sink = MemorySink::new();
    sink.plan([Answer::Partial(Refusals::Unidentified { count: 2 })]);
    let delivered = deliver(&sink, &body(&numbered(5)), HOUR).await;
    let unidentified = delivered.unidentified.as_ref().expect("two were refused");
    assert_eq!(unidentified.count, 2);
    assert_eq!(unidentified.candidates, Ranges::from(0..5));
    assert_eq!(delivered.records_accepted(), 3);
    assert_eq!(delivered.records_refused(), 2);
    assert_eq!(delivered.answered(), Ranges::from(0..5));
    assert_eq!(sink.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_halved() {
    let sink = MemorySink::new();
    sink.plan([Answer::TooLarge]);
    let delivered = deliver(&sink, &body(&numbered(4)), HOUR).await;
    assert_eq!(delivered.accepted, Ranges::from(0..4));
    assert_eq!(delivered.requests, 3);
    assert_eq!(sink.accepted(), numbered(4));
}

#[tokio::test(start_paused = true)]
async fn a_fatal_answer_stops_and_refuses_nothing() {
    let sink = MemorySink::new();
    let reason = "endpoint answered 401".to_owned();
    sink.plan([
        Answer::TooLarge,
        Answer::Accepted,
        Answer::Fatal {
            reason: reason.clone(),
        },
    ]);
    let delivered = deliver(&sink, &body(&numbered(4)), HOUR).await;
    assert_eq!(delivered.accepted, Ranges::from(0..2));
    assert_eq!(delivered.refused, []);
    assert_eq!(delivered.unfinished, Some(Unfinished::Fatal { reason }));
    assert_eq!(sink.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_outlasted_within_the_deadline_and_not_by_counting_tries() {
    let sink = MemorySink::new();
    sink.plan((0..100).map(|_| unavailable()));
    let delivered = deliver(&sink, &body(&numbered(3)), HOUR).await;
    assert_eq!(delivered.accepted, Ranges::from(0..3));
    assert_eq!((delivered.requests, delivered.ambiguous), (101, 0));
    assert_eq!(sink.accepted(), numbered(3));
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_deadline_hands_back_what_is_left() {
    let sink = MemorySink::judging(|_| unavailable());
    sink.plan([Answer::TooLarge, Answer::Accepted]);
    let began = Instant::now();
    let delivered = deliver(&sink, &body(&numbered(4)), 2 * REQUEST_TIME_MIN).await;
    assert!(began.elapsed() <= 2 * REQUEST_TIME_MIN);
    assert_eq!(delivered.accepted, Ranges::from(0..2));
    let reason = Some(RetryReason::Status(503));
    let after = None;
    assert_eq!(
        delivered.unfinished,
        Some(Unfinished::Retry { reason, after })
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_or_handed_on() {
    let after = Some(Duration::from_secs(90));
    let reason = RetryReason::Status(429);
    let busy = || Answer::Retry {
        reason: reason.clone(),
        after,
    };
    let sink = MemorySink::new();
    sink.plan([busy()]);
    let began = Instant::now();
    let delivered = deliver(&sink, &body(&numbered(1)), HOUR).await;
    assert_eq!(delivered.unfinished, None);
    assert!(began.elapsed() >= Duration::from_secs(90));

    sink.plan([busy()]);
    let began = Instant::now();
    let delivered = deliver(&sink, &body(&numbered(1)), Duration::from_secs(60)).await;
    let reason = Some(reason);
    assert_eq!(
        delivered.unfinished,
        Some(Unfinished::Retry { reason, after })
    );
    assert!(began.elapsed() < Duration::from_secs(1), "it waits in vain");
}

#[tokio::test(start_paused = true)]
async fn no_request_begins_that_has_no_time_to_be_answered() {
    let sink = MemorySink::new();
    let delivered = deliver(&sink, &body(&numbered(1)), REQUEST_TIME_MIN / 2).await;
    let (reason, after) = (None, None);
    assert_eq!(
        delivered.unfinished,
        Some(Unfinished::Retry { reason, after })
    );
    assert_eq!(sink.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_costs_one_time_out_for_each_request() {
    let sink = MemorySink::judging(|_| Reply::from(Answer::Accepted).after(HOUR));
    let began = Instant::now();
    let delivered = deliver(&sink, &body(&numbered(1)), Duration::from_secs(100)).await;
    assert!(began.elapsed() <= Duration::from_secs(100));
    assert!((3..=5).contains(&delivered.requests));
    assert_eq!(delivered.ambiguous, delivered.requests);
    assert_eq!(delivered.accepted, Ranges::new());
}

#[tokio::test(start_paused = true)]
async fn only_a_lost_answer_sends_records_twice() {
    let sink = MemorySink::new();
    sink.plan([
        unavailable().into(),
        retry(RetryReason::Unreachable("refused".into())).into(),
        Reply::lost(Answer::Accepted),
    ]);
    let delivered = deliver(&sink, &body(&numbered(2)), HOUR).await;
    assert_eq!((delivered.requests, delivered.ambiguous), (4, 1));
    assert_eq!(sink.accepted(), [numbered(2), numbered(2)].concat());
}

proptest! {
    #[test]
    fn bisecting_finds_exactly_the_poison_and_delivers_the_rest_once(
        records in prop::collection::vec((any::<bool>(), 0_usize..30), 0..60),
        few in any::<bool>(),
        body_bytes_max in 8_usize..400,
    ) {
        // `few` leaves one poisoned record in eight; without it half of them are.
        let poisoned = |n: usize, poison: bool| poison && (!few || n.is_multiple_of(8));
        let records: Vec<(bool, Vec<u8>)> = records
            .into_iter()
            .enumerate()
            .map(|(n, (poison, padding))| {
                let poison = poisoned(n, poison);
                let mark = if poison { "poison" } else { "good" };
                (poison, format!("{n}{mark}{}", "x".repeat(padding)).into_bytes())
            })
            .collect();
        let sink = MemorySink::judging(move |records| {
            if records.iter().map(|record| record.len() + 1).sum::<usize>() > body_bytes_max {
                Answer::TooLarge
            } else if records.iter().any(|record| memchr::memmem::find(record, b"poison").is_some()) {
                refused()
            } else {
                Answer::Accepted
            }
        });
        let given: Vec<Vec<u8>> = records.iter().map(|(_, record)| record.clone()).collect();
        let delivered = run(deliver(&sink, &body(&given), HOUR));

        let mut good = Vec::new();
        let mut bad = Vec::new();
        for (ordinal, (poison, record)) in (0..).zip(&records) {
            if record.len() + 1 > body_bytes_max {
                bad.push((ordinal, RefusalReason::Oversized));
            } else if *poison {
                bad.push((ordinal, RefusalReason::Refused));
            } else {
                good.push((ordinal, record.clone()));
            }
        }
        prop_assert_eq!(delivered.unfinished, None);
        prop_assert_eq!(delivered.refused, bad);
        prop_assert_eq!(delivered.accepted, good.iter().map(|(ordinal, _)| *ordinal).collect());
        let good: Vec<Vec<u8>> = good.into_iter().map(|(_, record)| record).collect();
        prop_assert_eq!(delivered.plain_bytes, body(&good).plain_bytes);
        prop_assert_eq!(sink.accepted(), good);
    }

    #[test]
    fn whatever_the_endpoint_does_every_record_is_accounted_for(
        records in 0_u64..40,
        script in prop::collection::vec((0_u8..9, any::<u64>()), 0..40),
        seconds in 0_u64..600,
    ) {
        let given = numbered(records);
        let script = Mutex::new(script.into_iter());
        let sink = MemorySink::judging(move |records| {
            let next = script.lock().expect("no test panics here").next();
            reply(next, records.len() as u64)
        });
        let body = body(&given);
        let delivered = run(deliver(&sink, &body, Duration::from_secs(seconds)));

        let mut sent: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for record in sink.accepted() {
            *sent.entry(record).or_default() += 1;
        }
        let times = |ordinal: u64| sent.get(ordinal.to_string().as_bytes()).copied().unwrap_or(0);
        for ordinal in delivered.accepted.iter().cloned().flatten() {
            prop_assert!((1..=1 + delivered.ambiguous).contains(&times(ordinal)));
        }
        if delivered.ambiguous == 0 {
            let total = sent.values().sum::<u64>();
            prop_assert_eq!(total, delivered.records_accepted());
            prop_assert!(sent.values().all(|times| *times == 1));
        }
        let refused: BTreeSet<u64> = delivered.refused.iter().map(|(ordinal, _)| *ordinal).collect();
        let unidentified = delivered.unidentified.clone().unwrap_or_default();
        for ordinal in 0..records {
            let places = [
                delivered.accepted.contains(ordinal),
                refused.contains(&ordinal),
                unidentified.candidates.contains(ordinal),
            ];
            let places = places.iter().filter(|is_there| **is_there).count();
            prop_assert!(places <= 1);
            prop_assert!(places == 1 || delivered.unfinished.is_some());
        }
        prop_assert_eq!(sink.requests(), delivered.requests);
    }
}

/// Any of the things an endpoint may do, chosen by a number; accepts when the script has ended.
fn reply(step: Option<(u8, u64)>, records: u64) -> Reply {
    let Some((kind, chosen)) = step else {
        return Answer::Accepted.into();
    };
    let place = chosen % records.max(1);
    match kind {
        0 => unavailable().into(),
        1 => Reply::lost(Answer::Accepted),
        2 => Reply::lost(unavailable()),
        3 => Reply::from(Answer::Accepted).after(Duration::from_secs(chosen % 60)),
        4 => Answer::TooLarge.into(),
        5 => refused().into(),
        6 => {
            let refused = vec![(place, RefusalReason::Malformed)];
            Answer::Partial(Refusals::Identified(refused)).into()
        }
        7 => Answer::Partial(Refusals::Unidentified { count: place + 1 }).into(),
        _ => Answer::Retry {
            reason: RetryReason::Status(429),
            after: Some(backoff::RETRY_AFTER_MAX.min(Duration::from_secs(chosen % 100))),
        }
        .into(),
    }
}
