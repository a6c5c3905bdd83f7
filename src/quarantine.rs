//! Quarantine: where records and objects go that can never succeed as they are.
//!
//! Names are a function of what is kept, so writing the same thing twice is one thing:
//! `records/BUCKET/CONTENT/INDEX.ndjson` for refused records, `cut/…` for the originals of records that
//! were cut, `objects/BUCKET/CONTENT.json` for an object, by reference. CONTENT is a hash of key, entity
//! tag and size: a key may be as long as S3 allows any name to be.

use std::future::Future;

use bytes::Bytes;

pub mod dir;
pub mod memory;
#[cfg(feature = "aws")]
pub mod s3;

/// Why something could not be kept, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// Throttled, timed out, unreachable: try again later.
    #[error("quarantine {place} unavailable: {reason}")]
    Unavailable { place: String, reason: String },
    /// No such bucket, no permission: nothing can succeed until a person acts.
    #[error("quarantine {place} refused: {reason}")]
    Refused { place: String, reason: String },
}

/// The port.
pub trait Quarantine: Send + Sync {
    /// Makes `content` durable under `name`, replacing what stood there, and returns the full place.
    fn keep(
        &self,
        name: &str,
        content: Bytes,
    ) -> impl Future<Output = Result<String, QuarantineError>> + Send;
}
