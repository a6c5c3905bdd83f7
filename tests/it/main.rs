//! Integration tests: one binary, a module for each promise or port.
//!
//! The contract suites are functions that any implementation is given to. Here they run over the
//! implementations that need nothing; `at_endpoint` runs them over S3 and SQS at a local AWS.

#[cfg(feature = "aws")]
mod at_endpoint;
mod quarantine_contract;
mod queue_contract;
#[cfg(feature = "aws")]
mod s3_answers;
mod store_contract;
