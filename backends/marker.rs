//! A small file beside a store that uses files, which exists as long as the store contains keys. If the volume of the store
//! is not mounted, the empty directory in its place is then recognized, and not taken for a new store.
//!
//! Best effort: where the file cannot be written, nothing is recognized, and nothing else happens. Whatever changes the
//! store first changes it, then the marker, and then looks again: of several processes, none leaves a marker beside an
//! empty store.

use std::ffi::OsString;
use std::fs::{Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

use crate::StoreError;
use crate::config::Purpose;
use crate::path::{give_to_owner_of, parent};

/// The marker of one store.
#[derive(Clone, Debug)]
pub(crate) struct Marker {
    /// What the store is, as in `key directory`.
    kind: &'static str,
    store: PathBuf,
    /// `None` if the store has no name to derive it from: `/`.
    file: Option<PathBuf>,
    /// Whether it was written, or at least tried.
    is_set: Arc<AtomicBool>,
}

impl Marker {
    /// The marker of a store at an absolute path: of `keys.db` the file `.keys.db.keyway` beside it.
    pub(crate) fn beside(kind: &'static str, store: &Path) -> Self {
        let file = store.file_name().map(|name| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(".keyway");
            parent(store).join(hidden)
        });
        Self { kind, store: store.to_owned(), file, is_set: Arc::default() }
    }

    /// Refuses a store that `is` missing or empty although it contained keys.
    pub(crate) fn refuse_loss(&self, is: &str) -> Result<(), StoreError> {
        let Some(file) = self.file.as_ref().filter(|file| exists(file)) else { return Ok(()) };
        Err(StoreError::unavailable(format!(
            "the {} '{}' {is}, but contained keys before (marker '{}'): mount its volume; to \
             restore a backup into it, or if all keys were deleted on purpose, delete the marker first",
            self.kind,
            self.store.display(),
            file.display()
        )))
    }

    /// To be called when the store was opened. An empty store is refused if it contained keys before; else there is a
    /// warning, unless it `is_new` and there was one.
    pub(crate) async fn opened(&self, purpose: Purpose, has_keys: bool, is_new: bool) -> Result<(), StoreError> {
        if has_keys {
            match purpose {
                Purpose::Use => self.set().await,
                Purpose::Look => {}
            }
            return Ok(());
        }
        self.refuse_loss("is empty")?;
        if !is_new {
            warn!(
                path = %self.store.display(),
                "the {} contains no keys; if it should, check the configured path and that its volume is mounted",
                self.kind
            );
        }
        Ok(())
    }

    /// To be called after a key was created. `is_empty` looks at the store.
    pub(crate) async fn created<F: Future<Output = bool>>(&self, is_empty: impl Fn() -> F) {
        if self.is_set.load(Ordering::Relaxed) {
            return;
        }
        self.set().await;
        if is_empty().await {
            self.remove().await;
        }
    }

    /// To be called after a key was deleted. `is_empty` looks at the store.
    pub(crate) async fn deleted<F: Future<Output = bool>>(&self, is_empty: impl Fn() -> F) {
        if !is_empty().await {
            return;
        }
        self.remove().await;
        if !is_empty().await {
            self.set().await;
        }
    }

    async fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        let Some(file) = self.file.clone() else { return };
        let (kind, store) = (self.kind, self.store.clone());
        // Not written is not a failure.
        let _ = tokio::task::spawn_blocking(move || write(&file, kind, &store)).await;
    }

    async fn remove(&self) {
        self.is_set.store(false, Ordering::Relaxed);
        let Some(file) = self.file.clone() else { return };
        let _ = tokio::task::spawn_blocking(move || remove(&file)).await; // it warns itself
    }
}

/// Whether there is a marker that was not emptied.
fn exists(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0)
}

fn write(file: &Path, kind: &str, store: &Path) -> io::Result<()> {
    if exists(file) {
        return Ok(());
    }
    let owner: Metadata = std::fs::metadata(store)?;
    // Created, or emptied by a process that could not remove it.
    let mut marker = OpenOptions::new()
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(file)?;
    marker.set_permissions(Permissions::from_mode(0o600))?; // regardless of the umask
    give_to_owner_of(&marker, &owner)?;
    writeln!(
        marker,
        "The {kind} {} contains keys. If it is found empty or missing, Keyway does not start, because its volume may not be \
         mounted. Delete this file only if the keys were deleted on purpose.",
        store.display()
    )?;
    marker.sync_all()
}

fn remove(file: &Path) {
    match std::fs::remove_file(file) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // The directory is not writable, but the file may be.
        Err(_) if OpenOptions::new().write(true).truncate(true).open(file).is_ok() => {}
        Err(error) => warn!(
            path = %file.display(),
            %error,
            "cannot delete the marker of a store that is empty now; delete it, or the next start fails"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_was_emptied_has_no_marker_and_one_that_lost_its_keys_has() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("keys");
        std::fs::create_dir(&store).unwrap();
        let marker = Marker::beside("key directory", &store);
        marker.opened(Purpose::Use, false, false).await.unwrap();
        marker.opened(Purpose::Look, true, false).await.unwrap();
        assert!(!root.path().join(".keys.keyway").exists());
        marker.created(async || false).await;
        let file = root.path().join(".keys.keyway");
        assert!(std::fs::read_to_string(&file).unwrap().contains("Delete this file only if"));
        let refused =
            Marker::beside("key directory", &store).opened(Purpose::Use, false, false).await.unwrap_err().to_string();
        assert!(refused.contains("is empty, but contained keys before (marker '"), "{refused}");
        marker.deleted(async || false).await;
        assert!(file.exists());
        marker.deleted(async || true).await;
        assert!(!file.exists());
        // Deleted by somebody else between the create and the marker.
        marker.created(async || true).await;
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_place_without_a_name_or_without_rights_has_no_marker() {
        for store in ["/", "/proc/keys.db"] {
            let marker = Marker::beside("key database", Path::new(store));
            marker.created(async || false).await;
            marker.refuse_loss("is empty").unwrap();
        }
    }
}
