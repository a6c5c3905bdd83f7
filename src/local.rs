//! What a person's own machine needs in place of the cloud: an S3 server and a log endpoint,
//! both on loopback, both in this process.
//!
//! `brigade demo`, the tests and the benches stand on them. None of it reaches a function, and
//! none of it listens on anything but 127.0.0.1.

pub mod listener;
pub mod loopback;
pub mod s3;
