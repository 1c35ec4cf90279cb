//! Keys by name: decoded keys in a moka cache, in front of one [`Store`]. Nothing else in a server calls a store.
//!
//! | file | what lives there |
//! |---|---|
//! | `keys.rs` | what may be asked: get, create, delete, list, ping |
//! | `load.rs` | the way from the store into the cache, and what is served when it is closed |
//! | `cached.rs` | how long a cached key may be used, and when it is read again |
//! | `sweep.rs` | what happens without a request: keys in use are refreshed, old ones wiped |
//! | `health.rs` | whether the store answers: the circuit breaker |
//! | `flight.rs` | one load for all who wait for a key |
//! | `changes.rs` | what was done to keys makes the cache forget them |
//! | `settings.rs` | how the cache behaves, and the deadlines of the store |
//! | `mutations.rs` | why a key that was deleted is never used again |

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

/// How long it is remembered that a name has no key.
const ABSENT_LIFETIME: Duration = Duration::from_secs(1);

/// Names without a key that are remembered at most.
const MAX_ABSENT: u64 = 10_000;

/// Keys that are refreshed at the same time at most.
const MAX_REFRESHES: usize = 16;

/// The keys of one store.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

type Outcome = Result<Arc<Key>, KeysError>;
/// What a load found, and the count of mutations of the name from before it: under another count it is worthless.
type Loaded = (Outcome, u64);

struct Inner {
    store: Arc<dyn Store>,
    settings: ArcSwap<Settings>,
    cache: moka::future::Cache<Name, Arc<Cached>>,
    /// Names without a key: when that was found, and under which count of mutations.
    absent: moka::future::Cache<Name, (Instant, u64)>,
    loads: Flights<Name, Loaded>,
    pings: Flights<(), Result<Duration, Arc<StoreError>>>,
    refreshes: Arc<Semaphore>,
    mutations: Mutations,
    /// How often changes of other processes may have been missed.
    doubts: AtomicU64,
    /// Whether changes of other processes, which the store would tell of, go unnoticed now.
    deaf: AtomicBool,
    health: Arc<Health>,
    metrics: Arc<KeystoreMetrics>,
    /// The keys that new requests use instead, after a reload.
    successor: OnceLock<Weak<Inner>>,
    /// Ends what runs in the background, at the latest with the last clone.
    ended: CancellationToken,
    _end: DropGuard,
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Names in byte order.
    pub names: Vec<Name>,
    /// Whether the store holds more after the last of them.
    pub more: bool,
}

impl Keys {
    /// Puts a cache in front of a store that has just been opened. What runs in the background ends with
    /// [`Keys::close`] or the last clone. Must be called within a tokio runtime.
    pub fn new(store: Arc<dyn Store>, settings: Settings, metrics: Arc<KeystoreMetrics>) -> Self {
        let changes = store.changes();
        let ended = CancellationToken::new();
        let health = Arc::new(Health::new(metrics.clone()));
        let inner = Arc::new(Inner {
            store: store.clone(),
            settings: ArcSwap::from_pointee(settings),
            // What leaves the cache, for whatever reason, is wiped at once.
            cache: moka::future::Cache::builder()
                .max_capacity(settings.max_entries)
                .eviction_listener(|_, cached: Arc<Cached>, _| cached.wipe())
                .build(),
            absent: moka::future::Cache::builder().max_capacity(MAX_ABSENT).time_to_live(ABSENT_LIFETIME).build(),
            loads: Flights::default(),
            pings: Flights::default(),
            refreshes: Arc::new(Semaphore::new(MAX_REFRESHES)),
            mutations: Mutations::default(),
            doubts: AtomicU64::new(0),
            deaf: AtomicBool::new(changes.is_some()), // until the store says that it hears
            health: health.clone(),
            metrics,
            successor: OnceLock::new(),
            _end: ended.clone().drop_guard(),
            ended: ended.clone(),
        });
        if let Some(changes) = changes {
            tokio::spawn(ended.clone().run_until_cancelled_owned(changes::follow(changes, Arc::downgrade(&inner))));
        }
        tokio::spawn(ended.clone().run_until_cancelled_owned(sweep::keep(Arc::downgrade(&inner))));
        let weak = Arc::downgrade(&inner);
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            let offline = || weak.upgrade().map(|keys| keys.settings.load().offline).unwrap_or_default();
            health.keep(&*store, offline).await;
        }));
        Self(inner)
    }

    /// Changes how the cache behaves, from now on and for the keys in it too; but for the number of entries.
    pub fn set(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// Whether both are clones of one.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes the place of `before`, if there is one, in the metrics and the log; before new requests come here. What
    /// requests that are still under way there create and delete is not used from the cache here.
    pub fn take_over(&self, before: Option<&Self>) {
        if let Some(before) = before {
            let _ = before.0.successor.set(Arc::downgrade(&self.0)); // keys are replaced once
            before.0.health.retire();
            before.0.ended.cancel();
        }
        self.0.health.publish();
    }

    /// Makes a key of fresh random bytes.
    ///
    /// # Errors
    /// [`KeysError::AlreadyExists`] when the name is taken; the key that is there stands.
    pub async fn create(&self, name: &Name, created_by: &str) -> Result<(), KeysError> {
        let key = Key::generate(Algorithm::preferred(), OffsetDateTime::now_utc(), created_by)
            .map_err(|_| KeysError::Random)?;
        self.store(name, &key).await
    }

    /// Stores a key that was made elsewhere.
    ///
    /// # Errors
    /// [`KeysError::AlreadyExists`] when the name is taken; the key that is there stands. [`KeysError::Down`] at once
    /// while the store is down.
    pub async fn store(&self, name: &Name, key: &Key) -> Result<(), KeysError> {
        let value = Value::from(key.to_stored().to_vec());
        let result = self.0.call(Operation::Create, self.0.store.create(name, &value)).await;
        self.0.after_change(name, &result).await;
        result
    }

    /// The key of a name, from the cache or from the store. However many wait for one name, it is loaded once.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] only when the store is certain that there is none, or was less than 1 s ago.
    /// [`KeysError::Down`] at once while the store is down and the key is not in the cache.
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
    /// [`KeysError::NotFound`] when there is none. [`KeysError::Down`] at once while the store is down.
    pub async fn delete(&self, name: &Name) -> Result<(), KeysError> {
        let result = self.0.call(Operation::Delete, self.0.store.delete(name)).await;
        self.0.after_change(name, &result).await;
        result
    }

    /// Names that begin with `prefix` and come after `after`, in byte order, as many as `max_bytes` of JSON hold.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, prefix: &str, after: Option<&Name>, max_bytes: usize) -> Result<Page, KeysError> {
        /// Names asked for at once: enough for a page of names of 18 bytes and more.
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

    /// Asks the store whether it could serve a key now; the answer is its latency. However many ask, it is asked once.
    ///
    /// # Errors
    /// What the store says, or [`StoreError::Unreachable`] when it says nothing for 2 s.
    pub async fn ping(&self) -> Result<Duration, Arc<StoreError>> {
        let ping = self.0.pings.join((), || {
            let keys = self.0.clone();
            async move {
                let ping = keys.health.ask(&*keys.store, PING_DEADLINE);
                let result = AssertUnwindSafe(ping).catch_unwind().await;
                keys.pings.ended(&());
                result.unwrap_or_else(|_| {
                    let reason = "asking it failed by a panic".to_owned();
                    Err(Arc::new(StoreError::unavailable(reason)))
                })
            }
            .boxed()
        });
        ping.await
    }

    /// The outage of the store, if there is one.
    pub fn outage(&self) -> Option<Arc<Outage>> {
        self.0.health.outage()
    }

    /// Wipes all keys from memory and lets go of the store.
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
