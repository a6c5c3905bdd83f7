//! Any bytes as the plain bytes of an object, in pieces of any size: the same records, and each byte in one of
//! them, or at its end.

#![no_main]

use arbitrary::Arbitrary;
use bucket_brigade::records::LineSplitter;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    record_bytes_max: u16,
    step: u16,
    plain: Vec<u8>,
}

/// Index, length, and what is held of each record, and where they end.
fn split(input: &Input, step: usize) -> (Vec<(u64, u64, Vec<u8>)>, (u64, u64)) {
    let max = usize::from(input.record_bytes_max).max(1);
    let mut splitter = LineSplitter::new(max);
    let mut records = Vec::new();
    for mut piece in input.plain.chunks(step) {
        while let Some(record) = splitter.pop(&mut piece) {
            assert!(record.bytes.len() <= max + 1);
            records.push((record.position.record, record.length, record.bytes.to_vec()));
        }
    }
    if let Some(record) = splitter.finish() {
        records.push((record.position.record, record.length, record.bytes.to_vec()));
    }
    let end = splitter.position();
    (records, (end.offset, end.record))
}

fuzz_target!(|input: Input| {
    let whole = split(&input, input.plain.len().max(1));
    let pieces = split(&input, usize::from(input.step).max(1));
    assert_eq!(whole, pieces);
    let (records, (offset, count)) = whole;
    assert_eq!((offset, count), (input.plain.len() as u64, records.len() as u64));
    for (index, (record, length, bytes)) in (0..).zip(&records) {
        assert_eq!(*record, index);
        assert!(*length > 0 && bytes.len() as u64 <= *length);
        assert!(!bytes.contains(&b'\n'));
    }
});
