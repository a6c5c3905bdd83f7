//! An HTTP endpoint on loopback that says byte for byte what it is told to, also nothing.

use std::collections::VecDeque;
use std::io;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_brigade::body::Body;
use reqwest::{Client, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it does once it has read a request.
#[derive(Clone, Debug)]
pub enum Says {
    /// This text, then it closes the connection.
    Text(String),
    /// This text, then nothing for a long while.
    TextAndHangs(String),
    /// Nothing for a long while.
    Nothing,
}

/// A whole answer.
pub fn answer(status: &str, headers: &str, body: &str) -> Says {
    let length = body.len();
    Says::Text(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers; the names of headers in lower case.
    pub head: String,
    pub records: Vec<Vec<u8>>,
}

/// Says what is planned, in order, and then `200`.
#[derive(Clone)]
pub struct RawListener {
    pub url: Url,
    requests: Arc<Mutex<Vec<Request>>>,
    plan: Arc<Mutex<VecDeque<Says>>>,
}

impl RawListener {
    pub async fn open() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Self {
            url: Url::parse(&format!("http://{address}")).unwrap(),
            requests: Arc::default(),
            plan: Arc::default(),
        };
        let serving = listener.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let serving = serving.clone();
                // A client that goes away in the middle is part of many tests.
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        listener
    }

    pub fn plan(&self, says: impl IntoIterator<Item = Says>) {
        self.plan.lock().unwrap().extend(says);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = read(&mut stream).await?;
        self.requests.lock().unwrap().push(request);
        let says = self.plan.lock().unwrap().pop_front();
        match says.unwrap_or_else(|| answer("200 OK", "", "")) {
            Says::Text(text) => stream.write_all(text.as_bytes()).await?,
            Says::TextAndHangs(text) => {
                stream.write_all(text.as_bytes()).await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            Says::Nothing => tokio::time::sleep(Duration::from_secs(60)).await,
        }
        stream.shutdown().await
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut gzip = vec![0; length.unwrap_or("0").parse().unwrap()];
    stream.read_exact(&mut gzip).await?;
    let mut inflater = flate2::write::GzDecoder::new(Vec::new());
    inflater.write_all(&gzip)?;
    let plain = inflater.finish()?;
    let records = Body::records_of(&plain).map(Vec::from).collect();
    Ok(Request { head, records })
}

/// A client that trusts nobody, speaks to no proxy and follows no redirect.
pub fn client() -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(1))
        .build()
        .unwrap()
}
