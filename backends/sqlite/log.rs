//! What can be told about a log that is found beside the database before SQLite reads it. SQLite writes the pages of any
//! log with this name into the database, because nothing in a log says to which database it belongs.

use std::fs::File;
use std::io::Read;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, query_as, query_scalar};

use super::failure::is_corrupt;
use super::file::DatabaseFile;
use crate::StoreError;

/// The first bytes of a log, without the last bit. Source: <https://www.sqlite.org/fileformat2.html#walformat>
const MAGIC: u32 = 0x377f_0682;

/// Refuses a log that is certainly not that of the database, and changes nothing. A log that a crash left behind is
/// never refused: together with it, the database is intact.
pub(super) async fn refuse_foreign(file: &DatabaseFile, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let Some(start) = start_of(file)? else { return Ok(()) };
    // A power cut can leave zeros.
    if start != 0 && start & !1 != MAGIC {
        return Err(foreign(file, "is not a log of SQLite"));
    }
    // Closing a read-only connection leaves the log as it is.
    let with_log = options.clone().read_only(true);
    // Without locks, so the answers count only where they differ from those above.
    let alone = with_log.clone().immutable(true);
    let (Some(is_intact_with_log), born) = (is_intact(&with_log).await, birth(&alone).await) else { return Ok(()) };
    let is_suspect = !is_intact_with_log || birth(&with_log).await != born;
    if is_suspect && born.is_some() && is_intact(&alone).await == Some(true) {
        let what = "belongs to another database, or to another state of this one: the database is intact, and would be \
                    damaged by it";
        return Err(foreign(file, what));
    }
    Ok(())
}

/// The first four bytes of the log, zeros when it is shorter; `None` if it is absent or empty.
fn start_of(file: &DatabaseFile) -> Result<Option<u32>, StoreError> {
    let mut start = [0; 4];
    match File::open(&file.log).and_then(|mut log| log.read(&mut start)) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(u32::from_be_bytes(start))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file.io_failure("read the log of", error)),
    }
}

/// Whether a complete check finds no damage; `None` if it could not be made.
async fn is_intact(options: &SqliteConnectOptions) -> Option<bool> {
    match check(options).await {
        Ok(found) => Some(found == "ok"),
        Err(error) if is_corrupt(&error) => Some(false),
        Err(_) => None,
    }
}

async fn check(options: &SqliteConnectOptions) -> sqlx::Result<String> {
    let mut connection = options.connect().await?;
    let found = query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await;
    connection.close().await?;
    found
}

/// When the database got its first schema, and how many nanoseconds that took: no other database has both.
async fn birth(options: &SqliteConnectOptions) -> Option<(String, i64)> {
    let mut connection = options.connect().await.ok()?;
    let first = "SELECT CAST(installed_on AS TEXT), execution_time FROM _sqlx_migrations ORDER BY version LIMIT 1";
    let found = query_as(first).fetch_optional(&mut connection).await;
    let _ = connection.close().await; // it has changed nothing
    found.ok().flatten()
}

fn foreign(file: &DatabaseFile, what: &str) -> StoreError {
    file.unavailable(&format!(
        "has a log '{}' that {what}; move the log away, or restore the database that it belongs to",
        file.log.display()
    ))
}
