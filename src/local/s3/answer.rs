//! What the answers of the embedded S3 are made of: errors, conditions, ranges, bodies, entries.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::listing::{PAGE_KEYS_MAX, url_encoded};
use super::store::{self, Refusal, WriteCondition};
use crate::clock;

/// How long a connection that is to break stays open behind its last byte, so that the byte leaves.
const BREAK_LINGER: Duration = Duration::from_millis(20);

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            Refusal::BucketAlreadyOwnedByYou => S3ErrorCode::BucketAlreadyOwnedByYou,
            Refusal::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
            Refusal::NoSuchKey => S3ErrorCode::NoSuchKey,
            Refusal::NoSuchVersion => S3ErrorCode::NoSuchVersion,
            Refusal::KeyTooLong => S3ErrorCode::KeyTooLongError,
            Refusal::PreconditionFailed => S3ErrorCode::PreconditionFailed,
            Refusal::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            Refusal::InvalidPart => S3ErrorCode::InvalidPart,
            Refusal::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            Refusal::EntityTooSmall => S3ErrorCode::EntityTooSmall,
        };
        S3Error::with_message(code, refusal.to_string())
    }
}

/// What is left of a fault once the errors among them have been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    BreakAfter(u64),
    StallAfter(u64),
}

pub(super) fn permanent_redirect() -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::PermanentRedirect,
        "The bucket you are attempting to access must be addressed using the specified endpoint.",
    );
    error.set_status_code(StatusCode::MOVED_PERMANENTLY);
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-bucket-region", HeaderValue::from_static("eu-west-1"));
    error.set_headers(headers);
    error
}

/// `If-Match` and `If-None-Match` of a read.
pub(super) fn check_conditions(
    object: &store::Object,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let matches = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    };
    if if_match.is_some_and(|condition| !matches(condition)) {
        return Err(s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        ));
    }
    if if_none_match.is_some_and(matches) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

pub(super) fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(WriteCondition::Etag(etag.into_value())),
        (Some(_), _) | (None, Some(ETagCondition::ETag(_))) => Err(s3_error!(NotImplemented)),
    }
}

/// The part of an object that a request asks for: first byte, end, and `Content-Range` if partial.
pub(super) fn slice_of(
    object: &store::Object,
    range: Option<&Range>,
) -> S3Result<(u64, u64, Option<String>)> {
    let size = object.size();
    let Some(range) = range else {
        return Ok((0, size, None));
    };
    let Ok(part) = range.check(size) else {
        let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
        if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
            let headers = HeaderMap::from_iter([(http::header::CONTENT_RANGE, value)]);
            error.set_headers(headers);
        }
        return Err(error);
    };
    let content_range = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    Ok((part.start, part.end, Some(content_range)))
}

/// A body of these bytes, told or not told to go wrong on the way.
pub(super) fn body(bytes: Bytes, fault: Option<BodyFault>) -> StreamingBlob {
    let sent = |at: u64| {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        stream::iter([Ok(bytes.slice(..at))])
    };
    match fault {
        None => StreamingBlob::from(s3s::Body::from(bytes)),
        Some(BodyFault::BreakAfter(at)) => {
            let broken = stream::once(async {
                tokio::time::sleep(BREAK_LINGER).await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            });
            StreamingBlob::wrap(sent(at).chain(broken))
        }
        Some(BodyFault::StallAfter(at)) => {
            let stalled = stream::pending::<io::Result<Bytes>>();
            StreamingBlob::wrap(sent(at).chain(stalled))
        }
    }
}

pub(super) async fn received(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else {
        return Ok(Bytes::new());
    };
    let failed = |error| S3Error::with_source(S3ErrorCode::IncompleteBody, error);
    let first = body
        .next()
        .await
        .transpose()
        .map_err(failed)?
        .unwrap_or_default();
    // As a rule the body was received whole, so that nothing has to be copied.
    let Some(second) = body.next().await.transpose().map_err(failed)? else {
        return Ok(first);
    };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    while let Some(more) = body.next().await.transpose().map_err(failed)? {
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

pub(super) fn quoted(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

/// A header names the storage class of an object only if it is not the usual one.
pub(super) fn storage_class(object: &store::Object) -> Option<StorageClass> {
    (object.storage_class != store::STANDARD).then(|| object.storage_class.clone().into())
}

pub(super) fn metadata(object: &store::Object) -> Option<Metadata> {
    let pairs = object.metadata.iter();
    (!object.metadata.is_empty()).then(|| pairs.map(|(k, v)| (k.clone(), v.clone())).collect())
}

pub(super) fn sorted(metadata: Option<Metadata>) -> BTreeMap<String, String> {
    metadata.unwrap_or_default().into_iter().collect()
}

pub(super) fn timestamp(time: clock::Timestamp) -> Timestamp {
    (UNIX_EPOCH + Duration::from_millis(time.as_ms())).into()
}

pub(super) fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn keys_max(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.map_or(Ok(PAGE_KEYS_MAX), usize::try_from);
    let asked = asked.map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative"))?;
    Ok(asked.min(PAGE_KEYS_MAX))
}

/// How keys go into the answer.
pub(super) fn encoder(asked: Option<&EncodingType>) -> fn(&str) -> String {
    match asked.map(EncodingType::as_str) {
        Some("url") => url_encoded,
        Some(_) | None => str::to_owned,
    }
}

pub(super) fn contents(
    objects: &[(&str, &Arc<store::Object>)],
    encode: fn(&str) -> String,
) -> Vec<Object> {
    let entry = |(key, object): &(&str, &Arc<store::Object>)| Object {
        key: Some(encode(key)),
        e_tag: quoted(&object.etag),
        size: Some(length(object.size())),
        last_modified: Some(timestamp(object.last_modified)),
        storage_class: Some(object.storage_class.clone().into()),
        ..Object::default()
    };
    objects.iter().map(entry).collect()
}

pub(super) fn common_prefixes(prefixes: &[&str], encode: fn(&str) -> String) -> Vec<CommonPrefix> {
    let entry = |prefix: &&str| CommonPrefix {
        prefix: Some(encode(prefix)),
    };
    prefixes.iter().map(entry).collect()
}
