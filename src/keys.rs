//! Keys by name: decoded keys in a moka cache, in front of one [`Store`]. Nothing else calls a store.
//!
//! | file | what lives there |
//! |---|---|
//! | `keys.rs` | what may be asked: get, create, delete, list, ping |
//! | `cached.rs` | how long a cached key may be used, and when it is read again |
//! | `sweep.rs` | what happens without a request: keys in use are refreshed, old ones wiped |
//! | `health.rs` | whether the store answers: the circuit breaker |
//! | `flight.rs` | one load for all who wait for a key |
//! | `mutations.rs` | why a key that was deleted is never used again |

mod cached;
mod flight;
mod health;
mod mutations;
mod sweep;

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use backends::{Change, Name, Store, StoreError, Value};
use futures_util::FutureExt as _;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::crypto::key::{Algorithm, Key};
use crate::metrics::keystore::KeystoreMetrics;
use cached::{Cached, Version};
use flight::{Flight, Flights};
use health::{Health, SUSPICIOUS};
use mutations::Mutations;

pub use health::Outage;

/// The deadline of a [`Keys::ping`], so that a probe is answered before its own time-out.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// How long a key may be served while the store, which tells of the changes of other processes, cannot hear of them.
const DEAF_LIFETIME: Duration = Duration::from_secs(10);

/// How long it is remembered that a name has no key.
const ABSENT_LIFETIME: Duration = Duration::from_secs(1);

/// Names without a key that are remembered at most.
const MAX_ABSENT: u64 = 10_000;

/// How long a request waits for a key to be read again when it may be served the old one instead.
const STALE_PATIENCE: Duration = Duration::from_millis(250);

/// Keys that are refreshed at the same time at most.
const MAX_REFRESHES: usize = 16;

/// How the cache behaves: `cache` of the config. May be changed while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a key may be served without asking the store again, since it was read; zero: not at all. Each key
    /// has a share of 90 to 100 % of it.
    pub any: Duration,
    /// The same, since it was used last; zero: not at all.
    pub unused: Duration,
    /// How long keys are served while the store is down, since it last answered; zero: not at all.
    pub offline: Duration,
    /// Keys in the cache at most; the least used go first. At about 0.5 KiB a key.
    pub max_entries: u64,
    /// How long an operation of the store may take. The store's own time-outs are shorter where they can be.
    pub deadline: Duration,
}

/// The keys of one store.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

type Cache = moka::future::Cache<Name, Arc<Cached>>;
type Outcome = Result<Arc<Key>, KeysError>;

struct Inner {
    store: Arc<dyn Store>,
    settings: ArcSwap<Settings>,
    cache: ArcSwap<Cache>,
    /// Names without a key: when that was found, and under which count of mutations.
    absent: moka::future::Cache<Name, (Instant, u64)>,
    loads: Flights<Name, Outcome>,
    pings: Flights<(), Result<Duration, Arc<StoreError>>>,
    refreshes: Semaphore,
    mutations: Mutations,
    /// How often changes of other processes may have been missed.
    doubts: AtomicU64,
    /// Whether changes of other processes, which the store would tell of, go unnoticed now.
    deaf: AtomicBool,
    health: Arc<Health>,
    metrics: Arc<KeystoreMetrics>,
    /// The keys that new requests use instead, after a reload.
    successor: OnceLock<Weak<Inner>>,
    random: RandomState,
    /// Ends what runs in the background, at the latest with the last clone.
    ended: CancellationToken,
    _end: DropGuard,
}

/// Why a key operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysError {
    /// The name is taken.
    #[error("key already exists")]
    AlreadyExists,
    /// No key has the name.
    #[error("key does not exist")]
    NotFound,
    /// There is a key, but the store does not hand it out.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to get it back.
        reason: String,
    },
    /// The store holds something under the name that is no key.
    #[error("stored key is damaged: {reason}")]
    Damaged {
        /// What is wrong with it, without its content.
        reason: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store is known to be down, and was not asked.
    #[error("key store is down: {}", .0.cause)]
    Down(Arc<Outage>),
}

/// The operations of a store, as messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Store::create`]
    Create,
    /// [`Store::get`]
    Read,
    /// [`Store::delete`]
    Delete,
    /// [`Store::list`]
    List,
}

impl Operation {
    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create key",
            Self::Read => "read key",
            Self::Delete => "delete key",
            Self::List => "list keys",
        })
    }
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
            cache: ArcSwap::from_pointee(cache_of(settings.max_entries)),
            absent: moka::future::Cache::builder().max_capacity(MAX_ABSENT).time_to_live(ABSENT_LIFETIME).build(),
            loads: Flights::default(),
            pings: Flights::default(),
            refreshes: Semaphore::new(MAX_REFRESHES),
            mutations: Mutations::default(),
            doubts: AtomicU64::new(0),
            deaf: AtomicBool::new(changes.is_some()), // until the store says that it hears
            health: health.clone(),
            metrics,
            successor: OnceLock::new(),
            random: RandomState::new(),
            _end: ended.clone().drop_guard(),
            ended: ended.clone(),
        });
        if let Some(changes) = changes {
            tokio::spawn(ended.clone().run_until_cancelled_owned(follow(changes, Arc::downgrade(&inner))));
        }
        tokio::spawn(ended.clone().run_until_cancelled_owned(sweep::keep(Arc::downgrade(&inner))));
        let weak = Arc::downgrade(&inner);
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            let offline = || weak.upgrade().map(|keys| keys.settings.load().offline).unwrap_or_default();
            health.keep(&*store, offline).await;
        }));
        Self(inner)
    }

    /// Changes how the cache behaves, from now on and for the keys in it too.
    pub async fn set(&self, settings: Settings) {
        let before = self.0.settings.swap(Arc::new(settings));
        if before.max_entries == settings.max_entries {
            return;
        }
        let (old, new) = (self.0.cache.load_full(), cache_of(settings.max_entries));
        for (name, cached) in old.iter() {
            new.insert((*name).clone(), cached).await;
        }
        self.0.cache.store(Arc::new(new));
    }

    /// Whether both are clones of one.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Says which keys take the place of these for new requests. What requests that are still under way create and
    /// delete here is not used from the cache there. Nothing runs here in the background any more.
    pub fn succeeded_by(&self, successor: &Self) {
        let _ = self.0.successor.set(Arc::downgrade(&successor.0)); // keys are replaced once
        self.0.ended.cancel();
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
        self.0.changed(name, &result).await;
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
        let cached = inner.cache.load().get(name).await;
        let cached = cached.filter(|cached| cached.version.mutations == inner.mutations.of(name));
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

    /// A key that is not in the cache, or in `cached` but not to be used without asking.
    async fn miss(&self, name: &Name, cached: Option<Arc<Cached>>, now: Instant) -> Outcome {
        let inner = &*self.0;
        if inner.is_known_to_be_absent(name, now).await {
            inner.metrics.absent_hits.inc();
            return Err(KeysError::NotFound);
        }
        if let Some(outage) = inner.health.outage() {
            return inner.stale(cached.as_ref()).ok_or(KeysError::Down(outage));
        }
        inner.metrics.misses.inc();
        let load = self.load(name);
        if !cached.as_ref().is_some_and(|cached| inner.may_be_stale(cached, now)) {
            return load.await;
        }
        // There is a key to fall back on. The load goes on when this request does.
        tokio::spawn(load.clone());
        match timeout(STALE_PATIENCE, load).await {
            Ok(Err(failure @ (KeysError::Store(_) | KeysError::Down(_)))) => {
                inner.stale(cached.as_ref()).ok_or(failure)
            }
            Ok(answer) => answer,
            Err(_) => inner.stale(cached.as_ref()).ok_or_else(|| {
                let reason = "it has not answered yet".to_owned();
                KeysError::Store(Arc::new(StoreError::Unreachable { reason, source: None }))
            }),
        }
    }

    /// Reads a key from the store, once for all who want it now.
    fn load(&self, name: &Name) -> Flight<Outcome> {
        self.0.loads.join(name.clone(), || {
            let (keys, name) = (self.0.clone(), name.clone());
            async move {
                let outcome = keys.read(&name).await;
                keys.loads.ended(&name);
                outcome
            }
            .boxed()
        })
    }

    /// Reads a key in use again in the background, before its time is up.
    fn refresh_if_due(&self, name: &Name, cached: &Cached, now: Instant) {
        let inner = &self.0;
        if !cached.claim_refresh(&inner.settings.load(), now) || inner.health.outage().is_some() {
            return;
        }
        let (keys, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let Ok(_permit) = keys.0.refreshes.acquire().await else { return };
            keys.0.metrics.refreshes.inc();
            if let Err(KeysError::Store(_) | KeysError::Down(_)) = keys.load(&name).await {
                keys.0.metrics.failed_refreshes.inc();
            }
        });
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] when there is none. [`KeysError::Down`] at once while the store is down.
    pub async fn delete(&self, name: &Name) -> Result<(), KeysError> {
        let result = self.0.call(Operation::Delete, self.0.store.delete(name)).await;
        self.0.changed(name, &result).await;
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
    /// What the store says, [`StoreError::Unreachable`] when it says nothing for 2 s, or at once what was found before
    /// while it is down.
    pub async fn ping(&self) -> Result<Duration, Arc<StoreError>> {
        if let Some(outage) = self.0.health.outage() {
            return Err(outage.cause.clone());
        }
        let ping = self.0.pings.join((), || {
            let keys = self.0.clone();
            async move {
                let result = keys.health.probe(&*keys.store, PING_DEADLINE).await;
                keys.pings.ended(&());
                result
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
        let cache = self.0.cache.load_full();
        for (_, cached) in cache.iter() {
            cached.wipe();
        }
        cache.invalidate_all();
        self.0.store.close().await;
    }
}

/// An empty cache. What leaves it, for whatever reason, is wiped at once.
fn cache_of(max_entries: u64) -> Cache {
    moka::future::Cache::builder()
        .max_capacity(max_entries)
        .eviction_listener(|_, cached: Arc<Cached>, _| cached.wipe())
        .build()
}

impl Inner {
    /// Calls the store: with a deadline, and the one stopwatch; what it answers tells how it is. While it is down it
    /// is not called, and whoever only reads stops to wait for it.
    async fn call<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, KeysError> {
        if let Some(outage) = self.health.outage() {
            return Err(KeysError::Down(outage));
        }
        let began = Instant::now();
        let deadline = self.settings.load().deadline;
        let reads = matches!(operation, Operation::Read | Operation::List);
        let mut work = pin!(timeout(deadline, work));
        let mut suspicious = pin!(sleep(SUSPICIOUS).fuse());
        let result = loop {
            tokio::select! {
                biased;
                result = work.as_mut() => break result,
                outage = self.health.until_down(), if reads => return Err(KeysError::Down(outage)),
                () = suspicious.as_mut() => self.health.suspect(),
            }
        };
        let result = result.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", deadline.as_secs_f64());
            Err(StoreError::Unreachable { reason, source: None })
        });
        self.metrics.latency(operation.as_str(), began.elapsed());
        let error = match result {
            Ok(done) => {
                self.health.succeeded(began);
                return Ok(done);
            }
            Err(error) => KeysError::from(error),
        };
        match &error {
            KeysError::Store(cause) => {
                self.metrics.failed(operation.as_str());
                match **cause {
                    StoreError::Unreachable { .. } => self.health.failed(cause),
                    _ => self.health.suspect(),
                }
            }
            _ => self.health.succeeded(began),
        }
        Err(error)
    }

    /// Reads and decodes a key, and keeps in the cache what was found.
    async fn read(&self, name: &Name) -> Outcome {
        loop {
            let began = Instant::now();
            let version =
                Version { mutations: self.mutations.of(name), doubts: self.doubts.load(Ordering::Acquire) };
            let outcome = self.call(Operation::Read, self.store.get(name)).await.and_then(|value| {
                let key = Key::from_stored(value.as_bytes());
                key.map(Arc::new).map_err(|damage| KeysError::Damaged { reason: damage.to_string() })
            });
            // A create or delete that came in between has made the answer stale.
            if self.mutations.of(name) != version.mutations {
                continue;
            }
            let cache = self.cache.load_full();
            match &outcome {
                Ok(key) => {
                    let (random, before) = (self.random.hash_one((name, began)), cache.get(name).await);
                    let cached = Cached::new(key.clone(), version, began, random, before.as_deref());
                    if !self.settings.load().any.is_zero() {
                        cache.insert(name.clone(), Arc::new(cached)).await;
                    }
                }
                Err(KeysError::Store(_) | KeysError::Down(_)) => {
                    if let Some(cached) = cache.get(name).await {
                        cached.failed(Instant::now());
                    }
                }
                Err(failure) => {
                    cache.invalidate(name).await;
                    if matches!(failure, KeysError::NotFound) && !self.settings.load().any.is_zero() {
                        self.absent.insert(name.clone(), (began, version.mutations)).await;
                    }
                }
            }
            return outcome;
        }
    }

    /// Whether a key may be used without asking the store.
    fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        let settings = self.settings.load();
        !cached.is_old(&settings, now)
            && !cached.is_idle(&settings, now)
            && cached.version.doubts == self.doubts.load(Ordering::Acquire)
            && !(self.deaf.load(Ordering::Acquire) && cached.age(now) > DEAF_LIFETIME)
    }

    /// The key to serve when the store cannot be asked, for as long as the config says.
    fn stale(&self, cached: Option<&Arc<Cached>>) -> Option<Arc<Key>> {
        let (cached, now) = (cached?, Instant::now());
        if !self.may_be_stale(cached, now) {
            return None;
        }
        let key = cached.key()?;
        cached.touch(now);
        self.metrics.stale.inc();
        Some(key)
    }

    fn may_be_stale(&self, cached: &Cached, now: Instant) -> bool {
        let settings = self.settings.load();
        !settings.offline.is_zero() && now < cached.stale_until(&settings, self.health.answered())
    }

    async fn is_known_to_be_absent(&self, name: &Name, now: Instant) -> bool {
        self.absent.get(name).await.is_some_and(|(found, mutations)| {
            now.saturating_duration_since(found) < ABSENT_LIFETIME && mutations == self.mutations.of(name)
        })
    }

    /// The store was asked to change what is under this name. Whatever it said, the cache does not know any more: after
    /// a time-out nobody knows what it did.
    async fn changed(&self, name: &Name, result: &Result<(), KeysError>) {
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
async fn follow(mut changes: Receiver<Change>, keys: Weak<Inner>) {
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

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("store", &self.0.store).finish_non_exhaustive()
    }
}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AlreadyExists => Self::AlreadyExists,
            StoreError::NotFound => Self::NotFound,
            StoreError::Damaged { reason } => Self::Damaged { reason },
            StoreError::Withheld { reason } => Self::Withheld { reason },
            other => Self::Store(Arc::new(other)),
        }
    }
}

/// Makes the keys that the config names, where they are absent.
///
/// # Errors
/// The first key that can neither be found nor made.
pub async fn create_absent(keys: &Keys, names: &[Name], created_by: &str) -> Result<(), (Name, KeysError)> {
    for name in names {
        match keys.create(name, created_by).await {
            Ok(()) => tracing::info!(key = %name, "created key"),
            Err(KeysError::AlreadyExists) => {}
            Err(failure) => {
                error!(key = %name, error = %failure, "cannot create key");
                return Err((name.clone(), failure));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
