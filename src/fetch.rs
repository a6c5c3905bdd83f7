//! Reads an object in parts of bounded size, one part ahead.
//!
//! A part is received whole before it is used, so a slow endpoint never stalls an open response.
//! A broken part is fetched again, not the object. The parts are exactly the object, or what of it comes from a
//! byte on: as many bytes as were announced, or an error.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::backoff::{Next, before_next_attempt};
use crate::clock::{Clock, Timestamp};
use crate::object::{ContentId, ObjectId};
use crate::store::{Store, StoreError};

/// How often a part is asked for before the item goes back to the queue.
const PART_TRIES_MAX: u32 = 6;

type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Bytes, StoreError>> + Send + 'a>>;

/// The parts of one object, in order. Holds at most one part.
pub struct Parts<'a, S, C> {
    source: Source<'a, S, C>,
    start: u64,
    next: u64,
    fetching: Option<Fetching<'a>>,
    ahead: Option<Bytes>,
}

/// Where parts come from, and how long they may take.
pub struct Source<'a, S, C> {
    pub store: &'a S,
    pub clock: &'a C,
    pub object: &'a ObjectId,
    pub content: &'a ContentId,
    pub part_bytes: u64,
    /// No try begins after this.
    pub until: Timestamp,
    pub random: fn() -> u64,
}

impl<S, C> Clone for Source<'_, S, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, C> Copy for Source<'_, S, C> {}

impl<'a, S: Store, C: Clock> Parts<'a, S, C> {
    /// The parts from byte `start` of the object on.
    pub fn new(source: Source<'a, S, C>, start: u64) -> Self {
        Self {
            source,
            start,
            next: start,
            fetching: None,
            ahead: None,
        }
    }

    /// Whether [`Parts::fill`] has anything to do.
    pub fn can_fill(&self) -> bool {
        self.ahead.is_none() && self.next < self.source.content.size
    }

    /// Whether [`Parts::take`] has a part to give.
    pub fn has_part(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether every part was taken.
    pub fn is_done(&self) -> bool {
        self.ahead.is_none() && self.next >= self.source.content.size
    }

    /// Fetches the next part ahead. Dropping this before it is ready loses nothing.
    pub async fn fill(&mut self) -> Result<(), StoreError> {
        if !self.can_fill() {
            return Ok(());
        }
        let end = (self.next + self.source.part_bytes).min(self.source.content.size);
        let (source, range) = (self.source, self.next..end);
        let fetching = self
            .fetching
            .get_or_insert_with(|| Box::pin(fetch(source, range)));
        let part = fetching.await;
        self.fetching = None;
        self.ahead = Some(part?);
        self.next = end;
        Ok(())
    }

    /// Begins again with the first part.
    pub fn restart(&mut self) {
        *self = Self::new(self.source, self.start);
    }

    /// The part that was fetched ahead.
    pub fn take(&mut self) -> Option<Bytes> {
        self.ahead.take()
    }
}

async fn fetch<S: Store, C: Clock>(
    source: Source<'_, S, C>,
    range: std::ops::Range<u64>,
) -> Result<Bytes, StoreError> {
    let place = || source.object.to_string();
    let mut tries = 0;
    loop {
        let left = source.until.since(source.clock.now());
        let read = source
            .store
            .read(source.object, &source.content.etag, range.clone());
        let error = match tokio::time::timeout(left, read).await {
            Ok(Ok(part)) if part.len() as u64 == range.end - range.start => return Ok(part),
            Ok(Ok(part)) => StoreError::Unavailable {
                place: place(),
                reason: format!("{} bytes came for {range:?}", part.len()),
            },
            Ok(Err(error @ StoreError::Unavailable { .. })) => error,
            Ok(Err(error)) => return Err(error),
            Err(_) => StoreError::Unavailable {
                place: place(),
                reason: "time ran out".to_owned(),
            },
        };
        tries += 1;
        if tries >= PART_TRIES_MAX {
            return Err(error);
        }
        let left = source.until.since(source.clock.now());
        match before_next_attempt(tries, None, left, (source.random)()) {
            Next::Wait(pause) => tokio::time::sleep(pause).await,
            Next::GiveUp => return Err(error),
        }
    }
}
