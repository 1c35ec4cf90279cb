//! What was done to keys, here or by another process: the cache forgets what it knew.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backends::{Change, Name};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::{Inner, KeysError};

/// When a change of unknown outcome may still come to pass: pauses after which the cache forgets once more. A store
/// may carry out for a while what was given up (the contract of `Store`).
const ECHOES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

impl Inner {
    /// The store was asked to change what is under this name.
    pub(super) async fn after_change(self: &Arc<Self>, name: &Name, result: &Result<(), KeysError>) {
        match result {
            Err(KeysError::Down(_)) => {} // it was not asked
            Err(KeysError::Store(_)) => {
                // Nobody knows what it did, or will do.
                self.forget(name).await;
                let (keys, name) = (Arc::downgrade(self), name.clone());
                tokio::spawn(async move {
                    for pause in ECHOES {
                        sleep(pause).await;
                        let Some(keys) = keys.upgrade() else { return };
                        keys.forget(&name).await;
                    }
                });
            }
            // Also when it has refused: that the name is taken, or free, may be news.
            _ => self.forget(name).await,
        }
    }

    /// Makes sure that no key which was loaded before now is used again under this name, here and by the requests
    /// that use these keys' successors.
    pub(super) async fn forget(&self, name: &Name) {
        self.forget_here(name).await;
        let mut next = self.successor.get().and_then(Weak::upgrade);
        while let Some(keys) = next {
            keys.forget_here(name).await;
            next = keys.successor.get().and_then(Weak::upgrade);
        }
    }

    /// First the count, then the cache: a load that saw the count before puts its entry in before it looks again.
    async fn forget_here(&self, name: &Name) {
        self.mutations.count(name);
        self.cache.invalidate(name).await;
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
            Ok(Change::Subscribed) => {
                keys.deaf.store(false, Ordering::Release);
                keys.doubt();
            }
            Ok(Change::Unsubscribed) => keys.deaf.store(true, Ordering::Release),
            Err(RecvError::Lagged(_)) => keys.doubt(),
            Err(RecvError::Closed) => {
                keys.deaf.store(true, Ordering::Release);
                return;
            }
        }
    }
}
