//! A work queue in memory.
