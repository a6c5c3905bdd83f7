//! Records of several lines: a stack trace is one record.
//!
//! Goes in: plain bytes in pieces of any size. Comes out: text records, their lines as they stand with the
//! line ends between them. Which line begins a record a pattern says. The first line after a record that has
//! ended, or of the object, begins one whatever the pattern says. Empty lines belong to the record before
//! them, and are no part of it where it ends with them. A byte order mark is no part of the text. The same
//! bytes give the same records however they are cut into pieces.

use std::num::NonZeroU32;

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::mark::{ByteOrderMark, Found};
use super::{Form, Frame, Malformed, Record};
use crate::checkpoint::Position;
use crate::pattern::Pattern;

/// Lines that a record has at most where nobody says otherwise.
pub const LINES_MAX: NonZeroU32 = NonZeroU32::new(500).expect("not zero");

/// Which line begins a record. A pattern sees one line, without its line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// A line that matches begins a record.
    Start(Pattern),
    /// A line that matches goes on with the record before it; any other begins one.
    Continuation(Pattern),
}

impl Boundary {
    fn begins(&self, line: &[u8]) -> bool {
        match self {
            Self::Start(pattern) => pattern.regex().is_match(line),
            Self::Continuation(pattern) => !pattern.regex().is_match(line),
        }
    }
}

/// Splits plain bytes into records of several lines.
///
/// A record ends where it has `lines_max` lines, and before a line that would make it longer than
/// `record_bytes_max` bytes: that line begins another one, and nothing is lost. Only a single line of more
/// than that gives its first bytes and its full length, and its record has no other.
///
/// Holds at most `record_bytes_max` bytes of a record and of the line after it, together.
pub struct MultilineSplitter {
    boundary: Boundary,
    lines_max: NonZeroU32,
    record_bytes_max: usize,
    mark: ByteOrderMark,
    /// The start of the record at hand, as far as it came with earlier pieces.
    carry: Vec<u8>,
    /// Length of that part, which may be more than is carried.
    carry_length: u64,
    /// Whether `carry` was given out and is to be cleared.
    carry_given: bool,
    /// What came with earlier pieces of a line of which it is not known whether it begins a record.
    undecided: Vec<u8>,
    /// Whole lines of the record at hand.
    lines: u32,
    /// Their length, with their line ends.
    length: u64,
    /// Their length up to the end of the text of the last one that is not empty.
    text_length: u64,
    /// Length of what came with earlier pieces of the line after them.
    line_length: u64,
    line_ends_in_cr: bool,
    /// Where the record at hand begins.
    position: Position,
}

impl MultilineSplitter {
    pub fn new(boundary: Boundary, lines_max: NonZeroU32, record_bytes_max: usize) -> Self {
        Self {
            boundary,
            lines_max,
            record_bytes_max,
            mark: ByteOrderMark::default(),
            carry: Vec::new(),
            carry_length: 0,
            carry_given: false,
            undecided: Vec::new(),
            lines: 0,
            length: 0,
            text_length: 0,
            line_length: 0,
            line_ends_in_cr: false,
            position: Position::default(),
        }
    }

    /// Where the next record begins: after everything that was given out.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next record that is known to be complete with `plain`, which is advanced past it. `None` when
    /// `plain` is used up; what may be a part of an incomplete record is kept. Never an error.
    pub fn pop<'a, 'p: 'a>(
        &'a mut self,
        plain: &mut &'p [u8],
    ) -> Result<Option<Record<'a>>, Malformed> {
        self.clear_given();
        let found = self.mark.skip(plain);
        self.begin(found);
        let mut taken = 0;
        loop {
            let rest = &plain[taken..];
            let end = memchr(b'\n', rest);
            let is_first = self.lines == 0;
            let line_length = self.line_length + end.unwrap_or(rest.len()) as u64;
            if !is_first && self.length + line_length > self.record_bytes_max as u64 {
                return Ok(Some(self.give(plain, taken)));
            }
            let Some(end) = end else {
                self.keep_record(&plain[..taken]);
                self.keep_line(rest);
                *plain = &[];
                return Ok(None);
            };
            if !is_first && self.line_length > 0 && end > 0 {
                // The pattern wants the line in one piece.
                self.keep_line(&rest[..end]);
                *plain = &rest[end..];
                continue;
            }
            let ends_in_cr = match rest[..end].last() {
                Some(last) => *last == b'\r',
                None => self.line_ends_in_cr,
            };
            let text_length = line_length - u64::from(ends_in_cr);
            if is_first && text_length == 0 {
                self.position.offset += line_length + 1;
                self.forget_line();
                *plain = &rest[end + 1..];
                continue;
            }
            if !is_first && text_length > 0 {
                let line = match self.undecided.as_slice() {
                    [] => &rest[..end],
                    line => line,
                };
                if self
                    .boundary
                    .begins(line.strip_suffix(b"\r").unwrap_or(line))
                {
                    return Ok(Some(self.give(plain, taken)));
                }
            }
            self.take_line(line_length + 1, text_length);
            taken += end + 1;
            if self.lines == self.lines_max.get() {
                return Ok(Some(self.give(plain, taken)));
            }
        }
    }

    /// Says that the input has ended; what is left of it. That may be two records, the second one a single
    /// line without a line end that begins a record, so it is to be called until it gives none. Never an
    /// error.
    pub fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        self.clear_given();
        let found = self.mark.finish();
        self.begin(found);
        let text_length = self.line_length - u64::from(self.line_ends_in_cr);
        if self.lines == 0 && text_length == 0 {
            self.position.offset += self.line_length;
            self.forget_line();
            return Ok(None);
        }
        let line = self.undecided.as_slice();
        let begins = self.lines > 0
            && text_length > 0
            && self
                .boundary
                .begins(line.strip_suffix(b"\r").unwrap_or(line));
        if self.line_length > 0 && !begins {
            self.take_line(self.line_length, text_length);
        }
        Ok(Some(self.give(&mut [].as_slice(), 0)))
    }

    fn begin(&mut self, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Mark(length) => self.position.offset += length,
            Found::Text(bytes) => self.keep_line(bytes),
        }
    }

    /// Keeps whole lines of the record at hand.
    fn keep_record(&mut self, plain: &[u8]) {
        let room = self.record_bytes_max.saturating_sub(self.carry.len());
        self.carry
            .extend_from_slice(&plain[..plain.len().min(room)]);
        self.carry_length += plain.len() as u64;
    }

    /// Keeps a part of the line after them.
    fn keep_line(&mut self, plain: &[u8]) {
        let Some(last) = plain.last() else {
            return;
        };
        if self.lines == 0 {
            self.keep_record(plain);
        } else {
            self.undecided.extend_from_slice(plain);
        }
        self.line_length += plain.len() as u64;
        self.line_ends_in_cr = *last == b'\r';
    }

    /// Makes the line at hand, of `length` bytes with its line end, one of the record's.
    fn take_line(&mut self, length: u64, text_length: u64) {
        let mut line = std::mem::take(&mut self.undecided);
        self.keep_record(&line);
        line.clear();
        self.undecided = line;
        if text_length > 0 {
            self.text_length = self.length + text_length;
        }
        self.length += length;
        self.lines += 1;
        self.line_length = 0;
        self.line_ends_in_cr = false;
    }

    fn forget_line(&mut self) {
        self.carry.clear();
        self.carry_length = 0;
        self.line_length = 0;
        self.line_ends_in_cr = false;
    }

    /// The record at hand, which ends with the first `taken` bytes of `plain`.
    fn give<'a, 'p: 'a>(&'a mut self, plain: &mut &'p [u8], taken: usize) -> Record<'a> {
        let (record, rest) = plain.split_at(taken);
        *plain = rest;
        let start = self.position;
        let length = self.text_length;
        self.position.offset += self.length;
        self.position.record += 1;
        self.lines = 0;
        self.length = 0;
        self.text_length = 0;
        let kept = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(self.record_bytes_max);
        let bytes = if self.carry_length == 0 {
            &record[..kept]
        } else {
            self.keep_record(record);
            self.carry_given = true;
            &self.carry[..kept]
        };
        Record {
            bytes,
            position: start,
            length,
            end: self.position.offset,
            frame: Frame::Stripped,
            form: Form::Text,
        }
    }

    /// What was given out goes, and the line after it is the first of a record.
    fn clear_given(&mut self) {
        if self.carry_given {
            self.carry.clear();
            std::mem::swap(&mut self.carry, &mut self.undecided);
            self.carry_length = self.line_length;
            self.carry_given = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Container, Leaves, preset};

    const MAX: usize = 60;
    const LINES: u32 = 5;

    /// A line that begins with blanks goes on with the record, as in most stack traces, and so does `Caused by:` in
    /// those of Java.
    const INDENTED: &str = r"^(?-u:[ \t]|Caused by:)";

    type Given = (Vec<u8>, u64, Position, u64);

    fn boundaries() -> [Boundary; 3] {
        [
            Boundary::Continuation(Pattern::new(INDENTED).unwrap()),
            Boundary::Start(Pattern::new("^A").unwrap()),
            Boundary::Start(Pattern::new("z$").unwrap()),
        ]
    }

    fn splitter(boundary: &Boundary) -> MultilineSplitter {
        MultilineSplitter::new(boundary.clone(), NonZeroU32::new(LINES).unwrap(), MAX)
    }

    fn given(record: &Record<'_>) -> Given {
        assert_eq!((record.form, record.frame), (Form::Text, Frame::Stripped));
        (
            record.bytes.to_vec(),
            record.length,
            record.position,
            record.end,
        )
    }

    fn split(
        mut splitter: MultilineSplitter,
        plain: &[u8],
        steps: &[usize],
    ) -> (Vec<Given>, Position) {
        let mut records = Vec::new();
        let mut rest = plain;
        let mut steps = steps.iter().cycle();
        while !rest.is_empty() {
            let step = steps.next().map_or(1, |step| *step).clamp(1, rest.len());
            let (mut piece, later) = rest.split_at(step);
            rest = later;
            while let Some(record) = splitter.pop(&mut piece).unwrap() {
                records.push(given(&record));
            }
            assert!(piece.is_empty());
            let held = splitter.carry.len() + splitter.undecided.len();
            assert!(held <= MAX + 1, "{held}");
        }
        while let Some(record) = splitter.finish().unwrap() {
            records.push(given(&record));
        }
        (records, splitter.position())
    }

    /// The records of `plain`, by a definition that holds all of it in memory.
    fn reference(boundary: &Boundary, plain: &[u8]) -> Vec<Given> {
        let mut records: Vec<Vec<&[u8]>> = Vec::new();
        let (mut at, mut starts) = (0, Vec::new());
        let mut is_open = false;
        if plain.starts_with(b"\xef\xbb\xbf") {
            at = 3;
        }
        for line in plain[at..].split_inclusive(|byte| *byte == b'\n') {
            let raw = line.strip_suffix(b"\n").unwrap_or(line);
            let text = raw.strip_suffix(b"\r").unwrap_or(raw);
            if is_open {
                let lines = records.last().unwrap();
                let length: usize = lines.iter().map(|line| line.len()).sum();
                is_open = length + raw.len() <= MAX
                    && (text.is_empty() || !boundary.begins(text))
                    && lines.len() < LINES as usize;
            }
            if !is_open && !text.is_empty() {
                records.push(Vec::new());
                starts.push(at);
                is_open = true;
            }
            if is_open {
                records.last_mut().unwrap().push(line);
            }
            at += line.len();
        }
        records
            .iter()
            .zip(starts)
            .enumerate()
            .map(|(index, (lines, start))| {
                let raw = lines.concat();
                let mut text = raw.as_slice();
                if !text.ends_with(b"\n") {
                    text = text.strip_suffix(b"\r").unwrap_or(text);
                }
                while let Some(line) = text.strip_suffix(b"\n") {
                    text = line.strip_suffix(b"\r").unwrap_or(line);
                }
                (
                    text[..text.len().min(MAX)].to_vec(),
                    text.len() as u64,
                    Position {
                        offset: start as u64,
                        record: index as u64,
                    },
                    (start + raw.len()) as u64,
                )
            })
            .collect()
    }

    fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => Just(b"\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(b"\xef\xbb\xbf".to_vec()),
            4 => "[A-B ][a-z ]{0,8}".prop_map(String::into_bytes),
            1 => "\n(Caused by: |Az|\tat |z)".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..6),
            1 => (40_usize..90).prop_map(|count| vec![b' '; count]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn r8_any_chunking_gives_the_records_of_the_reference(
            plain in plain_strategy(),
            steps in proptest::collection::vec(1_usize..40, 1..8),
            which in 0_usize..3,
        ) {
            let boundary = &boundaries()[which];
            let (records, end) = split(splitter(boundary), &plain, &steps);
            prop_assert_eq!(&records, &reference(boundary, &plain));
            prop_assert_eq!(end.record, records.len() as u64);
            prop_assert_eq!(end.offset, plain.len() as u64);
        }
    }

    fn source(name: &str) -> Container {
        preset(name).unwrap().container(Leaves::Raw)
    }

    fn texts(container: &Container, plain: &str) -> Vec<String> {
        let mut found: Vec<Vec<String>> = [1, 3, 7, 1_000]
            .into_iter()
            .map(|step| {
                let mut splitter = container.splitter(10_000);
                let mut records = Vec::new();
                let mut collect = |record: Record<'_>| {
                    records.push(String::from_utf8(record.bytes.to_vec()).unwrap());
                };
                for mut piece in plain.as_bytes().chunks(step) {
                    while let Some(record) = splitter.pop(&mut piece).unwrap() {
                        collect(record);
                    }
                }
                while let Some(record) = splitter.finish().unwrap() {
                    collect(record);
                }
                records
            })
            .collect();
        found.dedup();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn r8_a_stack_trace_is_one_record() {
        let trace = "java.lang.IllegalStateException: a\n\tat a.b(C.java:1)\n\n\tat d\r\n  ... 2 more\n\
            Caused by: java.io.IOException: b\n\tat e";
        let indented = Container::Multiline {
            boundary: Boundary::Continuation(Pattern::new(INDENTED).unwrap()),
            lines_max: None,
        };
        assert_eq!(
            texts(&indented, &format!("before\n{trace}\n\n\nafter\n")),
            ["before", trace, "after"]
        );
    }

    #[test]
    fn r8_msk_records_begin_with_a_time_in_brackets() {
        let plain = "[2026-03-14 11:57:55,836] INFO a:\n\tb = 1\nc\n[2026-03-14 11:57:56,001] WARN d\n[e] f\n";
        assert_eq!(
            texts(&source("msk"), plain),
            [
                "[2026-03-14 11:57:55,836] INFO a:\n\tb = 1\nc",
                "[2026-03-14 11:57:56,001] WARN d\n[e] f"
            ]
        );
    }

    #[test]
    fn r8_exported_events_begin_with_a_time() {
        let plain = "2026-03-14T17:42:16.176Z a\nb\n 2026-03-14T17:42:16.176Z c\n2026-03-14T17:42:17.001Z d";
        assert_eq!(
            texts(&source("cloudwatch-export"), plain),
            [
                "2026-03-14T17:42:16.176Z a\nb\n 2026-03-14T17:42:16.176Z c",
                "2026-03-14T17:42:17.001Z d"
            ]
        );
    }

    #[test]
    fn a_record_that_reaches_a_bound_ends_and_nothing_is_lost() {
        let lines: Vec<String> = (0..23).map(|line| format!(" line {line}\n")).collect();
        let plain = lines.concat();
        for step in [1, 9, 1_000] {
            let boundary = Boundary::Continuation(Pattern::new(INDENTED).unwrap());
            let (records, _) = split(splitter(&boundary), plain.as_bytes(), &[step]);
            assert!(records.iter().all(|(bytes, length, ..)| {
                bytes.len() as u64 == *length && bytes.len() <= MAX
            }));
            let given: Vec<Vec<u8>> = records.into_iter().map(|(bytes, ..)| bytes).collect();
            let mut joined = given.join(&b'\n');
            joined.push(b'\n');
            assert_eq!(joined, plain.as_bytes());
            assert_eq!(given.len(), 5);
        }
    }

    #[test]
    fn a_single_line_over_the_limit_keeps_its_start_and_its_length() {
        let plain = format!("{}\r\n b\nc", "x".repeat(MAX + 7));
        for step in [1, 9, 1_000] {
            let boundary = Boundary::Continuation(Pattern::new(INDENTED).unwrap());
            let (records, _) = split(splitter(&boundary), plain.as_bytes(), &[step]);
            let given: Vec<_> = records
                .iter()
                .map(|(bytes, length, ..)| (bytes.as_slice(), *length))
                .collect();
            let long = vec![b'x'; MAX];
            assert_eq!(
                given,
                [(long.as_slice(), MAX as u64 + 7), (b" b", 2), (b"c", 1)]
            );
        }
    }
}
