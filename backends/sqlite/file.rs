//! The file of a database, before SQLite sees it and as it should stay. Not here: SQL and the driver.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::StoreError;
use crate::path::{Identity, advice, create_directory, parent, sync_directory};

/// Where the database is, and which file that was when it was opened.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    /// Absolute: SQLite gives a meaning of its own to relative paths that begin with `file:` or `:`.
    pub(super) path: PathBuf,
    identity: Identity,
}

impl DatabaseFile {
    /// Finds the file, or makes an empty one for a new database.
    pub(super) fn locate(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| io_failure(path, "find", error))?;
        let failed = |error| io_failure(&path, "open", error);
        let directory = parent(&path);
        create_directory(directory).map_err(|error| io_failure(&path, "make the directory of", error))?;
        match std::fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_orphaned_log(&path, "is missing")?;
                create_file(&path).map_err(|error| io_failure(&path, "make", error))?;
                warn!(path = %path.display(), "made a new, empty key database; if there should be keys, check its volume");
            }
            Err(error) => return Err(failed(error)),
        }
        let metadata = std::fs::metadata(&path).map_err(failed)?;
        let real_path = std::fs::canonicalize(&path).map_err(failed)?;
        let file = Self { path, identity: Identity::of(&metadata) };
        if !metadata.is_file() {
            return Err(file.unavailable("is not a regular file; name a file"));
        }
        match metadata.len() {
            0 => refuse_orphaned_log(&real_path, "is empty")?,
            // SQLite would take it for an empty one.
            1 => return Err(file.unavailable("is no SQLite database; name another file, or restore it from a backup")),
            _ => {}
        }
        Ok(file)
    }

    /// Makes sure that the path still leads to the file that we opened.
    pub(super) async fn check_identity(&self) -> Result<(), StoreError> {
        self.identity.check(tokio::fs::metadata(&self.path).await).map_err(|(what, error)| {
            let reason = format!(
                "the key database '{}' {what}; bring it back, or restart the server if this is meant",
                self.path.display()
            );
            match error {
                Some(error) => StoreError::unavailable(reason).caused_by(error),
                None => StoreError::unavailable(reason),
            }
        })
    }

    pub(super) fn unavailable(&self, what: &str) -> StoreError {
        StoreError::unavailable(format!("the key database '{}' {what}", self.path.display()))
    }
}

/// SQLite deletes the log of an absent or empty database as stale, but the last keys may be nowhere else.
fn refuse_orphaned_log(path: &Path, what: &str) -> Result<(), StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    if !std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(());
    }
    let reason = format!(
        "the key database '{}' {what}, but its log '{}' is there and may hold keys; put the database back, or move the \
         log away if it is of no use",
        path.display(),
        log.display()
    );
    Err(StoreError::unavailable(reason))
}

/// Makes an empty file, mode 0600 whatever the umask; SQLite gives its log the same mode. A file that another process
/// made meanwhile is not touched.
fn create_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    sync_directory(parent(path))
}

fn io_failure(path: &Path, doing: &str, error: io::Error) -> StoreError {
    let reason = format!("cannot {doing} the key database '{}': {error}; {}", path.display(), advice(&error));
    StoreError::unavailable(reason).caused_by(error)
}
