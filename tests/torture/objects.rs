//! The objects of a round: small ones that share requests, and ones of many batches; gzip of one and of two
//! members, and plain; some with a line that the endpoint refuses.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::dice::Dice;

/// The largest batch that the processes are told to make.
pub const BATCH_BYTES_MAX: usize = 32_768;
/// So that objects of some hundred KB are gone on with within a gzip member, as large ones are.
pub const RESTORE_INTERVAL_BYTES: usize = 100_000;

#[derive(Clone, Debug)]
pub struct Object {
    pub number: u32,
    pub key: String,
    pub bytes: Bytes,
    /// Lines, the refused one included.
    pub records: u32,
    /// The one that the endpoint refuses.
    pub malformed: Option<u32>,
    /// Its longest possible batch, in records.
    pub batch_records_max: u64,
}

impl Object {
    pub fn make(number: u32, dice: &mut Dice) -> Self {
        let records = match dice.between(1, 100) {
            0..=60 => dice.between(5, 80),
            61..=95 => dice.between(800, 2_500),
            _ => dice.between(5_000, 8_000),
        } as u32;
        let malformed = dice
            .happens(10)
            .then(|| dice.between(0, u64::from(records) - 1) as u32);
        let mut plain = Vec::new();
        let mut shortest = usize::MAX;
        for index in 0..records {
            let line = line(number, index, malformed == Some(index), dice);
            shortest = shortest.min(line.len() + 1);
            plain.extend_from_slice(line.as_bytes());
            plain.push(b'\n');
        }
        let (ending, bytes) = match dice.between(1, 10) {
            0..=3 => ("log", plain),
            4..=7 => ("log.gz", gzip(&plain)),
            _ => {
                let (first, second) = plain.split_at(plain.len() / 3);
                ("log.gz", [gzip(first), gzip(second)].concat())
            }
        };
        Self {
            number,
            key: format!("logs/{number:05}.{ending}"),
            bytes: bytes.into(),
            records,
            malformed,
            batch_records_max: (BATCH_BYTES_MAX / shortest) as u64 + 1,
        }
    }

    pub fn number_of(key: &str) -> Option<u32> {
        key.strip_prefix("logs/")?.get(..5)?.parse().ok()
    }

    /// The records that the endpoint takes.
    pub fn good(&self) -> impl Iterator<Item = u32> {
        (0..self.records).filter(|index| self.malformed != Some(*index))
    }
}

fn line(number: u32, index: u32, is_malformed: bool, dice: &mut Dice) -> String {
    let path: String = (0..dice.between(1, 4))
        .map(|_| format!("/{:x}", dice.next() % 4_096))
        .collect();
    let status = [200, 200, 200, 304, 404, 500][(dice.next() % 6) as usize];
    let end = if is_malformed { ",}" } else { "}" };
    format!(
        "{{\"id\":\"{number:05}-{index:06}\",\"host\":\"example.com\",\"method\":\"GET\",\"path\":\"{path}\",\
         \"status\":{status},\"bytes\":{},\"agent\":\"probe/1.0\"{end}",
        dice.next() % 1_000_000
    )
}

/// Object and index of a line of [`Object::make`].
pub fn identity(line: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(line.get(7..19)?).ok()?;
    let (number, index) = text.split_once('-')?;
    Some((number.parse().ok()?, index.parse().ok()?))
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(plain).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}
