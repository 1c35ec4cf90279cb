//! The backup file: written under a temporary name in the same directory, then renamed; opened so that it can be read
//! twice. Standard output and standard input can take its place.

use std::fs::{File, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use backends::path::parent;
use tempfile::NamedTempFile;

use super::format::{FormatError, Reader};
use super::lock::{Key, LockError};

/// The bytes of standard input that are read at a time.
const SPOOL_CHUNK: usize = 256 << 10;

/// Why a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file exists.
    #[error("'{0}' already exists; choose another file, or replace it with --force")]
    Exists(PathBuf),
    /// The path is a directory, a device or the like.
    #[error("'{0}' is not a regular file; choose another path")]
    NotAFile(PathBuf),
    /// The operating system reported an error.
    #[error("cannot {operation} '{path}': {error}{advice}")]
    Io {
        /// The failed operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
        /// What to do about it, beginning with `; `.
        advice: &'static str,
    },
    /// Nothing arrived on standard input.
    #[error("standard input is empty, so there is no backup to restore; check the command that writes to it")]
    NoInput,
    /// It cannot be decrypted.
    #[error("cannot decrypt '{path}': {error}")]
    Locked {
        /// The file.
        path: PathBuf,
        /// Why.
        error: LockError,
    },
    /// It is incomplete or damaged.
    #[error("'{path}' is not an intact backup: {error}; nothing was written; use another copy or an earlier backup")]
    NotIntact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
    },
}

/// Where a backup goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether it may replace an existing file.
        replaces: bool,
    },
    /// Standard output.
    Stdout,
}

impl Destination {
    /// Opens it for writing. An existing file stays as it is until [`Sink::complete`].
    ///
    /// # Errors
    /// [`FileError`]
    pub fn open(&self) -> Result<Sink, FileError> {
        match self {
            Self::File { path, replaces } => NewFile::create(path, *replaces).map(Sink::File),
            Self::Stdout => {
                let owned = io::stdout().as_fd().try_clone_to_owned();
                owned.map(|owned| Sink::Stdout(File::from(owned))).map_err(stdout_failure)
            }
        }
    }

    /// Whether it would replace an existing file.
    pub fn replaces_existing(&self) -> bool {
        match self {
            Self::File { path, replaces } => *replaces && path.symlink_metadata().is_ok(),
            Self::Stdout => false,
        }
    }
}

/// A backup being written.
#[derive(Debug)]
pub enum Sink {
    /// To a file, which does not have its name yet.
    File(NewFile),
    /// To standard output.
    Stdout(File),
}

impl Sink {
    /// A writer to it.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn writer(&self) -> Result<BufWriter<File>, FileError> {
        match self {
            Self::File(file) => file.writer(),
            Self::Stdout(file) => file.try_clone().map(BufWriter::new).map_err(stdout_failure),
        }
    }

    /// Makes the backup durable, and gives a file its name. A pipe has no durability: its reader is responsible.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn complete(self) -> Result<(), FileError> {
        match self {
            Self::File(file) => file.publish(),
            Self::Stdout(file) => {
                let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
                if is_file { file.sync_all().map_err(stdout_failure) } else { Ok(()) }
            }
        }
    }

    /// A write error that names the destination.
    pub fn failure(&self, error: io::Error) -> FileError {
        match self {
            Self::File(file) => file.failure(error),
            Self::Stdout(_) => stdout_failure(error),
        }
    }
}

fn stdout_failure(error: io::Error) -> FileError {
    failure("write", Path::new("standard output"), error)
}

/// A file being written. If dropped before [`NewFile::publish`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
    replaces: bool,
}

impl NewFile {
    /// Creates a temporary file, mode 0600, in the directory of `path`. `replaces` allows a regular file to exist
    /// there.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn create(path: &Path, replaces: bool) -> Result<Self, FileError> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(FileError::NotAFile(path.to_owned())),
            Ok(_) if !replaces => return Err(FileError::Exists(path.to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure("check", path, error)),
            Ok(_) | Err(_) => {}
        }
        let temporary = tempfile::Builder::new().prefix(".keyway-backup-").suffix(".tmp").tempfile_in(parent(path));
        let temporary = temporary.map_err(|error| failure("write", path, error))?;
        let mode = temporary.as_file().set_permissions(Permissions::from_mode(0o600));
        mode.map_err(|error| failure("write", path, error))?;
        Ok(Self { temporary, path: path.to_owned(), replaces })
    }

    /// A writer to the file.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn writer(&self) -> Result<BufWriter<File>, FileError> {
        let file = self.temporary.as_file().try_clone().map_err(|error| self.failure(error))?;
        Ok(BufWriter::new(file))
    }

    /// Makes the file durable and moves it to its final path.
    ///
    /// # Errors
    /// [`FileError`]; then the path is unchanged.
    pub fn publish(self) -> Result<(), FileError> {
        self.temporary.as_file().sync_all().map_err(|error| self.failure(error))?;
        let Self { temporary, path, replaces } = self;
        let placed = if replaces { temporary.persist(&path) } else { temporary.persist_noclobber(&path) };
        placed.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists(path.clone()),
            _ => failure("write", &path, error.error),
        })?;
        let directory = parent(&path);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failure("sync", directory, error))
    }

    /// A write error with the path of this file.
    pub fn failure(&self, error: io::Error) -> FileError {
        failure("write", &self.path, error)
    }
}

/// A backup that can be read any number of times; every time it is the same open file.
#[derive(Debug)]
pub struct BackupFile {
    file: File,
    path: PathBuf,
    key: Key,
}

impl BackupFile {
    /// Opens a file without reading it.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn open(path: &Path, key: Key) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|error| failure("read", path, error))?;
        let metadata = file.metadata().map_err(|error| failure("read", path, error))?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile(path.to_owned()));
        }
        Ok(Self { file, path: path.to_owned(), key })
    }

    /// Reads standard input to its end into a temporary file without a name, mode 0600, because a backup is read twice.
    /// The file holds what arrives, which is encrypted; it may exceed the memory, and is gone when this process ends.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn spool(mut input: impl Read, key: Key) -> Result<Self, FileError> {
        let path = PathBuf::from("standard input");
        let directory = tempfile::env::temp_dir();
        let failed = |error: io::Error| {
            let advice = "; free some space there, or set TMPDIR to another directory";
            FileError::Io { operation: "write a temporary file in", path: directory.clone(), error, advice }
        };
        let mut file = tempfile::tempfile_in(&directory).map_err(failed)?;
        let mut chunk = vec![0; SPOOL_CHUNK];
        let mut is_empty = true;
        loop {
            let len = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| failure("read", &path, error))?,
            };
            let Some(bytes) = chunk.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            file.write_all(bytes).map_err(failed)?;
            is_empty = false;
        }
        if is_empty { Err(FileError::NoInput) } else { Ok(Self { file, path, key }) }
    }

    /// A reader from the beginning of the file.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn reader(&self) -> Result<Reader<BufReader<impl Read + use<>>>, FileError> {
        let mut file = self.file.try_clone().map_err(|error| failure("read", &self.path, error))?;
        file.seek(SeekFrom::Start(0)).map_err(|error| failure("read", &self.path, error))?;
        let opened = self.key.open(BufReader::new(file));
        let text = opened.map_err(|error| FileError::Locked { path: self.path.clone(), error })?;
        Reader::new(BufReader::new(text)).map_err(|error| self.not_intact(error))
    }

    /// A read error with the path of this file.
    pub fn not_intact(&self, error: FormatError) -> FileError {
        let error = match error {
            // The message of the age crate does not mention backups.
            FormatError::Read(error) if error.kind() == io::ErrorKind::InvalidData => {
                FormatError::Read(io::Error::new(error.kind(), "it was modified or is truncated"))
            }
            error => error,
        };
        FileError::NotIntact { path: self.path.clone(), error }
    }
}

/// Flushes a writer explicitly, so that an error is reported.
///
/// # Errors
/// The operating system's.
pub fn flush(mut writer: BufWriter<File>) -> io::Result<()> {
    writer.flush()
}

/// An error of the operating system, with advice.
pub(super) fn failure(operation: &'static str, path: &Path, error: io::Error) -> FileError {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull => "; free some disk space",
        io::ErrorKind::QuotaExceeded => "; raise the quota or free some space",
        io::ErrorKind::FileTooLarge => "; raise the file size limit (ulimit -f)",
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check the owner and the mode of the file and its directory",
        io::ErrorKind::BrokenPipe => "; its reader ended early, so the backup is incomplete",
        _ => "",
    };
    FileError::Io { operation, path: path.to_owned(), error, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_unpublished_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = NewFile::create(&dir.path().join("backup"), false).unwrap();
        file.writer().unwrap().write_all(b"half").unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(file);
        assert_eq!(names(dir.path()).len(), 0);
    }

    #[test]
    fn an_existing_file_is_kept_unless_replacing_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let file = NewFile::create(&path, false).unwrap();
        std::fs::write(&path, "existing").unwrap();
        assert!(matches!(file.publish(), Err(FileError::Exists(_))));
        assert!(matches!(NewFile::create(&path, false), Err(FileError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"existing");
        let file = NewFile::create(&path, true).unwrap();
        flush({
            let mut writer = file.writer().unwrap();
            writer.write_all(b"new").unwrap();
            writer
        })
        .unwrap();
        file.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["backup"]);
    }

    #[test]
    fn directories_and_devices_are_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path(), Path::new("/dev/null")] {
            assert!(matches!(NewFile::create(path, true), Err(FileError::NotAFile(_))), "{}", path.display());
        }
    }
}
