//! The Lambda binaries as processes, under the emulator, against AWS and an endpoint in this process.
#![cfg(feature = "local")]

use std::io::Write;
use std::time::Duration;

use bucket_brigade::local::listener::{ListenerServer, Options};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::support::aws::Aws;
use crate::support::aws::dynamodb::KeySchema;
use crate::support::aws::sqs::QueueOptions;
use crate::support::runtime_api::{Function, LambdaProcess};

const TOKEN_ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf";

/// What the template makes, and an endpoint.
struct Deployment {
    aws: Aws,
    listener: ListenerServer,
}

impl Deployment {
    async fn make() -> Self {
        let aws = Aws::start().await;
        let rows = KeySchema::new(("pk", "S"), Some(("sk", "B")));
        let by_state = KeySchema::new(("state_index", "S"), Some(("changed_at", "N")));
        aws.dynamodb
            .create_table("ledger", rows, &[("by_state", by_state)]);
        aws.sqs.create_queue("work", QueueOptions::default());
        aws.sqs.create_queue("dead", QueueOptions::default());
        aws.secrets.set_secret(TOKEN_ARN, "token");
        for bucket in ["logs", "quarantine"] {
            aws.s3.create_bucket(bucket).unwrap();
        }
        let listener = ListenerServer::start(Options::default()).await.unwrap();
        Self { aws, listener }
    }

    fn function(&self, binary: &str, timeout: Duration) -> LambdaProcess {
        let function = Function::new(binary, timeout)
            .env("AWS_ENDPOINT_URL", self.aws.endpoint().as_str())
            .env("ENDPOINT_URL", self.listener.url().as_str())
            .env("ENDPOINT_TOKEN_ARN", TOKEN_ARN)
            .env("LEDGER_TABLE", "ledger")
            .env("QUEUE_URL", self.aws.sqs.queue_url("work"))
            .env("DEAD_LETTER_QUEUE_URL", self.aws.sqs.queue_url("dead"))
            .env("WATCH", "s3://logs/")
            .env("QUARANTINE_URL", "s3://quarantine/q");
        LambdaProcess::new(function)
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_message_is_delivered_once_however_often_it_comes() {
    let deployment = Deployment::make().await;
    let Deployment { aws, listener } = &deployment;
    let mut created = aws.s3.watch();
    let lines: String = (0..1_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let key = "dir a/k+ey é日 %41.json.gz";
    aws.s3.put("logs", key, gzip(lines.as_bytes())).unwrap();
    let notification = created.try_recv().unwrap().notification().to_string();

    let ingest = deployment.function(env!("CARGO_BIN_EXE_ingest"), Duration::from_secs(30));
    for _ in 0..2 {
        aws.sqs.send("work", &notification);
        let messages = aws.sqs.receive("work", 10);
        let event = aws.sqs.lambda_event("work", &messages);
        let answer = ingest.invoke(event.to_string().as_bytes()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}\n{}", ingest.logs()));
        assert_eq!(
            answer,
            json!({ "batchItemFailures": [] }),
            "{}",
            ingest.logs()
        );
        aws.sqs.settle("work", &messages, &answer);
    }
    let received = listener.received();
    assert_eq!(
        (received.counts.records, received.distinct()),
        (1_000, 1_000)
    );
    assert_eq!(received.counts.second_members, 0);
    assert!(aws.sqs.messages("work").is_empty() && aws.sqs.messages("dead").is_empty());
    assert_eq!(
        (aws.dynamodb.items("ledger").len(), ingest.starts()),
        (1, 1)
    );
    assert!(!ingest.logs().contains("token=token"));
}
