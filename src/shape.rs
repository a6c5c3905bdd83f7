//! Record → outgoing record: what the endpoint needs it to be, what was asked for, and no more.
//!
//! Goes in: a record as it stands in the object. Comes out: the same bytes on the ordinary path,
//! after a scan of its ends, its length and its encoding; else an edited copy; or nothing, where a rule leaves it
//! out. It never parses a document: it edits bytes, so key order, number text and every untouched part survive.
//!
//! A record is first what it stands for (an event of a log group with what is said of all events, a value without
//! the line feeds between its tokens): an object or a text. Then, in this order: rules leave it out, as it stands; fields
//! are dropped; values are redacted; members are added; it is cut to the endpoint's limits. Its time is read before
//! fields are dropped.
//!
//! # Which one counts
//!
//! | a record's own | against | what leaves |
//! | --- | --- | --- |
//! | member, `type` and `message` among them | an added member of its name | its own; the added one is left out |
//! | `@timestamp` that the endpoint reads as a time | a time from elsewhere in the record | its own |
//! | `@timestamp` of any other kind | a time from where the format has it | its own, and nothing is added |
//! | `@timestamp` of any other kind | a time from where the rule says, if it can be read | the time; its own goes |
//! | member that is dropped | an added member of its name | the added one |
//! | `token` | the endpoint's token | both: it has no meaning inside a record |
//! | text, being no JSON object | an added `message` | `{"message": …}` with the text |
//!
//! A record that is no JSON object becomes one if the endpoint takes nothing else, if members are to be added to it,
//! or if it holds line feeds.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::records::{Form, Record, json};

mod aws_key;
mod cut;
mod edits;
mod escape;
mod redact;
pub mod spec;
pub mod time;

pub use aws_key::account_and_region;
pub use edits::{Edits, ObjectFacts};
pub use redact::REPLACEMENT;

use cut::{cut_long_strings, cut_marker, first_chars};
use edits::{Drops, Looked};
use escape::{push_escaped, push_string};
use redact::{redact_json, redact_text};

/// How records are to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The endpoint takes JSON objects only: anything else goes out as `{"message": …}`.
    pub json_only: bool,
    /// Longest outgoing record, in bytes.
    pub record_bytes_max: Option<usize>,
    /// Longest string value of an outgoing record, in characters.
    pub field_chars_max: Option<usize>,
    /// What is done to the records of the object beside that.
    pub edits: Arc<Edits>,
}

/// The field that names the object a record came from, as the hosted fetcher's successor calls it.
pub const SOURCE_FIELD: &str = "s3_object_key";

/// The field that holds a record that is no JSON object.
const MESSAGE_FIELD: &str = "message";

/// The field that the endpoint takes a record's time from.
const TIMESTAMP_FIELD: &str = "@timestamp";

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Shaped<'a> {
    /// Goes out as it came.
    Unchanged(&'a [u8]),
    /// Goes out edited, with nothing lost but what was asked for.
    Edited(&'a [u8]),
    /// Goes out with something cut to a limit or replaced: the original is to be kept.
    Cut(&'a [u8]),
    /// Cannot go out: longer than what is held of it, and the endpoint's records must not be cut.
    TooLong,
    /// Is not to go out: a rule leaves it out, or it is no log.
    Filtered,
}

/// Buffers that are used again for each record. Each grows to the largest record that needs it, so together they
/// take a few times the bytes that are held of one record.
#[derive(Debug, Default)]
pub struct Scratch {
    base: Vec<u8>,
    work: Work,
}

#[derive(Debug, Default)]
struct Work {
    kept: Vec<u8>,
    redacted: Vec<u8>,
    retimed: Vec<u8>,
    out: Vec<u8>,
    cut: Vec<u8>,
    wrapped: Vec<u8>,
    ranges: Vec<std::ops::Range<usize>>,
    looked: Looked,
    strings: redact::Buffers,
}

/// What a record is before it is edited.
#[derive(Clone, Copy)]
struct Base<'a> {
    bytes: &'a [u8],
    is_object: bool,
    /// Whether it is not what stands in the object.
    is_new: bool,
    loss: Loss,
}

impl Shape {
    /// The same, with other edits.
    #[must_use]
    pub fn editing(self, edits: Edits) -> Self {
        Self {
            edits: Arc::new(edits),
            ..self
        }
    }

    /// Whether a record that begins with `start` may go out as it came. It is not said of one that may not that
    /// it will: that shows only when all of it is there.
    pub fn may_leave_unchanged(&self, start: &[u8]) -> bool {
        !self.edits.touches_all() && (!self.json_only || start.first() == Some(&b'{'))
    }

    /// Shapes `record`; an edited copy is made in `scratch`, whose content is replaced.
    /// `is_text` says that its bytes are known to satisfy [`is_text`]: a scan of many records at once
    /// costs less than one of each.
    pub fn shape<'a>(
        &self,
        record: &Record<'a>,
        is_text: bool,
        scratch: &'a mut Scratch,
    ) -> Shaped<'a> {
        if self.edits.is_quiet() && self.is_ordinary(record, is_text) {
            return Shaped::Unchanged(record.bytes);
        }
        if let Form::Event(group) = record.form
            && group.is_control()
        {
            return Shaped::Filtered;
        }
        let Scratch { base, work } = scratch;
        let base = self.base(record, is_text, base);
        let object = base.is_object.then_some(base.bytes);
        if self
            .edits
            .leaves_out(record.bytes, object, &mut work.looked)
        {
            return Shaped::Filtered;
        }
        if !self.json_only && record.is_truncated() {
            return Shaped::TooLong;
        }
        if base.is_object {
            self.shape_object(record, base, work)
        } else {
            self.shape_text(record, base, work)
        }
    }

    /// Whether a record may go as it came without a closer look, as far as the endpoint is concerned.
    fn is_ordinary(&self, record: &Record<'_>, is_text: bool) -> bool {
        let bytes = record.bytes;
        let is_one_line = match record.form {
            Form::Line => true,
            Form::Value => json::is_one_line(bytes),
            Form::Text | Form::Event(_) | Form::Row(_) => false,
        };
        is_one_line
            && !record.is_truncated()
            && (!self.json_only
                || (bytes.first() == Some(&b'{')
                    && bytes.last() == Some(&b'}')
                    && self.field_chars_max.is_none_or(|max| bytes.len() <= max)
                    && self.record_bytes_max.is_none_or(|max| bytes.len() <= max)
                    && (is_text
                        || (memchr::memchr(0, bytes).is_none()
                            && std::str::from_utf8(bytes).is_ok()))))
    }

    /// What `record` is before it is edited, made in `buffer` if it is not what stands in the object.
    fn base<'a>(&self, record: &Record<'a>, is_text: bool, buffer: &'a mut Vec<u8>) -> Base<'a> {
        buffer.clear();
        let mut is_lossy = false;
        let may_be_object = match record.form {
            _ if record.is_truncated() => false,
            Form::Line => true,
            Form::Text => false,
            Form::Value => {
                if !json::is_one_line(record.bytes) {
                    json::minify(record.bytes, buffer);
                }
                true
            }
            Form::Event(group) => {
                group.render(record.bytes, buffer);
                true
            }
            Form::Row(table) => {
                is_lossy = table.render(record.bytes, buffer);
                true
            }
        };
        let mut is_new = !buffer.is_empty();
        let bytes = if is_new {
            buffer.as_slice()
        } else {
            record.bytes
        };
        let is_object = may_be_object && looks_like_object(bytes);
        let must_be_utf8 = is_object && self.json_only && !is_text;
        let lossy = match std::str::from_utf8(bytes) {
            Err(_) if must_be_utf8 => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        };
        let loss = Loss::from(is_lossy || lossy.is_some());
        if let Some(lossy) = lossy {
            *buffer = lossy.into_bytes();
            is_new = true;
        }
        Base {
            bytes: if is_new { buffer } else { record.bytes },
            is_object,
            is_new,
            loss,
        }
    }

    fn shape_object<'a>(
        &self,
        record: &Record<'a>,
        base: Base<'a>,
        work: &'a mut Work,
    ) -> Shaped<'a> {
        let Work {
            kept,
            redacted,
            retimed,
            out,
            cut,
            wrapped,
            ranges,
            looked,
            strings,
        } = work;
        for buffer in [&mut *kept, redacted, retimed, out, cut, wrapped] {
            buffer.clear();
        }
        let (edits, mut loss) = (&*self.edits, base.loss);
        edits.look(base.bytes, looked);
        let (mut body, mut is_edited) = (base.bytes, base.is_new);
        if looked.has_drops && edits.drops().leave_out(body, ranges, kept) {
            (body, is_edited) = (kept, true);
        }
        // What is not JSON throughout has values that are not in quotes.
        let redact = if looked.is_whole {
            redact_json
        } else {
            redact_text
        };
        if redact(edits.redactions(), body, strings, redacted) {
            (body, is_edited) = (redacted, true);
        }
        is_edited |= edits.has_members_for(looked);
        let new_time = edits.time_of(base.bytes, is_edited, looked);
        if new_time.is_some_and(|new| new.replaces)
            && Drops::member(TIMESTAMP_FIELD).leave_out(body, ranges, retimed)
        {
            body = retimed;
        }
        let time = new_time.map(|new| new.time);
        out.push(b'{');
        let mut outgoing = body;
        if edits.push_members(record.position.record, time, looked, out) {
            push_rest(body, out);
            (outgoing, is_edited) = (out, true);
        }
        if self.json_only {
            let chars_max = self.field_chars_max.filter(|max| outgoing.len() > *max);
            if let Some(max) = chars_max
                && cut_long_strings(outgoing, max, cut)
            {
                (outgoing, loss) = (cut, Loss::Some);
            }
            if self
                .record_bytes_max
                .is_some_and(|max| outgoing.len() > max)
            {
                edits.look_at_text(looked);
                loss = loss.and(self.wrap(record, body, time, looked, wrapped));
                (outgoing, is_edited) = (wrapped, true);
            }
        }
        match loss {
            Loss::Some => Shaped::Cut(outgoing),
            Loss::None if is_edited => Shaped::Edited(outgoing),
            Loss::None => Shaped::Unchanged(record.bytes),
        }
    }

    fn shape_text<'a>(
        &self,
        record: &Record<'a>,
        base: Base<'a>,
        work: &'a mut Work,
    ) -> Shaped<'a> {
        let Work {
            kept,
            redacted,
            out,
            ranges,
            looked,
            strings,
            ..
        } = work;
        for buffer in [&mut *kept, redacted, out] {
            buffer.clear();
        }
        let edits = &*self.edits;
        edits.look_at_text(looked);
        let (mut body, mut is_edited) = (base.bytes, base.is_new);
        if edits.drops_any() && record.is_truncated() && body.starts_with(b"{") {
            edits.drops().leave_out_of_start(body, ranges, kept);
            (body, is_edited) = (kept, true);
        }
        if redact_text(edits.redactions(), body, strings, redacted) {
            (body, is_edited) = (redacted, true);
        }
        let is_wrapped = self.json_only
            || record.form == Form::Text
            || edits.has_members_for(looked)
            || edits.time_of_text(base.bytes, false).is_some();
        if is_wrapped {
            let time = edits.time_of_text(base.bytes, true);
            return match self.wrap(record, body, time, looked, out) {
                Loss::None => Shaped::Edited(out),
                Loss::Some => Shaped::Cut(out),
            };
        }
        match is_edited {
            true => Shaped::Edited(body),
            false => Shaped::Unchanged(record.bytes),
        }
    }

    /// `{"message": …}` with the added members in front. The message is cut to what the endpoint takes.
    fn wrap(
        &self,
        record: &Record<'_>,
        body: &[u8],
        time: Option<Timestamp>,
        looked: &Looked,
        out: &mut Vec<u8>,
    ) -> Loss {
        let text = String::from_utf8_lossy(body);
        let mut loss = Loss::from(matches!(text, Cow::Owned(_)) || record.is_truncated());
        out.push(b'{');
        if self
            .edits
            .push_members(record.position.record, time, looked, out)
        {
            out.push(b',');
        }
        let mut message = text.as_ref();
        let mut marker = String::new();
        // An escaped character is at most six bytes (`\u0000`), so this bounds the record as well.
        let room = MESSAGE_ROOM.max(out.len() + MESSAGE_AROUND_BYTES);
        let by_bytes = self
            .record_bytes_max
            .map(|max| max.saturating_sub(room) / 6);
        let chars_max = match (self.field_chars_max, by_bytes) {
            (Some(chars), Some(bytes)) => Some(chars.min(bytes)),
            (chars, bytes) => chars.or(bytes),
        };
        if let Some(max) = chars_max
            && (record.is_truncated() || message.chars().count() > max)
        {
            marker = cut_marker(record.length, "bytes");
            message = first_chars(message, max - marker.len().min(max));
            loss = Loss::Some;
        }
        push_string(MESSAGE_FIELD, out);
        out.extend_from_slice(b":\"");
        push_escaped(message, out);
        push_escaped(&marker, out);
        out.extend_from_slice(b"\"}");
        loss
    }
}

/// Appends the members of `object`, with a comma before them if there are any, and what stands around them, but
/// for its opening brace.
fn push_rest(object: &[u8], out: &mut Vec<u8>) {
    let rest = object.get(1..).unwrap_or_default();
    if rest.trim_ascii_start().first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

/// Room that a wrapped message leaves for what stands around it: braces, names, the source field of
/// at most 63 + 1 + 1,024 bytes, each of which may take six. More, if more is added.
const MESSAGE_ROOM: usize = 8 * 1024;

/// Bytes around a wrapped message, the marker of a cut included, beside the members that are added.
const MESSAGE_AROUND_BYTES: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    Some,
}

impl Loss {
    fn and(self, other: Loss) -> Loss {
        Loss::from(self == Loss::Some || other == Loss::Some)
    }
}

impl From<bool> for Loss {
    fn from(lost: bool) -> Self {
        if lost { Loss::Some } else { Loss::None }
    }
}

/// ASCII without NUL: what needs no closer look.
pub fn is_text(bytes: &[u8]) -> bool {
    // Without a branch for each byte, so that the compiler takes many bytes at a time.
    bytes.chunks(1024).all(|chunk| {
        chunk
            .iter()
            .fold(true, |is_text, byte| is_text & (1..=0x7f).contains(byte))
    })
}

/// First byte `{`, last byte `}`, no NUL: the cheap test for a JSON object.
pub fn looks_like_object(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{')
        && bytes.last() == Some(&b'}')
        && memchr::memchr(0, bytes).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::spec::{ShapeSpec, SourceValue};
    use super::*;
    use crate::checkpoint::Position;
    use crate::records::{Form, Frame};

    fn record(bytes: &[u8]) -> Record<'_> {
        Record {
            bytes,
            position: Position::default(),
            length: bytes.len() as u64,
            end: bytes.len() as u64 + 1,
            frame: Frame::LineFeed,
            form: Form::Line,
        }
    }

    fn logzio() -> Shape {
        Shape {
            json_only: true,
            record_bytes_max: Some(500_000),
            field_chars_max: Some(32_700),
            edits: Arc::default(),
        }
    }

    fn shaped(shape: &Shape, bytes: &[u8]) -> (&'static str, Vec<u8>) {
        let mut scratch = Scratch::default();
        match shape.shape(&record(bytes), is_text(bytes), &mut scratch) {
            Shaped::Unchanged(out) => ("unchanged", out.to_vec()),
            Shaped::Edited(out) => ("edited", out.to_vec()),
            Shaped::Cut(out) => ("cut", out.to_vec()),
            Shaped::TooLong => ("too long", Vec::new()),
            Shaped::Filtered => ("filtered", Vec::new()),
        }
    }

    fn field(json: &[u8], name: &str) -> String {
        let value: Value = serde_json::from_slice(json).expect("valid JSON");
        value[name].as_str().expect("a string").to_owned()
    }

    #[test]
    fn a_json_object_goes_out_as_it_came_also_where_it_only_looks_like_one() {
        let odd = b"{\"b\":1e400, \"a\":1506702504433000200,\"b\":\"\\ud800\"} ".trim_ascii();
        assert_eq!(shaped(&logzio(), odd), ("unchanged", odd.to_vec()));
        assert_eq!(
            shaped(&logzio(), b"{oops}"),
            ("unchanged", b"{oops}".to_vec())
        );
    }

    #[test]
    fn what_is_no_json_object_goes_out_as_a_message() {
        for text in [
            "plain text",
            "[1,2]",
            "\"x\"",
            "a\tb \"c\" \\d \u{1} é日",
            "{\"a\":1} tail",
        ] {
            let (how, out) = shaped(&logzio(), text.as_bytes());
            assert_eq!(how, "edited");
            assert_eq!(field(&out, "message"), text);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_the_original_is_kept() {
        let (how, out) = shaped(&logzio(), b"{\"a\":\"\xff\"}");
        assert_eq!((how, field(&out, "a")), ("cut", "\u{fffd}".to_owned()));
        let (how, out) = shaped(&logzio(), b"text \xff");
        assert_eq!(
            (how, field(&out, "message")),
            ("cut", "text \u{fffd}".to_owned())
        );
    }

    /// A JSON object of exactly so many bytes, in fields of a thousand.
    fn object_of(bytes: usize) -> Vec<u8> {
        let mut object = b"{\"n\":0".to_vec();
        while object.len() + 1_100 < bytes {
            object.extend(format!(",\"f{:06}\":\"{}\"", object.len(), "x".repeat(1_000)).bytes());
        }
        object.extend_from_slice(b",\"last\":\"");
        object.resize(bytes - 2, b'y');
        object.extend_from_slice(b"\"}");
        object
    }

    #[test]
    fn b6_a_record_of_500_000_bytes_goes_as_it_came_and_one_byte_more_is_cut() {
        let most = object_of(500_000);
        assert_eq!(most.len(), 500_000);
        assert_eq!(shaped(&logzio(), &most), ("unchanged", most.clone()));
        let more = object_of(500_001);
        let (how, out) = shaped(&logzio(), &more);
        assert_eq!(how, "cut");
        assert!(out.len() <= 500_000, "{}", out.len());
        assert!(field(&out, "message").ends_with("...[cut, 500001 bytes]"));
    }

    #[test]
    fn b8_utf16_is_kept_whole_or_with_its_original() {
        let le: Vec<u8> = "{\"a\":\"x\"}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let (how, out) = shaped(&logzio(), &le);
        // ASCII in UTF-16 is UTF-8 with a NUL beside each character: all of it goes, escaped.
        assert_eq!(how, "edited");
        assert_eq!(field(&out, "message").into_bytes(), le);
        let marked = [&b"\xff\xfe"[..], &le].concat();
        let (how, out) = shaped(&logzio(), &marked);
        assert_eq!(how, "cut", "its original is kept");
        assert!(serde_json::from_slice::<Value>(&out).is_ok());
        let be: Vec<u8> = "日本 é".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let (_, out) = shaped(&logzio(), &be);
        assert!(serde_json::from_slice::<Value>(&out).is_ok());
    }

    #[test]
    fn b8_b10_separators_of_unicode_and_lone_surrogates_go_as_they_came() {
        for text in [
            "{\"a\":\"\u{2028}\u{2029}\u{85}\u{b}\u{c}\u{1c}\"}",
            "{\"a\":\"\\udc00\\ud800\\u0000\"}",
            "{\"\u{feff}\":\"\u{10ffff}\"}",
        ] {
            let expected = ("unchanged", text.as_bytes().to_vec());
            assert_eq!(shaped(&logzio(), text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_nul_makes_a_record_a_message() {
        let (how, out) = shaped(&logzio(), b"{\"a\":\"\0\"}");
        assert_eq!(
            (how, field(&out, "message")),
            ("edited", "{\"a\":\"\0\"}".to_owned())
        );
    }

    #[test]
    fn a_field_of_32_700_characters_goes_and_one_more_is_cut_to_it_with_its_length() {
        for (escape, chars) in [
            ("x", 1),
            ("é", 1),
            ("\\n", 1),
            ("\\u00e9", 1),
            ("\\ud83d\\ude00", 1),
        ] {
            let at_limit = format!("{{\"a\":\"{}\",\"n\":12}}", escape.repeat(32_700 / chars));
            let (_, out) = shaped(&logzio(), at_limit.as_bytes());
            assert_eq!(out, at_limit.as_bytes());

            let over = format!("{{\"a\":\"{}\",\"n\":12}}", escape.repeat(32_701 / chars));
            let (how, out) = shaped(&logzio(), over.as_bytes());
            assert_eq!(how, "cut");
            let value = field(&out, "a");
            assert_eq!(value.chars().count(), 32_700, "{escape}");
            assert!(value.ends_with("...[cut, 32701 characters]"));
            assert!(out.ends_with(b",\"n\":12}"));
        }
    }

    #[test]
    fn a_record_over_the_limit_in_short_fields_goes_as_a_cut_message() {
        let fields: Vec<String> = (0..40)
            .map(|n| format!("\"f{n}\":\"{}\"", "x".repeat(15_000)))
            .collect();
        let long = format!("{{{}}}", fields.join(","));
        let (how, out) = shaped(&logzio(), long.as_bytes());
        assert_eq!(how, "cut");
        let message = field(&out, "message");
        assert_eq!(message.chars().count(), 32_700);
        assert!(message.ends_with(&format!("...[cut, {} bytes]", long.len())));
    }

    #[test]
    fn a_record_of_which_only_the_start_is_held_goes_as_a_cut_message_or_not_at_all() {
        let start = Record {
            length: 100_000_000,
            ..record(b"{\"a\":\"xxxx")
        };
        let mut scratch = Scratch::default();
        let Shaped::Cut(out) = logzio().shape(&start, false, &mut scratch) else {
            panic!("not cut");
        };
        assert_eq!(
            field(out, "message"),
            "{\"a\":\"xxxx...[cut, 100000000 bytes]"
        );
        assert_eq!(
            Shape::default().shape(&start, false, &mut scratch),
            Shaped::TooLong
        );
    }

    #[test]
    fn the_source_field_goes_in_front_and_the_rest_stays_byte_for_byte() {
        let spec = ShapeSpec {
            source: vec![(SourceValue::ObjectKey, SOURCE_FIELD.into())],
            ..ShapeSpec::default()
        };
        let facts = ObjectFacts {
            bucket: "b",
            key: "dir a/k\"é",
            ..ObjectFacts::default()
        };
        let shape = logzio().editing(spec.for_object(&facts));
        for (object, expected) in [
            (
                "{ \"z\":1.50,\"a\":2}",
                "{\"s3_object_key\":\"b/dir a/k\\\"é\", \"z\":1.50,\"a\":2}",
            ),
            ("{ }", "{\"s3_object_key\":\"b/dir a/k\\\"é\" }"),
            (
                "text",
                "{\"s3_object_key\":\"b/dir a/k\\\"é\",\"message\":\"text\"}",
            ),
        ] {
            let (how, out) = shaped(&shape, object.as_bytes());
            assert_eq!(
                (how, String::from_utf8_lossy(&out).as_ref()),
                ("edited", expected)
            );
        }
    }

    #[test]
    fn an_endpoint_of_lines_gets_them_as_they_are() {
        for bytes in [&b"text \xff\0"[..], b"{\"a\":1}", b"  "] {
            assert_eq!(
                shaped(&Shape::default(), bytes),
                ("unchanged", bytes.to_vec())
            );
        }
    }

    fn json_strategy() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a\"\\\\é😀]{0,60}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a\"b\\\\]{0,40}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn longest_string(value: &Value) -> usize {
        match value {
            Value::String(text) => text.chars().count(),
            Value::Array(values) => values.iter().map(longest_string).max().unwrap_or(0),
            Value::Object(map) => map.values().map(longest_string).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn a_cut_never_yields_invalid_json_or_a_longer_field(
            value in proptest::collection::btree_map("[a-z\"]{0,40}", json_strategy(), 0..5),
            max in 24_usize..40,
        ) {
            let value = Value::Object(value.into_iter().collect());
            let shape = Shape { field_chars_max: Some(max), record_bytes_max: None, ..logzio() };
            let text = serde_json::to_string(&value).unwrap();
            let (how, out) = shaped(&shape, text.as_bytes());
            let out: Value = serde_json::from_slice(&out).expect("valid JSON");
            if longest_string(&value) <= max {
                prop_assert_eq!(out, value);
            } else {
                prop_assert_eq!(how, "cut");
                prop_assert!(longest_string(&out) <= max.max(30), "{}", longest_string(&out));
            }
        }

        #[test]
        fn any_bytes_become_a_message_that_parses(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            prop_assume!(!looks_like_object(&bytes));
            let (_, out) = shaped(&logzio(), &bytes);
            prop_assert_eq!(field(&out, "message"), String::from_utf8_lossy(&bytes));
        }
    }
}
