//! Quarantine in a bucket.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use crate::aws::fault::Fault;
use crate::object::ObjectId;
use crate::quarantine::{FOLDERS, Quarantine, QuarantineError};

/// Objects under one prefix. The client has our own credentials, never those for source buckets.
#[derive(Clone, Debug)]
pub struct S3Quarantine {
    client: Client,
    bucket: String,
    /// Empty, or with a `/` at its end.
    prefix: String,
}

impl S3Quarantine {
    /// `prefix` is a folder: a `/` is added where it has none.
    pub fn new(client: Client, bucket: impl Into<String>, prefix: &str) -> Self {
        Self {
            client,
            bucket: bucket.into(),
            prefix: super::folder(prefix),
        }
    }
}

impl Quarantine for S3Quarantine {
    async fn keep(&self, name: &str, content: Bytes) -> Result<String, QuarantineError> {
        let key = format!("{}{name}", self.prefix);
        let place = format!("s3://{}/{key}", self.bucket);
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content_type(name))
            .body(ByteStream::from(content));
        match put.send().await {
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
        let name = object.key.strip_prefix(&self.prefix);
        object.bucket == self.bucket
            && name.is_some_and(|name| FOLDERS.iter().any(|folder| name.starts_with(folder)))
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("json") => "application/json",
        Some("ndjson") => "application/x-ndjson",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_here_is_told_from_what_lies_beside_it() {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
            .build();
        let place = S3Quarantine::new(Client::from_conf(config), "b", "q");
        for (bucket, key, holds) in [
            ("b", "q/records/b/0/000000000000.ndjson", true),
            ("b", "q/cut/b/0/000000000000.ndjson", true),
            ("b", "q/objects/b/0.json", true),
            ("b", "q/logs/a.gz", false),
            ("b", "records/a.gz", false),
            ("c", "q/records/b/0/000000000000.ndjson", false),
        ] {
            assert_eq!(place.holds(&ObjectId::new(bucket, key)), holds, "{key}");
        }
    }
}
