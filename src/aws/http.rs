//! The AWS SDK's HTTP client: requests of the SDK go in, responses come out, over the TLS
//! configuration that everything shares.
//!
//! It stands on hyper's pool and not on reqwest, because reqwest parses every address as a
//! browser does: `/bucket/logs/../a` would be sent as `/bucket/a`, which is another object, under
//! a signature that no longer fits. S3 allows such keys, so the address goes out as it was signed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{error, fmt, io};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

/// How long an idle connection is kept: S3 closes idle ones after some 20 seconds.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

type Pool = legacy::Client<HttpsConnector<connect::HttpConnector>, SdkBody>;
type Pools = Vec<(Option<Duration>, Pool)>;

/// One pool of connections for all the SDK's clients that are given a clone of this.
///
/// Bodies stream both ways; nothing is held back. `http` is spoken as well as `https`, because
/// the address comes from the SDK's settings (`AWS_ENDPOINT_URL`, a metadata service).
#[derive(Clone)]
pub struct SdkHttpClient {
    tls: ClientConfig,
    /// One for each connect time-out asked for: in practice the services' and the metadata
    /// service's.
    pools: Arc<Mutex<Pools>>,
}

impl SdkHttpClient {
    pub fn new(tls: &ClientConfig) -> Self {
        Self {
            tls: tls.clone(),
            pools: Arc::default(),
        }
    }

    fn pool(&self, connect_timeout: Option<Duration>) -> Pool {
        // A poisoned lock still guards a list that is whole: a push either happened or did not.
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pool)) = pools.iter().find(|(made, _)| *made == connect_timeout) {
            return pool.clone();
        }
        let pool = open_pool(self.tls.clone(), connect_timeout);
        pools.push((connect_timeout, pool.clone()));
        pool
    }
}

fn open_pool(tls: ClientConfig, connect_timeout: Option<Duration>) -> Pool {
    let mut tcp = connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(connect_timeout);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector)
}

impl fmt::Debug for SdkHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkHttpClient")
    }
}

impl HttpClient for SdkHttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            pool: self.pool(settings.connect_timeout()),
            read_timeout: settings.read_timeout(),
        })
    }
}

/// The pool, and how long its answers may take.
struct Connector {
    pool: Pool,
    /// From the request to the head of the answer: name resolution, the TLS handshake and the
    /// request's body are part of it. The answer's body is not; who reads it sets its deadline.
    read_timeout: Option<Duration>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("read_timeout", &self.read_timeout)
            .finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let answer = self.pool.request(request);
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let answer = match read_timeout {
                None => answer.await,
                Some(limit) => tokio::time::timeout(limit, answer)
                    .await
                    .map_err(|_| ConnectorError::timeout(NoAnswer(limit).into()))?,
            };
            let response = answer.map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The head of an answer did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} ms", .0.as_millis())]
struct NoAnswer(Duration);

fn connector_error(error: legacy::Error) -> ConnectorError {
    let connecting = error.is_connect();
    let error = match timed_out(&error) {
        true => ConnectorError::timeout(error.into()),
        false => ConnectorError::io(error.into()),
    };
    match connecting {
        true => error.never_connected(),
        false => error,
    }
}

fn timed_out(error: &legacy::Error) -> bool {
    let mut cause: Option<&dyn error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::TimedOut
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, format!("http://{address}"))
    }

    fn connector(read_timeout: Duration) -> Connector {
        let tls = crate::tls::client_config(None).expect("a configuration");
        Connector {
            pool: SdkHttpClient::new(&tls).pool(Some(Duration::from_secs(1))),
            read_timeout: Some(read_timeout),
        }
    }

    fn get(uri: String) -> HttpRequest {
        HttpRequest::get(uri).expect("a request")
    }

    #[tokio::test]
    async fn a_key_with_dot_segments_is_asked_for_as_it_is() {
        let (listener, address) = listen().await;
        let (say, heard) = oneshot::channel();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 1024];
            let length = socket.read(&mut head).await.expect("a request");
            socket
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .expect("answered");
            say.send(head[..length].to_vec()).expect("heard");
        });
        let uri = format!("{address}/bucket/logs/../a/./b//c?x-id=GetObject");
        let connector = connector(Duration::from_secs(5));
        let answer = connector.call(get(uri)).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 204);
        let head = heard.await.expect("a request");
        let line = b"GET /bucket/logs/../a/./b//c?x-id=GetObject HTTP/1.1\r\n";
        assert!(head.starts_with(line), "{}", String::from_utf8_lossy(&head));
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_a_time_out() {
        let (listener, address) = listen().await;
        let error = connector(Duration::from_millis(50))
            .call(get(address))
            .await
            .expect_err("no answer");
        assert!(error.is_timeout(), "{error:?}");
        drop(listener);
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_or_broken_off_is_an_io_error() {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            // The first connection is taken and dropped, then nobody listens any more.
            let _ = listener.accept().await;
        });
        let connector = connector(Duration::from_secs(5));
        for _ in 0..2 {
            let error = connector.call(get(address.clone())).await;
            let error = error.expect_err("no answer");
            assert!(error.is_io(), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_handed_out_before_it_has_ended() {
        let (listener, address) = listen().await;
        let (go_on, told) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let _ = socket.read(&mut [0; 1024]).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab";
            socket.write_all(head).await.expect("answered");
            told.await.expect("told");
            socket.write_all(b"cd").await.expect("answered");
            let _ = socket.read(&mut [0; 1024]).await;
        });
        let connector = connector(Duration::from_secs(5));
        let mut answer = connector.call(get(address)).await.expect("an answer");
        let mut body = answer.take_body();
        let first = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(first.into_data().expect("data"), "ab");
        go_on.send(()).expect("told");
        let rest = body.collect().await.expect("the rest");
        assert_eq!(rest.to_bytes(), "cd");
    }
}
