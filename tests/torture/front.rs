//! What stands between the functions and AWS: S3 and DynamoDB that go away for a while and come back.
//!
//! Requests to DynamoDB are passed on one after the other, because moto's `UpdateItem` is not atomic: of
//! several claimants at once more than one would win. A request that was begun is ended, though the process
//! that made it be killed: so it is at AWS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_brigade::local::loopback::{Loopback, Serving};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use crate::dice::Dice;

pub struct Front {
    pub url: Url,
    shared: Arc<Shared>,
    _serving: Serving,
}

struct Shared {
    client: reqwest::Client,
    aws: Url,
    ledger: tokio::sync::Mutex<()>,
    away: Mutex<Away>,
}

/// Until when a service is away.
#[derive(Debug, Default)]
struct Away {
    s3: Option<Instant>,
    dynamodb: Option<Instant>,
    times: u64,
    requests: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl Front {
    pub async fn start(client: reqwest::Client, aws: &Url) -> Self {
        let loopback = Loopback::bind().await.expect("a port");
        let url = Url::parse(&format!("http://{}", loopback.address())).expect("a URL");
        let shared = Arc::new(Shared {
            client,
            aws: aws.clone(),
            ledger: tokio::sync::Mutex::default(),
            away: Mutex::default(),
        });
        let answering = Arc::clone(&shared);
        let serving = loopback.serve(move |request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(request).await }
        });
        Self {
            url,
            shared,
            _serving: serving,
        }
    }

    /// Lets S3 or DynamoDB go away now and then, until `until`.
    pub async fn trouble(&self, mut dice: Dice, until: Instant) {
        loop {
            let pause = dice.millis(2_000, 7_000);
            if Instant::now() + pause >= until {
                return;
            }
            tokio::time::sleep(pause).await;
            let back = Instant::now() + dice.millis(100, 1_500);
            let mut away = self.shared.away.lock().expect("whole");
            away.times += 1;
            match dice.happens(50) {
                true => away.s3 = Some(back),
                false => away.dynamodb = Some(back),
            }
        }
    }

    /// How often a service went away, and requests that found it so.
    pub fn away(&self) -> (u64, u64) {
        let away = self.shared.away.lock().expect("whole");
        (away.times, away.requests)
    }
}

impl Shared {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, NoAnswer> {
        let target = request.headers().get("x-amz-target");
        let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
        let (is_dynamodb, is_s3) = (target.starts_with("DynamoDB"), target.is_empty());
        {
            let mut away = self.away.lock().expect("whole");
            let until = match (is_dynamodb, is_s3) {
                (true, _) => away.dynamodb,
                (_, true) => away.s3,
                (false, false) => None,
            };
            if until.is_some_and(|until| Instant::now() < until) {
                away.requests += 1;
                return Err(NoAnswer);
            }
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
        let passed = tokio::spawn(async move {
            let _turn = match is_dynamodb {
                true => Some(self.ledger.lock().await),
                false => None,
            };
            self.pass(head, body).await
        });
        passed.await.map_err(|_| NoAnswer)?
    }

    async fn pass(
        &self,
        head: http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, NoAnswer> {
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let url = self.aws.join(target).map_err(|_| NoAnswer)?;
        let request = self
            .client
            .request(head.method, url)
            .headers(end_to_end(head.headers))
            .body(body)
            .timeout(Duration::from_secs(30));
        let answer = request.send().await.map_err(|_| NoAnswer)?;
        let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
        let body = answer.bytes().await.map_err(|_| NoAnswer)?;
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
