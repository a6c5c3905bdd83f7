//! Any text as the listener's answer to any lines: every record is accepted, refused, or sent again, never two of
//! them.

#![no_main]

use bucket_brigade::body::BodyWriter;
use bucket_brigade::sink::logzio::answer_of_counts;
use bucket_brigade::sink::{Answer, Refusals};
use libfuzzer_sys::fuzz_target;

// The lines, an empty one, and the answer.
fuzz_target!(|input: &str| {
    let Some((lines, answer)) = input.split_once("\n\n") else {
        return;
    };
    let mut writer = BodyWriter::new(1);
    let mut records = 0;
    for line in lines.lines() {
        writer.push(line.as_bytes());
        records += 1;
    }
    if records == 0 {
        return;
    }
    let body = writer.finish();
    match answer_of_counts(answer.as_bytes(), &body) {
        Answer::Partial(Refusals::Identified(refused)) => {
            assert!(!refused.is_empty());
            assert!(refused.iter().all(|(ordinal, _)| *ordinal < records));
            assert!(refused.is_sorted_by(|(one, _), (next, _)| one < next));
        }
        Answer::Partial(Refusals::Unidentified { count }) => {
            assert!((1..=records).contains(&count));
        }
        Answer::Accepted | Answer::Retry { .. } => {}
        other => panic!("{other:?}"),
    }
});
