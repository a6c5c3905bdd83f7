//! An entry for records, and the objects that a replay makes of it: one for each reason.
//!
//! Goes in: the text of an entry. Comes out: its records as plain bytes with an identity of their own, and
//! the text of what is left. It never looks anything up.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::evidence::{RecordLine, hex};
use crate::object::{ContentId, Etag, ObjectId};

/// What stands for the reason of a line that cannot be read.
pub const UNREADABLE: &str = "unreadable";

/// What a replay was told to do, and did, with names in it that sort before this generation's.
const GENERATION_FIRST: u16 = u16::MAX;

/// An entry for records, line by line.
pub struct RecordEntry {
    text: Bytes,
    lines: Vec<(Range<usize>, Option<RecordLine>)>,
}

/// Records of one entry that were kept for one reason, as an object.
#[derive(Debug)]
pub struct Group {
    /// The entry's name.
    pub entry: String,
    pub content: ContentId,
    /// The object that they came from.
    pub source: ContentId,
    /// Their Logz.io type, if they have one of their own.
    pub log_type: Option<String>,
    pub plain: Bytes,
    /// What each record of the object was kept as.
    pub lines: Vec<RecordLine>,
}

impl RecordEntry {
    pub fn parse(text: Bytes) -> Self {
        let mut lines = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |at| start + at + 1);
            let line = &text[start..end];
            if !line.trim_ascii().is_empty() {
                lines.push((start..end, RecordLine::parse(line)));
            }
            start = end;
        }
        Self { text, lines }
    }

    /// Why its lines were kept: each reason once, with the number of its lines and of the bytes of their
    /// records.
    pub fn reasons(&self) -> Vec<(&str, u64, u64)> {
        let reasons: BTreeSet<&str> = self.lines.iter().map(|(_, line)| reason(line)).collect();
        let counted = reasons.into_iter().map(|wanted| {
            let lines = self.lines.iter().filter(|(_, line)| reason(line) == wanted);
            let bytes = lines
                .clone()
                .filter_map(|(_, line)| line.as_ref().map(|line| line.length));
            (wanted, lines.count() as u64, bytes.sum())
        });
        counted.collect()
    }

    /// The records that were kept for `reason`, if each of them is here whole. `object` is what the entry
    /// `name` is called as an object.
    pub fn group(&self, name: &str, object: &ObjectId, reason: &str) -> Option<Group> {
        // An empty line is no record, and no container of logs begins with one.
        let mut plain = vec![b'\n'];
        let mut lines = Vec::new();
        let mut hash = Sha256::new();
        for (range, line) in &self.lines {
            let Some(line) = line.as_ref().filter(|line| line.reason == reason) else {
                continue;
            };
            let bytes = line.bytes()?;
            if bytes.is_empty() || bytes.contains(&b'\n') || bytes.len() as u64 != line.length {
                return None;
            }
            plain.extend_from_slice(&bytes);
            if bytes.ends_with(b"\r") {
                // The end of a line is a line feed and at most one of these.
                plain.push(b'\r');
            }
            plain.push(b'\n');
            hash.update(&self.text[range.clone()]);
            lines.push(line.clone());
        }
        let content = ContentId {
            bucket: object.bucket.clone(),
            key: format!("{}#{reason}", object.key),
            etag: Etag::from(hex(&hash.finalize()[..16])),
            size: plain.len() as u64,
        };
        let first = lines.first()?;
        Some(Group {
            entry: name.to_owned(),
            content,
            source: first.source.clone(),
            log_type: first.log_type.clone(),
            plain: plain.into(),
            lines,
        })
    }

    /// The text without the lines of these reasons; none if nothing is left.
    pub fn without(&self, done: &BTreeSet<String>) -> Option<Bytes> {
        let left = self
            .lines
            .iter()
            .filter(|(_, line)| !done.contains(reason(line)));
        let text: Vec<u8> = left
            .flat_map(|(range, _)| self.text[range.clone()].iter().copied())
            .collect();
        (!text.is_empty()).then(|| text.into())
    }
}

fn reason(line: &Option<RecordLine>) -> &str {
    line.as_ref()
        .map_or(UNREADABLE, |line| line.reason.as_str())
}

impl Group {
    /// An entry for records of this object, as one for records of the objects that they came from. `name`
    /// and `text` are what the pipeline makes of it; comes out what is to be kept instead.
    pub fn again(&self, name: &str, text: &[u8]) -> (String, Bytes) {
        let lines = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(RecordLine::parse);
        let lines = lines.map(|line| {
            let index = usize::try_from(line.record).unwrap_or(usize::MAX);
            match self.lines.get(index) {
                Some(before) => RecordLine {
                    source: before.source.clone(),
                    record: before.record,
                    offset: before.offset,
                    ..line
                },
                None => line,
            }
            .to_line()
        });
        let text: String = lines.collect();
        (name_again(&self.entry, name), text.into())
    }
}

/// The name under which records of an entry are kept again. It stands beside the entry, is a function of
/// what is kept alone, and sorts before the entry's: whoever goes through what is kept in the order of the
/// names meets no record twice.
fn name_again(entry: &str, kept: &str) -> String {
    let (path, file) = entry.rsplit_once('/').unwrap_or(("", entry));
    let (_, within) = path.split_once('/').unwrap_or(("", path));
    let folder = kept.split('/').next().unwrap_or_default();
    let stem = file.strip_suffix(".ndjson").unwrap_or(file);
    let (index, generation) = match stem.split_once('-') {
        Some((index, rest)) => {
            let generation = rest.get(..4).unwrap_or_default();
            (
                index,
                u16::from_str_radix(generation, 16).unwrap_or(GENERATION_FIRST),
            )
        }
        None => (stem, GENERATION_FIRST),
    };
    let generation = generation.saturating_sub(1);
    let mut hash = Sha256::new();
    hash.update(entry.as_bytes());
    hash.update([0]);
    hash.update(kept.as_bytes());
    let hash = hex(&hash.finalize()[..8]);
    format!("{folder}/{within}/{index}-{generation:04x}-{hash}.ndjson")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Position;
    use crate::evidence::{KeptRecord, records_entry};

    fn content() -> ContentId {
        ContentId {
            bucket: "b".to_owned(),
            key: "logs/a.gz".to_owned(),
            etag: Etag::from("e"),
            size: 7,
        }
    }

    fn kept<'a>(reason: &'a str, record: u64, bytes: &'a [u8]) -> KeptRecord<'a> {
        KeptRecord {
            reason,
            position: Position {
                offset: 10 * record,
                record,
            },
            length: bytes.len() as u64,
            bytes,
            log_type: None,
        }
    }

    fn object() -> ObjectId {
        ObjectId::new("q", "kept/records/b/h/000000000003.ndjson")
    }

    #[test]
    fn records_are_replayed_as_the_type_with_which_they_were_sent() {
        let record = KeptRecord {
            log_type: Some("elb"),
            ..kept("rejected", 3, b"{bad}")
        };
        let (name, text) = records_entry("records", &content(), &[record]);
        let group = RecordEntry::parse(text).group(&name, &object(), "rejected");
        let group = group.expect("a whole record");
        assert_eq!(group.log_type.as_deref(), Some("elb"));
        assert_eq!(group.source, content());
        let (_, again) = group.again(&name, format!("{}\n", group.lines[0].to_line()).as_bytes());
        let line = RecordLine::parse(again.trim_ascii()).expect("a line");
        assert_eq!(
            line.log_type.as_deref(),
            Some("elb"),
            "kept again as it was"
        );
    }

    #[test]
    fn an_entry_is_as_many_objects_as_it_has_reasons() {
        let records = [
            kept("rejected", 3, b"{bad}"),
            kept("rejected_unidentified", 4, b"\xff\r"),
            kept("rejected", 9, b"{}"),
        ];
        let (name, text) = records_entry("records", &content(), &records);
        let entry = RecordEntry::parse(text);
        let expected = [("rejected", 2, 7), ("rejected_unidentified", 1, 2)];
        assert_eq!(entry.reasons(), expected);
        let group = entry.group(&name, &object(), "rejected").expect("whole");
        assert_eq!(group.plain, "\n{bad}\n{}\n");
        assert_eq!(group.content.key, format!("{}#rejected", object().key));
        let other = entry.group(&name, &object(), "rejected_unidentified");
        let other = other.expect("whole");
        assert_eq!(other.plain, &b"\n\xff\r\r\n"[..]);
        assert_ne!(other.content.etag, group.content.etag);

        let done = BTreeSet::from(["rejected".to_owned()]);
        let rest = RecordEntry::parse(entry.without(&done).expect("a rest"));
        assert_eq!(rest.reasons(), expected[1..]);
        // What was settled before the rest was written is found to be so.
        let again = rest.group(&name, &object(), "rejected_unidentified");
        assert_eq!(again.expect("whole").content, other.content);
        let done = BTreeSet::from(expected.map(|(reason, ..)| reason.to_owned()));
        assert_eq!(entry.without(&done), None);
    }

    #[test]
    fn records_of_which_a_part_is_kept_are_no_object() {
        let mut record = kept("record_too_long", 3, b"the start");
        record.length = 1_000_000;
        let (name, text) = records_entry("records", &content(), &[record]);
        let entry = RecordEntry::parse(text);
        assert!(entry.group(&name, &object(), "record_too_long").is_none());
        let entry = RecordEntry::parse(Bytes::from("{\"reason\":1}\n\nnot json"));
        assert_eq!(entry.reasons(), [(UNREADABLE, 2, 0)]);
        assert!(entry.group(&name, &object(), UNREADABLE).is_none());
    }

    #[test]
    fn what_is_kept_again_names_where_it_came_from_and_sorts_before_it() {
        let records = [
            kept("rejected", 3, b"{bad}"),
            kept("rejected", 9, b"{worse}"),
        ];
        let (name, text) = records_entry("records", &content(), &records);
        let group = RecordEntry::parse(text).group(&name, &object(), "rejected");
        let group = group.expect("whole");
        let (made, text) = records_entry(
            "records",
            &group.content,
            &[kept("rejected_malformed", 1, b"{worse}")],
        );
        let (again, text) = group.again(&made, &text);
        let line = RecordLine::parse(&text).expect("a line");
        assert_eq!((line.record, line.offset), (9, 90));
        assert_eq!(
            (&line.source, line.reason.as_str()),
            (&content(), "rejected_malformed")
        );
        assert!(again < name, "{again} {name}");
        let (folder, _) = name.rsplit_once('/').expect("a folder");
        assert!(again.starts_with(folder), "{again}");

        let mut names = vec![name, again];
        for _ in 0..20 {
            let last = names.last().expect("a name");
            names.push(name_again(last, &made));
        }
        assert!(names.is_sorted_by(|one, next| one > next), "{names:?}");
        assert!(names.iter().all(|name| name.len() < 100), "{names:?}");
    }
}
