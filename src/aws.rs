//! What every AWS adapter shares: one HTTP client, one configuration, and whose credentials read
//! the source buckets.
//!
//! Nothing here waits for the network: credentials, roles and secrets are fetched by the first
//! request that needs them. Every wait has a limit: a connection, an answer's head, an attempt,
//! an operation with its retries; a body's deadline is set by who reads it (see
//! [`S3Store`](crate::store::s3::S3Store)).
//!
//! The future of an operation takes several kilobytes, and whatever awaits it takes them as well, once
//! for each wrapper. So the adapters put it into a box: work on a hundred objects at once is moved
//! about, and held, without it.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use rustls::ClientConfig;

use crate::aws::http::SdkHttpClient;
use crate::aws::keys::SourceKeys;
use crate::aws::secrets::{Secret, SecretError};
use crate::config::SourceAccess;
use crate::store::s3::S3Store;

pub mod fault;
pub mod http;
pub mod keys;
pub mod secrets;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the request to the head of its answer, the request's body included.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(75);
/// Few, because the callers retry as well, and they know the deadline.
const ATTEMPTS_MAX: u32 = 3;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The name under which an assumed role appears in CloudTrail.
const SESSION_NAME: &str = "bucket-brigade";
/// Where the region is set nowhere. A bucket elsewhere answers with its own region's name.
const REGION_DEFAULT: &str = "us-east-1";

/// What the settings say about AWS. Anything absent is left to the SDK's own environment
/// variables and profile files.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// Instead of AWS, for every service.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    /// A profile of the SDK's files, instead of the one that `AWS_PROFILE` names.
    pub profile: Option<String>,
    /// Instead of the SDK's chain: the tool's embedded servers.
    pub credentials: Option<Credentials>,
    pub source: SourceAccess,
}

/// The shared configuration, from which every client is made.
#[derive(Clone, Debug)]
pub struct Aws {
    own: SdkConfig,
    source: SdkConfig,
    source_keys: Option<SourceKeys>,
}

impl Aws {
    /// Reads environment and profile files. The only error is an ARN in the settings that names
    /// no secret.
    pub async fn load(settings: AwsSettings, tls: &ClientConfig) -> Result<Self, SecretError> {
        let mut profile_region = ProfileFileRegionProvider::builder();
        if let Some(profile) = &settings.profile {
            profile_region = profile_region.profile_name(profile);
        }
        let profile_region = profile_region.build();
        let region = RegionProviderChain::first_try(settings.region.map(Region::new))
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(profile_region)
            .or_else(REGION_DEFAULT);
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(SdkHttpClient::new(tls))
            .region(region)
            .retry_config(retries())
            .timeout_config(timeouts())
            // Bodies are read at once and whole, under deadlines of their own; the SDK's measure
            // of throughput would count the time we spend inflating against the store.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // A range has no checksum of its own, an object of a multipart upload a composite one
            // that the SDK skips with a warning each; gzip brings its own CRC. And S3-compatible
            // stores often refuse the trailers that the SDK would send.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        if let Some(url) = settings.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(profile) = settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(credentials) = settings.credentials {
            loader = loader.credentials_provider(credentials);
        }
        let own = loader.load().await;
        let (source, source_keys) = source_config(&own, settings.source).await?;
        Ok(Self {
            own,
            source,
            source_keys,
        })
    }

    /// The configuration with our own credentials, for [`Secret`] and
    /// [`AwsTokenSource`](secrets::AwsTokenSource).
    pub fn config(&self) -> &SdkConfig {
        &self.own
    }

    /// S3 with our own credentials: quarantine, never source buckets.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        s3_client(&self.own)
    }

    /// S3 with the credentials for source buckets.
    pub fn source_s3(&self) -> aws_sdk_s3::Client {
        s3_client(&self.source)
    }

    /// The source buckets as a store.
    pub fn source_store(&self) -> S3Store {
        match &self.source_keys {
            None => S3Store::new(self.source_s3()),
            Some(keys) => S3Store::with_keys(self.source_s3(), keys.clone()),
        }
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.own)
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.own)
    }
}

async fn source_config(
    own: &SdkConfig,
    access: SourceAccess,
) -> Result<(SdkConfig, Option<SourceKeys>), SecretError> {
    match access {
        SourceAccess::Own => Ok((own.clone(), None)),
        SourceAccess::Role { arn, external_id } => {
            let mut role = AssumeRoleProvider::builder(arn)
                .session_name(SESSION_NAME)
                .configure(own);
            if let Some(id) = external_id {
                role = role.external_id(id);
            }
            let role = SharedCredentialsProvider::new(role.build().await);
            // A cache of its own: it renews a session shortly before that ends.
            let config = own
                .to_builder()
                .credentials_provider(role)
                .identity_cache(IdentityCache::lazy().build())
                .build();
            Ok((config, None))
        }
        SourceAccess::Keys { secret_arn: arn } => {
            let keys = SourceKeys::new(Secret::new(&arn, own)?);
            // No cache, because the provider is one, and knows when its keys were refused.
            let config = own
                .to_builder()
                .credentials_provider(SharedCredentialsProvider::new(keys.clone()))
                .identity_cache(IdentityCache::no_cache())
                .build();
            Ok((config, Some(keys)))
        }
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(BACKOFF_FIRST)
        .with_max_backoff(BACKOFF_MAX)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// A store that is named by address (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, a profile) has
/// no host name for each bucket, as a rule, so the bucket goes into the path.
fn s3_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    let path_style = config.endpoint_url().is_some() || s3_endpoint_is_set(config);
    let config = aws_sdk_s3::config::Builder::from(config)
        .force_path_style(path_style)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn s3_endpoint_is_set(config: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .expect("all three are given");
    config
        .service_config()
        .is_some_and(|settings| settings.load_config(key).is_some())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::presigning::PresigningConfig;

    use super::*;

    /// Where an object of this bucket is asked for.
    async fn address(bucket: &str) -> String {
        let credentials = Credentials::new("id", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let get = s3_client(&config).get_object().bucket(bucket).key("a b");
        let hour = PresigningConfig::expires_in(Duration::from_secs(3_600)).expect("an hour");
        let request = get.presigned(hour).await.expect("an address");
        let (address, _) = request.uri().split_once('?').expect("a signature");
        address.to_owned()
    }

    /// The certificate of S3 holds for one label before `s3.`.
    #[tokio::test]
    async fn o8_a_bucket_whose_name_has_dots_stands_in_the_path() {
        let dotted = address("logs.example.com").await;
        assert_eq!(
            dotted,
            "https://s3.eu-west-1.amazonaws.com/logs.example.com/a%20b"
        );
        let plain = address("logs-example").await;
        assert_eq!(
            plain,
            "https://logs-example.s3.eu-west-1.amazonaws.com/a%20b"
        );
    }
}
