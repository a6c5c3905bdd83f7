//! List prices in dollars, us-east-1, on demand, first tier, without free tiers, as of 2026-11-22.
//!
//! Each stands with the page that has the current one. They change: check them before you rely on them.

/// x86_64, a GB-second. <https://aws.amazon.com/lambda/pricing/>
pub const LAMBDA_GB_SECOND: f64 = 0.000_016_666_7;
/// arm64, a GB-second. <https://aws.amazon.com/lambda/pricing/>
pub const LAMBDA_GB_SECOND_ARM64: f64 = 0.000_013_333_4;
/// An invocation. <https://aws.amazon.com/lambda/pricing/>
pub const LAMBDA_REQUEST: f64 = 0.20 / 1e6;
/// A GET or a HEAD. <https://aws.amazon.com/s3/pricing/>
pub const S3_GET: f64 = 0.000_4 / 1e3;
/// A write request unit, that is up to 1 KB of one row. <https://aws.amazon.com/dynamodb/pricing/on-demand/>
pub const DYNAMODB_WRITE: f64 = 0.625 / 1e6;
/// A request to a standard queue. <https://aws.amazon.com/sqs/pricing/>
pub const SQS_REQUEST: f64 = 0.40 / 1e6;
/// A GB out to the internet. <https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer>
pub const EGRESS_GB: f64 = 0.09;

/// GB of memory that come with one vCPU: 1,769 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
pub const GB_PER_VCPU: f64 = 1_769.0 / 1_024.0;

/// Messages that one receive and one delete of a queue carry at most.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html>
pub const SQS_BATCH_MAX: f64 = 10.0;

/// CPU seconds for a GB of plain Cloudflare NDJSON over plain HTTP on loopback, as measured before this
/// project with each forwarder's own code, on another machine: there zlib-rs inflated a GB in 0.70 s.
pub const PEERS: [(&str, f64); 6] = [
    ("Logz.io s3-hook, a request for every line", 343.0),
    ("Elastic", 93.0),
    ("Datadog", 64.0),
    ("Coralogix", 61.0),
    ("New Relic", 59.0),
    ("naive Python, on the peers' machine", 21.0),
];
