//! The rules of a world: some files, one after the other, and what each of them says of a folder.
//!
//! What a file says is worked out here a second time, by folders alone: the product reads the text.

use std::sync::Arc;

use bucket_brigade::rules::Rules;
use serde_json::{Value, json};

use crate::object::Kind;
use crate::random::Random;

/// Where an object stands, within the prefix that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// No rule matches.
    Plain,
    /// Carried as a type of its own.
    Typed,
    /// Two rules match, the first of which carries and the second skips.
    First,
    /// To an endpoint of its own.
    Own,
    /// Never carried.
    Skip,
    /// Skipped until the rules change.
    Late,
    /// Carried until the rules change.
    Stop,
    /// Comma-separated values, as the rules say; lines, as other rules may say.
    Csv,
    /// Several lines a record, as the rules say.
    Multi,
    /// Documents of some kind, as the rules say.
    Said,
}

impl Folder {
    const ALL: [Folder; 10] = [
        Folder::Plain,
        Folder::Typed,
        Folder::First,
        Folder::Own,
        Folder::Skip,
        Folder::Late,
        Folder::Stop,
        Folder::Csv,
        Folder::Multi,
        Folder::Said,
    ];

    /// Those of which the rules say something, one of them again and again.
    pub fn of(rulings: &[Ruling], random: &mut Random) -> Vec<Folder> {
        let favourites = [
            &Folder::ALL[..],
            &[Folder::Own; 4],
            &[Folder::Csv; 3],
            &[Folder::Said; 3],
        ]
        .concat();
        let favourite = random.pick(&favourites);
        match rulings.iter().all(|ruling| ruling.said.is_empty()) {
            true => vec![Folder::Plain],
            false => [&Folder::ALL[..], &[favourite; 7]].concat(),
        }
    }

    /// Whether some rules take for lines what stands there.
    pub fn is_ever_lines(self, rulings: &[Ruling]) -> bool {
        rulings.iter().any(|ruling| ruling.of(self).as_lines)
    }

    /// As it stands in a key, its slash included.
    pub fn path(self) -> &'static str {
        match self {
            Folder::Plain => "",
            Folder::Typed => "typed/",
            Folder::First => "first/",
            Folder::Own => "own/",
            Folder::Skip => "skip/",
            Folder::Late => "late/",
            Folder::Stop => "stop/",
            Folder::Csv => "csv/",
            Folder::Multi => "multi/",
            Folder::Said => "said/",
        }
    }
}

/// What a file says of the objects in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub skips: bool,
    pub log_type: Option<&'static str>,
    /// Whether records that are marked so are left out.
    pub leaves_out: bool,
    /// Their own endpoint; whether it is a Logz.io listener.
    pub own: Option<bool>,
    /// Whether comma-separated values are lines to it.
    pub as_lines: bool,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Ruling {
    pub rules: Arc<Rules>,
    said: Vec<(Folder, Said)>,
}

impl Ruling {
    /// No file at all.
    pub fn none() -> Self {
        Self {
            rules: Arc::default(),
            said: Vec::new(),
        }
    }

    pub fn of(&self, folder: Folder) -> Said {
        let said = self.said.iter().find(|(of, _)| *of == folder);
        said.map(|(_, said)| said.clone()).unwrap_or_default()
    }

    fn new(said: Vec<(Folder, Said)>, includes: bool) -> Self {
        let rules: Vec<Value> = said
            .iter()
            .flat_map(|(folder, said)| entries(*folder, said, includes))
            .collect();
        let text = json!({"version": 1, "rules": rules}).to_string();
        let rules = Rules::parse(&text).unwrap_or_else(|errors| panic!("{errors} in {text}"));
        Self {
            rules: Arc::new(rules),
            said,
        }
    }
}

/// The rules for one folder.
fn entries(folder: Folder, said: &Said, includes: bool) -> Vec<Value> {
    let path = folder.path();
    let name = path.trim_end_matches('/');
    let mut rule = json!({"name": name, "match": {"pattern": format!("/{path}")}});
    if said.skips {
        rule["skip"] = json!(true);
        return vec![rule];
    }
    if let Some(log_type) = said.log_type {
        rule["type"] = json!(log_type);
    }
    if said.leaves_out {
        // The same records either way: after its identity each has one of two letters.
        match includes {
            true => rule["include"] = json!([{"pattern": r"[0-9]~o"}]),
            false => rule["exclude"] = json!([{"pattern": r"[0-9]~x"}]),
        }
    }
    if let Some(is_logzio) = said.own {
        rule["endpoint"] = match is_logzio {
            true => json!({
                "url": "https://own.example.com:8071",
                "token_arn": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:own",
            }),
            false => json!({"url": "https://own.example.com/logs", "kind": "http"}),
        };
    }
    match folder {
        Folder::Csv if said.as_lines => rule["format"] = json!("lines"),
        Folder::Csv => rule["format"] = json!("csv"),
        Folder::Multi => {
            rule["format"] = json!({"container": "multiline", "start": r"^\[[0-9]{4}-"});
        }
        Folder::Said => {
            let of = |kind: Kind| {
                let mut rule = rule.clone();
                rule["name"] = json!(format!("said-{}", kind.name()));
                rule["match"] = json!({"pattern": format!("/said/{}/", kind.name())});
                rule["format"] = json!(kind.name());
                rule
            };
            return Kind::SAID.map(of).to_vec();
        }
        Folder::First => {
            let second = json!({
                "name": format!("{name}-again"), "skip": true,
                "match": {"glob": format!("**/{path}**")},
            });
            return vec![rule, second];
        }
        Folder::Plain
        | Folder::Typed
        | Folder::Own
        | Folder::Skip
        | Folder::Late
        | Folder::Stop => {}
    }
    vec![rule]
}

/// The files of one world, the first of which is in force when it begins.
pub fn make_rulings(random: &mut Random) -> Vec<Ruling> {
    if random.chance(0.35) {
        return vec![Ruling::none()];
    }
    let own = random.chance(0.6);
    let files = random.pick(&[1, 2, 3, 4]);
    let lines_first = random.between(0, 2);
    let may_be_lines = random.chance(0.7);
    (0..files)
        .map(|file| {
            let is_last = file + 1 == files;
            let said = Folder::ALL[1..]
                .iter()
                .map(|folder| {
                    let is = |of| *folder == of;
                    let said = Said {
                        skips: is(Folder::Skip)
                            || (is(Folder::Late) && !is_last)
                            || (is(Folder::Stop) && file > 0),
                        log_type: match folder {
                            Folder::Typed => Some(random.pick(&["app", "app", "web"])),
                            Folder::First => Some("first"),
                            _ => None,
                        },
                        leaves_out: random.chance(0.5),
                        own: is(Folder::Own).then_some(own),
                        as_lines: is(Folder::Csv) && may_be_lines && file % 2 == lines_first,
                    };
                    (*folder, said)
                })
                .collect();
            Ruling::new(said, random.chance(0.3))
        })
        .collect()
}

/// The type that the objects of a kind have by themselves.
pub fn type_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Trail | Kind::TrailByKey => Some("cloudtrail"),
        Kind::Flow | Kind::FlowCustom => Some("vpcflow"),
        Kind::Balancer => Some("elb"),
        Kind::Ndjson
        | Kind::Document
        | Kind::Array
        | Kind::Values
        | Kind::Subscription
        | Kind::Csv
        | Kind::Broker
        | Kind::Trace => None,
    }
}
