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
use redact::{redact_damaged, redact_json, redact_text};

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

impl Work {
    fn clear(&mut self) {
        let Self {
            kept,
            redacted,
            retimed,
            out,
            cut,
            wrapped,
            ..
        } = self;
        for buffer in [kept, redacted, retimed, out, cut, wrapped] {
            buffer.clear();
        }
    }
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
        // What is no line of the object is written anew in any case.
        let is_as_it_was = record.form == Form::Line || !self.edits.times_any();
        if is_as_it_was && self.edits.is_quiet() && self.is_ordinary(record, is_text) {
            return Shaped::Unchanged(record.bytes);
        }
        if let Form::Event(group) = record.form
            && group.is_control()
        {
            return Shaped::Filtered;
        }
        let Scratch { base, work } = scratch;
        let base = self.base(record, is_text, base);
        // Of an object that is too long its start is one, as far as it goes.
        let is_start = record.is_truncated() && record.form != Form::Text;
        let object =
            (base.is_object || (is_start && base.bytes.starts_with(b"{"))).then_some(base.bytes);
        if self.edits.leaves_out(record, object, &mut work.looked) {
            return Shaped::Filtered;
        }
        if !self.json_only && record.is_truncated() {
            return Shaped::TooLong;
        }
        work.clear();
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
            Form::Row(table) if record.is_truncated() && self.edits.wants_fields() => {
                // The names of its values stand nowhere else.
                is_lossy = table.render(record.bytes, buffer);
                false
            }
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
            redact_damaged
        };
        if redact(edits.redactions(), body, strings, redacted) {
            (body, is_edited) = (redacted, true);
        }
        is_edited |= edits.has_members_for(looked);
        let is_rewritten = is_edited || record.form != Form::Line;
        let new_time = edits.time_of(base.bytes, is_rewritten, looked);
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
        let edits = &*self.edits;
        edits.look_at_text(looked);
        let (mut body, mut is_edited) = (base.bytes, base.is_new);
        if edits.drops_any() && record.is_truncated() && body.starts_with(b"{") {
            edits.drops().leave_out_of_start(body, ranges, kept);
            (body, is_edited) = (kept, true);
        }
        let is_json = matches!(record.form, Form::Value | Form::Event(_)) || body.starts_with(b"{");
        let redact = if is_json { redact_damaged } else { redact_text };
        if redact(edits.redactions(), body, strings, redacted) {
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

    use super::spec::{
        Condition, FieldPath, FieldValue, Redaction, ShapeSpec, SourceValue, TimeFormat, TimePlace,
        TimeSource, TimestampSpec, TimestampWhen,
    };
    use super::*;
    use crate::checkpoint::Position;
    use crate::pattern::Pattern;
    use crate::records::{Form, Frame, SubscriptionSplitter};

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
        shaped_record(shape, &record(bytes))
    }

    fn shaped_record(shape: &Shape, record: &Record<'_>) -> (&'static str, Vec<u8>) {
        let mut scratch = Scratch::default();
        match shape.shape(record, is_text(record.bytes), &mut scratch) {
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

    fn names(path: &str) -> FieldPath {
        FieldPath(path.split('.').map(str::to_owned).collect())
    }

    fn time_from(when: TimestampWhen, place: TimePlace) -> TimestampSpec {
        TimestampSpec {
            when,
            from: Some(TimeSource {
                place,
                format: TimeFormat::Auto,
            }),
        }
    }

    fn fields(paths: &[&str]) -> TimePlace {
        TimePlace::Fields(paths.iter().map(|path| names(path)).collect())
    }

    fn always_from(paths: &[&str]) -> ShapeSpec {
        ShapeSpec {
            timestamp: time_from(TimestampWhen::Always, fields(paths)),
            ..ShapeSpec::default()
        }
    }

    fn edits(spec: &ShapeSpec) -> Edits {
        spec.for_object(&ObjectFacts {
            bucket: "b",
            key: "k",
            etag: "e",
            ..ObjectFacts::default()
        })
    }

    fn edited(spec: &ShapeSpec, record: &str) -> String {
        let (_, out) = shaped(&logzio().editing(edits(spec)), record.as_bytes());
        String::from_utf8(out).unwrap()
    }

    fn text_field(name: &str, value: &str) -> (String, FieldValue) {
        (name.to_owned(), FieldValue::Template(value.to_owned()))
    }

    #[test]
    fn r7_the_start_of_a_request_is_its_time_in_each_form_that_cloudflare_writes_it() {
        let spec = always_from(&["EdgeStartTimestamp"]);
        for (value, expected) in [
            ("1506702504433000200", "2017-09-29T16:28:24.433Z"),
            ("1506702504", "2017-09-29T16:28:24.000Z"),
            ("\"2017-09-29T16:28:24Z\"", "2017-09-29T16:28:24.000Z"),
            (
                "\"2017-09-29T16:28:24.433000200Z\"",
                "2017-09-29T16:28:24.433Z",
            ),
        ] {
            // A bad percent-escape is nobody's business here.
            let rest = format!("\"ClientRequestURI\":\"/%zz%4\",\"EdgeStartTimestamp\":{value}}}");
            assert_eq!(
                edited(&spec, &format!("{{{rest}")),
                format!("{{\"@timestamp\":\"{expected}\",{rest}"),
            );
        }
        for value in ["null", "\"\"", "-1", "{}", "1.5e9", "\"soon\""] {
            let record = format!("{{\"EdgeStartTimestamp\":{value}}}");
            assert_eq!(edited(&spec, &record), record);
        }
    }

    #[test]
    fn a_time_may_stand_in_two_fields_or_within_an_object_or_be_escaped() {
        for (paths, record, expected) in [
            (
                &["date", "time"][..],
                "{\"time\":\"21:02:31\",\"date\":\"2019-12-04\"}",
                "2019-12-04T21:02:31.000Z",
            ),
            (
                &["a.b"],
                "{\"a\":{\"x\":1,\"b\":1575493351},\"b\":2}",
                "2019-12-04T21:02:31.000Z",
            ),
            (
                &["t"],
                r#"{"\u0074":"06\/Feb\/2019:00:00:38 +0000"}"#,
                "2019-02-06T00:00:38.000Z",
            ),
            (
                &["t"],
                "{\"t\":1575493351,\"t\":1}",
                "2019-12-04T21:02:31.000Z",
            ),
        ] {
            let expected = format!("{{\"@timestamp\":\"{expected}\",{}", &record[1..]);
            assert_eq!(edited(&always_from(paths), record), expected);
        }
        for record in ["{\"date\":\"2019-12-04\"}", "{\"time\":\"21:02:31\"}", "{}"] {
            assert_eq!(edited(&always_from(&["date", "time"]), record), record);
        }
    }

    #[test]
    fn r9_a_records_own_members_win_over_added_ones() {
        let spec = ShapeSpec {
            source: vec![(SourceValue::Bucket, "bucket".into())],
            fields: vec![
                text_field("type", "t"),
                text_field("message", "m"),
                text_field("env", "e"),
            ],
            ..ShapeSpec::default()
        };
        for (record, expected) in [
            (
                "{\"a\":1}",
                "{\"bucket\":\"b\",\"type\":\"t\",\"message\":\"m\",\"env\":\"e\",\"a\":1}",
            ),
            (
                "{\"type\":null,\"token\":1}",
                "{\"bucket\":\"b\",\"message\":\"m\",\"env\":\"e\",\"type\":null,\"token\":1}",
            ),
            (
                r#"{"m\u0065ssage":1,"n":{"env":2}}"#,
                r#"{"bucket":"b","type":"t","env":"e","m\u0065ssage":1,"n":{"env":2}}"#,
            ),
            (
                "{\"bucket\":1,\"type\":2,\"message\":3,\"env\":4,\"env\":5}",
                "{\"bucket\":1,\"type\":2,\"message\":3,\"env\":4,\"env\":5}",
            ),
            (
                "text",
                "{\"bucket\":\"b\",\"type\":\"t\",\"env\":\"e\",\"message\":\"text\"}",
            ),
        ] {
            assert_eq!(edited(&spec, record), expected);
        }
        let dropping = ShapeSpec {
            drop_fields: vec![names("type"), names("message.x")],
            ..spec
        };
        assert_eq!(
            edited(
                &dropping,
                "{\"type\":1,\"message\":{\"x\":1},\"bucket\":1,\"env\":1}"
            ),
            "{\"type\":\"t\",\"message\":{},\"bucket\":1,\"env\":1}",
        );
    }

    #[test]
    fn r9_an_own_timestamp_stays_unless_it_is_no_time_and_the_rule_names_another() {
        let named = always_from(&["t"]);
        let unnamed = ShapeSpec {
            timestamp: TimestampSpec {
                when: TimestampWhen::Always,
                from: None,
            },
            ..ShapeSpec::default()
        };
        let format = TimeSource {
            place: fields(&["t"]),
            format: TimeFormat::Auto,
        };
        let by_format = logzio().editing(edits(&unnamed).or_time_from(&format));
        for (own, is_time) in [
            ("\"2023-05-21T12:45:10+00:00\"", true),
            ("1684662310", true),
            ("{\"a\":1}", false),
            ("\"yesterday\"", false),
            ("1684673200471000000", false),
        ] {
            let record = format!("{{\"a\":1,\"@timestamp\":{own},\"t\":1575493351}}");
            let replaced = "{\"@timestamp\":\"2019-12-04T21:02:31.000Z\",\"a\":1,\"t\":1575493351}";
            let expected = if is_time { record.as_str() } else { replaced };
            assert_eq!(edited(&named, &record), expected);
            let (how, _) = shaped(&by_format, record.as_bytes());
            assert_eq!(how, "unchanged", "{own}");
            let unreadable = format!("{{\"@timestamp\":{own},\"t\":\"x\"}}");
            assert_eq!(edited(&named, &unreadable), unreadable);
        }
        let (_, out) = shaped(&by_format, b"{\"t\":1575493351}");
        assert_eq!(
            out,
            b"{\"@timestamp\":\"2019-12-04T21:02:31.000Z\",\"t\":1575493351}"
        );
        let own_unit = always_from(&["@timestamp"]);
        assert_eq!(
            edited(&own_unit, "{\"@timestamp\":1575493351000000000}"),
            "{\"@timestamp\":\"2019-12-04T21:02:31.000Z\"}",
        );
        let constant = ShapeSpec {
            fields: vec![text_field("@timestamp", "2020")],
            ..named
        };
        assert_eq!(
            edited(&constant, "{\"t\":1}"),
            "{\"@timestamp\":\"2020\",\"t\":1}"
        );
    }

    #[test]
    fn the_time_of_a_line_is_a_word_of_it_or_stands_in_brackets() {
        const WORD_1: TimePlace = TimePlace::Words { first: 1, count: 1 };
        const FIRST_TWO: TimePlace = TimePlace::Words { first: 0, count: 2 };
        let alb = "http 2022-12-06T17:42:16.176563Z random/lb";
        let s3 = "79a5 bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3";
        for (place, line, expected) in [
            (WORD_1, alb, "2022-12-06T17:42:16.176Z"),
            (WORD_1, "a \t 1575493351\tb", "2019-12-04T21:02:31.000Z"),
            (
                FIRST_TWO,
                "2019-12-04\t21:02:31\tLAX1",
                "2019-12-04T21:02:31.000Z",
            ),
            (
                FIRST_TWO,
                "2019-12-04 21:02:31,5",
                "2019-12-04T21:02:31.500Z",
            ),
            (TimePlace::Brackets, s3, "2019-02-06T00:00:38.000Z"),
            (
                TimePlace::Brackets,
                "[2025-07-04 11:57:55,836] INFO [x]",
                "2025-07-04T11:57:55.836Z",
            ),
        ] {
            for when in [TimestampWhen::Always, TimestampWhen::WhereRewritten] {
                let spec = ShapeSpec {
                    timestamp: time_from(when, place.clone()),
                    ..ShapeSpec::default()
                };
                let message = Value::from(line);
                let object = format!("{{\"@timestamp\":\"{expected}\",\"message\":{message}}}");
                assert_eq!(edited(&spec, line), object);
                let (how, out) = shaped(&Shape::default().editing(edits(&spec)), line.as_bytes());
                match when {
                    TimestampWhen::Always => assert_eq!(out, object.as_bytes()),
                    _ => assert_eq!(how, "unchanged", "an endpoint of lines gets it as it is"),
                }
            }
        }
        for (place, line) in [
            (TimePlace::Words { first: 9, count: 1 }, "a b"),
            (TimePlace::Brackets, "]["),
            (TimePlace::Brackets, "a [b"),
            (fields(&["t"]), "a"),
        ] {
            let spec = ShapeSpec {
                timestamp: time_from(TimestampWhen::Always, place),
                ..ShapeSpec::default()
            };
            assert_eq!(edited(&spec, line), format!("{{\"message\":\"{line}\"}}"));
        }
    }

    #[test]
    fn a_time_where_rewritten_is_added_only_to_what_changes_anyway() {
        let spec = |drop: &str| ShapeSpec {
            timestamp: time_from(TimestampWhen::WhereRewritten, fields(&["t"])),
            drop_fields: vec![names(drop)],
            ..ShapeSpec::default()
        };
        let record = "{\"t\":1575493351,\"d\":1}";
        let shape = logzio().editing(edits(&spec("x")));
        assert_eq!(shaped(&shape, record.as_bytes()).0, "unchanged");
        let time = "\"@timestamp\":\"2019-12-04T21:02:31.000Z\"";
        assert_eq!(
            edited(&spec("d"), record),
            format!("{{{time},\"t\":1575493351}}")
        );
        assert_eq!(
            edited(&spec("t"), record),
            format!("{{{time},\"d\":1}}"),
            "the time is read first"
        );
    }

    fn condition(field: Option<&str>, pattern: &str) -> Condition {
        Condition {
            field: field.map(names),
            pattern: Pattern::new(pattern).unwrap(),
        }
    }

    #[test]
    fn rules_leave_records_out_by_their_line_or_a_field_and_exclude_wins() {
        let spec = ShapeSpec {
            include: vec![condition(Some("a.b"), "^x\"y$"), condition(None, "keep")],
            exclude: vec![
                condition(Some("n"), "^5[0-9]{2}$"),
                condition(None, "debug"),
            ],
            // What is dropped or hidden can still be asked for.
            drop_fields: vec![names("n")],
            ..ShapeSpec::default()
        };
        for (record, goes) in [
            ("{\"a\":{\"b\":\"x\\\"y\"}}", true),
            ("{\"a\":{\"b\":\"x\\\"yz\"}}", false),
            ("{\"a\":{\"b\":\"x\\\"y\"},\"n\":503}", false),
            ("{\"keep\":1,\"n\":5030}", true),
            ("{\"keep\":1,\"n\":\"503\"}", false),
            ("keep this", true),
            ("keep debug", false),
            ("other", false),
        ] {
            let (how, _) = shaped(&logzio().editing(edits(&spec)), record.as_bytes());
            assert_eq!(how != "filtered", goes, "{record}");
        }
        let long = Record {
            length: 1_000,
            ..record(b"debug")
        };
        let shape = Shape::default().editing(edits(&spec));
        let mut scratch = Scratch::default();
        assert_eq!(shape.shape(&long, false, &mut scratch), Shaped::Filtered);
    }

    #[test]
    fn what_no_edit_touches_goes_as_it_came() {
        let spec = ShapeSpec {
            drop_fields: vec![names("x"), names("a.x")],
            exclude: vec![condition(None, "never")],
            redact: vec![Redaction::Email, Redaction::CardNumber],
            ..ShapeSpec::default()
        };
        for shape in [logzio(), Shape::default()] {
            let shape = shape.editing(edits(&spec));
            assert!(shape.may_leave_unchanged(b"{"));
            for record in ["{\"a\":{\"b\":1.50}, \"c\":\"\\u0041\"}", "{oops}"] {
                let expected = ("unchanged", record.as_bytes().to_vec());
                assert_eq!(shaped(&shape, record.as_bytes()), expected);
            }
        }
        assert!(!logzio().editing(edits(&spec)).may_leave_unchanged(b"x"));
        assert!(
            !logzio()
                .editing(edits(&always_from(&["t"])))
                .may_leave_unchanged(b"{")
        );
    }

    #[test]
    fn what_is_dropped_or_redacted_does_not_come_back_where_a_record_is_cut() {
        let spec = ShapeSpec {
            drop_fields: vec![names("secret")],
            redact: vec![Redaction::Email],
            ..ShapeSpec::default()
        };
        let filler = format!("\"f\":\"{}\"", "x".repeat(100));
        let object = format!("{{\"secret\":\"hush\",\"mail\":\"a@b.cd\",{filler}}}");
        let shape = Shape {
            record_bytes_max: Some(100),
            ..logzio()
        }
        .editing(edits(&spec));
        let (how, out) = shaped(&shape, object.as_bytes());
        let out = String::from_utf8(out).unwrap();
        assert_eq!(how, "cut");
        assert!(!out.contains("hush") && !out.contains("a@b"), "{out}");

        let shape = logzio().editing(edits(&spec));
        for held in 1..object.len() {
            let bytes = &object.as_bytes()[..held];
            let start = Record {
                length: 1_000_000,
                ..record(bytes)
            };
            let mut scratch = Scratch::default();
            let Shaped::Cut(out) = shape.shape(&start, false, &mut scratch) else {
                panic!("not cut at {held}");
            };
            let message = field(out, "message");
            assert!(
                !message.contains("hus") && !message.contains("a@b.cd"),
                "{message}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_an_object_is_redacted_all_the_same() {
        let spec = ShapeSpec {
            redact: vec![Redaction::Email, Redaction::IpAddress],
            ..ShapeSpec::default()
        };
        assert_eq!(
            edited(&spec, "{user a@b.cd from 192.0.2.1}"),
            "{user [redacted] from [redacted]}",
        );
        assert_eq!(
            edited(&spec, "mail a@b.cd"),
            "{\"message\":\"mail [redacted]\"}"
        );
        let lines = Shape::default().editing(edits(&spec));
        assert_eq!(
            shaped(&lines, b"mail a@b.cd \xff"),
            ("edited", b"mail [redacted] \xff".to_vec())
        );
    }

    #[test]
    fn a_value_with_line_feeds_goes_on_one_line_and_text_with_them_as_a_message() {
        let of = |form, bytes: &'static str| Record {
            form,
            frame: Frame::Stripped,
            ..record(bytes.as_bytes())
        };
        for (shape, form, bytes, expected) in [
            (
                logzio(),
                Form::Value,
                "{\n \"a\" : 1.50,\r\n \"b\":[ ] }",
                "{\"a\":1.50,\"b\":[]}",
            ),
            (logzio(), Form::Value, "[1,\n2]", "{\"message\":\"[1,2]\"}"),
            (logzio(), Form::Value, "{ \"a\": 1 }", "{ \"a\": 1 }"),
            (Shape::default(), Form::Value, "[1,\n2]", "[1,2]"),
            (
                logzio(),
                Form::Text,
                "a\n\tat b",
                "{\"message\":\"a\\n\\tat b\"}",
            ),
            (
                Shape::default(),
                Form::Text,
                "{\"a\":1}",
                "{\"message\":\"{\\\"a\\\":1}\"}",
            ),
        ] {
            let mut scratch = Scratch::default();
            match shape.shape(&of(form, bytes), true, &mut scratch) {
                Shaped::Edited(out) | Shaped::Unchanged(out) => {
                    assert_eq!(String::from_utf8_lossy(out), expected);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_first_of_several_fields_that_a_record_has_is_its_time() {
        let any = ShapeSpec {
            timestamp: time_from(
                TimestampWhen::Always,
                TimePlace::AnyOf(vec![names("a"), names("b.c")]),
            ),
            ..ShapeSpec::default()
        };
        for record in [
            "{\"b\":{\"c\":1575493351}}",
            "{\"b\":{\"c\":1},\"a\":1575493351}",
            "{\"a\":1575493351}",
        ] {
            let expected = "{\"@timestamp\":\"2019-12-04T21:02:31.000Z\",";
            assert_eq!(edited(&any, record), format!("{expected}{}", &record[1..]));
        }
    }

    #[test]
    fn r4_an_event_of_a_log_group_is_edited_and_a_control_message_is_left_out() {
        let document = |kind: &str| {
            format!(
                "{{\"messageType\":\"{kind}\",\"owner\":\"1\",\"logGroup\":\"g\",\"logEvents\":\
                 [{{\"id\":\"i\",\"timestamp\":1575493351000,\"message\":\"from 192.0.2.1\"}}]}}"
            )
        };
        let spec = ShapeSpec {
            redact: vec![Redaction::IpAddress],
            ..always_from(&["timestamp"])
        };
        let shaped_event = |shape: &Shape, kind: &str| {
            let text = document(kind);
            let mut splitter = SubscriptionSplitter::new(1_000);
            let record = splitter.pop(&mut text.as_bytes()).expect("a document");
            shaped_record(shape, &record.expect("an event"))
        };
        let (how, out) = shaped_event(&logzio().editing(edits(&spec)), "DATA_MESSAGE");
        assert_eq!(how, "edited");
        let expected = "{\"@timestamp\":\"2019-12-04T21:02:31.000Z\",\"id\":\"i\",\"timestamp\":1575493351000,\
                        \"message\":\"from [redacted]\",\"owner\":\"1\",\"logGroup\":\"g\"}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let (how, _) = shaped_event(&Shape::default(), "CONTROL_MESSAGE");
        assert_eq!(how, "filtered");
    }

    #[test]
    fn b6_a_field_at_the_start_of_a_record_that_is_too_long_includes_and_excludes_it() {
        let on = |field: &str, pattern: &str| Condition {
            field: Some(FieldPath(vec![field.to_owned()])),
            pattern: Pattern::new(pattern).unwrap(),
        };
        let start = b"{\"level\":\"error\",\"m\":\"xxxxxxxx";
        let long = Record {
            length: 1_000_000,
            ..record(start)
        };
        let is_sent = |include: Vec<Condition>, exclude: Vec<Condition>| {
            let spec = ShapeSpec {
                include,
                exclude,
                ..ShapeSpec::default()
            };
            let shape = logzio().editing(edits(&spec));
            shape.shape(&long, true, &mut Scratch::default()) != Shaped::Filtered
        };
        assert!(is_sent(vec![on("level", "error")], vec![]));
        assert!(!is_sent(vec![on("level", "info")], vec![]));
        assert!(!is_sent(vec![], vec![on("level", "error")]));
        // What is not held may be what is wanted.
        assert!(is_sent(vec![on("later", "x")], vec![]));
        assert!(is_sent(vec![], vec![on("later", "x")]));
    }

    #[test]
    fn b6_of_a_row_that_is_too_long_no_dropped_column_stays() {
        use crate::records::{Dialect, Header, RowFormat, RowSplitter};
        let columns = ["id", "ssn", "text"].map(str::to_owned);
        let format = RowFormat {
            dialect: Dialect::CSV,
            header: Header::Given(columns.to_vec()),
            numbers: Vec::new(),
        };
        let spec = ShapeSpec {
            drop_fields: vec![names("ssn")],
            ..ShapeSpec::default()
        };
        let mut splitter = RowSplitter::new(format, 20);
        let mut plain = &b"1,123-45-6789,xxxxxxxxxxxxxx\n"[..];
        let row = splitter.pop(&mut plain).unwrap().expect("a row");
        let mut scratch = Scratch::default();
        let shape = logzio().editing(edits(&spec));
        let Shaped::Cut(out) = shape.shape(&row, true, &mut scratch) else {
            panic!("not cut");
        };
        assert_eq!(
            field(out, "message"),
            "{\"id\":\"1\",\"text\":\"xxxxxx\"...[cut, 28 bytes]"
        );
    }

    #[test]
    fn the_time_of_a_text_may_be_a_date_and_the_word_after_it() {
        let spec = ShapeSpec {
            timestamp: TimestampSpec {
                when: TimestampWhen::Always,
                from: Some(TimeSource {
                    place: TimePlace::Words { first: 1, count: 1 },
                    format: TimeFormat::Auto,
                }),
            },
            ..ShapeSpec::default()
        };
        for (line, expected) in [
            (
                "x 2024-01-02 10:00:00,123 ERROR",
                "2024-01-02T10:00:00.123Z",
            ),
            (
                "x 2024-01-02T10:00:00Z 11:00:00",
                "2024-01-02T10:00:00.000Z",
            ),
            ("x [2024-01-02 10:00:00]", ""),
            ("x 2024-01-02", ""),
        ] {
            let out = edited(&spec, line);
            let parsed: Value = serde_json::from_str(&out).expect("JSON");
            let time = parsed["@timestamp"].as_str().unwrap_or_default();
            assert_eq!(time, expected, "{line}");
        }
    }

    #[test]
    fn a_value_of_json_that_is_no_object_is_redacted_as_what_it_says() {
        let spec = ShapeSpec {
            redact: vec![Redaction::Email],
            ..ShapeSpec::default()
        };
        let shape = logzio().editing(edits(&spec));
        for form in [Form::Value, Form::Line] {
            let value = Record {
                form,
                ..record(b"[\"u\\u0040e.io\"]")
            };
            let mut scratch = Scratch::default();
            let Shaped::Edited(out) = shape.shape(&value, true, &mut scratch) else {
                panic!("not edited");
            };
            assert_eq!(field(out, "message"), "[\"[redacted]\"]");
        }
        let damaged = edited(&spec, "{\"a\":\"u\\u0040e.io\",oops}");
        assert_eq!(damaged, "{\"a\":\"[redacted]\",oops}");
    }

    #[test]
    fn an_endpoint_of_lines_gets_objects_where_members_are_added() {
        let spec = ShapeSpec {
            fields: vec![text_field("env", "e")],
            ..ShapeSpec::default()
        };
        let shape = Shape::default().editing(edits(&spec));
        for (line, expected) in [
            (&b"text"[..], &b"{\"env\":\"e\",\"message\":\"text\"}"[..]),
            (b"{\"a\":\"\xff\"}", b"{\"env\":\"e\",\"a\":\"\xff\"}"),
        ] {
            assert_eq!(shaped(&shape, line), ("edited", expected.to_vec()));
        }
        assert_eq!(shaped(&shape, b"\xff").0, "cut", "its original is kept");
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

        /// The reference works on a document; the bytes of what is not touched are looked for in what comes out.
        #[test]
        fn an_edited_record_means_what_it_should_and_the_rest_stays_byte_for_byte(
            record in proptest::collection::btree_map("[a-d\"@\\\\]{1,2}|@timestamp|type", json_strategy(), 0..7),
            space in "[ \t]{0,2}",
            drop in proptest::collection::btree_set("[a-d\"]{1,2}|type", 0..3),
            inner in proptest::option::of("[a-d]{1,2}"),
            time in proptest::option::of(0_u64..4_000_000_000_000_000_000),
            is_escaped in any::<bool>(),
        ) {
            let mut record: serde_json::Map<String, Value> = record.into_iter().collect();
            if let Some(time) = time {
                record.insert("t".into(), Value::from(time));
            }
            let inside = inner.iter().map(|name| vec!["b".to_owned(), name.clone()]);
            let whole = drop.iter().map(|name| vec![name.clone()]);
            let spec = ShapeSpec {
                timestamp: TimestampSpec {
                    when: TimestampWhen::Always,
                    from: Some(TimeSource { place: fields(&["t"]), format: TimeFormat::UnixNanoseconds }),
                },
                source: vec![(SourceValue::Index, "a".into()), (SourceValue::Key, "c".into())],
                fields: vec![text_field("type", "x"), ("d".into(), FieldValue::Json("[1]".into()))],
                drop_fields: inside.chain(whole).map(FieldPath).collect(),
                ..ShapeSpec::default()
            };
            let mut expected = record.clone();
            expected.retain(|name, _| !drop.contains(name));
            if let (Some(inner), Some(Value::Object(b))) = (&inner, expected.get_mut("b")) {
                b.remove(inner);
            }
            let own_is_time = |own: &Value| match own {
                Value::String(text) => time::parse(text.as_bytes(), TimeFormat::Rfc3339).is_some(),
                Value::Number(number) => matches!(number.as_u64().map(|n| n.to_string().len()), Some(1..=10 | 13)),
                _ => false,
            };
            if let Some(time) = time && !expected.get("@timestamp").is_some_and(own_is_time) {
                let ms = jiff::Timestamp::from_millisecond((time / 1_000_000) as i64).unwrap();
                expected.insert("@timestamp".into(), Value::from(format!("{ms:.3}")));
            }
            let added = [("a", Value::from(0)), ("c", "k".into()), ("type", "x".into()), ("d", vec![1].into())];
            for (name, value) in added {
                expected.entry(name).or_insert(value);
            }
            let written: Vec<String> = record
                .iter()
                .map(|(name, value)| {
                    let mut name = Value::from(name.as_str()).to_string();
                    if is_escaped {
                        name = name.replace('a', "\\u0061").replace('b', "\\u0062").replace('@', "\\u0040");
                    }
                    format!("{name}{space}:{space}{value}")
                })
                .collect();
            let text = format!("{{{space}{}{space}}}", written.join(&format!("{space},{space}")));
            let out = edited(&spec, &text);
            let parsed: Value = serde_json::from_str(&out).expect("valid JSON");
            prop_assert_eq!(parsed, Value::Object(expected.clone()));
            let mut at = 0;
            for (member, (name, value)) in written.iter().zip(&record) {
                if expected.get(name) == Some(value) {
                    let found = out[at..].find(member.as_str());
                    prop_assert!(found.is_some(), "{} is not in {}", member, out);
                    at += found.unwrap() + member.len();
                }
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
