//! Which objects a rule matches: by bucket, prefix, glob and pattern, the cheap ones first.

use std::fmt;

use regex::Regex;

use super::error::quoted;
use super::template::Captures;

/// The conditions of a rule. All that were given hold, and at least one was given.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// One of these is the bucket's name.
    pub buckets: Vec<Wildcard>,
    /// The key begins with one of these.
    pub prefixes: Vec<String>,
    /// One of these is the whole key.
    pub globs: Vec<Wildcard>,
    /// Matches somewhere in the key.
    pub pattern: Option<Regex>,
}

/// Text with wildcards, which stands for whole names.
#[derive(Clone, Debug)]
pub struct Wildcard {
    pub text: String,
    pub regex: regex::bytes::Regex,
}

/// A condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    Bucket,
    Prefix,
    Glob,
    Pattern,
}

impl Condition {
    /// In the order in which they are looked at.
    const ALL: [Self; 4] = [Self::Bucket, Self::Prefix, Self::Glob, Self::Pattern];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Prefix => "prefix",
            Self::Glob => "glob",
            Self::Pattern => "pattern",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Match {
    /// What the pattern captured, if every condition holds.
    pub fn captures(&self, bucket: &str, key: &str) -> Option<Captures> {
        let mut rest = self.given();
        rest.all(|condition| self.holds(condition, bucket, key))
            .then(|| self.captured(key))
    }

    /// The conditions that were given, in the order in which they are looked at.
    pub fn given(&self) -> impl Iterator<Item = Condition> {
        Condition::ALL
            .into_iter()
            .filter(|condition| match condition {
                Condition::Bucket => !self.buckets.is_empty(),
                Condition::Prefix => !self.prefixes.is_empty(),
                Condition::Glob => !self.globs.is_empty(),
                Condition::Pattern => self.pattern.is_some(),
            })
    }

    pub fn holds(&self, condition: Condition, bucket: &str, key: &str) -> bool {
        match condition {
            Condition::Bucket => self.buckets.iter().any(|name| name.is_match(bucket)),
            Condition::Prefix => self.prefixes.iter().any(|prefix| key.starts_with(prefix)),
            Condition::Glob => self.globs.iter().any(|glob| glob.is_match(key)),
            Condition::Pattern => self
                .pattern
                .as_ref()
                .is_none_or(|regex| regex.is_match(key)),
        }
    }

    /// What was given for a condition, as a person reads it.
    pub fn shown(&self, condition: Condition) -> String {
        let wildcards = |wildcards: &[Wildcard]| -> Vec<String> {
            wildcards.iter().map(|glob| quoted(&glob.text)).collect()
        };
        let values = match condition {
            Condition::Bucket => wildcards(&self.buckets),
            Condition::Prefix => self.prefixes.iter().map(|prefix| quoted(prefix)).collect(),
            Condition::Glob => wildcards(&self.globs),
            Condition::Pattern => {
                let pattern = self.pattern.as_ref();
                pattern.iter().map(|regex| quoted(regex.as_str())).collect()
            }
        };
        format!("{condition} {}", values.join(" or "))
    }

    /// The names that the pattern captures under.
    pub fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.pattern
            .iter()
            .flat_map(|regex| regex.capture_names().flatten())
    }

    fn captured(&self, key: &str) -> Captures {
        let Some(regex) = self
            .pattern
            .as_ref()
            .filter(|regex| regex.captures_len() > 1)
        else {
            return Captures::new();
        };
        let Some(found) = regex.captures(key) else {
            return Captures::new();
        };
        let names = regex.capture_names().flatten();
        names
            .map(|name| {
                let text = found.name(name).map_or("", |text| text.as_str());
                (name.to_owned(), text.to_owned())
            })
            .collect()
    }
}

impl Wildcard {
    fn is_match(&self, name: &str) -> bool {
        self.regex.is_match(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{Decision, Rules};

    /// What is captured of each key that a `match` matches.
    fn matched<'k>(condition: &str, keys: &[&'k str]) -> Vec<&'k str> {
        let text = format!("version: 1\nunmatched: skip\nrules: [{{name: a, match: {condition}}}]");
        let rules = Rules::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let matches = |key: &str| matches!(rules.of("my-logs", key), Decision::Carry { .. });
        keys.iter().copied().filter(|key| matches(key)).collect()
    }

    #[test]
    fn p8_a_prefix_matches_its_longer_neighbours() {
        let keys = [
            "logs/app/x",
            "logs/app2/x",
            "logs/ap",
            "x/logs/app",
            "LOGS/app/x",
        ];
        assert_eq!(
            matched("{prefix: logs/app}", &keys),
            ["logs/app/x", "logs/app2/x"]
        );
        assert_eq!(
            matched("{prefix: [logs/app/, x/]}", &keys),
            ["logs/app/x", "x/logs/app"]
        );
    }

    #[test]
    fn a_star_in_a_glob_is_not_a_slash_and_two_are() {
        let keys = [
            "cloudflare/z/http_requests/a.gz",
            "cloudflare/z/http_requests/20240102/a.gz",
            "cloudflare/y/z/http_requests/a.gz",
            "cloudflare/http_requests/a.gz",
            "cloudflare/z/http_requests",
        ];
        let two = &keys[..2];
        assert_eq!(
            matched("{glob: 'cloudflare/*/http_requests/**'}", &keys),
            two
        );
        assert_eq!(
            matched("{glob: 'cloudflare/**/http_requests/*'}", &keys),
            [keys[0], keys[2], keys[3]]
        );
        assert_eq!(matched("{glob: '**'}", &keys), keys);
        assert_eq!(matched("{glob: '*'}", &keys), [""; 0]);
        assert_eq!(matched("{glob: '**/a.{gz,zst}'}", &keys), &keys[..4]);
        assert_eq!(
            matched("{glob: ['x', '**/[h]ttp_requests']}", &keys),
            &keys[4..]
        );
    }

    #[test]
    fn p9_any_key_can_be_matched() {
        let keys = [
            "a/new\nline/x.gz",
            "a/b|c#d/x.gz",
            "a/é ü+%2F&=/x.gz",
            "a//x.gz",
            "/a/x.gz",
            "a/\u{1}\t\"'/x.gz",
            "a/../x.gz",
            "a/.",
        ];
        assert_eq!(matched("{glob: '**'}", &keys), keys);
        assert_eq!(matched("{pattern: '(?s)^.*$'}", &keys), keys);
        assert_eq!(matched("{glob: 'a/*/x.gz'}", &keys).len(), 6);
        assert_eq!(matched("{pattern: '^a/[^/]+/x\\.gz$'}", &keys).len(), 5);
        assert_eq!(matched("{prefix: \"a/new\\nline\"}", &keys), &keys[..1]);
        assert_eq!(matched("{prefix: 'a/é ü+%2F&='}", &keys), &keys[2..3]);
        assert_eq!(matched("{glob: 'a/b|c#d/*'}", &keys), &keys[1..2]);
        assert_eq!(matched("{glob: 'a/.'}", &keys), &keys[7..]);
    }

    #[test]
    fn all_conditions_hold_and_a_pattern_is_looked_for_anywhere() {
        let keys = ["logs/a.gz", "logs/b.gz", "other/a.gz"];
        assert_eq!(matched("{prefix: logs/, pattern: a}", &keys), ["logs/a.gz"]);
        assert_eq!(
            matched("{pattern: '/a'}", &keys),
            ["logs/a.gz", "other/a.gz"]
        );
        assert_eq!(matched("{bucket: my-logs, pattern: '^a'}", &keys), [""; 0]);
        assert_eq!(matched("{bucket: my-log, prefix: logs/}", &keys), [""; 0]);
        assert_eq!(matched("{bucket: MY-LOGS}", &keys), [""; 0]);
        for bucket in ["my-*", "*", "*logs", "m*-*s", "[other, my-logs]"] {
            assert_eq!(
                matched(&format!("{{bucket: {}}}", quote(bucket)), &keys),
                keys,
                "{bucket}"
            );
        }
    }

    fn quote(bucket: &str) -> String {
        if bucket.starts_with('[') {
            bucket.to_owned()
        } else {
            format!("'{bucket}'")
        }
    }
}
