//! Amazon S3, and any store that speaks its protocol.
