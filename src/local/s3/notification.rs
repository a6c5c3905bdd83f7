//! What S3 tells about a new object, in the two shapes it tells it in.

use serde_json::{Value, json};

use super::listing::url_encoded;
use super::{EventName, ObjectCreated};

impl ObjectCreated {
    /// As a bucket notification has it: one record, the key form-encoded.
    pub fn notification(&self) -> Value {
        let mut object = json!({
            "key": url_encoded(&self.key),
            "size": self.size,
            "eTag": self.etag,
            "sequencer": self.sequencer,
        });
        if let Some(version_id) = &self.version_id {
            object["versionId"] = version_id.as_str().into();
        }
        json!({ "Records": [{
            "eventVersion": "2.5",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": self.time.to_string(),
            "eventName": self.event_name.as_str(),
            "userIdentity": { "principalId": "AWS:AIDAJDPLRKLG7UEXAMPLE" },
            "requestParameters": { "sourceIPAddress": "127.0.0.1" },
            "responseElements": { "x-amz-request-id": self.sequencer, "x-amz-id-2": "embedded" },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "embedded",
                "bucket": {
                    "name": self.bucket,
                    "ownerIdentity": { "principalId": "A3NL1KOZZKExample" },
                    "arn": format!("arn:aws:s3:::{}", self.bucket),
                },
                "object": object,
            },
        }] })
    }

    /// As EventBridge has it: the key as it is.
    pub fn event_bridge(&self) -> Value {
        let mut object = json!({
            "key": self.key,
            "size": self.size,
            "etag": self.etag,
            "sequencer": self.sequencer,
        });
        if let Some(version_id) = &self.version_id {
            object["version-id"] = version_id.as_str().into();
        }
        let reason = match self.event_name {
            EventName::Put => "PutObject",
            EventName::Copy => "CopyObject",
            EventName::CompleteMultipartUpload => "CompleteMultipartUpload",
        };
        json!({
            "version": "0",
            "id": format!("00000000-0000-4000-8000-{:0>12}", self.sequencer.trim_start_matches('0')),
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "123456789012",
            "time": self.time.to_string(),
            "region": "us-east-1",
            "resources": [format!("arn:aws:s3:::{}", self.bucket)],
            "detail": {
                "version": "0",
                "bucket": { "name": self.bucket },
                "object": object,
                "request-id": self.sequencer,
                "requester": "123456789012",
                "source-ip-address": "127.0.0.1",
                "reason": reason,
            },
        })
    }
}
