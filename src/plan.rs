//! How one object is read, and how its records leave: what settings and rules say of it, completed by what it
//! turns out to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::format::{Container, Leaves, Preset, Recognised, preset, presets, recognise};
use crate::object::ContentId;
use crate::route::Route;
use crate::rules::{Carry, Decision, Rules};
use crate::shape::spec::{ShapeSpec, SourceValue, TimestampWhen};
use crate::shape::{Edits, ObjectFacts, SOURCE_FIELD, Shape};
use crate::sink::endpoint::shape_for;

/// What is said of an object before its first byte is read.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its key, by which sources are told that look alike.
    pub key: String,
    /// What it is, if that need not be found out.
    pub said: Option<Said>,
    /// How its records leave; by default as the source has it.
    pub leaves: Option<Leaves>,
    /// Where they go. Without a type they have that of the source.
    pub route: Route,
    /// What becomes of each of them; the time may still be that of the source.
    pub shape: Shape,
    pub times: SourceTimes,
}

/// How the time of each source is taken, which many objects of it share. A clone is the same, and all are alike.
#[derive(Clone, Debug, Default)]
pub struct SourceTimes(Arc<Mutex<BTreeMap<SourceTime, Arc<Edits>>>>);

/// A preset by its name, how its records leave, and which of them get a time.
type SourceTime = (&'static str, Leaves, TimestampWhen);

impl SourceTimes {
    /// `edits`, with the time as the source has it.
    fn of(&self, preset: &Preset, leaves: Leaves, edits: &Arc<Edits>) -> Arc<Edits> {
        if !edits.lacks_time_source() {
            return Arc::clone(edits);
        }
        let timed = || match preset.time(leaves) {
            Some(source) => Arc::new((**edits).clone().or_time_from(&source)),
            None => Arc::clone(edits),
        };
        let Some(when) = edits.takes_time_alone() else {
            return timed();
        };
        // No change leaves them half made.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry((preset.name, leaves, when));
        Arc::clone(known.or_insert_with(timed))
    }
}

impl PartialEq for SourceTimes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SourceTimes {}

/// What an object is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Preset(&'static Preset),
    Container(Container),
}

/// As what an object is read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub container: Container,
    pub shape: Shape,
    pub route: Route,
    /// All of that but the plan: what a checkpoint says, for [`Plan::resume`].
    pub read_as: Arc<str>,
}

/// What the settings say of every object. Rules say more, and otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanDefaults {
    /// What the endpoint needs records to be.
    pub shape: Shape,
    /// Whether records carry the object they came from.
    pub add_source_field: bool,
    pub timestamps: TimestampWhen,
    /// The type of all records, if it is not to be that of their source.
    pub log_type: Option<Arc<str>>,
    /// The region of the function.
    pub region: Option<String>,
    /// What all objects are, unless rules say otherwise; by default what they look like.
    pub said: Option<Said>,
    pub known: KnownRoutes,
    pub times: SourceTimes,
}

/// Routes that are known beforehand, whatever rules say, by the keys of objects, and what is asked of the shape of
/// their records. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct KnownRoutes(Arc<Mutex<BTreeMap<String, (Route, ShapeSpec)>>>);

impl KnownRoutes {
    pub fn set(&self, key: &str, route: Route, shape: ShapeSpec) {
        self.change(|routes| routes.insert(key.to_owned(), (route, shape)));
    }

    pub fn forget(&self, key: &str) {
        self.change(|routes| routes.remove(key));
    }

    fn get(&self, key: &str) -> Option<(Route, ShapeSpec)> {
        self.change(|routes| routes.get(key).cloned())
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, (Route, ShapeSpec)>) -> T) -> T {
        // No change leaves them half made.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PartialEq for KnownRoutes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.change(|ours| *ours == other.change(|theirs| theirs.clone()))
    }
}

impl Eq for KnownRoutes {}

/// What is to be done with an object.
#[derive(Clone, Debug)]
pub enum Planned {
    Carry {
        plan: Box<Plan>,
        /// Whether there are rules, and none that matches.
        is_unmatched: bool,
    },
    /// It is not carried; by this rule, or because none matches.
    Skip { rule: Option<String> },
}

impl PlanDefaults {
    /// What is to be done with an object that may be a log.
    pub fn plan(&self, rules: &Rules, content: &ContentId) -> Planned {
        let (carry, captures, is_unmatched) = match rules.of(&content.bucket, &content.key) {
            Decision::Carry {
                carry, captures, ..
            } => (carry, captures, false),
            Decision::Skip { rule } => {
                return Planned::Skip {
                    rule: Some(rule.name().to_owned()),
                };
            }
            Decision::Unmatched(None) => return Planned::Skip { rule: None },
            Decision::Unmatched(Some(carry)) => (carry, Vec::new(), !rules.rules().is_empty()),
        };
        Planned::Carry {
            plan: Box::new(self.carry(carry, &captures, content)),
            is_unmatched,
        }
    }

    fn carry(&self, carry: &Carry, captures: &[(String, String)], content: &ContentId) -> Plan {
        let facts = ObjectFacts {
            bucket: &content.bucket,
            key: &content.key,
            etag: content.etag.as_str(),
            region: self.region.as_deref(),
            account: None,
            captures,
        };
        let log_type = carry.log_type(captures).map(Arc::from);
        let route = Route {
            log_type: log_type.or_else(|| self.log_type.clone()),
            endpoint: carry.destination.clone().map(Arc::new),
        };
        let known = self.known.get(&content.key);
        let (route, said) = known.unwrap_or_else(|| (route, carry.shape.clone()));
        let base = match &route.endpoint {
            Some(endpoint) => shape_for(endpoint.kind),
            None => self.shape.clone(),
        };
        Plan {
            key: content.key.clone(),
            said: carry.format.clone().or_else(|| self.said.clone()),
            leaves: carry.leaves,
            route,
            shape: base.editing(self.spec(&said).for_object(&facts)),
            times: self.times.clone(),
        }
    }

    /// What a rule says of the shape, and for the rest what the settings say.
    fn spec(&self, said: &ShapeSpec) -> ShapeSpec {
        let mut spec = said.clone();
        if spec.timestamp.when == TimestampWhen::default() {
            spec.timestamp.when = self.timestamps;
        }
        if self.add_source_field && spec.source.is_empty() {
            spec.source = vec![(SourceValue::ObjectKey, SOURCE_FIELD.to_owned())];
        }
        spec
    }
}

impl Reading {
    /// The same, but the records are held otherwise than their source writes them by itself.
    fn within(self, container: Container) -> Option<Self> {
        let held = serde_json::to_string(&container).ok()?;
        Some(Self {
            container,
            read_as: format!("{}{WITHIN}{held}", self.read_as).into(),
            ..self
        })
    }
}

/// What stands between the name of a source and the container that its records are in.
const WITHIN: char = ' ';

/// How an object is read that was begun without a word of that.
const LINES: &str = "lines";

impl From<Shape> for Plan {
    /// Lines, whatever they look like.
    fn from(shape: Shape) -> Self {
        Self {
            key: String::new(),
            said: Some(Said::Preset(&presets::LINES)),
            leaves: None,
            route: Route::default(),
            shape,
            times: SourceTimes::default(),
        }
    }
}

impl Plan {
    /// As what the object is read, if its content has no say.
    pub fn known(&self) -> Option<Reading> {
        match self.said.as_ref()? {
            Said::Preset(preset) => Some(self.of(preset, self.leaves)),
            Said::Container(container) => self.within(container),
        }
    }

    /// As what the object is read whose plain bytes begin with `head`, if that can be told. It always can if
    /// `is_all` of it is there, or as much as is looked at.
    pub fn told(&self, head: &[u8], is_all: bool) -> Option<Reading> {
        match recognise(&self.key, head, is_all) {
            Recognised::As(preset) => Some(self.of(preset, self.leaves)),
            Recognised::Within(preset, container) => self.of(preset, self.leaves).within(container),
            Recognised::NeedsMore => None,
        }
    }

    /// As what an object goes on being read: what [`Reading::read_as`] was, lines if nothing was said. None if that
    /// cannot be understood.
    pub fn resume(&self, read_as: Option<&str>) -> Option<Reading> {
        let text = read_as.unwrap_or(LINES);
        let (source, container) = match text.split_once(WITHIN) {
            Some((source, container)) => (source, Some(container)),
            None => (text, None),
        };
        let (name, leaves) = match source.rsplit_once(':') {
            Some((name, "raw")) => (name, Some(Leaves::Raw)),
            Some((name, "json")) => (name, Some(Leaves::Json)),
            _ => (source, None),
        };
        match (preset(name), container) {
            (Some(preset), None) => Some(self.of(preset, leaves)),
            (Some(preset), Some(container)) => {
                let container = serde_json::from_str(container).ok()?;
                self.of(preset, leaves).within(container)
            }
            (None, _) => self.within(&serde_json::from_str(text).ok()?),
        }
    }

    fn of(&self, preset: &'static Preset, leaves: Option<Leaves>) -> Reading {
        let leaves = leaves.unwrap_or(preset.leaves);
        let mut route = self.route.clone();
        if route.log_type.is_none() {
            route.log_type = preset.log_type.map(Arc::from);
        }
        let how = match leaves {
            _ if leaves == preset.leaves => "",
            Leaves::Raw => ":raw",
            Leaves::Json => ":json",
        };
        let edits = self.times.of(preset, leaves, &self.shape.edits);
        Reading {
            container: preset.container(leaves),
            shape: Shape {
                edits,
                ..self.shape.clone()
            },
            route,
            read_as: format!("{}{how}", preset.name).into(),
        }
    }

    fn within(&self, container: &Container) -> Option<Reading> {
        Some(Reading {
            container: container.clone(),
            shape: self.shape.clone(),
            route: self.route.clone(),
            read_as: serde_json::to_string(container).ok()?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndpointKind;
    use crate::format::PRESETS;
    use crate::pattern::Pattern;
    use crate::records::Boundary;
    use crate::rules::DestinationSpec;
    use crate::shape::spec::{Redaction, TimestampSpec};

    #[test]
    fn what_a_checkpoint_says_is_understood_again() {
        let plan = Plan::from(Shape::default());
        for preset in PRESETS {
            for leaves in [None, Some(Leaves::Raw), Some(Leaves::Json)] {
                let reading = plan.of(preset, leaves);
                let again = plan.resume(Some(&reading.read_as)).expect("understood");
                assert_eq!(again.container, reading.container, "{}", preset.name);
                assert_eq!(again.route, reading.route, "{}", preset.name);
                assert_eq!(again.read_as, reading.read_as, "{}", preset.name);
            }
        }
        for container in [
            Container::Values,
            Container::Array {
                fields: vec!["é\":json".to_owned()],
            },
            Container::Multiline {
                boundary: Boundary::Start(Pattern::new(r"^\d{4}-").expect("a pattern")),
                lines_max: None,
            },
        ] {
            let reading = plan.within(&container).expect("written");
            let again = plan.resume(Some(&reading.read_as)).expect("understood");
            assert_eq!(again.container, container);
        }
    }

    #[test]
    fn a_checkpoint_says_in_what_the_records_of_a_source_are_held() {
        let plan = Plan::from(Shape::default());
        let container = Container::Array {
            fields: vec!["the events:json".to_owned()],
        };
        for leaves in [None, Some(Leaves::Json)] {
            for preset in PRESETS {
                let reading = plan.of(preset, leaves).within(container.clone());
                let reading = reading.expect("written");
                let again = plan.resume(Some(&reading.read_as)).expect("understood");
                assert_eq!(again.container, container, "{}", preset.name);
                assert_eq!(again.route, reading.route, "{}", preset.name);
                assert_eq!(again.read_as, reading.read_as, "{}", preset.name);
            }
        }
    }

    /// A rule compiles its pattern once; whoever resumes compiles what the checkpoint says.
    #[test]
    fn r8_a_pattern_of_a_rule_and_the_same_of_a_checkpoint_begin_the_same_records() {
        let rules = Rules::parse(
            "version: 1\nrules:\n- {name: a, match: {prefix: a}, \
             format: {container: multiline, continuation: '^( |é)', lines_max: 3}}\n",
        );
        let rules = rules.expect("rules");
        let said = rules.rules()[0]
            .carry()
            .and_then(|carry| carry.format.clone());
        let plan = Plan {
            said,
            ..Plan::from(Shape::default())
        };
        // As it was written before patterns were compiled once.
        let text = "{\"multiline\":{\"boundary\":{\"continuation\":\"^( |é)\"},\"lines_max\":3}}";
        let known = plan.known().expect("said");
        assert_eq!(&*known.read_as, text);
        let resumed = plan.resume(Some(text)).expect("understood");
        let plain = "a\n b\né\nc\n d\n e\n f\n\ng".as_bytes();
        for reading in [&known, &resumed, &known] {
            let mut splitter = reading.container.splitter(1_000);
            let mut records = Vec::new();
            for mut piece in plain.chunks(2) {
                while let Some(record) = splitter.pop(&mut piece).expect("text") {
                    records.push(String::from_utf8_lossy(record.bytes).into_owned());
                }
            }
            while let Some(record) = splitter.finish().expect("text") {
                records.push(String::from_utf8_lossy(record.bytes).into_owned());
            }
            assert_eq!(records, ["a\n b\né", "c\n d\n e", " f", "g"]);
        }
    }

    #[test]
    fn what_is_known_of_an_object_is_said_of_its_records() {
        use crate::records::{Form, Frame, Record};
        use crate::shape::{Scratch, Shaped};
        let defaults = PlanDefaults::default();
        let shape = ShapeSpec {
            redact: vec![Redaction::Email],
            ..ShapeSpec::default()
        };
        defaults.known.set("kept", Route::typed("t"), shape);
        let content = ContentId {
            bucket: "b".into(),
            key: "kept".into(),
            etag: "e".into(),
            size: 1,
        };
        let shaped = || {
            let Planned::Carry { plan, .. } = defaults.plan(&Rules::default(), &content) else {
                panic!("skipped");
            };
            let bytes = b"to a@b.cd";
            let record = Record {
                bytes,
                position: Default::default(),
                length: bytes.len() as u64,
                end: bytes.len() as u64,
                frame: Frame::LineFeed,
                form: Form::Line,
            };
            let mut scratch = Scratch::default();
            match plan.shape.shape(&record, true, &mut scratch) {
                Shaped::Edited(out) => (plan.route, out.to_vec()),
                _ => (plan.route, bytes.to_vec()),
            }
        };
        assert_eq!(shaped(), (Route::typed("t"), b"to [redacted]".to_vec()));
        defaults.known.forget("kept");
        assert_eq!(shaped(), (Route::default(), b"to a@b.cd".to_vec()));
    }

    #[test]
    fn records_are_what_the_endpoint_of_their_known_route_needs() {
        let endpoint = |kind| DestinationSpec {
            url: "https://example.com".parse().expect("a URL"),
            kind,
            token: None,
        };
        let content = ContentId {
            bucket: "b".into(),
            key: "kept".into(),
            etag: "e".into(),
            size: 1,
        };
        let json_only = |ours, theirs| {
            let defaults = PlanDefaults {
                shape: shape_for(ours),
                ..PlanDefaults::default()
            };
            let route = Route {
                endpoint: Some(Arc::new(endpoint(theirs))),
                ..Route::default()
            };
            defaults.known.set("kept", route, ShapeSpec::default());
            match defaults.plan(&Rules::default(), &content) {
                Planned::Carry { plan, .. } => plan.shape.json_only,
                Planned::Skip { .. } => panic!("skipped"),
            }
        };
        let (logzio, http) = (EndpointKind::Logzio, EndpointKind::Http);
        assert!(!json_only(logzio, http));
        assert!(json_only(http, logzio));
    }

    #[test]
    fn objects_share_how_the_time_of_their_source_is_taken_unless_more_is_done_to_them() {
        let timed = |when, redact: &[Redaction]| {
            let spec = ShapeSpec {
                timestamp: TimestampSpec { when, from: None },
                redact: redact.to_vec(),
                ..ShapeSpec::default()
            };
            Shape::default().editing(spec.for_object(&ObjectFacts::default()))
        };
        let times = SourceTimes::default();
        let plan = |shape| Plan {
            times: times.clone(),
            ..Plan::from(shape)
        };
        for when in [
            TimestampWhen::WhereRewritten,
            TimestampWhen::Always,
            TimestampWhen::Never,
        ] {
            for preset in PRESETS {
                for leaves in [Leaves::Raw, Leaves::Json] {
                    let edits = |plan: Plan| plan.of(preset, Some(leaves)).shape.edits;
                    let once = edits(plan(timed(when, &[])));
                    assert_eq!(once, edits(Plan::from(timed(when, &[]))), "{}", preset.name);
                    let again = edits(plan(timed(when, &[])));
                    assert!(when == TimestampWhen::Never || Arc::ptr_eq(&once, &again));
                    let redacting = edits(plan(timed(when, &[Redaction::Email])));
                    assert_ne!(redacting, once, "{}", preset.name);
                }
            }
        }
    }

    #[test]
    fn an_object_that_was_begun_before_sources_were_told_goes_on_as_lines() {
        let reading = Plan::from(Shape::default()).resume(None).expect("lines");
        assert_eq!(reading.container, Container::Lines);
    }

    #[test]
    fn what_nobody_wrote_is_not_understood() {
        let plan = Plan::from(Shape::default());
        for text in [
            "",
            "cloudtrial",
            "alb:xml",
            "{\"array\":7}",
            "{\"multiline\":{\"boundary\":{\"start\":\"(\"}}}",
            "alb \"line\"",
            "cloudtrial \"lines\"",
        ] {
            assert!(plan.resume(Some(text)).is_none(), "{text}");
        }
    }
}
