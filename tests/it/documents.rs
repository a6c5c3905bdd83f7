//! The documents keep their word: every promise of the README stands in ARCHITECTURE.md, and every
//! test that ARCHITECTURE.md names exists.

use std::collections::BTreeSet;
use std::path::Path;

const README: &str = include_str!("../../README.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// What stands between `<!-- name -->` and `<!-- /name -->`.
fn marked<'a>(document: &'a str, name: &str) -> &'a str {
    document
        .split_once(&format!("<!-- {name} -->\n"))
        .and_then(|(_, rest)| rest.split_once(&format!("<!-- /{name} -->")))
        .map_or("", |(marked, _)| marked)
}

/// The rows of a table, without its head: each a list of cells.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What a cell names, as `path name` in backticks: the file of a test, and the test.
fn tests_named(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once(' '))
        .filter(|(file, _)| file.starts_with("src/") || file.starts_with("tests/"))
        .collect()
}

/// Why `file` has no test of this name, if it has none.
///
/// A test has an attribute or, in a suite that several implementations pass, stands in the suite's
/// list: it is named twice at least.
fn complaint(file: &str, name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(source) = std::fs::read_to_string(root.join(file)) else {
        return Some(format!("{file} cannot be read"));
    };
    if file.ends_with(".py") {
        let found = source.contains(&format!("def {name}("));
        return (!found).then(|| format!("{file} has no {name}"));
    }
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_named = |line: &str| {
        line.split_once("fn ").is_some_and(|(_, rest)| {
            rest.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['(', '<']))
        })
    };
    let Some(at) = lines.iter().position(|line| is_named(line)) else {
        return Some(format!("{file} has no {name}"));
    };
    let attributes = lines[..at].iter().rev().take_while(|line| !line.is_empty());
    let is_test = attributes
        .take(3)
        .any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"));
    let list = match file {
        "tests/it/ledger/contract.rs" => {
            std::fs::read_to_string(root.join("tests/it/ledger.rs")).unwrap_or_default()
        }
        _ => source.clone(),
    };
    let is_listed = list
        .lines()
        .any(|line| line.trim().trim_end_matches(',') == name);
    (!is_test && !is_listed).then(|| format!("{name} of {file} is no test"))
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let mut complaints = Vec::new();
    let mut named = 0;
    for table in ["promises", "traps"] {
        for row in rows(marked(ARCHITECTURE, table)) {
            for (file, name) in row.iter().flat_map(|cell| tests_named(cell)) {
                named += 1;
                complaints.extend(complaint(file, name));
            }
        }
    }
    assert_eq!(complaints, [""; 0]);
    assert!(named > 100, "only {named} tests are named");
}

#[test]
fn every_promise_and_every_trap_has_a_test_or_says_that_it_waits() {
    for row in rows(marked(ARCHITECTURE, "promises")) {
        let tests = row.iter().flat_map(|cell| tests_named(cell)).count();
        assert!(tests > 0, "{row:?}");
    }
    let traps = rows(marked(ARCHITECTURE, "traps"));
    for row in &traps {
        let tests = row.iter().flat_map(|cell| tests_named(cell)).count();
        let waits = row.iter().any(|cell| cell.starts_with("waits"));
        assert!(tests > 0 || waits, "{row:?}");
    }
    let ids: BTreeSet<&str> = traps.iter().map(|row| row[0]).collect();
    assert_eq!(ids.len(), traps.len(), "each trap has one row");
}

#[test]
fn every_promise_of_the_readme_stands_in_the_architecture() {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let promised: Vec<String> = marked(README, "promises")
        .split("\n- ")
        .map(|promise| one_line(promise.trim().trim_start_matches("- ")))
        .filter(|promise| !promise.is_empty())
        .collect();
    assert_eq!(promised.len(), 7);
    let kept: Vec<String> = rows(marked(ARCHITECTURE, "promises"))
        .iter()
        .map(|row| one_line(row[0]))
        .collect();
    assert_eq!(kept, promised);
}

#[test]
fn the_readme_says_what_to_do_about_every_alarm() {
    let template = include_str!("../../template.yaml");
    let (names, types): (Vec<&str>, Vec<&str>) = template
        .lines()
        .zip(template.lines().skip(1))
        .filter(|(_, after)| after.trim() == "Type: AWS::CloudWatch::Alarm")
        .unzip();
    assert!(types.len() >= 4);
    for name in names {
        let heading = format!("### {}", name.trim());
        assert!(
            README.lines().any(|line| line.starts_with(&heading)),
            "no heading {heading}"
        );
    }
}

/// A link to a file, or to a heading of the same document, leads somewhere.
#[test]
fn no_link_within_the_repository_leads_nowhere() {
    let anchor = |heading: &str| -> String {
        heading
            .to_lowercase()
            .chars()
            .filter_map(|char| match char {
                ' ' => Some('-'),
                char if char.is_alphanumeric() || char == '-' || char == '_' => Some(char),
                _ => None,
            })
            .collect()
    };
    for document in [README, ARCHITECTURE] {
        let anchors: BTreeSet<String> = document
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect();
        for link in document.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if let Some(wanted) = target.strip_prefix('#') {
                assert!(anchors.contains(wanted), "no heading for {target}");
            } else if !target.starts_with("http") {
                let file = target.split('#').next().unwrap_or_default();
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                assert!(path.exists(), "no such file: {target}");
            }
        }
    }
}
