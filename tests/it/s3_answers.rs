//! `S3Store` before servers that answer as no good one does: each answer is written by hand.

use std::time::Duration;

use aws_credential_types::Credentials;
use bucket_brigade::aws::{Aws, AwsSettings};
use bucket_brigade::config::SourceAccess;
use bucket_brigade::object::{Etag, ObjectId};
use bucket_brigade::store::{Store, StoreError};
use bucket_brigade::tls;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each request with what `answer` makes of its head, then closes the connection.
async fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 16 * 1024];
            let length = socket.read(&mut head).await.unwrap_or_default();
            let answer = answer(&String::from_utf8_lossy(&head[..length]));
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

/// Answers every request alike.
async fn always(answer: impl Into<String>) -> String {
    let answer = answer.into();
    serve(move |_| answer.clone()).await
}

async fn aws(endpoint_url: String) -> Aws {
    aws_with(endpoint_url, SourceAccess::Own).await
}

async fn aws_with(endpoint_url: String, source: SourceAccess) -> Aws {
    let settings = AwsSettings {
        endpoint_url: Some(endpoint_url),
        region: Some("us-east-1".to_owned()),
        profile: None,
        credentials: Some(Credentials::new("AK", "s", None, None, "test")),
        source,
    };
    let tls = tls::client_config(None).expect("a configuration");
    Aws::load(settings, &tls).await.expect("a configuration")
}

/// Reads bytes 2 to 6 of an object from a server that answers with `answer`.
async fn read(answer: impl Into<String>) -> Result<Bytes, StoreError> {
    let store = aws(always(answer).await).await.source_store();
    let object = ObjectId::new("b", "k");
    let etag = Etag::from("e");
    let read = store.read(&object, &etag, 2..6);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("an answer in time")
}

fn partial(length: usize, range: &str, etag: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {length}\r\n\
         content-range: {range}\r\netag: \"{etag}\"\r\nconnection: close\r\n\r\n{body}"
    )
}

fn refused(status: &str, headers: &str, code: &str, message: &str) -> String {
    let body = match code {
        "" => String::new(),
        _ => format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
    };
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn exactly_the_range_is_a_success() {
    let body = read(partial(4, "bytes 2-5/10", "e", "2345")).await;
    assert_eq!(body.expect("the range"), "2345");
}

#[tokio::test]
async fn a_body_of_another_length_is_never_a_success() {
    let chunked = |body: &str| {
        format!(
            "HTTP/1.1 206 Partial Content\r\ntransfer-encoding: chunked\r\n\
             content-range: bytes 2-5/10\r\netag: \"e\"\r\nconnection: close\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    for answer in [
        // Cut off by the connection's end.
        partial(4, "bytes 2-5/10", "e", "23"),
        // Announced shorter, and longer.
        partial(3, "bytes 2-5/10", "e", "234"),
        partial(5, "bytes 2-5/10", "e", "23456"),
        // No length announced.
        chunked("234"),
        chunked("23456"),
    ] {
        let error = read(answer.clone()).await.expect_err("not the range");
        assert!(
            matches!(error, StoreError::Unavailable { .. }),
            "{answer}\n{error}"
        );
    }
}

#[tokio::test]
async fn a_body_without_an_announced_length_is_counted() {
    let answer = "HTTP/1.1 206 Partial Content\r\ntransfer-encoding: chunked\r\n\
                  content-range: bytes 2-5/10\r\netag: \"e\"\r\nconnection: close\r\n\r\n\
                  2\r\n23\r\n2\r\n45\r\n0\r\n\r\n";
    assert_eq!(read(answer).await.expect("the range"), "2345");
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_noticed() {
    let error = read(partial(4, "bytes 2-5/10", "other", "2345")).await;
    assert!(
        matches!(error, Err(StoreError::Replaced { .. })),
        "{error:?}"
    );
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\netag: \"e\"\r\nconnection: close\r\n\r\n0123"
            .to_owned(),
        partial(4, "bytes 0-3/10", "e", "0123"),
    ] {
        let error = read(answer).await;
        assert!(
            matches!(error, Err(StoreError::Unavailable { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn each_refusal_keeps_its_code_message_and_region() {
    let header = "x-amz-bucket-region: eu-west-1\r\n";
    let expect = "the region 'us-east-1' is wrong; expecting 'eu-west-1'";
    for (answer, expected) in [
        (
            refused("403 Forbidden", "", "AccessDenied", "Access Denied"),
            "access to s3://b/k denied: 403 AccessDenied: Access Denied",
        ),
        (
            refused("403 Forbidden", "", "InvalidObjectState", "restore it"),
            "s3://b/k is archived: 403 InvalidObjectState: restore it",
        ),
        (
            refused("400 Bad Request", "", "KMS.DisabledException", "off"),
            "the key that encrypts s3://b/k was refused: 400 KMS.DisabledException: off",
        ),
        (
            refused("301 Moved Permanently", header, "PermanentRedirect", "go"),
            "s3://b/k is in another region: 301 PermanentRedirect: go (the bucket is in eu-west-1)",
        ),
        (
            refused(
                "400 Bad Request",
                "",
                "AuthorizationHeaderMalformed",
                expect,
            ),
            "s3://b/k is in another region: 400 AuthorizationHeaderMalformed: \
             the region 'us-east-1' is wrong; expecting 'eu-west-1'",
        ),
        (
            refused("404 Not Found", "", "NoSuchKey", "no"),
            "s3://b/k does not exist",
        ),
        (
            refused("404 Not Found", "", "NoSuchBucket", "no"),
            "cannot use s3://b/k: 404 NoSuchBucket: no",
        ),
        (
            refused("412 Precondition Failed", "", "PreconditionFailed", "no"),
            "s3://b/k was replaced",
        ),
        (
            refused("416 Range Not Satisfiable", "", "InvalidRange", "no"),
            "s3://b/k was replaced",
        ),
        (
            refused("503 Slow Down", "", "SlowDown", "reduce"),
            "failed to read s3://b/k: 503 SlowDown: reduce",
        ),
        (
            refused("403 Forbidden", "", "InvalidAccessKeyId", "unknown"),
            "cannot use s3://b/k: 403 InvalidAccessKeyId: unknown",
        ),
    ] {
        let error = read(answer).await.expect_err("refused");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn the_answer_to_a_head_is_told_by_its_status() {
    let header = "x-amz-bucket-region: eu-west-1\r\n";
    for (status, headers, expected) in [
        ("404 Not Found", "", "s3://b/k does not exist"),
        ("412 Precondition Failed", "", "s3://b/k was replaced"),
        (
            "301 Moved Permanently",
            header,
            "s3://b/k is in another region: 301 (the bucket is in eu-west-1)",
        ),
    ] {
        let endpoint = always(refused(status, headers, "", "")).await;
        let store = aws(endpoint).await.source_store();
        let error = store.head(&ObjectId::new("b", "k")).await;
        assert_eq!(error.expect_err("refused").to_string(), expected);
    }
    let endpoint = always(refused("403 Forbidden", "", "", "")).await;
    let store = aws(endpoint).await.source_store();
    let error = store.head(&ObjectId::new("b", "k")).await;
    assert!(matches!(error, Err(StoreError::Denied { .. })), "{error:?}");
}

#[tokio::test]
async fn a_refused_head_is_told_from_refused_credentials() {
    for (code, expected) in [
        (
            "AccessDenied",
            "access to s3://b/k denied: 403 AccessDenied: no",
        ),
        (
            "InvalidAccessKeyId",
            "cannot use s3://b/k: 403 InvalidAccessKeyId: no",
        ),
    ] {
        let endpoint = serve(move |request| match request.starts_with("HEAD ") {
            true => refused("403 Forbidden", "", "", ""),
            false => refused("403 Forbidden", "", code, "no"),
        })
        .await;
        let store = aws(endpoint).await.source_store();
        let error = store.head(&ObjectId::new("b", "k")).await;
        assert_eq!(error.expect_err("refused").to_string(), expected);
    }
}

#[tokio::test]
async fn a_404_that_is_not_of_s3_does_not_mean_gone() {
    let page = "<!doctype html><title>404 Not Found</title>";
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let error = read(answer).await;
    assert!(
        matches!(error, Err(StoreError::Unavailable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_denied_listing_stops_everything() {
    let endpoint = always(refused("403 Forbidden", "", "AccessDenied", "no")).await;
    let store = aws(endpoint).await.source_store();
    let error = store.list("b", "p/", None).await;
    assert!(
        matches!(error, Err(StoreError::Unusable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let store = aws("http://127.0.0.1:1".to_owned()).await.source_store();
    let error = store.head(&ObjectId::new("b", "k")).await;
    assert!(
        matches!(error, Err(StoreError::Unavailable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_unusable_and_one_that_cannot_be_now_is_not() {
    let refusal = |status, code| {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Code>{code}</Code><Message>sts:AssumeRole</Message></Error></ErrorResponse>"
        );
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let role = SourceAccess::Role {
        arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
        external_id: Some("wrong".to_owned()),
    };
    let endpoint = always(refusal("403 Forbidden", "AccessDenied")).await;
    let store = aws_with(endpoint, role.clone()).await.source_store();
    let error = store.head(&ObjectId::new("b", "k")).await;
    assert!(
        matches!(&error, Err(StoreError::Unusable { reason, .. }) if reason.contains("AccessDenied")),
        "{error:?}"
    );
    let endpoint = always(refusal("503 Unavailable", "ServiceUnavailable")).await;
    let store = aws_with(endpoint, role).await.source_store();
    let error = store.head(&ObjectId::new("b", "k")).await;
    assert!(
        matches!(error, Err(StoreError::Unavailable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn keys_are_read_again_when_they_are_refused() {
    // Every reading of the secret brings keys with another number, up to the third.
    let readings = std::sync::atomic::AtomicU32::new(0);
    let endpoint = serve(move |request| {
        if request.contains("secretsmanager.GetSecretValue") {
            let number = readings.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let number = number.min(2);
            let keys =
                format!("{{\\\"accessKey\\\":\\\"AK{number}\\\",\\\"secretKey\\\":\\\"s\\\"}}");
            let body = format!("{{\"SecretString\":\"{keys}\"}}");
            return format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
        match request.contains("AK1/") {
            true => partial(4, "bytes 2-5/10", "e", "2345"),
            false => refused("403 Forbidden", "", "InvalidAccessKeyId", "unknown"),
        }
    })
    .await;
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:keys-AbCdEf".to_owned();
    let aws = aws_with(endpoint, SourceAccess::Keys { secret_arn: arn }).await;
    let store = aws.source_store();
    let object = ObjectId::new("b", "k");
    let etag = Etag::from("e");
    // The first keys are refused, the second work until S3 is asked with others.
    let first = store.read(&object, &etag, 2..6).await;
    assert!(
        matches!(first, Err(StoreError::Unavailable { .. })),
        "{first:?}"
    );
    for _ in 0..2 {
        let second = store.read(&object, &etag, 2..6).await;
        assert_eq!(second.expect("the new keys work"), "2345");
    }
    // A fresh store reads the third keys, which stay: refused, read again, still refused.
    let third = aws_with_same_keys(&aws).await;
    let error = third.read(&object, &etag, 2..6).await;
    assert!(
        matches!(error, Err(StoreError::Unavailable { .. })),
        "{error:?}"
    );
    let error = third.read(&object, &etag, 2..6).await;
    assert!(
        matches!(error, Err(StoreError::Unusable { .. })),
        "{error:?}"
    );
}

/// The same secret, seen by a process that has just started.
async fn aws_with_same_keys(aws: &Aws) -> bucket_brigade::store::s3::S3Store {
    let endpoint = aws.config().endpoint_url().expect("an address").to_owned();
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:keys-AbCdEf".to_owned();
    aws_with(endpoint, SourceAccess::Keys { secret_arn: arn })
        .await
        .source_store()
}
