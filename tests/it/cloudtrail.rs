//! Objects like those that CloudTrail writes, of any size: for tests and benchmarks.

use std::fmt::Write as _;
use std::io::Write as _;

/// What stands before the first event of a document, and after the last.
pub const OPENING: &str = "{\"Records\":[";
pub const CLOSING: &str = "]}";

/// A key as CloudTrail gives it (AWS CloudTrail User Guide, "CloudTrail log file names").
pub const KEY: &str = "AWSLogs/123456789010/CloudTrail/eu-west-1/2026/03/14/123456789010_CloudTrail_eu-west-1_20260314T0905Z_Xa1b2C3d4E5f6G7h.json.gz";

/// The events, one after the other: the same ones in every run.
#[derive(Debug)]
pub struct Events {
    pub count: u64,
    state: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            count: 0,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

impl Events {
    /// Writes the next event into `event`, in place of what stands there, with the comma before it.
    pub fn next(&mut self, event: &mut String) {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        event.clear();
        if self.count > 0 {
            event.push(',');
        }
        let (count, state) = (self.count, self.state);
        let (a, b) = (state as u32, (state >> 32) as u32);
        let (service, name) = [
            ("s3", "GetObject"),
            ("sts", "AssumeRole"),
            ("kms", "Decrypt"),
            ("ec2", "DescribeInstances"),
            ("dynamodb", "GetItem"),
        ][a as usize % 5];
        let role = ["deploy", "reader", "nightly-batch", "api"][b as usize % 4];
        write!(
            event,
            "{{\"eventVersion\":\"1.10\",\"userIdentity\":{{\"type\":\"AssumedRole\",\"principalId\":\"AROA{:016X}:{role}\",\
             \"arn\":\"arn:aws:sts::123456789010:assumed-role/{role}/{role}\",\"accountId\":\"123456789010\",\
             \"accessKeyId\":\"ASIA{:016X}\",\"sessionContext\":{{\"sessionIssuer\":{{\"type\":\"Role\",\
             \"principalId\":\"AROA{:016X}\",\"arn\":\"arn:aws:iam::123456789010:role/{role}\",\"accountId\":\"123456789010\",\
             \"userName\":\"{role}\"}},\"attributes\":{{\"creationDate\":\"2026-03-14T08:{:02}:{:02}Z\",\"mfaAuthenticated\":\"false\"}}}}}},\
             \"eventTime\":\"2026-03-14T09:{:02}:{:02}Z\",\"eventSource\":\"{service}.amazonaws.com\",\"eventName\":\"{name}\",\
             \"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"{}.{}.{}.{}\",\"userAgent\":\"[aws-sdk-rust/1.3 os/linux lang/rust \\\"api\\\" {}]\",\
             \"requestParameters\":{{\"bucketName\":\"example-logs\",\"key\":\"day/{:04x}/part {}.gz\",\"durationSeconds\":{}}},\
             \"responseElements\":null,\"additionalEventData\":{{\"bytesTransferredOut\":{},\"x-amz-id-2\":\"{:016x}+{:016x}/=\"}},\
             \"requestID\":\"{:08X}{:08X}\",\"eventID\":\"{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}\",\"readOnly\":true,\
             \"resources\":[{{\"accountId\":\"123456789010\",\"type\":\"AWS::S3::Bucket\",\"ARN\":\"arn:aws:s3:::example-logs\"}}],\
             \"eventType\":\"AwsApiCall\",\"managementEvent\":false,\"recipientAccountId\":\"123456789010\",\"eventCategory\":\"Data\",\
             \"tlsDetails\":{{\"tlsVersion\":\"TLSv1.3\",\"cipherSuite\":\"TLS_AES_128_GCM_SHA256\",\
             \"clientProvidedHostHeader\":\"{service}.eu-west-1.amazonaws.com\"}}}}",
            state % 40, state.rotate_left(7) % 400, state % 40, a % 60, b % 60, count / 60 % 60, count % 60,
            a >> 24, (a >> 16) & 255, (a >> 8) & 255, a & 255, b % 9,
            b & 0xffff, a % 32, 900 * (1 + a % 4), b % 1_000_000, state, state.wrapping_mul(0x2545_f491_4f6c_dd1d),
            a, b, count, a & 0xffff, b & 0xfff, a >> 20, state & 0xffff_ffff_ffff,
        )
        .expect("memory takes every byte");
        self.count += 1;
    }
}

/// One document of at least `plain_bytes` on one line, as gzip, and how many events it holds.
pub fn cloudtrail_like(plain_bytes: usize) -> (Vec<u8>, u64) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(4));
    let mut write = |text: &str| {
        gzip.write_all(text.as_bytes())
            .expect("memory takes every byte");
        text.len()
    };
    let (mut events, mut event) = (Events::default(), String::new());
    let mut written = write(OPENING);
    while written < plain_bytes {
        events.next(&mut event);
        written += write(&event);
    }
    write(CLOSING);
    let object = gzip.finish().expect("memory takes every byte");
    (object, events.count)
}
