//! What a number of objects a day asks of AWS, and what each limit allows: `make scale-model`.
//!
//! Pure arithmetic: the settings' defaults, the template's, measured figures, list prices and documented limits
//! go in; tables come out. Bytes (egress, and the CPU that fills bodies) are the business of `make cost`.

use bucket_brigade::config::VARS;
use bucket_brigade::ledger::dynamodb::SHARDS;

const TEMPLATE: &str = include_str!("../../template.yaml");

/// List prices of us-east-1, dollars for a million; third-party pages of 2025 and 2026, but for EventBridge,
/// whose rate is assumed.
mod dollars {
    pub const S3_GET: f64 = 0.4;
    pub const S3_LIST: f64 = 5.0;
    pub const SQS: f64 = 0.4;
    pub const LAMBDA_REQUEST: f64 = 0.2;
    /// arm64, for a million GB-seconds.
    pub const LAMBDA_GB_SECOND: f64 = 13.3334;
    pub const LEDGER_WRITE: f64 = 0.625;
    pub const LEDGER_READ: f64 = 0.125;
    pub const EVENTBRIDGE: f64 = 1.0;
}

/// Documented limits, a second.
mod limits {
    /// DynamoDB Developer Guide: of one partition.
    pub const PARTITION_WRITES: f64 = 1_000.0;
    pub const PARTITION_READS: f64 = 3_000.0;
    /// DynamoDB Developer Guide: of a new on-demand table.
    pub const NEW_TABLE_WRITES: f64 = 4_000.0;
    pub const NEW_TABLE_READS: f64 = 12_000.0;
    /// S3 User Guide: at least, of one prefix.
    pub const S3_PREFIX_PUTS: f64 = 3_500.0;
    pub const S3_PREFIX_GETS: f64 = 5_500.0;
    /// Lambda Developer Guide: `MaximumConcurrency` of a queue's mapping, and by default of an account.
    pub const CONCURRENCY: f64 = 1_000.0;
    /// Lambda Developer Guide: this memory is one CPU.
    pub const CPU_MB: f64 = 1_769.0;
}

const DAY_SECS: f64 = 86_400.0;
/// What a message costs in requests, of which each takes ten: one to receive, one to delete.
const SQS_REQUESTS: f64 = 2.0 / 10.0;
/// Claim and settle.
const LEDGER_WRITES: f64 = 2.0;
const WRITE_UNIT_BYTES: f64 = 1_024.0;
const READ_UNIT_BYTES: f64 = 4_096.0;
/// The windows of the template's schedules; the sweep comes once a day.
const WINDOW_HOURS: f64 = 2.0;
const SWEEP_HOURS: f64 = 48.0;
/// The prefix of the hour that is being written is half full as a rule.
const LIVING_HOURS: f64 = 0.5;
/// The reconcile function's time-out in the template, less `DEADLINE_MARGIN_MS`.
const PASS_SECS: f64 = 290.0;

/// What the reader brings, and what was measured.
pub struct Given {
    pub objects: f64,
    pub object_bytes: f64,
    /// How long an invocation takes that is full of such objects.
    pub invocation_secs: f64,
    /// Passes a day, by `ReconcileSchedule`.
    pub passes: f64,
    /// How long a request for a page of a listing takes.
    pub list_secs: f64,
    /// `make scale`: a settled row, and the CPU of comparing a key.
    pub row_bytes: f64,
    pub cpu_us_per_key: f64,
}

struct Model {
    given: Given,
    /// How often a key is listed.
    times_listed: f64,
    batch: f64,
    memory_mb: f64,
    concurrency: f64,
}

pub fn print(given: Given) {
    let model = Model {
        times_listed: (given.passes * (WINDOW_HOURS + LIVING_HOURS) + SWEEP_HOURS + LIVING_HOURS)
            / 24.0,
        batch: template("BatchSize:", ""),
        memory_mb: template("MemoryMb:", "Default:"),
        concurrency: template("Concurrency:", "Default:"),
        given,
    };
    model.print_given();
    model.print_bill();
    model.print_limits();
}

impl Model {
    fn print_given(&self) {
        let given = &self.given;
        println!("- Objects a day: {}", whole(given.objects));
        println!("- Bytes of one, as stored: {}", whole(given.object_bytes));
        println!(
            "- Seconds of an invocation of `BatchSize` = {} objects: {}",
            self.batch, given.invocation_secs
        );
        println!("- Passes of reconcile a day: {}", given.passes);
        println!("- Seconds of a LIST of 1,000 keys: {}", given.list_secs);
        println!("- Bytes of a settled row: {}", given.row_bytes);
        println!(
            "- CPU microseconds for each key compared: {}",
            given.cpu_us_per_key
        );
        println!(
            "- Keys lie under the hour (`%H`); every key is listed {:.1} times a day\n",
            self.times_listed
        );
    }

    fn write_units(&self) -> f64 {
        LEDGER_WRITES * (self.given.row_bytes / WRITE_UNIT_BYTES).ceil()
    }

    fn read_units(&self) -> f64 {
        self.times_listed * self.given.row_bytes / READ_UNIT_BYTES
    }

    fn gets(&self) -> f64 {
        (self.given.object_bytes / setting("PART_BYTES")).ceil()
    }

    /// Seconds of CPU that the memory brings with it, and dollars for a million of them.
    fn cpu_seconds(&self) -> f64 {
        self.times_listed * self.given.cpu_us_per_key / 1e6
    }

    fn print_bill(&self) {
        let gb_seconds = limits::CPU_MB / 1_024.0;
        println!("| what | for each object | a day | a second | $ a day |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        let mut total = 0.0;
        for (what, each, price) in [
            ("GETs (`PART_BYTES`)", self.gets(), dollars::S3_GET),
            (
                "SQS requests, if every batch is full",
                SQS_REQUESTS,
                dollars::SQS,
            ),
            (
                "invocations of ingest, if every batch is full",
                1.0 / self.batch,
                dollars::LAMBDA_REQUEST,
            ),
            (
                "ledger: write units",
                self.write_units(),
                dollars::LEDGER_WRITE,
            ),
            (
                "reconcile: LISTs",
                self.times_listed / 1_000.0,
                dollars::S3_LIST,
            ),
            (
                "reconcile: read units",
                self.read_units(),
                dollars::LEDGER_READ,
            ),
            (
                "reconcile: CPU seconds",
                self.cpu_seconds(),
                gb_seconds * dollars::LAMBDA_GB_SECOND,
            ),
        ] {
            let a_day = self.given.objects * each;
            let cost = a_day * price / 1e6;
            total += cost;
            println!(
                "| {what} | {each:.5} | {} | {:.1} | {cost:.2} |",
                whole(a_day),
                a_day / DAY_SECS
            );
        }
        println!("| **all of these** | | | | **{total:.2}** |");
        let events = self.given.objects * dollars::EVENTBRIDGE / 1e6;
        println!(
            "| EventBridge, if it stands between bucket and queue | 1.00000 | {} | {:.1} | {events:.2} |\n",
            whole(self.given.objects),
            self.given.objects / DAY_SECS
        );
        let rows = self.given.objects * setting("RETENTION_DAYS");
        println!(
            "Rows in the ledger after `RETENTION_DAYS`: {}, of {:.1} TB.\n",
            whole(rows),
            rows * self.given.row_bytes / 1e12
        );
    }

    /// Objects a day at which each limit is reached, the lowest first.
    fn print_limits(&self) {
        let window = WINDOW_HOURS + LIVING_HOURS;
        let in_a_pass = |keys: f64| keys * 24.0 / window;
        let a_second = |objects: f64| objects * DAY_SECS;
        let at_once = self.batch / self.given.invocation_secs;
        let cpu =
            |mb: f64| in_a_pass(PASS_SECS * mb / limits::CPU_MB * 1e6 / self.given.cpu_us_per_key);
        let shards = f64::from(SHARDS);
        let mut limits = vec![
            (
                "pages of a pass",
                in_a_pass(setting("LIST_PAGES_MAX") * 1_000.0),
                "`LIST_PAGES_MAX`; more prefixes in `WATCH`",
            ),
            (
                "time of a pass at the default memory",
                cpu(self.memory_mb),
                "`MemoryMb`; the window and the time-out of the reconcile function",
            ),
            (
                "time of a pass at one CPU",
                cpu(limits::CPU_MB),
                "the window and the time-out; more stacks",
            ),
            (
                "time of a pass, waiting for LISTs",
                in_a_pass(
                    PASS_SECS * 1_000.0 * setting("PAGES_IN_FLIGHT_MAX") / self.given.list_secs,
                ),
                "`PAGES_IN_FLIGHT_MAX`; the window and the time-out; more prefixes in `WATCH`",
            ),
            (
                "concurrency at the default",
                a_second(self.concurrency * at_once),
                "`Concurrency`, `BatchSize`",
            ),
            (
                "concurrency of an account by default, and of a queue at most",
                a_second(limits::CONCURRENCY * at_once),
                "`BatchSize`, `MemoryMb`; more stacks",
            ),
            (
                "writes of a new table",
                a_second(limits::NEW_TABLE_WRITES / self.write_units()),
                "a table that has grown, or was made with more",
            ),
            (
                "writes of a bucket's shards",
                a_second(shards * limits::PARTITION_WRITES / self.write_units()),
                "`SHARDS`, before the first deployment; more buckets",
            ),
            (
                "reads of a new table",
                a_second(limits::NEW_TABLE_READS / self.read_units()),
                "a table that has grown; `ReconcileSchedule`",
            ),
            (
                "reads of a bucket's shards",
                a_second(shards * limits::PARTITION_READS / self.read_units()),
                "`ReconcileSchedule`; `SHARDS`, before the first deployment",
            ),
            (
                "PUTs of one prefix, by the producer",
                a_second(limits::S3_PREFIX_PUTS),
                "more prefixes",
            ),
            (
                "GETs of one prefix",
                a_second(limits::S3_PREFIX_GETS / self.gets()),
                "more prefixes; `PART_BYTES`",
            ),
        ];
        limits.sort_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
        println!("| limit | reached at objects a day | what moves it |");
        println!("| --- | ---: | --- |");
        for (limit, objects, moves) in limits {
            println!("| {limit} | {} | {moves} |", whole(objects));
        }
        let needed = self.given.objects / DAY_SECS * self.write_units() / limits::PARTITION_WRITES;
        println!(
            "\nShards that {} objects a day in one bucket need at least: {:.0}.",
            whole(self.given.objects),
            needed.ceil()
        );
    }
}

/// The default of a setting that is a number.
fn setting(name: &str) -> f64 {
    let var = VARS.iter().find(|var| var.name == name);
    let default = var.and_then(|var| var.default?.parse().ok());
    default.expect("a number has a default")
}

/// A number of the template: the first that follows `name` and then `label`.
fn template(name: &str, label: &str) -> f64 {
    let value = || {
        let rest = TEMPLATE.split_once(&format!("  {name}"))?.1;
        let rest = rest.split_once(label)?.1;
        rest.split_whitespace().next()?.parse().ok()
    };
    value().expect("the template says so")
}

/// A number of three significant digits or more, with commas.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
