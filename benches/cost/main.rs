//! Dollars for a TB of plain logs, from what `make bench` measured and list prices: `make cost`.
//!
//! It reads the figures of this machine if `make bench` has left any, else those that are kept in the
//! repository.

#[path = "../figures.rs"]
#[expect(dead_code, reason = "some is for who measures")]
mod figures;
mod levels;
mod model;
mod prices;

use std::fmt::Write;
use std::path::Path;

use figures::{Design, Figures, Run, Workload};
use model::{Cost, cost};

const ABOUT: &str = include_str!("about.md");
/// The figures of the last full run that was kept.
const KEPT: &str = include_str!("../measured.json");

const WORKLOADS: [(Workload, &str); 5] = [
    (Workload::Cloudflare, "Cloudflare NDJSON"),
    (
        Workload::CloudflareSource,
        "Cloudflare NDJSON, source field added to every record",
    ),
    (Workload::VpcText, "VPC flow text, unchanged"),
    (
        Workload::VpcMessage,
        "VPC flow text, every line as `{\"message\"}`",
    ),
    (
        Workload::Small,
        "Cloudflare NDJSON in objects of 100 KB, 100 in an invocation",
    ),
];

fn main() {
    let place = Figures::place();
    let measured = std::fs::read_to_string(&place).unwrap_or_else(|_| KEPT.to_owned());
    let figures: Figures = serde_json::from_str(&measured).expect("figures of this version");
    let report = report(&figures);
    print!("{report}");
    let place = place.with_file_name("cost.md");
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).expect("a folder of our own");
    std::fs::write(&place, report).expect("the folder takes it");
    eprintln!("written to {}", place.display());
}

fn report(figures: &Figures) -> String {
    let machine = &figures.machine;
    let mut text = format!(
        "{ABOUT}\n`make cost` of figures measured at {} on {}, {} cores, {}.\n\
         On arm64 compute costs {:.2} times as much for the same CPU seconds.\n",
        machine.commit,
        machine.cpu,
        machine.cores,
        machine.date,
        prices::LAMBDA_GB_SECOND_ARM64 / prices::LAMBDA_GB_SECOND,
    );
    for (workload, name) in WORKLOADS {
        add_workload(&mut text, figures, workload, name);
    }
    levels::add(&mut text, figures);
    text
}

fn add_workload(text: &mut String, figures: &Figures, workload: Workload, name: &str) {
    let runs = figures.runs.iter().filter(|run| {
        let is_carrying = matches!(run.design, Design::Brigade | Design::Plain | Design::Python);
        let is_usual = run.in_flight.is_none_or(|in_flight| in_flight == 4) && run.delay_ms == 0;
        run.workload == workload && is_carrying && is_usual && !run.https
    });
    let mut runs: Vec<&Run> = runs.collect();
    runs.sort_by_key(|run| {
        (
            run.design != Design::Brigade,
            run.design == Design::Python,
            run.level,
        )
    });
    if runs.is_empty() {
        return;
    }
    writeln!(text, "\n### {name}\n").expect("memory");
    text.push_str("| | CPU s/GB | compute | requests | ledger | egress | total | over ours |\n");
    text.push_str("| --- | --: | --: | --: | --: | --: | --: | --: |\n");
    let ours = cost(runs[0]).total();
    for run in &runs {
        row(text, &design(run), run.cpu_per_gb().median, cost(run), ours);
    }
    let usual = runs
        .iter()
        .find(|run| run.design == Design::Plain && run.level == Some(6));
    if let (Workload::Cloudflare, Some(usual)) = (workload, usual) {
        for (name, cpu_per_gb) in prices::PEERS {
            let cost = Cost {
                compute: model::compute(cpu_per_gb),
                ..cost(usual)
            };
            row(text, &format!("{name} †"), cpu_per_gb, cost, ours);
        }
        text.push_str("\n† CPU as given in the list of prices; its requests and bodies were not measured, so they are taken to be the plain design's at level 6.\n");
    }
}

fn row(text: &mut String, name: &str, cpu_per_gb: f64, cost: Cost, ours: f64) {
    writeln!(
        text,
        "| {name} | {cpu_per_gb:.2} | {:.3} | {:.3} | {:.3} | {:.2} | {:.2} | {:.2} |",
        cost.compute,
        cost.requests,
        cost.ledger,
        cost.egress,
        cost.total(),
        cost.total() / ours,
    )
    .expect("memory");
}

fn design(run: &Run) -> String {
    let level = run
        .level
        .map_or_else(String::new, |level| format!(", level {level}"));
    match run.design {
        Design::Brigade => "bucket-brigade".to_owned(),
        Design::Python => format!("naive Python{level}"),
        _ => format!("plain design{level}"),
    }
}
