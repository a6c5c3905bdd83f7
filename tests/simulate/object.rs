//! The objects of a world, and what is true of each of their records.

use std::io::Write as _;
use std::ops::Range;

use bucket_brigade::clock::Timestamp;
use bucket_brigade::object::ContentId;
use serde_json::{Value, json};

use crate::faults::Fault;
use crate::random::Random;
use crate::rules::Folder;

/// What the endpoint makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Good,
    /// Begins and ends as a JSON object does, and is none.
    Malformed,
    /// Refused for a reason that only the endpoint knows.
    Strange,
}

/// As what a record leaves.
#[derive(Clone, Debug)]
pub enum Out {
    /// As it stands, with members added at most.
    Same,
    /// As a JSON object with these members.
    Members(Value),
    /// As its text, or as an object with the text for its message.
    Text,
    /// As an object with the text for its message.
    Message,
    /// Wrapped, cut or re-encoded in some way.
    Any,
}

#[derive(Clone, Debug)]
pub struct Written {
    pub nature: Nature,
    /// As it stands in the object, without what stands around it.
    pub bytes: Vec<u8>,
    pub out: Out,
    /// What it says of its time, if its format tells where it stands.
    pub time: Option<String>,
    /// Whether rules may leave it out.
    pub is_marked: bool,
    /// Whether it is no log, but says that there is somebody.
    pub is_control: bool,
}

/// Whether an object can be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Whole,
    /// Records before this index are to be delivered, those from it on may be; the object is to be quarantined.
    Damaged {
        good: usize,
    },
    Denied,
    Archived,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ndjson,
    /// A document with `Records` that are events of CloudTrail.
    Trail,
    /// The same, and its key says so.
    TrailByKey,
    /// A document with `Records` of anybody.
    Document,
    Array,
    /// JSON values back to back, or over several lines.
    Values,
    Subscription,
    Flow,
    FlowCustom,
    Balancer,
    /// With quoted values. Its first record is its header, which is one only for who takes it for lines.
    Csv,
    /// Records of several lines, as the key says.
    Broker,
    /// Records of several lines, as rules say.
    Trace,
}

impl Kind {
    /// As it stands in a key.
    pub fn path(self) -> &'static str {
        match self {
            Kind::TrailByKey => "AWSLogs/111122223333/CloudTrail/eu-central-1/",
            Kind::Broker => "AWSLogs/111122223333/KafkaBrokerLogs/eu-central-1/",
            _ => "",
        }
    }

    /// As what rules know it, and the folder of such objects within theirs. Only for those of [`Kind::SAID`].
    pub fn name(self) -> &'static str {
        match self {
            Kind::Array => "json-array",
            Kind::Values => "json-values",
            Kind::Subscription => "cloudwatch-logs",
            _ => "cloudtrail",
        }
    }

    /// What rules say of objects in a folder of its own.
    pub const SAID: [Kind; 4] = [Kind::Trail, Kind::Array, Kind::Values, Kind::Subscription];

    /// How many of its first records are none to who reads it as what it is.
    pub fn header_records(self) -> usize {
        usize::from(self == Kind::Csv)
    }

    /// Whether something can be wrong with it beside its compression.
    pub fn is_document(self) -> bool {
        match self {
            Kind::Trail
            | Kind::TrailByKey
            | Kind::Document
            | Kind::Array
            | Kind::Values
            | Kind::Subscription => true,
            Kind::Ndjson
            | Kind::Flow
            | Kind::FlowCustom
            | Kind::Balancer
            | Kind::Csv
            | Kind::Broker
            | Kind::Trace => false,
        }
    }

    fn counts_as(self) -> Option<Fault> {
        match self {
            Kind::Ndjson => None,
            Kind::Trail | Kind::TrailByKey | Kind::Document => Some(Fault::ObjectTrail),
            Kind::Array => Some(Fault::ObjectArray),
            Kind::Values => Some(Fault::ObjectValues),
            Kind::Subscription => Some(Fault::ObjectSubscription),
            Kind::Flow | Kind::FlowCustom => Some(Fault::ObjectFlow),
            Kind::Balancer => Some(Fault::ObjectBalancer),
            Kind::Csv => Some(Fault::ObjectCsv),
            Kind::Broker | Kind::Trace => Some(Fault::ObjectMultiline),
        }
    }

    /// One that rules need not name.
    pub fn any(random: &mut Random) -> Self {
        random.pick(&[
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Ndjson,
            Kind::Trail,
            Kind::TrailByKey,
            Kind::Document,
            Kind::Array,
            Kind::Values,
            Kind::Subscription,
            Kind::Flow,
            Kind::FlowCustom,
            Kind::Balancer,
            Kind::Broker,
        ])
    }
}

/// One content of a key.
#[derive(Clone, Debug)]
pub struct Content {
    pub id: ContentId,
    pub folder: Folder,
    pub kind: Kind,
    pub records: Vec<Written>,
    pub health: Health,
    /// Whether it still stands at its key.
    pub stands: bool,
    /// Once some of it is answered for: whether it is read as lines, though it is something else.
    pub begun: Option<bool>,
}

impl Content {
    /// Where records begin that are counted, for who reads it as lines or as what it is.
    pub fn first(&self, as_lines: bool) -> usize {
        match as_lines {
            true => 0,
            false => self.kind.header_records(),
        }
    }
}

/// A content before it is put.
pub struct Draft {
    pub bytes: Vec<u8>,
    pub records: Vec<Written>,
    pub health: Health,
    /// What is to be counted of it.
    pub notes: Vec<Fault>,
}

/// What objects look like in one world.
#[derive(Clone, Debug)]
pub struct Taste {
    pub records_max: u64,
    pub pad_max: u64,
    pub record_bytes_max: usize,
    /// Longest string that no endpoint of this world has cut.
    pub field_chars_max: usize,
    /// Whether some records are no ordinary ones.
    pub odd: bool,
    /// Whether there is anything but NDJSON.
    pub is_mixed: bool,
    /// Folders that objects may stand in.
    pub folders: Vec<Folder>,
    /// Whether a quoted value may hold a line feed.
    pub quotes_lines: bool,
}

/// The identity of a record, in its bytes whatever becomes of them; then a letter by which it may be left out.
fn marker(content: usize, record: usize, is_marked: bool) -> String {
    let letter = if is_marked { 'x' } else { 'o' };
    format!("~{content}.{record}~{letter}")
}

/// Reads the identity of a record that was sent.
pub fn identity(line: &[u8]) -> Option<(usize, usize)> {
    let start = memchr::memchr(b'~', line)? + 1;
    let length = memchr::memchr(b'~', &line[start..])?;
    let text = std::str::from_utf8(&line[start..start + length]).ok()?;
    let (content, record) = text.split_once('.')?;
    Some((content.parse().ok()?, record.parse().ok()?))
}

/// What is being written.
struct Writer<'a> {
    kind: Kind,
    taste: &'a Taste,
    random: &'a mut Random,
    plain: Vec<u8>,
    records: Vec<Written>,
    /// Where each record stands.
    spans: Vec<Range<usize>>,
    /// Whether values stand on several lines.
    is_pretty: bool,
    /// Whether rules say what it is.
    is_said: bool,
}

/// Writes content number `content`. `is_damaged` says that it cannot be read to its end.
pub fn draft(
    content: usize,
    folder: Folder,
    kind: Kind,
    taste: &Taste,
    health: Health,
    random: &mut Random,
) -> Draft {
    let mut count = match random.between(0, 10) {
        0..=4 => random.between(1, 6),
        5..=7 => random.between(5, 40.min(taste.records_max)),
        _ => random.between(20, taste.records_max.max(21)),
    } as usize;
    if matches!(kind, Kind::TrailByKey | Kind::Document) && random.chance(0.05) {
        count = 0;
    }
    let mut writer = Writer {
        kind,
        taste,
        is_pretty: kind.is_document() && random.chance(0.4),
        is_said: folder == Folder::Said,
        random,
        plain: Vec::new(),
        records: Vec::with_capacity(count),
        spans: Vec::with_capacity(count),
    };
    writer.write(content, count);
    let is_damaged = matches!(health, Health::Damaged { .. });
    let mut notes: Vec<Fault> = kind.counts_as().into_iter().collect();
    let mut good = None;
    if is_damaged && kind.is_document() && writer.random.chance(0.7) {
        good = writer.damage(&mut notes);
    }
    let Writer {
        random,
        plain,
        records,
        ..
    } = writer;
    if let Some(good) = good {
        return Draft {
            bytes: store_as(&plain, kind, &mut notes, random),
            records,
            health: Health::Damaged { good },
            notes,
        };
    }
    let mut bytes = store_as(&plain, kind, &mut notes, random);
    let mut health = health;
    if is_damaged {
        let (damaged, good) = damaged(&plain, records.len(), &mut notes, random);
        (bytes, health) = (damaged, Health::Damaged { good });
    }
    if bytes.is_empty() {
        health = Health::Whole;
    }
    Draft {
        bytes,
        records,
        health,
        notes,
    }
}

/// Compressed, and then cut short or altered. Also how many records come out of it at least.
fn damaged(
    plain: &[u8],
    records: usize,
    notes: &mut Vec<Fault>,
    random: &mut Random,
) -> (Vec<u8>, usize) {
    let is_zstd = random.chance(0.2);
    let mut bytes = match is_zstd {
        true => {
            notes.push(Fault::ObjectZstd);
            zstd(plain)
        }
        false => gzip(plain, 6),
    };
    if (is_zstd || random.chance(0.5)) && bytes.len() > 30 {
        let left = random.between(20, bytes.len() as u64 - 1) as usize;
        bytes.truncate(left);
        return (bytes, 0);
    }
    if is_zstd {
        bytes.truncate(bytes.len() - 1);
        return (bytes, 0);
    }
    // The CRC: all that is complete without the end of the object comes before it is found wrong. Of several lines
    // a record, that is what a whole line comes after that begins another one.
    let at = bytes.len() - 6;
    bytes[at] ^= 0x55;
    (bytes, records.saturating_sub(2))
}

impl Writer<'_> {
    fn write(&mut self, content: usize, count: usize) {
        if self.random.chance(0.05) {
            self.plain.extend_from_slice(b"\xef\xbb\xbf");
        }
        match self.kind {
            Kind::Ndjson => self.write_lines(content, count),
            Kind::Trail | Kind::TrailByKey | Kind::Document => {
                let before = match (self.is_pretty, count > 0 && self.random.chance(0.3)) {
                    (true, _) => "{\n  \"Records\": [\n    ",
                    (false, false) => "{\"Records\":[",
                    (false, true) => "{\"other\":{\"Records\":[1]},\"Records\":[",
                };
                if count == 0 && self.random.chance(0.5) {
                    self.push(b"{\"Records\":null}");
                    return;
                }
                self.push(before.as_bytes());
                self.write_elements(content, 0..count);
                self.push(if self.is_pretty { b"\n  ]\n}\n" } else { b"]}" });
            }
            Kind::Array => {
                self.push(if self.is_pretty { b"[\n" } else { b"[" });
                self.write_elements(content, 0..count);
                self.push(if self.is_pretty { b"\n]\n" } else { b"]" });
            }
            Kind::Values => self.write_elements(content, 0..count),
            Kind::Subscription => self.write_subscription(content, count),
            Kind::Flow => {
                self.push(b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n");
                self.write_texts(content, count);
            }
            Kind::FlowCustom => {
                self.push(b"account-id start bytes\n");
                self.write_texts(content, count);
            }
            Kind::Csv => self.write_csv(content, count),
            Kind::Balancer | Kind::Broker | Kind::Trace => self.write_texts(content, count),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.plain.extend_from_slice(bytes);
    }

    fn push_record(&mut self, written: Written) {
        let start = self.plain.len();
        self.plain.extend_from_slice(&written.bytes);
        self.spans.push(start..self.plain.len());
        self.records.push(written);
    }

    fn pad(&mut self) -> String {
        let pad = self.random.log_between(1, self.taste.pad_max.max(2)) as usize;
        (0..pad)
            .map(|_| char::from(b'a' + (self.random.bits() % 16) as u8))
            .collect()
    }

    /// A marker, and whether it is marked.
    fn mark(&mut self, content: usize, record: usize) -> (String, bool) {
        let is_marked = self.random.chance(0.3);
        (marker(content, record, is_marked), is_marked)
    }

    /// Whether nobody takes the object for something else because of an element that is no JSON.
    fn may_be_malformed(&self) -> bool {
        match self.kind {
            Kind::Trail | Kind::TrailByKey | Kind::Document => true,
            Kind::Array | Kind::Values => self.is_said,
            _ => false,
        }
    }

    fn is_odd(&mut self) -> bool {
        self.taste.odd && self.random.chance(0.06)
    }

    fn write_lines(&mut self, content: usize, count: usize) {
        let is_crlf = self.random.chance(0.1);
        for index in 0..count {
            let (marker, is_marked) = self.mark(content, index);
            let mut written = self.line(&marker);
            written.is_marked = is_marked;
            self.push_record(written);
            let is_last = index + 1 == count;
            if !is_last || self.random.chance(0.6) {
                self.push(if is_crlf { b"\r\n" } else { b"\n" });
            }
            if self.taste.odd && !is_last && self.random.chance(0.02) {
                self.push(b"\n");
            }
        }
    }

    fn line(&mut self, marker: &str) -> Written {
        let pad = self.pad();
        if !self.is_odd() {
            let bytes = format!("{{\"id\":\"{marker}\",\"pad\":\"{pad}\"}}").into_bytes();
            return self.written(Nature::Good, bytes, Out::Same);
        }
        let (nature, bytes, out) = match self.random.between(0, 5) {
            0 => (
                Nature::Malformed,
                format!("{{\"id\":\"{marker}\",,}}").into_bytes(),
                Out::Same,
            ),
            1 => (
                Nature::Strange,
                format!("{{\"id\":\"{marker}\",\"strange\":1}}").into_bytes(),
                Out::Same,
            ),
            2 => (
                Nature::Good,
                format!("a line of text {marker} {pad}").into_bytes(),
                Out::Text,
            ),
            3 => (
                Nature::Good,
                [format!("{marker} not ").as_bytes(), b"\xff\xfe utf8"].concat(),
                Out::Any,
            ),
            _ => (Nature::Good, self.long(marker), Out::Any),
        };
        self.written(nature, bytes, out)
    }

    fn long(&self, marker: &str) -> Vec<u8> {
        let long = "x".repeat(self.taste.record_bytes_max * 2);
        format!("{{\"id\":\"{marker}\",\"long\":\"{long}\"}}").into_bytes()
    }

    /// What is too long leaves cut, or is kept.
    fn written(&self, nature: Nature, bytes: Vec<u8>, out: Out) -> Written {
        let is_cut = bytes.len() > self.taste.record_bytes_max
            || (bytes.len() > self.taste.field_chars_max
                && !matches!(out, Out::Same | Out::Members(_)));
        Written {
            nature,
            out: if is_cut { Out::Any } else { out },
            bytes,
            time: None,
            is_marked: false,
            is_control: false,
        }
    }

    /// Values that are elements, or stand by themselves.
    fn write_elements(&mut self, content: usize, indexes: Range<usize>) {
        let is_last = |index| index + 1 == indexes.end;
        for index in indexes.clone() {
            let (marker, is_marked) = self.mark(content, index);
            let mut written = self.element(&marker, index);
            written.is_marked = is_marked;
            self.push_record(written);
            let between: &[u8] = match (self.kind, self.is_pretty) {
                (Kind::Values, true) => b"\n",
                (Kind::Values, false) => b"",
                _ if is_last(index) => b"",
                (_, true) => b",\n    ",
                (_, false) => b",",
            };
            self.push(between);
        }
    }

    fn element(&mut self, marker: &str, index: usize) -> Written {
        let (ms, pad) = (event_ms(index), self.pad());
        let time = Timestamp::from_ms(ms).to_string();
        let is_trail = matches!(self.kind, Kind::Trail | Kind::TrailByKey);
        let bytes = match self.kind {
            Kind::Trail | Kind::TrailByKey => format!(
                "{{\"id\":\"{marker}\",\"eventVersion\":\"1.11\",\"eventSource\":\"s3.amazonaws.com\",\"eventTime\":\"{time}\",\"eventID\":\"9a\",\"pad\":\"{pad}\"}}"
            ),
            Kind::Subscription => {
                format!("{{\"id\":\"{marker}\",\"timestamp\":{ms},\"message\":\"{pad} \\\"}}]\"}}")
            }
            _ => format!("{{\"id\":\"{marker}\",\"n\":1234567890123456789,\"pad\":\"{pad}\"}}"),
        };
        let mut nature = Nature::Good;
        let mut bytes = bytes.into_bytes();
        let mut out = Out::Same;
        if self.is_odd() {
            (nature, bytes, out) = match self.random.between(0, 3) {
                // An element is looked at only for its end; but what is to be told by it has to be JSON.
                0 if !self.is_pretty && index > 0 && self.may_be_malformed() => (
                    Nature::Malformed,
                    format!("{{\"id\":\"{marker}\",,}}").into_bytes(),
                    Out::Same,
                ),
                1 if index > 0 => (Nature::Good, self.long(marker), Out::Any),
                _ => (Nature::Strange, bytes, out),
            };
        }
        if self.is_pretty {
            let text = String::from_utf8(bytes).expect("text");
            bytes = text.replace(",\"", ",\n  \"").into_bytes();
        }
        let is_whole = !matches!(out, Out::Any);
        if let (true, Ok(mut members)) = (
            is_whole && (self.is_pretty || is_trail || self.kind == Kind::Subscription),
            serde_json::from_slice::<Value>(&bytes),
        ) {
            if self.kind == Kind::Subscription {
                members["owner"] = json!("111122223333");
                members["logGroup"] = json!("/example/group");
            }
            out = Out::Members(members);
        }
        let mut written = self.written(nature, bytes, out);
        let has_time = (is_trail || self.kind == Kind::Subscription) && nature != Nature::Malformed;
        written.time = has_time.then_some(time);
        written
    }

    fn write_subscription(&mut self, content: usize, count: usize) {
        let mut index = 0;
        while index < count {
            let events = self.random.between(1, 8) as usize;
            let until = (index + events).min(count);
            let is_control = self.random.chance(0.15);
            let kind = if is_control {
                "CONTROL_MESSAGE"
            } else {
                "DATA_MESSAGE"
            };
            let until = if is_control { index + 1 } else { until };
            let head = format!(
                "{{\"messageType\":\"{kind}\",\"owner\":\"111122223333\",\"logGroup\":\"/example/group\",\"logStream\":\"s{index}\",\"subscriptionFilters\":[\"all\"],\"logEvents\":["
            );
            self.push(head.as_bytes());
            self.write_elements(content, index..until);
            self.push(b"]}");
            if is_control && let Some(last) = self.records.last_mut() {
                last.is_control = true;
            }
            if self.random.chance(0.3) {
                self.push(b"\n");
            }
            index = until;
        }
    }

    fn write_texts(&mut self, content: usize, count: usize) {
        for index in 0..count {
            let (marker, is_marked) = self.mark(content, index);
            let mut written = self.text(&marker, index);
            written.is_marked = is_marked;
            if self.is_odd() {
                written.nature = Nature::Strange;
            }
            self.push_record(written);
            if index + 1 < count || self.random.chance(0.7) {
                self.push(b"\n");
            }
        }
    }

    fn text(&mut self, marker: &str, index: usize) -> Written {
        let ms = event_ms(index);
        let seconds = ms / 1_000;
        let time = Timestamp::from_ms(ms).to_string();
        let (bytes, out, time) = match self.kind {
            Kind::Flow => (
                format!(
                    "2 {marker} eni-1235b8ca 172.31.16.139 172.31.16.21 20641 22 6 20 4249 {seconds} 1800000060 ACCEPT OK"
                ),
                Out::Text,
                Timestamp::from_secs(seconds).to_string(),
            ),
            Kind::FlowCustom => (
                format!("{marker} {seconds} 1234567890123456789"),
                Out::Members(json!({"account-id": marker, "bytes": 1234567890123456789_u64})),
                Timestamp::from_secs(seconds).to_string(),
            ),
            Kind::Balancer => (
                format!(
                    "http {} app/{marker}/50dc6c495c0c9188 192.0.2.1:2817 10.0.0.1:80 0.000 0.001 0.000 200 200 34 366 \"GET http://a:80/ HTTP/1.1\"",
                    time.replace('Z', "186Z")
                ),
                Out::Text,
                time,
            ),
            _ => {
                let pad: String = self.pad().chars().take(40).collect();
                let trace = "\n\tat a.B(C.java:7)".repeat(self.random.between(0, 4) as usize);
                let stamp = time.replace('T', " ").replace(['Z', '.'], ",");
                (
                    format!(
                        "[{}] INFO {marker} {pad}{trace}",
                        stamp.trim_end_matches(',')
                    ),
                    Out::Message,
                    time,
                )
            }
        };
        let mut written = self.written(Nature::Good, bytes.into_bytes(), out);
        written.time = (self.kind != Kind::Trace).then_some(time);
        written
    }

    fn write_csv(&mut self, content: usize, count: usize) {
        let end = self.random.pick(&["\n", "\n", "\r\n"]);
        let column = marker(content, 0, false);
        let header = format!("id,pad,{column}");
        let header = self.written(Nature::Good, header.into_bytes(), Out::Text);
        self.push_record(header);
        self.push(end.as_bytes());
        for index in 1..=count {
            let (marker, is_marked) = self.mark(content, index);
            let mut pad = self.pad();
            if self.random.chance(0.2) {
                pad += ", \"";
            }
            let most = self.taste.record_bytes_max - 80;
            if self.taste.quotes_lines && self.random.chance(0.2) && pad.len() < most {
                pad += "\nand on";
            }
            let quoted = pad.replace('"', "\"\"");
            let bytes = format!("{marker},\"{quoted}\",1234567890123456789").into_bytes();
            let mut row = json!({"id": marker, "pad": pad});
            row[&column] = json!("1234567890123456789");
            let mut written = self.written(Nature::Good, bytes, Out::Members(row));
            written.is_marked = is_marked;
            if self.is_odd() {
                written.nature = Nature::Strange;
            }
            self.push_record(written);
            if index < count || self.random.chance(0.7) {
                self.push(end.as_bytes());
            }
        }
    }

    /// Breaks the document off, or puts into it what does not belong there. How many of its records are whole;
    /// none if there is no place for that.
    fn damage(&mut self, notes: &mut Vec<Fault>) -> Option<usize> {
        // Values of which the first is not whole may as well be text.
        let first = usize::from(self.kind == Kind::Values);
        let count = self.records.len();
        if count <= first {
            return None;
        }
        let at = self.random.between(first as u64, count as u64) as usize;
        let span = self.spans[at].clone();
        // Of what is garbled nobody can tell what it is.
        let good = if self.is_said && self.random.chance(0.6) {
            self.plain.splice(span.end..span.end, *b"garbage");
            notes.push(Fault::ObjectGarbled);
            at + 1
        } else {
            let is_after_last = at + 1 == count && self.kind != Kind::Values;
            let cut = match is_after_last && self.random.chance(0.5) {
                true => span.end,
                false => self.random.between(span.start as u64 + 1, span.end as u64) as usize,
            };
            self.plain.truncate(cut);
            notes.push(Fault::ObjectCut);
            at + usize::from(cut == span.end)
        };
        self.records.truncate(good);
        Some(good)
    }
}

/// When the event of an index happened.
fn event_ms(index: usize) -> u64 {
    1_799_990_000_000 + index as u64 * 1_007
}

/// As an encoder may have written it: plain, or compressed in any way, at any level, in any members, twice.
fn store_as(plain: &[u8], kind: Kind, notes: &mut Vec<Fault>, random: &mut Random) -> Vec<u8> {
    if random.chance(0.2) {
        return plain.to_vec();
    }
    let level = random.pick(&[0, 1, 6, 9]);
    let members = random.pick(&[1, 1, 1, 2, 5]);
    let size = plain.len().div_ceil(members).max(1);
    let parts = plain.chunks(size);
    if random.chance(0.1) {
        notes.push(Fault::ObjectZstd);
        return parts.flat_map(zstd).collect();
    }
    if random.chance(0.06) {
        notes.push(Fault::ObjectBzip2);
        return bzip2(plain);
    }
    let mut bytes: Vec<u8> = parts.flat_map(|part| gzip(part, level)).collect();
    if random.chance(0.05) {
        bytes.extend_from_slice(&gzip(b"", 6));
    }
    let is_twice = random.chance(if kind == Kind::Subscription {
        0.6
    } else {
        0.04
    });
    if is_twice {
        notes.push(Fault::ObjectTwice);
        bytes = gzip(&bytes, 6);
    }
    bytes
}

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let level = flate2::Compression::new(level);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(plain).expect("memory takes every byte");
    gzip.finish().expect("memory takes every byte")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(plain, 3).expect("memory takes every byte")
}

fn bzip2(plain: &[u8]) -> Vec<u8> {
    let level = ::bzip2::Compression::fast();
    let mut bzip2 = ::bzip2::write::BzEncoder::new(Vec::new(), level);
    bzip2.write_all(plain).expect("memory takes every byte");
    bzip2.finish().expect("memory takes every byte")
}
