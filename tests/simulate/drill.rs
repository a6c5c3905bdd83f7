//! The outage drill: days in which the endpoint, or reconcile, is down while objects arrive, and what
//! comes after. The queue keeps the terms of `template.yaml`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bucket_brigade::assemble::Limits;
use bucket_brigade::expansion::ExpansionMax;
use bucket_brigade::pipeline::Bounds;
use bucket_brigade::plan::PlanDefaults;
use bucket_brigade::shape::Shape;

use crate::check::{check, unfinished};
use crate::faults::{Fault, Faults};
use crate::functions::Platform;
use crate::object::Taste;
use crate::queue::{QueueTerms, SqsQueue};
use crate::random::{Random, seed_product};
use crate::rules::{Folder, Ruling};
use crate::run::{in_virtual_time, make_platform};
use crate::world::{Spell, World};

const DAY: Duration = Duration::from_secs(86_400);
const TEMPLATE: &str = include_str!("../../template.yaml");

/// What is down, and what comes meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Drill {
    pub name: &'static str,
    pub down: Down,
    pub days: u32,
    /// Between two objects.
    pub every: Duration,
    /// What the queue hands out at most before anything is deleted.
    pub in_flight_max: usize,
    /// The share of notifications that are lost.
    pub lost: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    Endpoint,
    Reconcile,
}

/// What came of it.
pub struct Report {
    pub violations: Vec<String>,
    pub name: &'static str,
    objects: usize,
    records: usize,
    requests: u64,
    given_up: usize,
    expired: u64,
    in_flight_most: usize,
    /// From the end of the outage until everything was delivered.
    caught_up: Duration,
    requests_at_once: usize,
    requests_at_once_max: usize,
    pub doubled: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        let Self {
            objects,
            records,
            requests,
            doubled,
            ..
        } = self;
        writeln!(
            f,
            "  {objects} objects with {records} records, {requests} requests, {doubled} records twice"
        )?;
        let minutes = self.caught_up.as_secs() / 60;
        writeln!(
            f,
            "  everything delivered {minutes} minutes after the end of it"
        )?;
        let (at_once, most) = (self.requests_at_once, self.requests_at_once_max);
        writeln!(
            f,
            "  never more than {at_once} requests at once, of {most} allowed"
        )?;
        let (given_up, expired, in_flight) = (self.given_up, self.expired, self.in_flight_most);
        writeln!(
            f,
            "  the queue gave up {given_up} messages, forgot {expired}, and had at most {in_flight} in flight"
        )
    }
}

/// A number that stands behind a name in the template.
fn in_template(name: &str) -> u64 {
    let (_, after) = TEMPLATE
        .split_once(&format!("{name}: "))
        .expect("a setting of the template");
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// Workers of the first function that run at once.
const WORKERS: u32 = 5;
/// The function's time-out: one of those that the template allows.
const TIMEOUT: Duration = Duration::from_secs(60);

pub fn run(drill: Drill) -> Report {
    seed_product(7);
    in_virtual_time(live(drill))
}

async fn live(drill: Drill) -> Report {
    let (faults, random) = (Faults::none(), Random::new(7));
    let world = World::new(
        bounds(),
        vec![Ruling::none()],
        true,
        usize::MAX,
        1_500,
        random,
        faults,
    );
    world.state().tells = false;
    let outage = drill.days * DAY;
    let calm_at = DAY + outage;
    if drill.down == Down::Endpoint {
        world.state().spells.push(Spell {
            from: DAY,
            until: calm_at,
            fault: Fault::EndpointOutage,
            process: None,
        });
    }
    world
        .state()
        .faults
        .raise(Fault::NotificationLost, drill.lost);
    let queue = SqsQueue::new(QueueTerms {
        visibility: 6 * TIMEOUT + Duration::from_secs(1),
        retention: Duration::from_secs(in_template("MessageRetentionPeriod")),
        receives_max: in_template("maxReceiveCount") as u32,
        in_flight_max: drill.in_flight_max,
    });
    let taste = Taste {
        records_max: 40,
        pad_max: 60,
        record_bytes_max: 1 << 20,
        field_chars_max: usize::MAX,
        odd: false,
        is_mixed: false,
        folders: vec![Folder::Plain],
        quotes_lines: false,
    };
    let mut random = Random::new(11);
    let (mut platform, direct) = make_platform(&world, queue, taste, TIMEOUT, &mut random);
    if let Some(platform) = Arc::get_mut(&mut platform) {
        platform.messages_max = in_template("BatchSize") as usize;
        platform.margin = Duration::from_millis(10_000);
        platform.reconcile.pages_max = 1_000;
    }
    let mut tasks = Vec::new();
    for _ in 0..WORKERS {
        tasks.push(tokio::task::spawn_local(Arc::clone(&platform).poll()));
    }
    tasks.push(tokio::task::spawn_local(
        Arc::clone(&platform).serve(direct),
    ));
    tasks.push(tokio::task::spawn_local(schedule(
        Arc::clone(&platform),
        drill,
    )));
    while world.elapsed() < calm_at {
        platform.producer.put();
        tokio::time::sleep(drill.every).await;
    }
    while !unfinished(&world.state(), world.last_ruling()).is_empty() {
        tokio::time::sleep(Duration::from_secs(60)).await;
        if world.elapsed() > calm_at + 3 * DAY {
            world.violate("not everything is delivered three days after the end of it");
            break;
        }
    }
    let caught_up = world.elapsed().saturating_sub(calm_at);
    for task in tasks {
        if task.is_finished() {
            world.violate("a process panicked");
        }
        task.abort();
    }
    let doubles = check(&world);
    let mut state = world.state();
    let requests_at_once_max = WORKERS as usize * world.bounds.requests_in_flight_max;
    if state.requests_at_once > requests_at_once_max {
        let at_once = state.requests_at_once;
        let at = world.elapsed();
        state.violate(at, &format!("{at_once} requests at once"));
    }
    Report {
        violations: std::mem::take(&mut state.violations),
        name: drill.name,
        objects: state.contents.len(),
        records: state
            .contents
            .iter()
            .map(|content| content.records.len())
            .sum(),
        requests: state.bodies,
        given_up: platform.queue.dead().len(),
        expired: platform.queue.expired(),
        in_flight_most: platform.queue.in_flight_most(),
        caught_up,
        requests_at_once: state.requests_at_once,
        requests_at_once_max,
        doubled: doubles.by_cause.values().sum(),
    }
}

/// The schedules of the template, but for the days in which the second function is down.
async fn schedule(platform: Arc<Platform>, drill: Drill) {
    let mut sweep_at = Duration::ZERO;
    loop {
        tokio::time::sleep(Duration::from_secs(5 * 60)).await;
        let now = platform.world.elapsed();
        let is_down = drill.down == Down::Reconcile && (DAY..DAY + drill.days * DAY).contains(&now);
        if is_down {
            continue;
        }
        let window = match now >= sweep_at {
            true => {
                sweep_at = now + DAY;
                2 * DAY
            }
            false => Duration::from_secs(2 * 3_600),
        };
        platform.reconcile(window).await;
    }
}

fn bounds() -> Bounds {
    Bounds {
        limits: Limits {
            pass_through: true,
            batch_bytes_max: 8 << 20,
            record_bytes_max: 1 << 20,
            level: 8,
        },
        expansion_max: ExpansionMax {
            plain_bytes: 1 << 40,
            ratio: 900,
        },
        plan: PlanDefaults {
            shape: Shape {
                json_only: true,
                ..Shape::default()
            },
            ..PlanDefaults::default()
        },
        part_bytes: 4 << 20,
        objects_in_flight_max: 4,
        restore_interval_bytes: 64 << 20,
        small_objects_per_turn: 4,
        requests_in_flight_max: 4,
        body_bytes_in_flight_max: 32 << 20,
        share_linger: Duration::from_millis(500),
        delivery_timeout: Duration::from_secs(30),
        lease: Duration::from_secs(60),
        attempts_max: 5,
        retention: 30 * DAY,
    }
}

#[cfg(test)]
mod tests {
    use super::{Down, Drill, run};
    use crate::queue::IN_FLIGHT_MAX;
    use std::time::Duration;

    fn assert_all_delivered(drill: Drill) {
        let report = run(drill);
        println!("{report}");
        assert_eq!(report.violations, Vec::<String>::new(), "{}", report.name);
        assert_eq!(report.doubled, 0, "{}", report.name);
    }

    #[test]
    fn an_endpoint_that_is_down_for_4_days_loses_nothing() {
        assert_all_delivered(Drill {
            name: "endpoint down for 4 days",
            down: Down::Endpoint,
            days: 4,
            every: Duration::from_secs(3 * 3_600),
            in_flight_max: IN_FLIGHT_MAX,
            lost: 0.1,
        });
    }

    /// Longer than the queue keeps a message, and than it hands one out.
    #[test]
    fn an_endpoint_that_is_down_for_20_days_loses_nothing() {
        assert_all_delivered(Drill {
            name: "endpoint down for 20 days",
            down: Down::Endpoint,
            days: 20,
            every: Duration::from_secs(24 * 3_600),
            in_flight_max: IN_FLIGHT_MAX,
            lost: 0.1,
        });
    }

    /// As with 120,000 in flight, at a scale that is quick.
    #[test]
    fn a_queue_that_hands_out_no_more_loses_nothing() {
        assert_all_delivered(Drill {
            name: "endpoint down for 4 days, and a queue that has at most 8 messages in flight",
            down: Down::Endpoint,
            days: 4,
            every: Duration::from_secs(3 * 3_600),
            in_flight_max: 8,
            lost: 0.1,
        });
    }

    #[test]
    fn a_reconcile_that_is_down_for_5_days_loses_nothing() {
        assert_all_delivered(Drill {
            name: "reconcile down for 5 days",
            down: Down::Reconcile,
            days: 5,
            every: Duration::from_secs(600),
            in_flight_max: IN_FLIGHT_MAX,
            lost: 0.3,
        });
    }
}
