//! What is measured: every design with every workload it has an answer to.

use crate::figures::{Design, Run, Workload};
use crate::world::World;

/// What the usual design compresses with.
pub const LEVEL: u32 = 6;

/// A case and how many rounds it gets.
pub struct Case {
    pub run: Run,
    pub rounds: usize,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub rounds: usize,
    /// Rounds of what takes long: all levels, and the largest objects.
    pub rounds_long: usize,
    /// Rounds of what takes hundredths of a second, and so varies more: small objects.
    pub rounds_short: usize,
    pub is_quick: bool,
    pub has_python: bool,
}

const LARGE: [Workload; 4] = [
    Workload::Cloudflare,
    Workload::CloudflareSource,
    Workload::VpcText,
    Workload::VpcMessage,
];

pub fn all(world: &World, extent: Extent) -> Vec<Case> {
    let mut cases = Cases {
        world,
        cases: Vec::new(),
    };
    for workload in [
        Workload::Cloudflare,
        Workload::VpcText,
        Workload::CloudTrail,
    ] {
        cases.add(extent.rounds, Design::Inflate, workload, |_| {});
    }
    for workload in LARGE {
        for delay_ms in [0, 100] {
            for in_flight in [1, 4, 16] {
                cases.add(extent.rounds, Design::Brigade, workload, |run| {
                    run.in_flight = Some(in_flight);
                    run.delay_ms = delay_ms;
                });
            }
        }
        cases.add(extent.rounds, Design::Brigade, workload, |run| {
            run.in_flight = Some(4);
            run.https = true;
        });
        for https in [false, true] {
            cases.add(extent.rounds, Design::Plain, workload, |run| {
                run.level = Some(LEVEL);
                run.https = https;
            });
        }
    }
    // The usual design has no answer to a document on one line.
    cases.add(
        extent.rounds,
        Design::Brigade,
        Workload::CloudTrail,
        |run| {
            run.in_flight = Some(4);
        },
    );
    for https in [false, true] {
        cases.add(
            extent.rounds_short,
            Design::Brigade,
            Workload::Small,
            |run| {
                run.in_flight = Some(4);
                run.https = https;
            },
        );
        cases.add(extent.rounds_short, Design::Calls, Workload::Small, |run| {
            run.https = https
        });
    }
    cases.add(extent.rounds_short, Design::Plain, Workload::Small, |run| {
        run.level = Some(LEVEL)
    });
    if extent.has_python {
        for workload in LARGE.into_iter().chain([Workload::Small]) {
            cases.add(extent.rounds_long, Design::Python, workload, |run| {
                run.level = Some(LEVEL)
            });
        }
    }
    cases.add_levels(extent);
    cases.add_sizes(extent);
    cases.cases
}

struct Cases<'a> {
    world: &'a World,
    cases: Vec<Case>,
}

impl Cases<'_> {
    fn add(
        &mut self,
        rounds: usize,
        design: Design,
        workload: Workload,
        set: impl FnOnce(&mut Run),
    ) {
        let carried = self.world.carried(workload);
        let mut run = Run {
            design,
            workload,
            https: false,
            level: None,
            in_flight: None,
            delay_ms: 0,
            batch_bytes: None,
            plain_bytes: carried.plain_bytes,
            source_bytes: carried.source_bytes,
            objects: carried.contents.len() as u64,
            samples: Vec::new(),
        };
        set(&mut run);
        self.cases.push(Case { run, rounds });
    }

    /// What a level costs and saves.
    fn add_levels(&mut self, extent: Extent) {
        let levels = match extent.is_quick {
            true => vec![1, 3, 9],
            false => (1..=9).collect(),
        };
        for level in levels {
            let rounds = extent.rounds_long;
            let set = |run: &mut Run| run.level = Some(level);
            for workload in [Workload::CloudflareSource, Workload::VpcMessage] {
                self.add(rounds, Design::Recode, workload, set);
            }
            for workload in LARGE {
                // Level 6 is among the others already.
                if level != LEVEL {
                    self.add(rounds, Design::Plain, workload, set);
                }
            }
        }
    }

    /// What the size of an object changes.
    fn add_sizes(&mut self, extent: Extent) {
        for (batch_bytes, in_flight, delay_ms) in [
            (None, 16, 0),
            (None, 16, 100),
            (None, 32, 100),
            (Some(16 << 20), 16, 0),
            (Some(16 << 20), 16, 100),
        ] {
            self.add(
                extent.rounds_long,
                Design::Brigade,
                Workload::TwoGigabytes,
                |run| {
                    run.batch_bytes = batch_bytes;
                    run.in_flight = Some(in_flight);
                    run.delay_ms = delay_ms;
                },
            );
        }
        for workload in [Workload::OneMegabyte, Workload::FiveGigabytes] {
            for in_flight in [4, 16] {
                self.add(extent.rounds_long, Design::Brigade, workload, |run| {
                    run.in_flight = Some(in_flight);
                });
            }
        }
    }
}
