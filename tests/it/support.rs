//! The test kit. Nothing of it ships.

#[cfg(feature = "local")]
pub mod aws;
#[cfg(feature = "local")]
pub mod gate;
#[cfg(feature = "local")]
pub mod runtime_api;
#[cfg(feature = "local")]
pub mod sdk;
