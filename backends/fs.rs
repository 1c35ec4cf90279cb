//! A directory with one file per key, in the layout of KES: the file `NAME` contains the value unchanged, mode 0600.
//!
//! # How a key is created
//! A temporary file is written and synced, then linked to `NAME`, which fails if anything is there; then the directory
//! is synced, and then the temporary name is removed. So `NAME` is complete from the start, is never overwritten, and
//! is durable when `create` returns. As long as the temporary name exists the file has two links: a reader that sees
//! two links syncs the directory first, because it may be faster than the creator, or the creator may have been killed.
//! So a key is never used while a power cut could still remove it.
//!
//! # Certainty
//! Every operation uses the same descriptor of the directory. Before "not found", and before and after every create,
//! the path must still lead to that directory: an unmounted volume is not an empty store.
//!
//! Several servers may share a directory over NFS. Mount it with `lookupcache=positive` (nfs(5)); otherwise a name
//! created on one machine may be "not found" on another one for as long as that one caches attributes.
//!
//! A name whose deletion was not synced is not "not found" until a sync has succeeded: a power cut could bring it back.
//!
//! The file system must be case-sensitive, as names are; that is tried when the directory is opened.
//!
//! Not here: the temporary files (`fs/temporary.rs`); the meaning of a value: only the caller knows whether an empty or
//! truncated file is damaged.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tracing::warn;
use zeroize::Zeroizing;

use crate::config::Purpose;
use crate::marker::Marker;
use crate::path::{Identity, advice, create_directory};
use crate::{Name, Store, StoreError, Value};

mod temporary;
use temporary::Temporary;

/// Spare bytes in a read buffer: more than the 32 that `std::io::Read::read_to_end` needs in order not to grow it.
const READ_ROOM: usize = 64;

/// How often to retry when a file is created and deleted between two system calls.
const ATTEMPTS: usize = 100;

/// The store. Its descriptor is closed with the last call that uses it.
#[derive(Debug)]
pub(crate) struct Fs {
    directory: Arc<Directory>,
    /// At most one listing per CPU at a time: each reads the whole directory, and more of them would only use memory.
    listings: Arc<Semaphore>,
    marker: Marker,
}

impl Fs {
    /// Opens the directory, creates it when absent, and removes what killed processes left behind in it.
    pub(crate) async fn open(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| failure(path, "find the key directory", error))?;
        let marker = Marker::beside("key directory", &path);
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let listings = Arc::new(Semaphore::new(cpus));
        let of_absent = marker.clone();
        let (directory, is_new) = blocking(move || Directory::open(path, &of_absent)).await?;
        let store = Self { directory: Arc::new(directory), listings, marker };
        match purpose {
            Purpose::Use => store.run(Directory::refuse_one_case).await?,
            Purpose::Look => {}
        }
        store.marker.opened(purpose, store.run(Directory::has_keys).await?, is_new).await?;
        Ok(store)
    }

    /// Whether there is certainly no key.
    async fn is_empty(&self) -> bool {
        self.run(Directory::has_keys).await.is_ok_and(|has_keys| !has_keys)
    }

    /// Runs file system calls on a thread that may block. A call that has started is finished, even if its caller is
    /// gone.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let directory = Arc::clone(&self.directory);
        blocking(move || work(&directory)).await
    }
}

#[async_trait]
impl Store for Fs {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        let (name, value) = (name.clone(), value.copy());
        self.run(move |directory| directory.create(&name, value.as_bytes())).await?;
        self.marker.created(|| self.is_empty()).await;
        Ok(())
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let name = name.clone();
        self.run(move |directory| directory.get(&name)).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let name = name.clone();
        self.run(move |directory| directory.delete(&name)).await?;
        self.marker.deleted(|| self.is_empty()).await;
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        let turn = self.listings.clone().acquire_owned().await;
        self.run(move |directory| {
            let _turn = turn; // until it is done, even if its caller is gone
            directory.list(&prefix, after.as_ref(), limit)
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.run(Directory::ping).await
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<crate::Change>> {
        None
    }

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {}
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let reason = "the file operation was aborted".to_owned();
        Err(StoreError::unavailable(reason).caused_by(error))
    })
}

/// The directory. Its methods block on the disk.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    handle: File,
    identity: Identity,
    /// Names whose deletion may not be durable, because the directory could not be synced.
    unsynced: Mutex<BTreeSet<Name>>,
}

impl Directory {
    /// Opens the directory at an absolute path, or creates it; returns whether it is new.
    fn open(path: PathBuf, marker: &Marker) -> Result<(Self, bool), StoreError> {
        let failed = |error| failure(&path, "open the key directory", error);
        if matches!(path.try_exists(), Ok(false)) {
            marker.refuse_loss("is missing")?;
        }
        let is_new = create_directory(&path).map_err(failed)?;
        if is_new {
            warn!(
                path = %path.display(),
                "created a new, empty key directory; if it should already contain keys, check that its volume is \
                 mounted"
            );
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let handle = File::from(handle);
        let identity = Identity::of(&handle.metadata().map_err(failed)?);
        let directory = Self { path, handle, identity, unsynced: Mutex::default() };
        directory.ping()?;
        temporary::remove_leftovers(&directory.handle, &directory.path);
        Ok((directory, is_new))
    }

    /// Refuses a file system on which the keys `a` and `A` would be one file. Where nothing can be created, neither can
    /// keys.
    fn refuse_one_case(&self) -> Result<(), StoreError> {
        let Ok(temporary) = Temporary::write(&self.handle, b"") else { return Ok(()) };
        let found = temporary.has_a_name_in_capitals();
        if found.map_err(|error| self.failure("look up a file in the key directory", error.into()))? {
            return Err(StoreError::unavailable(format!(
                "the file system of '{}' takes names that differ only in case for one name, so two keys would be one \
                 file; move the directory to a file system that is case-sensitive",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        self.check_identity()?;
        if self.kind_of(name)?.is_some() {
            return Err(self.already_exists());
        }
        let failed = |error| self.failure("create a key in", error);
        let temporary = Temporary::write(&self.handle, value).map_err(failed)?;
        match temporary.link(name.as_str()) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(self.already_exists()),
            Err(error @ (Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK)) => {
                self.check_identity()?;
                let reason = format!(
                    "the file system of '{}' does not support hard links ({error}), without which a key could be \
                     overwritten; move the directory to another file system",
                    self.path.display()
                );
                return Err(StoreError::unavailable(reason).caused_by(error));
            }
            Err(error) => return Err(failed(error.into())),
        }
        if let Err(error) = self.sync() {
            // The name exists, but possibly not durably. The second link stays, and tells every reader so.
            temporary.keep();
            return Err(failed(error));
        }
        self.check_identity()
    }

    fn get(&self, name: &Name) -> Result<Value, StoreError> {
        // NONBLOCK and NOCTTY: if it is a pipe or a terminal, opening it must not block or make it the controlling one.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat(&self.handle, name.as_str(), flags, Mode::empty()) {
                Ok(file) => return self.read(name, File::from(file)),
                Err(error) => match self.kind_of(name)? {
                    Some(FileType::Symlink) if leads_nowhere(error) => {
                        return Err(self.damaged(name, format_args!("is a dangling symbolic link ({error})")));
                    }
                    // Not a regular file: a socket, or a device without a driver.
                    Some(_) if error == Errno::NXIO || error == Errno::NODEV => {
                        return Err(self.damaged(name, format_args!("is not a regular file ({error})")));
                    }
                    // It was created after the attempt to open it: try again.
                    Some(_) if error == Errno::NOENT => {}
                    None if error == Errno::NOENT => return Err(self.not_found(name)),
                    _ => return Err(self.failure(&format!("read the key file '{name}' in"), error.into())),
                },
            }
        }
        let reason = format!(
            "the key file '{name}' in '{}' is repeatedly created and deleted; find out which program does this",
            self.path.display()
        );
        Err(StoreError::unavailable(reason))
    }

    fn read(&self, name: &Name, file: File) -> Result<Value, StoreError> {
        let failed = |error| self.failure(&format!("read the key file '{name}' in"), error);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(self.damaged(name, format_args!("is not a regular file")));
        }
        let Some(len) = usize::try_from(metadata.len()).ok().filter(|len| *len <= Value::MAX_LEN) else {
            let text = format_args!("has {} bytes, and a key has at most {}", metadata.len(), Value::MAX_LEN);
            return Err(self.damaged(name, text));
        };
        if metadata.nlink() > 1 {
            self.sync().map_err(failed)?;
        }
        // Large enough that reading never reallocates, which would leave copies of the bytes behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len + READ_ROOM));
        file.take(metadata.len() + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > len {
            let reason = format!(
                "the key file '{name}' in '{}' is being written by another program; try again",
                self.path.display()
            );
            return Err(StoreError::unavailable(reason));
        }
        Ok(Value::from(std::mem::take(&mut *bytes)))
    }

    fn delete(&self, name: &Name) -> Result<(), StoreError> {
        // The descriptor would still reach the files of a directory that was moved away.
        self.check_identity()?;
        match rustix::fs::unlinkat(&self.handle, name.as_str(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(self.not_found(name)),
            Err(Errno::ISDIR) => return Err(self.damaged(name, format_args!("is a directory"))),
            Err(error) => return Err(self.failure(&format!("delete the key file '{name}' in"), error.into())),
        }
        self.unsynced.lock().insert(name.clone());
        self.sync_deletions()?;
        self.check_identity()
    }

    /// The error for a name under which nothing is found, which must not come back.
    fn not_found(&self, name: &Name) -> StoreError {
        let synced = if self.unsynced.lock().contains(name) { self.sync_deletions() } else { Ok(()) };
        match synced.and_then(|()| self.check_identity()) {
            Ok(()) => StoreError::NotFound,
            Err(error) => error,
        }
    }

    /// Makes all deletions durable.
    fn sync_deletions(&self) -> Result<(), StoreError> {
        let before = self.unsynced.lock().clone();
        self.sync().map_err(|error| self.failure("make a deletion durable in", error))?;
        self.unsynced.lock().retain(|name| !before.contains(name));
        Ok(())
    }

    /// Whether there is any key. Ends with the first that it finds.
    fn has_keys(&self) -> Result<bool, StoreError> {
        let failed = |error: Errno| self.failure("list the key directory", error.into());
        for entry in Dir::read_from(&self.handle).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str().ok().and_then(|text| Name::parse(text).ok());
            if let Some(name) = name
                && self.is_listed(&name, entry.file_type())?
            {
                return Ok(true);
            }
        }
        self.check_identity()?;
        Ok(false)
    }

    fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let failed = |error: Errno| self.failure("list the key directory", error.into());
        if !self.unsynced.lock().is_empty() {
            self.sync_deletions()?;
        }
        let mut names: Vec<Name> = Vec::new();
        // Set once there are too many names: what comes after it is not among the first `limit`.
        let mut last: Option<Name> = None;
        for entry in Dir::read_from(&self.handle).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(text) = entry.file_name().to_str() else { continue };
            if !text.starts_with(prefix) || after.is_some_and(|after| text <= after.as_str()) {
                continue;
            }
            if last.as_ref().is_some_and(|last| text >= last.as_str()) {
                continue;
            }
            let Ok(name) = Name::parse(text) else { continue };
            if self.is_listed(&name, entry.file_type())? {
                names.push(name);
            }
            if names.len() > limit.saturating_mul(2) {
                names.sort_unstable();
                names.truncate(limit);
                last = names.last().cloned();
            }
        }
        self.check_identity()?;
        names.sort_unstable();
        names.truncate(limit);
        Ok(names)
    }

    /// Whether a listing includes the entry: all except directories and links to them. A dangling link is included, so
    /// that programs that read all keys report the damage.
    fn is_listed(&self, name: &Name, kind: FileType) -> Result<bool, StoreError> {
        let kind = if kind == FileType::Unknown { self.kind_of(name)? } else { Some(kind) };
        Ok(match kind {
            None | Some(FileType::Directory) => false,
            Some(FileType::Symlink) => rustix::fs::statat(&self.handle, name.as_str(), AtFlags::empty())
                .map_or(true, |target| FileType::from_raw_mode(target.st_mode) != FileType::Directory),
            Some(_) => true,
        })
    }

    fn ping(&self) -> Result<(), StoreError> {
        let failed = |error: Errno| self.failure("read the key directory", error.into());
        Dir::read_from(&self.handle).map_err(failed)?.read().transpose().map_err(failed)?;
        self.check_identity()
    }

    /// The type of what is under the name, without following links.
    fn kind_of(&self, name: &Name) -> Result<Option<FileType>, StoreError> {
        match rustix::fs::statat(&self.handle, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failure(&format!("look up the key file '{name}' in"), error.into())),
        }
    }

    /// The error of a create of a name that is taken. The caller goes on to use that key, so it must be durable.
    fn already_exists(&self) -> StoreError {
        match self.sync() {
            Ok(()) => self.check_identity().err().unwrap_or(StoreError::AlreadyExists),
            Err(error) => self.failure("make a key durable in", error),
        }
    }

    /// Makes the entries of the directory durable.
    fn sync(&self) -> io::Result<()> {
        match self.handle.sync_all() {
            // fsync(2): not something that can be synced. Read-only file systems and some network file systems return
            // this for directories: nothing can be done about their entries.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            outcome => outcome,
        }
    }

    /// Makes sure that the path still leads to the open directory.
    fn check_identity(&self) -> Result<(), StoreError> {
        self.identity.check(std::fs::metadata(&self.path)).map_err(|(what, error)| {
            let reason = format!(
                "the key directory '{}' {what}; restore it, or restart the server if this was intended",
                self.path.display()
            );
            match error {
                Some(error) => StoreError::unavailable(reason).caused_by(error),
                None => StoreError::unavailable(reason),
            }
        })
    }

    fn damaged(&self, name: &Name, what: std::fmt::Arguments<'_>) -> StoreError {
        let reason = format!("'{name}' in '{}' {what}; restore it from a backup", self.path.display());
        StoreError::Damaged { reason }
    }

    /// The error for a failed system call, unless the path no longer leads to the directory.
    fn failure(&self, doing: &str, error: io::Error) -> StoreError {
        self.check_identity().err().unwrap_or_else(|| failure(&self.path, doing, error))
    }
}

/// The only place where errors of the operating system become errors of a store.
fn failure(path: &Path, doing: &str, error: io::Error) -> StoreError {
    let advice = advice(&error);
    let reason = format!("cannot {doing} '{}': {error}; {advice}", path.display());
    StoreError::unavailable(reason).caused_by(error)
}

/// Whether following a symbolic link fails with this error because the link is wrong, and not because of rights or the
/// disk.
fn leads_nowhere(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG)
}
