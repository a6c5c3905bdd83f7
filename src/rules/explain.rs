//! Why an object is handled as it is: what every rule says of it, in the order in which they are asked.

use std::fmt;

use super::error::quoted;
use super::matching::Condition;
use super::template::Captures;
use super::{NotALog, Rule, Rules, not_a_log};

/// What was asked of one object, and what came of it. Shown as some lines for a person.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    pub bucket: String,
    pub key: String,
    /// The rules that were asked, in order; the last is the one that matches, if any does.
    pub asked: Vec<Asked<'a>>,
    pub outcome: Outcome<'a>,
}

/// What one rule says.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub rule: &'a Rule,
    /// The conditions that hold.
    pub held: Vec<Condition>,
    /// The first condition that does not.
    pub failed: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// No rule was asked.
    NotALog(NotALog),
    Skipped(&'a Rule),
    Carried(&'a Rule, Captures),
    /// No rule matches, and such objects are carried.
    UnmatchedCarried,
    /// No rule matches, and such objects are skipped.
    UnmatchedSkipped,
}

impl Rules {
    /// What [`Rules::of`] decides, and why. The object's size is not known here: one of no bytes is skipped all
    /// the same.
    pub fn explain(&self, bucket: &str, key: &str) -> Explanation<'_> {
        let mut asked = Vec::new();
        let outcome = match not_a_log(key, None) {
            Some(why) => Outcome::NotALog(why),
            None => self.ask(bucket, key, &mut asked),
        };
        Explanation {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            asked,
            outcome,
        }
    }

    fn ask<'a>(&'a self, bucket: &str, key: &str, asked: &mut Vec<Asked<'a>>) -> Outcome<'a> {
        for rule in &self.rules {
            let (mut held, mut failed) = (Vec::new(), None);
            for condition in rule.matches.given() {
                if !rule.matches.holds(condition, bucket, key) {
                    failed = Some(condition);
                    break;
                }
                held.push(condition);
            }
            asked.push(Asked { rule, held, failed });
            if failed.is_none() {
                let captures = rule.matches.captures(bucket, key).unwrap_or_default();
                return match rule.carry {
                    Some(_) => Outcome::Carried(rule, captures),
                    None => Outcome::Skipped(rule),
                };
            }
        }
        match self.unmatched {
            Some(_) => Outcome::UnmatchedCarried,
            None => Outcome::UnmatchedSkipped,
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = format!("s3://{}/{}", self.bucket, self.key);
        for char in object.chars() {
            if char.is_control() {
                write!(f, "{}", char.escape_default())?;
            } else {
                write!(f, "{char}")?;
            }
        }
        writeln!(f)?;
        for asked in &self.asked {
            writeln!(f, "  {asked}")?;
        }
        write!(f, "{}", self.outcome)
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { name, line, .. } = self.rule;
        write!(f, "rule {name}, line {line}: ")?;
        for condition in &self.held {
            write!(f, "{} holds, ", self.rule.matches.shown(*condition))?;
        }
        match self.failed {
            Some(condition) => write!(f, "{} does not", self.rule.matches.shown(condition)),
            None => f.write_str("so it matches"),
        }
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALog(why) => write!(f, "skipped: no log but {}", why.as_str()),
            Self::Skipped(rule) => write!(f, "skipped by rule {}", rule.name),
            Self::Carried(rule, captures) => {
                write!(f, "carried by rule {}", rule.name)?;
                for (index, (name, text)) in captures.iter().enumerate() {
                    let separator = if index == 0 { " with" } else { "," };
                    write!(f, "{separator} {name} {}", quoted(text))?;
                }
                Ok(())
            }
            Self::UnmatchedCarried => f.write_str("carried: no rule matches, as its content says"),
            Self::UnmatchedSkipped => f.write_str("skipped: no rule matches"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
version: 1
rules:
  - {name: elsewhere, match: {bucket: other, prefix: logs/}}
  - {name: tests, match: {prefix: [logs/test/, tmp/]}, skip: true}
  - {name: zones, match: {bucket: my-*, glob: 'logs/**', pattern: '^logs/(?<zone>[^/]+)/(?<day>[0-9]+)?'}}
";

    fn explained(key: &str) -> String {
        let rules = Rules::parse(RULES).unwrap_or_else(|errors| panic!("{errors}"));
        rules.explain("my-logs", key).to_string()
    }

    #[test]
    fn five_keys_are_explained() {
        let cases = [
            (
                "logs/a.com/x.gz",
                r#"s3://my-logs/logs/a.com/x.gz
  rule elsewhere, line 3: bucket "other" does not
  rule tests, line 4: prefix "logs/test/" or "tmp/" does not
  rule zones, line 5: bucket "my-*" holds, glob "logs/**" holds, pattern "^logs/(?<zone>[^/]+)/(?<day>[0-9]+)?" holds, so it matches
carried by rule zones with zone "a.com", day """#,
            ),
            (
                "tmp/x",
                r#"s3://my-logs/tmp/x
  rule elsewhere, line 3: bucket "other" does not
  rule tests, line 4: prefix "logs/test/" or "tmp/" holds, so it matches
skipped by rule tests"#,
            ),
            (
                "logs/ownership-challenge.txt",
                "s3://my-logs/logs/ownership-challenge.txt\nskipped: no log but test object of a producer",
            ),
            (
                "logs/x.gz",
                r#"s3://my-logs/logs/x.gz
  rule elsewhere, line 3: bucket "other" does not
  rule tests, line 4: prefix "logs/test/" or "tmp/" does not
  rule zones, line 5: bucket "my-*" holds, glob "logs/**" holds, pattern "^logs/(?<zone>[^/]+)/(?<day>[0-9]+)?" does not
carried: no rule matches, as its content says"#,
            ),
            (
                "a\nb",
                r#"s3://my-logs/a\nb
  rule elsewhere, line 3: bucket "other" does not
  rule tests, line 4: prefix "logs/test/" or "tmp/" does not
  rule zones, line 5: bucket "my-*" holds, glob "logs/**" does not
carried: no rule matches, as its content says"#,
            ),
        ];
        for (key, expected) in cases {
            assert_eq!(explained(key), expected, "{key}");
        }
    }

    #[test]
    fn an_explanation_says_what_is_decided() {
        use crate::rules::Decision;
        let rules = Rules::parse(RULES).unwrap_or_else(|errors| panic!("{errors}"));
        for key in ["logs/a.com/7/x", "tmp/x", "logs/x", "x", "logs/test/1/2"] {
            for bucket in ["my-logs", "other", "b"] {
                let outcome = rules.explain(bucket, key).outcome;
                let decided = match rules.of(bucket, key) {
                    Decision::Carry { rule, captures, .. } => Outcome::Carried(rule, captures),
                    Decision::Skip { rule } => Outcome::Skipped(rule),
                    Decision::Unmatched(Some(_)) => Outcome::UnmatchedCarried,
                    Decision::Unmatched(None) => Outcome::UnmatchedSkipped,
                };
                assert_eq!(outcome, decided, "{bucket} {key}");
            }
        }
    }

    #[test]
    fn another_text_has_another_digest() {
        let digest = |text: &str| {
            Rules::parse(text)
                .map(|rules| rules.digest().to_owned())
                .ok()
        };
        let (one, other) = ("version: 1\nrules: []", "version: 1\nrules: [] #");
        assert_eq!(digest(one), digest(one));
        assert_ne!(digest(one), digest(other));
        assert_eq!(digest(one).map(|digest| digest.len()), Some(16));
    }
}
