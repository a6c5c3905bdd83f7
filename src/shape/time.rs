//! Times as log producers write them → one instant → RFC 3339 with milliseconds.
//!
//! Goes in: text, and how it is written. Comes out: a [`Timestamp`], or nothing. It never guesses at a part that
//! is not there, but for the offset: a time without one counts as UTC. No step is taken in floating point,
//! and nothing is allocated.

use super::spec::TimeFormat;
use crate::clock::Timestamp;

/// `9999-12-31T23:59:59.999Z`: RFC 3339 has four digits for the year.
const MS_MAX: u64 = 253_402_300_799_999;

/// Bytes of a time as [`push_rfc3339`] writes it.
pub const RFC3339_BYTES: usize = "2022-12-06T17:42:16.176Z".len();

/// The time that `text` says, cut to milliseconds. None if it is not written in `format`, or lies before 1970 or
/// after 9999. White space around it does not count.
pub fn parse(text: &[u8], format: TimeFormat) -> Option<Timestamp> {
    let text = text.trim_ascii();
    let ms = match format {
        TimeFormat::Auto => auto(text),
        TimeFormat::Rfc3339 => rfc3339(text),
        TimeFormat::UnixSeconds => unix(text, Unit::Seconds),
        TimeFormat::UnixMilliseconds => unix(text, Unit::Milliseconds),
        TimeFormat::UnixMicroseconds => unix(text, Unit::Microseconds),
        TimeFormat::UnixNanoseconds => unix(text, Unit::Nanoseconds),
        TimeFormat::CommonLog => common_log(text),
    }?;
    (ms <= MS_MAX).then(|| Timestamp::from_ms(ms))
}

/// Appends `time` in UTC, as `2022-12-06T17:42:16.176Z` (RFC 3339, section 5.6): [`RFC3339_BYTES`] bytes for all
/// that [`parse`] gives.
pub fn push_rfc3339(time: Timestamp, out: &mut Vec<u8>) {
    let ms = time.as_ms().min(MS_MAX);
    let (days, ms_of_day) = (ms / DAY_MS, ms % DAY_MS);
    let (year, month, day) = civil(days);
    let seconds = ms_of_day / 1_000;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], seconds / 3_600);
    put(&mut text[14..16], seconds / 60 % 60);
    put(&mut text[17..19], seconds % 60);
    put(&mut text[20..23], ms_of_day % 1_000);
    out.extend_from_slice(&text);
}

const DAY_MS: u64 = 86_400_000;

#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

fn auto(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (digits, digits == text.len()) {
        (1..=10, _) if digits == text.len() || text[digits] == b'.' => unix(text, Unit::Seconds),
        (13, true) => unix(text, Unit::Milliseconds),
        (16, true) => unix(text, Unit::Microseconds),
        (19, true) => unix(text, Unit::Nanoseconds),
        _ => rfc3339(text)
            .or_else(|| common_log(text))
            .or_else(|| day_named(text)),
    }
}

/// Digits, and maybe a dot and more digits.
fn unix(text: &[u8], unit: Unit) -> Option<u64> {
    let end = memchr::memchr(b'.', text).unwrap_or(text.len());
    let whole = number(&text[..end])?;
    let fraction_ms = match text.get(end + 1..) {
        Some(fraction) => fraction_ms(fraction)?,
        None if end < text.len() => return None,
        None => 0,
    };
    match unit {
        Unit::Seconds => whole.checked_mul(1_000)?.checked_add(fraction_ms),
        Unit::Milliseconds => Some(whole),
        Unit::Microseconds => Some(whole / 1_000),
        Unit::Nanoseconds => Some(whole / 1_000_000),
    }
}

/// `2022-12-06T17:42:16.176563Z`. More lenient than RFC 3339: a space for the `T`, no offset or one without its
/// colon, a comma before the fraction (ISO 8601 has both).
fn rfc3339(text: &[u8]) -> Option<u64> {
    let (clock, rest) = text.split_at_checked(19)?;
    if clock[4] != b'-' || clock[7] != b'-' || !matches!(clock[10], b'T' | b't' | b' ' | b'\t') {
        return None;
    }
    let (year, month, day) = (
        number(&clock[..4])?,
        number(&clock[5..7])?,
        number(&clock[8..10])?,
    );
    at(days(year, month, day)?, &clock[11..], rest, b".,")
}

/// `06/Feb/2019:00:00:38 +0000`, as in the common log format of Apache's httpd.
fn common_log(text: &[u8]) -> Option<u64> {
    let (clock, rest) = text.split_at_checked(20)?;
    if clock[2] != b'/' || clock[6] != b'/' || clock[11] != b':' {
        return None;
    }
    let (day, month, year) = (
        number(&clock[..2])?,
        month(&clock[3..6])?,
        number(&clock[7..11])?,
    );
    at(days(year, month, day)?, &clock[12..], rest, b".")
}

/// `Tue, 29 Oct 2013 18:01:00:123`, as in Redshift's audit logs; with an offset in place of the fraction it is
/// the time of RFC 5322.
fn day_named(text: &[u8]) -> Option<u64> {
    let (clock, rest) = text.split_at_checked(25)?;
    if &clock[3..5] != b", " || clock[7] != b' ' || clock[11] != b' ' || clock[16] != b' ' {
        return None;
    }
    let (day, month, year) = (
        number(&clock[5..7])?,
        month(&clock[8..11])?,
        number(&clock[12..16])?,
    );
    at(days(year, month, day)?, &clock[17..], rest, b":.")
}

/// Milliseconds of a day and what follows it: `clock` is `17:42:16`, `rest` a fraction after one of `marks` and
/// an offset, or nothing.
fn at(days: u64, clock: &[u8], rest: &[u8], marks: &[u8]) -> Option<u64> {
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        number(&clock[..2])?,
        number(&clock[3..5])?,
        number(&clock[6..8])?,
    );
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Unix time has no leap second: it counts as the one before it.
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second.min(59);
    let (ms, zone) = match rest.split_first() {
        Some((mark, rest)) if marks.contains(mark) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (fraction_ms(&rest[..digits])?, &rest[digits..])
        }
        _ => (0, rest),
    };
    let ms = seconds * 1_000 + ms;
    match offset_ms(zone)? {
        Offset::East(ahead) => ms.checked_sub(ahead),
        Offset::West(behind) => Some(ms + behind),
    }
}

enum Offset {
    East(u64),
    West(u64),
}

fn offset_ms(zone: &[u8]) -> Option<Offset> {
    if zone.is_empty() {
        return Some(Offset::East(0));
    }
    let (sign, digits) = match zone.strip_prefix(b" ").unwrap_or(zone) {
        b"Z" | b"z" | b"UTC" | b"GMT" => return Some(Offset::East(0)),
        [sign @ (b'+' | b'-'), digits @ ..] => (*sign, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [_, _] => (digits, &b"0"[..]),
        [_, _, b':', minutes @ ..] | [_, _, minutes @ ..] if minutes.len() == 2 => {
            (&digits[..2], minutes)
        }
        _ => return None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ms = (hours * 60 + minutes) * 60_000;
    Some(match sign {
        b'+' => Offset::East(ms),
        _ => Offset::West(ms),
    })
}

/// The first three of some digits, at least one.
fn fraction_ms(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let first = &digits[..digits.len().min(3)];
    Some(number(first)? * [100, 10, 1][first.len() - 1])
}

/// The value of digits, at least one and nothing else, if it fits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(*digit - b'0'))
    })
}

fn month(name: &[u8]) -> Option<u64> {
    const NAMES: &[u8] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let found = NAMES
        .chunks(3)
        .position(|month| month.eq_ignore_ascii_case(name))?;
    Some(found as u64 + 1)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. None if there is no such day, or it is earlier.
///
/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - EPOCH_DAYS)
}

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

fn month_days(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day, so many days after 1970-01-01: `civil_from_days` of the same paper.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Writes the last digits of `value`, as many as there is room for.
fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str, format: TimeFormat) -> Option<String> {
        let mut out = Vec::new();
        push_rfc3339(parse(text.as_bytes(), format)?, &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    fn auto(text: &str) -> String {
        written(text, TimeFormat::Auto).unwrap_or_default()
    }

    #[test]
    fn times_are_read_as_the_producers_of_logs_write_them() {
        for (text, expected) in [
            ("2022-12-06T17:42:16.176563Z", "2022-12-06T17:42:16.176Z"),
            ("2018-12-20T02:59:40", "2018-12-20T02:59:40.000Z"),
            ("2016-09-27T10:00:00.000Z", "2016-09-27T10:00:00.000Z"),
            ("2023-04-26 07:25:11", "2023-04-26T07:25:11.000Z"),
            ("2025-07-04 11:57:55,836", "2025-07-04T11:57:55.836Z"),
            (" 2023-05-21t12:45:10+02:00 ", "2023-05-21T10:45:10.000Z"),
            ("2023-05-21T12:45:10.5-0930", "2023-05-21T22:15:10.500Z"),
            ("2023-05-21 12:45:10 +01", "2023-05-21T11:45:10.000Z"),
            ("2023-05-21 12:45:10 UTC", "2023-05-21T12:45:10.000Z"),
            (
                "2023-05-21T12:45:10.123456789123z",
                "2023-05-21T12:45:10.123Z",
            ),
            ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.500Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
            ("06/Feb/2019:00:00:38 +0000", "2019-02-06T00:00:38.000Z"),
            ("06/feb/2019:00:00:38 -0100", "2019-02-06T01:00:38.000Z"),
            ("Tue, 29 Oct 2013 18:01:00:123", "2013-10-29T18:01:00.123Z"),
            ("Tue, 29 Oct 2013 18:01:00 GMT", "2013-10-29T18:01:00.000Z"),
            ("1669842701", "2022-11-30T21:11:41.000Z"),
            ("1669842701.1239", "2022-11-30T21:11:41.123Z"),
            ("1693457862729", "2023-08-31T04:57:42.729Z"),
            ("1693457862729123", "2023-08-31T04:57:42.729Z"),
            ("1506702504433000200", "2017-09-29T16:28:24.433Z"),
            ("0", "1970-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(auto(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_out_of_range_gives_none() {
        for text in [
            "",
            "-",
            "-1669842701",
            "12345678901",
            "169345786272",
            "16934578627291234",
            "1693457862729.5",
            "1669842701.",
            "1669842701.x",
            "1e9",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:60:00Z",
            "2023-01-01T00:00:61Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+1",
            "2023-01-01T00:00:00+24:00",
            "2023-01-01T00:00:00 PST",
            "2023-01-01",
            "2023-01-01T00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "06/Foo/2019:00:00:38 +0000",
            "31/Feb/2019:00:00:38 +0000",
            "\u{661}669842701",
        ] {
            assert_eq!(auto(text), "", "{text}");
        }
    }

    #[test]
    fn a_named_unit_takes_any_number_of_digits_and_nothing_else_takes_digits() {
        let ms = |text: &str, format| parse(text.as_bytes(), format).map(Timestamp::as_ms);
        assert_eq!(
            ms("12345678901", TimeFormat::UnixSeconds),
            Some(12_345_678_901_000)
        );
        assert_eq!(ms("5", TimeFormat::UnixMilliseconds), Some(5));
        assert_eq!(ms("5000", TimeFormat::UnixMicroseconds), Some(5));
        assert_eq!(ms("5000000.9", TimeFormat::UnixNanoseconds), Some(5));
        assert_eq!(ms("253402300800", TimeFormat::UnixSeconds), None);
        assert_eq!(ms("99999999999999999999", TimeFormat::UnixSeconds), None);
        assert_eq!(ms("1669842701", TimeFormat::Rfc3339), None);
        assert_eq!(ms("1669842701", TimeFormat::CommonLog), None);
    }

    proptest! {
        #[test]
        fn every_time_is_read_and_written_as_jiff_does(
            seconds in 0_i64..=253_402_300_799,
            nanoseconds in 0_i32..1_000_000_000,
            digits in 0_usize..=9,
            offset_minutes in -14 * 60..=14 * 60_i32,
        ) {
            let time = jiff::Timestamp::new(seconds, nanoseconds).unwrap();
            let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).unwrap();
            let local = format!("{:.*}", digits, time.to_zoned(offset.to_time_zone()).datetime());
            prop_assume!(local.starts_with(|digit: char| digit.is_ascii_digit()));
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
            let text = format!("{local}{sign}{hours:02}:{minutes:02}");
            let reference: jiff::Timestamp = text.parse().unwrap();
            let expected = (reference.as_millisecond() >= 0)
                .then(|| format!("{:.3}", jiff::Timestamp::from_millisecond(reference.as_millisecond()).unwrap()))
                .filter(|_| (86_400..253_402_300_799 - 86_400).contains(&seconds));
            prop_assume!(expected.is_some());
            prop_assert_eq!(written(&text, TimeFormat::Rfc3339), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            parse(&text, TimeFormat::Auto);
        }

        #[test]
        fn no_text_of_times_makes_it_panic(text in "[0-9TZ:., +/-]{0,32}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9 :+]{0,20}") {
            for format in [TimeFormat::Auto, TimeFormat::CommonLog, TimeFormat::UnixSeconds] {
                parse(text.as_bytes(), format);
            }
        }
    }
}
