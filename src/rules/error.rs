//! What is wrong with a rules file: every problem, with its place.

use std::fmt;

/// Most problems that are told of one file; the others are counted.
pub const PROBLEMS_MAX: usize = 100;

/// Longest value that a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// A line and a column of the text, both from one; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One thing that is wrong with a rules file: where, what stood there, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulesError {
    pub place: Place,
    pub message: String,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "line {line}, column {column}: {}", self.message)
    }
}

/// Everything that is wrong with a rules file, in the order of the text: at least one problem, and at
/// most [`PROBLEMS_MAX`] of them. Shown as one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesErrors {
    errors: Vec<RulesError>,
    more: usize,
}

impl RulesErrors {
    pub fn errors(&self) -> &[RulesError] {
        &self.errors
    }
}

impl fmt::Display for RulesErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for RulesErrors {}

/// The problems found so far. Holds no more of them than are told, and as many again.
#[derive(Debug, Default)]
pub struct Problems {
    held: Vec<RulesError>,
    /// How many are not held.
    more: usize,
}

impl Problems {
    pub fn note(&mut self, place: Place, message: String) {
        self.held.push(RulesError { place, message });
        if self.held.len() == 2 * PROBLEMS_MAX {
            self.hold_the_first();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Sorted by place, each once.
    pub fn into_errors(mut self) -> Option<RulesErrors> {
        self.hold_the_first();
        (!self.held.is_empty()).then_some(RulesErrors {
            errors: self.held,
            more: self.more,
        })
    }

    fn hold_the_first(&mut self) {
        self.held.sort();
        self.held.dedup();
        self.more += self.held.len().saturating_sub(PROBLEMS_MAX);
        self.held.truncate(PROBLEMS_MAX);
    }
}

/// Text in quotes on one line, and not more of it than a message can hold.
pub fn quoted(text: &str) -> String {
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

/// `a, b or c`.
pub fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// `, perhaps "prefix"`, if one of the known words is close to the unknown one.
pub fn perhaps(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(name) => format!(", perhaps {name:?}"),
        None => String::new(),
    }
}

/// The known word that takes the fewest edits, at most two and one for each three letters.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let edits_max = (word.chars().take(SHOWN_CHARS_MAX).count() / 3).clamp(1, 2);
    known
        .iter()
        .filter(|name| name.len().abs_diff(word.len()) <= edits_max)
        .map(|name| (edits(word, name), *name))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Letters to insert, drop or replace to make one word the other (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (at, other) in to.iter().enumerate() {
            let up = row.get(at + 1).copied().unwrap_or(usize::MAX);
            let replaced = diagonal + usize::from(letter != *other);
            if let Some(cell) = row.get_mut(at) {
                *cell = left;
            }
            left = replaced.min(left + 1).min(up + 1);
            diagonal = up;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("prefx", "prefix", 1),
            ("cloudtrial", "cloudtrail", 2),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }

    #[test]
    fn only_a_close_word_is_suggested() {
        let known = ["prefix", "bucket", "as"];
        assert_eq!(nearest("Prefix", &known), Some("prefix"));
        assert_eq!(nearest("bukcet", &known), Some("bucket"));
        assert_eq!(nearest("is", &known), Some("as"));
        assert_eq!(nearest("regexp", &known), None);
    }
}
