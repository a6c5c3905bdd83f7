//! The objects of a world, and what is true of each of their records.

use std::io::Write as _;

use bucket_brigade::object::ContentId;

use crate::random::Random;

/// What the endpoint makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Good,
    /// Begins and ends as a JSON object does, and is none.
    Malformed,
    /// Refused for a reason that only the endpoint knows.
    Strange,
    /// Goes out as something else: wrapped, cut or re-encoded.
    Changed,
}

#[derive(Clone, Debug)]
pub struct Written {
    pub nature: Nature,
    /// As it stands in the object, without its line end.
    pub bytes: Vec<u8>,
}

/// Whether an object can be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Whole,
    /// Records before this index may be delivered; the object is to be quarantined.
    Damaged,
    Denied,
    Archived,
}

/// One content of a key.
#[derive(Clone, Debug)]
pub struct Content {
    pub id: ContentId,
    pub records: Vec<Written>,
    pub health: Health,
    /// Whether it still stands at its key.
    pub stands: bool,
}

/// A content before it is put.
pub struct Draft {
    pub bytes: Vec<u8>,
    pub records: Vec<Written>,
    pub health: Health,
}

/// What objects look like in one world.
#[derive(Clone, Debug)]
pub struct Taste {
    pub records_max: u64,
    pub pad_max: u64,
    pub record_bytes_max: usize,
    /// Whether some records are no ordinary ones.
    pub odd: bool,
}

/// The identity of a record, in its bytes whatever becomes of them.
pub fn marker(content: usize, record: usize) -> String {
    format!("~{content}.{record}~")
}

/// Reads the identity of a record that was sent.
pub fn identity(line: &[u8]) -> Option<(usize, usize)> {
    let start = memchr::memchr(b'~', line)? + 1;
    let length = memchr::memchr(b'~', &line[start..])?;
    let text = std::str::from_utf8(&line[start..start + length]).ok()?;
    let (content, record) = text.split_once('.')?;
    Some((content.parse().ok()?, record.parse().ok()?))
}

/// Writes content number `content`.
pub fn draft(content: usize, taste: &Taste, health: Health, random: &mut Random) -> Draft {
    let count = match random.between(0, 10) {
        0..=4 => random.between(1, 6),
        5..=7 => random.between(5, 40.min(taste.records_max)),
        _ => random.between(20, taste.records_max.max(21)),
    } as usize;
    let mut records = Vec::with_capacity(count);
    let mut plain = Vec::new();
    if random.chance(0.05) {
        plain.extend_from_slice(b"\xef\xbb\xbf");
    }
    let is_crlf = random.chance(0.1);
    for index in 0..count {
        let written = record(&marker(content, index), taste, random);
        plain.extend_from_slice(&written.bytes);
        let is_last = index + 1 == count;
        if !is_last || random.chance(0.6) {
            plain.extend_from_slice(if is_crlf { b"\r\n" } else { b"\n" });
        }
        if taste.odd && !is_last && random.chance(0.02) {
            plain.extend_from_slice(b"\n");
        }
        records.push(written);
    }
    let mut bytes = store_as(&plain, random);
    let mut health = health;
    if health == Health::Damaged {
        bytes = gzip(&plain, 6);
        if random.chance(0.5) && bytes.len() > 30 {
            let left = random.between(20, bytes.len() as u64 - 1) as usize;
            bytes.truncate(left);
        } else {
            // The CRC.
            let at = bytes.len() - 6;
            bytes[at] ^= 0x55;
        }
    }
    if bytes.is_empty() {
        health = Health::Whole;
    }
    Draft {
        bytes,
        records,
        health,
    }
}

fn record(marker: &str, taste: &Taste, random: &mut Random) -> Written {
    let pad = random.log_between(1, taste.pad_max.max(2)) as usize;
    let pad: String = (0..pad)
        .map(|_| char::from(b'a' + (random.bits() % 16) as u8))
        .collect();
    let odd = taste.odd && random.chance(0.06);
    if !odd {
        let bytes = format!("{{\"id\":\"{marker}\",\"pad\":\"{pad}\"}}").into_bytes();
        let nature = match bytes.len() > taste.record_bytes_max {
            true => Nature::Changed,
            false => Nature::Good,
        };
        return Written { nature, bytes };
    }
    let (nature, bytes) = match random.between(0, 5) {
        0 => (
            Nature::Malformed,
            format!("{{\"id\":\"{marker}\",,}}").into_bytes(),
        ),
        1 => (
            Nature::Strange,
            format!("{{\"id\":\"{marker}\",\"strange\":1}}").into_bytes(),
        ),
        2 => (
            Nature::Changed,
            format!("a line of text {marker} {pad}").into_bytes(),
        ),
        3 => (
            Nature::Changed,
            [format!("{marker} not ").as_bytes(), b"\xff\xfe utf8"].concat(),
        ),
        _ => {
            let long = "x".repeat(taste.record_bytes_max * 2);
            (
                Nature::Changed,
                format!("{{\"id\":\"{marker}\",\"long\":\"{long}\"}}").into_bytes(),
            )
        }
    };
    Written { nature, bytes }
}

/// As an encoder may have written it: plain, or gzip of any level and any members.
fn store_as(plain: &[u8], random: &mut Random) -> Vec<u8> {
    if random.chance(0.2) {
        return plain.to_vec();
    }
    let level = random.pick(&[0, 1, 6, 9]);
    let members = random.pick(&[1, 1, 1, 2, 5]);
    let size = plain.len().div_ceil(members).max(1);
    let mut bytes: Vec<u8> = plain
        .chunks(size)
        .flat_map(|part| gzip(part, level))
        .collect();
    if random.chance(0.05) {
        bytes.extend_from_slice(&gzip(b"", 6));
    }
    bytes
}

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let level = flate2::Compression::new(level);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(plain).expect("memory takes every byte");
    gzip.finish().expect("memory takes every byte")
}
