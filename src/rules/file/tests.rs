//! The parser and the JSON Schema of `docs/rules.schema.json`, held together; every message; and that no text
//! makes it panic.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::format::{CONTAINERS, format_names};
use super::*;
use crate::format::Container;
use crate::pattern::Pattern;
use crate::plan::Said;
use crate::records::{Delimiter, Dialect, Header, Quoting, RowFormat};
use crate::rules::{Decision, PROBLEMS_MAX, Rules};
use crate::shape::spec::{FieldValue, TimeFormat, TimePlace, TimeSource, TimestampWhen};

const SCHEMA: &str = include_str!("../../../docs/rules.schema.json");
const DOCS: &str = include_str!("../../../docs/rules.md");

/// Every kind of mapping, and where the schema has it.
fn tables() -> Vec<(&'static Table, String)> {
    let mut tables: Vec<(&Table, String)> = vec![
        (&FILE, "/properties".to_owned()),
        (&RULE, "/$defs/rule/properties".to_owned()),
        (&DEFAULTS, "/$defs/defaults/properties".to_owned()),
        (&MATCH, "/$defs/match/properties".to_owned()),
        (&ENDPOINT, "/$defs/endpoint/properties".to_owned()),
        (&shape::TIMESTAMP, "/$defs/timestamp/properties".to_owned()),
        (&shape::SOURCE, "/$defs/source/properties".to_owned()),
        (&shape::CONDITION, "/$defs/condition/properties".to_owned()),
        (&shape::REDACTION, "/$defs/redaction/properties".to_owned()),
    ];
    for (name, table) in CONTAINERS {
        tables.push((table, format!("/$defs/format-{name}/properties")));
    }
    tables
}

fn schema() -> Json {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

/// The file as other programs read it.
fn json(text: &str) -> Json {
    fn value(node: &Node<'_>) -> Json {
        match &node.value {
            Value::Scalar(Scalar::Null) | Value::Refused => Json::Null,
            Value::Scalar(Scalar::Bool(value)) => (*value).into(),
            Value::Scalar(Scalar::Number(text)) => serde_json::from_str(text).expect("a number"),
            Value::Scalar(Scalar::Text(text)) => text.as_ref().into(),
            Value::List(items) => items.iter().map(value).collect(),
            Value::Mapping(members) => members
                .iter()
                .map(|member| (member.name.to_string(), value(&member.value)))
                .collect(),
        }
    }
    value(&yaml::parse(text, &mut Problems::default()).expect("YAML"))
}

fn rule(rest: &str) -> String {
    format!(
        "version: 1\nrules:\n  - name: a\n    match: {{prefix: x/, pattern: '(?<zone>z)'}}\n{rest}"
    )
}

fn parsed(text: &str) -> Rules {
    Rules::parse(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn errors(text: &str) -> String {
    match Rules::parse(text) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

/// How the only rule carries.
fn carried(text: &str) -> Carry {
    let rules = parsed(text);
    rules.rules()[0].carry().expect("carried").clone()
}

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token";

/// Lines of one rule that are right.
const GOOD: &[&str] = &[
    "",
    "    skip: true",
    "    skip: false\n    type: t",
    "    format: cloudtrail",
    "    format: subscription",
    "    format: {container: lines}",
    "    format: {container: values}",
    "    format: {container: subscription}",
    "    format: {container: array}",
    "    format: {container: array, field: Records}",
    "    format: {container: array, field: [Records, events]}",
    "    format: {container: delimited}",
    "    format: {container: delimited, delimiter: \"\\t\", header: [a, b], quotes: false}",
    "    format: {container: delimited, delimiter: ' ', header: first-line}",
    "    format: {container: multiline, start: '^\\d{4}-'}",
    "    format: {container: multiline, continuation: '^\\s', lines_max: 500}",
    "    as: raw",
    "    as: json",
    "    type: my-type_1.x",
    "    type: cf-${zone}",
    "    timestamp: true",
    "    timestamp: false",
    "    timestamp: {field: EdgeStartTimestamp}",
    "    timestamp: {field: a.b, format: unix_ns}",
    "    timestamp: {fields: [date, time], format: auto}",
    "    timestamp: {word: 0, format: unix}",
    "    timestamp: {brackets: true, format: clf}",
    "    source: true",
    "    source: false",
    "    source: []",
    "    source: [bucket, key, region, account, index, id, object_key]",
    "    source: {id: record, key: k}",
    "    fields: {}",
    "    fields: {env: prod, n: 7, big: 1506702504433000200, f: 1.50, t: true, none: , l: [1, {a: x}], z: '${zone}'}",
    "    fields: {empty: '', price: '$${5}'}",
    "    drop_fields: [ClientIP, a.b, 'a\\.b']",
    "    include: [{field: EdgeResponseStatus, pattern: '^5'}, {pattern: ERROR}]",
    "    exclude: []",
    "    redact: [email, ip, bearer, card, {pattern: 'secret=\\S+', with: 'secret=[redacted]'}, {pattern: x}]",
    "    redact: [{pattern: '(?<a>x)(y)', with: '$a${2}$$'}, {pattern: x, with: ''}]",
    "    endpoint: {url: 'https://listener.logz.io:8071', token_arn: 'arn:aws:ssm:eu-west-1:123456789012:parameter/t'}",
    "    endpoint: {url: 'https://example.com/x?y=z', kind: http}",
    "    endpoint: {url: 'http://localhost:9000', kind: http}",
];

/// Lines of one rule that are wrong, and what is said of them. The rule's name stands on line 3.
const BAD: &[(&str, &str)] = &[
    (
        "    formt: x",
        "line 5, column 5: unknown field \"formt\" in rule, perhaps \"format\": expected name, match, skip, format, as, type, timestamp, source, fields, drop_fields, include, exclude, redact or endpoint",
    ),
    (
        "    skip: yes",
        "line 5, column 11: skip is \"yes\", expected true or false",
    ),
    (
        "    skip: true\n    type: x",
        "line 6, column 5: type in a rule that skips, expected nothing but name, match or skip",
    ),
    (
        "    format: cloudtrial",
        "line 5, column 13: format is \"cloudtrial\", perhaps \"cloudtrail\": expected lines, ndjson, json-values, json-array, json-records, csv, tsv, w3c, cloudflare, cloudtrail, config, cloudwatch-logs, cloudwatch-export, vpcflow, vpcflow-custom, vpcflow-rows, alb, alb-connection, alb-health, nlb, clb, elb-other, cloudfront, cloudfront-json, s3-access, waf, route53-resolver, guardduty, network-firewall, global-accelerator, msk, redshift-activity, redshift-connection, redshift-user, values, array or subscription",
    ),
    (
        "    format: [csv]",
        "line 5, column 13: format is a list, expected a format's name or a mapping with container",
    ),
    (
        "    format: {field: x}",
        "line 5, column 13: format has no container, expected lines, values, array, subscription, delimited or multiline",
    ),
    (
        "    format: {container: row}",
        "line 5, column 25: container is \"row\": expected lines, values, array, subscription, delimited or multiline",
    ),
    (
        "    format: {container: lines, header: first-line}",
        "line 5, column 32: unknown field \"header\" in format lines: expected container",
    ),
    (
        "    format: {container: array, field: []}",
        "line 5, column 39: field is an empty list, expected an item",
    ),
    (
        "    format: {container: delimited, delimiter: ab}",
        "line 5, column 47: delimiter is \"ab\", expected one ASCII character, neither a quote nor a line end",
    ),
    (
        "    format: {container: delimited, delimiter: '\"'}",
        "line 5, column 47: delimiter is \"\\\"\", expected one ASCII character, neither a quote nor a line end",
    ),
    (
        "    format: {container: delimited, header: second-line}",
        "line 5, column 44: header is \"second-line\", expected first-line or a list of names",
    ),
    (
        "    format: {container: delimited, header: []}",
        "line 5, column 44: header has 0 names, expected 1 to 1000",
    ),
    (
        "    format: {container: delimited, header: [a, b, a]}",
        "line 5, column 51: header has \"a\" twice, expected it once",
    ),
    (
        "    format: {container: delimited, quotes: 1}",
        "line 5, column 44: quotes is 1, expected true or false",
    ),
    (
        "    format: {container: multiline}",
        "line 5, column 13: format multiline is not complete, expected start or continuation",
    ),
    (
        "    format: {container: multiline, start: a, continuation: b}",
        "line 5, column 46: format multiline has start and continuation, expected one of start or continuation",
    ),
    (
        "    format: {container: multiline, start: a, lines_max: 0}",
        "line 5, column 57: lines_max is 0, expected a whole number from 1 to 100000",
    ),
    (
        "    as: text",
        "line 5, column 9: as is \"text\": expected raw or json",
    ),
    (
        "    type: a b",
        "line 5, column 11: type is \"a b\", expected text without spaces",
    ),
    (
        "    type: 7",
        "line 5, column 11: type is 7, expected text: put it in quotes",
    ),
    (
        "    type:",
        "line 5, column 9: type is empty, expected text",
    ),
    (
        "    timestamp: 1",
        "line 5, column 16: timestamp is 1, expected true, false or a mapping with field, fields, word or brackets",
    ),
    (
        "    timestamp: {format: clf}",
        "line 5, column 16: timestamp is not complete, expected field, fields, word or brackets",
    ),
    (
        "    timestamp: {field: a, word: 1}",
        "line 5, column 27: timestamp has field and word, expected one of field, fields, word or brackets",
    ),
    (
        "    timestamp: {field: a..b}",
        "line 5, column 24: field is \"a..b\", expected names with dots between them (\\. for a dot within a name)",
    ),
    (
        "    timestamp: {fields: []}",
        "line 5, column 25: fields is an empty list, expected an item",
    ),
    (
        "    timestamp: {word: -1}",
        "line 5, column 23: word is -1, expected a whole number from 0 to 9999",
    ),
    (
        "    timestamp: {brackets: false}",
        "line 5, column 27: brackets is false, expected true, or another place",
    ),
    (
        "    timestamp: {field: a, format: unix_msec}",
        "line 5, column 35: format of timestamp is \"unix_msec\", perhaps \"unix_ms\": expected auto, rfc3339, unix, unix_ms, unix_us, unix_ns or clf",
    ),
    (
        "    source: yes",
        "line 5, column 13: source is \"yes\", expected true, false, a list of values, or a mapping of values to names",
    ),
    (
        "    source: [bukcet]",
        "line 5, column 14: source is \"bukcet\", perhaps \"bucket\": expected object_key, bucket, key, region, account, index or id",
    ),
    (
        "    source: [id, id]",
        "line 5, column 18: source has a value twice, expected it once",
    ),
    (
        "    source: {bucket: ''}",
        "line 5, column 22: bucket is \"\", expected text that is not empty",
    ),
    (
        "    fields: [a]",
        "line 5, column 13: fields is a list, expected a mapping of names to values",
    ),
    (
        "    fields: {'': 1}",
        "line 5, column 14: a name in fields, expected 1 to 256 characters",
    ),
    (
        "    drop_fields: ClientIP",
        "line 5, column 18: drop_fields is \"ClientIP\", expected a list",
    ),
    (
        "    drop_fields: ['']",
        "line 5, column 19: drop_fields is \"\", expected text that is not empty",
    ),
    (
        "    include: {pattern: x}",
        "line 5, column 14: include is a mapping, expected a list",
    ),
    (
        "    include: [x]",
        "line 5, column 15: condition is \"x\", expected a mapping with field or pattern",
    ),
    (
        "    exclude: [{field: x}]",
        "line 5, column 15: condition has no pattern, expected a regular expression",
    ),
    (
        "    redact: [mail]",
        "line 5, column 14: redact is \"mail\", perhaps \"email\": expected email, ip, bearer or card",
    ),
    (
        "    redact: [[]]",
        "line 5, column 14: redact is a list, expected email, ip, bearer, card or a mapping with pattern and with",
    ),
    (
        "    redact: [{with: x}]",
        "line 5, column 14: redaction has no pattern, expected a regular expression",
    ),
    (
        "    endpoint: {kind: http}",
        "line 5, column 15: endpoint has no url, expected a URL such as https://listener.logz.io:8071",
    ),
    (
        "    endpoint: {url: 'https://example.com'}",
        "line 5, column 15: endpoint has no token_arn, expected the ARN of a Secrets Manager secret or an SSM parameter",
    ),
    (
        "    endpoint: {url: 'http://example.com/s3cr3t', kind: http}",
        "line 5, column 21: url is [not shown], expected https, except to loopback",
    ),
    (
        "    endpoint: {url: 'https://example.com', kind: htp}",
        "line 5, column 50: kind is [not shown], expected logzio or http",
    ),
    (
        "    endpoint: {url: 'https://example.com', token_arn: s3cr3t}",
        "line 5, column 55: token_arn is [not shown], expected the ARN of a Secrets Manager secret or an SSM parameter",
    ),
    (
        "    endpoint: {url: 'https://example.com', kind: http, token: s3cr3t}",
        "line 5, column 56: token in endpoint: a rules file holds no secrets, expected token_arn in endpoint",
    ),
    (
        "    endpoint: 'https://example.com/?token=s3cr3t'",
        "line 5, column 15: endpoint is [not shown], expected a mapping with url, kind or token_arn",
    ),
    (
        "    token: s3cr3t",
        "line 5, column 5: token in rule: a rules file holds no secrets, expected token_arn in endpoint",
    ),
];

/// Whole files that are wrong.
const BAD_FILES: &[(&str, &str)] = &[
    (
        "rules: []",
        "line 1, column 1: the file has no version, expected version: 1",
    ),
    (
        "version: 2\nrules: []",
        "line 1, column 10: version is 2, expected 1",
    ),
    (
        "version: '1'\nrules: []",
        "line 1, column 10: version is \"1\", expected 1",
    ),
    (
        "version: 1",
        "line 1, column 1: the file has no rules, expected a list of rules",
    ),
    (
        "version: 1\nrules: {}",
        "line 2, column 8: rules is a mapping, expected a list",
    ),
    (
        "version: 1\nrules: [x]",
        "line 2, column 9: rule is \"x\", expected a mapping with name, match, skip, format, as, type, timestamp, source, fields, drop_fields, include, exclude, redact or endpoint",
    ),
    (
        "version: 1\nunmatched: drop\nrules: []",
        "line 2, column 12: unmatched is \"drop\": expected carry or skip",
    ),
    (
        "version: 1\ndefaults: {name: x}\nrules: []",
        "line 2, column 12: unknown field \"name\" in defaults: expected format, as, type, timestamp, source, fields, drop_fields, include, exclude, redact or endpoint",
    ),
    (
        "[]",
        "line 1, column 1: the file is a list, expected a mapping with version, unmatched, defaults or rules",
    ),
    (
        "version: 1\nrules: [{match: {prefix: x}}]",
        "line 2, column 9: rule has no name, expected 1 to 64 of a-z, 0-9, _ and -",
    ),
    (
        "version: 1\nrules: [{name: A b, match: {prefix: x}}]",
        "line 2, column 16: name is \"A b\", expected 1 to 64 of a-z, 0-9, _ and -",
    ),
    (
        "version: 1\nrules: [{name: x}]",
        "line 2, column 9: rule has no match, expected a mapping with bucket, prefix, glob or pattern",
    ),
    (
        "version: 1\nrules: [{name: x, match: {}}]",
        "line 2, column 26: match has no condition, expected bucket, prefix, glob or pattern",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefx: y}}]",
        "line 2, column 26: match has no condition, expected bucket, prefix, glob or pattern\nline 2, column 27: unknown field \"prefx\" in match, perhaps \"prefix\": expected bucket, prefix, glob or pattern",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: []}}]",
        "line 2, column 35: prefix is an empty list, expected an item",
    ),
    (
        "version: 1\nrules: [{name: x, match: {bucket: a/b}}]",
        "line 2, column 35: bucket is \"a/b\", expected a bucket's name, in which * stands for anything",
    ),
];

/// Whole files that are wrong in ways that no JSON Schema can say.
const BAD_BEYOND_SCHEMA: &[(&str, &str)] = &[
    (
        "",
        "line 1, column 1: the file is empty, expected a mapping with version and rules",
    ),
    (
        "# nothing\n",
        "line 1, column 1: the file is empty, expected a mapping with version and rules",
    ),
    (
        "version: 1\nrules: []\nrules: []",
        "line 3, column 1: field \"rules\" a second time: it stands on line 2 already",
    ),
    (
        "version: 1\nrules: []\n---\nversion: 1",
        "line 3, column 1: a second document, expected one in a file",
    ),
    (
        "version: &v 1\nrules: []",
        "line 1, column 13: an anchor, expected plain values",
    ),
    (
        "version: !!int 1\nrules: []",
        "line 1, column 16: a tag, expected plain values",
    ),
    (
        "version: 1\nrules: [",
        "line 2, column 9: no YAML: while parsing a node, did not find expected node content",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}}, {name: x, match: {prefix: b}}]",
        "line 2, column 47: name is \"x\", expected another: the rule on line 2 has it already",
    ),
    (
        "version: 1\nrules: [{name: x, match: {pattern: '(a'}}]",
        "line 2, column 36: pattern is \"(a\", expected a pattern: unclosed group",
    ),
    (
        "version: 1\nrules: [{name: x, match: {pattern: '(?<y>a)(?<y>b)'}}]",
        "line 2, column 36: pattern is \"(?<y>a)(?<y>b)\", expected a pattern: duplicate capture group name",
    ),
    (
        "version: 1\nrules: [{name: x, match: {pattern: '\\w{999}'}}]",
        "line 2, column 36: pattern is \"\\\\w{999}\", expected a pattern that takes at most 1048576 bytes when it is compiled",
    ),
    (
        "version: 1\nrules: [{name: x, match: {glob: 'a[b'}}]",
        "line 2, column 33: glob is \"a[b\", expected a glob: unclosed character class; missing ']'",
    ),
    (
        "version: 1\nrules: [{name: x, match: {pattern: '(?<zone>a)'}, type: '${zon}'}]",
        "line 2, column 57: unknown capture \"zon\", perhaps \"zone\" for the rule on line 2: expected zone",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, fields: {z: '${zone}'}}]",
        "line 2, column 51: unknown capture \"zone\" for the rule on line 2: expected a pattern that captures it",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, fields: {z: '${zone'}}]",
        "line 2, column 51: \"${zone\" has a ${ without an end, expected } (or $${ for itself)",
    ),
    (
        "version: 1\nunmatched: skip\ndefaults: {type: '${zone}'}\nrules: [{name: x, match: {prefix: a}}]",
        "line 3, column 18: unknown capture \"zone\" for the rule on line 4: expected a pattern that captures it",
    ),
    (
        "version: 1\ndefaults: {type: '${zone}'}\nrules: []",
        "line 2, column 18: unknown capture \"zone\" for objects that no rule matches: expected none in defaults, or unmatched: skip",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, fields: {n: .5}}]",
        "line 2, column 51: a value in fields is .5, expected a number as JSON has it, or text in quotes",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, fields: {n: 007}}]",
        "line 2, column 51: a value in fields is 007, expected a number as JSON has it, or text in quotes",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, source: true, fields: {s3_object_key: y}}]",
        "line 2, column 9: source and fields both have \"s3_object_key\", expected it in one of them",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, source: {key: y, id: y}}]",
        "line 2, column 60: source has the name \"y\" twice, expected it once",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, redact: [{pattern: y, with: $1}]}]",
        "line 2, column 67: with is \"$1\", expected groups of the pattern, not \"1\"",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, endpoint: {kind: http, url: 'https://h/?Token=s3cr3t'}}]",
        "line 2, column 67: url is [not shown], expected no token or type in the URL: they have settings of their own",
    ),
    (
        "version: 1\nrules: [{name: x, match: {prefix: a}, endpoint: {kind: http, url: 'https://u:s3cr3t@h/'}}]",
        "line 2, column 67: url is [not shown], expected no user and password in the URL",
    ),
];

#[test]
fn every_field_that_the_parser_knows_is_in_the_schema_and_no_other() {
    let schema = schema();
    for (table, pointer) in tables() {
        let properties = schema.pointer(&pointer).and_then(Json::as_object);
        let mut theirs: Vec<&str> = properties
            .expect(&pointer)
            .keys()
            .map(String::as_str)
            .collect();
        let mut ours = table.names.to_vec();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(theirs, ours, "{pointer}");
        for (name, property) in properties.expect(&pointer) {
            let described = property.get("description").or_else(|| property.get("$ref"));
            assert!(described.is_some(), "{pointer}/{name}");
        }
    }
    let with_fields = schema["$defs"].as_object().expect("definitions").values();
    let with_fields = with_fields
        .filter(|def| def.get("properties").is_some())
        .count();
    assert_eq!(with_fields + 1, tables().len());
}

#[test]
fn a_rule_takes_from_the_defaults_all_but_its_name_match_and_skip() {
    assert_eq!(RULE_ALONE, ["name", "match", "skip"]);
    assert_eq!([RULE_ALONE, DEFAULTS.names].concat(), RULE.names);
}

#[test]
fn the_formats_of_the_schema_are_those_of_the_parser() {
    let names = &schema()["$defs"]["format"]["anyOf"][0]["enum"];
    assert_eq!(*names, Json::from(format_names()));
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    for rest in GOOD {
        let text = rule(rest);
        parsed(&text);
        let found: Vec<String> = validator
            .iter_errors(&json(&text))
            .map(|e| e.to_string())
            .collect();
        assert!(found.is_empty(), "{text}\n{found:?}");
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    let rules = BAD.iter().map(|(rest, _)| rule(rest));
    for text in rules.chain(BAD_FILES.iter().map(|(text, _)| (*text).to_owned())) {
        assert!(!errors(&text).is_empty(), "{text}");
        assert!(!validator.is_valid(&json(&text)), "{text}");
    }
}

#[test]
fn errors_say_where_what_stood_there_and_what_was_expected() {
    let rules = BAD.iter().map(|(rest, expected)| (rule(rest), *expected));
    let files = BAD_FILES.iter().chain(BAD_BEYOND_SCHEMA);
    let files = files.map(|(text, expected)| ((*text).to_owned(), *expected));
    let mut differences = String::new();
    for (text, expected) in rules.chain(files) {
        let found = errors(&text);
        assert!(!found.contains("s3cr3t"), "{found}");
        if found != expected {
            differences.push_str(&format!("{text}\nis  {found}\nnot {expected}\n\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_text() {
    let text = "\
version: 2
rules:
  - name: one
    match: {prefx: a}
    as: xml
  - name: one
    match:
      pattern: '['
    redact: [phone]
    tokn: x
  - skip: true
";
    let found = errors(text);
    let places: Vec<&str> = found
        .lines()
        .filter_map(|line| line.split(':').next())
        .collect();
    let expected = [
        "line 1, column 10",
        "line 4, column 12",
        "line 4, column 13",
        "line 5, column 9",
        "line 6, column 11",
        "line 8, column 16",
        "line 9, column 14",
        "line 10, column 5",
        "line 11, column 5",
        "line 11, column 5",
    ];
    assert_eq!(places, expected, "{found}");
}

#[test]
fn errors_without_end_are_counted() {
    let text = format!("version: 1\nrules: [{}]", "x, ".repeat(500));
    let errors = Rules::parse(&text).expect_err("no rules");
    assert_eq!(errors.errors().len(), PROBLEMS_MAX);
    assert!(errors.to_string().ends_with("\nand 400 more"));
}

#[test]
fn limits_are_kept() {
    let many = |count: usize, rest: &str| {
        let rules: String = (0..count)
            .map(|index| format!("- {{name: r{index}, match: {{prefix: x}}{rest}}}\n"))
            .collect();
        format!("version: 1\nrules:\n{rules}")
    };
    assert_eq!(parsed(&many(RULES_MAX, "")).rules().len(), RULES_MAX);
    assert_eq!(
        errors(&many(RULES_MAX + 1, "")),
        "line 3, column 3: rules has 1001 items, expected at most 1000"
    );
    let padded = |length: usize| {
        let text = "version: 1\nrules: []\n#";
        format!("{text}{}", "x".repeat(length - text.len()))
    };
    parsed(&padded(FILE_BYTES_MAX));
    assert_eq!(
        errors(&padded(FILE_BYTES_MAX + 1)),
        "line 1, column 1: the file has 262145 bytes, expected at most 262144"
    );
    let patterns = errors(&many(100, ", include: [{pattern: '\\w{12}'}]"));
    assert!(
        patterns.contains(
            "pattern is one too many: expected patterns and globs that take at most 16777216 bytes"
        ),
        "{patterns}"
    );
    let long = format!(
        "defaults: {{fields: {{a: [{}]}}}}\n",
        "12345678, ".repeat(1000)
    );
    assert_eq!(
        errors(&format!("{long}{}", many(500, ""))),
        "line 1, column 11: defaults of 10017 characters for 500 rules, expected at most 4194304 together"
    );
    let deep = format!("version: 1\nrules: {}", "[".repeat(100));
    assert_eq!(
        errors(&deep),
        "line 2, column 39: nested too deep, expected at most 32 levels"
    );
    let long = format!(
        "version: 1\nrules: [{{name: x, match: {{prefix: {}}}}}]",
        "é".repeat(1025)
    );
    assert_eq!(
        errors(&long),
        "line 2, column 35: prefix is too long, expected at most 1024 characters"
    );
}

#[test]
fn a_file_means_what_it_says() {
    let text = rule(&format!(
        "    format: {{container: delimited, delimiter: \"\\t\", header: [a, b], quotes: false}}
    as: json
    type: cf-${{zone}}
    timestamp: {{fields: [date, a.b], format: unix_ns}}
    source: [id, object_key]
    fields: {{env: prod, team: 7, big: 1506702504433000200, f: 1.50, none: ~, list: [1, {{a: \"x\\\"\"}}], zone: '${{zone}}', p: '$${{5}}'}}
    drop_fields: ['a\\.b.c']
    include: [{{field: x, pattern: '^5'}}]
    exclude: [{{pattern: ERROR}}]
    redact: [card, {{pattern: x}}]
    endpoint: {{url: 'https://listener.logz.io:8071', token_arn: '{ARN}'}}
"
    ));
    let json = |text: &str| FieldValue::Json(text.to_owned());
    let path = |names: &[&str]| FieldPath(names.iter().map(|name| (*name).to_owned()).collect());
    let pattern = |text: &str| Pattern::new(text).expect("a pattern");
    let expected = Carry {
        format: Some(Said::Container(Container::Rows(RowFormat {
            dialect: Dialect {
                delimiter: Delimiter::Byte(b'\t'),
                quoting: Quoting::None,
                brackets: false,
                comment: None,
            },
            header: Header::Given(vec!["a".into(), "b".into()]),
            numbers: Vec::new(),
        }))),
        leaves: Some(Leaves::Json),
        log_type: Some(Template::parse("cf-${zone}").expect("a template")),
        shape: ShapeSpec {
            timestamp: TimestampSpec {
                when: TimestampWhen::Always,
                from: Some(TimeSource {
                    place: TimePlace::Fields(vec![path(&["date"]), path(&["a", "b"])]),
                    format: TimeFormat::UnixNanoseconds,
                }),
            },
            source: vec![
                (SourceValue::Id, "s3_record_id".into()),
                (SourceValue::ObjectKey, "s3_object_key".into()),
            ],
            fields: vec![
                ("env".into(), json("\"prod\"")),
                ("team".into(), json("7")),
                ("big".into(), json("1506702504433000200")),
                ("f".into(), json("1.50")),
                ("none".into(), json("null")),
                ("list".into(), json("[1,{\"a\":\"x\\\"\"}]")),
                ("zone".into(), FieldValue::Template("${zone}".into())),
                ("p".into(), json("\"${5}\"")),
            ],
            drop_fields: vec![path(&["a.b", "c"])],
            include: vec![Condition {
                field: Some(path(&["x"])),
                pattern: pattern("^5"),
            }],
            exclude: vec![Condition {
                field: None,
                pattern: pattern("ERROR"),
            }],
            redact: vec![
                Redaction::CardNumber,
                Redaction::Pattern {
                    pattern: pattern("x"),
                    replacement: "[redacted]".into(),
                },
            ],
        },
        destination: Some(DestinationSpec {
            url: "https://listener.logz.io:8071".parse().expect("a URL"),
            kind: EndpointKind::Logzio,
            token: Some(TokenPlace::Secret(ARN.into())),
        }),
    };
    assert_eq!(carried(&text), expected);
}

#[test]
fn json_is_yaml() {
    let text =
        r#"{"version": 1, "rules": [{"name": "a", "match": {"prefix": "x/"}, "as": "raw"}]}"#;
    assert_eq!(carried(text).leaves, Some(Leaves::Raw));
    let error = errors(r#"{"version": 1, "rules": [{"nam": "a", "match": {"prefix": "x/"}}]}"#);
    assert!(
        error.starts_with("line 1, column 26: rule has no name"),
        "{error}"
    );
}

#[test]
fn defaults_fill_what_a_rule_leaves_out_and_hold_for_what_no_rule_matches() {
    let rules = parsed(
        "\
version: 1
defaults:
  type: t
  redact: [email]
  fields: {a: 1, b: 2}
rules:
  - name: as-it-is
    match: {prefix: x/}
  - name: its-own
    match: {prefix: y/}
    type: u
    redact: []
    fields: {c: 3}
",
    );
    let carry = |index: usize| rules.rules()[index].carry().expect("carried");
    assert_eq!(Some(carry(0)), rules.unmatched());
    assert_eq!(carry(0).log_type(&[]).as_deref(), Some("t"));
    assert_eq!(carry(0).shape.redact, [Redaction::Email]);
    assert_eq!(carry(0).shape.fields.len(), 2);
    assert_eq!(carry(1).log_type(&[]).as_deref(), Some("u"));
    assert_eq!(carry(1).shape.redact, []);
    assert_eq!(
        carry(1).shape.fields,
        [("c".to_owned(), FieldValue::Json("3".to_owned()))]
    );
}

#[test]
fn a_type_from_a_key_has_no_spaces_and_is_absent_when_it_is_empty() {
    let carry = carried(&rule("    type: '${zone}'"));
    let log_type = |zone: &str| carry.log_type(&[("zone".to_owned(), zone.to_owned())]);
    assert_eq!(log_type("a b\nc").as_deref(), Some("a_b_c"));
    assert_eq!(log_type(""), None);
}

#[test]
fn nothing_shows_a_path_of_an_endpoint() {
    let carry = carried(&rule(
        "    endpoint: {kind: http, url: 'https://example.com/s3cr3t?key=s3cr3t'}",
    ));
    let shown = format!("{carry:?}");
    assert!(
        shown.contains("https://example.com") && !shown.contains("s3cr3t"),
        "{shown}"
    );
}

#[test]
fn the_examples_of_the_documentation_are_right_and_every_field_is_in_it() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    let examples: Vec<&str> = DOCS
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 5, "{}", examples.len());
    for example in examples {
        parsed(example);
        assert!(validator.is_valid(&json(example)), "{example}");
    }
    for (table, _) in tables() {
        for name in table.names {
            assert!(DOCS.contains(&format!("`{name}`")), "{name}");
        }
    }
    for name in format_names() {
        assert!(DOCS.contains(&format!("`{name}`")), "{name}");
    }
}

/// Every part of the format, to be damaged.
fn everything() -> String {
    let mut text =
        "version: 1\nunmatched: skip\ndefaults: {type: t, source: true}\nrules:\n".to_owned();
    for (index, rest) in GOOD.iter().enumerate() {
        text.push_str(&format!(
            "  - name: r{index}\n    match: {{bucket: 'b*', prefix: [x/], glob: '**', pattern: '(?<zone>z)'}}\n{rest}\n"
        ));
    }
    text
}

fn decided(text: &str) -> Result<String, String> {
    match Rules::parse(text) {
        Ok(rules) => Ok(format!("{}", rules.explain("bucket", "x/z"))),
        Err(errors) => {
            let places: Vec<_> = errors.errors().iter().map(|error| error.place).collect();
            assert!(places.is_sorted() && !places.is_empty());
            Err(errors.to_string())
        }
    }
}

#[test]
fn a_file_that_ends_early_does_not_panic() {
    let text = everything();
    parsed(&text);
    for end in (0..text.len()).step_by(43) {
        let _ = decided(&text[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_file_does_not_panic(
        damages in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..4,
             "[-\\[\\]{}:,?&*!|>'\"%@` \n\t#$\\\\~.0aé\u{85}\u{feff}]{0,3}"),
            1..6,
        ),
    ) {
        let mut text: Vec<char> = everything().chars().collect();
        for (from, to, how, with) in damages {
            if text.is_empty() {
                break;
            }
            let (from, to) = (from.index(text.len()), to.index(text.len()));
            let short = from..(from + to % 9).min(text.len());
            match how {
                0 => drop(text.splice(short, with.chars())),
                1 => drop(text.splice(from..from, with.chars())),
                2 => {
                    let copy: Vec<char> = text[short].to_vec();
                    drop(text.splice(to..to, copy));
                }
                _ => text.truncate(from.max(40)),
            }
        }
        let text: String = text.into_iter().collect();
        let first = decided(&text);
        prop_assert_eq!(first, decided(&text));
    }

}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(version|rules|- |: |\\{|\\}|\\[|\\]|\n|  |'|\"|\\||>|#|&a|\\*a|!t|\\?|%|---|\\PC){0,60}") {
        let _ = decided(&text);
    }

    #[test]
    fn a_secret_is_never_shown(
        field in "[a-z_]{1,12}",
        place in 0_usize..5,
    ) {
        let secret = "Zs3cr3t~tok3n";
        let rest = match place {
            0 => format!("    endpoint: {{url: 'https://h', {field}: {secret}}}"),
            1 => format!("    endpoint: {{url: 'https://h/?{field}={secret}', token_arn: x}}"),
            2 => format!("    endpoint: {{url: 'https://h', token_arn: 'arn:{field}:{secret}'}}"),
            3 => format!("    endpoint: [{field}, '{secret}']"),
            _ => format!("    token: {secret}\n    endpoint: {secret}"),
        };
        let found = match Rules::parse(&rule(&rest)) {
            Ok(rules) => format!("{:?}", rules),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        prop_assert!(!found.contains(secret), "{}", found);
    }
}

#[test]
fn a_decision_is_the_first_rule_that_matches() {
    let rules = parsed(
        "\
version: 1
unmatched: skip
rules:
  - {name: tests, match: {prefix: logs/test/}, skip: true}
  - {name: zones, match: {bucket: 'my-*', pattern: '^logs/(?<zone>[^/]+)/(?<day>\\d+)?'}}
  - {name: rest, match: {prefix: logs/}}
",
    );
    let decided = |bucket: &str, key: &str| match rules.of(bucket, key) {
        Decision::Carry { rule, captures, .. } => {
            let captures = captures
                .iter()
                .map(|(name, text)| format!(" {name}={text}"));
            format!("{}{}", rule.name(), captures.collect::<String>())
        }
        Decision::Skip { rule } => format!("skip by {}", rule.name()),
        Decision::Unmatched(carry) => format!("unmatched, carried: {}", carry.is_some()),
    };
    assert_eq!(decided("my-logs", "logs/test/a/1"), "skip by tests");
    assert_eq!(
        decided("my-logs", "logs/a.com/20240102/x"),
        "zones zone=a.com day=20240102"
    );
    assert_eq!(decided("my-logs", "logs/a.com/x"), "zones zone=a.com day=");
    assert_eq!(decided("other", "logs/a.com/x"), "rest");
    assert_eq!(decided("my-logs", "log/x"), "unmatched, carried: false");
}

#[test]
fn patterns_that_are_too_large_take_no_more_time_for_being_many() {
    let many = "      - pattern: '\\w{9999}'\n".repeat(100);
    let text = format!(
        "version: 1\nrules:\n  - name: a\n    match: {{prefix: a}}\n    include:\n{many}    exclude:\n{many}"
    );
    let errors = Rules::parse(&text)
        .expect_err("too large")
        .errors()
        .to_vec();
    let says = |at: usize, what: &str| errors[at].message.contains(what);
    assert!(says(0, "takes at most 1048576 bytes"), "{}", errors[0]);
    // Those are not compiled any more, which would take minutes for a file of them.
    assert!(says(99, "is one too many"), "{}", errors[99]);
}

#[test]
fn of_many_problems_no_more_are_held_than_are_told() {
    use crate::rules::error::{Place, Problems};
    let mut problems = Problems::default();
    for line in (1..=10_000).rev() {
        for _ in 0..2 {
            problems.note(Place { line, column: 1 }, "a".repeat(9));
        }
    }
    let errors = problems.into_errors().expect("problems");
    let lines: Vec<usize> = errors
        .errors()
        .iter()
        .map(|error| error.place.line)
        .collect();
    assert_eq!(lines, (1..=100).collect::<Vec<_>>());
    assert!(errors.to_string().ends_with("\nand 9900 more"));
}
