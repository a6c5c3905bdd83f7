//! A log endpoint on loopback that checks what it is sent.
//!
//! As `logzio` it answers as the Logz.io bulk listener is documented to: token and type in the
//! query, newline-separated JSON objects, 10,485,760 bytes a body counted uncompressed, 500,000
//! bytes a line, a partial success as 400 with counts. As `http` it is a receiver that takes a
//! body whole or not at all. Where the documentation is silent it is strict.
//!
//! It keeps what it accepts, counted by identity, and can be told to answer out of the ordinary.

pub mod answer;
pub mod body;
pub mod received;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde_json::json;
use url::{Url, form_urlencoded};

use super::loopback::{Connection, Loopback, Serving};
use answer::{Answer, Script};
use body::{Identity, Judged, RecordId, Scrutiny, Undecodable};
use received::{Counts, Received};

/// Largest body of the Logz.io listener, counted uncompressed.
pub const BODY_BYTES_MAX: usize = 10_485_760;
/// Longest line of the Logz.io listener.
pub const LINE_BYTES_MAX: usize = 500_000;
/// Largest body on the wire that is read at all, whatever the options allow.
const WIRE_BYTES_MAX: usize = 1 << 30;

/// Which receiver it plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Logzio,
    /// Any path, any bytes, no token, all or nothing.
    Http,
}

/// How a listener starts; all but `kind` and `line_bytes_max` hold for both kinds.
#[derive(Debug, Clone)]
pub struct Options {
    pub kind: Kind,
    /// The token that `logzio` demands.
    pub token: String,
    pub identity: Identity,
    /// Whether the raw lines are kept beside the counts.
    pub keep_lines: bool,
    pub scrutiny: Scrutiny,
    /// How much longer every answer takes.
    pub delay: Duration,
    pub body_bytes_max: usize,
    pub line_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::Logzio,
            token: "token".to_owned(),
            identity: Identity::Line,
            keep_lines: false,
            scrutiny: Scrutiny::Parse,
            delay: Duration::ZERO,
            body_bytes_max: BODY_BYTES_MAX,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }
}

/// A running listener. Clones are handles on the same one; it stops with the last of them.
#[derive(Debug, Clone)]
pub struct ListenerServer {
    shared: Arc<Shared>,
    url: Url,
    _serving: Arc<Serving>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    token: Mutex<String>,
    delay: Mutex<Duration>,
    script: Mutex<Script>,
    received: Mutex<Received>,
    in_flight: AtomicU64,
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl ListenerServer {
    /// Starts on a free port of 127.0.0.1, on the current runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let loopback = Loopback::bind().await?;
        let url = Url::parse(&format!("http://{}", loopback.address()))
            .expect("an address and a port make a URL");
        let shared = Arc::new(Shared {
            token: Mutex::new(options.token.clone()),
            delay: Mutex::new(options.delay),
            script: Mutex::default(),
            received: Mutex::default(),
            in_flight: AtomicU64::new(0),
            options,
        });
        let answering = Arc::clone(&shared);
        let serving = loopback.serve(move |request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(request).await }
        });
        Ok(Self {
            shared,
            url,
            _serving: Arc::new(serving),
        })
    }

    /// Where it listens, without token or type.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What it has kept so far, with its counts.
    pub fn received(&self) -> Received {
        self.shared.received().clone()
    }

    /// Its counts alone, which is cheap.
    pub fn counts(&self) -> Counts {
        self.shared.received().counts.clone()
    }

    /// Forgets what it has kept and counted.
    pub fn forget(&self) {
        *self.shared.received() = Received::default();
    }

    /// Answers the next requests so, one each, before it goes on as usual.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        locked(&self.shared.script).extend(answers);
    }

    /// Answers every request so whose plain bytes contain `needle`.
    pub fn answer_containing(&self, needle: impl Into<Vec<u8>>, answer: Answer) {
        locked(&self.shared.script).answer_containing(needle.into(), answer);
    }

    /// Ends all answers out of the ordinary.
    pub fn clear_script(&self) {
        locked(&self.shared.script).clear();
    }

    /// Demands this token from now on.
    pub fn set_token(&self, token: impl Into<String>) {
        *locked(&self.shared.token) = token.into();
    }

    /// Takes this much longer for every answer from now on.
    pub fn set_delay(&self, delay: Duration) {
        *locked(&self.shared.delay) = delay;
    }
}

/// Counts a request as in flight until it is dropped.
struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the blocking part found in a request.
struct Found {
    answer: Answer,
    lines: Vec<Bytes>,
    ids: Vec<RecordId>,
    plain_bytes: u64,
    lines_refused: u64,
    undecodable: Option<Undecodable>,
}

impl Found {
    fn refused(answer: Answer, undecodable: Option<Undecodable>) -> Self {
        Self {
            answer,
            lines: Vec::new(),
            ids: Vec::new(),
            plain_bytes: 0,
            lines_refused: 0,
            undecodable,
        }
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Received> {
        locked(&self.received)
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, NoAnswer> {
        let _in_flight = self.began();
        let scripted = locked(&self.script).take_next();
        if scripted == Some(Answer::Reset) {
            if let Some(connection) = request.extensions().get::<Connection>() {
                connection.reset_on_close().map_err(|_| NoAnswer)?;
            }
            return self.sent(&Answer::Reset).await;
        }

        let (head, incoming) = request.into_parts();
        let wire = Limited::new(incoming, WIRE_BYTES_MAX).collect().await;
        let wire = wire.map_err(|_| NoAnswer)?.to_bytes();
        self.received().counts.body_bytes += wire.len() as u64;
        let delay = *locked(&self.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let keeps = match &scripted {
            None | Some(Answer::HangAfterHeaders | Answer::Lost) => true,
            Some(Answer::Status { .. } | Answer::HangBeforeHeaders | Answer::Reset) => false,
        };
        let mut answer = scripted.clone();
        if keeps {
            // Inflating ten megabytes would hold up every other request of this thread.
            let shared = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || shared.look(&head, &wire));
            let found = looked.await.map_err(|_| NoAnswer)?;
            self.keep(&found);
            answer.get_or_insert(found.answer);
        }
        self.sent(&answer.ok_or(NoAnswer)?).await
    }

    fn began(&self) -> InFlight<'_> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let counts = &mut self.received().counts;
        counts.requests += 1;
        counts.in_flight_peak = counts.in_flight_peak.max(in_flight);
        InFlight(&self.in_flight)
    }

    /// Judges a request; changes nothing.
    fn look(&self, head: &http::request::Parts, wire: &Bytes) -> Found {
        if head.method != Method::POST {
            return Found::refused(Answer::status(405), None);
        }
        if self.options.kind == Kind::Logzio {
            if head.uri.path() != "/" {
                return Found::refused(Answer::status(404), None);
            }
            if let Some(answer) = self.unauthorized(head.uri.query().unwrap_or_default()) {
                return Found::refused(answer, None);
            }
            let log_type = parameter(head.uri.query().unwrap_or_default(), "type");
            let log_type = log_type.unwrap_or_else(|| "http-bulk".to_owned());
            *self.received().counts.types.entry(log_type).or_default() += 1;
        }
        let encoding = head.headers.get(CONTENT_ENCODING);
        let encoding = encoding.and_then(|value| value.to_str().ok());
        let plain = match body::decoded(wire, encoding, self.options.body_bytes_max) {
            Ok(plain) => plain,
            Err(error) => {
                let status = match error {
                    Undecodable::TooLarge => 413,
                    Undecodable::UnknownEncoding => 415,
                    Undecodable::SecondMember | Undecodable::Corrupt => 400,
                };
                return Found::refused(Answer::status(status).body(error.to_string()), Some(error));
            }
        };
        if let Some(answer) = locked(&self.script).for_content(&plain) {
            let keeps = matches!(answer, Answer::HangAfterHeaders | Answer::Lost);
            if !keeps {
                return Found {
                    plain_bytes: plain.len() as u64,
                    ..Found::refused(answer, None)
                };
            }
            return Found {
                answer,
                ..self.judge(&plain)
            };
        }
        self.judge(&plain)
    }

    fn unauthorized(&self, query: &str) -> Option<Answer> {
        match parameter(query, "token") {
            None => Some(Answer::status(401).body("Logging token is missing")),
            Some(token) if token.is_empty() => {
                Some(Answer::status(401).body("Logging token is missing"))
            }
            Some(token) if token != *locked(&self.token) => {
                Some(Answer::status(401).body("Logging token is not valid"))
            }
            Some(_) => None,
        }
    }

    fn judge(&self, plain: &Bytes) -> Found {
        let judged = match self.options.kind {
            Kind::Logzio => body::judged(plain, self.options.line_bytes_max, self.options.scrutiny),
            Kind::Http => Judged {
                good: body::lines(plain).collect(),
                ..Judged::default()
            },
        };
        let lines_refused = judged.malformed + judged.oversized + judged.empty;
        let answer = match lines_refused {
            0 => Answer::status(200),
            _ => Answer::status(400)
                .header(CONTENT_TYPE.as_str(), "application/json")
                .body(
                    json!({
                        "malformedLines": judged.malformed,
                        "successfulLines": judged.good.len(),
                        "oversizedLines": judged.oversized,
                        "emptyLogLines": judged.empty,
                    })
                    .to_string(),
                ),
        };
        let lines = match self.options.keep_lines {
            true => judged
                .good
                .iter()
                .map(|line| plain.slice_ref(line))
                .collect(),
            false => Vec::new(),
        };
        Found {
            answer,
            lines,
            ids: self.options.identity.of_all(&judged.good),
            plain_bytes: plain.len() as u64,
            lines_refused,
            undecodable: None,
        }
    }

    fn keep(&self, found: &Found) {
        let mut received = self.received();
        received.keep(&found.lines, &found.ids);
        let counts = &mut received.counts;
        counts.plain_bytes += found.plain_bytes;
        counts.lines_refused += found.lines_refused;
        match found.undecodable {
            Some(Undecodable::SecondMember) => counts.second_members += 1,
            Some(Undecodable::Corrupt) => counts.corrupt_bodies += 1,
            Some(Undecodable::TooLarge | Undecodable::UnknownEncoding) | None => {}
        }
    }

    /// Sends an answer, or what passes for one.
    async fn sent(&self, answer: &Answer) -> Result<Response<AnswerBody>, NoAnswer> {
        let status = match answer {
            Answer::Status { status, .. } => *status,
            Answer::HangAfterHeaders => 200,
            Answer::HangBeforeHeaders | Answer::Lost | Answer::Reset => 0,
        };
        *self.received().counts.statuses.entry(status).or_default() += 1;
        match answer {
            Answer::Status { headers, body, .. } => {
                let mut response = Response::new(AnswerBody::Text(Some(body.clone().into())));
                *response.status_mut() = StatusCode::from_u16(status).map_err(|_| NoAnswer)?;
                for (name, value) in headers {
                    let value = value.parse().map_err(|_| NoAnswer)?;
                    response.headers_mut().insert(*name, value);
                }
                Ok(response)
            }
            Answer::HangAfterHeaders => Ok(Response::new(AnswerBody::Never)),
            Answer::HangBeforeHeaders => std::future::pending().await,
            Answer::Lost | Answer::Reset => Err(NoAnswer),
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
enum AnswerBody {
    Text(Option<Bytes>),
    /// One byte that never comes.
    Never,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            // Nobody is told, because there is nothing to come.
            Self::Never => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = match self {
            Self::Text(text) => text.as_ref().map_or(0, Bytes::len) as u64,
            Self::Never => 1,
        };
        SizeHint::with_exact(bytes)
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A panic elsewhere leaves the data of these locks whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
