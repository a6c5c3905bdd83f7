//! Amazon SQS.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::{FutureExt, StreamExt, stream};

use crate::aws::fault::Fault;
use crate::object::WorkItem;
use crate::queue::{QueueError, WorkQueue};

/// SQS takes ten entries a batch (API reference, SendMessageBatch).
const BATCH_ITEMS_MAX: usize = 10;
const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// SQS: "up to 12 hours" (API reference, ChangeMessageVisibility).
const POSTPONE_SECS_MAX: u64 = 43_200;
/// The attribute that says why a message was buried.
const REASON_ATTRIBUTE: &str = "reason";
const REASON_CHARS_MAX: usize = 256;

/// The work queue, and the dead-letter queue beside it.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    queue_url: String,
    dead_letter_url: Option<String>,
}

impl SqsQueue {
    /// Without a dead-letter queue, burying is refused.
    pub fn new(
        client: Client,
        queue_url: impl Into<String>,
        dead_letter_url: Option<String>,
    ) -> Self {
        Self {
            client,
            queue_url: queue_url.into(),
            dead_letter_url,
        }
    }

    /// One request; an answer for each of at most [`BATCH_ITEMS_MAX`] items.
    async fn send_batch(&self, items: &[WorkItem]) -> Vec<Result<(), QueueError>> {
        let mut batch = self.client.send_message_batch().queue_url(&self.queue_url);
        for (index, item) in items.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(body(item))
                .build();
            match entry {
                Ok(entry) => batch = batch.entries(entry),
                Err(error) => return all(items, &refused(error.to_string())),
            }
        }
        let answer = match batch.send().boxed().await {
            Ok(answer) => answer,
            Err(error) => return all(items, &failed(&error)),
        };
        let mut results = all(
            items,
            &QueueError::Unavailable {
                reason: "the answer does not name this item".to_owned(),
            },
        );
        let named = |id: &str| id.parse().ok().filter(|index: &usize| *index < items.len());
        for sent in answer.successful() {
            if let Some(index) = named(sent.id()) {
                results[index] = Ok(());
            }
        }
        for entry in answer.failed() {
            if let Some(index) = named(entry.id()) {
                results[index] = Err(entry_failed(entry));
            }
        }
        results
    }
}

impl WorkQueue for SqsQueue {
    async fn send(&self, items: &[WorkItem]) -> Vec<Result<(), QueueError>> {
        let batches = items.chunks(BATCH_ITEMS_MAX);
        let requests: Vec<_> = batches.map(|batch| self.send_batch(batch)).collect();
        stream::iter(requests)
            .buffered(BATCHES_IN_FLIGHT_MAX)
            .concat()
            .await
    }

    async fn bury(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let Some(url) = &self.dead_letter_url else {
            return Err(refused("no dead-letter queue is configured".to_owned()));
        };
        let reason = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(attribute(reason))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        self.client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .message_attributes(REASON_ATTRIBUTE, reason)
            .send()
            .boxed()
            .await
            .map(drop)
            .map_err(|error| failed(&error))
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(receipt)
            .visibility_timeout(visibility_secs(delay))
            .send()
            .boxed()
            .await
            .map(drop)
            .map_err(|error| match error.code() {
                // The message is out of our hands, so it comes back by itself.
                Some(
                    "InvalidParameterValue"
                    | "MessageNotInflight"
                    | "ReceiptHandleIsInvalid"
                    | "AWS.SimpleQueueService.MessageNotInflight",
                ) => QueueError::Unavailable {
                    reason: Fault::of(&error).to_string(),
                },
                _ => failed(&error),
            })
    }
}

/// A part of a second counts as a whole one: nothing comes back early.
fn visibility_secs(delay: Duration) -> i32 {
    let secs = delay.as_millis().div_ceil(1_000);
    secs.min(POSTPONE_SECS_MAX.into()) as i32
}

/// An item as JSON. SQS takes no character that XML cannot hold. JSON escapes the low ones;
/// these two are the rest that a key can have.
fn body(item: &WorkItem) -> String {
    serde_json::to_string(item)
        .expect("strings and numbers always become JSON")
        .replace('\u{fffe}', "\\ufffe")
        .replace('\u{ffff}', "\\uffff")
}

/// A text that SQS takes as an attribute: not empty, of bounded length, fit for XML.
fn attribute(text: &str) -> String {
    let fit = |c: char| match c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    match text.is_empty() {
        true => "unknown".to_owned(),
        false => text.chars().take(REASON_CHARS_MAX).map(fit).collect(),
    }
}

fn all(items: &[WorkItem], error: &QueueError) -> Vec<Result<(), QueueError>> {
    items.iter().map(|_| Err(error.clone())).collect()
}

fn refused(reason: String) -> QueueError {
    QueueError::Refused { reason }
}

fn failed<E>(error: &SdkError<E, HttpResponse>) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let fault = Fault::of(error);
    let reason = fault.to_string();
    match fault.is_transient() {
        true => QueueError::Unavailable { reason },
        false => QueueError::Refused { reason },
    }
}

fn entry_failed(entry: &BatchResultErrorEntry) -> QueueError {
    let reason = match entry.message() {
        Some(message) => format!("{}: {message}", entry.code()),
        None => entry.code().to_owned(),
    };
    match entry.sender_fault() {
        true => QueueError::Refused { reason },
        false => QueueError::Unavailable { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_rounded_up_and_bounded() {
        assert_eq!(visibility_secs(Duration::ZERO), 0);
        assert_eq!(visibility_secs(Duration::from_millis(1)), 1);
        assert_eq!(visibility_secs(Duration::from_secs(900)), 900);
        assert_eq!(visibility_secs(Duration::MAX), 43_200);
    }

    #[test]
    fn every_key_fits_into_a_message() {
        let item = WorkItem::new("b", "a\u{0}\u{1f}\u{fffe}\u{ffff}é日");
        let text = body(&item);
        let xml = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        assert!(text.chars().all(xml), "{text:?}");
        assert_eq!(serde_json::from_str::<WorkItem>(&text).expect("json"), item);
    }

    #[test]
    fn a_reason_is_bounded_and_never_empty() {
        assert_eq!(attribute(""), "unknown");
        assert_eq!(attribute("a\nb"), "a\u{fffd}b");
        assert_eq!(attribute(&"é".repeat(1_000)).chars().count(), 256);
    }
}
