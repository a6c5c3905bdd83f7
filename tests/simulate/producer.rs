//! Who writes objects, overwrites and deletes them, and what notifies of that: in every shape that a
//! trigger has, late, twice, in any order, or never.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_brigade::clock::Timestamp;
use bucket_brigade::object::ContentId;
use bucket_brigade::store::memory::MemoryStore;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::faults::Fault;
use crate::object::{Content, Health, Kind, Taste, draft};
use crate::queue::SqsQueue;
use crate::rules::Folder;
use crate::world::{BUCKET, Fate, World};

pub struct Producer {
    pub world: Arc<World>,
    pub store: Arc<MemoryStore>,
    pub queue: Arc<SqsQueue>,
    /// Where notifications go that invoke the function themselves.
    pub direct: UnboundedSender<String>,
    pub taste: Taste,
    /// Bodies that nobody can read.
    pub malformed: Mutex<Vec<String>>,
    /// Notifications that are still on their way.
    pub on_their_way: Arc<Mutex<usize>>,
}

const SHAPES: [Fault; 8] = [
    Fault::ShapeS3,
    Fault::ShapeS3Sqs,
    Fault::ShapeSns,
    Fault::ShapeSnsSqs,
    Fault::ShapeSnsSqsRaw,
    Fault::ShapeEventBridge,
    Fault::ShapeEventBridgeSqs,
    Fault::ShapeByHand,
];

impl Producer {
    /// Writes an object under a new key, and notifies.
    pub fn put(self: &Arc<Self>) {
        let (key, folder, kind, is_lost) = self.new_key();
        let health = {
            let mut state = self.world.state();
            // There are more ways to damage a document.
            let ways = if kind.is_document() { 3 } else { 1 };
            if (0..ways).any(|_| state.strikes(Fault::ObjectDamaged)) {
                Health::Damaged { good: 0 }
            } else if state.strikes(Fault::ObjectDenied) {
                Health::Denied
            } else if state.strikes(Fault::ObjectArchived) {
                Health::Archived
            } else {
                Health::Whole
            }
        };
        let content = self.write(&key, folder, kind, health);
        if is_lost {
            self.world.state().faults.count(Fault::NotificationLost);
        } else {
            self.notify(&content);
        }
    }

    /// A key of any characters, the folder in it, what is to stand there, and whether nothing is to notify of it.
    fn new_key(&self) -> (String, Folder, Kind, bool) {
        let now = self.world.now();
        let mut state = self.world.state();
        let number = state.contents.len();
        let folder = match state.random.chance(0.5) {
            true => state.random.pick(&self.taste.folders),
            false => Folder::Plain,
        };
        let kind = match folder {
            Folder::Csv => Kind::Csv,
            Folder::Multi => Kind::Trace,
            Folder::Said => state.random.pick(&Kind::SAID),
            _ if !self.taste.is_mixed => Kind::Ndjson,
            _ => Kind::any(&mut state.random),
        };
        let odd = state
            .random
            .pick(&["", "", "a b+c", "%41", "é日", "100%", "x=1&y", "..'\"<"]);
        let name = format!(
            "{:04x}-{number}{odd}.json.gz",
            state.random.between(0, 65_536)
        );
        if state.strikes(Fault::ObjectBehindListing) {
            return (format!("logs/!{name}"), Folder::Plain, Kind::Ndjson, true);
        }
        let dated = state.random.chance(0.3);
        let key = match dated {
            true => format!("day/{}/", now.to_string()[..10].replace('-', "/")),
            false => "logs/".to_owned(),
        };
        let path = match folder {
            Folder::Said => format!("{}/", kind.name()),
            _ => kind.path().to_owned(),
        };
        let key = format!("{key}{}{path}{name}", folder.path());
        (key, folder, kind, false)
    }

    fn write(self: &Arc<Self>, key: &str, folder: Folder, kind: Kind, health: Health) -> ContentId {
        let now = self.world.now();
        let mut state = self.world.state();
        let number = state.contents.len();
        let drafted = draft(number, folder, kind, &self.taste, health, &mut state.random);
        for note in &drafted.notes {
            state.faults.count(*note);
        }
        let health = drafted.health;
        if self.world.rulings[state.ruling].of(folder).skips {
            state.faults.count(Fault::RulesSkip);
        }
        let mut written = now;
        if state.strikes(Fault::ObjectOldLastModified) {
            written = now.minus(Duration::from_secs(state.random.between(60, 72_000)));
        }
        let records = drafted.records.len();
        let bytes = drafted.bytes.len();
        let id = self.store.put(BUCKET, key, drafted.bytes, written);
        for content in state
            .contents
            .iter_mut()
            .filter(|content| content.id.key == key)
        {
            content.stands = false;
        }
        state.contents.push(Content {
            id: id.clone(),
            folder,
            kind,
            records: drafted.records,
            health,
            stands: true,
            begun: None,
        });
        state.keys.insert(key.to_owned());
        state.by_id.insert(id.clone(), number);
        state.fates.push(vec![Fate::default(); records]);
        let at = self.world.elapsed();
        state.tell(
            at,
            &format!("put #{number} {key}: {kind:?}, {records} records, {bytes} bytes, {health:?}, modified {written}"),
        );
        id
    }

    /// Other content at the same key.
    pub fn overwrite(self: &Arc<Self>, key: &str) {
        let before = self.standing(key);
        let (folder, kind) = self.at(key);
        let content = self.write(key, folder, kind, Health::Whole);
        self.notify(&content);
        if let Some(before) = before
            && self.world.strikes(Fault::NotificationDisordered)
        {
            self.send(&before, Duration::from_secs(20));
        }
    }

    pub fn delete(self: &Arc<Self>, key: &str) {
        self.world.tell(&format!("deleted {key}"));
        self.store.remove(BUCKET, key);
        let mut state = self.world.state();
        for content in state
            .contents
            .iter_mut()
            .filter(|content| content.id.key == key)
        {
            content.stands = false;
        }
        // Whoever does not find a key may try it decoded.
        state.keys.insert(form_decoded(key));
    }

    /// The same bytes at the same key once more.
    pub fn put_again(self: &Arc<Self>, key: &str) {
        if let Some(content) = self.standing(key) {
            self.world.tell(&format!("put again {key}"));
            self.notify(&content);
        }
    }

    /// Some key whose object stands.
    pub fn any_key(&self) -> Option<String> {
        let mut state = self.world.state();
        let keys: Vec<String> = state
            .contents
            .iter()
            .filter(|content| content.stands)
            .map(|content| content.id.key.clone())
            .collect();
        (!keys.is_empty()).then(|| state.random.pick(&keys))
    }

    pub fn send_malformed(&self) {
        let body = self
            .world
            .state()
            .random
            .pick(&["{", "[]", "{\"Records\":[{}]}", "hello"]);
        self.malformed.lock().expect("whole").push(body.to_owned());
        self.queue.send(body.to_owned(), self.world.elapsed());
    }

    /// What was written at a key.
    fn at(&self, key: &str) -> (Folder, Kind) {
        let state = self.world.state();
        let mut written = state.contents.iter();
        let written = written.find(|content| content.id.key == key);
        written.map_or((Folder::Plain, Kind::Ndjson), |content| {
            (content.folder, content.kind)
        })
    }

    fn standing(&self, key: &str) -> Option<ContentId> {
        let state = self.world.state();
        let mut standing = state
            .contents
            .iter()
            .filter(|content| content.id.key == key && content.stands);
        standing.next().map(|content| content.id.clone())
    }

    /// Tells of a content, as far as the faults let it.
    fn notify(self: &Arc<Self>, content: &ContentId) {
        let world = &self.world;
        if world.strikes(Fault::NotificationLost) {
            world.tell(&format!("notification of {} lost", content.key));
            return;
        }
        let mut delay = Duration::from_millis(world.state().random.between(300, 8_000));
        if world.strikes(Fault::NotificationLate) {
            delay += Duration::from_secs(world.state().random.between(3_600, 6 * 3_600));
        }
        self.send(content, delay);
        if world.strikes(Fault::NotificationConcurrent) {
            self.send(content, delay);
        }
        if world.strikes(Fault::NotificationDoubled) {
            let later = Duration::from_millis(world.state().random.log_between(1_000, 20_000_000));
            self.send(content, delay + later);
        }
    }

    fn send(self: &Arc<Self>, content: &ContentId, delay: Duration) {
        let (shape, says_all) = {
            let mut state = self.world.state();
            let mut shape = state.random.pick(&SHAPES);
            // Who may not read an object may not ask what it is either: such a message comes back until the
            // queue gives it up. `ATTEMPTS_MAX` counts for contents that are known.
            let is_denied = state
                .by_id
                .get(content)
                .is_some_and(|number| state.contents[*number].health == Health::Denied);
            if is_denied && shape == Fault::ShapeByHand {
                shape = Fault::ShapeS3Sqs;
            }
            state.faults.count(shape);
            (shape, is_denied || state.random.chance(0.7))
        };
        let content = content.clone();
        let producer = Arc::clone(self);
        *producer.on_their_way.lock().expect("whole") += 1;
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let key = content.key.clone();
            producer.world.tell(&format!("{} for {key}", shape.name()));
            producer.dispatch(shape, &content, says_all);
            *producer.on_their_way.lock().expect("whole") -= 1;
        });
    }

    fn dispatch(&self, shape: Fault, content: &ContentId, says_all: bool) {
        let now = self.world.elapsed();
        let s3 = s3_event(content, says_all);
        let to_queue = |body: Value| self.queue.send(body.to_string(), now);
        // An error would say that the world has ended.
        let invoke = |payload: Value| drop(self.direct.send(payload.to_string()));
        match shape {
            Fault::ShapeS3 => invoke(s3),
            Fault::ShapeS3Sqs | Fault::ShapeSnsSqsRaw => to_queue(s3),
            Fault::ShapeSns => {
                let record =
                    json!({"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns(&s3)});
                invoke(json!({"Records": [record]}));
            }
            Fault::ShapeSnsSqs => to_queue(sns(&s3)),
            Fault::ShapeEventBridge => invoke(eventbridge(content, says_all)),
            Fault::ShapeEventBridgeSqs => to_queue(eventbridge(content, says_all)),
            _ => to_queue(json!({"bucket": content.bucket, "key": content.key})),
        }
    }
}

fn s3_event(content: &ContentId, says_all: bool) -> Value {
    let mut object = json!({"key": form_encoded(&content.key), "sequencer": "0069B52A1F4C0E7D32"});
    if says_all {
        object["size"] = json!(content.size);
        object["eTag"] = json!(content.etag.as_str());
    }
    json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": content.bucket}, "object": object},
    }]})
}

fn sns(event: &Value) -> Value {
    json!({
        "Type": "Notification", "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
        "TopicArn": "arn:aws:sns:eu-central-1:111122223333:example-logs",
        "Subject": "Amazon S3 Notification", "Message": event.to_string(),
    })
}

fn eventbridge(content: &ContentId, says_all: bool) -> Value {
    let mut object = json!({"key": content.key});
    if says_all {
        object["size"] = json!(content.size);
        object["etag"] = json!(content.etag.as_str());
    }
    json!({
        "version": "0", "detail-type": "Object Created", "source": "aws.s3",
        "detail": {"bucket": {"name": content.bucket}, "object": object, "reason": "PutObject"},
    })
}

/// As S3 writes keys in its notifications.
fn form_encoded(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' | b'!' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn form_decoded(key: &str) -> String {
    let query = format!("k={key}");
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(_, key)| key.into_owned())
}

/// The time at which something may still be told apart from what is on its way.
pub fn since() -> Timestamp {
    crate::world::START.minus(Duration::from_secs(3 * 86_400))
}
