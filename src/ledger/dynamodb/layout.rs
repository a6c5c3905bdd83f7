//! Where a row lies in the table, so that one query for each shard covers a range of a listing.
//!
//! Goes in: identities and bounds. Comes out: partition keys and sort keys. The layout is part of the
//! schema: a table written with one layout cannot be read with another.

use sha2::{Digest, Sha256};

use crate::object::ContentId;

/// Rows of one bucket are spread over this many partitions, each good for 1,000 writes a second.
/// It is part of the schema and never changes.
pub const SHARDS: u8 = 8;

/// Of a key, this many bytes sort a row: with the separator and the hash, 977 of the 1,024 bytes that
/// DynamoDB allows for a sort key.
const KEY_BYTES_MAX: usize = 960;

const HASH_BYTES: usize = 16;

/// Where marks lie; no bucket name is empty, so this is no partition of a bucket.
pub const MARKS: &str = "#marks";

/// `bucket#shard`. No bucket name holds a `#`.
pub fn partition(bucket: &str, shard: u8) -> String {
    format!("{bucket}#{shard}")
}

/// The first byte of the key's SHA-256, modulo [`SHARDS`]. All contents of one key share a shard.
pub fn shard(key: &str) -> u8 {
    Sha256::digest(key)[0] % SHARDS
}

/// The first 960 bytes of the key, 0x00, and 16 bytes of a hash of key, entity tag and size.
/// Such sort keys sort as ListObjectsV2 sorts keys, as far as those differ in their first 960 bytes.
pub fn sort_key(content: &ContentId) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [content.key.as_bytes(), content.etag.as_str().as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(content.size.to_be_bytes());
    separated(&content.key, &hash.finalize()[..HASH_BYTES])
}

/// Marks have sort keys of the same shape.
pub fn mark_sort_key(name: &str) -> Vec<u8> {
    separated(name, &Sha256::digest(name)[..HASH_BYTES])
}

/// Bounds that every sort key of a key in `first..=last` lies within, and maybe some others do.
/// None if no key lies there.
pub fn bounds(first: &str, last: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if first > last {
        return None;
    }
    // DynamoDB takes no empty value for a key. No key is empty, so nothing sorts before this.
    let lower = if first.is_empty() {
        vec![0]
    } else {
        cut(first).to_vec()
    };
    // A NUL in `last` would look like the separator, after which rows sort by hash: from there
    // on everything is within the bounds. UTF-8 has no 0xFF.
    let plain = last.split('\0').next().unwrap_or_default();
    Some((lower, separated(plain, &[0xFF; HASH_BYTES])))
}

fn cut(key: &str) -> &[u8] {
    &key.as_bytes()[..key.len().min(KEY_BYTES_MAX)]
}

fn separated(key: &str, hash: &[u8]) -> Vec<u8> {
    [cut(key), &[0], hash].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::object::Etag;

    fn content(key: &str, etag: &str, size: u64) -> ContentId {
        ContentId {
            bucket: "b".into(),
            key: key.into(),
            etag: Etag::from(etag),
            size,
        }
    }

    /// The schema: a change of any of these orphans every row written before.
    #[test]
    fn the_layout_never_changes() {
        // Hashes by another hand: Python's hashlib.
        assert_eq!(partition("logs", shard("a/b.gz")), "logs#2");
        let sort_key = sort_key(&content("a/b.gz", "9b2cf535f27731c974343645a3985328", 42));
        let (key, hash) = sort_key.split_at(7);
        assert_eq!(key, b"a/b.gz\0");
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "52baef723e4636012f6687156bdf7ae0");
    }

    #[test]
    fn contents_of_one_key_have_different_sort_keys() {
        let keys: std::collections::BTreeSet<_> = [
            content("k", "e", 1),
            content("k", "e", 2),
            content("k", "f", 1),
            content("ke", "", 1),
        ]
        .iter()
        .map(sort_key)
        .collect();
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn the_longest_key_fits_a_sort_key() {
        assert_eq!(sort_key(&content(&"k".repeat(1_024), "e", 1)).len(), 977);
    }

    proptest! {
        #[test]
        fn every_key_within_a_range_lies_within_its_bounds(
            mut keys in proptest::array::uniform3(
                "(aaaa|é|\u{10ffff}|){0,3}[\0\u{1}a/é]{0,4}(x{0,2}|y{1000})[\0a/é]{0,6}"
            ),
            size in 0u64..100,
        ) {
            keys.sort();
            let [first, key, last] = keys;
            prop_assume!(!key.is_empty());
            let (lower, upper) = bounds(&first, &last).expect("first <= last");
            let sort_key = sort_key(&content(&key, "e", size));
            prop_assert!(lower <= sort_key && sort_key <= upper);
            prop_assert!(upper.len() <= 1_024);
        }

        #[test]
        fn sort_keys_sort_as_short_keys_do(
            a in "[\u{1}-\u{10ffff}]{1,200}",
            b in "[\u{1}-\u{10ffff}]{1,200}",
        ) {
            prop_assert_eq!(
                sort_key(&content(&a, "e", 1)).cmp(&sort_key(&content(&b, "e", 1))),
                a.cmp(&b)
            );
        }
    }
}
