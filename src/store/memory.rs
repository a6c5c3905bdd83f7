//! An object store in memory.
