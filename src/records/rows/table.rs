//! A row and the names of its columns → a JSON object on one line.

use memchr::{memchr, memchr2};

use super::{COLUMNS_MAX, Delimiter, Dialect, Quoting};

/// The columns of the rows that follow a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    dialect: Dialect,
    columns: Vec<Column>,
    /// What stands before the number of a column that has no name of its own.
    numbered: String,
}

/// A column, by the name that its values get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub is_number: bool,
    /// `,"name":"`
    key: Vec<u8>,
}

impl Table {
    /// An empty name, and one that stood before, becomes `column_N`, where N counts from 1. If a name
    /// begins like that itself, underscores are added until none does, so that no two columns share one.
    pub(super) fn new(
        dialect: Dialect,
        names: impl Iterator<Item = String>,
        numbers: &[String],
    ) -> Self {
        let names: Vec<String> = names.collect();
        let mut numbered = "column_".to_owned();
        while names.iter().any(|name| name.starts_with(&numbered)) {
            numbered.push('_');
        }
        let mut seen = std::collections::HashSet::with_capacity(names.len());
        let columns = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let is_own = !name.is_empty() && seen.insert(name.as_str());
                let name = if is_own {
                    name.clone()
                } else {
                    format!("{numbered}{}", index + 1)
                };
                Column {
                    is_number: numbers.contains(&name),
                    key: key(&name),
                    name,
                }
            })
            .collect();
        Self {
            dialect,
            columns,
            numbered,
        }
    }

    /// The table whose names are the values of `row`. `None` if they are too many.
    pub(super) fn from_row(dialect: Dialect, row: &[u8], numbers: &[String]) -> Option<Self> {
        let mut values = Values::new(dialect, row, false);
        let mut names = Vec::new();
        while let Some(value) = values.next() {
            if names.len() == COLUMNS_MAX {
                return None;
            }
            names.push(value.text(dialect.quoting));
        }
        Some(Self::new(dialect, names.into_iter(), numbers))
    }

    /// The table whose names stand in `names`, between blanks. `None` if they are too many.
    pub(super) fn from_directive(
        dialect: Dialect,
        names: &[u8],
        numbers: &[String],
    ) -> Option<Self> {
        let blanks = Dialect {
            delimiter: Delimiter::Blanks,
            quoting: Quoting::None,
            brackets: false,
            comment: None,
        };
        Some(Self {
            dialect,
            ..Self::from_row(blanks, names, numbers)?
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Adds the JSON object of `row` to `out`, on one line, its members in the order of the row. True if
    /// bytes of it that are not UTF-8 were replaced by U+FFFD.
    ///
    /// Every value is a string of exactly the text that stands in the row, without its quotes: `00123`, an
    /// empty one and `-` stay what they are. In a column of numbers a value that is a JSON number as it
    /// stands (RFC 8259, section 6) is that number, digit by digit; `-` and an empty one, which say that
    /// there is none, are left out; any other is a string.
    ///
    /// A value beyond the named columns is called `column_N`, where N counts from 1; those beyond
    /// [`COLUMNS_MAX`] are one value, as they stand. Names without a value are left out. Of a truncated
    /// record the last value is what is left of it.
    ///
    /// Adds at most six bytes for each byte of the row and, for each value, its name.
    #[must_use]
    pub fn render(&self, row: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let is_clean = is_clean(row, self.allowed());
        let mut values = Values::new(self.dialect, row, is_clean);
        let mut is_lossy = false;
        for column in &self.columns {
            let Some(value) = values.next() else {
                break;
            };
            if column.is_number {
                match value.whole() {
                    Some(b"" | b"-") => continue,
                    Some(number) if is_number(number) => {
                        out.extend_from_slice(&column.key[..column.key.len() - 1]);
                        out.extend_from_slice(number);
                        continue;
                    }
                    Some(_) | None => {}
                }
            }
            out.extend_from_slice(&column.key);
            is_lossy |= value.write(self.dialect.quoting, is_clean, out);
            out.push(b'"');
        }
        is_lossy |= self.render_unnamed(&mut values, is_clean, out);
        // The first member begins with the comma that stands between it and the one before.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        is_lossy
    }

    fn render_unnamed(&self, values: &mut Values<'_>, is_clean: bool, out: &mut Vec<u8>) -> bool {
        let mut is_lossy = false;
        for number in self.columns.len() + 1..=COLUMNS_MAX {
            let Some(value) = values.next() else {
                return is_lossy;
            };
            self.push_number_key(number, out);
            is_lossy |= value.write(self.dialect.quoting, is_clean, out);
            out.push(b'"');
        }
        if let Some(rest) = values.rest() {
            self.push_number_key(COLUMNS_MAX + 1, out);
            // Delimiters stand in it, so it may be less clean than the values.
            is_lossy |= push_text(rest, false, out);
            out.push(b'"');
        }
        is_lossy
    }

    fn push_number_key(&self, number: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(self.numbered.as_bytes());
        push_decimal(number, out);
        out.extend_from_slice(b"\":\"");
    }

    /// A byte that no value of a row can hold.
    fn allowed(&self) -> u8 {
        match self.dialect.delimiter {
            Delimiter::Byte(delimiter) => delimiter,
            Delimiter::Blanks => b'\t',
        }
    }
}

/// A value as it stands in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value<'a> {
    /// What stands between its quotes.
    quoted: &'a [u8],
    /// What stands after them, or all of it.
    rest: &'a [u8],
}

impl<'a> Value<'a> {
    /// Its bytes, if they stand in one piece; quotes and backslashes may stand for others.
    fn whole(&self) -> Option<&'a [u8]> {
        if self.quoted.is_empty() {
            Some(self.rest)
        } else if self.rest.is_empty() {
            Some(self.quoted)
        } else {
            None
        }
    }

    /// Adds its text as the inside of a JSON string. True if something of it is not UTF-8.
    fn write(&self, quoting: Quoting, is_clean: bool, out: &mut Vec<u8>) -> bool {
        if self.quoted.is_empty() {
            return push_text(self.rest, is_clean, out);
        }
        if !self.rest.is_empty() {
            // A character may have bytes on both sides of the closing quote.
            return push_text(&self.bytes(quoting), false, out);
        }
        let mut is_lossy = false;
        unquote(self.quoted, quoting, |piece| {
            is_lossy |= push_text(piece, false, out);
        });
        is_lossy
    }

    fn text(&self, quoting: Quoting) -> String {
        String::from_utf8_lossy(&self.bytes(quoting)).into_owned()
    }

    fn bytes(&self, quoting: Quoting) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.quoted.len() + self.rest.len());
        unquote(self.quoted, quoting, |piece| bytes.extend_from_slice(piece));
        bytes.extend_from_slice(self.rest);
        bytes
    }
}

/// Gives the text of what stands between quotes, in pieces that are cut at ASCII characters.
fn unquote(quoted: &[u8], quoting: Quoting, mut each: impl FnMut(&[u8])) {
    let mut rest = quoted;
    match quoting {
        Quoting::None => {}
        Quoting::Doubled => {
            while let Some(quote) = memchr(b'"', rest) {
                each(&rest[..=quote]);
                rest = rest.get(quote + 2..).unwrap_or_default();
            }
        }
        Quoting::Backslash => {
            while let Some(backslash) = memchr(b'\\', rest) {
                let after = backslash + 1;
                if let Some(b'"' | b'\\') = rest.get(after) {
                    each(&rest[..backslash]);
                    each(&rest[after..=after]);
                    rest = &rest[after + 1..];
                } else {
                    each(&rest[..after]);
                    rest = &rest[after..];
                }
            }
        }
    }
    each(rest);
}

/// Cuts a row into its values.
struct Values<'a> {
    dialect: Dialect,
    /// What has not been cut yet; `None` after the last value.
    rest: Option<&'a [u8]>,
    /// Whether quotes may hold a value together.
    quotes: bool,
    /// Whether brackets may.
    brackets: bool,
}

impl<'a> Values<'a> {
    /// `is_clean` says that no quote stands in `row`.
    fn new(dialect: Dialect, row: &'a [u8], is_clean: bool) -> Self {
        Self {
            dialect,
            rest: Some(row),
            quotes: !is_clean && dialect.quoting != Quoting::None,
            brackets: dialect.brackets,
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        let row = self.rest()?;
        match row.first() {
            Some(b'"') if self.quotes => {
                if let Some(value) = self.quoted(&row[1..]) {
                    return Some(value);
                }
            }
            Some(b'[') if self.brackets => {
                if let Some(value) = self.bracketed(&row[1..]) {
                    return Some(value);
                }
            }
            _ => {}
        }
        Some(Value {
            quoted: &[],
            rest: self.cut(row),
        })
    }

    /// All that has not been cut yet.
    #[inline]
    fn rest(&self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match self.dialect.delimiter {
            Delimiter::Byte(_) => Some(rest),
            Delimiter::Blanks => {
                let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
                Some(&rest[blanks..]).filter(|rest| !rest.is_empty())
            }
        }
    }

    /// What of `row` stands before its first delimiter; the rest stands after it.
    #[inline]
    fn cut(&mut self, row: &'a [u8]) -> &'a [u8] {
        let end = match self.dialect.delimiter {
            Delimiter::Byte(delimiter) => memchr(delimiter, row),
            Delimiter::Blanks => memchr2(b' ', b'\t', row),
        };
        match end {
            Some(end) => {
                self.rest = Some(&row[end + 1..]);
                &row[..end]
            }
            None => {
                self.rest = None;
                row
            }
        }
    }

    /// The value whose opening quote stands before `row`. `None` if it is text.
    fn quoted(&mut self, row: &'a [u8]) -> Option<Value<'a>> {
        let end = match self.dialect.quoting {
            Quoting::None => None,
            Quoting::Doubled => Some(self.doubled_end(row)),
            Quoting::Backslash => self.backslash_end(row),
        };
        let Some(end) = end else {
            // Nor will another be closed, and each would be sought to the end of the row.
            self.quotes = false;
            return None;
        };
        Some(Value {
            quoted: &row[..end],
            rest: match row.get(end + 1..) {
                Some(after) => self.cut(after),
                None => {
                    self.rest = None;
                    &[]
                }
            },
        })
    }

    fn doubled_end(&self, row: &[u8]) -> usize {
        let mut at = 0;
        while let Some(quote) = memchr(b'"', &row[at..]) {
            at += quote;
            if row.get(at + 1) != Some(&b'"') {
                return at;
            }
            at += 2;
        }
        row.len()
    }

    fn backslash_end(&self, row: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(found) = memchr2(b'"', b'\\', row.get(at..)?) {
            at += found;
            if row[at] == b'\\' {
                at += 2;
            } else if self.ends_at(row, at + 1) {
                return Some(at);
            } else {
                at += 1;
            }
        }
        None
    }

    fn bracketed(&mut self, row: &'a [u8]) -> Option<Value<'a>> {
        let end = memchr::memchr_iter(b']', row).find(|end| self.ends_at(row, end + 1));
        let Some(end) = end else {
            self.brackets = false;
            return None;
        };
        self.cut(&row[end + 1..]);
        Some(Value {
            quoted: &[],
            rest: &row[..end],
        })
    }

    /// Whether a value may end at `at`.
    fn ends_at(&self, row: &[u8], at: usize) -> bool {
        row.get(at).is_none_or(|byte| match self.dialect.delimiter {
            Delimiter::Byte(delimiter) => *byte == delimiter,
            Delimiter::Blanks => is_blank(*byte),
        })
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// RFC 8259, section 6.
fn is_number(text: &[u8]) -> bool {
    let (integer, mut rest) = digits(text.strip_prefix(b"-").unwrap_or(text));
    if integer.is_empty() || (integer.len() > 1 && integer.starts_with(b"0")) {
        return false;
    }
    if let [b'.', fraction @ ..] = rest {
        let (fraction, after) = digits(fraction);
        if fraction.is_empty() {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let ([b'+' | b'-', exponent @ ..] | exponent) = exponent;
        let (exponent, after) = digits(exponent);
        if exponent.is_empty() {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// The digits that `text` begins with, and what follows them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(count)
}

/// Whether all of it is printable ASCII without quote and backslash, or `allowed`.
fn is_clean(bytes: &[u8], allowed: u8) -> bool {
    // Without a branch for each byte, so that the compiler takes many bytes at a time.
    bytes.chunks(256).all(|chunk| {
        chunk.iter().fold(true, |is_clean, &byte| {
            let is_printable = byte.wrapping_sub(0x20) < 0x5f;
            is_clean & ((is_printable & (byte != b'"') & (byte != b'\\')) | (byte == allowed))
        })
    })
}

/// Adds `text` as the inside of a JSON string. True if something of it is not UTF-8.
#[inline]
fn push_text(text: &[u8], is_known_clean: bool, out: &mut Vec<u8>) -> bool {
    if is_known_clean || is_clean(text, b' ') {
        out.extend_from_slice(text);
        return false;
    }
    let mut is_lossy = false;
    for chunk in text.utf8_chunks() {
        push_escaped(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
            is_lossy = true;
        }
    }
    is_lossy
}

/// Escapes what RFC 8259, section 7, says must be, and DEL to be kind to terminals.
fn push_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x00..=0x1f | 0x7f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

/// `,"name":"`
fn key(name: &str) -> Vec<u8> {
    let mut key = b",\"".to_vec();
    push_escaped(name, &mut key);
    key.extend_from_slice(b"\":\"");
    key
}

/// `number`, which is at most [`COLUMNS_MAX`] + 1, without an allocation.
fn push_decimal(number: usize, out: &mut Vec<u8>) {
    for power in [1_000, 100, 10, 1] {
        if number >= power {
            out.push(b'0' + (number / power % 10) as u8);
        }
    }
}
