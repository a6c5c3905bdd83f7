//! Arrays of records.
//!
//! Goes in: plain bytes in pieces of any size, which are JSON documents one after the other, with white space
//! between them or without. Comes out: one record for each element of the arrays that they hold: a document is
//! such an array, or an object in which members of given names are. What else the object holds is passed over,
//! wherever it stands.
//!
//! It checks that a document is JSON down to its records, and of each record and each value passed over what is
//! needed to find its end: [`super::json`] says what that is. A document without a place for records is an error,
//! for nothing says that it holds none.

use super::json::elements::{Document, Elements, Outline, Purpose};
use super::{Form, Malformed, Record};
use crate::checkpoint::Position;

/// The members that hold records unless others are named: `Records` in what CloudTrail writes (AWS CloudTrail
/// User Guide, "CloudTrail log file examples"), `configurationItems` in what AWS Config writes (AWS Config
/// Developer Guide, "Example Configuration History from AWS Config").
pub const RECORD_MEMBERS: [&str; 2] = ["Records", "configurationItems"];

/// Splits the arrays in JSON documents into their elements. Holds at most `record_bytes_max` bytes of them, and
/// 1,024 bytes of a member's name.
pub struct ArraySplitter {
    elements: Elements,
    members: Members,
}

impl ArraySplitter {
    /// With the records in top-level arrays and in the top-level members named, as they are written between
    /// quotes and of at most 1,024 bytes: [`RECORD_MEMBERS`] as a rule. Such a member may be null, but nothing
    /// else that is no array.
    pub fn new(record_bytes_max: usize, members: Vec<String>) -> Self {
        Self {
            elements: Elements::new(record_bytes_max),
            members: Members(members),
        }
    }

    /// After everything that was given out; between documents, after everything that was taken.
    pub fn position(&self) -> Position {
        self.elements.position()
    }

    /// The next record that is complete with `plain`, which is advanced past it. `None` when `plain` is used up;
    /// the start of an incomplete record is kept. After an error there is only that error.
    pub fn pop<'a, 'p: 'a>(
        &'a mut self,
        plain: &mut &'p [u8],
    ) -> Result<Option<Record<'a>>, Malformed> {
        let found = self.elements.pop(&mut self.members, plain)?;
        Ok(found.map(|found| self.elements.record(found, Form::Value)))
    }

    /// Says that the input has ended. Never a record: an array that has not ended is an error.
    pub fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        let found = self.elements.finish()?;
        Ok(found.map(|found| self.elements.record(found, Form::Value)))
    }
}

/// The names of the members that hold records.
struct Members(Vec<String>);

impl Outline for Members {
    fn open(&mut self, first: u8) -> Result<Document, &'static str> {
        match first {
            b'[' => Ok(Document::Records),
            b'{' => Ok(Document::Object),
            _ => Err("an array or an object"),
        }
    }

    fn member(&mut self, name: &[u8]) -> Purpose {
        if self.0.iter().any(|member| member.as_bytes() == name) {
            Purpose::Records
        } else {
            Purpose::Skip
        }
    }

    fn keep(&mut self, _bytes: &[u8]) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::json::elements::harness::{self, MAX, Outcome, Style};
    use super::*;

    fn splitter() -> ArraySplitter {
        ArraySplitter::new(MAX, RECORD_MEMBERS.map(str::to_owned).to_vec())
    }

    fn split(plain: &[u8], steps: &[usize]) -> Outcome {
        harness::split(splitter(), plain, steps)
    }

    fn texts_of(plain: &str) -> Vec<String> {
        let outcome = split(plain.as_bytes(), &[5]);
        assert_eq!(outcome.error, None, "{plain}");
        outcome.texts()
    }

    #[test]
    fn r1_cloudtrail_records_are_found_wherever_and_however_they_stand() {
        let events = [
            r#"{"eventVersion":"1.08","a":[{"Records":[1]}]}"#,
            r#"{"b":"]}"}"#,
        ];
        let array = format!("[{}]", events.join(","));
        for plain in [
            format!("{{\"Records\":{array}}}"),
            format!(
                "{{\"x\":{{\"Records\":[0]}},\"y\":\"Records\",\"Records\":{array},\"z\":[[0]]}}\n"
            ),
            format!("\u{feff}{{\r\n  \"z\" : null ,\r\n  \"Records\" : {array} }}"),
            format!("{{\"Records\":[\n{}\n,\n{}\n]}}", events[0], events[1]),
        ] {
            assert_eq!(texts_of(&plain), events);
        }
        for plain in [
            "{\"Records\":[]}",
            "{\"Records\":null}",
            " {\"a\":1,\"Records\": [ ] ,\"b\":2}",
        ] {
            assert_eq!(texts_of(plain), [""; 0]);
        }
    }

    #[test]
    fn r1_a_huge_document_on_one_line_takes_no_more_memory_than_a_record() {
        let mut splitter = splitter();
        let long = format!("\"{}\",", "x".repeat(3 * MAX));
        let plain = format!(
            "{{\"skipped\":[{}0],\"{}\":1,\"Records\":[{}0]}}",
            long.repeat(99),
            "n".repeat(9999),
            long.repeat(999),
        );
        let mut records = 0;
        for mut piece in plain.as_bytes().chunks(7) {
            while let Some(record) = splitter.pop(&mut piece).expect("a whole document") {
                assert!(record.bytes.len() <= MAX);
                records += 1;
            }
        }
        assert_eq!(splitter.finish(), Ok(None));
        assert_eq!(records, 1000);
        assert!(splitter.elements.held_bytes() <= 2 * MAX + 2 * 1026);
    }

    #[test]
    fn r3_top_level_arrays_of_anything_one_after_the_other() {
        let plain = "[{\"a\":1},{\"a\":2}][]\n[ 1,-2.5 , \"x\" ,[3,[4]],true,null,{}] {\"configurationItems\":[{}]}";
        assert_eq!(
            texts_of(plain),
            [
                "{\"a\":1}",
                "{\"a\":2}",
                "1",
                "-2.5",
                "\"x\"",
                "[3,[4]]",
                "true",
                "null",
                "{}",
                "{}"
            ]
        );
        assert_eq!(texts_of(""), [""; 0]);
        assert_eq!(texts_of(" \n"), [""; 0]);
    }

    #[test]
    fn r7_cloudflares_batch_prefix_and_a_member_of_any_name() {
        let plain =
            b"{\"events\":[\n{\"info\":{\"RayID\":\"1\"}},\n{\"info\":{\"RayID\":\"2\"}}\n]}\n";
        let splitter = ArraySplitter::new(MAX, vec!["other".to_owned(), "events".to_owned()]);
        let outcome = harness::split(splitter, plain, &[4]);
        assert_eq!(outcome.error, None);
        assert_eq!(
            outcome.texts(),
            [
                "{\"info\":{\"RayID\":\"1\"}}",
                "{\"info\":{\"RayID\":\"2\"}}"
            ]
        );
        assert_eq!(
            split(plain, &[4]).error.expect("no records").offset,
            plain.len() as u64 - 2
        );
    }

    #[test]
    fn what_is_no_document_is_an_error_at_its_place_after_the_records_before_it() {
        for (plain, offset, records) in [
            ("[{}garbage,{}]", 3, 1),
            ("[{} {}]", 4, 1),
            ("[{},]", 4, 1),
            ("[,{}]", 1, 0),
            ("[garbage]", 1, 0),
            ("[{}}", 3, 1),
            ("[{}]]", 4, 1),
            ("[{}],[{}]", 4, 1),
            ("[{}]x", 4, 1),
            ("[{}", 3, 1),
            ("[1", 2, 0),
            ("[nulL]", 4, 0),
            ("7", 0, 0),
            ("\"Records\"", 0, 0),
            ("{}", 1, 0),
            ("{\"logFiles\":[{}]}", 16, 0),
            ("{\"Records\":{}}", 11, 0),
            ("{\"Records\":[1],}", 15, 1),
            ("{\"Records\":[1] \"x\":2}", 15, 1),
            ("{\"Records\" [1]}", 11, 0),
            ("{Records:[1]}", 1, 0),
            ("{\"Records\":[1]]", 14, 1),
            ("{\"x\":}", 5, 0),
        ] {
            for step in [1, 4, 99] {
                let outcome = split(plain.as_bytes(), &[step]);
                let found = (outcome.error.map(|error| error.offset), outcome.seen.len());
                assert_eq!(found, (Some(offset), records), "{plain}");
            }
        }
    }

    #[test]
    fn truncated_anywhere_it_is_an_error_after_the_complete_records() {
        let plain = r#"{"a":{"b":"\""},"Records":[{"x":"\\"},"y\"",12,[null,{}],false],"c":1.5}"#;
        harness::truncations(plain.as_bytes(), split, false);
    }

    #[test]
    fn b6_a_record_over_the_limit_keeps_its_start_and_its_length_and_the_rest_goes_on() {
        let long = format!("{{\"a\":\"{}\"}}", "\\\"".repeat(MAX));
        let fits = format!("\"{}\"", "x".repeat(MAX - 2));
        let plain = format!("[{long},{fits},1]");
        for step in [1, 64, 100_000] {
            let outcome = split(plain.as_bytes(), &[step]);
            assert_eq!(outcome.texts(), [&long[..MAX], &fits, "1"]);
            assert_eq!(outcome.seen[0].length, long.len() as u64);
        }
    }

    type Others = Vec<(String, Value)>;

    #[derive(Clone, Debug)]
    struct Text {
        /// The member the records are in, and what stands before and after it; `None` for a top-level array.
        object: Option<(&'static str, Others, usize)>,
        records: Vec<Value>,
        style: Style,
        after: &'static str,
    }

    impl Text {
        fn write(&self) -> String {
            let records = self.style.write(&Value::Array(self.records.clone()));
            let Some((name, others, at)) = &self.object else {
                return format!("{records}{}", self.after);
            };
            let mut members: Vec<String> = others
                .iter()
                .map(|(name, value)| {
                    let name = self.style.write(&Value::String(format!("x{name}")));
                    format!("{name}:{}", self.style.write(value))
                })
                .collect();
            members.insert(at % (members.len() + 1), format!("\"{name}\" : {records}"));
            format!("{{{}}}{}", members.join(", "), self.after)
        }
    }

    fn document() -> impl Strategy<Value = Text> {
        let others = proptest::collection::vec((harness::string(), harness::value()), 0..4);
        let name = proptest::sample::select(RECORD_MEMBERS.to_vec());
        (
            proptest::option::of((name, others, any::<usize>())),
            proptest::collection::vec(harness::value(), 0..5),
            harness::style(),
            proptest::sample::select(vec!["", "\n", " "]),
        )
            .prop_map(|(object, records, style, after)| Text {
                object,
                records,
                style,
                after,
            })
    }

    proptest! {
        #[test]
        fn the_records_are_the_elements_that_another_parser_reads(
            documents in proptest::collection::vec(document(), 0..4),
            steps in harness::steps(),
        ) {
            let plain: String = documents.iter().map(Text::write).collect();
            let outcome = split(plain.as_bytes(), &steps);
            prop_assert_eq!(&outcome.error, &None);
            let records: Vec<&Value> = documents.iter().flat_map(|document| &document.records).collect();
            prop_assert_eq!(outcome.seen.len(), records.len());
            for (seen, record) in outcome.seen.iter().zip(records) {
                let whole = &plain[seen.start.offset as usize..seen.end as usize];
                let value: Value = serde_json::from_str(whole).expect("JSON");
                prop_assert_eq!(&value, record);
            }
        }
    }

    proptest! {
        #[test]
        fn b12_any_chunking_gives_the_same_records_and_errors(
            documents in proptest::collection::vec(document(), 0..4),
            edits in harness::edits(),
            steps in harness::steps(),
        ) {
            let plain: String = documents.iter().map(Text::write).collect();
            let plain = harness::edited(plain.into_bytes(), &edits);
            prop_assert_eq!(split(&plain, &steps), split(&plain, &[plain.len()]));
        }
    }
}
