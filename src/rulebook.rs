//! The rules in force: read at the start, looked at again while they are in use, replaced when they change.
//!
//! A rules file that is broken, or out of reach, changes nothing: the last good one stays in force. It is kept
//! in quarantine too, so that a process that starts while the file is broken has it. Without any good one
//! nothing is carried, rather than carried wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::failure::{Failure, FailureKind};
use crate::object::{Etag, ObjectId};
use crate::quarantine::Entries;
use crate::rules::{FILE_BYTES_MAX, Rules};
use crate::store::{Store, StoreError};

/// The name under which the last good rules are kept in quarantine.
pub const LAST_GOOD: &str = "rules/last-good.yaml";

/// How long reading or keeping rules may take.
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// Where rules come from.
pub enum RulesPlace<S, Q> {
    /// They never change.
    Given(Arc<Rules>),
    /// They are what this object says, and are looked at again after so long.
    Object {
        store: S,
        object: ObjectId,
        again: Duration,
        /// Where the last good ones are kept, and read from if there are no others.
        kept: Option<(S, Q)>,
    },
}

/// The rules of a process.
pub struct Rulebook<S, Q> {
    place: RulesPlace<S, Q>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Option<Arc<Rules>>,
    /// The entity tag of the file that was read last, good or not.
    seen: Option<Etag>,
    looked_at: Option<Instant>,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Current {
    pub rules: Arc<Rules>,
    /// Why they are not those of the file, if that was found out just now.
    pub problem: Option<String>,
}

/// What looking at the file came to.
enum Looked {
    Unchanged,
    Good(Arc<Rules>, Bytes),
}

impl<S: Store, Q: Entries> Rulebook<S, Q> {
    pub fn new(place: RulesPlace<S, Q>) -> Self {
        Self {
            place,
            state: Mutex::default(),
        }
    }

    /// The rules in force, after a look at the file if one is due. Fails only if there are none at all.
    pub async fn current(&self) -> Result<Current, Failure> {
        let (store, object, again, kept) = match &self.place {
            RulesPlace::Given(rules) => {
                return Ok(Current {
                    rules: Arc::clone(rules),
                    problem: None,
                });
            }
            RulesPlace::Object {
                store,
                object,
                again,
                kept,
            } => (store, object, *again, kept.as_ref()),
        };
        let mut state = self.state.lock().await;
        let is_due = state.looked_at.is_none_or(|at| at.elapsed() >= again);
        let mut problem = None;
        if is_due || state.rules.is_none() {
            match look(store, object, &mut state.seen).await {
                Ok(Looked::Unchanged) => {}
                Ok(Looked::Good(rules, text)) => {
                    tracing::info!(place = %object, rules = rules.digest(), "rules read");
                    state.rules = Some(rules);
                    keep(kept, text).await;
                }
                Err(reason) => problem = Some(format!("{object}: {reason}")),
            }
            state.looked_at = Some(Instant::now());
        }
        if state.rules.is_none()
            && let Some((store, quarantine)) = kept
            && let Ok(Looked::Good(rules, _)) =
                look(store, &quarantine.object(LAST_GOOD), &mut None).await
        {
            tracing::warn!(rules = rules.digest(), "the last good rules are in force");
            state.rules = Some(rules);
        }
        match &state.rules {
            Some(rules) => Ok(Current {
                rules: Arc::clone(rules),
                problem,
            }),
            None => {
                // Whoever asks next looks again.
                state.seen = None;
                let reason = problem.unwrap_or_else(|| object.to_string());
                Err(Failure::new(FailureKind::RulesUnusable, reason))
            }
        }
    }
}

/// Reads the file, unless it is the one that was read last.
async fn look<S: Store>(
    store: &S,
    object: &ObjectId,
    seen: &mut Option<Etag>,
) -> Result<Looked, String> {
    let read = async {
        let meta = store.head(object).await.map_err(reason)?;
        if seen.as_ref() == Some(&meta.etag) {
            return Ok(Looked::Unchanged);
        }
        if meta.size > FILE_BYTES_MAX as u64 {
            *seen = Some(meta.etag);
            return Err(format!(
                "{} bytes, expected at most {FILE_BYTES_MAX}",
                meta.size
            ));
        }
        let bytes = match meta.size {
            0 => Bytes::new(),
            size => store
                .read(object, &meta.etag, 0..size)
                .await
                .map_err(reason)?,
        };
        *seen = Some(meta.etag);
        let text = std::str::from_utf8(&bytes).map_err(|_| "not UTF-8".to_owned())?;
        let rules = Rules::parse(text).map_err(|errors| errors.to_string())?;
        Ok(Looked::Good(Arc::new(rules), bytes))
    };
    let read = timeout(IO_TIMEOUT, read).await;
    read.unwrap_or_else(|_| Err(format!("not read within {} s", IO_TIMEOUT.as_secs())))
}

fn reason(error: StoreError) -> String {
    error.to_string()
}

/// Keeps good rules for whoever starts while the file is broken.
async fn keep<S, Q: Entries>(kept: Option<&(S, Q)>, text: Bytes) {
    let Some((_, quarantine)) = kept else {
        return;
    };
    let kept = timeout(IO_TIMEOUT, quarantine.keep(LAST_GOOD, text)).await;
    match kept {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "rules not kept"),
        Err(_) => tracing::warn!("rules not kept in time"),
    }
}
