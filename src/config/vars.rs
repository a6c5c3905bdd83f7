//! The table of settings: the one place that knows their names, defaults, units and bounds.
//!
//! `README.md` shows the same table and `template.yaml` sets the same names; tests hold all equal.

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var {
    pub name: &'static str,
    /// What absence means, as one would write it.
    pub default: Option<&'static str>,
    pub unit: &'static str,
    /// The least and the greatest value of a number.
    pub bounds: Option<(u64, u64)>,
    pub set_by: SetBy,
    /// How much of the value may stand in an error message.
    pub shown: Shown,
    /// One line for a person.
    pub about: &'static str,
}

/// Who gives a setting its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// `template.yaml`, always.
    Template,
    /// A person: on a machine of their own, or in a function by hand.
    Person,
    /// Lambda, or whoever runs the AWS SDK.
    Platform,
}

/// How much of a value may stand in an error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Whole,
    /// Scheme, host and port of a URL: the rest may carry a token.
    Origin,
    /// Only what begins as an ARN does: a secret is easily pasted where its ARN belongs.
    Arn,
    Never,
}

macro_rules! vars {
    ($($name:ident: $default:expr, $unit:literal, $bounds:expr, $set_by:ident, $shown:ident, $about:literal;)*) => {
        $(pub const $name: Var = Var {
            name: stringify!($name),
            default: $default,
            unit: $unit,
            bounds: $bounds,
            set_by: SetBy::$set_by,
            shown: Shown::$shown,
            about: $about,
        };)*

        /// Every setting, in the order in which the README shows them.
        pub const VARS: &[Var] = &[$($name),*];
    };
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

vars! {
    ENDPOINT_URL: None, "URL", None, Template, Origin,
        "Where records go, for instance `https://listener.logz.io:8071`; `https` only, except to loopback; without token and type.";
    ENDPOINT_KIND: Some("logzio"), "`logzio` or `http`", None, Template, Whole,
        "What the endpoint speaks: the Logz.io bulk listener, or any receiver of NDJSON over POST.";
    ENDPOINT_TOKEN_ARN: None, "ARN", None, Template, Arn,
        "The Secrets Manager secret or SSM parameter that holds the token; read again once on 401.";
    ENDPOINT_TOKEN: None, "text", None, Person, Never,
        "The token itself, for local use; a function takes `ENDPOINT_TOKEN_ARN`.";
    LOG_TYPE: None, "text without spaces", None, Template, Whole,
        "The Logz.io type of every record, which chooses the parsing pipeline; by default that of the [source](docs/formats.md), else `http-bulk`. A rule's type wins, and a `type` within a record over all.";
    LEDGER_TABLE: None, "name or ARN", None, Template, Whole,
        "The DynamoDB table that holds the ledger.";
    QUEUE_URL: None, "URL", None, Template, Whole,
        "The SQS queue that holds work items; a function that S3 invokes directly needs none.";
    DEAD_LETTER_QUEUE_URL: None, "URL", None, Template, Whole,
        "The SQS queue for messages that can never be read.";
    WATCH: None, "`s3://bucket/prefix`, by commas", None, Template, Whole,
        "The prefixes that reconcile lists; `%Y`, `%m`, `%d`, `%H` stand for the date (UTC), `%%` for a percent sign. `logs/app` also matches `logs/app2/`: end a folder with `/`.";
    QUARANTINE_URL: None, "`s3://bucket/prefix`", None, Template, Whole,
        "Where objects and records go that can never succeed; never under a watched prefix.";
    ADD_SOURCE_FIELD: Some("false"), "`true` or `false`", None, Template, Whole,
        "Whether each record gets a field `s3_object_key` with `bucket/key`.";
    ADD_TIMESTAMP: Some("auto"), "`auto`, `true` or `false`", None, Template, Whole,
        "Whether records get `@timestamp` from where their [source](docs/formats.md) has the time: all, none, or those that are written anew for another reason; without it they count as of when they arrive.";
    RULES: None, "YAML", None, Person, Never,
        "The [rules](docs/rules.md) themselves, which say what goes where, as what, and what is left out.";
    RULES_URL: None, "`s3://bucket/key`", None, Template, Whole,
        "The rules as an object, which is read again when it changes; `brigade` takes a path as well.";
    RULES_REFRESH_MS: Some("60000"), "ms", Some((0, DAY_MS)), Template, Whole,
        "After how long a process looks whether the rules have changed.";
    SOURCE_ROLE_ARN: None, "ARN", None, Template, Whole,
        "The role to assume for reading the source bucket.";
    SOURCE_EXTERNAL_ID: None, "text", None, Template, Whole,
        "The external ID to give when assuming that role.";
    SOURCE_KEYS_ARN: None, "ARN", None, Template, Arn,
        "The Secrets Manager secret with the access key ID and secret key for reading the source bucket, instead of a role.";
    LIST_PAGES_MAX: Some("1000"), "pages", Some((1, 1_000_000)), Template, Whole,
        "Pages of a listing, of up to 1,000 keys each, that one reconcile pass reads of one prefix.";
    PAGES_IN_FLIGHT_MAX: Some("4"), "pages", Some((1, 16)), Template, Whole,
        "Pages of listings, of up to 1,000 keys each, that reconcile holds at a time, over all prefixes; its memory follows from it.";
    REQUEUES_IN_FLIGHT_MAX: Some("40"), "objects", Some((1, 1_000)), Template, Whole,
        "Missing objects that reconcile notes in the ledger and sends to the queue at a time, over all prefixes.";
    PART_BYTES: Some("4194304"), "bytes", Some((1, 64 * MIB)), Template, Whole,
        "Bytes of one ranged GET; two parts of each object that is read are held at a time.";
    BATCH_BYTES_MAX: Some("8388608"), "bytes", Some((1, 64 * MIB)), Template, Whole,
        "Plain bytes of one request; at most 10485760 for Logz.io.";
    RECORD_BYTES_MAX: Some("1048576"), "bytes", Some((1, 64 * MIB)), Template, Whole,
        "Bytes of one record as read; at most `BATCH_BYTES_MAX`.";
    OBJECT_PLAIN_BYTES_MAX: Some("1099511627776"), "bytes", Some((1, 1 << 60)), Template, Whole,
        "Plain bytes of one compressed object; what inflates further is quarantined.";
    EXPANSION_MAX: Some("900"), "ratio", Some((2, MIB)), Template, Whole,
        "Plain bytes for each compressed byte of an object, over 1 MiB of compressed bytes; what inflates further is [quarantined](#limits).";
    REQUESTS_IN_FLIGHT_MAX: None, "requests", Some((1, 64)), Template, Whole,
        "Requests to the endpoint at a time, over all objects; by default as many as the function's [memory](#memory) is good for.";
    OBJECTS_IN_FLIGHT_MAX: None, "objects", Some((1, 64)), Template, Whole,
        "Objects read at a time, not counting those that only wait for the endpoint; several small ones take the place of one; by default what fits the function's [memory](#memory).";
    PASS_THROUGH: Some("true"), "`true` or `false`", None, Template, Whole,
        "Whether records that leave as they came are carried as the gzip they came in; `false` compresses all of it again, which takes many times the CPU and makes smaller bodies; `make cost` shows from which price of egress on that pays.";
    COMPRESSION_LEVEL: Some("8"), "level", Some((1, 9)), Template, Whole,
        "How hard records are compressed that do not leave as they came; `make cost` shows what each level costs.";
    BODY_BYTES_IN_FLIGHT_MAX: None, "bytes", Some((1, GIB)), Template, Whole,
        "Bytes of batches, as they are held for the endpoint, over all objects; by default what fits the function's [memory](#memory).";
    SHARE_LINGER_MS: Some("500"), "ms", Some((0, 60_000)), Template, Whole,
        "How long the last batch of a small object waits for the next one to share its request, if any is still to come.";
    DELIVERY_TIMEOUT_MS: Some("30000"), "ms", Some((1, 900_000)), Template, Whole,
        "How long one request to the endpoint may take.";
    DEADLINE_MARGIN_MS: Some("10000"), "ms", Some((1, 900_000)), Template, Whole,
        "How long before its time-out a function stops, checkpoints and hands back what is left.";
    LEASE_MS: Some("60000"), "ms", Some((1, 900_000)), Template, Whole,
        "How long a claim holds unless renewed; a killed function is replaced after as much.";
    RESTORE_INTERVAL_BYTES: Some("67108864"), "bytes", Some((1, 1024 * GIB)), Template, Whole,
        "Plain bytes of an object after which a checkpoint says anew how to go on within a gzip member, which takes up to 44 KB in the ledger; a clean stop always says it.";
    ATTEMPTS_MAX: Some("5"), "attempts", Some((1, 100)), Template, Whole,
        "Claims without progress after which an object is quarantined.";
    SINCE: None, "RFC 3339 time, or date", None, Template, Whole,
        "Reconcile leaves objects alone that were last modified before; by default an hour before its first pass.";
    GRACE_MS: Some("300000"), "ms", Some((0, DAY_MS)), Template, Whole,
        "How old an object must be before reconcile counts it as missing.";
    QUEUED_MS: Some("3600000"), "ms", Some((1, 14 * DAY_MS)), Template, Whole,
        "How long reconcile leaves an item alone that it has queued.";
    RETENTION_DAYS: Some("30"), "days", Some((3, 3_650)), Template, Whole,
        "How long the ledger remembers settled objects; more than the widest reconcile window.";
    METRICS_SERVICE: Some("bucket-brigade"), "text", None, Template, Whole,
        "The value of the dimension `Service` of every metric.";
    SSL_CERT_FILE: None, "path", None, Person, Whole,
        "A PEM file of certificate authorities to trust beside the built-in ones.";
    AWS_ENDPOINT_URL: None, "URL", None, Platform, Whole,
        "An S3-compatible store or a local AWS instead of AWS itself; S3 is then addressed by path.";
    AWS_REGION: None, "name", None, Platform, Whole,
        "The AWS region; read by the AWS SDK too, as are its credentials and `AWS_PROFILE`.";
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: None, "MB", Some((1, MIB)), Platform, Whole,
        "The function's memory, which Lambda tells it; without it what depends on it is as with 256.";
    AWS_LAMBDA_LOG_FORMAT: None, "`JSON` or `Text`", None, Platform, Whole,
        "How log lines are written; by default text on a terminal, otherwise JSON.";
    AWS_LAMBDA_LOG_LEVEL: Some("INFO"), "`TRACE` to `FATAL`", None, Platform, Whole,
        "Which log lines are written.";
}

/// The table as the README shows it: Markdown, a row for each setting.
pub fn settings_table() -> String {
    let mut table =
        String::from("| setting | default | unit | what |\n| --- | --- | --- | --- |\n");
    for var in VARS {
        let default = var
            .default
            .map_or(String::new(), |text| format!("`{text}`"));
        let bounds = var.bounds.map_or(String::new(), |(least, greatest)| {
            format!(", {least} to {greatest}")
        });
        let Var {
            name, unit, about, ..
        } = var;
        table.push_str(&format!(
            "| `{name}` | {default} | {unit}{bounds} | {about} |\n"
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// A file of the package; absent only while the package is not yet complete.
    fn file(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::read_to_string(path).expect("a file of the repository")
    }

    #[test]
    fn the_readme_shows_the_table_of_settings() {
        let readme = file("README.md");
        let shown = readme
            .split_once("<!-- settings -->\n")
            .and_then(|(_, rest)| rest.split_once("<!-- /settings -->"))
            .map_or("", |(shown, _)| shown.trim());
        let expected = settings_table();
        assert!(
            shown == expected.trim(),
            "README.md must hold, between <!-- settings --> and <!-- /settings -->:\n\n{expected}"
        );
    }

    /// The names in every `Variables:` block below an `Environment:`.
    fn environment_names(template: &str) -> BTreeSet<&str> {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut names = BTreeSet::new();
        let mut lines = template
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
            .peekable();
        while let Some(line) = lines.next() {
            let starts = line.trim() == "Environment:"
                && lines.peek().is_some_and(|next| next.trim() == "Variables:");
            if !starts {
                continue;
            }
            let variables = lines.next().expect("peeked");
            let level = lines.peek().map_or(0, |first| indent(first));
            while let Some(name) = lines.next_if(|next| indent(next) > indent(variables)) {
                if indent(name) == level {
                    names.insert(name.trim().split(':').next().expect("a first part"));
                }
            }
        }
        names
    }

    #[test]
    fn the_template_sets_exactly_the_settings_that_are_its_to_set() {
        let template = file("template.yaml");
        let expected: BTreeSet<&str> = VARS
            .iter()
            .filter(|var| var.set_by == SetBy::Template)
            .map(|var| var.name)
            .collect();
        assert_eq!(
            environment_names(&template),
            expected,
            "template.yaml, VARS"
        );
    }

    #[test]
    fn the_names_in_a_template_are_found() {
        let template = "\
Globals:
  Function:
    Environment:
      Variables:
        # what goes where
        ENDPOINT_URL: !Ref EndpointUrl

        WATCH:
          !If [HasWatch, !Ref Watch, \"s3://a:b\"]
    Timeout: 900
Resources:
  Ingest:
    Properties:
      Environment:
        Variables:
          QUEUE_URL: !Ref Queue
      NOT_ONE: 1
";
        let names: Vec<&str> = environment_names(template).into_iter().collect();
        assert_eq!(names, ["ENDPOINT_URL", "QUEUE_URL", "WATCH"]);
    }

    #[test]
    fn every_setting_stands_once_and_in_a_cell_of_the_table() {
        let names: BTreeSet<&str> = VARS.iter().map(|var| var.name).collect();
        assert_eq!(names.len(), VARS.len());
        for row in settings_table().lines() {
            assert_eq!(row.matches('|').count(), 5, "{row}");
        }
    }
}
