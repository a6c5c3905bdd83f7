//! Quarantine in a bucket.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::aws::fault::Fault;
use crate::object::ObjectId;
use crate::quarantine::{Quarantine, QuarantineError, S3Place};

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
            Err(error) => {
                let fault = Fault::of(&error);
                let reason = fault.to_string();
                Err(match fault.is_transient() {
                    true => QuarantineError::Unavailable { place, reason },
                    false => QuarantineError::Refused { place, reason },
                })
            }
        }
    }

    fn holds(&self, object: &ObjectId) -> bool {
        self.place.holds(object)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("json") => "application/json",
        Some("ndjson") => "application/x-ndjson",
        _ => "application/octet-stream",
    }
}
