//! The total account: what became of every object, for a person and for a program.
//!
//! Goes in: one row for each object. Comes out: sums, a table, one JSON object. It decides nothing.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::looks::Told;
use crate::checkpoint::Account;
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};

/// Rows that are kept; of any more only the sums are.
const ROWS_MAX: usize = 10_000;
/// Objects that the JSON form names one by one.
const NAMED_MAX: usize = 1_000;

/// How a work item came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameBy {
    Notification,
    Reconcile,
    Listing,
    Replay,
}

impl CameBy {
    pub fn as_str(self) -> &'static str {
        match self {
            CameBy::Notification => "notification",
            CameBy::Reconcile => "reconcile",
            CameBy::Listing => "listing",
            CameBy::Replay => "replay",
        }
    }
}

/// How the work on an object ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Settled,
    Skipped(Failure),
    Quarantined { failure: Failure, place: String },
    Returned(Failure),
}

impl Ended {
    pub fn as_str(&self) -> &'static str {
        match self {
            Ended::Settled => "settled",
            Ended::Skipped(_) => "skipped",
            Ended::Quarantined { .. } => "quarantined",
            Ended::Returned(_) => "returned",
        }
    }

    /// Why it did not end well.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Ended::Settled => None,
            Ended::Skipped(failure)
            | Ended::Quarantined { failure, .. }
            | Ended::Returned(failure) => Some(failure),
        }
    }

    /// Whether it says only that the object was done before.
    fn is_repetition(&self) -> bool {
        matches!(self, Ended::Skipped(failure) if failure.kind == FailureKind::AlreadySettled)
    }
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    pub key: String,
    pub came_by: CameBy,
    pub ended: Ended,
    pub account: Account,
    /// What it was told to be, if anybody looked.
    pub told: Option<Told>,
}

/// What became of all objects. An object that an earlier run began has its whole account here.
#[derive(Clone, Debug, Default)]
pub struct TotalAccount {
    rows: Vec<ObjectRow>,
    pub objects_settled: u64,
    pub objects_quarantined: u64,
    /// Not done; they stay to be done.
    pub objects_returned: u64,
    /// What is no log, or gone.
    pub objects_skipped: u64,
    /// Items for objects that were done already.
    pub repetitions: u64,
    /// Whether the run was stopped before it came to its end.
    pub is_stopped: bool,
    /// Why it could not go on.
    pub fatal: Option<Failure>,
    pub sum: Account,
    /// Objects whose account does not hold.
    unequal: u64,
}

impl TotalAccount {
    /// Enters a row. An item for an object that was done before is counted, and no row.
    pub fn add(&mut self, row: ObjectRow) {
        if row.ended.is_repetition() {
            self.repetitions += 1;
            return;
        }
        self.take_back(&row.key);
        match &row.ended {
            Ended::Settled => self.objects_settled += 1,
            Ended::Quarantined { .. } => self.objects_quarantined += 1,
            Ended::Returned(_) => self.objects_returned += 1,
            Ended::Skipped(_) => self.objects_skipped += 1,
        }
        self.sum.add(&row.account);
        self.unequal += u64::from(!row.account.holds());
        if self.rows.len() < ROWS_MAX || matches!(row.ended, Ended::Returned(_)) {
            self.rows.push(row);
        }
    }

    /// An object that was returned and comes again has a row of its own no longer: the next account of
    /// it holds what was achieved before.
    fn take_back(&mut self, key: &str) {
        let returned = |row: &ObjectRow| row.key == key && matches!(row.ended, Ended::Returned(_));
        if self.objects_returned == 0 {
            return;
        }
        if let Some(at) = self.rows.iter().position(returned) {
            let row = self.rows.remove(at);
            self.objects_returned -= 1;
            self.unequal -= u64::from(!row.account.holds());
            self.sum = self.sum.less(&row.account);
        }
    }

    /// Objects that are logs, done or not.
    pub fn objects(&self) -> u64 {
        self.objects_settled + self.objects_quarantined + self.objects_returned
    }

    /// The rows that are kept: the first 10,000.
    pub fn rows(&self) -> &[ObjectRow] {
        &self.rows
    }

    /// `read = delivered + filtered + quarantined`, for every object.
    pub fn holds(&self) -> bool {
        self.unequal == 0
    }

    /// Whether every record of every object was delivered or filtered.
    pub fn is_all_delivered(&self) -> bool {
        self.holds()
            && !self.is_stopped
            && self.fatal.is_none()
            && self.objects_quarantined == 0
            && self.objects_returned == 0
            && self.sum.records_quarantined == 0
    }

    /// Whether anything was put away as never to succeed.
    pub fn has_quarantined(&self) -> bool {
        self.objects_quarantined > 0 || self.sum.records_quarantined > 0
    }

    /// For a program.
    pub fn json(&self) -> Map<String, Value> {
        let sum = &self.sum;
        let undelivered: Vec<Value> = self
            .rows
            .iter()
            .filter(|row| matches!(row.ended, Ended::Quarantined { .. } | Ended::Returned(_)))
            .take(NAMED_MAX)
            .map(named)
            .collect();
        let told: Vec<Value> = self.rows.iter().filter_map(told).take(NAMED_MAX).collect();
        let Value::Object(mut map) = json!({
            "objects": self.objects(),
            "objects_settled": self.objects_settled,
            "objects_quarantined": self.objects_quarantined,
            "objects_returned": self.objects_returned,
            "objects_skipped": self.objects_skipped,
            "records_read": sum.records_read,
            "records_delivered": sum.records_delivered,
            "records_filtered": sum.records_filtered,
            "records_quarantined": sum.records_quarantined,
            "records_cut": sum.records_cut,
            "requests": sum.requests,
            "plain_bytes": sum.plain_bytes,
            "body_bytes": sum.body_bytes,
            "holds": self.holds(),
            "stopped": self.is_stopped,
            "fatal": self.fatal.as_ref().map(ToString::to_string),
            "undelivered": undelivered,
        }) else {
            return Map::new();
        };
        if !told.is_empty() {
            map.insert("told".to_owned(), Value::Array(told));
        }
        map
    }

    /// For a person: a row for each object if there are at most `rows_max`, else for each that did
    /// not end well; then the sums.
    pub fn table(&self, rows_max: usize) -> String {
        let all = self.rows.len() <= rows_max;
        let shown: Vec<&ObjectRow> = self
            .rows
            .iter()
            .filter(|row| all || row.ended != Ended::Settled)
            .take(rows_max)
            .collect();
        let width = |row: &&ObjectRow| shortened(&row.key).chars().count();
        let key_chars = shown.iter().map(width).max().unwrap_or(0).max(OBJECT.len());
        // Whoever looks at the objects lists them: that needs no column.
        let has_told = self.rows.iter().any(|row| row.told.is_some());
        let first_cells = |came_by: &str| match has_told {
            true => String::new(),
            false => format!("{came_by:<12}  "),
        };
        let mut table = format!(
            "{:<key_chars$}  {}{:<11}  {:>9}  {:>9}  {:>8}  {:>11}  {:>8}",
            OBJECT,
            first_cells("came by"),
            "state",
            "read",
            "delivered",
            "filtered",
            "quarantined",
            "requests"
        );
        if has_told {
            table.push_str(&told_cells("format", "type", "first record", "last record"));
        }
        table.push('\n');
        for row in &shown {
            let cells = cells(&row.account);
            let state = row.ended.as_str();
            let key = shortened(&row.key);
            let came_by = first_cells(row.came_by.as_str());
            let _ = write!(table, "{key:<key_chars$}  {came_by}{state:<11}  {cells}");
            if let Some(told) = &row.told {
                let log_type = told.log_type.as_deref().unwrap_or(UNKNOWN);
                let (first, last) = (time(told.first), time(told.last));
                table.push_str(&told_cells(&told.format, log_type, &first, &last));
            }
            table.push('\n');
        }
        if shown.len() < self.rows.len() {
            let hidden = self.rows.len() - shown.len();
            let _ = writeln!(table, "… and {hidden} more");
        }
        let objects = format!("{} objects", self.objects());
        let cells = cells(&self.sum);
        let objects = match has_told {
            true => format!("{objects:<11}"),
            false => format!("{objects:<12}  {:<11}", ""),
        };
        let _ = writeln!(table, "{TOTAL:<key_chars$}  {objects}  {cells}");
        if self.is_stopped && self.fatal.is_none() {
            table.push_str("stopped before the end: run it again to go on\n");
        }
        for row in shown {
            if let Some(failure) = row.ended.failure() {
                let _ = writeln!(table, "{}: {failure}", row.key.escape_debug());
            }
        }
        table
    }
}

/// What stands above the keys, and below them.
const OBJECT: &str = "object";
const TOTAL: &str = "total";

/// Characters of a key in the table; of a longer one its end is shown, which tells it from its like.
const KEY_CHARS_MAX: usize = 64;

fn shortened(key: &str) -> String {
    let plain = key.escape_debug().to_string();
    let chars = plain.chars().count();
    if chars <= KEY_CHARS_MAX {
        return plain;
    }
    let end: String = plain.chars().skip(chars - KEY_CHARS_MAX + 1).collect();
    format!("…{end}")
}

fn cells(account: &Account) -> String {
    format!(
        "{:>9}  {:>9}  {:>8}  {:>11}  {:>8}",
        account.records_read,
        account.records_delivered,
        account.records_filtered,
        account.records_quarantined,
        account.requests
    )
}

/// What stands in the table for what is not known.
const UNKNOWN: &str = "-";

/// To the second; the JSON form has the milliseconds.
fn time(time: Option<Timestamp>) -> String {
    let Some(time) = time else {
        return UNKNOWN.to_owned();
    };
    let text = time.to_string();
    match text.rsplit_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// What an object was told to be, after what was counted of it.
fn told_cells(format: &str, log_type: &str, first: &str, last: &str) -> String {
    let cells = format!("  {format:<15}  {log_type:<10}  {first:<20}  {last}");
    cells.trim_end().to_owned()
}

/// A row of which it was told what it is.
fn told(row: &ObjectRow) -> Option<Value> {
    let told = row.told.as_ref()?;
    Some(json!({
        "key": row.key,
        "state": row.ended.as_str(),
        "format": told.format,
        "type": told.log_type,
        "first": told.first.map(|time| time.to_string()),
        "last": told.last.map(|time| time.to_string()),
        "records_read": row.account.records_read,
        "records_delivered": row.account.records_delivered,
        "records_filtered": row.account.records_filtered,
        "records_quarantined": row.account.records_quarantined,
    }))
}

fn named(row: &ObjectRow) -> Value {
    let failure = row.ended.failure();
    let place = match &row.ended {
        Ended::Quarantined { place, .. } => Some(place),
        Ended::Settled | Ended::Skipped(_) | Ended::Returned(_) => None,
    };
    json!({
        "key": row.key,
        "state": row.ended.as_str(),
        "reason": failure.map(|failure| failure.kind.name()),
        "detail": failure.map(|failure| failure.detail.as_str()),
        "place": place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, ended: Ended, read: u64, delivered: u64) -> ObjectRow {
        ObjectRow {
            key: key.to_owned(),
            came_by: CameBy::Listing,
            ended,
            account: Account {
                records_read: read,
                records_delivered: delivered,
                ..Account::default()
            },
            told: None,
        }
    }

    #[test]
    fn an_object_whose_sum_does_not_hold_spoils_the_total() {
        let mut total = TotalAccount::default();
        total.add(row("a", Ended::Settled, 3, 3));
        assert!(total.holds() && total.is_all_delivered());
        total.add(row("b", Ended::Settled, 3, 2));
        total.add(row("c", Ended::Settled, 2, 3));
        assert!(!total.holds(), "two faults that cancel out are two faults");
    }

    #[test]
    fn what_objects_were_told_to_be_is_shown_if_anybody_looked() {
        let mut total = TotalAccount::default();
        total.add(row("a", Ended::Settled, 1, 1));
        assert!(!total.table(9).contains("format") && !total.json().contains_key("told"));
        let told = Told {
            format: "alb".to_owned(),
            log_type: Some("elb".to_owned()),
            first: Some(Timestamp::from_ms(1)),
            last: None,
        };
        total.add(ObjectRow {
            told: Some(told),
            ..row("b", Ended::Settled, 1, 1)
        });
        let table = total.table(9);
        let lines: Vec<&str> = table.lines().collect();
        let at = |line: &str, text| line.find(text).unwrap_or_else(|| panic!("{text}: {table}"));
        assert_eq!(at(lines[0], "format"), at(lines[2], "alb"));
        assert_eq!(at(lines[0], "type"), at(lines[2], "elb"));
        assert_eq!(at(lines[0], "first record"), at(lines[2], "1970-01-01T"));
        assert_eq!(total.json()["told"][0]["first"], "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn an_item_for_an_object_that_was_done_before_is_no_row() {
        let mut total = TotalAccount::default();
        let done = Failure::new(FailureKind::AlreadySettled, "s3://b/a");
        total.add(row("a", Ended::Skipped(done), 0, 0));
        assert_eq!((total.repetitions, total.rows().len()), (1, 0));
    }

    #[test]
    fn an_object_that_comes_again_after_it_was_returned_counts_once() {
        let mut total = TotalAccount::default();
        let failure = Failure::new(FailureKind::OutOfTime, "later");
        total.add(row("a", Ended::Returned(failure), 2, 2));
        total.add(row("a", Ended::Settled, 5, 5));
        assert_eq!((total.objects(), total.sum.records_read), (1, 5));
        assert!(total.is_all_delivered());
    }

    #[test]
    fn a_long_table_shows_what_did_not_end_well() {
        let mut total = TotalAccount::default();
        for number in 0..5 {
            total.add(row(&format!("good-{number}"), Ended::Settled, 1, 1));
        }
        let failure = Failure::new(FailureKind::OutOfTime, "later");
        total.add(row("bad", Ended::Returned(failure), 0, 0));
        let table = total.table(2);
        assert!(
            table.contains("bad") && table.contains("out_of_time: later"),
            "{table}"
        );
        assert!(!table.contains("good-"), "{table}");
    }
}
