//! The schema and its table: created or migrated if that is enabled, and checked at every start.
//!
//! One explicit transaction creates everything, under a lock that ends with the transaction, so that gateways which
//! start at the same time do not conflict, not even through a pooler in transaction mode. A role that may only read and
//! write the table can start when the schema is up to date.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqlSafeStr, raw_sql};
use tracing::{info, warn};

use super::failure::{Failure, Place};
use crate::{AbsentStore, StoreError};

/// The newest schema version that this program supports, and its SQL.
const NEWEST: i64 = 1;
const FIRST: &str = include_str!("../postgres.1.sql");

/// The table, in the same schema, that records the applied versions.
const VERSIONS: &str = "_keyway_migrations";

/// Makes sure that the table exists and is as this program needs it; creates it if `migrate` is set.
pub(super) async fn prepare(connection: &mut PgConnection, place: &Place, migrate: bool) -> Result<(), StoreError> {
    let failed = |failure| place.error("look up the key table", failure);
    let found = Found::look_up(connection, &place.schema).await.map_err(failed)?;
    if found.is_standby {
        return Err(failed(Failure::Standby));
    }
    if !found.syncs {
        warn!(
            "PostgreSQL runs with fsync = off: a power failure can lose keys and data encrypted under them; turn it on"
        );
    }
    let mut is_new = false;
    let is_current = match found.version(connection, &place.schema).await.map_err(failed)? {
        Some(version) if version > NEWEST => return Err(newer(place, version)),
        // A table without a version was created by hand, from the SQL that the error below shows.
        None => found.has_table,
        Some(version) => found.has_table && version == NEWEST,
    };
    if !is_current {
        if !migrate {
            let error = place.refused(&format!(
                "has no table \"{}\".keys for this release, and migrate is off; run as its owner: {}",
                place.schema,
                sql_by_hand(&place.schema, &found.role)
            ));
            return Err(error.caused_by(AbsentStore));
        }
        if found.is_read_only {
            return Err(
                place.refused("has no key table yet, and it is read-only; configure the address of the primary")
            );
        }
        is_new = create(connection, place, &found).await?;
    }
    verify(connection, place, &found.role).await?;
    if !is_new {
        warn_if_empty(connection, place).await?;
    }
    Ok(())
}

/// What exists in the database.
#[expect(clippy::struct_excessive_bools, reason = "each is one fact that was looked up, and none follows from another")]
#[derive(Debug)]
struct Found {
    is_standby: bool,
    is_read_only: bool,
    syncs: bool,
    role: String,
    database: String,
    has_schema: bool,
    has_table: bool,
    has_versions: bool,
}

impl Found {
    /// Reads the catalog, which every role may read.
    async fn look_up(connection: &mut PgConnection, schema: &str) -> Result<Self, Failure> {
        let table = |name: &str| {
            format!(
                "EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = '{schema}' AND c.relname = '{name}')"
            )
        };
        let row = one(
            connection,
            format!(
                "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
                 current_setting('fsync') = 'on', current_user::text, current_database()::text, \
                 EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{schema}'), {}, {}",
                table("keys"),
                table(VERSIONS)
            ),
        )
        .await?;
        let found = (|| {
            Ok(Self {
                is_standby: row.try_get(0)?,
                is_read_only: row.try_get(1)?,
                syncs: row.try_get(2)?,
                role: row.try_get(3)?,
                database: row.try_get(4)?,
                has_schema: row.try_get(5)?,
                has_table: row.try_get(6)?,
                has_versions: row.try_get(7)?,
            })
        })();
        found.map_err(Failure::Query)
    }

    /// The recorded version, if there is one.
    async fn version(&self, connection: &mut PgConnection, schema: &str) -> Result<Option<i64>, Failure> {
        if !self.has_versions {
            return Ok(None);
        }
        let row = one(connection, format!("SELECT max(version) FROM \"{schema}\".{VERSIONS}")).await?;
        row.try_get(0).map_err(Failure::Query)
    }
}

/// Creates what is absent, while no other gateway does. Returns whether the table is new.
async fn create(connection: &mut PgConnection, place: &Place, before: &Found) -> Result<bool, StoreError> {
    let schema = &place.schema;
    let failed = |error| explain(place, before, Failure::Query(error));
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0; \
         SET LOCAL synchronous_commit = on; \
         SELECT pg_advisory_xact_lock(hashtextextended('keyway schema {schema}', 0))"
    );
    let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await.map_err(failed)?;
    // Again under the lock, because another gateway may have been faster.
    let found = Found::look_up(&mut transaction, schema)
        .await
        .map_err(|failure| place.error("look up the key table", failure))?;
    if !found.has_schema {
        let create = format!("CREATE SCHEMA \"{schema}\"");
        transaction.execute(AssertSqlSafe(create)).await.map_err(failed)?;
    }
    // The SQL file does not name the schema, so that its checksum is the same in every schema.
    let path = format!("SET LOCAL search_path TO \"{schema}\"");
    transaction.execute(AssertSqlSafe(path)).await.map_err(failed)?;
    let migration = Migration::new(NEWEST, Cow::Borrowed("keys"), MigrationType::Simple, FIRST.into_sql_str(), false);
    let mut migrator = Migrator::with_migrations(vec![migration]);
    migrator.dangerous_set_table_name(format!("\"{schema}\".{VERSIONS}"));
    // Its own lock belongs to a session, which a pooler does not preserve.
    migrator.set_locking(false);
    match migrator.run_direct(None, &mut *transaction, false).await {
        Ok(()) => {}
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => return Err(failed(error)),
        Err(MigrateError::VersionMissing(version)) if version > NEWEST => return Err(newer(place, version)),
        Err(error) => {
            return Err(place.refused(&format!(
                "has a schema \"{schema}\" that is not Keyway's ({error}); configure another schema, or restore it \
                 from a backup"
            )));
        }
    }
    // The statements that the migrator prepared would remain in a pooler's connection.
    transaction.execute("DEALLOCATE ALL").await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    if found.has_table {
        info!(schema, "migrated the key table");
    } else {
        warn!(
            schema,
            "created a new, empty key table; if it should already contain keys, check the configured database and \
             schema"
        );
    }
    Ok(!found.has_table)
}

/// A table without keys may be that of a wrong database, or one that lost them.
async fn warn_if_empty(connection: &mut PgConnection, place: &Place) -> Result<(), StoreError> {
    let schema = &place.schema;
    let row = one(connection, format!("SELECT EXISTS (SELECT FROM \"{schema}\".keys)")).await;
    let has_keys: bool = row
        .and_then(|row| row.try_get(0).map_err(Failure::Query))
        .map_err(|failure| place.error("read the key table", failure))?;
    if !has_keys {
        warn!(schema, "the key table contains no keys; if it should, check the configured host, database and schema");
    }
    Ok(())
}

/// Makes sure that the table is as expected. One that is only similar could lose keys or assign a name twice.
async fn verify(connection: &mut PgConnection, place: &Place, role: &str) -> Result<(), StoreError> {
    let schema = &place.schema;
    let column = |name: &str, test: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = '{name}' AND {test})"
        )
    };
    let row = one(
        connection,
        format!(
            "SELECT c.relkind IN ('r', 'p'), c.relpersistence = 'p', {}, {}, \
             EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a \
                 ON a.attrelid = c.oid AND a.attnum = i.indkey[0] \
                 WHERE i.indrelid = c.oid AND a.attname = 'name' AND i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid \
                 AND i.indimmediate AND i.indpred IS NULL), \
             has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), \
             has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'DELETE') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = '{schema}' AND c.relname = 'keys'",
            column("name", "a.atttypid = 'pg_catalog.text'::regtype AND a.attnotnull AND a.attcollation = \
                 (SELECT oid FROM pg_catalog.pg_collation WHERE collname = 'C' \
                 AND collnamespace = 'pg_catalog'::regnamespace)"),
            column("value", "a.atttypid = 'pg_catalog.bytea'::regtype AND a.attnotnull"),
        ),
    )
    .await
    .map_err(|failure| place.error("check the key table", failure))?;
    let is = |index: usize| row.try_get::<bool, _>(index).unwrap_or(false);
    let table = format!("\"{schema}\".keys");
    for (index, defect) in [
        (0, "is not an ordinary table"),
        (1, "is an unlogged table, which a crash of the server empties: ALTER TABLE ... SET LOGGED"),
        (2, "has no column name of the type text COLLATE \"C\" NOT NULL"),
        (3, "has no column value of the type bytea NOT NULL"),
        (4, "has no primary key (name)"),
    ] {
        if !is(index) {
            return Err(place
                .refused(&format!("is not usable: {table} {defect}; configure another schema, or correct the table")));
        }
    }
    if !is(5) || !is(6) {
        let reason = format!(
            "does not allow the role \"{role}\" to read {table}; run as its owner: GRANT USAGE ON SCHEMA \"{schema}\" \
             TO \"{role}\"; GRANT SELECT, INSERT, DELETE ON {table} TO \"{role}\""
        );
        return Err(place.refused(&reason));
    }
    if !is(7) || !is(8) {
        warn!(role, table, "the role can read keys, but lacks INSERT (to create keys) or DELETE (to delete keys)");
    }
    Ok(())
}

/// The SQL to run as the owner, on one line.
fn sql_by_hand(schema: &str, role: &str) -> String {
    let lines: Vec<_> = FIRST.lines().filter(|line| !line.starts_with("--")).map(str::trim).collect();
    let table = lines.join(" ").replacen("CREATE TABLE keys", &format!("CREATE TABLE \"{schema}\".keys"), 1);
    format!(
        "CREATE SCHEMA IF NOT EXISTS \"{schema}\"; {table} GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\"; \
         GRANT SELECT, INSERT, DELETE ON \"{schema}\".keys TO \"{role}\";"
    )
}

fn newer(place: &Place, version: i64) -> StoreError {
    place.refused(&format!(
        "has schema version {version}, and this release supports {NEWEST}; run the newer release that wrote it, or \
         restore an older backup"
    ))
}

fn explain(place: &Place, found: &Found, failure: Failure) -> StoreError {
    /// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    let Place { schema, .. } = place;
    if failure.code().as_deref() != Some(INSUFFICIENT_PRIVILEGE) {
        return place.error("create the key table", failure);
    }
    let (role, database) = (&found.role, &found.database);
    let grant = if found.has_schema {
        format!("GRANT USAGE, CREATE ON SCHEMA \"{schema}\" TO \"{role}\"")
    } else {
        format!("GRANT CREATE ON DATABASE \"{database}\" TO \"{role}\"")
    };
    place.refused(&format!(
        "does not allow the role \"{role}\" to create the key table ({failure}); run as its owner: {grant}; or create \
         it yourself and set migrate to off: {}",
        sql_by_hand(schema, role)
    ))
}

/// Runs one statement without parameters that returns one row, with the simple protocol, which needs no prepared
/// statement that a pooler could lose.
async fn one(connection: &mut PgConnection, sql: String) -> Result<PgRow, Failure> {
    raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(Failure::Query)
}
