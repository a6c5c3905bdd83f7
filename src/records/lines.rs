//! Lines.
//!
//! Goes in: plain bytes in pieces of any size. Comes out: one record a line. A line ends with LF or
//! CRLF, the last one also with the end of the input; empty lines are no records; every other byte,
//! whatever it is, belongs to its line. The same bytes give the same records however they are cut
//! into pieces.

use serde::{Deserialize, Serialize};

use super::{Form, Frame, Record};
use crate::checkpoint::Position;

/// A byte order mark at the start of an object is not part of its first record.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands before the records of an object, or between them, a line each, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heading {
    /// The first line that is not empty.
    FirstLine,
    /// Lines that begin with `#`, wherever they stand.
    Directives,
}

/// Splits plain bytes into lines. Holds at most `record_bytes_max` bytes.
pub struct LineSplitter {
    record_bytes_max: usize,
    heading: Option<Heading>,
    /// The start of a line whose end has not come yet.
    carry: Vec<u8>,
    /// Length of that line so far, which may be more than is carried.
    carry_length: u64,
    /// Whether the last byte of that line so far is a CR.
    carry_ends_in_cr: bool,
    /// Where the carried line began, once it has ended.
    carry_start: Position,
    carry_frame: Frame,
    /// Whether `carry` was given out and is to be cleared.
    carry_given: bool,
    /// Where the next line begins.
    position: Position,
}

impl LineSplitter {
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            record_bytes_max,
            heading: None,
            carry: Vec::new(),
            carry_length: 0,
            carry_ends_in_cr: false,
            carry_start: Position::default(),
            carry_frame: Frame::LineFeed,
            carry_given: false,
            position: Position::default(),
        }
    }

    /// The same, but lines of that kind are no records.
    #[must_use]
    pub fn without(self, heading: Heading) -> Self {
        Self {
            heading: Some(heading),
            ..self
        }
    }

    /// Begins with the record at `position`, at the start of a line.
    pub fn move_to(&mut self, position: Position) {
        self.position = position;
        if self.heading == Some(Heading::FirstLine) && position.offset > 0 {
            self.heading = None;
        }
    }

    /// Whether a line that is not empty is none of the records.
    fn is_heading(&mut self, line: &[u8]) -> bool {
        match self.heading {
            None => false,
            Some(Heading::FirstLine) => {
                self.heading = None;
                true
            }
            Some(Heading::Directives) => line.starts_with(b"#"),
        }
    }

    /// Where the next record begins: after everything that was given out.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The start of the line whose end has not come yet, and how long it is so far.
    pub fn incomplete(&self) -> (&[u8], u64) {
        if self.carry_given {
            return (&[], 0);
        }
        (&self.carry, self.carry_length)
    }

    /// The next record that is complete with `plain`, which is advanced past it. `None` when
    /// `plain` is used up; the start of an incomplete line is kept.
    pub fn pop<'a, 'p: 'a>(&'a mut self, plain: &mut &'p [u8]) -> Option<Record<'a>> {
        self.clear_given();
        loop {
            let Some(end) = memchr::memchr(b'\n', plain) else {
                self.keep(plain);
                *plain = &[];
                return None;
            };
            let line = &plain[..end];
            *plain = &plain[end + 1..];
            if self.carry_length == 0 {
                let start = self.position;
                self.position.offset += end as u64 + 1;
                let stripped = strip_line(line, start);
                if stripped.is_empty() || self.is_heading(stripped) {
                    continue;
                }
                self.position.record += 1;
                return Some(Record {
                    bytes: &stripped[..stripped.len().min(self.record_bytes_max)],
                    position: start,
                    length: stripped.len() as u64,
                    end: self.position.offset,
                    frame: if stripped.len() == line.len() {
                        Frame::LineFeed
                    } else {
                        Frame::Stripped
                    },
                    form: Form::Line,
                });
            }
            self.keep(line);
            if self.end_carry(1) {
                return Some(self.carried());
            }
            self.clear_given();
        }
    }

    /// Says that the input has ended; the last record, if its line had no end.
    pub fn finish(&mut self) -> Option<Record<'_>> {
        self.clear_given();
        if self.carry_length > 0 && self.end_carry(0) {
            return Some(self.carried());
        }
        None
    }

    fn keep(&mut self, plain: &[u8]) {
        let Some(last) = plain.last() else {
            return;
        };
        let room = self.room() - self.carry.len();
        self.carry
            .extend_from_slice(&plain[..plain.len().min(room)]);
        self.carry_length += plain.len() as u64;
        self.carry_ends_in_cr = *last == b'\r';
    }

    /// What may be carried: a record, its CR, and a byte order mark before it.
    fn room(&self) -> usize {
        self.record_bytes_max + 1 + BYTE_ORDER_MARK.len()
    }

    /// Ends the carried line, whose line feed took `line_feed` bytes. False if it is empty.
    fn end_carry(&mut self, line_feed: u64) -> bool {
        self.carry_given = true;
        let start = self.position;
        self.position.offset += self.carry_length + line_feed;
        let length = self.carry_length;
        // What of the line was not carried cannot be its byte order mark, but can be its CR.
        if self.carry_ends_in_cr {
            if self.carry.len() as u64 == self.carry_length {
                self.carry.pop();
            }
            self.carry_length -= 1;
        }
        if start.offset == 0 && self.carry.starts_with(BYTE_ORDER_MARK) {
            self.carry.drain(..BYTE_ORDER_MARK.len());
            self.carry_length -= BYTE_ORDER_MARK.len() as u64;
        }
        self.carry.truncate(self.record_bytes_max);
        let is_heading = self.carry_length > 0 && {
            let line = std::mem::take(&mut self.carry);
            let is_heading = self.is_heading(&line);
            self.carry = line;
            is_heading
        };
        if is_heading {
            self.carry_length = 0;
        }
        if self.carry_length > 0 {
            self.position.record += 1;
        }
        self.carry_start = start;
        self.carry_frame = match line_feed {
            _ if self.carry_length < length => Frame::Stripped,
            0 => Frame::ObjectEnd,
            _ => Frame::LineFeed,
        };
        self.carry_length > 0
    }

    fn carried(&self) -> Record<'_> {
        Record {
            bytes: &self.carry,
            position: self.carry_start,
            length: self.carry_length,
            end: self.position.offset,
            frame: self.carry_frame,
            form: Form::Line,
        }
    }

    fn clear_given(&mut self) {
        if self.carry_given {
            self.carry.clear();
            self.carry_length = 0;
            self.carry_ends_in_cr = false;
            self.carry_given = false;
        }
    }
}

fn strip_line(line: &[u8], start: Position) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if start.offset == 0 {
        line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 50;

    /// What the records of `plain` are, by a definition that holds all of it in memory.
    fn reference(plain: &[u8]) -> Vec<(Vec<u8>, u64)> {
        let plain = plain.strip_prefix(BYTE_ORDER_MARK).unwrap_or(plain);
        plain
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty())
            .map(|line| (line[..line.len().min(MAX)].to_vec(), line.len() as u64))
            .collect()
    }

    type Split = (Vec<(Vec<u8>, u64)>, Vec<Position>, Position);

    fn split(plain: &[u8], steps: &[usize]) -> Split {
        split_by(LineSplitter::new(MAX), plain, steps)
    }

    fn split_by(mut splitter: LineSplitter, plain: &[u8], steps: &[usize]) -> Split {
        let (mut records, mut positions) = (Vec::new(), Vec::new());
        let mut rest = plain;
        let mut steps = steps.iter().cycle();
        while !rest.is_empty() {
            let step = steps.next().map_or(1, |step| *step).clamp(1, rest.len());
            let (mut piece, later) = rest.split_at(step);
            rest = later;
            while let Some(record) = splitter.pop(&mut piece) {
                records.push((record.bytes.to_vec(), record.length));
                positions.push(record.position);
            }
        }
        if let Some(record) = splitter.finish() {
            records.push((record.bytes.to_vec(), record.length));
            positions.push(record.position);
        }
        (records, positions, splitter.position())
    }

    fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(BYTE_ORDER_MARK.to_vec()),
            4 => proptest::collection::vec(any::<u8>(), 0..12),
            1 => proptest::collection::vec(Just(b'x'), 45..120),
            1 => Just("é日\u{2028}\u{85}\x0b\x0c\x1c".as_bytes().to_vec()),
        ];
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_records(
            plain in plain_strategy(),
            steps in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let (records, positions, end) = split(&plain, &steps);
            prop_assert_eq!(&records, &reference(&plain));
            prop_assert_eq!(end.record, records.len() as u64);
            prop_assert_eq!(end.offset, plain.len() as u64);
            for (index, (position, (bytes, _))) in positions.iter().zip(&records).enumerate() {
                prop_assert_eq!(position.record, index as u64);
                let from = &plain[position.offset as usize..];
                let from = if position.offset == 0 {
                    from.strip_prefix(BYTE_ORDER_MARK).unwrap_or(from)
                } else {
                    from
                };
                prop_assert!(from.starts_with(bytes));
            }
        }
    }

    proptest! {
        #[test]
        fn headings_are_no_records_however_they_are_cut(
            lines in proptest::collection::vec("#?[a-c]{0,6}\r?", 0..20),
            steps in proptest::collection::vec(1_usize..12, 1..8),
        ) {
            let plain = lines.join("\n").into_bytes();
            let (all, ..) = split(&plain, &steps);
            let first = split_by(LineSplitter::new(MAX).without(Heading::FirstLine), &plain, &steps);
            prop_assert_eq!(&first.0[..], all.get(1..).unwrap_or_default());
            let directives = split_by(LineSplitter::new(MAX).without(Heading::Directives), &plain, &steps);
            let expected: Vec<_> = all.iter().filter(|(line, _)| !line.starts_with(b"#")).cloned().collect();
            prop_assert_eq!(&directives.0, &expected);
            for (_, positions, end) in [first, directives] {
                prop_assert_eq!(end.offset, plain.len() as u64);
                prop_assert_eq!(end.record, positions.len() as u64);
                prop_assert!((0..).zip(&positions).all(|(index, position)| position.record == index));
            }
        }
    }

    proptest! {
        #[test]
        fn from_the_end_of_any_record_the_rest_is_the_same(
            plain in plain_strategy(),
            at in any::<proptest::sample::Index>(),
        ) {
            let (records, mut positions, end) = split(&plain, &[plain.len()]);
            positions.push(end);
            let at = at.index(positions.len());
            let from = positions[at];
            let mut splitter = LineSplitter::new(MAX);
            splitter.move_to(from);
            let mut rest = &plain[from.offset as usize..];
            let mut again = Vec::new();
            while let Some(record) = splitter.pop(&mut rest) {
                again.push((record.bytes.to_vec(), record.length));
            }
            again.extend(splitter.finish().map(|record| (record.bytes.to_vec(), record.length)));
            prop_assert_eq!(&again, &records[at..]);
            prop_assert_eq!(splitter.position(), end);
        }
    }

    #[test]
    fn crlf_no_final_newline_and_empty_lines_give_the_right_count() {
        let (records, ..) = split(b"a\r\n\r\n\nb\n\n\nc", &[1]);
        assert_eq!(
            records,
            [(b"a".to_vec(), 1), (b"b".to_vec(), 1), (b"c".to_vec(), 1)]
        );
        assert_eq!(split(b"\n\n\r\n", &[2]).0, []);
        assert_eq!(split(b"", &[1]).0, []);
    }

    #[test]
    fn only_a_line_feed_separates_records() {
        let text = "a\u{2028}b\u{85}c\x0bd\x0ce\x1cf\rg\n";
        let (records, ..) = split(text.as_bytes(), &[3]);
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn a_line_over_the_limit_keeps_its_start_and_its_length_and_the_rest_goes_on() {
        let plain = [
            vec![b'x'; MAX + 1],
            b"\r\nb\n".to_vec(),
            vec![b'y'; MAX],
            b"\r\n".to_vec(),
        ];
        for step in [1, 7, 1_000] {
            let (records, ..) = split(&plain.concat(), &[step]);
            assert_eq!(
                records,
                [
                    (vec![b'x'; MAX], MAX as u64 + 1),
                    (b"b".to_vec(), 1),
                    (vec![b'y'; MAX], MAX as u64),
                ]
            );
        }
    }

    #[test]
    fn r6_raw_lines_go_without_header_and_directives() {
        for (heading, plain, expected) in [
            (
                Heading::FirstLine,
                &b"version account-id \"x\n2 1 \"y\r\n\r\n2 2 z\n#"[..],
                &["2 1 \"y", "2 2 z", "#"][..],
            ),
            (
                Heading::Directives,
                b"#Version: 1.0\n#Fields: a b\n1\t2\n#Fields: b\n3",
                &["1\t2", "3"],
            ),
            (Heading::FirstLine, b"only a header", &[]),
        ] {
            for step in [1, 7, 1_000] {
                let splitter = LineSplitter::new(MAX).without(heading);
                let (records, ..) = split_by(splitter, plain, &[step]);
                let lines: Vec<_> = records.iter().map(|(line, _)| line.as_slice()).collect();
                let expected: Vec<_> = expected.iter().map(|line| line.as_bytes()).collect();
                assert_eq!(lines, expected);
            }
        }
    }
}
