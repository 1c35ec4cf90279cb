//! A table of a PostgreSQL database, which any number of gateways may share. Its schema is `postgres.1.sql`; the
//! numbered files after it are its migrations.
//!
//! | file | what lives there |
//! |---|---|
//! | `postgres/config.rs` | the settings, and what the driver makes of them |
//! | `postgres/pool.rs` | connections: reused, and thrown away at the first doubt |
//! | `postgres/schema.rs` | the table: made, brought up to date, checked |
//! | `postgres/listen.rs` | hearing what other gateways do |
//! | `postgres/failure.rs` | what can go wrong, and the words for it |
//!
//! # Durability
//! A change is answered after its commit, with `synchronous_commit` on at least, and nobody sees it before that. No
//! time-out of ours ends a commit: the server would then call a key safe that its standby does not have yet.
//!
//! # Certainty
//! "Not found" comes from the primary alone: every read asks whether the server is a standby. Row security that would
//! hide a row is an error. A commit whose answer was lost is looked after: the create is done once more, which waits
//! for the first one to end; and when there is a value then, it is compared with ours.
//!
//! # Secrets
//! Values are bound and never part of a statement. A server that logs statements (`log_statement`,
//! `log_min_duration_statement`) logs what is bound as well, unless its administrator says
//! `ALTER ROLE ... SET log_parameter_max_length = 0`. Deleted values stay in its files until a vacuum, and in backups.
//!
//! # Poolers
//! Through `PgBouncer` in transaction mode a session is nobody's. So settings are made for one transaction, a read is
//! one message, a write is one explicit transaction, and nothing is prepared under a name. Only listening needs a way
//! past the pooler: [`Listen::At`].

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

use crate::deadline::within;
use crate::{Change, Name, Store, StoreError, Value, is_valid_prefix};
pub use config::{Config, Listen, SslMode};
use failure::{Failure, Place};
use listen::Listener;
use pool::Pool;

/// How long a write waits for a lock: that of another create of the name, or of an administrator on the table.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// After this the server ends a transaction whose gateway has fallen silent, so that its lock does not outlast it.
const ABANDONED: Duration = Duration::from_secs(10);

/// The store.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
    pool: Arc<Pool>,
    listener: Option<Listener>,
    /// For an operation as a whole.
    deadline: Duration,
    /// For one attempt at it: two of them fit into the deadline, and a last look.
    attempt: Duration,
}

impl Postgres {
    /// Connects, makes the table if that is wanted, and starts to listen. A listener that does not work holds nothing up.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when nobody answers; [`StoreError::Unavailable`] for settings, files, rights, a
    /// standby, or a table that are not as they should be, with what to do.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        /// For all that happens before the first request, waiting for a gateway that migrates included.
        const START: Duration = Duration::from_secs(30);
        let config::Resolved { options, listen, place } = config::resolve(config).await?;
        let place = Place { database: place, schema: config.schema.clone() };
        let pool = Arc::new(Pool::new(options, config.connections, config.connect_timeout));
        let mut lease = pool.lease().await.map_err(|failure| place.error("connect", failure))?;
        let expired = || place.error("open the table of keys", Failure::Timeout(START));
        within(START, expired, schema::prepare(&mut lease.connection, &place, config.migrate)).await?;
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

    /// Runs a `SELECT` without parameters on the primary. Names and prefixes in it have no character that would have
    /// to be escaped. When the connection fails, another one is tried once.
    async fn read(&self, select: &str) -> Result<Vec<PgRow>, Failure> {
        // In one message, and so in one transaction: what is set is gone with it.
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

    /// Runs a statement that changes at most one row and returns its version, as one transaction. The answer is
    /// whether a row was changed. Once `committing` has the version of the row, a failure leaves open what happened;
    /// before that, nothing has.
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
            "WITH made AS (INSERT INTO \"{}\".keys (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING \
             RETURNING name) SELECT name, pg_notify('{}', name) FROM made",
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
            return Err(self.place.error_with(&doing, failure, maybe(&committing)));
        }
        // The second one waits for the first one to end, if that still goes on.
        match self.write_once(&sql, name, Some(value), &committing).await {
            Ok(true) => Ok(()),
            Ok(false) if committing.get().is_none() => Err(StoreError::AlreadyExists),
            Ok(false) => match self.get(name).await {
                Ok(stands) if stands == *value => Ok(()),
                Ok(_) => Err(StoreError::AlreadyExists),
                Err(StoreError::NotFound) => Err(self.place.error_with(&doing, failure, maybe(&committing))),
                Err(error) => Err(error),
            },
            Err(failure) => Err(self.place.error_with(&doing, failure, maybe(&committing))),
        }
    }

    async fn try_delete(&self, name: &Name) -> Result<(), StoreError> {
        let doing = format!("delete key '{name}'");
        let sql = format!(
            "WITH gone AS (DELETE FROM \"{}\".keys WHERE name = $1 RETURNING name, xmin::text AS version) \
             SELECT version, pg_notify('{}', name) FROM gone",
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
            // Not once more: by now there may be a new key of that name.
            (Err(failure), Some(version)) => {
                let select = format!("SELECT xmin::text FROM \"{}\".keys WHERE name = '{name}'", self.place.schema);
                match self.read(&select).await.map(|rows| rows.first().map(|row| row.try_get::<String, _>(0))) {
                    Ok(None) => Ok(()),
                    Ok(Some(Ok(stands))) if stands != *version => Ok(()),
                    _ => Err(self.place.error_with(&doing, failure, maybe(&committing))),
                }
            }
            (Err(failure), None) => Err(self.place.error(&doing, failure)),
        }
    }

    /// Ends what takes too long; what it was doing on the server may still happen.
    async fn within_deadline<T>(
        &self,
        doing: impl FnOnce() -> String,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let expired = || self.place.error_with(&doing(), Failure::Timeout(self.deadline), "; it may have happened");
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
                let reason = format!("'{name}' in \"{schema}\".keys of PostgreSQL {database} has {length} bytes");
                Err(StoreError::Damaged { reason })
            }
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.within_deadline(|| format!("delete key '{name}'"), self.try_delete(name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        if !is_valid_prefix(prefix) {
            // No name begins with it; and it does not get into a statement.
            return self.ping().await.map(|()| Vec::new());
        }
        // Every name with the prefix is below the prefix and DEL, for no byte of a name is as high; and whatever is
        // between the two begins with the prefix. The pattern counts where the table was made by hand without checks.
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
        self.read(&select).await.map(drop).map_err(|failure| self.place.error("read the table of keys", failure))
    }

    /// The first change is the state of things: whether the store hears now.
    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.listener.as_ref().map(Listener::changes)
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
    // A statement time-out would also end the wait of a commit for its standby, and then the server says that it is
    // done. A time-out for locks does not.
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT set_config('statement_timeout', '0', true), \
         set_config('lock_timeout', '{}', true), set_config('idle_in_transaction_session_timeout', '{}', true), \
         set_config('row_security', 'off', true), set_config('synchronous_commit', \
         replace(current_setting('synchronous_commit'), 'off', 'on'), true)",
        LOCK_TIMEOUT.as_millis(),
        ABANDONED.as_millis()
    );
    let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
    // Bound and not written into the statement, so that no log of the server has a value.
    let mut statement = query(AssertSqlSafe(sql.to_owned())).persistent(false).bind(name.as_str());
    if let Some(value) = value {
        statement = statement.bind(value.as_bytes());
    }
    let rows = statement.fetch_all(&mut *transaction).await?;
    let Some(row) = rows.first() else {
        // Nothing was changed, so what becomes of the transaction does not matter.
        let _ = transaction.rollback().await;
        return Ok(false);
    };
    let _ = committing.set(row.try_get::<String, _>(0)?);
    transaction.commit().await?;
    Ok(true)
}

/// What to say of a write that failed.
fn maybe(committing: &OnceLock<String>) -> &'static str {
    if committing.get().is_some() { "; it may have happened all the same" } else { "" }
}
