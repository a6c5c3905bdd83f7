//! What a person sees while it runs, on standard error: a bar on a terminal, lines otherwise, or nothing.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::account::{Ended, ObjectRow};
use super::destination::Meter;

/// Redraws of the bar.
const TICK: Duration = Duration::from_millis(100);

/// The display.
pub enum Progress {
    Bar(ProgressBar),
    Lines,
    Quiet,
}

impl Progress {
    /// On a terminal a bar, which `meter` feeds; else lines. `quiet` shows nothing.
    pub fn new(quiet: bool, meter: Arc<Meter>) -> Self {
        if quiet {
            return Progress::Quiet;
        }
        if !io::stderr().is_terminal() {
            return Progress::Lines;
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let sent = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // The bar is a String; writing to it cannot fail.
            let _ = write!(
                out,
                "{} records, {} requests, {} KiB sent",
                meter.records(),
                meter.requests(),
                meter.body_bytes() / 1024
            );
            if meter.repetitions() > 0 {
                let _ = write!(out, ", {} tried again", meter.repetitions());
            }
        };
        let style = ProgressStyle::with_template(
            "{spinner} [{bar:28}] {pos}/{len} objects · {sent} · {elapsed}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .with_key("sent", sent);
        bar.set_style(style);
        bar.enable_steady_tick(TICK);
        Progress::Bar(bar)
    }

    /// One line for a person.
    pub fn say(&self, text: &str) {
        match self {
            Progress::Bar(bar) => bar.println(text),
            Progress::Lines => eprintln!("{text}"),
            Progress::Quiet => {}
        }
    }

    /// A problem, whoever reads the account: nothing is hidden by `quiet`.
    pub fn complain(&self, text: &str) {
        match self {
            Progress::Bar(bar) => bar.println(text),
            Progress::Lines | Progress::Quiet => eprintln!("{text}"),
        }
    }

    /// An object was found that is to be carried.
    pub fn found(&self) {
        match self {
            Progress::Bar(bar) => bar.inc_length(1),
            Progress::Lines | Progress::Quiet => {}
        }
    }

    /// The work on an object ended.
    pub fn done(&self, row: &ObjectRow) {
        let key = row.key.escape_debug();
        let mut line = format!("  {:<11}  {key}", row.ended.as_str());
        if row.account.records_read > 0 {
            let _ = write!(line, "  {} records", row.account.records_read);
        }
        if let Some(failure) = row.ended.failure() {
            let _ = write!(line, "  ({failure})");
        }
        match self {
            Progress::Bar(bar) => {
                bar.inc(1);
                if row.ended != Ended::Settled {
                    bar.println(line);
                }
            }
            Progress::Lines => eprintln!("{line}"),
            Progress::Quiet => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        match self {
            Progress::Bar(bar) => bar.finish_and_clear(),
            Progress::Lines | Progress::Quiet => {}
        }
    }
}
