//! Processes killed for real: the two functions and `brigade sync`, SIGKILL at random moments, between real
//! servers and an endpoint that refuses, delays and loses answers; then an account of every record.
//!
//! `make torture` runs it beside moto, which plays AWS in every other round; in the others, or without
//! `BRIGADE_TEST_ENDPOINT`, the doubles of `tests/it` do. The seed makes the same choices again (objects,
//! lost notifications, which invocation is killed and how soon, what the endpoint does with its next
//! request); what happens in between is up to the machine.

mod checker;
mod dice;
mod endpoint;
mod front;
mod functions;
mod objects;
#[path = "../it/support"]
#[expect(dead_code, reason = "tests ask for more")]
mod support {
    pub mod aws;
    pub mod runtime_api;
    pub mod sdk;
}
mod tally;
mod tool;

use std::process::ExitCode;
use std::time::Duration;

use bucket_brigade::config::environment;
use tokio::time::Instant;
use url::Url;

use dice::Dice;
use functions::Round;
use tally::Tally;

/// How long processes are killed in a round; then it is waited until all is settled.
const KILL_FOR: Duration = Duration::from_secs(24);
/// A round with less time than this shows nothing.
const KILL_FOR_MIN: Duration = Duration::from_secs(8);
/// What settling takes in the end.
const SETTLING: Duration = Duration::from_secs(16);
/// Fewer kills a minute say that the machine is too busy to show anything.
const KILLS_A_MINUTE_MIN: f64 = 10.0;

struct Options {
    minutes: f64,
    seed: u64,
    aws: Option<Url>,
}

impl Options {
    /// Of `--minutes N --seed N`, and where a local AWS is.
    fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            minutes: 3.0,
            seed: getrandom::u64().map_err(|error| error.to_string())? >> 32,
            aws: environment("BRIGADE_TEST_ENDPOINT")
                .map(|url| Url::parse(&url).map_err(|error| format!("{url}: {error}")))
                .transpose()?,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            let wrong = || format!("{argument} {value}: expected --minutes N or --seed N");
            match argument.as_str() {
                "--minutes" => options.minutes = value.parse().map_err(|_| wrong())?,
                "--seed" => options.seed = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let seed = options.seed;
    println!("seed {seed}: SEED={seed} makes the same choices again, but not the same timing");
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(options.minutes * 60.0);
    let mut seeds = Dice::new(seed, "rounds");
    let mut tally = Tally::default();
    for number in 1.. {
        let left = until.saturating_duration_since(Instant::now());
        let kill_for = KILL_FOR.min(left.saturating_sub(SETTLING));
        if kill_for < KILL_FOR_MIN && number > 1 {
            break;
        }
        let kill_for = kill_for.max(KILL_FOR_MIN);
        let round = Round {
            number,
            seed: seeds.next(),
            kill_for,
            aws: options.aws.clone().filter(|_| number % 2 == 1),
        };
        let player = if round.aws.is_some() {
            "moto"
        } else {
            "doubles of AWS"
        };
        let before = (tally.killed(), tally.objects);
        let mut of_sync = Tally::default();
        let (mut faults, more) = tokio::join!(
            functions::round(&round, &mut tally),
            tool::round(round.seed, kill_for, &mut of_sync),
        );
        faults.extend(more);
        tally.add(of_sync);
        println!(
            "round {number}, {player}: {} processes killed, {} objects settled, {:.0} s",
            tally.killed() - before.0,
            tally.objects - before.1,
            began.elapsed().as_secs_f64(),
        );
        if !faults.is_empty() {
            for fault in &faults {
                eprintln!("  {fault}");
            }
            eprintln!("round {number} of seed {seed} does not hold");
            return ExitCode::FAILURE;
        }
    }
    println!("\n{}", tally.table());
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    if (tally.killed() as f64) < KILLS_A_MINUTE_MIN * minutes.min(options.minutes) {
        eprintln!("too few processes were killed in {minutes:.1} minutes to show anything");
        return ExitCode::FAILURE;
    }
    println!(
        "every record was taken or quarantined, duplicates are within their bound, the accounts agree"
    );
    ExitCode::SUCCESS
}
