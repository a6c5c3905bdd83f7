//! The Logz.io bulk listener.
