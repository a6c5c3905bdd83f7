//! A DEFLATE encoder (RFC 1951) whose blocks end where it is told, each stored or with the fixed codes, and whose
//! back-references reach as far as the format allows, over the edges of blocks: what no real encoder
//! does all of. Shared with the fuzz target.

use std::collections::HashMap;

const REACH: usize = 32 * 1024;
const MATCH_MIN: usize = 4;
const MATCH_MAX: usize = 258;
const STORED_MAX: usize = 0xffff;

/// How one block is to be written.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Stored,
    /// The fixed codes, literals only.
    Literals,
    /// The fixed codes, with back-references as far back as there is something alike.
    Far,
    /// The same, with the nearest.
    Near,
}

/// The blocks of `parts`, one for each, as one DEFLATE stream. Stored parts may need more than one.
pub fn deflate(parts: &[(Kind, &[u8])]) -> Vec<u8> {
    let plain: Vec<u8> = parts.iter().flat_map(|(_, part)| *part).copied().collect();
    let mut out = BitsOut::default();
    let mut seen = Seen::default();
    let mut at = 0;
    for (nth, (kind, part)) in parts.iter().enumerate() {
        let is_last = nth + 1 == parts.len();
        let end = at + part.len();
        match kind {
            Kind::Stored => out.stored(part, is_last),
            _ => out.fixed(&plain, at..end, *kind, &mut seen, is_last),
        }
        at = end;
    }
    if parts.is_empty() {
        out.stored(&[], true);
    }
    out.bytes
}

/// The same as a gzip member.
pub fn member(parts: &[(Kind, &[u8])]) -> Vec<u8> {
    let plain: Vec<u8> = parts.iter().flat_map(|(_, part)| *part).copied().collect();
    wrap(&deflate(parts), &plain)
}

/// A gzip member (RFC 1952) around DEFLATE data.
pub fn wrap(deflated: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    gzip.extend_from_slice(deflated);
    gzip.extend(super::both_ways::crc32(plain).to_le_bytes());
    gzip.extend((plain.len() as u32).to_le_bytes());
    gzip
}

/// Where each run of four bytes was seen.
#[derive(Default)]
struct Seen {
    at: HashMap<[u8; MATCH_MIN], Vec<usize>>,
    noted: usize,
}

impl Seen {
    fn note_up_to(&mut self, plain: &[u8], end: usize) {
        while self.noted < end {
            if let Some(run) = plain[self.noted..].first_chunk() {
                self.at.entry(*run).or_default().push(self.noted);
            }
            self.noted += 1;
        }
    }

    /// Where to find what stands at `at`, and how much of it.
    fn find(&mut self, plain: &[u8], at: usize, end: usize, kind: Kind) -> Option<(usize, usize)> {
        self.note_up_to(plain, at);
        let places = self.at.get(plain[at..end].first_chunk()?)?;
        let within = &places[places.partition_point(|place| place + REACH < at)..];
        let from = match kind {
            Kind::Far => *within.first()?,
            Kind::Near => *within.last()?,
            Kind::Stored | Kind::Literals => return None,
        };
        let alike = plain[from..]
            .iter()
            .zip(&plain[at..end])
            .take(MATCH_MAX)
            .take_while(|(a, b)| a == b)
            .count();
        Some((at - from, alike))
    }
}

#[derive(Default)]
struct BitsOut {
    bytes: Vec<u8>,
    used: u32,
}

impl BitsOut {
    /// Least significant bit first, as all but the codes are packed.
    fn push(&mut self, value: usize, count: u32) {
        for at in 0..count {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> at & 1) as u8) << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// Most significant bit first.
    fn push_code(&mut self, code: usize, count: u32) {
        for at in (0..count).rev() {
            self.push(code >> at & 1, 1);
        }
    }

    fn stored(&mut self, plain: &[u8], is_last: bool) {
        let pieces = plain.len().div_ceil(STORED_MAX).max(1);
        for nth in 0..pieces {
            let from = nth * STORED_MAX;
            let piece = &plain[from..plain.len().min(from + STORED_MAX)];
            self.push(usize::from(is_last && nth + 1 == pieces), 1);
            self.push(0b00, 2);
            self.used = 0;
            self.push(piece.len(), 16);
            self.push(!piece.len(), 16);
            self.bytes.extend_from_slice(piece);
        }
    }

    fn fixed(
        &mut self,
        plain: &[u8],
        part: std::ops::Range<usize>,
        kind: Kind,
        seen: &mut Seen,
        is_last: bool,
    ) {
        self.push(is_last.into(), 1);
        self.push(0b01, 2);
        let mut at = part.start;
        while at < part.end {
            match seen.find(plain, at, part.end, kind) {
                Some((distance, length)) => {
                    self.length(length);
                    self.distance(distance);
                    at += length;
                }
                None => {
                    self.symbol(plain[at].into());
                    at += 1;
                }
            }
        }
        self.symbol(256);
    }

    /// RFC 1951, section 3.2.6.
    fn symbol(&mut self, symbol: usize) {
        match symbol {
            0..=143 => self.push_code(0x30 + symbol, 8),
            144..=255 => self.push_code(0x190 + symbol - 144, 9),
            256..=279 => self.push_code(symbol - 256, 7),
            _ => self.push_code(0xc0 + symbol - 280, 8),
        }
    }

    /// RFC 1951, section 3.2.5.
    fn length(&mut self, length: usize) {
        if length == MATCH_MAX {
            return self.symbol(285);
        }
        let mut base = 3;
        for code in 257..285 {
            let extra = if code < 265 {
                0
            } else {
                (code as u32 - 261) / 4
            };
            if length < base + (1 << extra) {
                self.symbol(code);
                return self.push(length - base, extra);
            }
            base += 1 << extra;
        }
    }

    fn distance(&mut self, distance: usize) {
        let mut base = 1;
        for code in 0..30_u32 {
            let extra = if code < 4 { 0 } else { code / 2 - 1 };
            if distance < base + (1 << extra) {
                self.push_code(code as usize, 5);
                return self.push(distance - base, extra);
            }
            base += 1 << extra;
        }
    }
}
