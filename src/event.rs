//! Events: a Lambda payload goes in; work items come out, with what was ignored and why.
//!
//! A payload is recognised by its content, never by configuration: S3 notifications, also through
//! SNS (wrapped or raw), EventBridge and SQS in any nesting that AWS produces, the schedule, and
//! what a person writes by hand. Nothing is looked up, and nothing is dropped unnamed: every record
//! of an event is a work item, or ignored by name, or malformed with a reason.
//!
//! The SQS envelope and its answer are the types of `aws_lambda_events`. Those of SNS and
//! EventBridge want signatures and well-formed dates that nothing here needs, so the few fields
//! that matter are read leniently instead, as those of the S3 record are ([`s3`]).

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use serde::Deserialize;
use serde_json::Value;

use crate::object::WorkItem;
use crate::replay::ReplayRequest;

mod eventbridge;
mod s3;
#[cfg(test)]
mod tests;

/// Bytes of the longest key that S3 keeps (Amazon S3 user guide, "Naming Amazon S3 objects").
const KEY_BYTES_MAX: usize = 1_024;

/// Why the function was invoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Messages of an SQS queue. The answer is per message: [`partial_answer`].
    Queue(Vec<Message>),
    /// A notification without a queue, or an item written by hand. The answer is one for all of it.
    Direct(Found),
    /// The schedule, or a person: look for what no notification brought.
    Reconcile(ReconcileRequest),
    /// A person: carry what lies in quarantine once more.
    Replay(ReplayRequest),
}

impl Trigger {
    /// Tells the shapes apart by their content. An error means that nothing of the payload was
    /// understood; one malformed record or message among others is theirs alone, and is found in
    /// [`Found::malformed`] or [`Message::body`].
    pub fn parse(payload: &[u8]) -> Result<Self, EventError> {
        let event: Value = serde_json::from_slice(payload).map_err(not_json)?;
        match Shape::of(&event)? {
            Shape::Queue => Ok(Self::Queue(messages(&event)?)),
            Shape::Schedule => Ok(Self::Reconcile(ReconcileRequest::default())),
            Shape::Reconcile(input) => Ok(Self::Reconcile(ReconcileRequest::parse(input)?)),
            Shape::Replay(input) => Ok(Self::Replay(replay_request(input)?)),
            shape => Ok(Self::Direct(Found::in_shape(shape)?)),
        }
    }
}

/// One message of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    /// What SQS wants back to postpone the message.
    pub receipt: String,
    /// How often SQS has handed the message out, this time included; 1 if it did not say.
    pub receive_count: u32,
    /// The body as it came, for the dead-letter queue.
    pub raw: String,
    /// What the body asks for, or why it cannot be read.
    pub body: Result<Found, EventError>,
}

impl Message {
    /// Why the message belongs in the dead-letter queue: its body, or a record of it, can never be
    /// read. Records of the same body that can be read are work all the same.
    pub fn burial(&self) -> Option<&EventError> {
        match &self.body {
            Ok(found) => found.malformed.first(),
            Err(error) => Some(error),
        }
    }
}

/// The id of a message. Never empty, and made by [`Trigger::parse`] alone: an answer that holds an
/// empty or unknown id makes SQS hand the whole batch out again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The answer to a batch of messages: these come again, all others are done.
/// It takes `ReportBatchItemFailures` on the event source mapping, or SQS forgets them all.
pub fn partial_answer<'a>(failed: impl IntoIterator<Item = &'a MessageId>) -> SqsBatchResponse {
    let mut answer = SqsBatchResponse::default();
    answer.set_failures(failed.into_iter().map(|id| id.0.clone()));
    answer
}

/// What an event holds: each of its records is in exactly one of the lists, in the event's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub items: Vec<WorkItem>,
    /// Named, counted non-events.
    pub ignored: Vec<Ignored>,
    /// Records that can never be read, beside others that can.
    pub malformed: Vec<EventError>,
}

/// Something that asks for no work, with its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// S3 sends it when a notification configuration is saved.
    TestEvent { bucket: String },
    /// An object was removed: by a request, by lifecycle, or by a delete marker.
    Removal { event: String, object: String },
    /// Any other event about an object that does not bring its content.
    OtherEvent { event: String, object: String },
    /// SNS asks whether it may deliver: a person has to say so.
    SubscriptionConfirmation { topic: String },
    /// SNS says that it delivers no longer.
    UnsubscribeConfirmation { topic: String },
    /// An event with an empty list of records.
    NoRecords,
}

impl Ignored {
    /// The name under which it is logged and counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TestEvent { .. } => "test_event",
            Self::Removal { .. } => "removal",
            Self::OtherEvent { .. } => "other_event",
            Self::SubscriptionConfirmation { .. } => "subscription_confirmation",
            Self::UnsubscribeConfirmation { .. } => "unsubscribe_confirmation",
            Self::NoRecords => "no_records",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestEvent { bucket } => write!(f, "s3:TestEvent of bucket {bucket}"),
            Self::Removal { event, object } | Self::OtherEvent { event, object } => {
                write!(f, "{event} of {object}")
            }
            Self::SubscriptionConfirmation { topic } => {
                write!(f, "confirmation wanted for a subscription to {topic}")
            }
            Self::UnsubscribeConfirmation { topic } => write!(f, "unsubscribed from {topic}"),
            Self::NoRecords => f.write_str("event without records"),
        }
    }
}

/// What a reconcile pass is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileRequest {
    /// How far to look back; the default of a pass if absent.
    pub window: Option<Duration>,
}

impl ReconcileRequest {
    fn parse(input: &Value) -> Result<Self, EventError> {
        // An unknown field is an error: a misspelt `window_ms` must not become the default window.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Input {
            #[serde(default)]
            window_ms: Option<NonZeroU64>,
        }
        let input = Input::deserialize(input).map_err(|error| EventError::Reconcile {
            reason: error.to_string(),
        })?;
        Ok(Self {
            window: input.window_ms.map(|ms| Duration::from_millis(ms.get())),
        })
    }
}

fn replay_request(input: &Value) -> Result<ReplayRequest, EventError> {
    // An unknown field is an error: a misspelt `dry_run` must not become a replay.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[serde(default)]
        under: String,
        #[serde(default)]
        after: Option<String>,
        #[serde(default)]
        only: BTreeSet<String>,
        #[serde(default)]
        may_double: bool,
        #[serde(default)]
        dry_run: bool,
    }
    let input = Input::deserialize(input).map_err(|error| EventError::Replay {
        reason: error.to_string(),
    })?;
    Ok(ReplayRequest {
        under: input.under,
        after: input.after,
        only: input.only,
        may_double: input.may_double,
        dry_run: input.dry_run,
    })
}

/// Why a payload, a message or a record can never be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("not JSON: error at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error(
        "unknown kind of event: expected one of S3, SNS, SQS, EventBridge, {{\"bucket\", \"key\"}}, {{\"reconcile\"}} or {{\"replay\"}}, found {found}"
    )]
    UnknownShape { found: String },
    #[error("event source is {found}, expected {expected}")]
    ForeignSource {
        found: String,
        expected: &'static str,
    },
    #[error("{what} cannot come through a queue or a topic")]
    Misplaced { what: &'static str },
    #[error("malformed SQS event: {reason}")]
    Queue { reason: String },
    #[error("malformed SNS message: {reason}")]
    Sns { reason: String },
    #[error("malformed EventBridge event: {reason}")]
    EventBridge { reason: String },
    #[error("malformed reconcile request: {reason}")]
    Reconcile { reason: String },
    #[error("malformed replay request: {reason}")]
    Replay { reason: String },
    #[error("malformed S3 record: {reason}")]
    Record { reason: String },
    #[error("malformed work item: {reason}")]
    WorkItem { reason: String },
    #[error("key {key} is not UTF-8 when decoded: invalid from byte {valid_up_to} on")]
    KeyNotUtf8 { key: String, valid_up_to: usize },
    #[error("key of {bytes} bytes, expected 1 to {KEY_BYTES_MAX}")]
    KeyLength { bytes: usize },
    #[error("empty bucket name")]
    NoBucket,
}

/// What a JSON value looks like.
enum Shape<'a> {
    Queue,
    S3(&'a [Value]),
    /// As SNS invokes a function.
    Sns(&'a [Value]),
    /// As SNS puts a message on a queue.
    SnsEnvelope(&'a Value),
    NoRecords,
    TestEvent(&'a Value),
    EventBridge(&'a Value),
    WorkItem(&'a Value),
    Schedule,
    Reconcile(&'a Value),
    Replay(&'a Value),
}

impl<'a> Shape<'a> {
    fn of(event: &'a Value) -> Result<Self, EventError> {
        let fields = event.as_object().ok_or_else(|| unknown_shape(event))?;
        let has = |name: &str| fields.contains_key(name);
        if let Some(records) = fields.get("Records").and_then(Value::as_array) {
            Self::of_records(records)
        } else if text(event, "Event") == Some("s3:TestEvent") {
            Ok(Self::TestEvent(event))
        } else if has("detail-type") && has("source") {
            match (text(event, "detail-type"), text(event, "source")) {
                (Some("Scheduled Event"), Some("aws.events" | "aws.scheduler")) => {
                    Ok(Self::Schedule)
                }
                _ => Ok(Self::EventBridge(event)),
            }
        } else if has("Type") && has("TopicArn") {
            Ok(Self::SnsEnvelope(event))
        } else if has("bucket") && has("key") {
            Ok(Self::WorkItem(event))
        } else if let Some(input) = fields.get("reconcile") {
            Ok(Self::Reconcile(input))
        } else if let Some(input) = fields.get("replay") {
            Ok(Self::Replay(input))
        } else if fields.is_empty() {
            Ok(Self::Schedule)
        } else {
            Err(unknown_shape(event))
        }
    }

    /// Lambda never mixes sources in one event, so the first record speaks for all.
    fn of_records(records: &'a [Value]) -> Result<Self, EventError> {
        let Some(first) = records.first() else {
            return Ok(Self::NoRecords);
        };
        // SNS alone spells it with a capital.
        match text(first, "eventSource").or_else(|| text(first, "EventSource")) {
            Some("aws:s3") => Ok(Self::S3(records)),
            Some("aws:sns") => Ok(Self::Sns(records)),
            Some("aws:sqs") => Ok(Self::Queue),
            found => Err(EventError::ForeignSource {
                found: found.unwrap_or("absent").to_owned(),
                expected: "aws:s3, aws:sns or aws:sqs",
            }),
        }
    }
}

impl Found {
    /// Reads the text of a message. It may be an envelope around another, and so on: every layer
    /// doubles the backslashes before the quotes within, so the size of a payload bounds the depth.
    fn in_text(text: &str) -> Result<Self, EventError> {
        let event: Value = serde_json::from_str(text).map_err(not_json)?;
        Self::in_shape(Shape::of(&event)?)
    }

    fn in_shape(shape: Shape<'_>) -> Result<Self, EventError> {
        match shape {
            Shape::S3(records) => {
                let mut found = Self::default();
                for record in records {
                    found.add(s3::read(record));
                }
                Ok(found)
            }
            Shape::Sns(records) => {
                let mut found = Self::default();
                for record in records {
                    match Self::in_sns(record.get("Sns").unwrap_or(&Value::Null)) {
                        Ok(more) => found.append(more),
                        Err(error) => found.malformed.push(error),
                    }
                }
                Ok(found)
            }
            Shape::SnsEnvelope(message) => Self::in_sns(message),
            Shape::NoRecords => Ok(Self::from(Ignored::NoRecords)),
            Shape::TestEvent(event) => Ok(Self::from(Ignored::TestEvent {
                bucket: text(event, "Bucket").unwrap_or_default().to_owned(),
            })),
            Shape::EventBridge(event) => {
                let mut found = Self::default();
                found.add(Ok(eventbridge::read(event)?));
                Ok(found)
            }
            Shape::WorkItem(item) => {
                let item = WorkItem::deserialize(item).map_err(|error| EventError::WorkItem {
                    reason: error.to_string(),
                })?;
                Ok(Self {
                    items: vec![checked(item)?],
                    ..Self::default()
                })
            }
            Shape::Queue => Err(EventError::Misplaced {
                what: "an SQS event",
            }),
            Shape::Schedule | Shape::Reconcile(_) => Err(EventError::Misplaced {
                what: "a reconcile request",
            }),
            Shape::Replay(_) => Err(EventError::Misplaced {
                what: "a replay request",
            }),
        }
    }

    /// Reads an SNS message: the same fields whether SNS invokes a function or fills a queue.
    fn in_sns(message: &Value) -> Result<Self, EventError> {
        let topic = || text(message, "TopicArn").unwrap_or_default().to_owned();
        match text(message, "Type") {
            Some("Notification") => {
                let text = text(message, "Message").ok_or_else(|| EventError::Sns {
                    reason: "no text in field Message".to_owned(),
                })?;
                Self::in_text(text)
            }
            Some("SubscriptionConfirmation") => Ok(Self::from(Ignored::SubscriptionConfirmation {
                topic: topic(),
            })),
            Some("UnsubscribeConfirmation") => Ok(Self::from(Ignored::UnsubscribeConfirmation {
                topic: topic(),
            })),
            found => Err(EventError::Sns {
                reason: format!(
                    "field Type is {}, expected Notification, SubscriptionConfirmation or \
                     UnsubscribeConfirmation",
                    found.unwrap_or("absent")
                ),
            }),
        }
    }

    fn add(&mut self, read: Result<Read, EventError>) {
        match read {
            Ok(Read::Item(item)) => self.items.push(item),
            Ok(Read::Ignored(ignored)) => self.ignored.push(ignored),
            Err(error) => self.malformed.push(error),
        }
    }

    fn append(&mut self, mut more: Self) {
        self.items.append(&mut more.items);
        self.ignored.append(&mut more.ignored);
        self.malformed.append(&mut more.malformed);
    }
}

impl From<Ignored> for Found {
    fn from(ignored: Ignored) -> Self {
        Self {
            ignored: vec![ignored],
            ..Self::default()
        }
    }
}

/// What one record says.
enum Read {
    Item(WorkItem),
    Ignored(Ignored),
}

fn messages(event: &Value) -> Result<Vec<Message>, EventError> {
    let event = SqsEvent::deserialize(event).map_err(|error| EventError::Queue {
        reason: error.to_string(),
    })?;
    event.records.into_iter().map(message).collect()
}

fn message(message: SqsMessage) -> Result<Message, EventError> {
    let missing = |field: &str| EventError::Queue {
        reason: format!("a message without {field}"),
    };
    let named = |text: &String| !text.is_empty();
    let raw = message.body.unwrap_or_default();
    Ok(Message {
        id: MessageId(
            message
                .message_id
                .filter(named)
                .ok_or_else(|| missing("messageId"))?,
        ),
        receipt: message
            .receipt_handle
            .filter(named)
            .ok_or_else(|| missing("receiptHandle"))?,
        receive_count: message
            .attributes
            .get("ApproximateReceiveCount")
            .and_then(|count| count.parse().ok())
            .unwrap_or(1),
        body: Found::in_text(&raw),
        raw,
    })
}

/// Holds a work item to what S3 itself would hold it to.
fn checked(item: WorkItem) -> Result<WorkItem, EventError> {
    let bytes = item.key.len();
    if item.bucket.is_empty() {
        Err(EventError::NoBucket)
    } else if bytes == 0 || bytes > KEY_BYTES_MAX {
        Err(EventError::KeyLength { bytes })
    } else {
        Ok(item)
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

fn not_json(error: serde_json::Error) -> EventError {
    EventError::NotJson {
        line: error.line(),
        column: error.column(),
    }
}

/// Says which fields there are, never what they hold.
fn unknown_shape(event: &Value) -> EventError {
    const FIELDS_MAX: usize = 8;
    let found = match event {
        Value::Object(fields) => {
            let names: Vec<&str> = fields.keys().take(FIELDS_MAX).map(String::as_str).collect();
            let more = if fields.len() > FIELDS_MAX {
                ", …"
            } else {
                ""
            };
            format!("an object with the fields {}{more}", names.join(", "))
        }
        Value::Array(_) => "an array".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Null => "null".to_owned(),
    };
    EventError::UnknownShape { found }
}
