//! From the request of a client to the request that the protocol crate serves.
//!
//! The embedded server accepts any credentials, so the signature is taken off; the framing that
//! comes with signed uploads (`aws-chunked`) is taken off with it.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use s3s::HttpRequest;

/// Largest request body: the largest object that S3 takes in one PUT.
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024 * 1024;
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// Why a request cannot be read. The connection it came on is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("failed to receive the body")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the aws-chunked body is malformed")]
    Chunks,
    #[error("the request target is malformed")]
    Target,
}

/// Receives the body and takes signature and upload framing off.
pub(super) async fn unsigned<B>(request: Request<B>) -> Result<HttpRequest, Unreadable>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let mut body = body.map_err(Unreadable::Body)?.to_bytes();

    parts.headers.remove(AUTHORIZATION);
    parts.uri = without_presigned_query(&parts.uri).ok_or(Unreadable::Target)?;

    let framed = parts
        .headers
        .get(CONTENT_SHA256)
        .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
    if framed {
        body = dechunked(body).ok_or(Unreadable::Chunks)?;
        parts.headers.remove(CONTENT_SHA256);
        parts.headers.remove(DECODED_LENGTH);
        parts.headers.remove("x-amz-trailer");
        let encoding = parts.headers.remove(CONTENT_ENCODING);
        if let Some(rest) = encoding.as_ref().and_then(without_aws_chunked) {
            parts.headers.insert(CONTENT_ENCODING, rest);
        }
    }
    if !body.is_empty() {
        parts.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    Ok(HttpRequest::from_parts(parts, s3s::Body::from(body)))
}

/// A presigned URL carries its signature among the parameters: `X-Amz-…`, or the three of version 2.
fn without_presigned_query(uri: &Uri) -> Option<Uri> {
    let query = uri.query().unwrap_or_default();
    if !query.contains("Signature=") {
        return Some(uri.clone());
    }
    let signs = |parameter: &&str| {
        ["X-Amz-", "AWSAccessKeyId=", "Signature=", "Expires="]
            .iter()
            .any(|start| parameter.starts_with(start))
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| !signs(parameter))
        .collect();
    format!("{}?{}", uri.path(), kept.join("&")).parse().ok()
}

fn without_aws_chunked(encoding: &HeaderValue) -> Option<HeaderValue> {
    let kept: Vec<&str> = encoding
        .to_str()
        .ok()?
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    let kept = kept.join(",");
    (!kept.is_empty()).then(|| HeaderValue::from_str(&kept).ok())?
}

/// The data of `SIZE[;chunk-signature=…] CRLF data CRLF … 0[;…] CRLF [trailers] CRLF`.
fn dechunked(mut framed: Bytes) -> Option<Bytes> {
    let mut data = BytesMut::with_capacity(framed.len());
    loop {
        let end = memchr::memmem::find(&framed, b"\r\n")?;
        let line = std::str::from_utf8(framed.get(..end)?).ok()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).ok()?;
        framed.advance(end + 2);
        if size == 0 {
            // What follows are trailers: checksums, which are not checked.
            return Some(data.freeze());
        }
        data.extend_from_slice(framed.get(..size)?);
        if framed.get(size..size + 2)? != b"\r\n" {
            return None;
        }
        framed.advance(size + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_framing_comes_off_with_signatures_and_trailers() {
        let framed =
            "5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n";
        assert_eq!(dechunked(framed.into()).unwrap(), "hello!");
    }

    #[test]
    fn a_framed_upload_that_stops_short_is_refused() {
        let framed = "5\r\nhello\r\n0\r\n\r\n";
        for end in 0..framed.len() - 3 {
            assert_eq!(
                dechunked(Bytes::from(framed[..end].to_owned())),
                None,
                "{end}"
            );
        }
    }
}
