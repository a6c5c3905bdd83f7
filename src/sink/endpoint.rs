//! The endpoint of the settings as a sink, whatever its kind, and what its kind asks of records.

use std::time::Duration;

use super::http::HttpSink;
use super::logzio::{LOG_TYPE_DEFAULT, LogzioSink};
use super::{Answer, Sink};
use crate::body::Body;
use crate::config::{Endpoint, EndpointKind};
use crate::shape::Shape;
use crate::token::TokenSource;

/// Bytes of the longest line that the Logz.io listener takes
/// (Logz.io documentation, `docs/shipping/Code/http.md`, "Limitations").
const LOGZIO_LINE_BYTES_MAX: usize = 500_000;

/// Characters of the longest field that Logz.io indexes; a longer one damages its log after it was
/// accepted (Logz.io documentation, "Troubleshooting invalid logs").
const LOGZIO_FIELD_CHARS_MAX: usize = 32_700;

/// One endpoint of any kind.
pub enum EndpointSink<T> {
    Logzio(LogzioSink<T>),
    Http(HttpSink<T>),
}

impl<T: TokenSource> EndpointSink<T> {
    pub fn new(client: reqwest::Client, endpoint: &Endpoint, token: Option<T>) -> Option<Self> {
        let url = endpoint.url.clone();
        Some(match endpoint.kind {
            EndpointKind::Logzio => {
                let log_type = endpoint.log_type.as_deref().unwrap_or(LOG_TYPE_DEFAULT);
                Self::Logzio(LogzioSink::new(client, url, log_type, token?))
            }
            EndpointKind::Http => Self::Http(HttpSink::new(client, url, token)),
        })
    }
}

impl<T: TokenSource> Sink for EndpointSink<T> {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        match self {
            Self::Logzio(sink) => sink.deliver(body, timeout).await,
            Self::Http(sink) => sink.deliver(body, timeout).await,
        }
    }

    async fn prepare(&self) {
        match self {
            Self::Logzio(sink) => sink.prepare().await,
            Self::Http(sink) => sink.prepare().await,
        }
    }
}

/// How records have to leave for an endpoint of this kind.
pub fn shape_for(kind: EndpointKind) -> Shape {
    match kind {
        EndpointKind::Logzio => Shape {
            json_only: true,
            record_bytes_max: Some(LOGZIO_LINE_BYTES_MAX),
            field_chars_max: Some(LOGZIO_FIELD_CHARS_MAX),
            ..Shape::default()
        },
        EndpointKind::Http => Shape::default(),
    }
}
