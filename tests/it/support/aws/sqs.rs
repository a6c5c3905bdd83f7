//! SQS in memory: standard queues with visibility, redrive, batches, and their limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::failure::{Failure, Faults, ServiceError, nothing, text};

type Answer = Result<Value, ServiceError>;

/// Largest message, and largest sum of a batch.
const MESSAGE_BYTES_MAX: usize = 1_024 * 1_024;
const BATCH_MAX: usize = 10;
const VISIBILITY_SECONDS_MAX: u64 = 43_200;

/// A handle on the queues; clones share them.
#[derive(Debug, Clone)]
pub struct Sqs {
    endpoint: Url,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<String, Queue>,
    visibility_changes: Vec<VisibilityChange>,
    faults: Faults,
    fail_entries_next: usize,
    requests: BTreeMap<String, u64>,
    serial: u64,
}

/// How a queue is set up.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    pub visibility: Duration,
    /// Queue that takes what was received more often than this.
    pub redrive: Option<(String, u32)>,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            visibility: Duration::from_secs(30),
            redrive: None,
        }
    }
}

#[derive(Debug)]
struct Queue {
    options: QueueOptions,
    messages: Vec<Message>,
}

/// A message in a queue, received or not.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub body: String,
    pub attributes: Value,
    pub receive_count: u32,
    pub receipt: Option<String>,
    pub visible_at: Instant,
}

impl Message {
    pub fn is_visible(&self) -> bool {
        self.visible_at <= Instant::now()
    }
}

/// A call of ChangeMessageVisibility, alone or in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityChange {
    pub message_id: String,
    pub seconds: u64,
}

impl Sqs {
    pub fn new(endpoint: Url) -> Self {
        Self {
            endpoint,
            state: Arc::default(),
        }
    }

    /// Makes a queue and returns its URL.
    pub fn create_queue(&self, name: &str, options: QueueOptions) -> String {
        let queue = Queue {
            options,
            messages: Vec::new(),
        };
        self.state().queues.insert(name.to_owned(), queue);
        self.queue_url(name)
    }

    pub fn queue_url(&self, name: &str) -> String {
        format!("{}123456789012/{name}", self.endpoint)
    }

    /// Puts a message into a queue; returns its id.
    pub fn send(&self, queue: &str, body: &str) -> String {
        self.state().enqueue(queue, body, &Value::Null, 0).unwrap()
    }

    /// Every message of a queue, visible or not, oldest first.
    pub fn messages(&self, queue: &str) -> Vec<Message> {
        self.state().queues[queue].messages.clone()
    }

    /// Takes up to ten visible messages out of sight, as a receiver does.
    pub fn receive(&self, queue: &str, most: usize) -> Vec<Message> {
        self.state().receive(queue, most, None).unwrap()
    }

    /// Removes a message for good.
    pub fn delete(&self, queue: &str, id: &str) {
        let mut state = self.state();
        let queue = state.queues.get_mut(queue).unwrap();
        queue.messages.retain(|message| message.id != id);
    }

    /// Every change of visibility so far.
    pub fn visibility_changes(&self) -> Vec<VisibilityChange> {
        self.state().visibility_changes.clone()
    }

    /// The event with which Lambda hands these messages to a function.
    pub fn lambda_event(&self, queue: &str, messages: &[Message]) -> Value {
        let record = |message: &Message| {
            json!({
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": message.receive_count.to_string(),
                    "SentTimestamp": "1700000000000",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": "1700000000001"
                },
                "messageAttributes": {},
                "md5OfBody": md5(&message.body),
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:us-east-1:123456789012:{queue}"),
                "awsRegion": "us-east-1"
            })
        };
        json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() })
    }

    /// Does with received messages what Lambda does on a function's answer: those it does not name
    /// as failed are deleted. Returns the ids that stay.
    pub fn settle(&self, queue: &str, messages: &[Message], answer: &Value) -> BTreeSet<String> {
        let failed: BTreeSet<String> = answer["batchItemFailures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|failure| failure["itemIdentifier"].as_str())
            .map(str::to_owned)
            .collect();
        for message in messages {
            if !failed.contains(&message.id) {
                self.delete(queue, &message.id);
            }
        }
        failed
    }

    /// Makes requests fail.
    pub fn faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state().faults);
    }

    /// The next batch reports this many of its entries as failed.
    pub fn fail_entries(&self, entries: usize) {
        self.state().fail_entries_next = entries;
    }

    /// Requests so far, by operation.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.state().requests.clone()
    }

    /// Answers one request; `None` closes the connection without a word.
    pub(super) async fn answer(&self, operation: &str, input: &Value) -> Option<Answer> {
        let failure = {
            let mut state = self.state();
            *state.requests.entry(operation.to_owned()).or_default() += 1;
            state.faults.take(operation)
        };
        if let Some(error) = failure.and_then(|failure| failure.error("RequestThrottled")) {
            return Some(Err(error));
        }
        let answer = match operation {
            "ReceiveMessage" => self.receive_message(input).await,
            "GetQueueUrl" => self.get_queue_url(input),
            "CreateQueue" => self.create_queue_as_asked(input),
            _ => self.state().perform(operation, input),
        };
        (failure != Some(Failure::AnswerLost)).then_some(answer)
    }

    fn get_queue_url(&self, input: &Value) -> Answer {
        let name = text(input, "QueueName")?;
        self.state().queue(name)?;
        Ok(json!({ "QueueUrl": self.queue_url(name) }))
    }

    fn create_queue_as_asked(&self, input: &Value) -> Answer {
        let mut options = QueueOptions::default();
        if let Some(seconds) = input["Attributes"]["VisibilityTimeout"].as_str() {
            let seconds = seconds
                .parse()
                .map_err(|_| refused("InvalidAttributeValue"))?;
            options.visibility = Duration::from_secs(seconds);
        }
        let url = self.create_queue(text(input, "QueueName")?, options);
        Ok(json!({ "QueueUrl": url }))
    }

    async fn receive_message(&self, input: &Value) -> Answer {
        let name = queue_name(input)?;
        let most = input["MaxNumberOfMessages"].as_u64().unwrap_or(1) as usize;
        let visibility = input["VisibilityTimeout"].as_u64().map(Duration::from_secs);
        let wait = Duration::from_secs(input["WaitTimeSeconds"].as_u64().unwrap_or(0));
        let until = Instant::now() + wait;
        loop {
            let messages = self.state().receive(name, most, visibility)?;
            if !messages.is_empty() || Instant::now() >= until {
                let messages: Vec<Value> = messages.iter().map(received).collect();
                return Ok(json!({ "Messages": messages }));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn received(message: &Message) -> Value {
    json!({
        "MessageId": message.id, "ReceiptHandle": message.receipt, "Body": message.body,
        "MD5OfBody": md5(&message.body),
        "Attributes": { "ApproximateReceiveCount": message.receive_count.to_string() },
        "MessageAttributes": message.attributes,
    })
}

impl State {
    fn perform(&mut self, operation: &str, input: &Value) -> Answer {
        let queue = queue_name(input)?;
        self.queue(queue)?;
        match operation {
            "SendMessage" => self.send_message(queue, input),
            "DeleteMessage" => self.delete_message(queue, input),
            "ChangeMessageVisibility" => self.change_visibility(queue, input),
            "SendMessageBatch" => {
                let entries = entries(input)?;
                let bytes: usize = entries
                    .iter()
                    .filter_map(|entry| entry["MessageBody"].as_str())
                    .map(str::len)
                    .sum();
                if bytes > MESSAGE_BYTES_MAX {
                    return Err(refused("BatchRequestTooLong"));
                }
                self.batch(queue, entries, Self::send_message)
            }
            "DeleteMessageBatch" => self.batch(queue, entries(input)?, Self::delete_message),
            "ChangeMessageVisibilityBatch" => {
                self.batch(queue, entries(input)?, Self::change_visibility)
            }
            "GetQueueAttributes" => self.queue_attributes(queue),
            "PurgeQueue" => {
                self.queue(queue)?.messages.clear();
                Ok(nothing())
            }
            _ => Err(ServiceError::new(400, "InvalidAction", operation)),
        }
    }

    fn queue(&mut self, name: &str) -> Result<&mut Queue, ServiceError> {
        self.queues
            .get_mut(name)
            .ok_or_else(|| refused("QueueDoesNotExist"))
    }

    fn enqueue(
        &mut self,
        queue: &str,
        body: &str,
        attributes: &Value,
        delay_seconds: u64,
    ) -> Result<String, ServiceError> {
        if body.is_empty() || body.len() > MESSAGE_BYTES_MAX {
            return Err(refused("InvalidParameterValue"));
        }
        // The characters of XML 1.0, which messages are limited to.
        let is_legal =
            |c: char| c >= ' ' && !('\u{fffe}'..='\u{ffff}').contains(&c) || "\t\n\r".contains(c);
        if !body.chars().all(is_legal) {
            return Err(refused("InvalidMessageContents"));
        }
        self.serial += 1;
        let id = format!("{:08x}-0000-4000-8000-000000000000", self.serial);
        let message = Message {
            id: id.clone(),
            body: body.to_owned(),
            attributes: attributes.clone(),
            receive_count: 0,
            receipt: None,
            visible_at: Instant::now() + Duration::from_secs(delay_seconds),
        };
        self.queue(queue)?.messages.push(message);
        Ok(id)
    }

    fn receive(
        &mut self,
        name: &str,
        most: usize,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, ServiceError> {
        self.serial += 1;
        let serial = self.serial;
        let queue = self.queue(name)?;
        let visibility = visibility.unwrap_or(queue.options.visibility);
        let redrive = queue.options.redrive.clone();
        let mut dead = Vec::new();
        if let Some((_, most_receives)) = &redrive {
            let is_dead = |m: &mut Message| m.is_visible() && m.receive_count >= *most_receives;
            dead = queue.messages.extract_if(.., is_dead).collect();
        }
        let mut messages = Vec::new();
        for message in queue
            .messages
            .iter_mut()
            .filter(|message| message.is_visible())
        {
            if messages.len() == most.min(BATCH_MAX) {
                break;
            }
            message.receive_count += 1;
            message.visible_at = Instant::now() + visibility;
            message.receipt = Some(format!("{}#{serial}", message.id));
            messages.push(message.clone());
        }
        if let Some((target, _)) = redrive {
            self.queue(&target)?.messages.extend(dead);
        }
        Ok(messages)
    }

    fn send_message(&mut self, queue: &str, input: &Value) -> Answer {
        let body = text(input, "MessageBody")?;
        let delay = input["DelaySeconds"].as_u64().unwrap_or(0);
        let id = self.enqueue(queue, body, &input["MessageAttributes"], delay)?;
        Ok(json!({ "MessageId": id, "MD5OfMessageBody": md5(body) }))
    }

    fn delete_message(&mut self, queue: &str, input: &Value) -> Answer {
        let id = message_id(input)?;
        self.queue(queue)?
            .messages
            .retain(|message| message.id != id);
        Ok(nothing())
    }

    fn change_visibility(&mut self, queue: &str, input: &Value) -> Answer {
        let id = message_id(input)?;
        let seconds = input["VisibilityTimeout"].as_u64();
        let seconds = seconds.filter(|seconds| *seconds <= VISIBILITY_SECONDS_MAX);
        let seconds = seconds.ok_or_else(|| refused("InvalidParameterValue"))?;
        let receipt = input["ReceiptHandle"].as_str();
        let messages = self.queue(queue)?.messages.iter_mut();
        let mut messages = messages.filter(|message| message.id == id);
        let message = messages
            .next()
            .ok_or_else(|| refused("InvalidParameterValue"))?;
        if message.is_visible() || message.receipt.as_deref() != receipt {
            return Err(refused("MessageNotInflight"));
        }
        message.visible_at = Instant::now() + Duration::from_secs(seconds);
        self.visibility_changes.push(VisibilityChange {
            message_id: id.to_owned(),
            seconds,
        });
        Ok(nothing())
    }

    fn batch(
        &mut self,
        queue: &str,
        entries: Vec<Value>,
        one: fn(&mut Self, &str, &Value) -> Answer,
    ) -> Answer {
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in &entries {
            let answer = if self.fail_entries_next > 0 {
                self.fail_entries_next -= 1;
                Err(ServiceError::new(500, "InternalError", "told to fail"))
            } else {
                one(self, queue, entry)
            };
            match answer {
                Ok(mut done) => {
                    done["Id"] = entry["Id"].clone();
                    successful.push(done);
                }
                Err(error) => failed.push(json!({
                    "Id": entry["Id"], "Code": error.code, "Message": error.message,
                    "SenderFault": error.status < 500,
                })),
            }
        }
        Ok(json!({ "Successful": successful, "Failed": failed }))
    }

    fn queue_attributes(&mut self, name: &str) -> Answer {
        let queue = self.queue(name)?;
        let visible = queue
            .messages
            .iter()
            .filter(|message| message.is_visible())
            .count();
        let hidden = queue.messages.len() - visible;
        Ok(json!({ "Attributes": {
            "QueueArn": format!("arn:aws:sqs:us-east-1:123456789012:{name}"),
            "ApproximateNumberOfMessages": visible.to_string(),
            "ApproximateNumberOfMessagesNotVisible": hidden.to_string(),
            "VisibilityTimeout": queue.options.visibility.as_secs().to_string(),
        } }))
    }
}

fn refused(code: &str) -> ServiceError {
    ServiceError::new(400, code, code)
}

fn queue_name(input: &Value) -> Result<&str, ServiceError> {
    let url = text(input, "QueueUrl")?;
    Ok(url.rsplit('/').next().unwrap_or(url))
}

/// A receipt handle begins with the id of its message.
fn message_id(input: &Value) -> Result<&str, ServiceError> {
    let handle = text(input, "ReceiptHandle")?;
    let (id, _) = handle
        .split_once('#')
        .ok_or_else(|| refused("ReceiptHandleIsInvalid"))?;
    Ok(id)
}

/// The entries of a batch: one to ten, with ids of their own.
fn entries(input: &Value) -> Result<Vec<Value>, ServiceError> {
    let entries = input["Entries"].as_array().cloned().unwrap_or_default();
    if entries.is_empty() {
        return Err(refused("EmptyBatchRequest"));
    }
    if entries.len() > BATCH_MAX {
        return Err(refused("TooManyEntriesInBatchRequest"));
    }
    let mut ids = BTreeSet::new();
    for entry in &entries {
        let id = text(entry, "Id")?;
        let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 80 || !id.chars().all(is_legal) {
            return Err(refused("InvalidBatchEntryId"));
        }
        if !ids.insert(id) {
            return Err(refused("BatchEntryIdsNotDistinct"));
        }
    }
    Ok(entries)
}

fn md5(text: &str) -> String {
    Md5::digest(text)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
}
