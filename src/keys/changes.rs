//! Invalidates cached keys after changes, whether by this process or another one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backends::{Change, Name};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::{Inner, KeysError};

/// When to invalidate a key again after a change with unknown outcome, as pauses: the keystore may still carry out an
/// operation for a while after it was abandoned (see the contract of `Store`).
const REPEAT_INVALIDATION_AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

impl Inner {
    /// Invalidates a key after a create or delete.
    pub(super) async fn after_change(self: &Arc<Self>, name: &Name, result: &Result<(), KeysError>) {
        match result {
            Err(KeysError::Down(_)) => {} // not attempted
            Err(KeysError::Store(_)) => {
                // The outcome is unknown, and the change may still happen.
                self.invalidate(name).await;
                let (keys, name) = (Arc::downgrade(self), name.clone());
                tokio::spawn(async move {
                    for pause in REPEAT_INVALIDATION_AFTER {
                        sleep(pause).await;
                        let Some(keys) = keys.upgrade() else { return };
                        keys.invalidate(&name).await;
                    }
                });
            }
            // Also after `AlreadyExists` and `NotFound`: either may contradict the cache.
            _ => self.invalidate(name).await,
        }
    }

    /// Ensures that no key that was loaded before this call is used again, here and in the instances that replaced this
    /// one.
    pub(super) async fn invalidate(&self, name: &Name) {
        self.invalidate_here(name).await;
        let mut next = self.successor.get().and_then(Weak::upgrade);
        while let Some(keys) = next {
            keys.invalidate_here(name).await;
            next = keys.successor.get().and_then(Weak::upgrade);
        }
    }

    /// The counter first, then the cache: a concurrent load inserts its entry before it checks the counter again.
    async fn invalidate_here(&self, name: &Name) {
        self.mutations.count(name);
        self.cache.invalidate(name).await;
    }

    /// Requires all cached keys to be read again before they are used, because changes may have been missed.
    fn start_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// Invalidates keys that other processes change, as long as the instance is in use.
pub(super) async fn follow(mut changes: Receiver<Change>, keys: Weak<Inner>) {
    loop {
        let change = changes.recv().await;
        let Some(keys) = keys.upgrade() else { return };
        match change {
            Ok(Change::Key(name)) => keys.invalidate(&name).await,
            Ok(Change::Subscribed) => {
                keys.is_unsubscribed.store(false, Ordering::Release);
                keys.start_generation();
            }
            Ok(Change::Unsubscribed) => keys.is_unsubscribed.store(true, Ordering::Release),
            Err(RecvError::Lagged(_)) => keys.start_generation(),
            Err(RecvError::Closed) => {
                keys.is_unsubscribed.store(true, Ordering::Release);
                return;
            }
        }
    }
}
