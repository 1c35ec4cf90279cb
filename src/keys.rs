//! Keys by name: a cache of decoded keys in front of a [`Store`]. Nothing else in a server calls a store.
//!
//! | file | content |
//! |---|---|
//! | `keys.rs` | the operations: get, create, delete, list, ping |
//! | `load.rs` | loading keys into the cache, and serving them during an outage |
//! | `cached.rs` | how long a cached key may be used, and when it is refreshed |
//! | `sweep.rs` | the background task that refreshes keys in use and wipes expired ones |
//! | `health.rs` | the circuit breaker in front of the store |
//! | `flight.rs` | one load for all requests that wait for a key |
//! | `changes.rs` | invalidates cached keys after changes |
//! | `settings.rs` | the settings of the cache, and the deadlines of the store |
//! | `mutations.rs` | detects loads overtaken by a create or delete, so that a deleted key is never used again |

mod cached;
mod changes;
mod error;
mod flight;
mod health;
mod load;
mod mutations;
mod settings;
mod sweep;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use backends::{Name, Operation, Store, StoreError, Value};
use futures_util::FutureExt as _;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::crypto::key::{Algorithm, Key};
use crate::telemetry::metrics::keystore::KeystoreMetrics;
use cached::Cached;
use flight::Flights;
use health::Health;
use mutations::Mutations;
use settings::PING_DEADLINE;

pub use error::KeysError;
pub use health::Outage;
pub use settings::{Deadlines, Settings};

/// How long `NotFound` is cached.
const ABSENT_LIFETIME: Duration = Duration::from_secs(1);

/// The maximum number of names for which `NotFound` is cached.
const MAX_ABSENT: u64 = 10_000;

/// The maximum number of concurrent refreshes.
const MAX_REFRESHES: usize = 16;

/// The keys of a store, with their cache.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use backends::{BackendConfig, Name, open};
/// use keyway::keys::{Deadlines, Keys, KeysError, Settings};
/// use keyway::telemetry::metrics::keystore::KeystoreMetrics;
///
/// let second = Duration::from_secs(1);
/// let deadlines = Deadlines { create: second, read: second, delete: second, list: second };
/// let settings = Settings { any: second, unused: second, offline: Duration::ZERO, max_entries: 100, deadlines };
/// let metrics = Arc::new(KeystoreMetrics::new(&prometheus::Registry::new()).unwrap());
/// let keys = Keys::new(open(&BackendConfig::Memory).await.unwrap(), settings, metrics);
///
/// let name = Name::parse("my-key").unwrap();
/// keys.create(&name, "someone").await.unwrap();
/// assert!(matches!(keys.create(&name, "someone").await, Err(KeysError::AlreadyExists)));
/// let ciphertext = keys.get(&name).await.unwrap().encrypt(b"message", b"").unwrap();
/// assert!(keys.get(&name).await.unwrap().decrypt(&ciphertext, b"").is_ok());
/// # });
/// ```
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

type Outcome = Result<Arc<Key>, KeysError>;
/// The result of a load, and the mutation count of the name before it. If the count has changed, the result is
/// outdated.
type Loaded = (Outcome, u64);

struct Inner {
    store: Arc<dyn Store>,
    settings: ArcSwap<Settings>,
    cache: moka::future::Cache<Name, Arc<Cached>>,
    /// Names without a key: when that was read, and the mutation count at that time.
    absent: moka::future::Cache<Name, (Instant, u64)>,
    loads: Flights<Name, Loaded>,
    pings: Flights<(), Result<Duration, Arc<StoreError>>>,
    refreshes: Arc<Semaphore>,
    mutations: Mutations,
    /// Incremented when changes by other processes may have been missed; entries of an earlier generation are read
    /// again.
    generation: AtomicU64,
    /// Whether the store supports notifications of changes by other processes but currently receives none.
    is_unsubscribed: AtomicBool,
    health: Arc<Health>,
    metrics: Arc<KeystoreMetrics>,
    /// The instance that has replaced this one for new requests, after a reload.
    successor: OnceLock<Weak<Inner>>,
    /// Ends the background tasks, at the latest with the last clone.
    ended: CancellationToken,
    _end: DropGuard,
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Names in byte order.
    pub names: Vec<Name>,
    /// Whether there are more names after them.
    pub more: bool,
}

impl Keys {
    /// Creates the cache in front of a store that has just been opened. Its background tasks end with [`Keys::close`]
    /// or the last clone. Must be called within a tokio runtime.
    pub fn new(store: Arc<dyn Store>, settings: Settings, metrics: Arc<KeystoreMetrics>) -> Self {
        let changes = store.changes();
        let ended = CancellationToken::new();
        let health = Arc::new(Health::new(metrics.clone()));
        let inner = Arc::new(Inner {
            store: store.clone(),
            settings: ArcSwap::from_pointee(settings),
            // Keys that are removed from the cache, for any reason, are wiped immediately.
            cache: moka::future::Cache::builder()
                .max_capacity(settings.max_entries)
                .eviction_listener(|_, cached: Arc<Cached>, _| cached.wipe())
                .build(),
            absent: moka::future::Cache::builder().max_capacity(MAX_ABSENT).time_to_live(ABSENT_LIFETIME).build(),
            loads: Flights::default(),
            pings: Flights::default(),
            refreshes: Arc::new(Semaphore::new(MAX_REFRESHES)),
            mutations: Mutations::default(),
            generation: AtomicU64::new(0),
            is_unsubscribed: AtomicBool::new(changes.is_some()), // until the store reports its subscription
            health: health.clone(),
            metrics,
            successor: OnceLock::new(),
            _end: ended.clone().drop_guard(),
            ended: ended.clone(),
        });
        if let Some(changes) = changes {
            tokio::spawn(ended.clone().run_until_cancelled_owned(changes::follow(changes, Arc::downgrade(&inner))));
        }
        tokio::spawn(ended.clone().run_until_cancelled_owned(sweep::run(Arc::downgrade(&inner))));
        let weak = Arc::downgrade(&inner);
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            let offline = || weak.upgrade().map(|keys| keys.settings.load().offline).unwrap_or_default();
            health.monitor(&*store, offline).await;
        }));
        Self(inner)
    }

    /// Changes the settings, except the maximum number of entries. They also apply to cached keys.
    pub fn set(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// Whether both are clones of the same instance.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Replaces `previous`, if there is one, in the metrics and the log. Must be called before new requests use this
    /// instance. Creates and deletes by requests that still use `previous` invalidate keys here too.
    pub fn take_over(&self, previous: Option<&Self>) {
        if let Some(previous) = previous {
            let _ = previous.0.successor.set(Arc::downgrade(&self.0)); // an instance is replaced once
            previous.0.health.unpublish();
            previous.0.ended.cancel();
        }
        self.0.health.publish();
    }

    /// Creates a key from random bytes.
    ///
    /// # Errors
    /// [`KeysError::AlreadyExists`] if the name is in use; that key is not changed.
    pub async fn create(&self, name: &Name, created_by: &str) -> Result<(), KeysError> {
        let key = Key::generate(Algorithm::preferred(), OffsetDateTime::now_utc(), created_by)
            .map_err(|_| KeysError::Random)?;
        self.store(name, &key).await
    }

    /// Stores an existing key.
    ///
    /// # Errors
    /// [`KeysError::AlreadyExists`] if the name is in use; that key is not changed. [`KeysError::Down`] immediately
    /// during an outage.
    pub async fn store(&self, name: &Name, key: &Key) -> Result<(), KeysError> {
        let value = Value::from(key.to_stored().to_vec());
        let result = self.0.call(Operation::Create, self.0.store.create(name, &value)).await;
        self.0.after_change(name, &result).await;
        result
    }

    /// The key with this name, from the cache or the store. Concurrent requests for a name share one load.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] only if the store is certain that there is none, or was less than 1 s ago.
    /// [`KeysError::Down`] immediately during an outage if the key is not in the cache.
    pub async fn get(&self, name: &Name) -> Outcome {
        let inner = &*self.0;
        let now = Instant::now();
        let cached = inner.cache.get(name).await;
        if let Some(cached) = &cached
            && let Some(key) = cached.key()
            && inner.is_fresh(cached, now)
        {
            cached.touch(now);
            inner.metrics.hits.inc();
            self.refresh_if_due(name, cached, now);
            return Ok(key);
        }
        self.miss(name, cached, now).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] if there is none. [`KeysError::Down`] immediately during an outage.
    pub async fn delete(&self, name: &Name) -> Result<(), KeysError> {
        let result = self.0.call(Operation::Delete, self.0.store.delete(name)).await;
        self.0.after_change(name, &result).await;
        result
    }

    /// Names that begin with `prefix` and come after `after`, in byte order, as many as fit in `max_bytes` of JSON.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn list(&self, prefix: &str, after: Option<&Name>, max_bytes: usize) -> Result<Page, KeysError> {
        /// Names per call of the store: enough for a page if names have 18 bytes or more.
        const BATCH: usize = 50_000;
        let mut names: Vec<Name> = Vec::new();
        let mut left = max_bytes;
        loop {
            let last = names.last().or(after).cloned();
            let batch = self.0.call(Operation::List, self.0.store.list(prefix, last.as_ref(), BATCH)).await?;
            let complete = batch.len() < BATCH;
            for name in batch {
                let size = name.as_str().len() + r#""","#.len();
                if size > left {
                    return Ok(Page { names, more: true });
                }
                left -= size;
                names.push(name);
            }
            if complete {
                return Ok(Page { names, more: false });
            }
        }
    }

    /// Pings the store: whether it could serve a key. Returns its latency. Concurrent calls share one ping.
    ///
    /// # Errors
    /// The error of the store, or [`StoreError::Unreachable`] if it does not answer within 2 s.
    pub async fn ping(&self) -> Result<Duration, Arc<StoreError>> {
        let ping = self.0.pings.join((), || {
            let keys = self.0.clone();
            async move {
                let ping = keys.health.ping(&*keys.store, PING_DEADLINE);
                let result = AssertUnwindSafe(ping).catch_unwind().await;
                keys.pings.finished(&());
                result.unwrap_or_else(|_| {
                    let reason = "pinging it panicked".to_owned();
                    Err(Arc::new(StoreError::unavailable(reason)))
                })
            }
            .boxed()
        });
        ping.await
    }

    /// Which rights the store lacks although keys can be read, see [`Store::missing_rights`].
    pub fn missing_rights(&self) -> Option<String> {
        self.0.store.missing_rights()
    }

    /// Marks the store as one that could not be opened yet; its first answer ends that.
    pub fn set_pending(&self) {
        self.0.health.set_pending();
    }

    /// Whether the store could not be opened yet.
    pub fn is_pending(&self) -> bool {
        !self.0.health.has_answered()
    }

    /// The current outage of the store, if there is one.
    pub fn outage(&self) -> Option<Arc<Outage>> {
        self.0.health.outage()
    }

    /// Wipes all keys from memory and closes the store.
    pub async fn close(&self) {
        self.0.ended.cancel();
        for (_, cached) in &self.0.cache {
            cached.wipe();
        }
        self.0.cache.invalidate_all();
        self.0.store.close().await;
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("store", &self.0.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
