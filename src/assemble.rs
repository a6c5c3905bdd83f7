//! The bytes of an object → batches: decode, split, shape and batch as one machine.
//!
//! Goes in: an object's bytes in pieces of any size, and where to go on. Comes out: batches. It is
//! plain code: no I/O, no clock, no randomness; the same bytes, place, shape and limits give the same
//! batches however the bytes are cut into pieces.

use std::collections::VecDeque;

use crate::batch::{Batch, Batcher, KeptBecause};
use crate::checkpoint::{Checkpoint, Position, Ranges};
use crate::decode::{DecodeError, Decoder};
use crate::records::{LineSplitter, Record};
use crate::shape::{Shape, Shaped};

/// Plain bytes that are decoded at a time.
const PLAIN_BYTES: usize = 64 * 1024;

/// What bounds the batches of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Plain bytes of one batch.
    pub batch_bytes_max: usize,
    /// Bytes of one record that are held; a longer one is cut or kept, by the shape.
    pub record_bytes_max: usize,
    /// Compression level of bodies, 1 to 9.
    pub level: u32,
}

/// Turns one object into batches.
///
/// Memory: one open batch's body, [`PLAIN_BYTES`], one record, and the window of the decoder.
pub struct Assembler {
    decoder: Decoder,
    splitter: LineSplitter,
    shape: Shape,
    batcher: Batcher,
    /// Records that are answered for, from the checkpoint.
    done: Ranges,
    plain: Vec<u8>,
    /// How much of `plain` is split already.
    plain_split: usize,
    scratch: Vec<u8>,
    ready: VecDeque<Batch>,
}

impl Assembler {
    /// Goes on from `checkpoint`: what it covers is read again but not sent again.
    pub fn new(limits: Limits, shape: Shape, checkpoint: &Checkpoint) -> Self {
        let mut done = checkpoint.accepted.clone();
        done.insert(0..checkpoint.position.record);
        Self {
            decoder: Decoder::new(),
            splitter: LineSplitter::new(limits.record_bytes_max),
            shape,
            batcher: Batcher::new(limits.batch_bytes_max, limits.level, checkpoint.position),
            done,
            plain: Vec::with_capacity(PLAIN_BYTES),
            plain_split: 0,
            scratch: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes bytes of the object until a batch is ready, and returns how many it took. Call it again
    /// with the rest, even if nothing is left of it, until [`Assembler::pop`] has nothing to give.
    ///
    /// On an error, every complete record before the damage comes out of `pop`.
    pub fn push(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let mut taken = 0;
        while self.ready.is_empty() {
            if self.plain_split < self.plain.len() {
                self.split();
                continue;
            }
            self.plain.clear();
            self.plain_split = 0;
            let decoded = self.decoder.push(&input[taken..], &mut self.plain);
            match decoded {
                Ok(step) => taken += step,
                Err(error) => {
                    self.split_all();
                    self.cut();
                    return Err(error);
                }
            }
            if self.plain.is_empty() {
                break;
            }
        }
        Ok(taken)
    }

    /// The next batch that is ready.
    pub fn pop(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }

    /// Whether [`Assembler::pop`] has something to give.
    pub fn has_batch(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Says that the object has ended: what is left comes out of [`Assembler::pop`]. Returns where the
    /// object's records end. An object that is not complete is an error; its complete records come
    /// out of `pop` all the same.
    pub fn finish(&mut self) -> Result<Position, DecodeError> {
        self.split_all();
        let end = self.decoder.finish(&mut self.plain);
        self.split_all();
        if end.is_ok() {
            self.take_last_record();
        }
        self.cut();
        end.map(|()| self.splitter.position())
    }

    fn split_all(&mut self) {
        while self.plain_split < self.plain.len() {
            self.split();
        }
        self.plain.clear();
        self.plain_split = 0;
    }

    /// Takes records from the plain bytes until they are used up or a batch is ready.
    fn split(&mut self) {
        let Self {
            splitter,
            shape,
            batcher,
            done,
            plain,
            plain_split,
            scratch,
            ready,
            ..
        } = self;
        let mut rest = &plain[*plain_split..];
        while let Some(record) = splitter.pop(&mut rest) {
            let before = ready.len();
            take(record, shape, batcher, done, scratch, ready);
            if ready.len() > before {
                break;
            }
        }
        *plain_split = plain.len() - rest.len();
    }

    fn take_last_record(&mut self) {
        let Self {
            splitter,
            shape,
            batcher,
            done,
            scratch,
            ready,
            ..
        } = self;
        if let Some(record) = splitter.finish() {
            take(record, shape, batcher, done, scratch, ready);
        }
    }

    fn cut(&mut self) {
        self.ready
            .extend(self.batcher.cut(self.splitter.position()));
    }
}

/// Shapes a record and puts it into the open batch, or after it into a new one.
fn take(
    record: Record<'_>,
    shape: &Shape,
    batcher: &mut Batcher,
    done: &Ranges,
    scratch: &mut Vec<u8>,
    ready: &mut VecDeque<Batch>,
) {
    if done.contains(record.position.record) {
        return;
    }
    let shaped = shape.shape(&record, scratch);
    let length = match shaped {
        Shaped::Unchanged(outgoing) | Shaped::Edited(outgoing) => outgoing.len(),
        Shaped::Cut(outgoing) => outgoing.len() + record.bytes.len(),
        Shaped::TooLong => record.bytes.len(),
    };
    if !batcher.fits(record.position, length) {
        ready.extend(batcher.cut(record.position));
    }
    match shaped {
        Shaped::Unchanged(outgoing) | Shaped::Edited(outgoing) => batcher.send(&record, outgoing),
        Shaped::Cut(outgoing) => {
            batcher.send(&record, outgoing);
            batcher.keep(&record, KeptBecause::Cut);
        }
        Shaped::TooLong => batcher.keep(&record, KeptBecause::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::body::Body;
    use crate::checkpoint::{Account, Window};

    fn limits(batch_bytes_max: usize) -> Limits {
        Limits {
            batch_bytes_max,
            record_bytes_max: 64,
            level: 6,
        }
    }

    fn logzio() -> Shape {
        Shape {
            json_only: true,
            record_bytes_max: Some(40_000),
            field_chars_max: Some(40),
            source: None,
        }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    type Assembled = (Vec<Batch>, Result<Position, DecodeError>);

    fn assemble(mut assembler: Assembler, input: &[u8], step: usize) -> Assembled {
        let mut batches = Vec::new();
        let mut drain = |assembler: &mut Assembler, mut rest: &[u8]| loop {
            let taken = assembler.push(rest)?;
            rest = &rest[taken..];
            let before = batches.len();
            batches.extend(std::iter::from_fn(|| assembler.pop()));
            if rest.is_empty() && batches.len() == before {
                return Ok(());
            }
        };
        let pushed = input
            .chunks(step)
            .try_for_each(|piece| drain(&mut assembler, piece));
        let end = pushed.and_then(|()| assembler.finish());
        batches.extend(std::iter::from_fn(|| assembler.pop()));
        (batches, end)
    }

    fn lines(batches: &[Batch]) -> Vec<Vec<u8>> {
        batches
            .iter()
            .flat_map(|batch| {
                let plain = batch.body.plain();
                Body::records_of(&plain)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn plain_strategy() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "\\{\"a\":[0-9]{1,12}\\}",
            2 => "[ -~]{0,30}",
            1 => "[a-z]{60,90}",
            1 => Just(String::new()),
        ];
        (proptest::collection::vec(line, 0..200), any::<bool>()).prop_map(|(lines, ends)| {
            let mut plain = lines.join("\n").into_bytes();
            if ends {
                plain.push(b'\n');
            }
            plain
        })
    }

    proptest! {
        #[test]
        fn chunking_never_changes_the_batches(
            plain in plain_strategy(),
            step in 1_usize..300,
            batch_bytes in 100_usize..2_000,
            compressed in any::<bool>(),
        ) {
            let input = if compressed { gzip(&plain) } else { plain };
            let new = || Assembler::new(limits(batch_bytes), logzio(), &Checkpoint::default());
            let (whole, whole_end) = assemble(new(), &input, input.len().max(1));
            let (pieces, pieces_end) = assemble(new(), &input, step);
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(whole_end, pieces_end);
        }

        #[test]
        fn batches_cover_the_object_without_gap_or_overlap_and_keep_their_limit(
            plain in plain_strategy(),
            batch_bytes in 100_usize..2_000,
        ) {
            let assembler = Assembler::new(limits(batch_bytes), logzio(), &Checkpoint::default());
            let (batches, end) = assemble(assembler, &gzip(&plain), 97);
            let end = end.unwrap();
            let mut at = Position::default();
            let mut sent = Ranges::new();
            for batch in &batches {
                prop_assert_eq!(batch.start, at);
                at = batch.end;
                prop_assert!(batch.body.plain_bytes as usize <= batch_bytes || batch.body.records == 1);
                prop_assert_eq!(batch.body.records, batch.sent.count());
                for (ordinal, offset) in batch.offsets.iter().enumerate() {
                    let position = batch.position_of(ordinal as u64).unwrap();
                    prop_assert_eq!(position.offset, batch.start.offset + u64::from(*offset));
                    let at = position.offset as usize;
                    prop_assert!(at == 0 || plain[at - 1] == b'\n');
                }
                sent.extend(&batch.sent);
            }
            prop_assert_eq!(sent, Ranges::from(0..end.record));
            prop_assert_eq!(end.offset, plain.len() as u64);
        }

        #[test]
        fn going_on_from_any_answers_sends_the_rest_and_nothing_twice(
            plain in plain_strategy(),
            batch_bytes in 100_usize..1_000,
            other_batch_bytes in 100_usize..1_000,
            answered in proptest::collection::vec(any::<bool>(), 1..40),
            partly in any::<proptest::sample::Index>(),
        ) {
            let assembler = Assembler::new(limits(batch_bytes), logzio(), &Checkpoint::default());
            let (batches, end) = assemble(assembler, &plain, 1_000);
            let mut window = Window::new(Checkpoint::default());
            let mut first = Ranges::new();
            for (batch, is_answered) in batches.iter().zip(answered.iter().cycle()) {
                window.launch(batch.end);
                let records = if *is_answered {
                    batch.sent.clone()
                } else {
                    let some = partly.index(batch.body.records as usize + 1) as u64;
                    batch.sent.at_ordinals(&Ranges::from(0..some))
                };
                first.extend(&records);
                let account = Account { records_read: records.count(), ..Account::default() };
                window.answer(&records, &account);
            }
            let checkpoint = window.checkpoint();
            let again = Assembler::new(limits(other_batch_bytes), logzio(), checkpoint);
            let (rest, again_end) = assemble(again, &plain, 777);
            prop_assert_eq!(&again_end, &end);
            let mut second = Ranges::new();
            for batch in &rest {
                second.extend(&batch.sent);
            }
            prop_assert_eq!(first.count(), checkpoint.account.records_read);
            prop_assert_eq!(first.count() + second.count(), end.unwrap().record);
            first.extend(&second);
            prop_assert_eq!(first.pieces() <= 1, true);
        }
    }

    #[test]
    fn a_truncated_gzip_gives_its_complete_records_and_an_error() {
        let plain: String = (0..5_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let input = gzip(plain.as_bytes());
        let assembler = Assembler::new(limits(1_000), logzio(), &Checkpoint::default());
        let (batches, end) = assemble(assembler, &input[..input.len() / 2], 100);
        assert!(matches!(end, Err(DecodeError::Truncated { .. })), "{end:?}");
        let lines = lines(&batches);
        assert!(lines.len() > 1_000, "{}", lines.len());
        for (n, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("{{\"n\":{n}}}").into_bytes());
        }
    }

    #[test]
    fn a_thousandfold_expansion_comes_out_batch_by_batch() {
        let input = gzip(&b"{\"a\":0}\n".repeat(1_000_000));
        let mut assembler = Assembler::new(limits(10_000), logzio(), &Checkpoint::default());
        let taken = assembler.push(&input).unwrap();
        assert!(taken < input.len(), "a push stops at the first batch");
        assert!(assembler.pop().is_some());
    }
}
