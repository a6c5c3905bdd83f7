//! The tool for a person. Wiring only: the commands live in `bucket_brigade::local`.

use std::io::Write;
use std::process::ExitCode;

use bucket_brigade::config::environment;
use bucket_brigade::local::account::TotalAccount;
use bucket_brigade::local::arguments::ToolError;
use bucket_brigade::local::demo::{DemoArgs, demo};
use bucket_brigade::local::replay::{ReplayArgs, replay};
use bucket_brigade::local::rules::{Explained, RulesCommand, check, explain};
use bucket_brigade::local::ship::{self, ShipArgs, ship};
use bucket_brigade::local::stop::Stop;
use bucket_brigade::local::sync::{self, SyncArgs, sync};
use bucket_brigade::telemetry::{LogFormat, LogLevel, start_logging};
use clap::{Parser, Subcommand};
use serde_json::{Map, Value};

/// Carries log objects out of S3 buckets to a log endpoint, loses nothing, and proves it.
#[derive(Debug, Parser)]
#[command(name = "brigade", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well: every record was delivered or filtered
  1  something was quarantined or is not done, a check failed, or it could not go on
  2  the command cannot be done as it was asked for
  130  stopped at once by a second Ctrl-C";

const RULES_EXIT_CODES: &str = "\
Exit codes:
  0  the rules are right; it is said what becomes of the object
  1  the object cannot be read, or not be carried as it is
  2  the rules are wrong, or the command cannot be done as it was asked for";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole system at work, in this process, with nothing to install
    ///
    /// An S3 server and a log endpoint run on loopback. Producers write objects, some notifications are
    /// lost, the endpoint is out of order for a while, one object is truncated and one record malformed
    /// on purpose; reconcile finds what was lost. Exits with 0 if every record arrived exactly once or is
    /// in quarantine with its reason.
    #[command(after_help = EXIT_CODES)]
    Demo(DemoArgs),
    /// Carry what lies under a prefix to an endpoint, once or for ever, and remember what is done
    ///
    /// Nothing but the ledger is remembered: stop it or kill it at any time, and start it again.
    /// With --watch it goes on until Ctrl-C or SIGTERM, and a clean stop with nothing quarantined exits
    /// with 0. AWS credentials come from where the AWS CLI takes them.
    #[command(after_help = EXIT_CODES)]
    Sync(SyncArgs),
    /// Carry files, folders or objects to an endpoint or to standard output, once, remembering nothing
    #[command(after_help = EXIT_CODES)]
    Ship(ShipArgs),
    /// Carry what lies in quarantine once more, and take away what succeeds
    ///
    /// Records are sent; objects that are kept by reference are read again and go on where they stopped.
    /// Nothing is sent twice, whenever it is stopped or killed, as long as the ledger is the one that knows
    /// them. Exits with 0 if all that was asked for has left quarantine; a dry run, if it came to its end.
    #[command(after_help = EXIT_CODES)]
    Replay(ReplayArgs),
    /// Say whether rules are right, and what they say of an object
    #[command(subcommand, after_help = RULES_EXIT_CODES)]
    Rules(RulesCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(Some(LogFormat::Text), log_level());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&ToolError::failed(error)),
    };
    let code = runtime.block_on(run(cli.command));
    // What is still waiting for an answer is not waited for.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> ExitCode {
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => return fail(&ToolError::failed(error)),
    };
    match command {
        Command::Demo(args) => match demo(&args, stop).await {
            Ok(outcome) => answer(args.json, false, outcome.is_well(), outcome.json(), || {
                outcome.table()
            }),
            Err(error) => fail(&error),
        },
        Command::Sync(args) => match sync(&args, stop).await {
            Ok(total) => {
                complain(&total);
                // Watching ends by being stopped, and what was under way then goes on at the next start.
                let well = match args.watch {
                    Some(_) => total.holds() && !total.has_quarantined() && total.fatal.is_none(),
                    None => total.is_all_delivered(),
                };
                answer(args.work.pace.json, false, well, total.json(), || {
                    sync::table(&total)
                })
            }
            Err(error) => fail(&error),
        },
        Command::Replay(args) => match replay(&args, stop).await {
            Ok(outcome) => {
                complain(&outcome.total);
                let (is_stdout, well) = (args.endpoint.is_stdout(), outcome.is_well());
                answer(args.pace.json, is_stdout, well, outcome.json(), || {
                    outcome.table()
                })
            }
            Err(error) => fail(&error),
        },
        Command::Rules(RulesCommand::Check(args)) => match check(&args).await {
            Ok(right) => said(&right, true),
            Err(ToolError::Usage(problems)) => {
                // As compilers have it, so that an editor finds the lines.
                let _ = writeln!(std::io::stderr(), "{problems}");
                ExitCode::from(2)
            }
            Err(error) => fail(&error),
        },
        Command::Rules(RulesCommand::Explain(args)) => match explain(&args).await {
            Ok(explained) => explained_as(&explained, args.json),
            Err(error) => fail(&error),
        },
        Command::Ship(args) => match ship(&args, stop).await {
            Ok(total) => {
                complain(&total);
                let (is_stdout, well) = (args.endpoint.is_stdout(), total.is_all_delivered());
                answer(args.work.pace.json, is_stdout, well, total.json(), || {
                    ship::table(&total)
                })
            }
            Err(error) => fail(&error),
        },
    }
}

/// Prints the account: as the last line of standard output, or as a table, which goes to standard error
/// if records went to standard output.
fn answer(
    json: bool,
    stdout_is_taken: bool,
    well: bool,
    account: Map<String, Value>,
    table: impl FnOnce() -> String,
) -> ExitCode {
    let text = match json {
        true => Value::Object(account).to_string(),
        false => table(),
    };
    let written = match stdout_is_taken && !json {
        true => writeln!(std::io::stderr(), "{}", text.trim_end()),
        false => writeln!(std::io::stdout(), "{}", text.trim_end()),
    };
    code(well, written.is_ok())
}

fn explained_as(explained: &Explained, json: bool) -> ExitCode {
    let text = match json {
        true => explained.json().to_string(),
        false => explained.text(),
    };
    let code = said(&text, explained.problem.is_none());
    if let Some(problem) = &explained.problem {
        fail(&ToolError::failed(problem));
    }
    code
}

fn said(text: &str, well: bool) -> ExitCode {
    let written = writeln!(std::io::stdout(), "{}", text.trim_end());
    code(well, written.is_ok())
}

fn code(well: bool, is_written: bool) -> ExitCode {
    if well && is_written {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(1)
}

/// Says why it could not go on, whoever reads the account.
fn complain(total: &TotalAccount) {
    if let Some(failure) = &total.fatal {
        fail(&ToolError::failed(failure));
    }
}

fn fail(error: &ToolError) -> ExitCode {
    // Nobody is left to be told if standard error is closed.
    let _ = writeln!(std::io::stderr(), "brigade: {error}");
    match error {
        ToolError::Failed(_) => ExitCode::from(1),
        ToolError::Usage(_) => ExitCode::from(2),
    }
}

/// The display tells a person what happens; log lines are for what should not.
fn log_level() -> LogLevel {
    environment("BRIGADE_LOG")
        .and_then(|level| LogLevel::parse(&level))
        .unwrap_or(LogLevel::Error)
}
