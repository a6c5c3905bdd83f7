//! Record → outgoing record: what the endpoint needs it to be, and no more.
//!
//! Goes in: a record as it stands in the object. Comes out: the same bytes on the ordinary path,
//! after a scan of its ends, its length and its encoding; else an edited copy.
//! It never parses a document: it edits bytes, so key order and number text survive.

use std::borrow::Cow;

use crate::records::Record;

pub mod spec;

/// How records are to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The endpoint takes JSON objects only: anything else goes out as `{"message": …}`.
    pub json_only: bool,
    /// Longest outgoing record, in bytes.
    pub record_bytes_max: Option<usize>,
    /// Longest string value of an outgoing record, in characters.
    pub field_chars_max: Option<usize>,
    /// The value of the field [`SOURCE_FIELD`], if records are to carry it: `bucket/key`.
    pub source: Option<String>,
}

/// The field that names the object a record came from, as the hosted fetcher's successor calls it.
pub const SOURCE_FIELD: &str = "s3_object_key";

/// The field that holds a record that is no JSON object.
const MESSAGE_FIELD: &str = "message";

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Shaped<'a> {
    /// Goes out as it came.
    Unchanged(&'a [u8]),
    /// Goes out edited, with nothing lost.
    Edited(&'a [u8]),
    /// Goes out with something cut to a limit or replaced: the original is to be kept.
    Cut(&'a [u8]),
    /// Cannot go out: longer than what is held of it, and the endpoint's records must not be cut.
    TooLong,
}

impl Shape {
    /// Whether a record that begins with `start` may go out as it came.
    pub fn may_leave_unchanged(&self, start: &[u8]) -> bool {
        self.source.is_none() && (!self.json_only || start.first() == Some(&b'{'))
    }

    /// Shapes `record`; an edited copy is made in `scratch`, whose content is replaced.
    /// `is_text` says that its bytes are known to satisfy [`is_text`]: a scan of many records at once
    /// costs less than one of each.
    pub fn shape<'a>(
        &self,
        record: &Record<'a>,
        is_text: bool,
        scratch: &'a mut Vec<u8>,
    ) -> Shaped<'a> {
        if !self.json_only && record.is_truncated() {
            return Shaped::TooLong;
        }
        let ordinary = !record.is_truncated()
            && self.source.is_none()
            && (!self.json_only || self.is_ordinary(record.bytes, is_text));
        if ordinary {
            return Shaped::Unchanged(record.bytes);
        }
        scratch.clear();
        match self.edit(record, scratch) {
            Loss::None if scratch == record.bytes => Shaped::Unchanged(record.bytes),
            Loss::None => Shaped::Edited(scratch),
            Loss::Some => Shaped::Cut(scratch),
        }
    }

    /// Whether a record may go to an endpoint that takes JSON objects without a closer look.
    fn is_ordinary(&self, bytes: &[u8], is_text: bool) -> bool {
        bytes.first() == Some(&b'{')
            && bytes.last() == Some(&b'}')
            && self.field_chars_max.is_none_or(|max| bytes.len() <= max)
            && self.record_bytes_max.is_none_or(|max| bytes.len() <= max)
            && (is_text
                || (memchr::memchr(0, bytes).is_none() && std::str::from_utf8(bytes).is_ok()))
    }

    fn edit(&self, record: &Record<'_>, out: &mut Vec<u8>) -> Loss {
        let is_object = looks_like_object(record.bytes) && !record.is_truncated();
        if !is_object {
            return self.wrap(record, out);
        }
        if !self.json_only {
            self.open_object(record.bytes, out);
            return Loss::None;
        }
        let text = String::from_utf8_lossy(record.bytes);
        let mut loss = Loss::from(matches!(text, Cow::Owned(_)));
        self.open_object(text.as_bytes(), out);
        if let Some(max) = self.field_chars_max.filter(|max| out.len() > *max) {
            let mut cut = Vec::with_capacity(out.len());
            if cut_long_strings(out, max, &mut cut) {
                std::mem::swap(out, &mut cut);
                loss = Loss::Some;
            }
        }
        if self.record_bytes_max.is_some_and(|max| out.len() > max) {
            out.clear();
            return self.wrap(record, out);
        }
        loss
    }

    /// Copies a JSON object, with the source field in front if there is one.
    fn open_object(&self, object: &[u8], out: &mut Vec<u8>) {
        let Some(source) = &self.source else {
            out.extend_from_slice(object);
            return;
        };
        let rest = object.get(1..).unwrap_or_default();
        let is_empty = rest.trim_ascii_start().first() == Some(&b'}');
        out.push(b'{');
        push_member(SOURCE_FIELD, source, out);
        if !is_empty {
            out.push(b',');
        }
        out.extend_from_slice(rest);
    }

    /// `{"message": …}`, and the source field. The message is cut to what the endpoint takes.
    fn wrap(&self, record: &Record<'_>, out: &mut Vec<u8>) -> Loss {
        let text = String::from_utf8_lossy(record.bytes);
        let mut loss = Loss::from(matches!(text, Cow::Owned(_)) || record.is_truncated());
        let mut message = text.as_ref();
        let mut marker = String::new();
        // An escaped character is at most six bytes (`\u0000`), so this bounds the record as well.
        let by_bytes = self
            .record_bytes_max
            .map(|max| max.saturating_sub(MESSAGE_ROOM) / 6);
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
        out.push(b'{');
        if let Some(source) = &self.source {
            push_member(SOURCE_FIELD, source, out);
            out.push(b',');
        }
        push_string(MESSAGE_FIELD, out);
        out.extend_from_slice(b":\"");
        push_escaped(message, out);
        push_escaped(&marker, out);
        out.extend_from_slice(b"\"}");
        loss
    }
}

/// Room that a wrapped message leaves for what stands around it: braces, names, the source field of
/// at most 63 + 1 + 1,024 bytes, each of which may take six.
const MESSAGE_ROOM: usize = 8 * 1024;

enum Loss {
    None,
    Some,
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

/// What stands where something was cut, with the original length.
fn cut_marker(length: u64, unit: &str) -> String {
    format!("...[cut, {length} {unit}]")
}

fn first_chars(text: &str, count: usize) -> &str {
    match text.char_indices().nth(count) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn push_member(name: &str, value: &str, out: &mut Vec<u8>) {
    push_string(name, out);
    out.push(b':');
    push_string(value, out);
}

fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// Escapes what RFC 8259, section 7, says must be, and DEL to be kind to terminals.
fn push_escaped(text: &str, out: &mut Vec<u8>) {
    let mut plain_from = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let short: Option<u8> = match byte {
            b'"' => Some(b'"'),
            b'\\' => Some(b'\\'),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            0x00..=0x1f | 0x7f => None,
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match short {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

/// Copies a JSON text, cutting every string value of more than `chars_max` characters: what is left
/// of it, with its marker, has exactly `chars_max`. An escape sequence counts as one character and is
/// never split, nor is a pair of surrogates. Names of members are left alone. Says whether anything was cut.
fn cut_long_strings(json: &[u8], chars_max: usize, out: &mut Vec<u8>) -> bool {
    let mut cut = false;
    let mut at = 0;
    while let Some(quote) = memchr::memchr(b'"', &json[at..]) {
        let start = at + quote + 1;
        out.extend_from_slice(&json[at..start]);
        let end = string_end(json, start);
        let text = &json[start..end];
        let is_name = json
            .get(end + 1..)
            .is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b':'));
        // A character is at least one byte, so most strings need no counting.
        let length = if text.len() > chars_max {
            count_chars(text)
        } else {
            0
        };
        if length > chars_max && !is_name {
            let marker = cut_marker(length as u64, "characters");
            let kept = chars_max.saturating_sub(marker.len());
            out.extend_from_slice(&text[..chars_end(text, kept)]);
            out.extend_from_slice(marker.as_bytes());
            cut = true;
        } else {
            out.extend_from_slice(text);
        }
        at = end;
        if at < json.len() {
            out.push(b'"');
            at += 1;
        }
    }
    out.extend_from_slice(&json[at..]);
    cut
}

/// Where the string that begins at `start` ends: at its closing quote, or the end of the text.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &json[at..]) {
        at += found;
        if json[at] == b'"' {
            return at;
        }
        at = (at + 2).min(json.len());
    }
    json.len()
}

fn count_chars(text: &[u8]) -> usize {
    let mut at = 0;
    let mut count = 0;
    while at < text.len() {
        at = char_end(text, at);
        count += 1;
    }
    count
}

/// Where the first `count` characters of an escaped string end.
fn chars_end(text: &[u8], count: usize) -> usize {
    let mut at = 0;
    for _ in 0..count {
        if at >= text.len() {
            break;
        }
        at = char_end(text, at);
    }
    at
}

/// Where the character at `at` ends: a UTF-8 sequence, an escape sequence, or two of them that are a
/// pair of surrogates.
fn char_end(text: &[u8], at: usize) -> usize {
    let length = match text[at] {
        b'\\' if text.get(at + 1) == Some(&b'u') => {
            let is_pair = is_surrogate(text, at, b"89abAB")
                && text.get(at + 6..at + 8) == Some(b"\\u")
                && is_surrogate(text, at + 6, b"cdefCDEF");
            if is_pair { 12 } else { 6 }
        }
        b'\\' => 2,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    };
    (at + length).min(text.len())
}

/// Whether the `\u` escape at `at` is `\uD` followed by one of `third`.
fn is_surrogate(text: &[u8], at: usize, third: &[u8]) -> bool {
    matches!(text.get(at + 2), Some(b'd' | b'D'))
        && text.get(at + 3).is_some_and(|digit| third.contains(digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

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
            source: None,
        }
    }

    fn shaped(shape: &Shape, bytes: &[u8]) -> (&'static str, Vec<u8>) {
        let mut scratch = Vec::new();
        match shape.shape(&record(bytes), is_text(bytes), &mut scratch) {
            Shaped::Unchanged(out) => ("unchanged", out.to_vec()),
            Shaped::Edited(out) => ("edited", out.to_vec()),
            Shaped::Cut(out) => ("cut", out.to_vec()),
            Shaped::TooLong => ("too long", Vec::new()),
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
        let mut scratch = Vec::new();
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
        let shape = Shape {
            source: Some("b/dir a/k\"é".into()),
            ..logzio()
        };
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
