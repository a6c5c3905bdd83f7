//! Every failure, and the verdict of each. The only such table: the README shows the same one.

use std::fmt;
use std::time::Duration;

use crate::decode::DecodeError;
use crate::ledger::LedgerError;
use crate::quarantine::QuarantineError;
use crate::queue::QueueError;
use crate::store::StoreError;

/// What becomes of the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The same work may succeed later: back to the queue, with its checkpoint.
    Retry,
    /// Nothing to do: done, and counted.
    Skip,
    /// It can never succeed as it is: kept in quarantine, and alarmed.
    Quarantine,
    /// Nothing can succeed until a person acts: untouched, returned, and alarmed.
    Fatal,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Retry => "retry",
            Verdict::Skip => "skip",
            Verdict::Quarantine => "quarantine",
            Verdict::Fatal => "fatal",
        }
    }
}

/// Declares the kinds once: name in logs and rows, verdict, whether it counts against the object,
/// and what it means.
macro_rules! failure_kinds {
    ($($kind:ident $name:literal $verdict:ident $blames:literal $meaning:literal)*) => {
        /// What went wrong, or why there was nothing to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FailureKind {
            $(#[doc = $meaning] $kind,)*
        }

        impl FailureKind {
            /// Every kind, in the order of the table.
            pub const ALL: &[FailureKind] = &[$(FailureKind::$kind,)*];

            /// The name in logs, metrics and ledger rows.
            pub const fn name(self) -> &'static str {
                match self {
                    $(FailureKind::$kind => $name,)*
                }
            }

            pub const fn verdict(self) -> Verdict {
                match self {
                    $(FailureKind::$kind => Verdict::$verdict,)*
                }
            }

            /// Whether an attempt that ended so counts towards `ATTEMPTS_MAX`. An outage of the
            /// endpoint or of the ledger never does.
            pub const fn blames_object(self) -> bool {
                match self {
                    $(FailureKind::$kind => $blames,)*
                }
            }

            /// One line for a person.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(FailureKind::$kind => $meaning,)*
                }
            }
        }
    };
}

failure_kinds! {
    LeaseHeld "lease_held" Retry false "another worker holds the lease on this object"
    LeaseLost "lease_lost" Retry false "another worker took the object over; this one stopped"
    NotBegun "not_begun" Retry false "time ran out before its turn, or another item met a fatal failure"
    OutOfTime "out_of_time" Retry false "the invocation's time ran out; the checkpoint is kept"
    StoreUnavailable "store_unavailable" Retry false "S3 was slow, throttled or unreachable, or a body broke off"
    LedgerUnavailable "ledger_unavailable" Retry false "the ledger was throttled or unreachable"
    EndpointUnavailable "endpoint_unavailable" Retry false "408, 425, 429, 5xx, a time-out or a broken connection until time ran out"
    QuarantineUnavailable "quarantine_unavailable" Retry false "the quarantine bucket was throttled or unreachable"
    QueueUnavailable "queue_unavailable" Retry false "the queue was throttled or unreachable; the next reconcile pass finds the item again"
    AccessDenied "access_denied" Retry true "403 for this object (ACL, or no such object without ListBucket); quarantined after ATTEMPTS_MAX"
    KeyDenied "key_denied" Retry true "the object's KMS key was refused; quarantined after ATTEMPTS_MAX"
    AccountMismatch "account_mismatch" Retry true "read = delivered + filtered + quarantined did not hold; quarantined after ATTEMPTS_MAX"
    NotAnObject "not_an_object" Skip false "a test event, a removal or a subscription message"
    AlreadySettled "already_settled" Skip false "the ledger says that this content is done"
    Gone "gone" Skip false "the object was deleted before it could be read"
    Superseded "superseded" Skip false "the object was replaced; the new content is work of its own"
    SkippedByRule "skipped_by_rule" Skip false "a rule leaves the object out, or none matches and the rules leave such objects out"
    NotALog "not_a_log" Skip false "a folder marker, an empty object, a CloudTrail digest or a producer's test object"
    Truncated "truncated" Quarantine false "the object ends before its compressed data does; the records before are delivered"
    Corrupt "corrupt" Quarantine false "wrong checksum, wrong length or invalid compressed data; the records before are delivered"
    Malformed "malformed" Quarantine false "a JSON document or a table that breaks off, or is none; the records before are delivered"
    UnsupportedFormat "unsupported_format" Quarantine false "Parquet, ORC, zip, xz and other formats that are not read"
    ExpandsTooFar "expands_too_far" Quarantine false "the object inflates further than OBJECT_PLAIN_BYTES_MAX or EXPANSION_MAX allow; records before are delivered"
    Archived "archived" Quarantine false "the object is in an archive storage class"
    AttemptsExhausted "attempts_exhausted" Quarantine false "ATTEMPTS_MAX attempts in a row made no progress"
    RejectedMalformed "rejected_malformed" Quarantine false "the endpoint refused this record as malformed; the others are delivered"
    RejectedOversized "rejected_oversized" Quarantine false "the endpoint refused this record as too large; the others are delivered"
    Rejected "rejected" Quarantine false "the endpoint refused this record; the others are delivered"
    RejectedUnidentified "rejected_unidentified" Quarantine false "the endpoint refused some of these records and did not say which"
    RecordTooLong "record_too_long" Quarantine false "a record over RECORD_BYTES_MAX for an endpoint whose records must not be cut"
    MessageMalformed "message_malformed" Quarantine false "a message that cannot be parsed: sent to the dead-letter queue as it came"
    EndpointOfRuleRefused "endpoint_of_rule_refused" Retry false "401, 403, 404 or a redirect from the endpoint of a rule, or its token cannot be read; the other objects go on"
    EndpointRefused "endpoint_refused" Fatal false "401, 403, 404 or a redirect: the token or ENDPOINT_URL is wrong"
    StoreUnusable "store_unusable" Fatal false "no such bucket, listing denied, or the source credentials were refused"
    WrongRegion "wrong_region" Fatal false "the bucket is in another region"
    LedgerRefused "ledger_refused" Fatal false "no such table, or no access to it"
    QuarantineRefused "quarantine_refused" Fatal false "no such quarantine bucket, or no access to it"
    QueueRefused "queue_refused" Fatal false "no such queue, or no access to it"
    RulesUnusable "rules_unusable" Fatal false "the rules cannot be read or are wrong, and there are no earlier ones"
    SettingWrong "setting_wrong" Fatal false "a setting is missing or wrong; all problems are reported at once"
}

/// A failure of one item: its kind, and the text for a person, which holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub detail: String,
    /// How long the other side asked to be left alone.
    pub after: Option<Duration>,
}

impl Failure {
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            after: None,
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.kind.verdict()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}

impl std::error::Error for Failure {}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NotFound { .. } => FailureKind::Gone,
            StoreError::Replaced { .. } => FailureKind::Superseded,
            StoreError::Denied { .. } => FailureKind::AccessDenied,
            StoreError::KeyDenied { .. } => FailureKind::KeyDenied,
            StoreError::Archived { .. } => FailureKind::Archived,
            StoreError::Unavailable { .. } => FailureKind::StoreUnavailable,
            StoreError::WrongRegion { .. } => FailureKind::WrongRegion,
            StoreError::Unusable { .. } => FailureKind::StoreUnusable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let kind = match &error {
            LedgerError::LeaseLost { .. } => FailureKind::LeaseLost,
            LedgerError::CheckpointBehind { .. } => FailureKind::AccountMismatch,
            LedgerError::Unavailable { .. } => FailureKind::LedgerUnavailable,
            LedgerError::Refused { .. } => FailureKind::LedgerRefused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let kind = match &error {
            DecodeError::Truncated { .. } => FailureKind::Truncated,
            DecodeError::Corrupt { .. } => FailureKind::Corrupt,
            DecodeError::Malformed { .. } => FailureKind::Malformed,
            DecodeError::Unsupported { .. } => FailureKind::UnsupportedFormat,
            DecodeError::ExpandsTooFar { .. } => FailureKind::ExpandsTooFar,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<QuarantineError> for Failure {
    fn from(error: QuarantineError) -> Self {
        let kind = match &error {
            QuarantineError::Unavailable { .. } => FailureKind::QuarantineUnavailable,
            QuarantineError::Refused { .. } => FailureKind::QuarantineRefused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        let kind = match &error {
            QueueError::Unavailable { .. } => FailureKind::QueueUnavailable,
            QueueError::Refused { .. } => FailureKind::QueueRefused,
        };
        Self::new(kind, error.to_string())
    }
}

/// The table as the README shows it.
pub fn failure_table() -> String {
    let mut table = String::from("| failure | verdict | means |\n| --- | --- | --- |\n");
    for kind in FailureKind::ALL {
        let (name, verdict) = (kind.name(), kind.verdict().as_str());
        table.push_str(&format!("| `{name}` | {verdict} | {} |\n", kind.meaning()));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_failure_has_a_name_of_its_own() {
        let names: BTreeSet<_> = FailureKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), FailureKind::ALL.len());
    }

    #[test]
    fn the_readme_shows_the_table_of_failures() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = std::fs::read_to_string(path).expect("a file of the repository");
        let shown = readme
            .split_once("<!-- failures -->\n")
            .and_then(|(_, rest)| rest.split_once("<!-- /failures -->"))
            .map_or("", |(shown, _)| shown.trim());
        let expected = failure_table();
        assert!(
            shown == expected.trim(),
            "README.md must hold, between <!-- failures --> and <!-- /failures -->:\n\n{expected}"
        );
    }

    #[test]
    fn only_what_is_tried_again_can_blame_the_object() {
        for kind in FailureKind::ALL.iter().filter(|kind| kind.blames_object()) {
            assert_eq!(kind.verdict(), Verdict::Retry, "{}", kind.name());
        }
    }
}
