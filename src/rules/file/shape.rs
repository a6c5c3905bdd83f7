//! What a file says of records → [`ShapeSpec`](crate::shape::spec::ShapeSpec), part by part.

use super::reader::{Fields, ITEMS_MAX, Reader, TEXT_CHARS_MAX, Table};
use crate::pattern::Pattern;
use crate::rules::error::{Place, quoted};
use crate::rules::template::Template;
use crate::rules::yaml::{Member, Node, Scalar, Value};
use crate::shape::SOURCE_FIELD;
use crate::shape::spec::{
    Condition, FieldPath, FieldValue, Redaction, SourceValue, TimeFormat, TimePlace, TimeSource,
    TimestampSpec, TimestampWhen,
};

/// Longest name of a field, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// Greatest index of a word in a line.
pub const WORD_MAX: u32 = 9_999;

pub const TIMESTAMP: Table = Table {
    what: "timestamp",
    names: &["field", "fields", "word", "brackets", "format"],
    hidden: false,
};

pub const SOURCE: Table = Table {
    what: "source",
    names: &[
        "object_key",
        "bucket",
        "key",
        "region",
        "account",
        "index",
        "id",
    ],
    hidden: false,
};

pub const CONDITION: Table = Table {
    what: "condition",
    names: &["field", "pattern"],
    hidden: false,
};

pub const REDACTION: Table = Table {
    what: "redaction",
    names: &["pattern", "with"],
    hidden: false,
};

pub const TIME_FORMATS: &[(&str, TimeFormat)] = &[
    ("auto", TimeFormat::Auto),
    ("rfc3339", TimeFormat::Rfc3339),
    ("unix", TimeFormat::UnixSeconds),
    ("unix_ms", TimeFormat::UnixMilliseconds),
    ("unix_us", TimeFormat::UnixMicroseconds),
    ("unix_ns", TimeFormat::UnixNanoseconds),
    ("clf", TimeFormat::CommonLog),
];

/// What may be told of the source, in the order of the table above, and under which name if none is given.
const SOURCE_VALUES: &[(&str, (SourceValue, &str))] = &[
    ("object_key", (SourceValue::ObjectKey, SOURCE_FIELD)),
    ("bucket", (SourceValue::Bucket, "s3_bucket")),
    ("key", (SourceValue::Key, "s3_key")),
    ("region", (SourceValue::Region, "aws_region")),
    ("account", (SourceValue::Account, "aws_account")),
    ("index", (SourceValue::Index, "s3_record_index")),
    ("id", (SourceValue::Id, "s3_record_id")),
];

const REDACTIONS: &[(&str, Redaction)] = &[
    ("email", Redaction::Email),
    ("ip", Redaction::IpAddress),
    ("bearer", Redaction::BearerToken),
    ("card", Redaction::CardNumber),
];

/// What stands for what a pattern redacts, unless `with` says otherwise.
const REDACTED: &str = "[redacted]";

/// A capture that is named somewhere.
#[derive(Clone, Debug)]
pub struct Use {
    pub place: Place,
    pub capture: String,
}

/// Constant fields, and the captures in them.
#[derive(Clone, Debug, Default)]
pub struct ConstantFields {
    pub fields: Vec<(String, FieldValue)>,
    pub uses: Vec<Use>,
}

impl Reader {
    pub fn timestamp(&mut self, node: &Node<'_>) -> Option<TimestampSpec> {
        let always = |from| TimestampSpec {
            when: TimestampWhen::Always,
            from,
        };
        match &node.value {
            Value::Scalar(Scalar::Bool(true)) => Some(always(None)),
            Value::Scalar(Scalar::Bool(false)) => Some(TimestampSpec {
                when: TimestampWhen::Never,
                from: None,
            }),
            Value::Mapping(_) => {
                let fields = self.fields(node, &TIMESTAMP)?;
                let format = match fields.get("format") {
                    None => Some(TimeFormat::default()),
                    Some(format) => self.word(format, "format of timestamp", TIME_FORMATS),
                };
                let place = self.time_place(&fields);
                let (place, format) = (place?, format?);
                Some(always(Some(TimeSource { place, format })))
            }
            Value::Scalar(_) | Value::List(_) | Value::Refused => {
                let expected = "true, false or a mapping with field, fields, word or brackets";
                self.wrong(node, "timestamp", expected);
                None
            }
        }
    }

    fn time_place(&mut self, fields: &Fields<'_, '_>) -> Option<TimePlace> {
        let name = self.only_one_of(
            fields,
            "timestamp",
            &["field", "fields", "word", "brackets"],
        )?;
        let node = fields.get(name)?;
        match name {
            "field" => {
                let path = self.field_path(node, "field")?;
                Some(TimePlace::Fields(vec![path]))
            }
            "fields" => {
                let read = |reader: &mut Self, item: &Node<'_>| reader.field_path(item, "fields");
                let paths = self.each(node, "fields", read)?;
                if paths.is_empty() {
                    self.refuse(node.place, "fields is an empty list, expected an item");
                    return None;
                }
                Some(TimePlace::Fields(paths))
            }
            "word" => {
                let word = self.count(node, "word", 0, WORD_MAX)?;
                let first = usize::try_from(word).ok()?;
                Some(TimePlace::Words { first, count: 1 })
            }
            _ => match self.bool(node, "brackets")? {
                true => Some(TimePlace::Brackets),
                false => {
                    self.wrong(node, "brackets", "true, or another place");
                    None
                }
            },
        }
    }

    /// Which one of some fields is there, if exactly one is.
    pub fn only_one_of(
        &mut self,
        fields: &Fields<'_, '_>,
        what: &str,
        names: &[&'static str],
    ) -> Option<&'static str> {
        let given: Vec<&'static str> = names
            .iter()
            .copied()
            .filter(|name| fields.get(name).is_some())
            .collect();
        let expected = super::one_of(names);
        match given.as_slice() {
            [one] => return Some(one),
            [] => self.refuse(
                fields.place,
                format!("{what} is not complete, expected {expected}"),
            ),
            [_, second, ..] => {
                let second = fields
                    .member(second)
                    .map_or(fields.place, |member| member.place);
                let given = given.join(" and ");
                self.refuse(
                    second,
                    format!("{what} has {given}, expected one of {expected}"),
                );
            }
        }
        None
    }

    pub fn source(&mut self, node: &Node<'_>) -> Option<Vec<(SourceValue, String)>> {
        let named = |(value, name): (SourceValue, &str)| (value, name.to_owned());
        match &node.value {
            Value::Scalar(Scalar::Bool(true)) => {
                Some(vec![(SourceValue::ObjectKey, SOURCE_FIELD.to_owned())])
            }
            Value::Scalar(Scalar::Bool(false)) => Some(Vec::new()),
            Value::List(_) => {
                let read = |reader: &mut Self, item: &Node<'_>| {
                    let value = reader.word(item, "source", SOURCE_VALUES)?;
                    Some((item.place, value))
                };
                let values = self.each(node, "source", read)?;
                let mut source: Vec<(SourceValue, String)> = Vec::with_capacity(values.len());
                for (place, value) in values {
                    if source.iter().any(|(known, _)| *known == value.0) {
                        self.refuse(place, "source has a value twice, expected it once");
                        return None;
                    }
                    source.push(named(value));
                }
                Some(source)
            }
            Value::Mapping(_) => {
                let fields = self.fields(node, &SOURCE)?;
                let mut source = Vec::new();
                for (name, (value, _)) in SOURCE_VALUES {
                    let Some(node) = fields.get(name) else {
                        continue;
                    };
                    let given = self.text_up_to(node, name, NAME_CHARS_MAX)?;
                    if source.iter().any(|(_, known)| known == given) {
                        let given = quoted(given);
                        let message =
                            format!("source has the name {given} twice, expected it once");
                        self.refuse(node.place, message);
                        return None;
                    }
                    source.push((*value, given.to_owned()));
                }
                Some(source)
            }
            Value::Scalar(_) | Value::Refused => {
                let expected = "true, false, a list of values, or a mapping of values to names";
                self.wrong(node, "source", expected);
                None
            }
        }
    }

    pub fn constant_fields(&mut self, node: &Node<'_>) -> Option<ConstantFields> {
        let Value::Mapping(members) = &node.value else {
            self.wrong(node, "fields", "a mapping of names to values");
            return None;
        };
        if members.len() > ITEMS_MAX {
            let found = members.len();
            let message = format!("fields has {found} names, expected at most {ITEMS_MAX}");
            self.refuse(node.place, message);
            return None;
        }
        let mut constant = ConstantFields::default();
        for member in members {
            if let Some(value) = self.field_value(member, &mut constant.uses) {
                constant.fields.push((member.name.to_string(), value));
            }
        }
        Some(constant)
    }

    fn field_value(&mut self, member: &Member<'_>, uses: &mut Vec<Use>) -> Option<FieldValue> {
        let Member { name, place, value } = member;
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            let message = format!("a name in fields, expected 1 to {NAME_CHARS_MAX} characters");
            self.refuse(*place, message);
            return None;
        }
        let Value::Scalar(Scalar::Text(text)) = &value.value else {
            let mut json = String::new();
            return self.json(value, &mut json).map(|()| FieldValue::Json(json));
        };
        if text.chars().count() > TEXT_CHARS_MAX {
            let message =
                format!("{name} is too long, expected at most {TEXT_CHARS_MAX} characters");
            self.refuse(value.place, message);
            return None;
        }
        let template = self.template(value, text)?;
        if template.captures().next().is_some() {
            uses.extend(template.captures().map(|capture| Use {
                place: value.place,
                capture: capture.to_owned(),
            }));
            return Some(FieldValue::Template(text.to_string()));
        }
        Some(FieldValue::Json(json_text(&template.expand(&[]))))
    }

    pub fn template(&mut self, node: &Node<'_>, text: &str) -> Option<Template> {
        let template = Template::parse(text).ok();
        if template.is_none() {
            let text = quoted(text);
            let message =
                format!("{text} has a ${{ without an end, expected }} (or $${{ for itself)");
            self.refuse(node.place, message);
        }
        template
    }

    /// Writes any value as JSON; numbers as they were written.
    fn json(&mut self, node: &Node<'_>, out: &mut String) -> Option<()> {
        match &node.value {
            Value::Scalar(Scalar::Null) => out.push_str("null"),
            Value::Scalar(Scalar::Bool(true)) => out.push_str("true"),
            Value::Scalar(Scalar::Bool(false)) => out.push_str("false"),
            Value::Scalar(Scalar::Number(text)) => {
                if serde_json::from_str::<&serde_json::value::RawValue>(text).is_err() {
                    self.wrong(
                        node,
                        "a value in fields",
                        "a number as JSON has it, or text in quotes",
                    );
                    return None;
                }
                out.push_str(text);
            }
            Value::Scalar(Scalar::Text(text)) => out.push_str(&json_text(text)),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.json(item, out)?;
                }
                out.push(']');
            }
            Value::Mapping(members) => {
                out.push('{');
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&json_text(&member.name));
                    out.push(':');
                    self.json(&member.value, out)?;
                }
                out.push('}');
            }
            Value::Refused => return None,
        }
        Some(())
    }

    /// Names with dots between them; `\.` is a dot within a name, `\\` a backslash.
    pub fn field_path(&mut self, node: &Node<'_>, name: &str) -> Option<FieldPath> {
        let text = self.text(node, name)?;
        let path = field_path(text);
        if path.is_none() {
            let expected = "names with dots between them (\\. for a dot within a name)";
            self.wrong(node, name, expected);
        }
        path
    }

    pub fn drop_fields(&mut self, node: &Node<'_>) -> Option<Vec<FieldPath>> {
        self.each(node, "drop_fields", |reader, item| {
            reader.field_path(item, "drop_fields")
        })
    }

    pub fn conditions(&mut self, node: &Node<'_>, name: &str) -> Option<Vec<Condition>> {
        self.each(node, name, |reader, item| {
            let fields = reader.fields(item, &CONDITION)?;
            let field = match fields.get("field") {
                None => Some(None),
                Some(field) => reader.field_path(field, "field").map(Some),
            };
            let Some(pattern) = fields.get("pattern") else {
                reader.missing(item.place, "condition", "pattern", "a regular expression");
                return None;
            };
            let pattern = reader.record_pattern(pattern, "pattern")?;
            Some(Condition {
                field: field?,
                pattern,
            })
        })
    }

    pub fn redactions(&mut self, node: &Node<'_>) -> Option<Vec<Redaction>> {
        self.each(node, "redact", |reader, item| match &item.value {
            Value::Mapping(_) => reader.own_redaction(item),
            Value::Scalar(Scalar::Text(_)) => reader.word(item, "redact", REDACTIONS),
            Value::Scalar(_) | Value::List(_) | Value::Refused => {
                let expected = "email, ip, bearer, card or a mapping with pattern and with";
                reader.wrong(item, "redact", expected);
                None
            }
        })
    }

    fn own_redaction(&mut self, node: &Node<'_>) -> Option<Redaction> {
        let fields = self.fields(node, &REDACTION)?;
        let Some(pattern) = fields.get("pattern") else {
            self.missing(node.place, "redaction", "pattern", "a regular expression");
            return None;
        };
        let pattern = self.record_pattern(pattern, "pattern")?;
        let replacement = match fields.get("with") {
            None => REDACTED,
            Some(with) => {
                let text = self.replacement(with)?;
                if let Some(group) = unknown_group(&pattern, text) {
                    let expected = format!("groups of the pattern, not {}", quoted(group));
                    self.wrong(with, "with", &expected);
                    return None;
                }
                text
            }
        };
        Some(Redaction::Pattern {
            pattern,
            replacement: replacement.to_owned(),
        })
    }

    /// As [`Reader::text`], and may be empty.
    fn replacement<'n>(&mut self, node: &'n Node<'_>) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(Scalar::Text(text)) if text.is_empty() => Some(""),
            Value::Scalar(_) | Value::List(_) | Value::Mapping(_) | Value::Refused => {
                self.text(node, "with")
            }
        }
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn field_path(text: &str) -> Option<FieldPath> {
    let mut names = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let plain = match char {
            '.' => {
                names.push(String::new());
                continue;
            }
            '\\' => chars.next().filter(|next| matches!(next, '.' | '\\'))?,
            other => other,
        };
        names.last_mut()?.push(plain);
    }
    let whole = names.iter().all(|name| !name.is_empty());
    whole.then_some(FieldPath(names))
}

/// A group that `replacement` names and the pattern does not have. What a name is, is as the regex crate has
/// it: `$name`, as long as letters, digits and `_` go on, or `${name}`; `$$` is a dollar sign.
fn unknown_group<'r>(pattern: &Pattern, replacement: &'r str) -> Option<&'r str> {
    let known = |group: &str| match group.parse::<usize>() {
        Ok(index) => index < pattern.regex().captures_len(),
        Err(_) => pattern
            .regex()
            .capture_names()
            .flatten()
            .any(|name| name == group),
    };
    let mut rest = replacement;
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        }
        let braced = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let (group, behind) = match braced {
            Some(found) => found,
            None => {
                let end = after
                    .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
                    .unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if (braced.is_some() || !group.is_empty()) && !known(group) {
            return Some(group);
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_with_dots_between_them() {
        let names = |text| field_path(text).map(|FieldPath(names)| names.join("|"));
        for (text, expected) in [
            ("a", Some("a")),
            ("a.b", Some("a|b")),
            (r"a\.b.c\\", Some(r"a.b|c\")),
            ("é ü.x", Some("é ü|x")),
            ("a..b", None),
            (".a", None),
            ("a.", None),
            (r"a\n", None),
            ("a\\", None),
        ] {
            assert_eq!(names(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn groups_that_a_pattern_does_not_have_are_found() {
        let pattern = Pattern::new(r"(?<key>\w+)=(\w+)").expect("a pattern");
        for (text, expected) in [
            ("$key=$2 ${1} $$3 5$ ${", None),
            ("$3", Some("3")),
            ("$key_", Some("key_")),
            ("${nobody}", Some("nobody")),
            ("${}", Some("")),
        ] {
            assert_eq!(unknown_group(&pattern, text), expected, "{text}");
        }
    }
}
