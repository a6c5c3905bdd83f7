//! Text ↔ what stands between the quotes of a JSON string (RFC 8259, section 7).

/// Appends `text` escaped: what RFC 8259 says must be, and DEL to be kind to terminals.
pub fn push_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain_from = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let short: Option<u8> = match byte {
            b'"' => Some(b'"'),
            b'\\' => Some(b'\\'),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            0x00..=0x1f | 0x7f => None,
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match short {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

/// Appends `text` as a JSON string.
pub fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// Appends the text that `raw` stands for. Half of a pair of surrogates, and what is no escape sequence at all,
/// becomes U+FFFD; every byte outside escape sequences stays.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        out.extend_from_slice(&raw[at..at + found]);
        let (length, letter) = escape_at(raw, at + found);
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        at += found + length;
    }
    out.extend_from_slice(&raw[at..]);
}

/// Whether `raw` stands for `text`.
pub fn stands_for(raw: &[u8], text: &[u8]) -> bool {
    // An escape sequence has more bytes than its character.
    if raw.len() < text.len() {
        return false;
    }
    if memchr::memchr(b'\\', raw).is_none() {
        return raw == text;
    }
    let (mut at, mut rest) = (0, text);
    while let Some(byte) = raw.get(at) {
        let mut buffer = [0; 4];
        let (length, expected) = match byte {
            b'\\' => {
                let (length, letter) = escape_at(raw, at);
                (length, letter.encode_utf8(&mut buffer).as_bytes())
            }
            _ => (1, &raw[at..=at]),
        };
        match rest.strip_prefix(expected) {
            Some(after) => rest = after,
            None => return false,
        }
        at += length;
    }
    rest.is_empty()
}

/// The escape sequence at `at`, where a backslash stands: how many bytes it has, and its character.
pub fn escape_at(raw: &[u8], at: usize) -> (usize, char) {
    let length = char_end(raw, at) - at;
    let letter = match raw.get(at + 1) {
        Some(b'b') => Some('\u{8}'),
        Some(b'f') => Some('\u{c}'),
        Some(b'n') => Some('\n'),
        Some(b'r') => Some('\r'),
        Some(b't') => Some('\t'),
        Some(b'u') => match (unit(raw, at), unit(raw, at + 6)) {
            (Some(high), Some(low)) if length == 12 => {
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            (unit, _) => unit.and_then(char::from_u32),
        },
        Some(letter @ (b'"' | b'\\' | b'/')) => Some(char::from(*letter)),
        _ => None,
    };
    (length, letter.unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// The value of the `\u` escape sequence at `at`, if there is one.
fn unit(raw: &[u8], at: usize) -> Option<u32> {
    let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Where the character at `at` ends: a UTF-8 sequence, an escape sequence, or two of them that are a
/// pair of surrogates.
pub fn char_end(raw: &[u8], at: usize) -> usize {
    let length = match raw[at] {
        b'\\' if unit(raw, at).is_some() => {
            let is_pair = unit(raw, at).is_some_and(|unit| (0xd800..0xdc00).contains(&unit))
                && unit(raw, at + 6).is_some_and(|unit| (0xdc00..0xe000).contains(&unit));
            if is_pair { 12 } else { 6 }
        }
        b'\\' => match raw.get(at + 1) {
            Some(0xc0..) => 1 + char_end(raw, at + 1) - (at + 1),
            _ => 2,
        },
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    };
    (at + length).min(raw.len())
}

/// Where the string that begins at `start`, after its opening quote, ends: at its closing quote, or the end of
/// the text.
pub fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = json
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if json[at] == b'"' {
            return at;
        }
        at += 2;
    }
    json.len()
}

/// Whether the string whose closing quote stands at `end` is the name of a member.
pub fn is_name(json: &[u8], end: usize) -> bool {
    let rest = json.get(end + 1..).unwrap_or_default();
    rest.trim_ascii_start().first() == Some(&b':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescaped(raw: &str) -> String {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn halves_of_surrogates_and_what_is_no_escape_are_replaced() {
        assert_eq!(unescaped("a\\ud800b"), "a\u{fffd}b");
        assert_eq!(unescaped("\\udc00\\ud83d\\ude00"), "\u{fffd}😀");
        assert_eq!(unescaped("\\x\\u12é"), "\u{fffd}\u{fffd}12é");
        assert_eq!(unescaped("a\\"), "a\u{fffd}");
        assert_eq!(unescaped("\\é."), "\u{fffd}.");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_the_same_text_under_serde_json_and_here(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&text, &mut out);
            prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
            let raw = &out[1..out.len() - 1];
            prop_assert_eq!(unescaped(std::str::from_utf8(raw).unwrap()), &text[..]);
            prop_assert!(stands_for(raw, text.as_bytes()));
        }

        #[test]
        fn every_character_can_be_an_escape_sequence(text in "\\PC{1,20}", other in "\\PC{0,3}") {
            let raw: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            prop_assert_eq!(unescaped(&raw), &text[..]);
            prop_assert!(stands_for(raw.as_bytes(), text.as_bytes()));
            prop_assert!(other.is_empty() || !stands_for(raw.as_bytes(), (text.clone() + &other).as_bytes()));
            prop_assert!(other == text || !stands_for(raw.as_bytes(), other.as_bytes()));
        }

        #[test]
        fn any_bytes_are_unescaped_without_a_panic(raw in "[\\\\uDd89acC0f\"é]{0,30}") {
            unescaped(&raw);
        }
    }
}
