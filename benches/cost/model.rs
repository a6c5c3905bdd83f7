//! From measured figures to dollars for a TB (10^12 bytes) of plain logs.

use crate::figures::{Design, Run};
use crate::prices;

const TB: f64 = 1e12;
const GB: f64 = 1e9;

/// Dollars for a TB of plain logs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub compute: f64,
    /// To Lambda, S3 and SQS.
    pub requests: f64,
    pub ledger: f64,
    pub egress: f64,
}

impl Cost {
    pub fn total(self) -> f64 {
        self.compute + self.requests + self.ledger + self.egress
    }
}

/// What was measured, as it was measured.
pub fn cost(run: &Run) -> Cost {
    let median =
        |of: fn(&crate::figures::Sample) -> u64| run.spread(|sample| of(sample) as f64).median;
    let times = TB / run.plain_bytes as f64;
    let is_ours = run.design == Design::Brigade;
    // Ours takes all of a run's objects in one invocation, the others one at a time.
    let invocations = if is_ours { 1.0 } else { run.objects as f64 };
    // S3 calls the others directly.
    let queue = if is_ours {
        queue_requests(run.objects as f64)
    } else {
        0.0
    };
    Cost {
        compute: compute(run.cpu_per_gb().median),
        requests: times
            * (invocations * prices::LAMBDA_REQUEST
                + median(|sample| sample.store_requests) * prices::S3_GET
                + queue * prices::SQS_REQUEST),
        ledger: times * median(|sample| sample.ledger_writes) * prices::DYNAMODB_WRITE,
        egress: egress(median(|sample| sample.body_bytes) / run.plain_bytes as f64),
    }
}

/// One to send each message, which S3 does; one to receive and one to delete as many as fit.
fn queue_requests(messages: f64) -> f64 {
    messages + 2.0 * (messages / prices::SQS_BATCH_MAX).ceil()
}

/// For CPU seconds for a GB. Memory brings CPU in proportion, so below one vCPU the GB-seconds of
/// work that keeps the CPU busy do not depend on the memory.
pub fn compute(cpu_per_gb: f64) -> f64 {
    cpu_per_gb * (TB / GB) * prices::GB_PER_VCPU * prices::LAMBDA_GB_SECOND
}

/// For bytes of bodies over plain bytes.
pub fn egress(body_over_plain: f64) -> f64 {
    body_over_plain * (TB / GB) * prices::EGRESS_GB
}
