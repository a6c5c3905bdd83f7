//! What may be asked of the shape of records: plain data, the same for every object that a rule matches.

use crate::pattern::Pattern;

/// Everything that is done to records beside what the endpoint needs. By default nothing, so that records
/// leave as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShapeSpec {
    pub timestamp: TimestampSpec,
    /// What of the source each record carries, under which name.
    pub source: Vec<(SourceValue, String)>,
    /// Fields with the same value in each record.
    pub fields: Vec<(String, FieldValue)>,
    pub drop_fields: Vec<FieldPath>,
    /// A record is sent only if it meets one of these, if there are any.
    pub include: Vec<Condition>,
    /// A record that meets one of these is not sent.
    pub exclude: Vec<Condition>,
    pub redact: Vec<Redaction>,
}

/// Whether records get `@timestamp`, and from where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimestampSpec {
    pub when: TimestampWhen,
    /// Where the time stands; by default where the format has it.
    pub from: Option<TimeSource>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimestampWhen {
    /// In records that are written anew for another reason: all but lines that leave as they stand in the
    /// object.
    #[default]
    WhereRewritten,
    /// In every record.
    Always,
    Never,
}

/// Where a record has its time, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSource {
    pub place: TimePlace,
    pub format: TimeFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimePlace {
    /// The values of these fields, with a space between them.
    Fields(Vec<FieldPath>),
    /// The first of these fields that a record has.
    AnyOf(Vec<FieldPath>),
    /// So many words of a line from this one on, counted from zero, with a space between them; spaces and
    /// tabs part words, and a quote before or after them is no part of the time.
    Words { first: usize, count: usize },
    /// What stands in the first pair of square brackets of a line.
    Brackets,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339, or Unix time in the unit that its number of digits tells, or one of the others.
    #[default]
    Auto,
    /// `2022-12-06T17:42:16.176563Z`; without an offset it counts as UTC, and a space may stand for the `T`.
    Rfc3339,
    UnixSeconds,
    UnixMilliseconds,
    UnixMicroseconds,
    UnixNanoseconds,
    /// `06/Feb/2019:00:00:38 +0000`.
    CommonLog,
}

/// What is known of where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceValue {
    /// `bucket/key`.
    ObjectKey,
    Bucket,
    Key,
    /// The AWS region that the key names, or the function's.
    Region,
    /// The AWS account that the key names.
    Account,
    /// The record's index in its object, from zero.
    Index,
    /// A hash of bucket, key, entity tag and index: the same whenever the record is sent.
    Id,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// Any JSON value, as it is to be written.
    Json(String),
    /// Text with named captures of the key in it: `${name}`. `$${` stands for `${` itself.
    Template(String),
}

/// A field: a name, or names of objects within objects, with dots between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath(pub Vec<String>);

/// Meets a record whose line, or whose field, the pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub field: Option<FieldPath>,
    pub pattern: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    Email,
    /// Version 4 and 6.
    IpAddress,
    BearerToken,
    /// 13 to 19 digits, the first of them 2 to 6, with a right check digit (Luhn), spaces or dashes between them
    /// or not.
    CardNumber,
    Pattern {
        pattern: Pattern,
        /// `$name` and `$1` stand for what the pattern captured.
        replacement: String,
    },
}
