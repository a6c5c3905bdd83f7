//! What is done to the records of one object, made ready once: names to look for, members to add, rules.
//!
//! Goes in: a [`ShapeSpec`] and what is known of the object. Comes out: what to look for in a record, and pieces to
//! put it together from. It never puts a record together: that is `shape.rs`.

use std::ops::Range;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::aws_key::account_and_region;
use super::escape::{push_string, stands_for, unescape};
use super::spec::{
    Condition, FieldPath, FieldValue, Redaction, ShapeSpec, SourceValue, TimeFormat, TimePlace,
    TimeSource, TimestampWhen,
};
use super::{MESSAGE_FIELD, TIMESTAMP_FIELD, time};
use crate::clock::Timestamp;
use crate::records::Record;
use crate::records::json::{members, minify};

/// What is known of the object whose records are edited.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectFacts<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    /// Without its quotes.
    pub etag: &'a str,
    /// Stands for the region where the key names none.
    pub region: Option<&'a str>,
    /// Stands for the account where the key names none.
    pub account: Option<&'a str>,
    /// What the rule's pattern captured of the key, by name.
    pub captures: &'a [(String, String)],
}

/// What is done to the records of one object. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    added: Vec<Added>,
    time: Option<Time>,
    names: Names,
    drops: Drops,
    include: Vec<Condition>,
    exclude: Vec<Condition>,
    redact: Vec<Redaction>,
}

/// A member that is added to each record that has none of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Added {
    name: String,
    /// Its name and the colon; of one that is the same in each record its value, too.
    member: Vec<u8>,
    rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    Index,
    Id(IdBegun),
}

/// The hash of a record's id, as far as it is the same for all records of the object.
#[derive(Clone, Debug)]
struct IdBegun(Sha256);

impl PartialEq for IdBegun {
    fn eq(&self, other: &Self) -> bool {
        self.0.clone().finalize() == other.0.clone().finalize()
    }
}

impl Eq for IdBegun {}

/// Bytes of the hash that make a record's id.
const ID_BYTES: usize = 16;

impl IdBegun {
    fn new(facts: &ObjectFacts<'_>) -> Self {
        let mut hash = Sha256::new();
        for part in [facts.bucket, facts.key, facts.etag] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash)
    }

    fn push(&self, index: u64, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hash = self.0.clone().chain_update(index.to_be_bytes()).finalize();
        out.push(b'"');
        for byte in &hash[..ID_BYTES] {
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        out.push(b'"');
    }
}

/// Where `@timestamp` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Time {
    when: TimestampWhen,
    source: Option<TimeSource>,
    /// Whether the rule itself names the place.
    is_asked_for: bool,
}

impl ShapeSpec {
    /// Makes ready what is done to the records of an object.
    ///
    /// A source value that is not known is left out. In a template a capture that is not known counts as empty, and
    /// a field whose template comes to nothing for that reason is left out. Of two members of one name the first
    /// one counts, source before fields; a field `@timestamp` stands instead of a time that is looked for.
    ///
    /// [`SourceValue::Id`] is the first 16 bytes, as 32 hexadecimal digits, of the SHA-256 of: bucket, key and
    /// entity tag, each after its length in bytes; then the record's index; numbers as eight bytes, most
    /// significant first.
    pub fn for_object(&self, facts: &ObjectFacts<'_>) -> Edits {
        let mut added: Vec<Added> = Vec::new();
        let source = self
            .source
            .iter()
            .map(|(value, name)| source_member(*value, name, facts));
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| field_member(name, value, facts));
        for member in source.chain(fields).flatten() {
            if added.iter().all(|other| other.name != member.name) {
                added.push(member);
            }
        }
        let is_constant = added.iter().any(|member| member.name == TIMESTAMP_FIELD);
        let time = (!is_constant && self.timestamp.when != TimestampWhen::Never).then(|| Time {
            when: self.timestamp.when,
            source: self.timestamp.from.clone(),
            is_asked_for: self.timestamp.from.is_some(),
        });
        let mut drops = Drops::default();
        for FieldPath(path) in &self.drop_fields {
            drops.insert(path);
        }
        Edits {
            names: Names::default(),
            added,
            time,
            drops,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            redact: self.redact.clone(),
        }
        .with_names()
    }
}

fn source_member(value: SourceValue, name: &str, facts: &ObjectFacts<'_>) -> Option<Added> {
    let (account, region) = account_and_region(facts.key);
    let text = match value {
        SourceValue::ObjectKey => format!("{}/{}", facts.bucket, facts.key),
        SourceValue::Bucket => facts.bucket.to_owned(),
        SourceValue::Key => facts.key.to_owned(),
        SourceValue::Region => region.or(facts.region)?.to_owned(),
        SourceValue::Account => account.or(facts.account)?.to_owned(),
        SourceValue::Index => return Some(Added::new(name, Rest::Index)),
        SourceValue::Id => return Some(Added::new(name, Rest::Id(IdBegun::new(facts)))),
    };
    Some(Added::text(name, &text))
}

fn field_member(name: &str, value: &FieldValue, facts: &ObjectFacts<'_>) -> Option<Added> {
    match value {
        FieldValue::Json(json) => {
            let mut member = Added::new(name, Rest::Nothing);
            match serde_json::from_str::<&RawValue>(json) {
                Ok(value) => minify(value.get().as_bytes(), &mut member.member),
                // Whoever reads the rule has refused it; a record is valid all the same.
                Err(_) => push_string(json, &mut member.member),
            }
            Some(member)
        }
        FieldValue::Template(template) => {
            let (text, is_whole) = filled(template, facts.captures);
            (is_whole || !text.is_empty()).then(|| Added::text(name, &text))
        }
    }
}

/// The text of a template, and whether all captures in it are known. `$${` is `${` itself, as
/// [`Template`](crate::rules::Template) has it.
fn filled(template: &str, captures: &[(String, String)]) -> (String, bool) {
    let (mut text, mut is_whole) = (String::new(), true);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        text.push_str(before);
        match captures.iter().find(|(known, _)| known == name) {
            Some((_, value)) => text.push_str(value),
            None => is_whole = false,
        }
        rest = after;
    }
    text.push_str(rest);
    (text, is_whole)
}

impl Added {
    fn new(name: &str, rest: Rest) -> Self {
        let mut member = Vec::new();
        push_string(name, &mut member);
        member.push(b':');
        Self {
            name: name.to_owned(),
            member,
            rest,
        }
    }

    fn text(name: &str, value: &str) -> Self {
        let mut added = Self::new(name, Rest::Nothing);
        push_string(value, &mut added.member);
        added
    }

    fn push(&self, index: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.member);
        match &self.rest {
            Rest::Nothing => {}
            Rest::Index => out.extend_from_slice(Digits::of(index).as_bytes()),
            Rest::Id(begun) => begun.push(index, out),
        }
    }
}

/// The decimal digits of a number.
struct Digits {
    /// As many as `u64::MAX` has.
    digits: [u8; 20],
    first: usize,
}

impl Digits {
    fn of(mut value: u64) -> Self {
        let (mut digits, mut first) = ([b'0'; 20], 19);
        loop {
            digits[first] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Self { digits, first };
            }
            first -= 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// Without the quotes at its ends, also if only one end has any: others may stand around more than is asked for.
fn unquoted(text: &[u8]) -> &[u8] {
    let is_quote = |byte: &&u8| matches!(byte, b'\'' | b'"');
    let text = &text[usize::from(text.first().filter(is_quote).is_some())..];
    &text[..text.len() - usize::from(text.last().filter(is_quote).is_some())]
}

/// The names of members that a record is searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// The bit of each length that one of them has; the last one stands for longer ones as well.
    lengths: u64,
    wanted: Vec<Name>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Name {
    name: String,
    /// Which of the added members has it.
    added: Option<usize>,
    /// Which parts of the time are its value, or stand within its value, which has to be an object, at a path.
    parts: Vec<(usize, Vec<String>)>,
    /// Whether a path to drop begins with it.
    is_in_drops: bool,
    /// Whether it is dropped itself.
    is_dropped: bool,
}

impl Names {
    fn entry(&mut self, name: &str) -> &mut Name {
        let found = self.wanted.iter().position(|wanted| wanted.name == name);
        let index = found.unwrap_or_else(|| {
            self.lengths |= length_bit(name.len());
            self.wanted.push(Name {
                name: name.to_owned(),
                ..Name::default()
            });
            self.wanted.len() - 1
        });
        &mut self.wanted[index]
    }

    /// The one that `raw` stands for. `may_escape` says whether there may be escape sequences in it.
    fn of(&self, raw: &[u8], may_escape: bool) -> Option<&Name> {
        if may_escape && memchr::memchr(b'\\', raw).is_some() {
            let mut wanted = self.wanted.iter();
            return wanted.find(|wanted| stands_for(raw, wanted.name.as_bytes()));
        }
        if self.lengths & length_bit(raw.len()) == 0 {
            return None;
        }
        self.wanted
            .iter()
            .find(|wanted| wanted.name.as_bytes() == raw)
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Members to leave out, and within which members to look for more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(Vec<(String, Drop)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Drop {
    Whole,
    Inside(Drops),
}

impl Drops {
    /// Leaves out the member of this name.
    pub fn member(name: &str) -> Self {
        Self(vec![(name.to_owned(), Drop::Whole)])
    }

    fn insert(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let found = self.0.iter().position(|(name, _)| name == first);
        let index = found.unwrap_or_else(|| {
            self.0.push((first.clone(), Drop::Inside(Drops::default())));
            self.0.len() - 1
        });
        let (_, drop) = &mut self.0[index];
        match drop {
            _ if rest.is_empty() => *drop = Drop::Whole,
            Drop::Inside(inner) => inner.insert(rest),
            Drop::Whole => {}
        }
    }

    fn of(&self, raw: &[u8]) -> Option<&Drop> {
        let mut drops = self.0.iter();
        let found = drops.find(|(name, _)| stands_for(raw, name.as_bytes()));
        found.map(|(_, drop)| drop)
    }

    /// Appends `object` to `out` without what is to be left out: whole members, each with one of the commas beside
    /// it. False, with nothing appended, if it holds nothing of it. Of an object that is not whole the part
    /// before the fault counts.
    pub fn leave_out(
        &self,
        object: &[u8],
        ranges: &mut Vec<Range<usize>>,
        out: &mut Vec<u8>,
    ) -> bool {
        ranges.clear();
        self.collect(object, 0, ranges);
        if !ranges.is_empty() {
            copy_without(ranges, object, out);
        }
        !ranges.is_empty()
    }

    /// Appends what is held of an object's start to `out`, without what is to be left out, and without the
    /// member in which it ends, since that may be one of them.
    pub fn leave_out_of_start(
        &self,
        start: &[u8],
        ranges: &mut Vec<Range<usize>>,
        out: &mut Vec<u8>,
    ) {
        ranges.clear();
        self.collect(start, 0, ranges);
        let last = members(start).map_while(Result::ok).last();
        let whole = &start[..last.map_or(start.len().min(1), |last| last.end)];
        copy_without(ranges, whole, out);
    }

    /// Notes what to leave out of an object that begins at `at`, in rising order.
    fn collect(&self, object: &[u8], at: usize, ranges: &mut Vec<Range<usize>>) {
        // Where the members to leave out begin that come after the last one that stays, and where the last ends.
        let mut pending: Option<Range<usize>> = None;
        let mut kept_end = None;
        for member in members(object).map_while(Result::ok) {
            let drop = self.of(member.name);
            if drop == Some(&Drop::Whole) {
                let start = pending.map_or(member.name_start, |range| range.start);
                pending = Some(start..member.end);
                continue;
            }
            if let Some(range) = pending.take() {
                ranges.push(at + range.start..at + member.name_start);
            }
            if let Some(Drop::Inside(inner)) = drop
                && member.value.first() == Some(&b'{')
            {
                inner.collect(member.value, at + member.start, ranges);
            }
            kept_end = Some(member.end);
        }
        if let Some(range) = pending {
            ranges.push(at + kept_end.unwrap_or(range.start)..at + range.end);
        }
    }
}

/// Appends `bytes` without `ranges`, which rise.
fn copy_without(ranges: &[Range<usize>], bytes: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for range in ranges {
        out.extend_from_slice(&bytes[copied..range.start]);
        copied = range.end;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// What an object was found to hold, and buffers for the search.
#[derive(Debug, Default)]
pub struct Looked {
    /// Which of the added members it has itself.
    own: Vec<usize>,
    /// Where the parts of its time stand; empty for one that it has not.
    parts: Vec<Range<usize>>,
    text: Vec<u8>,
    pub own_time: OwnTime,
    /// Whether it has a member with which a path to drop begins.
    pub has_drops: bool,
    /// Whether all of it is as an object has to be; said only if there is anything to look for.
    pub is_whole: bool,
}

/// A record's own `@timestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnTime {
    #[default]
    None,
    /// One that the endpoint reads as a time.
    Valid,
    Invalid,
}

/// The `@timestamp` that a record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTime {
    pub time: Timestamp,
    /// Whether the record's own goes.
    pub replaces: bool,
}

impl Edits {
    /// Where a record has its time if the rule does not say: as its format has it.
    #[must_use]
    pub fn or_time_from(mut self, source: &TimeSource) -> Self {
        if let Some(time) = &mut self.time {
            time.source.get_or_insert_with(|| source.clone());
        }
        self.with_names()
    }

    /// Whether records may get a time, and where they have it is for their source to say.
    pub fn lacks_time_source(&self) -> bool {
        let time = self.time.as_ref();
        time.is_some_and(|time| time.source.is_none())
    }

    /// When records get a time, if that is all that is done to them, and where they have it is for their source to
    /// say.
    pub fn takes_time_alone(&self) -> Option<TimestampWhen> {
        let time = self.time.as_ref().filter(|time| time.source.is_none())?;
        (self.added.is_empty() && !self.wants_fields() && self.redact.is_empty())
            .then_some(time.when)
    }

    fn with_names(mut self) -> Self {
        let mut names = Names::default();
        for (index, added) in self.added.iter().enumerate() {
            names.entry(&added.name).added = Some(index);
        }
        if let Some(source) = self.time_source() {
            names.entry(TIMESTAMP_FIELD);
            let paths = match &source.place {
                TimePlace::Fields(paths) | TimePlace::AnyOf(paths) => paths.as_slice(),
                TimePlace::Words { .. } | TimePlace::Brackets => &[],
            };
            for (part, FieldPath(path)) in paths.iter().enumerate() {
                if let Some((first, rest)) = path.split_first() {
                    names.entry(first).parts.push((part, rest.to_vec()));
                }
            }
        }
        for (name, drop) in &self.drops.0 {
            let entry = names.entry(name);
            entry.is_in_drops = true;
            entry.is_dropped = *drop == Drop::Whole;
        }
        self.names = names;
        self
    }

    fn time_source(&self) -> Option<&TimeSource> {
        self.time.as_ref()?.source.as_ref()
    }

    /// Whether some records get a time.
    pub fn times_any(&self) -> bool {
        self.time_source().is_some()
    }

    /// Whether every record gets a time.
    fn always_times(&self) -> bool {
        let mut time = self.time.iter();
        self.time_source().is_some() && time.any(|time| time.when == TimestampWhen::Always)
    }

    /// Whether it touches no record that needs no change for another reason.
    pub fn is_quiet(&self) -> bool {
        !self.touches_all() && !self.leaves_out_any() && !self.drops_any() && self.redact.is_empty()
    }

    /// Whether it adds to every record.
    pub fn touches_all(&self) -> bool {
        !self.added.is_empty() || self.always_times()
    }

    pub fn drops_any(&self) -> bool {
        !self.drops.0.is_empty()
    }

    fn leaves_out_any(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }

    /// Whether it looks for fields of records to drop them, or to leave records out.
    pub fn wants_fields(&self) -> bool {
        self.drops_any() || self.leaves_out_any()
    }

    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    pub fn redactions(&self) -> &[Redaction] {
        &self.redact
    }

    /// Whether a rule leaves a record out, which is `object`, if it is one. Where only its start is held, that is
    /// `object`, and a field that it has not may yet come: nothing is left out for want of it.
    pub fn leaves_out(
        &self,
        record: &Record<'_>,
        object: Option<&[u8]>,
        looked: &mut Looked,
    ) -> bool {
        if !self.leaves_out_any() {
            return false;
        }
        let mut meets = |condition: &Condition, unknown: bool| match (&condition.field, object) {
            (None, _) => condition.pattern.regex().is_match(record.bytes),
            (Some(_), None) => false,
            (Some(FieldPath(path)), Some(object)) => {
                descend(object, 0..object.len(), path).map_or(unknown, |range| {
                    let value = text_of(&object[range], &mut looked.text);
                    condition.pattern.regex().is_match(value)
                })
            }
        };
        let (mut excludes, mut includes) = (self.exclude.iter(), self.include.iter());
        excludes.any(|condition| meets(condition, false))
            || (!self.include.is_empty()
                && !includes.any(|condition| meets(condition, record.is_truncated())))
    }

    /// Looks for everything at once that matters in `object`, in one pass over its members.
    pub fn look(&self, object: &[u8], looked: &mut Looked) {
        looked.own.clear();
        looked.parts.clear();
        looked.own_time = OwnTime::None;
        looked.has_drops = false;
        looked.is_whole = true;
        if self.names.wanted.is_empty() && self.redact.is_empty() {
            return;
        }
        let may_escape = memchr::memchr(b'\\', object).is_some();
        for member in members(object) {
            let Ok(member) = member else {
                looked.is_whole = false;
                return;
            };
            let Some(name) = self.names.of(member.name, may_escape) else {
                continue;
            };
            for (part, path) in &name.parts {
                let found = descend(object, member.start..member.end, path);
                looked.note_part(*part, found);
            }
            looked.has_drops |= name.is_in_drops;
            if name.is_dropped {
                continue;
            }
            looked
                .own
                .extend(name.added.filter(|added| !looked.own.contains(added)));
            if name.name == TIMESTAMP_FIELD && looked.own_time == OwnTime::None {
                looked.own_time = own_time(member.value, &mut looked.text);
            }
        }
    }

    /// What is known of a text: it becomes the message of an object with nothing else in it.
    pub fn look_at_text(&self, looked: &mut Looked) {
        looked.own.clear();
        looked.parts.clear();
        looked.own_time = OwnTime::None;
        let message = self
            .added
            .iter()
            .position(|added| added.name == MESSAGE_FIELD);
        looked.own.extend(message);
    }

    /// The time of an object that was looked at, if it is to get one. `is_rewritten` says whether it is written anew
    /// for another reason.
    pub fn time_of(
        &self,
        object: &[u8],
        is_rewritten: bool,
        looked: &mut Looked,
    ) -> Option<NewTime> {
        let time = self.time.as_ref()?;
        let replaces = match looked.own_time {
            OwnTime::None => false,
            OwnTime::Invalid if time.is_asked_for => true,
            OwnTime::Invalid | OwnTime::Valid => return None,
        };
        if time.when == TimestampWhen::WhereRewritten && !is_rewritten {
            return None;
        }
        let TimeSource { place, format } = time.source.as_ref()?;
        let time = match place {
            TimePlace::Fields(paths) => looked.time(object, paths.len(), *format)?,
            TimePlace::AnyOf(_) => looked.any_time(object, *format)?,
            TimePlace::Words { .. } | TimePlace::Brackets => return None,
        };
        Some(NewTime { time, replaces })
    }

    /// The time of a text, if it is to get one; of one that stays as it is only if every record is to have one.
    pub fn time_of_text(&self, text: &[u8], is_rewritten: bool) -> Option<Timestamp> {
        let time = self.time.as_ref()?;
        if time.when == TimestampWhen::WhereRewritten && !is_rewritten {
            return None;
        }
        let TimeSource { place, format } = time.source.as_ref()?;
        let found = match place {
            TimePlace::Fields(_) | TimePlace::AnyOf(_) => return None,
            TimePlace::Words { first, count } => {
                let mut words = words(text).skip(*first);
                let start = words.next()?;
                let end = match count {
                    0 | 1 => start.end,
                    more => words.nth(more - 2)?.end,
                };
                unquoted(&text[start.start..end])
            }
            TimePlace::Brackets => {
                let (start, end) = (memchr::memchr(b'[', text)?, memchr::memchr(b']', text)?);
                text.get(start + 1..end)?
            }
        };
        time::parse(found, *format).or_else(|| {
            // A date, and a time after it, whose offset nobody knows but who asked for it.
            let TimePlace::Words { first, count: 1 } = place else {
                return None;
            };
            if !time.is_asked_for {
                return None;
            }
            let mut words = words(text).skip(*first);
            let (date, clock) = (words.next()?, words.next()?);
            time::parse(unquoted(&text[date.start..clock.end]), *format)
        })
    }

    /// Whether there are members to add to a record that was looked at, beside a time.
    pub fn has_members_for(&self, looked: &Looked) -> bool {
        self.added.len() > looked.own.len()
    }

    /// Appends the members that are added to the record of this index, with commas between them. Whether
    /// there are any.
    pub fn push_members(
        &self,
        index: u64,
        time: Option<Timestamp>,
        looked: &Looked,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut is_any = false;
        for (at, added) in self.added.iter().enumerate() {
            if looked.own.contains(&at) {
                continue;
            }
            if is_any {
                out.push(b',');
            }
            added.push(index, out);
            is_any = true;
        }
        if let Some(time) = time {
            if is_any {
                out.push(b',');
            }
            push_string(TIMESTAMP_FIELD, out);
            out.extend_from_slice(b":\"");
            time::push_rfc3339(time, out);
            out.push(b'"');
            is_any = true;
        }
        is_any
    }
}

/// Where the words of a text stand: what is between spaces, tabs and line ends.
fn words(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].iter().position(|byte| !is_blank(byte))?;
        let length = text[start..].iter().position(is_blank);
        at = length.map_or(text.len(), |length| start + length);
        Some(start..at)
    })
}

impl Looked {
    /// The time that the first part says that there is.
    fn any_time(&mut self, object: &[u8], format: TimeFormat) -> Option<Timestamp> {
        let part = self.parts.iter().find(|part| !part.is_empty())?;
        time::parse(text_of(&object[part.clone()], &mut self.text), format)
    }

    /// Notes where a part of the time stands. The first one of its name counts.
    fn note_part(&mut self, part: usize, found: Option<Range<usize>>) {
        let Some(found) = found else {
            return;
        };
        if self.parts.len() <= part {
            self.parts.resize(part + 1, 0..0);
        }
        if self.parts[part].is_empty() {
            self.parts[part] = found;
        }
    }

    /// The time that `count` parts say, with a space between them.
    fn time(&mut self, object: &[u8], count: usize, format: TimeFormat) -> Option<Timestamp> {
        if self.parts.len() != count || self.parts.iter().any(Range::is_empty) {
            return None;
        }
        if let [part] = self.parts.as_slice() {
            return time::parse(text_of(&object[part.clone()], &mut self.text), format);
        }
        self.text.clear();
        for part in &self.parts {
            if !self.text.is_empty() {
                self.text.push(b' ');
            }
            match inside_quotes(&object[part.clone()]) {
                Some(raw) => unescape(raw, &mut self.text),
                None => self.text.extend_from_slice(&object[part.clone()]),
            }
        }
        time::parse(&self.text, format)
    }
}

/// What stands between the quotes of a JSON string.
fn inside_quotes(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// The text of a string, the JSON text of another value.
fn text_of<'a>(value: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    match inside_quotes(value) {
        Some(raw) if memchr::memchr(b'\\', raw).is_some() => {
            buffer.clear();
            unescape(raw, buffer);
            buffer
        }
        Some(raw) => raw,
        None => value,
    }
}

/// Where the value stands that `path` leads to from the value at `value`, through objects within objects.
fn descend(json: &[u8], value: Range<usize>, path: &[String]) -> Option<Range<usize>> {
    let Some((first, rest)) = path.split_first() else {
        return Some(value);
    };
    let start = value.start;
    let member = members(&json[value])
        .map_while(Result::ok)
        .find(|member| stands_for(member.name, first.as_bytes()))?;
    descend(json, start + member.start..start + member.end, rest)
}

/// Whether the endpoint reads a record's own `@timestamp` as a time. Logz.io takes ISO 8601 text and Unix time in
/// seconds or milliseconds (its documentation, "Default parsing").
fn own_time(value: &[u8], buffer: &mut Vec<u8>) -> OwnTime {
    let is_valid = match value.first() {
        Some(b'"') => time::parse(text_of(value, buffer), TimeFormat::Rfc3339).is_some(),
        Some(b'0'..=b'9') => {
            matches!(value.len(), 1..=10 | 13) && value.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    if is_valid {
        OwnTime::Valid
    } else {
        OwnTime::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ObjectFacts<'static> {
        ObjectFacts {
            bucket: "b",
            key: "k",
            etag: "e",
            ..ObjectFacts::default()
        }
    }

    fn pushed(spec: &ShapeSpec, facts: &ObjectFacts<'_>, index: u64) -> String {
        let mut out = b"{".to_vec();
        let looked = Looked::default();
        spec.for_object(facts)
            .push_members(index, None, &looked, &mut out);
        out.push(b'}');
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_records_id_is_the_hash_that_the_documentation_says() {
        let spec = ShapeSpec {
            source: vec![(SourceValue::Id, "id".into())],
            ..ShapeSpec::default()
        };
        let written =
            b"\0\0\0\0\0\0\0\x01b\0\0\0\0\0\0\0\x01k\0\0\0\0\0\0\0\x01e\0\0\0\0\0\0\x01\x02";
        let hash = Sha256::digest(written);
        let hex: String = hash[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            pushed(&spec, &facts(), 258),
            format!("{{\"id\":\"{hex}\"}}")
        );
        let other = ObjectFacts {
            bucket: "bk",
            key: "",
            ..facts()
        };
        assert_ne!(pushed(&spec, &other, 258), pushed(&spec, &facts(), 258));
    }

    #[test]
    fn source_and_constant_fields_are_written_as_asked() {
        let captures = [("app".to_owned(), "a\"b".to_owned())];
        let facts = ObjectFacts {
            key: "AWSLogs/123456789012/CloudTrail/us-east-1/x",
            account: Some("999999999999"),
            captures: &captures,
            ..facts()
        };
        let field = |name: &str, value| (name.to_owned(), value);
        let spec = ShapeSpec {
            source: vec![
                (SourceValue::Bucket, "bucket".into()),
                (SourceValue::Account, "account".into()),
                (SourceValue::Region, "region".into()),
                (SourceValue::Index, "n".into()),
            ],
            fields: vec![
                field("app", FieldValue::Template("x-${app}$".into())),
                field("price", FieldValue::Template("$${app} ${app}".into())),
                field("none", FieldValue::Template("${none}".into())),
                field("some", FieldValue::Template("y${none}".into())),
                field("n", FieldValue::Json("1".into())),
                field("json", FieldValue::Json("{ \"a\":\n1.50 }".into())),
                field("broken", FieldValue::Json("{".into())),
                field("empty", FieldValue::Template(String::new())),
            ],
            ..ShapeSpec::default()
        };
        assert_eq!(
            pushed(&spec, &facts, u64::MAX),
            "{\"bucket\":\"b\",\"account\":\"123456789012\",\"region\":\"us-east-1\",\
             \"n\":18446744073709551615,\"app\":\"x-a\\\"b$\",\"price\":\"${app} a\\\"b\",\"some\":\"y\",\"json\":{\"a\":1.50},\
             \"broken\":\"{\",\"empty\":\"\"}",
        );
    }

    #[test]
    fn where_a_key_names_no_region_the_facts_do() {
        let spec = ShapeSpec {
            source: vec![
                (SourceValue::Region, "region".into()),
                (SourceValue::Account, "account".into()),
            ],
            ..ShapeSpec::default()
        };
        let known = ObjectFacts {
            region: Some("eu-west-1"),
            ..facts()
        };
        assert_eq!(pushed(&spec, &known, 0), "{\"region\":\"eu-west-1\"}");
        assert_eq!(pushed(&spec, &facts(), 0), "{}");
    }

    fn left_out(paths: &[&[&str]], object: &str) -> String {
        let mut drops = Drops::default();
        for path in paths {
            drops.insert(
                &path
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            );
        }
        let mut out = Vec::new();
        match drops.leave_out(object.as_bytes(), &mut Vec::new(), &mut out) {
            true => String::from_utf8(out).unwrap(),
            false => object.to_owned(),
        }
    }

    #[test]
    fn dropped_members_go_with_one_comma_and_nothing_else_changes() {
        let object = "{ \"a\":1 , \"b\":{\"a\":[1] , \"c\" : 2 } ,\t\"c\":\"}\" }";
        for (paths, expected) in [
            (
                &[&["a"][..]][..],
                "{ \"b\":{\"a\":[1] , \"c\" : 2 } ,\t\"c\":\"}\" }",
            ),
            (&[&["b"]], "{ \"a\":1 , \"c\":\"}\" }"),
            (&[&["c"]], "{ \"a\":1 , \"b\":{\"a\":[1] , \"c\" : 2 } }"),
            (&[&["a"], &["c"], &["b"]], "{  }"),
            (
                &[&["b", "a"]],
                "{ \"a\":1 , \"b\":{\"c\" : 2 } ,\t\"c\":\"}\" }",
            ),
            (&[&["b", "c"], &["c"]], "{ \"a\":1 , \"b\":{\"a\":[1] } }"),
            (
                &[&["b", "a"], &["b", "c"], &["a"]],
                "{ \"b\":{ } ,\t\"c\":\"}\" }",
            ),
            (&[&["b", "a"], &["b"]], "{ \"a\":1 , \"c\":\"}\" }"),
            (&[&["b"], &["b", "a"]], "{ \"a\":1 , \"c\":\"}\" }"),
            (&[&["x"], &["a", "b"], &["c", "a"], &[]], object),
        ] {
            assert_eq!(left_out(paths, object), expected, "{paths:?}");
        }
        assert_eq!(left_out(&[&["é/"]], r#"{"\u00e9\/":1,"a":2}"#), "{\"a\":2}");
        assert_eq!(
            left_out(&[&["a"]], "{\"a\":1,\"b\":2,oops}"),
            "{\"b\":2,oops}"
        );
    }

    #[test]
    fn of_an_object_of_which_only_the_start_is_held_no_part_of_a_dropped_member_stays() {
        for (start, expected) in [
            ("{\"b\":1,\"a\":\"xxx", "{\"b\":1"),
            ("{\"a\":1,\"b\":1,\"c", "{\"b\":1"),
            ("{\"a\":\"xx", "{"),
            ("{", "{"),
        ] {
            let mut out = Vec::new();
            Drops::member("a").leave_out_of_start(start.as_bytes(), &mut Vec::new(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{start}");
        }
    }

    #[test]
    fn an_own_time_is_valid_as_the_endpoint_reads_it() {
        for (value, expected) in [
            ("\"2023-05-21T12:45:10+00:00\"", OwnTime::Valid),
            ("1684662310", OwnTime::Valid),
            ("1684673200471", OwnTime::Valid),
            ("1684673200471000000", OwnTime::Invalid),
            ("\"1684662310\"", OwnTime::Invalid),
            ("\"yesterday\"", OwnTime::Invalid),
            ("-1", OwnTime::Invalid),
            ("1e9", OwnTime::Invalid),
            ("{}", OwnTime::Invalid),
            ("null", OwnTime::Invalid),
        ] {
            assert_eq!(
                own_time(value.as_bytes(), &mut Vec::new()),
                expected,
                "{value}"
            );
        }
    }
}
