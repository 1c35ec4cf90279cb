//! A store around a store, that fails when it is told to: for the tests of those who must bear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

use crate::{Change, Name, Store, StoreError, Value};

/// What happens to calls. One that is under way follows a change at once, but for [`Fault::Unreachable`] and
/// [`Fault::Unavailable`], which meet new calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody answers: an error at once.
    Unreachable,
    /// The store refuses: an error at once.
    Unavailable,
    /// The store refuses to read this one key.
    UnavailableKey(Name),
    /// The store has a defect: calls panic.
    Panic,
    /// No answer for as long as this lasts.
    Frozen,
    /// Every answer comes that much later.
    Slow(Duration),
}

/// A store whose calls fail or hang as [`Faulty::set`] says, and are counted.
#[derive(Debug)]
pub struct Faulty {
    store: Arc<dyn Store>,
    fault: watch::Sender<Fault>,
    gets: AtomicUsize,
    pings: AtomicUsize,
    closes: AtomicUsize,
}

impl Faulty {
    /// A store that does what `store` does, until it is told otherwise.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let count = AtomicUsize::default;
        Arc::new(Self { store, fault: watch::Sender::new(Fault::None), gets: count(), pings: count(), closes: count() })
    }

    /// The same around an empty store in memory.
    pub fn memory() -> Arc<Self> {
        Self::new(Arc::new(crate::memory::Memory::default()))
    }

    /// From now on calls meet this fault.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// The store within, which never fails.
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

    /// Bears the fault, for a call that is about this key.
    #[expect(clippy::panic, reason = "it is what a test has asked for")]
    async fn bear(&self, key: Option<&Name>) -> Result<(), StoreError> {
        let mut fault = self.fault.subscribe();
        loop {
            let now = fault.borrow_and_update().clone();
            let reason = || "as the test wants it".to_owned();
            match now {
                Fault::None => return Ok(()),
                Fault::UnavailableKey(name) if key != Some(&name) => return Ok(()),
                Fault::Unavailable | Fault::UnavailableKey(_) => {
                    return Err(StoreError::unavailable(reason()));
                }
                Fault::Unreachable => return Err(StoreError::unreachable(reason())),
                Fault::Panic => panic!("as the test wants it"),
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
        self.bear(None).await?;
        self.store.create(name, value).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.bear(Some(name)).await?;
        self.store.get(name).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.bear(None).await?;
        self.store.delete(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        self.bear(None).await?;
        self.store.list(prefix, after, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pings.fetch_add(1, Ordering::SeqCst);
        self.bear(None).await?;
        self.store.ping().await
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.store.changes()
    }

    async fn close(&self) {
        self.closes.fetch_add(1, Ordering::SeqCst);
        self.store.close().await;
    }
}
