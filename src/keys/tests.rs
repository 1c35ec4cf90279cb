//! The cache in front of a keystore whose reads can be blocked.

use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use backends::Change;
use tokio::sync::broadcast::Receiver;
use tokio::sync::{Semaphore, broadcast};

use super::*;

mod outage;

/// The defaults of the config.
pub(super) const LONG: Settings = Settings {
    any: Duration::from_mins(5),
    unused: Duration::from_secs(30),
    offline: Duration::ZERO,
    max_entries: 100_000,
    deadlines: Deadlines {
        create: Duration::from_secs(12),
        read: Duration::from_secs(12),
        delete: Duration::from_secs(12),
        list: Duration::from_secs(12),
    },
};

fn keys_of(store: Arc<dyn Store>, settings: Settings) -> Keys {
    let metrics = KeystoreMetrics::new(&prometheus::Registry::new()).unwrap();
    let keys = Keys::new(store, settings, Arc::new(metrics));
    keys.take_over(None);
    keys
}

/// A keystore in memory that counts reads, and answers each only after a permit is added.
#[derive(Debug)]
struct Gated {
    store: Arc<dyn Store>,
    reads: AtomicUsize,
    gate: Semaphore,
    changes: Option<broadcast::Sender<Change>>,
}

impl Gated {
    async fn open(permits: usize) -> Arc<Self> {
        Self::open_with(permits, None).await
    }

    async fn open_with(permits: usize, changes: Option<broadcast::Sender<Change>>) -> Arc<Self> {
        let store = backends::open(&backends::BackendConfig::Memory).await.unwrap();
        Arc::new(Self { store, reads: AtomicUsize::new(0), gate: Semaphore::new(permits), changes })
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Waits until `count` reads have started.
    async fn until_reads(&self, count: usize) {
        while self.reads() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Store for Gated {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        self.store.create(name, value).await
    }

    /// Reads first and then waits, so that the result may be outdated.
    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let value = self.store.get(name).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        value
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.store.delete(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        self.store.list(prefix, after, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    fn changes(&self) -> Option<Receiver<Change>> {
        self.changes.as_ref().map(broadcast::Sender::subscribe)
    }

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[tokio::test]
async fn a_thousand_requests_for_an_uncached_key_read_it_once() {
    let store = Gated::open(0).await;
    let keys = keys_of(store.clone(), LONG);
    keys.create(&name("key"), "me").await.unwrap();
    let requests: Vec<_> = (0..1000)
        .map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.get(&name("key")).await.unwrap() })
        })
        .collect();
    store.until_reads(1).await;
    store.gate.add_permits(1000);
    for request in requests {
        request.await.unwrap();
    }
    assert_eq!(store.reads(), 1);
    keys.get(&name("key")).await.unwrap();
    assert_eq!(store.reads(), 1, "a cached key is not read again");
}

#[tokio::test]
async fn a_failed_load_is_shared_by_all_waiting_requests_and_not_cached() {
    let store = Gated::open(0).await;
    let keys = keys_of(store.clone(), LONG);
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
        })
        .collect();
    store.until_reads(1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.gate.add_permits(1000);
    for request in requests {
        assert!(matches!(request.await.unwrap(), Err(KeysError::NotFound)));
    }
    assert_eq!(store.reads(), 1);
    keys.create(&name("key"), "me").await.unwrap();
    keys.get(&name("key")).await.unwrap();
}

#[tokio::test]
async fn a_load_continues_after_the_first_request_is_cancelled() {
    let store = Gated::open(0).await;
    let keys = keys_of(store.clone(), LONG);
    keys.create(&name("key"), "me").await.unwrap();
    let first = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
    };
    store.until_reads(1).await;
    let second = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
    };
    settle().await;
    first.abort();
    assert!(first.await.is_err());
    store.gate.add_permits(10);
    second.await.unwrap().unwrap();
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn a_load_that_a_delete_overtakes_is_neither_returned_nor_cached() {
    let store = Gated::open(0).await;
    let keys = keys_of(store.clone(), LONG);
    keys.create(&name("key"), "me").await.unwrap();
    let late = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
    };
    store.until_reads(1).await; // it has read the key
    keys.delete(&name("key")).await.unwrap();
    store.gate.add_permits(10);
    assert!(matches!(late.await.unwrap(), Err(KeysError::NotFound)));
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
}

#[tokio::test]
async fn a_load_that_a_create_overtakes_does_not_return_not_found() {
    let store = Gated::open(0).await;
    let keys = keys_of(store.clone(), LONG);
    let late = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
    };
    store.until_reads(1).await; // it has found no key
    keys.create(&name("key"), "me").await.unwrap();
    let after = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
    };
    settle().await;
    store.gate.add_permits(10);
    late.await.unwrap().unwrap();
    after.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_key_that_is_created_again_is_used_immediately() {
    let store = Gated::open(1000).await;
    let keys = keys_of(store, LONG);
    for _ in 0..50 {
        keys.create(&name("key"), "me").await.unwrap();
        let ciphertext = keys.get(&name("key")).await.unwrap().encrypt(b"data", b"").unwrap();
        assert_eq!(*keys.get(&name("key")).await.unwrap().decrypt(&ciphertext, b"").unwrap(), *b"data");
        keys.delete(&name("key")).await.unwrap();
        assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
    }
}

#[tokio::test]
async fn a_lifetime_of_zero_reads_the_store_each_time() {
    let store = Gated::open(1000).await;
    let keys = keys_of(store.clone(), Settings { any: Duration::ZERO, unused: Duration::ZERO, ..LONG });
    keys.create(&name("key"), "me").await.unwrap();
    for reads in 1..=3 {
        keys.get(&name("key")).await.unwrap();
        assert_eq!(store.reads(), reads);
    }
}

#[tokio::test]
async fn a_value_that_is_not_a_key_is_damaged_and_not_absent() {
    let store = Gated::open(1000).await;
    let keys = keys_of(store.clone(), LONG);
    for (number, value) in ["", "A", "{}", "CiQKIC"].into_iter().enumerate() {
        let name = name(&format!("key-{number}"));
        store.create(&name, &Value::from(value.as_bytes().to_vec())).await.unwrap();
        assert!(matches!(keys.get(&name).await, Err(KeysError::Damaged { .. })), "{value:?}");
        assert!(matches!(keys.create(&name, "me").await, Err(KeysError::AlreadyExists)));
    }
}

#[tokio::test]
async fn a_page_of_a_listing_contains_as_many_names_as_fit() {
    let store = Gated::open(0).await;
    let keys = keys_of(store.clone(), LONG);
    for number in 0..100 {
        store.create(&name(&format!("key-{number:02}")), &Value::from(Vec::new())).await.unwrap();
    }
    let size = r#""key-00","#.len();
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = keys.list("key-", after.as_ref(), 7 * size + 3).await.unwrap();
        seen += page.names.len();
        after = page.names.last().cloned();
        if !page.more {
            break;
        }
        assert_eq!(page.names.len(), 7);
    }
    assert_eq!(seen, 100);
    assert!(!keys.list("key-", None, 100 * size).await.unwrap().more);
}

/// Runs the task that processes changes.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_key_changed_by_another_process_is_read_again() {
    let changes = broadcast::Sender::new(8);
    let store = Gated::open_with(1000, Some(changes.clone())).await;
    let keys = keys_of(store.clone(), LONG);
    changes.send(Change::Subscribed).unwrap();
    settle().await;
    keys.create(&name("key"), "me").await.unwrap();
    keys.get(&name("key")).await.unwrap();
    store.store.delete(&name("key")).await.unwrap(); // by another process
    keys.get(&name("key")).await.unwrap();
    changes.send(Change::Key(name("key"))).unwrap();
    settle().await;
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
}

#[tokio::test]
async fn all_keys_are_read_again_after_a_new_subscription() {
    let changes = broadcast::Sender::new(2);
    let store = Gated::open_with(1000, Some(changes.clone())).await;
    let keys = keys_of(store.clone(), LONG);
    keys.create(&name("key"), "me").await.unwrap();
    keys.get(&name("key")).await.unwrap();
    let reads = store.reads();
    changes.send(Change::Unsubscribed).unwrap();
    settle().await;
    keys.get(&name("key")).await.unwrap();
    assert_eq!(store.reads(), reads, "a recent key is served without a subscription");
    changes.send(Change::Subscribed).unwrap();
    settle().await;
    keys.get(&name("key")).await.unwrap();
    assert_eq!(store.reads(), reads + 1);
    for _ in 0..10 {
        changes.send(Change::Key(name("other"))).unwrap(); // more than the channel can buffer
    }
    settle().await;
    keys.get(&name("key")).await.unwrap();
    assert_eq!(store.reads(), reads + 2);
}
