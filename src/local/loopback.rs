//! HTTP/1.1 on a loopback port: accepts connections and hands every request to one function.
//!
//! The function may refuse to answer: an `Err` closes the connection without a byte of a
//! response, and [`Connection::reset_on_close`] makes that close a TCP reset.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A port bound on 127.0.0.1, not served yet.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

/// The server behind a port. Dropping it closes the port and every connection to it.
#[derive(Debug)]
pub struct Serving {
    task: AbortHandle,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection a request came on; every request carries one among its extensions.
#[derive(Debug, Clone)]
pub struct Connection {
    // A second handle on the same socket, because hyper owns the first.
    socket: Arc<std::net::TcpStream>,
}

impl Connection {
    /// Makes the close of this connection a reset: what is unsent is lost, and the client sees
    /// `ECONNRESET` instead of an orderly end.
    pub fn reset_on_close(&self) -> io::Result<()> {
        let socket = TcpStream::from_std(self.socket.try_clone()?)?;
        socket.set_zero_linger()
    }
}

impl Loopback {
    /// Binds a free port.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the port on the current runtime until the answer is dropped.
    pub fn serve<F, R, B, E>(self, respond: F) -> Serving
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Response<B>, E>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let task = tokio::spawn(accept(self.listener, respond));
        Serving {
            task: task.abort_handle(),
        }
    }
}

async fn accept<F, R, B, E>(listener: TcpListener, respond: F) -> Infallible
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    // The connections end with this set, and the set with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, respond.clone()));
                }
                // Out of descriptors, or the client is gone already: the next one may do better.
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn converse<F, R, B, E>(stream: TcpStream, respond: F)
where
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let Ok((stream, connection)) = with_second_handle(stream) else {
        return;
    };
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        respond(request)
    });
    // A client may leave at any time, and a refusal to answer ends here as an error: neither is news.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn with_second_handle(stream: TcpStream) -> io::Result<(TcpStream, Connection)> {
    // Without it a small answer waits some 40 ms for the client's delayed ACK.
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let socket = Arc::new(stream.try_clone()?);
    Ok((TcpStream::from_std(stream)?, Connection { socket }))
}
