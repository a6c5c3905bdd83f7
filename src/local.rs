//! What a person's own machine needs in place of the cloud: the commands of `brigade`, and for
//! its demonstration an S3 server and a log endpoint, both on loopback, both in this process.
//!
//! None of it reaches a function, and none of it listens on anything but 127.0.0.1.

pub mod demo;
pub mod replay;
pub mod rules;
pub mod ship;
pub mod sync;

pub mod account;
pub mod arguments;
pub mod crew;
pub mod destination;
pub mod look;
pub mod looks;
pub mod place;
pub mod progress;
pub mod stop;

pub mod listener;
pub mod loopback;
pub mod s3;
