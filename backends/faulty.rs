//! A store that wraps another store and fails on demand: for tests of the code that has to cope with failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

use crate::{Change, Name, Store, StoreError, Value};

/// What happens to calls. A call in progress follows a change at once, except for [`Fault::Unreachable`] and
/// [`Fault::Unavailable`], which affect only new calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The store does not respond: an error at once.
    Unreachable,
    /// The store refuses: an error at once.
    Unavailable,
    /// The store refuses to read this one key.
    UnavailableKey(Name),
    /// The store has a defect: calls panic.
    Panic,
    /// No response for as long as this lasts.
    Frozen,
    /// Every response is delayed by this time.
    Slow(Duration),
}

/// A store whose calls fail or hang as set by [`Faulty::set`], and are counted.
#[derive(Debug)]
pub struct Faulty {
    store: Arc<dyn Store>,
    fault: watch::Sender<Fault>,
    gets: AtomicUsize,
    pings: AtomicUsize,
    closes: AtomicUsize,
}

impl Faulty {
    /// Wraps `store`, without a fault at first.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let count = AtomicUsize::default;
        Arc::new(Self { store, fault: watch::Sender::new(Fault::None), gets: count(), pings: count(), closes: count() })
    }

    /// Wraps an empty store in memory.
    pub fn memory() -> Arc<Self> {
        Self::new(Arc::new(crate::memory::Memory::default()))
    }

    /// Sets the fault of calls from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// The wrapped store, which never fails.
    pub fn within(&self) -> &dyn Store {
        &*self.store
    }

    /// How often `get` was called.
    pub fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    /// How often `ping` was called.
    pub fn pings(&self) -> usize {
        self.pings.load(Ordering::SeqCst)
    }

    /// How often `close` was called.
    pub fn closes(&self) -> usize {
        self.closes.load(Ordering::SeqCst)
    }

    /// Applies the fault to a call about this key.
    #[expect(clippy::panic, reason = "a test has asked for it")]
    async fn apply_fault(&self, key: Option<&Name>) -> Result<(), StoreError> {
        let mut fault = self.fault.subscribe();
        loop {
            let now = fault.borrow_and_update().clone();
            let reason = "simulated by the test";
            match now {
                Fault::None => return Ok(()),
                Fault::UnavailableKey(name) if key != Some(&name) => return Ok(()),
                Fault::Unavailable | Fault::UnavailableKey(_) => {
                    return Err(StoreError::unavailable(reason));
                }
                Fault::Unreachable => return Err(StoreError::unreachable(reason)),
                Fault::Panic => panic!("simulated by the test"),
                Fault::Slow(time) => {
                    tokio::time::sleep(time).await;
                    return Ok(());
                }
                Fault::Frozen => drop(fault.changed().await), // the sender is in `self`
            }
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        self.apply_fault(None).await?;
        self.store.create(name, value).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.apply_fault(Some(name)).await?;
        self.store.get(name).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.apply_fault(None).await?;
        self.store.delete(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        self.apply_fault(None).await?;
        self.store.list(prefix, after, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pings.fetch_add(1, Ordering::SeqCst);
        self.apply_fault(None).await?;
        self.store.ping().await
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.store.changes()
    }

    fn missing_rights(&self) -> Option<String> {
        self.store.missing_rights()
    }

    async fn close(&self) {
        self.closes.fetch_add(1, Ordering::SeqCst);
        self.store.close().await;
    }
}
