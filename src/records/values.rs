//! JSON values.
//!
//! Goes in: plain bytes in pieces of any size. Comes out: one record for each JSON value: an object, as it may
//! be, with any white space or nothing between it and the next, pretty-printed or not. That is how Firehose
//! joins what it was given. One comma may stand after a value, since Cloudflare's `record_delimiter` may be one
//! (Cloudflare Logs, "Log Output Options").
//!
//! It checks what is needed to find where a value ends: [`super::json`] says what that is.

use super::json::elements::{Document, Elements, Outline, Purpose};
use super::{Form, Malformed, Record};
use crate::checkpoint::Position;

/// Splits plain bytes into JSON values. Holds at most `record_bytes_max` bytes of them.
pub struct ValueSplitter {
    elements: Elements,
}

impl ValueSplitter {
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            elements: Elements::new(record_bytes_max),
        }
    }

    /// After everything that was given out; between values, after everything that was taken.
    pub fn position(&self) -> Position {
        self.elements.position()
    }

    /// The next record that is complete with `plain`, which is advanced past it. `None` when `plain` is used up;
    /// the start of an incomplete record is kept. After an error there is only that error.
    pub fn pop<'a, 'p: 'a>(
        &'a mut self,
        plain: &mut &'p [u8],
    ) -> Result<Option<Record<'a>>, Malformed> {
        let found = self.elements.pop(&mut Bare, plain)?;
        Ok(found.map(|found| self.elements.record(found, Form::Value)))
    }

    /// Says that the input has ended; the last record, if it is a number with nothing after it. An error if a
    /// value is incomplete.
    pub fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        let found = self.elements.finish()?;
        Ok(found.map(|found| self.elements.record(found, Form::Value)))
    }
}

/// Every document is a record.
struct Bare;

impl Outline for Bare {
    fn open(&mut self, _first: u8) -> Result<Document, &'static str> {
        Ok(Document::Record)
    }

    fn member(&mut self, _name: &[u8]) -> Purpose {
        Purpose::Skip
    }

    fn keep(&mut self, _bytes: &[u8]) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::json::elements::harness::{self, MAX, Outcome};
    use super::*;

    fn split(plain: &[u8], steps: &[usize]) -> Outcome {
        harness::split(ValueSplitter::new(MAX), plain, steps)
    }

    #[test]
    fn r3_values_without_line_ends_between_them_are_one_record_each() {
        let plain = "{\"a\":\"}{\"}{\"b\":{}}\n{\n  \"c\": [1,\r\n2]\n}\n\n[1][]\"x\"\"\" 7 -1.5e+10\ttrue,null";
        for step in [1, 3, 64, 1000] {
            let outcome = split(plain.as_bytes(), &[step]);
            assert_eq!(outcome.error, None);
            assert_eq!(
                outcome.texts(),
                [
                    "{\"a\":\"}{\"}",
                    "{\"b\":{}}",
                    "{\n  \"c\": [1,\r\n2]\n}",
                    "[1]",
                    "[]",
                    "\"x\"",
                    "\"\"",
                    "7",
                    "-1.5e+10",
                    "true",
                    "null",
                ]
            );
        }
    }

    #[test]
    fn a_number_at_the_end_of_the_object_is_a_record() {
        for step in [1, 9] {
            assert_eq!(
                split(b"{} 1234567890123456789", &[step]).texts()[1],
                "1234567890123456789"
            );
        }
    }

    #[test]
    fn r7_one_comma_may_stand_after_a_value() {
        let outcome = split(b"{\"a\":1},{\"a\":2} ,\n{\"a\":3},\n", &[2]);
        assert_eq!((outcome.texts().len(), outcome.error), (3, None));
        for (plain, offset, records) in [(",{}", 0, 0), ("{},,{}", 3, 1), ("{}:{}", 2, 1)] {
            let outcome = split(plain.as_bytes(), &[2]);
            let found = (outcome.error.map(|error| error.offset), outcome.seen.len());
            assert_eq!(found, (Some(offset), records), "{plain}");
        }
    }

    #[test]
    fn r3_what_is_no_value_is_an_error_at_its_place() {
        for (plain, offset) in [
            ("{}\ngarbage", 3),
            ("{}}", 2),
            ("{} nul", 6),
            ("{} nulx", 6),
            ("{\"a\":[}", 6),
            ("{]", 1),
            ("{\\\"}", 1),
            ("{\"", 2),
            ("\"\\", 2),
            ("{}\0", 2),
        ] {
            for step in [1, 5, 100] {
                let outcome = split(plain.as_bytes(), &[step]);
                let error = outcome.error.map(|error| error.offset);
                assert_eq!(error, Some(offset), "{plain}");
            }
        }
    }

    #[test]
    fn truncated_anywhere_it_is_an_error_after_the_complete_values() {
        let plain = r#"{"a":"\"\\","b":[{"c":null}]}[true,"\u00e9",{"d":-12}]"x\\y"{}"#;
        harness::truncations(plain.as_bytes(), split, true);
    }

    #[test]
    fn brackets_are_open_up_to_the_limit() {
        use super::super::json::DEPTH_MAX;
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        for step in [1, 100, 10_000] {
            let plain = format!("{}{}", nested(DEPTH_MAX), nested(DEPTH_MAX + 1));
            let error = split(plain.as_bytes(), &[step]).error.expect("too deep");
            assert_eq!(error.offset, 3 * DEPTH_MAX as u64 + 1);
        }
    }

    #[test]
    fn b8_bytes_that_are_no_utf_8_are_kept() {
        let plain = b"{\"a\":\"\xff\0\xe9\\ud800\"}\"\xef\xbb\"";
        let outcome = split(plain, &[1]);
        assert_eq!(outcome.error, None);
        assert_eq!(
            [&outcome.seen[0].bytes[..], &outcome.seen[1].bytes].concat(),
            plain
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_alone() {
        let bytes = b"\xef\xbb\xbf {}";
        for step in [1, 2, 9] {
            assert_eq!(split(bytes, &[step]).texts(), ["{}"]);
            assert_eq!(
                split(b" \xef\xbb\xbf{}", &[step])
                    .error
                    .expect("late")
                    .offset,
                1
            );
            assert_eq!(
                split(b"\xef\xbb{}", &[step])
                    .error
                    .expect("not whole")
                    .offset,
                2
            );
            assert_eq!(split(b"\xef", &[step]).error.expect("not whole").offset, 1);
            assert_eq!(split(b"\xef\xbb\xbf", &[step]).error, None);
        }
    }

    proptest! {
        #[test]
        fn what_another_parser_takes_is_split_as_it_does(
            values in proptest::collection::vec((harness::text(), "[ \n]|\r\n"), 0..5),
            edits in harness::edits(),
            steps in harness::steps(),
        ) {
            let plain: String = values.iter().map(|(text, space)| format!("{text}{space}")).collect();
            for plain in [plain.clone().into_bytes(), harness::edited(plain.into_bytes(), &edits)] {
                let outcome = split(&plain, &steps);
                prop_assert_eq!(&outcome, &split(&plain, &[plain.len()]));
                let others = serde_json::Deserializer::from_slice(&plain).into_iter::<Value>();
                if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
                    prop_assert_eq!(&outcome.error, &None);
                    prop_assert_eq!(outcome.seen.len(), others.len());
                    for (seen, other) in outcome.seen.iter().zip(&others) {
                        let whole = &plain[seen.start.offset as usize..seen.end as usize];
                        let value: Value = serde_json::from_slice(whole).expect("JSON");
                        prop_assert_eq!(&value, other);
                    }
                }
            }
        }
    }
}
