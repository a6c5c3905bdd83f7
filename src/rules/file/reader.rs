//! Reading nodes one by one, and every problem on the way: what stood there and what was expected.

use regex::{RegexBuilder, bytes};

use crate::pattern::{CACHE_BYTES_MAX, PROGRAM_BYTES_MAX, Pattern};
use crate::rules::error::{Place, Problems, one_of, perhaps, quoted};
use crate::rules::yaml::{Member, Node, Scalar, Value};

/// Most items of a list, unless the list says otherwise.
pub const ITEMS_MAX: usize = 100;

/// Longest text, in characters: an S3 key has at most 1,024 bytes (AWS, "Naming Amazon S3 objects").
pub const TEXT_CHARS_MAX: usize = 1024;

/// Longest pattern, in characters.
pub const PATTERN_CHARS_MAX: usize = 8192;

/// What a pattern is charged for, in bytes of its compiled program: the smallest of these that it fits in.
/// The largest is what one pattern may take.
const PATTERN_BYTES: &[usize] = &[4096, 16 * 1024, 64 * 1024, 256 * 1024, PROGRAM_BYTES_MAX];

/// What the patterns and globs of a file may take together, in bytes of compiled programs.
pub const PATTERNS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What may be compiled in all, in bytes: patterns that are too large for what they are tried with included. It is
/// more than patterns take that fit together, and bounds the time that a file takes which has too many.
const COMPILED_BYTES_MAX: usize = 2 * PATTERNS_BYTES_MAX;

/// The fields of one kind of mapping.
#[derive(Debug)]
pub struct Table {
    /// As messages call the mapping.
    pub what: &'static str,
    pub names: &'static [&'static str],
    /// Whether no value of it may stand in a message.
    pub hidden: bool,
}

/// A mapping whose names are all in its table.
pub struct Fields<'n, 'a> {
    pub place: Place,
    table: &'static Table,
    members: &'n [Member<'a>],
}

impl<'n, 'a> Fields<'n, 'a> {
    pub fn get(&self, name: &str) -> Option<&'n Node<'a>> {
        debug_assert!(self.table.names.contains(&name), "{name}");
        self.member(name).map(|member| &member.value)
    }

    pub fn member(&self, name: &str) -> Option<&'n Member<'a>> {
        self.members.iter().find(|member| member.name == name)
    }

    pub fn members(&self) -> &'n [Member<'a>] {
        self.members
    }
}

/// Reads nodes. Each of its readers gives nothing where it noted a problem.
pub struct Reader {
    pub problems: Problems,
    /// What is left of [`PATTERNS_BYTES_MAX`].
    pattern_bytes_left: usize,
    /// What is left of [`COMPILED_BYTES_MAX`].
    compiled_bytes_left: usize,
}

impl Reader {
    pub fn new(problems: Problems) -> Self {
        Self {
            problems,
            pattern_bytes_left: PATTERNS_BYTES_MAX,
            compiled_bytes_left: COMPILED_BYTES_MAX,
        }
    }

    pub fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.problems.note(place, message.into());
    }

    /// Notes that `name` is not what was expected. What was refused before is not refused again.
    pub fn wrong(&mut self, node: &Node<'_>, name: &str, expected: &str) {
        if let Some(found) = found(node) {
            self.refuse(
                node.place,
                format!("{name} is {found}, expected {expected}"),
            );
        }
    }

    /// As [`Reader::wrong`], of what may be a secret or hold one.
    pub fn wrong_unseen(&mut self, node: &Node<'_>, name: &str, expected: &str) {
        let found = match &node.value {
            Value::Scalar(Scalar::Null) => "empty",
            Value::Scalar(_) => "[not shown]",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Refused => return,
        };
        self.refuse(
            node.place,
            format!("{name} is {found}, expected {expected}"),
        );
    }

    pub fn missing(&mut self, place: Place, what: &str, name: &str, expected: &str) {
        self.refuse(place, format!("{what} has no {name}, expected {expected}"));
    }

    /// The fields of a mapping that has no others than those of its table.
    pub fn fields<'n, 'a>(
        &mut self,
        node: &'n Node<'a>,
        table: &'static Table,
    ) -> Option<Fields<'n, 'a>> {
        let Value::Mapping(members) = &node.value else {
            let expected = format!("a mapping with {}", one_of(table.names));
            if table.hidden {
                self.wrong_unseen(node, table.what, &expected);
            } else {
                self.wrong(node, table.what, &expected);
            }
            return None;
        };
        for member in members {
            self.known(member, table);
        }
        Some(Fields {
            place: node.place,
            table,
            members,
        })
    }

    fn known(&mut self, member: &Member<'_>, table: &Table) {
        let name = member.name.as_ref();
        if table.names.contains(&name) {
            return;
        }
        let message = if name.eq_ignore_ascii_case("token") {
            let what = table.what;
            format!(
                "token in {what}: a rules file holds no secrets, expected token_arn in endpoint"
            )
        } else {
            let perhaps = perhaps(name, table.names);
            let (name, what, names) = (quoted(name), table.what, one_of(table.names));
            format!("unknown field {name} in {what}{perhaps}: expected {names}")
        };
        self.refuse(member.place, message);
    }

    /// Text of at least one and at most `chars_max` characters.
    pub fn text_up_to<'n>(
        &mut self,
        node: &'n Node<'_>,
        name: &str,
        chars_max: usize,
    ) -> Option<&'n str> {
        let expected = match &node.value {
            Value::Scalar(Scalar::Text(text)) if text.is_empty() => "text that is not empty",
            Value::Scalar(Scalar::Text(text)) if text.chars().count() > chars_max => {
                let message =
                    format!("{name} is too long, expected at most {chars_max} characters");
                self.refuse(node.place, message);
                return None;
            }
            Value::Scalar(Scalar::Text(text)) => return Some(text),
            Value::Scalar(Scalar::Number(_) | Scalar::Bool(_)) => "text: put it in quotes",
            Value::Scalar(Scalar::Null) | Value::List(_) | Value::Mapping(_) | Value::Refused => {
                "text"
            }
        };
        self.wrong(node, name, expected);
        None
    }

    pub fn text<'n>(&mut self, node: &'n Node<'_>, name: &str) -> Option<&'n str> {
        self.text_up_to(node, name, TEXT_CHARS_MAX)
    }

    pub fn bool(&mut self, node: &Node<'_>, name: &str) -> Option<bool> {
        if let Value::Scalar(Scalar::Bool(value)) = node.value {
            return Some(value);
        }
        self.wrong(node, name, "true or false");
        None
    }

    /// A whole number from `least` to `most`.
    pub fn count(&mut self, node: &Node<'_>, name: &str, least: u32, most: u32) -> Option<u32> {
        if let Value::Scalar(Scalar::Number(text)) = &node.value
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = text.parse()
            && (least..=most).contains(&number)
        {
            return Some(number);
        }
        let expected = if least == most {
            least.to_string()
        } else {
            format!("a whole number from {least} to {most}")
        };
        self.wrong(node, name, &expected);
        None
    }

    /// One of some words.
    pub fn word<T: Clone>(
        &mut self,
        node: &Node<'_>,
        name: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Value::Scalar(Scalar::Text(text)) = &node.value else {
            self.wrong(node, name, &one_of(&known));
            return None;
        };
        let found = words.iter().find(|(word, _)| word == text);
        if found.is_none() {
            let (perhaps, text) = (perhaps(text, &known), quoted(text));
            let message = format!("{name} is {text}{perhaps}: expected {}", one_of(&known));
            self.refuse(node.place, message);
        }
        found.map(|(_, value)| value.clone())
    }

    /// A list of at most `items_max`.
    pub fn list<'n, 'a>(
        &mut self,
        node: &'n Node<'a>,
        name: &str,
        items_max: usize,
    ) -> Option<&'n [Node<'a>]> {
        let Value::List(items) = &node.value else {
            self.wrong(node, name, "a list");
            return None;
        };
        if items.len() > items_max {
            let found = items.len();
            let message = format!("{name} has {found} items, expected at most {items_max}");
            self.refuse(node.place, message);
            return None;
        }
        Some(items)
    }

    /// What is read of each item of a list; nothing if any has a problem.
    pub fn each<T>(
        &mut self,
        node: &Node<'_>,
        name: &str,
        mut read: impl FnMut(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(node, name, ITEMS_MAX)?;
        let read: Vec<Option<T>> = items.iter().map(|item| read(self, item)).collect();
        read.into_iter().collect()
    }

    /// What is read of one value, or of each item of a list that is not empty.
    pub fn one_or_each<T>(
        &mut self,
        node: &Node<'_>,
        name: &str,
        mut read: impl FnMut(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.refuse(
                    node.place,
                    format!("{name} is an empty list, expected an item"),
                );
                None
            }
            Value::List(_) => self.each(node, name, read),
            Value::Scalar(_) | Value::Mapping(_) | Value::Refused => {
                read(self, node).map(|one| vec![one])
            }
        }
    }

    /// A pattern for keys.
    pub fn pattern(&mut self, node: &Node<'_>, name: &str) -> Option<regex::Regex> {
        let text = self.text_up_to(node, name, PATTERN_CHARS_MAX)?;
        self.compile(node, name, &mut |size| {
            RegexBuilder::new(text)
                .size_limit(size)
                .dfa_size_limit(CACHE_BYTES_MAX)
                .build()
        })
    }

    /// A pattern for records.
    pub fn record_pattern(&mut self, node: &Node<'_>, name: &str) -> Option<Pattern> {
        let text = self.text_up_to(node, name, PATTERN_CHARS_MAX)?;
        self.compile(node, name, &mut |size| Pattern::within(text, size))
    }

    /// A glob: `*` and `?` do not stand for a slash, `**` does.
    pub fn glob(&mut self, node: &Node<'_>, name: &str) -> Option<bytes::Regex> {
        let text = self.text(node, name)?;
        let glob = globset::GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .build();
        let glob = match glob {
            Ok(glob) => glob,
            Err(error) => {
                let expected = format!("a glob: {}", error.kind());
                self.wrong(node, name, &expected);
                return None;
            }
        };
        self.compile(node, name, &mut |size| {
            bytes::RegexBuilder::new(glob.regex())
                .dot_matches_new_line(true)
                .size_limit(size)
                .dfa_size_limit(CACHE_BYTES_MAX)
                .build()
        })
    }

    fn compile<R>(
        &mut self,
        node: &Node<'_>,
        name: &str,
        build: &mut dyn FnMut(usize) -> Result<R, regex::Error>,
    ) -> Option<R> {
        for size in PATTERN_BYTES {
            let Some(left) = self.compiled_bytes_left.checked_sub(*size) else {
                return self.one_too_many(node, name);
            };
            self.compiled_bytes_left = left;
            match build(*size) {
                Ok(_) if *size > self.pattern_bytes_left => return self.one_too_many(node, name),
                Ok(regex) => {
                    self.pattern_bytes_left -= *size;
                    return Some(regex);
                }
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => {
                    let expected = format!("a pattern: {}", reason(&error));
                    self.wrong(node, name, &expected);
                    return None;
                }
            }
        }
        let most = PATTERN_BYTES.last().copied().unwrap_or(0);
        let expected = format!("a pattern that takes at most {most} bytes when it is compiled");
        self.wrong(node, name, &expected);
        None
    }

    fn one_too_many<R>(&mut self, node: &Node<'_>, name: &str) -> Option<R> {
        let message = format!(
            "{name} is one too many: expected patterns and globs that take at most \
             {PATTERNS_BYTES_MAX} bytes together"
        );
        self.refuse(node.place, message);
        None
    }
}

/// The last line of what is told of a pattern: the others draw it.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// What stands there, unless it was refused already.
fn found(node: &Node<'_>) -> Option<String> {
    Some(match &node.value {
        Value::Scalar(Scalar::Null) => "empty".to_owned(),
        Value::Scalar(Scalar::Bool(value)) => value.to_string(),
        Value::Scalar(Scalar::Number(text)) => text.to_string(),
        Value::Scalar(Scalar::Text(text)) => quoted(text),
        Value::List(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Refused => return None,
    })
}
