//! The records of JSON documents, one document after the other.
//!
//! Goes in: plain bytes in pieces of any size, and an outline of what the documents are. Comes out: the records
//! they hold, from the piece where they lie wholly in it. It holds the first `record_bytes_max` bytes of a
//! record that lies in several pieces, [`NAME_BYTES_MAX`] bytes of a name, what the outline keeps, and nothing
//! of what stands around the records.
//!
//! It checks that a document is JSON down to the records: brackets, names, colons, commas. Within a record, or
//! a value that is passed over, it checks what [`Skip`] says.

use super::{Skip, is_space};
use crate::checkpoint::Position;
use crate::records::{Form, Frame, Malformed, Record};

/// Most bytes of a member's name that are compared; a longer name is none that is looked for.
pub(in crate::records) const NAME_BYTES_MAX: usize = 1024;

/// A byte order mark at the start of an object is not part of its first document.
const BYTE_ORDER_MARK: [u8; 3] = *b"\xef\xbb\xbf";

/// What the documents are.
pub(in crate::records) trait Outline {
    /// What the document is that begins with `first`; else what a document has to be.
    fn open(&mut self, first: u8) -> Result<Document, &'static str>;

    /// What is to become of a member of this name, which stands at the top level of an object.
    fn member(&mut self, name: &[u8]) -> Purpose;

    /// More of the string that is to be kept, quotes and all. False if it grows too long.
    fn keep(&mut self, bytes: &[u8]) -> bool;
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::records) enum Document {
    /// A record, which a comma may follow.
    Record,
    /// An array of records.
    Records,
    /// An object, one or more of whose members hold records.
    Object,
}

/// What is to become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::records) enum Purpose {
    /// Its value is an array of records, or null if there are none.
    Records,
    /// Its value is to be kept if it is a string.
    Keep,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a document or after the last one.
    Between,
    NameOrClose,
    Name,
    Colon,
    Value,
    AfterValue,
    ElementOrClose,
    Element,
    AfterElement,
    Inside(Part),
}

/// What is being read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Skipped,
    Kept,
    Record,
}

/// A record, whose bytes are carried if they are not here.
pub(in crate::records) struct Found<'p> {
    bytes: Option<&'p [u8]>,
    start: Position,
    length: u64,
    end: u64,
}

pub(in crate::records) struct Elements {
    record_bytes_max: usize,
    state: State,
    skip: Skip,
    document: Document,
    /// Whether the document, an object, had a member for records.
    has_records: bool,
    /// Whether a comma may come before the next document.
    may_have_comma: bool,
    /// What is to become of the member whose name was read.
    purpose: Purpose,
    /// The start of that name, with its quotes.
    name: Vec<u8>,
    name_length: usize,
    /// The start of a record that lies in several pieces.
    carry: Vec<u8>,
    /// Length of that record so far, which may be more than is carried.
    carry_length: u64,
    /// Whether `carry` was given out and is to be cleared.
    carry_given: bool,
    /// Plain bytes taken.
    consumed: u64,
    /// How many of them are the byte order mark.
    mark: usize,
    /// Where the value begins that is being read.
    start: u64,
    /// After everything that was given out, or where the document after it begins.
    given: Position,
    failed: Option<Malformed>,
}

impl Elements {
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            record_bytes_max,
            state: State::Between,
            skip: Skip::new(),
            document: Document::Record,
            has_records: false,
            may_have_comma: false,
            purpose: Purpose::Skip,
            name: Vec::new(),
            name_length: 0,
            carry: Vec::new(),
            carry_length: 0,
            carry_given: false,
            consumed: 0,
            mark: 0,
            start: 0,
            given: Position::default(),
            failed: None,
        }
    }

    /// After everything that was given out; between documents, after everything that was taken.
    pub fn position(&self) -> Position {
        if self.state == State::Between && self.failed.is_none() {
            return Position {
                offset: self.consumed,
                record: self.given.record,
            };
        }
        self.given
    }

    /// The next record that is complete with `plain`, which is advanced past it. `None` when `plain` is used up.
    /// After an error there is only that error.
    pub fn pop<'p>(
        &mut self,
        outline: &mut impl Outline,
        plain: &mut &'p [u8],
    ) -> Result<Option<Found<'p>>, Malformed> {
        self.ready()?;
        let found = self.find(outline, plain);
        self.remember(found)
    }

    /// Says that the input has ended; the last record, if only that could tell its end.
    pub fn finish(&mut self) -> Result<Option<Found<'static>>, Malformed> {
        self.ready()?;
        let found = match self.state {
            State::Between if !self.is_in_mark() => Ok(None),
            State::Inside(Part::Record)
                if self.document == Document::Record && self.skip.may_end() =>
            {
                Ok(Some(self.end_record(&[])))
            }
            _ => Err(self.malformed("the rest of the document")),
        };
        self.remember(found)
    }

    /// What was found by the last call.
    pub fn record<'a>(&'a self, found: Found<'a>, form: Form<'a>) -> Record<'a> {
        Record {
            bytes: found.bytes.unwrap_or(&self.carry),
            position: found.start,
            length: found.length,
            end: found.end,
            frame: Frame::Stripped,
            form,
        }
    }

    fn ready(&mut self) -> Result<(), Malformed> {
        if self.carry_given {
            self.carry.clear();
            self.carry_length = 0;
            self.carry_given = false;
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn remember<T>(&mut self, found: Result<T, Malformed>) -> Result<T, Malformed> {
        if let Err(malformed) = &found {
            self.given = self.position();
            self.failed = Some(malformed.clone());
        }
        found
    }

    fn find<'p>(
        &mut self,
        outline: &mut impl Outline,
        plain: &mut &'p [u8],
    ) -> Result<Option<Found<'p>>, Malformed> {
        // What is being read, from where it stands in this piece.
        let mut value = *plain;
        loop {
            if let State::Inside(part) = self.state {
                let length = self.skip.advance(plain).map_err(|fault| Malformed {
                    offset: self.consumed + fault.at as u64,
                    expected: fault.expected,
                })?;
                self.take(length.unwrap_or(plain.len()), plain);
                value = &value[..value.len() - plain.len()];
                if part == Part::Record && length.is_some() {
                    return Ok(Some(self.end_record(value)));
                }
                self.hold(part, value, outline)?;
                if length.is_none() {
                    return Ok(None);
                }
                self.state = match part {
                    Part::Name => State::Colon,
                    Part::Skipped | Part::Kept | Part::Record => State::AfterValue,
                };
            } else {
                let Some(byte) = plain.first().copied() else {
                    return Ok(None);
                };
                if !is_space(byte) {
                    value = plain;
                    self.state = self.token(byte, outline)?;
                }
                self.take(1, plain);
            }
        }
    }

    /// What comes after `byte`, which is no white space and stands between values or begins one.
    fn token(&mut self, byte: u8, outline: &mut impl Outline) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Between, _) => self.open(byte, outline),
            (State::NameOrClose | State::Name, b'"') => {
                self.name.clear();
                self.name_length = 0;
                self.begin(byte, Part::Name)
            }
            (State::NameOrClose | State::AfterValue, b'}') if self.has_records => {
                Ok(State::Between)
            }
            (State::NameOrClose | State::AfterValue, b'}') => {
                Err(self.malformed("a member that holds the records"))
            }
            (State::NameOrClose, _) => Err(self.malformed("a name or a `}`")),
            (State::Name, _) => Err(self.malformed("a name")),
            (State::Colon, b':') => {
                let name = self.name.get(1..self.name_length - 1);
                self.purpose = name.map_or(Purpose::Skip, |name| outline.member(name));
                Ok(State::Value)
            }
            (State::Colon, _) => Err(self.malformed("a colon")),
            (State::Value, _) => self.member(byte),
            (State::AfterValue, b',') => Ok(State::Name),
            (State::AfterValue, _) => Err(self.malformed("a comma or a `}`")),
            (State::ElementOrClose | State::AfterElement, b']') => match self.document {
                Document::Object => Ok(State::AfterValue),
                Document::Record | Document::Records => Ok(State::Between),
            },
            (State::ElementOrClose | State::Element, _) => self.begin(byte, Part::Record),
            (State::AfterElement, b',') => Ok(State::Element),
            (State::AfterElement, _) => Err(self.malformed("a comma or a `]`")),
            (State::Inside(part), _) => Ok(State::Inside(part)),
        }
    }

    /// Begins a document.
    fn open(&mut self, byte: u8, outline: &mut impl Outline) -> Result<State, Malformed> {
        if self.mark as u64 == self.consumed && BYTE_ORDER_MARK.get(self.mark) == Some(&byte) {
            self.mark += 1;
            return Ok(State::Between);
        }
        if self.is_in_mark() {
            return Err(self.malformed("a byte order mark"));
        }
        if byte == b',' && self.may_have_comma {
            self.may_have_comma = false;
            return Ok(State::Between);
        }
        self.document = outline
            .open(byte)
            .map_err(|expected| self.malformed(expected))?;
        self.given.offset = self.consumed;
        self.has_records = false;
        self.may_have_comma = self.document == Document::Record;
        match self.document {
            Document::Record => self.begin(byte, Part::Record),
            Document::Records => Ok(State::ElementOrClose),
            Document::Object => Ok(State::NameOrClose),
        }
    }

    /// Begins the value of a member.
    fn member(&mut self, byte: u8) -> Result<State, Malformed> {
        let is_for_records = self.purpose == Purpose::Records;
        self.has_records |= is_for_records;
        match byte {
            b'[' if is_for_records => Ok(State::ElementOrClose),
            b'n' => self.begin(byte, Part::Skipped),
            _ if is_for_records => Err(self.malformed("an array of records or null")),
            b'"' if self.purpose == Purpose::Keep => self.begin(byte, Part::Kept),
            _ => self.begin(byte, Part::Skipped),
        }
    }

    fn begin(&mut self, byte: u8, part: Part) -> Result<State, Malformed> {
        if !self.skip.begin(byte) {
            return Err(self.malformed("a value"));
        }
        self.start = self.consumed;
        Ok(State::Inside(part))
    }

    /// Holds what is wanted of a part of what is being read.
    fn hold(
        &mut self,
        part: Part,
        bytes: &[u8],
        outline: &mut impl Outline,
    ) -> Result<(), Malformed> {
        match part {
            Part::Name => {
                let room = NAME_BYTES_MAX + 2 - self.name.len();
                self.name.extend_from_slice(&bytes[..bytes.len().min(room)]);
                self.name_length += bytes.len();
            }
            Part::Kept => {
                if !outline.keep(bytes) {
                    return Err(Malformed {
                        offset: self.start,
                        expected: "a shorter string",
                    });
                }
            }
            Part::Record => {
                let room = self.record_bytes_max - self.carry.len();
                self.carry
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
                self.carry_length += bytes.len() as u64;
            }
            Part::Skipped => {}
        }
        Ok(())
    }

    /// Ends the record that is being read with its last bytes.
    fn end_record<'p>(&mut self, bytes: &'p [u8]) -> Found<'p> {
        let is_carried = self.carry_length > 0;
        if is_carried {
            let room = self.record_bytes_max - self.carry.len();
            self.carry
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.carry_given = true;
        }
        let found = Found {
            bytes: (!is_carried).then(|| &bytes[..bytes.len().min(self.record_bytes_max)]),
            start: Position {
                offset: self.start,
                record: self.given.record,
            },
            length: self.carry_length + bytes.len() as u64,
            end: self.consumed,
        };
        self.given = Position {
            offset: self.consumed,
            record: self.given.record + 1,
        };
        self.state = match self.document {
            Document::Record => State::Between,
            Document::Records | Document::Object => State::AfterElement,
        };
        found
    }

    fn take(&mut self, length: usize, plain: &mut &[u8]) {
        *plain = &plain[length..];
        self.consumed += length as u64;
    }

    /// How many bytes it has allocated.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.carry.capacity() + self.name.capacity()
    }

    /// Whether the object began with a byte order mark that has not ended.
    fn is_in_mark(&self) -> bool {
        (1..BYTE_ORDER_MARK.len()).contains(&self.mark)
    }

    fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed {
            offset: self.consumed,
            expected,
        }
    }
}

/// What the tests of all splitters do with them.
#[cfg(test)]
pub(in crate::records) mod harness {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::records::{ArraySplitter, SubscriptionSplitter, ValueSplitter};

    pub const MAX: usize = 150;

    pub trait Splitter {
        fn pop<'a, 'p: 'a>(
            &'a mut self,
            plain: &mut &'p [u8],
        ) -> Result<Option<Record<'a>>, Malformed>;
        fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed>;
        fn position(&self) -> Position;
    }

    macro_rules! splitters {
        ($($name:ident),*) => {$(
            impl Splitter for $name {
                fn pop<'a, 'p: 'a>(
                    &'a mut self,
                    plain: &mut &'p [u8],
                ) -> Result<Option<Record<'a>>, Malformed> {
                    Self::pop(self, plain)
                }

                fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
                    Self::finish(self)
                }

                fn position(&self) -> Position {
                    Self::position(self)
                }
            }
        )*};
    }

    splitters!(ArraySplitter, SubscriptionSplitter, ValueSplitter);

    /// A record that was given out.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Seen {
        pub bytes: Vec<u8>,
        pub start: Position,
        pub length: u64,
        pub end: u64,
        pub is_control: bool,
        pub rendered: Vec<u8>,
    }

    /// Everything that a splitter said.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Outcome {
        pub seen: Vec<Seen>,
        pub end: Position,
        pub error: Option<Malformed>,
    }

    impl Outcome {
        pub fn texts(&self) -> Vec<String> {
            let text = |seen: &Seen| String::from_utf8(seen.bytes.clone()).expect("text");
            self.seen.iter().map(text).collect()
        }

        fn see(&mut self, record: &Record<'_>) {
            assert_eq!(record.frame, Frame::Stripped);
            let (mut rendered, mut is_control) = (Vec::new(), false);
            match record.form {
                Form::Event(group) => {
                    is_control = group.is_control();
                    group.render(record.bytes, &mut rendered);
                }
                form => assert_eq!(form, Form::Value),
            }
            self.seen.push(Seen {
                bytes: record.bytes.to_vec(),
                start: record.position,
                length: record.length,
                end: record.end,
                is_control,
                rendered,
            });
        }
    }

    /// Gives `plain` in pieces of `steps`, in turn, and holds what comes out to what every splitter promises.
    pub fn split(mut splitter: impl Splitter, plain: &[u8], steps: &[usize]) -> Outcome {
        let mut outcome = Outcome {
            seen: Vec::new(),
            end: Position::default(),
            error: None,
        };
        let mut rest = plain;
        let mut steps = steps.iter().cycle();
        while outcome.error.is_none() && !rest.is_empty() {
            let step = steps.next().map_or(1, |step| *step).clamp(1, rest.len());
            let (mut piece, later) = rest.split_at(step);
            rest = later;
            loop {
                match splitter.pop(&mut piece) {
                    Ok(Some(record)) => outcome.see(&record),
                    Ok(None) => break assert!(piece.is_empty()),
                    Err(error) => break outcome.error = Some(error),
                }
                let last = outcome.seen.last().expect("just seen");
                assert_eq!(splitter.position().offset, last.end);
            }
        }
        match splitter.finish() {
            Ok(Some(record)) => outcome.see(&record),
            Ok(None) => {}
            Err(error) => {
                assert!(outcome.error.is_none_or(|before| before == error));
                assert_eq!(splitter.pop(&mut &b"[]"[..]), Err(error.clone()));
                outcome.error = Some(error);
            }
        }
        outcome.end = splitter.position();
        let mut before = 0;
        for (index, seen) in (0..).zip(&outcome.seen) {
            let whole = &plain[seen.start.offset as usize..seen.end as usize];
            assert!(seen.start.offset >= before);
            assert_eq!(seen.start.record, index);
            assert_eq!(seen.length, whole.len() as u64);
            assert_eq!(seen.bytes, whole[..whole.len().min(MAX)]);
            before = seen.end;
        }
        assert_eq!(outcome.end.record, outcome.seen.len() as u64);
        match &outcome.error {
            None => assert_eq!(outcome.end.offset, plain.len() as u64),
            Some(error) => {
                assert!(before <= outcome.end.offset && outcome.end.offset <= error.offset);
                assert!(error.offset <= plain.len() as u64);
            }
        }
        outcome
    }

    /// Cuts `plain`, a text without an error and without white space around it, at every place. Between two of
    /// its documents, which `has_many` says it has, it may end.
    pub fn truncations(plain: &[u8], split: fn(&[u8], &[usize]) -> Outcome, has_many: bool) {
        let whole = split(plain, &[plain.len()]);
        assert_eq!(whole.error, None);
        assert!(!whole.seen.is_empty());
        for length in 1..plain.len() {
            for step in [1, 5, plain.len()] {
                let cut = split(&plain[..length], &[step]);
                let complete = whole.seen.iter().filter(|seen| {
                    let is_number = seen.bytes.last().is_some_and(u8::is_ascii_digit);
                    seen.end + u64::from(is_number) <= length as u64
                });
                assert_eq!(cut.seen, complete.cloned().collect::<Vec<_>>());
                if has_many && cut.seen.iter().any(|seen| seen.end == length as u64) {
                    assert_eq!(cut.error, None);
                } else {
                    let error = cut.error.expect("a truncated document is an error");
                    assert_eq!(error.offset, length as u64);
                }
            }
        }
    }

    /// How a value is written.
    #[derive(Clone, Copy, Debug)]
    pub enum Style {
        Compact,
        Pretty,
        /// With `\r\n`, and everything that may be escaped.
        Escaped,
    }

    impl Style {
        pub fn write(self, value: &Value) -> String {
            let pretty = || serde_json::to_string_pretty(value).expect("a value is JSON");
            match self {
                Self::Compact => value.to_string(),
                Self::Pretty => pretty(),
                Self::Escaped => {
                    let mut text = String::new();
                    for character in pretty().replace('\n', "\r\n\t").chars() {
                        if character.is_ascii() {
                            text.push(character);
                        } else {
                            for unit in character.encode_utf16(&mut [0; 2]) {
                                text.push_str(&format!("\\u{unit:04X}"));
                            }
                        }
                    }
                    text
                }
            }
        }
    }

    pub fn style() -> impl Strategy<Value = Style> {
        proptest::sample::select(vec![Style::Compact, Style::Pretty, Style::Escaped])
    }

    pub fn string() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-c\"\\\\{}\\[\\],: é日\n]{0,12}",
            1 => r"(\\\\){0,70}",
            1 => "[x\"]{50,200}",
            1 => any::<String>(),
        ]
    }

    pub fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            (u64::MAX - 9..=u64::MAX).prop_map(Value::from),
            any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            string().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                members(inner).prop_map(Value::from),
            ]
        })
    }

    pub fn object() -> impl Strategy<Value = Map<String, Value>> {
        members(value())
    }

    fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        let name = prop_oneof![
            4 => string(),
            1 => proptest::sample::select(vec!["owner", "logGroup", "Records"])
                .prop_map(str::to_owned),
        ];
        proptest::collection::vec((name, value), 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    pub fn text() -> impl Strategy<Value = String> {
        (value(), style()).prop_map(|(value, style)| style.write(&value))
    }

    pub fn steps() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(prop_oneof![1_usize..9, 1_usize..400], 1..8)
    }

    type Edit = (proptest::sample::Index, usize, Vec<u8>);

    /// Places, how many bytes are taken out there, and what is put in.
    pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let byte = proptest::sample::select(b"{}[]\",:\\ 1-tnx\n\xef\xbb".to_vec());
        let edit = (
            any::<proptest::sample::Index>(),
            0..3_usize,
            proptest::collection::vec(byte, 0..3),
        );
        proptest::collection::vec(edit, 0..4)
    }

    pub fn edited(mut plain: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
        for (at, taken, put) in edits {
            let at = at.index(plain.len() + 1);
            let end = (at + taken).min(plain.len());
            plain.splice(at..end, put.iter().copied());
        }
        plain
    }
}
