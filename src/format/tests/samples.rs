//! Objects as the sources make them.

use std::io::Write as _;

use crate::format::Leaves;

/// How an object is compressed.
#[derive(Clone, Copy, Debug)]
pub enum Compressed {
    Not,
    Gzip,
    Zstd,
    Bzip2,
    Snappy,
    /// A gzip member for each document, and all of that once more, as Firehose does with what CloudWatch Logs sends.
    GzipTwice,
}

/// An object, and what becomes of it.
pub struct Sample {
    pub what: &'static str,
    /// The source that it is told to be of.
    pub preset: &'static str,
    /// What a checkpoint says of it.
    pub read_as: &'static str,
    pub key: &'static str,
    pub compressed: Compressed,
    /// Its plain bytes; of [`Compressed::GzipTwice`] each is a member.
    pub plain: Vec<String>,
    /// The source that a rule says it is of.
    pub said: Option<&'static str>,
    pub leaves: Option<Leaves>,
    /// Whether its content alone tells.
    pub is_told_by_content: bool,
    pub records: u64,
    /// The first record as Logz.io gets it.
    pub first: &'static str,
    /// `@timestamp` of each record, where all get one.
    pub times: Vec<&'static str>,
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

impl Sample {
    pub fn text(&self) -> String {
        self.plain.concat()
    }

    /// The bytes in the bucket.
    pub fn object(&self) -> Vec<u8> {
        self.compress(&self.plain)
    }

    /// The same of other text.
    pub fn compress(&self, plain: &[String]) -> Vec<u8> {
        let text = plain.concat();
        let text = text.as_bytes();
        match self.compressed {
            Compressed::Not => text.to_vec(),
            Compressed::Gzip => gzip(text),
            Compressed::Zstd => zstd::encode_all(text, 3).unwrap(),
            Compressed::Bzip2 => {
                let mut bzip2 =
                    bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(9));
                bzip2.write_all(text).unwrap();
                bzip2.finish().unwrap()
            }
            Compressed::Snappy => {
                let mut snappy = snap::write::FrameEncoder::new(Vec::new());
                snappy.write_all(text).unwrap();
                snappy.into_inner().unwrap()
            }
            Compressed::GzipTwice => {
                let members: Vec<u8> = plain
                    .iter()
                    .flat_map(|text| gzip(text.as_bytes()))
                    .collect();
                gzip(&members)
            }
        }
    }

    pub fn of(preset: &'static str, what: &'static str, key: &'static str, text: &str) -> Self {
        Self {
            what,
            preset,
            read_as: preset,
            key,
            compressed: Compressed::Gzip,
            plain: vec![text.to_owned()],
            said: None,
            leaves: None,
            is_told_by_content: true,
            records: 0,
            first: "",
            times: Vec::new(),
        }
    }

    /// It is stored in that way.
    fn stored(self, compressed: Compressed) -> Self {
        Self { compressed, ..self }
    }

    fn read_as(self, read_as: &'static str) -> Self {
        Self { read_as, ..self }
    }

    /// Its key, too, is needed to tell.
    fn told_by_key(self) -> Self {
        Self {
            is_told_by_content: false,
            ..self
        }
    }

    fn said(self) -> Self {
        Self {
            said: Some(self.preset),
            ..self
        }
    }

    fn leaving(self, leaves: Leaves) -> Self {
        Self {
            leaves: Some(leaves),
            ..self
        }
    }

    /// All its records are sent: the first one so, with these times.
    fn gives(self, first: &'static str, times: &[&'static str]) -> Self {
        Self {
            records: times.len() as u64,
            first,
            times: times.to_vec(),
            ..self
        }
    }

    /// The same, but it has so many records, of which some are left out.
    fn of_records(self, records: u64) -> Self {
        Self { records, ..self }
    }
}

/// Every source, and what it writes in different ways.
pub fn samples() -> Vec<Sample> {
    let mut samples = anything();
    samples.extend(cloudflare());
    samples.extend(documents());
    samples.extend(json_lines());
    samples.extend(flow_logs());
    samples.extend(load_balancers());
    samples.extend(other_text());
    samples
}

fn anything() -> Vec<Sample> {
    let app = "logs/app/2026/03/14/app.log";
    vec![
        Sample::of(
            "lines",
            "text with an empty line, CRLF and no last line end",
            app,
            "[INFO] started in 3 s\r\n\n2026-03-14 09:26:53 key=value\nlast",
        )
        .stored(Compressed::Zstd)
        .gives("{\"message\":\"[INFO] started in 3 s\"}", &["", "", ""]),
        Sample::of(
            "lines",
            "text that begins with a time, most of it",
            app,
            "2026-03-14T09:26:53.418Z web-1 ready\n2026-03-14T10:26:53+01:00 ready\n2026-03-14 later\n",
        )
        .gives(
            "{\"@timestamp\":\"2026-03-14T09:26:53.418Z\",\"message\":\"2026-03-14T09:26:53.418Z web-1 ready\"}",
            &["2026-03-14T09:26:53.418Z", "2026-03-14T09:26:53.000Z", ""],
        ),
        Sample::of(
            "ndjson",
            "JSON lines",
            app,
            "{\"n\":12345678901234567890,\"b\":1.50}\n{\"a\":\"\\u00e9\"}\n",
        )
        .stored(Compressed::Bzip2)
        .gives("{\"n\":12345678901234567890,\"b\":1.50}", &["", ""]),
        Sample::of(
            "ndjson",
            "JSON lines with a last line of something else",
            app,
            "{\"a\":1}\n{\"a\":2}\noops",
        )
        .stored(Compressed::Not)
        .gives("{\"a\":1}", &["", "", ""]),
        Sample::of(
            "json-values",
            "JSON back to back, from Firehose",
            "firehose/2026/03/14/09/stream-1-2026-03-14-09-26-53-6a2f",
            "{\"a\":1,\"s\":\"}{\"}{\"a\":2}{\"a\":3}",
        )
        .stored(Compressed::Snappy)
        .gives("{\"a\":1,\"s\":\"}{\"}", &["", "", ""]),
        Sample::of(
            "json-values",
            "JSON with commas between values",
            "p/20260314/x.log.gz",
            "{\"a\":1},\n{\"a\":2},\n",
        )
        .gives("{\"a\":1}", &["", ""]),
        Sample::of(
            "json-values",
            "pretty-printed JSON, one value after the other",
            "exports/1.json",
            "{\n  \"a\": [\n    1.50\n  ]\n}\n{\n  \"a\": 2\n}\n",
        )
        .stored(Compressed::Not)
        .gives("{\"a\":[1.50]}", &["", ""]),
        Sample::of(
            "json-array",
            "a JSON array",
            "exports/1.json",
            "\u{feff}[{\"a\":1},\n {\"a\":2}\n]\n",
        )
        .gives("{\"a\":1}", &["", ""]),
        Sample::of("json-array", "a JSON array of nothing", "exports/1.json", "[ ]\n")
            .gives("", &[]),
        Sample::of(
            "json-records",
            "a document of somebody's own records",
            "exports/1.json",
            "{\"count\":2,\"Records\":[{\"a\":1},{\"a\":2}],\"next\":null}",
        )
        .gives("{\"a\":1}", &["", ""]),
        Sample::of(
            "csv",
            "CSV with quotes, quoted newlines and numbers that are text",
            "exports/1.csv",
            "id,zip,text\r\n1,00123,\"a, \"\"b\"\"\nc\"\r\n2,99999999999999999999,\r\n",
        )
        .said()
        .gives("{\"id\":\"1\",\"zip\":\"00123\",\"text\":\"a, \\\"b\\\"\\nc\"}", &["", ""]),
        Sample::of("csv", "CSV that holds its header alone", "exports/1.csv", "a,b\n")
            .said()
            .gives("", &[]),
        Sample::of("csv", "CSV as raw lines", "exports/1.csv", "a,b\n1,2\n")
            .said()
            .leaving(Leaves::Raw)
            .read_as("csv:raw")
            .gives("{\"message\":\"1,2\"}", &[""]),
        Sample::of("tsv", "TSV", "exports/1.tsv", "a\tb c\n1\t\n")
            .said()
            .stored(Compressed::Not)
            .gives("{\"a\":\"1\",\"b c\":\"\"}", &[""]),
        Sample::of(
            "w3c",
            "W3C as IIS writes it, which begins with other directives",
            "iis/u_ex260314.log",
            "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n#Date: 2026-03-14 09:26:53\r\n#Fields: date time s-ip cs-method cs-uri-stem sc-status\r\n2026-03-14 09:26:53 192.0.2.10 GET /index.html 200\r\n2026-03-14 09:26:54 192.0.2.10 GET /a - \r\n",
        )
        .stored(Compressed::Not)
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"date\":\"2026-03-14\",\"time\":\"09:26:53\",\"s-ip\":\"192.0.2.10\",\"cs-method\":\"GET\",\"cs-uri-stem\":\"/index.html\",\"sc-status\":\"200\"}", &["2026-03-14T09:26:53.000Z", "2026-03-14T09:26:54.000Z"]),
    ]
}

fn cloudflare() -> Vec<Sample> {
    let key = "http_requests/20260314/20260314T092600Z_20260314T092630Z_0a1b2c3d.log.gz";
    let http = |time: &str| {
        format!(
            "{{\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":{time},\"RayID\":\"8f00b204e9800998\"}}\n"
        )
    };
    let time = "2026-03-14T09:26:53.000Z";
    vec![
        Sample::of(
            "cloudflare",
            "http_requests with nanoseconds",
            key,
            &(http("1773480413433000200") + &http("1773480414000000001")),
        )
        .gives("{\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":1773480413433000200,\"RayID\":\"8f00b204e9800998\"}", &["2026-03-14T09:26:53.433Z", "2026-03-14T09:26:54.000Z"]),
        Sample::of("cloudflare", "http_requests with seconds", key, &http("1773480413"))
            .gives("{\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":1773480413,\"RayID\":\"8f00b204e9800998\"}", &[time]),
        Sample::of(
            "cloudflare",
            "http_requests with RFC 3339",
            key,
            &http("\"2026-03-14T09:26:53Z\""),
        )
        .gives("{\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":\"2026-03-14T09:26:53Z\",\"RayID\":\"8f00b204e9800998\"}", &[time]),
        Sample::of(
            "cloudflare",
            "firewall_events",
            "firewall_events/20260314/20260314T092600Z_20260314T092630Z_0a1b2c3d.log.gz",
            "{\"Action\":\"block\",\"ClientIP\":\"192.0.2.7\",\"Datetime\":\"2026-03-14T09:26:53Z\",\"RuleID\":\"abc\"}\n",
        )
        .gives("{\"Action\":\"block\",\"ClientIP\":\"192.0.2.7\",\"Datetime\":\"2026-03-14T09:26:53Z\",\"RuleID\":\"abc\"}", &[time]),
        Sample::of(
            "cloudflare",
            "dns_logs",
            "dns_logs/20260314/20260314T092600Z_20260314T092630Z_0a1b2c3d.log.gz",
            "{\"ColoCode\":\"FRA\",\"QueryName\":\"example.com\",\"QueryType\":1,\"Timestamp\":\"2026-03-14T09:26:53Z\"}\n",
        )
        .gives("{\"ColoCode\":\"FRA\",\"QueryName\":\"example.com\",\"QueryType\":1,\"Timestamp\":\"2026-03-14T09:26:53Z\"}", &[time]),
        Sample::of(
            "cloudflare",
            "http_requests in an array, by batch_prefix and batch_suffix",
            key,
            &format!(
                "[{},{}]",
                http("1773480413433000200").trim(),
                http("1773480414000000001").trim()
            ),
        )
        .read_as("cloudflare {\"array\":{\"fields\":[]}}")
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":1773480413433000200,\"RayID\":\"8f00b204e9800998\"}", &["2026-03-14T09:26:53.433Z", "2026-03-14T09:26:54.000Z"]),
        Sample::of(
            "cloudflare",
            "http_requests in a document, by batch_prefix and batch_suffix",
            key,
            &format!("{{\"events\":[\n{},\n{}]}}", http("1773480413").trim(), http("1773480413")),
        )
        .read_as("cloudflare {\"array\":{\"fields\":[\"events\"]}}")
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":1773480413,\"RayID\":\"8f00b204e9800998\"}", &[time, time]),
        Sample::of(
            "cloudflare",
            "http_requests with commas between them, by record_delimiter",
            key,
            &format!("{},{}", http("1773480413").trim(), http("1773480413").trim()),
        )
        .read_as("cloudflare \"values\"")
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"ClientIP\":\"192.0.2.7\",\"ClientRequestURI\":\"/a%zz?b=%\",\"EdgeResponseStatus\":200,\"EdgeStartTimestamp\":1773480413,\"RayID\":\"8f00b204e9800998\"}", &[time, time]),
    ]
}

fn documents() -> Vec<Sample> {
    let trail = "AWSLogs/o-exampleorg/123456789012/CloudTrail/eu-west-1/2026/03/14/123456789012_CloudTrail_eu-west-1_20260314T0930Z_AbCdEfGhIjKlMnOp.json.gz";
    let insight = "AWSLogs/123456789012/CloudTrail-Insight/eu-west-1/2026/03/14/123456789012_CloudTrail-Insight_eu-west-1_20260314T0930Z_AbCdEfGhIjKlMnOp.json.gz";
    let config = "AWSLogs/123456789012/Config/eu-west-1/2026/3/14/ConfigHistory/123456789012_Config_eu-west-1_ConfigHistory_AWS::CloudTrail::Trail_20260314T092653Z_20260314T092653Z_1.json.gz";
    let firehose = "logs/2026/03/14/09/stream-1-2026-03-14-09-26-53-6a2f";
    let event = "{\"eventVersion\":\"1.08\",\"userIdentity\":{\"type\":\"Root\"},\"eventTime\":\"2026-03-14T09:26:53Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"ListBuckets\",\"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"192.0.2.7\",\"requestID\":12345678901234567890}";
    let pretty_event = event
        .replace("\",\"", "\",\n      \"")
        .replace('{', "{\n      ");
    let events = &["2026-03-14T09:26:53.000Z", "2026-03-14T09:26:53.000Z"];
    let data = |stream: &str| {
        format!(
            "{{\"messageType\":\"DATA_MESSAGE\",\"owner\":\"123456789012\",\"logGroup\":\"/aws/lambda/f\",\"logStream\":\"{stream}\",\"subscriptionFilters\":[\"all\"],\"logEvents\":[{{\"id\":\"1\",\"timestamp\":1773480413433,\"message\":\"one\\nmore\"}},{{\"id\":\"2\",\"timestamp\":1773480414000,\"message\":\"{{\\\"a\\\":1}}\"}}]}}"
        )
    };
    let control = "{\"messageType\":\"CONTROL_MESSAGE\",\"owner\":\"CloudwatchLogs\",\"logGroup\":\"\",\"logStream\":\"\",\"subscriptionFilters\":[],\"logEvents\":[{\"id\":\"\",\"timestamp\":1773480413000,\"message\":\"are you there?\"}]}";
    let group_times = ["2026-03-14T09:26:53.433Z", "2026-03-14T09:26:54.000Z"];
    let mut twice = Sample::of(
        "cloudwatch-logs",
        "documents in a gzip member each without line ends, gzip once more, a control message first",
        firehose,
        "",
    )
    .stored(Compressed::GzipTwice)
    .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"id\":\"1\",\"timestamp\":1773480413433,\"message\":\"one\\nmore\",\"owner\":\"123456789012\",\"logGroup\":\"/aws/lambda/f\",\"logStream\":\"a\"}", &[group_times[0], group_times[1], group_times[0], group_times[1]])
    .of_records(5);
    twice.plain = vec![control.to_owned(), data("a"), data("b")];
    vec![
        Sample::of(
            "cloudtrail",
            "CloudTrail on one line",
            trail,
            &format!("{{\"Records\":[{event},{event}]}}"),
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"eventVersion\":\"1.08\",\"userIdentity\":{\"type\":\"Root\"},\"eventTime\":\"2026-03-14T09:26:53Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"ListBuckets\",\"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"192.0.2.7\",\"requestID\":12345678901234567890}", events),
        Sample::of(
            "cloudtrail",
            "CloudTrail, pretty-printed, with Records not first",
            trail,
            &format!(
                "{{\n  \"digest\": null,\n  \"list\": [1, {{}}],\n  \"Records\": [\n    {pretty_event},\n    {pretty_event}\n  ]\n}}\n"
            ),
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"eventVersion\":\"1.08\",\"userIdentity\":{\"type\":\"Root\"},\"eventTime\":\"2026-03-14T09:26:53Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"ListBuckets\",\"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"192.0.2.7\",\"requestID\":12345678901234567890}", events),
        Sample::of("cloudtrail", "CloudTrail with null", trail, "{\"Records\": null}")
            .told_by_key()
            .gives("", &[]),
        Sample::of("cloudtrail", "CloudTrail without events", trail, "{\"Records\":[]}\n")
            .told_by_key()
            .gives("", &[]),
        Sample::of(
            "cloudtrail",
            "CloudTrail, two documents in two members",
            trail,
            &format!("{{\"Records\":[{event}]}}{{\"Records\":[{event}]}}"),
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"eventVersion\":\"1.08\",\"userIdentity\":{\"type\":\"Root\"},\"eventTime\":\"2026-03-14T09:26:53Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"ListBuckets\",\"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"192.0.2.7\",\"requestID\":12345678901234567890}", events),
        Sample::of(
            "cloudtrail",
            "CloudTrail Insights",
            insight,
            "{\"Records\":[{\"eventVersion\":\"1.07\",\"eventTime\":\"2026-03-14T09:26:53Z\",\"awsRegion\":\"eu-west-1\",\"eventType\":\"AwsCloudTrailInsight\",\"insightDetails\":{\"state\":\"Start\",\"eventSource\":\"ssm.amazonaws.com\"}}]}",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"eventVersion\":\"1.07\",\"eventTime\":\"2026-03-14T09:26:53Z\",\"awsRegion\":\"eu-west-1\",\"eventType\":\"AwsCloudTrailInsight\",\"insightDetails\":{\"state\":\"Start\",\"eventSource\":\"ssm.amazonaws.com\"}}", &events[..1]),
        Sample::of("cloudtrail", "CloudTrail's events, a line each", "trail.json", &format!("{event}\n{event}\n"))
            .read_as("cloudtrail \"lines\"")
            .gives("{\"eventVersion\":\"1.08\",\"userIdentity\":{\"type\":\"Root\"},\"eventTime\":\"2026-03-14T09:26:53Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"ListBuckets\",\"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"192.0.2.7\",\"requestID\":12345678901234567890}", events),
        Sample::of(
            "config",
            "AWS Config",
            config,
            "{\"fileVersion\":\"1.0\",\"configSnapshotId\":\"6a2f\",\"configurationItems\":[{\"configurationItemVersion\":\"1.3\",\"configurationItemCaptureTime\":\"2026-03-14T09:26:53.433Z\",\"resourceType\":\"AWS::CloudTrail::Trail\"},{\"configurationItemCaptureTime\":\"2026-03-14T09:26:54Z\"}]}",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"configurationItemVersion\":\"1.3\",\"configurationItemCaptureTime\":\"2026-03-14T09:26:53.433Z\",\"resourceType\":\"AWS::CloudTrail::Trail\"}", &group_times),
        Sample::of(
            "config",
            "AWS Config without items",
            config,
            "{\"fileVersion\":\"1.0\",\"configurationItems\":[]}",
        )
        .gives("", &[]),
        twice,
        Sample::of(
            "cloudwatch-logs",
            "documents back to back",
            firehose,
            &(data("a") + &data("b")),
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"id\":\"1\",\"timestamp\":1773480413433,\"message\":\"one\\nmore\",\"owner\":\"123456789012\",\"logGroup\":\"/aws/lambda/f\",\"logStream\":\"a\"}", &[group_times[0], group_times[1], group_times[0], group_times[1]]),
        Sample::of("cloudwatch-logs", "a control message alone", firehose, control)
            .gives("", &[])
            .of_records(1),
    ]
}

fn json_lines() -> Vec<Sample> {
    let finding = "{\"schemaVersion\":\"2.0\",\"accountId\":\"123456789012\",\"region\":\"eu-west-1\",\"id\":\"6a2f\",\"type\":\"Recon:EC2/PortProbeUnprotectedPort\",\"service\":{\"serviceName\":\"guardduty\"},\"severity\":2,\"createdAt\":\"2026-03-14T09:00:00.000Z\",\"updatedAt\":\"2026-03-14T09:26:53.433Z\"}";
    let time = "2026-03-14T09:26:53.433Z";
    vec![
        Sample::of(
            "waf",
            "WAF",
            "AWSLogs/123456789012/WAFLogs/cloudfront/acl/2026/03/14/09/25/123456789012_waflogs_cloudfront_acl_20260314T0925Z_0a1b2c3d.log.gz",
            "{\"timestamp\":1773480413433,\"formatVersion\":1,\"webaclId\":\"arn:aws:wafv2:us-east-1:123456789012:global/webacl/acl/6a2f\",\"action\":\"ALLOW\",\"httpRequest\":{\"clientIp\":\"192.0.2.7\",\"uri\":\"/\"}}\n",
        )
        .gives("{\"timestamp\":1773480413433,\"formatVersion\":1,\"webaclId\":\"arn:aws:wafv2:us-east-1:123456789012:global/webacl/acl/6a2f\",\"action\":\"ALLOW\",\"httpRequest\":{\"clientIp\":\"192.0.2.7\",\"uri\":\"/\"}}", &[time]),
        Sample::of(
            "route53-resolver",
            "Route 53 Resolver",
            "AWSLogs/123456789012/vpcdnsquerylogs/vpc-0a1b2c3d/2026/03/14/vpc-0a1b2c3d_vpcdnsquerylogs_123456789012_20260314T0925Z_0a1b2c3d.log.gz",
            "{\"version\":\"1.100000\",\"account_id\":\"123456789012\",\"region\":\"eu-west-1\",\"vpc_id\":\"vpc-0a1b2c3d\",\"query_timestamp\":\"2026-03-14T09:26:53Z\",\"query_name\":\"example.com.\",\"query_type\":\"A\",\"rcode\":\"NOERROR\"}\n",
        )
        .gives("{\"version\":\"1.100000\",\"account_id\":\"123456789012\",\"region\":\"eu-west-1\",\"vpc_id\":\"vpc-0a1b2c3d\",\"query_timestamp\":\"2026-03-14T09:26:53Z\",\"query_name\":\"example.com.\",\"query_type\":\"A\",\"rcode\":\"NOERROR\"}", &["2026-03-14T09:26:53.000Z"]),
        Sample::of(
            "guardduty",
            "GuardDuty, whose findings have a type of their own",
            "AWSLogs/123456789012/GuardDuty/eu-west-1/2026/03/14/0a1b2c3d-0000-0000-0000-000000000000.jsonl.gz",
            &format!("{finding}\n{finding}\n"),
        )
        .gives("{\"schemaVersion\":\"2.0\",\"accountId\":\"123456789012\",\"region\":\"eu-west-1\",\"id\":\"6a2f\",\"type\":\"Recon:EC2/PortProbeUnprotectedPort\",\"service\":{\"serviceName\":\"guardduty\"},\"severity\":2,\"createdAt\":\"2026-03-14T09:00:00.000Z\",\"updatedAt\":\"2026-03-14T09:26:53.433Z\"}", &[time, time]),
        Sample::of(
            "guardduty",
            "a finding of GuardDuty, pretty-printed",
            "finding.json",
            &finding.replace(',', ",\n  "),
        )
        .stored(Compressed::Not)
        .read_as("guardduty \"values\"")
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"schemaVersion\":\"2.0\",\"accountId\":\"123456789012\",\"region\":\"eu-west-1\",\"id\":\"6a2f\",\"type\":\"Recon:EC2/PortProbeUnprotectedPort\",\"service\":{\"serviceName\":\"guardduty\"},\"severity\":2,\"createdAt\":\"2026-03-14T09:00:00.000Z\",\"updatedAt\":\"2026-03-14T09:26:53.433Z\"}", &[time]),
        Sample::of(
            "network-firewall",
            "Network Firewall",
            "AWSLogs/123456789012/network-firewall/alert/eu-west-1/fw/2026/03/14/09/123456789012_network-firewall_alert_eu-west-1_fw_202603140925_0a1b2c3d.log.gz",
            "{\"firewall_name\":\"fw\",\"availability_zone\":\"eu-west-1a\",\"event_timestamp\":\"1773480413\",\"event\":{\"timestamp\":\"2026-03-14T09:26:53.433481+0000\",\"flow_id\":1234567890123456789,\"event_type\":\"alert\",\"src_ip\":\"192.0.2.7\"}}\n{\"firewall_name\":\"fw\",\"event_timestamp\":\"1773480413\",\"event\":{}}\n",
        )
        .gives("{\"firewall_name\":\"fw\",\"availability_zone\":\"eu-west-1a\",\"event_timestamp\":\"1773480413\",\"event\":{\"timestamp\":\"2026-03-14T09:26:53.433481+0000\",\"flow_id\":1234567890123456789,\"event_type\":\"alert\",\"src_ip\":\"192.0.2.7\"}}", &[time, "2026-03-14T09:26:53.000Z"]),
        Sample::of(
            "cloudfront-json",
            "CloudFront v2 as JSON",
            "AWSLogs/123456789012/CloudFront/E2EXAMPLE.2026-03-14-09.0a1b2c3d.gz",
            "{\"date\":\"2026-03-14\",\"time\":\"09:26:53\",\"x-edge-location\":\"FRA2-C1\",\"sc-bytes\":\"1024\"}\n",
        )
        .gives("{\"date\":\"2026-03-14\",\"time\":\"09:26:53\",\"x-edge-location\":\"FRA2-C1\",\"sc-bytes\":\"1024\"}", &["2026-03-14T09:26:53.000Z"]),
    ]
}

fn flow_logs() -> Vec<Sample> {
    let vpc = "AWSLogs/123456789012/vpcflowlogs/eu-west-1/2026/03/14/123456789012_vpcflowlogs_eu-west-1_fl-0a1b2c3d_20260314T0925Z_0a1b2c3d.log.gz";
    let hive = "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=eu-west-1/year=2026/month=03/day=14/hour=09/123456789012_vpcflowlogs_eu-west-1_fl-0a1b2c3d_20260314T0925Z_0a1b2c3d.log.gz";
    let header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n";
    let rows = "2 123456789012 eni-0a1b2c3d 192.0.2.1 198.51.100.2 60220 443 6 48 21869 1773480413 1773480470 ACCEPT OK\n2 123456789012 eni-0a1b2c3d - - - - - - - 1773480414 1773480470 - NODATA\n";
    let times = &["2026-03-14T09:26:53.000Z", "2026-03-14T09:26:54.000Z"];
    let json = "{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"version\":2,\"account-id\":\"123456789012\",\"interface-id\":\"eni-0a1b2c3d\",\"srcaddr\":\"192.0.2.1\",\"dstaddr\":\"198.51.100.2\",\"srcport\":60220,\"dstport\":443,\"protocol\":6,\"packets\":48,\"bytes\":21869,\"start\":1773480413,\"end\":1773480470,\"action\":\"ACCEPT\",\"log-status\":\"OK\"}";
    let line = "{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"message\":\"2 123456789012 eni-0a1b2c3d 192.0.2.1 198.51.100.2 60220 443 6 48 21869 1773480413 1773480470 ACCEPT OK\"}";
    let custom = "start interface-id srcaddr pkt-dst-aws-service flow-direction\n1773480413 eni-0a1b2c3d 192.0.2.1 S3 egress\n1773480414 eni-0a1b2c3d 192.0.2.1 - ingress\n";
    vec![
        Sample::of("vpcflow", "VPC flow logs", vpc, &format!("{header}{rows}")).gives(line, times),
        Sample::of("vpcflow", "VPC flow logs, Hive path", hive, &format!("{header}{rows}"))
            .gives(line, times),
        Sample::of("vpcflow", "VPC flow logs as JSON", vpc, &format!("{header}{rows}"))
            .leaving(Leaves::Json)
            .read_as("vpcflow:json")
            .gives(json, times),
        Sample::of("vpcflow-rows", "VPC flow logs without their header", "flow.log", rows)
            .stored(Compressed::Not)
            .gives(line, times),
        Sample::of("vpcflow-rows", "the same as JSON", "flow.log", rows)
            .leaving(Leaves::Json)
            .read_as("vpcflow-rows:json")
            .gives(json, times),
        Sample::of("vpcflow-custom", "VPC flow logs with fields of choice", vpc, custom)
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"start\":1773480413,\"interface-id\":\"eni-0a1b2c3d\",\"srcaddr\":\"192.0.2.1\",\"pkt-dst-aws-service\":\"S3\",\"flow-direction\":\"egress\"}", times),
        Sample::of("vpcflow-custom", "the same as raw lines, which do not tell the time", vpc, custom)
            .leaving(Leaves::Raw)
            .read_as("vpcflow-custom:raw")
            .gives("{\"message\":\"1773480413 eni-0a1b2c3d 192.0.2.1 S3 egress\"}", &["", ""]),
        Sample::of(
            "global-accelerator",
            "Global Accelerator",
            "AWSLogs/123456789012/globalaccelerator/eu-west-1/2026/03/14/123456789012_globalaccelerator_6a2f_20260314T0925Z_0a1b2c3d.log.gz",
            "version aws_account_id accelerator_id client_ip client_port accelerator_ip accelerator_port endpoint_ip endpoint_port protocol ip_address_type packets bytes start_time end_time action log-status globalaccelerator_source_ip globalaccelerator_source_port endpoint_region globalaccelerator_region direction vpc_id\n2.0 123456789012 6a2f 192.0.2.1 36264 198.51.100.2 443 203.0.113.3 443 TCP IPV4 10 1020 1773480413 1773480470 ACCEPT OK - - eu-west-1 FRA INGRESS vpc-0a1b2c3d\n",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"version\":\"2.0\",\"aws_account_id\":\"123456789012\",\"accelerator_id\":\"6a2f\",\"client_ip\":\"192.0.2.1\",\"client_port\":36264,\"accelerator_ip\":\"198.51.100.2\",\"accelerator_port\":443,\"endpoint_ip\":\"203.0.113.3\",\"endpoint_port\":443,\"protocol\":\"TCP\",\"ip_address_type\":\"IPV4\",\"packets\":10,\"bytes\":1020,\"start_time\":1773480413,\"end_time\":1773480470,\"action\":\"ACCEPT\",\"log-status\":\"OK\",\"globalaccelerator_source_ip\":\"-\",\"endpoint_region\":\"eu-west-1\",\"globalaccelerator_region\":\"FRA\",\"direction\":\"INGRESS\",\"vpc_id\":\"vpc-0a1b2c3d\"}", &times[..1]),
    ]
}

fn load_balancers() -> Vec<Sample> {
    let alb = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2026/03/14/123456789012_elasticloadbalancing_eu-west-1_app.shop.0a1b2c3d4e5f6071_20260314T0930Z_192.0.2.10_2x3y4z5a.log.gz";
    let connections = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2026/03/14/conn_log.123456789012_elasticloadbalancing_eu-west-1_app.shop.0a1b2c3d4e5f6071_20260314T0930Z_192.0.2.10_2x3y4z5a.log.gz";
    let health = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2026/03/14/health_check_log_123456789012_elasticloadbalancing_eu-west-1_app.shop.0a1b2c3d4e5f6071_20260314T0930Z_192.0.2.10_2x3y4z5a.log.gz";
    let other = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2026/03/14/new_log_123456789012_elasticloadbalancing_eu-west-1_app.shop.log.gz";
    let nlb = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2026/03/14/123456789012_elasticloadbalancing_eu-west-1_net.edge.0a1b2c3d4e5f6071_20260314T0930Z_2x3y4z5a.log.gz";
    let clb = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1/2026/03/14/123456789012_elasticloadbalancing_eu-west-1_old_20260314T0930Z_192.0.2.10_2x3y4z5a.log";
    let alb_line = "h2 2026-03-14T09:26:53.433481Z app/shop/0a1b2c3d4e5f6071 192.0.2.7:2817 - -1 -1 -1 403 - 34 366 \"GET https://shop.example:443/a?b=\\\"c\\\" HTTP/2.0\" \"curl/8.5.0\" TLS_AES_128_GCM_SHA256 TLSv1.3 - \"Root=1-6a2f\" \"shop.example\" \"-\" 0 2026-03-14T09:26:53.431000Z \"waf\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" TID_0a1b\n";
    let time = "2026-03-14T09:26:53.433Z";
    vec![
        Sample::of("alb", "Application Load Balancer", alb, &alb_line.repeat(2))
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"h2 2026-03-14T09:26:53.433481Z app/shop/0a1b2c3d4e5f6071 192.0.2.7:2817 - -1 -1 -1 403 - 34 366 \\\"GET https://shop.example:443/a?b=\\\\\\\"c\\\\\\\" HTTP/2.0\\\" \\\"curl/8.5.0\\\" TLS_AES_128_GCM_SHA256 TLSv1.3 - \\\"Root=1-6a2f\\\" \\\"shop.example\\\" \\\"-\\\" 0 2026-03-14T09:26:53.431000Z \\\"waf\\\" \\\"-\\\" \\\"-\\\" \\\"-\\\" \\\"-\\\" \\\"-\\\" \\\"-\\\" TID_0a1b\"}", &[time, time]),
        Sample::of("alb", "the same as JSON", alb, alb_line)
            .leaving(Leaves::Json)
            .read_as("alb:json")
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"type\":\"h2\",\"time\":\"2026-03-14T09:26:53.433481Z\",\"elb\":\"app/shop/0a1b2c3d4e5f6071\",\"client:port\":\"192.0.2.7:2817\",\"target:port\":\"-\",\"request_processing_time\":-1,\"target_processing_time\":-1,\"response_processing_time\":-1,\"elb_status_code\":403,\"target_status_code\":\"-\",\"received_bytes\":34,\"sent_bytes\":366,\"request\":\"GET https://shop.example:443/a?b=\\\"c\\\" HTTP/2.0\",\"user_agent\":\"curl/8.5.0\",\"ssl_cipher\":\"TLS_AES_128_GCM_SHA256\",\"ssl_protocol\":\"TLSv1.3\",\"target_group_arn\":\"-\",\"trace_id\":\"Root=1-6a2f\",\"domain_name\":\"shop.example\",\"chosen_cert_arn\":\"-\",\"matched_rule_priority\":\"0\",\"request_creation_time\":\"2026-03-14T09:26:53.431000Z\",\"actions_executed\":\"waf\",\"redirect_url\":\"-\",\"error_reason\":\"-\",\"target:port_list\":\"-\",\"target_status_code_list\":\"-\",\"classification\":\"-\",\"classification_reason\":\"-\",\"conn_trace_id\":\"TID_0a1b\"}", &[time]),
        Sample::of(
            "alb-connection",
            "its connections",
            connections,
            "2026-03-14T09:26:53.433481Z 192.0.2.7 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 4.036 \"CN=a.example,O=Example\" NotBefore=2025-01-01T00:00:00Z;NotAfter=2027-01-01T00:00:00Z 0A1B Success TID_0a1b\n2026-03-14T09:26:53.433Z 2001:db8::7 36281 80 - - - \"-\" - - - TID_0a1c\n",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"2026-03-14T09:26:53.433481Z 192.0.2.7 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 4.036 \\\"CN=a.example,O=Example\\\" NotBefore=2025-01-01T00:00:00Z;NotAfter=2027-01-01T00:00:00Z 0A1B Success TID_0a1b\"}", &[time, time]),
        Sample::of(
            "alb-health",
            "its health checks",
            health,
            "http 2026-03-14T09:26:53.433481Z 0.0195 192.0.2.20:80 targets PASS 200 -\n",
        )
        .told_by_key()
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"http 2026-03-14T09:26:53.433481Z 0.0195 192.0.2.20:80 targets PASS 200 -\"}", &[time]),
        Sample::of(
            "elb-other",
            "what a load balancer may come to write",
            other,
            "2026-03-14T09:26:53.433481Z something new\n",
        )
        .told_by_key()
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"2026-03-14T09:26:53.433481Z something new\"}", &[time]),
        Sample::of(
            "nlb",
            "Network Load Balancer",
            nlb,
            "tls 2.0 2026-03-14T09:26:53 net/edge/0a1b2c3d4e5f6071 6071 192.0.2.7:51341 198.51.100.10:443 5 2 98 246 - arn:aws:acm:eu-west-1:123456789012:certificate/6a2f - ECDHE-RSA-AES128-SHA tlsv12 - edge.example \"h2\" \"h2\" \"h2\",\"http/1.1\" 2026-03-14T09:26:43\n",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"message\":\"tls 2.0 2026-03-14T09:26:53 net/edge/0a1b2c3d4e5f6071 6071 192.0.2.7:51341 198.51.100.10:443 5 2 98 246 - arn:aws:acm:eu-west-1:123456789012:certificate/6a2f - ECDHE-RSA-AES128-SHA tlsv12 - edge.example \\\"h2\\\" \\\"h2\\\" \\\"h2\\\",\\\"http/1.1\\\" 2026-03-14T09:26:43\"}", &["2026-03-14T09:26:53.000Z"]),
        Sample::of(
            "clb",
            "Classic Load Balancer, not compressed",
            clb,
            "2026-03-14T09:26:53.433481Z old 192.0.2.7:2817 198.51.100.1:80 0.000073 0.001048 0.000057 200 200 0 29 \"GET http://www.example:80/ HTTP/1.1\" \"curl/8.5.0\" - -\n2026-03-14T09:26:53.433481Z old 192.0.2.7:2817 - -1 -1 -1 - - 82 305 \"- - - \" \"-\" - -\n",
        )
        .stored(Compressed::Not)
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"2026-03-14T09:26:53.433481Z old 192.0.2.7:2817 198.51.100.1:80 0.000073 0.001048 0.000057 200 200 0 29 \\\"GET http://www.example:80/ HTTP/1.1\\\" \\\"curl/8.5.0\\\" - -\"}", &[time, time]),
    ]
}

fn other_text() -> Vec<Sample> {
    let access = "access/2026-03-14-09-26-53-0A1B2C3D4E5F6071";
    let cloudfront = "cdn/E2EXAMPLE.2026-03-14-09.0a1b2c3d.gz";
    let kafka = "AWSLogs/123456789012/KafkaBrokerLogs/eu-west-1/orders-6a2f-3/2026-03-14-09/Broker-1_09-25_0a1b2c3d.log.gz";
    let connections = "AWSLogs/123456789012/redshift/eu-west-1/2026/03/14/123456789012_redshift_eu-west-1_dwh_connectionlog_2026-03-14T09:26.gz";
    let users = "AWSLogs/123456789012/redshift/eu-west-1/2026/03/14/123456789012_redshift_eu-west-1_dwh_userlog_2026-03-14T09:26.gz";
    let activity = "AWSLogs/123456789012/redshift/eu-west-1/2026/03/14/123456789012_redshift_eu-west-1_dwh_useractivitylog_2026-03-14T09:26.gz";
    let export = "exported/0a1b2c3d-0000-0000-0000-000000000000/app-1/000000.gz";
    let header = "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for\n";
    let rows = "2026-03-14\t09:26:53\tFRA2-C1\t1024\t192.0.2.7\tGET\td111111abcdef8.cloudfront.net\t/a.js\t200\t-\tcurl/8.5.0\t-\t-\tHit\t6a2f==\twww.example\thttps\t23\t0.001\t-\n";
    let time = "2026-03-14T09:26:53.000Z";
    let ms = "2026-03-14T09:26:53.433Z";
    let owner = "0a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f6071";
    let access_line = format!(
        "{owner} bucket-1 [14/Mar/2026:09:26:53 +0000] 192.0.2.7 {owner} 0A1B2C3D4E5F6071 REST.GET.VERSIONING - \"GET /bucket-1?versioning HTTP/1.1\" 200 - 113 - 7 - \"-\" \"S3Console/0.4\" - aG9zdCBvZiBzMw== SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader bucket-1.s3.eu-west-1.amazonaws.com TLSv1.2 - -\n"
    );
    let trace = "[2026-03-14 09:26:53,433] ERROR [Broker id=1] Failed to read (kafka.server.ReplicaManager)\njava.io.IOException: broken\n\tat kafka.log.Log.read(Log.scala:42)\nCaused by: java.lang.Error\n\n[2026-03-14 09:26:53,433] INFO next (kafka.server.KafkaServer)\n";
    vec![
        Sample::of("cloudfront", "CloudFront", cloudfront, &format!("{header}{}", rows.repeat(2)))
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"message\":\"2026-03-14\\t09:26:53\\tFRA2-C1\\t1024\\t192.0.2.7\\tGET\\td111111abcdef8.cloudfront.net\\t/a.js\\t200\\t-\\tcurl/8.5.0\\t-\\t-\\tHit\\t6a2f==\\twww.example\\thttps\\t23\\t0.001\\t-\"}", &[time, time]),
        Sample::of("cloudfront", "the same as JSON", cloudfront, &format!("{header}{rows}"))
            .leaving(Leaves::Json)
            .read_as("cloudfront:json")
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"date\":\"2026-03-14\",\"time\":\"09:26:53\",\"x-edge-location\":\"FRA2-C1\",\"sc-bytes\":1024,\"c-ip\":\"192.0.2.7\",\"cs-method\":\"GET\",\"cs(Host)\":\"d111111abcdef8.cloudfront.net\",\"cs-uri-stem\":\"/a.js\",\"sc-status\":200,\"cs(Referer)\":\"-\",\"cs(User-Agent)\":\"curl/8.5.0\",\"cs-uri-query\":\"-\",\"cs(Cookie)\":\"-\",\"x-edge-result-type\":\"Hit\",\"x-edge-request-id\":\"6a2f==\",\"x-host-header\":\"www.example\",\"cs-protocol\":\"https\",\"cs-bytes\":23,\"time-taken\":0.001,\"x-forwarded-for\":\"-\"}", &[time]),
        Sample::of("cloudfront", "CloudFront without directives", cloudfront, rows)
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"message\":\"2026-03-14\\t09:26:53\\tFRA2-C1\\t1024\\t192.0.2.7\\tGET\\td111111abcdef8.cloudfront.net\\t/a.js\\t200\\t-\\tcurl/8.5.0\\t-\\t-\\tHit\\t6a2f==\\twww.example\\thttps\\t23\\t0.001\\t-\"}", &[time]),
        Sample::of("cloudfront", "CloudFront with its directives alone", cloudfront, header)
            .gives("", &[]),
        Sample::of("s3-access", "S3 server access", access, &access_line.repeat(2))
            .stored(Compressed::Not)
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"message\":\"0a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f6071 bucket-1 [14/Mar/2026:09:26:53 +0000] 192.0.2.7 0a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f6071 0A1B2C3D4E5F6071 REST.GET.VERSIONING - \\\"GET /bucket-1?versioning HTTP/1.1\\\" 200 - 113 - 7 - \\\"-\\\" \\\"S3Console/0.4\\\" - aG9zdCBvZiBzMw== SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader bucket-1.s3.eu-west-1.amazonaws.com TLSv1.2 - -\"}", &[time, time]),
        Sample::of("s3-access", "the same as JSON", access, &access_line)
            .leaving(Leaves::Json)
            .read_as("s3-access:json")
            .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"bucket_owner\":\"0a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f6071\",\"bucket\":\"bucket-1\",\"time\":\"14/Mar/2026:09:26:53 +0000\",\"remote_ip\":\"192.0.2.7\",\"requester\":\"0a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f60710a1b2c3d4e5f6071\",\"request_id\":\"0A1B2C3D4E5F6071\",\"operation\":\"REST.GET.VERSIONING\",\"key\":\"-\",\"request_uri\":\"GET /bucket-1?versioning HTTP/1.1\",\"http_status\":200,\"error_code\":\"-\",\"bytes_sent\":113,\"total_time\":7,\"referer\":\"-\",\"user_agent\":\"S3Console/0.4\",\"version_id\":\"-\",\"host_id\":\"aG9zdCBvZiBzMw==\",\"signature_version\":\"SigV4\",\"cipher_suite\":\"ECDHE-RSA-AES128-GCM-SHA256\",\"authentication_type\":\"AuthHeader\",\"host_header\":\"bucket-1.s3.eu-west-1.amazonaws.com\",\"tls_version\":\"TLSv1.2\",\"access_point_arn\":\"-\",\"acl_required\":\"-\"}", &[time]),
        Sample::of("msk", "MSK with a stack trace", kafka, trace).gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"[2026-03-14 09:26:53,433] ERROR [Broker id=1] Failed to read (kafka.server.ReplicaManager)\\njava.io.IOException: broken\\n\\tat kafka.log.Log.read(Log.scala:42)\\nCaused by: java.lang.Error\"}", &[ms, ms]),
        Sample::of(
            "msk",
            "MSK that begins in the middle of a stack trace",
            kafka,
            &format!("\tat kafka.log.Log.read(Log.scala:42)\n{trace}"),
        )
        .told_by_key()
        .gives("{\"message\":\"\\tat kafka.log.Log.read(Log.scala:42)\"}", &["", ms, ms]),
        Sample::of(
            "redshift-connection",
            "Redshift, connections",
            connections,
            "authenticated |Sat, 14 Mar 2026 09:26:53:433|::ffff:192.0.2.7 |36280 |1073750029|dev |awsuser |password |0|TLSv1.2 |ECDHE-RSA-AES128-GCM-SHA256 |0| | | | | | | | | | \n",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"event\":\"authenticated \",\"recordtime\":\"Sat, 14 Mar 2026 09:26:53:433\",\"remotehost\":\"::ffff:192.0.2.7 \",\"remoteport\":\"36280 \",\"pid\":1073750029,\"dbname\":\"dev \",\"username\":\"awsuser \",\"authmethod\":\"password \",\"duration\":0,\"sslversion\":\"TLSv1.2 \",\"sslcipher\":\"ECDHE-RSA-AES128-GCM-SHA256 \",\"mtu\":0,\"sslcompression\":\" \",\"sslexpansion\":\" \",\"iamauthguid\":\" \",\"application_name\":\" \",\"os_version\":\" \",\"driver_version\":\" \",\"plugin_name\":\" \",\"protocol_version\":\" \",\"sessionid\":\" \",\"compression\":\" \"}", &[ms]),
        Sample::of(
            "redshift-user",
            "Redshift, users",
            users,
            "100|alice||create|1|0|0||4321|8765|Sat, 14 Mar 2026 09:26:53:433\n",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"userid\":100,\"username\":\"alice\",\"oldusername\":\"\",\"action\":\"create\",\"usecreatedb\":\"1\",\"usesuper\":\"0\",\"usecatupd\":\"0\",\"valuntil\":\"\",\"pid\":4321,\"xid\":8765,\"recordtime\":\"Sat, 14 Mar 2026 09:26:53:433\"}", &[ms]),
        Sample::of(
            "redshift-activity",
            "Redshift, user activity over several lines",
            activity,
            "'2026-03-14T09:26:53Z UTC [ db=dev user=awsuser pid=4321 userid=100 xid=8765 ]' LOG: SELECT 1,\n  2\nFROM t\n'2026-03-14T09:26:53Z UTC [ db=dev user=awsuser pid=4321 userid=100 xid=8766 ]' LOG: COMMIT\n",
        )
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.000Z\",\"message\":\"'2026-03-14T09:26:53Z UTC [ db=dev user=awsuser pid=4321 userid=100 xid=8765 ]' LOG: SELECT 1,\\n  2\\nFROM t\"}", &[time, time]),
        Sample::of(
            "cloudwatch-export",
            "an export of CloudWatch Logs, with an event of several lines",
            export,
            "2026-03-14T09:26:53.433Z Traceback (most recent call last):\n  File \"a.py\", line 1\n2026-03-14T09:26:53.433Z done\n",
        )
        .told_by_key()
        .gives("{\"@timestamp\":\"2026-03-14T09:26:53.433Z\",\"message\":\"2026-03-14T09:26:53.433Z Traceback (most recent call last):\\n  File \\\"a.py\\\", line 1\"}", &[ms, ms]),
    ]
}
