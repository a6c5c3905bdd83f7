//! What a file says of the format of objects → what an object is [`Said`] to be.

use std::num::NonZeroU32;

use super::reader::{Fields, Reader, Table};
use super::shape::NAME_CHARS_MAX;
use crate::format::{Container, PRESETS, preset};
use crate::plan::Said;
use crate::records::{Boundary, COLUMNS_MAX, Delimiter, Dialect, Header, Quoting, RowFormat};
use crate::rules::error::{one_of, perhaps, quoted};
use crate::rules::yaml::{Node, Scalar, Value};

/// Most that `lines_max` may be.
const LINES_MAX_MAX: u32 = 100_000;

/// The containers, and the fields that a format with each of them has.
pub const CONTAINERS: &[(&str, Table)] = &[
    (
        "lines",
        Table {
            what: "format lines",
            names: &["container"],
            hidden: false,
        },
    ),
    (
        "values",
        Table {
            what: "format values",
            names: &["container"],
            hidden: false,
        },
    ),
    (
        "array",
        Table {
            what: "format array",
            names: &["container", "field"],
            hidden: false,
        },
    ),
    (
        "subscription",
        Table {
            what: "format subscription",
            names: &["container"],
            hidden: false,
        },
    ),
    (
        "delimited",
        Table {
            what: "format delimited",
            names: &["container", "delimiter", "header", "quotes"],
            hidden: false,
        },
    ),
    (
        "multiline",
        Table {
            what: "format multiline",
            names: &["container", "start", "continuation", "lines_max"],
            hidden: false,
        },
    ),
];

impl Reader {
    pub fn format(&mut self, node: &Node<'_>) -> Option<Said> {
        match &node.value {
            Value::Scalar(Scalar::Text(name)) => self.format_by_name(node, name),
            Value::Mapping(_) => self.container(node).map(Said::Container),
            Value::Scalar(_) | Value::List(_) | Value::Refused => {
                self.wrong(
                    node,
                    "format",
                    "a format's name or a mapping with container",
                );
                None
            }
        }
    }

    fn format_by_name(&mut self, node: &Node<'_>, name: &str) -> Option<Said> {
        if let Some(preset) = preset(name) {
            return Some(Said::Preset(preset));
        }
        let container = match name {
            "values" => Container::Values,
            "array" => Container::Array { fields: Vec::new() },
            "subscription" => Container::Subscription,
            _ => {
                let names = format_names();
                let (perhaps, name) = (perhaps(name, &names), quoted(name));
                let message = format!("format is {name}{perhaps}: expected {}", one_of(&names));
                self.refuse(node.place, message);
                return None;
            }
        };
        Some(Said::Container(container))
    }

    fn container(&mut self, node: &Node<'_>) -> Option<Container> {
        let Value::Mapping(members) = &node.value else {
            return None;
        };
        let words: Vec<_> = CONTAINERS
            .iter()
            .map(|(name, table)| (*name, table))
            .collect();
        let Some(container) = members.iter().find(|member| member.name == "container") else {
            let names: Vec<_> = CONTAINERS.iter().map(|(name, _)| *name).collect();
            self.missing(node.place, "format", "container", &one_of(&names));
            return None;
        };
        let table = self.word(&container.value, "container", &words)?;
        let fields = self.fields(node, table)?;
        match table.what {
            "format array" => self.array(&fields),
            "format delimited" => self.delimited(&fields),
            "format multiline" => self.multiline(&fields),
            "format values" => Some(Container::Values),
            "format subscription" => Some(Container::Subscription),
            _ => Some(Container::Lines),
        }
    }

    fn array(&mut self, fields: &Fields<'_, '_>) -> Option<Container> {
        let fields = match fields.get("field") {
            None => Vec::new(),
            Some(node) => self.one_or_each(node, "field", |reader, item| {
                reader
                    .text_up_to(item, "field", NAME_CHARS_MAX)
                    .map(str::to_owned)
            })?,
        };
        Some(Container::Array { fields })
    }

    fn delimited(&mut self, fields: &Fields<'_, '_>) -> Option<Container> {
        let delimiter = match fields.get("delimiter") {
            None => Some(b','),
            Some(node) => self.delimiter(node),
        };
        let header = match fields.get("header") {
            None => Some(Header::FirstLine),
            Some(node) => self.header(node),
        };
        let quotes = match fields.get("quotes") {
            None => Some(true),
            Some(node) => self.bool(node, "quotes"),
        };
        let (delimiter, header, quotes) = (delimiter?, header?, quotes?);
        let quoting = if quotes {
            Quoting::Doubled
        } else {
            Quoting::None
        };
        Some(Container::Rows(RowFormat {
            dialect: Dialect {
                delimiter: Delimiter::Byte(delimiter),
                quoting,
                brackets: false,
                comment: None,
            },
            header,
            numbers: Vec::new(),
        }))
    }

    fn delimiter(&mut self, node: &Node<'_>) -> Option<u8> {
        const EXPECTED: &str = "one ASCII character, neither a quote nor a line end";
        let text = self.text(node, "delimiter")?;
        match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => Some(*byte),
            _ => {
                self.wrong(node, "delimiter", EXPECTED);
                None
            }
        }
    }

    fn header(&mut self, node: &Node<'_>) -> Option<Header> {
        let Value::List(items) = &node.value else {
            let first_line =
                matches!(&node.value, Value::Scalar(Scalar::Text(text)) if text == "first-line");
            if !first_line {
                self.wrong(node, "header", "first-line or a list of names");
            }
            return first_line.then_some(Header::FirstLine);
        };
        if items.is_empty() || items.len() > COLUMNS_MAX {
            let found = items.len();
            let message = format!("header has {found} names, expected 1 to {COLUMNS_MAX}");
            self.refuse(node.place, message);
            return None;
        }
        let mut names: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let name = self.text_up_to(item, "header", NAME_CHARS_MAX)?;
            if names.iter().any(|known| known == name) {
                let message = format!("header has {} twice, expected it once", quoted(name));
                self.refuse(item.place, message);
                return None;
            }
            names.push(name.to_owned());
        }
        Some(Header::Given(names))
    }

    fn multiline(&mut self, fields: &Fields<'_, '_>) -> Option<Container> {
        let lines_max = match fields.get("lines_max") {
            None => Some(None),
            Some(node) => {
                let count = self.count(node, "lines_max", 1, LINES_MAX_MAX);
                count.map(NonZeroU32::new)
            }
        };
        let name = self.only_one_of(fields, "format multiline", &["start", "continuation"])?;
        let pattern = self.record_pattern(fields.get(name)?, name)?;
        let boundary = match name {
            "start" => Boundary::Start(pattern),
            _ => Boundary::Continuation(pattern),
        };
        Some(Container::Multiline {
            boundary,
            lines_max: lines_max?,
        })
    }
}

/// Every name that a format may have, without a mapping; each once, though some have several presets.
pub fn format_names() -> Vec<&'static str> {
    let containers = ["values", "array", "subscription"];
    let mut names: Vec<&str> = Vec::new();
    for name in PRESETS.iter().map(|preset| preset.name).chain(containers) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
