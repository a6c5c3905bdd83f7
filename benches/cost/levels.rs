//! Which level of compression costs least, where records change and where they do not.

use std::fmt::Write;

use crate::figures::{Design, Figures, Run, Workload};
use crate::model::{Cost, compute, cost, egress};

pub fn add(text: &mut String, figures: &Figures) {
    let ours = |workload: Workload| {
        figures.find(|run| {
            run.design == Design::Brigade
                && run.workload == workload
                && !run.https
                && (run.in_flight, run.delay_ms) == (Some(4), 0)
        })
    };
    let recodes = figures
        .runs
        .iter()
        .filter(|run| run.design == Design::Recode);
    let mut recodes: Vec<&Run> = recodes.collect();
    recodes.sort_by_key(|run| run.level);
    let (Some(changed), Some(unchanged)) =
        (ours(Workload::CloudflareSource), ours(Workload::Cloudflare))
    else {
        return;
    };
    let Some(own) = own_level(changed, &recodes) else {
        return;
    };
    add_recoding(text, changed, own, &recodes);
    add_passing(text, figures, unchanged, own, &recodes);
}

/// The assembler's run at the level that the product uses: the one with the same bodies.
fn own_level<'a>(changed: &Run, recodes: &[&'a Run]) -> Option<&'a Run> {
    let off = |run: &&&Run| (body_over_plain(run) / body_over_plain(changed) - 1.0).abs();
    recodes
        .iter()
        .min_by(|a, b| off(a).total_cmp(&off(b)))
        .copied()
}

fn body_over_plain(run: &Run) -> f64 {
    run.spread(|sample| sample.body_bytes as f64).median / run.plain_bytes as f64
}

/// What the product costs at another level: what it takes beside the assembler stays the same.
fn at_level(changed: &Run, own: &Run, other: &Run) -> Cost {
    let beside = (changed.cpu_per_gb().median - own.cpu_per_gb().median).max(0.0);
    Cost {
        compute: compute(beside + other.cpu_per_gb().median),
        egress: egress(body_over_plain(other)),
        ..cost(changed)
    }
}

fn cheapest<'a>(changed: &Run, own: &Run, recodes: &[&'a Run]) -> Option<&'a Run> {
    let total = |run: &&&Run| at_level(changed, own, run).total();
    recodes
        .iter()
        .min_by(|a, b| total(a).total_cmp(&total(b)))
        .copied()
}

fn add_recoding(text: &mut String, changed: &Run, own: &Run, recodes: &[&Run]) {
    text.push_str("\n### bucket-brigade at each level, source field added\n\n");
    text.push_str("The whole function's CPU, with the assembler's at its own level replaced by the assembler's at another.\n\n");
    text.push_str("| level | assembler CPU s/GB | plain / body | compute | egress | total |\n");
    text.push_str("| --: | --: | --: | --: | --: | --: |\n");
    for run in recodes {
        let cost = at_level(changed, own, run);
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
    if let Some(best) = cheapest(changed, own, recodes) {
        writeln!(
            text,
            "\nLevel {} costs least; the function's bodies are those of level {}.",
            best.level.unwrap_or_default(),
            own.level.unwrap_or_default()
        )
        .expect("memory");
    }
}

/// Whether an object that its producer compressed at some level should go out as it is.
fn add_passing(text: &mut String, figures: &Figures, unchanged: &Run, own: &Run, recodes: &[&Run]) {
    let Some(changed) = figures.find(|run| {
        run.design == Design::Brigade && run.workload == Workload::CloudflareSource && !run.https
    }) else {
        return;
    };
    let Some(best) = cheapest(changed, own, recodes) else {
        return;
    };
    let sources = figures.runs.iter().filter(|run| {
        run.design == Design::Plain && run.workload == Workload::Cloudflare && !run.https
    });
    let mut sources: Vec<&Run> = sources.collect();
    sources.sort_by_key(|run| run.level);
    let again = at_level(changed, own, best);
    text.push_str("\n### An object that needs no change, by the level of its producer\n\n");
    writeln!(
        text,
        "As it is: compute as measured for Cloudflare NDJSON, and bodies as small as that level makes them. \
         Compressed again: at level {}, its bodies without a source field taken to be the plain design's.\n",
        best.level.unwrap_or_default()
    )
    .expect("memory");
    let bodies_again = sources.iter().find(|run| run.level == best.level);
    let again = Cost {
        egress: bodies_again.map_or(again.egress, |run| egress(body_over_plain(run))),
        ..again
    };
    text.push_str("| producer's level | as it is | compressed again | cheaper |\n");
    text.push_str("| --: | --: | --: | --- |\n");
    for source in sources {
        let passed = Cost {
            egress: egress(body_over_plain(source)),
            ..cost(unchanged)
        };
        let verdict = match passed.total() <= again.total() {
            true => "as it is",
            false => "compressed again",
        };
        writeln!(
            text,
            "| {} | {:.2} | {:.2} | {verdict} |",
            source.level.unwrap_or_default(),
            passed.total(),
            again.total()
        )
        .expect("memory");
    }
}
