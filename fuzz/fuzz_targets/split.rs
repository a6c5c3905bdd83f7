//! Any bytes as the plain bytes of an object, in pieces of any size, for every splitter: the same records and the
//! same error, and each byte of a record where it is said to stand.

#![no_main]

use arbitrary::Arbitrary;
use bucket_brigade::checkpoint::Position;
use bucket_brigade::records::{
    ArraySplitter, Form, LineSplitter, Malformed, RECORD_MEMBERS, Record, SubscriptionSplitter,
    ValueSplitter,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    record_bytes_max: u16,
    step: u16,
    /// Which splitter.
    container: u8,
    plain: Vec<u8>,
}

/// Bytes, start, length and end of each record; what is added to an event.
type Seen = (Vec<u8>, Position, u64, u64, Vec<u8>);

#[derive(Debug, PartialEq)]
struct Outcome {
    seen: Vec<Seen>,
    end: Position,
    error: Option<Malformed>,
}

fn see(record: &Record<'_>) -> Seen {
    let mut added = Vec::new();
    if let Form::Event(group) = record.form {
        group.render(record.bytes, &mut added);
    }
    (record.bytes.to_vec(), record.position, record.length, record.end, added)
}

macro_rules! split {
    ($splitter:expr, $input:expr, $step:expr) => {{
        let mut splitter = $splitter;
        let (mut seen, mut error) = (Vec::new(), None);
        'pieces: for mut piece in $input.plain.chunks($step) {
            loop {
                match splitter.pop(&mut piece) {
                    Ok(Some(record)) => seen.push(see(&record)),
                    Ok(None) => break,
                    Err(malformed) => {
                        error = Some(malformed);
                        break 'pieces;
                    }
                }
            }
        }
        if error.is_none() {
            match splitter.finish() {
                Ok(record) => seen.extend(record.as_ref().map(see)),
                Err(malformed) => error = Some(malformed),
            }
        }
        let end = splitter.position();
        Outcome { seen, end, error }
    }};
}

/// A line splitter with the verbs of the others: its input is never malformed.
struct Lines(LineSplitter);

impl Lines {
    fn pop<'a, 'p: 'a>(
        &'a mut self,
        plain: &mut &'p [u8],
    ) -> Result<Option<Record<'a>>, Malformed> {
        Ok(self.0.pop(plain))
    }

    fn finish(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        Ok(self.0.finish())
    }

    fn position(&self) -> Position {
        self.0.position()
    }
}

fn split(input: &Input, step: usize) -> Outcome {
    let max = usize::from(input.record_bytes_max).max(1);
    match input.container % 4 {
        0 => split!(Lines(LineSplitter::new(max)), input, step),
        1 => split!(ValueSplitter::new(max), input, step),
        2 => {
            let members = RECORD_MEMBERS.map(str::to_owned).to_vec();
            split!(ArraySplitter::new(max, members), input, step)
        }
        _ => split!(SubscriptionSplitter::new(max), input, step),
    }
}

fuzz_target!(|input: Input| {
    let whole = split(&input, input.plain.len().max(1));
    let pieces = split(&input, usize::from(input.step).max(1));
    assert_eq!(whole, pieces);
    let is_lines = input.container % 4 == 0;
    let max = usize::from(input.record_bytes_max).max(1);
    let mut before = 0;
    for (index, (bytes, start, length, end, _)) in (0..).zip(&whole.seen) {
        assert_eq!(start.record, index);
        assert!(start.offset >= before && *end > start.offset);
        assert!(*length > 0 && bytes.len() as u64 == (*length).min(max as u64));
        if is_lines {
            assert!(!bytes.contains(&b'\n'));
        } else {
            let stands = &input.plain[start.offset as usize..*end as usize];
            assert!(stands.starts_with(bytes) && stands.len() as u64 == *length);
        }
        before = *end;
    }
    assert_eq!(whole.end.record, whole.seen.len() as u64);
    match &whole.error {
        None => assert_eq!(whole.end.offset, input.plain.len() as u64),
        Some(error) => assert!(before <= error.offset && error.offset <= input.plain.len() as u64),
    }
});
