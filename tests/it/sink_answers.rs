//! What the HTTP sinks say and hear, byte for byte.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bucket_brigade::body::{Body, BodyWriter};
use bucket_brigade::checkpoint::Ranges;
use bucket_brigade::delivery::{self, Delivered, TimeLimits, Until};
use bucket_brigade::sink::http::HttpSink;
use bucket_brigade::sink::logzio::LogzioSink;
use bucket_brigade::sink::{Answer, RefusalReason, Refusals, RetryReason, Sink};
use bucket_brigade::token::{FixedToken, Token, TokenError, TokenSource};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::raw_listener::{RawListener, Says, answer, client};

const TIMEOUT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);
/// Reads otherwise once it is encoded for a query.
const SECRET: &str = "s3cr3t-token/+&é";

/// Gives what it was told to, in order, and counts.
#[derive(Default)]
struct ScriptedToken(Mutex<VecDeque<Result<&'static str, TokenError>>>);

impl ScriptedToken {
    fn of(tokens: impl IntoIterator<Item = Result<&'static str, TokenError>>) -> Self {
        Self(Mutex::new(tokens.into_iter().collect()))
    }
}

impl TokenSource for &ScriptedToken {
    async fn read(&self) -> Result<Token, TokenError> {
        let next = self.0.lock().unwrap().pop_front();
        next.expect("the token is not read more often")
            .map(Token::new)
    }
}

fn body(records: &[&str]) -> Body {
    let mut writer = BodyWriter::new(1);
    for record in records {
        writer.push(record.as_bytes());
    }
    writer.finish()
}

fn secret() -> FixedToken {
    FixedToken(Token::new(SECRET))
}

fn logzio(listener: &RawListener) -> LogzioSink<FixedToken> {
    LogzioSink::new(client(), listener.url.clone(), "cloudflare", secret())
}

fn http(listener: &RawListener, path: &str) -> HttpSink<FixedToken> {
    let url = listener.url.join(path).unwrap();
    HttpSink::new(client(), url, Some(secret()))
}

async fn deliver(sink: &impl Sink, body: &Body) -> Delivered {
    let limits = TimeLimits {
        until: Until::at(Instant::now() + LONG),
        request: LONG,
    };
    delivery::deliver(sink, body.clone(), limits, || 0).await
}

fn unauthorized() -> Says {
    answer("401 Unauthorized", "", "Logging token is not valid")
}

#[tokio::test]
async fn logzio_hears_gzip_with_token_and_type_in_the_query() {
    let mut listener = RawListener::open().await;
    listener.url.set_query(Some("token=pasted&type=pasted"));
    let answer = logzio(&listener).deliver(&body(&["{}"]), LONG).await;
    assert_eq!(answer, Answer::Accepted);
    let head = listener.requests()[0].head.clone();
    let query = "type=cloudflare&token=s3cr3t-token%2F%2B%26%C3%A9";
    assert!(
        head.starts_with(&format!("POST /?{query} HTTP/1.1\r\n")),
        "{head}"
    );
    assert!(head.contains("\r\ncontent-encoding: gzip\r\n"));
    assert!(head.contains("\r\ncontent-type: text/plain\r\n"));
    assert!(head.contains("\r\nuser-agent: bucket-brigade/"));
}

#[tokio::test]
async fn http_hears_the_address_as_it_was_given_and_the_token_as_a_bearer() {
    let listener = RawListener::open().await;
    let sink = HttpSink::new(
        client(),
        listener.url.join("/in/logs?tenant=a%20b").unwrap(),
        Some(FixedToken(Token::new("plain-token"))),
    );
    assert_eq!(sink.deliver(&body(&["a"]), LONG).await, Answer::Accepted);
    let head = listener.requests()[0].head.clone();
    assert!(
        head.starts_with("POST /in/logs?tenant=a%20b HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nauthorization: Bearer plain-token\r\n"));
    assert!(head.contains("\r\ncontent-type: application/x-ndjson\r\n"));
    assert!(head.contains("\r\ncontent-encoding: gzip\r\n"));
}

#[tokio::test]
async fn http_needs_no_token() {
    let listener = RawListener::open().await;
    let sink = HttpSink::new(client(), listener.url.clone(), None::<FixedToken>);
    assert_eq!(sink.deliver(&body(&["a"]), LONG).await, Answer::Accepted);
    assert!(!listener.requests()[0].head.contains("authorization"));
}

#[tokio::test]
async fn a_partial_400_quarantines_the_refused_lines_and_repeats_nothing() {
    let listener = RawListener::open().await;
    let counts = r#"{"malformedLines":1,"successfulLines":2,"oversizedLines":0,"emptyLogLines":0}"#;
    listener.plan([answer("400 Bad Request", "", counts)]);
    let delivered = deliver(&logzio(&listener), &body(&["{}", "{", "{}"])).await;
    assert_eq!(delivered.accepted, Ranges::from_iter([0, 2]));
    assert_eq!(delivered.refused, [(1, RefusalReason::Malformed)]);
    assert_eq!(delivered.unfinished, None);
    assert_eq!(listener.requests().len(), 1);
}

#[tokio::test]
async fn a_400_of_unbounded_length_is_not_read_to_its_end() {
    let listener = RawListener::open().await;
    let padding = " ".repeat(1_000_000);
    let counts = format!("{padding}{{\"successfulLines\":1,\"malformedLines\":1}}");
    listener.plan([answer("400 Bad Request", "", &counts)]);
    let answer = logzio(&listener).deliver(&body(&["{}", "{}"]), LONG).await;
    let (reason, after) = (RetryReason::Status(400), None);
    assert_eq!(answer, Answer::Retry { reason, after });
}

#[tokio::test]
async fn a_400_that_breaks_off_is_ambiguous() {
    let listener = RawListener::open().await;
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-length: 80\r\n\r\n{\"succ";
    listener.plan([Says::Text(head.into()), Says::TextAndHangs(head.into())]);
    let sink = logzio(&listener);
    for ends_by in ["a close", "a time-out"] {
        let answer = sink.deliver(&body(&["{}"]), TIMEOUT).await;
        let Answer::Retry { reason, .. } = answer else {
            panic!("{ends_by}: {answer:?}");
        };
        assert!(reason.is_ambiguous(), "{ends_by}: {reason:?}");
    }
}

#[tokio::test]
async fn a_401_with_an_unchanged_token_is_fatal_after_reading_it_once_more() {
    let listener = RawListener::open().await;
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let seen = listener.requests().len();
        listener.plan([answer(status, "", "")]);
        let source = ScriptedToken::of([Ok("old"), Ok("old")]);
        let sink = LogzioSink::new(client(), listener.url.clone(), "logs", &source);
        let answer = sink.deliver(&body(&["{}"]), LONG).await;
        let Answer::Fatal { reason } = answer else {
            panic!("{status}: {answer:?}");
        };
        assert!(
            reason.contains(status) && reason.contains("127.0.0.1"),
            "{reason}"
        );
        assert_eq!(listener.requests().len(), seen + 1);
        assert!(source.0.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_secret_that_was_rotated_while_warm_is_read_again_and_delivers() {
    let listener = RawListener::open().await;
    let source = ScriptedToken::of([Ok("old"), Ok("new")]);
    let sink = LogzioSink::new(client(), listener.url.clone(), "logs", &source);
    assert_eq!(sink.deliver(&body(&["{}"]), LONG).await, Answer::Accepted);
    listener.plan([unauthorized()]);
    assert_eq!(sink.deliver(&body(&["{}"]), LONG).await, Answer::Accepted);
    assert_eq!(sink.deliver(&body(&["{}"]), LONG).await, Answer::Accepted);
    let requests = listener.requests();
    let tokens: Vec<bool> = requests
        .iter()
        .map(|request| request.head.contains("token=new"))
        .collect();
    assert_eq!(tokens, [false, false, true, true]);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_fatal() {
    let listener = RawListener::open().await;
    listener.plan([unauthorized(), unauthorized()]);
    let source = ScriptedToken::of([Ok("old"), Ok("new")]);
    let sink = HttpSink::new(client(), listener.url.clone(), Some(&source));
    let answer = sink.deliver(&body(&["{}"]), LONG).await;
    assert!(matches!(answer, Answer::Fatal { .. }), "{answer:?}");
    assert_eq!(listener.requests().len(), 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_read_sends_nothing() {
    let listener = RawListener::open().await;
    let (place, reason) = ("the secret".to_owned(), "throttled".to_owned());
    let unavailable = TokenError::Unavailable { place, reason };
    let (place, reason) = ("the secret".to_owned(), "access denied".to_owned());
    let refused = TokenError::Refused { place, reason };
    let source = ScriptedToken::of([Err(unavailable), Err(refused), Ok("token")]);
    let sink = LogzioSink::new(client(), listener.url.clone(), "logs", &source);

    let first = sink.deliver(&body(&["{}"]), LONG).await;
    let reason = RetryReason::Token("failed to read the token from the secret: throttled".into());
    let after = None;
    assert_eq!(first, Answer::Retry { reason, after });
    let second = sink.deliver(&body(&["{}"]), LONG).await;
    let reason = "cannot read the token from the secret: access denied".into();
    assert_eq!(second, Answer::Fatal { reason });
    assert!(listener.requests().is_empty());
    let third = sink.deliver(&body(&["{}"]), LONG).await;
    assert_eq!(third, Answer::Accepted);
}

#[tokio::test]
async fn a_413_on_a_legal_body_is_halved_and_sent_again() {
    let listener = RawListener::open().await;
    listener.plan([answer("413 Payload Too Large", "", "")]);
    let delivered = deliver(&logzio(&listener), &body(&["{}", "[]"])).await;
    assert_eq!(delivered.accepted, Ranges::from(0..2));
    let sent: Vec<Vec<Vec<u8>>> = listener
        .requests()
        .into_iter()
        .map(|request| request.records)
        .collect();
    let (one, two) = (b"{}".to_vec(), b"[]".to_vec());
    assert_eq!(sent, [vec![one.clone(), two.clone()], vec![one], vec![two]]);
}

#[tokio::test]
async fn a_413_is_heard_although_the_body_is_still_on_its_way() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut some = [0; 1024];
        stream.read_exact(&mut some).await.unwrap();
        let head =
            "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
    });
    let mut random = 1_u64;
    let mut writer = BodyWriter::new(0);
    for _ in 0..4_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        writer.push(format!("{random}").repeat(100).as_bytes());
    }
    let sink = HttpSink::new(client(), Url::parse(&url).unwrap(), None::<FixedToken>);
    assert_eq!(sink.deliver(&writer.finish(), LONG).await, Answer::TooLarge);
}

#[tokio::test]
async fn a_status_that_may_pass_is_repeated_after_the_time_it_asks_for() {
    let listener = RawListener::open().await;
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let at = "retry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    let headers = [
        (String::new(), None),
        ("retry-after: 3\r\n".to_owned(), Some(3)),
        (format!("{date}{at}"), Some(30)),
    ];
    for status in [408, 425, 429, 500, 502, 503, 504, 507] {
        for (headers, seconds) in &headers {
            listener.plan([answer(&format!("{status} Again"), headers, "busy")]);
            assert_eq!(
                logzio(&listener).deliver(&body(&["{}"]), LONG).await,
                Answer::Retry {
                    reason: RetryReason::Status(status),
                    after: seconds.map(Duration::from_secs)
                }
            );
        }
    }
}

#[tokio::test]
async fn a_status_that_cannot_pass_is_fatal_and_names_the_setting_and_the_host_alone() {
    let listener = RawListener::open().await;
    let place = listener.url.authority().to_owned();
    let redirect = format!("location: http://elsewhere/?token={SECRET}\r\n");
    for (status, headers) in [
        ("301 Moved Permanently", &*redirect),
        ("307 Temporary Redirect", &*redirect),
        ("404 Not Found", ""),
        ("405 Method Not Allowed", ""),
        ("410 Gone", ""),
    ] {
        listener.plan([answer(status, headers, "gone"), answer(status, headers, "")]);
        for answer in [
            logzio(&listener).deliver(&body(&["{}"]), LONG).await,
            http(&listener, "/in?key=hidden")
                .deliver(&body(&["{}"]), LONG)
                .await,
        ] {
            let Answer::Fatal { reason } = answer else {
                panic!("{status}: {answer:?}");
            };
            let said = format!("endpoint {place} answered {status}");
            assert!(reason.starts_with(&said), "{reason}");
            assert!(reason.contains("ENDPOINT_URL"), "{reason}");
            assert!(
                !reason.contains('?') && !reason.contains("hidden"),
                "{reason}"
            );
        }
    }
}

#[tokio::test]
async fn a_400_of_an_all_or_nothing_receiver_is_bisected() {
    let listener = RawListener::open().await;
    listener.plan([
        answer("400 Bad Request", "", "no"),
        answer("200 OK", "", ""),
        answer("422 Unprocessable Entity", "", "no"),
    ]);
    let delivered = deliver(&http(&listener, "/"), &body(&["good", "bad"])).await;
    assert_eq!(delivered.accepted, Ranges::from(0..1));
    assert_eq!(delivered.refused, [(1, RefusalReason::Refused)]);
    assert_eq!(delivered.requests, 3);
}

#[tokio::test]
async fn a_200_whose_body_never_comes_counts_once() {
    let listener = RawListener::open().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    for says in [Says::Text(head.into()), Says::TextAndHangs(head.into())] {
        listener.plan([says]);
        let delivered = deliver(&logzio(&listener), &body(&["{}"])).await;
        assert_eq!(delivered.accepted, Ranges::from(0..1));
        assert_eq!((delivered.requests, delivered.ambiguous), (1, 0));
    }
    assert_eq!(listener.requests().len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_saw_nothing() {
    let silent = RawListener::open().await;
    let silent_tls = format!("https://{}", silent.url.authority());
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failing_tls = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let head = "HTTP/1.1 400 Bad Request\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
    });
    let nobody = {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", socket.local_addr().unwrap())
    };
    for url in [silent_tls, failing_tls, nobody] {
        let sink = LogzioSink::new(client(), Url::parse(&url).unwrap(), "logs", secret());
        let answer = sink.deliver(&body(&["{}"]), LONG).await;
        let Answer::Retry { reason, .. } = answer else {
            panic!("{url}: {answer:?}");
        };
        assert!(matches!(reason, RetryReason::Unreachable(_)), "{reason:?}");
        assert!(!reason.is_ambiguous());
    }
}

#[tokio::test]
async fn no_answer_shows_the_token() {
    let listener = RawListener::open().await;
    let echo = format!("{SECRET} is wrong");
    let location = "location: http://elsewhere/?token=s3cr3t-token\r\n";
    let says = [
        answer("400 Bad Request", "", &echo),
        answer("401 Unauthorized", "", &echo),
        answer("404 Not Found", "", &echo),
        answer("302 Found", location, &echo),
        answer("413 Payload Too Large", "", &echo),
        answer("503 Service Unavailable", "", &echo),
        Says::Text(String::new()),
        Says::Text(echo.clone()),
        Says::Text(format!("HTTP/1.1 200 OK\r\n{echo}")),
        Says::Text("HTTP/1.1 400 Bad Request\r\ncontent-length: 99\r\n\r\n{".into()),
        Says::Nothing,
    ];
    let refused = ["http://127.0.0.1:1", "https://127.0.0.1:1"];

    let mut texts = vec![
        format!("{:?} {:#?}", logzio(&listener), logzio(&listener)),
        format!("{:?}", http(&listener, &format!("/{SECRET}?key={SECRET}"))),
    ];
    for says in says {
        listener.plan([says.clone()]);
        texts.push(shown(
            logzio(&listener).deliver(&body(&["{}"]), TIMEOUT).await,
        ));
        listener.plan([says]);
        let sink = http(&listener, &format!("/{SECRET}?key={SECRET}"));
        texts.push(shown(sink.deliver(&body(&["{}"]), TIMEOUT).await));
    }
    for url in refused {
        let url = Url::parse(url).unwrap();
        let sink = LogzioSink::new(client(), url.clone(), "logs", secret());
        texts.push(shown(sink.deliver(&body(&["{}"]), TIMEOUT).await));
        let unsendable = FixedToken(Token::new(format!("{SECRET}\n")));
        let sink = HttpSink::new(client(), url, Some(unsendable));
        let answer = sink.deliver(&body(&["{}"]), TIMEOUT).await;
        assert!(matches!(answer, Answer::Fatal { .. }), "{answer:?}");
        texts.push(shown(answer));
    }

    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    for text in texts {
        for secret in ["s3cr3t", SECRET, &encoded] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

/// Every text that an answer can become.
fn shown(answer: Answer) -> String {
    let debug = format!("{answer:?} {answer:#?}");
    match answer {
        Answer::Accepted | Answer::Partial(_) | Answer::TooLarge => debug,
        Answer::Refused { reason } | Answer::Fatal { reason } => format!("{debug} {reason}"),
        Answer::Retry { reason, .. } => format!("{debug} {reason} {reason:?}"),
    }
}

#[tokio::test]
async fn unidentified_refusals_come_through_the_wire() {
    let listener = RawListener::open().await;
    let counts = r#"{"malformedLines":1,"successfulLines":1}"#;
    listener.plan([answer("400 Bad Request", "", counts)]);
    let answer = logzio(&listener).deliver(&body(&["{}", "{}"]), LONG).await;
    let unidentified = Refusals::Unidentified { count: 1 };
    assert_eq!(answer, Answer::Partial(unidentified));
}
