//! A store that could not be opened yet: the first [`Store::ping`] that finds it ready opens it. Until then every
//! operation fails with the reason of the last attempt.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::{BackendConfig, Change, Name, Store, StoreError, Value, open};

/// How many changes a receiver may lag behind before it misses some.
const BACKLOG: usize = 1024;

/// A store that is opened once it can be.
#[derive(Debug)]
pub(crate) struct Pending {
    config: BackendConfig,
    /// The store, once it is open.
    store: OnceLock<Arc<dyn Store>>,
    /// One attempt at a time.
    opening: tokio::sync::Mutex<()>,
    /// Why the last attempt failed.
    reason: Mutex<StoreError>,
    changes: broadcast::Sender<Change>,
}

impl Pending {
    /// A store whose first attempt to open it failed.
    pub(crate) fn new(config: BackendConfig, reason: StoreError) -> Self {
        Self {
            config,
            store: OnceLock::new(),
            opening: tokio::sync::Mutex::new(()),
            reason: Mutex::new(reason),
            changes: broadcast::Sender::new(BACKLOG),
        }
    }

    /// The open store.
    ///
    /// # Errors
    /// The reason why it is not open.
    fn opened(&self) -> Result<&Arc<dyn Store>, StoreError> {
        self.store.get().ok_or_else(|| self.reason.lock().again())
    }

    /// Tries to open the store, unless another call has done so.
    async fn try_to_open(&self) -> Result<&Arc<dyn Store>, StoreError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        match Box::pin(open(&self.config)).await {
            Ok(store) => {
                self.forward_changes(&*store);
                Ok(self.store.get_or_init(|| store))
            }
            Err(error) => {
                *self.reason.lock() = error.again();
                Err(error)
            }
        }
    }

    /// Forwards the changes that the store reports. For a store that never reports any, there is nothing to wait for.
    fn forward_changes(&self, store: &dyn Store) {
        let changes = self.changes.clone();
        match store.changes() {
            None => drop(changes.send(Change::Subscribed)),
            Some(mut receiver) => drop(tokio::spawn(async move {
                loop {
                    let change = match receiver.recv().await {
                        Ok(change) => change,
                        // Any change may have been missed, as after a time without a subscription.
                        Err(broadcast::error::RecvError::Lagged(_)) => Change::Subscribed,
                        Err(broadcast::error::RecvError::Closed) => {
                            let _ = changes.send(Change::Unsubscribed);
                            return;
                        }
                    };
                    if changes.send(change).is_err() {
                        return; // the store is no longer used
                    }
                }
            })),
        }
    }
}

#[async_trait::async_trait]
impl Store for Pending {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        self.opened()?.create(name, value).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        self.opened()?.get(name).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.opened()?.delete(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        self.opened()?.list(prefix, after, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.try_to_open().await?.ping().await
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        Some(self.changes.subscribe())
    }

    fn missing_rights(&self) -> Option<String> {
        self.store.get()?.missing_rights()
    }

    async fn close(&self) {
        if let Some(store) = self.store.get() {
            store.close().await;
        }
    }
}
