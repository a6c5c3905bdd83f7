//! Text and string values that are longer than an endpoint takes: cut, with a marker that says how long they were.

use super::escape::{char_end, is_name, string_end};

/// What stands where something was cut, with the original length.
pub fn cut_marker(length: u64, unit: &str) -> String {
    format!("...[cut, {length} {unit}]")
}

pub fn first_chars(text: &str, count: usize) -> &str {
    match text.char_indices().nth(count) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Copies a JSON text, cutting every string value of more than `chars_max` characters: what is left
/// of it, with its marker, has exactly `chars_max`. An escape sequence counts as one character and is
/// never split, nor is a pair of surrogates. Names of members are left alone. Says whether anything was cut.
pub fn cut_long_strings(json: &[u8], chars_max: usize, out: &mut Vec<u8>) -> bool {
    let mut cut = false;
    let mut at = 0;
    while let Some(quote) = memchr::memchr(b'"', &json[at..]) {
        let start = at + quote + 1;
        out.extend_from_slice(&json[at..start]);
        let end = string_end(json, start);
        let text = &json[start..end];
        // A character is at least one byte, so most strings need no counting.
        let length = if text.len() > chars_max {
            count_chars(text)
        } else {
            0
        };
        if length > chars_max && !is_name(json, end) {
            let marker = cut_marker(length as u64, "characters");
            let kept = chars_max.saturating_sub(marker.len());
            out.extend_from_slice(&text[..chars_end(text, kept)]);
            out.extend_from_slice(marker.as_bytes());
            cut = true;
        } else {
            out.extend_from_slice(text);
        }
        at = end;
        if at < json.len() {
            out.push(b'"');
            at += 1;
        }
    }
    out.extend_from_slice(&json[at..]);
    cut
}

fn count_chars(text: &[u8]) -> usize {
    let mut at = 0;
    let mut count = 0;
    while at < text.len() {
        at = char_end(text, at);
        count += 1;
    }
    count
}

/// Where the first `count` characters of an escaped string end.
fn chars_end(text: &[u8], count: usize) -> usize {
    let mut at = 0;
    for _ in 0..count {
        if at >= text.len() {
            break;
        }
        at = char_end(text, at);
    }
    at
}
