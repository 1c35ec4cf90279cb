//! The one connection that changes the database. Changes that wait are committed together; after each commit the log is
//! written into the file and emptied, so that the file alone is the store. Not here: what a change means for a caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, query, query_as};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tracing::{info, warn};

use super::failure::{explain, failure, is_busy};
use super::file::DatabaseFile;
use crate::{Name, StoreError, Value, chain};

/// How long to wait for a lock of another process.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long SQLite itself waits for a lock before this program tries again, in milliseconds.
const BUSY_TIMEOUT_MILLIS: u64 = 10;

/// The time between two attempts to get a lock that SQLite does not wait for.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// How long a change waits for readers of other processes, so that the log can be written into the file.
const FOLD_TIMEOUT: Duration = Duration::from_millis(50);

/// The time between two further attempts to write the log into the file.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(250);

/// After this time without success there is a warning.
const BEHIND_FOR_LONG: Duration = Duration::from_secs(5);

/// Changes per commit: as many as bring most of the gain, and few enough to keep the log small.
const BATCH: usize = 64;

/// A change that a caller asks for.
#[derive(Debug)]
pub(super) enum Change {
    /// Insert the value under the name, if there is nothing yet.
    Create(Name, Value),
    /// Remove the name.
    Delete(Name),
}

/// A change, and where the caller waits: for whether it changed a row.
#[derive(Debug)]
struct Job {
    change: Change,
    reply: oneshot::Sender<Result<bool, StoreError>>,
}

/// What can fail in a transaction.
enum Failed {
    /// One of the changes. The others may be possible.
    Change(sqlx::Error),
    /// To begin or to commit.
    All(sqlx::Error),
}

type Turn = OwnedMutexGuard<Option<SqliteConnection>>;

/// The connection that writes, and the changes that wait for it.
#[derive(Debug)]
pub(super) struct Writer {
    file: DatabaseFile,
    waiting: Mutex<Vec<Job>>,
    /// Held while writing: SQLite allows one writer at a time, and its own way of waiting is neither fair nor fast.
    /// `None` once it is closed.
    turn: Arc<tokio::sync::Mutex<Option<SqliteConnection>>>,
    /// Whether a task tries to write the log into the file.
    is_behind: AtomicBool,
}

impl Writer {
    /// Takes a connection to an up-to-date schema, and writes what an earlier process left in the log into the file.
    pub(super) async fn new(file: DatabaseFile, mut connection: SqliteConnection) -> Result<Arc<Self>, StoreError> {
        let pragma = format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLIS}");
        let set = query(AssertSqlSafe(pragma)).execute(&mut connection).await;
        set.map_err(|error| failure(&file, "open", error))?;
        let is_complete = fold(&file, &mut connection).await;
        let turn = Arc::new(tokio::sync::Mutex::new(Some(connection)));
        let writer = Arc::new(Self { file, waiting: Mutex::default(), turn, is_behind: AtomicBool::new(false) });
        if !is_complete {
            writer.catch_up();
        }
        Ok(writer)
    }

    /// Makes the change, durably, and returns whether it changed a row. Once it has begun it is finished, even if the
    /// caller is gone; a change whose caller is gone before that does not happen.
    pub(super) async fn apply(self: &Arc<Self>, change: Change) -> Result<bool, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        self.waiting.lock().push(Job { change, reply });
        let aborted = || StoreError::unavailable(format!("the write to '{}' was aborted", self.file.path.display()));
        // Whoever gets the turn works for all that wait. The others find their answer when it is their turn.
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        loop {
            match answer.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Closed) => return Err(aborted()),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let writer = Arc::clone(self);
            let work = tokio::spawn(async move {
                writer.work(&mut turn).await;
                turn
            });
            turn = work.await.map_err(|error| aborted().caused_by(error))?;
        }
    }

    /// Commits changes that wait, and replies to those who asked for them.
    async fn work(self: &Arc<Self>, turn: &mut Turn) {
        let mut jobs: Vec<Job> = {
            let mut waiting = self.waiting.lock();
            let count = waiting.len().min(BATCH);
            waiting.drain(..count).collect()
        };
        jobs.retain(|job| !job.reply.is_closed());
        if jobs.is_empty() {
            return;
        }
        let Some(connection) = turn.as_mut() else {
            return self.refuse(jobs, sqlx::Error::PoolClosed).await;
        };
        match commit(connection, &jobs).await {
            Ok(changed) => self.finish(connection, jobs, &changed).await,
            Err(Failed::Change(_)) if jobs.len() > 1 => {
                let mut jobs = jobs.into_iter();
                while let Some(job) = jobs.next() {
                    let job = vec![job];
                    match commit(connection, &job).await {
                        Ok(changed) => self.finish(connection, job, &changed).await,
                        Err(Failed::Change(error)) => self.refuse(job, error).await,
                        Err(Failed::All(error)) => {
                            return self.refuse(job.into_iter().chain(jobs).collect(), error).await;
                        }
                    }
                }
            }
            Err(Failed::Change(error) | Failed::All(error)) => self.refuse(jobs, error).await,
        }
    }

    /// Brings committed changes into the file, and replies.
    async fn finish(self: &Arc<Self>, connection: &mut SqliteConnection, jobs: Vec<Job>, changed: &[bool]) {
        if changed.contains(&true) && !fold(&self.file, connection).await {
            self.catch_up();
        }
        for (job, changed) in jobs.into_iter().zip(changed) {
            let _ = job.reply.send(Ok(*changed)); // else the caller is gone
        }
    }

    /// Replies with one error to all.
    async fn refuse(&self, jobs: Vec<Job>, error: sqlx::Error) {
        let error = explain(&self.file, "write", error).await;
        for job in jobs {
            let _ = job.reply.send(Err(error.again()));
        }
    }

    /// Goes on trying to write the log into the file, until that is done.
    fn catch_up(self: &Arc<Self>) {
        if self.is_behind.swap(true, Ordering::Relaxed) {
            return;
        }
        let (weak, start) = (Arc::downgrade(self), Instant::now());
        tokio::spawn(async move {
            let mut has_warned = false;
            loop {
                tokio::time::sleep(CATCH_UP_INTERVAL).await;
                let Some(writer) = weak.upgrade() else { return };
                let mut turn = writer.turn.lock().await;
                let Some(connection) = turn.as_mut() else { return };
                let (path, seconds) = (writer.file.path.display(), start.elapsed().as_secs());
                if fold(&writer.file, connection).await {
                    writer.is_behind.store(false, Ordering::Relaxed);
                    if has_warned {
                        info!(%path, seconds, "the key database contains all keys again");
                    }
                    return;
                }
                if !has_warned && start.elapsed() > BEHIND_FOR_LONG {
                    has_warned = true;
                    warn!(
                        %path,
                        seconds,
                        "the latest changes are in the log of the key database only, because another process reads \
                         the database all the time; until it ends, copy the database with its -wal file"
                    );
                }
            }
        });
    }

    /// Closes the connection, after the change that is being made.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.turn.lock().await.take() {
            let _ = connection.close().await; // nothing depends on it: every change is durable
        }
    }
}

/// Makes all changes in one transaction, and returns for each whether it changed a row.
async fn commit(connection: &mut SqliteConnection, jobs: &[Job]) -> Result<Vec<bool>, Failed> {
    let outcome = attempt(connection, jobs).await;
    if outcome.is_err() {
        // SQLite may have rolled back by itself. (sqlx's own transactions do not expect that.)
        let _ = query("ROLLBACK").execute(connection).await;
    }
    outcome
}

/// As [`commit`], but leaves the transaction open after an error.
async fn attempt(connection: &mut SqliteConnection, jobs: &[Job]) -> Result<Vec<bool>, Failed> {
    let start = Instant::now();
    while let Err(error) = query("BEGIN IMMEDIATE").execute(&mut *connection).await {
        if !is_busy(&error) || start.elapsed() >= LOCK_TIMEOUT {
            return Err(Failed::All(error));
        }
    }
    let mut changed = Vec::with_capacity(jobs.len());
    for job in jobs {
        let statement = match &job.change {
            Change::Create(name, value) => {
                query("INSERT INTO keys (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
                    .bind(name.as_str())
                    .bind(value.as_bytes())
            }
            Change::Delete(name) => query("DELETE FROM keys WHERE name = ?").bind(name.as_str()),
        };
        let done = statement.execute(&mut *connection).await.map_err(Failed::Change)?;
        changed.push(done.rows_affected() == 1);
    }
    query("COMMIT").execute(connection).await.map_err(Failed::All)?;
    Ok(changed)
}

/// Writes the log into the file and empties it. Returns whether the file now contains everything; if not, the log does,
/// durably. Other processes are not waited for longer than [`FOLD_TIMEOUT`].
async fn fold(file: &DatabaseFile, connection: &mut SqliteConnection) -> bool {
    let start = Instant::now();
    loop {
        // Whether something kept it from finishing; the pages in the log, and how many of them are in the file. Without
        // numbers, another process is doing the same.
        let checkpoint = query_as::<_, (i64, i64, i64)>("PRAGMA wal_checkpoint(TRUNCATE)");
        match checkpoint.fetch_one(&mut *connection).await {
            Ok((0, ..)) => return true,
            Ok((_, pages, folded)) if pages >= 0 && pages == folded => return true,
            Ok(_) if start.elapsed() < FOLD_TIMEOUT => tokio::time::sleep(RETRY_INTERVAL).await,
            Ok(_) => return false,
            Err(error) => {
                let error = failure(file, "write the log into", error);
                warn!("{}; the latest changes are in its log only", chain(&error));
                return false;
            }
        }
    }
}
