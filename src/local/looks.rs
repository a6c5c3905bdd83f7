//! What `brigade ship` says of each object beside its account: what it was told to be, and the times of its records.
//!
//! The bytes that the pipeline reads are looked at a second time on their way ([`Look`]), so nothing is read twice and
//! the pipeline pays nothing for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::look::{Look, Seen, Wanted};
use crate::clock::Timestamp;
use crate::config::EndpointKind;
use crate::expansion::ExpansionMax;
use crate::format::Container;
use crate::object::ContentId;
use crate::pipeline::Bounds;
use crate::plan::{PlanDefaults, Planned, Reading};
use crate::route::Route;
use crate::rules::Rules;
use crate::shape::spec::TimestampWhen;
use crate::sink::logzio::LOG_TYPE_DEFAULT;

/// What an object was told to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The name of its format.
    pub format: String,
    /// As what it is sent, if the endpoint knows types.
    pub log_type: Option<String>,
    /// The time of its first record that is sent, if it has one.
    pub first: Option<Timestamp>,
    /// The time of the last one.
    pub last: Option<Timestamp>,
}

/// Looks at all objects of a run.
///
/// Memory: for each object that was found and is not done a name; while it is read, what a [`Look`] takes.
pub struct Looks {
    plan: PlanDefaults,
    rules: Arc<Rules>,
    kind: EndpointKind,
    record_bytes_max: usize,
    expansion_max: ExpansionMax,
    under_way: Mutex<HashMap<String, Arc<Mutex<UnderWay>>>>,
}

struct UnderWay {
    content: ContentId,
    /// Bytes of the object that were looked at.
    at: u64,
    is_begun: bool,
    look: Option<Look>,
    told: Option<Told>,
}

impl Looks {
    /// With the rules that hold for the whole run.
    pub fn new(bounds: &Bounds, kind: EndpointKind, rules: Arc<Rules>) -> Arc<Self> {
        Arc::new(Self {
            plan: PlanDefaults {
                // What leaves unchanged has a time all the same.
                timestamps: TimestampWhen::Always,
                ..bounds.plan.clone()
            },
            rules,
            kind,
            record_bytes_max: bounds.limits.record_bytes_max,
            expansion_max: bounds.expansion_max,
            under_way: Mutex::default(),
        })
    }

    /// Says that an object is going to be read.
    pub fn expect(&self, content: &ContentId) {
        let under_way = UnderWay {
            content: content.clone(),
            at: 0,
            is_begun: false,
            look: None,
            told: None,
        };
        let key = content.key.clone();
        self.under_way()
            .insert(key, Arc::new(Mutex::new(under_way)));
    }

    /// Looks at bytes that were read of an object from `start` on. What was looked at before is passed over.
    pub async fn read(self: &Arc<Self>, key: &str, start: u64, bytes: Bytes) {
        let Some(under_way) = self.under_way().get(key).cloned() else {
            return;
        };
        let looks = Arc::clone(self);
        // It takes as long as the pipeline takes for them.
        let looked = tokio::task::spawn_blocking(move || {
            held(&under_way).read(start, &bytes, &looks);
        });
        if let Err(error) = looked.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// What an object was told to be that is done, as far as it was read. Nothing more is held of it.
    pub fn take(&self, key: &str) -> Option<Told> {
        let under_way = self.under_way().remove(key)?;
        let mut under_way = held(&under_way);
        under_way.end(self.kind);
        under_way.told.take()
    }

    fn look(&self, content: &ContentId) -> Option<Look> {
        match self.plan.plan(&self.rules, content) {
            Planned::Carry { plan, .. } => Some(Look::new(
                *plan,
                self.record_bytes_max,
                self.expansion_max,
                Wanted::FirstAndLast,
            )),
            Planned::Skip { .. } => None,
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, Arc<Mutex<UnderWay>>>> {
        held(&self.under_way)
    }
}

/// What a panicking thread left is whole, or is not shown.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnderWay {
    fn read(&mut self, start: u64, bytes: &[u8], looks: &Looks) {
        if !self.is_begun {
            self.is_begun = true;
            self.look = looks.look(&self.content);
        }
        let Some(look) = &mut self.look else {
            return;
        };
        let Some(new) = self
            .at
            .checked_sub(start)
            .and_then(|seen| bytes.get(usize::try_from(seen).ok()?..))
        else {
            // A hole, or nothing new.
            return;
        };
        self.at += new.len() as u64;
        let is_damaged = look.push(new).is_err();
        if is_damaged || self.at == self.content.size {
            self.end(looks.kind);
        }
    }

    fn end(&mut self, kind: EndpointKind) {
        if let Some(look) = self.look.take() {
            // What is wrong with it is the pipeline's to say.
            let (seen, _) = look.finish();
            self.told = Told::of(&seen, kind);
        }
    }
}

impl Told {
    fn of(seen: &Seen, kind: EndpointKind) -> Option<Self> {
        let reading = seen.reading.as_ref()?;
        let (first, last) = seen.times();
        Some(Self {
            format: format_name(reading),
            log_type: type_sent(&reading.route, kind).map(str::to_owned),
            first,
            last,
        })
    }
}

/// How a person calls the format: its name, or that of its container.
pub fn format_name(reading: &Reading) -> String {
    let is_preset = reading
        .read_as
        .starts_with(|char: char| char.is_ascii_lowercase());
    if is_preset {
        return reading.read_as.to_string();
    }
    match &reading.container {
        Container::Lines | Container::HeadedLines(_) => "lines",
        Container::Values => "values",
        Container::Array { .. } => "array",
        Container::Subscription => "subscription",
        Container::Rows(_) => "delimited",
        Container::Multiline { .. } => "multiline",
    }
    .to_owned()
}

/// The type under which records are sent by that route, if its endpoint knows types. `kind` is that of the endpoint
/// of the settings.
pub fn type_sent(route: &Route, kind: EndpointKind) -> Option<&str> {
    let kind = route
        .endpoint
        .as_ref()
        .map_or(kind, |endpoint| endpoint.kind);
    match kind {
        EndpointKind::Logzio => Some(route.log_type.as_deref().unwrap_or(LOG_TYPE_DEFAULT)),
        EndpointKind::Http => None,
    }
}
