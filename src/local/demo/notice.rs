//! What S3 would send: the notification of an object, word for word as a function gets it.

use serde_json::json;
use url::form_urlencoded;

use crate::local::s3::ObjectCreated;

/// The payload for one object (S3 User Guide, "Event message structure"). Its key is form-encoded but for
/// the slashes.
pub fn notification(created: &ObjectCreated) -> Vec<u8> {
    json!({ "Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": created.time.to_string(),
        "eventName": created.event_name.as_str(),
        "userIdentity": { "principalId": "AWS:AIDAEXAMPLE" },
        "requestParameters": { "sourceIPAddress": "192.0.2.4" },
        "responseElements": { "x-amz-request-id": "C3D13FE58DE4C810" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "to-bucket-brigade",
            "bucket": {
                "name": created.bucket,
                "ownerIdentity": { "principalId": "A3NL1KOZZKExample" },
                "arn": format!("arn:aws:s3:::{}", created.bucket),
            },
            "object": {
                "key": encoded(&created.key),
                "size": created.size,
                "eTag": created.etag,
                "versionId": created.version_id,
                "sequencer": created.sequencer,
            },
        },
    }]})
    .to_string()
    .into_bytes()
}

fn encoded(key: &str) -> String {
    let part = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    key.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Trigger;
    use crate::local::s3::EventName;

    #[test]
    fn the_event_is_read_as_the_object_it_is_about() {
        let created = ObjectCreated {
            event_name: EventName::CompleteMultipartUpload,
            bucket: "b".to_owned(),
            key: "dir a/k+ey é日 %41.json.gz".to_owned(),
            etag: "e-1".to_owned(),
            size: 7,
            version_id: None,
            sequencer: "0A".to_owned(),
            time: Timestamp::from_secs(1_800_000_000),
        };
        let Ok(Trigger::Direct(found)) = Trigger::parse(&notification(&created)) else {
            panic!("a notification is direct");
        };
        let [item] = &found.items[..] else {
            panic!("{found:?}");
        };
        assert_eq!(
            (item.key.as_str(), item.size),
            (created.key.as_str(), Some(7))
        );
    }
}
