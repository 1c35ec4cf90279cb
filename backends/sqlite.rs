//! One SQLite database in WAL mode. The schema is `sqlite.1.sql`; the numbered files after it are its migrations.
//!
//! # Durability
//! `synchronous=FULL` syncs the log before a commit becomes visible to anyone, so whatever was read survives a power
//! cut. The file itself is created, and its directory synced, before SQLite opens it. Deleted values are overwritten
//! with zeros; in the log they remain until it is reused.
//!
//! # Certainty
//! SQLite treats an absent or empty file as a new database. Here that happens only if nothing suggests that there was
//! one before, and once the database is open, SQLite never creates a file. Every connection is to the same file that
//! was opened first; and before "not found" and "already exists", and after every change, the path must still lead to
//! it.
//!
//! # Locks
//! POSIX locks end when *any* descriptor of the file is closed in the process, so only SQLite opens an existing
//! database file. Writers of this process take turns; those of other processes are waited for.

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

/// One for the writer, the others for readers, which never wait for it. Each connection has a thread.
const CONNECTIONS: u32 = 4;

/// How long to wait for a lock of another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two attempts to get a lock that SQLite does not wait for.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for a free connection: longer than a connection can be busy waiting for a lock.
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
    /// Held while writing: SQLite allows one writer at a time, and its own way of waiting is neither fair nor fast.
    writer: Mutex<()>,
}

impl Sqlite {
    /// Opens the database, creates it when absent, and updates its schema.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let file = tokio::task::spawn_blocking(move || DatabaseFile::locate(&path)).await.map_err(|error| {
            let reason = "looking for the key database was aborted".to_owned();
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
            // All of them are opened now and kept: later the path may lead to another file.
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
        // Closed only now: without any connection, SQLite would checkpoint and delete the log for nothing.
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
        // The connections would still reach a file that was moved away.
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
        // Every name with the prefix sorts before the prefix followed by DEL, because all bytes of names are lower than
        // DEL; and whatever is between the two begins with the prefix.
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
        // The schema does not allow rows that would be left out here, so a short page still means the end.
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

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes sure that the database is one of Keyway, switches it to WAL mode and updates its schema. One connection does
/// this before there are others.
async fn prepare(file: &DatabaseFile, options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    let failed = |error| failure(file, "open", error);
    let mut connection = options.connect().await.map_err(failed)?;
    file.check_identity().await?;
    let tables = query_scalar::<_, String>("SELECT name FROM sqlite_schema WHERE type = 'table'");
    let tables = tables.fetch_all(&mut connection).await.map_err(failed)?;
    if !tables.is_empty() && !tables.iter().any(|table| table == "_sqlx_migrations") {
        return Err(file.unavailable("belongs to another program; configure another path"));
    }
    let start = Instant::now();
    let mode = loop {
        match query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(&mut connection).await {
            Ok(mode) => break mode,
            // SQLite itself does not wait for the lock that switching to WAL mode needs.
            Err(error) if primary_code(&error) == Some(code::BUSY) && start.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(failed(error)),
        }
    };
    if mode != "wal" {
        return Err(file.unavailable(&format!(
            "cannot be switched from journal mode '{mode}' to WAL, because its file system does not support shared \
             memory; move it to a local disk"
        )));
    }
    // The log may contain what a killed process has written but not synced: sync that before anyone reads it.
    query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await.map_err(failed)?;
    // In an exclusive transaction, so that two processes that start at the same time do not both migrate.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    migrate(file, &mut transaction).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(connection)
}

async fn migrate(file: &DatabaseFile, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    /// The newest schema version that this program supports.
    const NEWEST: i64 = 1;
    let first = include_str!("sqlite.1.sql").into_sql_str();
    let migrations = vec![Migration::new(NEWEST, Cow::Borrowed("keys"), MigrationType::Simple, first, false)];
    let what = match Migrator::with_migrations(migrations).run_direct(None, connection, false).await {
        Ok(()) => return Ok(()),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            return Err(failure(file, "migrate", error));
        }
        Err(MigrateError::VersionMissing(version)) if version > NEWEST => format!(
            "has schema version {version}, and this release supports {NEWEST}; run the newer release that wrote it, or \
             restore an older backup"
        ),
        Err(error) => {
            format!("has a schema that is not Keyway's ({error}); configure another path, or restore it from a backup")
        }
    };
    Err(file.unavailable(&what))
}

/// The only place where errors of the driver become errors of a store.
fn failure(file: &DatabaseFile, doing: &str, error: sqlx::Error) -> StoreError {
    let advice = match (&error, primary_code(&error)) {
        (_, Some(code::BUSY | code::LOCKED)) => "another process holds a lock on it; stop that process",
        (_, Some(code::PERM | code::READONLY)) => {
            "it is read-only; give the user that runs this program write access to the file and its directory"
        }
        (_, Some(code::FULL)) => "free some disk space",
        (_, Some(code::CANTOPEN)) => {
            "give the user that runs this program read and write access to the file and its directory, and mount it \
             writable"
        }
        (_, Some(code::CORRUPT)) => "it is damaged; restore it from a backup",
        (_, Some(code::NOTADB)) => "it is not a SQLite database; configure another path, or restore it from a backup",
        (sqlx::Error::PoolTimedOut, _) => "all connections are busy; check whether the disk is slow",
        (sqlx::Error::PoolClosed, _) => "it was closed because the server is stopping",
        _ => "check the file system and the system log",
    };
    let reason = format!("cannot {doing} the key database '{}': {error}; {advice}", file.path.display());
    StoreError::unavailable(reason).caused_by(error)
}

/// The low byte of an extended result code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
