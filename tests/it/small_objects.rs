//! Small objects are read several at a time in the place of one large.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bucket_brigade::clock::Clock as _;
use bucket_brigade::object::{Etag, ObjectId, WorkItem};
use bucket_brigade::pipeline::{
    Ingested, Pipeline, Ports, SMALL_OBJECT_BYTES, SMALL_OBJECT_PLAIN_BYTES,
};
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::store::{ObjectMeta, Page, Store, StoreError};
use bytes::Bytes;

use crate::world::{START, World, carry_together, gzip, lines, records};

/// Takes 100 ms for each read, and knows how many are under way.
struct Slow {
    store: Arc<MemoryStore>,
    reads: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

const READ_TIME: Duration = Duration::from_millis(100);

impl Store for &Slow {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        self.store.head(object).await
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        tokio::time::sleep(READ_TIME).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.store.read(object, etag, range).await
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page, StoreError> {
        self.store.list(bucket, prefix, after).await
    }
}

/// How objects were read in one round.
struct Seen {
    reads: usize,
    most_under_way: usize,
    took: Duration,
}

/// With one turn to read, or four small objects in its place.
async fn carry(world: &mut World, items: &[WorkItem]) -> Seen {
    world.bounds.objects_in_flight_max = 1;
    world.bounds.small_objects_per_turn = 4;
    world.bounds.part_bytes = 4 << 20;
    let slow: &'static Slow = Box::leak(Box::new(Slow {
        store: Arc::clone(&world.store),
        reads: AtomicUsize::new(0),
        under_way: AtomicUsize::new(0),
        most_under_way: AtomicUsize::new(0),
    }));
    let ports = Ports {
        store: slow,
        sink: Arc::clone(&world.sink),
        ledger: Arc::clone(&world.ledger),
        quarantine: Arc::clone(&world.quarantine),
        clock: world.clock,
        random: crate::world::random,
    };
    let pipeline = Pipeline::new(ports, world.bounds.clone());
    let deadline = world.deadline(1_000);
    for (outcome, _) in carry_together(&pipeline, items, deadline).await {
        assert!(matches!(outcome, Ingested::Settled { .. }), "{outcome:?}");
    }
    Seen {
        reads: slow.reads.load(Ordering::Relaxed),
        most_under_way: slow.most_under_way.load(Ordering::Relaxed),
        took: world.clock.now().since(START),
    }
}

#[tokio::test(start_paused = true)]
async fn small_objects_are_read_side_by_side_in_the_place_of_one() {
    let mut world = World::new();
    world.bounds.limits.batch_bytes_max = 1 << 20;
    let items: Vec<WorkItem> = (0..20)
        .map(|n| world.put(&format!("logs/{n:02}"), lines(&records(30))))
        .collect();
    let seen = carry(&mut world, &items).await;
    assert_eq!((seen.reads, seen.most_under_way), (20, 4));
    assert!(
        seen.took < 6 * READ_TIME + world.bounds.share_linger,
        "{:?}",
        seen.took
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_object_and_one_of_unknown_size_are_read_alone() {
    let mut world = World::new();
    world.bounds.limits.batch_bytes_max = 1 << 20;
    let large = lines(&records(SMALL_OBJECT_BYTES as usize / 8));
    assert!(large.len() as u64 > SMALL_OBJECT_BYTES);
    let unknown = WorkItem {
        size: None,
        ..world.put("logs/unknown", lines(&records(30)))
    };
    let items = [
        unknown,
        world.put("logs/large", large.clone()),
        world.put("logs/small", lines(&records(30))),
        world.put("logs/large too", large),
    ];
    let seen = carry(&mut world, &items).await;
    assert_eq!((seen.reads, seen.most_under_way), (4, 1));
}

/// An object that inflates to more than it looked like gives its place up and begins again with a whole
/// turn; so does one that fills a batch. Nothing of it had left.
#[tokio::test(start_paused = true)]
async fn what_is_larger_than_it_looked_begins_again_and_is_sent_once() {
    let mut world = World::new();
    world.bounds.limits.batch_bytes_max = 8 << 20;
    world.bounds.limits.record_bytes_max = 2_000;
    let all = records(SMALL_OBJECT_PLAIN_BYTES as usize / 8);
    let inflating = gzip(&lines(&all));
    assert!(lines(&all).len() as u64 > SMALL_OBJECT_PLAIN_BYTES);
    let padding = vec![b' '; SMALL_OBJECT_PLAIN_BYTES as usize / 1_000];
    let padded: Vec<Vec<u8>> = (0..2_000)
        .map(|n| [format!("{{\"padded\":{n}").as_bytes(), &padding, b"}"].concat())
        .collect();
    let repeating = gzip(&lines(&padded));
    assert!(
        (repeating.len() as u64) < SMALL_OBJECT_BYTES,
        "{}",
        repeating.len()
    );
    let small = |n| world.put(&format!("logs/small {n}"), lines(&records(1)));
    let mut items: Vec<WorkItem> = (0..6).map(small).collect();
    items.extend((0..6).map(|n| world.put(&format!("logs/repeating {n}"), repeating.clone())));
    items.push(world.put("logs/inflating", inflating));
    let seen = carry(&mut world, &items).await;
    // Each of the six is read twice; the last one is large by its size already.
    assert_eq!((seen.reads, seen.most_under_way), (6 + 2 * 6 + 1, 4));
    let expected: Vec<Vec<u8>> = [records(1), padded, all].concat();
    let (missing, extra) = world.missing_and_extra(&expected);
    // The same small object six times, the padded ones as well; the first record of all is the small one's.
    assert_eq!((missing, extra), (0, 5 + 5 * 2_000 + 1));
}

/// A decoder may hold plain bytes when all of its input is taken: a layer within another one, or a chunk that is
/// decoded whole. They are not taken for the object's end.
#[tokio::test(start_paused = true)]
async fn what_is_larger_than_it_looked_is_read_to_its_end_however_it_is_compressed() {
    let padding = [b' '; 900];
    let all: Vec<Vec<u8>> = (0..430)
        .map(|n| [format!("{{\"padded\":{n}").as_bytes(), &padding, b"}"].concat())
        .collect();
    let plain = lines(&all);
    assert!(plain.len() as u64 > SMALL_OBJECT_PLAIN_BYTES);
    let snappy = |plain: &[u8], chunk_bytes: usize| {
        let mut snappy = snap::write::FrameEncoder::new(Vec::new());
        for chunk in plain.chunks(chunk_bytes) {
            snappy.write_all(chunk).expect("in memory");
            snappy.flush().expect("in memory");
        }
        snappy.into_inner().expect("in memory")
    };
    let members: Vec<u8> = all
        .iter()
        .flat_map(|record| gzip(&lines(std::slice::from_ref(record))))
        .collect();
    let (last, before) = all.split_last().expect("not empty");
    let two_members = [
        gzip(&lines(before)),
        gzip(&lines(std::slice::from_ref(last))),
    ]
    .concat();
    let bzip2 = |plain: &[u8]| {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        bzip2.write_all(plain).expect("in memory");
        bzip2.finish().expect("in memory")
    };
    for content in [
        zstd::bulk::compress(&gzip(&plain), 3).expect("in memory"),
        zstd::bulk::compress(&members, 3).expect("in memory"),
        bzip2(&gzip(&plain)),
        snappy(&gzip(&plain), 1_000),
        snappy(&two_members, 1_000),
        // The last chunk begins before the bound and ends behind it.
        snappy(&plain, SMALL_OBJECT_PLAIN_BYTES as usize * 4 / 5),
        zstd::bulk::compress(&plain, 3).expect("in memory"),
        bzip2(&plain),
        gzip(&plain),
    ] {
        assert!((content.len() as u64) < SMALL_OBJECT_BYTES);
        let mut world = World::new();
        world.bounds.limits.batch_bytes_max = 8 << 20;
        world.bounds.limits.record_bytes_max = 2_000;
        let item = world.put("logs/compressed", content);
        carry(&mut world, &[item]).await;
        assert_eq!(world.missing_and_extra(&all), (0, 0));
    }
}
