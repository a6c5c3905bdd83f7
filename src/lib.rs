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

pub mod config;

pub mod failure;
pub mod object;
pub mod rules;

pub mod event;

pub mod store;

pub mod fetch;

pub mod inflate;

pub mod restore;

pub mod decode;

pub mod expansion;

pub mod pattern;

pub mod records;

pub mod format;

pub mod shape;

pub mod route;

pub mod plan;

pub mod rulebook;

pub mod bits;
pub mod body;
pub mod compress;
pub mod symbols;

pub mod batch;

pub mod assemble;

pub mod sink;

pub mod delivery;

pub mod share;

pub mod backoff;

pub mod checkpoint;

pub mod ledger;

pub mod quarantine;

pub mod evidence;

pub mod pipeline;

pub mod replay;

pub mod invocation;

pub mod queue;

pub mod reconcile;

pub mod clock;
pub mod telemetry;
pub mod tls;
pub mod token;

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod function;
#[cfg(feature = "local")]
pub mod local;
