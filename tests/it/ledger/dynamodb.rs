//! A DynamoDB to test against, and the ledger's table in it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use bucket_brigade::ledger::dynamodb::DynamoLedger;
use url::Url;

use bucket_brigade::aws::http::SdkHttpClient;
use bucket_brigade::tls;

use crate::support::sdk::create_ledger_table;

/// An empty ledger in a new table.
pub async fn ledger() -> DynamoLedger {
    let client = client(&endpoint());
    let table = new_table_name();
    create_ledger_table(&client, &table).await;
    DynamoLedger::new(client, table)
}

/// Where DynamoDB answers: a local AWS that somebody started, given in `BRIGADE_TEST_ENDPOINT`, else
/// the double, in a thread of its own that outlives every test.
///
/// A local AWS has to make each write atomic, as ministack does. moto's `UpdateItem` is not: of
/// claimants at once several win there, so with moto skip `sixteen` and `at_once`.
pub fn endpoint() -> Url {
    static ENDPOINT: OnceLock<Url> = OnceLock::new();
    let endpoint = || given_endpoint().unwrap_or_else(started_double);
    ENDPOINT.get_or_init(endpoint).clone()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no settings; this one comes from whoever started the local AWS"
)]
fn given_endpoint() -> Option<Url> {
    let endpoint = std::env::var("BRIGADE_TEST_ENDPOINT").ok()?;
    Some(Url::parse(&endpoint).expect("BRIGADE_TEST_ENDPOINT is a URL"))
}

fn started_double() -> Url {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let aws = crate::support::aws::Aws::start().await;
            sender.send(aws.endpoint().clone()).expect("a test waits");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the double starts")
}

/// A client with the SDK's own retries: they must not disturb a move.
pub fn client(endpoint: &Url) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("AKIAANY", "any", None, None, "test"))
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint.as_str())
        .http_client(http_client())
        .build();
    Client::from_conf(config)
}

pub fn http_client() -> SdkHttpClient {
    SdkHttpClient::new(&tls::client_config(None).expect("the built-in roots"))
}

/// Different for every test of every run.
pub fn new_table_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let random = getrandom::u64().expect("random bits");
    format!("ledger-{number}-{random:016x}")
}

mod failures {
    use std::time::Duration;

    use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
    use bucket_brigade::ledger::{Ledger, LedgerError};

    use super::super::contract::{LEASE, at, content, owner};
    use super::*;

    async fn claim(ledger: &DynamoLedger) -> LedgerError {
        let claimed = ledger.claim(&content("k"), &owner("a"), at(0), LEASE).await;
        claimed.expect_err("no ledger to claim from")
    }

    /// A ledger of a server that gives each request this answer.
    async fn answering(answer: &'static str) -> DynamoLedger {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = vec![0; 65_536];
                    let _ = socket.read(&mut request).await;
                    let _ = socket.write_all(answer.as_bytes()).await;
                    if answer.is_empty() {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                });
            }
        });
        let endpoint = Url::parse(&format!("http://127.0.0.1:{port}")).expect("url");
        let config = client(&endpoint)
            .config()
            .to_builder()
            .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(Duration::from_secs(1))
                    .build(),
            )
            .build();
        DynamoLedger::new(Client::from_conf(config), "ledger".into())
    }

    macro_rules! answer {
        ($status:literal, $code:literal) => {
            concat!(
                "HTTP/1.1 ",
                $status,
                " X\r\nconnection: close\r\ncontent-length: 200\r\n",
                "content-type: application/x-amz-json-1.0\r\n\r\n",
                "{\"__type\":\"com.amazonaws.dynamodb.v20120810#",
                $code,
                "\",",
                "\"message\":\"the words of the service\"}",
                "                                                                                ",
                "                                                                                ",
                "                                                                                ",
            )
        };
    }

    #[tokio::test]
    async fn a_throttled_or_broken_ledger_is_unavailable() {
        for answer in [
            answer!("400", "ProvisionedThroughputExceededException"),
            answer!("400", "ThrottlingException"),
            answer!("400", "RequestLimitExceeded"),
            answer!("500", "InternalServerError"),
            answer!("503", "Whatever"),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{]}",
            "HTTP/1.1 502 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            // Closed without an answer.
            "x",
            // No answer at all.
            "",
        ] {
            let error = claim(&answering(answer).await).await;
            assert!(
                matches!(error, LedgerError::Unavailable { .. }),
                "{error:?} for {answer:?}"
            );
        }
        let nobody = Url::parse("http://127.0.0.1:9").expect("url");
        let error = claim(&DynamoLedger::new(client(&nobody), "ledger".into())).await;
        assert!(
            matches!(error, LedgerError::Unavailable { .. }),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_ledger_that_a_person_must_mend_refuses() {
        for (answer, expected) in [
            (
                answer!("400", "ResourceNotFoundException"),
                "ledger refused: UpdateItem: ResourceNotFoundException (status 400): the words of the service",
            ),
            (
                answer!("400", "AccessDeniedException"),
                "ledger refused: UpdateItem: AccessDeniedException (status 400): the words of the service",
            ),
            // This one's words quote the request, session token included.
            (
                answer!("400", "InvalidSignatureException"),
                "ledger refused: UpdateItem: InvalidSignatureException (status 400)",
            ),
            (
                answer!("400", "UnrecognizedClientException"),
                "ledger refused: UpdateItem: UnrecognizedClientException (status 400)",
            ),
        ] {
            let error = claim(&answering(answer).await).await;
            assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_had_are_refused() {
        use aws_credential_types::provider::error::CredentialsError;
        use aws_credential_types::provider::{ProvideCredentials, future};

        #[derive(Debug)]
        struct Without;

        impl ProvideCredentials for Without {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none here")))
            }
        }

        let nobody = Url::parse("http://127.0.0.1:9").expect("url");
        let config = client(&nobody)
            .config()
            .to_builder()
            .credentials_provider(Without)
            .build();
        let ledger = DynamoLedger::new(Client::from_conf(config), "ledger".into());
        let error = claim(&ledger).await;
        assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    }
}
