//! Turns to be read: a small object takes part of one.
//!
//! A turn stands for the memory that reading an object takes. For a small one that is little, and most
//! of its time goes by waiting for the ledger and the store, so several share the place of a large one.
//! Whether an object is small is known only once it is inflated: one that turns out larger than it
//! looked gives up its part of a turn and all it has read, and begins again with a whole turn. It holds
//! nothing while it waits for that, so nobody waits in a circle.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An object of so many bytes, as it is stored, may be a small one.
pub const SMALL_OBJECT_BYTES: u64 = 32 * 1024;

/// A small object has fewer plain bytes than this, and fits a batch.
pub const SMALL_OBJECT_PLAIN_BYTES: u64 = 256 * 1024;

/// Small objects that are read at once. More make one CPU no faster, and each takes connections.
const SMALL_OBJECTS_MAX: usize = 32;

/// All turns there are.
pub(super) struct Turns {
    permits: Arc<Semaphore>,
    all: u32,
    whole: u32,
    part: u32,
}

impl Turns {
    /// As many as `objects_max` objects take, or for each of them so many small ones.
    pub(super) fn new(objects_max: usize, small_objects_per_turn: usize) -> Self {
        let whole = small_objects_per_turn.max(1);
        let all = (objects_max * whole).min(Semaphore::MAX_PERMITS);
        let part = all.div_ceil(SMALL_OBJECTS_MAX).min(whole);
        let permits = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(all)),
            all: permits(all),
            whole: permits(whole),
            part: permits(part),
        }
    }

    /// How many small objects are read at once.
    pub(super) fn small_objects_max(&self) -> usize {
        (self.all / self.part) as usize
    }

    /// Waits for a turn for an object of that size, or of any.
    pub(super) async fn take(&self, size: Option<u64>) -> Reading {
        let is_small =
            self.part < self.whole && size.is_some_and(|size| size <= SMALL_OBJECT_BYTES);
        let wanted = if is_small { self.part } else { self.whole };
        Reading {
            permit: acquire(Arc::clone(&self.permits), wanted).await,
            permits: Arc::clone(&self.permits),
            whole: self.whole,
            is_small,
        }
    }
}

/// The turn of one object, until it is dropped.
pub(super) struct Reading {
    permit: OwnedSemaphorePermit,
    permits: Arc<Semaphore>,
    whole: u32,
    is_small: bool,
}

impl Reading {
    pub(super) fn is_small(&self) -> bool {
        self.is_small
    }

    /// Gives up this turn, and then waits for a whole one.
    pub(super) fn give_up_for_whole(self) -> BoxFuture<'static, Reading> {
        let Self {
            permit,
            permits,
            whole,
            ..
        } = self;
        drop(permit);
        async move {
            Reading {
                permit: acquire(Arc::clone(&permits), whole).await,
                permits,
                whole,
                is_small: false,
            }
        }
        .boxed()
    }
}

async fn acquire(permits: Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    let permit = permits.acquire_many_owned(count).await;
    permit.expect("nobody closes this semaphore")
}
