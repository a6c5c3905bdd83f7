//! The start of an object, until it is known what the object is.

use crate::decode::Decoder;
use crate::format::HEAD_BYTES;
use crate::plan::{Plan, Reading};

/// What is held of an object of which nothing else is done yet. It is decoded by itself, and again once it is
/// known what it is: a few kilobytes, for which blocks stay whole that are copied later.
///
/// Memory: at most the last of [`HEAD_BYTES`] in plain bytes, a decoder, and the compressed bytes that gave as many.
pub struct Opening {
    plan: Plan,
    probe: Decoder,
    plain: Vec<u8>,
    /// The object so far.
    held: Vec<u8>,
    /// How much of the start is looked at next.
    stage: usize,
}

/// No block is given whole here.
const BLOCK_BYTES_MAX: usize = 1;

impl Opening {
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            probe: Decoder::new(BLOCK_BYTES_MAX),
            plain: Vec::new(),
            held: Vec::new(),
            stage: 0,
        }
    }

    /// Takes bytes of the object until it is told what it is. Says how many, and then what.
    pub fn push(&mut self, input: &[u8]) -> (usize, Option<Reading>) {
        let mut taken = 0;
        let reading = loop {
            let Some(wanted) = HEAD_BYTES.get(self.stage) else {
                break self.tell();
            };
            if let Some(head) = self.plain.get(..*wanted) {
                let told = self.plan.told(head, false);
                if told.is_some() {
                    break told;
                }
                self.stage += 1;
                continue;
            }
            let before = self.plain.len();
            self.plain.reserve_exact(wanted - before);
            match self.probe.push(&input[taken..], &mut self.plain) {
                Ok(step) => {
                    taken += step.taken;
                    if step.taken == 0 && !step.is_block_end && self.plain.len() == before {
                        break None;
                    }
                }
                // Whoever reads it finds the same.
                Err(_) => break self.tell(),
            }
        };
        self.held.extend_from_slice(&input[..taken]);
        (taken, reading)
    }

    /// Says what the object is that has ended, or of which enough was seen.
    pub fn tell(&self) -> Option<Reading> {
        let last = HEAD_BYTES.last().copied().unwrap_or_default();
        let head = &self.plain[..self.plain.len().min(last)];
        self.plan.told(head, true)
    }

    /// The object from its start to where [`Opening::push`] has come.
    pub fn into_held(self) -> Vec<u8> {
        self.held
    }
}
