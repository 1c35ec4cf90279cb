//! What the errors of the driver mean, and what to do about them.

use super::file::DatabaseFile;
use crate::StoreError;

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

/// The only place where errors of the driver become errors of a store.
pub(super) fn failure(file: &DatabaseFile, doing: &str, error: sqlx::Error) -> StoreError {
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

/// Whether another connection holds a lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::BUSY)
}

/// Whether what was read is not a database, or a damaged one.
pub(super) fn is_corrupt(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::CORRUPT | code::NOTADB))
}

/// The error of a store that is open, unless the path no longer leads to it.
pub(super) async fn explain(file: &DatabaseFile, doing: &str, error: sqlx::Error) -> StoreError {
    match error {
        // The last one to close the database deletes the log.
        sqlx::Error::PoolClosed => failure(file, doing, error),
        error => file.check_identity().await.err().unwrap_or_else(|| failure(file, doing, error)),
    }
}
