//! Plain bytes → records, one file for each way in which an object can hold them.
//!
//! Every splitter takes plain bytes in pieces of any size and gives one record after the other; the same
//! bytes give the same records however they are cut into pieces. It holds a bounded part of one record, never
//! the object.

use crate::checkpoint::Position;

mod array;
pub mod json;
mod lines;
mod mark;
mod multiline;
mod rows;
mod subscription;
pub mod tables;
mod values;

pub use array::{ArraySplitter, RECORD_MEMBERS};
pub use lines::{Heading, LineSplitter};
pub use multiline::{Boundary, LINES_MAX, MultilineSplitter};
pub use rows::{
    COLUMNS_MAX, Column, Delimiter, Dialect, HEADER_BYTES_MAX, Header, Quoting, RowFormat,
    RowSplitter, Table,
};
pub use subscription::{LogGroup, SubscriptionSplitter};
pub use values::ValueSplitter;

/// One record, as it stands in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its bytes without what stands around it; only the first `record_bytes_max` of a longer one.
    pub bytes: &'a [u8],
    /// Where it begins.
    pub position: Position,
    /// Its length in bytes, without what stands around it.
    pub length: u64,
    /// Where it ends, in plain bytes: for a line after its line end.
    pub end: u64,
    pub frame: Frame,
    pub form: Form<'a>,
}

/// What stands around a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A line feed after it, and nothing else.
    LineFeed,
    /// The end of the object right after it.
    ObjectEnd,
    /// Something that is not part of it: a CR, a byte order mark, the rest of a document.
    Stripped,
}

/// What a record's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'a> {
    /// One line: text, or as it may be a JSON object.
    Line,
    /// Text that may hold line feeds.
    Text,
    /// A JSON value of a larger text, which may hold line feeds between its tokens.
    Value,
    /// The same, of the events of a log group.
    Event(&'a LogGroup),
    /// One row of delimited text, whose values are named by a table; quoted ones may hold line feeds.
    Row(&'a Table),
}

/// The text is not what its container has to be; every record before the place has been given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Plain bytes of the object before the place.
    pub offset: u64,
    /// What the container wants there.
    pub expected: &'static str,
}

impl Record<'_> {
    /// Whether `bytes` is less than all of it.
    pub fn is_truncated(&self) -> bool {
        (self.bytes.len() as u64) < self.length
    }
}
