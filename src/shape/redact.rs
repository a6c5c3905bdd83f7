//! What is hidden in records: e-mail and IP addresses, bearer tokens, card numbers, own patterns.
//!
//! Goes in: the text of a record, or a JSON text of which the strings and numbers are looked at, never the names. Comes
//! out: the same with every match replaced. What a JSON string stands for is matched, not how it is escaped, so
//! that no match begins or ends within an escape sequence, and none is missed for being escaped; what no match
//! covers stays byte for byte. A JSON text stays valid whatever a pattern matches.
//!
//! Redactions are made in their order, each on what the one before it left. Where it is in doubt (a version
//! number of four parts that looks like an address) more is hidden rather than less.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::ops::{Range, RangeInclusive};

use memchr::{memchr, memchr2, memmem};

use super::escape::{escape_at, is_name, push_escaped, string_end, unescape};
use super::spec::Redaction;

/// What stands in place of a match of the built-in redactions.
pub const REPLACEMENT: &str = "[redacted]";

/// Buffers that are used again for each string.
#[derive(Debug, Default)]
pub struct Buffers {
    plain: Vec<u8>,
    from: Vec<u8>,
    to: Vec<u8>,
    /// The brackets that are open.
    open: Vec<u8>,
}

/// Appends `text` to `out` with every match replaced. False, with nothing appended, if there is none. Where a
/// backslash stands in it, what it says is matched as if it were escaped, too: a JSON text may be a part of it.
/// A line feed or CR in a replacement becomes a space.
pub fn redact_text(
    redactions: &[Redaction],
    text: &[u8],
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> bool {
    let redacted = redact_value(redactions, text, Kind::Plain, buffers);
    out.extend_from_slice(redacted.unwrap_or_default());
    redacted.is_some()
}

/// Appends the JSON text `json` to `out` with every match in a string value or a number replaced. Such a number
/// becomes a string. False, with nothing appended, if nothing matches. What turns out to be no JSON is taken as
/// [`redact_damaged`] does.
pub fn redact_json(
    redactions: &[Redaction],
    json: &[u8],
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> bool {
    let may_match = |redaction: &Redaction| may_match(redaction, json);
    if !redactions.iter().any(may_match) {
        return false;
    }
    let begun = out.len();
    match redact_values(redactions, json, true, buffers, out) {
        Some(is_redacted) => is_redacted,
        None => {
            out.truncate(begun);
            redact_damaged(redactions, json, buffers, out)
        }
    }
}

/// Appends what may have become JSON to `out` with every match replaced: those in what stands between quotes, then
/// those in what is left of it as a text, for what stands where is not known. False, with nothing appended, if there
/// is none.
pub fn redact_damaged(
    redactions: &[Redaction],
    text: &[u8],
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> bool {
    let mut values = Vec::new();
    let has_values = redact_values(redactions, text, false, buffers, &mut values) == Some(true);
    let text = if has_values { &values } else { text };
    if redact_text(redactions, text, buffers, out) {
        return true;
    }
    if has_values {
        out.append(&mut values);
    }
    has_values
}

/// Appends `json` to `out` with every match in a string value replaced, and in a number if it `has_to_be` JSON.
/// Whether there is any; if not, nothing is appended. `None` if it has to be JSON and something stands outside its
/// strings that is none.
fn redact_values(
    redactions: &[Redaction],
    json: &[u8],
    has_to_be: bool,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> Option<bool> {
    buffers.open.clear();
    let (mut at, mut copied) = (0, 0);
    while at < json.len() {
        let quote = memchr(b'"', &json[at..]).map_or(json.len(), |found| at + found);
        // Nearly all that stands between strings is one of these.
        if has_to_be && !matches!(json[at..quote], [b':' | b',']) {
            copied = redact_numbers(redactions, json, at..quote, copied, buffers, out)?;
        }
        if quote == json.len() {
            break;
        }
        let (start, end) = (quote + 1, string_end(json, quote + 1));
        let is_name = is_name(json, end);
        if is_name && has_to_be && buffers.open.last() == Some(&b'[') {
            return None;
        }
        if !is_name
            && let Some(redacted) = redact_value(redactions, &json[start..end], Kind::Json, buffers)
        {
            out.extend_from_slice(&json[copied..start]);
            out.extend_from_slice(redacted);
            copied = end;
        }
        at = end + 1;
    }
    if copied > 0 {
        out.extend_from_slice(&json[copied..]);
    }
    Some(copied > 0)
}

/// Redacts the numbers in `gap`, where no string stands, given how much of `json` is in `out` already; returns how
/// much is afterwards. `None` if something stands there that is no JSON.
fn redact_numbers(
    redactions: &[Redaction],
    json: &[u8],
    gap: Range<usize>,
    mut copied: usize,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let is_own = |redaction: &Redaction| matches!(redaction, Redaction::Pattern { .. });
    let bytes_min = match redactions.iter().any(is_own) {
        true => 1,
        false => ADDRESS_BYTES_MIN,
    };
    let mut at = gap.start;
    while at < gap.end {
        let token = Token::at(json, at, gap.clone(), &mut buffers.open)?;
        let length = match token {
            Token::Mark => 1,
            Token::Literal(length) | Token::Number(length) => length,
        };
        if matches!(token, Token::Number(_))
            && length >= bytes_min
            && let number = &json[at..at + length]
            && let Some(redacted) = redact_value(redactions, number, Kind::Json, buffers)
        {
            out.extend_from_slice(&json[copied..at]);
            out.push(b'"');
            out.extend_from_slice(redacted);
            out.push(b'"');
            copied = at + length;
        }
        at += length;
    }
    Some(copied)
}

/// What stands outside the strings of a JSON text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// White space, a bracket, a comma, a colon after a name.
    Mark,
    /// So many bytes of `true`, `false` or `null`.
    Literal(usize),
    /// So many bytes of a number.
    Number(usize),
}

impl Token {
    /// What stands at `at` in `gap`, if it is JSON. Notes the brackets that are open.
    fn at(json: &[u8], at: usize, gap: Range<usize>, open: &mut Vec<u8>) -> Option<Self> {
        let is_of_number =
            |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E');
        let rest = &json[at..gap.end];
        Some(match json[at] {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => Self::Mark,
            bracket @ (b'{' | b'[') => {
                open.push(bracket);
                Self::Mark
            }
            b'}' | b']' => {
                open.pop();
                Self::Mark
            }
            b':' if gap.start > 0 && json[gap.start..at].trim_ascii().is_empty() => Self::Mark,
            b'0'..=b'9' | b'-' => {
                Self::Number(rest.iter().take_while(|byte| is_of_number(byte)).count())
            }
            _ => {
                let literals: [&[u8]; 3] = [b"true", b"false", b"null"];
                let mut literals = literals.iter();
                Self::Literal(literals.find(|literal| rest.starts_with(literal))?.len())
            }
        })
    }
}

/// Whether `redaction` may match in `json`: a test of all of it that costs little.
fn may_match(redaction: &Redaction, json: &[u8]) -> bool {
    let holds_escaped_letter = || memmem::find(json, b"\\u").is_some();
    match redaction {
        Redaction::Email => at_sign(json, 0).is_some() || holds_escaped_letter(),
        Redaction::BearerToken => bearer_word(json, 0).is_some() || holds_escaped_letter(),
        Redaction::IpAddress | Redaction::CardNumber | Redaction::Pattern { .. } => true,
    }
}

/// The shortest thing that is looked for in a number.
const ADDRESS_BYTES_MIN: usize = "0.0.0.0".len();

/// How a text is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it is.
    Plain,
    /// Between the quotes of a JSON string.
    Json,
    /// As it is, and something in it may be escaped as in a JSON string: what shows by that alone is looked for.
    Escaped,
}

/// What a value may grow to: so many bytes, and so many times its length. Replacements may hold what they replace more
/// than once, each what the one before it left.
const GROWN_BYTES_MAX: usize = 64 * 1024;
const GROWN_TIMES_MAX: usize = 16;

/// `value` with every match replaced, if there is one. If it grows too large, all of it is hidden.
fn redact_value<'b>(
    redactions: &[Redaction],
    value: &[u8],
    kind: Kind,
    buffers: &'b mut Buffers,
) -> Option<&'b [u8]> {
    let Buffers {
        plain, from, to, ..
    } = buffers;
    let kinds: &[Kind] = match kind {
        Kind::Plain if memchr(b'\\', value).is_some() => &[Kind::Escaped, Kind::Plain],
        Kind::Plain => &[Kind::Plain],
        Kind::Json | Kind::Escaped => &[kind],
    };
    let bytes_max = GROWN_BYTES_MAX + GROWN_TIMES_MAX * value.len();
    let mut is_redacted = false;
    for redaction in redactions {
        for kind in kinds {
            let source = if is_redacted { from.as_slice() } else { value };
            to.clear();
            if redact_once(redaction, source, *kind, plain, to) {
                if to.len() > bytes_max {
                    to.clear();
                    to.extend_from_slice(REPLACEMENT.as_bytes());
                }
                std::mem::swap(from, to);
                is_redacted = true;
            }
        }
    }
    is_redacted.then_some(from)
}

/// Appends `source` to `out` with every match of one redaction replaced. False, with nothing appended, if there
/// is none.
fn redact_once(
    redaction: &Redaction,
    source: &[u8],
    kind: Kind,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> bool {
    let is_escaped = kind != Kind::Plain && memchr(b'\\', source).is_some();
    let plain: &[u8] = if is_escaped {
        plain.clear();
        unescape(source, plain);
        plain
    } else {
        source
    };
    let mut places = Places {
        source,
        is_escaped,
        at: 0,
        plain_at: 0,
    };
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = next_match(redaction, plain, from) {
        let matched = to_characters(plain, found.clone());
        let start = places.of(matched.start.max(from));
        let end = places.of(matched.end);
        from = matched.end;
        if kind == Kind::Escaped && !is_beside_escape(source, start..end) {
            continue;
        }
        out.extend_from_slice(&source[copied..start]);
        push_replacement(redaction, plain, found, kind, out);
        copied = end;
    }
    if copied > 0 {
        out.extend_from_slice(&source[copied..]);
    }
    copied > 0
}

/// Whether an escape sequence stands in `range`, or right before or after it.
fn is_beside_escape(source: &[u8], range: Range<usize>) -> bool {
    const ESCAPE_BYTES: usize = "\\u0000".len();
    let end = source.len().min(range.end + 1);
    memchr(
        b'\\',
        &source[range.start.saturating_sub(ESCAPE_BYTES)..end],
    )
    .is_some()
}

/// Finds places of a plain text in what stands for it. Places are asked for in rising order.
struct Places<'a> {
    source: &'a [u8],
    is_escaped: bool,
    at: usize,
    plain_at: usize,
}

impl Places<'_> {
    fn of(&mut self, plain_at: usize) -> usize {
        if !self.is_escaped {
            return plain_at;
        }
        while self.plain_at < plain_at && self.at < self.source.len() {
            let (length, plain_length) = match self.source[self.at] {
                b'\\' => {
                    let (length, letter) = escape_at(self.source, self.at);
                    (length, letter.len_utf8())
                }
                _ => (1, 1),
            };
            self.at += length;
            self.plain_at += plain_length;
        }
        self.at
    }
}

/// A range of `text`, widened until it splits no UTF-8 sequence: a pattern may ask for bytes.
fn to_characters(text: &[u8], range: Range<usize>) -> Range<usize> {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| (0x80..0xc0).contains(byte));
    let Range { mut start, mut end } = range;
    while start > 0 && is_inside(start) {
        start -= 1;
    }
    while is_inside(end) {
        end += 1;
    }
    start..end
}

fn push_replacement(
    redaction: &Redaction,
    plain: &[u8],
    found: Range<usize>,
    kind: Kind,
    out: &mut Vec<u8>,
) {
    let mut expanded = Vec::new();
    let replacement: Cow<'_, str> = match redaction {
        Redaction::Pattern {
            pattern,
            replacement,
        } if replacement.contains('$') => {
            // In its place, because a pattern may look at what stands before its match.
            let groups = replacement.matches('$').count();
            if groups * found.len() > GROWN_BYTES_MAX + GROWN_TIMES_MAX * plain.len() {
                expanded.extend_from_slice(REPLACEMENT.as_bytes());
            } else if let Some(captures) = pattern.regex().captures_at(plain, found.start) {
                captures.expand(replacement.as_bytes(), &mut expanded);
            }
            String::from_utf8_lossy(&expanded)
        }
        Redaction::Pattern { replacement, .. } => Cow::Borrowed(replacement),
        Redaction::Email
        | Redaction::IpAddress
        | Redaction::BearerToken
        | Redaction::CardNumber => Cow::Borrowed(REPLACEMENT),
    };
    match kind {
        Kind::Json => push_escaped(&replacement, out),
        Kind::Plain | Kind::Escaped => out.extend(replacement.bytes().map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            byte => byte,
        })),
    }
}

/// The first match at or after `from`. It is not empty.
fn next_match(redaction: &Redaction, text: &[u8], from: usize) -> Option<Range<usize>> {
    match redaction {
        Redaction::Email => email(text, from),
        Redaction::IpAddress => ip(text, from),
        Redaction::BearerToken => bearer(text, from),
        Redaction::CardNumber => card(text, from),
        Redaction::Pattern { pattern, .. } => {
            let mut at = from;
            while at <= text.len() {
                let found = pattern.regex().find_at(text, at)?;
                if !found.is_empty() {
                    return Some(found.range());
                }
                at = found.end() + 1;
            }
            None
        }
    }
}

/// The longest local part that is looked for: 64 bytes (RFC 5321, section 4.5.3.1.1), each of which may be
/// percent-encoded. It bounds the work on a text full of `%40`.
const LOCAL_BYTES_MAX: usize = 3 * 64;

/// The longest domain (RFC 5321, section 4.5.3.1.2).
const DOMAIN_BYTES_MAX: usize = 255;

/// Letters, digits and some marks, an `@` or `%40` (as in the query of a URL), and a domain with a dot.
fn email(text: &[u8], from: usize) -> Option<Range<usize>> {
    let is_local = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | 0x80..)
    };
    let is_domain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | 0x80..);
    let mut after = from;
    loop {
        let (sign, sign_bytes) = at_sign(text, after)?;
        after = sign + sign_bytes;
        let before = &text[from.max(sign.saturating_sub(LOCAL_BYTES_MAX))..sign];
        let local = before.iter().rev().take_while(|byte| is_local(byte));
        let local = local.count();
        let domain = text[after..].iter().take(DOMAIN_BYTES_MAX);
        let domain = domain.take_while(|byte| is_domain(byte)).count();
        let domain = &text[after..after + domain];
        let end = domain.iter().rposition(|byte| !matches!(byte, b'.' | b'-'));
        let domain = &domain[..end.map_or(0, |last| last + 1)];
        let has_dot = memchr(b'.', domain).is_some_and(|dot| dot > 0);
        if local > 0 && has_dot {
            return Some(sign - local..after + domain.len());
        }
    }
}

/// The next `@`, also percent-encoded, and its length.
fn at_sign(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut after = from;
    while let Some(found) = text.get(after..).and_then(|rest| memchr2(b'@', b'%', rest)) {
        let at = after + found;
        if text[at] == b'@' {
            return Some((at, 1));
        }
        if text[at..].starts_with(b"%40") {
            return Some((at, 3));
        }
        after = at + 1;
    }
    None
}

/// An address of version 4 or 6: the first one, with no letter or digit beside it. Each byte is looked at a
/// bounded number of times, however many addresses there are.
fn ip(text: &[u8], from: usize) -> Option<Range<usize>> {
    let (mut at, mut parsed_until) = (from, from);
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'.', b':', rest)) {
        let mark = at + found;
        at = mark + 1;
        if text[mark] == b'.' {
            let before = text[from..mark].iter().rev().take(4);
            let start = mark - before.take_while(|byte| byte.is_ascii_digit()).count();
            if let Some(end) = ip_v4_end(text, start)
                && is_free_before(text, start)
                && is_free_after(text, end)
            {
                return Some(start..end);
            }
        } else if mark >= parsed_until {
            let run = ip_v6_run(text, parsed_until, mark);
            parsed_until = run.end;
            let address = ip_v6(text, run);
            if address.is_some() {
                return address;
            }
        }
    }
    None
}

/// Where four numbers up to 255 with dots between them end.
fn ip_v4_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for part in 0..4 {
        if part > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let digits = text[at..].iter().take(4);
        let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
        let value = text[at..at + digits]
            .iter()
            .fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
        if !(1..=3).contains(&digits) || value > 255 {
            return None;
        }
        at += digits;
    }
    Some(at)
}

/// The longest address of version 6, with one of version 4 at its end.
const IP_V6_BYTES_MAX: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// What can belong to an address of version 6 around the colon at `colon`.
fn ip_v6_run(text: &[u8], from: usize, colon: usize) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let before = text[from..colon].iter().rev();
    let before = before.take_while(|byte| is_part(byte)).count();
    let after = text[colon..].iter().take_while(|byte| is_part(byte));
    colon - before..colon + after.count()
}

/// What of `run` is an address, as `std` reads it: all of it, or what is left without a colon before it or a colon
/// or dot after it. `::` alone is none.
fn ip_v6(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let Range { start, end } = run;
    if end - start > IP_V6_BYTES_MAX + 2 {
        return None;
    }
    let without_first = start + usize::from(text[start] == b':');
    let without_last = end - usize::from(matches!(text[end - 1], b':' | b'.'));
    let parts = [
        start..end,
        start..without_last,
        without_first..end,
        without_first..without_last,
    ];
    parts.into_iter().find(|range| {
        let part = std::str::from_utf8(text.get(range.clone()).unwrap_or_default());
        let address = part.ok().and_then(|part| part.parse::<Ipv6Addr>().ok());
        address.is_some_and(|address| !address.is_unspecified())
            && is_free_before(text, range.start)
            && is_free_after(text, range.end)
    })
}

/// Whether no letter or digit stands right before `at`, but for an escape sequence, nor a dot after a digit.
fn is_free_before(text: &[u8], at: usize) -> bool {
    match text[..at] {
        [.., digit, b'.'] => !digit.is_ascii_digit(),
        // An escape sequence: what is escaped twice, as JSON within JSON, is not undone twice.
        [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't'] => true,
        [.., byte] => !byte.is_ascii_alphanumeric(),
        [] => true,
    }
}

/// Whether no letter or digit stands at `at`, nor a dot before a digit.
fn is_free_after(text: &[u8], at: usize) -> bool {
    match text[at..] {
        [b'.', digit, ..] => !digit.is_ascii_digit(),
        [byte, ..] => !byte.is_ascii_alphanumeric(),
        [] => true,
    }
}

/// The token after the word `Bearer`, in any case, and white space, `%20` included: what RFC 6750, section 2.1,
/// lets it hold, and percent-encoded characters.
fn bearer(text: &[u8], from: usize) -> Option<Range<usize>> {
    let is_token = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'%')
    };
    let mut at = from;
    while let Some(word_end) = bearer_word(text, at) {
        at = word_end;
        let mut start = word_end;
        loop {
            match &text[start..] {
                [b' ' | b'\t', ..] => start += 1,
                [b'%', b'2', b'0', ..] => start += 3,
                _ => break,
            }
        }
        let mut length = 0;
        loop {
            // Also escaped, as in JSON within JSON.
            length += match &text[start + length..] {
                [byte, ..] if is_token(byte) => 1,
                [b'\\', b'/' | b'u', ..] => 2,
                _ => break,
            };
        }
        if start > word_end && length > 0 {
            return Some(start..start + length);
        }
    }
    None
}

/// Where the next word `Bearer` ends.
fn bearer_word(text: &[u8], from: usize) -> Option<usize> {
    const WORD: &[u8] = b"bearer";
    let mut at = from;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'b', b'B', rest)) {
        let start = at + found;
        let word = text.get(start..start + WORD.len());
        let is_word = match text[..start] {
            [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't'] => true,
            [.., byte] => !byte.is_ascii_alphanumeric(),
            [] => true,
        };
        if is_word && word.is_some_and(|word| word.eq_ignore_ascii_case(WORD)) {
            return Some(start + WORD.len());
        }
        at = start + 1;
    }
    None
}

/// Digits of a card number: ISO/IEC 7812 allows up to 19, and none in use has fewer than 13.
const CARD_DIGITS: RangeInclusive<usize> = 13..=19;

/// 13 to 19 digits, maybe with single spaces or dashes between them, whose check digit is right and whose first
/// digit is one that cards for payment have, 2 to 6: so that no Unix time until 2033, in whatever unit, is taken
/// for one.
fn card(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let start = at + text.get(at..)?.iter().position(u8::is_ascii_digit)?;
        if text.len() - start < *CARD_DIGITS.start() {
            return None;
        }
        if matches!(text[start], b'2'..=b'6')
            && is_free_before(text, start)
            && let Some(end) = card_end(text, start)
        {
            return Some(start..end);
        }
        let run = text[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        at = start + run.count();
    }
}

/// Where the longest card number that begins at `start` ends.
fn card_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut digits, mut at, mut longest) = (0, start, None);
    loop {
        let run = text[at..].iter().take(CARD_DIGITS.end() + 1);
        let run = run.take_while(|byte| byte.is_ascii_digit()).count();
        digits += run;
        at += run;
        if digits > *CARD_DIGITS.end() {
            return longest;
        }
        if CARD_DIGITS.contains(&digits)
            && is_free_after(text, at)
            && has_check_digit(&text[start..at])
        {
            longest = Some(at);
        }
        match text[at..] {
            [b' ' | b'-', digit, ..] if digit.is_ascii_digit() => at += 1,
            _ => return longest,
        }
    }
}

/// The check of ISO/IEC 7812-1, annex B (Luhn).
fn has_check_digit(number: &[u8]) -> bool {
    let digits = number.iter().rev().filter(|byte| byte.is_ascii_digit());
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place % 2);
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::Regex;
    use serde_json::Value;

    use super::*;
    use crate::pattern::Pattern;

    fn pattern(pattern: &str, replacement: &str) -> Redaction {
        Redaction::Pattern {
            pattern: Pattern::new(pattern).unwrap(),
            replacement: replacement.to_owned(),
        }
    }

    fn text(redactions: &[Redaction], text: &str) -> String {
        let mut out = Vec::new();
        match redact_text(
            redactions,
            text.as_bytes(),
            &mut Buffers::default(),
            &mut out,
        ) {
            true => String::from_utf8(out).unwrap(),
            false => text.to_owned(),
        }
    }

    fn json(redactions: &[Redaction], json: &str) -> String {
        let mut out = Vec::new();
        match redact_json(
            redactions,
            json.as_bytes(),
            &mut Buffers::default(),
            &mut out,
        ) {
            true => String::from_utf8(out).unwrap(),
            false => json.to_owned(),
        }
    }

    /// Each `<…>` is to be hidden, and nothing else.
    fn hides(redaction: Redaction, cases: &[&str]) {
        let marks = Regex::new("<[^>]*>").unwrap();
        for case in cases {
            let given = case.replace(['<', '>'], "");
            let expected = marks.replace_all(case.as_bytes(), REPLACEMENT.as_bytes());
            let expected = String::from_utf8(expected.into_owned()).unwrap();
            let redactions = std::slice::from_ref(&redaction);
            assert_eq!(text(redactions, &given), expected, "{given}");
        }
    }

    #[test]
    fn addresses_of_e_mail_are_hidden() {
        hides(
            Redaction::Email,
            &[
                "<a.b+c@example.com>, <x_y@sub.example-1.org>.",
                "GET /?mail=<jo%2Bx%40example.com>&x=1",
                "mailto:<o'neil@bücher.example>",
                "no@host, @x.y, a@.b, a@ b.c, 40%40 off",
                "<a@b.c>@<d@e.f>",
            ],
        );
    }

    #[test]
    fn addresses_of_the_internet_are_hidden() {
        hides(
            Redaction::IpAddress,
            &[
                "<192.0.2.1> <203.0.113.255>:443 (<10.0.0.1>).",
                "256.1.1.1 1.2.3 1.2.3.4.5 v1.2.3.4 1.2.3.4x 12345.1.1.1",
                "Chrome/<114.0.0.0>",
                "[<2001:db8::1>]:443 <::1> <fe80::>/10 <::ffff:192.0.2.1>",
                "from <2001:db8::1>: no, at:<1:2:3:4:5:6:7:8>.",
                "12:34:56 aa:bb:cc:dd:ee:ff std::fmt :: 1:2:3:4:5:6:7:8:9 x::1",
                "port:<1.2.3.4>:5 a:<1.2.3.4>",
            ],
        );
    }

    #[test]
    fn tokens_of_bearers_are_hidden_and_the_word_stays() {
        hides(
            Redaction::BearerToken,
            &[
                "authorization: Bearer <eyJ.a-b_c~d+/=>, bearer  <x>",
                "BEARER%20<abc%3D>&x=1",
                "Bearer: x, Bearer, forbearer x",
            ],
        );
    }

    #[test]
    fn numbers_of_cards_are_hidden_where_their_check_digit_is_right() {
        hides(
            Redaction::CardNumber,
            &[
                "<4111111111111111> <4111 1111 1111 1111>, <3782-822463-10005>.",
                "on 2023-01-01 <5555 5555 5555 4444> 200 7",
                "4111111111111112 04111111111111111 a4111111111111111 4111  1111 1111 1111",
                "411111111111111 1506702504433000200 1693457862729 0.4111111111111111",
                "41111111111111111111111111",
                "<6011111111111117>, <2223003122003222>. <4222222222222>",
            ],
        );
    }

    #[test]
    fn no_unix_time_is_taken_for_a_card_number() {
        for time in 1_500_000_000_000_u64..1_500_000_002_000 {
            for text_of in [time.to_string(), (time * 1_000_000 + 7).to_string()] {
                assert_eq!(text(&[Redaction::CardNumber], &text_of), text_of);
            }
        }
    }

    #[test]
    fn an_own_pattern_may_keep_what_it_captures() {
        let secret = pattern(r"(?i)(password|token)=(?P<secret>[^&\s]*)", "$1=***");
        assert_eq!(text(&[secret], "?Token=abc&x=1"), "?Token=***&x=1");
        assert_eq!(text(&[pattern("^a", "b")], "aaa"), "baa");
        assert_eq!(text(&[pattern("x*", "-")], "axxb"), "a-b");
        assert_eq!(text(&[pattern("b", "\n")], "abc"), "a c");
        assert_eq!(text(&[pattern("b", "")], "abc"), "ac");
    }

    #[test]
    fn a_redaction_sees_what_the_one_before_it_left() {
        let own = pattern(r"user=(\S+) pw=\S+", "user=$1 pw=*");
        assert_eq!(
            text(&[own, Redaction::Email], "user=a@b.c pw=d"),
            "user=[redacted] pw=*",
        );
    }

    #[test]
    fn values_of_json_are_redacted_at_any_depth_and_names_are_not() {
        assert_eq!(
            json(
                &[Redaction::Email],
                r#"{"a@b.c": "x a@b.c", "n":[{"m":"a@b.c"},"a@b.c" , 1.50]}"#
            ),
            r#"{"a@b.c": "x [redacted]", "n":[{"m":"[redacted]"},"[redacted]" , 1.50]}"#,
        );
    }

    #[test]
    fn a_match_is_found_in_escape_sequences_and_the_others_stay_as_they_are() {
        assert_eq!(
            json(
                &[Redaction::Email],
                r#"{"a":"\/\u00e9 a\u0040b\u002ec \ud800\/\n"}"#
            ),
            r#"{"a":"\/\u00e9 [redacted] \ud800\/\n"}"#,
        );
        assert_eq!(
            json(
                &[Redaction::CardNumber],
                r#"{"a":"card:\n4111111111111111\tok"}"#
            ),
            r#"{"a":"card:\n[redacted]\tok"}"#,
        );
        assert_eq!(
            json(&[pattern("n", "\"\\\n")], r#"{"a":"\nn\\n"}"#),
            r#"{"a":"\n\"\\\n\\\"\\\n"}"#,
        );
        // Half of a character is not left behind.
        assert_eq!(
            json(&[pattern(r"(?-u)\xc3", "-")], r#"{"a":"é"}"#),
            r#"{"a":"-"}"#
        );
    }

    #[test]
    fn a_number_that_is_a_card_number_becomes_a_string() {
        let both = [Redaction::CardNumber, Redaction::IpAddress];
        assert_eq!(
            json(
                &both,
                r#"{"card":4111111111111111,"ns":1506702504433000200,"l":[4111111111111111 ]}"#
            ),
            r#"{"card":"[redacted]","ns":1506702504433000200,"l":["[redacted]" ]}"#,
        );
        assert_eq!(
            json(&both, r#"{"broken":1.2.3.4}"#),
            r#"{"broken":"[redacted]"}"#
        );
    }

    #[test]
    fn a_number_that_an_own_pattern_matches_becomes_a_string() {
        assert_eq!(
            json(
                &[pattern(r"^(\d{3})\d{6}$", "$1…")],
                r#"{"ssn":123456789,"n":[1,-2.50 ,123456789],"t":1700000000}"#
            ),
            r#"{"ssn":"123…","n":[1,-2.50 ,"123…"],"t":1700000000}"#,
        );
    }

    #[test]
    fn a_token_after_an_escaped_line_end_is_hidden_and_an_escaped_slash_in_it_too() {
        let bearer = [Redaction::BearerToken];
        for (given, expected) in [
            (r#"{"a":"x\nBearer s"}"#, r#"{"a":"x\nBearer [redacted]"}"#),
            (r#"{"a":"\tbearer s"}"#, r#"{"a":"\tbearer [redacted]"}"#),
            (
                r#"{"a":"{\"t\":\"\\nBearer a\\/b\\u003d\"}"}"#,
                r#"{"a":"{\"t\":\"\\nBearer [redacted]\"}"}"#,
            ),
        ] {
            assert_eq!(json(&bearer, given), expected);
        }
    }

    #[test]
    fn what_is_json_on_the_outside_alone_hides_nothing_from_a_redaction() {
        let all = [Redaction::Email, Redaction::IpAddress];
        for (given, expected) in [
            (r#"{"a":{'b':'u@e.io'}}"#, r#"{"a":{'b':[redacted]'}}"#),
            (
                r#"{"a":[u@e.io, ::1]}"#,
                r#"{"a":[[redacted], [redacted]]}"#,
            ),
            (r#"{"a":["u@e.io":1]}"#, r#"{"a":["[redacted]":1]}"#),
            (r#"{"a":[2001:1:2:3:4:5:6:7]}"#, r#"{"a":[[redacted]]}"#),
            (r#"{"a":[x,"u\u0040e.io"]}"#, r#"{"a":[x,"[redacted]"]}"#),
        ] {
            assert_eq!(json(&all, given), expected);
        }
    }

    #[test]
    fn what_is_escaped_in_a_text_is_found_and_what_is_not_is_replaced_once() {
        let email = [Redaction::Email];
        let given = r#"INFO {"a":"u\u0040e.io","b":"x\nu@e.io"}"#;
        let expected = r#"INFO {"a":"[redacted]","b":"x\n[redacted]"}"#;
        assert_eq!(text(&email, given), expected);
        let ip = [Redaction::IpAddress];
        assert_eq!(text(&ip, r"a\n192.0.2.1\r\n"), r"a\n[redacted]\r\n");
        let own = [pattern(r"pw=(\w)\w*", "pw=$1**")];
        assert_eq!(
            text(&own, r"C:\dir is it, pw=secret"),
            r"C:\dir is it, pw=s**"
        );
        assert_eq!(
            text(&[pattern(r"pw=\w+", "pw=*")], r"pw\u003dsecret"),
            "pw=*"
        );
    }

    #[test]
    fn what_replacements_repeat_is_bounded() {
        let doubling = vec![pattern("(?s)^.*$", "$0$0"); 100];
        assert!(text(&doubling, "x").len() <= GROWN_BYTES_MAX + GROWN_TIMES_MAX);
        let often = [pattern("(?s)^.*$", &"$0".repeat(512))];
        assert_eq!(text(&often, &"x".repeat(100_000)), REPLACEMENT);
        assert_eq!(json(&often, r#"{"a":"x"}"#).len(), 512 + 8);
    }

    fn any_redactions() -> impl Strategy<Value = Vec<Redaction>> {
        let redaction = prop_oneof![
            Just(Redaction::Email),
            Just(Redaction::IpAddress),
            Just(Redaction::BearerToken),
            Just(Redaction::CardNumber),
            Just(pattern(r"[a-c\\]+", "\"$0\\")),
            Just(pattern(r"(?-u)[\x80-\xbf]", "?")),
            Just(pattern(r"\d*", "#")),
            Just(pattern(r"(é|\n)(.)", "$2\u{1}")),
        ];
        proptest::collection::vec(redaction, 0..4)
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let string = prop_oneof![
            any::<String>(),
            "[ab@.é\n\"\\\\1:]{0,20}",
            "(a@b\\.cd|bearer ab|1\\.2\\.3\\.4|::1|4111 ?1111-?1111 1111|[ a\\\\\"]){0,6}",
        ];
        let leaf = prop_oneof![
            4 => string.prop_map(Value::from),
            1 => any::<i32>().prop_map(Value::from),
            1 => Just(Value::from(4_111_111_111_111_111_u64)),
            1 => any::<bool>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a@b\"\\\\.]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The reference: each string by itself, without escape sequences.
    fn redacted(redactions: &[Redaction], value: &Value) -> Value {
        match value {
            Value::String(string) => {
                let mut plain = string.clone().into_bytes();
                for redaction in redactions {
                    let (mut new, mut copied) = (Vec::new(), 0);
                    while let Some(found) = next_match(redaction, &plain, copied) {
                        let whole = to_characters(&plain, found.clone());
                        let mut raw = b"\"".to_vec();
                        push_replacement(redaction, &plain, found, Kind::Json, &mut raw);
                        raw.push(b'"');
                        let replacement: String = serde_json::from_slice(&raw).unwrap();
                        new.extend_from_slice(&plain[copied..whole.start.max(copied)]);
                        new.extend_from_slice(replacement.as_bytes());
                        copied = whole.end;
                    }
                    new.extend_from_slice(&plain[copied..]);
                    plain = new;
                }
                Value::from(String::from_utf8(plain).unwrap())
            }
            Value::Array(values) => values
                .iter()
                .map(|value| redacted(redactions, value))
                .collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), redacted(redactions, value)))
                .collect(),
            Value::Number(number) => {
                let text = Value::from(number.to_string());
                let new = redacted(redactions, &text);
                if new == text { value.clone() } else { new }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    proptest! {
        #[test]
        fn redacted_json_is_valid_and_means_what_it_should(
            value in any_value(),
            redactions in any_redactions(),
            escaped in any::<bool>(),
        ) {
            let mut text = value.to_string();
            if escaped {
                text = text.replace('é', "\\u00E9").replace('@', "\\u0040").replace("1.", "1\\u002e");
            }
            prop_assume!(serde_json::from_str::<Value>(&text).is_ok_and(|same| same == value));
            let out = json(&redactions, &text);
            let out: Value = serde_json::from_str(&out).expect("valid JSON");
            prop_assert_eq!(out, redacted(&redactions, &value));
        }

        #[test]
        fn any_bytes_are_redacted_without_a_panic(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'.'), Just(b':'), Just(b'1')],
                0..60,
            ),
            redactions in any_redactions(),
        ) {
            let mut out = Vec::new();
            redact_json(&redactions, &bytes, &mut Buffers::default(), &mut out);
            redact_text(&redactions, &bytes, &mut Buffers::default(), &mut out);
            redact_damaged(&redactions, &bytes, &mut Buffers::default(), &mut out);
        }
    }
}
