//! What the first lines of text say of who wrote it.
//!
//! Goes in: the start of text, and the key. Comes out: whether a source writes so. A line is only told from its own
//! parts, never by one word that a line of somebody else's may well have.

use crate::records::tables::VPC_FLOW_DEFAULT;
use crate::shape::spec::TimeFormat;
use crate::shape::time;

/// Whether an object is a source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Yes,
    No,
    /// More of the object could tell.
    Maybe,
}

impl From<bool> for Told {
    fn from(is_told: bool) -> Self {
        if is_told { Self::Yes } else { Self::No }
    }
}

/// The start of an object that holds text.
#[derive(Debug)]
pub struct Start<'a> {
    pub key: &'a str,
    text: &'a [u8],
    /// Whether the last line is looked at even if its end is not here.
    is_all: bool,
    first: &'a [u8],
}

impl<'a> Start<'a> {
    /// `text` begins with its first line. None if that is not all here, and more can be had.
    pub fn new(key: &'a str, text: &'a [u8], is_all: bool) -> Option<Self> {
        let first = lines(text, is_all).next()?;
        Some(Self {
            key,
            text,
            is_all,
            first,
        })
    }

    /// The first line.
    pub fn first(&self) -> &'a [u8] {
        self.first
    }

    /// All lines that are here.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        lines(self.text, self.is_all)
    }

    /// What follows `#Fields:` on one of the lines that begin with `#` and stand before all others.
    pub fn fields(&self) -> Option<&'a [u8]> {
        let mut directives = self.lines().take_while(|line| line.starts_with(b"#"));
        directives.find_map(|line| line.strip_prefix(b"#Fields:"))
    }
}

/// Lines without their ends, but for empty ones.
fn lines(text: &[u8], is_all: bool) -> impl Iterator<Item = &[u8]> {
    let whole = match memchr::memrchr(b'\n', text) {
        _ if is_all => text,
        Some(end) => &text[..end],
        None => &[],
    };
    whole
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// What stands between spaces and tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
}

/// Whether a text begins like `pattern`, in which `0` stands for any digit.
fn begins(text: &[u8], pattern: &[u8]) -> bool {
    text.len() >= pattern.len()
        && pattern.iter().zip(text).all(|(wanted, byte)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => wanted == byte,
        })
}

/// `2022-12-06T17:42:16`, and what may follow.
pub fn is_time(word: &[u8]) -> bool {
    begins(word, b"0000-00-00T00:00:00")
}

fn is_number(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

/// `12.5`, `-1`: a duration.
fn is_seconds(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b'.');
    word == b"-1"
        || (parts.next().is_some_and(is_number)
            && parts.next().is_some_and(is_number)
            && parts.next().is_none())
}

fn is_ip_address(word: &[u8]) -> bool {
    let is_of_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    word.iter().all(is_of_address) && word.iter().any(|byte| matches!(byte, b'.' | b':'))
}

/// An address and a port, or `-`.
fn is_end_point(word: &[u8]) -> bool {
    let Some(colon) = memchr::memrchr(b':', word) else {
        return word == b"-";
    };
    colon > 0 && is_number(&word[colon + 1..])
}

/// What AWS writes if nothing else is asked for.
pub fn is_vpc_flow_header(line: &[u8]) -> bool {
    words(line).eq(VPC_FLOW_DEFAULT.iter().map(|name| name.as_bytes()))
}

/// Names of fields, most of them known: AWS adds to them from time to time.
pub fn is_vpc_flow_names(line: &[u8]) -> bool {
    let is_known = |word: &&[u8]| VPC_FLOW_FIELDS.iter().any(|name| name.as_bytes() == *word);
    let is_name = |word: &[u8]| {
        let is_of_name =
            |byte: &u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9');
        word.iter().all(is_of_name) && word.first().is_some_and(u8::is_ascii_lowercase)
    };
    let (count, known) = (words(line).count(), words(line).filter(is_known).count());
    // Some of the names are words of any text.
    let is_word = |word: &[u8]| VPC_FLOW_WORDS.iter().any(|name| name.as_bytes() == word);
    let mut names = words(line).filter(is_known);
    words(line).all(is_name) && known >= 3 && known * 2 > count && names.any(|name| !is_word(name))
}

const VPC_FLOW_WORDS: [&str; 9] = [
    "version", "protocol", "packets", "bytes", "start", "end", "action", "type", "region",
];

pub fn is_vpc_flow_row(line: &[u8]) -> bool {
    let word = |index| words(line).nth(index).unwrap_or_default();
    words(line).count() == VPC_FLOW_DEFAULT.len()
        && is_number(word(0))
        && (word(1) == b"unknown" || (word(1).len() == 12 && is_number(word(1))))
        && word(2).starts_with(b"eni-")
        && is_number(word(10))
        && is_number(word(11))
}

/// The names of its fields in all versions (Amazon VPC User Guide, "Flow log records"; Amazon VPC Transit Gateways,
/// "Transit Gateway Flow Log records").
const VPC_FLOW_FIELDS: &[&str] = &[
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
    "vpc-id",
    "subnet-id",
    "instance-id",
    "tcp-flags",
    "type",
    "pkt-srcaddr",
    "pkt-dstaddr",
    "region",
    "az-id",
    "sublocation-type",
    "sublocation-id",
    "pkt-src-aws-service",
    "pkt-dst-aws-service",
    "flow-direction",
    "traffic-path",
    "ecs-cluster-arn",
    "ecs-cluster-name",
    "ecs-container-instance-arn",
    "ecs-container-instance-id",
    "ecs-container-id",
    "ecs-second-container-id",
    "ecs-service-name",
    "ecs-task-definition-arn",
    "ecs-task-arn",
    "ecs-task-id",
    "reject-reason",
    "resource-id",
    "encryption-status",
    "resource-type",
    "tgw-id",
    "tgw-attachment-id",
    "tgw-pair-attachment-id",
    "tgw-src-vpc-account-id",
    "tgw-dst-vpc-account-id",
    "tgw-src-vpc-id",
    "tgw-dst-vpc-id",
    "tgw-src-subnet-id",
    "tgw-dst-subnet-id",
    "tgw-src-eni",
    "tgw-dst-eni",
    "tgw-src-az-id",
    "tgw-dst-az-id",
    "packets-lost-no-route",
    "packets-lost-blackhole",
    "packets-lost-mtu-exceeded",
    "packets-lost-ttl-expired",
];

/// By its directives, or where there are none by the first line that is none.
pub fn is_cloudfront(start: &Start<'_>) -> bool {
    match start.fields() {
        Some(fields) => words(fields).any(|name| name.starts_with(b"x-edge-")),
        None => {
            let mut rows = start.lines().filter(|line| !line.starts_with(b"#"));
            rows.next().is_some_and(is_cloudfront_row)
        }
    }
}

/// Twenty columns and more: a date, a time, an edge location.
fn is_cloudfront_row(line: &[u8]) -> bool {
    let mut columns = line.split(|byte| *byte == b'\t');
    let is_like = |column: Option<&[u8]>, pattern: &[u8]| {
        column.is_some_and(|column| column.len() == pattern.len() && begins(column, pattern))
    };
    is_like(columns.next(), b"0000-00-00")
        && is_like(columns.next(), b"00:00:00")
        && columns.count() >= 18
}

pub fn is_alb(line: &[u8]) -> bool {
    let mut words = words(line);
    matches!(
        words.next(),
        Some(b"http" | b"https" | b"h2" | b"grpcs" | b"ws" | b"wss")
    ) && words.next().is_some_and(is_time)
        && words.next().is_some_and(|name| name.contains(&b'/'))
        && words.next().is_some_and(is_end_point)
        && words.count() >= 8
}

pub fn is_alb_connection(line: &[u8]) -> bool {
    let mut words = words(line);
    words.next().is_some_and(is_time)
        && words.next().is_some_and(is_ip_address)
        && words.next().is_some_and(is_number)
        && words.next().is_some_and(is_number)
        && words.count() >= 7
}

pub fn is_nlb(line: &[u8]) -> bool {
    let mut words = words(line);
    words.next() == Some(b"tls")
        && words.next().is_some_and(|version| begins(version, b"0"))
        && words.next().is_some_and(is_time)
        && words.next().is_some_and(|name| name.contains(&b'/'))
}

pub fn is_clb(line: &[u8]) -> bool {
    let mut words = words(line);
    words.next().is_some_and(is_time)
        && words.next().is_some()
        && words.next().is_some_and(is_end_point)
        && words.next().is_some_and(is_end_point)
        && words.next().is_some_and(is_seconds)
        && words.next().is_some_and(is_seconds)
        && words.next().is_some_and(is_seconds)
}

pub fn is_s3_access(line: &[u8]) -> bool {
    let is_owner =
        |word: &[u8]| word == b"-" || (word.len() >= 16 && word.iter().all(u8::is_ascii_hexdigit));
    let is_operation = |word: &[u8]| {
        let is_of_it =
            |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'.' | b'_' | b'0'..=b'9');
        word.contains(&b'.') && word.iter().all(is_of_it) && word[0].is_ascii_uppercase()
    };
    let mut words = words(line);
    words.next().is_some_and(is_owner)
        && words.next().is_some()
        && words.next().is_some_and(|time| begins(time, b"[00/") && time.contains(&b':'))
        // Behind the offset, the address, the requester and the request.
        && words.skip(4).take(2).any(is_operation)
}

/// Text of Apache Kafka's own logger. `is_keyed` says that the key is one of MSK's.
pub fn is_kafka(start: &Start<'_>, is_keyed: bool) -> Told {
    if !is_keyed && !is_logger_line(start.first()) {
        return Told::No;
    }
    let has_class = |line: &[u8]| {
        let has = |name: &[u8]| memchr::memmem::find(line, name).is_some();
        has(b"kafka.") || has(b"org.apache.")
    };
    // An object may begin in the middle of a record.
    let mut is_begun = false;
    let is_told = start.lines().any(|line| {
        is_begun |= is_logger_line(line);
        is_begun && (is_keyed || has_class(line))
    });
    if is_told { Told::Yes } else { Told::Maybe }
}

/// `[2025-07-04 11:57:55,836] INFO `, as log4j writes it for Kafka.
fn is_logger_line(line: &[u8]) -> bool {
    const LEVELS: [&[u8]; 6] = [
        b"TRACE ", b"DEBUG ", b"INFO ", b"WARN ", b"ERROR ", b"FATAL ",
    ];
    const TIME: &[u8] = b"[0000-00-00 00:00:00,000] ";
    begins(line, TIME)
        && LEVELS
            .iter()
            .any(|level| line[TIME.len()..].starts_with(level))
}

/// `'2013-10-29T18:01:00Z UTC [ db=dev `. `is_keyed` says that the key is one of its own.
pub fn is_redshift_activity(start: &Start<'_>, is_keyed: bool) -> Told {
    let begins = |line: &[u8]| begins(line, b"'0000-00-00T00:00:00Z UTC [ db=");
    match is_keyed {
        false => begins(start.first()).into(),
        // An object may begin in the middle of a record.
        true if start.lines().any(begins) => Told::Yes,
        true => Told::Maybe,
    }
}

/// `Tue, 29 Oct 2013 18:01:00:123`.
fn is_redshift_time(column: &[u8]) -> bool {
    column.contains(&b',') && time::parse(column, TimeFormat::Auto).is_some()
}

pub fn is_redshift_connection(line: &[u8]) -> bool {
    let mut columns = line.split(|byte| *byte == b'|').skip(1);
    columns.next().is_some_and(is_redshift_time) && columns.count() >= 7
}

pub fn is_redshift_user(line: &[u8]) -> bool {
    let mut columns = line.split(|byte| *byte == b'|').skip(10);
    columns.next().is_some_and(is_redshift_time) && columns.next().is_none()
}

/// `000000.gz`, and whatever number it has.
pub fn is_export_key(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default().as_bytes();
    name.len() == b"000000.gz".len() && begins(name, b"000000.gz")
}

/// `2014-03-19T03:07:04.023Z `.
pub fn is_export_line(line: &[u8]) -> bool {
    begins(line, b"0000-00-00T00:00:00.000Z ")
}
