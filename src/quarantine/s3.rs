//! Quarantine in a bucket.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::aws::fault::Fault;
use crate::object::ObjectId;
use crate::quarantine::{
    Entries, Entry, EntryPage, Quarantine, QuarantineError, S3Place, read_entry, unreadable,
};
use crate::store::Store;
use crate::store::s3::S3Store;

/// Objects of one place. The client has our own credentials, never those for source buckets.
#[derive(Clone, Debug)]
pub struct S3Quarantine {
    client: Client,
    place: S3Place,
}

impl S3Quarantine {
    pub fn new(client: Client, place: S3Place) -> Self {
        Self { client, place }
    }
}

impl Quarantine for S3Quarantine {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        let key = format!("{}{name}", self.place.prefix());
        let place = format!("s3://{}/{key}", self.place.bucket);
        let put = self
            .client
            .put_object()
            .bucket(&self.place.bucket)
            .key(key)
            .content_type(content_type(name))
            .body(ByteStream::from(content));
        match put.send().boxed().await {
            Ok(_) => Ok(place),
            Err(error) => Err(failed(place, &Fault::of(&error))),
        }
    }

    fn holds(&self, object: &ObjectId) -> bool {
        self.place.holds(object)
    }
}

impl Entries for S3Quarantine {
    async fn list(&self, under: &str, after: Option<&str>) -> Result<EntryPage, QuarantineError> {
        let prefix = self.place.prefix();
        let after = after.map(|after| format!("{prefix}{after}"));
        let under = format!("{prefix}{under}");
        let bucket = &self.place.bucket;
        match self.store().list(bucket, &under, after.as_deref()).await {
            Ok(page) => Ok(EntryPage::of(page, prefix)),
            Err(error) => Err(unreadable(format!("s3://{bucket}/{under}"), &error)),
        }
    }

    async fn read(&self, entry: &Entry) -> Result<Option<Bytes>, QuarantineError> {
        read_entry(&self.store(), &self.object(&entry.name), entry).await
    }

    async fn replace(&self, entry: &Entry, rest: Option<Bytes>) -> Result<bool, QuarantineError> {
        let object = self.object(&entry.name);
        let etag = entry.etag.quoted();
        let fault = match rest {
            Some(rest) => {
                let put = self
                    .client
                    .put_object()
                    .bucket(&object.bucket)
                    .key(&object.key)
                    .content_type(content_type(&entry.name))
                    .if_match(etag)
                    .body(ByteStream::from(rest));
                put.send().await.err().map(|error| Fault::of(&error))
            }
            None => {
                let delete = self
                    .client
                    .delete_object()
                    .bucket(&object.bucket)
                    .key(&object.key)
                    .if_match(etag);
                delete.send().await.err().map(|error| Fault::of(&error))
            }
        };
        match fault {
            None => Ok(true),
            // Another one stands there, or is being written.
            Some(fault) if matches!(fault.status(), Some(409 | 412)) => Ok(false),
            Some(fault) if fault.status() == Some(404) => Ok(true),
            Some(fault) => Err(failed(object.to_string(), &fault)),
        }
    }

    fn object(&self, name: &str) -> ObjectId {
        let key = format!("{}{name}", self.place.prefix());
        ObjectId::new(&self.place.bucket, key)
    }
}

impl S3Quarantine {
    fn store(&self) -> S3Store {
        S3Store::new(self.client.clone())
    }
}

fn failed(place: String, fault: &Fault) -> QuarantineError {
    let reason = fault.to_string();
    match fault.is_transient() {
        true => QuarantineError::Unavailable { place, reason },
        false => QuarantineError::Refused { place, reason },
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("json") => "application/json",
        Some("ndjson") => "application/x-ndjson",
        _ => "application/octet-stream",
    }
}
