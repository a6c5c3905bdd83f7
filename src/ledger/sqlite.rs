//! The ledger in SQLite, for one machine.
