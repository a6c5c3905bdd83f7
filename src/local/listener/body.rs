//! What a receiver makes of the bytes of one request: plain text, then lines, each good or not.
//!
//! Pure. It reads as the strictest receiver known reads, so that whatever passes here passes there.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

/// Why a body has no lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Receivers built on Netty read the first member and drop the rest without a word, so a body
    /// with two of them is a loss that nobody would notice.
    #[error("something follows the first gzip member")]
    SecondMember,
    #[error("the gzip data is corrupt or ends early")]
    Corrupt,
    #[error("the body is too large")]
    TooLarge,
    #[error("the content encoding is unknown")]
    UnknownEncoding,
}

/// The plain bytes of a body: itself, or the one gzip member it consists of.
pub fn decoded(
    body: &Bytes,
    encoding: Option<&str>,
    plain_bytes_max: usize,
) -> Result<Bytes, Undecodable> {
    let plain = match encoding {
        None | Some("identity") => body.clone(),
        Some("gzip") => inflated(body, plain_bytes_max)?,
        Some(_) => return Err(Undecodable::UnknownEncoding),
    };
    if plain.len() > plain_bytes_max {
        return Err(Undecodable::TooLarge);
    }
    Ok(plain)
}

fn inflated(body: &[u8], plain_bytes_max: usize) -> Result<Bytes, Undecodable> {
    // A decoder of one member over a slice: what is left of the slice is what it did not read.
    let mut decoder = GzDecoder::new(body);
    let mut plain = Vec::new();
    (&mut decoder)
        .take(plain_bytes_max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|_| Undecodable::Corrupt)?;
    if plain.len() > plain_bytes_max {
        return Err(Undecodable::TooLarge);
    }
    if !decoder.into_inner().is_empty() {
        return Err(Undecodable::SecondMember);
    }
    Ok(plain.into())
}

/// The lines of a body, the good ones one by one, the others counted by what is wrong with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged<'a> {
    pub good: Vec<&'a [u8]>,
    pub malformed: u64,
    pub oversized: u64,
    pub empty: u64,
}

/// How closely a line is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scrutiny {
    /// Each is parsed: it must be one JSON object.
    #[default]
    Parse,
    /// Only its first and last byte: for runs of gigabytes.
    Brackets,
}

/// Cuts `plain` into lines and judges each. A line end at the very end begins no further line.
pub fn judged(plain: &[u8], line_bytes_max: usize, scrutiny: Scrutiny) -> Judged<'_> {
    let mut judged = Judged::default();
    for line in lines(plain) {
        if line.is_empty() {
            judged.empty += 1;
        } else if line.len() > line_bytes_max {
            judged.oversized += 1;
        } else if !is_object(line, scrutiny) {
            judged.malformed += 1;
        } else {
            judged.good.push(line);
        }
    }
    judged
}

/// The lines of `plain`, whatever is in them.
pub fn lines(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = plain;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, behind) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = behind;
        Some(line)
    })
}

fn is_object(line: &[u8], scrutiny: Scrutiny) -> bool {
    let brackets = line.first() == Some(&b'{') && line.last() == Some(&b'}');
    brackets
        && match scrutiny {
            Scrutiny::Brackets => true,
            Scrutiny::Parse => serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok(),
        }
}

/// What tells one record from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// All of its bytes.
    #[default]
    Line,
    /// The value of the first JSON member with this name, at any depth; all of its bytes if it has none.
    Field(String),
}

/// An identity in sixteen bytes, so that millions can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId([u8; 16]);

impl RecordId {
    /// Of a line, or of the raw text of a field: of a string what stands between its quotes.
    pub fn of(identity: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(identity).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

impl Identity {
    /// The identity of this line.
    pub fn of(&self, line: &[u8]) -> RecordId {
        match self {
            Self::Line => RecordId::of(line),
            Self::Field(name) => RecordId::of(field(line, name).unwrap_or(line)),
        }
    }
}

/// The raw value of `"name":`, found by a scan and not by parsing.
fn field<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let quoted = format!("\"{name}\"");
    let mut rest = line;
    loop {
        let at = memchr::memmem::find(rest, quoted.as_bytes())?;
        rest = &rest[at + quoted.len()..];
        // The name may stand elsewhere as a value: then no colon follows.
        if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
            return raw_value(value.trim_ascii_start());
        }
    }
}

fn raw_value(text: &[u8]) -> Option<&[u8]> {
    let Some(string) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|b| b",}] \t".contains(b))?;
        return text.get(..end);
    };
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', string.get(from..)?)?;
        if string[at] == b'"' {
            return string.get(..at);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn one_gzip_member_is_read_and_anything_behind_it_is_a_loud_failure() {
        let member = gzip(b"{}\n");
        let decode = |body: Vec<u8>| decoded(&body.into(), Some("gzip"), 100);
        assert_eq!(decode(member.clone()).unwrap(), "{}\n");
        let two = [member.clone(), member.clone()].concat();
        assert_eq!(decode(two), Err(Undecodable::SecondMember));
        let padded = [member.clone(), vec![0]].concat();
        assert_eq!(decode(padded), Err(Undecodable::SecondMember));
        for end in 0..member.len() {
            assert_eq!(
                decode(member[..end].to_vec()),
                Err(Undecodable::Corrupt),
                "{end}"
            );
        }
    }

    #[test]
    fn the_size_that_counts_is_the_plain_one() {
        let decode = |size: usize| decoded(&gzip(&vec![b' '; size]).into(), Some("gzip"), 100);
        assert_eq!(decode(100).unwrap().len(), 100);
        assert_eq!(decode(101), Err(Undecodable::TooLarge));
    }

    #[test]
    fn each_line_is_judged_by_itself() {
        let plain = b"{\"a\":1}\n\n[1]\n{\"a\":}\n{\"long\":\"xxxxxxxxxxxx\"}\n{}";
        assert_eq!(
            judged(plain, 20, Scrutiny::Parse),
            Judged {
                good: vec![b"{\"a\":1}", b"{}"],
                malformed: 2,
                oversized: 1,
                empty: 1,
            }
        );
        assert_eq!(judged(b"{}\n", 20, Scrutiny::Parse).empty, 0);
    }

    #[test]
    fn a_record_is_told_by_its_field() {
        let identity = Identity::Field("RayID".to_owned());
        for (line, value) in [
            (r#"{"RayID":"8d1f","x":1}"#, "8d1f"),
            (r#"{"x":"RayID", "RayID" : "a\"b"}"#, r#"a\"b"#),
            (r#"{"RayID":17}"#, "17"),
            (r#"{"x":1}"#, r#"{"x":1}"#),
        ] {
            assert_eq!(
                identity.of(line.as_bytes()),
                RecordId::of(value.as_bytes()),
                "{line}"
            );
        }
    }
}
