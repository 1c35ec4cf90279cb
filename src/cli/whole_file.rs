//! Files that are written completely or not at all. An existing file is only replaced on request.

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

/// A file with its content, before it gets its name.
#[derive(Debug)]
pub(super) struct WholeFile<'a> {
    path: &'a Path,
    temporary: NamedTempFile,
}

impl<'a> WholeFile<'a> {
    /// Writes the content to a temporary file in the same directory.
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

    /// Gives the file its name; an existing file is replaced only with `force`.
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

/// The error for a file that already exists.
pub(super) fn exists(path: &Path) -> String {
    format!("{} already exists; choose another name or use --force to replace it", path.display())
}
