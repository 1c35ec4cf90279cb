//! Files that are written whole or not at all, and never over another unless that is wanted.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use backends::path::parent;
use tempfile::NamedTempFile;

/// The mode of a file that only its owner can read.
pub(super) const PRIVATE: u32 = 0o600;

/// The mode of a file that everyone can read: a certificate is not a secret, and servers run as other users.
pub(super) const PUBLIC: u32 = 0o644;

/// A file that has its content and not yet its name.
#[derive(Debug)]
pub(super) struct WholeFile<'a> {
    path: &'a Path,
    temporary: NamedTempFile,
}

impl<'a> WholeFile<'a> {
    /// Writes the content next to where it will be.
    pub(super) fn write(path: &'a Path, content: &[u8], mode: u32) -> anyhow::Result<Self> {
        let directory = parent(path);
        let write = || -> io::Result<NamedTempFile> {
            let mut temporary = tempfile::Builder::new()
                .prefix(".keyway-")
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(directory)?;
            temporary.write_all(content)?;
            temporary.as_file().sync_all()?;
            Ok(temporary)
        };
        let temporary = write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, temporary })
    }

    /// Gives it its name; a file that has it is replaced only with `force`.
    pub(super) fn publish(self, force: bool) -> anyhow::Result<()> {
        let path = self.path;
        let published = if force {
            self.temporary.persist(path).map_err(|error| error.error)
        } else {
            self.temporary.persist_noclobber(path).map_err(|error| error.error)
        };
        match published {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(exists(path)),
            Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }
}

/// What is said of a file that is in the way.
pub(super) fn exists(path: &Path) -> String {
    format!("{} exists: choose another name, or replace it with --force", path.display())
}
