//! The start of an object → which source wrote it, or in what way it holds records.
//!
//! Content decides; the key only tells apart what looks alike, and names what has no look of its own.

use super::head::{First, JsonHead};
use super::presets::{self, Preset};

/// What the start of an object says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recognised {
    As(&'static Preset),
    /// More of the start could tell more.
    NeedsMore,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Says what an object is whose plain bytes begin with `head`. `is_all` says that more cannot be had: then it
/// always knows, and what it does not know is lines.
pub fn recognise(key: &str, head: &[u8], is_all: bool) -> Recognised {
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    let text = head.trim_ascii_start();
    match text.first() {
        None if is_all => Recognised::As(&presets::LINES),
        None => Recognised::NeedsMore,
        Some(b'{') => object(key, text, is_all),
        Some(b'[') if is_array(text, is_all) => Recognised::As(&presets::JSON_ARRAY),
        Some(_) => lines(key, text, is_all),
    }
}

/// A JSON array of objects, not text in brackets.
fn is_array(text: &[u8], is_all: bool) -> bool {
    match text[1..].trim_ascii_start().first() {
        Some(b'{') => true,
        Some(b']') => is_all && text[1..].trim_ascii_start()[1..].trim_ascii().is_empty(),
        _ => false,
    }
}

fn object(key: &str, text: &[u8], is_all: bool) -> Recognised {
    let head = JsonHead::of(text);
    let has = |name: &str| head.has(name);
    let is_cloudtrail = presets::CLOUDTRAIL.is_keyed(key);
    if has("messageType") && (has("logEvents") || has("logGroup")) {
        return Recognised::As(&presets::CLOUDWATCH_LOGS);
    }
    // A document is one value; many of them, a line each, are records of somebody who has such a field.
    if head.holds_array("Records") && (is_cloudtrail || head.first != First::Followed) {
        let is_event = |name: &str| text.windows(name.len()).any(|part| part == name.as_bytes());
        return Recognised::As(match is_cloudtrail || is_event("\"eventSource\"") {
            true => &presets::CLOUDTRAIL,
            false => &presets::JSON_DOCUMENT,
        });
    }
    if head.holds_array("configurationItems") {
        return Recognised::As(&presets::CONFIG);
    }
    match head.first {
        First::Unfinished if !is_all => return Recognised::NeedsMore,
        // Cut off within its first value. Whose key says what it must be is taken for that.
        First::Unfinished if is_cloudtrail => return Recognised::As(&presets::CLOUDTRAIL),
        First::Unfinished if presets::CONFIG.is_keyed(key) => {
            return Recognised::As(&presets::CONFIG);
        }
        First::Unfinished | First::Whole | First::Followed => {}
    }
    if head.is_pretty || head.is_back_to_back {
        return Recognised::As(&presets::JSON_VALUES);
    }
    let source = presets::NDJSON_SOURCES
        .iter()
        .find(|preset| preset.is_told_by(&head) || (!preset.has_marks() && preset.is_keyed(key)));
    Recognised::As(source.copied().unwrap_or(&presets::NDJSON))
}

fn lines(key: &str, text: &[u8], is_all: bool) -> Recognised {
    let Some(end) = memchr::memchr(b'\n', text) else {
        if !is_all {
            return Recognised::NeedsMore;
        }
        return Recognised::As(line(key, text, None));
    };
    let rest = &text[end + 1..];
    let second = memchr::memchr(b'\n', rest).map(|end| &rest[..end]);
    if text.starts_with(b"#") && second.is_none() && !is_all {
        return Recognised::NeedsMore;
    }
    Recognised::As(line(key, &text[..end], second.or(Some(rest))))
}

/// By the first line, and the one after it.
fn line(key: &str, first: &[u8], second: Option<&[u8]>) -> &'static Preset {
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    let directive = [Some(first), second]
        .into_iter()
        .flatten()
        .find_map(|line| line.strip_prefix(b"#Fields:"));
    if first.starts_with(b"#Version:") || directive.is_some() {
        let is_cloudfront =
            directive.is_some_and(|fields| words(fields).any(|word| word == b"x-edge-location"));
        return match is_cloudfront {
            true => &presets::CLOUDFRONT,
            false => &presets::W3C,
        };
    }
    let mut texts = presets::TEXT_SOURCES.iter();
    texts
        .find(|preset| preset.is_line_of(key, first))
        .copied()
        .unwrap_or(&presets::LINES)
}

/// What stands between spaces and tabs.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
}
