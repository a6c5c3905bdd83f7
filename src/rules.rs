//! Which objects are logs, and how they are carried: by what kind of object it is not, then by the rules of a
//! file.
//!
//! Goes in: the text of a rules file, once; then a bucket and a key for each object. Comes out: what is to be
//! done with the object. Nothing here reads a file, or looks into an object. `docs/rules.md` is the file's
//! description, `docs/rules.schema.json` its JSON Schema.

use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};

mod error;
mod explain;
mod file;
mod matching;
mod spec;
mod template;
mod yaml;

pub use error::{PROBLEMS_MAX, Place, RulesError, RulesErrors};
pub use explain::{Asked, Explanation, Outcome};
pub use file::{FILE_BYTES_MAX, RULES_MAX};
pub use matching::Condition;
use matching::Match;
pub use spec::{Carry, DestinationSpec};
pub use template::{Captures, Template, Unclosed};

/// The rules of one file. By default there are none, and every object is carried as its content says.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// How objects are carried that no rule matches, if they are.
    unmatched: Option<Carry>,
    digest: String,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    name: String,
    line: usize,
    matches: Match,
    /// Absent: the objects are skipped.
    carry: Option<Carry>,
}

/// What is to be done with an object.
#[derive(Clone, Debug)]
pub enum Decision<'a> {
    Carry {
        rule: &'a Rule,
        carry: &'a Carry,
        captures: Captures,
    },
    Skip {
        rule: &'a Rule,
    },
    /// No rule matches: to be counted, and carried like this if it is to be carried.
    Unmatched(Option<&'a Carry>),
}

impl Rules {
    /// Reads a rules file: YAML 1.2, and so JSON, of at most [`FILE_BYTES_MAX`] bytes and [`RULES_MAX`] rules.
    /// A file with anything wrong in it gives no rules but all its errors; none of them repeats what may be
    /// a secret. What the rules take is bounded: see `docs/rules.md`.
    pub fn parse(yaml: &str) -> Result<Self, RulesErrors> {
        let (rules, unmatched) = file::read(yaml)?;
        Ok(Self {
            rules,
            unmatched,
            digest: digest(yaml),
        })
    }

    /// What is to be done with an object that [`not_a_log`] lets pass: what the first rule says that matches it.
    /// The same object gives the same decision, always.
    pub fn of(&self, bucket: &str, key: &str) -> Decision<'_> {
        for rule in &self.rules {
            if let Some(captures) = rule.matches.captures(bucket, key) {
                return match &rule.carry {
                    Some(carry) => Decision::Carry {
                        rule,
                        carry,
                        captures,
                    },
                    None => Decision::Skip { rule },
                };
            }
        }
        Decision::Unmatched(self.unmatched.as_ref())
    }

    /// Whether an object is left out.
    pub fn skips(&self, bucket: &str, key: &str) -> bool {
        matches!(
            self.of(bucket, key),
            Decision::Skip { .. } | Decision::Unmatched(None)
        )
    }

    /// In the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How objects are carried that no rule matches, if they are.
    pub fn unmatched(&self) -> Option<&Carry> {
        self.unmatched.as_ref()
    }

    /// Sixteen hexadecimal digits that another text does not have: for logs.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            unmatched: Some(Carry::default()),
            digest: digest(""),
        }
    }
}

/// The rules that hold now, for whoever asks. At first there are none.
#[derive(Debug, Default)]
pub struct RulesInForce(RwLock<Arc<Rules>>);

impl RulesInForce {
    /// From now on these hold.
    pub fn set(&self, rules: Arc<Rules>) {
        // What a panicking thread left is whole.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    pub fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rule {
    /// Another than that of every other rule: 1 to 64 of `a-z`, `0-9`, `_` and `-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it begins in its file, from one.
    pub fn line(&self) -> usize {
        self.line
    }

    /// How the objects that it matches are carried; nothing if they are skipped.
    pub fn carry(&self) -> Option<&Carry> {
        self.carry.as_ref()
    }
}

impl PartialEq for Rule {
    /// Names are unique in a file.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.line == other.line
    }
}

/// The first eight bytes of the text's SHA-256.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Why an object is no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotALog {
    /// Zero bytes.
    Empty,
    /// A key that stands for a folder.
    FolderMarker,
    /// Written by a producer to try its access.
    TestObject,
    /// CloudTrail's hashes of its log files, for those who want to prove that nobody altered them.
    Digest,
}

impl NotALog {
    pub fn as_str(self) -> &'static str {
        match self {
            NotALog::Empty => "empty object",
            NotALog::FolderMarker => "folder marker",
            NotALog::TestObject => "test object of a producer",
            NotALog::Digest => "CloudTrail digest",
        }
    }
}

/// Last segments of keys that producers write to try their access:
/// Elastic Load Balancing (guide "Enable access logs"), AWS Config, CloudWatch Logs export tasks,
/// AWS services that check for access by program, Cloudflare Logpush.
const TEST_OBJECTS: &[&str] = &[
    "ELBAccessLogTestFile",
    "ConfigWritabilityCheckFile",
    "aws-logs-write-test",
    "aws-programmatic-access-test-object",
    "test.txt.gz",
];

/// Cloudflare Logpush proves the ownership of a bucket with `ownership-challenge.txt` or
/// `ownership-challenge-HASH.txt`; its content is a token that has no business in a log.
const OWNERSHIP_CHALLENGE: &str = "ownership-challenge";

/// The folder of CloudTrail's digest files (guide "CloudTrail digest file structure"), which lies beside that of
/// its logs, `CloudTrail`, and begins like it.
const DIGEST_FOLDER: &str = "CloudTrail-Digest";

/// Says why the object is no log, or nothing if it may be one. `size` in bytes, if it is known.
///
/// Not here, on purpose: Parquet and ORC, which are quarantined by their content, so that somebody hears of them;
/// and what Firehose puts under `processing-failed/`, which is the only copy of what it could not transform: it is
/// carried like anything else, unless a rule skips it.
pub fn not_a_log(key: &str, size: Option<u64>) -> Option<NotALog> {
    let (folders, name) = key.rsplit_once('/').unwrap_or(("", key));
    if key.ends_with("_$folder$") || (key.ends_with('/') && size.is_none_or(|size| size == 0)) {
        Some(NotALog::FolderMarker)
    } else if TEST_OBJECTS.contains(&name) || name.starts_with(OWNERSHIP_CHALLENGE) {
        Some(NotALog::TestObject)
    } else if size == Some(0) {
        Some(NotALog::Empty)
    } else if folders.split('/').any(|folder| folder == DIGEST_FOLDER) {
        Some(NotALog::Digest)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_producers_write_beside_their_logs_is_skipped() {
        for key in [
            "logs/ownership-challenge.txt",
            "ownership-challenge-0a1b2c.txt",
            "AWSLogs/123456789012/ELBAccessLogTestFile",
            "p/AWSLogs/1/Config/ConfigWritabilityCheckFile",
            "exports/aws-logs-write-test",
            "aws-programmatic-access-test-object",
            "logs/test.txt.gz",
        ] {
            assert_eq!(not_a_log(key, Some(7)), Some(NotALog::TestObject), "{key}");
        }
    }

    #[test]
    fn folder_markers_and_empty_objects_are_skipped() {
        assert_eq!(not_a_log("logs/", Some(0)), Some(NotALog::FolderMarker));
        assert_eq!(
            not_a_log("logs_$folder$", Some(0)),
            Some(NotALog::FolderMarker)
        );
        assert_eq!(not_a_log("logs/a.gz", Some(0)), Some(NotALog::Empty));
    }

    #[test]
    fn a_key_that_ends_in_a_slash_and_has_content_is_a_log() {
        assert_eq!(not_a_log("logs/", Some(3)), None);
    }

    #[test]
    fn r2_a_cloudtrail_digest_is_skipped_by_its_folder_alone() {
        let digest =
            "p/AWSLogs/1/CloudTrail-Digest/eu-west-1/2024/01/02/1_CloudTrail-Digest_x.json.gz";
        assert_eq!(not_a_log(digest, Some(3)), Some(NotALog::Digest));
        assert_eq!(
            not_a_log("CloudTrail-Digest/x", None),
            Some(NotALog::Digest)
        );
        for key in [
            "AWSLogs/1/CloudTrail/eu-west-1/2024/01/02/1_CloudTrail_x.json.gz",
            "AWSLogs/1/CloudTrail-Digest-copy/x",
            "AWSLogs/1/my-CloudTrail-Digest/x",
            "AWSLogs/1/cloudtrail-digest/x",
            "CloudTrail-Digest",
        ] {
            assert_eq!(not_a_log(key, Some(3)), None, "{key}");
        }
    }

    #[test]
    fn what_firehose_could_not_transform_and_what_is_parquet_are_left_to_others() {
        for key in [
            "p/processing-failed/2024/01/02/03/x",
            "p/x.log.parquet",
            "p/x.orc",
        ] {
            assert_eq!(not_a_log(key, Some(3)), None, "{key}");
        }
    }

    #[test]
    fn a_log_whose_name_only_resembles_a_test_object_is_a_log() {
        assert_eq!(not_a_log("logs/my-ownership-challenge.log", Some(3)), None);
        assert_eq!(not_a_log("ELBAccessLogTestFile/a.gz", None), None);
    }
}
