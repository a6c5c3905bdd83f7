//! AWS SDK clients for the tests, over the same HTTP client as the product's.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::SystemTimeSource;
use bucket_brigade::aws::http::SdkHttpClient;
use bucket_brigade::tls;
use url::Url;

/// A client of its own, with connections of its own.
pub fn http_client() -> reqwest::Client {
    tls::http_client(&tls::client_config(None).unwrap()).unwrap()
}

/// An S3 client of this endpoint that does not retry.
pub fn s3(endpoint: &Url) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(&shared(endpoint)).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// What every client of this endpoint is made from: any credentials, no retries.
pub fn shared(endpoint: &Url) -> aws_types::SdkConfig {
    let credentials = Credentials::new("AKIAANY", "any secret", None, None, "test");
    aws_types::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint.as_str())
        .retry_config(RetryConfig::disabled())
        .http_client(SdkHttpClient::new(&tls::client_config(None).unwrap()))
        .time_source(SystemTimeSource::new())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .build()
}

/// The ledger's table as the template makes it, but for TTL, which no local AWS acts on.
pub async fn create_ledger_table(client: &aws_sdk_dynamodb::Client, table: &str) {
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .expect("complete")
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("complete")
    };
    let by_state = GlobalSecondaryIndex::builder()
        .index_name("by_state")
        .key_schema(key("state_index", KeyType::Hash))
        .key_schema(key("changed_at", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::All)
                .build(),
        )
        .build()
        .expect("complete");
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::B))
        .attribute_definitions(attribute("state_index", ScalarAttributeType::S))
        .attribute_definitions(attribute("changed_at", ScalarAttributeType::N))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(by_state)
        .send()
        .await
        .expect("create the table");
}
