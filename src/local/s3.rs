//! An S3 server on loopback, in this process, over objects in memory.
//!
//! The real AWS SDK and the aws CLI speak to it, path-style, with any credentials: signatures are
//! not checked. It lists in byte order in pages of 1,000, honours ranges, conditions, versions and
//! multipart uploads as S3 does, and can be told to fail.
//!
//! Objects live until they are deleted or the last handle is dropped; nothing touches the disk.

mod answer;
pub mod fault;
pub mod listing;
mod notification;
mod protocol;
pub mod store;
mod wire;

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use s3s::HttpError;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::mpsc;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;
use url::Url;

use crate::clock::{Clock, SystemClock, Timestamp};

use super::loopback::{Loopback, Serving};
use fault::{FaultRule, Faults};
use listing::{ListOrder, Position, Query};
use store::{Object, Refusal, Store, WriteCondition};

/// A running server. Clones are handles on the same one; it stops with the last of them.
#[derive(Debug, Clone)]
pub struct S3Server {
    shared: Arc<Shared>,
    service: S3Service,
    endpoint: Url,
    _serving: Arc<Serving>,
}

/// How an object came to be; the part of an event's name behind `ObjectCreated:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventName {
    Put,
    Copy,
    CompleteMultipartUpload,
}

impl EventName {
    /// As S3's records have it, for example `ObjectCreated:Put`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
        }
    }
}

/// What a bucket would notify about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectCreated {
    pub event_name: EventName,
    pub bucket: String,
    /// As it is, not encoded.
    pub key: String,
    /// Without quotes.
    pub etag: String,
    pub size: u64,
    pub version_id: Option<String>,
    /// Rises with every write; hexadecimal.
    pub sequencer: String,
    pub time: Timestamp,
}

/// What the server has been asked for so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub gets: u64,
    pub heads: u64,
    pub lists: u64,
    /// Bytes of objects in the bodies of GETs.
    pub bytes_served: u64,
}

/// What an object put from within this process may have that a plain PUT would not give it.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Default: now.
    pub last_modified: Option<Timestamp>,
    /// Default: `STANDARD`.
    pub storage_class: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    bytes_served: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    list_order: Mutex<ListOrder>,
    hides_missing: AtomicBool,
    counters: Counters,
    watchers: Mutex<Vec<mpsc::UnboundedSender<ObjectCreated>>>,
    sequence: AtomicU64,
}

impl S3Server {
    /// Starts a server without buckets on a free port of 127.0.0.1, on the current runtime.
    pub async fn start() -> io::Result<Self> {
        let loopback = Loopback::bind().await?;
        let endpoint = Url::parse(&format!("http://{}", loopback.address()))
            .expect("an address and a port make a URL");
        let shared = Arc::new(Shared::default());
        let service = S3ServiceBuilder::new(protocol::Protocol {
            shared: Arc::clone(&shared),
        })
        .build();
        let served = service.clone();
        let serving = loopback.serve(move |request: Request<Incoming>| {
            let service = served.clone();
            async move { respond(&service, request).await }
        });
        Ok(Self {
            shared,
            service,
            endpoint,
            _serving: Arc::new(serving),
        })
    }

    /// Where it listens; clients must address it path-style.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Answers one request, for a server that speaks S3 among other things on a port of its own.
    /// An error means that the connection should be closed.
    pub async fn respond<B>(&self, request: Request<B>) -> Result<Response<s3s::Body>, HttpError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        respond(&self.service, request).await
    }

    /// Makes a bucket, without versions.
    pub fn create_bucket(&self, bucket: &str) -> Result<(), Refusal> {
        self.shared.store().create_bucket(bucket, SystemClock.now())
    }

    /// Turns versions on or off.
    pub fn set_versioned(&self, bucket: &str, versioned: bool) -> Result<(), Refusal> {
        self.shared.store().set_versioned(bucket, versioned)
    }

    /// Stores an object as a PUT does: it is listed at once, and watchers hear of it.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Arc<Object>, Refusal> {
        self.put_with(bucket, key, bytes, PutOptions::default())
    }

    /// [`S3Server::put`], with another time or storage class.
    pub fn put_with(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Arc<Object>, Refusal> {
        let time = options.last_modified.unwrap_or_else(|| SystemClock.now());
        let mut object = Object::new(bytes.into(), time);
        if let Some(class) = options.storage_class {
            object.storage_class = class;
        }
        self.shared
            .store_object(bucket, key, EventName::Put, |store| {
                store.put(bucket, key, object, &WriteCondition::None)
            })
    }

    /// The current object of a key.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Arc<Object>, Refusal> {
        self.shared.store().get(bucket, key, None)
    }

    /// Removes the current object of a key, if there is one.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<(), Refusal> {
        let condition = WriteCondition::None;
        self.shared.store().delete(bucket, key, None, &condition)
    }

    /// Every key with this prefix and its object, in byte order.
    pub fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, Arc<Object>)>, Refusal> {
        let store = self.shared.store();
        let query = Query {
            prefix,
            delimiter: None,
            position: Position::Start,
            keys_max: usize::MAX,
            order: ListOrder::Bytes,
        };
        let page = store.list(bucket, &query)?;
        let objects = page.objects.into_iter();
        Ok(objects
            .map(|(key, object)| (key.to_owned(), Arc::clone(object)))
            .collect())
    }

    /// Every object created from now on, in order; none is dropped, however slow the reader.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<ObjectCreated> {
        let (watcher, events) = mpsc::unbounded_channel();
        locked(&self.shared.watchers).push(watcher);
        events
    }

    /// Adds an instruction to fail, behind those that are in force.
    pub fn fail(&self, rule: FaultRule) {
        self.shared.faults().add(rule);
    }

    /// Ends every instruction to fail.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    /// Lists in this order from now on.
    pub fn set_list_order(&self, order: ListOrder) {
        *locked(&self.shared.list_order) = order;
    }

    /// Answers 403 instead of 404 for a key that is not there, as S3 does to a caller that may not
    /// list the bucket.
    pub fn set_hides_missing(&self, hides: bool) {
        self.shared.hides_missing.store(hides, Ordering::Relaxed);
    }

    /// What clients have asked for so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        Counts {
            gets: counters.gets.load(Ordering::Relaxed),
            heads: counters.heads.load(Ordering::Relaxed),
            lists: counters.lists.load(Ordering::Relaxed),
            bytes_served: counters.bytes_served.load(Ordering::Relaxed),
        }
    }
}

async fn respond<B>(
    service: &S3Service,
    request: Request<B>,
) -> Result<Response<s3s::Body>, HttpError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match wire::unsigned(request).await {
        // The protocol crate logs every refusal as an error; here they are wanted as often as not.
        Ok(request) => {
            let answer = service.call(request);
            answer.with_subscriber(NoSubscriber::default()).await
        }
        Err(unreadable) => Err(HttpError::new(Box::new(unreadable))),
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        locked(&self.faults)
    }

    fn list_order(&self) -> ListOrder {
        *locked(&self.list_order)
    }

    fn hides_missing(&self) -> bool {
        self.hides_missing.load(Ordering::Relaxed)
    }

    /// Makes an object and tells the watchers, in the order of the writes.
    fn store_object(
        &self,
        bucket: &str,
        key: &str,
        event_name: EventName,
        make: impl FnOnce(&mut Store) -> Result<Arc<Object>, Refusal>,
    ) -> Result<Arc<Object>, Refusal> {
        let mut store = self.store();
        let object = make(&mut store)?;
        let event = ObjectCreated {
            event_name,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            etag: object.etag.clone(),
            size: object.size(),
            version_id: object.version_id.clone(),
            sequencer: format!("{:016X}", self.sequence.fetch_add(1, Ordering::Relaxed) + 1),
            time: SystemClock.now(),
        };
        locked(&self.watchers).retain(|watcher| watcher.send(event.clone()).is_ok());
        Ok(object)
    }
}

/// A panic elsewhere leaves the data of these locks whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
