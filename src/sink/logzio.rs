//! The Logz.io bulk listener: NDJSON over POST, token and type in the query.
//!
//! Its 400 is a partial success, and its counts say how many lines were taken. They do not say
//! which, so the refused ones are found by the same rules here, where both agree.
//!
//! The protocol is documented in the repository `logzio/documentation`,
//! `docs/shipping/Code/http.md`.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::post::{self, KeptToken};
use super::{Answer, RefusalReason, Refusals, RetryReason, Sink};
use crate::body::Body;
use crate::token::{Token, TokenSource};

/// The longest line that the listener takes (`docs/shipping/Code/http.md`, Limitations).
pub const LINE_BYTES_MAX: usize = 500_000;

/// The type that the listener assumes when it is told none (`docs/shipping/Code/http.md`).
pub const LOG_TYPE_DEFAULT: &str = "http-bulk";

/// The listener. The token is read at the first delivery, kept, and read again once it is refused.
pub struct LogzioSink<T> {
    client: Client,
    endpoint: Url,
    log_type: String,
    token: KeptToken<T>,
}

impl<T: TokenSource> LogzioSink<T> {
    /// `client` follows no redirects, which would carry the token elsewhere, and has a time-out for
    /// connecting of its own, so that an endpoint out of reach is told from one that may have taken
    /// the records. A query that `endpoint` brings is replaced. Bodies whose route has no type leave as
    /// `log_type`.
    pub fn new(client: Client, mut endpoint: Url, log_type: &str, token: T) -> Self {
        endpoint.set_query(None);
        Self {
            client,
            endpoint,
            log_type: log_type.to_owned(),
            token: KeptToken::new(token),
        }
    }

    fn request(&self, body: &Body, token: Option<&Token>) -> RequestBuilder {
        let mut url = self.endpoint.clone();
        let log_type = body.route.log_type.as_deref().unwrap_or(&self.log_type);
        url.query_pairs_mut().append_pair("type", log_type);
        if let Some(token) = token {
            url.query_pairs_mut().append_pair("token", token.reveal());
        }
        self.client
            .post(url)
            .header(USER_AGENT, post::USER_AGENT)
            .header(CONTENT_ENCODING, "gzip")
            // No type is documented. This is what Logz.io's own Java sender says, and it is true:
            // a body of several lines is not one JSON document.
            .header(CONTENT_TYPE, "text/plain")
            .body(body.gzip.clone())
    }
}

impl<T> fmt::Debug for LogzioSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogzioSink")
            .field("endpoint", &post::place(&self.endpoint))
            .finish_non_exhaustive()
    }
}

impl<T: TokenSource> Sink for LogzioSink<T> {
    async fn deliver(&self, body: &Body, timeout: Duration) -> Answer {
        let until = Instant::now() + timeout;
        let request = |token: Option<&Token>| self.request(body, token);
        let response = match post::exchange(Some(&self.token), &self.endpoint, until, request).await
        {
            Ok(response) => response,
            Err(answer) => return answer,
        };
        answer_of(response, &self.endpoint, body, until).await
    }

    async fn prepare(&self) {
        self.token.prepare().await;
    }
}

/// What the listener's answer to `body` means. Nothing is read of it after `until`, and no text made here
/// quotes it or shows more of `endpoint` than its host.
pub async fn answer_of(response: Response, endpoint: &Url, body: &Body, until: Instant) -> Answer {
    if response.status() != StatusCode::BAD_REQUEST {
        return post::answer_by_status(response, endpoint, until).await;
    }
    match post::read_bounded(response, until).await {
        Ok(text) => answer_of_counts(&text, body),
        Err(reason) => reason.into(),
    }
}

/// What the listener says of the lines of a body that it did not take whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    successful_lines: u64,
    #[serde(default)]
    malformed_lines: u64,
    #[serde(default)]
    oversized_lines: u64,
    #[serde(default)]
    empty_log_lines: u64,
}

impl Counts {
    fn lines(&self) -> u64 {
        self.successful_lines.saturating_add(self.refused())
    }

    fn refused(&self) -> u64 {
        self.malformed_lines
            .saturating_add(self.oversized_lines)
            .saturating_add(self.empty_log_lines)
    }
}

/// What a 400 means.
///
/// A line that was taken is never sent again, whatever else the counts say: if they do not add up,
/// the lines that were not taken are refused ones. Only if none was taken can the request be
/// repeated.
pub fn answer_of_counts(text: &[u8], body: &Body) -> Answer {
    let unknown = Answer::from(RetryReason::Status(400));
    let Ok(counts) = serde_json::from_slice::<Counts>(text) else {
        return unknown;
    };
    let adds_up = counts.lines() == body.records;
    let not_taken = match body.records.checked_sub(counts.successful_lines) {
        None => return unknown,
        Some(0) => return Answer::Accepted,
        Some(not_taken) => not_taken,
    };
    if !adds_up {
        return if counts.successful_lines == 0 {
            unknown
        } else {
            Answer::Partial(Refusals::Unidentified { count: not_taken })
        };
    }
    let plain = body.plain();
    if counts.successful_lines == 0 {
        return Answer::Partial(Refusals::Identified(all_refused(&plain)));
    }
    let flaws = flaws(&plain);
    let of = |flaw| flaws.iter().filter(|(_, found)| *found == flaw).count() as u64;
    let agrees = of(Flaw::Malformed) == counts.malformed_lines
        && of(Flaw::Oversized) == counts.oversized_lines
        && of(Flaw::Empty) == counts.empty_log_lines;
    Answer::Partial(if agrees {
        let refused = flaws.iter().map(|(place, flaw)| (*place, flaw.reason()));
        Refusals::Identified(refused.collect())
    } else {
        Refusals::Unidentified { count: not_taken }
    })
}

/// Every record, with the reason if it is known here.
fn all_refused(plain: &[u8]) -> Vec<(u64, RefusalReason)> {
    let reason = |record| flaw(record).map_or(RefusalReason::Refused, Flaw::reason);
    (0..)
        .zip(Body::records_of(plain))
        .map(|(place, record)| (place, reason(record)))
        .collect()
}

fn flaws(plain: &[u8]) -> Vec<(u64, Flaw)> {
    (0..)
        .zip(Body::records_of(plain))
        .filter_map(|(place, record)| Some((place, flaw(record)?)))
        .collect()
}

/// Why the listener refuses a line, in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Malformed,
    Oversized,
    Empty,
}

impl Flaw {
    fn reason(self) -> RefusalReason {
        match self {
            Flaw::Malformed | Flaw::Empty => RefusalReason::Malformed,
            Flaw::Oversized => RefusalReason::Oversized,
        }
    }
}

fn flaw(record: &[u8]) -> Option<Flaw> {
    let record = record.trim_ascii();
    if record.is_empty() {
        Some(Flaw::Empty)
    } else if record.len() > LINE_BYTES_MAX {
        Some(Flaw::Oversized)
    } else if !is_json_object(record) {
        Some(Flaw::Malformed)
    } else {
        None
    }
}

fn is_json_object(record: &[u8]) -> bool {
    record.starts_with(b"{")
        && str::from_utf8(record)
            .is_ok_and(|record| serde_json::from_str::<IgnoredAny>(record).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::BodyWriter;
    use serde_json::json;

    fn body(records: &[&str]) -> Body {
        let mut writer = BodyWriter::new(1);
        for record in records {
            writer.push(record.as_bytes());
        }
        writer.finish()
    }

    fn answer(records: &[&str], counts: serde_json::Value) -> Answer {
        answer_of_counts(counts.to_string().as_bytes(), &body(records))
    }

    fn again() -> Answer {
        RetryReason::Status(400).into()
    }

    #[test]
    fn a_400_whose_counts_agree_names_the_refused_lines() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        let records = ["{\"a\":1}", "{\"a\":", "", &long, "[1]", "{}"];
        let counts = json!({
            "malformedLines": 2, "successfulLines": 2, "oversizedLines": 1, "emptyLogLines": 1
        });
        assert_eq!(
            answer(&records, counts),
            Answer::Partial(Refusals::Identified(vec![
                (1, RefusalReason::Malformed),
                (2, RefusalReason::Malformed),
                (3, RefusalReason::Oversized),
                (4, RefusalReason::Malformed),
            ]))
        );
    }

    #[test]
    fn a_400_whose_counts_disagree_refuses_as_many_as_it_says() {
        let records = ["{}", "{}", "[]"];
        let two = json!({"malformedLines": 2, "successfulLines": 1});
        let other = json!({"oversizedLines": 1, "successfulLines": 2});
        let unidentified = |count| Answer::Partial(Refusals::Unidentified { count });
        assert_eq!(answer(&records, two), unidentified(2));
        assert_eq!(answer(&records, other), unidentified(1));
    }

    #[test]
    fn lines_that_were_taken_are_never_sent_again_when_the_counts_do_not_add_up() {
        let counts = json!({"malformedLines": 5, "successfulLines": 1});
        assert_eq!(
            answer(&["{}", "{}", "[]"], counts),
            Answer::Partial(Refusals::Unidentified { count: 2 })
        );
    }

    #[test]
    fn a_400_that_took_every_record_is_a_success() {
        let counts = json!({"successfulLines": 2, "emptyLogLines": 1});
        assert_eq!(answer(&["{}", "{}"], counts), Answer::Accepted);
    }

    #[test]
    fn a_400_that_refuses_every_record_names_them_all() {
        let counts = json!({"malformedLines": 2, "successfulLines": 0});
        assert_eq!(
            answer(&["{}", "nonsense"], counts),
            Answer::Partial(Refusals::Identified(vec![
                (0, RefusalReason::Refused),
                (1, RefusalReason::Malformed),
            ]))
        );
    }

    #[test]
    fn a_400_that_says_nothing_readable_may_be_repeated() {
        let two = body(&["{}", "{}"]);
        for text in ["", "<html>", "{}", "[]", r#"{"successfulLines":"2"}"#] {
            assert_eq!(answer_of_counts(text.as_bytes(), &two), again(), "{text}");
        }
        let none_taken = json!({"malformedLines": 1, "successfulLines": 0});
        assert_eq!(answer(&["{}", "{}"], none_taken), again());
        let too_many = json!({"successfulLines": 3});
        assert_eq!(answer(&["{}", "{}"], too_many), again());
        let absurd = json!({"successfulLines": u64::MAX, "malformedLines": u64::MAX});
        assert_eq!(answer(&["{}", "{}"], absurd), again());
    }

    #[test]
    fn a_record_is_a_json_object_of_legal_text() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        for good in ["{}", " {\"a\":1} ", "{\"a\":1}\r", &deep] {
            assert_eq!(flaw(good.as_bytes()), None, "{good}");
        }
        for bad in [
            &b"{\"a\":1}}"[..],
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\0\"}",
            b"{",
            b"1",
        ] {
            assert_eq!(flaw(bad), Some(Flaw::Malformed), "{bad:?}");
        }
        assert_eq!(flaw(b" \r"), Some(Flaw::Empty));
    }
}
