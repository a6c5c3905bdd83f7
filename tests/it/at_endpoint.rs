//! The AWS adapters hold their contracts: at the double in this process, or at a local AWS that
//! somebody started and named in `BRIGADE_TEST_ENDPOINT`.
#![cfg(feature = "local")]

use std::cell::RefCell;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, StorageClass, VersioningConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use bucket_brigade::aws::secrets::AwsTokenSource;
use bucket_brigade::aws::{Aws, AwsSettings};
use bucket_brigade::config::SourceAccess;
use bucket_brigade::object::{Etag, ObjectId, WorkItem};
use bucket_brigade::quarantine::S3Place;
use bucket_brigade::quarantine::s3::S3Quarantine;
use bucket_brigade::queue::sqs::SqsQueue;
use bucket_brigade::queue::{QueueError, WorkQueue};
use bucket_brigade::store::s3::S3Store;
use bucket_brigade::store::{Store, StoreError};
use bucket_brigade::tls;
use bucket_brigade::token::{TokenError, TokenSource};
use bytes::Bytes;

use crate::quarantine_contract::{self, Reader};
use crate::queue_contract::{self, Receiver};
use crate::store_contract::{self, Bucket, list_all};
use crate::support::aws as double;

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

#[expect(
    clippy::disallowed_methods,
    reason = "where the local AWS listens is a matter of the test run"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

thread_local! {
    /// The double of one test: each test has a thread, and its runtime, to itself.
    static DOUBLE: RefCell<Option<double::Aws>> = const { RefCell::new(None) };
}

async fn aws(source: SourceAccess) -> Aws {
    match variable("BRIGADE_TEST_ENDPOINT") {
        Some(given) => at(&given, source).await,
        None => at(double().await.endpoint().as_str(), source).await,
    }
}

async fn double() -> double::Aws {
    if let Some(double) = DOUBLE.with_borrow(Clone::clone) {
        return double;
    }
    let double = double::Aws::start().await;
    double.sts.allow(ROLE, Some("external:1"));
    DOUBLE.set(Some(double.clone()));
    double
}

/// The adapters at one address.
pub async fn at(endpoint_url: &str, source: SourceAccess) -> Aws {
    let settings = AwsSettings {
        endpoint_url: Some(endpoint_url.to_owned()),
        region: Some("us-east-1".to_owned()),
        profile: None,
        credentials: Some(Credentials::new("test", "test", None, None, "test")),
        source,
    };
    let roots = variable("SSL_CERT_FILE");
    let tls = tls::client_config(roots.as_ref().map(AsRef::as_ref)).expect("a configuration");
    Aws::load(settings, &tls).await.expect("a configuration")
}

/// A name that no other test has.
fn unique(purpose: &str) -> String {
    let number = getrandom::u64().expect("a random number");
    format!("{purpose}-{number:016x}")
}

/// A new bucket, seen through the store under test and through a client that writes.
pub struct S3Bucket {
    store: S3Store,
    client: aws_sdk_s3::Client,
    name: String,
    can_hold: fn(&str) -> bool,
}

/// The double holds any key, as S3 does. moto finds no route for a key with a line's end in it,
/// and repeats `StartAfter` without encoding it, in XML that cannot hold control characters.
fn can_hold(key: &str) -> bool {
    variable("BRIGADE_TEST_ENDPOINT").is_none() || !key.contains(char::is_control)
}

impl S3Bucket {
    /// `can_hold` says which keys the server can hold at all; S3 holds any.
    pub async fn make(aws: &Aws, can_hold: fn(&str) -> bool) -> Self {
        let client = aws.s3();
        let name = unique("bucket");
        let made = client.create_bucket().bucket(&name).send().await;
        made.expect("a bucket");
        Self {
            store: aws.source_store(),
            client,
            name,
            can_hold,
        }
    }
}

impl Bucket for S3Bucket {
    type Store = S3Store;

    fn store(&self) -> &S3Store {
        &self.store
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, key: &str, content: &[u8]) {
        let put = self.client.put_object().bucket(&self.name).key(key);
        let put = put.body(ByteStream::from(content.to_vec())).send().await;
        put.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
    }

    fn can_hold(&self, key: &str) -> bool {
        (self.can_hold)(key)
    }

    async fn remove(&self, key: &str) {
        let delete = self.client.delete_object().bucket(&self.name).key(key);
        delete.send().await.expect("removed");
    }
}

#[tokio::test]
async fn s3_holds_the_store_contract() {
    let aws = aws(SourceAccess::Own).await;
    store_contract::holds(&S3Bucket::make(&aws, can_hold).await).await;
}

#[tokio::test]
async fn more_than_a_thousand_objects_come_in_pages() {
    let bucket = S3Bucket::make(&aws(SourceAccess::Own).await, can_hold).await;
    let keys: Vec<String> = (0..1_003).map(|n| format!("p/{n:04} +é")).collect();
    for key in &keys {
        bucket.put(key, b"x").await;
    }
    let first = bucket.store.list(&bucket.name, "p/", None).await;
    let first = first.expect("a page");
    assert_eq!((first.objects.len(), first.more), (1_000, true));
    let all = list_all(&bucket, "p/").await.into_iter().map(|o| o.key);
    assert_eq!(all.collect::<Vec<_>>(), keys);
}

/// A client that believed the header would inflate what is plain, or hand out other bytes than the range's.
#[tokio::test]
async fn b3_the_bytes_come_as_they_are_stored_whatever_content_encoding_says() {
    let bucket = S3Bucket::make(&aws(SourceAccess::Own).await, can_hold).await;
    let gzip = crate::world::gzip(b"{\"a\":1}\n");
    for (key, bytes) in [("plain", b"{\"a\":1}\n".to_vec()), ("gzip.gz", gzip)] {
        let put = bucket.client.put_object().bucket(&bucket.name).key(key);
        let put = put
            .content_encoding("gzip")
            .content_type("application/json");
        let put = put.body(ByteStream::from(bytes.clone())).send().await;
        let etag = Etag::from(put.expect("put").e_tag().expect("an entity tag"));
        let object = ObjectId::new(&bucket.name, key);
        let read = bucket
            .store
            .read(&object, &etag, 0..bytes.len() as u64)
            .await;
        assert_eq!(read.expect("read"), bytes);
    }
}

#[tokio::test]
async fn a_version_that_is_no_longer_the_latest_is_read() {
    let bucket = S3Bucket::make(&aws(SourceAccess::Own).await, can_hold).await;
    let versioning = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let client = &bucket.client;
    let enable = client.put_bucket_versioning().bucket(&bucket.name);
    enable
        .versioning_configuration(versioning)
        .send()
        .await
        .expect("versioning");
    let put = client.put_object().bucket(&bucket.name).key("k");
    let first = put.body(ByteStream::from_static(b"first")).send().await;
    let first = first.expect("put");
    bucket.put("k", b"second").await;

    let mut object = ObjectId::new(&bucket.name, "k");
    let etag = Etag::from(first.e_tag().expect("an entity tag"));
    let error = bucket.store.read(&object, &etag, 0..5).await;
    assert!(
        matches!(error, Err(StoreError::Replaced { .. })),
        "{error:?}"
    );
    object.version = first.version_id().map(str::to_owned);
    let read = bucket.store.read(&object, &etag, 0..5).await;
    assert_eq!(read.expect("the first version"), "first");
    assert_eq!(bucket.store.head(&object).await.expect("a head").size, 5);
    object.version = Some("nosuchversion".to_owned());
    let error = bucket.store.read(&object, &etag, 0..5).await;
    assert!(
        matches!(
            error,
            Err(StoreError::NotFound { .. } | StoreError::Denied { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_archived_object_is_told_apart() {
    let bucket = S3Bucket::make(&aws(SourceAccess::Own).await, can_hold).await;
    let put = bucket.client.put_object().bucket(&bucket.name).key("cold");
    put.storage_class(StorageClass::Glacier)
        .body(ByteStream::from_static(b"cold"))
        .send()
        .await
        .expect("put");
    let object = ObjectId::new(&bucket.name, "cold");
    let etag = bucket.store.head(&object).await.expect("a head").etag;
    let error = bucket.store.read(&object, &etag, 0..4).await;
    assert!(
        matches!(error, Err(StoreError::Archived { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_unusable() {
    let store = aws(SourceAccess::Own).await.source_store();
    let name = unique("none");
    let error = store.list(&name, "", None).await;
    assert!(
        matches!(error, Err(StoreError::Unusable { .. })),
        "{error:?}"
    );
    let object = ObjectId::new(&name, "k");
    let error = store.read(&object, &Etag::from("e"), 0..1).await;
    assert!(
        matches!(error, Err(StoreError::Unusable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_assumed_role_reads_the_source() {
    let own = aws(SourceAccess::Own).await;
    let bucket = S3Bucket::make(&own, can_hold).await;
    bucket.put("k", b"x").await;
    let role = SourceAccess::Role {
        arn: ROLE.to_owned(),
        external_id: Some("external:1".to_owned()),
    };
    let store = aws(role).await.source_store();
    let meta = store.head(&ObjectId::new(&bucket.name, "k")).await;
    assert_eq!(meta.expect("a head").size, 1);
}

#[tokio::test]
async fn a_role_that_cannot_be_asked_for_now_is_asked_for_later() {
    let role = SourceAccess::Role {
        arn: ROLE.to_owned(),
        external_id: None,
    };
    let store = at("http://127.0.0.1:1", role).await.source_store();
    let error = store.list("b", "", None).await;
    assert!(
        matches!(error, Err(StoreError::Unavailable { .. })),
        "{error:?}"
    );
}

async fn secret(aws: &Aws, text: &str) -> String {
    let client = aws_sdk_secretsmanager::Client::new(aws.config());
    let made = client.create_secret().name(unique("secret"));
    let made = made.secret_string(text).send().await.expect("a secret");
    made.arn.expect("an ARN")
}

#[tokio::test]
async fn keys_in_a_secret_read_the_source() {
    let own = aws(SourceAccess::Own).await;
    let bucket = S3Bucket::make(&own, can_hold).await;
    bucket.put("k", b"x").await;
    let object = ObjectId::new(&bucket.name, "k");

    let arn = secret(&own, r#"{"accessKey":"AK","secretKey":"s"}"#).await;
    let store = aws(SourceAccess::Keys { secret_arn: arn })
        .await
        .source_store();
    assert_eq!(store.head(&object).await.expect("a head").size, 1);

    let arn = secret(&own, "hunter2").await;
    let store = aws(SourceAccess::Keys { secret_arn: arn })
        .await
        .source_store();
    let error = store.head(&object).await.expect_err("no keys");
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");

    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf".to_owned();
    let store = aws(SourceAccess::Keys { secret_arn: arn })
        .await
        .source_store();
    let error = store.head(&object).await.expect_err("no secret");
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_token_is_read_from_either_service() {
    let aws = aws(SourceAccess::Own).await;
    let arn = secret(&aws, r#"{"token":"first"}"#).await;
    let source = AwsTokenSource::new(&arn, aws.config()).expect("an ARN");
    assert_eq!(source.read().await.expect("a token").reveal(), "first");
    let client = aws_sdk_secretsmanager::Client::new(aws.config());
    let change = client.put_secret_value().secret_id(&arn);
    change
        .secret_string("second")
        .send()
        .await
        .expect("changed");
    assert_eq!(source.read().await.expect("a token").reveal(), "second");

    let client = aws_sdk_ssm::Client::new(aws.config());
    let name = format!("/logs/{}", unique("token"));
    client
        .put_parameter()
        .name(&name)
        .value("third")
        .r#type(aws_sdk_ssm::types::ParameterType::SecureString)
        .send()
        .await
        .expect("a parameter");
    let arn = format!("arn:aws:ssm:us-east-1:123456789012:parameter{name}");
    let source = AwsTokenSource::new(&arn, aws.config()).expect("an ARN");
    assert_eq!(source.read().await.expect("a token").reveal(), "third");

    for arn in [
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf",
        "arn:aws:ssm:us-east-1:123456789012:parameter/none",
    ] {
        let source = AwsTokenSource::new(arn, aws.config()).expect("an ARN");
        let error = source.read().await.expect_err("not there");
        assert!(matches!(error, TokenError::Refused { .. }), "{error}");
    }
}

struct SqsReceiver {
    queue: SqsQueue,
    client: aws_sdk_sqs::Client,
    queue_url: String,
    dead_letter_url: String,
}

impl SqsReceiver {
    async fn make(aws: &Aws) -> Self {
        let client = aws.sqs();
        let queue_url = make_queue(&client).await;
        let dead_letter_url = make_queue(&client).await;
        Self {
            queue: SqsQueue::new(aws.sqs(), &queue_url, Some(dead_letter_url.clone())),
            client,
            queue_url,
            dead_letter_url,
        }
    }

    /// Takes what waits, until nothing comes any more.
    async fn drain(&self, url: &str) -> Vec<aws_sdk_sqs::types::Message> {
        let mut all = Vec::new();
        loop {
            let receive = self.client.receive_message().queue_url(url);
            let answer = receive
                .max_number_of_messages(10)
                .message_attribute_names("All")
                .send()
                .await
                .expect("an answer");
            let messages = answer.messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                let delete = self.client.delete_message().queue_url(url);
                let delete = delete.set_receipt_handle(message.receipt_handle.clone());
                delete.send().await.expect("deleted");
                all.push(message);
            }
        }
    }
}

async fn make_queue(client: &aws_sdk_sqs::Client) -> String {
    let made = client.create_queue().queue_name(unique("queue"));
    let made = made.attributes(QueueAttributeName::VisibilityTimeout, "60");
    let made = made.send().await.expect("a queue");
    made.queue_url.expect("an address")
}

impl Receiver for SqsReceiver {
    type Queue = SqsQueue;

    fn queue(&self) -> &SqsQueue {
        &self.queue
    }

    async fn receive_all(&self) -> Vec<WorkItem> {
        let messages = self.drain(&self.queue_url).await;
        let items = messages.iter().map(|message| {
            let body = message.body().expect("a body");
            serde_json::from_str(body).expect("a work item")
        });
        items.collect()
    }

    async fn buried(&self) -> Vec<(String, String)> {
        let messages = self.drain(&self.dead_letter_url).await;
        let buried = messages.into_iter().map(|message| {
            let attributes = message.message_attributes.unwrap_or_default();
            let reason = attributes.get("reason").and_then(|a| a.string_value());
            (
                message.body.unwrap_or_default(),
                reason.unwrap_or_default().to_owned(),
            )
        });
        buried.collect()
    }

    async fn receipt(&self) -> String {
        let sent = self.queue.send(&[WorkItem::new("b", "postponed")]).await;
        assert_eq!(sent, [Ok(())]);
        let receive = self.client.receive_message().queue_url(&self.queue_url);
        let answer = receive.send().await.expect("an answer");
        let message = answer.messages.unwrap_or_default().pop();
        let receipt = message.and_then(|message| message.receipt_handle);
        receipt.expect("a receipt")
    }
}

#[tokio::test]
async fn sqs_holds_the_queue_contract() {
    let receiver = SqsReceiver::make(&aws(SourceAccess::Own).await).await;
    queue_contract::holds(&receiver).await;
}

#[tokio::test]
async fn a_postponed_message_comes_back_when_it_was_told_to() {
    let receiver = SqsReceiver::make(&aws(SourceAccess::Own).await).await;
    let receipt = receiver.receipt().await;
    assert_eq!(receiver.receive_all().await, []);
    let postponed = receiver.queue.postpone(&receipt, Duration::ZERO).await;
    postponed.expect("postponed");
    assert_eq!(
        receiver.receive_all().await,
        [WorkItem::new("b", "postponed")]
    );
    let gone = receiver.queue.postpone(&receipt, Duration::ZERO).await;
    assert!(!matches!(gone, Err(QueueError::Refused { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_queue_that_is_not_there_refuses_each_item() {
    let aws = aws(SourceAccess::Own).await;
    let url = make_queue(&aws.sqs()).await + "-none";
    let queue = SqsQueue::new(aws.sqs(), url, None);
    let items: Vec<_> = (0..11).map(|n| WorkItem::new("b", n.to_string())).collect();
    let answers = queue.send(&items).await;
    assert_eq!(answers.len(), items.len());
    for answer in answers {
        assert!(
            matches!(answer, Err(QueueError::Refused { .. })),
            "{answer:?}"
        );
    }
    let buried = queue.bury("x", "y").await;
    assert!(
        matches!(buried, Err(QueueError::Refused { .. })),
        "{buried:?}"
    );
}

struct S3Reader {
    quarantine: S3Quarantine,
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl Reader for S3Reader {
    type Quarantine = S3Quarantine;

    fn quarantine(&self) -> &S3Quarantine {
        &self.quarantine
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what a test put there fits into memory"
    )]
    async fn read(&self, place: &str) -> Bytes {
        let key = place.strip_prefix(&format!("s3://{}/", self.bucket));
        let get = self.client.get_object().bucket(&self.bucket);
        let got = get.key(key.expect("in the bucket")).send().await;
        let body = got.expect("an object").body.collect().await;
        body.expect("a body").into_bytes()
    }

    async fn count(&self) -> usize {
        let list = self.client.list_objects_v2().bucket(&self.bucket);
        let page = list.prefix("kept/").send().await.expect("a page");
        page.contents().len()
    }
}

#[tokio::test]
async fn s3_holds_the_quarantine_contract() {
    let aws = aws(SourceAccess::Own).await;
    let bucket = S3Bucket::make(&aws, can_hold).await.name;
    let reader = S3Reader {
        quarantine: S3Quarantine::new(aws.s3(), S3Place::new(&bucket, "kept")),
        client: aws.s3(),
        bucket,
    };
    quarantine_contract::holds(&reader).await;
}
