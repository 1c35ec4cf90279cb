//! A table of a PostgreSQL database, which any number of gateways may share. Its schema is `postgres.1.sql`; the
//! numbered files after it are its migrations.
//!
//! | file | what it contains |
//! |---|---|
//! | `postgres/config.rs` | the settings, checked and converted for the driver |
//! | `postgres/pool.rs` | connections: reused, and closed at the first doubt |
//! | `postgres/schema.rs` | the table: created, migrated, checked |
//! | `postgres/standby.rs` | whether a failover could lose keys |
//! | `postgres/listen.rs` | notifications of changes by other gateways |
//! | `postgres/failure.rs` | what can go wrong, as a [`StoreError`] |
//!
//! # Durability
//! A change is reported as done after its commit, with `synchronous_commit` at least `on`, and is not visible to anyone
//! before. No time-out of ours ends a commit: the server would then report a key as committed that its standby does not
//! have yet. Whether there is a standby that has every key is up to its administrator; a start warns if not.
//!
//! # Certainty
//! "Not found" only comes from the primary: every read asks whether the server is a standby. Row security that would
//! hide a row is an error. If the response to a commit is lost, the create is repeated, which waits for the first one
//! to end; and if there is a value then, it is compared with ours.
//!
//! # Secrets
//! Values are bound and never part of a statement. A server that logs statements (`log_statement`,
//! `log_min_duration_statement`) logs bound values as well, unless its administrator runs
//! `ALTER ROLE ... SET log_parameter_max_length = 0`. Deleted values stay in its files until a vacuum, and in backups.
//!
//! # Poolers
//! Through `PgBouncer` in transaction mode, a session belongs to a client only during a transaction. So settings are
//! made for one transaction, a read is one message, a write is one explicit transaction, and prepared statements have
//! no names. Only listening needs a connection that bypasses the pooler: [`Listen::At`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, query, raw_sql};
use tokio::sync::broadcast;

mod config;
mod failure;
mod listen;
mod pool;
mod schema;
mod standby;

use crate::deadline::within;
use crate::{Change, Name, Store, StoreError, Value, is_valid_prefix};
pub use config::{Config, Listen, SslMode};
use failure::{Failure, Place};
use listen::Listener;
use pool::Pool;

/// How long a write waits for a lock: of another create of the same name, or of an administrator on the table.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// When the server ends a transaction whose gateway no longer sends anything, so that its lock does not remain.
const ABANDONED: Duration = Duration::from_secs(10);

/// The store.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
    pool: Arc<Pool>,
    listener: Option<Listener>,
    /// For an operation as a whole, including its retry.
    deadline: Duration,
    /// For one attempt: the deadline has room for two of them and a final read.
    attempt: Duration,
}

impl Postgres {
    /// Connects, creates the table if [`Config::migrate`] is set, and starts to listen. That listening fails is not an
    /// error.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when there is no response; [`StoreError::NotReady`] when the server is starting;
    /// [`StoreError::Unavailable`] for wrong settings, files or rights, a standby, or a table that is not as it should
    /// be.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        /// For everything before the first request, including the wait for another gateway that migrates.
        const START: Duration = Duration::from_secs(30);
        let config::Resolved { options, listen, place } = config::resolve(config).await?;
        let place = Place { database: place, schema: config.schema.clone() };
        let pool = Arc::new(Pool::new(options, config.connections, config.connect_timeout));
        let mut lease = pool.lease().await.map_err(|failure| place.error("connect", failure))?;
        let expired = || place.error("open the key table", Failure::Timeout(START));
        let prepare = async {
            schema::prepare(&mut lease.connection, &place, config.migrate).await?;
            standby::warn_if_asynchronous(&mut lease.connection, &place).await;
            Ok(())
        };
        within(START, expired, prepare).await?;
        lease.give_back();
        let mut store = Self { place, pool, listener: None, deadline: config.timeout, attempt: config.timeout * 3 / 7 };
        store.ping().await?;
        if let Some(options) = listen {
            store.listener = Some(Listener::start(options, store.channel(), Arc::clone(&store.pool)).await);
        }
        Ok(store)
    }

    fn channel(&self) -> String {
        format!("keyway_{}", self.place.schema)
    }

    /// Runs a `SELECT` without parameters on the primary. Names and prefixes in it have no characters that need
    /// escaping. When the connection fails, another one is tried once.
    async fn read(&self, select: &str) -> Result<Vec<PgRow>, Failure> {
        // In one message, and so in one transaction: the settings end with it.
        let sql = format!(
            "SELECT pg_is_in_recovery(), set_config('statement_timeout', '{}', true), \
             set_config('row_security', 'off', true), set_config('bytea_output', 'hex', true); {select}",
            self.attempt.as_millis()
        );
        match self.read_once(&sql).await {
            Err(failure) if failure.is_lost_connection() => self.read_once(&sql).await,
            done => done,
        }
    }

    async fn read_once(&self, sql: &str) -> Result<Vec<PgRow>, Failure> {
        let read = async |connection: &mut PgConnection| {
            let mut rows = raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?;
            let is_standby = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get::<bool, _>(0)?;
            if is_standby {
                return Err(Failure::Standby);
            }
            rows.remove(0);
            Ok(rows)
        };
        self.pool.with_lease(self.attempt, read).await
    }

    /// Runs a statement that changes at most one row and returns its version, as one transaction. Returns whether a row
    /// was changed. Once `committing` has the version of the row, the outcome of a failure is unknown; before that,
    /// nothing has happened.
    async fn write_once(
        &self,
        sql: &str,
        name: &Name,
        value: Option<&Value>,
        committing: &OnceLock<String>,
    ) -> Result<bool, Failure> {
        let write = async |connection: &mut PgConnection| Ok(transact(connection, sql, name, value, committing).await?);
        self.pool.with_lease(self.attempt, write).await
    }

    async fn try_create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        let doing = format!("create key '{name}'");
        let sql = format!(
            "WITH created AS (INSERT INTO \"{}\".keys (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING \
             RETURNING name) SELECT name, pg_notify('{}', name) FROM created",
            self.place.schema,
            self.channel()
        );
        let committing = OnceLock::new();
        let failure = match self.write_once(&sql, name, Some(value), &committing).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(StoreError::AlreadyExists),
            Err(failure) => failure,
        };
        if !failure.is_lost_connection() {
            return Err(self.place.error_with(&doing, failure, remark(&committing)));
        }
        // The second attempt waits for the first one to end, if that is still in progress.
        match self.write_once(&sql, name, Some(value), &committing).await {
            Ok(true) => Ok(()),
            Ok(false) if committing.get().is_none() => Err(StoreError::AlreadyExists),
            Ok(false) => match self.get(name).await {
                Ok(found) if found == *value => Ok(()),
                Ok(_) => Err(StoreError::AlreadyExists),
                Err(StoreError::NotFound) => Err(self.place.error_with(&doing, failure, remark(&committing))),
                Err(error) => Err(error),
            },
            Err(failure) => Err(self.place.error_with(&doing, failure, remark(&committing))),
        }
    }

    async fn try_delete(&self, name: &Name) -> Result<(), StoreError> {
        let doing = format!("delete key '{name}'");
        let sql = format!(
            "WITH deleted AS (DELETE FROM \"{}\".keys WHERE name = $1 RETURNING name, xmin::text AS version) \
             SELECT version, pg_notify('{}', name) FROM deleted",
            self.place.schema,
            self.channel()
        );
        let committing = OnceLock::new();
        let mut done = self.write_once(&sql, name, None, &committing).await;
        if committing.get().is_none() && done.as_ref().is_err_and(Failure::is_lost_connection) {
            done = self.write_once(&sql, name, None, &committing).await;
        }
        match (done, committing.get()) {
            (Ok(true), _) => Ok(()),
            (Ok(false), _) => Err(StoreError::NotFound),
            // Not repeated: by now there may be a new key of that name.
            (Err(failure), Some(version)) => {
                let select = format!("SELECT xmin::text FROM \"{}\".keys WHERE name = '{name}'", self.place.schema);
                match self.read(&select).await.map(|rows| rows.first().map(|row| row.try_get::<String, _>(0))) {
                    Ok(None) => Ok(()),
                    Ok(Some(Ok(current))) if current != *version => Ok(()),
                    _ => Err(self.place.error_with(&doing, failure, remark(&committing))),
                }
            }
            (Err(failure), None) => Err(self.place.error(&doing, failure)),
        }
    }

    /// Ends an operation that takes too long; what it was doing on the server may still happen.
    async fn within_deadline<T>(
        &self,
        doing: impl FnOnce() -> String,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let expired = || self.place.error_with(&doing(), Failure::Timeout(self.deadline), "; it may have succeeded");
        within(self.deadline, expired, work).await
    }
}

#[async_trait]
impl Store for Postgres {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        self.within_deadline(|| format!("create key '{name}'"), self.try_create(name, value)).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let failed = |failure| self.place.error(&format!("read key '{name}'"), failure);
        let select = format!(
            "SELECT octet_length(value), CASE WHEN octet_length(value) <= {} THEN value END FROM \"{}\".keys \
             WHERE name = '{name}'",
            Value::MAX_LEN,
            self.place.schema
        );
        let rows = self.read(&select).await.map_err(failed)?;
        let Some(row) = rows.first() else { return Err(StoreError::NotFound) };
        let columns = row.try_get::<i32, _>(0).and_then(|length| Ok((length, row.try_get::<Option<Vec<u8>>, _>(1)?)));
        match columns.map_err(|error| failed(Failure::Query(error)))? {
            (_, Some(value)) => Ok(Value::from(value)),
            (length, None) => {
                let Place { schema, database } = &self.place;
                let reason = format!(
                    "'{name}' in \"{schema}\".keys of PostgreSQL {database} has {length} bytes, and a key has at most \
                     {}; restore it from a backup",
                    Value::MAX_LEN
                );
                Err(StoreError::Damaged { reason })
            }
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.within_deadline(|| format!("delete key '{name}'"), self.try_delete(name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        if !is_valid_prefix(prefix) {
            // No name begins with it, and it must not become part of a statement.
            return self.ping().await.map(|()| Vec::new());
        }
        // Every name with the prefix sorts before the prefix followed by DEL, because all bytes of names are lower than
        // DEL; and whatever is between the two begins with the prefix. The pattern is for tables created without the
        // checks.
        let select = format!(
            "SELECT name FROM \"{}\".keys WHERE name > '{}' AND name >= '{prefix}' AND name < '{prefix}\u{7f}' \
             AND name ~ '^[0-9A-Za-z_]([0-9A-Za-z_-]{{0,78}}[0-9A-Za-z_])?$' AND name <> '_' ORDER BY name LIMIT {}",
            self.place.schema,
            after.map_or("", Name::as_str),
            i64::try_from(limit).unwrap_or(i64::MAX)
        );
        let rows = self.read(&select).await.map_err(|failure| self.place.error("list keys", failure))?;
        Ok(rows.iter().filter_map(|row| Name::parse(row.try_get::<&str, _>(0).ok()?).ok()).collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let select = format!("SELECT octet_length(value) FROM \"{}\".keys LIMIT 1", self.place.schema);
        self.read(&select).await.map(drop).map_err(|failure| self.place.error("read the key table", failure))
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.listener.as_ref().map(Listener::changes)
    }

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {
        if let Some(listener) = &self.listener {
            listener.close();
        }
        self.pool.close().await;
    }
}

/// One transaction with one statement that returns the version of the row it changed, or no row.
async fn transact(
    connection: &mut PgConnection,
    sql: &str,
    name: &Name,
    value: Option<&Value>,
    committing: &OnceLock<String>,
) -> Result<bool, sqlx::Error> {
    // A statement time-out would also end the wait of a commit for its standby, and then the server reports success. A
    // lock time-out does not.
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT set_config('statement_timeout', '0', true), \
         set_config('lock_timeout', '{}', true), set_config('idle_in_transaction_session_timeout', '{}', true), \
         set_config('row_security', 'off', true), set_config('synchronous_commit', \
         replace(current_setting('synchronous_commit'), 'off', 'on'), true)",
        LOCK_TIMEOUT.as_millis(),
        ABANDONED.as_millis()
    );
    let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
    // Bound and not part of the statement, so that the value does not get into a log of the server.
    let mut statement = query(AssertSqlSafe(sql.to_owned())).persistent(false).bind(name.as_str());
    if let Some(value) = value {
        statement = statement.bind(value.as_bytes());
    }
    let rows = statement.fetch_all(&mut *transaction).await?;
    let Some(row) = rows.first() else {
        // Nothing was changed, so the outcome of the transaction does not matter.
        let _ = transaction.rollback().await;
        return Ok(false);
    };
    let _ = committing.set(row.try_get::<String, _>(0)?);
    transaction.commit().await?;
    Ok(true)
}

/// What the message of a failed write adds: whether it may have happened.
fn remark(committing: &OnceLock<String>) -> &'static str {
    if committing.get().is_some() { "; it may have succeeded nevertheless" } else { "" }
}
