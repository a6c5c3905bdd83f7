//! Quarantine in memory.
