//! What every AWS adapter shares: one HTTP client, one configuration.
