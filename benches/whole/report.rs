//! The figures as Markdown.

use std::fmt::Write;

use crate::figures::{Design, Figures, Run, Spread, Workload};

/// Plain bytes of a batch by default.
const BATCH_BYTES: u64 = 8 << 20;

const ABOUT: &str = include_str!("about.md");

/// One line that tells a case from the others.
pub fn name(run: &Run) -> String {
    let mut name = format!("{}: {}", workload(run.workload), design(run));
    if run.design == Design::Brigade {
        write!(name, ", {} in flight", run.in_flight.unwrap_or_default()).expect("memory");
    }
    if let Some(bytes) = run.batch_bytes {
        write!(name, ", batches of {} MiB", bytes >> 20).expect("memory");
    }
    if run.delay_ms > 0 {
        write!(name, ", {} ms delay", run.delay_ms).expect("memory");
    }
    if run.https {
        name.push_str(", HTTPS");
    }
    name
}

pub fn workload(workload: Workload) -> &'static str {
    match workload {
        Workload::Cloudflare => "Cloudflare NDJSON",
        Workload::CloudflareSource => "Cloudflare NDJSON, source field added",
        Workload::VpcText => "VPC flow text to `http`",
        Workload::VpcMessage => "VPC flow text to `logzio`",
        Workload::CloudTrail => "CloudTrail document to `logzio`",
        Workload::Small => "100 objects of 100 KB",
        Workload::TwoGigabytes => "2 GB",
        Workload::FiveGigabytes => "5 GB",
        Workload::OneMegabyte => "1 MB",
    }
}

fn design(run: &Run) -> String {
    let level = || {
        run.level
            .map_or_else(String::new, |level| format!(", level {level}"))
    };
    match run.design {
        Design::Brigade => "ingest".to_owned(),
        Design::Inflate => "inflate alone".to_owned(),
        Design::Plain => format!("plain design{}", level()),
        Design::Python => format!("Python{}", level()),
        Design::Calls => "SDK calls alone".to_owned(),
        Design::Recode => format!("assembler alone{}", level()),
    }
}

pub fn markdown(figures: &Figures) -> String {
    let machine = &figures.machine;
    let mut text = format!(
        "{ABOUT}\n`make bench` at {} on {}, {} cores, {}; other processes kept {:.1} cores busy meanwhile.\n",
        machine.commit, machine.cpu, machine.cores, machine.date, machine.cores_lost,
    );
    for workload in [
        Workload::Cloudflare,
        Workload::CloudflareSource,
        Workload::VpcText,
        Workload::VpcMessage,
        Workload::CloudTrail,
        Workload::Small,
    ] {
        add_workload(&mut text, figures, workload);
    }
    add_ratios(&mut text, figures);
    add_sizes(&mut text, figures);
    add_levels(&mut text, figures);
    add_starts(&mut text, figures);
    text
}

fn add_workload(text: &mut String, figures: &Figures, kind: Workload) {
    let is_level =
        |run: &Run| run.design == Design::Recode || run.level.is_some_and(|level| level != 6);
    let runs = figures
        .runs
        .iter()
        .filter(|run| run.workload == kind && !is_level(run));
    let runs: Vec<&Run> = runs.collect();
    let Some(first) = runs.first() else { return };
    let times = first.plain_bytes as f64 / first.source_bytes as f64;
    writeln!(text, "\n### {}\n", workload(kind)).expect("memory");
    writeln!(
        text,
        "{:.1} MB plain, {:.1} MB as gzip -6 ({times:.1} times less).\n",
        first.plain_bytes as f64 / 1e6,
        first.source_bytes as f64 / 1e6
    )
    .expect("memory");
    text.push_str(
        "| | in flight | delay | CPU s/GB | MB/s | body / source | requests | store | ledger | peak MB |\n",
    );
    text.push_str("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n");
    for run in runs {
        let body = match run.design {
            Design::Inflate | Design::Recode => "".to_owned(),
            _ => format!("{:.3}", run.body_ratio()),
        };
        let wire = if run.https { ", HTTPS" } else { "" };
        writeln!(
            text,
            "| {}{wire} | {} | {} | {} | {} | {body} | {:.0} | {:.0} | {:.0} | {:.1} |",
            design(run),
            run.in_flight.map_or_else(String::new, |n| n.to_string()),
            if run.delay_ms > 0 {
                format!("{} ms", run.delay_ms)
            } else {
                String::new()
            },
            spread(run.cpu_per_gb(), 2),
            spread(
                run.spread(|sample| run.plain_bytes as f64 / sample.wall_s / 1e6),
                0
            ),
            run.spread(|sample| sample.requests as f64).median,
            run.spread(|sample| sample.store_requests as f64).median,
            run.spread(|sample| sample.ledger_writes as f64).median,
            run.spread(|sample| sample.peak_bytes as f64 / 1e6).max,
        )
        .expect("memory");
    }
}

/// The figures that the targets are about: CPU of ingest over that of a yardstick of the same run.
fn add_ratios(text: &mut String, figures: &Figures) {
    let mut rows = String::new();
    for https in [false, true] {
        for kind in [
            Workload::Cloudflare,
            Workload::CloudflareSource,
            Workload::VpcText,
            Workload::VpcMessage,
            Workload::CloudTrail,
            Workload::Small,
        ] {
            let ours = figures.find(|run| {
                run.design == Design::Brigade
                    && run.workload == kind
                    && run.https == https
                    && (run.in_flight, run.delay_ms) == (Some(4), 0)
            });
            let Some(ours) = ours else { continue };
            let over = |design: Design, kind: Workload, https: bool| {
                figures
                    .find(|run| {
                        run.design == design
                            && run.workload == kind
                            && run.https == https
                            && run.level.is_none_or(|level| level == 6)
                    })
                    .map(|yardstick| ours.cpu_per_gb().median / yardstick.cpu_per_gb().median)
            };
            let object = match kind {
                Workload::Cloudflare | Workload::CloudflareSource => Workload::Cloudflare,
                Workload::CloudTrail => Workload::CloudTrail,
                _ => Workload::VpcText,
            };
            let inflate = match kind {
                Workload::Small => over(Design::Calls, kind, https)
                    .map(|ratio| format!("{ratio:.2} × SDK calls alone")),
                _ => over(Design::Inflate, object, false)
                    .map(|ratio| format!("{ratio:.2} × inflate")),
            };
            let times = |ratio: Option<f64>| {
                ratio.map_or_else(String::new, |ratio| {
                    format!("{:.1} times as much", 1.0 / ratio)
                })
            };
            writeln!(
                rows,
                "| {}{} | {} | {} | {} |",
                workload(kind),
                if https { ", HTTPS" } else { "" },
                inflate.unwrap_or_default(),
                times(over(Design::Plain, kind, https)),
                times(over(Design::Python, kind, https)),
            )
            .expect("memory");
        }
    }
    if !rows.is_empty() {
        text.push_str("\n### CPU beside the yardsticks of the same run\n\n");
        text.push_str("At 4 in flight, without delay.\n\n");
        text.push_str("| ingest | takes | the plain design takes | Python takes |\n");
        text.push_str("| --- | --: | --: | --: |\n");
        text.push_str(&rows);
    }
}

fn add_sizes(text: &mut String, figures: &Figures) {
    let sizes = [
        Workload::OneMegabyte,
        Workload::TwoGigabytes,
        Workload::FiveGigabytes,
    ];
    let runs = figures
        .runs
        .iter()
        .filter(|run| sizes.contains(&run.workload));
    let runs: Vec<&Run> = runs.collect();
    if runs.is_empty() {
        return;
    }
    text.push_str("\n### Objects of any size\n\n");
    text.push_str(
        "The large ones are the Cloudflare object's gzip member, repeated. A batch has 8 MiB (plain), as Logz.io's \
         limit of 10 MB allows, and where it says so 16 MiB, to an endpoint of kind `http`, in a function of 256 MB in place of 128.\n\n",
    );
    text.push_str("| plain MB | batches | in flight | delay | wall s | CPU s/GB | peak MB |\n");
    text.push_str("| --: | --: | --: | --: | --: | --: | --: |\n");
    for run in runs {
        writeln!(
            text,
            "| {:.0} | {} | {} | {} ms | {} | {} | {} |",
            run.plain_bytes as f64 / 1e6,
            batches(run),
            run.in_flight.unwrap_or_default(),
            run.delay_ms,
            spread(run.spread(|sample| sample.wall_s), 2),
            spread(run.cpu_per_gb(), 2),
            spread(run.spread(|sample| sample.peak_bytes as f64 / 1e6), 1),
        )
        .expect("memory");
    }
    let two_gigabytes = |run: &&Run| run.workload == Workload::TwoGigabytes;
    let wall = |run: &Run| run.spread(|sample| sample.wall_s).median;
    let without = |like: &Run| {
        figures.find(|run| {
            two_gigabytes(&run) && run.delay_ms == 0 && run.batch_bytes == like.batch_bytes
        })
    };
    text.push('\n');
    for run in figures.runs.iter().filter(two_gigabytes) {
        let in_flight = run.in_flight.unwrap_or_default();
        let requests = run.spread(|sample| sample.requests as f64).median;
        let waiting = requests / in_flight as f64 * run.delay_ms as f64 / 1e3;
        if run.delay_ms > 0
            && let Some(without) = without(run)
        {
            writeln!(
                text,
                "- {} ms of delay, {in_flight} in flight, batches of {}: {:.2} times the time of none. \
                 The {requests:.0} requests take {waiting:.2} s at least, if nothing but the endpoint takes any.",
                run.delay_ms,
                batches(run),
                wall(run) / wall(without),
            )
            .expect("memory");
        }
    }
}

/// Plain bytes of a batch, for people.
fn batches(run: &Run) -> String {
    let bytes = run.batch_bytes.unwrap_or(BATCH_BYTES);
    format!("{} MiB", bytes >> 20)
}

fn add_levels(text: &mut String, figures: &Figures) {
    let runs = figures
        .runs
        .iter()
        .filter(|run| run.design == Design::Recode);
    let mut runs: Vec<&Run> = runs.collect();
    if runs.is_empty() {
        return;
    }
    runs.sort_by_key(|run| run.workload == Workload::VpcMessage);
    text.push_str("\n### Levels of compression\n\n");
    text.push_str("The assembler alone, where every record changes; `make cost` has the rest.\n\n");
    text.push_str("| | level | CPU s/GB | plain / body | body / source |\n");
    text.push_str("| --- | --: | --: | --: | --: |\n");
    for run in runs {
        let body_bytes = run.spread(|sample| sample.body_bytes as f64).median;
        writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.3} |",
            workload(run.workload),
            run.level.unwrap_or_default(),
            spread(run.cpu_per_gb(), 2),
            run.plain_bytes as f64 / body_bytes,
            run.body_ratio(),
        )
        .expect("memory");
    }
}

fn add_starts(text: &mut String, figures: &Figures) {
    if figures.starts.is_empty() {
        return;
    }
    let ms = |seconds: &[f64]| spread(Spread::of(seconds.iter().map(|s| s * 1e3)), 1);
    text.push_str("\n### Start\n\n");
    text.push_str("From the start of the process; the first event is an object of 10 KB.\n\n");
    text.push_str("| | starts | binary MB | first poll, ms | first answer, ms | CPU, ms |\n");
    text.push_str("| --- | --: | --: | --: | --: | --: |\n");
    for start in &figures.starts {
        writeln!(
            text,
            "| {} | {} | {:.2} | {} | {} | {} |",
            start.name,
            start.first_poll_s.len(),
            start.binary_bytes as f64 / 1e6,
            ms(&start.first_poll_s),
            ms(&start.first_answer_s),
            ms(&start.cpu_s),
        )
        .expect("memory");
    }
    text.push_str("\n| before the first poll | ms |\n| --- | --: |\n");
    for step in &figures.start_steps {
        let ms = spread(Spread::of(step.seconds.iter().map(|s| s * 1e3)), 3);
        writeln!(text, "| {} | {ms} |", step.step).expect("memory");
    }
}

/// `median (min..max)`.
fn spread(spread: Spread, digits: usize) -> String {
    let Spread { min, median, max } = spread;
    if min == max {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
}
