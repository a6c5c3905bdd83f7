//! The embedded S3, through the real SDK client: what it must do as S3 does.
#![cfg(feature = "local")]
#![expect(
    clippy::disallowed_methods,
    reason = "objects in tests are small enough to collect"
)]

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, EncodingType, StorageClass,
    VersioningConfiguration,
};
use bucket_brigade::clock::{Clock, SystemClock, Timestamp};
use bucket_brigade::event::Trigger;
use bucket_brigade::local::s3::fault::{Fault, FaultRule, Operation};
use bucket_brigade::local::s3::listing::ListOrder;
use bucket_brigade::local::s3::{EventName, PutOptions, S3Server};

use bucket_brigade::object::WorkItem;
use tokio::time::Instant;

use crate::support::sdk;

const PART: usize = 5 * 1024 * 1024;

async fn bucket() -> (S3Server, Client) {
    let server = S3Server::start().await.unwrap();
    server.create_bucket("bucket").unwrap();
    let client = sdk::s3(server.endpoint());
    (server, client)
}

/// Status and error code of a refusal; the code is empty where the answer has no body.
fn refusal<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
) -> (u16, &str) {
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let code = error.as_service_error().and_then(|e| e.code());
    (status, code.unwrap_or_default())
}

async fn get_refusal(client: &Client, key: &str) -> (u16, String) {
    let error = client
        .get_object()
        .bucket("bucket")
        .key(key)
        .send()
        .await
        .unwrap_err();
    let (status, code) = refusal(&error);
    (status, code.to_owned())
}

async fn keys(client: &Client, page: i32) -> Vec<Vec<String>> {
    let mut pages = client
        .list_objects_v2()
        .bucket("bucket")
        .max_keys(page)
        .encoding_type(EncodingType::Url)
        .into_paginator()
        .send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert_eq!(page.key_count(), Some(page.contents().len() as i32));
        all.push(
            page.contents()
                .iter()
                .map(|o| decoded(o.key().unwrap()))
                .collect(),
        );
    }
    all
}

fn decoded(key: &str) -> String {
    let pair = format!("k={key}");
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .unwrap()
        .1
        .into_owned()
}

#[tokio::test]
async fn every_key_comes_back_whole_and_lists_in_byte_order() {
    let (_server, client) = bucket().await;
    let long = "k".repeat(1_024);
    let mut expected: Vec<&str> = vec![
        "a",
        "a/b",
        "a b",
        "a//b",
        "/lead",
        "//",
        "dir/",
        "dir a/k+ey é日 %41.json.gz",
        "tab\tand\nnewline\u{1}",
        "<&>\"'",
        "?query=1&x#frag",
        "日本/語",
        "\u{10ffff}",
        &long,
    ];
    for key in &expected {
        let body = ByteStream::from(key.as_bytes().to_vec());
        client
            .put_object()
            .bucket("bucket")
            .key(*key)
            .body(body)
            .send()
            .await
            .unwrap();
    }
    for key in &expected {
        let got = client
            .get_object()
            .bucket("bucket")
            .key(*key)
            .send()
            .await
            .unwrap();
        assert_eq!(
            got.body.collect().await.unwrap().into_bytes(),
            key.as_bytes(),
            "{key:?}"
        );
    }
    expected.sort_unstable();
    assert_eq!(keys(&client, 1_000).await.concat(), expected);
    assert_eq!(keys(&client, 3).await.concat(), expected);
}

#[tokio::test]
async fn a_key_over_1024_bytes_is_refused() {
    let (_server, client) = bucket().await;
    let put = client
        .put_object()
        .bucket("bucket")
        .key("k".repeat(1_025))
        .send()
        .await;
    assert_eq!(refusal(&put.unwrap_err()), (400, "KeyTooLongError"));
}

#[tokio::test]
async fn a_page_holds_at_most_1000_keys_whatever_is_asked() {
    let (server, client) = bucket().await;
    for at in 0..2_001 {
        server.put("bucket", &format!("k{at:04}"), "x").unwrap();
    }
    let sizes: Vec<usize> = keys(&client, 5_000).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1_000, 1_000, 1]);
    assert_eq!(server.counts().lists, 3);
}

#[tokio::test]
async fn a_listing_gives_what_a_ledger_needs() {
    let (server, client) = bucket().await;
    let time = Timestamp::from_ms(1_700_000_000_900);
    let options = PutOptions {
        last_modified: Some(time),
        storage_class: Some("GLACIER".to_owned()),
    };
    server.put_with("bucket", "p/1", "hello", options).unwrap();
    server.put("bucket", "p/2/x", "x").unwrap();
    let page = client
        .list_objects_v2()
        .bucket("bucket")
        .prefix("p/")
        .delimiter("/")
        .start_after("p/0")
        .send()
        .await
        .unwrap();
    let object = page.contents().first().unwrap();
    assert_eq!(object.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(object.size(), Some(5));
    assert_eq!(
        object.last_modified().unwrap().as_nanos(),
        1_700_000_000_000_000_000
    );
    assert_eq!(object.storage_class().unwrap().as_str(), "GLACIER");
    assert_eq!(
        page.common_prefixes().first().unwrap().prefix(),
        Some("p/2/")
    );
    assert_eq!(
        (page.key_count(), page.is_truncated()),
        (Some(2), Some(false))
    );
}

#[tokio::test]
async fn ranges_are_served_with_their_lengths() {
    let (server, client) = bucket().await;
    server.put("bucket", "k", "0123456789").unwrap();
    for (range, body, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
    ] {
        let got = client
            .get_object()
            .bucket("bucket")
            .key("k")
            .range(range)
            .send()
            .await
            .unwrap();
        assert_eq!(got.content_range(), Some(content_range));
        assert_eq!(got.content_length(), Some(body.len() as i64));
        assert_eq!(got.body.collect().await.unwrap().into_bytes(), body);
    }
    let beyond = client
        .get_object()
        .bucket("bucket")
        .key("k")
        .range("bytes=10-")
        .send()
        .await;
    assert_eq!(refusal(&beyond.unwrap_err()), (416, "InvalidRange"));
}

#[tokio::test]
async fn reads_honour_conditions() {
    let (server, client) = bucket().await;
    let etag = server.put("bucket", "k", "old").unwrap().etag.clone();
    let get = || client.get_object().bucket("bucket").key("k");
    get().if_match(&etag).send().await.unwrap();
    get().if_match(format!("\"{etag}\"")).send().await.unwrap();
    assert_eq!(
        refusal(&get().if_none_match(&etag).send().await.unwrap_err()).0,
        304
    );

    server.put("bucket", "k", "new").unwrap();
    let replaced = get().if_match(&etag).send().await.unwrap_err();
    assert_eq!(refusal(&replaced), (412, "PreconditionFailed"));
    let head = client
        .head_object()
        .bucket("bucket")
        .key("k")
        .if_match(&etag)
        .send()
        .await;
    assert_eq!(refusal(&head.unwrap_err()).0, 412);
}

#[tokio::test]
async fn a_put_that_demands_absence_loses_to_whoever_was_first() {
    let (_server, client) = bucket().await;
    let put = || {
        client
            .put_object()
            .bucket("bucket")
            .key("k")
            .if_none_match("*")
            .send()
    };
    put().await.unwrap();
    assert_eq!(
        refusal(&put().await.unwrap_err()),
        (412, "PreconditionFailed")
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (server, client) = bucket().await;
    assert_eq!(
        get_refusal(&client, "none").await,
        (404, "NoSuchKey".to_owned())
    );
    let list = client.list_objects_v2().bucket("nowhere").send().await;
    assert_eq!(refusal(&list.unwrap_err()), (404, "NoSuchBucket"));
    server.set_hides_missing(true);
    assert_eq!(
        get_refusal(&client, "none").await,
        (403, "AccessDenied".to_owned())
    );
}

#[tokio::test]
async fn an_archived_object_has_a_head_but_no_body() {
    let (_server, client) = bucket().await;
    let put = client.put_object().bucket("bucket").key("k");
    put.storage_class(StorageClass::DeepArchive)
        .send()
        .await
        .unwrap();
    assert_eq!(
        get_refusal(&client, "k").await,
        (403, "InvalidObjectState".to_owned())
    );
    let head = client
        .head_object()
        .bucket("bucket")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(head.storage_class(), Some(&StorageClass::DeepArchive));
}

#[tokio::test]
async fn an_older_version_can_be_read_after_an_overwrite_and_a_delete() {
    let (server, client) = bucket().await;
    let enabled = BucketVersioningStatus::Enabled;
    let versioning = VersioningConfiguration::builder().status(enabled).build();
    let put = client.put_bucket_versioning().bucket("bucket");
    put.versioning_configuration(versioning)
        .send()
        .await
        .unwrap();
    let put = |body: &'static str| {
        let body = ByteStream::from_static(body.as_bytes());
        client
            .put_object()
            .bucket("bucket")
            .key("k")
            .body(body)
            .send()
    };
    let first = put("first").await.unwrap().version_id.unwrap();
    put("second").await.unwrap();
    client
        .delete_object()
        .bucket("bucket")
        .key("k")
        .send()
        .await
        .unwrap();

    let get = client
        .get_object()
        .bucket("bucket")
        .key("k")
        .version_id(&first);
    let got = get.send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().into_bytes(), "first");
    assert_eq!(get_refusal(&client, "k").await.0, 404);
    let none = client
        .get_object()
        .bucket("bucket")
        .key("k")
        .version_id("0")
        .send()
        .await;
    assert_eq!(refusal(&none.unwrap_err()), (404, "NoSuchVersion"));
    assert!(server.list("bucket", "").unwrap().is_empty());
}

#[tokio::test]
async fn a_multipart_object_has_the_etag_and_the_time_that_s3_gives_it() {
    let (server, client) = bucket().await;
    let mut events = server.watch();
    let create = client
        .create_multipart_upload()
        .bucket("bucket")
        .key("k")
        .send();
    let id = create.await.unwrap().upload_id.unwrap();
    let initiated = SystemClock.now();

    let mut parts = Vec::new();
    for (number, bytes) in [(2, vec![b'b'; 10]), (1, vec![b'a'; PART])] {
        let part = client
            .upload_part()
            .bucket("bucket")
            .key("k")
            .upload_id(&id);
        let sent = part
            .part_number(number)
            .body(bytes.into())
            .send()
            .await
            .unwrap();
        let part = CompletedPart::builder()
            .part_number(number)
            .e_tag(sent.e_tag.unwrap());
        parts.insert(0, part.build());
    }
    assert!(server.list("bucket", "").unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let done = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    let complete = client.complete_multipart_upload().bucket("bucket").key("k");
    let sent = complete
        .upload_id(&id)
        .multipart_upload(done)
        .send()
        .await
        .unwrap();

    // md5(md5(part 1) ‖ md5(part 2)), computed apart.
    assert_eq!(sent.e_tag(), Some("\"8b0be7847da5564ae08e97af63b60885-2\""));
    let object = server.get("bucket", "k").unwrap();
    assert_eq!(object.size(), PART as u64 + 10);
    assert_eq!(&object.bytes[PART - 1..PART + 1], b"ab");
    assert!(object.last_modified <= initiated);

    let event = events.try_recv().unwrap();
    assert_eq!(event.event_name, EventName::CompleteMultipartUpload);
    assert_eq!((event.key.as_str(), event.size), ("k", object.size()));
    assert_eq!(event.etag, object.etag);
}

#[tokio::test]
async fn multipart_uploads_are_refused_where_s3_refuses_them() {
    let (_server, client) = bucket().await;
    let create = client
        .create_multipart_upload()
        .bucket("bucket")
        .key("k")
        .send();
    let id = create.await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for number in [1, 2] {
        let part = client
            .upload_part()
            .bucket("bucket")
            .key("k")
            .upload_id(&id);
        let sent = part
            .part_number(number)
            .body(vec![b'a'; 10].into())
            .send()
            .await
            .unwrap();
        let part = CompletedPart::builder()
            .part_number(number)
            .e_tag(sent.e_tag.unwrap());
        parts.push(part.build());
    }
    let complete = |parts: Vec<CompletedPart>| {
        let done = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let complete = client.complete_multipart_upload().bucket("bucket").key("k");
        complete.upload_id(&id).multipart_upload(done).send()
    };
    let small = complete(parts.clone()).await.unwrap_err();
    assert_eq!(refusal(&small), (400, "EntityTooSmall"));
    let backwards = complete(parts.iter().rev().cloned().collect())
        .await
        .unwrap_err();
    assert_eq!(refusal(&backwards), (400, "InvalidPartOrder"));
    let unknown = CompletedPart::builder().part_number(3).e_tag("x").build();
    let missing = complete(vec![unknown]).await.unwrap_err();
    assert_eq!(refusal(&missing), (400, "InvalidPart"));

    let abort = client
        .abort_multipart_upload()
        .bucket("bucket")
        .key("k")
        .upload_id(&id);
    abort.send().await.unwrap();
    assert_eq!(
        refusal(&complete(parts).await.unwrap_err()),
        (404, "NoSuchUpload")
    );
}

#[tokio::test]
async fn objects_are_copied_and_deleted_and_watched() {
    let (server, client) = bucket().await;
    let mut events = server.watch();
    server.put("bucket", "a b", "x").unwrap();
    let copy = client
        .copy_object()
        .bucket("bucket")
        .key("c")
        .copy_source("bucket/a%20b");
    copy.send().await.unwrap();
    let names: Vec<_> = [events.try_recv().unwrap(), events.try_recv().unwrap()]
        .map(|event| (event.event_name.as_str(), event.key, event.sequencer))
        .into();
    assert_eq!(names[0].0, "ObjectCreated:Put");
    assert_eq!(
        (names[1].0, names[1].1.as_str()),
        ("ObjectCreated:Copy", "c")
    );
    assert!(names[0].2 < names[1].2);

    client
        .delete_object()
        .bucket("bucket")
        .key("c")
        .send()
        .await
        .unwrap();
    client
        .delete_object()
        .bucket("bucket")
        .key("c")
        .send()
        .await
        .unwrap();
    assert_eq!(server.list("bucket", "").unwrap().len(), 1);
}

#[tokio::test]
async fn it_fails_as_it_is_told_and_recovers() {
    let (server, client) = bucket().await;
    server.put("bucket", "k", "0123456789").unwrap();
    for (fault, status, code) in [
        (Fault::InternalError, 500, "InternalError"),
        (Fault::SlowDown, 503, "SlowDown"),
        (Fault::AccessDenied, 403, "AccessDenied"),
        (Fault::KmsAccessDenied, 403, "AccessDenied"),
        (Fault::PermanentRedirect, 301, "PermanentRedirect"),
    ] {
        server.fail(FaultRule::new(fault).key("k").times(1));
        assert_eq!(get_refusal(&client, "k").await, (status, code.to_owned()));
        client
            .get_object()
            .bucket("bucket")
            .key("k")
            .send()
            .await
            .unwrap();
    }
    server.fail(FaultRule::new(Fault::AccessDenied).on(&[Operation::List]));
    let list = client.list_objects_v2().bucket("bucket").send().await;
    assert_eq!(refusal(&list.unwrap_err()), (403, "AccessDenied"));
    server.clear_faults();
    client
        .list_objects_v2()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_breaks_or_stalls_behind_as_many_bytes_as_asked() {
    let (server, client) = bucket().await;
    server.put("bucket", "k", vec![7_u8; 1_000_000]).unwrap();
    server.fail(FaultRule::new(Fault::BreakAfter(300_000)).times(1));
    server.fail(FaultRule::new(Fault::StallAfter(300_000)).times(1));
    for stalls in [false, true] {
        let got = client
            .get_object()
            .bucket("bucket")
            .key("k")
            .send()
            .await
            .unwrap();
        assert_eq!(got.content_length(), Some(1_000_000));
        let mut body = got.body;
        let mut received = 0;
        let end = tokio::time::timeout(Duration::from_millis(500), async {
            while let Some(chunk) = body.next().await {
                received += chunk.map_err(|_| "broken")?.len();
            }
            Ok::<_, &str>(())
        });
        let end = end.await;
        assert_eq!(received, 300_000);
        assert_eq!(end.is_err(), stalls);
        assert!(!matches!(end, Ok(Ok(()))));
    }
}

#[tokio::test]
async fn a_hostile_order_is_served_on_demand() {
    let (server, client) = bucket().await;
    for key in ["a", "a b", "a/b"] {
        server.put("bucket", key, "x").unwrap();
    }
    server.set_list_order(ListOrder::Directories);
    assert_eq!(keys(&client, 2).await, [vec!["a", "a/b"], vec!["a b"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_is_served_by_ranges_without_copies() {
    let (server, client) = bucket().await;
    server.put("bucket", "k", vec![7_u8; 160 << 20]).unwrap();
    let began = Instant::now();
    let mut received = 0;
    for part in 0..20_usize {
        let first = part * (8 << 20);
        let range = format!("bytes={first}-{}", first + (8 << 20) - 1);
        let get = client.get_object().bucket("bucket").key("k").range(range);
        let mut body = get.send().await.unwrap().body;
        while let Some(chunk) = body.next().await {
            received += chunk.unwrap().len();
        }
    }
    assert_eq!(received, 160 << 20);
    let counts = server.counts();
    assert_eq!((counts.gets, counts.bytes_served), (20, 160 << 20));
    // Some 0.2 s alone; the bound only tells a copy for each range, or a delayed ACK, apart.
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn the_port_closes_with_the_last_handle() {
    let server = S3Server::start().await.unwrap();
    let address = server.endpoint().socket_addrs(|| None).unwrap()[0];
    let clone = server.clone();
    drop(server);
    tokio::net::TcpStream::connect(address).await.unwrap();
    drop(clone);
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn what_it_notifies_about_is_understood_in_either_shape() {
    let (server, _client) = bucket().await;
    server.set_versioned("bucket", true).unwrap();
    let mut events = server.watch();
    let key = "dir a/k+ey é日 %41.json.gz";
    let object = server.put("bucket", key, "x").unwrap();
    let event = events.try_recv().unwrap();
    let mut expected = WorkItem::new("bucket", key);
    expected.version = object.version_id.clone();
    expected.etag = Some(object.etag.as_str().into());
    expected.size = Some(1);
    for shape in [event.notification(), event.event_bridge()] {
        let trigger = Trigger::parse(shape.to_string().as_bytes()).unwrap();
        let Trigger::Direct(found) = trigger else {
            panic!("{trigger:?}")
        };
        let item = WorkItem {
            alternate_key: None,
            ..found.items[0].clone()
        };
        assert_eq!(item, expected, "{shape}");
    }
}
