//! The rules of the tool: where they come from, whether they are right, and what they say of an object.
//!
//! Functions keep the last good copy of a rules file in quarantine. The tool does not: a person is there, who is told
//! at the start that a file is wrong, and what is wrong with it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::arguments::{StoreArgs, ToolError, settings, tls_config};
use super::place::{Keep, Source};
use super::progress::Progress;
use super::ship::LOCAL_BUCKET;
use crate::aws::Aws;
use crate::config::{Config, EndpointKind, RulesSetting};
use crate::object::ObjectId;
use crate::rulebook::{Rulebook, RulesPlace, parse};
use crate::rules::{FILE_BYTES_MAX, Rules, RulesInForce};
use crate::store::dir::DirStore;
use crate::store::s3::S3Store;

mod explain;

pub use self::explain::{ExplainArgs, Explained, explain};

#[derive(Clone, Debug, Subcommand)]
pub enum RulesCommand {
    /// Say whether a rules file is right, or everything that is wrong with it, by line and column
    Check(CheckArgs),
    /// Say which rule an object has and why, what the object is, and show its first three records as they would be
    /// sent
    ///
    /// No more of the object is read than that takes. Nothing is sent.
    Explain(ExplainArgs),
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The rules file
    #[arg(value_name = "FILE|s3://BUCKET/KEY")]
    pub file: String,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Reads a rules file and says how many rules it has. If it is not right, the error has a line for each problem.
pub async fn check(args: &CheckArgs) -> Result<String, ToolError> {
    let tls = tls_config()?;
    let aws = args.store.aws(&tls).await?;
    let given = super::arguments::RulesArgs {
        rules: Some(args.file.clone()),
    };
    let setting = settings(EndpointKind::Http, &given, |_| None)?.rules;
    let rules = rules_now(&setting, &aws).await?;
    let count = rules.rules().len();
    let rules = if count == 1 { "rule" } else { "rules" };
    Ok(format!("{}: {count} {rules}", args.file))
}

/// The rules as they are now; they are not looked at again.
pub async fn rules_now(setting: &RulesSetting, aws: &Aws) -> Result<Arc<Rules>, ToolError> {
    match setting {
        RulesSetting::None => Ok(Arc::default()),
        RulesSetting::Given(rules) => Ok(Arc::clone(rules)),
        RulesSetting::File(path) => read(path).map(Arc::new),
        RulesSetting::Object(object) => {
            let place = place(
                Source::s3(S3Store::new(aws.s3())),
                object.clone(),
                Duration::MAX,
            );
            RulesWatch::of(Rulebook::new(place)).begin().await
        }
    }
}

/// Reads a file of any kind, a pipe too.
fn read(path: &Path) -> Result<Rules, ToolError> {
    let name = path.display().to_string();
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut file = file.take(FILE_BYTES_MAX as u64 + 1);
        file.read_to_end(&mut text)
    });
    match read {
        Ok(_) => parse(&name, &text).map_err(ToolError::Usage),
        Err(error) => Err(ToolError::Usage(format!("cannot read {name}: {error}"))),
    }
}

fn place(store: Source, object: ObjectId, again: Duration) -> RulesPlace<Source, Keep> {
    RulesPlace::Object {
        store,
        object,
        again,
        kept: None,
    }
}

/// Rules that are looked at again while they are in use.
pub struct RulesWatch {
    book: Rulebook<Source, Keep>,
    /// The problem that was said last.
    said: Mutex<Option<String>>,
}

impl RulesWatch {
    pub fn new(config: &Config, aws: &Aws) -> Result<Self, ToolError> {
        let again = config.rules_refresh;
        let book = match &config.rules {
            RulesSetting::None => Rulebook::new(RulesPlace::Given(Arc::default())),
            RulesSetting::Given(rules) => Rulebook::new(RulesPlace::Given(Arc::clone(rules))),
            RulesSetting::Object(object) => {
                let store = Source::s3(S3Store::new(aws.s3()));
                Rulebook::new(place(store, object.clone(), again))
            }
            RulesSetting::File(path) => {
                let name = path.display().to_string();
                let key = path.file_name().and_then(|key| key.to_str());
                let key = key.ok_or_else(|| ToolError::Usage(format!("{name} names no file")))?;
                let store = Source::dir(DirStore::new(path));
                let object = ObjectId::new(LOCAL_BUCKET, key);
                Rulebook::new(place(store, object, again)).called(name)
            }
        };
        Ok(Self::of(book))
    }

    fn of(book: Rulebook<Source, Keep>) -> Self {
        Self {
            book,
            said: Mutex::default(),
        }
    }

    /// The rules at the start; if there are none that are right, an error says all that is wrong.
    pub async fn begin(&self) -> Result<Arc<Rules>, ToolError> {
        match self.book.current().await {
            Ok(current) => Ok(current.rules),
            Err(failure) => Err(ToolError::Usage(failure.detail)),
        }
    }

    /// Looks at the rules, if that is due, and puts new ones in force. Whether there are new ones. Of a problem, the
    /// same once and not at every look, a person is told.
    pub async fn look(&self, rules: &RulesInForce, progress: &Progress) -> bool {
        let Ok(current) = self.book.current().await else {
            // There have been some from the start.
            return false;
        };
        if let Some(problem) = current.problem {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.as_ref() != Some(&problem) {
                progress.complain(&format!("{problem}\nthe last good rules stay in force"));
                *said = Some(problem);
            }
        }
        let is_new = rules.get().digest() != current.rules.digest();
        if is_new {
            progress.say("the rules have changed");
            rules.set(current.rules);
        }
        is_new
    }
}
