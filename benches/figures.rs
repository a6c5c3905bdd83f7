//! What `make bench` measures and `make cost` reads: one JSON file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything of one run of the benchmark.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub machine: Machine,
    pub runs: Vec<Run>,
    pub starts: Vec<Start>,
    pub start_steps: Vec<Step>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// Of the day, `2026-01-31`.
    pub date: String,
    pub commit: String,
    /// How many cores other processes kept busy meanwhile, on the average.
    #[serde(default)]
    pub cores_lost: f64,
}

/// Who carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// The release binary of the ingest function.
    Brigade,
    /// Inflating alone.
    Inflate,
    Plain,
    Python,
    /// The SDK's calls alone.
    Calls,
    /// The assembler alone, for a workload whose records all change.
    Recode,
}

/// What is carried where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    Cloudflare,
    /// With the source field added to every record.
    CloudflareSource,
    VpcText,
    /// Every line as `{"message": …}`.
    VpcMessage,
    /// One document, whose events leave one by one.
    CloudTrail,
    Small,
    TwoGigabytes,
    FiveGigabytes,
    OneMegabyte,
}

/// One way to do one thing, measured in several rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub design: Design,
    pub workload: Workload,
    pub https: bool,
    /// Of compression, where it can be chosen.
    pub level: Option<u32>,
    pub in_flight: Option<u32>,
    pub delay_ms: u64,
    /// Plain bytes of a batch, where they are not those of the default, and the endpoint is of kind `http`.
    #[serde(default)]
    pub batch_bytes: Option<u64>,
    /// Before compression and before any change, over all objects.
    pub plain_bytes: u64,
    /// As the objects are stored.
    pub source_bytes: u64,
    pub objects: u64,
    pub samples: Vec<Sample>,
}

/// One round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// From the event to the answer; of a yardstick, from its start to its end.
    pub wall_s: f64,
    /// User and system time of the process, its start included.
    pub cpu_s: f64,
    /// To the endpoint.
    pub requests: u64,
    pub body_bytes: u64,
    /// Peak resident memory.
    pub peak_bytes: u64,
    /// GETs and HEADs.
    pub store_requests: u64,
    pub ledger_writes: u64,
}

/// A function's start and first event, over plain HTTP unless the name says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    pub name: String,
    pub binary_bytes: u64,
    pub first_poll_s: Vec<f64>,
    pub first_answer_s: Vec<f64>,
    pub cpu_s: Vec<f64>,
}

/// A part of the ingest function's start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub step: String,
    pub seconds: Vec<f64>,
}

/// The least, the middle and the greatest of several figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// All zero where there is no figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        Self {
            min: at(0),
            median: (at(figures.len().saturating_sub(1) / 2) + at(figures.len() / 2)) / 2.0,
            max: at(figures.len().saturating_sub(1)),
        }
    }
}

impl Run {
    pub fn spread(&self, of: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(of))
    }

    /// CPU seconds for a GB (10^9 bytes) of plain logs.
    pub fn cpu_per_gb(&self) -> Spread {
        self.spread(|sample| sample.cpu_s / self.plain_bytes as f64 * 1e9)
    }

    /// Bytes of bodies over bytes of objects.
    pub fn body_ratio(&self) -> f64 {
        self.spread(|sample| sample.body_bytes as f64).median / self.source_bytes as f64
    }
}

impl Figures {
    pub fn find(&self, wanted: impl Fn(&Run) -> bool) -> Option<&Run> {
        self.runs.iter().find(|run| wanted(run))
    }

    /// Where a run on this machine leaves its figures.
    pub fn place() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/whole.json")
    }
}
