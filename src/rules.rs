//! Which objects are logs. What producers write beside their logs is skipped and counted.

/// Why an object is no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotALog {
    /// Zero bytes.
    Empty,
    /// A key that stands for a folder.
    FolderMarker,
    /// Written by a producer to try its access.
    TestObject,
}

impl NotALog {
    pub fn as_str(self) -> &'static str {
        match self {
            NotALog::Empty => "empty object",
            NotALog::FolderMarker => "folder marker",
            NotALog::TestObject => "test object of a producer",
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

/// Says why the object is no log, or nothing if it may be one. `size` in bytes, if it is known.
pub fn not_a_log(key: &str, size: Option<u64>) -> Option<NotALog> {
    let name = key.rsplit('/').next().unwrap_or(key);
    if key.ends_with("_$folder$") || (key.ends_with('/') && size.is_none_or(|size| size == 0)) {
        Some(NotALog::FolderMarker)
    } else if TEST_OBJECTS.contains(&name) || name.starts_with(OWNERSHIP_CHALLENGE) {
        Some(NotALog::TestObject)
    } else if size == Some(0) {
        Some(NotALog::Empty)
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
    fn a_log_whose_name_only_resembles_a_test_object_is_a_log() {
        assert_eq!(not_a_log("logs/my-ownership-challenge.log", Some(3)), None);
        assert_eq!(not_a_log("ELBAccessLogTestFile/a.gz", None), None);
    }
}
