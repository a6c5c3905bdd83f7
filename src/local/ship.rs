//! `brigade ship`: files, folders or objects through the very same pipeline, with nothing remembered.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tokio::sync::mpsc;

use super::account::{CameBy, TotalAccount};
use super::arguments::{EndpointArgs, RulesArgs, StoreArgs, ToolError, WorkArgs, tls_config};
use super::crew::{Crew, Task};
use super::looks::Looks;
use super::place::Source;
use super::progress::Progress;
use super::rules::rules_now;
use super::stop::Stop;
use crate::clock::SystemClock;
use crate::config::WatchedPrefix;
use crate::failure::Failure;
use crate::function::{self, random};
use crate::ledger::memory::MemoryLedger;
use crate::object::{ContentId, WorkItem};
use crate::pipeline::Ports;
use crate::store::Store;
use crate::store::dir::DirStore;

/// The name of the bucket that a folder plays.
pub(super) const LOCAL_BUCKET: &str = "local";
/// Items that are found before they are carried.
const FOUND_MAX: usize = 1_000;
/// Rows of the table for a person.
const ROWS_MAX: usize = 50;

#[derive(Clone, Debug, Args)]
pub struct ShipArgs {
    /// A file, a folder, or s3://bucket/prefix
    #[arg(value_name = "PATH|s3://BUCKET/PREFIX")]
    pub from: String,
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Carries everything under `args.from` once. The account says what was not delivered, and why it could
/// not go on; an error says that it did not begin.
pub async fn ship(args: &ShipArgs, stop: Stop) -> Result<TotalAccount, ToolError> {
    let tls = tls_config()?;
    let aws = args.store.aws(&tls).await?;
    let (destination, kind, log_type) = args.endpoint.destination(&tls, &aws)?;
    let (source, bucket, prefix, keep) = match args.from.strip_prefix("s3://") {
        Some(place) => {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            // A prefix that is shipped is taken as it is written, without dates.
            let listed = WatchedPrefix::parse(&args.from.replace('%', "%%"))
                .map_err(|expected| ToolError::Usage(format!("expected {expected}")))?;
            let keep = args.work.keep(Some(&aws), Some(&listed))?;
            (Source::s3(aws.source_store()), bucket, prefix, keep)
        }
        None => {
            let path = Path::new(&args.from);
            if let Err(error) = std::fs::metadata(path) {
                return Err(ToolError::Usage(format!(
                    "cannot read {}: {error}",
                    args.from
                )));
            }
            let keep = args.work.keep(None, None)?;
            (Source::dir(DirStore::new(path)), LOCAL_BUCKET, "", keep)
        }
    };
    let config = args.work.pace.config(kind, &args.rules, None)?;
    let rules = rules_now(&config.rules, &aws).await?;
    let mut bounds = function::bounds(&config, kind, log_type.as_deref());
    bounds.plan.add_source_field |= args.endpoint.add_source_field;
    let mut crew_bounds = args.work.pace.crew();
    if args.endpoint.is_stdout() {
        // One after the other, so that records come out in the order in which they stand.
        bounds.requests_in_flight_max = 1;
        crew_bounds.objects_held_max = 1;
    }
    let looks = Looks::new(&bounds, kind, Arc::clone(&rules));
    let progress = Progress::new(args.work.pace.json, destination.meter());
    let ports = Ports {
        store: source.looked_at_by(Arc::clone(&looks)),
        sink: destination,
        ledger: MemoryLedger::new(),
        quarantine: keep,
        clock: SystemClock,
        random,
    };
    let crew = Crew::new(ports, bounds, crew_bounds, stop);
    crew.pipeline().rules().set(rules);
    let (tasks, found) = mpsc::channel(FOUND_MAX);
    let mut total = TotalAccount::default();
    let carried = crew.carry_all(found, |_, mut row| {
        row.told = looks.take(&row.key);
        progress.done(&row);
        total.add(row);
    });
    let finding = async {
        tokio::select! {
            found = find(&crew, (bucket, prefix), tasks, &looks, &progress) => found,
            () = crew.stop().asked() => Ok(()),
        }
    };
    let (listed, ()) = tokio::join!(finding, carried);
    progress.finish();
    if total.rows().is_empty() && listed.is_ok() {
        progress.say(&format!("nothing lies under {}", args.from));
    }
    total.is_stopped = crew.stop().is_asked();
    total.fatal = crew.fatal().or(listed.err());
    Ok(total)
}

/// Lists everything, and sends it to be carried.
async fn find(
    crew: &Crew<MemoryLedger>,
    (bucket, prefix): (&str, &str),
    tasks: mpsc::Sender<Task>,
    looks: &Looks,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = crew
            .ports()
            .store
            .list(bucket, prefix, after.as_deref())
            .await?;
        after = page.objects.last().map(|object| object.key.clone());
        for object in page.objects {
            let content = ContentId {
                bucket: bucket.to_owned(),
                key: object.key,
                etag: object.etag,
                size: object.size,
            };
            looks.expect(&content);
            let task = Task {
                item: WorkItem::from(content),
                came_by: CameBy::Listing,
            };
            progress.found();
            if tasks.send(task).await.is_err() {
                return Ok(());
            }
        }
        if !page.more {
            return Ok(());
        }
    }
}

/// The account as the command prints it.
pub fn table(total: &TotalAccount) -> String {
    total.table(ROWS_MAX)
}
