//! The file of a database and its log: found or created before SQLite opens them, and still the same ones later. Not
//! here: SQL and the driver.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::StoreError;
use crate::marker::Marker;
use crate::path::{Identity, advice, create_directory, give_to_owner_of, parent, sync_directory};

/// The path of the database, and the identities of its files when it was opened.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    /// Absolute, because SQLite treats relative paths that begin with `file:` or `:` specially.
    pub(super) path: PathBuf,
    /// Where SQLite keeps the log: beside the file itself, not beside a link to it.
    pub(super) log: PathBuf,
    identity: Identity,
    /// `None` until SQLite has opened the log, which it does not replace as long as there is a connection.
    log_identity: Option<Identity>,
    pub(super) marker: Marker,
}

impl DatabaseFile {
    /// Finds the file, or creates an empty one for a new database.
    pub(super) fn locate(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| io_failure(path, "find", error))?;
        let failed = |error| io_failure(&path, "open", error);
        let marker = Marker::beside("key database", &path);
        let directory = parent(&path);
        if matches!(path.try_exists(), Ok(false)) {
            marker.refuse_loss("is missing")?;
        }
        create_directory(directory).map_err(|error| io_failure(&path, "create the directory of", error))?;
        match std::fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_orphaned_log(&path, &log_path(&path), "is missing")?;
                create_file(&path).map_err(|error| io_failure(&path, "create", error))?;
                warn!(
                    path = %path.display(),
                    "created a new, empty key database; if it should already contain keys, check that its volume is \
                     mounted"
                );
            }
            Err(error) => return Err(failed(error)),
        }
        let metadata = std::fs::metadata(&path).map_err(failed)?;
        let real_path = std::fs::canonicalize(&path).map_err(failed)?;
        let file =
            Self { path, log: log_path(&real_path), identity: Identity::of(&metadata), log_identity: None, marker };
        if !metadata.is_file() {
            return Err(file.unavailable("is not a regular file; configure the path of a file"));
        }
        match metadata.len() {
            0 => {
                refuse_orphaned_log(&real_path, &file.log, "is empty")?;
                file.marker.refuse_loss("is empty")?;
            }
            // SQLite would treat it as an empty one.
            1 => {
                return Err(
                    file.unavailable("is not a SQLite database; configure another path, or restore it from a backup")
                );
            }
            _ => {}
        }
        Ok(file)
    }

    /// The same once SQLite has opened the log, which is watched from now on.
    pub(super) fn with_log(self) -> Result<Self, StoreError> {
        let metadata =
            std::fs::metadata(&self.log).map_err(|error| io_failure(&self.path, "find the log of", error))?;
        Ok(Self { log_identity: Some(Identity::of(&metadata)), ..self })
    }

    /// Makes sure that the paths still lead to the files that were opened.
    pub(super) async fn check_identity(&self) -> Result<(), StoreError> {
        let file = self.clone();
        let checked = tokio::task::spawn_blocking(move || file.check_identity_blocking()).await;
        checked.unwrap_or_else(|error| {
            Err(self.unavailable("was not looked up, because the server is stopping").caused_by(error))
        })
    }

    fn check_identity_blocking(&self) -> Result<(), StoreError> {
        let found = self.identity.check(std::fs::metadata(&self.path));
        found.map_err(|(what, error)| {
            let reason = self.unavailable(&format!("{what}; restore it, or restart the server if this was intended"));
            with_cause(reason, error)
        })?;
        let Some(log) = self.log_identity else { return Ok(()) };
        log.check(std::fs::metadata(&self.log)).map_err(|(what, error)| {
            let reason = self.unavailable(&format!(
                "has a log '{}' that {what}; every acknowledged key is in the database itself, so stop all programs that \
                 use it, move a log that was put there away, and start the server again",
                self.log.display()
            ));
            with_cause(reason, error)
        })
    }

    /// The error for a failed system call.
    pub(super) fn io_failure(&self, doing: &str, error: io::Error) -> StoreError {
        io_failure(&self.path, doing, error)
    }

    pub(super) fn unavailable(&self, what: &str) -> StoreError {
        StoreError::unavailable(format!("the key database '{}' {what}", self.path.display()))
    }
}

fn with_cause(error: StoreError, cause: Option<io::Error>) -> StoreError {
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

/// The log of a database at this path, links resolved.
fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// SQLite deletes the log of an absent or empty database as stale, but it may contain the only copy of the latest keys.
fn refuse_orphaned_log(path: &Path, log: &Path, what: &str) -> Result<(), StoreError> {
    if !std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(());
    }
    let reason = format!(
        "the key database '{}' {what}, but its log '{}' exists and may contain keys; restore the database, or move \
         the log away if it is not needed",
        path.display(),
        log.display()
    );
    Err(StoreError::unavailable(reason))
}

/// Creates an empty file, mode 0600 regardless of the umask; SQLite gives its log the same mode. A file that another
/// process has created in the meantime is not touched.
fn create_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o600))?;
            // SQLite gives its log the owner of the database.
            give_to_owner_of(&file, &std::fs::metadata(parent(path))?)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    sync_directory(parent(path))
}

fn io_failure(path: &Path, doing: &str, error: io::Error) -> StoreError {
    let reason = format!("cannot {doing} the key database '{}': {error}; {}", path.display(), advice(&error));
    StoreError::unavailable(reason).caused_by(error)
}
