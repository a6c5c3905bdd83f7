//! What the HTTP sinks share: the token, the exchange, and what most statuses mean.
//!
//! No text made here holds a URL: path and query may carry a secret, so errors name the host alone.
//! Nor does any quote the answer's body, which may repeat a token or a record.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{Answer, RetryReason};
use crate::token::{Token, TokenError, TokenSource};

pub(super) const USER_AGENT: &str = concat!("bucket-brigade/", env!("CARGO_PKG_VERSION"));

/// What is read of an answer's body; the rest is left unread.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long an answer is awaited whose status alone says everything. Reading to its end lets the
/// connection serve the next request; more than that it is not worth.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A token that is read at its first use and kept until it is refused.
///
/// Whoever asks while it is being read waits for that same reading.
pub(super) struct KeptToken<T> {
    source: T,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<Token>,
    /// How often the source was read: tells a request whether it used the last reading.
    readings: u64,
}

/// A token as one request holds it.
struct Held {
    token: Token,
    reading: u64,
}

impl<T: TokenSource> KeptToken<T> {
    pub(super) fn new(source: T) -> Self {
        Self {
            source,
            kept: Mutex::default(),
        }
    }

    /// Reads the token, so that the first request need not wait for it.
    pub(super) async fn prepare(&self) {
        // Whoever needs the token and does not have it reads it again, and says why it cannot be had.
        let _ = self.hold().await;
    }

    async fn hold(&self) -> Result<Held, TokenError> {
        let mut kept = self.kept.lock().await;
        let token = match &kept.token {
            Some(token) => token.clone(),
            None => self.read(&mut kept).await?,
        };
        Ok(Held {
            token,
            reading: kept.readings,
        })
    }

    /// Another token than the one that was refused, if the source has one by now. The source is
    /// read unless someone did so after `refused` was handed out.
    async fn hold_another(&self, refused: &Held) -> Result<Option<Held>, TokenError> {
        let mut kept = self.kept.lock().await;
        let token = match &kept.token {
            Some(token) if kept.readings > refused.reading => token.clone(),
            _ => self.read(&mut kept).await?,
        };
        let reading = kept.readings;
        Ok((token != refused.token).then_some(Held { token, reading }))
    }

    async fn read(&self, kept: &mut Kept) -> Result<Token, TokenError> {
        let token = self.source.read().await?;
        kept.token = Some(token.clone());
        kept.readings += 1;
        Ok(token)
    }
}

/// Makes one request and returns the answer's head: its status and headers.
///
/// After a 401 or 403 the token is read again; if the source has another one by now, the request
/// is repeated once with it. `Err` holds an answer that is final: no head arrived, or the endpoint
/// refuses the token.
pub(super) async fn exchange<T: TokenSource>(
    token: Option<&KeptToken<T>>,
    endpoint: &Url,
    until: Instant,
    request: impl Fn(Option<&Token>) -> RequestBuilder + Send + Sync,
) -> Result<Response, Answer> {
    let Some(kept) = token else {
        let response = send(request(None), until).await?;
        return refuse_unauthorized(response, endpoint, until).await;
    };
    let held = in_time(until, kept.hold()).await?;
    let response = send(request(Some(&held.token)), until).await?;
    if !is_unauthorized(response.status()) {
        return Ok(response);
    }
    let Some(another) = in_time(until, kept.hold_another(&held)).await? else {
        return refuse_unauthorized(response, endpoint, until).await;
    };
    drain(response, until).await;
    let response = send(request(Some(&another.token)), until).await?;
    refuse_unauthorized(response, endpoint, until).await
}

/// What a status means to every receiver. The body is read to its end, to free the connection.
pub(super) async fn answer_by_status(response: Response, endpoint: &Url, until: Instant) -> Answer {
    let status = response.status();
    let after = retry_after(response.headers());
    drain(response, until).await;
    match status.as_u16() {
        200..=299 => Answer::Accepted,
        413 => Answer::TooLarge,
        code @ (408 | 425 | 429 | 500..=599) => Answer::Retry {
            reason: RetryReason::Status(code),
            after,
        },
        300..=399 => Answer::Fatal {
            reason: format!(
                "{} and redirects are not followed: set ENDPOINT_URL to the final address",
                said(endpoint, status)
            ),
        },
        _ => Answer::Fatal {
            reason: format!("{}: check ENDPOINT_URL", said(endpoint, status)),
        },
    }
}

/// The answer's body, at most [`ANSWER_BYTES_MAX`] of it.
pub(super) async fn read_bounded(
    mut response: Response,
    until: Instant,
) -> Result<Vec<u8>, RetryReason> {
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES_MAX {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) => read.extend_from_slice(&chunk),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(RetryReason::Connection(text(error))),
            Err(_) => return Err(RetryReason::TimedOut),
        }
    }
    read.truncate(ANSWER_BYTES_MAX);
    Ok(read)
}

/// "endpoint listener.logz.io:8071 answered 404 Not Found"
pub(super) fn said(endpoint: &Url, status: StatusCode) -> String {
    format!("endpoint {} answered {status}", place(endpoint))
}

/// Host and port, and nothing else of the URL.
pub(super) fn place(endpoint: &Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    match endpoint.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_unauthorized(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

async fn refuse_unauthorized(
    response: Response,
    endpoint: &Url,
    until: Instant,
) -> Result<Response, Answer> {
    let status = response.status();
    if !is_unauthorized(status) {
        return Ok(response);
    }
    drain(response, until).await;
    Err(Answer::Fatal {
        reason: format!(
            "{}: check the token in ENDPOINT_TOKEN_ARN or ENDPOINT_TOKEN, and ENDPOINT_URL",
            said(endpoint, status)
        ),
    })
}

/// The head of the answer, in time.
async fn send(request: RequestBuilder, until: Instant) -> Result<Response, Answer> {
    match timeout_at(until, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(unanswered(error)),
        Err(_) => Err(RetryReason::TimedOut.into()),
    }
}

/// A reading of the token, in time.
async fn in_time<V>(
    until: Instant,
    reading: impl Future<Output = Result<V, TokenError>>,
) -> Result<V, Answer> {
    match timeout_at(until, reading).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ TokenError::Unavailable { .. })) => {
            Err(RetryReason::Token(error.to_string()).into())
        }
        Ok(Err(error @ TokenError::Refused { .. })) => Err(Answer::Fatal {
            reason: error.to_string(),
        }),
        Err(_) => Err(RetryReason::Token("failed to read the token in time".into()).into()),
    }
}

/// Reads what is left of an answer that is understood already; what goes wrong there is nobody's
/// concern.
pub(super) async fn drain(response: Response, until: Instant) {
    let _ = read_bounded(response, until.min(Instant::now() + DRAIN_MAX)).await;
}

/// What it means that no head of an answer arrived.
fn unanswered(error: reqwest::Error) -> Answer {
    if error.is_builder() || error.is_redirect() {
        Answer::Fatal {
            reason: format!("cannot make the request to the endpoint: {}", text(error)),
        }
    } else if error.is_connect() {
        RetryReason::Unreachable(text(error)).into()
    } else if error.is_timeout() {
        RetryReason::TimedOut.into()
    } else {
        RetryReason::Connection(text(error)).into()
    }
}

impl From<RetryReason> for Answer {
    fn from(reason: RetryReason) -> Self {
        Answer::Retry {
            reason,
            after: None,
        }
    }
}

/// The error and its causes, without the URL, which carries the token.
fn text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
///
/// A date is taken against the answer's own `Date`, so that it does not matter how the two clocks
/// differ; without that it says nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    let seconds = date(value)?.as_second().saturating_sub(now.as_second());
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn headers(retry_after: &'static str, date: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_on_the_endpoints_clock() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let wanted = |text, date| retry_after(&headers(text, date)).map(|wait| wait.as_secs());
        assert_eq!(wanted("120", None), Some(120));
        assert_eq!(wanted("0", date), Some(0));
        assert_eq!(wanted("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(30));
        assert_eq!(wanted("Sun, 06 Nov 1994 08:49:00 GMT", date), None);
        assert_eq!(wanted("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
        assert_eq!(wanted("-1", date), None);
        assert_eq!(wanted("soon", date), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn an_error_names_the_place_and_nothing_else_of_the_url() {
        let url = Url::parse("https://user:pw@listener.example:8071/secret?token=s3cr3t").unwrap();
        assert_eq!(place(&url), "listener.example:8071");
    }

    /// Gives out `token-1`, `token-2`, … a change after each `same` readings.
    struct Rotating {
        readings: AtomicU64,
        same: u64,
    }

    impl Rotating {
        fn after(same: u64) -> KeptToken<Self> {
            let readings = AtomicU64::new(0);
            KeptToken::new(Self { readings, same })
        }
    }

    impl TokenSource for Rotating {
        async fn read(&self) -> Result<Token, TokenError> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let reading = self.readings.fetch_add(1, Ordering::Relaxed);
            Ok(Token::new(format!("token-{}", reading / self.same + 1)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_at_once_read_the_token_once() {
        let kept = Rotating::after(1);
        let (one, two, three) = tokio::join!(kept.hold(), kept.hold(), kept.hold());
        for held in [one, two, three] {
            assert_eq!(held.unwrap().token, Token::new("token-1"));
        }
        assert_eq!(kept.source.readings.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_being_read_ahead_is_read_once() {
        let kept = Rotating::after(1);
        let ((), held) = tokio::join!(kept.prepare(), kept.hold());
        assert_eq!(held.unwrap().token, Token::new("token-1"));
        kept.prepare().await;
        assert_eq!(kept.source.readings.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_refusals_at_once_read_the_token_once_more() {
        let kept = Rotating::after(1);
        let (one, two) = (kept.hold().await.unwrap(), kept.hold().await.unwrap());
        let (first, second) = tokio::join!(kept.hold_another(&one), kept.hold_another(&two));
        for held in [first, second] {
            assert_eq!(held.unwrap().unwrap().token, Token::new("token-2"));
        }
        assert_eq!(kept.source.readings.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_did_not_change_is_not_tried_again_but_read_at_the_next_refusal() {
        let kept = Rotating::after(2);
        let held = kept.hold().await.unwrap();
        assert!(kept.hold_another(&held).await.unwrap().is_none());
        let held = kept.hold().await.unwrap();
        let another = kept.hold_another(&held).await.unwrap().unwrap();
        assert_eq!(another.token, Token::new("token-2"));
    }
}
