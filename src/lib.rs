//! bucket-brigade carries log objects out of S3 buckets to a log endpoint.
//!
//! ```text
//!  S3 notification ──┐                                   ┌── ledger: claim
//!  schedule + listing ┼──▶ WorkItem ──▶ Pipeline::ingest ┤
//!  local file, CLI ──┘                                   ▼
//!    store.read ─▶ parts ─▶ [ decode ▸ split ▸ shape ▸ batch ] ─▶ Batch ─▶ sink.deliver
//!                             └────── Assembler, pure ───────┘                 │
//!                                                   ledger: checkpoint … settle
//! ```
//!
//! The modules, in the order in which data flows:

pub mod batch;
pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod event;
pub mod ledger;
pub mod object;
pub mod quarantine;
pub mod queue;
pub mod sink;
pub mod store;
pub mod telemetry;
pub mod token;

#[cfg(feature = "aws")]
pub mod aws;
