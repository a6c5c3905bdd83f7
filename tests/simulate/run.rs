//! One seed: a world is made of it, lives through its faults, calms down, and is held to account.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bucket_brigade::assemble::Limits;
use bucket_brigade::config::WatchedPrefix;
use bucket_brigade::expansion::ExpansionMax;
use bucket_brigade::ledger::memory::MemoryLedger;
use bucket_brigade::pipeline::Bounds;
use bucket_brigade::plan::PlanDefaults;
use bucket_brigade::quarantine::memory::MemoryQuarantine;
use bucket_brigade::reconcile::ReconcileBounds;
use bucket_brigade::shape::Shape;
use bucket_brigade::store::memory::MemoryStore;

use crate::check::{Doubles, check, unfinished};
use crate::faults::{Fault, Faults};
use crate::functions::Platform;
use crate::object::Taste;
use crate::producer::{Producer, since};
use crate::queue::{IN_FLIGHT_MAX, QueueTerms, SqsQueue};
use crate::random::{Random, seed_product};
use crate::rules::{Folder, Ruling, make_rulings};
use crate::world::{BUCKET, Spell, TOKEN, World};

/// What became of one seed.
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub story: String,
    pub counts: Vec<u64>,
    pub doubles: Doubles,
    pub objects: u64,
    pub records: u64,
    pub records_sent: u64,
    pub requests: u64,
    /// Until everything was done.
    pub elapsed: Duration,
}

/// How long everything may take to be done once it is calm: the sweep looks for the oldest every 6 hours, and
/// what it queues may be in a message that comes back a last time.
const CALM_MAX: Duration = Duration::from_secs(40 * 3_600);

/// The schedules of the second function.
const PASS_EVERY: Duration = Duration::from_secs(5 * 60);
const PASS_WINDOW: Duration = Duration::from_secs(2 * 3_600);
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3_600);
const SWEEP_WINDOW: Duration = Duration::from_secs(48 * 3_600);

/// Lives through one seed.
pub fn run(seed: u64) -> Outcome {
    seed_product(seed);
    in_virtual_time(live(seed))
}

/// Waits for a future on this thread alone, whose clock goes on when nothing else does.
pub fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    // What runs here borrows across waits in ways that no compiler can show to be `Send`.
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

async fn live(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let (world, taste) = make_world(&mut random, seed);
    let _logs = listen(&world);
    let queue = SqsQueue::new(QueueTerms {
        visibility: Duration::from_secs(0),
        retention: Duration::from_secs(14 * 86_400),
        receives_max: 1_000,
        in_flight_max: IN_FLIGHT_MAX,
    });
    // A batch that has to be cut takes many requests one after the other, and what is cut is not remembered.
    let timeout = Duration::from_secs(match world.endpoint_ms_max > 2_000 {
        true => random.pick(&[120, 300]),
        false => random.pick(&[20, 60, 120, 300]),
    });
    let platform = make_platform(&world, queue, taste, timeout, &mut random);
    let (platform, direct) = platform;
    let workers = random.between(1, 4);
    let mut tasks = Vec::new();
    for _ in 0..workers {
        tasks.push(tokio::task::spawn_local(Arc::clone(&platform).poll()));
    }
    tasks.push(tokio::task::spawn_local(
        Arc::clone(&platform).serve(direct),
    ));
    tasks.push(tokio::task::spawn_local(schedule(Arc::clone(&platform))));
    let changes = changes(&world.rulings, &mut random);
    tasks.push(tokio::task::spawn_local(change_rules(
        Arc::clone(&world),
        changes,
    )));
    produce(&platform, &mut random).await;
    world.tell("CALM");
    world.state().is_calm = true;
    come_to_rest(&platform).await;
    for task in tasks {
        if task.is_finished() {
            world.violate("a process panicked");
        }
        task.abort();
    }
    let elapsed = world.elapsed();
    rest_is_quiet(&platform).await;
    let doubles = check(&world);
    let mut state = world.state();
    Outcome {
        seed,
        violations: std::mem::take(&mut state.violations),
        story: std::mem::take(&mut state.story),
        counts: state.faults.counts.clone(),
        doubles,
        objects: state.contents.len() as u64,
        records: state
            .contents
            .iter()
            .map(|content| content.records.len() as u64)
            .sum(),
        records_sent: state.records_sent,
        requests: state.bodies,
        elapsed,
    }
}

/// Every setting and every fault of a world depends on its seed.
fn make_world(random: &mut Random, seed: u64) -> (Arc<World>, Taste) {
    let batch_bytes_max = random.pick(&[600, 1_500, 4_000, 12_000, 100_000]);
    let record_bytes_max = random.pick(&[200, 500, 2_000]).min(batch_bytes_max / 2);
    let is_logzio = random.chance(0.75);
    let requests = random.between(1, 6) as usize;
    let mut bounds = Bounds {
        limits: Limits {
            pass_through: random.chance(0.8),
            batch_bytes_max,
            record_bytes_max,
            level: random.pick(&[1, 6, 8]),
        },
        expansion_max: ExpansionMax {
            plain_bytes: 1 << 40,
            ratio: 900,
        },
        plan: PlanDefaults {
            shape: match is_logzio {
                true => Shape {
                    json_only: true,
                    record_bytes_max: Some(500_000),
                    field_chars_max: Some(random.pick(&[400, 32_700])),
                    ..Shape::default()
                },
                false => Shape::default(),
            },
            add_source_field: random.chance(0.2),
            log_type: random.chance(0.15).then(|| "settings".into()),
            ..PlanDefaults::default()
        },
        part_bytes: random
            .pick(&[150, 700, 3_000, 40_000])
            .max(batch_bytes_max as u64 / 30),
        objects_in_flight_max: random.between(1, 5) as usize,
        small_objects_per_turn: random.pick(&[1, 2, 16]),
        requests_in_flight_max: requests,
        restore_interval_bytes: random.pick(&[1, 2_000, 64 << 20]),
        body_bytes_in_flight_max: random.pick(&[40_000, 200_000, 1 << 20]),
        share_linger: Duration::from_millis(random.pick(&[50, 500])),
        delivery_timeout: Duration::from_secs(random.pick(&[2, 10, 30])),
        lease: Duration::from_secs(random.pick(&[15, 30, 60])),
        attempts_max: 5,
        retention: Duration::from_secs(30 * 86_400),
    };
    let body_bytes_max = match random.chance(0.25) {
        true => batch_bytes_max / 2,
        false => usize::MAX,
    };
    let rulings = make_rulings(random);
    let taste = Taste {
        records_max: match batch_bytes_max {
            100_000 => 800,
            12_000 => 300,
            _ => 120,
        },
        pad_max: random.pick(&[10, 60, 200]),
        record_bytes_max,
        field_chars_max: 400,
        odd: random.chance(0.7),
        is_mixed: random.chance(0.75),
        folders: Folder::of(&rulings, random),
        quotes_lines: random.chance(0.5) && !Folder::Csv.is_ever_lines(&rulings),
    };
    let faults = match random.chance(0.04) {
        true => Faults::none(),
        false => Faults::new(random),
    };
    let mut faults = faults;
    let mut endpoint_ms_max = 1_500;
    if random.chance(0.2) {
        // Workers that get in each other's way: slow work, short leases, and a ledger out of reach.
        endpoint_ms_max = 9_000;
        bounds.lease = Duration::from_secs(15);
        for fault in [
            Fault::NotificationConcurrent,
            Fault::LedgerPartition,
            Fault::ClockApart,
        ] {
            faults.raise(fault, 0.6);
        }
        faults.raise(Fault::Killed, random.pick(&[0.0, 0.3]));
    }
    if random.chance(0.35) {
        faults.raise(Fault::OwnWrongToken, 0.1);
    }
    let spells = spells(random, &faults);
    let world = World::new(
        bounds,
        rulings,
        is_logzio,
        body_bytes_max,
        endpoint_ms_max,
        Random::new(random.bits()),
        faults,
    );
    world.tell(&format!("seed {seed}: {:?}", world.bounds));
    world.state().spells = spells;
    (world, taste)
}

/// Periods in which something is away.
fn spells(random: &mut Random, faults: &Faults) -> Vec<Spell> {
    let mut spells = Vec::new();
    for (fault, shortest, longest) in [
        (Fault::EndpointOutage, 20, 4 * 3_600),
        (Fault::EndpointWrongToken, 20, 3_600),
        (Fault::OwnWrongToken, 600, 3 * 3_600),
        (Fault::LedgerAway, 20, 1_200),
        (Fault::QuarantineOutage, 20, 3_600),
    ] {
        if faults.rate(fault) == 0.0 {
            continue;
        }
        for _ in 0..random.between(1, 4) {
            let from = Duration::from_secs(random.between(0, 3 * 3_600));
            let spell = Duration::from_secs(random.log_between(shortest, longest));
            spells.push(Spell {
                from,
                until: from + spell,
                fault,
                process: None,
            });
        }
    }
    spells
}

pub fn make_platform(
    world: &Arc<World>,
    mut queue: Arc<SqsQueue>,
    taste: Taste,
    timeout: Duration,
    random: &mut Random,
) -> (Arc<Platform>, tokio::sync::mpsc::UnboundedReceiver<String>) {
    // As the template has it.
    let visibility = 6 * timeout + Duration::from_secs(1);
    if let Some(queue) = Arc::get_mut(&mut queue) {
        queue.terms.visibility = visibility;
    }
    let store = Arc::new(MemoryStore::new().with_pages_of(random.between(2, 8) as usize));
    let (sender, direct) = tokio::sync::mpsc::unbounded_channel();
    let producer = Arc::new(Producer {
        world: Arc::clone(world),
        store: Arc::clone(&store),
        queue: Arc::clone(&queue),
        direct: sender,
        taste,
        malformed: Mutex::default(),
        on_their_way: Arc::default(),
    });
    let watched = ["logs/", "day/%Y/%m/%d/"]
        .map(|prefix| WatchedPrefix::parse(&format!("s3://{BUCKET}/{prefix}")).expect("a prefix"));
    let platform = Platform {
        world: Arc::clone(world),
        producer,
        store,
        ledger: Arc::new(MemoryLedger::new()),
        quarantine: Arc::new(MemoryQuarantine::new()),
        queue,
        timeout,
        margin: Duration::from_secs(8),
        messages_max: random.pick(&[1, 3, 10, 100]),
        watched: watched.to_vec(),
        reconcile: ReconcileBounds {
            grace: Duration::from_secs(15 * 60),
            queued: Duration::from_secs(3_600),
            pages_max: random.pick(&[2, 5, 1_000]),
            pages_in_flight_max: random.between(1, 5) as usize,
            requeues_in_flight_max: random.pick(&[1, 5, 40]),
            since: Some(since()),
            retention: world.bounds.retention,
        },
        processes: AtomicU64::new(0),
        busy: AtomicU64::new(0),
    };
    (Arc::new(platform), direct)
}

/// Writes, overwrites and deletes objects for some hours.
async fn produce(platform: &Platform, random: &mut Random) {
    let (world, producer) = (&platform.world, &platform.producer);
    let objects = random.log_between(3, 30);
    let hours = random.pick(&[1, 3]);
    let mut times: Vec<Duration> = (0..objects)
        .map(|_| Duration::from_millis(random.between(0, hours * 3_600_000)))
        .collect();
    if random.chance(0.5) {
        // Many at once share requests.
        let burst = Duration::from_millis(random.between(0, 3_600_000));
        for time in times.iter_mut().take(objects as usize / 2) {
            *time = burst + Duration::from_millis(random.between(0, 2_000));
        }
    }
    times.sort();
    for time in times {
        tokio::time::sleep(time.saturating_sub(world.elapsed())).await;
        producer.put();
        if world.strikes(Fault::ShapeMalformed) {
            producer.send_malformed();
        }
        for fault in [
            Fault::ObjectOverwritten,
            Fault::ObjectDeleted,
            Fault::ObjectPutAgain,
        ] {
            if world.strikes(fault)
                && let Some(key) = producer.any_key()
            {
                world.pass_log(1, 60_000).await;
                match fault {
                    Fault::ObjectOverwritten => producer.overwrite(&key),
                    Fault::ObjectDeleted => producer.delete(&key),
                    _ => producer.put_again(&key),
                }
            }
        }
    }
    // What is late comes while it is calm.
    world.pass_log(1_000, 3_600_000).await;
}

/// When each of the rules but the first comes into force.
fn changes(rulings: &[Ruling], random: &mut Random) -> Vec<Duration> {
    let mut times: Vec<Duration> = (1..rulings.len())
        .map(|_| Duration::from_secs(random.log_between(60, 3 * 3_600)))
        .collect();
    times.sort();
    times
}

async fn change_rules(world: Arc<World>, times: Vec<Duration>) {
    for time in times {
        tokio::time::sleep(time.saturating_sub(world.elapsed())).await;
        world.state().change_rules(world.elapsed());
    }
    std::future::pending::<()>().await;
}

async fn schedule(platform: Arc<Platform>) {
    let mut sweep_at = Duration::ZERO;
    loop {
        tokio::time::sleep(PASS_EVERY).await;
        let now = platform.world.elapsed();
        let window = match now >= sweep_at {
            true => {
                sweep_at = now + SWEEP_EVERY;
                SWEEP_WINDOW
            }
            false => PASS_WINDOW,
        };
        platform.reconcile(window).await;
    }
}

/// Waits until nothing is left to do.
async fn come_to_rest(platform: &Platform) {
    let since = platform.world.elapsed();
    loop {
        tokio::time::sleep(Duration::from_secs(5 * 60)).await;
        let on_their_way = *platform.producer.on_their_way.lock().expect("whole");
        let busy = platform.busy.load(Ordering::Relaxed);
        let open = unfinished(&platform.world.state(), platform.world.last_ruling()).len();
        if on_their_way == 0 && busy == 0 && open == 0 && platform.queue.len() == 0 {
            return;
        }
        if platform.world.elapsed() - since > CALM_MAX {
            let queued = platform.queue.len();
            platform.world.violate(&format!(
                "no rest: {open} objects not done, {queued} messages, {busy} invocations"
            ));
            return;
        }
    }
}

/// When all is done, no pass finds anything, and the dead-letter queue has what cannot be read.
async fn rest_is_quiet(platform: &Platform) {
    let world = &platform.world;
    for _ in 0..20 {
        let Some(report) = platform.reconcile(SWEEP_WINDOW).await else {
            world.violate("a pass failed although it is calm");
            return;
        };
        if let (Some(oldest), true) = (report.oldest_unsettled, report.complete) {
            world.violate(&format!(
                "all is done, and one that was written {oldest} is said to wait"
            ));
        }
        if report.missing > 0 && world.state().violations.is_empty() {
            world.violate(&format!(
                "{} objects are missing after the end",
                report.missing
            ));
        }
        if report.complete {
            break;
        }
    }
    let mut dead = platform.queue.dead();
    let mut malformed = platform.producer.malformed.lock().expect("whole").clone();
    dead.sort();
    dead.dedup();
    malformed.sort();
    malformed.dedup();
    if dead != malformed {
        world.violate(&format!(
            "{dead:?} in the dead-letter queue, and {malformed:?} sent"
        ));
    }
}

thread_local! {
    /// The world that this thread simulates.
    static LISTENING: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// Takes what the product logs on this thread into the story, until it is dropped.
struct Listening;

/// Takes what the product logs into the story, and looks for the token in it.
///
/// There is one subscriber for all threads: with one for each, whether a line is of interest to anyone is
/// cached for all of them, and depends on which threads there are.
fn listen(world: &Arc<World>) -> Listening {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Log(LISTENING.with_borrow(Clone::clone)))
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("the only one");
    });
    LISTENING.set(Some(Arc::clone(world)));
    Listening
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.set(None);
    }
}

struct Log(Option<Arc<World>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(world) = &self.0 {
            let text = String::from_utf8_lossy(bytes);
            if text.contains(TOKEN) {
                world.violate("the token was logged");
            }
            world.tell(text.trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
