//! Amazon S3, and any store that speaks its protocol.
//!
//! A name and a range go in, exactly that range's bytes come out, or one of [`StoreError`]'s
//! reasons, with S3's own code and message in it. It holds one range in memory, never an object.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{EncodingType, Object};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::time::timeout;

use crate::aws::fault::Fault;
use crate::aws::keys::SourceKeys;
use crate::clock::Timestamp;
use crate::object::{Etag, ObjectId};
use crate::store::{Listed, ObjectMeta, Page, Store, StoreError};

/// How long a body may bring nothing.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a body may take, beside what its length allows for.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest body that is still worth waiting for.
const BODY_BYTES_PER_SEC_MIN: u64 = 64 * 1024;

/// Buckets, seen through one client.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    keys: Option<SourceKeys>,
}

impl S3Store {
    pub fn new(client: Client) -> Self {
        Self { client, keys: None }
    }

    /// A store whose client uses `keys`, which are told when they are refused.
    pub fn with_keys(client: Client, keys: SourceKeys) -> Self {
        Self {
            client,
            keys: Some(keys),
        }
    }

    /// The answer to a HEAD has no body, so it does not tell a denied object from refused
    /// credentials. A GET for its first byte does.
    async fn why_no_head(&self, object: &ObjectId) -> Option<StoreError> {
        let get = self
            .client
            .get_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .set_version_id(object.version.clone())
            .range("bytes=0-0");
        let error = get.send().boxed().await.err()?;
        error.code()?;
        Some(self.failed(Asked::Read, &object.to_string(), &error))
    }

    fn failed<E>(&self, asked: Asked, place: &str, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let fault = Fault::of(error);
        if is_refusal_of_keys(&fault) && self.keys.as_ref().is_some_and(SourceKeys::refused) {
            return StoreError::Unavailable {
                place: place.to_owned(),
                reason: format!("{fault}; the secret is read again"),
            };
        }
        store_error(asked, place, &fault)
    }
}

impl Store for S3Store {
    async fn head(&self, object: &ObjectId) -> Result<ObjectMeta, StoreError> {
        let head = self
            .client
            .head_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .set_version_id(object.version.clone());
        let answer = match head.send().boxed().await {
            Ok(answer) => answer,
            Err(error) => {
                let told = self.failed(Asked::Head, &object.to_string(), &error);
                return Err(match told {
                    StoreError::Denied { .. } => self.why_no_head(object).await.unwrap_or(told),
                    _ => told,
                });
            }
        };
        let size = answer.content_length.and_then(|size| size.try_into().ok());
        match (answer.e_tag, size, answer.last_modified) {
            (Some(etag), Some(size), Some(time)) => Ok(ObjectMeta {
                etag: Etag::from(etag),
                size,
                last_modified: timestamp(&time),
            }),
            _ => Err(unavailable(
                object,
                "the answer lacks ETag, Content-Length or Last-Modified",
            )),
        }
    }

    async fn read(
        &self,
        object: &ObjectId,
        etag: &Etag,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let answer = self
            .client
            .get_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .set_version_id(object.version.clone())
            .if_match(etag.quoted())
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .send()
            .boxed()
            .await
            .map_err(|error| self.failed(Asked::Read, &object.to_string(), &error))?;
        check_head(&answer, object, etag, &range)?;
        let length = range.end - range.start;
        let limit = BODY_TIMEOUT + Duration::from_secs(length / BODY_BYTES_PER_SEC_MIN);
        match timeout(limit, opened(answer, length)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(reason)) => Err(unavailable(object, &reason)),
            Err(_) => Err(unavailable(
                object,
                &format!("the body took more than {} s", limit.as_secs()),
            )),
        }
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Result<Page, StoreError> {
        let place = format!("s3://{bucket}/{}", prefix.escape_debug());
        let answer = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .set_start_after(start_after.map(str::to_owned))
            .encoding_type(EncodingType::Url)
            .send()
            .boxed()
            .await
            .map_err(|error| self.failed(Asked::List, &place, &error))?;
        // The SDK leaves the keys as they came; a store that does not encode does not say so.
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let more = answer.is_truncated.unwrap_or(false);
        let objects = answer
            .contents
            .unwrap_or_default()
            .into_iter()
            .map(|object| listed(object, encoded))
            .collect::<Option<Vec<Listed>>>();
        match objects {
            None => Err(StoreError::Unavailable {
                place,
                reason: "the listing holds an object without key, ETag, size or time".to_owned(),
            }),
            Some(objects) if more && objects.is_empty() => Err(StoreError::Unavailable {
                place,
                reason: "the listing has an empty page and says that more follow".to_owned(),
            }),
            Some(objects) => Ok(Page { objects, more }),
        }
    }
}

fn unavailable(object: &ObjectId, reason: &str) -> StoreError {
    StoreError::Unavailable {
        place: object.to_string(),
        reason: reason.to_owned(),
    }
}

/// Some stores ignore `If-Match` or `Range`. Their answers are told apart here, before a byte of
/// the body is taken for what was asked for.
fn check_head(
    answer: &GetObjectOutput,
    object: &ObjectId,
    etag: &Etag,
    range: &Range<u64>,
) -> Result<(), StoreError> {
    if let Some(found) = answer.e_tag()
        && Etag::from(found) != *etag
    {
        return Err(StoreError::Replaced {
            place: object.to_string(),
        });
    }
    let asked = format!("bytes {}-{}/", range.start, range.end - 1);
    match answer.content_range() {
        Some(content_range) if content_range.starts_with(&asked) => Ok(()),
        // The whole object may be the range; `receive` counts its bytes.
        None if range.start == 0 => Ok(()),
        found => Err(unavailable(
            object,
            &format!(
                "asked for `{asked}…`, the answer has `{}`",
                found.unwrap_or("no Content-Range")
            ),
        )),
    }
}

/// The body of an answer whose head is in order, as [`receive`] gives it. The head is not kept meanwhile.
fn opened(
    answer: GetObjectOutput,
    length: u64,
) -> impl Future<Output = Result<Bytes, String>> + Send {
    receive(answer.body, answer.content_length, length)
}

/// The body, if it is exactly `length` bytes; otherwise what was wrong with it.
async fn receive(
    mut body: ByteStream,
    announced: Option<i64>,
    length: u64,
) -> Result<Bytes, String> {
    if let Some(announced) = announced
        && u64::try_from(announced) != Ok(length)
    {
        return Err(format!(
            "asked for {length} bytes, {announced} were announced"
        ));
    }
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    let mut bytes = BytesMut::with_capacity(length);
    loop {
        match timeout(BODY_IDLE_TIMEOUT, body.next()).await {
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() <= length => {
                bytes.extend_from_slice(&chunk);
            }
            Ok(Some(Ok(_))) => return Err(format!("more than {length} bytes came")),
            Ok(Some(Err(error))) => {
                return Err(format!(
                    "broken off after {} of {length} bytes: {error}",
                    bytes.len()
                ));
            }
            Ok(None) if bytes.len() == length => return Ok(bytes.freeze()),
            Ok(None) => return Err(format!("ended after {} of {length} bytes", bytes.len())),
            Err(_) => {
                return Err(format!(
                    "nothing came for {} s after {} of {length} bytes",
                    BODY_IDLE_TIMEOUT.as_secs(),
                    bytes.len()
                ));
            }
        }
    }
}

fn listed(object: Object, encoded: bool) -> Option<Listed> {
    let key = object.key?;
    Some(Listed {
        key: match encoded {
            true => decode_key(&key)?,
            false => key,
        },
        etag: Etag::from(object.e_tag?),
        size: object.size?.try_into().ok()?,
        last_modified: timestamp(&object.last_modified?),
    })
}

/// A key as `EncodingType=url` writes it: `+` is a space, then `%XX`. None if that is not UTF-8.
fn decode_key(encoded: &str) -> Option<String> {
    let mut key = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        key.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            _ => byte,
        });
    }
    String::from_utf8(key).ok()
}

/// A time before 1970 becomes 1970.
fn timestamp(time: &DateTime) -> Timestamp {
    let ms = time.to_millis().unwrap_or_default();
    Timestamp::from_ms(ms.try_into().unwrap_or_default())
}

/// What was asked for; the same answer means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Head,
    Read,
    List,
}

/// S3's codes for credentials that are wrong or over.
fn is_refusal_of_keys(fault: &Fault) -> bool {
    matches!(
        fault.code(),
        "ExpiredToken" | "InvalidAccessKeyId" | "InvalidToken" | "SignatureDoesNotMatch"
    )
}

fn store_error(asked: Asked, place: &str, fault: &Fault) -> StoreError {
    let place = place.to_owned();
    let reason = match fault {
        Fault::Answered {
            region: Some(region),
            ..
        } if is_elsewhere(fault) => format!("{fault} (the bucket is in {region})"),
        _ => fault.to_string(),
    };
    let names_key = fault.message().to_ascii_lowercase().contains("kms");
    match (fault.status(), fault.code()) {
        (None, _) if fault.is_transient() => StoreError::Unavailable { place, reason },
        (None, _) => StoreError::Unusable { place, reason },
        _ if is_elsewhere(fault) => StoreError::WrongRegion { place, reason },
        _ if fault.is_transient() => StoreError::Unavailable { place, reason },
        _ if is_refusal_of_keys(fault) => StoreError::Unusable { place, reason },
        (Some(401), _) => StoreError::Unusable { place, reason },
        // These concern the bucket, the account or this machine's clock, not one object.
        (
            _,
            "AccountProblem"
            | "AllAccessDisabled"
            | "InvalidBucketName"
            | "NoSuchBucket"
            | "NotSignedUp"
            | "RequestTimeTooSkewed",
        ) => StoreError::Unusable { place, reason },
        // Codes of disabled, deleted or pending keys. No full list of them was found in AWS's
        // documents; all that are known begin like this.
        (_, code) if code.starts_with("KMS.") => StoreError::KeyDenied { place, reason },
        (_, "InvalidObjectState") => StoreError::Archived { place, reason },
        (Some(412 | 416), _) => StoreError::Replaced { place },
        _ if asked == Asked::List => StoreError::Unusable { place, reason },
        // Not S3's words but those of something on the way. They must not pass for "gone".
        (_, "") if asked == Asked::Read => StoreError::Unavailable {
            place,
            reason: format!("{reason}, without a code of S3's"),
        },
        (Some(404), _) => StoreError::NotFound { place },
        (Some(405), "MethodNotAllowed") => StoreError::NotFound { place },
        (Some(403), _) if names_key => StoreError::KeyDenied { place, reason },
        (Some(403), _) => StoreError::Denied { place, reason },
        // What is left concerns this one request: a version id that is none, a key that a store
        // cannot hold.
        _ => StoreError::Denied { place, reason },
    }
}

fn is_elsewhere(fault: &Fault) -> bool {
    matches!(fault.status(), Some(301 | 307))
        || matches!(
            fault.code(),
            "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException"
                | "PermanentRedirect"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: &str, message: &str) -> Fault {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Fault::Answered {
            status,
            code: some(code),
            message: some(message),
            region: None,
        }
    }

    fn kind(asked: Asked, fault: &Fault) -> &'static str {
        match store_error(asked, "s3://b/k", fault) {
            StoreError::NotFound { .. } => "not found",
            StoreError::Replaced { .. } => "replaced",
            StoreError::Denied { .. } => "denied",
            StoreError::KeyDenied { .. } => "key denied",
            StoreError::Archived { .. } => "archived",
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::WrongRegion { .. } => "wrong region",
            StoreError::Unusable { .. } => "unusable",
        }
    }

    #[test]
    fn each_answer_of_s3_has_its_own_failure() {
        use Asked::{Head, List, Read};
        let kms = "User: x is not authorized to perform: kms:Decrypt on resource: y";
        for (asked, status, code, message, expected) in [
            (Read, 404, "NoSuchKey", "", "not found"),
            (Read, 404, "NoSuchVersion", "", "not found"),
            (Read, 405, "MethodNotAllowed", "", "not found"),
            (Read, 404, "NoSuchBucket", "", "unusable"),
            (Read, 403, "AccessDenied", "Access Denied", "denied"),
            (Read, 403, "AccessDenied", kms, "key denied"),
            (Read, 400, "KMS.DisabledException", "", "key denied"),
            (Read, 400, "KMS.ThrottlingException", "", "unavailable"),
            (Read, 403, "InvalidObjectState", "", "archived"),
            (Read, 412, "PreconditionFailed", "", "replaced"),
            (Read, 416, "InvalidRange", "", "replaced"),
            (Read, 301, "PermanentRedirect", "", "wrong region"),
            (
                Read,
                400,
                "AuthorizationHeaderMalformed",
                "",
                "wrong region",
            ),
            (Read, 503, "SlowDown", "", "unavailable"),
            (Read, 500, "InternalError", "", "unavailable"),
            (Read, 400, "RequestTimeout", "", "unavailable"),
            (Read, 403, "InvalidAccessKeyId", "", "unusable"),
            (Read, 403, "SignatureDoesNotMatch", "", "unusable"),
            (Read, 400, "ExpiredToken", "", "unusable"),
            (Read, 403, "RequestTimeTooSkewed", "", "unusable"),
            (Read, 401, "Unauthorized", "", "unusable"),
            (Read, 206, "", "", "unavailable"),
            (Read, 404, "", "", "unavailable"),
            (Read, 403, "", "", "unavailable"),
            (Head, 404, "", "", "not found"),
            (Head, 403, "", "", "denied"),
            (Head, 412, "", "", "replaced"),
            (Head, 301, "", "", "wrong region"),
            (Head, 503, "", "", "unavailable"),
            (List, 403, "AccessDenied", "", "unusable"),
            (List, 404, "NoSuchBucket", "", "unusable"),
            (List, 503, "SlowDown", "", "unavailable"),
        ] {
            let fault = answered(status, code, message);
            assert_eq!(kind(asked, &fault), expected, "{asked:?} {fault}");
        }
    }

    #[test]
    fn a_bucket_elsewhere_is_reported_with_its_region() {
        let fault = Fault::Answered {
            status: 301,
            code: None,
            message: None,
            region: Some("eu-west-1".to_owned()),
        };
        let error = store_error(Asked::Head, "s3://b/k", &fault);
        assert_eq!(
            error.to_string(),
            "s3://b/k is in another region: 301 (the bucket is in eu-west-1)"
        );
    }

    #[test]
    fn listed_keys_are_decoded_to_their_exact_bytes() {
        let encoded = "dir+a/k%2Bey+%C3%A9%E6%97%A5+%2541.json.gz";
        let key = decode_key(encoded);
        assert_eq!(key.as_deref(), Some("dir a/k+ey é日 %41.json.gz"));
        assert_eq!(decode_key("a%00%0A%1F").as_deref(), Some("a\0\n\u{1f}"));
        assert_eq!(decode_key("a%"), None);
        assert_eq!(decode_key("a%zz"), None);
        assert_eq!(decode_key("%FF"), None);
    }
}
