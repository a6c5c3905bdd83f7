//! Quarantine in memory, with a switch that makes it fail.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::quarantine::{Quarantine, QuarantineError};

/// Makes an error for the place it is given.
type Failure = Box<dyn Fn(String) -> QuarantineError + Send>;

#[derive(Default)]
pub struct MemoryQuarantine {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<String, Bytes>,
    writes: u64,
    failing: (u64, Option<Failure>),
}

impl MemoryQuarantine {
    pub fn new() -> Self {
        Self::default()
    }

    /// What is kept, by name.
    pub fn kept(&self) -> BTreeMap<String, Bytes> {
        self.state().kept.clone()
    }

    /// How many writes were asked for, failed ones included.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// The next `count` writes fail.
    pub fn fail(&self, count: u64, failure: impl Fn(String) -> QuarantineError + Send + 'static) {
        self.state().failing = (count, Some(Box::new(failure)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quarantine for MemoryQuarantine {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        let mut state = self.state();
        let place = format!("memory:{name}");
        state.writes += 1;
        if let (count @ 1.., Some(failure)) = &mut state.failing {
            *count -= 1;
            return Err(failure(place));
        }
        state.kept.insert(name.to_owned(), content);
        Ok(place)
    }
}
