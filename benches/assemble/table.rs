//! Tables of stages: how fast each takes plain bytes, and how many times as fast as what stands for comparison.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use super::{PIECE_BYTES, inflated, median};

/// How long other things take that are done to the same bytes.
pub struct Yardsticks {
    plain_bytes: usize,
    memcpy: Duration,
    inflate: Duration,
    serde_json: Duration,
}

impl Yardsticks {
    /// Copies `plain` piece by piece, inflates it from `object`, and parses and writes each line of `json` with
    /// serde_json.
    pub fn measure(plain: &[u8], object: &[u8], json: &[u8]) -> Self {
        let mut copied = vec![0; PIECE_BYTES];
        let memcpy = median(|| {
            for piece in plain.chunks(PIECE_BYTES) {
                copied[..piece.len()].copy_from_slice(piece);
                black_box(&mut copied);
            }
        });
        let inflate = median(|| assert_eq!(inflated(object), plain.len()));
        let mut out = Vec::new();
        let serde_json = median(|| {
            for line in json.split(|byte| *byte == b'\n') {
                if line.is_empty() {
                    continue;
                }
                let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
                out.clear();
                serde_json::to_writer(&mut out, &value).expect("memory takes every byte");
                black_box(&mut out);
            }
        });
        Self {
            plain_bytes: plain.len(),
            memcpy,
            inflate,
            serde_json,
        }
    }

    /// Prints the yardsticks themselves.
    pub fn print(&self) {
        self.row("memcpy", self.memcpy);
        self.row("inflate", self.inflate);
        let serde_json = "serde_json: parse and write every record as it leaves";
        self.row(serde_json, self.serde_json);
    }

    /// Prints how long a stage took of the same plain bytes.
    pub fn row(&self, stage: &str, time: Duration) {
        let times = |other: Duration| other.as_secs_f64() / time.as_secs_f64();
        let speed = self.plain_bytes as f64 / (1 << 20) as f64 / time.as_secs_f64();
        println!(
            "  {stage:<56} {speed:>7.0} {:>8.2} {:>8.2} {:>10.1}",
            times(self.memcpy),
            times(self.inflate),
            times(self.serde_json)
        );
    }
}

/// Prints what stands above the columns.
pub fn head(title: &str) {
    println!("\n{:<66}  times the speed of", "");
    println!(
        "{title:<58} {:>7} {:>8} {:>8} {:>10}",
        "MiB/s", "memcpy", "inflate", "serde_json"
    );
}

/// As most producers compress.
pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(plain).expect("memory takes every byte");
    gzip.finish().expect("memory takes every byte")
}
