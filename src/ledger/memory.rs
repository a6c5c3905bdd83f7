//! The ledger in memory, for tests and for runs that remember nothing.
