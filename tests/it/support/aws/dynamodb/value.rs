//! Attribute values as the wire has them, compared and measured as DynamoDB does.

use std::cmp::Ordering;

use aws_smithy_types::base64;
use serde_json::{Map, Value, json};

use crate::support::aws::failure::ServiceError;

/// Attributes by name; each value is an object with one member named for its type.
pub type Item = Map<String, Value>;

/// The type and the content of an attribute value.
pub fn typed(value: &Value) -> Option<(&str, &Value)> {
    let (name, content) = value.as_object()?.iter().next()?;
    Some((name, content))
}

/// A key's value, in the order of keys: strings by UTF-8 bytes, binary by bytes, numbers by value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyValue {
    Number(i128),
    Text(String),
    Binary(Vec<u8>),
}

impl KeyValue {
    /// Reads a key attribute of the declared type; an empty one is refused, as DynamoDB does.
    pub fn read(name: &str, kind: &str, value: &Value) -> Result<Self, ServiceError> {
        let invalid = |what: &str| {
            ServiceError::validation(format!(
                "One or more parameter values were invalid: {what} for key {name}"
            ))
        };
        let key = match typed(value) {
            Some((found, content)) if found == kind => Self::of(kind, content),
            Some(_) | None => None,
        };
        match key {
            None => Err(invalid("Type mismatch")),
            Some(Self::Text(text)) if text.is_empty() => Err(invalid("An empty string value")),
            Some(Self::Binary(bytes)) if bytes.is_empty() => Err(invalid("An empty binary value")),
            Some(key) => Ok(key),
        }
    }

    fn of(kind: &str, content: &Value) -> Option<Self> {
        let text = content.as_str()?;
        match kind {
            "S" => Some(Self::Text(text.to_owned())),
            "N" => text.parse().ok().map(Self::Number),
            "B" => base64::decode(text).ok().map(Self::Binary),
            _ => None,
        }
    }
}

/// The order of two values; `None` if they have none.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let ((a_kind, a), (b_kind, b)) = (typed(a)?, typed(b)?);
    if a_kind != b_kind {
        return None;
    }
    match (KeyValue::of(a_kind, a), KeyValue::of(b_kind, b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        // Fractions, and numbers beyond 38 digits.
        (None, _) | (_, None) if a_kind == "N" => {
            let number = |value: &Value| value.as_str()?.parse::<f64>().ok();
            number(a)?.partial_cmp(&number(b)?)
        }
        (None, _) | (_, None) => None,
    }
}

/// Whether two values are the same; values of different types never are.
pub fn equal(a: &Value, b: &Value) -> bool {
    compare(a, b).map_or_else(|| a == b, Ordering::is_eq)
}

/// Whether text or bytes begin so.
pub fn begins_with(value: &Value, start: &Value) -> bool {
    match (typed(value), typed(start)) {
        (Some(("S", value)), Some(("S", start))) => match (value.as_str(), start.as_str()) {
            (Some(value), Some(start)) => value.starts_with(start),
            _ => false,
        },
        (Some(("B", value)), Some(("B", start))) => bytes(value).starts_with(&bytes(start)),
        _ => false,
    }
}

/// Whether text holds a text, or a set or list a member.
pub fn contains(value: &Value, member: &Value) -> bool {
    let (Some((kind, value)), Some((member_kind, content))) = (typed(value), typed(member)) else {
        return false;
    };
    match (kind, member_kind) {
        ("S", "S") => {
            let (value, content) = (value.as_str(), content.as_str());
            value
                .zip(content)
                .is_some_and(|(value, content)| value.contains(content))
        }
        ("SS", "S") | ("NS", "N") | ("BS", "B") => {
            value.as_array().is_some_and(|set| set.contains(content))
        }
        ("L", _) => value.as_array().is_some_and(|list| list.contains(member)),
        _ => false,
    }
}

/// What `size()` gives: characters, bytes or members.
pub fn size_of(value: &Value) -> Option<usize> {
    let (kind, content) = typed(value)?;
    match kind {
        "S" => Some(content.as_str()?.chars().count()),
        "B" => Some(bytes(content).len()),
        "L" | "SS" | "NS" | "BS" => Some(content.as_array()?.len()),
        "M" => Some(content.as_object()?.len()),
        _ => None,
    }
}

/// `a + b` or `a - b`.
pub fn sum(a: &Value, b: &Value, minus: bool) -> Option<Value> {
    let number = |value: &Value| match typed(value)? {
        ("N", content) => content.as_str()?.parse::<i128>().ok(),
        _ => None,
    };
    let (a, b) = (number(a)?, number(b)?);
    Some(json!({ "N": (if minus { a - b } else { a + b }).to_string() }))
}

/// Bytes an item counts: names and contents, a little more for what nests.
pub fn item_bytes(item: &Item) -> usize {
    let attributes = item.iter();
    attributes
        .map(|(name, value)| name.len() + value_bytes(value))
        .sum()
}

fn value_bytes(value: &Value) -> usize {
    let Some((kind, content)) = typed(value) else {
        return 0;
    };
    match (kind, content) {
        ("B", content) => bytes(content).len(),
        ("N", content) => content.as_str().map_or(0, |digits| digits.len() / 2 + 2),
        ("S", content) => content.as_str().map_or(0, str::len),
        ("M", Value::Object(members)) => 3 + members.len() + item_bytes(members),
        ("L", Value::Array(members)) => {
            3 + members.len() + members.iter().map(value_bytes).sum::<usize>()
        }
        (_, Value::Array(set)) => set.iter().filter_map(Value::as_str).map(str::len).sum(),
        _ => 1,
    }
}

fn bytes(content: &Value) -> Vec<u8> {
    content
        .as_str()
        .and_then(|text| base64::decode(text).ok())
        .unwrap_or_default()
}
