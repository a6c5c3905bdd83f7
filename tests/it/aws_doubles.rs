//! The doubles of the AWS services, through the real SDK clients: what the project leans on must
//! behave here as it does there.
#![cfg(feature = "local")]

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use crate::support::aws::Aws;
use crate::support::aws::dynamodb::KeySchema;
use crate::support::aws::failure::{Failure, Faults};
use crate::support::aws::sqs::QueueOptions;
use crate::support::sdk;

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn b(bytes: impl AsRef<[u8]>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes.as_ref()))
}

async fn table() -> (Aws, aws_sdk_dynamodb::Client) {
    let aws = Aws::start().await;
    let schema = KeySchema::new(("pk", "S"), Some(("sk", "B")));
    let stuck = KeySchema::new(("stuck", "S"), Some(("since", "N")));
    aws.dynamodb
        .create_table("ledger", schema, &[("stuck", stuck)]);
    let client = aws_sdk_dynamodb::Client::new(&sdk::shared(aws.endpoint()));
    (aws, client)
}

#[tokio::test]
async fn a_conditional_put_has_one_winner_and_shows_the_loser_what_is_there() {
    let (_aws, client) = table().await;
    let put = |owner: &'static str| {
        client
            .put_item()
            .table_name("ledger")
            .item("pk", s("p"))
            .item("sk", b("k"))
            .item("holder", s(owner))
            .condition_expression("attribute_not_exists(pk) OR lease_until < :now")
            .expression_attribute_values(":now", n(5))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    put("first").await.unwrap();
    let error = put("second").await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(error) =
        error
    else {
        panic!("{error:?}")
    };
    assert_eq!(error.item().unwrap()["holder"], s("first"));
}

#[tokio::test]
async fn an_update_computes_from_the_item_before_it() {
    let (aws, client) = table().await;
    let update = |expression: &str, values: &[(&str, AttributeValue)]| {
        let values: HashMap<_, _> = values
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.clone()))
            .collect();
        client
            .update_item()
            .table_name("ledger")
            .key("pk", s("p"))
            .key("sk", b("k"))
            .update_expression(expression)
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values(ReturnValue::AllNew)
            .send()
    };
    let values = [
        (":zero", n(0)),
        (":one", n(1)),
        (":m", AttributeValue::M(HashMap::new())),
    ];
    let new = update(
        "SET attempts = if_not_exists(attempts, :zero) + :one, more = :m",
        &values,
    );
    assert_eq!(new.await.unwrap().attributes().unwrap()["attempts"], n(1));
    let values = [(":two", n(2)), (":x", s("x"))];
    let new = update(
        "SET a = attempts, attempts = attempts - :two, more.x = :x ADD summed :two",
        &values,
    );
    let new = new.await.unwrap().attributes.unwrap();
    assert_eq!(
        (&new["a"], &new["attempts"], &new["summed"]),
        (&n(1), &n(-1), &n(2))
    );
    assert_eq!(new["more"].as_m().unwrap()["x"], s("x"));
    update("REMOVE a, more.x", &[]).await.unwrap();
    let item = aws.dynamodb.items("ledger").remove(0);
    assert_eq!(
        item.keys().collect::<Vec<_>>(),
        ["attempts", "more", "pk", "sk", "summed"]
    );
}

#[tokio::test]
async fn requests_that_dynamodb_refuses_are_refused() {
    let (_aws, client) = table().await;
    let update = |expression: &str| {
        let update = client
            .update_item()
            .table_name("ledger")
            .key("pk", s("p"))
            .key("sk", b("k"));
        update
            .update_expression(expression)
            .expression_attribute_values(":v", n(1))
    };
    let refused = [
        ("a reserved word", update("SET ttl = :v")),
        ("an unused value", update("REMOVE a")),
        ("an undefined value", update("SET a = :v, b = :w")),
        ("an undefined name", update("SET #a = :v")),
        (
            "an unused name",
            update("SET a = :v").expression_attribute_names("#n", "x"),
        ),
        ("a key attribute", update("SET pk = :v")),
        ("a syntax error", update("SET a = ")),
        ("a nothing operand", update("SET a = b + :v")),
        (
            "a sort key too few",
            client.update_item().table_name("ledger").key("pk", s("p")),
        ),
        (
            "an empty key",
            client
                .update_item()
                .table_name("ledger")
                .key("pk", s(""))
                .key("sk", b("k")),
        ),
    ];
    for (what, request) in refused {
        let error = request.send().await.unwrap_err();
        assert_eq!(
            error.code(),
            Some("ValidationException"),
            "{what}: {error:?}"
        );
    }
    let put = client
        .put_item()
        .table_name("ledger")
        .item("pk", s("p"))
        .item("sk", b("k"));
    let error = put
        .clone()
        .item("x", s("x".repeat(409_600)))
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"));
    let error = put.table_name("none").send().await.unwrap_err();
    assert_eq!(error.code(), Some("ResourceNotFoundException"));
}

#[tokio::test]
async fn conditions_are_evaluated_with_their_precedence() {
    let (_aws, client) = table().await;
    let item = client
        .put_item()
        .table_name("ledger")
        .item("pk", s("p"))
        .item("sk", b("k"));
    item.item("num", n(10))
        .item("text", s("hello"))
        .send()
        .await
        .unwrap();
    for (condition, holds) in [
        ("num = :ten OR num = :one AND num = :one", true),
        ("(num = :ten OR num = :one) AND num = :one", false),
        ("NOT num = :one AND num <> :one", true),
        (
            "nothing <> :one AND NOT nothing = :one AND num > :one",
            true,
        ),
        ("num BETWEEN :one AND :ten AND num > :one", true),
        ("num IN (:one, :ten)", true),
        ("num < :ten OR num >= :one AND :ten <= num", true),
        (
            "begins_with(#t, :he) AND contains(#t, :he) AND num IN (:ten, :one)",
            true,
        ),
        (
            "attribute_exists(#t) AND size(#t) < :ten AND size(#t) > :one",
            true,
        ),
        ("attribute_not_exists(#t) AND num IN (:ten, :one)", false),
    ] {
        let get = client
            .update_item()
            .table_name("ledger")
            .key("pk", s("p"))
            .key("sk", b("k"));
        let mut get = get.condition_expression(condition);
        for (name, value) in [(":one", n(1)), (":ten", n(10)), (":he", s("he"))] {
            if condition.contains(name) {
                get = get.expression_attribute_values(name, value);
            }
        }
        if condition.contains("#t") {
            get = get.expression_attribute_names("#t", "text");
        }
        let answer = get.send().await;
        let code = answer
            .as_ref()
            .err()
            .and_then(|error| error.code().map(str::to_owned));
        let expected = (!holds).then(|| "ConditionalCheckFailedException".to_owned());
        assert_eq!(code, expected, "{condition}");
    }
}

#[tokio::test]
async fn a_query_runs_in_byte_order_of_binary_keys_page_by_page() {
    let (_aws, client) = table().await;
    let keys: [&[u8]; 6] = [b"\x00", b"a", b"a\x00", b"a/b", b"b", b"\xff\xff"];
    for key in keys.iter().rev() {
        for pk in ["p", "q"] {
            let put = client.put_item().table_name("ledger").item("pk", s(pk));
            put.item("sk", b(key))
                .item("state", s("x"))
                .send()
                .await
                .unwrap();
        }
    }
    let query = |condition: &str| {
        let query = client.query().table_name("ledger").consistent_read(true);
        query
            .key_condition_expression(condition)
            .expression_attribute_values(":p", s("p"))
    };
    let found = |items: &[HashMap<String, AttributeValue>]| -> Vec<Vec<u8>> {
        items
            .iter()
            .map(|item| item["sk"].as_b().unwrap().as_ref().to_vec())
            .collect()
    };
    let between = query("pk = :p AND sk BETWEEN :a AND :b")
        .expression_attribute_values(":a", b("a"))
        .expression_attribute_values(":b", b("b"))
        .projection_expression("sk");
    let page = between.send().await.unwrap();
    assert_eq!(found(page.items()), keys[1..5]);
    assert_eq!(page.items()[0].len(), 1);

    let starts = query("pk = :p AND begins_with(sk, :a)").expression_attribute_values(":a", b("a"));
    assert_eq!(found(starts.send().await.unwrap().items()), keys[1..4]);

    let mut walked = Vec::new();
    let mut pages = query("pk = :p")
        .limit(4)
        .scan_index_forward(false)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        walked.push(found(page.unwrap().items()));
    }
    let backward: Vec<&[u8]> = keys.iter().rev().copied().collect();
    assert_eq!(walked, [&backward[..4], &backward[4..]]);
}

#[tokio::test]
async fn a_page_ends_at_one_megabyte() {
    let (_aws, client) = table().await;
    for key in 0..5_u8 {
        let put = client
            .put_item()
            .table_name("ledger")
            .item("pk", s("p"))
            .item("sk", b([key]));
        put.item("x", s("x".repeat(300_000))).send().await.unwrap();
    }
    let scan = client.scan().table_name("ledger").send().await.unwrap();
    assert_eq!(scan.count(), 4);
    assert!(scan.last_evaluated_key().is_some());
}

#[tokio::test]
async fn a_sparse_index_holds_what_has_its_attributes() {
    let (_aws, client) = table().await;
    for (key, since) in [("a", Some(9)), ("b", None), ("c", Some(3))] {
        let mut put = client
            .put_item()
            .table_name("ledger")
            .item("pk", s("p"))
            .item("sk", b(key));
        if let Some(since) = since {
            put = put.item("stuck", s("y")).item("since", n(since));
        }
        put.send().await.unwrap();
    }
    let query = client.query().table_name("ledger").index_name("stuck");
    let query = query.key_condition_expression("stuck = :y AND since < :t");
    let query = query.expression_attribute_values(":y", s("y"));
    let all = query
        .clone()
        .expression_attribute_values(":t", n(10))
        .send()
        .await
        .unwrap();
    assert_eq!(
        all.items()
            .iter()
            .map(|item| &item["sk"])
            .collect::<Vec<_>>(),
        [&b("c"), &b("a")]
    );
    let few = query
        .expression_attribute_values(":t", n(9))
        .send()
        .await
        .unwrap();
    assert_eq!(few.count(), 1);
}

#[tokio::test]
async fn a_batch_get_may_leave_keys_unprocessed() {
    let (aws, client) = table().await;
    let mut keys = KeysAndAttributes::builder();
    for key in ["a", "b", "c"] {
        let put = client
            .put_item()
            .table_name("ledger")
            .item("pk", s("p"))
            .item("sk", b(key));
        put.send().await.unwrap();
        keys = keys.keys([("pk".to_owned(), s("p")), ("sk".to_owned(), b(key))].into());
    }
    aws.dynamodb.leave_unprocessed(2);
    let get = client
        .batch_get_item()
        .request_items("ledger", keys.build().unwrap());
    let got = get.send().await.unwrap();
    assert_eq!(got.responses().unwrap()["ledger"].len(), 1);
    assert_eq!(got.unprocessed_keys().unwrap()["ledger"].keys().len(), 2);
}

#[tokio::test]
async fn dynamodb_throttles_fails_and_loses_answers_on_demand() {
    let (aws, client) = table().await;
    let put = |key: &str| {
        let put = client.put_item().table_name("ledger").item("pk", s("p"));
        put.item("sk", b(key)).send()
    };
    for (failure, code) in [
        (Failure::Throttled, "ProvisionedThroughputExceededException"),
        (Failure::Unavailable, "InternalServerError"),
        (Failure::Denied, "AccessDeniedException"),
    ] {
        aws.dynamodb.faults(|faults| faults.next(1, failure));
        assert_eq!(put("a").await.unwrap_err().code(), Some(code));
    }
    aws.dynamodb.faults(|faults| {
        faults.always(Failure::Throttled);
        faults.next_of("Query", 1, Failure::Denied);
    });
    for _ in 0..2 {
        let code = put("a").await.unwrap_err().code().map(str::to_owned);
        assert_eq!(
            code.as_deref(),
            Some("ProvisionedThroughputExceededException")
        );
    }
    aws.dynamodb.faults(Faults::clear);
    aws.dynamodb
        .faults(|faults| faults.always_of("Query", Failure::Denied));
    assert!(aws.dynamodb.items("ledger").is_empty());
    assert_eq!(aws.dynamodb.requests()["PutItem"], 5);
    aws.dynamodb
        .faults(|faults| faults.next_of("PutItem", 1, Failure::AnswerLost));
    put("a").await.unwrap_err();
    assert_eq!(aws.dynamodb.items("ledger").len(), 1);
}

async fn queue(options: QueueOptions) -> (Aws, aws_sdk_sqs::Client, String) {
    let aws = Aws::start().await;
    let url = aws.sqs.create_queue("work", options);
    let client = aws_sdk_sqs::Client::new(&sdk::shared(aws.endpoint()));
    (aws, client, url)
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder()
        .id(id)
        .message_body(body);
    entry.build().unwrap()
}

#[tokio::test]
async fn a_message_is_hidden_while_it_is_received_and_gone_once_deleted() {
    let (aws, client, url) = queue(QueueOptions::default()).await;
    let sent = client
        .send_message()
        .queue_url(&url)
        .message_body("body")
        .send()
        .await
        .unwrap();
    assert_eq!(
        sent.md5_of_message_body(),
        Some("841a2d689ad86bd1611447453c22c6fc")
    );
    let receive = || {
        client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10)
            .send()
    };
    let got = receive().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(got.body(), Some("body"));
    assert!(receive().await.unwrap().messages().is_empty());

    let handle = got.receipt_handle().unwrap();
    let change = client
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle);
    change.visibility_timeout(0).send().await.unwrap();
    let change = &aws.sqs.visibility_changes()[0];
    assert_eq!(
        (change.message_id.as_str(), change.seconds),
        (got.message_id().unwrap(), 0)
    );

    let again = receive().await.unwrap().messages.unwrap().remove(0);
    let delete = client.delete_message().queue_url(&url);
    delete
        .receipt_handle(again.receipt_handle().unwrap())
        .send()
        .await
        .unwrap();
    assert!(aws.sqs.messages("work").is_empty());
}

#[tokio::test]
async fn batches_have_limits_and_may_fail_in_part() {
    let (aws, client, url) = queue(QueueOptions::default()).await;
    let batch = |entries: Vec<SendMessageBatchRequestEntry>| {
        client
            .send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send()
    };
    let eleven = (0..11).map(|at| entry(&at.to_string(), "x")).collect();
    let half = "x".repeat(600_000);
    for (entries, code) in [
        (vec![], "EmptyBatchRequest"),
        (eleven, "TooManyEntriesInBatchRequest"),
        (
            vec![entry("a", "x"), entry("a", "y")],
            "BatchEntryIdsNotDistinct",
        ),
        (vec![entry("a/b", "x")], "InvalidBatchEntryId"),
        (
            vec![entry("a", &half), entry("b", &half)],
            "BatchRequestTooLong",
        ),
    ] {
        let code_found = batch(entries).await.unwrap_err().code().map(str::to_owned);
        assert_eq!(code_found.as_deref(), Some(code));
    }
    aws.sqs.faults(|faults| faults.next(1, Failure::Throttled));
    let throttled = batch(vec![entry("a", "x")]).await.unwrap_err();
    assert_eq!(throttled.code(), Some("RequestThrottled"));
    assert_eq!(aws.sqs.requests()["SendMessageBatch"], 6);
    aws.sqs.fail_entries(1);
    let sent = batch(vec![entry("a", "1"), entry("b", "2"), entry("c", "\u{1}")])
        .await
        .unwrap();
    let failed: Vec<_> = sent
        .failed()
        .iter()
        .map(|entry| (entry.id(), entry.sender_fault()))
        .collect();
    assert_eq!(failed, [("a", false), ("c", true)]);
    assert_eq!(aws.sqs.messages("work").len(), 1);
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    let options = QueueOptions {
        visibility: Duration::ZERO,
        redrive: Some(("dead".to_owned(), 2)),
    };
    let (aws, ..) = queue(options).await;
    aws.sqs.create_queue("dead", QueueOptions::default());
    let id = aws.sqs.send("work", "body");
    for received in [1, 1, 0] {
        assert_eq!(aws.sqs.receive("work", 10).len(), received);
    }
    assert_eq!(aws.sqs.messages("dead")[0].id, id);
}

#[tokio::test]
async fn what_a_function_does_not_name_as_failed_is_deleted() {
    let (aws, ..) = queue(QueueOptions::default()).await;
    let ids = ["a", "b"].map(|body| aws.sqs.send("work", body));
    let messages = aws.sqs.receive("work", 10);
    let event = aws.sqs.lambda_event("work", &messages);
    assert_eq!(event["Records"][0]["body"], "a");
    let answer = serde_json::json!({ "batchItemFailures": [{ "itemIdentifier": ids[1] }] });
    aws.sqs.settle("work", &messages, &answer);
    let left: Vec<String> = aws
        .sqs
        .messages("work")
        .into_iter()
        .map(|message| message.id)
        .collect();
    assert_eq!(left, [ids[1].clone()]);
}

#[tokio::test]
async fn secrets_and_parameters_are_read_by_arn() {
    let aws = Aws::start().await;
    aws.secrets.set_secret("arn:secret", "one");
    aws.secrets.set_parameter("/token", "two");
    let secrets = aws_sdk_secretsmanager::Client::new(&sdk::shared(aws.endpoint()));
    let ssm = aws_sdk_ssm::Client::new(&sdk::shared(aws.endpoint()));
    let secret = secrets
        .get_secret_value()
        .secret_id("arn:secret")
        .send()
        .await
        .unwrap();
    assert_eq!(secret.secret_string(), Some("one"));
    let get = ssm.get_parameter().name("/token");
    let plain = get.clone().with_decryption(true).send().await.unwrap();
    assert_eq!(plain.parameter().unwrap().value(), Some("two"));
    let cipher = get.send().await.unwrap();
    assert_ne!(cipher.parameter().unwrap().value(), Some("two"));
    let none = secrets
        .get_secret_value()
        .secret_id("arn:none")
        .send()
        .await
        .unwrap_err();
    assert_eq!(none.code(), Some("ResourceNotFoundException"));
    aws.secrets.faults(|faults| faults.next(1, Failure::Denied));
    let denied = secrets
        .get_secret_value()
        .secret_id("arn:secret")
        .send()
        .await
        .unwrap_err();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    assert_eq!(aws.secrets.reads(), 5);
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_only_and_s3_can_demand_it() {
    let aws = Aws::start().await;
    let role = "arn:aws:iam::210987654321:role/reader";
    aws.sts.allow(role, Some("right"));
    aws.s3.create_bucket("bucket").unwrap();
    aws.s3.put("bucket", "k", "x").unwrap();
    aws.restrict_s3_to(role);
    for (external_id, works) in [(None, false), (Some("wrong"), false), (Some("right"), true)] {
        let mut provider = aws_config::sts::AssumeRoleProvider::builder(role).session_name("it");
        if let Some(external_id) = external_id {
            provider = provider.external_id(external_id);
        }
        let provider = provider
            .configure(&sdk::shared(aws.endpoint()))
            .build()
            .await;
        let config = aws_sdk_s3::config::Builder::from(&sdk::shared(aws.endpoint()))
            .credentials_provider(provider)
            .force_path_style(true)
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let got = client.get_object().bucket("bucket").key("k").send().await;
        assert_eq!(got.is_ok(), works, "{external_id:?}: {got:?}");
    }
    let session = &aws.sts.sessions()[0];
    assert_eq!(
        (session.role_arn.as_str(), session.session_name.as_str()),
        (role, "it")
    );
    assert_eq!((aws.sts.sessions().len(), aws.sts.refusals()), (1, 2));
    assert_eq!(aws.s3_callers()[&session.access_key_id], 1);
    let stranger = sdk::s3(aws.endpoint())
        .get_object()
        .bucket("bucket")
        .key("k")
        .send()
        .await;
    assert_eq!(stranger.unwrap_err().code(), Some("AccessDenied"));
}

#[tokio::test]
async fn credentials_of_a_session_that_ends_soon_are_asked_for_again() {
    let aws = Aws::start().await;
    let role = "arn:aws:iam::210987654321:role/reader";
    aws.sts.allow(role, None);
    aws.sts.set_lifetime(Duration::from_secs(1));
    aws.s3.create_bucket("bucket").unwrap();
    let provider = aws_config::sts::AssumeRoleProvider::builder(role)
        .configure(&sdk::shared(aws.endpoint()))
        .build()
        .await;
    let config = aws_sdk_s3::config::Builder::from(&sdk::shared(aws.endpoint()))
        .credentials_provider(provider)
        .force_path_style(true)
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    for _ in 0..2 {
        client
            .list_objects_v2()
            .bucket("bucket")
            .send()
            .await
            .unwrap();
    }
    assert_eq!(aws.sts.sessions().len(), 2);
}
