//! Any bytes as an object, of any key and of any format that is said or found out: what it is told to be shows in the
//! bytes that are looked at and in no others, and its batches are the same in pieces of any size. Read again from any
//! of them on, the rest of the records comes and nothing else.

#![no_main]

use std::sync::Arc;

use bucket_brigade::assemble::{Assembler, Limits};
use bucket_brigade::batch::Batch;
use bucket_brigade::checkpoint::{Account, Checkpoint, Position, Ranges, Window};
use bucket_brigade::decode::{DecodeError, Decoder};
use bucket_brigade::format::{HEAD_BYTES, Leaves, PRESETS, Recognised, recognise};
use bucket_brigade::plan::{Plan, Said, SourceTimes};
use bucket_brigade::route::Route;
use bucket_brigade::shape::Shape;
use libfuzzer_sys::fuzz_target;

struct Input {
    /// Which key.
    key: u8,
    /// Which format is said, if one is, and how its records leave.
    said: u8,
    leaves: Option<Leaves>,
    json_only: bool,
    step: usize,
    record_bytes_max: usize,
    object: Vec<u8>,
}

const KEYS: [&str; 8] = [
    "logs/a.json.gz",
    "AWSLogs/1/CloudTrail/eu-west-1/2024/01/02/x.json.gz",
    "AWSLogs/1/Config/eu-west-1/2024/1/2/ConfigHistory/x.json.gz",
    "AWSLogs/1/elasticloadbalancing/eu-west-1/x.log.gz",
    "AWSLogs/1/KafkaBrokerLogs/eu-west-1/x.log.gz",
    "AWSLogs/1/WAFLogs/eu-west-1/x.log.gz",
    "AWSLogs/1/vpcflowlogs/eu-west-1/x.log.gz",
    "exports/task/stream/000000.gz",
];

impl Input {
    /// The settings stand in front, then the object. Bytes may be put into its middle, so that it is longer than what
    /// is looked at.
    fn read(input: &[u8]) -> Option<Self> {
        let [key, said, how, step, more_steps, record_bytes, filler, fillers, at, rest @ ..] = input
        else {
            return None;
        };
        let (start, end) = rest.split_at(rest.len() * usize::from(*at) / 256);
        let filler = vec![*filler; usize::from(*fillers) * 300];
        Some(Self {
            key: *key,
            said: *said,
            leaves: match how % 3 {
                0 => None,
                1 => Some(Leaves::Raw),
                _ => Some(Leaves::Json),
            },
            json_only: how & 128 != 0,
            step: (usize::from(*step) + usize::from(*more_steps) * 64).max(1),
            record_bytes_max: usize::from(*record_bytes).max(1) * 4,
            object: [start, &filler, end].concat(),
        })
    }

    fn key(&self) -> &'static str {
        KEYS[usize::from(self.key) % KEYS.len()]
    }

    fn plan(&self) -> Plan {
        Plan {
            key: self.key().to_owned(),
            said: PRESETS.get(usize::from(self.said)).map(|preset| Said::Preset(preset)),
            leaves: self.leaves,
            route: Route::default(),
            shape: Shape {
                json_only: self.json_only,
                ..Shape::default()
            },
            times: SourceTimes::default(),
        }
    }

    fn assembler(&self, checkpoint: &Checkpoint) -> Assembler {
        let limits = Limits {
            batch_bytes_max: 2_000,
            record_bytes_max: self.record_bytes_max,
            level: 1,
            pass_through: true,
        };
        Assembler::new(limits, self.plan(), checkpoint)
    }
}

type Assembled = (Vec<Batch>, Result<Position, DecodeError>);

fn assemble(mut assembler: Assembler, object: &[u8], step: usize) -> Assembled {
    let mut batches = Vec::new();
    for mut piece in object.chunks(step) {
        loop {
            let taken = match assembler.push(piece) {
                Ok(taken) => taken,
                Err(error) => {
                    batches.extend(std::iter::from_fn(|| assembler.pop()));
                    return (batches, Err(error));
                }
            };
            piece = &piece[taken..];
            let before = batches.len();
            batches.extend(std::iter::from_fn(|| assembler.pop()));
            if piece.is_empty() && batches.len() == before {
                break;
            }
        }
    }
    let end = assembler.finish();
    batches.extend(std::iter::from_fn(|| assembler.pop()));
    (batches, end)
}

/// By as little of its start as is needed.
fn told(key: &str, plain: &[u8]) -> &'static str {
    let stages = HEAD_BYTES.iter().filter_map(|bytes| plain.get(..*bytes));
    for head in stages {
        match recognise(key, head, false) {
            Recognised::As(preset) | Recognised::Within(preset, _) => return preset.name,
            Recognised::NeedsMore => {}
        }
    }
    let most = HEAD_BYTES.last().copied().unwrap_or_default();
    match recognise(key, &plain[..plain.len().min(most)], true) {
        Recognised::As(preset) | Recognised::Within(preset, _) => preset.name,
        Recognised::NeedsMore => panic!("it is always told in the end"),
    }
}

fn is_plain(object: &[u8]) -> bool {
    let mut decoder = Decoder::new(1);
    let mut plain = Vec::with_capacity(object.len() + 1);
    let mut rest = object;
    while let Ok(step) = decoder.push(rest, &mut plain) {
        rest = &rest[step.taken..];
        if rest.is_empty() || step.taken == 0 || plain.len() > object.len() {
            break;
        }
    }
    decoder.finish(&mut plain).is_ok() && plain == object
}

/// Every record once, in order.
fn check(batches: &[Batch], checkpoint: &Checkpoint) {
    let mut answered = checkpoint.accepted.clone();
    answered.insert(0..checkpoint.position.record);
    let before = answered.count();
    let mut more = 0;
    for batch in batches {
        more += batch.sent.count() + batch.filtered.count();
        assert_eq!(batch.body.records, batch.sent.count());
        answered.extend(&batch.sent);
        answered.extend(&batch.filtered);
        let too_long = batch.kept.iter().map(|kept| kept.position.record);
        let too_long: Ranges = too_long.filter(|at| !answered.contains(*at)).collect();
        more += too_long.count();
        answered.extend(&too_long);
    }
    assert_eq!(answered.count(), before + more, "a record came twice");
    assert!(answered.pieces() <= 1, "a record was left out");
}

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::read(bytes) else {
        return;
    };
    let object = &input.object;
    let anew = Checkpoint::default();
    let (whole, end) = assemble(input.assembler(&anew), object, object.len().max(1));
    let (pieces, pieces_end) = assemble(input.assembler(&anew), object, input.step);
    assert_eq!(end.is_ok(), pieces_end.is_ok());
    let is_damaged = !matches!(end, Ok(_) | Err(DecodeError::Malformed { .. }));
    if !is_damaged {
        assert_eq!(end, pieces_end);
        assert_eq!(whole, pieces);
    }
    check(&whole, &anew);
    if let (Some(first), None, true) = (whole.first(), input.plan().said, is_plain(object)) {
        let read_as = first.read_as.as_deref().unwrap_or_default();
        let name = read_as.split([':', ' ']).next().unwrap_or_default();
        assert_eq!(name, told(input.key(), object));
    }
    // Half of the batches are answered, and somebody else goes on.
    let mut window = Window::new(anew);
    for batch in whole.iter().take(whole.len() / 2) {
        window.read_as(Arc::clone(batch.read_as.as_ref().expect("a format")));
        window.launch(batch.end);
        let mut answered = batch.sent.clone();
        answered.extend(&batch.filtered);
        answered.extend(&batch.kept.iter().map(|kept| kept.position.record).collect());
        let records_read = answered.count();
        window.answer(
            &answered,
            &Account {
                records_read,
                ..Account::default()
            },
        );
    }
    let checkpoint = window.checkpoint();
    if !is_damaged && *checkpoint != Checkpoint::default() {
        let (rest, rest_end) = assemble(input.assembler(checkpoint), object, input.step);
        assert_eq!(rest_end, end);
        check(&rest, checkpoint);
        let records = |batches: &[Batch]| batches.iter().map(|batch| batch.sent.count()).sum::<u64>();
        let before: u64 = records(&whole[..whole.len() / 2]);
        assert_eq!(before + records(&rest), records(&whole));
    }
});
