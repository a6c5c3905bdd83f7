//! Quarantine in s3.
