//! Patterns that users and presets give for the bytes of records: compiled once, then shared.

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize, Serializer};

/// What a pattern may take when it is compiled, in bytes.
pub const PROGRAM_BYTES_MAX: usize = 1024 * 1024;

/// What a pattern may take while it searches, in bytes: its cache is cleared when it is full.
pub const CACHE_BYTES_MAX: usize = 256 * 1024;

/// A compiled pattern. It equals one of the same text and is written down as its text. A clone shares the program
/// and has a cache of its own, so nothing is compiled again for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

impl Pattern {
    /// An error is a text that is no pattern, or one that takes more than [`PROGRAM_BYTES_MAX`].
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        Self::within(text, PROGRAM_BYTES_MAX)
    }

    /// The same with another limit.
    pub fn within(text: &str, program_bytes_max: usize) -> Result<Self, regex::Error> {
        RegexBuilder::new(text)
            .size_limit(program_bytes_max)
            .dfa_size_limit(CACHE_BYTES_MAX)
            .build()
            .map(Self)
    }

    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_written_as_its_text_and_read_again() {
        let pattern = Pattern::new("^\"a\\d\u{e9}").expect("a pattern");
        let text = serde_json::to_string(&pattern).expect("text");
        assert_eq!(text, "\"^\\\"a\\\\d\u{e9}\"");
        let again: Pattern = serde_json::from_str(&text).expect("read");
        assert_eq!(again, pattern);
        assert!(again.regex().is_match("\"a1\u{e9}".as_bytes()));
        assert_ne!(again, Pattern::new("^\"a").expect("a pattern"));
    }

    #[test]
    fn what_is_no_pattern_or_takes_too_much_is_refused() {
        assert!(serde_json::from_str::<Pattern>("\"(\"").is_err());
        assert!(Pattern::new(r"\w{5000}").is_err());
        assert!(Pattern::within("a{1000}", 4096).is_err());
    }
}
