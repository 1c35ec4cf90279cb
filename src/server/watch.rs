//! Watches files for changes by polling.
//!
//! Polling also detects changes behind symbolic links, which Kubernetes replaces, works on every file system, and costs
//! only a few system calls per second.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

/// Time between two polls. A change is reported once two polls agree on it, so that a file is not read while it is
/// being written.
const INTERVAL: Duration = Duration::from_millis(500);

/// The metadata that identifies one version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The version of each file; of a directory, its version and those of its entries.
type Snapshot = Vec<Vec<Option<Version>>>;

/// Files and their last known versions.
#[derive(Clone, Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    known: Snapshot,
}

impl Watch {
    /// Watches these files; for a directory, also its entries. Blocks briefly, like all functions except
    /// [`Watch::changed`].
    pub fn new(files: Vec<PathBuf>) -> Self {
        let known = snapshot(&files);
        Self { files, known }
    }

    /// Takes the current versions of the files as known.
    pub fn refresh(&mut self) {
        self.known = snapshot(&self.files);
    }

    /// Replaces the watched files. For those that were already watched, the known versions are kept.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let known = |file: &PathBuf| {
            let index = self.files.iter().position(|other| other == file)?;
            self.known.get(index).cloned()
        };
        self.known = files.iter().map(|file| known(file).unwrap_or_else(|| versions(file))).collect();
        self.files = files;
    }

    /// Waits until a file has been changed, created or removed, and has then stayed the same for two polls.
    pub async fn changed(&mut self) {
        let mut last = self.known.clone();
        loop {
            sleep(INTERVAL).await;
            let files = self.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || snapshot(&files)).await else { continue };
            if now != self.known && now == last {
                self.known = now;
                return;
            }
            last = now;
        }
    }
}

fn snapshot(files: &[PathBuf]) -> Snapshot {
    files.iter().map(|file| versions(file)).collect()
}

/// The version of a file; of a directory, its version and those of its entries, sorted by name.
fn versions(path: &Path) -> Vec<Option<Version>> {
    let metadata = fs::metadata(path);
    let mut versions = vec![metadata.as_ref().ok().map(Version::of)];
    if metadata.is_ok_and(|metadata| metadata.is_dir())
        && let Ok(entries) = fs::read_dir(path)
    {
        let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.sort();
        versions.extend(files.iter().map(|file| fs::metadata(file).ok().as_ref().map(Version::of)));
    }
    versions
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Whether a change is reported within 3 s.
    async fn is_reported(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(3), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn writing_replacing_or_removing_a_file_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        assert!(!is_reported(&mut watch).await);
        fs::write(&file, "2").unwrap();
        assert!(is_reported(&mut watch).await);
        fs::write(directory.path().join("new"), "2").unwrap();
        fs::rename(directory.path().join("new"), &file).unwrap();
        assert!(is_reported(&mut watch).await);
        fs::remove_file(&file).unwrap();
        assert!(is_reported(&mut watch).await);
    }

    #[tokio::test]
    async fn replacing_a_symbolic_link_in_the_path_is_a_change_as_in_kubernetes() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("tls.crt"), "same length").unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/tls.crt", path("tls.crt")).unwrap();
        let mut watch = Watch::new(vec![path("tls.crt")]);
        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert!(is_reported(&mut watch).await);
    }

    #[tokio::test]
    async fn a_new_file_in_a_directory_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec![directory.path().to_owned()]);
        fs::write(directory.path().join("ca.pem"), "").unwrap();
        assert!(is_reported(&mut watch).await);
    }
}
