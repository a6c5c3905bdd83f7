//! The ledger in SQLite, for one machine.
//!
//! Any number of processes may share one file on a local disk (not on a network file system: SQLite's
//! write-ahead log needs shared memory). Each move is one transaction that takes the write lock before it
//! reads, so moves of all processes stand in one order. A move that was answered survives a power cut:
//! `synchronous = FULL` costs one fsync for each, and a checkpoint that was lost would be sent twice.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, named_params,
};

use super::attributes::{Attributes, COUNT_NAMES, account, counts, unreadable};
use super::row::{self, Decision, StoredRow};
use super::{Claim, Lease, Ledger, LedgerError, Owner, Release, Reopened, Row};
use crate::checkpoint::{Account, Checkpoint};
use crate::clock::Timestamp;
use crate::object::{ContentId, Etag};

/// How long a move waits for another process's before the ledger counts as unavailable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite does not wait by itself while another process switches a new file to the write-ahead log.
const OPEN_ATTEMPTS_MAX: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// Stored as `user_version`; a file of another schema is refused.
const SCHEMA_VERSION: i64 = 1;

/// The key is a BLOB, so that rows sort by bytes, as S3 lists. Times are milliseconds since 1970.
const SCHEMA: &str = "
CREATE TABLE rows (
    bucket              TEXT    NOT NULL,
    key                 BLOB    NOT NULL,
    etag                TEXT    NOT NULL,
    size                INTEGER NOT NULL,
    state               TEXT    NOT NULL,
    owner               TEXT,
    queued_until        INTEGER,
    lease_until         INTEGER,
    expires_at          INTEGER,
    attempts            INTEGER,
    checkpoint          TEXT,
    reason              TEXT,
    place               TEXT,
    changed_at          INTEGER NOT NULL,
    records_read        INTEGER,
    records_delivered   INTEGER,
    records_filtered    INTEGER,
    records_quarantined INTEGER,
    records_cut         INTEGER,
    plain_bytes         INTEGER,
    body_bytes          INTEGER,
    requests            INTEGER,
    PRIMARY KEY (bucket, key, etag, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE marks (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
";

const READ: &str = "
SELECT * FROM rows WHERE bucket = :bucket AND key = :key AND etag = :etag AND size = :size";

const WRITE: &str = "
INSERT OR REPLACE INTO rows VALUES (
    :bucket, :key, :etag, :size, :state, :owner, :queued_until, :lease_until, :expires_at,
    :attempts, :checkpoint, :reason, :place, :changed_at,
    :records_read, :records_delivered, :records_filtered, :records_quarantined, :records_cut,
    :plain_bytes, :body_bytes, :requests)";

const RANGE: &str = "
SELECT key, etag, size, state, queued_until, lease_until, expires_at FROM rows
WHERE bucket = :bucket AND key BETWEEN :first AND :last
ORDER BY key, etag, size";

/// One connection to one file. Moves run on tokio's threads for blocking work: most take well under a
/// millisecond, but an fsync or another process's lock may take longer than deliveries should stand
/// still.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    connection: Arc<Mutex<Connection>>,
    /// Where it is, for whoever reads of a failure.
    place: Arc<str>,
    /// Whether it was logged that the file cannot be used now.
    is_told: Arc<AtomicBool>,
}

impl SqliteLedger {
    /// Opens the file, or makes it if there is none.
    ///
    /// A file that is empty, cut off or damaged is refused and left as it is: a new ledger in its place
    /// would have everything sent again. So a new one is made whole under another name before it gets its
    /// own, and no process that is killed meanwhile leaves an empty one behind. Every failure, of this and of
    /// any move, names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let opened = make_if_absent(path).and_then(|()| {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            prepared(Connection::open_with_flags(path, flags).map_err(failure)?)
        });
        let connection = opened.map_err(|error| at(&place, error))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            place: place.into(),
            is_told: Arc::default(),
        })
    }

    /// A ledger that forgets everything when its last clone is dropped.
    pub fn in_memory() -> Result<Self, LedgerError> {
        let connection = prepared(Connection::open_in_memory().map_err(failure)?)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            place: "in memory".into(),
            is_told: Arc::default(),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            // What a panicking thread left open was rolled back.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(answer) => self.told(answer.map_err(|error| at(&self.place, error))),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(LedgerError::Unavailable {
                reason: "the process is stopping".to_owned(),
            }),
        }
    }

    /// Says when the file begins to be of no use: moves are repeated for as long as there is patience,
    /// and a disk that is full is for a person to see to.
    fn told<T>(&self, answer: Result<T, LedgerError>) -> Result<T, LedgerError> {
        let is_away = matches!(answer, Err(LedgerError::Unavailable { .. }));
        if !self.is_told.swap(is_away, Ordering::Relaxed)
            && let Err(error @ LedgerError::Unavailable { .. }) = &answer
        {
            tracing::error!(%error, "tried again until it can be written");
        }
        answer
    }

    async fn apply<T: Send + 'static>(
        &self,
        content: &ContentId,
        decide: impl FnOnce(Option<&StoredRow>) -> Result<Decision<T>, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let content = content.clone();
        self.run(move |connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failure)?;
            let row = read(&transaction, &content)?;
            let Decision { answer, write } = decide(row.as_ref())?;
            if let Some(row) = write {
                self::write(&transaction, &content, &row).map_err(failure)?;
                transaction.commit().map_err(failure)?;
            }
            Ok(answer)
        })
        .await
    }
}

impl Ledger for SqliteLedger {
    async fn claim(
        &self,
        content: &ContentId,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claim, LedgerError> {
        let (claimed, owner) = (content.clone(), owner.clone());
        self.apply(content, move |row| {
            Ok(row::claim(row, &claimed, &owner, now, lease))
        })
        .await
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        let held = lease.clone();
        self.apply(&lease.content, move |row| {
            row::renew(row, &held, now, duration)
        })
        .await
    }

    async fn checkpoint(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        now: Timestamp,
        duration: Duration,
    ) -> Result<Lease, LedgerError> {
        let (held, checkpoint) = (lease.clone(), checkpoint.clone());
        self.apply(&lease.content, move |row| {
            row::checkpoint(row, &held, &checkpoint, now, duration)
        })
        .await
    }

    async fn release(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
        release: &Release,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (held, checkpoint, release) = (lease.clone(), checkpoint.clone(), release.clone());
        self.apply(&lease.content, move |row| {
            row::release(row, &held, &checkpoint, &release, now)
        })
        .await
    }

    async fn settle(
        &self,
        lease: &Lease,
        account: &Account,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), LedgerError> {
        let (held, account) = (lease.clone(), *account);
        self.apply(&lease.content, move |row| {
            row::settle(row, &held, &account, now, expires)
        })
        .await
    }

    async fn quarantine(
        &self,
        lease: &Lease,
        account: &Account,
        reason: &str,
        place: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (held, account) = (lease.clone(), *account);
        let (reason, place) = (reason.to_owned(), place.to_owned());
        self.apply(&lease.content, move |row| {
            row::quarantine(row, &held, &account, &reason, &place, now)
        })
        .await
    }

    async fn queue(
        &self,
        content: &ContentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.apply(content, move |row| Ok(row::queue(row, now, until)))
            .await
    }

    async fn unqueue(&self, content: &ContentId, until: Timestamp) -> Result<(), LedgerError> {
        self.apply(content, move |row| Ok(row::unqueue(row, until)))
            .await
    }

    async fn reopen(
        &self,
        content: &ContentId,
        checkpoint: &Checkpoint,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        let checkpoint = checkpoint.clone();
        self.apply(content, move |row| {
            Ok(row::reopen(row, &checkpoint, now, until))
        })
        .await
    }

    async fn range(
        &self,
        bucket: &str,
        first: &str,
        last: &str,
        now: Timestamp,
    ) -> Result<Vec<Row>, LedgerError> {
        let bucket = bucket.to_owned();
        let (first, last) = (first.as_bytes().to_vec(), last.as_bytes().to_vec());
        self.run(move |connection| {
            let mut statement = connection.prepare(RANGE).map_err(failure)?;
            let mut found = statement
                .query(named_params! {":bucket": bucket, ":first": first, ":last": last})
                .map_err(failure)?;
            let mut rows = Vec::new();
            while let Some(columns) = found.next().map_err(failure)? {
                let content = content(columns, &bucket)?;
                if let Some(state) = glance(columns).map_err(failure)?.seen_at(&content, now)? {
                    rows.push(Row { content, state });
                }
            }
            Ok(rows)
        })
        .await
    }

    async fn read_mark(&self, name: &str) -> Result<Option<String>, LedgerError> {
        let name = name.to_owned();
        self.run(move |connection| mark(connection, &name)).await
    }

    async fn write_mark(&self, name: &str, value: Option<&str>) -> Result<(), LedgerError> {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        self.run(move |connection| {
            match value {
                Some(value) => connection.execute(
                    "INSERT OR REPLACE INTO marks VALUES (?1, ?2)",
                    [name, value],
                ),
                None => connection.execute("DELETE FROM marks WHERE name = ?1", [name]),
            }
            .map(drop)
            .map_err(failure)
        })
        .await
    }

    async fn write_mark_once(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.run(move |connection| {
            // The update that changes nothing makes RETURNING give the value that stood there.
            connection
                .query_row(
                    "INSERT INTO marks VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = value RETURNING value",
                    [name, value],
                    |columns| columns.get(0),
                )
                .map_err(failure)
        })
        .await
    }
}

/// What is to be said of a file that is no ledger any more.
const WHAT_TO_DO: &str = "restore a copy of it, or move it away with its -wal and -shm to begin a new \
                          ledger, which has everything sent again";

/// Makes sure that there is a file which is not empty. Of any number of processes one makes it.
fn make_if_absent(path: &Path) -> Result<(), LedgerError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => {
            return Err(LedgerError::Refused {
                reason: format!("the file is empty: {WHAT_TO_DO}"),
            });
        }
        Ok(_) => return Ok(()),
        // Opening it will say better what is wrong.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    let mut unfinished = path.as_os_str().to_owned();
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()));
    unfinished.push(format!(
        ".{:016x}.tmp",
        random.map_err(|error| unmade(&error))?
    ));
    let unfinished = Path::new(&unfinished);
    let made = prepared(Connection::open(unfinished).map_err(failure)?)
        // Closing it moves what is in its write-ahead log into the file itself.
        .and_then(|connection| connection.close().map_err(|(_, error)| failure(error)));
    let named = made.and_then(|()| match fs::hard_link(unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Not every file system has hard links.
        Err(_) => fs::rename(unfinished, path).map_err(|error| unmade(&error)),
        Ok(()) => Ok(()),
    });
    // What went wrong first is what is reported.
    let _ = fs::remove_file(unfinished);
    named
}

fn unmade(error: &io::Error) -> LedgerError {
    LedgerError::Refused {
        reason: format!("cannot make it: {error}"),
    }
}

/// A connection to a ledger of this schema.
fn prepared(mut connection: Connection) -> Result<Connection, LedgerError> {
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failure)?;
    let mut attempts = 0;
    while let Err(error) = prepare(&mut connection) {
        attempts += 1;
        if attempts == OPEN_ATTEMPTS_MAX || !matches!(error, LedgerError::Unavailable { .. }) {
            return Err(error);
        }
        thread::sleep(OPEN_PAUSE);
    }
    Ok(connection)
}

/// The same failure, with the file that it is about.
fn at(place: &str, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Unavailable { reason } => LedgerError::Unavailable {
            reason: format!("{place}: {reason}"),
        },
        LedgerError::Refused { reason } => LedgerError::Refused {
            reason: format!("{place}: {reason}"),
        },
        LedgerError::LeaseLost { .. } | LedgerError::CheckpointBehind { .. } => error,
    }
}

/// Makes a new file a ledger, and makes sure that an old one is one of this schema.
fn prepare(connection: &mut Connection) -> Result<(), LedgerError> {
    connection
        .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .map_err(failure)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failure)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failure)?;
    let version: i64 = transaction
        .pragma_query_value(None, "user_version", |columns| columns.get(0))
        .map_err(failure)?;
    match version {
        0 => transaction.execute_batch(SCHEMA).map_err(failure)?,
        SCHEMA_VERSION => {}
        other => {
            return Err(LedgerError::Refused {
                reason: format!("the file has schema {other}, expected {SCHEMA_VERSION}"),
            });
        }
    }
    transaction.commit().map_err(failure)
}

fn read(connection: &Connection, content: &ContentId) -> Result<Option<StoredRow>, LedgerError> {
    connection
        .query_row(
            READ,
            named_params! {
                ":bucket": content.bucket,
                ":key": content.key.as_bytes(),
                ":etag": content.etag.as_str(),
                ":size": integer(content.size),
            },
            attributes,
        )
        .optional()
        .map_err(failure)?
        .map(|attributes| attributes.row(content))
        .transpose()
}

fn write(connection: &Connection, content: &ContentId, row: &StoredRow) -> rusqlite::Result<()> {
    let row = Attributes::of(row);
    let time = |time: Option<Timestamp>| time.map(|time| integer(time.as_ms()));
    let counts = row.account.map(|account| counts(&account).map(integer));
    let count = |index: usize| counts.map(|counts| counts[index]);
    connection.execute(
        WRITE,
        named_params! {
            ":bucket": content.bucket,
            ":key": content.key.as_bytes(),
            ":etag": content.etag.as_str(),
            ":size": integer(content.size),
            ":state": row.state,
            ":owner": row.owner,
            ":queued_until": time(row.queued_until),
            ":lease_until": time(row.lease_until),
            ":expires_at": time(row.expires_at),
            ":attempts": row.attempts,
            ":checkpoint": row.checkpoint,
            ":reason": row.reason,
            ":place": row.place,
            ":changed_at": integer(row.changed_at.as_ms()),
            ":records_read": count(0),
            ":records_delivered": count(1),
            ":records_filtered": count(2),
            ":records_quarantined": count(3),
            ":records_cut": count(4),
            ":plain_bytes": count(5),
            ":body_bytes": count(6),
            ":requests": count(7),
        },
    )?;
    Ok(())
}

fn attributes(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Attributes> {
    let mut counts = [None; COUNT_NAMES.len()];
    for (count, name) in counts.iter_mut().zip(COUNT_NAMES) {
        *count = columns.get::<_, Option<i64>>(name)?.map(natural);
    }
    let account = counts
        .iter()
        .all(Option::is_some)
        .then(|| account(counts.map(Option::unwrap_or_default)));
    Ok(Attributes {
        owner: columns.get("owner")?,
        attempts: columns.get("attempts")?,
        checkpoint: columns.get("checkpoint")?,
        account,
        reason: columns.get("reason")?,
        place: columns.get("place")?,
        changed_at: Timestamp::from_ms(natural(columns.get("changed_at")?)),
        ..glance(columns)?
    })
}

/// The attributes that a range asks for.
fn glance(columns: &rusqlite::Row<'_>) -> rusqlite::Result<Attributes> {
    let time = |name| -> rusqlite::Result<Option<Timestamp>> {
        let ms: Option<i64> = columns.get(name)?;
        Ok(ms.map(natural).map(Timestamp::from_ms))
    };
    Ok(Attributes {
        state: columns.get("state")?,
        queued_until: time("queued_until")?,
        lease_until: time("lease_until")?,
        expires_at: time("expires_at")?,
        ..Attributes::default()
    })
}

fn content(columns: &rusqlite::Row<'_>, bucket: &str) -> Result<ContentId, LedgerError> {
    let key: Vec<u8> = columns.get("key").map_err(failure)?;
    let etag: String = columns.get("etag").map_err(failure)?;
    let mut content = ContentId {
        bucket: bucket.to_owned(),
        key: String::from_utf8_lossy(&key).into_owned(),
        etag: Etag::from(etag),
        size: natural(columns.get("size").map_err(failure)?),
    };
    content.key = String::from_utf8(key).map_err(|_| unreadable(&content, "key"))?;
    Ok(content)
}

fn mark(connection: &Connection, name: &str) -> Result<Option<String>, LedgerError> {
    connection
        .query_row("SELECT value FROM marks WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()
        .map_err(failure)
}

/// SQLite's integers are signed. No time, size or count comes near the bound.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or_default()
}

fn failure(error: rusqlite::Error) -> LedgerError {
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::SystemIoFailure,
        ) => LedgerError::Unavailable { reason },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LedgerError::Refused {
            reason: format!("{reason}: {WHAT_TO_DO}"),
        },
        Some(_) | None => LedgerError::Refused { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn at_second(second: u64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn content(number: u32) -> ContentId {
        ContentId {
            bucket: "logs".to_owned(),
            key: format!("{number:0400}"),
            etag: Etag::from("e"),
            size: 1,
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_by_the_name_of_the_file_and_goes_on_when_there_is_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("brigade.ledger");
        let ledger = SqliteLedger::open(&path).expect("open");
        let pages = |most: u32| {
            let connection = ledger.connection.lock().expect("whole");
            connection
                .query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))
                .expect("a limit");
        };
        let owner = Owner::new("a", 1);
        let mut granted = Vec::new();
        pages(8);
        let error = loop {
            let next = content(granted.len() as u32);
            match ledger.claim(&next, &owner, at_second(0), LEASE).await {
                Ok(Claim::Granted(grant)) => granted.push(grant),
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
            assert!(granted.len() < 10_000, "it never fills up");
        };
        assert!(
            matches!(error, LedgerError::Unavailable { .. }),
            "{error:?}"
        );
        let said = error.to_string();
        assert!(
            said.contains("brigade.ledger") && said.contains("full"),
            "{said}"
        );

        pages(1_000);
        let next = content(granted.len() as u32);
        let claimed = ledger.claim(&next, &owner, at_second(1), LEASE).await;
        assert!(matches!(claimed, Ok(Claim::Granted(_))), "{claimed:?}");
        for grant in granted {
            let renewed = ledger.renew(&grant.lease, at_second(1), LEASE).await;
            renewed.expect("what was granted stands");
        }
    }
}
