//! YAML text → nodes, each with its place. What YAML offers beyond plain data is refused: anchors and aliases
//! (a short file could stand for gigabytes), tags, a second document.
//!
//! It is built from the parser's events, since a loader would drop the first of two equal names, turn numbers
//! into floats, and call itself once for each level of nesting.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::error::{Place, Problems};

/// Deepest nesting of lists and mappings.
pub const DEPTH_MAX: usize = 32;

#[derive(Debug)]
pub struct Node<'a> {
    pub place: Place,
    /// Characters of the text from its start to its end.
    pub chars: usize,
    pub value: Value<'a>,
}

#[derive(Debug)]
pub enum Value<'a> {
    Scalar(Scalar<'a>),
    List(Vec<Node<'a>>),
    /// Each name once.
    Mapping(Vec<Member<'a>>),
    /// Something that is not taken; a problem says so.
    Refused,
}

#[derive(Debug)]
pub struct Member<'a> {
    pub name: Cow<'a, str>,
    pub place: Place,
    pub value: Node<'a>,
}

/// A scalar by the core schema (YAML 1.2.2, section 10.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
}

/// The one document of `text`, if that much of it could be read; every problem is noted.
pub fn parse<'a>(text: &'a str, problems: &mut Problems) -> Option<Node<'a>> {
    let mut open: Vec<Open<'a>> = Vec::new();
    let mut document = None;
    let mut documents = 0;
    let last = end_of(text);
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = place(error.marker()).min(last);
                problems.note(at, format!("no YAML: {}", error.info()));
                return None;
            }
        };
        let at = place(&span.start).min(last);
        let (start, end) = (span.start.index(), span.end.index());
        let node = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
            Event::DocumentStart(_) if documents == 0 => {
                documents = 1;
                continue;
            }
            Event::DocumentStart(_) => {
                problems.note(at, "a second document, expected one in a file".to_owned());
                return None;
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if open.len() == DEPTH_MAX || anchor > 0 || tag.is_some() =>
            {
                if open.len() == DEPTH_MAX {
                    let message = format!("nested too deep, expected at most {DEPTH_MAX} levels");
                    problems.note(at, message);
                    return None;
                }
                refuse_extras(at, anchor, tag.is_some(), problems);
                open.push(Open::new(at, start, Kind::Refused));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Open::new(at, start, Kind::List));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::new(at, start, Kind::Mapping));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(done) => done.close(end, problems),
                None => continue,
            },
            Event::Alias(_) => {
                problems.note(at, "an alias, expected the value itself".to_owned());
                Node::new(at, start, end, Value::Refused)
            }
            Event::Scalar(_, _, anchor, tag) if anchor > 0 || tag.is_some() => {
                refuse_extras(at, anchor, tag.is_some(), problems);
                Node::new(at, start, end, Value::Refused)
            }
            Event::Scalar(text, style, _, _) => {
                let value = if style == ScalarStyle::Plain {
                    plain(text)
                } else {
                    Scalar::Text(text)
                };
                Node::new(at, start, end, Value::Scalar(value))
            }
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => document = Some(node),
        }
    }
    document
}

fn refuse_extras(at: Place, anchor: usize, tagged: bool, problems: &mut Problems) {
    if anchor > 0 {
        problems.note(at, "an anchor, expected plain values".to_owned());
    }
    if tagged {
        problems.note(at, "a tag, expected plain values".to_owned());
    }
}

/// A list or mapping whose end has not come yet.
struct Open<'a> {
    at: Place,
    start: usize,
    kind: Kind,
    /// Of a mapping: names and values by turns.
    children: Vec<Node<'a>>,
}

enum Kind {
    List,
    Mapping,
    Refused,
}

impl<'a> Open<'a> {
    fn new(at: Place, start: usize, kind: Kind) -> Self {
        let children = Vec::new();
        Self {
            at,
            start,
            kind,
            children,
        }
    }

    fn close(self, end: usize, problems: &mut Problems) -> Node<'a> {
        let value = match self.kind {
            Kind::List => Value::List(self.children),
            Kind::Mapping => Value::Mapping(members(self.children, problems)),
            Kind::Refused => Value::Refused,
        };
        Node::new(self.at, self.start, end, value)
    }
}

fn members<'a>(children: Vec<Node<'a>>, problems: &mut Problems) -> Vec<Member<'a>> {
    let mut members = Vec::with_capacity(children.len() / 2);
    let mut seen: HashMap<Cow<'a, str>, Place> = HashMap::new();
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        let place = key.place;
        let name = match key.value {
            Value::Scalar(Scalar::Text(name) | Scalar::Number(name)) => name,
            Value::Scalar(Scalar::Bool(value)) => Cow::from(if value { "true" } else { "false" }),
            Value::Scalar(Scalar::Null) | Value::List(_) | Value::Mapping(_) => {
                problems.note(place, "a field without a name, expected one".to_owned());
                continue;
            }
            Value::Refused => continue,
        };
        if let Some(first) = seen.get(&name) {
            let message = format!(
                "field {} a second time: it stands on line {} already",
                super::error::quoted(&name),
                first.line
            );
            problems.note(place, message);
            continue;
        }
        seen.insert(name.clone(), place);
        members.push(Member { name, place, value });
    }
    members
}

impl<'a> Node<'a> {
    fn new(place: Place, start: usize, end: usize, value: Value<'a>) -> Self {
        let chars = end.saturating_sub(start);
        Self {
            place,
            chars,
            value,
        }
    }
}

/// Lines and columns from one; the parser counts columns from zero.
fn place(marker: &Marker) -> Place {
    Place {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

/// Where the text ends: the parser counts a line more.
fn end_of(text: &str) -> Place {
    let last = text.lines().last().unwrap_or_default();
    Place {
        line: text.lines().count().max(1),
        column: last.chars().count() + 1,
    }
}

fn plain(text: Cow<'_, str>) -> Scalar<'_> {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        other if is_number(other) => Scalar::Number(text),
        _ => Scalar::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    let all = |digits: &str, is: fn(&char) -> bool| {
        !digits.is_empty() && digits.chars().all(|digit| is(&digit))
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |digit| digit.is_digit(8));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, char::is_ascii_hexdigit);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Scalar<'_> {
        plain(text.into())
    }

    #[test]
    fn scalars_are_what_the_core_schema_says() {
        for text in [
            "0",
            "-7",
            "+7",
            "007",
            "0o17",
            "0xFf",
            "1.50",
            ".5",
            "1.",
            "1e9",
            "-1.5E-3",
            ".inf",
            "-.Inf",
            ".nan",
            "1506702504433000200",
        ] {
            assert_eq!(scalar(text), Scalar::Number(text.into()), "{text}");
        }
        for text in [
            "-", ".", "e5", "1e", "0o8", "0x", "1_000", "1-2", "yes", "no", "on", "tRUE", "nan",
            "-.nan",
        ] {
            assert_eq!(scalar(text), Scalar::Text(text.into()), "{text}");
        }
        assert_eq!(scalar("TRUE"), Scalar::Bool(true));
        assert_eq!(scalar("Null"), Scalar::Null);
    }

    #[test]
    fn what_ends_the_text_is_no_line_after_it() {
        for text in [
            "rules: !!str",
            "rules: !!str\n",
            "rules: &a",
            "rules: *a",
            "rules: [",
        ] {
            let mut problems = Problems::default();
            parse(text, &mut problems);
            let errors = problems.into_errors().expect("problems");
            assert!(
                errors.errors().iter().all(|error| error.place.line == 1),
                "{text}: {errors}"
            );
        }
    }

    #[test]
    fn lists_within_lists_by_the_thousand_are_refused_without_a_call_for_each() {
        for opener in ["- ", "[", "? "] {
            let mut problems = Problems::default();
            assert!(parse(&opener.repeat(100_000), &mut problems).is_none());
            assert!(!problems.is_empty(), "{opener}");
        }
    }
}
