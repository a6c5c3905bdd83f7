//! Records → batches: what one request carries.

use bytes::Bytes;

/// A request body: records, a newline after each, as one gzip member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// One gzip member (RFC 1952), never several: some receivers drop all but the first.
    pub gzip: Bytes,
    /// Length when inflated.
    pub plain_bytes: u64,
    pub records: u64,
}
