//! One TLS configuration for everything that leaves this process: the same provider, the same
//! roots, the same versions, whether the AWS SDK speaks or the sink does.
//!
//! The roots are Mozilla's, compiled in, so nothing is parsed at a cold start; a file of PEM
//! certificates adds private authorities. The machine's own certificate store is never read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// How long a connection may take to be set up, name resolution and TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept. Shorter than the idle time-outs of common load balancers
/// (60 s), so that a request seldom meets a connection that the other side has just closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why TLS could not be set up. Nothing can be sent until a person acts.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read certificates from {}", file.display())]
    Unreadable {
        file: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("{} holds no certificate; expected one or more in PEM", file.display())]
    Empty { file: PathBuf },
    #[error("certificate {number} in {} cannot be a root", file.display())]
    Refused {
        file: PathBuf,
        /// Counted from 1, as the file has them.
        number: usize,
        #[source]
        source: rustls::Error,
    },
    #[error("failed to set up TLS")]
    Rustls(#[from] rustls::Error),
    #[error("failed to set up the HTTP client")]
    Client(#[from] reqwest::Error),
}

/// TLS 1.2 and 1.3, trusting Mozilla's roots, and the certificates of `extra_roots` if it names
/// a file (`SSL_CERT_FILE`). A file that is missing, empty or broken is an error, never ignored.
pub fn client_config(extra_roots: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(file) = extra_roots {
        add_roots(&mut roots, file)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn add_roots(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let mut number = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        number += 1;
        roots
            .add(certificate.map_err(unreadable)?)
            .map_err(|source| TlsError::Refused {
                file: file.to_owned(),
                number,
                source,
            })?;
    }
    match number {
        0 => Err(TlsError::Empty {
            file: file.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The sink's HTTP client: no proxies, no redirects (a redirected POST would take the token to
/// another host, or lose its body), no retries of its own beyond a connection that was found
/// closed. The time-out of a whole request is the caller's to set.
pub fn http_client(tls: &ClientConfig) -> Result<reqwest::Client, TlsError> {
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("bucket-brigade/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(pem: &str) -> Result<ClientConfig, TlsError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("roots.pem");
        std::fs::write(&file, pem).expect("written");
        client_config(Some(&file))
    }

    /// A self-signed authority made for this test; nobody holds its key.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBpzCCAU2gAwIBAgIUbXrYgNpXbomlxCPe/RtufNO7nTMwCgYIKoZIzj0EAwIw
KDEmMCQGA1UEAwwdYnVja2V0LWJyaWdhZGUgdGVzdCBhdXRob3JpdHkwIBcNMjYx
MTIyMDEyMjQzWhgPMjEyNjEwMjkwMTIyNDNaMCgxJjAkBgNVBAMMHWJ1Y2tldC1i
cmlnYWRlIHRlc3QgYXV0aG9yaXR5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
MhHVZVvTykriHUahUaYVU9yCAkeblB2hxnj5HGoJoa4eg8DIdQ7ud6bO+SgQPUmT
PJvcthPbrQJK3CCqjOZN06NTMFEwHQYDVR0OBBYEFCgs3R+7wlCzG+ucBqDQvKq4
cjLCMB8GA1UdIwQYMBaAFCgs3R+7wlCzG+ucBqDQvKq4cjLCMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAJd9wRfzZgVB2F3aUVhZyOghxRNM7aDY
yaLHMWZoYpcKAiB43hzt5LcJirQTXdkoF+VZ2NeGlaPE5Lxcuum/FabnSQ==
-----END CERTIFICATE-----
";

    #[test]
    fn both_clients_are_made_from_one_configuration() {
        let tls = client_config(None).expect("a configuration");
        http_client(&tls).expect("a client");
    }

    #[test]
    fn a_private_authority_is_added_to_the_roots() {
        config_of(&AUTHORITY.repeat(2)).expect("a configuration");
    }

    #[test]
    fn a_missing_file_of_roots_is_named() {
        let error = client_config(Some(Path::new("/no/such/roots.pem"))).expect_err("an error");
        assert!(error.to_string().contains("/no/such/roots.pem"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let error = config_of("no certificates here\n").expect_err("an error");
        assert!(matches!(error, TlsError::Empty { .. }), "{error:?}");
    }

    #[test]
    fn a_certificate_that_is_none_is_counted_and_named() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = config_of(&format!("{AUTHORITY}{broken}")).expect_err("an error");
        assert!(
            matches!(error, TlsError::Refused { number: 2, .. }),
            "{error:?}"
        );
    }
}
