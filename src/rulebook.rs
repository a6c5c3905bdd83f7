//! The rules in force: read at the start, looked at again while they are in use, replaced when they change.
//!
//! A rules file that is broken, or out of reach, changes nothing: the last good one stays in force. It is kept
//! in quarantine too, so that a process that starts while the file is broken has it. Without any good one
//! nothing is carried, rather than carried wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::evidence::hex;
use crate::failure::{Failure, FailureKind};
use crate::object::{Etag, ObjectId};
use crate::quarantine::Entries;
use crate::rules::{FILE_BYTES_MAX, Rules};
use crate::store::{Store, StoreError};

/// The name under which the last good rules of a file are kept in quarantine: each file has its own, so that
/// stacks which share a quarantine do not take each other's.
fn last_good(file: &ObjectId) -> String {
    let hash = Sha256::digest(file.to_string());
    format!("rules/{}.yaml", hex(&hash[..16]))
}

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
        /// Where the last good ones are read from if there are no others.
        kept: Option<Kept<S, Q>>,
    },
}

/// Where the last good rules are kept.
pub struct Kept<S, Q> {
    pub store: S,
    pub quarantine: Q,
    /// Whether good ones are written there too.
    pub is_written: bool,
}

/// The rules of a process.
pub struct Rulebook<S, Q> {
    place: RulesPlace<S, Q>,
    /// What the file is called in what is said of it, if not by its place.
    name: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Option<Arc<Rules>>,
    seen: Option<Seen>,
    looked_at: Option<Instant>,
    /// Whether the last look came to nothing good.
    is_broken: bool,
}

/// The file that was read last.
struct Seen {
    etag: Etag,
    is_good: bool,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Current {
    pub rules: Arc<Rules>,
    /// Whether the file is broken or out of reach, as far as is known: they are earlier ones then.
    pub is_broken: bool,
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
            name: None,
            state: Mutex::default(),
        }
    }

    /// The same, with another name for the file in what is said of it.
    #[must_use]
    pub fn called(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// The rules in force, after a look at the file if one is due. Fails only if there are none at all.
    pub async fn current(&self) -> Result<Current, Failure> {
        let (store, object, again, kept) = match &self.place {
            RulesPlace::Given(rules) => {
                return Ok(Current {
                    rules: Arc::clone(rules),
                    is_broken: false,
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
        let name = self.name.clone().unwrap_or_else(|| object.to_string());
        let mut state = self.state.lock().await;
        let is_due = state.looked_at.is_none_or(|at| at.elapsed() >= again);
        let mut problem = None;
        if is_due || state.rules.is_none() {
            match look(store, object, &name, &mut state.seen).await {
                Ok(Looked::Unchanged) => {
                    state.is_broken = state.seen.as_ref().is_some_and(|seen| !seen.is_good);
                }
                Ok(Looked::Good(rules, text)) => {
                    state.is_broken = false;
                    tracing::info!(place = name, rules = rules.digest(), "rules read");
                    state.rules = Some(rules);
                    keep(kept, object, text).await;
                }
                Err(reason) => {
                    state.is_broken = true;
                    problem = Some(reason);
                }
            }
            state.looked_at = Some(Instant::now());
        }
        if state.rules.is_none()
            && let Some(kept) = kept
            && let name = last_good(object)
            && let Ok(Looked::Good(rules, _)) = look(
                &kept.store,
                &kept.quarantine.object(&name),
                &name,
                &mut None,
            )
            .await
        {
            tracing::warn!(rules = rules.digest(), "the last good rules are in force");
            state.rules = Some(rules);
        }
        match &state.rules {
            Some(rules) => Ok(Current {
                rules: Arc::clone(rules),
                is_broken: state.is_broken,
                problem,
            }),
            None => {
                // Whoever asks next looks again.
                state.seen = None;
                let reason = problem.unwrap_or(name);
                Err(Failure::new(FailureKind::RulesUnusable, reason))
            }
        }
    }
}

/// Reads the file, unless it is the one that was read last. Else says why not, a line for each problem of the file.
async fn look<S: Store>(
    store: &S,
    object: &ObjectId,
    name: &str,
    seen: &mut Option<Seen>,
) -> Result<Looked, String> {
    let read = async {
        let known = seen.as_ref().map(|seen| &seen.etag);
        let (etag, text) = match text(store, object, known).await {
            // It was written between the look and the read: now it is another one, and whole.
            Err(StoreError::Replaced { .. }) => text(store, object, known).await,
            text => text,
        }
        .map_err(|error| error.to_string())?;
        let Some(text) = text else {
            return Ok(Looked::Unchanged);
        };
        let rules = parse(name, &text);
        *seen = Some(Seen {
            etag,
            is_good: rules.is_ok(),
        });
        Ok(Looked::Good(Arc::new(rules?), text))
    };
    let read = timeout(IO_TIMEOUT, read).await;
    read.unwrap_or_else(|_| {
        Err(format!(
            "{name}: not read within {} s",
            IO_TIMEOUT.as_secs()
        ))
    })
}

/// The file's entity tag and its text, unless it has been seen. Of a text that is too long there is one byte more
/// than it may have.
async fn text<S: Store>(
    store: &S,
    object: &ObjectId,
    seen: Option<&Etag>,
) -> Result<(Etag, Option<Bytes>), StoreError> {
    let meta = store.head(object).await?;
    if seen == Some(&meta.etag) {
        return Ok((meta.etag, None));
    }
    let text = match meta.size.min(FILE_BYTES_MAX as u64 + 1) {
        0 => Bytes::new(),
        size => store.read(object, &meta.etag, 0..size).await?,
    };
    Ok((meta.etag, Some(text)))
}

/// The rules of a file; else all that is wrong with it, a line for each problem, each with the file's name.
pub fn parse(name: &str, text: &[u8]) -> Result<Rules, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("{name}: expected at most {FILE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| format!("{name}: expected UTF-8"))?;
    Rules::parse(text).map_err(|errors| {
        let problems: Vec<String> = errors
            .to_string()
            .lines()
            .map(|problem| format!("{name}: {problem}"))
            .collect();
        problems.join("\n")
    })
}

/// Keeps the good rules of `file` for whoever starts while it is broken.
async fn keep<S, Q: Entries>(kept: Option<&Kept<S, Q>>, file: &ObjectId, text: Bytes) {
    let Some(kept) = kept.filter(|kept| kept.is_written) else {
        return;
    };
    let kept = timeout(IO_TIMEOUT, kept.quarantine.keep(&last_good(file), text)).await;
    match kept {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "rules not kept"),
        Err(_) => tracing::warn!("rules not kept in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::quarantine::memory::MemoryQuarantine;
    use crate::store::memory::MemoryStore;

    const GOOD: &str = "version: 1\nrules: []\n";
    const BROKEN: &str = "version: 1\nrule: []\n";

    /// So that an alarm does not end while the file is still broken.
    #[tokio::test]
    async fn a_file_is_broken_until_it_is_right_and_is_complained_of_once() {
        let store = Arc::new(MemoryStore::new());
        let put = |text: &str| store.put("b", "k", text.to_owned(), Timestamp::from_ms(0));
        let book: Rulebook<_, MemoryQuarantine> = Rulebook::new(RulesPlace::Object {
            store: Arc::clone(&store),
            object: ObjectId::new("b", "k"),
            again: Duration::ZERO,
            kept: None,
        });
        let look = async || {
            let current = book.current().await.expect("rules");
            (current.is_broken, current.problem.is_some())
        };
        put(GOOD);
        assert_eq!(look().await, (false, false));
        put(BROKEN);
        assert_eq!(look().await, (true, true));
        assert_eq!(look().await, (true, false), "the same file");
        store.remove("b", "k");
        assert_eq!(look().await, (true, true), "out of reach");
        put(BROKEN);
        assert_eq!(look().await, (true, false), "broken as before");
        put(GOOD);
        assert_eq!(look().await, (false, false));
        store.remove("b", "k");
        assert_eq!(look().await, (true, true));
        put(GOOD);
        assert_eq!(look().await, (false, false), "there again, and the same");
    }
}
