//! What the pipeline holds in memory, counted by the allocator, against what the settings promise.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::body::Body;
use bucket_brigade::config::{InFlight, Sizes};
use bucket_brigade::failure::FailureKind;
use bucket_brigade::object::WorkItem;
use bucket_brigade::pipeline::{Ingested, Pipeline, Ports};
use bucket_brigade::quarantine::{Quarantine, QuarantineError};
use bucket_brigade::sink::{Answer, RefusalReason, Refusals, Sink};

use crate::world::{World, carry_together, gzip};

/// The system's allocator, which counts for each thread what it holds and the most that it held.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // An error says that the thread ends.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
#[expect(unsafe_code, reason = "an allocator cannot be had otherwise")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// How much more this thread holds at most than it does now, while `work` goes on.
async fn most_held<T>(work: impl Future<Output = T>) -> (T, u64) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let done = work.await;
    let (_, most) = HELD.get();
    (done, u64::try_from(most - before).unwrap_or_default())
}

/// Lines of bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = crate::world::random() | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise.truncate(bytes);
    for (at, byte) in noise.iter_mut().enumerate() {
        *byte = match at % 1_000 {
            999 => b'\n',
            _ if *byte == b'\n' => b' ',
            _ => *byte,
        };
    }
    noise
}

/// How the endpoint takes what it is sent. It takes 50 ms for it, and keeps nothing.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Everything,
    /// Nothing above a quarter of a batch.
    SmallBodies,
    /// All but one record in ten.
    NineOfTen,
    /// Nothing that holds a certain record.
    AllButOne,
}

struct Forgetful(Takes);

const SIZES: Sizes = Sizes {
    part_bytes: 256 << 10,
    batch_bytes_max: 1 << 20,
    record_bytes_max: 64 << 10,
};

impl Sink for Forgetful {
    async fn deliver(&self, body: &Body, _: Duration) -> Answer {
        tokio::time::sleep(Duration::from_millis(50)).await;
        match self.0 {
            Takes::SmallBodies if body.plain_bytes > SIZES.batch_bytes_max / 4 => Answer::TooLarge,
            Takes::AllButOne if body.records > 1 && body.records.is_multiple_of(7) => {
                Answer::Refused {
                    reason: "400".into(),
                }
            }
            Takes::NineOfTen => {
                let tenth = (0..body.records).filter(|ordinal| ordinal % 10 == 0);
                let refused = tenth.map(|ordinal| (ordinal, RefusalReason::Malformed));
                Answer::Partial(Refusals::Identified(refused.collect()))
            }
            Takes::Everything | Takes::SmallBodies | Takes::AllButOne => Answer::Accepted,
        }
    }
}

/// Takes its time, and keeps nothing.
struct Nowhere;

impl Quarantine for Nowhere {
    async fn keep(&self, name: &str, _: bytes::Bytes) -> Result<String, QuarantineError> {
        tokio::time::sleep(Duration::from_millis(70)).await;
        Ok(name.to_owned())
    }
}

/// A world that keeps to these settings.
fn world(sizes: Sizes, in_flight: InFlight) -> World {
    let mut world = World::new();
    world.bounds.plan.shape.json_only = false;
    world.bounds.part_bytes = sizes.part_bytes;
    world.bounds.limits.batch_bytes_max = sizes.batch_bytes_max as usize;
    world.bounds.limits.record_bytes_max = sizes.record_bytes_max as usize;
    world.bounds.objects_in_flight_max = in_flight.objects_max;
    world.bounds.small_objects_per_turn = in_flight.small_objects_per_turn;
    world.bounds.requests_in_flight_max = in_flight.requests_max;
    world.bounds.body_bytes_in_flight_max = in_flight.body_bytes_max;
    world
}

/// The most that is held while objects of these sizes are carried side by side.
async fn most_held_of(plain_bytes: &[usize], in_flight: InFlight, takes: Takes) -> u64 {
    let objects: Vec<Vec<u8>> = plain_bytes.iter().map(|bytes| noise(*bytes)).collect();
    most_held_by(&world(SIZES, in_flight), &objects, takes).await
}

/// The most that is held while objects are carried side by side, of which these are the plain bytes.
async fn most_held_by(world: &World, objects: &[Vec<u8>], takes: Takes) -> u64 {
    let items: Vec<WorkItem> = objects
        .iter()
        .enumerate()
        .map(|(n, plain)| world.put(&format!("logs/{n:03}.gz"), gzip(plain)))
        .collect();
    let ports = Ports {
        store: Arc::clone(&world.store),
        sink: Forgetful(takes),
        ledger: Arc::clone(&world.ledger),
        quarantine: Nowhere,
        clock: world.clock,
        random: crate::world::random,
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    let deadline = world.deadline(100_000);
    let (ended, most) = most_held(carry_together(&pipeline, &items, deadline)).await;
    for (outcome, _) in ended {
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
    }
    most
}

const MIB: usize = 1 << 20;

/// Objects that do not compress, large and small, and an endpoint that makes the worst of them.
#[tokio::test(start_paused = true)]
async fn what_is_held_follows_from_the_settings_whatever_objects_and_endpoint_do() {
    let in_flight = InFlight {
        objects_max: 3,
        small_objects_per_turn: 1,
        requests_max: 4,
        body_bytes_max: 4 * MIB as u32,
    };
    let bound = SIZES.working_bytes_max(&in_flight);
    let objects = [&[8 * MIB; 6][..], &[100_000; 30]].concat();
    for takes in [
        Takes::Everything,
        Takes::SmallBodies,
        Takes::NineOfTen,
        Takes::AllButOne,
    ] {
        let most = most_held_of(&objects, in_flight, takes).await;
        println!("{takes:?}: {most} bytes held, at most {bound}");
        assert!(
            most <= bound,
            "{takes:?}: {most} bytes held, at most {bound}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_larger_object_takes_no_more_memory() {
    let in_flight = InFlight {
        objects_max: 1,
        small_objects_per_turn: 1,
        requests_max: 4,
        body_bytes_max: 4 * MIB as u32,
    };
    let bound = SIZES.working_bytes_max(&in_flight);
    let object = 32 * MIB;
    let held = most_held_of(&[object], in_flight, Takes::Everything).await;
    println!("{object} bytes: {held} held, at most {bound}");
    assert!(
        held <= bound && bound < object as u64,
        "{held} bytes held, at most {bound}"
    );
}

/// Small objects of every kind: that do not compress, that inflate to a hundred times as much, of records
/// of two bytes, of one long record; as they are, and with a field added to every record.
#[tokio::test(start_paused = true)]
async fn small_objects_side_by_side_take_no_more_than_large_ones() {
    let sizes = Sizes {
        part_bytes: 4 << 20,
        batch_bytes_max: 8 << 20,
        record_bytes_max: 1 << 20,
    };
    let in_flight = InFlight {
        objects_max: 1,
        small_objects_per_turn: 4,
        requests_max: 4,
        body_bytes_max: 9 * MIB as u32,
    };
    let bound = sizes.working_bytes_max(&in_flight);
    let kinds: [Vec<u8>; 5] = [
        noise(60_000),
        b"{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n".repeat(100_000),
        b"7\n".repeat(MIB / 2 - 10),
        b"{}\n".repeat(MIB / 3 - 10),
        [b"{\"a\":\"", &vec![b'a'; MIB - 100][..], b"\"}\n"].concat(),
    ];
    for kind in &kinds {
        for add_source_field in [false, true] {
            let mut world = world(sizes, in_flight);
            world.bounds.plan.add_source_field = add_source_field;
            let objects = vec![kind.clone(); 6];
            let most = most_held_by(&world, &objects, Takes::Everything).await;
            println!("{} bytes each: {most} held, at most {bound}", kind.len());
            assert!(
                most <= bound,
                "{} bytes each: {most} held, at most {bound}",
                kind.len()
            );
        }
    }
}

/// A megabyte that inflates to a thousand: stopped, and no more is held of it than of anything else.
#[tokio::test(start_paused = true)]
async fn b4_a_bomb_is_stopped_and_takes_no_more_memory() {
    let in_flight = InFlight {
        objects_max: 1,
        small_objects_per_turn: 4,
        requests_max: 4,
        body_bytes_max: 4 * MIB as u32,
    };
    let bound = SIZES.working_bytes_max(&in_flight);
    for is_one_line in [false, true] {
        let mut world = world(SIZES, in_flight);
        world.bounds.plan.shape.json_only = false;
        world.bounds.expansion_max.ratio = 60;
        let line = match is_one_line {
            true => vec![b'a'; 1 << 16],
            false => b"{\"a\":0}\n".repeat(1 << 13),
        };
        let good = noise(10_000);
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        for _ in 0..2_000 {
            bomb.write_all(&line).expect("memory takes every byte");
        }
        let bomb = bomb.finish().expect("memory takes every byte");
        let ratio = 2_000 * line.len() / bomb.len();
        assert!(ratio > 500, "{ratio}");
        let item = world.put("logs/bomb.gz", [gzip(&good), bomb].concat());
        let ports = Ports {
            store: Arc::clone(&world.store),
            sink: Forgetful(Takes::Everything),
            ledger: Arc::clone(&world.ledger),
            quarantine: Arc::clone(&world.quarantine),
            clock: world.clock,
            random: crate::world::random,
        };
        let pipeline = Pipeline::new(ports, world.bounds.clone());
        let deadline = world.deadline(100_000);
        let (outcome, most) = most_held(pipeline.ingest(&item, "test", deadline)).await;
        let Ingested::Quarantined {
            failure, account, ..
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(failure.kind, FailureKind::ExpandsTooFar);
        assert!(failure.detail.contains("EXPANSION_MAX"), "{failure}");
        assert!(account.holds());
        assert!(account.records_delivered > 0, "{account:?}");
        println!(
            "{} bytes that inflate {ratio} times: {most} held, at most {bound}",
            item.size.unwrap_or(0)
        );
        assert!(most <= bound, "{most} bytes held, at most {bound}");
    }
}
