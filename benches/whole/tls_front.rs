//! TLS in front of a port that speaks without.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// For `localhost`, signed by itself, made for this benchmark. Nobody trusts it but who is told to.
const CERTIFICATE: &str = include_str!("localhost.pem");
const KEY: &str = include_str!("localhost.key.pem");
const BUFFER_BYTES: usize = 256 * 1024;

/// What `SSL_CERT_FILE` is to be set to.
pub fn certificate_file() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/whole/localhost.pem"
    ))
}

/// Opens another port that hands on what comes over TLS, until the runtime ends.
pub async fn open(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port of loopback");
    let address = listener.local_addr().expect("a bound port");
    let acceptor = TlsAcceptor::from(Arc::new(server_config()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(hand_on(acceptor.clone(), stream, target));
        }
    });
    address
}

fn server_config() -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together")
}

/// A connection that breaks off shows where it is missed.
async fn hand_on(acceptor: TlsAcceptor, stream: TcpStream, target: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Ok(mut outside) = acceptor.accept(stream).await else {
        return;
    };
    let Ok(mut inside) = TcpStream::connect(target).await else {
        return;
    };
    let _ = inside.set_nodelay(true);
    let _ =
        copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER_BYTES, BUFFER_BYTES).await;
}
