//! A watched prefix: `s3://bucket/prefix`, where the prefix may hold the date.

use std::collections::HashSet;
use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, ToSpan};

use super::reader::Parsed;
use crate::clock::Timestamp;
use crate::quarantine::S3Place;

/// A bucket and a prefix of keys. In the prefix, `%Y`, `%m`, `%d` and `%H` stand for the year, month,
/// day and hour in UTC, `%%` for a percent sign; anything else stands for itself.
///
/// A prefix is a prefix: `logs/app` also matches `logs/app2/x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatchedPrefix {
    bucket: String,
    pieces: Vec<Piece>,
    /// As it was given: what log lines show, and under which a pass saves its position.
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Date(Unit),
}

/// From coarse to fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
}

impl Unit {
    fn digits(self) -> usize {
        match self {
            Self::Year => 4,
            Self::Month | Self::Day | Self::Hour => 2,
        }
    }

    fn start(self, time: DateTime) -> DateTime {
        let date = match self {
            Self::Year => time.date().first_of_year(),
            Self::Month => time.date().first_of_month(),
            Self::Day => time.date(),
            Self::Hour => return time.date().at(time.hour(), 0, 0, 0),
        };
        date.at(0, 0, 0, 0)
    }

    fn step(self) -> Span {
        match self {
            Self::Year => 1.year(),
            Self::Month => 1.month(),
            Self::Day => 1.day(),
            Self::Hour => 1.hour(),
        }
    }

    fn write(self, time: DateTime) -> String {
        match self {
            Self::Year => format!("{:04}", time.year()),
            Self::Month => format!("{:02}", time.month()),
            Self::Day => format!("{:02}", time.day()),
            Self::Hour => format!("{:02}", time.hour()),
        }
    }
}

/// How a key stands to a prefix with dates.
enum Fit {
    /// The whole prefix matches.
    Under,
    /// The key ends before the prefix does, and matches as far as it goes.
    Above,
    Apart,
}

impl WatchedPrefix {
    pub fn parse(text: &str) -> Parsed<Self> {
        let (bucket, prefix) = bucket_and_prefix(text)?;
        Ok(Self {
            bucket: bucket.to_owned(),
            pieces: pieces(prefix)?,
            text: text.to_owned(),
        })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether the prefix holds a date, so that only living partitions are listed.
    pub fn is_dated(&self) -> bool {
        self.finest().is_some()
    }

    /// Every prefix that the date takes between two times, both included: in the order of time,
    /// each once, at most one for each step of the finest placeholder. A prefix without a date gives
    /// itself. Nothing if `to` is before `from`.
    pub fn prefixes_between(&self, from: Timestamp, to: Timestamp) -> Vec<String> {
        if to < from {
            return Vec::new();
        }
        let Some(unit) = self.finest() else {
            return vec![self.at(DateTime::MIN)];
        };
        let (mut time, to) = (unit.start(utc(from)), utc(to));
        let mut seen = HashSet::new();
        let mut prefixes = Vec::new();
        while time <= to {
            let prefix = self.at(time);
            if seen.insert(prefix.clone()) {
                prefixes.push(prefix);
            }
            match time.checked_add(unit.step()) {
                Ok(next) => time = next,
                Err(_) => break,
            }
        }
        prefixes
    }

    /// Whether an object lies under the prefix, on any date.
    pub fn covers(&self, bucket: &str, key: &str) -> bool {
        self.bucket == bucket && matches!(self.fit(key), Fit::Under)
    }

    /// Whether any object of that place could lie under this prefix.
    pub fn touches(&self, place: &S3Place) -> bool {
        self.bucket == place.bucket && matches!(self.fit(place.prefix()), Fit::Under | Fit::Above)
    }

    fn finest(&self) -> Option<Unit> {
        let units = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Date(unit) => Some(*unit),
        });
        units.max()
    }

    fn at(&self, time: DateTime) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Date(unit) => unit.write(time),
            })
            .collect()
    }

    fn fit(&self, key: &str) -> Fit {
        let mut rest = key.as_bytes();
        for piece in &self.pieces {
            let (matches, length) = match piece {
                Piece::Text(text) => {
                    let length = text.len().min(rest.len());
                    (rest[..length] == text.as_bytes()[..length], text.len())
                }
                Piece::Date(unit) => {
                    let length = unit.digits().min(rest.len());
                    (rest[..length].iter().all(u8::is_ascii_digit), unit.digits())
                }
            };
            if !matches {
                return Fit::Apart;
            }
            match rest.get(length..) {
                Some(after) => rest = after,
                None => return Fit::Above,
            }
        }
        Fit::Under
    }
}

impl fmt::Display for WatchedPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The two parts of `s3://bucket/prefix`; the prefix may be empty.
pub(super) fn bucket_and_prefix(text: &str) -> Parsed<(&str, &str)> {
    let expected = || "s3://bucket/prefix".to_owned();
    let place = text.strip_prefix("s3://").ok_or_else(expected)?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if bucket.is_empty() || bucket.len() > 255 || !bucket.bytes().all(plain) {
        return Err(expected());
    }
    Ok((bucket, prefix))
}

fn pieces(prefix: &str) -> Parsed<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut chars = prefix.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        let unit = match chars.next() {
            Some('%') => {
                text.push('%');
                continue;
            }
            Some('Y') => Unit::Year,
            Some('m') => Unit::Month,
            Some('d') => Unit::Day,
            Some('H') => Unit::Hour,
            Some(_) | None => {
                return Err("only %Y, %m, %d, %H and %% after a percent sign".to_owned());
            }
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Date(unit));
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The civil time in UTC; the last that can be written if it is later still.
fn utc(time: Timestamp) -> DateTime {
    let time = i64::try_from(time.as_ms())
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    Offset::UTC.to_datetime(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn watched(text: &str) -> WatchedPrefix {
        WatchedPrefix::parse(text).expect("a prefix")
    }

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::from_ms(time.as_millisecond() as u64)
    }

    fn between(prefix: &str, from: &str, to: &str) -> Vec<String> {
        watched(prefix).prefixes_between(at(from), at(to))
    }

    #[test]
    fn a_prefix_without_a_date_gives_itself() {
        let now = "2026-03-14T09:05:00Z";
        assert_eq!(between("s3://b/logs/100%%/", now, now), ["logs/100%/"]);
        assert_eq!(between("s3://b", now, now), [""]);
        assert_eq!(between("s3://b/", now, now), [""]);
        assert!(!watched("s3://b/logs/").is_dated());
    }

    #[test]
    fn the_finest_placeholder_decides_the_step() {
        assert_eq!(
            between(
                "s3://b/l/%Y%m%d/",
                "2026-02-27T23:59:59Z",
                "2026-03-01T00:00:00Z"
            ),
            ["l/20260227/", "l/20260228/", "l/20260301/"]
        );
        assert_eq!(
            between(
                "s3://b/%Y/%m/%d/%H/",
                "2026-12-31T22:30:00Z",
                "2027-01-01T00:10:00Z"
            ),
            ["2026/12/31/22/", "2026/12/31/23/", "2027/01/01/00/"]
        );
        assert_eq!(
            between(
                "s3://b/%Y-%m/",
                "2026-01-31T00:00:00Z",
                "2026-03-01T00:00:00Z"
            ),
            ["2026-01/", "2026-02/", "2026-03/"]
        );
        assert_eq!(
            between("s3://b/%Y/", "2025-12-31T23:00:00Z", "2026-01-01T01:00:00Z"),
            ["2025/", "2026/"]
        );
    }

    #[test]
    fn a_date_that_comes_again_is_given_once() {
        assert_eq!(
            between("s3://b/%H/", "2026-03-14T22:00:00Z", "2026-03-16T00:00:00Z").len(),
            24
        );
    }

    #[test]
    fn an_hour_ends_where_utc_says() {
        assert_eq!(
            between(
                "s3://b/%H",
                "2026-03-29T00:59:59.999Z",
                "2026-03-29T02:00:00Z"
            ),
            ["00", "01", "02"]
        );
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        for text in ["s3://b/%y/", "s3://b/%", "s3://b/%-m/", "s3://b/100%/"] {
            let expected = WatchedPrefix::parse(text).expect_err(text);
            assert_eq!(expected, "only %Y, %m, %d, %H and %% after a percent sign");
        }
        for text in ["b/logs", "s3:///logs", "https://b/logs", "s3://b c/"] {
            assert!(WatchedPrefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn p8_a_prefix_matches_its_longer_neighbours_unless_it_ends_with_a_slash() {
        assert!(watched("s3://b/logs/app").covers("b", "logs/app2/x"));
        assert!(!watched("s3://b/logs/app/").covers("b", "logs/app2/x"));
        assert!(!watched("s3://b/logs/app/").covers("other", "logs/app/x"));
    }

    #[test]
    fn a_dated_prefix_covers_any_date() {
        let prefix = watched("s3://b/l/%Y/%m/");
        assert!(prefix.covers("b", "l/1999/12/x"));
        assert!(!prefix.covers("b", "l/1999/q/x"));
        assert!(!prefix.covers("b", "l/199"));
        assert!(prefix.touches(&S3Place::new("b", "l/1999")));
        assert!(!prefix.touches(&S3Place::new("b", "l/quarantine/")));
    }

    proptest! {
        #[test]
        fn every_moment_of_a_window_lies_in_one_of_its_prefixes(
            from in 0u64..4_000_000_000, hours in 0u64..400, part in 0.0..=1.0f64,
            template in prop::sample::select(vec![
                "s3://b/%Y/%m/%d/%H/", "s3://b/%Y%m%d/", "s3://b/%d.%m.%Y/", "s3://b/%Y-%m/", "s3://b/%H/%d",
            ]),
        ) {
            let watched = watched(template);
            let from = Timestamp::from_secs(from);
            let to = from.plus(Duration::from_hours(hours));
            let moment = from.plus(to.since(from).mul_f64(part));
            let prefixes = watched.prefixes_between(from, to);
            prop_assert!(prefixes.contains(&watched.at(utc(moment))));
            let distinct: HashSet<&String> = prefixes.iter().collect();
            prop_assert_eq!(distinct.len(), prefixes.len());
            prop_assert!(prefixes.len() as u64 <= hours + 2);
        }
    }
}
