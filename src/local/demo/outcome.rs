//! How a demonstration ended: the account and the checker's findings, for a person and for a program.

use serde_json::{Map, Value, json};

use super::checker::Findings;
use crate::local::account::TotalAccount;

/// How a demonstration ended.
pub struct Outcome {
    pub(super) seed: u64,
    /// Notifications that were lost on purpose.
    pub(super) lost: u64,
    pub(super) total: TotalAccount,
    pub(super) findings: Findings,
    /// What quarantine holds, a line each.
    pub(super) kept: Vec<String>,
    /// Empty if all is well.
    pub(super) complaints: Vec<String>,
}

impl Outcome {
    pub fn is_well(&self) -> bool {
        self.complaints.is_empty()
    }

    /// The account for a program.
    pub fn json(&self) -> Map<String, Value> {
        let findings = &self.findings;
        let mut map = self.total.json();
        let more = [
            ("seed", json!(self.seed)),
            ("notifications_lost", json!(self.lost)),
            ("notifications_repeated", json!(self.total.repetitions)),
            ("found_by_reconcile", json!(findings.found_by_reconcile)),
            ("records_produced", json!(findings.produced)),
            ("records_behind_damage", json!(findings.behind_damage)),
            ("missing", json!(findings.missing)),
            ("duplicates", json!(findings.duplicates)),
            ("unexpected", json!(findings.unexpected)),
            ("complaints", json!(self.complaints)),
        ];
        map.extend(more.map(|(name, value)| (name.to_owned(), value)));
        map
    }

    /// The account for a person.
    pub fn table(&self) -> String {
        let findings = &self.findings;
        let mut text = self.total.table(usize::MAX);
        text.push_str(&format!(
            "\nchecker: {} records produced = {} at the endpoint + {} in quarantine \
             + {} behind the damage of an object in quarantine + {} missing\n\
             checker: {} more than once, {} unexpected; {} objects found by reconcile of {} whose \
             notification was lost\n",
            findings.produced,
            findings.arrived,
            findings.kept,
            findings.behind_damage,
            findings.missing,
            findings.duplicates,
            findings.unexpected,
            findings.found_by_reconcile,
            self.lost,
        ));
        for kept in &self.kept {
            text.push_str(&format!("quarantine: {kept}\n"));
        }
        for complaint in &self.complaints {
            text.push_str(&format!("FAILED: {complaint}\n"));
        }
        if self.is_well() {
            text.push_str(
                "all is well: every record arrived exactly once, or is in quarantine with its reason\n",
            );
        }
        text
    }
}
