//! JSON as bytes.
//!
//! Goes in: the text of one value (RFC 8259). Comes out: where its parts stand, or the same text on one line. It
//! builds no document, and never changes what it does not have to: names, numbers and escapes stay as written.

use super::Malformed;

pub(super) mod elements;
mod skip;

pub use skip::DEPTH_MAX;
use skip::Skip;

/// One member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What stands between the quotes of its name, escapes as they are.
    pub name: &'a [u8],
    /// Its value, without white space around it.
    pub value: &'a [u8],
    /// Where its name's opening quote stands in the object.
    pub name_start: usize,
    /// Where its value begins in the object.
    pub start: usize,
    /// Where its value ends in the object; a comma or the object's closing brace comes next, if need be after
    /// white space.
    pub end: usize,
}

/// The members of an object in their order, without those of the objects within it.
///
/// Nothing is allocated. After an error, which is at an offset into the object, there are no more members; if
/// none came, the object is whole: members with commas between them, its closing brace, and nothing after it
/// but white space. What stands inside a value is checked as far as its end has to be found: strings end,
/// brackets close in pairs, literals are literals.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    object: &'a [u8],
    at: usize,
    next: Next,
    skip: Skip,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Open,
    CommaOrClose,
    Nothing,
}

/// The top-level members of `object`.
pub fn members(object: &[u8]) -> Members<'_> {
    Members {
        object,
        at: 0,
        next: Next::Open,
        skip: Skip::new(),
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.advance().transpose();
        self.next = match member {
            Some(Ok(_)) => Next::CommaOrClose,
            Some(Err(_)) | None => Next::Nothing,
        };
        member
    }
}

impl std::iter::FusedIterator for Members<'_> {}

impl<'a> Members<'a> {
    fn advance(&mut self) -> Result<Option<Member<'a>>, Malformed> {
        match self.next {
            Next::Nothing => return Ok(None),
            Next::Open => {
                self.space();
                self.take(b'{', "a `{`")?;
                self.space();
                if self.peek() == Some(b'}') {
                    return self.close();
                }
            }
            Next::CommaOrClose => {
                self.space();
                if self.peek() == Some(b'}') {
                    return self.close();
                }
                self.take(b',', "a comma or a `}`")?;
                self.space();
            }
        }
        let name_start = self.at;
        self.take(b'"', "a name")?;
        self.skip.begin(b'"');
        self.value()?;
        let name = &self.object[name_start + 1..self.at - 1];
        self.space();
        self.take(b':', "a colon")?;
        self.space();
        let start = self.at;
        if !self.peek().is_some_and(|first| self.skip.begin(first)) {
            return Err(self.malformed("a value"));
        }
        self.at += 1;
        self.value()?;
        Ok(Some(Member {
            name,
            value: &self.object[start..self.at],
            name_start,
            start,
            end: self.at,
        }))
    }

    fn close(&mut self) -> Result<Option<Member<'a>>, Malformed> {
        self.at += 1;
        self.space();
        if self.at < self.object.len() {
            return Err(self.malformed("nothing after the object"));
        }
        Ok(None)
    }

    /// Goes on to the end of the value that was begun.
    fn value(&mut self) -> Result<(), Malformed> {
        match self.skip.advance(&self.object[self.at..]) {
            Ok(Some(length)) => {
                self.at += length;
                Ok(())
            }
            Ok(None) => {
                self.at = self.object.len();
                Err(self.malformed("the rest of the object"))
            }
            Err(fault) => {
                self.at += fault.at;
                Err(self.malformed(fault.expected))
            }
        }
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(self.malformed(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.object.get(self.at).copied()
    }

    fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed {
            offset: self.at as u64,
            expected,
        }
    }
}

/// How many bytes of `text` are those of the value that it begins with; `None` if the end of an array, an object, a
/// string or a literal is not here. An error if it begins with no value, or with one that cannot go on as it does:
/// [`Skip`] says what is checked.
pub fn value_end(text: &[u8]) -> Result<Option<usize>, Malformed> {
    let malformed = |at: usize, expected| Malformed {
        offset: at as u64,
        expected,
    };
    let Some((first, rest)) = text.split_first() else {
        return Ok(None);
    };
    let mut skip = Skip::new();
    if !skip.begin(*first) {
        return Err(malformed(0, "a value"));
    }
    match skip.advance(rest) {
        Ok(Some(length)) => Ok(Some(length + 1)),
        Ok(None) if skip.may_end() => Ok(Some(text.len())),
        Ok(None) => Ok(None),
        Err(fault) => Err(malformed(fault.at + 1, fault.expected)),
    }
}

/// Whether a text holds no line end, as every value but a pretty-printed one.
pub fn is_one_line(json: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', json).is_none()
}

/// Appends `json` to `out` without the white space between its tokens: strings, numbers and everything else
/// stay as written. A line end within a string, which RFC 8259, section 7, forbids, is escaped, so that what
/// is appended is one line whatever `json` is.
pub fn minify(json: &[u8], out: &mut Vec<u8>) {
    out.reserve(json.len());
    let mut skip = Skip::new();
    let mut rest = json;
    loop {
        let quote = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        let (tokens, string) = rest.split_at(quote);
        out.extend(tokens.iter().filter(|byte| !is_space(**byte)));
        let Some((first, after)) = string.split_first() else {
            return;
        };
        skip.begin(*first);
        let length = skip.string(after).unwrap_or(after.len());
        push_on_one_line(&string[..=length], out);
        rest = &after[length..];
    }
}

/// Appends a string with the line ends in it escaped.
fn push_on_one_line(string: &[u8], out: &mut Vec<u8>) {
    let mut rest = string;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(if rest[at] == b'\n' { b"\\n" } else { b"\\r" });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// White space between tokens: RFC 8259, section 2.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::elements::harness;
    use super::*;

    fn names(object: &str) -> Result<Vec<(&str, &str)>, Malformed> {
        members(object.as_bytes())
            .map(|member| {
                member.map(|member| {
                    assert_eq!(member.value, &object.as_bytes()[member.start..member.end]);
                    assert_eq!(object.as_bytes()[member.name_start], b'"');
                    let text = |bytes| std::str::from_utf8(bytes).expect("cut between characters");
                    (text(member.name), text(member.value))
                })
            })
            .collect()
    }

    #[test]
    fn members_stand_as_they_are_written() {
        let object = " { \"a\\\"}\" :1.50, \"b\":[{\"x\":\"]\"}] ,\n\"c\":{\"a\":2},\"\":\"\\\\\",\"n\":null}\n";
        let expected = [
            ("a\\\"}", "1.50"),
            ("b", "[{\"x\":\"]\"}]"),
            ("c", "{\"a\":2}"),
            ("", "\"\\\\\""),
            ("n", "null"),
        ];
        assert_eq!(names(object).expect("a whole object"), expected);
        assert_eq!(names("{}"), Ok(vec![]));
        assert_eq!(names(" {\t} "), Ok(vec![]));
    }

    #[test]
    fn an_object_that_is_not_whole_is_an_error_at_its_place() {
        for (object, offset) in [
            ("", 0),
            ("[]", 0),
            ("{", 1),
            ("{\"a\"", 4),
            ("{\"a\" 1}", 5),
            ("{\"a\":}", 5),
            ("{\"a\":1", 6),
            ("{\"a\":1,}", 7),
            ("{\"a\":1 \"b\":2}", 7),
            ("{\"a\":nul}", 8),
            ("{\"a\":[1}}", 7),
            ("{\"a\":1}}", 7),
            ("{a:1}", 1),
        ] {
            let error = names(object).expect_err(object);
            assert_eq!(error.offset, offset, "{object}");
        }
    }

    #[test]
    fn a_value_ends_where_its_last_byte_is() {
        for (text, end) in [
            ("{\"a\":[1,\"}\"]}, more", Some(13)),
            ("[]]", Some(2)),
            ("\"a\\\"b\" ", Some(6)),
            ("12,", Some(2)),
            ("12", Some(2)),
            ("true", Some(4)),
            ("", None),
            ("{\"a\":1", None),
            ("\"a", None),
            ("nul", None),
        ] {
            assert_eq!(value_end(text.as_bytes()), Ok(end), "{text}");
        }
        for (text, offset) in [("x", 0), ("{]", 1), ("nulx", 3), (" 1", 0)] {
            let error = value_end(text.as_bytes()).expect_err(text);
            assert_eq!(error.offset, offset, "{text}");
        }
    }

    fn minified(json: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        minify(json, &mut out);
        out.split_off(b"before".len())
    }

    #[test]
    fn a_minified_value_is_as_written_but_for_white_space() {
        let json = b" {\r\n\t\"a b\\\" \" : [ 1.50,\n\"\xff \\\\\" ] }\n";
        assert_eq!(minified(json), b"{\"a b\\\" \":[1.50,\"\xff \\\\\"]}");
        assert_eq!(minified(b"\"cut "), b"\"cut ");
        assert_eq!(minified(b"\"cut\\"), b"\"cut\\");
        assert_eq!(minified(b""), b"");
    }

    #[test]
    fn a_line_end_in_a_string_is_escaped() {
        assert_eq!(minified(b"[\"a\r\nb\n\",\n1]"), b"[\"a\\r\\nb\\n\",1]");
        assert!(!is_one_line(b"a\rb") && !is_one_line(b"a\n") && is_one_line(b"a b"));
    }

    proptest! {
        #[test]
        fn a_minified_value_is_what_another_parser_writes_compact(
            value in harness::value(),
            style in harness::style(),
        ) {
            let text = style.write(&value);
            let out = minified(text.as_bytes());
            prop_assert!(is_one_line(&out));
            match style {
                harness::Style::Escaped => {
                    prop_assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), value);
                }
                harness::Style::Compact | harness::Style::Pretty => {
                    prop_assert_eq!(String::from_utf8(out).expect("text"), value.to_string());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn members_are_those_that_another_parser_reads(
            object in harness::object(),
            style in harness::style(),
        ) {
            let text = style.write(&Value::Object(object.clone()));
            let read: Result<Vec<(String, Value)>, Malformed> = members(text.as_bytes())
                .map(|member| member.map(|member| {
                    let name = &text.as_bytes()[member.name_start..][..member.name.len() + 2];
                    let parse = |bytes| serde_json::from_slice(bytes).expect("JSON");
                    assert_eq!(member.value, &text.as_bytes()[member.start..member.end]);
                    (serde_json::from_slice(name).expect("a string"), parse(member.value))
                }))
                .collect();
            prop_assert_eq!(read, Ok(object.into_iter().collect::<Vec<_>>()));
        }
    }

    proptest! {
        #[test]
        fn an_object_that_another_parser_takes_has_members(
            object in harness::object(),
            edits in harness::edits(),
        ) {
            let text = harness::edited(Value::Object(object).to_string().into_bytes(), &edits);
            let all: Result<Vec<_>, _> = members(&text).collect();
            if serde_json::from_slice::<serde_json::Map<String, Value>>(&text).is_ok() {
                prop_assert!(all.is_ok());
            }
        }
    }
}
