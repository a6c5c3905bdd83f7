//! The test kit. Nothing of it ships.

#[cfg(feature = "local")]
pub mod sdk;
