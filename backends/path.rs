//! What the backends that use files share: recognizing a file, directories that survive a power cut, and what to do
//! about errors of the operating system.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Identifies a file or directory. A path may later lead to another one, because a volume is unmounted or a directory
/// replaced. The inode number of a file is not reused as long as the file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The identity of the file that this metadata belongs to.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Makes sure that the path still leads to this file; otherwise returns what has happened to it.
    ///
    /// `now` is the current metadata of the path.
    pub(crate) fn check(self, now: io::Result<Metadata>) -> Result<(), (&'static str, Option<io::Error>)> {
        match now {
            Ok(metadata) if Self::of(&metadata) == self => Ok(()),
            Ok(_) => Err(("has been replaced, mounted over or unmounted since it was opened", None)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(("has been removed, renamed or unmounted since it was opened", Some(error)))
            }
            Err(error) => Err(("can no longer be accessed", Some(error))),
        }
    }
}

/// Creates a directory and its parents, mode 0700 regardless of the umask, durably. What exists is left as it is.
/// Returns whether the directory is new.
///
/// # Errors
/// Those of the operating system; `NotADirectory` when there is something else.
pub(crate) fn create_directory(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(false),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = parent(path);
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let created = File::from(rustix::fs::open(path, flags, Mode::empty())?);
            give_to_owner_of(&created, &std::fs::metadata(parent)?)?;
        }
        // Another process was faster. (A dangling symbolic link ends up here, too, and is an error.)
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
        Err(error) => return Err(error),
    }
    sync_directory(parent)?;
    Ok(true)
}

/// Gives a file or directory that was just created the owner and the group of the directory that it is in, if this
/// process is the superuser's: what a command creates as root is for the server, which runs as somebody else.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn give_to_owner_of(created: &File, directory: &Metadata) -> io::Result<()> {
    let is_ours = directory.uid() == 0 && directory.gid() == 0;
    if is_ours || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match std::os::unix::fs::fchown(created, Some(directory.uid()), Some(directory.gid())) {
        // As over NFS with root_squash, or without the capability: it stays with the one who created it.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => Ok(()),
        done => done,
    }
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether two paths lead to one file or directory, links and bind mounts included; of those that do not exist yet,
/// whether they are the same text.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|metadata| Identity::of(&metadata));
    match (identity(one), identity(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// What an operator can do about an error of the operating system.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "free some disk space",
        io::ErrorKind::QuotaExceeded => "raise the quota or free some space",
        io::ErrorKind::FileTooLarge => "raise the limit on file sizes (ulimit -f)",
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable",
        io::ErrorKind::PermissionDenied => "give the user that runs this program read and write access to it",
        io::ErrorKind::NotADirectory => "use a path in which every parent is a directory",
        io::ErrorKind::StaleNetworkFileHandle => "remount the network file system",
        _ => "check the file system and the system log",
    }
}

/// The directory that holds this path.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_created_with_their_parents_for_the_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        assert!(create_directory(&path).unwrap());
        assert!(!create_directory(&path).unwrap());
        for created in [&path, &root.path().join("a")] {
            assert_eq!(std::fs::metadata(created).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        std::fs::write(path.join("file"), "").unwrap();
        assert_eq!(create_directory(&path.join("file")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(create_directory(&path.join("file/c")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        std::os::unix::fs::symlink("nowhere", path.join("link")).unwrap();
        create_directory(&path.join("link")).unwrap_err();
    }
}
