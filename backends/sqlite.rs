//! One SQLite database in WAL mode. The schema is `sqlite.1.sql`; the numbered files after it are its migrations.
//!
//! # Durability
//! `synchronous=FULL` syncs the log before a commit becomes visible to anyone, so whatever was read survives a power
//! cut. The file itself is created, and its directory synced, before SQLite opens it. Before a change is acknowledged,
//! the log is written into the file and emptied: whoever copies the file alone copies every key. Only a reader of another
//! process that does not end can delay that; then it is tried again in the background, and the log holds the change,
//! durably, until it succeeds. Deleted values are overwritten with zeros.
//!
//! # Certainty
//! SQLite treats an absent or empty file as a new database. Here that happens only if nothing suggests that there was
//! one before, and once the database is open, SQLite never creates a file. Every connection is to the same file that
//! was opened first; and before "not found" and "already exists", and after every change, the path must still lead to
//! it, and that of the log to its log. A log that belongs to something else is not read at start.
//!
//! # Locks
//! POSIX locks end when *any* descriptor of the file is closed in the process, so only SQLite opens an existing
//! database file. Writers of this process take turns; those of other processes are waited for.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, query, query_scalar};

use crate::config::Purpose;
use crate::{Name, Store, StoreError, Value};

mod failure;
mod file;
mod log;
mod writer;

use failure::{explain, failure, is_busy};
use file::DatabaseFile;
use writer::{Change, LOCK_TIMEOUT, RETRY_INTERVAL, Writer};

/// For readers, which never wait for the writer. Each connection has a thread.
const READERS: u32 = 3;

/// How long to wait for a free connection: longer than a connection can be busy waiting for a lock.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

/// The store.
#[derive(Debug)]
pub(crate) struct Sqlite {
    file: DatabaseFile,
    readers: SqlitePool,
    writer: Arc<Writer>,
}

impl Sqlite {
    /// Opens the database, creates it when absent, and updates its schema.
    pub(crate) async fn open(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
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
        log::refuse_foreign(&file, &options).await?;
        let (first, is_new) = prepare(&file, &options).await?;
        let file = file.with_log()?;
        let checked = file.clone();
        let readers = SqlitePoolOptions::new()
            // All of them are opened now and kept: later the path may lead to another file.
            .min_connections(READERS)
            .max_connections(READERS)
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
        let writer = Writer::new(file.clone(), first).await?;
        let store = Self { file, readers, writer };
        store.ping().await?;
        store.file.marker.opened(purpose, store.has_keys().await?, is_new).await?;
        Ok(store)
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        let select = query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM keys)").fetch_one(&self.readers).await;
        match select {
            Ok(has_keys) => Ok(has_keys),
            Err(error) => Err(explain(&self.file, "read", error).await),
        }
    }

    /// Whether there is certainly no key.
    async fn is_empty(&self) -> bool {
        self.has_keys().await.is_ok_and(|has_keys| !has_keys)
    }

    /// Makes a change, and returns whether there was something to change.
    async fn change(&self, change: Change) -> Result<bool, StoreError> {
        // The connections would still reach a file that was moved away.
        self.file.check_identity().await?;
        let changed = self.writer.apply(change).await?;
        self.file.check_identity().await?;
        Ok(changed)
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        let is_new = self.change(Change::Create(name.clone(), value.copy())).await?;
        if !is_new {
            return Err(StoreError::AlreadyExists);
        }
        self.file.marker.created(|| self.is_empty()).await;
        Ok(())
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let select = query_scalar::<_, Vec<u8>>("SELECT value FROM keys WHERE name = ?").bind(name.as_str());
        match select.fetch_optional(&self.readers).await {
            Ok(Some(bytes)) if bytes.len() > Value::MAX_LEN => {
                let reason = format!("'{name}' in '{}' has {} bytes", self.file.path.display(), bytes.len());
                Err(StoreError::Damaged { reason })
            }
            Ok(Some(bytes)) => Ok(Value::from(bytes)),
            Ok(None) => {
                self.file.check_identity().await?;
                Err(StoreError::NotFound)
            }
            Err(error) => Err(explain(&self.file, "read", error).await),
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let was_there = self.change(Change::Delete(name.clone())).await?;
        if !was_there {
            return Err(StoreError::NotFound);
        }
        self.file.marker.deleted(|| self.is_empty()).await;
        Ok(())
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
        let names = match select.fetch_all(&self.readers).await {
            Ok(names) => names,
            Err(error) => return Err(explain(&self.file, "list", error).await),
        };
        self.file.check_identity().await?;
        // The schema does not allow rows that would be left out here, so a short page still means the end.
        Ok(names.iter().filter_map(|name| Name::parse(name).ok()).collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.has_keys().await?;
        self.file.check_identity().await
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<crate::Change>> {
        None
    }

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes sure that the database is one of Keyway, switches it to WAL mode and updates its schema. One connection does
/// this before there are others. Returns whether the database had no schema before, which somebody has been told of.
async fn prepare(file: &DatabaseFile, options: &SqliteConnectOptions) -> Result<(SqliteConnection, bool), StoreError> {
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
            Err(error) if is_busy(&error) && start.elapsed() < LOCK_TIMEOUT => {
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
    Ok((connection, tables.is_empty()))
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
