//! Files that are looked at from time to time: whether they are still the same.
//!
//! By polling: it sees what is behind symbolic links, which Kubernetes swaps, works on every file system, and costs a
//! few calls a second.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

/// Between two looks. A change is told once two looks agree on it, so that a file is not read while it is written.
const INTERVAL: Duration = Duration::from_millis(500);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The mark of each file; of a directory and of all that is in it.
type Look = Vec<Vec<Option<Mark>>>;

/// Some files and how they were last seen.
#[derive(Clone, Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    seen: Look,
}

impl Watch {
    /// Files as they are now. For a directory, what is in it counts. Blocks for a moment, as all but
    /// [`Watch::changed`] do.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let seen = look(&files);
        Self { files, seen }
    }

    /// Takes the files as they are now for seen.
    pub fn look(&mut self) {
        self.seen = look(&self.files);
    }

    /// Watches these files instead. Those that were watched before are still as they were seen then.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let before = |file: &PathBuf| {
            let number = self.files.iter().position(|other| other == file)?;
            self.seen.get(number).cloned()
        };
        self.seen = files.iter().map(|file| before(file).unwrap_or_else(|| marks(file))).collect();
        self.files = files;
    }

    /// Waits until a file has changed, appeared or gone, and has stayed so for a moment.
    pub async fn changed(&mut self) {
        let mut last = self.seen.clone();
        loop {
            sleep(INTERVAL).await;
            let files = self.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || look(&files)).await else { continue };
            if now != self.seen && now == last {
                self.seen = now;
                return;
            }
            last = now;
        }
    }
}

fn look(files: &[PathBuf]) -> Look {
    files.iter().map(|file| marks(file)).collect()
}

/// The mark of a file; of a directory and of all that is in it, in the order of their names.
fn marks(path: &Path) -> Vec<Option<Mark>> {
    let metadata = fs::metadata(path);
    let mut marks = vec![metadata.as_ref().ok().map(Mark::of)];
    if metadata.is_ok_and(|metadata| metadata.is_dir())
        && let Ok(entries) = fs::read_dir(path)
    {
        let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.sort();
        marks.extend(files.iter().map(|file| fs::metadata(file).ok().as_ref().map(Mark::of)));
    }
    marks
}

impl Mark {
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

    /// Whether a change is told within 3 s.
    async fn is_told(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(3), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_removed_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        assert!(!is_told(&mut watch).await);
        fs::write(&file, "2").unwrap();
        assert!(is_told(&mut watch).await);
        fs::write(directory.path().join("new"), "2").unwrap();
        fs::rename(directory.path().join("new"), &file).unwrap();
        assert!(is_told(&mut watch).await);
        fs::remove_file(&file).unwrap();
        assert!(is_told(&mut watch).await);
    }

    #[tokio::test]
    async fn the_swap_of_a_link_on_the_way_is_a_change_as_kubernetes_makes_it() {
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
        assert!(is_told(&mut watch).await);
    }

    #[tokio::test]
    async fn a_file_that_comes_into_a_directory_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec![directory.path().to_owned()]);
        fs::write(directory.path().join("ca.pem"), "").unwrap();
        assert!(is_told(&mut watch).await);
    }
}
