//! Reading settings one by one, and every problem on the way.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use super::vars::{Shown, Var};

/// Longest value that an error message repeats.
const SHOWN_CHARS_MAX: usize = 200;

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub name: &'static str,
    /// The value as far as it may be shown; absent if the setting is missing.
    pub value: Option<String>,
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            expected,
        } = self;
        match value {
            Some(value) => write!(f, "{name} is {value}, expected {expected}"),
            None => write!(f, "{name} is missing, expected {expected}"),
        }
    }
}

/// Everything that is wrong with the settings; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot start with these settings: ")?;
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The proof that a problem was noted: reading goes on, so that all are, and fails at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// What a parser of one value says: the value, or what it expected.
pub(super) type Parsed<T> = Result<T, String>;

pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// What was read, unless there was any problem anywhere.
    pub(super) fn finish<T>(self, read: Result<T, Reported>) -> Result<T, ConfigErrors> {
        match read {
            Ok(value) if self.problems.is_empty() => Ok(value),
            Ok(_) | Err(Reported(())) => Err(ConfigErrors(self.problems)),
        }
    }

    /// The value that was given. A template sets a parameter left empty to the empty text, so that
    /// counts as absent.
    pub(super) fn given(&self, var: &Var) -> Option<String> {
        let value = (self.lookup)(var.name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn optional<T>(
        &mut self,
        var: &Var,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<Option<T>, Reported> {
        let Some(value) = self.given(var).or_else(|| var.default.map(str::to_owned)) else {
            return Ok(None);
        };
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(expected) => Err(self.refuse(var, expected)),
        }
    }

    /// `expected` describes the setting when it is missing.
    pub(super) fn required<T>(
        &mut self,
        var: &Var,
        expected: &str,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, Reported> {
        match self.optional(var, parse)? {
            Some(value) => Ok(value),
            None => Err(self.refuse(var, expected)),
        }
    }

    /// A number within the bounds of its setting.
    pub(super) fn number(&mut self, var: &Var) -> Result<u64, Reported> {
        self.required(var, &expected_number(var), |text| number(var, text))
    }

    pub(super) fn optional_number(&mut self, var: &Var) -> Result<Option<u64>, Reported> {
        self.optional(var, |text| number(var, text))
    }

    /// A number above zero, in the type that says so.
    pub(super) fn count<N: TryFrom<NonZeroU64>>(&mut self, var: &Var) -> Result<N, Reported> {
        let number = NonZeroU64::new(self.number(var)?);
        match number.and_then(|number| N::try_from(number).ok()) {
            Some(count) => Ok(count),
            None => Err(self.refuse(var, "a number above zero that this machine can count to")),
        }
    }

    pub(super) fn millis(&mut self, var: &Var) -> Result<Duration, Reported> {
        self.number(var).map(Duration::from_millis)
    }

    /// Notes a problem of a setting, whatever its value is. The same one is noted once.
    pub(super) fn refuse(&mut self, var: &Var, expected: impl Into<String>) -> Reported {
        let value = self.given(var).or_else(|| var.default.map(str::to_owned));
        let problem = Problem {
            name: var.name,
            value: value.map(|value| shown(var.shown, &value)),
            expected: expected.into(),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        Reported(())
    }
}

fn expected_number(var: &Var) -> String {
    let (least, greatest) = var.bounds.unwrap_or((0, u64::MAX));
    format!("a whole number from {least} to {greatest}")
}

fn number(var: &Var, text: &str) -> Parsed<u64> {
    let (least, greatest) = var.bounds.unwrap_or((0, u64::MAX));
    text.parse()
        .ok()
        .filter(|number| (least..=greatest).contains(number))
        .ok_or_else(|| expected_number(var))
}

/// As much of a value as may stand in a message.
fn shown(how: Shown, value: &str) -> String {
    const HIDDEN: &str = "[not shown]";
    let quoted = |text: &str| {
        let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        let more = if start.len() < text.len() { "…" } else { "" };
        format!("{start:?}{more}")
    };
    match how {
        Shown::Whole => quoted(value),
        Shown::Arn if value.starts_with("arn:") => quoted(value),
        Shown::Arn | Shown::Never => HIDDEN.to_owned(),
        Shown::Origin => {
            let authority = value.find("://").map_or(0, |at| at + "://".len());
            let end = value
                .get(authority..)
                .and_then(|rest| rest.find(['/', '?', '#', '\\']))
                .map_or(value.len(), |at| authority + at);
            let (origin, rest) = value.split_at(end);
            if value.contains('@') {
                HIDDEN.to_owned()
            } else if rest.is_empty() {
                quoted(origin)
            } else {
                format!("{}…", quoted(origin))
            }
        }
    }
}
