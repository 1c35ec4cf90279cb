//! The temporary files to which keys are written before they get their names. Not here: when that happens.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use tracing::warn;

use crate::path::give_to_owner_of;

/// A key name never begins with a dot, and no other program uses these names.
const PREFIX: &str = ".keyway-";
const SUFFIX: &str = ".tmp";

/// A temporary file older than this was left behind by a killed process: a create takes far less time.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// A written and synced file. Its name is removed on drop: after success the content has another name, after a failure
/// it is not needed.
pub(super) struct Temporary<'a> {
    directory: &'a File,
    name: String,
}

impl<'a> Temporary<'a> {
    /// Writes and syncs a value under a unique name, mode 0600 regardless of the umask.
    pub(super) fn write(directory: &'a File, value: &[u8]) -> io::Result<Self> {
        /// Makes names unique within the process; the time makes them unique among processes with the same ID.
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{PREFIX}{:x}-{nanos:x}-{count:x}{SUFFIX}", std::process::id());
        let file = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let temporary = Self { directory, name };
        let mut file = File::from(file);
        file.set_permissions(Permissions::from_mode(0o600))?;
        give_to_owner_of(&file, &directory.metadata()?)?;
        file.write_all(value)?;
        file.sync_all()?;
        Ok(temporary)
    }

    /// Gives the file a second name, if that is not taken.
    pub(super) fn link(&self, name: &str) -> rustix::io::Result<()> {
        rustix::fs::linkat(self.directory, &self.name, self.directory, name, AtFlags::empty())
    }

    /// Whether the file system takes names that differ only in case for one name.
    pub(super) fn has_a_name_in_capitals(&self) -> rustix::io::Result<bool> {
        is_one_file(self.directory, &self.name, &self.name.to_uppercase())
    }

    /// Leaves the file in place.
    pub(super) fn keep(mut self) {
        self.name.clear();
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // If that fails, a later start removes the file.
            let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn is_one_file(directory: &File, name: &str, other: &str) -> rustix::io::Result<bool> {
    let look_up = |name| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match look_up(other) {
        Ok(other) => Ok(look_up(name)?.st_ino == other.st_ino),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes temporary files of killed processes: they may contain keys that have been deleted since. Best effort,
/// because a read-only directory is a store, too.
pub(super) fn remove_leftovers(directory: &File, path: &Path) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    let leftovers: Vec<String> = names.filter(|name| is_temporary(name) && is_old(&path.join(name))).collect();
    // A leftover may mark a key that is not durable yet; see the head of `fs.rs`.
    if leftovers.is_empty() || directory.sync_all().is_err() {
        return;
    }
    for name in leftovers {
        match rustix::fs::unlinkat(directory, &name, AtFlags::empty()) {
            Ok(()) => warn!(path = %path.display(), name, "removed a temporary file of an interrupted create"),
            Err(error) => {
                let message = "cannot remove a temporary file of an interrupted create; it may contain a deleted key";
                warn!(path = %path.display(), name, %error, "{message}");
            }
        }
    }
}

fn is_temporary(name: &str) -> bool {
    let middle = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    middle
        .is_some_and(|middle| !middle.is_empty() && middle.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
}

fn is_old(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        metadata.is_file() && age.is_some_and(|age| age > LEFTOVER_AGE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_temporary_files_are_recognized_as_such() {
        let directory = tempfile::tempdir().unwrap();
        let handle = File::open(directory.path()).unwrap();
        let temporary = Temporary::write(&handle, b"value").unwrap();
        assert!(is_temporary(&temporary.name) && !crate::Name::is_valid(&temporary.name), "{}", temporary.name);
        for other in [".keyway-1-a-0", ".keyway-notes.tmp", ".keyway-.tmp", "keyway-1.tmp", ".nfs0000001", ".tmp"] {
            assert!(!is_temporary(other), "{other}");
        }
    }

    /// A second link under the other name is what such a file system shows.
    #[test]
    fn a_name_that_is_found_in_capitals_too_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let handle = File::open(directory.path()).unwrap();
        let temporary = Temporary::write(&handle, b"").unwrap();
        assert!(!temporary.has_a_name_in_capitals().unwrap());
        let capitals = temporary.name.to_uppercase();
        assert!(capitals != temporary.name);
        std::fs::write(directory.path().join(&capitals), "").unwrap();
        assert!(!temporary.has_a_name_in_capitals().unwrap(), "another file");
        std::fs::remove_file(directory.path().join(&capitals)).unwrap();
        temporary.link(&capitals).unwrap();
        assert!(temporary.has_a_name_in_capitals().unwrap());
    }

    #[test]
    fn a_dropped_temporary_file_is_removed_and_a_kept_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let handle = File::open(directory.path()).unwrap();
        let count = || std::fs::read_dir(directory.path()).unwrap().count();
        drop(Temporary::write(&handle, b"value").unwrap());
        assert_eq!(count(), 0);
        Temporary::write(&handle, b"value").unwrap().keep();
        assert_eq!(count(), 1);
    }
}
