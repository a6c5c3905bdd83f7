//! AWS and the endpoint in this process, with and without TLS, and what stands in the bucket.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bucket_brigade::object::{ContentId, Etag, WorkItem};
use serde_json::{Value, json};

use crate::cloudtrail;
use crate::endpoint::{Content, Endpoint};
use crate::figures::Workload;
use crate::logs::{self, Log};
use crate::measure::change;
use crate::support::aws::Aws;
use crate::support::aws::dynamodb::KeySchema;
use crate::tls_front;

const BUCKET: &str = "example-logs";
/// What wrapping a line takes: `{"message":""}`.
const MESSAGE_BYTES: u64 = 14;

/// How large the objects are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Plain bytes of the ordinary large objects.
    pub large_bytes: u64,
    /// How many times the largest ones hold the Cloudflare object.
    pub two_gigabytes_times: u64,
    pub five_gigabytes_times: u64,
}

pub struct World {
    pub aws: Aws,
    pub endpoint: Endpoint,
    aws_tls: SocketAddr,
    endpoint_tls: SocketAddr,
    tables: AtomicU32,
    large: Vec<(Workload, Carried)>,
    small: Carried,
    pub first_events: Carried,
    pub folder: PathBuf,
}

/// Objects in the bucket that are carried together.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    pub contents: Vec<ContentId>,
    pub plain_bytes: u64,
    pub source_bytes: u64,
    pub records: u64,
    /// The bytes of all objects, one behind the other, where a yardstick wants them.
    pub file: PathBuf,
}

/// What happens to records on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Unchanged,
    Source,
    Message,
}

impl World {
    /// Makes everything that is carried, which takes a while.
    pub async fn new(sizes: Sizes, folder: &Path) -> Self {
        let aws = Aws::start().await;
        aws.s3.create_bucket(BUCKET).expect("a bucket");
        aws.s3.create_bucket("quarantine").expect("a bucket");
        let endpoint = Endpoint::start().await;
        let port = aws.endpoint().port().expect("a port");
        let mut world = Self {
            aws_tls: tls_front::open(([127, 0, 0, 1], port).into()).await,
            endpoint_tls: tls_front::open(endpoint.address).await,
            aws,
            endpoint,
            tables: AtomicU32::new(0),
            large: Vec::new(),
            small: Carried::default(),
            first_events: Carried::default(),
            folder: folder.to_owned(),
        };
        let cloudflare = logs::cloudflare(sizes.large_bytes);
        let two = cloudflare.repeated(sizes.two_gigabytes_times);
        let five = cloudflare.repeated(sizes.five_gigabytes_times);
        for (workload, key, log) in [
            (Workload::Cloudflare, "cloudflare.log.gz", cloudflare),
            (
                Workload::VpcText,
                "vpc.log.gz",
                logs::vpc_flow(sizes.large_bytes),
            ),
            (
                Workload::CloudTrail,
                "cloudtrail.json.gz",
                logs::cloudtrail(sizes.large_bytes),
            ),
            (Workload::TwoGigabytes, "two.log.gz", two),
            (Workload::FiveGigabytes, "five.log.gz", five),
            (
                Workload::OneMegabyte,
                "one.log.gz",
                logs::cloudflare(1_000_000),
            ),
        ] {
            let carried = world.put(key, &[log]);
            world.large.push((workload, carried));
        }
        world.small = world.put("small/", &logs::cloudflare_small(100, 100_000));
        world.first_events = world.put("first/", &logs::cloudflare_small(1, 10_000));
        world
    }

    fn put(&self, key: &str, logs: &[Log]) -> Carried {
        let mut carried = Carried {
            file: self.folder.join(key.trim_end_matches('/')),
            ..Carried::default()
        };
        let mut file = File::create(&carried.file).expect("the folder takes it");
        for (n, log) in logs.iter().enumerate() {
            let key = match logs.len() {
                1 => key.to_owned(),
                _ => format!("{key}{n:03}.log.gz"),
            };
            let stored = self
                .aws
                .s3
                .put(BUCKET, &key, log.object.clone())
                .expect("put");
            carried.contents.push(ContentId {
                bucket: BUCKET.to_owned(),
                key,
                etag: Etag::from(stored.etag.as_str()),
                size: log.object.len() as u64,
            });
            carried.plain_bytes += log.plain_bytes;
            carried.source_bytes += log.object.len() as u64;
            carried.records += log.records;
            file.write_all(&log.object).expect("the folder takes it");
        }
        carried
    }

    pub fn carried(&self, workload: Workload) -> &Carried {
        let stored = match workload {
            Workload::Small => return &self.small,
            Workload::CloudflareSource => Workload::Cloudflare,
            Workload::VpcMessage => Workload::VpcText,
            same => same,
        };
        let found = self.large.iter().find(|(workload, _)| *workload == stored);
        &found.expect("every other workload is a large object").1
    }

    /// An empty ledger.
    pub fn new_table(&self) -> String {
        let name = format!("ledger-{}", self.tables.fetch_add(1, Ordering::Relaxed));
        let schema = KeySchema::new(("pk", "S"), Some(("sk", "B")));
        let by_state = KeySchema::new(("state_index", "S"), Some(("changed_at", "N")));
        self.aws
            .dynamodb
            .create_table(&name, schema, &[("by_state", by_state)]);
        name
    }

    pub fn endpoint_url(&self, https: bool) -> String {
        match https {
            false => format!("http://{}", self.endpoint.address),
            true => format!("https://localhost:{}", self.endpoint_tls.port()),
        }
    }

    /// What `AWS_ENDPOINT_URL` is set to.
    pub fn aws_url(&self, https: bool) -> String {
        match https {
            false => format!(
                "http://127.0.0.1:{}",
                self.aws.endpoint().port().expect("a port")
            ),
            true => format!("https://localhost:{}", self.aws_tls.port()),
        }
    }

    /// GETs and HEADs, and writes to the ledger, that were answered so far.
    pub fn aws_requests(&self) -> (u64, u64) {
        let store = self.aws.s3.counts();
        let writes = self.aws.dynamodb.requests();
        let writes = ["PutItem", "UpdateItem"].map(|name| writes.get(name).copied().unwrap_or(0));
        (store.gets + store.heads, writes.iter().sum())
    }

    /// What makes a process use this AWS.
    pub fn aws_environment(&self, https: bool) -> Vec<(String, String)> {
        let mut environment = vec![
            ("AWS_ENDPOINT_URL", self.aws_url(https)),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIAANY".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "any".to_owned()),
        ];
        if https {
            let file = tls_front::certificate_file().display().to_string();
            environment.push(("SSL_CERT_FILE", file));
        }
        let owned = environment.into_iter();
        owned
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl Carried {
    /// What the endpoint should have been sent: by ingest without what are no records, by a yardstick line by
    /// line.
    pub fn expected(&self, workload: Workload, is_ours: bool) -> Content {
        let (records, plain_bytes) = match workload {
            Workload::VpcText | Workload::VpcMessage if is_ours => (
                self.records - 1,
                self.plain_bytes - logs::FLOW_HEADER.len() as u64,
            ),
            // A line feed after each event, and commas between them no more.
            Workload::CloudTrail => {
                let around = cloudtrail::OPENING.len() + cloudtrail::CLOSING.len();
                (self.records, self.plain_bytes + 1 - around as u64)
            }
            _ => (self.records, self.plain_bytes),
        };
        let added = match change(workload) {
            Change::Unchanged => 0,
            Change::Message => MESSAGE_BYTES,
            Change::Source => format!("\"s3_object_key\":\"{}\",", self.source()).len() as u64,
        };
        Content {
            plain_bytes: plain_bytes + records * added,
            records,
        }
    }

    /// The source field of the first object.
    pub fn source(&self) -> String {
        let content = &self.contents[0];
        format!("{}/{}", content.bucket, content.key)
    }

    /// One event of a queue with a message for each object.
    pub fn event(&self) -> Vec<u8> {
        let messages = self.contents.iter().enumerate();
        let messages: Vec<Value> = messages
            .map(|(n, content)| {
                let item = WorkItem::from(content.clone());
                json!({
                    "messageId": format!("message-{n}"),
                    "receiptHandle": format!("receipt-{n}"),
                    "body": json!(item).to_string(),
                    "attributes": { "ApproximateReceiveCount": "1" },
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:work",
                })
            })
            .collect();
        json!({ "Records": messages }).to_string().into_bytes()
    }
}
