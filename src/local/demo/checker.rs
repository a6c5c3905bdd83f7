//! Whether every record that was produced arrived exactly once: the endpoint and the quarantine against
//! what the producers say. It believes neither the account nor the ledger.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::Value;

use super::producer::{Flaw, IDENTITY_FIELD, Produced};
use crate::local::account::{CameBy, TotalAccount};
use crate::local::listener::body::{Identity, RecordId};
use crate::local::listener::received::Received;

/// What the checker found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub produced: u64,
    /// At the endpoint, each counted once.
    pub arrived: u64,
    /// Kept in quarantine, one by one.
    pub kept: u64,
    /// Behind the damage of an object that is kept in quarantine as a whole.
    pub behind_damage: u64,
    /// Nowhere.
    pub missing: u64,
    /// Beyond the first time, at the endpoint and in quarantine together.
    pub duplicates: u64,
    /// At the endpoint or in quarantine, and nobody produced it.
    pub unexpected: u64,
    /// Objects that came by reconcile.
    pub found_by_reconcile: u64,
}

/// What quarantine holds, as the checker reads it.
#[derive(Debug, Default)]
struct Quarantined {
    records: HashMap<RecordId, u64>,
    /// Keys of objects that are kept as a whole.
    objects: HashSet<String>,
    unreadable: u64,
}

impl Quarantined {
    /// Reads entries by their names and contents.
    fn read(entries: &[(String, Bytes)]) -> Self {
        let identity = Identity::Field(IDENTITY_FIELD.to_owned());
        let mut quarantined = Self::default();
        for (name, content) in entries {
            for line in content
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let entry: Value = serde_json::from_slice(line).unwrap_or_default();
                let key = entry["source"]["key"].as_str();
                match (name.contains("objects/"), key, entry["text"].as_str()) {
                    (true, Some(key), _) => {
                        quarantined.objects.insert(key.to_owned());
                    }
                    (false, Some(_), Some(text)) => {
                        let id = identity.of(text.as_bytes());
                        *quarantined.records.entry(id).or_default() += 1;
                    }
                    _ => quarantined.unreadable += 1,
                }
            }
        }
        quarantined
    }
}

/// What quarantine holds, a line for each record and each object.
pub fn described(entries: &[(String, Bytes)]) -> Vec<String> {
    let lines = entries.iter().flat_map(|(name, content)| {
        content
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(move |line| {
                (
                    name,
                    serde_json::from_slice::<Value>(line).unwrap_or_default(),
                )
            })
    });
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    lines
        .map(|(name, entry)| {
            let (reason, key) = (text(&entry["reason"]), text(&entry["source"]["key"]));
            let record = entry["record"].as_u64();
            match record.filter(|_| !name.contains("objects/")) {
                Some(record) => format!("{reason}: record {record} of {key}, kept in {name}"),
                None => format!("{reason}: {key}, kept by reference in {name}"),
            }
        })
        .collect()
}

/// Looks for every record that was produced, and for every record that was not.
pub fn check(
    produced: &[Produced],
    received: &Received,
    quarantine: &[(String, Bytes)],
    total: &TotalAccount,
) -> Findings {
    let quarantined = Quarantined::read(quarantine);
    let mut findings = Findings::default();
    for object in produced {
        let is_kept = object.flaw == Flaw::Truncated && quarantined.objects.contains(&object.key);
        for (index, id) in object.records.iter().enumerate() {
            let arrived = u64::from(received.times_of(*id));
            let kept = quarantined.records.get(id).copied().unwrap_or_default();
            findings.produced += 1;
            findings.arrived += arrived.min(1);
            findings.kept += kept;
            match arrived + kept {
                0 if is_kept && index >= object.records_whole => findings.behind_damage += 1,
                0 => findings.missing += 1,
                times => findings.duplicates += times - 1,
            }
        }
    }
    let kept: u64 = quarantined.records.values().sum();
    findings.unexpected = received.distinct().saturating_sub(findings.arrived)
        + (kept - findings.kept)
        + quarantined.unreadable;
    let by_reconcile = |row: &&crate::local::account::ObjectRow| row.came_by == CameBy::Reconcile;
    findings.found_by_reconcile = total.rows().iter().filter(by_reconcile).count() as u64;
    findings
}

impl Findings {
    /// What is wrong, in words; nothing if all is well. `lost` is how many notifications were lost.
    pub fn complaints(&self, total: &TotalAccount, received: &Received, lost: u64) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut expect = |well: bool, complaint: String| {
            if !well {
                complaints.push(complaint);
            }
        };
        let sum = &total.sum;
        expect(
            total.holds(),
            "read = delivered + filtered + quarantined does not hold for every object".to_owned(),
        );
        expect(
            self.missing == 0,
            format!("{} records are missing", self.missing),
        );
        expect(
            self.duplicates == 0,
            format!("{} records arrived more than once", self.duplicates),
        );
        expect(
            self.unexpected == 0,
            format!("{} records were never produced", self.unexpected),
        );
        expect(
            sum.records_delivered == received.counts.records,
            format!(
                "the account says {} records were delivered, the endpoint took {}",
                sum.records_delivered, received.counts.records
            ),
        );
        expect(
            sum.records_quarantined == self.kept,
            format!(
                "the account says {} records are in quarantine, {} are",
                sum.records_quarantined, self.kept
            ),
        );
        expect(
            total.objects_returned == 0,
            format!("{} objects are not done", total.objects_returned),
        );
        expect(
            self.found_by_reconcile == lost,
            format!(
                "{lost} notifications were lost, reconcile found {}",
                self.found_by_reconcile
            ),
        );
        complaints
    }
}
