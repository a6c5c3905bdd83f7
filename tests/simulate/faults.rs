//! What goes wrong, by kind: how often in one world, and how often it has.

use crate::random::Random;

/// Declares the kinds once.
macro_rules! kinds {
    ($($kind:ident $name:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($kind,)* }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$kind,)*];

            pub fn name(self) -> &'static str {
                match self { $(Fault::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    NotificationLost "notification lost"
    NotificationLate "notification late by hours"
    NotificationDoubled "notification doubled"
    NotificationConcurrent "notification twice at once"
    NotificationDisordered "notification out of order"
    ShapeS3 "trigger: S3"
    ShapeS3Sqs "trigger: S3, SQS"
    ShapeSns "trigger: S3, SNS"
    ShapeSnsSqs "trigger: S3, SNS, SQS"
    ShapeSnsSqsRaw "trigger: S3, SNS, SQS, raw"
    ShapeEventBridge "trigger: EventBridge"
    ShapeEventBridgeSqs "trigger: EventBridge, SQS"
    ShapeByHand "trigger: by hand"
    ShapeReconcile "trigger: work item of reconcile"
    ShapeMalformed "trigger: malformed"
    ObjectOverwritten "object overwritten"
    ObjectOverwrittenWhileRead "object overwritten while read"
    ObjectDeleted "object deleted"
    ObjectDeletedBeforeFetch "object deleted before its fetch"
    ObjectPutAgain "object put again as it was"
    ObjectBehindListing "object behind the listing"
    ObjectOldLastModified "object with LastModified in the past"
    ObjectDamaged "object damaged"
    ObjectDenied "object denied"
    ObjectArchived "object archived"
    GetBroken "GET: connection broken"
    GetStalled "GET: stalled"
    Get500 "GET: 500"
    Get503 "GET: 503"
    GetWrongLength "GET: wrong length"
    GetShort "GET: short body as complete"
    HeadFailed "HEAD: failed"
    ListFailed "LIST: failed"
    Endpoint400 "endpoint: 400 with counts"
    EndpointWrongCounts "endpoint: 400 with wrong counts"
    Endpoint413 "endpoint: 413"
    Endpoint429 "endpoint: 429"
    Endpoint429After "endpoint: 429 with Retry-After"
    Endpoint5xx "endpoint: 5xx"
    EndpointAnswerLost "endpoint: answer lost"
    EndpointHangs "endpoint: hangs"
    EndpointUnreachable "endpoint: unreachable"
    EndpointOutage "endpoint: refuses for hours"
    EndpointWrongToken "endpoint: wrong token"
    LedgerThrottled "ledger: throttled"
    LedgerAway "ledger: unavailable for a while"
    LedgerPartition "ledger: out of one process's reach"
    LedgerCondition "ledger: condition failed"
    LedgerAnswerLost "ledger: answer lost"
    LedgerLate "ledger: write applied late"
    LedgerRepeated "ledger: write repeated by the client"
    LedgerStale "ledger: stale range"
    QuarantineAway "quarantine: unavailable"
    QuarantineOutage "quarantine: unavailable for a while"
    QuarantineAnswerLost "quarantine: answer lost"
    QueueAway "queue: unavailable"
    QueueAnswerLost "queue: answer lost"
    QueueDoubled "queue: message doubled"
    Killed "process killed"
    ReconcileKilled "reconcile killed"
    CleanStop "process stopped"
    DeadlineStruck "deadline struck"
    TwoWorkers "two workers on one object"
    LeaseRanOut "lease ran out under a live holder"
    ClockApart "clock apart by seconds"
    ObjectTrail "object: document with records"
    ObjectArray "object: JSON array"
    ObjectValues "object: JSON values"
    ObjectSubscription "object: subscription documents"
    ObjectFlow "object: flow log"
    ObjectBalancer "object: load balancer"
    ObjectCsv "object: comma-separated values"
    ObjectMultiline "object: several lines a record"
    ObjectZstd "object: zstd"
    ObjectBzip2 "object: bzip2"
    ObjectTwice "object: compressed twice"
    ObjectCut "object: document cut"
    ObjectGarbled "object: document garbled"
    RulesChanged "rules changed"
    RulesOld "rules: old ones in force"
    RulesSkip "object skipped by a rule"
    RulesLeaveOut "record left out by a rule"
    BegunOtherwise "object gone on with though rules read it otherwise"
    OwnEndpoint "request to an endpoint of a rule"
    OwnWrongToken "endpoint of a rule: wrong token"
}

impl Fault {
    /// What strikes once for an object or an invocation has fewer occasions than what strikes at every request.
    fn weight(self) -> f64 {
        match self {
            Fault::NotificationConcurrent
            | Fault::NotificationDoubled
            | Fault::ObjectOverwrittenWhileRead
            | Fault::Killed
            | Fault::LedgerPartition
            | Fault::ClockApart
            | Fault::QueueDoubled => 3.0,
            _ => 1.0,
        }
    }
}

/// How likely each kind is in one world, and how often it came.
#[derive(Clone, Debug)]
pub struct Faults {
    rates: Vec<f64>,
    pub counts: Vec<u64>,
}

impl Faults {
    /// Each world has some of the kinds, so that each kind is also seen without most others.
    pub fn new(random: &mut Random) -> Self {
        let share = random.pick(&[0.0, 0.2, 0.5, 0.8]);
        let strength = random.pick(&[0.3, 1.0, 2.0]);
        let rates = Fault::ALL
            .iter()
            .map(|fault| match random.chance(share) {
                true => (fault.weight() * strength * random.pick(&[0.02, 0.05, 0.1, 0.2])).min(0.7),
                false => 0.0,
            })
            .collect();
        Self {
            rates,
            counts: vec![0; Fault::ALL.len()],
        }
    }

    pub fn none() -> Self {
        Self {
            rates: vec![0.0; Fault::ALL.len()],
            counts: vec![0; Fault::ALL.len()],
        }
    }

    pub fn rate(&self, fault: Fault) -> f64 {
        self.rates[fault as usize]
    }

    pub fn raise(&mut self, fault: Fault, rate: f64) {
        self.rates[fault as usize] = rate;
    }

    pub fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }
}
