//! Where the tool sends records: a log endpoint or standard output, and a meter beside it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::body::Body;
use crate::function::ConfiguredToken;
use crate::sink::routed::RoutedSink;
use crate::sink::{Answer, Refusals, Sink};
use crate::token::{FixedToken, Token, TokenError, TokenSource};

/// A sink that counts.
#[derive(Clone)]
pub struct Destination {
    way: Arc<Way>,
    meter: Arc<Meter>,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Way {
    /// The endpoint of the arguments, and those of rules.
    Endpoint(RoutedSink<GivenToken>),
    Stdout(StdoutSink),
}

/// What passed so far, for a display; the account is the ledger's business.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    records: AtomicU64,
    body_bytes: AtomicU64,
    repetitions: AtomicU64,
}

impl Meter {
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Records that were accepted.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Requests after which the endpoint asked to be tried again, or could not be reached.
    pub fn repetitions(&self) -> u64 {
        self.repetitions.load(Ordering::Relaxed)
    }

    fn note(&self, body: &Body, answer: &Answer) {
        let add = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.requests, 1);
        add(&self.body_bytes, body.gzip.len() as u64);
        match answer {
            Answer::Accepted => add(&self.records, body.records),
            Answer::Partial(Refusals::Identified(refused)) => {
                add(&self.records, body.records - refused.len() as u64)
            }
            Answer::Partial(Refusals::Unidentified { count }) => {
                add(&self.records, body.records.saturating_sub(*count))
            }
            Answer::Retry { .. } => add(&self.repetitions, 1),
            Answer::TooLarge | Answer::Refused { .. } | Answer::Fatal { .. } => 0,
        };
    }
}

impl Destination {
    pub fn new(way: Way) -> Self {
        Self {
            way: Arc::new(way),
            meter: Arc::default(),
        }
    }

    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

impl Sink for Destination {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        let answer = match &*self.way {
            Way::Endpoint(sink) => sink.deliver(body, timeout).await,
            Way::Stdout(sink) => sink.deliver(body, timeout).await,
        };
        self.meter.note(body, &answer);
        answer
    }
}

/// Writes what would be sent, a record a line.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutSink;

impl Sink for StdoutSink {
    /// Whoever reads may be slow for any time: it is waited for, whatever `timeout` says, because a
    /// record that is half written cannot be taken back.
    async fn deliver(&self, body: &Body, _timeout: Duration) -> Answer {
        let plain = body.plain();
        let write = move || {
            let mut out = io::stdout().lock();
            out.write_all(&plain).and_then(|()| out.flush())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Answer::Accepted,
            Ok(Err(error)) => Answer::Fatal {
                reason: format!("failed to write to standard output: {error}"),
            },
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// A token from the environment, from a file that is read again when the token is refused, or from where a rule
/// says.
pub enum GivenToken {
    Fixed(FixedToken),
    File(FileToken),
    Configured(ConfiguredToken),
}

pub struct FileToken {
    path: PathBuf,
}

impl FileToken {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

/// The token in a file, without the white space around it.
pub fn read_token(path: &Path) -> Result<Token, TokenError> {
    let place = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(TokenError::Refused {
            place,
            reason: "the file is empty".to_owned(),
        }),
        Ok(text) => Ok(Token::new(text.trim())),
        Err(error) => Err(TokenError::Refused {
            place,
            reason: error.to_string(),
        }),
    }
}

impl TokenSource for GivenToken {
    async fn read(&self) -> Result<Token, TokenError> {
        match self {
            GivenToken::Fixed(token) => token.read().await,
            GivenToken::File(file) => file.read().await,
            GivenToken::Configured(configured) => configured.read().await,
        }
    }
}

impl TokenSource for FileToken {
    async fn read(&self) -> Result<Token, TokenError> {
        read_token(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_file_is_read_again_each_time_and_its_newline_is_no_part_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let source = GivenToken::File(FileToken::new(&path));
        for token in ["first", "second"] {
            std::fs::write(&path, format!("{token}\n")).expect("written");
            assert_eq!(source.read().await.expect("read"), Token::new(token));
        }
        std::fs::write(&path, "\n").expect("written");
        source.read().await.expect_err("empty");
    }
}
