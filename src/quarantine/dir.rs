//! Quarantine in dir.
