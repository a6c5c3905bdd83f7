//! How the embedded S3 is told to fail: rules, matched in the order they were added.

use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 500 `InternalError`.
    InternalError,
    /// 503 `SlowDown`.
    SlowDown,
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 403 `AccessDenied` with a message that names `KMS.AccessDeniedException`.
    KmsAccessDenied,
    /// 301 `PermanentRedirect`, as for a bucket of another region.
    PermanentRedirect,
    /// Right headers, this many bytes of the body, then the connection closes.
    BreakAfter(u64),
    /// Right headers, this many bytes of the body, then nothing for ever.
    StallAfter(u64),
    /// The right answer, this much later.
    Delay(Duration),
}

/// The operations that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Get,
    Head,
    List,
    Put,
}

/// One instruction to fail: which requests, how, and how often.
///
/// As made it applies to every GET of every object, for ever.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    operations: Vec<Operation>,
    key: Option<String>,
    times_left: Option<u32>,
}

impl FaultRule {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            operations: vec![Operation::Get],
            key: None,
            times_left: None,
        }
    }

    /// Only requests of these operations.
    pub fn on(mut self, operations: &[Operation]) -> Self {
        self.operations = operations.to_vec();
        self
    }

    /// Only requests for this key; for a listing, of this prefix.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only the next `times` requests that match.
    pub fn times(mut self, times: u32) -> Self {
        self.times_left = Some(times);
        self
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<FaultRule>,
}

impl Faults {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault of this request, if it has one; a rule with a count is used up by it.
    pub(super) fn take(&mut self, operation: Operation, key: &str) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| {
            rule.operations.contains(&operation)
                && rule.key.as_deref().is_none_or(|wanted| wanted == key)
                && rule.times_left != Some(0)
        })?;
        if let Some(left) = &mut rule.times_left {
            *left -= 1;
        }
        Some(rule.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_applies_to_its_operation_and_key_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.add(FaultRule::new(Fault::SlowDown).key("a").times(2));
        faults.add(FaultRule::new(Fault::AccessDenied).on(&[Operation::List]));

        assert_eq!(faults.take(Operation::Get, "b"), None);
        assert_eq!(faults.take(Operation::Head, "a"), None);
        assert_eq!(faults.take(Operation::Get, "a"), Some(Fault::SlowDown));
        assert_eq!(faults.take(Operation::Get, "a"), Some(Fault::SlowDown));
        assert_eq!(faults.take(Operation::Get, "a"), None);
        assert_eq!(
            faults.take(Operation::List, "p/"),
            Some(Fault::AccessDenied)
        );
    }
}
