//! One page of a listing, as ListObjectsV2 cuts it: keys in, keys and common prefixes out.
//!
//! Pure: no clock, no wire format but the two encodings that belong to a listing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;

/// Most entries (objects and common prefixes together) in one page; S3 caps there, whatever is asked.
pub const PAGE_KEYS_MAX: usize = 1_000;

/// The order a server lists in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// By the bytes of the UTF-8 key, as S3's general-purpose buckets do.
    #[default]
    Bytes,
    /// Depth first, as a server over a file system does: `a`, `a/b`, `a b`, although `/` sorts
    /// after the space. A reconcile that trusts the order of such a server loses keys.
    Directories,
}

/// Where a page starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Position {
    /// At the first key.
    #[default]
    Start,
    /// After this key, which need not exist.
    AfterKey(String),
    /// After every key with this common prefix.
    AfterPrefix(String),
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    pub prefix: &'a str,
    pub delimiter: Option<&'a str>,
    pub position: Position,
    pub keys_max: usize,
    pub order: ListOrder,
}

/// What a page holds. `next` is there exactly if there is more.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<'a, V> {
    pub objects: Vec<(&'a str, &'a V)>,
    pub prefixes: Vec<&'a str>,
    pub next: Option<Position>,
}

impl<V> Page<'_, V> {
    /// Entries in the page, as `KeyCount` counts them.
    pub fn key_count(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// Cuts one page out of `keys`.
pub fn page<'a, V>(keys: &'a BTreeMap<String, V>, query: &Query<'_>) -> Page<'a, V> {
    match query.order {
        ListOrder::Bytes => {
            let from = match &query.position {
                Position::AfterKey(key) if key.as_str() >= query.prefix => {
                    Bound::Excluded(key.as_str())
                }
                Position::AfterPrefix(prefix) if prefix.as_str() >= query.prefix => {
                    Bound::Included(prefix.as_str())
                }
                Position::Start | Position::AfterKey(_) | Position::AfterPrefix(_) => {
                    Bound::Included(query.prefix)
                }
            };
            let keys = keys
                .range::<str, _>((from, Bound::Unbounded))
                .map(|(key, value)| (key.as_str(), value))
                .take_while(|(key, _)| key.starts_with(query.prefix));
            cut(keys, query)
        }
        ListOrder::Directories => {
            let mut sorted: Vec<_> = keys
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .filter(|(key, _)| key.starts_with(query.prefix))
                .collect();
            sorted.sort_by(|(a, _), (b, _)| depth_first(a).cmp(depth_first(b)));
            let from = match &query.position {
                Position::Start => 0,
                Position::AfterKey(last) | Position::AfterPrefix(last) => {
                    sorted.partition_point(|(key, _)| depth_first(key).le(depth_first(last)))
                }
            };
            cut(sorted.into_iter().skip(from), query)
        }
    }
}

/// `/` before every other byte.
fn depth_first(key: &str) -> impl Iterator<Item = u16> {
    key.bytes()
        .map(|byte| if byte == b'/' { 0 } else { u16::from(byte) + 1 })
}

fn cut<'a, V>(keys: impl Iterator<Item = (&'a str, &'a V)>, query: &Query<'_>) -> Page<'a, V> {
    let mut page = Page {
        objects: Vec::new(),
        prefixes: Vec::new(),
        next: None,
    };
    if query.keys_max == 0 {
        return page;
    }
    let mut last = query.position.clone();
    for (key, value) in keys {
        if matches!(&last, Position::AfterPrefix(prefix) if key.starts_with(prefix.as_str())) {
            continue;
        }
        if page.key_count() == query.keys_max {
            page.next = Some(last);
            break;
        }
        last = match rolled_up(key, query) {
            Some(prefix) => {
                page.prefixes.push(prefix);
                Position::AfterPrefix(prefix.to_owned())
            }
            None => {
                page.objects.push((key, value));
                Position::AfterKey(key.to_owned())
            }
        };
    }
    page
}

/// The common prefix that stands for `key`: up to the first delimiter behind the prefix.
fn rolled_up<'a>(key: &'a str, query: &Query<'_>) -> Option<&'a str> {
    let delimiter = query.delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let start = query.prefix.len();
    let at = key.get(start..)?.find(delimiter)?;
    key.get(..start + at + delimiter.len())
}

impl Position {
    /// An opaque continuation token.
    pub fn token(&self) -> String {
        let (kind, text) = match self {
            Self::Start => ('s', ""),
            Self::AfterKey(key) => ('k', key.as_str()),
            Self::AfterPrefix(prefix) => ('p', prefix.as_str()),
        };
        text.bytes().fold(kind.to_string(), |mut token, byte| {
            // Writing to a String cannot fail.
            let _ = write!(token, "{byte:02x}");
            token
        })
    }

    /// Reads a token back; `None` if it is none of ours.
    pub fn from_token(token: &str) -> Option<Self> {
        let (kind, digits) = token.split_at_checked(1)?;
        let bytes = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
            .collect::<Option<Vec<u8>>>()?;
        let text = String::from_utf8(bytes).ok()?;
        match kind {
            "s" => Some(Self::Start),
            "k" => Some(Self::AfterKey(text)),
            "p" => Some(Self::AfterPrefix(text)),
            _ => None,
        }
    }
}

/// A key as `EncodingType=url` has it: letters, digits, `.`, `-`, `_`, `*` and `/` stand, a space
/// becomes `+`, every other byte `%XX`. What a client reads back form-decoded.
pub fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(keys: &[&str]) -> BTreeMap<String, ()> {
        keys.iter().map(|key| ((*key).to_owned(), ())).collect()
    }

    /// Every page of a listing, as `(entries, was it truncated)`, following the tokens.
    fn walk(keys: &BTreeMap<String, ()>, mut query: Query<'_>) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        loop {
            let page = page(keys, &query);
            let mut entries: Vec<String> = page
                .objects
                .iter()
                .map(|(key, ())| (*key).to_owned())
                .collect();
            entries.extend(page.prefixes.iter().map(|prefix| format!("{prefix} …")));
            pages.push(entries);
            let Some(next) = page.next else { return pages };
            query.position = Position::from_token(&next.token()).unwrap();
        }
    }

    #[test]
    fn pages_follow_the_bytes_of_the_keys_and_end_without_an_empty_page() {
        let keys = bucket(&["a", "a b", "a/b", "a/c", "é", "z"]);
        let query = Query {
            keys_max: 2,
            ..Query::default()
        };
        assert_eq!(
            walk(&keys, query),
            [vec!["a", "a b"], vec!["a/b", "a/c"], vec!["z", "é"]]
        );
    }

    #[test]
    fn common_prefixes_count_as_entries_and_are_never_repeated() {
        let keys = bucket(&["a/1", "a/2", "b", "c/1", "c/2", "d"]);
        let query = Query {
            delimiter: Some("/"),
            keys_max: 1,
            ..Query::default()
        };
        assert_eq!(
            walk(&keys, query),
            [vec!["a/ …"], vec!["b"], vec!["c/ …"], vec!["d"]]
        );
    }

    #[test]
    fn start_after_skips_keys_and_never_leaves_the_prefix() {
        let keys = bucket(&["a", "p/1", "p/2", "p/3", "q"]);
        let from = |after: &str| Query {
            prefix: "p/",
            position: Position::AfterKey(after.to_owned()),
            keys_max: 10,
            ..Query::default()
        };
        assert_eq!(walk(&keys, from("p/1")), [vec!["p/2", "p/3"]]);
        assert_eq!(walk(&keys, from("a")), [vec!["p/1", "p/2", "p/3"]]);
        assert_eq!(walk(&keys, from("z")), [Vec::<String>::new()]);
    }

    #[test]
    fn a_hostile_server_lists_directories_first_and_still_lists_all() {
        let keys = bucket(&["a", "a b", "a/b", "a/c", "b"]);
        let query = Query {
            keys_max: 2,
            order: ListOrder::Directories,
            ..Query::default()
        };
        assert_eq!(
            walk(&keys, query),
            [vec!["a", "a/b"], vec!["a/c", "a b"], vec!["b"]]
        );
    }

    #[test]
    fn keys_are_encoded_as_a_form_would() {
        assert_eq!(
            url_encoded("dir a/k+ey é\n%41(1).gz"),
            "dir+a/k%2Bey+%C3%A9%0A%2541%281%29.gz"
        );
    }
}
