//! The whole, measured: the ingest function's release binary as Lambda would run it, between an S3, a
//! DynamoDB and an endpoint in this process, beside yardsticks that are processes of their own.
//!
//! `make bench` builds the binaries and runs this; `make bench BENCH_ARGS=--quick` is a quick look.
//! Every body is inflated and counted after its round, outside the time that is measured.

mod cases;
#[path = "../../tests/it/cloudflare.rs"]
#[expect(dead_code, reason = "tests ask for whole objects")]
mod cloudflare;
#[path = "../../tests/it/cloudtrail.rs"]
#[expect(dead_code, reason = "tests ask for whole objects")]
mod cloudtrail;
mod endpoint;
#[path = "../figures.rs"]
mod figures;
mod logs;
mod measure;
mod process;
mod report;
mod start;
#[path = "../../tests/it/support"]
#[expect(dead_code, reason = "tests ask for more")]
mod support {
    pub mod aws;
    pub mod runtime_api;
}
mod tls_front;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use figures::{Figures, Machine};
use measure::Programs;
use process::Others;
use world::{Sizes, World};

/// What the arguments ask for.
struct Options {
    is_quick: bool,
    rounds: usize,
    /// Only cases whose description holds this text.
    only: String,
    starts: usize,
    binaries: PathBuf,
}

impl Options {
    fn read(arguments: impl IntoIterator<Item = String>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut options = Self {
            is_quick: false,
            rounds: 5,
            only: String::new(),
            starts: 20,
            binaries: root.join("target/release"),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .unwrap_or_else(|| panic!("{argument} needs a value"))
            };
            match argument.as_str() {
                // Cargo gives it to every benchmark.
                "--bench" => {}
                "--quick" => {
                    options.is_quick = true;
                    options.rounds = 1;
                    options.starts = 5;
                }
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--only" => options.only = value(),
                "--binaries" => options.binaries = value().into(),
                _ => panic!(
                    "unknown argument {argument}; there are --quick, --rounds, --only, --binaries"
                ),
            }
        }
        options
    }

    fn sizes(&self) -> Sizes {
        match self.is_quick {
            true => Sizes {
                large_bytes: 50_000_000,
                two_gigabytes_times: 4,
                five_gigabytes_times: 10,
            },
            false => Sizes {
                large_bytes: 200_000_000,
                two_gigabytes_times: 10,
                five_gigabytes_times: 25,
            },
        }
    }
}

#[tokio::main]
async fn main() {
    let options = Options::read(std::env::args().skip(1));
    let programs = Programs::find(options.binaries.clone());
    let place = Figures::place();
    let folder = place.parent().expect("a folder");
    std::fs::create_dir_all(folder.join("objects")).expect("a folder of our own");
    eprintln!("making the objects");
    let world = World::new(options.sizes(), &folder.join("objects")).await;
    let figures = measured(&options, &world, &programs).await;
    let report = report::markdown(&figures);
    print!("{report}");
    if programs.python.is_none() {
        println!("\nPython 3 was not found, so its design is missing.");
    }
    if !options.only.is_empty() {
        return;
    }
    let json = serde_json::to_vec_pretty(&figures).expect("plain data");
    std::fs::write(&place, json).expect("the folder takes it");
    std::fs::write(place.with_extension("md"), report).expect("the folder takes it");
    eprintln!("written to {} and .md", place.display());
}

async fn measured(options: &Options, world: &World, programs: &Programs) -> Figures {
    let extent = cases::Extent {
        rounds: options.rounds,
        rounds_long: options.rounds.min(3),
        rounds_short: if options.is_quick {
            1
        } else {
            options.rounds * 4
        },
        is_quick: options.is_quick,
        has_python: programs.python.is_some(),
    };
    let (machine, others) = (machine(), Others::watch());
    let mut cases = cases::all(world, extent);
    cases.retain(|case| report::name(&case.run).contains(&options.only));
    // Round by round, so that a machine that slows down slows all of them.
    for round in 0..options.rounds {
        for case in cases.iter_mut().filter(|case| round < case.rounds) {
            let sample = measure::sample(world, programs, &case.run).await;
            eprintln!(
                "round {} of {}: {}: {:.2} s, {:.2} CPU s",
                round + 1,
                case.rounds,
                report::name(&case.run),
                sample.wall_s,
                sample.cpu_s
            );
            case.run.samples.push(sample);
        }
    }
    let mut figures = Figures {
        machine,
        runs: cases.into_iter().map(|case| case.run).collect(),
        ..Figures::default()
    };
    if options.only.is_empty() || "start".contains(&options.only) {
        start::measure(world, programs, options.starts, &mut figures).await;
    }
    figures.machine.cores_lost = others.cores();
    figures
}

fn machine() -> Machine {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|model| model.trim_start_matches([' ', '\t', ':']));
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let changed = match git(&["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" => "",
        _ => " and changes",
    };
    Machine {
        cpu: format!(
            "{} ({})",
            model.unwrap_or("unknown"),
            std::env::consts::ARCH
        ),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        commit: format!("{commit}{changed}"),
        cores_lost: 0.0,
    }
}

/// The output of git; empty where there is none.
fn git(arguments: &[&str]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
