//! The flaky endpoint: in front of a listener that checks what it is sent, it refuses, delays, breaks off,
//! and loses answers, and it keeps an account of every record that was taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_brigade::local::listener::body::{Scrutiny, decoded, judged};
use bucket_brigade::local::listener::{BODY_BYTES_MAX, LINE_BYTES_MAX, ListenerServer, Options};
use bucket_brigade::local::loopback::{Connection, Loopback, Serving};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::Instant;
use url::Url;

use crate::dice::Dice;
use crate::objects::identity;

pub const TOKEN: &str = "t0rture-s3cr3t/with+odd=characters";
/// What no process may write: the token, however it is escaped.
pub const SECRETS: [&str; 2] = [TOKEN, "t0rture-s3cr3t"];
/// How long the processes wait for an answer.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(4);
/// An answer that takes longer may reach nobody: less than the time-out, for the request was on its way
/// before it was seen here.
const LATE: Duration = Duration::from_millis(2_500);
/// A process that goes away within so long after it is killed does so because of that. One that did before had given
/// up to wait, which is no interruption.
const KILLED_WITHIN: Duration = Duration::from_millis(500);

/// What was taken, and what it was answered.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// How often each record of an object was taken.
    pub times: BTreeMap<u32, Vec<u32>>,
    /// Records of an object that were taken and whose answer was lost, or waited for by nobody, each time; but for
    /// those of a process that was killed meanwhile.
    pub unheard: BTreeMap<u32, u64>,
    /// Lines that no object holds.
    pub strangers: u64,
    pub answers: BTreeMap<&'static str, u64>,
}

impl Taken {
    /// Answers that were lost although records were taken.
    pub fn answers_lost(&self) -> u64 {
        let count = |name| self.answers.get(name).copied().unwrap_or(0);
        count("lost") + count("late")
    }

    /// How many records of each object are in what was taken.
    fn keep(&mut self, plain: &[u8]) -> BTreeMap<u32, u64> {
        let mut records = BTreeMap::new();
        for line in judged(plain, LINE_BYTES_MAX, Scrutiny::Parse).good {
            let Some((object, index)) = identity(line) else {
                self.strangers += 1;
                continue;
            };
            let times = self.times.entry(object).or_default();
            let index = index as usize;
            if times.len() <= index {
                times.resize(index + 1, 0);
            }
            times[index] += 1;
            *records.entry(object).or_default() += 1;
        }
        records
    }

    fn note_unheard(&mut self, records: &BTreeMap<u32, u64>) {
        for (object, count) in records {
            *self.unheard.entry(*object).or_default() += count;
        }
    }
}

/// Records that were taken of a process that was gone before it had its answer.
struct Abandoned {
    process: String,
    at: Instant,
    records: BTreeMap<u32, u64>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Passed,
    Slow(Duration),
    /// Taken, and the connection ends without a word.
    Lost,
    Refused(u16),
    /// Broken off before it is read.
    Reset,
}

pub struct Endpoint {
    pub listener: ListenerServer,
    pub url: Url,
    shared: Arc<Shared>,
    _serving: Serving,
}

struct Shared {
    client: reqwest::Client,
    listener: Url,
    dice: Mutex<Dice>,
    is_calm: AtomicBool,
    taken: Mutex<Taken>,
    abandoned: Mutex<Vec<Abandoned>>,
    /// When each process was killed.
    kills: Mutex<BTreeMap<String, Vec<Instant>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

type Answer = Result<Response<Full<Bytes>>, NoAnswer>;

impl Endpoint {
    pub async fn start(client: reqwest::Client, dice: Dice) -> Self {
        let options = Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        };
        let listener = ListenerServer::start(options).await.expect("a listener");
        let loopback = Loopback::bind().await.expect("a port");
        let url = Url::parse(&format!("http://{}", loopback.address())).expect("a URL");
        let shared = Arc::new(Shared {
            client,
            listener: listener.url().clone(),
            dice: Mutex::new(dice),
            is_calm: AtomicBool::new(false),
            taken: Mutex::default(),
            abandoned: Mutex::default(),
            kills: Mutex::default(),
        });
        let answering = Arc::clone(&shared);
        let serving = loopback.serve(move |request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(request).await }
        });
        Self {
            listener,
            url,
            shared,
            _serving: serving,
        }
    }

    /// From now on every request passes.
    pub fn calm_down(&self) {
        self.shared.is_calm.store(true, Ordering::Relaxed);
    }

    /// The endpoint, as that process knows it.
    pub fn url_of(&self, process: &str) -> Url {
        self.url.join(process).expect("a name")
    }

    /// That process is killed now.
    pub fn note_kill(&self, process: &str) {
        let mut kills = self.shared.kills.lock().expect("whole");
        kills
            .entry(process.to_owned())
            .or_default()
            .push(Instant::now());
    }

    pub fn taken(&self) -> Taken {
        let mut taken = self.shared.taken.lock().expect("whole").clone();
        let kills = self.shared.kills.lock().expect("whole");
        for abandoned in self.shared.abandoned.lock().expect("whole").iter() {
            let was_killed = kills.get(&abandoned.process).is_some_and(|times| {
                times
                    .iter()
                    .any(|killed| (*killed..=*killed + KILLED_WITHIN).contains(&abandoned.at))
            });
            if was_killed {
                *taken.answers.entry("killed").or_default() += 1;
            } else {
                *taken.answers.entry("late").or_default() += 1;
                taken.note_unheard(&abandoned.records);
            }
        }
        taken
    }
}

impl Shared {
    fn fate(&self) -> Fate {
        let mut dice = self.dice.lock().expect("whole");
        if self.is_calm.load(Ordering::Relaxed) {
            return Fate::Passed;
        }
        match dice.between(1, 100) {
            0..=62 => Fate::Slow(dice.moment(6)),
            63..=74 => Fate::Slow(dice.millis(50, 1_200)),
            75..=82 => Fate::Refused(503),
            83..=84 => Fate::Refused(429),
            85..=88 => Fate::Reset,
            89..=97 => Fate::Lost,
            _ => Fate::Slow(DELIVERY_TIMEOUT + Duration::from_millis(500)),
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, NoAnswer> {
        let arrived = Instant::now();
        let fate = self.fate();
        if let Fate::Reset = fate {
            self.count("reset");
            if let Some(connection) = request.extensions().get::<Connection>() {
                connection.reset_on_close().map_err(|_| NoAnswer)?;
            }
            return Err(NoAnswer);
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
        if let Fate::Refused(status) = fate {
            self.count(if status == 503 { "503" } else { "429" });
            let response = Response::builder().status(status);
            return response.body(Full::default()).map_err(|_| NoAnswer);
        }
        // In a task of its own: what was taken stays taken, though who sent it be killed meanwhile, or wait no more.
        let (asked, answer) = oneshot::channel();
        tokio::spawn(self.take(head, body, fate, arrived, asked));
        answer.await.map_err(|_| NoAnswer)?
    }

    async fn take(
        self: Arc<Self>,
        head: http::request::Parts,
        body: Bytes,
        fate: Fate,
        arrived: Instant,
        mut asked: oneshot::Sender<Answer>,
    ) {
        let judging = self.judge(&head, &body, fate);
        tokio::pin!(judging);
        let (judged, gone) = tokio::select! {
            judged = &mut judging => (judged, None),
            () = asked.closed() => {
                let at = Instant::now();
                (judging.await, Some(at))
            }
        };
        let answer = judged.map(|(answer, plain)| {
            let records = plain.map(|plain| self.taken.lock().expect("whole").keep(&plain));
            let records = records.unwrap_or_default();
            match (gone, fate) {
                (Some(at), _) => {
                    let process = head.uri.path().trim_matches('/').to_owned();
                    let abandoned = Abandoned {
                        process,
                        at,
                        records,
                    };
                    self.abandoned.lock().expect("whole").push(abandoned);
                }
                (None, Fate::Lost) => self.note_unheard("lost", &records),
                (None, _) if arrived.elapsed() >= LATE => self.note_unheard("late", &records),
                (None, _) => self.count("heard"),
            }
            answer
        });
        let answer = answer.and_then(|answer| match fate {
            Fate::Lost => Err(NoAnswer),
            _ => Ok(answer),
        });
        // Whoever asked may be gone.
        let _ = asked.send(answer);
    }

    /// The listener's answer, and the plain bytes if they were taken.
    async fn judge(
        &self,
        head: &http::request::Parts,
        body: &Bytes,
        fate: Fate,
    ) -> Result<(Response<Full<Bytes>>, Option<Bytes>), NoAnswer> {
        if let Fate::Slow(time) = fate {
            tokio::time::sleep(time).await;
        }
        let mut url = self.listener.clone();
        url.set_query(head.uri.query());
        let mut headers = head.headers.clone();
        headers.remove(http::header::HOST);
        let posted = self.client.post(url).headers(headers).body(body.clone());
        let answer = posted.send().await.map_err(|_| NoAnswer)?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(|_| NoAnswer)?;
        let plain = if status == 200 || status == 400 {
            let encoding = head.headers.get(http::header::CONTENT_ENCODING);
            let encoding = encoding.and_then(|value| value.to_str().ok());
            Some(decoded(body, encoding, BODY_BYTES_MAX).map_err(|_| NoAnswer)?)
        } else {
            None
        };
        let response = Response::builder().status(status);
        let response = response.body(Full::new(text)).map_err(|_| NoAnswer)?;
        Ok((response, plain))
    }

    fn note_unheard(&self, answer: &'static str, records: &BTreeMap<u32, u64>) {
        let mut taken = self.taken.lock().expect("whole");
        taken.note_unheard(records);
        *taken.answers.entry(answer).or_default() += 1;
    }

    fn count(&self, answer: &'static str) {
        let mut taken = self.taken.lock().expect("whole");
        *taken.answers.entry(answer).or_default() += 1;
    }
}
