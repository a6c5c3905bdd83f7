//! Rules of the functions, read again while they run: changed, broken, gone, and at the start of a process.
#![cfg(feature = "local")]

use std::time::Duration;

use bucket_brigade::ledger::State;
use bucket_brigade::local::listener::Options;

use crate::functions::{BUCKET, Deployment, failed, item, sqs_event};
use crate::support::runtime_api::LambdaProcess;

const RULES_KEY: &str = "settings/rules.yaml";
const BROKEN: &str = "version: 1\nrules:\n  - name: all\n    match: {glob: '**'}\n    typo: t\n";
const KEPT: &str = "kept/rules/";

/// Rules that give each record this type.
fn typed(log_type: &str) -> String {
    format!("version: 1\nrules:\n  - {{name: all, match: {{glob: '**'}}, type: {log_type}}}\n")
}

struct World {
    deployment: Deployment,
}

impl World {
    async fn new() -> Self {
        Self {
            deployment: Deployment::new(Options::default()).await,
        }
    }

    fn put_rules(&self, text: &str) {
        self.put_rules_at(RULES_KEY, text);
    }

    fn put_rules_at(&self, key: &str, text: &str) {
        let put = self.deployment.aws.s3.put(BUCKET, key, text.to_owned());
        put.expect("put");
    }

    fn process(&self, refresh_ms: &str) -> LambdaProcess {
        self.process_under(RULES_KEY, refresh_ms)
    }

    fn process_under(&self, rules_key: &str, refresh_ms: &str) -> LambdaProcess {
        self.process_of(env!("CARGO_BIN_EXE_ingest"), rules_key, refresh_ms)
    }

    fn process_of(&self, binary: &str, rules_key: &str, refresh_ms: &str) -> LambdaProcess {
        let function = self.deployment.function(binary, Duration::from_secs(20));
        LambdaProcess::new(
            function
                .env("RULES_URL", format!("s3://{BUCKET}/{rules_key}"))
                .env("RULES_REFRESH_MS", refresh_ms),
        )
    }

    /// Carries a new object by an invocation.
    async fn carry(&self, ingest: &LambdaProcess, key: &str) {
        let content = self
            .deployment
            .put(key, format!("{{\"key\":\"{key}\"}}\n").into_bytes());
        let answer = ingest.invoke(&sqs_event(&[item(&content)])).await;
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}\n{}", ingest.logs()));
        assert_eq!(failed(&answer), [""; 0], "{}", ingest.logs());
        assert_eq!(self.deployment.state(&content).await, Some(State::Settled));
    }

    fn sent_as(&self, log_type: &str) -> u64 {
        let counts = self.deployment.listener.counts();
        counts.types.get(log_type).copied().unwrap_or(0)
    }

    fn kept(&self) -> Vec<String> {
        let kept = self.deployment.aws.s3.list("quarantine", KEPT);
        let texts = kept.expect("a listing").into_iter();
        texts
            .map(|(_, kept)| String::from_utf8_lossy(&kept.bytes).into_owned())
            .collect()
    }
}

fn times(logs: &str, text: &str) -> usize {
    logs.matches(text).count()
}

#[tokio::test]
async fn rules_change_between_two_invocations_and_broken_ones_leave_the_last_good_in_force() {
    let world = World::new().await;
    world.put_rules(&typed("one"));
    let ingest = world.process("0");
    world.carry(&ingest, "logs/a").await;
    assert_eq!(world.sent_as("one"), 1);
    assert_eq!(world.kept(), [typed("one")]);

    world.put_rules(&typed("two"));
    world.carry(&ingest, "logs/b").await;
    assert_eq!(world.sent_as("two"), 1);
    assert_eq!(world.kept(), [typed("two")]);
    assert_eq!(
        times(&ingest.logs(), "\"RulesBroken\":"),
        0,
        "{}",
        ingest.logs()
    );

    world.put_rules(BROKEN);
    world.carry(&ingest, "logs/c").await;
    assert_eq!(world.sent_as("two"), 2, "the last good ones");
    let logs = ingest.logs();
    assert_eq!(times(&logs, "\"RulesBroken\":1"), 1, "{logs}");
    let errors: Vec<&str> = logs
        .lines()
        .filter(|line| line.contains("\"ERROR\""))
        .collect();
    assert_eq!(errors.len(), 1, "{logs}");
    assert!(
        errors[0].contains("line 5, column 5") && errors[0].contains("typo"),
        "{errors:?}"
    );
    assert_eq!(world.kept(), [typed("two")], "what is broken is not kept");

    let deleted = world.deployment.aws.s3.delete(BUCKET, RULES_KEY);
    deleted.expect("deleted");
    world.carry(&ingest, "logs/d").await;
    assert_eq!(
        world.sent_as("two"),
        3,
        "rules that are gone do not let everything through"
    );
    assert_eq!(
        times(&ingest.logs(), "\"RulesBroken\":1"),
        2,
        "{}",
        ingest.logs()
    );

    world.put_rules(&typed("three"));
    world.carry(&ingest, "logs/e").await;
    assert_eq!(world.sent_as("three"), 1);
    assert_eq!(
        times(&ingest.logs(), "\"RulesBroken\":1"),
        2,
        "{}",
        ingest.logs()
    );
    assert_eq!(ingest.starts(), 1, "all of it without a restart");
}

#[tokio::test]
async fn rules_are_not_looked_at_before_it_is_time() {
    let world = World::new().await;
    world.put_rules(&typed("one"));
    let ingest = world.process("3600000");
    world.carry(&ingest, "logs/a").await;
    world.put_rules(&typed("two"));
    world.carry(&ingest, "logs/b").await;
    assert_eq!((world.sent_as("one"), world.sent_as("two")), (2, 0));
}

#[tokio::test]
async fn a_process_that_starts_while_the_file_is_broken_takes_the_last_good_copy() {
    let world = World::new().await;
    world.put_rules(&typed("one"));
    world.carry(&world.process("0"), "logs/a").await;

    world.put_rules(BROKEN);
    let fresh = world.process("0");
    world.carry(&fresh, "logs/b").await;
    assert_eq!(world.sent_as("one"), 2);
    let logs = fresh.logs();
    assert_eq!(times(&logs, "\"RulesBroken\":1"), 1, "{logs}");
    assert_eq!(times(&logs, "\"FatalErrors\":1"), 0, "{logs}");

    world.put_rules(&typed("two"));
    world.carry(&fresh, "logs/c").await;
    assert_eq!(world.sent_as("two"), 1);
}

#[tokio::test]
async fn the_last_good_copy_of_another_file_in_the_same_quarantine_is_not_taken() {
    let world = World::new().await;
    world.put_rules(&typed("one"));
    world.carry(&world.process("0"), "logs/a").await;

    world.put_rules_at("settings/other.yaml", BROKEN);
    let other = world.process_under("settings/other.yaml", "0");
    let content = world.deployment.put("logs/b", b"{\"n\":1}\n".to_vec());
    let error = other.invoke(&sqs_event(&[item(&content)])).await;
    assert_eq!(error.expect_err("no rules").kind, "rules_unusable");

    world.put_rules_at("settings/other.yaml", &typed("other"));
    world.carry(&other, "logs/b").await;
    assert_eq!((world.sent_as("one"), world.sent_as("other")), (1, 1));
    assert_eq!(world.kept().len(), 2);
}

#[tokio::test]
async fn reconcile_takes_the_last_good_copy_too_and_does_nothing_without_any() {
    let world = World::new().await;
    let reconcile = || world.process_of(env!("CARGO_BIN_EXE_reconcile"), RULES_KEY, "0");
    world.put_rules(BROKEN);
    let without = reconcile();
    let error = without.invoke(br#"{"reconcile":{}}"#).await;
    assert_eq!(error.expect_err("no rules").kind, "rules_unusable");
    let logs = without.logs();
    assert_eq!(times(&logs, "\"FatalErrors\":1"), 1, "{logs}");
    assert_eq!(times(&logs, "\"Listed\":"), 0, "{logs}");

    world.put_rules(&typed("one"));
    let answer = reconcile().invoke(br#"{"reconcile":{}}"#).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(world.kept(), [""; 0], "it writes none");
    world.carry(&world.process("0"), "logs/a").await;
    world.put_rules(BROKEN);
    let fresh = reconcile();
    let answer = fresh.invoke(br#"{"reconcile":{}}"#).await;
    let logs = fresh.logs();
    assert!(answer.is_ok(), "{answer:?}\n{logs}");
    assert_eq!(
        times(&logs, "the last good rules are in force"),
        1,
        "{logs}"
    );
    assert_eq!(times(&logs, "\"RulesBroken\":1"), 1, "{logs}");
}

#[tokio::test]
async fn without_any_good_rules_nothing_is_carried_nothing_is_lost_and_it_is_fatal() {
    let world = World::new().await;
    world.put_rules(BROKEN);
    let ingest = world.process("3600000");
    let content = world.deployment.put("logs/a", b"{\"n\":1}\n".to_vec());
    let payload = sqs_event(&[item(&content)]);
    for round in 1..=2 {
        // The message stays in the queue: the invocation fails as a whole.
        let error = ingest.invoke(&payload).await.expect_err("no rules");
        assert_eq!(error.kind, "rules_unusable", "{error:?}");
        assert!(error.message.contains("line 5, column 5"), "{error:?}");
        let logs = ingest.logs();
        assert_eq!(times(&logs, "\"FatalErrors\":1"), round, "{logs}");
        assert_eq!(times(&logs, "\"RulesBroken\":1"), round, "{logs}");
    }
    assert_eq!(world.deployment.listener.counts().requests, 0);
    assert_eq!(world.deployment.state(&content).await, None);
    assert_eq!(world.deployment.quarantined(), [""; 0]);

    world.put_rules(&typed("one"));
    let answer = ingest.invoke(&payload).await.expect("an answer");
    assert_eq!(failed(&answer), [""; 0]);
    assert_eq!(
        world.sent_as("one"),
        1,
        "found at once, however long the refresh is"
    );
    assert_eq!(ingest.starts(), 1);
}
