//! A log endpoint that only counts while it is measured, and looks at what it was sent afterwards.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bucket_brigade::local::loopback::{Loopback, Serving};
use bytes::Bytes;
use flate2::write::GzDecoder;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use memchr::memchr_iter;

/// A running endpoint: any path, any bytes, always 200.
#[derive(Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    pub address: std::net::SocketAddr,
    _serving: Serving,
}

#[derive(Debug, Default)]
struct Shared {
    bodies: Mutex<Vec<Body>>,
    delay: Mutex<Duration>,
}

/// A body as it came, in pieces.
type Body = Vec<Bytes>;

/// What bodies hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub plain_bytes: u64,
    pub records: u64,
}

impl Endpoint {
    pub async fn start() -> Self {
        let loopback = Loopback::bind().await.expect("a port of loopback");
        let address = loopback.address();
        let shared = Arc::new(Shared::default());
        let answering = Arc::clone(&shared);
        let serving = loopback.serve(move |request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(request).await }
        });
        Self {
            shared,
            address,
            _serving: serving,
        }
    }

    /// Answers so much later from now on.
    pub fn set_delay(&self, delay: Duration) {
        *self
            .shared
            .delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// Takes out every body so far.
    pub fn take(&self) -> Vec<Body> {
        let mut bodies = self
            .shared
            .bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut bodies)
    }
}

impl Shared {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let mut incoming = request.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            if let Ok(data) = frame?.into_data() {
                body.push(data);
            }
        }
        self.bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(body);
        let delay = *self.delay.lock().unwrap_or_else(PoisonError::into_inner);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(Response::new(Full::default()))
    }
}

/// The bytes of all bodies on the wire.
pub fn wire_bytes(bodies: &[Body]) -> u64 {
    bodies
        .iter()
        .flatten()
        .map(|piece| piece.len() as u64)
        .sum()
}

/// Inflates every body, each of which must be one whole gzip member.
///
/// # Panics
///
/// If one is not: then nothing that was measured counts.
pub fn content(bodies: &[Body]) -> Content {
    let mut content = Content::default();
    for body in bodies {
        let mut inflater = GzDecoder::new(Counter::default());
        for piece in body {
            inflater
                .write_all(piece)
                .expect("a body is one gzip member");
        }
        let counted = inflater.finish().expect("a body is one whole gzip member");
        content.plain_bytes += counted.0.plain_bytes;
        content.records += counted.0.records;
    }
    content
}

#[derive(Default)]
struct Counter(Content);

impl Write for Counter {
    fn write(&mut self, plain: &[u8]) -> std::io::Result<usize> {
        self.0.plain_bytes += plain.len() as u64;
        self.0.records += memchr_iter(b'\n', plain).count() as u64;
        Ok(plain.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
