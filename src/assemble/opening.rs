//! The start of an object, until it is known what the object is.

use crate::decode::{DecodeError, Decoder};
use crate::format::HEAD_BYTES;
use crate::plan::{Plan, Reading};

/// Bytes of an object that are held at most, until it is known what it is: more than the last of [`HEAD_BYTES`] ever
/// takes, but for members or frames that hold nothing.
pub const HELD_BYTES_MAX: usize = 256 * 1024;

/// What is held of an object of which it is not known what it is.
///
/// Nearly always that is known before the first DEFLATE block has ended, and what was decoded by then is used. If not,
/// the object is decoded from its start again, so that its blocks come one by one.
///
/// Memory: at most [`HELD_BYTES_MAX`], beside the last of [`HEAD_BYTES`] in plain bytes.
pub struct Opening {
    plan: Plan,
    /// The object so far.
    held: Vec<u8>,
    /// How much of the start is looked at next.
    stage: usize,
    come: Come,
}

/// How far an opening has come in the blocks of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Come {
    WithinFirst,
    /// To its end.
    Through,
    Beyond,
}

/// How far one push came.
pub struct Opened {
    /// Bytes of the input that were taken.
    pub taken: usize,
    pub reading: Option<Reading>,
    /// Why the object cannot be decoded further; then there is a reading too.
    pub damage: Option<DecodeError>,
}

/// From where to go on once it is known what the object is.
pub enum GoOn {
    /// From where its decoder is.
    Here {
        /// Whether the first block has just ended.
        is_block_end: bool,
    },
    /// From its start, which is this, with another decoder.
    Again(Vec<u8>),
}

impl Opening {
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            held: Vec::new(),
            stage: 0,
            come: Come::WithinFirst,
        }
    }

    /// Decodes bytes of the object into `plain` until it is known what it is.
    pub fn push(&mut self, decoder: &mut Decoder, plain: &mut Vec<u8>, input: &[u8]) -> Opened {
        let mut taken = 0;
        let (reading, damage) = loop {
            let Some(wanted) = HEAD_BYTES.get(self.stage) else {
                break (self.tell(plain), None);
            };
            if let Some(head) = plain.get(..*wanted) {
                let told = self.plan.told(head, false);
                if told.is_some() {
                    break (told, None);
                }
                self.stage += 1;
                continue;
            }
            let before = plain.len();
            plain.reserve_exact(wanted - before);
            let room = HELD_BYTES_MAX - self.held.len() - taken;
            let rest = &input[taken..];
            let rest = &rest[..rest.len().min(room)];
            let step = match decoder.push(rest, plain) {
                Ok(step) => step,
                Err(error) => break (self.tell(plain), Some(error)),
            };
            taken += step.taken;
            let is_idle = step.taken == 0 && !step.is_block_end && plain.len() == before;
            if is_idle {
                let reading = if room == 0 { self.tell(plain) } else { None };
                break (reading, None);
            }
            self.come = match self.come {
                Come::WithinFirst if !step.is_block_end => Come::WithinFirst,
                Come::WithinFirst => Come::Through,
                Come::Through | Come::Beyond => Come::Beyond,
            };
        };
        // Where it is known by now what the object is, it is nearly always gone on from here.
        if reading.is_none() || self.come == Come::Beyond {
            self.held.extend_from_slice(&input[..taken]);
        }
        Opened {
            taken,
            reading,
            damage,
        }
    }

    /// Says what the object is that has ended, or of which enough was seen.
    pub fn tell(&self, plain: &[u8]) -> Option<Reading> {
        let last = HEAD_BYTES.last().copied().unwrap_or_default();
        let head = &plain[..plain.len().min(last)];
        self.plan.told(head, true)
    }

    pub fn go_on(self) -> GoOn {
        match self.come {
            Come::WithinFirst => GoOn::Here {
                is_block_end: false,
            },
            Come::Through => GoOn::Here { is_block_end: true },
            Come::Beyond => GoOn::Again(self.held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    #[test]
    fn an_object_that_begins_with_nothing_for_long_is_not_held() {
        let empty = [
            31, 139, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let input = empty.repeat(HELD_BYTES_MAX / empty.len() + 1);
        for step in [1_000, input.len()] {
            let mut opening = Opening::new(Plan {
                said: None,
                ..Plan::from(Shape::default())
            });
            let (mut decoder, mut plain) = (Decoder::new(1_000), Vec::new());
            let mut taken = 0;
            for piece in input.chunks(step) {
                let opened = opening.push(&mut decoder, &mut plain, piece);
                taken += opened.taken;
                if opened.reading.is_some() {
                    break;
                }
                assert_eq!(opened.taken, piece.len());
            }
            assert_eq!(taken, HELD_BYTES_MAX, "pieces of {step}");
        }
    }
}
