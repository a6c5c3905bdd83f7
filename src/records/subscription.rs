//! CloudWatch Logs subscription documents.
//!
//! Goes in: plain bytes in pieces of any size, which are such documents one after the other, with white space
//! between them or without: Firehose joins them so. Comes out: one record for each event of their `logEvents`,
//! with what the document says of the log group that it is from.
//!
//! The documents: Amazon CloudWatch Logs User Guide, "Log group-level subscription filters". It checks that they
//! are JSON down to the events, and of each event and each value passed over what is needed to find its end:
//! [`super::json`] says what that is.

use super::json::elements::{Document, Elements, Outline, Purpose};
use super::json::{self, Member};
use super::{Form, Malformed, Record};
use crate::checkpoint::Position;

/// Longest text of what is kept of a log group, quotes and escapes included. The names of a log group and of a
/// log stream have at most 512 characters (CloudWatch Logs API Reference, CreateLogGroup, CreateLogStream), each
/// of which takes at most 12 bytes.
const KEPT_BYTES_MAX: usize = 8 * 1024;

/// Splits subscription documents into their events. Holds at most `record_bytes_max` bytes of them, 1,024 bytes
/// of a member's name, and a [`LogGroup`].
pub struct SubscriptionSplitter {
    elements: Elements,
    group: LogGroup,
}

impl SubscriptionSplitter {
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            elements: Elements::new(record_bytes_max),
            group: LogGroup::default(),
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
        let found = self.elements.pop(&mut self.group, plain)?;
        Ok(found.map(|found| self.elements.record(found, Form::Event(&self.group))))
    }

    /// Says that the input has ended. Never a record: a document that has not ended is an error.
    pub fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        let found = self.elements.finish()?;
        Ok(found.map(|found| self.elements.record(found, Form::Event(&self.group))))
    }
}

/// What a document says of its events, as far as it stands before them: CloudWatch Logs writes it there. Holds at
/// most 8 KiB of each of four strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogGroup {
    /// The texts of the members in [`KEPT`], quotes and all; empty if the document has none.
    texts: [Vec<u8>; KEPT.len()],
    /// Which of them is being read.
    reading: usize,
}

/// The members that are kept: the kind of document, and what is added to its events.
const KEPT: [&str; 4] = ["messageType", "owner", "logGroup", "logStream"];

impl LogGroup {
    /// Whether the document is CloudWatch Logs asking whether its destination can be reached, and its events no
    /// logs.
    pub fn is_control(&self) -> bool {
        self.texts[0] == b"\"CONTROL_MESSAGE\""
    }

    /// Appends an event to `out` as a JSON object on one line: its own members as they are written, then
    /// `owner`, `logGroup` and `logStream`, those that the document has and the event has not. What is no whole
    /// JSON object is appended as it is, on one line.
    pub fn render(&self, event: &[u8], out: &mut Vec<u8>) {
        // Whether the event has a member, and which of those in `KEPT`.
        let (mut has_any, mut has) = (false, [false; KEPT.len()]);
        let mut is_whole = true;
        for member in json::members(event) {
            match member {
                Ok(Member { name, .. }) => {
                    has_any = true;
                    for (has, kept) in has.iter_mut().zip(KEPT) {
                        *has |= kept.as_bytes() == name;
                    }
                }
                Err(_) => is_whole = false,
            }
        }
        if json::is_one_line(event) {
            out.extend_from_slice(event);
        } else {
            json::minify(event, out);
        }
        if !is_whole {
            return;
        }
        while out.pop().is_some_and(|byte| byte != b'}') {}
        for ((name, text), has) in KEPT.iter().zip(&self.texts).zip(has).skip(1) {
            if has || text.is_empty() {
                continue;
            }
            if has_any {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::minify(text, out);
            has_any = true;
        }
        out.push(b'}');
    }
}

impl Outline for LogGroup {
    fn open(&mut self, first: u8) -> Result<Document, &'static str> {
        for text in &mut self.texts {
            text.clear();
        }
        match first {
            b'{' => Ok(Document::Object),
            _ => Err("a subscription document"),
        }
    }

    fn member(&mut self, name: &[u8]) -> Purpose {
        if name == b"logEvents" {
            return Purpose::Records;
        }
        match KEPT.iter().position(|kept| kept.as_bytes() == name) {
            Some(index) => {
                self.reading = index;
                self.texts[index].clear();
                Purpose::Keep
            }
            None => Purpose::Skip,
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> bool {
        let text = &mut self.texts[self.reading];
        let fits = text.len() + bytes.len() <= KEPT_BYTES_MAX;
        if fits {
            text.extend_from_slice(bytes);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::json::elements::harness::{self, Outcome, style};
    use super::*;

    fn split(plain: &[u8], steps: &[usize]) -> Outcome {
        harness::split(SubscriptionSplitter::new(harness::MAX), plain, steps)
    }

    fn document(kind: &str, events: &str) -> String {
        format!(
            r#"{{"messageType":"{kind}","owner":"123456789012","logGroup":"/aws/lambda/f","logStream":"2024/01/01/[$LATEST]0a","subscriptionFilters":["f"],"logEvents":{events}}}"#
        )
    }

    fn rendered(outcome: &Outcome) -> Vec<&str> {
        let text = |bytes| std::str::from_utf8(bytes).expect("text");
        outcome
            .seen
            .iter()
            .map(|seen| text(&seen.rendered))
            .collect()
    }

    const ADDED: &str =
        r#""owner":"123456789012","logGroup":"/aws/lambda/f","logStream":"2024/01/01/[$LATEST]0a""#;

    #[test]
    fn r4_documents_back_to_back_give_their_events_with_their_log_group() {
        let first = r#"{"id":"37","timestamp":1510109208016,"message":"a \"}{\" b\n"}"#;
        let plain = [
            document("DATA_MESSAGE", &format!("[{first},{{\"id\":\"38\"}}]")),
            document(
                "CONTROL_MESSAGE",
                r#"[{"id":"","timestamp":1,"message":"checking"}]"#,
            ),
            "\n".to_owned(),
            document("DATA_MESSAGE", "[]"),
            document("DATA_MESSAGE", "[{}]").replace("/aws/lambda/f", "g"),
        ]
        .concat();
        for step in [1, 7, 64, 1000] {
            let outcome = split(plain.as_bytes(), &[step]);
            assert_eq!(outcome.error, None);
            let is_control: Vec<bool> = outcome.seen.iter().map(|seen| seen.is_control).collect();
            assert_eq!(is_control, [false, false, true, false]);
            let expected = [
                format!("{},{ADDED}}}", first.trim_end_matches('}')),
                format!("{{\"id\":\"38\",{ADDED}}}"),
                format!("{{\"id\":\"\",\"timestamp\":1,\"message\":\"checking\",{ADDED}}}"),
                format!("{{{}}}", ADDED.replace("/aws/lambda/f", "g")),
            ];
            assert_eq!(rendered(&outcome), expected);
        }
    }

    #[test]
    fn only_what_stands_before_the_events_is_added_and_nothing_of_another_document() {
        let plain = r#"{"logGroup":"a","logEvents":[{"n":1}],"owner":"1","messageType":"CONTROL_MESSAGE"}
            {"logGroup":null,"owner":7,"logEvents":[{"n":2}]}{"logEvents":null,"logStream":"s"}"#;
        let outcome = split(plain.as_bytes(), &[1000]);
        assert_eq!(outcome.error, None);
        assert_eq!(
            rendered(&outcome),
            [r#"{"n":1,"logGroup":"a"}"#, r#"{"n":2}"#]
        );
        assert!(!outcome.seen[0].is_control);
    }

    #[test]
    fn r9_an_events_own_member_wins() {
        let mut out = b"before ".to_vec();
        let group = LogGroup {
            texts: ["", "\"1\"", "\"g\"", "\"s\nt\""].map(|text| text.as_bytes().to_vec()),
            reading: 0,
        };
        group.render(b"{\"logGroup\" : 1.0 ,\n\"in\":{\"owner\":2}} ", &mut out);
        let expected = r#"before {"logGroup":1.0,"in":{"owner":2},"owner":"1","logStream":"s\nt"}"#;
        assert_eq!(String::from_utf8(out).expect("text"), expected);
        for other in [&b"7"[..], b"\"}\"", b"[{}]", b"{\"cut\":\"of", b"{]}", b""] {
            let mut out = Vec::new();
            group.render(other, &mut out);
            assert_eq!(out, other);
        }
    }

    #[test]
    fn what_is_kept_of_a_log_group_is_bounded() {
        for (length, is_kept) in [(KEPT_BYTES_MAX - 2, true), (KEPT_BYTES_MAX - 1, false)] {
            let plain = format!("{{\"owner\":\"{}\",\"logEvents\":[1]}}", "x".repeat(length));
            for step in [13, 100_000] {
                let outcome = split(plain.as_bytes(), &[step]);
                let error = outcome.error.map(|error| error.offset);
                assert_eq!(
                    (outcome.seen.len(), error),
                    if is_kept { (1, None) } else { (0, Some(9)) }
                );
            }
        }
    }

    #[test]
    fn another_document_is_an_error() {
        for (plain, offset) in [
            ("[{}]", 0),
            ("{\"messageType\":\"DATA_MESSAGE\"}", 29),
            ("{\"logEvents\":{}}", 13),
            ("{\"logEvents\":[]} x", 17),
        ] {
            let outcome = split(plain.as_bytes(), &[3]);
            assert_eq!(
                outcome.error.map(|error| error.offset),
                Some(offset),
                "{plain}"
            );
        }
    }

    #[test]
    fn truncated_anywhere_it_is_an_error_after_the_complete_events() {
        let events = r#"[{"id":"1","message":"\\"},{"id":"2"}]"#;
        harness::truncations(document("DATA_MESSAGE", events).as_bytes(), split, false);
    }

    proptest! {
        #[test]
        fn a_rendered_event_is_the_event_with_the_group_added(
            own in harness::object(),
            style in style(),
            steps in harness::steps(),
        ) {
            let mut expected = own.clone();
            for (name, value) in [("owner", "1"), ("logGroup", "g\u{e9}\""), ("logStream", "\\")] {
                expected.entry(name).or_insert_with(|| value.into());
            }
            let document = json!({
                "aa": {"logEvents": [1]},
                "logEvents": [own],
                "logGroup": "g\u{e9}\"",
                "logStream": "\\",
                "messageType": "DATA_MESSAGE",
                "owner": "1",
            });
            // In the order of their names, the events would stand before what is kept.
            let (own, rest) = (style.write(&document["logEvents"]), {
                let mut rest = document.clone();
                rest.as_object_mut().expect("an object").remove("logEvents");
                style.write(&rest)
            });
            let rest = rest.trim_end().trim_end_matches('}');
            let plain = format!("{rest},\"logEvents\":{own}}}");
            let outcome = split(plain.as_bytes(), &steps);
            prop_assert_eq!(&outcome.error, &None);
            prop_assert_eq!(outcome.seen.len(), 1);
            let seen = &outcome.seen[0];
            if seen.length == seen.bytes.len() as u64 {
                prop_assert!(json::is_one_line(&seen.rendered));
                let value: Value = serde_json::from_slice(&seen.rendered).expect("JSON");
                prop_assert_eq!(value, Value::Object(expected));
            }
        }
    }

    proptest! {
        #[test]
        fn b12_any_chunking_gives_the_same_events_and_errors(
            events in proptest::collection::vec(harness::text(), 0..4),
            edits in harness::edits(),
            steps in harness::steps(),
        ) {
            let document = document("DATA_MESSAGE", &format!("[{}]", events.join(",")));
            let plain = harness::edited([document.as_bytes(), document.as_bytes()].concat(), &edits);
            prop_assert_eq!(split(&plain, &steps), split(&plain, &[plain.len()]));
        }
    }
}
