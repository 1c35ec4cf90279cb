//! One SQLite database in WAL mode. The schema is `sqlite.1.sql`; the numbered files after it are its migrations.
//!
//! # Durability
//! `synchronous=FULL` syncs the log before a commit is visible to anyone, so whatever was read outlasts a power cut.
//! The file itself is made and its directory synced before SQLite sees it. Deleted values are
//! overwritten with zeros; the log forgets them when it is reused.
//!
//! # Certainty
//! SQLite takes an absent or empty file for a new database. We do so only when nothing says otherwise, and once the
//! database is open we never let SQLite make a file. Every connection is one to the very file that was opened first,
//! and before "not found" and "already exists", and after every change, the path must still lead to it.
//!
//! # Locks
//! POSIX locks end when *any* descriptor of the file is closed in the process, so nothing but SQLite opens a database
//! file that exists. Writers of this process take turns; those of other processes are waited for.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, query, query_scalar};
use tokio::sync::Mutex;

use crate::{Name, Store, StoreError, Value};

mod file;
use file::DatabaseFile;

/// One writer, and readers that never wait for it. Each connection is a thread.
const CONNECTIONS: u32 = 4;

/// How long a lock of another process is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a lock is tried that cannot be waited for.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// How long a free connection is waited for: longer than one that waits for a lock is taken.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

/// Primary result codes. Source: <https://www.sqlite.org/rescode.html>
mod code {
    pub(super) const PERM: u32 = 3;
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
}

/// The store.
#[derive(Debug)]
pub(crate) struct Sqlite {
    file: DatabaseFile,
    pool: SqlitePool,
    /// Held by the one who writes: SQLite has one writer at a time, and its own waiting is neither fair nor quick.
    writer: Mutex<()>,
}

impl Sqlite {
    /// Opens the database, makes it when absent, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let file = tokio::task::spawn_blocking(move || DatabaseFile::locate(&path)).await.map_err(|error| {
            let reason = "the search for the key database did not come to its end".to_owned();
            StoreError::unavailable(reason).caused_by(error)
        })??;
        let options = SqliteConnectOptions::new()
            .filename(&file.path)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_TIMEOUT)
            .pragma("secure_delete", "ON")
            .pragma("cell_size_check", "ON")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let first = prepare(&file, &options).await?;
        let checked = file.clone();
        let pool = SqlitePoolOptions::new()
            // All of them now and for good: later the path may lead to another file.
            .min_connections(CONNECTIONS)
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |_, _| {
                let file = checked.clone();
                Box::pin(async move {
                    file.check_identity().await.map_err(|error| sqlx::Error::Io(io::Error::other(error)))
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| failure(&file, "open", error))?;
        let store = Self { file, pool, writer: Mutex::new(()) };
        // Closed only now, so that the log is never without a connection and checkpointed for nothing.
        first.close().await.map_err(|error| failure(&store.file, "open", error))?;
        store.ping().await?;
        Ok(store)
    }

    async fn failure(&self, doing: &str, error: sqlx::Error) -> StoreError {
        self.file.check_identity().await.err().unwrap_or_else(|| failure(&self.file, doing, error))
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        self.file.check_identity().await?;
        let insert = query("INSERT INTO keys (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(name.as_str())
            .bind(value.as_bytes());
        let turn = self.writer.lock().await;
        let done = insert.execute(&self.pool).await;
        drop(turn);
        let rows = match done {
            Ok(done) => done.rows_affected(),
            Err(error) => return Err(self.failure("write", error).await),
        };
        self.file.check_identity().await?;
        if rows == 1 { Ok(()) } else { Err(StoreError::AlreadyExists) }
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let select = query_scalar::<_, Vec<u8>>("SELECT value FROM keys WHERE name = ?").bind(name.as_str());
        match select.fetch_optional(&self.pool).await {
            Ok(Some(bytes)) if bytes.len() > Value::MAX_LEN => {
                let reason = format!("'{name}' in '{}' has {} bytes", self.file.path.display(), bytes.len());
                Err(StoreError::Damaged { reason })
            }
            Ok(Some(bytes)) => Ok(Value::from(bytes)),
            Ok(None) => {
                self.file.check_identity().await?;
                Err(StoreError::NotFound)
            }
            Err(error) => Err(self.failure("read", error).await),
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        // The connections still lead to a file that was moved away.
        self.file.check_identity().await?;
        let delete = query("DELETE FROM keys WHERE name = ?").bind(name.as_str());
        let turn = self.writer.lock().await;
        let done = delete.execute(&self.pool).await;
        drop(turn);
        let rows = match done {
            Ok(done) => done.rows_affected(),
            Err(error) => return Err(self.failure("write", error).await),
        };
        self.file.check_identity().await?;
        if rows == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        // Every name with the prefix is below the prefix and DEL, for no byte of a name is as high; and whatever
        // is between the two begins with the prefix.
        let end = format!("{prefix}\u{7f}");
        let select = query_scalar::<_, String>(
            "SELECT name FROM keys WHERE name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
        )
        .bind(after.map_or("", Name::as_str))
        .bind(prefix)
        .bind(end)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let names = match select.fetch_all(&self.pool).await {
            Ok(names) => names,
            Err(error) => return Err(self.failure("list", error).await),
        };
        self.file.check_identity().await?;
        // The schema lets in no row that would be left out here, so a short page still means the end.
        Ok(names.iter().filter_map(|name| Name::parse(name).ok()).collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let select = query_scalar::<_, i64>("SELECT count(*) FROM (SELECT 1 FROM keys LIMIT 1)");
        if let Err(error) = select.fetch_one(&self.pool).await {
            return Err(self.failure("read", error).await);
        }
        self.file.check_identity().await
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<crate::Change>> {
        None
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes sure that the database is ours, and brings it into WAL mode and its schema up to date. One connection does
/// this before there are others.
async fn prepare(file: &DatabaseFile, options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    let failed = |error| failure(file, "open", error);
    let mut connection = options.connect().await.map_err(failed)?;
    file.check_identity().await?;
    let tables = query_scalar::<_, String>("SELECT name FROM sqlite_schema WHERE type = 'table'");
    let tables = tables.fetch_all(&mut connection).await.map_err(failed)?;
    if !tables.is_empty() && !tables.iter().any(|table| table == "_sqlx_migrations") {
        return Err(file.unavailable("is the database of another program; name another file"));
    }
    let start = Instant::now();
    let mode = loop {
        match query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(&mut connection).await {
            Ok(mode) => break mode,
            // SQLite itself does not wait for the lock that a change to WAL mode takes.
            Err(error) if primary_code(&error) == Some(code::BUSY) && start.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(failed(error)),
        }
    };
    if mode != "wal" {
        return Err(file.unavailable(&format!(
            "stays in journal mode '{mode}', for its file system cannot share memory; keep it on a local disk"
        )));
    }
    // What a killed process has written but not synced was found in the log just now: sync it before anyone reads it.
    query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await.map_err(failed)?;
    // Alone, so that two processes that start at once do not both migrate.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    migrate(file, &mut transaction).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(connection)
}

async fn migrate(file: &DatabaseFile, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    /// The newest schema that this program knows.
    const NEWEST: i64 = 1;
    let first = include_str!("sqlite.1.sql").into_sql_str();
    let migrations = vec![Migration::new(NEWEST, Cow::Borrowed("keys"), MigrationType::Simple, first, false)];
    let what = match Migrator::with_migrations(migrations).run_direct(None, connection, false).await {
        Ok(()) => return Ok(()),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            return Err(failure(file, "bring up to date", error));
        }
        Err(MigrateError::VersionMissing(version)) if version > NEWEST => format!(
            "has schema version {version}, and this release knows {NEWEST}; run the newer release that wrote it, or \
             restore a backup from before"
        ),
        Err(error) => {
            format!("has a schema that is not ours ({error}); name another file, or restore it from a backup")
        }
    };
    Err(file.unavailable(&what))
}

/// The one place where errors of the driver become errors of a store.
fn failure(file: &DatabaseFile, doing: &str, error: sqlx::Error) -> StoreError {
    let advice = match (&error, primary_code(&error)) {
        (_, Some(code::BUSY | code::LOCKED)) => "another process holds a lock on it; end that process",
        (_, Some(code::PERM | code::READONLY)) => {
            "it is read-only; let the user that runs this program write the file and its directory"
        }
        (_, Some(code::FULL)) => "free some disk space",
        (_, Some(code::CANTOPEN)) => {
            "let the user that runs this program read and write the file and its directory, and mount it writable"
        }
        (_, Some(code::CORRUPT)) => "it is damaged; restore it from a backup",
        (_, Some(code::NOTADB)) => "it is no SQLite database; name another file, or restore it from a backup",
        (sqlx::Error::PoolTimedOut, _) => "all connections are busy; see whether the disk is slow",
        (sqlx::Error::PoolClosed, _) => "it was closed because the server is stopping",
        _ => "look at the file system and the system's log",
    };
    let reason = format!("cannot {doing} the key database '{}': {error}; {advice}", file.path.display());
    StoreError::unavailable(reason).caused_by(error)
}

/// The low byte of an extended result code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
