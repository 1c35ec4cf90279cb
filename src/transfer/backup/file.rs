//! The file of a backup: written under another name in its directory, then put in its place; opened to be read twice.

use std::fs::{File, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use backends::path::parent;
use tempfile::NamedTempFile;

use super::format::{FormatError, Reader};
use super::lock::{Key, LockError};

/// Why there is no file, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Something is there.
    #[error("'{0}' exists; name another file, or replace it with --force")]
    Exists(PathBuf),
    /// Something is there that must not be replaced.
    #[error("'{0}' is not a regular file; name a file")]
    NotAFile(PathBuf),
    /// The system refused.
    #[error("cannot {doing} '{path}': {error}{advice}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
        /// What to do, after `; `.
        advice: &'static str,
    },
    /// It cannot be decrypted.
    #[error("cannot open '{path}': {error}")]
    Locked {
        /// The file.
        path: PathBuf,
        /// Why.
        error: LockError,
    },
    /// It is not whole.
    #[error("'{path}' is not a whole backup: {error}; nothing was written")]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: FormatError,
    },
}

/// A file that is being written. Dropped without [`NewFile::publish`], it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
    replaces: bool,
}

impl NewFile {
    /// Makes a file, mode 0600, in the directory of `path`. `replaces` allows a regular file to be there.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn create(path: &Path, replaces: bool) -> Result<Self, FileError> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(FileError::NotAFile(path.to_owned())),
            Ok(_) if !replaces => return Err(FileError::Exists(path.to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure("look for", path, error)),
            Ok(_) | Err(_) => {}
        }
        let temporary = tempfile::Builder::new().prefix(".keyway-backup-").suffix(".tmp").tempfile_in(parent(path));
        let temporary = temporary.map_err(|error| failure("write", path, error))?;
        let mode = temporary.as_file().set_permissions(Permissions::from_mode(0o600));
        mode.map_err(|error| failure("write", path, error))?;
        Ok(Self { temporary, path: path.to_owned(), replaces })
    }

    /// Where to write.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn writer(&self) -> Result<BufWriter<File>, FileError> {
        let file = self.temporary.as_file().try_clone().map_err(|error| self.failure(error))?;
        Ok(BufWriter::new(file))
    }

    /// Makes the file durable and puts it in its place.
    ///
    /// # Errors
    /// [`FileError`]; then there is no file, or the old one.
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

    /// An error of writing in the words of this file.
    pub fn failure(&self, error: io::Error) -> FileError {
        failure("write", &self.path, error)
    }
}

/// A backup that can be read from its beginning any number of times: every time the very same file.
#[derive(Debug)]
pub struct BackupFile {
    file: File,
    path: PathBuf,
    key: Key,
}

impl BackupFile {
    /// Opens a file, and reads nothing of it yet.
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

    /// Reads from the beginning.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn reader(&self) -> Result<Reader<BufReader<impl Read + use<>>>, FileError> {
        let mut file = self.file.try_clone().map_err(|error| failure("read", &self.path, error))?;
        file.seek(SeekFrom::Start(0)).map_err(|error| failure("read", &self.path, error))?;
        let opened = self.key.open(BufReader::new(file));
        let text = opened.map_err(|error| FileError::Locked { path: self.path.clone(), error })?;
        Reader::new(BufReader::new(text)).map_err(|error| self.not_whole(error))
    }

    /// An error of reading in the words of this file.
    pub fn not_whole(&self, error: FormatError) -> FileError {
        let error = match error {
            // age's words, which know nothing of a backup.
            FormatError::Read(error) if error.kind() == io::ErrorKind::InvalidData => {
                FormatError::Read(io::Error::new(error.kind(), "it has been altered or cut off"))
            }
            error => error,
        };
        FileError::NotWhole { path: self.path.clone(), error }
    }
}

/// Flushes what a writer has buffered, so that an error is not lost.
///
/// # Errors
/// The system's.
pub fn flush(mut writer: BufWriter<File>) -> io::Result<()> {
    writer.flush()
}

fn failure(doing: &'static str, path: &Path, error: io::Error) -> FileError {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull => "; free some disk space",
        io::ErrorKind::QuotaExceeded => "; raise the quota or free some space",
        io::ErrorKind::FileTooLarge => "; raise the limit on file sizes (ulimit -f)",
        io::ErrorKind::NotFound => "; does the directory exist?",
        _ => "",
    };
    FileError::Io { doing, path: path.to_owned(), error, advice }
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
    fn a_file_that_is_not_published_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = NewFile::create(&dir.path().join("backup"), false).unwrap();
        file.writer().unwrap().write_all(b"half").unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(file);
        assert_eq!(names(dir.path()).len(), 0);
    }

    #[test]
    fn what_is_there_stays_unless_it_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let file = NewFile::create(&path, false).unwrap();
        std::fs::write(&path, "meanwhile").unwrap();
        assert!(matches!(file.publish(), Err(FileError::Exists(_))));
        assert!(matches!(NewFile::create(&path, false), Err(FileError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"meanwhile");
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
    fn a_directory_or_device_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path(), Path::new("/dev/null")] {
            assert!(matches!(NewFile::create(path, true), Err(FileError::NotAFile(_))), "{}", path.display());
        }
    }
}
