//! What every sink keeps, whatever stands behind it.

use std::time::Duration;

use bucket_brigade::body::{Body, BodyWriter};
use bucket_brigade::sink::http::HttpSink;
use bucket_brigade::sink::logzio::LogzioSink;
use bucket_brigade::sink::memory::{MemorySink, Reply};
use bucket_brigade::sink::{Answer, RetryReason, Sink};
use bucket_brigade::token::{FixedToken, Token};

use crate::raw_listener::{RawListener, Says, answer, client};

const TIMEOUT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

/// What the endpoint behind a sink does with the next request.
enum Mood {
    TooLarge,
    Busy { seconds: u64 },
    Forbidden,
    Silent,
    BreaksOff,
}

/// A sink, and an endpoint behind it that accepts what it is not told to treat otherwise.
trait Endpoint {
    fn sink(&self) -> &impl Sink;
    fn plan(&self, mood: Mood);
    /// The records of every request that it saw.
    fn seen(&self) -> Vec<Vec<u8>>;
}

impl Endpoint for MemorySink {
    fn sink(&self) -> &impl Sink {
        self
    }

    fn plan(&self, mood: Mood) {
        self.plan([match mood {
            Mood::TooLarge => Answer::TooLarge.into(),
            Mood::Busy { seconds } => Answer::Retry {
                reason: RetryReason::Status(429),
                after: Some(Duration::from_secs(seconds)),
            }
            .into(),
            Mood::Forbidden => Answer::Fatal {
                reason: "endpoint memory answered 403".into(),
            }
            .into(),
            Mood::Silent => Reply::from(Answer::Accepted).after(Duration::from_secs(60)),
            Mood::BreaksOff => Reply::lost(Answer::Accepted),
        }]);
    }

    fn seen(&self) -> Vec<Vec<u8>> {
        self.accepted()
    }
}

/// A sink over HTTP and the listener that it speaks to.
struct Listening<S> {
    sink: S,
    listener: RawListener,
}

impl<S: Sink> Endpoint for Listening<S> {
    fn sink(&self) -> &impl Sink {
        &self.sink
    }

    fn plan(&self, mood: Mood) {
        self.listener.plan([match mood {
            Mood::TooLarge => answer("413 Payload Too Large", "", ""),
            Mood::Busy { seconds } => {
                let retry_after = format!("retry-after: {seconds}\r\n");
                answer("429 Too Many Requests", &retry_after, "")
            }
            Mood::Forbidden => answer("403 Forbidden", "", ""),
            Mood::Silent => Says::Nothing,
            Mood::BreaksOff => Says::Text("HTTP/1.1 200".into()),
        }]);
    }

    fn seen(&self) -> Vec<Vec<u8>> {
        let requests = self.listener.requests().into_iter();
        requests.flat_map(|request| request.records).collect()
    }
}

fn token() -> FixedToken {
    FixedToken(Token::new("s3cr3t-token"))
}

async fn memory() -> impl Endpoint {
    MemorySink::new()
}

async fn logzio() -> impl Endpoint {
    let listener = RawListener::open().await;
    let sink = LogzioSink::new(client(), listener.url.clone(), "logs", token());
    Listening { sink, listener }
}

async fn http() -> impl Endpoint {
    let listener = RawListener::open().await;
    let sink = HttpSink::new(client(), listener.url.clone(), Some(token()));
    Listening { sink, listener }
}

fn body() -> Body {
    let mut writer = BodyWriter::new(1);
    for record in records() {
        writer.push(&record);
    }
    writer.finish()
}

fn records() -> Vec<Vec<u8>> {
    (0..1000).map(|n| format!("{{\"n\":{n}}}").into()).collect()
}

async fn accepted_records_arrive_whole_and_in_order(endpoint: impl Endpoint) {
    let answer = endpoint.sink().deliver(&body(), LONG).await;
    assert_eq!(answer, Answer::Accepted);
    assert_eq!(endpoint.seen(), records());
}

async fn a_body_can_be_delivered_again(endpoint: impl Endpoint) {
    let body = body();
    let retry_after = Duration::from_secs(7);
    endpoint.plan(Mood::Busy { seconds: 7 });
    assert_eq!(
        endpoint.sink().deliver(&body, LONG).await,
        Answer::Retry {
            reason: RetryReason::Status(429),
            after: Some(retry_after)
        }
    );
    assert_eq!(endpoint.sink().deliver(&body, LONG).await, Answer::Accepted);
}

async fn a_413_is_a_body_too_large(endpoint: impl Endpoint) {
    endpoint.plan(Mood::TooLarge);
    let answer = endpoint.sink().deliver(&body(), LONG).await;
    assert_eq!(answer, Answer::TooLarge);
}

async fn a_403_is_fatal(endpoint: impl Endpoint) {
    endpoint.plan(Mood::Forbidden);
    let answer = endpoint.sink().deliver(&body(), LONG).await;
    assert!(matches!(&answer, Answer::Fatal { reason } if reason.contains("403")));
}

async fn a_silent_endpoint_is_left_after_the_time_out(endpoint: impl Endpoint) {
    endpoint.plan(Mood::Silent);
    let began = tokio::time::Instant::now();
    let answer = endpoint.sink().deliver(&body(), TIMEOUT).await;
    let reason = RetryReason::TimedOut;
    let after = None;
    assert_eq!(answer, Answer::Retry { reason, after });
    assert!(began.elapsed() < LONG);
}

async fn a_connection_that_breaks_off_is_ambiguous(endpoint: impl Endpoint) {
    endpoint.plan(Mood::BreaksOff);
    let answer = endpoint.sink().deliver(&body(), LONG).await;
    let Answer::Retry { reason, .. } = answer else {
        panic!("nothing is known of the records: {answer:?}");
    };
    assert!(matches!(reason, RetryReason::Connection(_)), "{reason:?}");
    assert!(reason.is_ambiguous());
}

macro_rules! every_sink_keeps {
    ($($behaviour:ident),* $(,)?) => { every_sink_keeps! { @ memory $($behaviour)* }
        every_sink_keeps! { @ logzio $($behaviour)* }
        every_sink_keeps! { @ http $($behaviour)* }
    };
    (@ $sink:ident $($behaviour:ident)*) => {
        mod $sink {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    super::$behaviour(super::$sink().await).await;
                }
            )*
        }
    };
}

every_sink_keeps! {
    accepted_records_arrive_whole_and_in_order,
    a_body_can_be_delivered_again,
    a_413_is_a_body_too_large,
    a_403_is_fatal,
    a_silent_endpoint_is_left_after_the_time_out,
    a_connection_that_breaks_off_is_ambiguous,
}
