//! Which level of compression costs least, where records change and where they do not.

use std::fmt::Write;

use crate::figures::{Design, Figures, Run, Workload};
use crate::model::{Cost, compute, cost, egress};
use crate::prices;

pub fn add(text: &mut String, figures: &Figures) {
    for (workload, name) in [
        (
            Workload::CloudflareSource,
            "Cloudflare NDJSON, source field added",
        ),
        (Workload::VpcMessage, "VPC flow text as `{\"message\"}`"),
    ] {
        if let Some(changing) = Changing::of(figures, workload) {
            changing.add_table(text, name);
        }
    }
    let unchanged = ours(figures, Workload::Cloudflare);
    let changing = Changing::of(figures, Workload::CloudflareSource);
    if let (Some(unchanged), Some(changing)) = (unchanged, changing) {
        add_passing(text, figures, unchanged, &changing);
    }
}

/// The function with a workload, over plain HTTP, 4 requests in flight, no delay.
fn ours(figures: &Figures, workload: Workload) -> Option<&Run> {
    figures.find(|run| {
        run.design == Design::Brigade
            && run.workload == workload
            && !run.https
            && (run.in_flight, run.delay_ms) == (Some(4), 0)
    })
}

fn body_over_plain(run: &Run) -> f64 {
    run.spread(|sample| sample.body_bytes as f64).median / run.plain_bytes as f64
}

/// A workload whose records all change: the whole function, and its assembler at each level.
struct Changing<'a> {
    whole: &'a Run,
    levels: Vec<&'a Run>,
    /// The assembler at the level that the function uses: the one with the same bodies.
    own: &'a Run,
}

impl<'a> Changing<'a> {
    fn of(figures: &'a Figures, workload: Workload) -> Option<Self> {
        let whole = ours(figures, workload)?;
        let levels = figures.runs.iter();
        let levels = levels.filter(|run| run.design == Design::Recode && run.workload == workload);
        let mut levels: Vec<&Run> = levels.collect();
        levels.sort_by_key(|run| run.level);
        let off = |run: &&&Run| (body_over_plain(run) / body_over_plain(whole) - 1.0).abs();
        let own = levels
            .iter()
            .min_by(|a, b| off(a).total_cmp(&off(b)))
            .copied()?;
        Some(Self { whole, levels, own })
    }

    /// What the function costs at another level: what it takes beside the assembler stays the same.
    fn at_level(&self, other: &Run) -> Cost {
        let beside = self.whole.cpu_per_gb().median - self.own.cpu_per_gb().median;
        Cost {
            compute: compute(beside.max(0.0) + other.cpu_per_gb().median),
            egress: egress(body_over_plain(other)),
            ..cost(self.whole)
        }
    }

    fn cheapest(&self) -> &'a Run {
        let total = |run: &&&Run| self.at_level(run).total();
        let levels = self.levels.iter();
        levels
            .min_by(|a, b| total(a).total_cmp(&total(b)))
            .copied()
            .unwrap_or(self.own)
    }

    fn add_table(&self, text: &mut String, name: &str) {
        writeln!(text, "\n### bucket-brigade at each level: {name}\n").expect("memory");
        text.push_str("The whole function's CPU, with the assembler's at its own level replaced by the assembler's at another.\n\n");
        text.push_str("| level | assembler CPU s/GB | plain / body | compute | egress | total |\n");
        text.push_str("| --: | --: | --: | --: | --: | --: |\n");
        for run in &self.levels {
            let cost = self.at_level(run);
            writeln!(
                text,
                "| {} | {:.2} | {:.2} | {:.3} | {:.2} | {:.2} |",
                run.level.unwrap_or_default(),
                run.cpu_per_gb().median,
                1.0 / body_over_plain(run),
                cost.compute,
                cost.egress,
                cost.total(),
            )
            .expect("memory");
        }
        writeln!(
            text,
            "\nLevel {} costs least; the function's bodies are those of level {}.",
            self.cheapest().level.unwrap_or_default(),
            self.own.level.unwrap_or_default()
        )
        .expect("memory");
    }
}

/// Whether an object that its producer compressed at some level should go out as it is.
fn add_passing(text: &mut String, figures: &Figures, unchanged: &Run, changing: &Changing<'_>) {
    let sources = figures.runs.iter().filter(|run| {
        run.design == Design::Plain && run.workload == Workload::Cloudflare && !run.https
    });
    let mut sources: Vec<&Run> = sources.collect();
    sources.sort_by_key(|run| run.level);
    let level = changing.cheapest().level;
    let again = Cost {
        compute: changing.at_level(changing.cheapest()).compute,
        egress: egress(body_over_plain(changing.cheapest())),
        ..cost(unchanged)
    };
    text.push_str("\n### An object that needs no change, by the level of its producer\n\n");
    writeln!(
        text,
        "As it is: compute as measured for Cloudflare NDJSON, and bodies as small as that level makes them.\n\
         Compressed again, at level {}: compute and bodies as with a source field, which makes both a little larger than need be.\n\
         The last column is the price of a GB of egress above which compressing again is cheaper.\n",
        level.unwrap_or_default()
    )
    .expect("memory");
    text.push_str("| producer's level | as it is | compressed again | again is cheaper above |\n");
    text.push_str("| --: | --: | --: | --: |\n");
    for source in sources {
        let passed = Cost {
            egress: egress(body_over_plain(source)),
            ..cost(unchanged)
        };
        let saved_gb = (passed.egress - again.egress) / prices::EGRESS_GB;
        let above = match saved_gb > 0.0 {
            true => format!(
                "${:.3}",
                ((again.compute - passed.compute) / saved_gb).max(0.0)
            ),
            false => "never".to_owned(),
        };
        writeln!(
            text,
            "| {} | {:.2} | {:.2} | {above} |",
            source.level.unwrap_or_default(),
            passed.total(),
            again.total()
        )
        .expect("memory");
    }
}
