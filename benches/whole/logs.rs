//! The logs that are carried: the same bytes in every run and on every machine.

use std::fmt::Write as _;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{cloudflare, cloudtrail};

/// The level at which producers write: the default of gzip and zlib.
const LEVEL: Compression = Compression::new(6);

/// An object as it is stored, and what a receiver should find.
#[derive(Clone, Debug)]
pub struct Log {
    pub object: Bytes,
    pub plain_bytes: u64,
    pub records: u64,
}

impl Log {
    /// The same members several times over: an object of any size without the memory for it twice.
    pub fn repeated(&self, times: u64) -> Self {
        Self {
            object: self.object.repeat(times as usize).into(),
            plain_bytes: self.plain_bytes * times,
            records: self.records * times,
        }
    }
}

/// NDJSON as Cloudflare Logpush writes it: one gzip member.
pub fn cloudflare(plain_bytes: u64) -> Log {
    let mut records = cloudflare::Records::default();
    gzipped(plain_bytes, |line| records.next(line))
}

/// One document as CloudTrail writes it, all of it on one line: one gzip member.
pub fn cloudtrail(plain_bytes: u64) -> Log {
    let mut gzip = GzEncoder::new(Vec::new(), LEVEL);
    let mut write = |text: &str| {
        gzip.write_all(text.as_bytes())
            .expect("memory takes every byte");
        text.len() as u64
    };
    let (mut events, mut event) = (cloudtrail::Events::default(), String::new());
    let mut written = write(cloudtrail::OPENING);
    while written < plain_bytes {
        events.next(&mut event);
        written += write(&event);
    }
    written += write(cloudtrail::CLOSING);
    Log {
        object: gzip.finish().expect("memory takes every byte").into(),
        plain_bytes: written,
        records: events.count,
    }
}

/// `count` objects of so many plain bytes each, one going on where the other ends.
pub fn cloudflare_small(count: usize, plain_bytes: u64) -> Vec<Log> {
    let mut records = cloudflare::Records::default();
    let object = |_| gzipped(plain_bytes, |line| records.next(line));
    (0..count).map(object).collect()
}

/// VPC flow logs in the default format (version 2), with the line of field names in front:
/// one gzip member.
pub fn vpc_flow(plain_bytes: u64) -> Log {
    let mut flows = Flows {
        state: 0x9e37_79b9_7f4a_7c15,
        count: 0,
    };
    gzipped(plain_bytes, |line| flows.next(line))
}

fn gzipped(plain_bytes: u64, mut next: impl FnMut(&mut String)) -> Log {
    let mut gzip = GzEncoder::new(Vec::new(), LEVEL);
    let (mut written, mut records, mut line) = (0, 0, String::new());
    while written < plain_bytes {
        next(&mut line);
        gzip.write_all(line.as_bytes())
            .expect("memory takes every byte");
        written += line.len() as u64;
        records += 1;
    }
    Log {
        object: gzip.finish().expect("memory takes every byte").into(),
        plain_bytes: written,
        records,
    }
}

/// With these many, and addresses and numbers as they are, gzip -6 makes it 4.9 times smaller, which
/// is what real ones come to.
const INTERFACES: u64 = 80;

/// The first line of an object, which is none of its records.
pub const FLOW_HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n";

fn address_of(interface: u64) -> String {
    format!("10.0.{}.{}", interface * 7 % 256, interface * 13 % 256)
}

fn address(bits: u64) -> String {
    let [a, b, c, d] = (bits as u32).to_be_bytes();
    format!("{a}.{b}.{c}.{d}")
}

struct Flows {
    state: u64,
    count: u64,
}

impl Flows {
    fn next(&mut self, line: &mut String) {
        line.clear();
        if self.count == 0 {
            line.push_str(FLOW_HEADER);
            self.count = 1;
            return;
        }
        let interface = self.below(INTERFACES);
        let host = address_of(interface);
        // Half of the peers are hosts like these, the other half anybody.
        let peer = match self.below(2) {
            0 => address(self.below(1 << 32)),
            _ => address_of(self.below(INTERFACES)),
        };
        let service = [443, 443, 443, 80, 53, 5432, 6379, 8080][self.below(8) as usize];
        let port = 32_768 + self.below(28_232);
        let packets = 1 + self.below(200);
        let bytes = packets * 52 + self.below(60_000);
        let start = 1_773_478_800 + self.count / 900 - self.below(60);
        let is_answer = self.below(2) == 0;
        let (source, destination) = if is_answer {
            (&peer, &host)
        } else {
            (&host, &peer)
        };
        let (from, to) = if is_answer {
            (service, port)
        } else {
            (port, service)
        };
        let protocol = if service == 53 { 17 } else { 6 };
        let action = if self.below(30) == 0 {
            "REJECT"
        } else {
            "ACCEPT"
        };
        writeln!(
            line,
            "2 123456789010 eni-0{:08x}{:08x} {source} {destination} {from} {to} {protocol} {packets} {bytes} {start} {} {action} OK",
            interface.wrapping_mul(0x9e37_79b9) as u32,
            interface.wrapping_mul(0x85eb_ca6b) as u32,
            start + 20 + self.below(40),
        )
        .expect("memory takes every byte");
        self.count += 1;
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % bound
    }
}
