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
        let (mut found, mut seen) = (Vec::new(), 0);
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

/// Whether the start of an object can go on as JSON, as far as brackets, names, colons and commas go, at any depth: the
/// rest of a line that was cut off, and the lines after it, cannot.
fn may_be_json(object: &[u8]) -> bool {
    /// What comes next.
    #[derive(Clone, Copy, PartialEq)]
    enum Next {
        FirstName,
        Name,
        Colon,
        Value,
        FirstElement,
        CommaOrEnd,
    }
    let (mut open, mut next, mut at) = (Vec::new(), Next::Value, 0);
    while let Some(byte) = object.get(at) {
        at += 1;
        next = match (next, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') => continue,
            (Next::Value | Next::FirstElement, b'{') => {
                open.push(b'}');
                Next::FirstName
            }
            (Next::Value | Next::FirstElement, b'[') => {
                open.push(b']');
                Next::FirstElement
            }
            (Next::Colon, b':') => Next::Value,
            (Next::CommaOrEnd, b',') => match open.last() {
                Some(b'}') => Next::Name,
                _ => Next::Value,
            },
            (Next::CommaOrEnd | Next::FirstName, b'}')
            | (Next::CommaOrEnd | Next::FirstElement, b']') => {
                if open.pop() != Some(*byte) {
                    return false;
                }
                Next::CommaOrEnd
            }
            (Next::FirstName | Next::Name, b'"')
            | (Next::Value | Next::FirstElement, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                at = match value_end(&object[at - 1..]) {
                    Ok(Some(length)) => at - 1 + length,
                    Ok(None) => return true,
                    Err(_) => return false,
                };
                match next {
                    Next::FirstName | Next::Name => Next::Colon,
                    _ => Next::CommaOrEnd,
                }
            }
            _ => return false,
        };
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
            "{\"a\":{\"b\":1,\n{\"c\":1",
            "{\"a\":[{\"b\" 1",
            "{\"a\":[1,]",
            "{\"a\":[,",
            "{\"a\":{\"b\":}",
            "{\"a\":{'b",
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
