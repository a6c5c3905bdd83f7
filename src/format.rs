//! What an object is: in which way it holds records, and which source writes so.
//!
//! Goes in: what a rule says, the key, the first plain bytes. Comes out: a [`Preset`] or a [`Container`]. It is told
//! by content, not by names; what nothing is known of is lines.

use serde::{Deserialize, Serialize};

use std::num::NonZeroU32;

use crate::checkpoint::Position;
use crate::records::{
    ArraySplitter, Boundary, Heading, LINES_MAX, LineSplitter, Malformed, MultilineSplitter,
    Record, RowFormat, RowSplitter, SubscriptionSplitter, ValueSplitter,
};

mod head;
pub mod presets;
mod recognise;
#[cfg(test)]
mod tests;
mod text;

pub use presets::{PRESETS, Preset, preset};
pub use recognise::{Recognised, recognise};

/// Plain bytes of an object's start that are looked at to tell what it is: first so many, then more.
pub const HEAD_BYTES: [usize; 3] = [4 * 1024, 16 * 1024, 64 * 1024];

/// In which way an object holds its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Container {
    /// A record a line.
    Lines,
    /// A record a line, without the headers and directives that such rows have.
    HeadedLines(Heading),
    /// JSON values, one after the other.
    Values,
    /// A JSON document with an array of records: the document itself, or a member of one of these names.
    Array { fields: Vec<String> },
    /// Documents of a CloudWatch Logs subscription.
    Subscription,
    /// Delimited text, a row a record.
    Rows(RowFormat),
    /// Records of several lines.
    Multiline {
        boundary: Boundary,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines_max: Option<NonZeroU32>,
    },
}

/// How a record leaves that can leave in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaves {
    /// As it stands in the object.
    Raw,
    /// As a JSON object.
    Json,
}

impl Container {
    /// What takes the records out of such an object, each of which may have so many bytes.
    pub fn splitter(&self, record_bytes_max: usize) -> Splitter {
        let max = record_bytes_max;
        match self {
            Self::Lines => Splitter::Lines(LineSplitter::new(max)),
            Self::HeadedLines(heading) => Splitter::Lines(LineSplitter::new(max).without(*heading)),
            Self::Values => Splitter::Values(Box::new(ValueSplitter::new(max))),
            Self::Array { fields } => {
                Splitter::Array(Box::new(ArraySplitter::new(max, fields.clone())))
            }
            Self::Subscription => Splitter::Subscription(Box::new(SubscriptionSplitter::new(max))),
            Self::Rows(format) => Splitter::Rows(Box::new(RowSplitter::new(format.clone(), max))),
            Self::Multiline {
                boundary,
                lines_max,
            } => {
                let lines_max = lines_max.unwrap_or(LINES_MAX);
                let splitter = MultilineSplitter::new(boundary.clone(), lines_max, max);
                Splitter::Multiline(Box::new(splitter))
            }
        }
    }
}

/// Takes the records out of plain bytes, in one of the ways of [`Container`].
pub enum Splitter {
    Lines(LineSplitter),
    Values(Box<ValueSplitter>),
    Array(Box<ArraySplitter>),
    Subscription(Box<SubscriptionSplitter>),
    Rows(Box<RowSplitter>),
    Multiline(Box<MultilineSplitter>),
}

impl Splitter {
    /// Where the next record begins: after everything that was given out, or after everything that was taken.
    pub fn position(&self) -> Position {
        match self {
            Self::Lines(splitter) => splitter.position(),
            Self::Values(splitter) => splitter.position(),
            Self::Array(splitter) => splitter.position(),
            Self::Subscription(splitter) => splitter.position(),
            Self::Rows(splitter) => splitter.position(),
            Self::Multiline(splitter) => splitter.position(),
        }
    }

    /// Of lines, the start of the one whose end has not come yet, and how long it is so far.
    pub fn incomplete(&self) -> (&[u8], u64) {
        match self {
            Self::Lines(splitter) => splitter.incomplete(),
            _ => (&[], 0),
        }
    }

    /// Whether its records are lines of the object, one after the other: only then may they leave as they came,
    /// and only then can they be split from any of their starts on.
    pub fn is_lines(&self) -> bool {
        matches!(self, Self::Lines(_))
    }

    /// The next record that is complete with `plain`, which is advanced past it. `None` when `plain` is used up.
    pub fn pop<'a, 'p: 'a>(
        &'a mut self,
        plain: &mut &'p [u8],
    ) -> Result<Option<Record<'a>>, Malformed> {
        match self {
            Self::Lines(splitter) => Ok(splitter.pop(plain)),
            Self::Values(splitter) => splitter.pop(plain),
            Self::Array(splitter) => splitter.pop(plain),
            Self::Subscription(splitter) => splitter.pop(plain),
            Self::Rows(splitter) => splitter.pop(plain),
            Self::Multiline(splitter) => splitter.pop(plain),
        }
    }

    /// Says that the input has ended; the last record, if it came by that.
    pub fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        match self {
            Self::Lines(splitter) => Ok(splitter.finish()),
            Self::Values(splitter) => splitter.finish(),
            Self::Array(splitter) => splitter.finish(),
            Self::Subscription(splitter) => splitter.finish(),
            Self::Rows(splitter) => splitter.finish(),
            Self::Multiline(splitter) => splitter.finish(),
        }
    }
}
