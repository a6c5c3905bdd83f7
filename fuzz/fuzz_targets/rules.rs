//! Any text as a rules file, with a token where none may stand: nothing panics, the same text means the same, every
//! error has a place, an explanation says what is decided, and nothing shows the token.

#![no_main]

use bucket_brigade::rules::{Decision, Outcome, Rules};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "s3cr3t~t0ken~of~the~fuzzer";

/// A rule with the token wherever one may be tempted to write it. What follows cannot change what it means.
const TEMPTED: &str = "\
version: 1
rules:
  - name: tempted
    match: {prefix: x}
    token: s3cr3t~t0ken~of~the~fuzzer
    endpoint: {url: 'https://h/?token=s3cr3t~t0ken~of~the~fuzzer', token_arn: s3cr3t~t0ken~of~the~fuzzer}
";

const OBJECTS: &[(&str, &str)] = &[
    (
        "my-logs",
        "cloudflare/example.com/http_requests/20240102/a.log.gz",
    ),
    (
        "b",
        "AWSLogs/o-1/123456789012/CloudTrail/eu-west-1/2024/01/02/x.json.gz",
    ),
    ("b", "a\nb/\u{1}é"),
    ("", ""),
];

fuzz_target!(|text: &str| {
    if !text.contains(TOKEN) {
        let tempted = Rules::parse(&format!("{TEMPTED}{text}"));
        assert!(!format!("{tempted:?}").contains(TOKEN), "{tempted:?}");
        let shown = tempted.map(|_| ()).map_err(|errors| errors.to_string());
        assert!(shown.is_err_and(|shown| !shown.contains(TOKEN)));
    }
    let rules = match Rules::parse(text) {
        Ok(rules) => rules,
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            assert!(errors.errors().is_sorted());
            let lines = text.lines().count().max(1);
            assert!(
                errors
                    .errors()
                    .iter()
                    .all(|error| (1..=lines).contains(&error.place.line)),
                "{errors}"
            );
            let again = Rules::parse(text)
                .map(|_| ())
                .map_err(|errors| errors.to_string());
            assert_eq!(again, Err(errors.to_string()));
            return;
        }
    };
    for (bucket, key) in OBJECTS {
        let explanation = rules.explain(bucket, key);
        assert!(!explanation.to_string().is_empty());
        let outcome = match rules.of(bucket, key) {
            Decision::Carry {
                rule,
                captures,
                carry,
            } => {
                carry.log_type(&captures);
                Outcome::Carried(rule, captures)
            }
            Decision::Skip { rule } => Outcome::Skipped(rule),
            Decision::Unmatched(Some(_)) => Outcome::UnmatchedCarried,
            Decision::Unmatched(None) => Outcome::UnmatchedSkipped,
        };
        let is_a_log = !matches!(explanation.outcome, Outcome::NotALog(_));
        assert!(!is_a_log || explanation.outcome == outcome);
    }
});
