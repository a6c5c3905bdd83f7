//! A sink in memory.
