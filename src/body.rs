//! The body of a request: records go in, one gzip member comes out.
//!
//! Only the compressed bytes are kept for retries. The plain bytes are found again by inflating,
//! which happens on rare paths alone: a body that is too large, a record that is refused.

use std::io::Write;

use bytes::Bytes;
use flate2::write::{GzDecoder, GzEncoder};
use flate2::{Compression, GzBuilder};
use memchr::{memchr, memchr_iter};

/// How hard the parts of a body that was cut are compressed.
/// They are few, and bytes on the wire cost more than the time it takes to save them.
const CUT_LEVEL: Compression = Compression::new(6);

/// A request body: records, a newline after each, as one gzip member.
///
/// A clone shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// One gzip member (RFC 1952), never several: some receivers drop all but the first.
    pub gzip: Bytes,
    /// Length when inflated.
    pub plain_bytes: u64,
    pub records: u64,
}

impl Body {
    /// The records, a newline after each. It holds the whole body inflated, so its size is bounded
    /// by the limit of a batch.
    ///
    /// # Panics
    ///
    /// If `gzip` is not what the type promises. Bodies are made by this process alone, so that is a
    /// fault of the program, and no answer to it could save the records.
    pub fn plain(&self) -> Vec<u8> {
        let capacity = usize::try_from(self.plain_bytes).unwrap_or_default();
        let mut inflater = GzDecoder::new(Vec::with_capacity(capacity));
        inflater
            .write_all(&self.gzip)
            .and_then(|()| inflater.finish())
            .expect("a body is one whole gzip member, made by this process")
    }

    /// The records of a body's plain bytes, without their newlines.
    pub fn records_of(plain: &[u8]) -> RecordsOf<'_> {
        RecordsOf { rest: plain }
    }

    /// The records before `ordinal`, and those from it on. None if either would be empty.
    pub fn split_at_ordinal(&self, ordinal: u64) -> Option<(Body, Body)> {
        if ordinal == 0 || ordinal >= self.records {
            return None;
        }
        let plain = self.plain();
        let nth = usize::try_from(ordinal - 1).ok()?;
        let cut = memchr_iter(b'\n', &plain).nth(nth)? + 1;
        let (before, after) = plain.split_at(cut);
        Some((
            Body::encode(before, ordinal),
            Body::encode(after, self.records - ordinal),
        ))
    }

    /// Two bodies with half of the records each. None if there is only one record, or none.
    pub fn halves(&self) -> Option<(Body, Body)> {
        self.split_at_ordinal(self.records / 2)
    }

    fn encode(plain: &[u8], records: u64) -> Body {
        let mut writer = BodyWriter::new(CUT_LEVEL);
        writer.write(plain);
        writer.records = records;
        writer.finish()
    }
}

/// See [`Body::records_of`].
#[derive(Clone, Debug)]
pub struct RecordsOf<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RecordsOf<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let record = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(record)
    }
}

/// Records, one after the other, into one [`Body`].
///
/// The body is a function of the records and the level: the same ones give the same bytes, on any
/// day and on any machine.
#[derive(Debug)]
pub struct BodyWriter {
    gzip: GzEncoder<Vec<u8>>,
    plain_bytes: u64,
    records: u64,
}

impl BodyWriter {
    pub fn new(level: Compression) -> Self {
        let gzip = GzBuilder::new().mtime(0).write(Vec::new(), level);
        Self {
            gzip,
            plain_bytes: 0,
            records: 0,
        }
    }

    /// Appends a record, which holds no newline, and a newline.
    pub fn push(&mut self, record: &[u8]) {
        debug_assert_eq!(memchr(b'\n', record), None, "a record holds no newline");
        self.write(record);
        self.write(b"\n");
        self.records += 1;
    }

    /// How long the body is so far when inflated.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Ends the member. The body holds no more memory than its bytes.
    pub fn finish(self) -> Body {
        let mut gzip = self
            .gzip
            .finish()
            .expect("a vector takes every byte it is given");
        gzip.shrink_to_fit();
        Body {
            gzip: gzip.into(),
            plain_bytes: self.plain_bytes,
            records: self.records,
        }
    }

    fn write(&mut self, plain: &[u8]) {
        self.gzip
            .write_all(plain)
            .expect("a vector takes every byte it is given");
        self.plain_bytes += plain.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(records: &[Vec<u8>]) -> Body {
        let mut writer = BodyWriter::new(Compression::new(3));
        for record in records {
            writer.push(record);
        }
        writer.finish()
    }

    fn records(body: &Body) -> Vec<Vec<u8>> {
        Body::records_of(&body.plain()).map(Vec::from).collect()
    }

    fn any_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = any::<u8>().prop_filter("a record holds no newline", |byte| *byte != b'\n');
        prop::collection::vec(prop::collection::vec(byte, 0..40), 0..40)
    }

    /// Inflates the first member only, and says how many compressed bytes it took.
    fn first_member(gzip: &[u8]) -> (Vec<u8>, usize) {
        let mut inflater = GzDecoder::new(Vec::new());
        let mut taken = 0;
        while taken < gzip.len() {
            match inflater.write(&gzip[taken..]).expect("it is gzip") {
                0 => break,
                more => taken += more,
            }
        }
        (inflater.finish().expect("the member is whole"), taken)
    }

    proptest! {
        #[test]
        fn a_body_is_exactly_one_gzip_member_of_its_records(given in any_records()) {
            let body = body(&given);
            let (plain, taken) = first_member(&body.gzip);
            prop_assert_eq!(taken, body.gzip.len());
            prop_assert_eq!(plain.len() as u64, body.plain_bytes);
            prop_assert_eq!(body.records, given.len() as u64);
            prop_assert_eq!(&plain, &body.plain());
            prop_assert_eq!(records(&body), given);
        }

        #[test]
        fn the_same_records_give_the_same_bytes(given in any_records()) {
            prop_assert_eq!(body(&given), body(&given));
        }

        #[test]
        fn a_cut_at_any_record_loses_nothing(given in any_records(), at in 0_u64..45) {
            let whole = body(&given);
            let Some((before, after)) = whole.split_at_ordinal(at) else {
                prop_assert!(at == 0 || at >= whole.records);
                return Ok(());
            };
            prop_assert_eq!(before.records, at);
            prop_assert_eq!(before.records + after.records, whole.records);
            prop_assert_eq!(before.plain_bytes + after.plain_bytes, whole.plain_bytes);
            prop_assert_eq!([before.plain(), after.plain()].concat(), whole.plain());
            prop_assert_eq!(first_member(&before.gzip).1, before.gzip.len());
            prop_assert_eq!(first_member(&after.gzip).1, after.gzip.len());
        }
    }

    #[test]
    fn one_record_cannot_be_halved() {
        assert_eq!(body(&[]).halves(), None);
        assert_eq!(body(&[b"alone".to_vec()]).halves(), None);
    }

    #[test]
    fn halves_hold_half_of_the_records_each() {
        let whole = body(&[b"a".to_vec(), b"".to_vec(), b"c".to_vec()]);
        let (before, after) = whole.halves().expect("three records can be halved");
        assert_eq!(records(&before), [b"a".to_vec()]);
        assert_eq!(records(&after), [b"".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn no_time_is_written_into_the_body() {
        let header = &body(&[b"a".to_vec()]).gzip[..10];
        assert_eq!(&header[4..8], [0; 4]);
    }
}
