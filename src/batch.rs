//! Records → batches: what one request carries.
