//! What producers write: objects as Cloudflare Logpush, a load balancer and VPC flow logs make them.
//!
//! Pure: the same seed, number and time give the same objects. Every record has an identity of its own,
//! so that a checker can say of each where it went.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::json;

use crate::clock::Timestamp;
use crate::local::listener::body::{Identity, RecordId};

/// The field that tells a Cloudflare record from another; of any other record it is the whole line.
pub const IDENTITY_FIELD: &str = "RayID";
/// What Logpush writes to prove that it may; no log.
pub const CHALLENGE_KEY: &str = "logs/ownership-challenge.txt";

/// One object on its way into the bucket.
#[derive(Clone, Debug)]
pub struct Produced {
    pub key: String,
    pub bytes: Bytes,
    pub upload: Upload,
    pub notice: Notice,
    pub flaw: Flaw,
    /// Its records as the endpoint will see them, in order.
    pub records: Vec<RecordId>,
    /// How many of them stand whole in `bytes`, before the damage if there is one.
    pub records_whole: usize,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    Put,
    Multipart,
}

/// What becomes of its notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    Once,
    Twice,
    Lost,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Its last third is missing.
    Truncated,
    /// One of its lines looks like an object and is none.
    MalformedRecord,
}

/// The objects of a demonstration, at least six: the first is notified twice, the second has a malformed
/// record, the third and every fifth after it lose their notification, the fourth is truncated.
pub fn produce(seed: u64, objects: u32, now: Timestamp) -> Vec<Produced> {
    let mut numbers = Numbers(seed);
    (0..objects)
        .map(|index| {
            let flaw = match index {
                1 => Flaw::MalformedRecord,
                3 => Flaw::Truncated,
                _ => Flaw::None,
            };
            let notice = match index {
                0 => Notice::Twice,
                index if index % 5 == 2 => Notice::Lost,
                _ => Notice::Once,
            };
            // Each object covers the half minute before the next one's.
            let back = Duration::from_secs(30 * u64::from(objects - index));
            let written = Written {
                start: now.minus(back),
                index,
                flaw,
                notice,
            };
            match index {
                4 => flow_log(&written, &mut numbers),
                index if index % 4 == 2 => load_balancer_log(&written, &mut numbers),
                _ => logpush(&written, &mut numbers),
            }
        })
        .collect()
}

struct Written {
    start: Timestamp,
    index: u32,
    flaw: Flaw,
    notice: Notice,
}

impl Written {
    fn object(
        self: &Written,
        key: String,
        upload: Upload,
        lines: &[String],
        records: Vec<RecordId>,
    ) -> Produced {
        let mut bytes = gzip(lines);
        if self.flaw == Flaw::Truncated {
            bytes.truncate(bytes.len() / 3 * 2);
        }
        let records_whole = match self.flaw {
            Flaw::Truncated => lines_before_damage(&bytes),
            Flaw::None | Flaw::MalformedRecord => records.len(),
        };
        Produced {
            key,
            bytes: bytes.into(),
            upload,
            notice: self.notice,
            flaw: self.flaw,
            records,
            records_whole,
        }
    }
}

/// `http_requests` of Cloudflare Logpush: NDJSON, multipart, under a folder for each day.
fn logpush(written: &Written, numbers: &mut Numbers) -> Produced {
    let lines: Vec<String> = (0..numbers.between(250, 450))
        .map(|line| {
            let ray = format!("{:016x}", numbers.next());
            let broken = written.flaw == Flaw::MalformedRecord && line == 7;
            request(&ray, written.start, numbers, broken)
        })
        .collect();
    let (start, end) = (
        civil(written.start),
        civil(written.start.plus(Duration::from_secs(30))),
    );
    let key = format!(
        "logs/{}/{}Z_{}Z_{:08x}.log.gz",
        start.strftime("%Y%m%d"),
        start.strftime("%Y%m%dT%H%M%S"),
        end.strftime("%Y%m%dT%H%M%S"),
        numbers.next() as u32
    );
    let identity = Identity::Field(IDENTITY_FIELD.to_owned());
    let records = lines
        .iter()
        .map(|line| identity.of(line.as_bytes()))
        .collect();
    written.object(key, Upload::Multipart, &lines, records)
}

/// Access logs of an application load balancer: text, no header.
fn load_balancer_log(written: &Written, numbers: &mut Numbers) -> Produced {
    let lines: Vec<String> = (0..numbers.between(150, 300))
        .map(|_| {
            let (port, trace) = (numbers.between(1_024, 65_535), numbers.next());
            let path = numbers.of(&PATHS);
            format!(
                "https {}Z app/web/50dc6c495c0c9188 192.0.2.{}:{port} 10.0.1.{}:8080 0.001 0.0{} 0.000 200 200 \
                 {} {} \"GET https://www.example.com:443{path} HTTP/1.1\" \"{}\" ECDHE-RSA-AES128-GCM-SHA256 \
                 TLSv1.2 - \"Root=1-{:08x}-{trace:016x}\" \"www.example.com\" \"session-reused\" 0 - \
                 \"forward\" \"-\" \"-\" \"10.0.1.7:8080\" \"200\" \"-\" \"-\"",
                civil(written.start).strftime("%Y-%m-%dT%H:%M:%S.%6f"),
                numbers.between(1, 254),
                numbers.between(1, 254),
                numbers.between(10, 99),
                numbers.between(200, 2_000),
                numbers.between(500, 90_000),
                numbers.of(&AGENTS),
                written.start.as_secs(),
            )
        })
        .collect();
    let at = civil(written.start);
    let key = format!(
        "AWSLogs/123456789012/elasticloadbalancing/eu-central-1/{}/123456789012_elasticloadbalancing_\
         eu-central-1_app.web.50dc6c495c0c9188_{}Z_192.0.2.17_{:08x}.log.gz",
        at.strftime("%Y/%m/%d"),
        at.strftime("%Y%m%dT%H%M"),
        numbers.next() as u32
    );
    let records = lines.iter().map(|line| as_message(line, written.start));
    written.object(key, Upload::Put, &lines, records.collect())
}

/// VPC flow logs: text, the names of the fields in the first line, which is no record.
fn flow_log(written: &Written, numbers: &mut Numbers) -> Produced {
    let header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end \
                  action log-status";
    let mut lines = vec![header.to_owned()];
    let start = written.start.as_secs();
    lines.extend((0..numbers.between(200, 400)).map(|line| {
        format!(
            "2 123456789012 eni-0050644426037aa0f 10.{}.{}.{} 203.0.113.{} {} 443 6 {} {} {start} {} ACCEPT OK",
            numbers.between(0, 255),
            line / 256,
            line % 256,
            numbers.between(1, 254),
            numbers.between(1_024, 65_535),
            numbers.between(1, 90),
            numbers.between(100, 90_000),
            start + 30,
        )
    }));
    let at = civil(written.start);
    let key = format!(
        "AWSLogs/123456789012/vpcflowlogs/eu-central-1/{}/123456789012_vpcflowlogs_eu-central-1_\
         fl-0a1b2c3d4e5f60718_{}Z_{:08x}.log.gz",
        at.strftime("%Y/%m/%d"),
        at.strftime("%Y%m%dT%H%M"),
        written.index
    );
    let start = Timestamp::from_ms(start * 1_000);
    let records = lines.iter().skip(1).map(|line| as_message(line, start));
    written.object(key, Upload::Put, &lines, records.collect())
}

/// A line of text as the endpoint sees it, with the time that stands in it.
fn as_message(line: &str, time: Timestamp) -> RecordId {
    let time = civil(time).strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let record = format!("{{\"@timestamp\":\"{time}\",\"message\":{}}}", json!(line));
    RecordId::of(record.as_bytes())
}

/// A request as Logpush describes it, about a kilobyte; `broken` forgets to escape a quote.
fn request(ray: &str, start: Timestamp, numbers: &mut Numbers, broken: bool) -> String {
    let ns = start.as_ms() * 1_000_000 + numbers.between(0, 29_999_999_999);
    let took = numbers.between(3_000_000, 400_000_000);
    let (path, agent) = (numbers.of(&PATHS), numbers.of(&AGENTS));
    let agent = if broken {
        "Mozilla/5.0 \"unescaped\""
    } else {
        agent
    };
    let status = numbers.of(&["200", "200", "200", "304", "404", "503"]);
    let (octet, asn) = (numbers.between(1, 254), numbers.between(1_000, 64_000));
    let country = numbers.of(&["de", "fr", "us", "jp", "br"]);
    let colo = numbers.of(&["FRA", "CDG", "IAD", "NRT", "GRU"]);
    let bytes = numbers.between(500, 90_000);
    let port = numbers.between(1_024, 65_535);
    format!(
        "{{\"BotScore\":{},\"BotTags\":[],\"CacheCacheStatus\":\"dynamic\",\"CacheResponseBytes\":{bytes},\
         \"ClientASN\":{asn},\"ClientCountry\":\"{country}\",\"ClientDeviceType\":\"desktop\",\
         \"ClientIP\":\"198.51.100.{octet}\",\"ClientIPClass\":\"noRecord\",\"ClientRequestBytes\":{},\
         \"ClientRequestHost\":\"www.example.com\",\"ClientRequestMethod\":\"GET\",\
         \"ClientRequestPath\":\"{path}\",\"ClientRequestProtocol\":\"HTTP/2\",\"ClientRequestReferer\":\"\",\
         \"ClientRequestScheme\":\"https\",\"ClientRequestURI\":\"{path}?q={port}\",\
         \"ClientRequestUserAgent\":\"{agent}\",\"ClientSSLCipher\":\"AEAD-AES128-GCM-SHA256\",\
         \"ClientSSLProtocol\":\"TLSv1.3\",\"ClientSrcPort\":{port},\"Cookies\":{{}},\
         \"EdgeColoCode\":\"{colo}\",\"EdgeEndTimestamp\":{},\"EdgePathingOp\":\"wl\",\
         \"EdgePathingSrc\":\"macro\",\"EdgePathingStatus\":\"nr\",\"EdgeRequestHost\":\"www.example.com\",\
         \"EdgeResponseBytes\":{bytes},\"EdgeResponseContentType\":\"text/html\",\
         \"EdgeResponseStatus\":{status},\"EdgeServerIP\":\"203.0.113.9\",\"EdgeStartTimestamp\":{ns},\
         \"OriginIP\":\"192.0.2.80\",\"OriginResponseStatus\":{status},\"OriginResponseDurationMs\":{},\
         \"ParentRayID\":\"00\",\"RayID\":\"{ray}\",\"SecurityAction\":\"\",\"SecurityRuleIDs\":[],\
         \"WorkerSubrequest\":false,\"ZoneName\":\"example.com\"}}",
        numbers.between(1, 99),
        numbers.between(300, 3_000),
        ns + took,
        took / 1_000_000,
    )
}

const PATHS: [&str; 6] = [
    "/",
    "/checkout",
    "/api/v1/items",
    "/static/app.js",
    "/search",
    "/login",
];

const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "curl/8.9.1",
];

fn gzip(lines: &[String]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for line in lines {
        writeln!(encoder, "{line}").expect("a Vec takes every byte");
    }
    encoder.finish().expect("a Vec takes every byte")
}

/// Lines that a gzip without its end still holds.
fn lines_before_damage(bytes: &[u8]) -> usize {
    let mut plain = Vec::new();
    // What was inflated before the error is in `plain`, and the error is the point of it.
    let _ = GzDecoder::new(bytes).read_to_end(&mut plain);
    memchr::memchr_iter(b'\n', &plain).count()
}

fn civil(time: Timestamp) -> DateTime {
    let ms = i64::try_from(time.as_ms()).unwrap_or(i64::MAX);
    Offset::UTC.to_datetime(jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// SplitMix64 (Steele, Lea and Flood, 2014): each state gives another number, so numbers that are drawn
/// as identities are distinct.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Both included.
    fn between(&mut self, least: u64, greatest: u64) -> u64 {
        least + self.next() % (greatest - least + 1)
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[(self.next() % choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_record_has_an_identity_of_its_own() {
        let produced = produce(7, 30, Timestamp::from_secs(1_800_000_000));
        let ids: Vec<RecordId> = produced
            .iter()
            .flat_map(|object| object.records.clone())
            .collect();
        let distinct: HashSet<&RecordId> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        let keys: HashSet<&String> = produced.iter().map(|object| &object.key).collect();
        assert_eq!(keys.len(), produced.len());
    }

    #[test]
    fn the_smallest_demonstration_has_every_kind_of_trouble() {
        let produced = produce(1, 6, Timestamp::from_secs(1_800_000_000));
        let has = |wanted: fn(&Produced) -> bool| produced.iter().any(wanted);
        assert!(has(|object| object.notice == Notice::Lost));
        assert!(has(|object| object.notice == Notice::Twice));
        assert!(has(|object| object.flaw == Flaw::Truncated));
        assert!(has(|object| object.flaw == Flaw::MalformedRecord));
        assert!(has(|object| object.upload == Upload::Multipart));
    }
}
