//! What was done to keys, here or by another process: the cache forgets what it knew.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use backends::{Change, Name};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Inner, KeysError};

impl Inner {
    /// The store was asked to change what is under this name. Whatever it said, the cache does not know any more: after
    /// a time-out nobody knows what it did.
    pub(super) async fn changed(&self, name: &Name, result: &Result<(), KeysError>) {
        if !matches!(result, Err(KeysError::Down(_))) {
            self.forget(name).await; // but a store that was not asked has done nothing
        }
    }

    /// Makes sure that no key which was loaded before now is used again under this name.
    async fn forget(&self, name: &Name) {
        let mut keys = self.successor.get().and_then(Weak::upgrade);
        self.forget_here(name).await;
        while let Some(next) = keys {
            next.forget_here(name).await;
            keys = next.successor.get().and_then(Weak::upgrade);
        }
    }

    async fn forget_here(&self, name: &Name) {
        self.mutations.count(name);
        self.cache.load_full().invalidate(name).await;
    }

    /// Any key may have been changed by somebody else: each is read again before it is used, if the store can be.
    fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }
}

/// Forgets what other processes change, for as long as the keys are in use.
pub(super) async fn follow(mut changes: Receiver<Change>, keys: Weak<Inner>) {
    loop {
        let change = changes.recv().await;
        let Some(keys) = keys.upgrade() else { return };
        match change {
            Ok(Change::Key(name)) => keys.forget(&name).await,
            Ok(Change::Hearing) => {
                keys.deaf.store(false, Ordering::Release);
                keys.doubt();
            }
            Ok(Change::Deaf) => keys.deaf.store(true, Ordering::Release),
            Err(RecvError::Lagged(_)) => keys.doubt(),
            Err(RecvError::Closed) => {
                keys.deaf.store(true, Ordering::Release);
                return;
            }
        }
    }
}
