//! Delimited text: one record a row, and a table that names the values of its rows.
//!
//! Goes in: plain bytes in pieces of any size. Comes out: one record a row, as it stands, without its
//! line end. A row ends with LF or CRLF, the last one also with the end of the input; where values are
//! quoted as in RFC 4180, a line feed inside a quoted value belongs to its row. Empty rows, headers,
//! directives and comments are no records and are not counted. A byte order mark is no part of the text.
//! The same bytes give the same records however they are cut into pieces.

use memchr::{memchr, memchr2, memchr3};
use serde::{Deserialize, Serialize};

use super::mark::{ByteOrderMark, Found};
use super::{Form, Frame, Malformed, Record};
use crate::checkpoint::Position;

mod table;

pub use table::{Column, Table};

/// Columns that a table may have. Values of a row beyond them stay together in one.
pub const COLUMNS_MAX: usize = 1_000;

/// Bytes that a row of names, or a `#Fields` directive, may have.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

const TOO_MANY_COLUMNS: &str = "a header of at most 1,000 columns";
const HEADER_TOO_LONG: &str = "a header of at most 64 KiB";

/// How the text of a row is cut into values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialect {
    pub delimiter: Delimiter,
    pub quoting: Quoting,
    /// Whether `[…]` holds a value together, as it does the time in S3 server access logs. The brackets
    /// are no part of it. A bracket without its closing one, which stands before a delimiter, is text.
    pub brackets: bool,
    /// Rows that begin with this byte are no records.
    pub comment: Option<u8>,
}

/// What stands between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delimiter {
    /// One byte; two of them hold an empty value between them.
    Byte(u8),
    /// A run of spaces and tabs. None stands before the first value or after the last.
    Blanks,
}

/// What quotes around a value mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quoting {
    /// Nothing: they are text.
    None,
    /// They hold it together, line feeds included, and `""` in it is one quote: RFC 4180, section 2. A
    /// quote inside a value that does not begin with one is text. What stands between the closing quote
    /// and the delimiter is added to the value.
    Doubled,
    /// They hold it together within its line; `\"` and `\\` in it are a quote and a backslash, any other
    /// backslash is text, and so is a quote that no delimiter follows. If a value's closing quote is
    /// missing, quotes are text in the rest of the row.
    Backslash,
}

/// Where the names of the columns come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Header {
    /// The first row that is neither empty nor a comment.
    FirstLine,
    /// The last `#Fields:` directive before the row, as in the W3C extended log file format; its names
    /// stand between blanks whatever stands between the values. Other rows that begin with `#` are
    /// skipped. Before the first such directive no column has a name.
    Directive,
    /// These: the first row of the object is a record.
    Given(Vec<String>),
}

/// How rows stand in an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowFormat {
    pub dialect: Dialect,
    pub header: Header,
    /// Names of the columns whose values are numbers by the document of the format. All others are text.
    pub numbers: Vec<String>,
}

impl Dialect {
    /// RFC 4180.
    pub const CSV: Self = Self {
        delimiter: Delimiter::Byte(b','),
        quoting: Quoting::Doubled,
        brackets: false,
        comment: None,
    };
    /// As CSV, with tabs.
    pub const TSV: Self = Self {
        delimiter: Delimiter::Byte(b'\t'),
        ..Self::CSV
    };
    /// One log line a row: blanks between values, and quotes around those that hold blanks.
    pub const LOG: Self = Self {
        delimiter: Delimiter::Blanks,
        quoting: Quoting::Backslash,
        brackets: false,
        comment: None,
    };
}

/// Splits delimited text into rows. Holds at most `record_bytes_max` bytes of a row, and the table;
/// [`HEADER_BYTES_MAX`] of a header, if that is more.
///
/// A row of more than `record_bytes_max` bytes gives its first bytes and its full length. So that a quote
/// that is never closed swallows no more than that, a line feed inside quotes ends the row where it stands
/// after more than `record_bytes_max` bytes of it; what follows is read as rows again. A quote that is open
/// when the object ends is no error either: the row is given as it stands.
pub struct RowSplitter {
    header: Header,
    numbers: Vec<String>,
    record_bytes_max: usize,
    comment: Option<u8>,
    table: Table,
    /// Whether the next row holds the names.
    is_header_due: bool,
    failed: Option<Malformed>,
    mark: ByteOrderMark,
    scan: Scan,
    /// The start of a row whose end has not come yet.
    carry: Vec<u8>,
    /// Length of that row so far, which may be more than is carried.
    carry_length: u64,
    carry_ends_in_cr: bool,
    /// Where the carried row began, once it has ended.
    carry_start: Position,
    /// Whether `carry` was given out and is to be cleared.
    carry_given: bool,
    /// Where the next row begins.
    position: Position,
}

/// Where in a row the scan for its end stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    RowStart,
    /// In a comment or a directive, which ends with its line.
    Comment,
    /// In a row that ends with its line.
    Line,
    ValueStart,
    Unquoted,
    Quoted,
    /// After a quote inside a quoted value: it closes the value, or the next one doubles it.
    Quote,
}

impl RowSplitter {
    /// Of more than [`COLUMNS_MAX`] given names the first [`pop`](Self::pop) or [`finish`](Self::finish)
    /// makes an error.
    pub fn new(format: RowFormat, record_bytes_max: usize) -> Self {
        let RowFormat {
            dialect,
            header,
            numbers,
        } = format;
        let given: &[String] = match &header {
            Header::Given(names) => names,
            Header::FirstLine | Header::Directive => &[],
        };
        let failed = (given.len() > COLUMNS_MAX).then_some(Malformed {
            offset: 0,
            expected: TOO_MANY_COLUMNS,
        });
        let given = &given[..given.len().min(COLUMNS_MAX)];
        let table = Table::new(dialect, given.iter().cloned(), &numbers);
        Self {
            comment: match header {
                Header::Directive => Some(b'#'),
                Header::FirstLine | Header::Given(_) => dialect.comment,
            },
            is_header_due: header == Header::FirstLine,
            header,
            numbers,
            record_bytes_max,
            table,
            failed,
            mark: ByteOrderMark::default(),
            scan: Scan::RowStart,
            carry: Vec::new(),
            carry_length: 0,
            carry_ends_in_cr: false,
            carry_start: Position::default(),
            carry_given: false,
            position: Position::default(),
        }
    }

    /// Where the next row begins: after everything that was given out.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next record that is complete with `plain`, which is advanced past it. `None` when `plain` is
    /// used up; the start of an incomplete row is kept. A header over its limits is an error, and every
    /// later call gives it again.
    pub fn pop<'a, 'p: 'a>(
        &'a mut self,
        plain: &mut &'p [u8],
    ) -> Result<Option<Record<'a>>, Malformed> {
        self.clear_given();
        self.check()?;
        let found = self.mark.skip(plain);
        self.begin(found);
        loop {
            let Some(end) = self.find_end(plain) else {
                self.keep(plain);
                *plain = &[];
                self.check_unfinished_header()?;
                return Ok(None);
            };
            let row = &plain[..end];
            *plain = &plain[end + 1..];
            if self.carry_length > 0 {
                self.keep(row);
                self.scan = Scan::RowStart;
                if self.end_carry(1)? {
                    return Ok(Some(self.carried()));
                }
                self.clear_given();
                continue;
            }
            self.scan = Scan::RowStart;
            let start = self.position;
            self.position.offset += end as u64 + 1;
            let row = row.strip_suffix(b"\r").unwrap_or(row);
            if self.is_record(row, row.len() as u64, start.offset)? {
                self.position.record += 1;
                return Ok(Some(Record {
                    bytes: &row[..row.len().min(self.record_bytes_max)],
                    position: start,
                    length: row.len() as u64,
                    end: self.position.offset,
                    frame: Frame::Stripped,
                    form: self.form(),
                }));
            }
        }
    }

    /// Says that the input has ended; the last record, if its row had no end.
    pub fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        self.clear_given();
        self.check()?;
        let found = self.mark.finish();
        self.begin(found);
        if self.carry_length > 0 && self.end_carry(0)? {
            return Ok(Some(self.carried()));
        }
        Ok(None)
    }

    fn begin(&mut self, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Mark(length) => self.position.offset += length,
            Found::Text(bytes) => {
                // No row ends in them, but they are where the scan begins.
                self.find_end(bytes);
                self.keep(bytes);
            }
        }
    }

    /// Where the row that `bytes` begins or goes on with ends: at a line feed.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.scan == Scan::RowStart {
            let is_comment = self.comment == Some(*bytes.first()?);
            let dialect = self.table.dialect();
            self.scan = if is_comment {
                Scan::Comment
            } else if dialect.quoting != Quoting::Doubled {
                Scan::Line
            } else if let Some(end) = memchr(b'\n', bytes)
                && memchr(b'"', &bytes[..end]).is_none()
            {
                return Some(end);
            } else {
                Scan::ValueStart
            };
        }
        match self.scan {
            Scan::Comment | Scan::Line => memchr(b'\n', bytes),
            Scan::RowStart | Scan::ValueStart | Scan::Unquoted | Scan::Quoted | Scan::Quote => {
                self.find_end_with_quotes(bytes)
            }
        }
    }

    fn find_end_with_quotes(&mut self, bytes: &[u8]) -> Option<usize> {
        let delimiter = self.table.dialect().delimiter;
        let is_delimiter = |byte: u8| match delimiter {
            Delimiter::Byte(delimiter) => byte == delimiter,
            Delimiter::Blanks => byte == b' ' || byte == b'\t',
        };
        // Line feeds inside quotes end the row from here.
        let bound =
            usize::try_from((self.record_bytes_max as u64).saturating_sub(self.carry_length))
                .unwrap_or(usize::MAX);
        let mut at = 0;
        while at < bytes.len() {
            match self.scan {
                Scan::Quoted => {
                    let quote = memchr(b'"', &bytes[at..]).map(|quote| at + quote);
                    let end = quote.unwrap_or(bytes.len());
                    let from = at.max(bound);
                    if from < end
                        && let Some(line_feed) = memchr(b'\n', &bytes[from..end])
                    {
                        return Some(from + line_feed);
                    }
                    at = end;
                    if quote.is_some() {
                        at += 1;
                        self.scan = Scan::Quote;
                    }
                }
                Scan::Unquoted => {
                    let rest = &bytes[at..];
                    let end = match delimiter {
                        Delimiter::Byte(delimiter) => memchr2(delimiter, b'\n', rest),
                        Delimiter::Blanks => memchr3(b' ', b'\t', b'\n', rest),
                    };
                    at += end?;
                    if bytes[at] == b'\n' {
                        return Some(at);
                    }
                    at += 1;
                    self.scan = Scan::ValueStart;
                }
                Scan::RowStart | Scan::ValueStart | Scan::Quote | Scan::Comment | Scan::Line => {
                    match bytes[at] {
                        b'\n' => return Some(at),
                        b'"' => {
                            at += 1;
                            self.scan = Scan::Quoted;
                        }
                        byte if is_delimiter(byte) => {
                            at += 1;
                            self.scan = Scan::ValueStart;
                        }
                        _ => self.scan = Scan::Unquoted,
                    }
                }
            }
        }
        None
    }

    /// Whether a row is a record. If it names columns, they are its from here.
    fn is_record(&mut self, row: &[u8], length: u64, offset: u64) -> Result<bool, Malformed> {
        let Some(first) = row.first() else {
            return Ok(false);
        };
        if self.comment == Some(*first) {
            if self.header == Header::Directive
                && let Some(names) = fields_of(row)
            {
                self.check_length(length, offset)?;
                self.set_table(
                    Table::from_directive(self.table.dialect(), names, &self.numbers),
                    offset,
                )?;
            }
            return Ok(false);
        }
        if self.is_header_due {
            self.is_header_due = false;
            self.check_length(length, offset)?;
            self.set_table(
                Table::from_row(self.table.dialect(), row, &self.numbers),
                offset,
            )?;
            return Ok(false);
        }
        Ok(true)
    }

    fn set_table(&mut self, table: Option<Table>, offset: u64) -> Result<(), Malformed> {
        let Some(table) = table else {
            return self.fail(offset, TOO_MANY_COLUMNS);
        };
        self.table = table;
        Ok(())
    }

    fn check_length(&mut self, length: u64, offset: u64) -> Result<(), Malformed> {
        if length > HEADER_BYTES_MAX as u64 {
            return self.fail(offset, HEADER_TOO_LONG);
        }
        Ok(())
    }

    /// So that an object without line feeds fails before all of it was read in vain.
    fn check_unfinished_header(&mut self) -> Result<(), Malformed> {
        let is_header = match self.scan {
            Scan::Comment => self.header == Header::Directive && fields_of(&self.carry).is_some(),
            Scan::RowStart => false,
            Scan::Line | Scan::ValueStart | Scan::Unquoted | Scan::Quoted | Scan::Quote => {
                self.is_header_due
            }
        };
        if is_header {
            // One byte less, which may be the CR of its line end.
            return self.check_length(self.carry_length - 1, self.position.offset);
        }
        Ok(())
    }

    fn fail(&mut self, offset: u64, expected: &'static str) -> Result<(), Malformed> {
        self.failed = Some(Malformed { offset, expected });
        self.check()
    }

    fn check(&self) -> Result<(), Malformed> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn keep(&mut self, plain: &[u8]) {
        let Some(last) = plain.last() else {
            return;
        };
        let room = self.room().saturating_sub(self.carry.len());
        self.carry
            .extend_from_slice(&plain[..plain.len().min(room)]);
        self.carry_length += plain.len() as u64;
        self.carry_ends_in_cr = *last == b'\r';
    }

    /// What may be carried: a record, or a header, with its CR.
    fn room(&self) -> usize {
        let may_be_header = self.is_header_due || self.scan == Scan::Comment;
        let row = if may_be_header {
            self.record_bytes_max.max(HEADER_BYTES_MAX)
        } else {
            self.record_bytes_max
        };
        row + 1
    }

    /// Ends the carried row, whose line feed took `line_feed` bytes. False if it is no record.
    fn end_carry(&mut self, line_feed: u64) -> Result<bool, Malformed> {
        self.carry_given = true;
        self.carry_start = self.position;
        self.position.offset += self.carry_length + line_feed;
        if self.carry_ends_in_cr {
            if self.carry.len() as u64 == self.carry_length {
                self.carry.pop();
            }
            self.carry_length -= 1;
        }
        let row = std::mem::take(&mut self.carry);
        let is_record = self.is_record(&row, self.carry_length, self.carry_start.offset);
        self.carry = row;
        self.carry.truncate(self.record_bytes_max);
        let is_record = is_record?;
        self.position.record += u64::from(is_record);
        Ok(is_record)
    }

    fn carried(&self) -> Record<'_> {
        Record {
            bytes: &self.carry,
            position: self.carry_start,
            length: self.carry_length,
            end: self.position.offset,
            frame: Frame::Stripped,
            form: self.form(),
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Row(&self.table)
    }

    fn clear_given(&mut self) {
        if self.carry_given {
            self.carry.clear();
            self.carry_length = 0;
            self.carry_ends_in_cr = false;
            self.carry_given = false;
        }
    }
}

/// The names of a `#Fields:` directive: W3C, Extended Log File Format, "Directives".
fn fields_of(row: &[u8]) -> Option<&[u8]> {
    const DIRECTIVE: &[u8] = b"#fields:";
    let (directive, names) = row.split_at_checked(DIRECTIVE.len())?;
    directive.eq_ignore_ascii_case(DIRECTIVE).then_some(names)
}

#[cfg(test)]
mod tests;
