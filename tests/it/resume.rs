//! Going on from a checkpoint without what comes before: what is delivered, what is read again, and what becomes of
//! damage, to the object or to the ledger.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bucket_brigade::assemble::{Assembler, Limits};
use bucket_brigade::batch::Batch;
use bucket_brigade::body::Body;
use bucket_brigade::checkpoint::{Account, Checkpoint, Position, Window};
use bucket_brigade::clock::Clock as _;
use bucket_brigade::decode::{DecodeError, Decoder};
use bucket_brigade::failure::FailureKind;
use bucket_brigade::ledger::{Claim, Ledger as _, Owner, Release};
use bucket_brigade::object::WorkItem;
use bucket_brigade::pipeline::{Ingested, Pipeline, Ports};
use bucket_brigade::restore::{Inside, RestorePoint, SavedPoint};
use bucket_brigade::sink::memory::{MemorySink, Reply};
use bucket_brigade::sink::{Answer, RetryReason, Sink};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::both_ways::{assemble, plain_of};
use crate::cloudflare::Records;
use crate::pass_through::{case, layout, log};
use crate::world::{World, gzip, lines, records};

/// The plain bytes of an object up to `most` of them or its damage, and perhaps some more.
fn decoded(object: &[u8], most: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(1 << 20);
    let mut plain = Vec::new();
    let mut rest = object;
    while plain.len() < most {
        plain.reserve(1 << 20);
        let before = plain.len();
        let Ok(step) = decoder.push(rest, &mut plain) else {
            break;
        };
        rest = &rest[step.taken..];
        if step.taken == 0 && plain.len() == before && !step.is_block_end {
            break;
        }
    }
    plain
}

/// What there is to say of an error wherever the reading began: how near the damage is to what was taken last
/// depends on that.
fn reason(error: &DecodeError) -> String {
    match error {
        DecodeError::Corrupt { reason, .. } => (*reason).to_owned(),
        DecodeError::Truncated { .. }
        | DecodeError::Malformed { .. }
        | DecodeError::Unsupported { .. }
        | DecodeError::ExpandsTooFar { .. } => error.to_string(),
    }
}

/// The checkpoint of a worker that was stopped once these batches were launched, and some answered.
fn stopped_at(batches: &[Batch], answered: &[bool], apart_bytes: u64) -> Checkpoint {
    let mut window = Window::new(Checkpoint::default());
    for (batch, is_answered) in batches.iter().zip(answered.iter().cycle()) {
        window.launch(batch.end);
        if let Some(point) = batch.restore.clone() {
            window.offer(point);
        }
        if *is_answered {
            let account = Account {
                records_read: batch.sent.count(),
                ..Account::default()
            };
            window.answer(&batch.sent, &account);
            window.take_restore_point(apart_bytes);
        }
    }
    window.take_restore_point(1);
    window.checkpoint().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whoever goes on from a restore point gives batches of the same records as reading from the start does, and
    /// finds the same damage behind it.
    #[test]
    fn from_a_restore_point_the_records_are_those_of_reading_from_the_start(
        log in log(1..400_000),
        layout in layout(),
        case in case(),
        is_plain in prop::bool::weighted(0.15),
        apart_bytes in prop_oneof![Just(1_u64), 1_000_u64..100_000],
        until in any::<Index>(),
        answered in prop::collection::vec(prop::bool::weighted(0.8), 1..20),
        damage in prop::option::of((any::<Index>(), prop::option::of(0_u8..8))),
    ) {
        let plain = log.plain();
        prop_assume!(!plain.starts_with(b"\x1f\x8b"));
        let mut object = if is_plain { plain.clone() } else { layout.object(&plain) };
        let limits = Limits {
            batch_bytes_max: case.batch_bytes_max,
            record_bytes_max: case.record_bytes_max,
            level: case.level,
            pass_through: true,
        };
        let noting = |assembler: Assembler| assembler.noting_places(apart_bytes);
        let first = Assembler::new(limits, case.shape.clone(), &Checkpoint::default());
        let (batches, end) = assemble(noting(first), &object, case.step);
        let end = end.expect("a whole object");
        for batch in &batches {
            prop_assert!(batch.restore.iter().all(|point| point.plain_offset <= batch.end.offset));
        }

        let launched = &batches[..until.index(batches.len() + 1)];
        let checkpoint = stopped_at(launched, &answered, apart_bytes * 8);
        let position = checkpoint.position.offset;
        let Some(saved) = &checkpoint.restore else {
            return Ok(());
        };
        let point = saved.open(object.len() as u64, position).expect("what was just saved");
        let start = point.input_offset as usize;
        if let Some((at, flip)) = damage && start + 1 < object.len() {
            let at = start + 1 + at.index(object.len() - start - 1);
            match flip {
                Some(bit) => object[at] ^= 1 << bit,
                None => object.truncate(at),
            }
        }
        let whole = Assembler::new(limits, case.shape.clone(), &checkpoint);
        let (from_start, start_end) = assemble(whole, &object, case.step);
        let again = Assembler::restored(limits, case.shape.clone(), &checkpoint, &point);
        let (again, again_end) = assemble(noting(again), &object[start..], case.step);
        let covered = &plain[..position as usize];
        if !decoded(&object, covered.len()).starts_with(covered) {
            // One passes over what was sent by its offset, the other by the number of its records, and damage
            // there may have made them differ.
            let found = |end: Result<Position, DecodeError>| end.map(drop).map_err(|error| reason(&error));
            prop_assert_eq!(found(again_end), found(start_end));
            return Ok(());
        }
        prop_assert_eq!(
            again_end.clone().map_err(|error| reason(&error)),
            start_end.map_err(|error| reason(&error))
        );
        if damage.is_none() {
            prop_assert_eq!(again_end, Ok(end));
        }
        prop_assert_eq!(again.len(), from_start.len());
        for (again, from_start) in again.into_iter().zip(from_start) {
            prop_assert!(again.restore.iter().all(|next| next.plain_offset > point.plain_offset));
            let (again_plain, plain) = (plain_of(&again.body), from_start.body.plain());
            prop_assert!(again_plain == plain, "from {:?}", point);
            // A block may be copied where it was not, so the bytes of the bodies may differ.
            let bare = |batch: Batch| Batch {
                body: Body::concat([]),
                restore: None,
                ..batch
            };
            prop_assert!(bare(again) == bare(from_start), "from {:?}", point);
        }
    }
}

/// Members of blocks that are flushed every so many records.
fn blocks_and_members(records: &[Vec<u8>], block: usize, member: usize) -> Vec<u8> {
    let encode = |records: &[Vec<u8>]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        for block in records.chunks(block) {
            gzip.write_all(&lines(block))
                .expect("memory takes every byte");
            gzip.flush().expect("memory takes every byte");
        }
        gzip.finish().expect("memory takes every byte")
    };
    records.chunks(member).flat_map(encode).collect()
}

/// How the object of a test lies in its bucket.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    OneBlock,
    Blocks,
    Members,
}

impl Kind {
    fn object(self, records: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Kind::Plain => lines(records),
            Kind::OneBlock => gzip(&lines(records)),
            Kind::Blocks => blocks_and_members(records, 7, usize::MAX),
            Kind::Members => blocks_and_members(records, usize::MAX, 11),
        }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Plain,
        Kind::OneBlock,
        Kind::Blocks,
        Kind::Members,
    ])
}

fn outage() -> Answer {
    Answer::Retry {
        reason: RetryReason::Status(503),
        after: None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// What an undisturbed run answers for.
async fn undisturbed(object: &[u8]) -> Account {
    let world = World::new();
    let item = world.put("logs/a", object);
    match world.ingest(&item).await {
        Ingested::Settled { account } => account,
        other => panic!("not settled: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// Workers that are killed or stop cleanly at any moment, one after the other: every record arrives, what is
    /// doubled was in flight at a kill, and the account is that of an undisturbed run.
    #[test]
    fn after_any_stops_the_records_and_the_account_are_those_of_an_undisturbed_run(
        kind in kind(),
        stops_ms in prop::collection::vec((1_u64..5_000, any::<bool>()), 1..6),
        interval_bytes in prop::sample::select(vec![1_u64, 500, 5_000, 1 << 40]),
    ) {
        runtime().block_on(async {
            let mut world = World::with_sink(MemorySink::judging(|_: &[&[u8]]| {
                Reply::from(Answer::Accepted)
                    .after(Duration::from_millis(crate::world::random() >> 54))
            }));
            world.bounds.restore_interval_bytes = interval_bytes;
            world.bounds.attempts_max = 100;
            let records = records(600);
            let object = kind.object(&records);
            let item = world.put("logs/a", object.clone());
            let mut kills = 0;
            for (after_ms, is_kill) in &stops_ms {
                let stop = Duration::from_millis(*after_ms);
                if *is_kill {
                    kills += 1;
                    let _ = tokio::time::timeout(stop, world.ingest(&item)).await;
                    tokio::time::sleep(world.bounds.lease).await;
                } else {
                    let pipeline = world.pipeline();
                    let stopping = async {
                        tokio::time::sleep(stop).await;
                        pipeline.stop();
                    };
                    let deadline = world.deadline(60);
                    tokio::join!(pipeline.ingest(&item, "test", deadline), stopping);
                }
            }
            let outcome = world.ingest(&item).await;
            match &outcome {
                Ingested::Settled { account } => {
                    let expected = undisturbed(&object).await;
                    prop_assert_eq!(account.records_read, expected.records_read);
                    prop_assert_eq!(account.records_delivered, expected.records_delivered);
                    prop_assert_eq!(account.records_quarantined, 0);
                }
                Ingested::Skipped { failure } => {
                    prop_assert_eq!(failure.kind, FailureKind::AlreadySettled);
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let (missing, extra) = world.missing_and_extra(&records);
            prop_assert_eq!(missing, 0);
            let batch_records = 1_000 / records[0].len() + 1;
            let bound = kills * world.bounds.requests_in_flight_max * batch_records;
            prop_assert!(extra <= bound, "{} doubled, at most {}", extra, bound);
            Ok(())
        })?;
    }
}

/// A world whose endpoint is away once it took so many requests, and how to say anew how many.
fn world_of_requests() -> (World, Arc<AtomicU64>) {
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let taken = Arc::clone(&left);
    let sink = MemorySink::judging(move |_: &[&[u8]]| {
        let one_less = |left: u64| left.checked_sub(1);
        match taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Answer::Accepted,
            Err(_) => outage(),
        }
    });
    (World::with_sink(sink), left)
}

/// An object of which the endpoint took the first requests and then nothing, so that the row says how to go on.
async fn begun(object: Vec<u8>, requests: u64, interval_bytes: u64) -> (World, WorkItem) {
    let (mut world, left) = world_of_requests();
    world.bounds.restore_interval_bytes = interval_bytes;
    // What looks small and is not would be read from its place twice.
    world.bounds.small_objects_per_turn = 1;
    let item = world.put("logs/a", object);
    left.store(requests, Ordering::Relaxed);
    let outcome = world.ingest(&item).await;
    assert!(
        matches!(outcome, Ingested::Returned { progress: true, .. }),
        "{outcome:?}"
    );
    left.store(u64::MAX, Ordering::Relaxed);
    (world, item)
}

/// Takes the lease, changes the checkpoint, and gives the lease back.
async fn tamper(world: &World, item: &WorkItem, change: impl FnOnce(&mut Checkpoint)) {
    let content = item.content().expect("complete");
    let owner = Owner::new("tamper", 1);
    let now = world.clock.now();
    let claimed = world
        .ledger
        .claim(&content, &owner, now, world.bounds.lease);
    let Claim::Granted(grant) = claimed.await.expect("the memory ledger") else {
        panic!("not granted");
    };
    let mut checkpoint = grant.checkpoint;
    change(&mut checkpoint);
    let release = Release {
        queued_until: now,
        blames_object: false,
        reason: "test".to_owned(),
    };
    let released = world
        .ledger
        .release(&grant.lease, &checkpoint, &release, now);
    released.await.expect("the memory ledger");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_hardly_read_again_whatever_the_object_is() {
    for kind in [Kind::Plain, Kind::Blocks, Kind::Members] {
        let records = records(4_000);
        let object = kind.object(&records);
        let size = object.len() as u64;
        let batches = lines(&records).len() as u64 / 1_000;
        let (world, item) = begun(object, batches * 9 / 10, 8_000).await;
        let before = world.store.bytes_read();
        let outcome = world.ingest(&item).await;
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
        let again = world.store.bytes_read() - before;
        assert!(again * 100 <= size * 15, "{kind:?}: {again} of {size}");
        assert_eq!(world.missing_and_extra(&records), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_of_one_block_is_read_again_from_its_start() {
    let (first, second) = (records(2_000), records(4_000).split_off(2_000));
    let block = |records: &[Vec<u8>]| {
        let parts = lines(records);
        crate::deflater::member(&[(crate::deflater::Kind::Near, &parts)])
    };
    let (one, two) = (block(&first), block(&second));
    let both = [one.clone(), two.clone()].concat();
    let all = [first, second].concat();
    let batches = lines(&all).len() as u64 / 1_000;
    let (world, item) = begun(both, batches * 3 / 4, 8_000).await;
    let before = world.store.bytes_read();
    let outcome = world.ingest(&item).await;
    assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
    assert_eq!(world.store.bytes_read() - before, two.len() as u64);
    assert_eq!(world.missing_and_extra(&all), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_restore_point_costs_reading_from_the_start_and_nothing_else() {
    let elsewhere = SavedPoint::from(&RestorePoint::plain(5));
    let too_far = SavedPoint::from(&RestorePoint {
        input_offset: 1,
        plain_offset: 1 << 40,
        inside: Inside::Members,
    });
    type Damage = Box<dyn Fn(String) -> String>;
    let damages: [Damage; 6] = [
        Box::new(|text| text[..text.len() / 2].to_owned()),
        Box::new(|text| text.replacen('A', "B", 1)),
        Box::new(|text| text + "AAAA"),
        Box::new(|_| "not base64!".to_owned()),
        Box::new(|_| String::new()),
        Box::new(move |_| String::from(too_far.clone())),
    ];
    for damage in damages {
        let records = records(2_000);
        let object = Kind::Blocks.object(&records);
        let size = object.len() as u64;
        let (world, item) = begun(object, 50, 8_000).await;
        tamper(&world, &item, |checkpoint| {
            let saved = checkpoint
                .restore
                .take()
                .expect("a clean stop says where to go on");
            checkpoint.restore = Some(SavedPoint::from(damage(String::from(saved))));
        })
        .await;
        let before = world.store.bytes_read();
        let outcome = world.ingest(&item).await;
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
        assert_eq!(world.store.bytes_read() - before, size);
        assert_eq!(world.missing_and_extra(&records), (0, 0));
    }
    // What is whole but of another object is an error with a verdict, or sends nothing that is not due: here it
    // takes gzip for lines.
    let (world, item) = begun(Kind::Blocks.object(&records(2_000)), 50, 8_000).await;
    tamper(&world, &item, |checkpoint| {
        checkpoint.restore = Some(elsewhere)
    })
    .await;
    let outcome = world.ingest(&item).await;
    let Ingested::Returned { failure, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(failure.kind, FailureKind::AccountMismatch);
}

#[tokio::test(start_paused = true)]
async fn a_row_without_a_restore_point_is_gone_on_with_from_the_start() {
    let records = records(500);
    let (world, item) = begun(Kind::Blocks.object(&records), 10, 8_000).await;
    tamper(&world, &item, |checkpoint| checkpoint.restore = None).await;
    let outcome = world.ingest(&item).await;
    assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
    assert_eq!(world.missing_and_extra(&records), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn damage_behind_a_restore_point_ends_as_it_does_without_one() {
    let mut delivered = HashMap::new();
    // Some byte of the data, and one each of CRC-32 and length.
    for (from_end, undisturbed) in [(40, true), (40, false), (8, true), (8, false), (4, false)] {
        let mut object = Kind::Blocks.object(&records(2_000));
        let at = object.len() - from_end;
        object[at] ^= 0x10;
        let (world, item) = if undisturbed {
            let world = World::new();
            let item = world.put("logs/a", object);
            (world, item)
        } else {
            begun(object, 50, 8_000).await
        };
        let before = world.store.bytes_read();
        let outcome = world.ingest(&item).await;
        let Ingested::Quarantined {
            failure, account, ..
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(failure.kind, FailureKind::Corrupt);
        assert!(account.holds());
        assert!((1_900..=2_000).contains(&account.records_delivered));
        let of_the_place = delivered
            .entry(from_end)
            .or_insert(account.records_delivered);
        assert_eq!(account.records_delivered, *of_the_place);
        let again = world.store.bytes_read() - before;
        assert!(undisturbed || again < item.size.expect("known") / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_smaller_than_the_interval_costs_no_window_in_the_ledger() {
    let object = Kind::Blocks.object(&records(2_000));
    let (world, item) = begun(object, 50, 1 << 30).await;
    tamper(&world, &item, |checkpoint| {
        assert_eq!(checkpoint.restore, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_an_object_that_is_gone_nothing_stays_in_the_ledger() {
    let (world, item) = begun(Kind::Blocks.object(&records(2_000)), 50, 8_000).await;
    tamper(&world, &item, |checkpoint| {
        assert!(checkpoint.restore.is_some());
    })
    .await;
    world.store.remove(crate::world::BUCKET, "logs/a");
    let outcome = world.ingest(&item).await;
    assert!(matches!(outcome, Ingested::Skipped { .. }), "{outcome:?}");
    tamper(&world, &item, |checkpoint| {
        assert_eq!(checkpoint.restore, None);
    })
    .await;
}

/// Takes what fits into the first so many plain bytes, then nothing. It keeps the number of records and a sum over
/// them that does not depend on their order.
struct Limited {
    plain_bytes_left: AtomicU64,
    /// Whether it then says so, or does not answer any more.
    answers: bool,
    records: AtomicU64,
    sum: AtomicU64,
}

fn sum_of(record: &[u8]) -> u64 {
    let crc = u64::from(crate::both_ways::crc32(
        &record[record.len().saturating_sub(60)..],
    ));
    crc.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ record.len() as u64
}

impl Limited {
    fn new(plain_bytes: u64, answers: bool) -> Self {
        Self {
            plain_bytes_left: AtomicU64::new(plain_bytes),
            answers,
            records: AtomicU64::default(),
            sum: AtomicU64::default(),
        }
    }
}

impl Sink for Limited {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        let left = self.plain_bytes_left.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(body.plain_bytes) else {
            if !self.answers {
                tokio::time::sleep(timeout).await;
            }
            return outage();
        };
        self.plain_bytes_left.store(left, Ordering::Relaxed);
        for record in Body::records_of(&body.plain()) {
            self.records.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(sum_of(record), Ordering::Relaxed);
        }
        Answer::Accepted
    }
}

/// An object of so many plain bytes, the number of its records, and their sum.
fn large(plain_bytes: u64) -> (Vec<u8>, u64, u64) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(4));
    let (mut written, mut sum, mut records, mut line) =
        (0, 0_u64, Records::default(), String::new());
    while written < plain_bytes {
        records.next(&mut line);
        gzip.write_all(line.as_bytes())
            .expect("memory takes every byte");
        written += line.len() as u64;
        sum = sum.wrapping_add(sum_of(line.trim_end().as_bytes()));
    }
    let object = gzip.finish().expect("memory takes every byte");
    (object, records.count, sum)
}

/// How large the object is: 1 GiB in `make resume`.
#[expect(
    clippy::disallowed_methods,
    reason = "the size of a test is a matter of its run"
)]
fn plain_bytes() -> u64 {
    let given = std::env::var("BRIGADE_TEST_PLAIN_BYTES").ok();
    given.map_or(32 << 20, |bytes| bytes.parse().expect("a number of bytes"))
}

/// With `BRIGADE_TEST_PLAIN_BYTES=1073741824` limits and intervals are the defaults: `make resume`.
#[tokio::test(start_paused = true)]
async fn resuming_at_nine_tenths_reads_no_more_than_15_percent() {
    let plain_bytes = plain_bytes();
    let (object, count, sum) = large(plain_bytes);
    let size = object.len() as u64;
    println!("{plain_bytes} plain bytes, {size} compressed, {count} records");
    let object = bytes::Bytes::from(object);
    // A kill leaves what is durable: the last interval is missing, a sixteenth, and half of ten batches of a 128th, for
    // which no checkpoint was due.
    for (stop, answers, percent_max) in [("a clean stop", true, 15.0), ("a kill", false, 22.0)] {
        let mut world = World::new();
        world.bounds.limits.batch_bytes_max = (plain_bytes >> 7) as usize;
        world.bounds.limits.record_bytes_max = (plain_bytes >> 10) as usize;
        world.bounds.part_bytes = plain_bytes >> 8;
        world.bounds.requests_in_flight_max = 10;
        world.bounds.restore_interval_bytes = plain_bytes >> 4;
        let item = world.store.put(
            "example-logs",
            "logs/a.gz",
            object.clone(),
            crate::world::START,
        );
        let item = WorkItem::from(item);
        let pipeline = |sink| {
            let ports = Ports {
                store: world.store.clone(),
                sink,
                ledger: world.ledger.clone(),
                quarantine: world.quarantine.clone(),
                clock: world.clock,
                random: crate::world::random,
            };
            Pipeline::new(ports, world.bounds.clone())
        };
        let first = pipeline(Limited::new(plain_bytes / 10 * 9, answers));
        let work = first.ingest(&item, "test", world.deadline(60));
        // Less than a third of a lease: what a kill leaves is what batches made durable.
        let killed_after = Duration::from_secs(if answers { 1_000 } else { 1 });
        let _ = tokio::time::timeout(killed_after, work).await;
        tokio::time::sleep(world.bounds.lease * 2).await;
        let sent = first.ports().sink.records.load(Ordering::Relaxed);
        assert!(
            sent * 100 > count * 85 && sent * 100 < count * 91,
            "{sent} of {count}"
        );

        let before = world.store.bytes_read();
        let second = pipeline(Limited::new(u64::MAX, true));
        let outcome = second.ingest(&item, "test", world.deadline(600)).await;
        let Ingested::Settled { account } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            (account.records_read, account.records_delivered),
            (count, count)
        );
        let sink = |of: fn(&Limited) -> &AtomicU64| {
            [&first, &second].map(|each| of(&each.ports().sink).load(Ordering::Relaxed))
        };
        let doubled = sink(|sink| &sink.records).iter().sum::<u64>() - count;
        if answers {
            let [one, two] = sink(|sink| &sink.sum);
            assert_eq!((doubled, one.wrapping_add(two)), (0, sum));
        } else {
            let batch_records = (plain_bytes >> 7) / 400;
            assert!(doubled <= 10 * batch_records, "{doubled} records doubled");
        }
        let again = world.store.bytes_read() - before;
        let percent = again as f64 * 100.0 / size as f64;
        println!(
            "resumed after {stop} at {:.1} %: {again} of {size} compressed bytes read, {percent:.1} %, \
             {doubled} records sent twice",
            sent as f64 * 100.0 / count as f64
        );
        assert!(percent <= percent_max, "{percent} % after {stop}");
    }
}
