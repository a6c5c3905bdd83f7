//! Carries work items, several at once, until none is left or someone asks to stop.
//!
//! Goes in: work items, however they were found. Comes out: a row of the account for each. What the
//! two Lambda functions leave to the queue, coming back and going on, is a loop here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::account::{CameBy, Ended, ObjectRow};
use super::destination::Destination;
use super::place::{Keep, Source};
use super::stop::Stop;
use crate::checkpoint::Account;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::failure::{Failure, Verdict};
use crate::ledger::Ledger;
use crate::object::WorkItem;
use crate::pipeline::{Bounds, Deadline, Ingested, Pipeline, Place, Ports, Round};
use crate::replay::forget;

/// How long the ledger has for its last word after the time of an object is over.
pub(super) const LEDGER_MARGIN: Duration = Duration::from_secs(10);
/// How often it is looked whether another's lease was given back before its end.
const HELD_POLL: Duration = Duration::from_millis(250);
/// Between two tries that got nowhere; each has waited longer and longer within.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long removing the entry of an object that was replayed may take.
const FORGET_TIMEOUT: Duration = Duration::from_secs(60);

/// An object waits as long as it takes for its turn: its patience begins with that.
const TURN_UNTIL: Timestamp = Timestamp::from_ms(u64::MAX);

/// The ports on one machine.
pub type LocalPorts<L> = Ports<Source, Destination, L, Keep, SystemClock>;

type LocalPipeline<L> = Pipeline<Source, Destination, L, Keep, SystemClock>;
type LocalRound<L> = Round<Source, Destination, L, Keep, SystemClock>;
type LocalPlace<L> = Place<Source, Destination, L, Keep, SystemClock>;

/// How much is done at once, and how long without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrewBounds {
    /// Objects that wait for their turn, are read, or wait for the endpoint.
    pub objects_held_max: usize,
    /// How long an object may go without progress before it is given up.
    pub patience: Duration,
}

/// A work item and how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub item: WorkItem,
    pub came_by: CameBy,
}

/// Works on one pipeline; the first fatal failure stops all of it.
pub struct Crew<L> {
    pipeline: Arc<LocalPipeline<L>>,
    bounds: CrewBounds,
    stop: Stop,
    fatal: Mutex<Option<Failure>>,
}

impl<L: Ledger + 'static> Crew<L> {
    pub fn new(ports: LocalPorts<L>, bounds: Bounds, crew: CrewBounds, stop: Stop) -> Arc<Self> {
        Arc::new(Self {
            pipeline: Pipeline::new(ports, bounds),
            bounds: crew,
            stop,
            fatal: Mutex::default(),
        })
    }

    pub fn pipeline(&self) -> &LocalPipeline<L> {
        &self.pipeline
    }

    pub fn ports(&self) -> &LocalPorts<L> {
        self.pipeline.ports()
    }

    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// With what nothing can succeed until a person acts, if it came to that.
    pub fn fatal(&self) -> Option<Failure> {
        self.fatal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes a fatal failure and asks everyone to stop; the first one stays.
    pub fn give_up(&self, failure: Failure) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.get_or_insert(failure);
        self.stop.ask();
    }

    /// Carries what comes until the sender is dropped and all is done, or a stop is asked for: then what
    /// is under way is checkpointed and given back, and only what has not begun or does not end in time
    /// has no row. Small objects share requests.
    pub async fn carry_all(
        self: &Arc<Self>,
        mut tasks: mpsc::Receiver<Task>,
        mut done: impl FnMut(&Task, ObjectRow),
    ) {
        let round = self.pipeline.round();
        let mut under_way = JoinSet::new();
        let mut open = true;
        let mut stopping = false;
        let give_up = tokio::time::sleep(Duration::MAX);
        tokio::pin!(give_up);
        while open || !under_way.is_empty() {
            let has_slot = under_way.len() < self.bounds.objects_held_max;
            tokio::select! {
                biased;
                Some(carried) = under_way.join_next() => match carried {
                    Ok((task, Some(row))) => done(&task, row),
                    Ok((_, None)) => {}
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                () = self.stop.asked(), if !stopping => {
                    (stopping, open) = (true, false);
                    self.pipeline.stop();
                    give_up.as_mut().reset(tokio::time::Instant::now() + super::stop::STOP_MAX);
                }
                () = &mut give_up, if stopping => {
                    tracing::warn!("objects are still under way; their leases run out by themselves");
                    under_way.abort_all();
                    return;
                }
                task = tasks.recv(), if open && has_slot => match task {
                    Some(task) => {
                        let (crew, round) = (Arc::clone(self), Arc::clone(&round));
                        let place = round.enter();
                        under_way.spawn(async move {
                            let row = crew.carry(&task, &round, place).await;
                            (task, row)
                        });
                    }
                    None => open = false,
                },
            }
        }
    }

    /// Carries one object as far as it goes: claims it again after progress, and after a failure that may
    /// pass, within the bound of patience. What counts against the object is not tried again at once.
    /// None if its turn never came.
    async fn carry(
        &self,
        task: &Task,
        round: &Arc<LocalRound<L>>,
        place: LocalPlace<L>,
    ) -> Option<ObjectRow> {
        let mut turn = place.turn(&task.item, TURN_UNTIL).await.ok()?;
        let clock = &self.pipeline.ports().clock;
        let mut moved = clock.now();
        let worker = format!("brigade {}", std::process::id());
        let mut achieved = Account::default();
        let row = |ended, account| ObjectRow {
            key: task.item.key.clone(),
            came_by: task.came_by,
            ended,
            account,
            told: None,
        };
        loop {
            let stop_at = clock.now().plus(self.bounds.patience);
            let deadline = Deadline {
                stop_at,
                end_at: stop_at.plus(LEDGER_MARGIN),
            };
            match turn.ingest(&task.item, &worker, deadline).await {
                Ingested::Settled { account } => {
                    if let Some(content) = task.item.content()
                        && task.item.is_replay
                    {
                        let quarantine = &self.pipeline.ports().quarantine;
                        forget(quarantine, &content, FORGET_TIMEOUT).await;
                    }
                    return Some(row(Ended::Settled, account));
                }
                Ingested::Skipped { failure } => {
                    return Some(row(Ended::Skipped(failure), achieved));
                }
                Ingested::Quarantined {
                    failure,
                    place,
                    account,
                } => return Some(row(Ended::Quarantined { failure, place }, account)),
                Ingested::Returned {
                    failure,
                    progress,
                    held_until,
                    account,
                    ..
                } => {
                    achieved.add(&account);
                    if failure.verdict() == Verdict::Fatal {
                        self.give_up(failure.clone());
                    }
                    if progress {
                        moved = clock.now();
                    }
                    let may_pass =
                        failure.verdict() == Verdict::Retry && !failure.kind.blames_object();
                    let is_patient = clock.now().since(moved) < self.bounds.patience;
                    let pause = match held_until {
                        Some(_) => HELD_POLL,
                        None if progress => Duration::ZERO,
                        None => RETRY_PAUSE,
                    };
                    let again = may_pass && is_patient && self.stop.outlasts(pause).await;
                    turn = match round.enter().turn(&task.item, TURN_UNTIL).await {
                        Ok(turn) if again => turn,
                        Ok(_) | Err(_) => return Some(row(Ended::Returned(failure), achieved)),
                    };
                }
            }
        }
    }
}
