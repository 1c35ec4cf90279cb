//! A directory with one file per key, in the layout of KES: the file `NAME` holds the value as it is, mode 0600.
//!
//! # How a key comes to be
//! A temporary file is written and synced, then linked to `NAME`, which fails when anything is there; then the
//! directory is synced, and then the temporary name is removed. So `NAME` is whole from its first moment, is never
//! overwritten, and is durable when `create` answers. As long as the temporary name exists the file has two links:
//! a reader that sees two links syncs the directory first, because it may be faster than the creator, or the creator
//! may have been killed. So no key is ever used that a power cut could still take away.
//!
//! # Certainty
//! Everything is done relative to one descriptor of the directory. Before "not found", and around every create, the
//! path must still lead to that same directory: an unmounted volume is not an empty store.
//!
//! Several servers may share a directory over NFS. There, mount with `lookupcache=positive` (nfs(5)), or a name made
//! on one machine may be "not found" on another for as long as that one caches attributes.
//!
//! The file system must tell upper from lower case, as names do.
//!
//! Not here: the temporary files (`fs/temporary.rs`); the meaning of a value: whether an empty or cut file is
//! damaged is known to the caller.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tracing::warn;
use zeroize::Zeroizing;

use crate::path::{Identity, advice, create_directory};
use crate::{Name, Store, StoreError, Value};

mod temporary;
use temporary::Temporary;

/// Bytes that a read buffer has to spare: above 32, the least that `std::io::Read::read_to_end` wants to find.
const READ_ROOM: usize = 64;

/// How often a file may come and go between two looks at it before we give up.
const ATTEMPTS: usize = 100;

/// The store. Its descriptor is closed with the last call that uses it.
#[derive(Debug)]
pub(crate) struct Fs {
    directory: Arc<Directory>,
    /// As many listings at a time as there are CPUs: each reads the whole directory, and more would only take memory.
    listings: Arc<Semaphore>,
}

impl Fs {
    /// Opens the directory, makes it when absent, and removes what killed processes left there.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let listings = Arc::new(Semaphore::new(cpus));
        blocking(move || Ok(Self { directory: Arc::new(Directory::open(&path)?), listings })).await
    }

    /// Runs file system calls where they may wait. A call that began is finished, even when nobody waits for it.
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
        self.run(move |directory| directory.create(&name, value.as_bytes())).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let name = name.clone();
        self.run(move |directory| directory.get(&name)).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let name = name.clone();
        self.run(move |directory| directory.delete(&name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        let turn = self.listings.clone().acquire_owned().await;
        self.run(move |directory| {
            let _turn = turn; // until it is done, even when nobody waits for it any more
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

    async fn close(&self) {}
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let reason = "the file operation did not come to its end".to_owned();
        Err(StoreError::unavailable(reason).caused_by(error))
    })
}

/// The directory; its methods wait for the disk.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    handle: File,
    identity: Identity,
}

impl Directory {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| failure(path, "find the key directory", error))?;
        let failed = |error| failure(&path, "open the key directory", error);
        if create_directory(&path).map_err(failed)? {
            warn!(path = %path.display(), "made a new, empty key directory; if there should be keys, check its volume");
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let handle = File::from(handle);
        let identity = Identity::of(&handle.metadata().map_err(failed)?);
        let directory = Self { path, handle, identity };
        directory.ping()?;
        temporary::remove_leftovers(&directory.handle, &directory.path);
        Ok(directory)
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
                    "the file system of '{}' refuses hard links ({error}), without which a key could be overwritten; \
                     keep the directory on another file system",
                    self.path.display()
                );
                return Err(StoreError::unavailable(reason).caused_by(error));
            }
            Err(error) => return Err(failed(error.into())),
        }
        if let Err(error) = self.sync() {
            // The name is there, perhaps not durably. The second link stays and says so to every reader.
            temporary.keep();
            return Err(failed(error));
        }
        self.check_identity()
    }

    fn get(&self, name: &Name) -> Result<Value, StoreError> {
        // NONBLOCK and NOCTTY: should the name be a pipe or a terminal, we neither wait for it nor adopt it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat(&self.handle, name.as_str(), flags, Mode::empty()) {
                Ok(file) => return self.read(name, File::from(file)),
                Err(error) => match self.kind_of(name)? {
                    Some(FileType::Symlink) if leads_nowhere(error) => {
                        return Err(self.damaged(name, format_args!("is a symbolic link to nothing ({error})")));
                    }
                    // No regular file lacks a reader: a socket, a device without a driver.
                    Some(_) if error == Errno::NXIO || error == Errno::NODEV => {
                        return Err(self.damaged(name, format_args!("is not a regular file ({error})")));
                    }
                    // It was made after our look: look again.
                    Some(_) if error == Errno::NOENT => {}
                    None if error == Errno::NOENT => {
                        self.check_identity()?;
                        return Err(StoreError::NotFound);
                    }
                    _ => return Err(self.failure(&format!("read the key file '{name}' in"), error.into())),
                },
            }
        }
        let reason = format!("the key file '{name}' in '{}' comes and goes", self.path.display());
        Err(StoreError::unavailable(reason))
    }

    fn read(&self, name: &Name, file: File) -> Result<Value, StoreError> {
        let failed = |error| self.failure(&format!("read the key file '{name}' in"), error);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(self.damaged(name, format_args!("is not a regular file")));
        }
        let Some(len) = usize::try_from(metadata.len()).ok().filter(|len| *len <= Value::MAX_LEN) else {
            let text = format_args!("has {} bytes, a key {} at most", metadata.len(), Value::MAX_LEN);
            return Err(self.damaged(name, text));
        };
        if metadata.nlink() > 1 {
            self.sync().map_err(failed)?;
        }
        // So roomy that reading never moves the bytes, which would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len + READ_ROOM));
        file.take(metadata.len() + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > len {
            let reason =
                format!("the key file '{name}' in '{}' is being written by another program", self.path.display());
            return Err(StoreError::unavailable(reason));
        }
        Ok(Value::from(std::mem::take(&mut *bytes)))
    }

    fn delete(&self, name: &Name) -> Result<(), StoreError> {
        // The descriptor still leads to the files of a directory that was moved away.
        self.check_identity()?;
        match rustix::fs::unlinkat(&self.handle, name.as_str(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => {
                self.check_identity()?;
                return Err(StoreError::NotFound);
            }
            Err(Errno::ISDIR) => return Err(self.damaged(name, format_args!("is a directory"))),
            Err(error) => return Err(self.failure(&format!("delete the key file '{name}' in"), error.into())),
        }
        self.sync().map_err(|error| self.failure("make a deletion durable in", error))?;
        self.check_identity()
    }

    fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let failed = |error: Errno| self.failure("list the key directory", error.into());
        let mut names: Vec<Name> = Vec::new();
        // Set once there are too many: what comes after it is not among the first `limit`.
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

    /// Whether a listing shows what is there: all but directories and links to them. A link to nothing is shown, so
    /// that whoever walks the keys meets the damage.
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

    /// What the name is, without following links.
    fn kind_of(&self, name: &Name) -> Result<Option<FileType>, StoreError> {
        match rustix::fs::statat(&self.handle, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failure(&format!("look up the key file '{name}' in"), error.into())),
        }
    }

    /// The answer to a create of a name that is taken. Its caller goes on to use that key: it must be durable.
    fn already_exists(&self) -> StoreError {
        match self.sync() {
            Ok(()) => self.check_identity().err().unwrap_or(StoreError::AlreadyExists),
            Err(error) => self.failure("make a key durable in", error),
        }
    }

    /// Makes durable which names the directory holds.
    fn sync(&self) -> io::Result<()> {
        match self.handle.sync_all() {
            // fsync(2): not a thing that can be synced. Read-only file systems and some on other machines say so of
            // directories: what they hold is out of our hands.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            outcome => outcome,
        }
    }

    /// Makes sure that the path still leads to the directory that we hold.
    fn check_identity(&self) -> Result<(), StoreError> {
        self.identity.check(std::fs::metadata(&self.path)).map_err(|(what, error)| {
            let reason = format!(
                "the key directory '{}' {what}; bring it back, or restart the server if this is meant",
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

    /// What a failed system call means, once the directory is known to be the right one.
    fn failure(&self, doing: &str, error: io::Error) -> StoreError {
        self.check_identity().err().unwrap_or_else(|| failure(&self.path, doing, error))
    }
}

/// The one place where errors of the system become errors of a store.
fn failure(path: &Path, doing: &str, error: io::Error) -> StoreError {
    let advice = advice(&error);
    let reason = format!("cannot {doing} '{}': {error}; {advice}", path.display());
    StoreError::unavailable(reason).caused_by(error)
}

/// Whether this is how following a symbolic link fails when the links are wrong, and not the rights or the disk.
fn leads_nowhere(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG)
}
