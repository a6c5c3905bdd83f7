//! A store in memory whose connections break, stall and lie, and whose objects change under the reader.

use std::ops::Range;
use std::sync::Arc;

use bucket_brigade::object::{Etag, ObjectId};
use bucket_brigade::store::memory::MemoryStore;
use bucket_brigade::store::{ObjectMeta, Page, Store, StoreError};
use bytes::Bytes;

use crate::faults::Fault;
use crate::object::Health;
use crate::producer::Producer;
use crate::world::World;

pub struct SimStore {
    pub inner: Arc<MemoryStore>,
    pub world: Arc<World>,
    pub producer: Arc<Producer>,
    pub process: u64,
}

fn unavailable(object: &ObjectId, reason: &str) -> StoreError {
    StoreError::Unavailable {
        place: object.to_string(),
        reason: reason.to_owned(),
    }
}

impl SimStore {
    /// What is wrong with the object that stands there for good.
    fn check_health(&self, object: &ObjectId) -> Result<(), StoreError> {
        let state = self.world.state();
        let standing = state
            .contents
            .iter()
            .rfind(|content| content.id.key == object.key && content.stands);
        let place = object.to_string();
        match standing.map(|content| content.health) {
            Some(Health::Denied) => Err(StoreError::Denied {
                place,
                reason: "AccessDenied".to_owned(),
            }),
            Some(Health::Archived) => Err(StoreError::Archived {
                place,
                reason: "GLACIER".to_owned(),
            }),
            Some(Health::Whole | Health::Damaged { .. }) | None => Ok(()),
        }
    }

    /// Notes who asks for a key that never was.
    fn check_key(&self, object: &ObjectId) {
        if !self.world.state().keys.contains(&object.key) {
            let key = &object.key;
            self.world
                .violate(&format!("asked for {key:?}, a key that nobody wrote"));
        }
    }

    async fn suffer(&self, object: &ObjectId) -> Result<(), StoreError> {
        self.world.pass(5, 60).await;
        if self.world.strikes(Fault::Get500) {
            return Err(unavailable(object, "500 InternalError"));
        }
        if self.world.strikes(Fault::Get503) {
            return Err(unavailable(object, "503 SlowDown"));
        }
        Ok(())
    }
}

impl Store for SimStore {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        self.check_key(object);
        self.world.pass(5, 40).await;
        if self.world.strikes(Fault::HeadFailed) {
            return Err(unavailable(object, "503 to a HEAD"));
        }
        // An archived object still says what it is.
        match self.check_health(object) {
            Err(error @ StoreError::Denied { .. }) => Err(error),
            _ => self.inner.head(object).await,
        }
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.check_key(object);
        let _guard = self.world.begin(self.process, |under_way, begins| {
            under_way.reads = if begins {
                under_way.reads + 1
            } else {
                under_way.reads - 1
            };
        });
        self.suffer(object).await?;
        if range.start > 0 && self.world.strikes(Fault::ObjectOverwrittenWhileRead) {
            self.producer.overwrite(&object.key);
        }
        if range.start == 0 && self.world.strikes(Fault::ObjectDeletedBeforeFetch) {
            self.producer.delete(&object.key);
        }
        self.check_health(object)?;
        let read = self.inner.read(object, etag, range.clone()).await?;
        if self.world.strikes(Fault::GetBroken) {
            let at = self.world.state().random.between(0, read.len() as u64 + 1);
            self.world.pass_log(1, 10_000).await;
            let reason = format!("connection broken after {at} bytes of {}", read.len());
            return Err(unavailable(object, &reason));
        }
        if self.world.strikes(Fault::GetStalled) {
            self.world.pass_log(1_000, 600_000).await;
            return Err(unavailable(object, "stalled"));
        }
        if self.world.strikes(Fault::GetWrongLength) {
            return Ok(Bytes::from([&read[..], b"}\n{\"more\":1"].concat()));
        }
        if read.len() > 1 && self.world.strikes(Fault::GetShort) {
            let at = self.world.state().random.between(0, read.len() as u64) as usize;
            return Ok(read.slice(..at));
        }
        Ok(read)
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        self.world.pass(20, 200).await;
        if self.world.strikes(Fault::ListFailed) {
            let object = ObjectId::new(bucket, prefix);
            return Err(unavailable(&object, "503 to a LIST"));
        }
        self.inner.list(bucket, prefix, start_after).await
    }
}
