//! Any receiver of NDJSON or lines over POST that takes a body whole or not at all.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use reqwest::{Client, RequestBuilder, Response, Url};
use tokio::time::Instant;

use super::post::{self, KeptToken};
use super::{Answer, Sink};
use crate::body::Body;
use crate::token::{Token, TokenSource};

/// The receiver. A token, if it wants one, goes into `Authorization: Bearer`; it is read at the
/// first delivery, kept, and read again once it is refused.
pub struct HttpSink<T> {
    client: Client,
    endpoint: Url,
    token: Option<KeptToken<T>>,
}

impl<T: TokenSource> HttpSink<T> {
    /// `client` follows no redirects and has a time-out for connecting of its own, as for
    /// [`LogzioSink`](super::logzio::LogzioSink). `endpoint` is used as it is, path and query
    /// included.
    pub fn new(client: Client, endpoint: Url, token: Option<T>) -> Self {
        Self {
            client,
            endpoint,
            token: token.map(KeptToken::new),
        }
    }

    fn request(&self, body: &Body, token: Option<&Token>) -> RequestBuilder {
        let request = self
            .client
            .post(self.endpoint.clone())
            .header(USER_AGENT, post::USER_AGENT)
            .header(CONTENT_ENCODING, "gzip")
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(body.gzip.clone());
        match token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }
}

impl<T> fmt::Debug for HttpSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink")
            .field("endpoint", &post::place(&self.endpoint))
            .finish_non_exhaustive()
    }
}

impl<T: TokenSource> Sink for HttpSink<T> {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        let until = Instant::now() + timeout;
        let request = |token: Option<&Token>| self.request(body, token);
        let response =
            match post::exchange(self.token.as_ref(), &self.endpoint, until, request).await {
                Ok(response) => response,
                Err(answer) => return answer,
            };
        answer_of(response, &self.endpoint, until).await
    }

    async fn prepare(&self) {
        if let Some(token) = &self.token {
            token.prepare().await;
        }
    }
}

/// What a receiver's answer means. Nothing is read of it after `until`, and no text made here quotes it or
/// shows more of `endpoint` than its host.
pub async fn answer_of(response: Response, endpoint: &Url, until: Instant) -> Answer {
    let status = response.status();
    if matches!(status.as_u16(), 400 | 422) {
        post::drain(response, until).await;
        return Answer::Refused {
            reason: post::said(endpoint, status),
        };
    }
    post::answer_by_status(response, endpoint, until).await
}
