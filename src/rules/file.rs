//! Nodes of YAML → rules, or everything that is wrong with them.

use std::collections::HashMap;

use crate::config::{EndpointKind, TokenPlace, endpoint_url};
use crate::format::Leaves;
use crate::plan::Said as SaidFormat;
use crate::shape::spec::{Condition, FieldPath, Redaction, ShapeSpec, SourceValue, TimestampSpec};

use super::Rule;
use super::error::{Place, Problems, RulesErrors, one_of, perhaps, quoted};
use super::matching::{Match, Wildcard};
use super::spec::{Carry, DestinationSpec};
use super::template::Template;
use super::yaml::{self, Node, Scalar, Value};

mod format;
mod reader;
mod shape;

use reader::{Fields, Reader, Table};
use shape::{ConstantFields, Use};

/// Longest rules file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Most rules of a file.
pub const RULES_MAX: usize = 1000;

/// What the defaults may come to when each rule takes them, in characters: they are written once in the file
/// and held once for each rule.
const DEFAULTS_CHARS_MAX: usize = 4 * 1024 * 1024;

/// Longest name of a rule, and longest type, in characters.
const RULE_NAME_CHARS_MAX: usize = 64;
const TYPE_CHARS_MAX: usize = 128;

/// Longest name of a bucket, in characters: 255 before 2018, in one region (AWS, "Bucket naming rules").
const BUCKET_CHARS_MAX: usize = 255;

const FILE: Table = Table {
    what: "the file",
    names: &["version", "unmatched", "defaults", "rules"],
    hidden: false,
};

/// First what a rule has of its own, then what it may take from the defaults.
const RULE: Table = Table {
    what: "rule",
    names: &[
        "name",
        "match",
        "skip",
        "format",
        "as",
        "type",
        "timestamp",
        "source",
        "fields",
        "drop_fields",
        "include",
        "exclude",
        "redact",
        "endpoint",
    ],
    hidden: false,
};

/// What a rule has of its own.
const RULE_ALONE: &[&str] = RULE.names.split_at(3).0;

const DEFAULTS: Table = Table {
    what: "defaults",
    names: RULE.names.split_at(RULE_ALONE.len()).1,
    hidden: false,
};

const MATCH: Table = Table {
    what: "match",
    names: &["bucket", "prefix", "glob", "pattern"],
    hidden: false,
};

const ENDPOINT: Table = Table {
    what: "endpoint",
    names: &["url", "kind", "token_arn"],
    hidden: true,
};

/// The rules of a file, and how objects are carried that none of them matches, if they are.
pub fn read(text: &str) -> Result<(Vec<Rule>, Option<Carry>), RulesErrors> {
    let mut problems = Problems::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rules = None;
    if text.len() > FILE_BYTES_MAX {
        let found = text.len();
        let message = format!("the file has {found} bytes, expected at most {FILE_BYTES_MAX}");
        problems.note(Place::START, message);
    } else {
        let document = yaml::parse(text, &mut problems);
        let mut reader = Reader::new(problems);
        match document {
            Some(node) => rules = reader.file(&node),
            None if reader.problems.is_empty() => {
                let expected = "a mapping with version and rules";
                reader.refuse(
                    Place::START,
                    format!("the file is empty, expected {expected}"),
                );
            }
            None => {}
        }
        problems = reader.problems;
    }
    match (problems.into_errors(), rules) {
        (Some(errors), _) => Err(errors),
        (None, rules) => Ok(rules.unwrap_or_default()),
    }
}

/// What a rule or the defaults say; what is absent is left to others.
#[derive(Debug, Default)]
struct Said {
    format: Option<SaidFormat>,
    leaves: Option<Leaves>,
    log_type: Option<LogType>,
    timestamp: Option<TimestampSpec>,
    source: Option<Vec<(SourceValue, String)>>,
    fields: Option<ConstantFields>,
    drop_fields: Option<Vec<FieldPath>>,
    include: Option<Vec<Condition>>,
    exclude: Option<Vec<Condition>>,
    redact: Option<Vec<Redaction>>,
    destination: Option<DestinationSpec>,
}

#[derive(Clone, Debug)]
struct LogType {
    place: Place,
    template: Template,
}

/// Whose captures may be named.
enum Captured<'m> {
    By(&'m Match),
    /// Objects that no rule matches: nothing is captured.
    Nothing,
}

impl Reader {
    fn file(&mut self, node: &Node<'_>) -> Option<(Vec<Rule>, Option<Carry>)> {
        let fields = self.fields(node, &FILE)?;
        match fields.get("version") {
            Some(version) => {
                self.count(version, "version", 1, 1);
            }
            None => self.missing(fields.place, "the file", "version", "version: 1"),
        }
        let carried = match fields.get("unmatched") {
            None => true,
            Some(unmatched) => {
                let words = &[("carry", true), ("skip", false)];
                self.word(unmatched, "unmatched", words).unwrap_or(false)
            }
        };
        let defaults = match fields.get("defaults") {
            None => Said::default(),
            Some(defaults) => self.defaults(defaults, &fields),
        };
        let rules = match fields.get("rules") {
            Some(rules) => self.rules(rules, &defaults),
            None => {
                self.missing(fields.place, "the file", "rules", "a list of rules");
                None
            }
        };
        let unmatched = carried.then(|| {
            let nothing = Said::default();
            self.check_captures(&defaults, Place::START, &Captured::Nothing);
            self.check_names(&nothing, &defaults, Place::START);
            carry(nothing, &defaults)
        });
        Some((rules?, unmatched))
    }

    fn defaults(&mut self, node: &Node<'_>, file: &Fields<'_, '_>) -> Said {
        let count = match file.get("rules").map(|rules| &rules.value) {
            Some(Value::List(rules)) => rules.len(),
            Some(Value::Scalar(_) | Value::Mapping(_) | Value::Refused) | None => 0,
        };
        if node.chars.saturating_mul(count) > DEFAULTS_CHARS_MAX {
            let message = format!(
                "defaults of {} characters for {count} rules, \
                 expected at most {DEFAULTS_CHARS_MAX} together",
                node.chars
            );
            self.refuse(node.place, message);
            return Said::default();
        }
        match self.fields(node, &DEFAULTS) {
            Some(fields) => self.said(&fields),
            None => Said::default(),
        }
    }

    fn rules(&mut self, node: &Node<'_>, defaults: &Said) -> Option<Vec<Rule>> {
        let items = self.list(node, "rules", RULES_MAX)?;
        let mut names: HashMap<String, Place> = HashMap::new();
        let mut rules = Vec::with_capacity(items.len());
        for item in items {
            let Some(rule) = self.rule(item, defaults, &mut names) else {
                continue;
            };
            rules.push(rule);
        }
        Some(rules)
    }

    fn rule(
        &mut self,
        node: &Node<'_>,
        defaults: &Said,
        names: &mut HashMap<String, Place>,
    ) -> Option<Rule> {
        let fields = self.fields(node, &RULE)?;
        let name = match fields.get("name") {
            Some(name) => self.rule_name(name, names),
            None => {
                self.missing(fields.place, "rule", "name", "1 to 64 of a-z, 0-9, _ and -");
                None
            }
        };
        let matches = match fields.get("match") {
            Some(matches) => self.matches(matches),
            None => {
                let expected = "a mapping with bucket, prefix, glob or pattern";
                self.missing(fields.place, "rule", "match", expected);
                None
            }
        };
        let skips = match fields.get("skip") {
            Some(skip) => self.bool(skip, "skip").unwrap_or(false),
            None => false,
        };
        if skips {
            self.refuse_beside_skip(&fields);
        }
        let said = self.said(&fields);
        let matches = matches?;
        if !skips {
            self.check_captures(&said, fields.place, &Captured::By(&matches));
            let inherited = Said {
                log_type: defaults
                    .log_type
                    .clone()
                    .filter(|_| said.log_type.is_none()),
                fields: defaults.fields.clone().filter(|_| said.fields.is_none()),
                ..Said::default()
            };
            self.check_captures(&inherited, fields.place, &Captured::By(&matches));
            self.check_names(&said, defaults, fields.place);
        }
        Some(Rule {
            name: name?,
            line: fields.place.line,
            carry: (!skips).then(|| carry(said, defaults)),
            matches,
        })
    }

    fn refuse_beside_skip(&mut self, fields: &Fields<'_, '_>) {
        for member in fields.members() {
            let name = member.name.as_ref();
            if DEFAULTS.names.contains(&name) {
                let message = format!(
                    "{name} in a rule that skips, expected nothing but {}",
                    one_of(RULE_ALONE)
                );
                self.refuse(member.place, message);
            }
        }
    }

    fn rule_name(&mut self, node: &Node<'_>, names: &mut HashMap<String, Place>) -> Option<String> {
        const EXPECTED: &str = "1 to 64 of a-z, 0-9, _ and -";
        let name = self.text_up_to(node, "name", RULE_NAME_CHARS_MAX)?;
        let plain = |char: char| matches!(char, 'a'..='z' | '0'..='9' | '_' | '-');
        if !name.chars().all(plain) {
            self.wrong(node, "name", EXPECTED);
            return None;
        }
        if let Some(first) = names.get(name) {
            let message = format!(
                "name is {}, expected another: the rule on line {} has it already",
                quoted(name),
                first.line
            );
            self.refuse(node.place, message);
            return None;
        }
        names.insert(name.to_owned(), node.place);
        Some(name.to_owned())
    }

    fn matches(&mut self, node: &Node<'_>) -> Option<Match> {
        let fields = self.fields(node, &MATCH)?;
        if !MATCH.names.iter().any(|name| fields.get(name).is_some()) {
            let expected = "bucket, prefix, glob or pattern";
            self.missing(fields.place, "match", "condition", expected);
            return None;
        }
        let buckets = match fields.get("bucket") {
            None => Some(Vec::new()),
            Some(node) => self.one_or_each(node, "bucket", Self::bucket),
        };
        let prefixes = match fields.get("prefix") {
            None => Some(Vec::new()),
            Some(node) => self.one_or_each(node, "prefix", |reader, item| {
                reader.text(item, "prefix").map(str::to_owned)
            }),
        };
        let globs = match fields.get("glob") {
            None => Some(Vec::new()),
            Some(node) => self.one_or_each(node, "glob", |reader, item| {
                let text = reader.text(item, "glob")?.to_owned();
                let regex = reader.glob(item, "glob")?;
                Some(Wildcard { text, regex })
            }),
        };
        let pattern = match fields.get("pattern") {
            None => Some(None),
            Some(node) => self.pattern(node, "pattern").map(Some),
        };
        Some(Match {
            buckets: buckets?,
            prefixes: prefixes?,
            globs: globs?,
            pattern: pattern?,
        })
    }

    fn bucket(&mut self, node: &Node<'_>) -> Option<Wildcard> {
        let text = self.text_up_to(node, "bucket", BUCKET_CHARS_MAX)?;
        let plain =
            |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-' | '*');
        if !text.chars().all(plain) {
            self.wrong(
                node,
                "bucket",
                "a bucket's name, in which * stands for anything",
            );
            return None;
        }
        let regex = self.glob(node, "bucket")?;
        let text = text.to_owned();
        Some(Wildcard { text, regex })
    }

    /// Everything that a rule and the defaults have alike.
    fn said(&mut self, fields: &Fields<'_, '_>) -> Said {
        let get = |name: &str| fields.get(name);
        Said {
            format: get("format").and_then(|node| self.format(node)),
            leaves: get("as").and_then(|node| {
                self.word(node, "as", &[("raw", Leaves::Raw), ("json", Leaves::Json)])
            }),
            log_type: get("type").and_then(|node| self.log_type(node)),
            timestamp: get("timestamp").and_then(|node| self.timestamp(node)),
            source: get("source").and_then(|node| self.source(node)),
            fields: get("fields").and_then(|node| self.constant_fields(node)),
            drop_fields: get("drop_fields").and_then(|node| self.drop_fields(node)),
            include: get("include").and_then(|node| self.conditions(node, "include")),
            exclude: get("exclude").and_then(|node| self.conditions(node, "exclude")),
            redact: get("redact").and_then(|node| self.redactions(node)),
            destination: get("endpoint").and_then(|node| self.destination(node)),
        }
    }

    fn log_type(&mut self, node: &Node<'_>) -> Option<LogType> {
        const EXPECTED: &str = "text without spaces";
        let text = self.text_up_to(node, "type", TYPE_CHARS_MAX)?;
        let template = self.template(node, text)?;
        let spaced = |char: char| char.is_whitespace() || char.is_control();
        if template.texts().any(|text| text.contains(spaced)) {
            self.wrong(node, "type", EXPECTED);
            return None;
        }
        let place = node.place;
        Some(LogType { place, template })
    }

    /// Nothing that stands here is repeated in a message: a path or a query may be as good as a password, and
    /// what should be an ARN may be the token itself.
    fn destination(&mut self, node: &Node<'_>) -> Option<DestinationSpec> {
        const URL: &str = "a URL such as https://listener.logz.io:8071";
        let fields = self.fields(node, &ENDPOINT)?;
        let url = match fields.get("url") {
            Some(node) => self.unseen(node, "url", URL, endpoint_url),
            None => {
                self.missing(fields.place, "endpoint", "url", URL);
                None
            }
        };
        let kinds = &[
            ("logzio", EndpointKind::Logzio),
            ("http", EndpointKind::Http),
        ];
        let kind = match fields.get("kind") {
            Some(node) => self.unseen(node, "kind", "logzio or http", |text| {
                let known = kinds.iter().find(|(name, _)| *name == text);
                known
                    .map(|(_, kind)| *kind)
                    .ok_or("logzio or http".to_owned())
            }),
            None => Some(EndpointKind::Logzio),
        };
        const ARN: &str = "the ARN of a Secrets Manager secret or an SSM parameter";
        let token = match fields.get("token_arn") {
            Some(node) => self
                .unseen(node, "token_arn", ARN, TokenPlace::from_arn)
                .map(Some),
            None if kind == Some(EndpointKind::Logzio) => {
                self.missing(fields.place, "endpoint", "token_arn", ARN);
                None
            }
            None => Some(None),
        };
        Some(DestinationSpec {
            url: url?,
            kind: kind?,
            token: token?,
        })
    }

    fn unseen<T>(
        &mut self,
        node: &Node<'_>,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = match &node.value {
            Value::Scalar(Scalar::Text(text)) => parse(text),
            Value::Scalar(_) | Value::List(_) | Value::Mapping(_) | Value::Refused => {
                Err(expected.to_owned())
            }
        };
        parsed
            .map_err(|expected| self.wrong_unseen(node, name, &expected))
            .ok()
    }

    /// Notes every capture that is named and that the pattern does not have.
    fn check_captures(&mut self, said: &Said, rule: Place, captured: &Captured<'_>) {
        let of_type = said.log_type.iter().flat_map(|log_type| {
            log_type.template.captures().map(|capture| Use {
                place: log_type.place,
                capture: capture.to_owned(),
            })
        });
        let of_fields = said
            .fields
            .iter()
            .flat_map(|fields| fields.uses.iter().cloned());
        for Use { place, capture } in of_type.chain(of_fields) {
            let message = match captured {
                Captured::By(matches) => {
                    let names: Vec<&str> = matches.capture_names().collect();
                    if names.contains(&capture.as_str()) {
                        continue;
                    }
                    let (perhaps, capture) = (perhaps(&capture, &names), quoted(&capture));
                    let expected = if names.is_empty() {
                        "a pattern that captures it".to_owned()
                    } else {
                        one_of(&names)
                    };
                    let line = rule.line;
                    format!(
                        "unknown capture {capture}{perhaps} for the rule on line {line}: expected {expected}"
                    )
                }
                Captured::Nothing => format!(
                    "unknown capture {} for objects that no rule matches: \
                     expected none in defaults, or unmatched: skip",
                    quoted(&capture)
                ),
            };
            self.refuse(place, message);
        }
    }

    /// Notes a name that both the source and a constant field have: a record would have it twice.
    fn check_names(&mut self, said: &Said, defaults: &Said, rule: Place) {
        let source = said.source.as_ref().or(defaults.source.as_ref());
        let fields = said.fields.as_ref().or(defaults.fields.as_ref());
        let (Some(source), Some(fields)) = (source, fields) else {
            return;
        };
        for (_, name) in source {
            if fields.fields.iter().any(|(known, _)| known == name) {
                let name = quoted(name);
                let message =
                    format!("source and fields both have {name}, expected it in one of them");
                self.refuse(rule, message);
            }
        }
    }
}

/// What a rule says, and the defaults where it says nothing.
fn carry(said: Said, defaults: &Said) -> Carry {
    let timestamp = said.timestamp.or_else(|| defaults.timestamp.clone());
    let source = said.source.or_else(|| defaults.source.clone());
    let fields = said.fields.or_else(|| defaults.fields.clone());
    let drop_fields = said.drop_fields.or_else(|| defaults.drop_fields.clone());
    let include = said.include.or_else(|| defaults.include.clone());
    let exclude = said.exclude.or_else(|| defaults.exclude.clone());
    let redact = said.redact.or_else(|| defaults.redact.clone());
    let log_type = said.log_type.or_else(|| defaults.log_type.clone());
    Carry {
        format: said.format.or_else(|| defaults.format.clone()),
        leaves: said.leaves.or(defaults.leaves),
        log_type: log_type.map(|log_type| log_type.template),
        shape: ShapeSpec {
            timestamp: timestamp.unwrap_or_default(),
            source: source.unwrap_or_default(),
            fields: fields.unwrap_or_default().fields,
            drop_fields: drop_fields.unwrap_or_default(),
            include: include.unwrap_or_default(),
            exclude: exclude.unwrap_or_default(),
            redact: redact.unwrap_or_default(),
        },
        destination: said.destination.or_else(|| defaults.destination.clone()),
    }
}

#[cfg(test)]
mod tests;
