//! Objects like those that Cloudflare Logpush writes, of any size: for tests and benchmarks.

use std::io::Write as _;

/// The records, one after the other: the same ones in every run.
#[derive(Debug)]
pub struct Records {
    pub count: u64,
    state: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            count: 0,
            state: 0x2545_f491_4f6c_dd1d,
        }
    }
}

impl Records {
    /// Writes the next record into `line`, with its newline, in place of what stands there.
    pub fn next(&mut self, line: &mut String) {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        line.clear();
        let (count, state) = (self.count, self.state);
        let (a, b) = (state as u32, (state >> 32) as u32);
        std::fmt::Write::write_fmt(line, format_args!(
            "{{\"CacheCacheStatus\":\"{}\",\"ClientASN\":{},\"ClientCountry\":\"{}\",\"ClientDeviceType\":\"desktop\",\
             \"ClientIP\":\"{}.{}.{}.{}\",\"ClientRequestHost\":\"www.example.com\",\"ClientRequestMethod\":\"GET\",\
             \"ClientRequestPath\":\"/shop/item/{:x}\",\"ClientRequestProtocol\":\"HTTP/2\",\"ClientRequestUserAgent\":\
             \"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36\",\
             \"EdgeColoCode\":\"FRA\",\"EdgeEndTimestamp\":{},\"EdgePathingOp\":\"wl\",\"EdgePathingSrc\":\"macro\",\
             \"EdgePathingStatus\":\"nr\",\"EdgeResponseBytes\":{},\"EdgeResponseStatus\":{},\"EdgeStartTimestamp\":{},\
             \"JA3Hash\":\"{:016x}{:016x}\",\"OriginIP\":\"192.0.2.{}\",\"OriginResponseTime\":{},\"RayID\":\"{:016x}\",\"SecurityLevel\":\"med\",\
             \"WorkerSubrequest\":false,\"ZoneID\":23456789}}\n",
            ["hit", "miss", "dynamic"][a as usize % 3], a % 60_000, ["DE", "US", "FR", "JP"][b as usize % 4],
            a >> 24, (a >> 16) & 255, (a >> 8) & 255, a & 255, b & 0xffff, 90 + b % 30,
            1_773_478_800_000_000_000_u64 + count * 1_000 + 7, b % 100_000, [200, 301, 404][b as usize % 3],
            1_773_478_800_000_000_000_u64 + count * 1_000, state, state.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            b & 255, a % 900_000, count,
        )).expect("memory takes every byte");
        self.count += 1;
    }
}

/// An object of at least `plain_bytes`, as gzip, and how many records it has.
pub fn cloudflare_like(plain_bytes: usize) -> (Vec<u8>, u64) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(4));
    let (mut written, mut records, mut line) = (0, Records::default(), String::new());
    while written < plain_bytes {
        records.next(&mut line);
        gzip.write_all(line.as_bytes())
            .expect("memory takes every byte");
        written += line.len();
    }
    let object = gzip.finish().expect("memory takes every byte");
    (object, records.count)
}
