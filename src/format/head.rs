//! What the start of JSON text says without its end.
//!
//! Goes in: text that begins with an object. Comes out: its members, as far as they are here, and what follows it; or
//! that it is no JSON. It is as strict as whoever splits the text later (see [`json::Members`](crate::records::json)),
//! so that no text is taken for JSON that would be damaged as such.

use crate::records::json::{members, value_end};

/// The object that some text begins with.
#[derive(Debug)]
pub struct JsonHead<'a> {
    members: Vec<Member<'a>>,
    /// As much of it as is here.
    pub text: &'a [u8],
    /// What follows it; `None` if its end is not here.
    pub rest: Option<&'a [u8]>,
}

/// A member, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    pub name: &'a [u8],
    /// As much of its value as is here.
    pub value: &'a [u8],
}

/// Members that are looked at: no source has as many.
const MEMBERS_MAX: usize = 1_000;
/// As many as most sources have.
const MEMBERS_ORDINARY: usize = 64;

impl<'a> JsonHead<'a> {
    /// None if `text` does not begin with an object, or with what cannot become one.
    pub fn of(text: &'a [u8]) -> Option<Self> {
        if text.first() != Some(&b'{') {
            return None;
        }
        let end = value_end(text).ok()?;
        let object = &text[..end.unwrap_or(text.len())];
        if end.is_none() && !may_be_json(object) {
            return None;
        }
        let (mut found, mut seen) = (Vec::with_capacity(MEMBERS_ORDINARY), 0);
        for member in members(object) {
            match member {
                Ok(member) => {
                    seen = member.end;
                    if found.len() < MEMBERS_MAX {
                        found.push(Member {
                            name: member.name,
                            value: member.value,
                        });
                    }
                }
                // It only goes on behind what is here.
                Err(fault) if end.is_none() && fault.offset == object.len() as u64 => {}
                Err(_) => return None,
            }
        }
        if end.is_none() && found.len() < MEMBERS_MAX {
            found.extend(open_member(object, seen));
        }
        Some(Self {
            members: found,
            text: object,
            rest: end.map(|end| &text[end..]),
        })
    }

    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// What is here of the value of that member.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let mut members = self.members.iter();
        let member = members.find(|member| member.name == name.as_bytes())?;
        Some(member.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether there is a member of that name that is an array, or null.
    pub fn holds_array(&self, name: &str) -> bool {
        self.value(name)
            .is_some_and(|value| matches!(value.first(), Some(b'[' | b'n')))
    }

    /// Whether it stands on several lines.
    pub fn is_pretty(&self) -> bool {
        memchr::memchr(b'\n', self.text).is_some()
    }
}

impl<'a> Member<'a> {
    /// The first element of an array of objects.
    pub fn first_element(&self) -> Option<JsonHead<'a>> {
        JsonHead::of(self.value.strip_prefix(b"[")?.trim_ascii_start())
    }

    /// Whether it is an array with nothing in it, or null.
    pub fn is_empty(&self) -> bool {
        match self.value.strip_prefix(b"[") {
            Some(inside) => inside.trim_ascii_start().first() == Some(&b']'),
            None => self.value == b"null",
        }
    }
}

/// Whether no line of the start of an object begins a value right behind another one, at any depth: the rest of a line
/// that was cut off, and the lines after it, do. What else may be wrong with it is for whoever takes it apart.
fn may_be_json(object: &[u8]) -> bool {
    let (mut last, mut begins_line, mut at) = (b'{', false, 0);
    while let Some(byte) = object.get(at) {
        let length = match byte {
            b'\n' => {
                begins_line = true;
                at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => value_end(&object[at..]),
            _ => Ok(Some(1)),
        };
        let ends_value = !matches!(last, b'{' | b'[' | b',' | b':');
        let begins_value = !matches!(byte, b'}' | b']' | b',' | b':');
        if begins_line && ends_value && begins_value {
            return false;
        }
        let Ok(Some(length)) = length else {
            return true;
        };
        (last, begins_line) = (*byte, false);
        at += length;
    }
    true
}

/// The member that begins behind the first `seen` bytes of an object and whose end is not here.
fn open_member(object: &[u8], seen: usize) -> Option<Member<'_>> {
    let before: &[u8] = if seen == 0 { b"{" } else { b"," };
    let rest = object[seen..].trim_ascii_start().strip_prefix(before)?;
    let rest = rest.trim_ascii_start();
    let end = value_end(rest).ok()??;
    let name = rest[..end].strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let value = rest[end..].trim_ascii_start().strip_prefix(b":")?;
    Some(Member {
        name,
        value: value.trim_ascii_start(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, String)> {
        let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let head = JsonHead::of(text.as_bytes()).expect("JSON so far");
        let members = head.members().iter();
        members
            .map(|member| (owned(member.name), owned(member.value)))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn a_malformed_record_makes_no_lines_of_the_document_around_it() {
        for document in [
            "{\"Records\":[{\"a\":1},{\"a\":2,,},{\"a\":3}",
            "{\n  \"Records\": [\n    {\"a\":1},\n    {\"a\" 2},\n    {\"a\":[1,]",
        ] {
            assert!(JsonHead::of(document.as_bytes()).is_some(), "{document}");
        }
    }

    #[test]
    fn what_is_json_up_to_where_it_was_cut_may_be_json() {
        let whole =
            r#"{"a":[1,-2.5e3,true,null,"x\"y\u00e9",{"b":[],"c":{}},[false]] , "d" : {"e":"f"}}"#;
        for end in 0..whole.len() {
            assert!(may_be_json(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
    }

    #[test]
    fn members_are_those_that_are_here() {
        let text = "{\"a\": 1, \"b\" : [{\"c\":2}, {";
        for (end, expected) in [
            (text.len(), &[("a", "1"), ("b", "[{\"c\":2}, {")][..]),
            (16, &[("a", "1"), ("b", "[")]),
            (15, &[("a", "1"), ("b", "")]),
            (13, &[("a", "1")]),
            (12, &[("a", "1")]),
            (8, &[("a", "1")]),
            (5, &[("a", "")]),
            (3, &[]),
            (1, &[]),
        ] {
            assert_eq!(names(&text[..end]), pairs(expected), "{}", &text[..end]);
        }
    }

    #[test]
    fn what_cannot_become_an_object_is_none() {
        for text in [
            "",
            "[1]",
            "{abc} is text",
            "{\"a\"}",
            "{\"a\":1,}",
            "{\"a\":x",
            "{'a': 1}",
            "{\"a\":[1}",
            "{\"a\":1 \"b\"",
            "{2024-01-01} INFO",
            "{\n  key = value",
            "{\"a\":[\"x\"\n{\"b\":1",
            "{\"a\":{\"b\":1,\n{\"c\":1}\n{\"c\":2",
            "{\"a\":[\n1\n2",
            "{\\",
        ] {
            assert!(JsonHead::of(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn what_follows_is_told_from_what_has_not_come() {
        let head = JsonHead::of(b"{\"a\":{}} x").expect("JSON");
        assert_eq!(
            (head.text, head.rest),
            (&b"{\"a\":{}}"[..], Some(&b" x"[..]))
        );
        let head = JsonHead::of(b"{\"a\":{}").expect("JSON");
        assert_eq!((head.text, head.rest), (&b"{\"a\":{}"[..], None));
    }
}
