//! A look at an object beside the pipeline: what it is told to be, its first records as they leave, and the last one.
//!
//! Goes in: the object's bytes in order, in pieces of any size. Comes out: [`Seen`]. It tells, splits and shapes by
//! the same plan and with the same code as the [`Assembler`](crate::assemble::Assembler), makes no batches, and
//! decides nothing.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::assemble::{Opened, Opening};
use crate::clock::Timestamp;
use crate::decode::{DecodeError, Decoder};
use crate::expansion::ExpansionMax;
use crate::format::Splitter;
use crate::plan::{Plan, Reading};
use crate::shape::spec::TimeFormat;
use crate::shape::{Scratch, Shape, Shaped, time};

/// Plain bytes that are decoded at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// No block is given whole here.
const BLOCK_BYTES_MAX: usize = 1;

/// Which records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// So many of the first that are sent; then the look is over.
    First(usize),
    /// The first and the last one that is sent.
    FirstAndLast,
}

/// Looks at one object.
///
/// Memory: a decoder, [`PIECE_BYTES`], what it is told by ([`Opening`]), the records that are wanted, and one more in
/// a few copies.
pub struct Look {
    wanted: Wanted,
    record_bytes_max: usize,
    /// Until it is known what the object is.
    opening: Option<Opening>,
    decoder: Decoder,
    plain: Vec<u8>,
    reader: Option<Reader>,
    seen: Seen,
}

struct Reader {
    splitter: Splitter,
    shape: Shape,
    scratch: Scratch,
}

/// What was seen of an object.
#[derive(Debug, Default)]
pub struct Seen {
    /// As what it is read, if that was told.
    pub reading: Option<Reading>,
    /// How it is compressed, the outermost layer first.
    pub layers: Vec<&'static str>,
    /// The first records that are sent, as they leave.
    pub first: Vec<Vec<u8>>,
    /// The last one, if it was wanted and is not the first.
    pub last: Option<Vec<u8>>,
    pub sent: u64,
    /// Records that are left out.
    pub filtered: u64,
    /// Records that are too long to be sent.
    pub too_long: u64,
}

impl Look {
    pub fn new(
        plan: Plan,
        record_bytes_max: usize,
        expansion_max: ExpansionMax,
        wanted: Wanted,
    ) -> Self {
        let mut look = Self {
            wanted,
            record_bytes_max,
            opening: None,
            decoder: Decoder::new(BLOCK_BYTES_MAX).bounded(expansion_max),
            plain: Vec::with_capacity(PIECE_BYTES),
            reader: None,
            seen: Seen::default(),
        };
        match plan.known() {
            Some(reading) => look.begin(reading),
            None => look.opening = Some(Opening::new(plan)),
        }
        look
    }

    /// Takes the next bytes of the object, all of them. After an error nothing more is seen.
    pub fn push(&mut self, input: &[u8]) -> Result<(), DecodeError> {
        let mut begun = 0;
        if let Some(opening) = &mut self.opening {
            let Opened {
                taken,
                reading,
                damage,
            } = opening.push(&mut self.decoder, &mut self.plain, input);
            let Some(reading) = reading else {
                return damage.map_or(Ok(()), Err);
            };
            self.begin(reading);
            self.split()?;
            damage.map_or(Ok(()), Err)?;
            begun = taken;
        }
        self.decode(&input[begun..])
    }

    /// Whether all is seen that is wanted.
    pub fn is_done(&self) -> bool {
        self.wanted.is_met_by(&self.seen)
    }

    /// What was seen so far, of an object that has not come to its end.
    pub fn stop(mut self) -> Seen {
        self.seen.layers = self.decoder.layers().collect();
        self.seen
    }

    /// Says that the object has ended. What is wrong with it stands beside what was seen.
    pub fn finish(mut self) -> (Seen, Result<(), DecodeError>) {
        let ended = self.end();
        (self.stop(), ended)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let plain = &self.plain;
        let told = self
            .opening
            .as_ref()
            .and_then(|opening| opening.tell(plain));
        if let Some(reading) = told {
            self.begin(reading);
        }
        let end = self.decoder.finish(&mut self.plain);
        self.split()?;
        end?;
        if let Some(reader) = &mut self.reader {
            let Reader {
                splitter,
                shape,
                scratch,
            } = reader;
            while !self.wanted.is_met_by(&self.seen)
                && let Some(record) = splitter.finish()?
            {
                self.seen
                    .note(&shape.shape(&record, false, scratch), self.wanted);
            }
        }
        Ok(())
    }

    fn begin(&mut self, reading: Reading) {
        self.reader = Some(Reader {
            splitter: reading.container.splitter(self.record_bytes_max),
            shape: reading.shape.clone(),
            scratch: Scratch::default(),
        });
        self.seen.reading = Some(reading);
        self.opening = None;
    }

    fn decode(&mut self, input: &[u8]) -> Result<(), DecodeError> {
        let mut taken = 0;
        while !self.is_done() {
            let step = self.decoder.push(&input[taken..], &mut self.plain);
            let is_empty = self.plain.is_empty();
            // Also what came out before the damage.
            self.split()?;
            let step = step?;
            taken += step.taken;
            if step.taken == 0 && is_empty && !step.is_block_end {
                break;
            }
        }
        Ok(())
    }

    fn split(&mut self) -> Result<(), DecodeError> {
        let mut rest = self.plain.as_slice();
        if let Some(reader) = &mut self.reader {
            let Reader {
                splitter,
                shape,
                scratch,
            } = reader;
            while !self.wanted.is_met_by(&self.seen)
                && let Some(record) = splitter.pop(&mut rest)?
            {
                self.seen
                    .note(&shape.shape(&record, false, scratch), self.wanted);
            }
        }
        self.plain.clear();
        Ok(())
    }
}

impl Wanted {
    fn is_met_by(self, seen: &Seen) -> bool {
        match self {
            Self::First(count) => seen.first.len() >= count,
            Self::FirstAndLast => false,
        }
    }
}

impl Seen {
    fn note(&mut self, shaped: &Shaped<'_>, wanted: Wanted) {
        let record = match shaped {
            Shaped::Unchanged(record) | Shaped::Edited(record) | Shaped::Cut(record) => *record,
            Shaped::TooLong => {
                self.too_long += 1;
                return;
            }
            Shaped::Filtered => {
                self.filtered += 1;
                return;
            }
        };
        self.sent += 1;
        match wanted {
            Wanted::FirstAndLast if !self.first.is_empty() => {
                let last = self.last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(record);
            }
            Wanted::First(_) | Wanted::FirstAndLast => self.first.push(record.to_vec()),
        }
    }

    /// The times of the first and of the last record that are sent, where they have one.
    pub fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let first = self.first.first();
        let last = self.last.as_ref().or(self.first.last());
        let time = |record: Option<&Vec<u8>>| record.and_then(|record| time_of(record));
        (time(first), time(last))
    }
}

/// The time that a record says.
fn time_of(record: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Timed<'a> {
        #[serde(borrow, rename = "@timestamp")]
        time: &'a RawValue,
    }
    let timed: Timed<'_> = serde_json::from_slice(record).ok()?;
    let text = timed.time.get().trim_matches('"');
    time::parse(text.as_bytes(), TimeFormat::Auto)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::assemble::{Assembler, Limits};
    use crate::body::Body;
    use crate::checkpoint::Checkpoint;
    use crate::config::EndpointKind;
    use crate::object::{ContentId, Etag};
    use crate::plan::{PlanDefaults, Planned};
    use crate::rules::Rules;
    use crate::sink::endpoint::shape_for;

    const EXPANSION_MAX: ExpansionMax = ExpansionMax {
        plain_bytes: 1 << 30,
        ratio: 1_000,
    };

    fn plan(rules: &str, key: &str) -> Plan {
        let rules = Rules::parse(rules).unwrap_or_else(|errors| panic!("{errors}"));
        let defaults = PlanDefaults {
            shape: shape_for(EndpointKind::Logzio),
            ..PlanDefaults::default()
        };
        let content = ContentId {
            bucket: "b".to_owned(),
            key: key.to_owned(),
            etag: Etag::from("e"),
            size: 1,
        };
        match defaults.plan(&rules, &content) {
            Planned::Carry { plan, .. } => *plan,
            Planned::Skip { rule } => panic!("skipped by {rule:?}"),
        }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).expect("memory");
        encoder.finish().expect("memory")
    }

    /// What the pipeline sends of an object.
    fn assembled(plan: Plan, object: &[u8]) -> (Option<Arc<str>>, Vec<Vec<u8>>) {
        let limits = Limits {
            batch_bytes_max: 1 << 20,
            record_bytes_max: 1 << 16,
            level: 1,
            pass_through: true,
        };
        let mut assembler = Assembler::new(limits, plan, &Checkpoint::default());
        let (mut read_as, mut sent) = (None, Vec::new());
        let mut pop = |assembler: &mut Assembler| {
            while let Some(batch) = assembler.pop() {
                let plain = batch.body.plain();
                sent.extend(Body::records_of(&plain).map(<[u8]>::to_vec));
                read_as = batch.read_as;
            }
        };
        let mut taken = 0;
        while taken < object.len() {
            match assembler.push(&object[taken..]) {
                Ok(more) => taken += more,
                Err(_) => break,
            }
            pop(&mut assembler);
        }
        // What is damaged has its good records all the same.
        let _ = assembler.finish();
        pop(&mut assembler);
        (read_as, sent)
    }

    fn looked(plan: Plan, object: &[u8], cuts: &[usize], wanted: Wanted) -> Seen {
        let mut look = Look::new(plan, 1 << 16, EXPANSION_MAX, wanted);
        let (mut rest, mut failed) = (object, false);
        for cut in cuts {
            let (piece, after) = rest.split_at(*cut.min(&rest.len()));
            rest = after;
            failed = failed || look.push(piece).is_err();
        }
        failed = failed || look.push(rest).is_err();
        match failed {
            true => look.stop(),
            false => look.finish().0,
        }
    }

    const ALB: &str = "http 2022-12-06T17:42:16.176563Z app/lb/1 192.0.2.1:40860 - -1 -1 -1 301 - 204 333 \
        \"GET http://192.0.2.9:80/ HTTP/1.1\" \"agent\" - - - \"Root=1\" \"-\" \"-\" 0 \
        2022-12-06T17:42:16.176000Z \"redirect\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\"\n";

    fn objects() -> Vec<(&'static str, Vec<u8>)> {
        let trail = r#"{"Records":[{"eventSource":"a","eventTime":"2023-05-19T07:44:30Z"},{"eventSource":"b"}]}"#;
        vec![
            ("plain", b"one\ntwo\nthree".to_vec()),
            ("ndjson", b"{\"a\":1}\n{\"a\":2}\n".repeat(9_000)),
            ("trail", trail.as_bytes().to_vec()),
            ("alb", ALB.repeat(40).into_bytes()),
            (
                "csv/x",
                b"id;placed\n1;2024-01-02T03:04:05Z\n2;\"a\nb\"\n".to_vec(),
            ),
            ("", Vec::new()),
        ]
    }

    const RULES: &str = "
version: 1
defaults: {timestamp: true, source: [index]}
rules:
  - name: csv
    match: {prefix: csv/}
    format: {container: delimited, delimiter: ';'}
    timestamp: {field: placed}
  - name: filtered
    match: {glob: ndjson}
    include: [{pattern: '2'}]
";

    proptest! {
        #[test]
        fn it_sees_what_the_pipeline_sends_whatever_the_pieces(
            which in 0..6_usize,
            is_gzip: bool,
            damage in proptest::option::of(1..60_usize),
            cuts in proptest::collection::vec(0..3_000_usize, 0..6),
        ) {
            let (key, plain) = objects().swap_remove(which);
            let mut object = if is_gzip { gzip(&plain) } else { plain };
            let end = object.len().saturating_sub(damage.unwrap_or(0));
            object.truncate(end);
            let plan = plan(RULES, key);
            let (read_as, sent) = assembled(plan.clone(), &object);
            let seen = looked(plan.clone(), &object, &cuts, Wanted::FirstAndLast);
            prop_assert_eq!(seen.sent, sent.len() as u64);
            prop_assert_eq!(seen.first.first(), sent.first());
            prop_assert_eq!(seen.last.as_ref(), sent.last().filter(|_| sent.len() > 1));
            if !sent.is_empty() {
                prop_assert_eq!(seen.reading.map(|reading| reading.read_as), read_as);
            }
            let seen = looked(plan, &object, &cuts, Wanted::First(3));
            prop_assert_eq!(&seen.first[..], &sent[..sent.len().min(3)]);
        }
    }

    #[test]
    fn the_times_are_those_of_the_first_and_the_last_record_that_are_sent() {
        let rules = "
version: 1
rules:
  - {name: all, match: {glob: '**'}, timestamp: true, exclude: [{pattern: left-out}]}
";
        let lines = [
            r#"{"EdgeStartTimestamp":1700000000,"x":"left-out"}"#,
            r#"{"EdgeStartTimestamp":"2024-01-02T03:04:05Z"}"#,
            r#"{"EdgeStartTimestamp":"2024-01-02T03:04:06Z"}"#,
            r#"{"EdgeStartTimestamp":1704164647123456789}"#,
        ];
        let object = gzip(lines.join("\n").as_bytes());
        let seen = looked(plan(rules, "k"), &object, &[], Wanted::FirstAndLast);
        let (first, last) = seen.times();
        let shown = |time: Option<Timestamp>| time.map(|time| time.to_string());
        assert_eq!(shown(first).as_deref(), Some("2024-01-02T03:04:05.000Z"));
        assert_eq!(shown(last).as_deref(), Some("2024-01-02T03:04:07.123Z"));
        assert_eq!((seen.sent, seen.filtered), (3, 1));
        assert_eq!(seen.layers, ["gzip"]);
    }
}
