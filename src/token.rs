//! The endpoint's token: a secret that is read, kept, read again after a 401, and never shown.

use std::fmt;
use std::future::Future;

/// A secret. It prints as `[secret]`; only [`Token::reveal`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The secret itself, for the request and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Why a token could not be read, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("failed to read the token from {place}: {reason}")]
    Unavailable { place: String, reason: String },
    #[error("cannot read the token from {place}: {reason}")]
    Refused { place: String, reason: String },
}

/// Where a token comes from.
pub trait TokenSource: Send + Sync {
    /// Reads the token now, from the source itself.
    fn read(&self) -> impl Future<Output = Result<Token, TokenError>> + Send;
}

/// A token that was given in the settings.
#[derive(Clone, Debug)]
pub struct FixedToken(pub Token);

impl TokenSource for FixedToken {
    async fn read(&self) -> Result<Token, TokenError> {
        Ok(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_what_holds_a_token_does_not_show_it() {
        let fails = || Err::<(), _>(FixedToken(Token::new("hidden")));
        let panic = std::panic::catch_unwind(|| fails().unwrap()).expect_err("a panic");
        let message = panic.downcast_ref::<String>().expect("a text");
        assert!(message.ends_with("FixedToken([secret])"), "{message}");
    }
}
