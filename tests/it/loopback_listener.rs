//! The log endpoint on loopback: what the documentation of the real one promises, and the ways in
//! which it can be told to break that promise.
#![cfg(feature = "local")]

use std::io::Write;
use std::time::Duration;

use bucket_brigade::local::listener::answer::Answer;
use bucket_brigade::local::listener::body::{Identity, RecordId};
use bucket_brigade::local::listener::{Kind, ListenerServer, Options};
use flate2::{Compression, write::GzEncoder};

use tokio::time::Instant;

use crate::support::sdk::http_client;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

async fn post(
    listener: &ListenerServer,
    query: &str,
    body: Vec<u8>,
) -> reqwest::Result<(u16, String)> {
    let mut request = http_client().post(format!("{}?{query}", listener.url()));
    if body.starts_with(&[0x1f, 0x8b]) {
        request = request.header("content-encoding", "gzip");
    }
    let response = request
        .body(body)
        .timeout(Duration::from_secs(5))
        .send()
        .await?;
    Ok((response.status().as_u16(), response.text().await?))
}

async fn send(listener: &ListenerServer, body: &[u8]) -> reqwest::Result<(u16, String)> {
    post(listener, "token=token&type=t", body.to_vec()).await
}

#[tokio::test]
async fn good_lines_are_accepted_with_an_empty_answer() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    let plain = b"{\"a\":1}\n{\"a\":2}\n";
    assert_eq!(send(&listener, plain).await.unwrap(), (200, String::new()));
    assert_eq!(
        send(&listener, &gzip(plain)).await.unwrap(),
        (200, String::new())
    );
    let received = listener.received();
    assert_eq!((received.counts.requests, received.counts.records), (2, 4));
    assert_eq!(received.counts.plain_bytes, 32);
    assert_eq!(received.counts.body_bytes, 16 + gzip(plain).len() as u64);
    assert_eq!(received.counts.types["t"], 2);
    assert_eq!(
        (received.times(b"{\"a\":1}"), received.duplicates()),
        (2, 2)
    );
    let expected = [b"{\"a\":2}", b"{\"a\":3}"].map(|line| RecordId::of(line));
    assert_eq!(received.missing(expected), 1);
}

#[tokio::test]
async fn a_bad_line_makes_a_partial_success_with_counts() {
    let options = Options {
        keep_lines: true,
        ..Options::default()
    };
    let listener = ListenerServer::start(options).await.unwrap();
    let long = format!("{{\"l\":\"{}\"}}", "x".repeat(500_000));
    let body = format!("{{}}\nnot json\n\n{long}\n[1]\n{{\"b\":1}}");
    let (status, answer) = send(&listener, body.as_bytes()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let counts = serde_json::json!({
        "malformedLines": 2, "successfulLines": 2, "oversizedLines": 1, "emptyLogLines": 1,
    });
    assert_eq!((status, answer), (400, counts));
    assert_eq!(listener.received().lines, ["{}", "{\"b\":1}"]);
}

#[tokio::test]
async fn the_token_is_asked_for_and_can_change() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    let missing = post(&listener, "type=t", b"{}".to_vec()).await.unwrap();
    assert_eq!(missing, (401, "Logging token is missing".to_owned()));
    let wrong = post(&listener, "token=other", b"{}".to_vec())
        .await
        .unwrap();
    assert_eq!(wrong, (401, "Logging token is not valid".to_owned()));
    listener.set_token("other");
    assert_eq!(
        post(&listener, "token=other", b"{}".to_vec())
            .await
            .unwrap()
            .0,
        200
    );
    assert_eq!(listener.counts().records, 1);
}

#[tokio::test]
async fn a_body_over_ten_megabytes_of_plain_bytes_is_refused_whole() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    let line = format!("{{\"l\":\"{}\"}}\n", "x".repeat(1_015));
    let mut plain = line.repeat(10_240).into_bytes();
    assert_eq!(plain.len(), 10_485_760);
    assert_eq!(send(&listener, &gzip(&plain)).await.unwrap().0, 200);
    plain.push(b'\n');
    assert_eq!(send(&listener, &gzip(&plain)).await.unwrap().0, 413);
    assert_eq!(listener.counts().records, 10_240);
}

#[tokio::test]
async fn a_second_gzip_member_fails_loudly() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    let two = [gzip(b"{\"a\":1}\n"), gzip(b"{\"a\":2}\n")].concat();
    assert_eq!(send(&listener, &two).await.unwrap().0, 400);
    let counts = listener.counts();
    assert_eq!((counts.second_members, counts.records), (1, 0));
}

#[tokio::test]
async fn scripted_answers_come_in_order_and_keep_nothing() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    listener.script([
        Answer::status(429).header("retry-after", "7"),
        Answer::status(503),
        Answer::status(400).body("no counts"),
    ]);
    let response = http_client()
        .post(listener.url().as_str())
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(send(&listener, b"{}").await.unwrap().0, 503);
    assert_eq!(
        send(&listener, b"{}").await.unwrap(),
        (400, "no counts".to_owned())
    );
    assert_eq!(listener.counts().records, 0);
    assert_eq!(send(&listener, b"{}").await.unwrap().0, 200);
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_records_were_kept() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    listener.script([Answer::Lost, Answer::Reset]);
    send(&listener, b"{}").await.unwrap_err();
    assert_eq!(listener.counts().records, 1);
    let reset = send(&listener, b"{}").await.unwrap_err();
    assert!(
        format!("{reset:?}").contains("ConnectionReset"),
        "{reset:?}"
    );
    assert_eq!(listener.counts().records, 1);
    assert_eq!(listener.counts().statuses[&0], 2);
}

#[tokio::test]
async fn it_can_hang_before_and_after_the_headers() {
    let listener = ListenerServer::start(Options::default()).await.unwrap();
    listener.script([Answer::HangBeforeHeaders, Answer::HangAfterHeaders]);
    let hanging = || {
        http_client()
            .post(format!("{}?token=token", listener.url()))
            .body("{}")
            .send()
    };
    let before = tokio::time::timeout(Duration::from_millis(200), hanging()).await;
    assert!(before.is_err());
    assert_eq!(listener.counts().records, 0);
    let response = hanging().await.unwrap();
    assert_eq!(response.status(), 200);
    let body = tokio::time::timeout(Duration::from_millis(200), response.bytes()).await;
    assert!(body.is_err());
    assert_eq!(listener.counts().records, 1);
}

#[tokio::test]
async fn a_request_can_be_answered_by_what_it_carries() {
    let options = Options {
        kind: Kind::Http,
        body_bytes_max: 100,
        identity: Identity::Field("id".to_owned()),
        ..Options::default()
    };
    let listener = ListenerServer::start(options).await.unwrap();
    listener.answer_containing("poison", Answer::status(422));
    assert_eq!(
        send(&listener, b"{\"id\":1}\npoison\n").await.unwrap().0,
        422
    );
    assert_eq!(
        send(&listener, b"{\"id\":1}\nany text\n").await.unwrap().0,
        200
    );
    assert_eq!(send(&listener, &[b'x'; 101]).await.unwrap().0, 413);
    let received = listener.received();
    assert_eq!((received.counts.records, received.times(b"1")), (2, 1));
}

#[tokio::test]
async fn a_delay_holds_requests_in_flight_side_by_side() {
    let options = Options {
        delay: Duration::from_millis(200),
        ..Options::default()
    };
    let listener = ListenerServer::start(options).await.unwrap();
    let began = Instant::now();
    let sent = futures_util::future::join_all((0..4).map(|_| send(&listener, b"{}"))).await;
    assert!(sent.into_iter().all(|answer| answer.unwrap().0 == 200));
    assert!(
        (200..800).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(listener.counts().in_flight_peak, 4);
}
