//! Keys by name: decoded keys in a moka cache, in front of one [`Store`]. Nothing else calls a store.
//!
//! What may be served from the cache is decided by `Entry`; how long it may be by [`Lifetime`]. The place of
//! outage behaviour (serving entries past their age while the store is down) is `Keys::load`.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use backends::{Change, Name, Store, StoreError, Value};
use time::OffsetDateTime;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tracing::error;

use crate::crypto::key::{Algorithm, Key};

/// Entries that the cache holds at most; the least used go first. At about 0.5 KiB an entry.
const MAX_ENTRIES: u64 = 100_000;

/// How often expired keys are wiped from memory: moka itself does so only when it is called.
const WIPE_INTERVAL: Duration = Duration::from_secs(1);

/// The deadline of a [`Keys::ping`], so that a probe is answered before its own time-out.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// How long a key may be served while the store, which tells of the changes of other processes, cannot hear of them.
const DEAF_LIFETIME: Duration = Duration::from_secs(10);

/// Number of mutation counters; names share one by hash. A mutation makes 1/1024 of the cache load again.
const STRIPES: usize = 1024;

/// How long a key may be served without asking the store again.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Since it was loaded; zero: not at all.
    pub any: Duration,
    /// Since it was used last; zero: not at all.
    pub unused: Duration,
}

/// The keys of one store.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    cache: moka::future::Cache<Name, Entry>,
    mutations: Mutations,
    /// Whether changes of other processes, which the store would tell of, go unnoticed now.
    deaf: AtomicBool,
}

/// What a load found, shared by all who wait for it.
#[derive(Clone)]
struct Entry {
    outcome: Result<Arc<Key>, KeysError>,
    /// The mutation count of the name when the load began. A create or delete since then makes the entry worthless.
    seen: u64,
    /// When the load began.
    loaded: Instant,
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
    /// Puts a cache in front of `store`. Expired keys are wiped by a task that ends with the last clone.
    /// Must be called within a tokio runtime.
    pub fn new(store: Arc<dyn Store>, lifetime: Lifetime) -> Self {
        let cache = moka::future::Cache::builder()
            .max_capacity(MAX_ENTRIES)
            .time_to_live(lifetime.any)
            .time_to_idle(lifetime.unused)
            .build();
        let changes = store.changes();
        let deaf = AtomicBool::new(changes.is_some()); // until the store says that it hears
        let inner = Arc::new(Inner { store, cache, mutations: Mutations::default(), deaf });
        if let Some(changes) = changes {
            tokio::spawn(follow(changes, Arc::downgrade(&inner)));
        }
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(WIPE_INTERVAL);
            loop {
                interval.tick().await;
                let Some(inner) = weak.upgrade() else { break };
                inner.cache.run_pending_tasks().await;
            }
        });
        Self(inner)
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
    /// [`KeysError::AlreadyExists`] when the name is taken; the key that is there stands.
    pub async fn store(&self, name: &Name, key: &Key) -> Result<(), KeysError> {
        let value = Value::from(key.to_stored().to_vec());
        let result = self.0.store.create(name, &value).await;
        // Whatever the store said: after a time-out nobody knows what it did.
        self.0.forget(name).await;
        Ok(result?)
    }

    /// The key of a name, from the cache or from the store. However many wait for one name, it is loaded once.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] only when the store is certain that there is none.
    pub async fn get(&self, name: &Name) -> Result<Arc<Key>, KeysError> {
        if let Some(entry) = self.0.cache.get(name).await
            && self.is_current(name, &entry)
        {
            return entry.outcome;
        }
        // In a task of its own: the load goes on for the others when the first to ask has left.
        let (keys, name) = (self.clone(), name.clone());
        let load = tokio::spawn(async move {
            loop {
                let entry = keys.load(&name).await;
                // A create or delete that came in between has made the answer stale.
                if keys.0.mutations.of(&name).load(Ordering::Acquire) == entry.seen {
                    break entry.outcome;
                }
            }
        });
        load.await.unwrap_or(Err(KeysError::Damaged { reason: "decoding it failed".to_owned() }))
    }

    /// Loads a key through the cache. Failures are shared with those who wait now, and not kept.
    async fn load(&self, name: &Name) -> Entry {
        let inner = &self.0;
        let entry = inner
            .cache
            .entry_by_ref(name)
            .or_insert_with_if(
                async {
                    let (seen, loaded) = (inner.mutations.of(name).load(Ordering::Acquire), Instant::now());
                    let outcome = match inner.store.get(name).await {
                        Ok(value) => Key::from_stored(value.as_bytes())
                            .map(Arc::new)
                            .map_err(|damage| KeysError::Damaged { reason: damage.to_string() }),
                        Err(error) => Err(error.into()),
                    };
                    Entry { outcome, seen, loaded }
                },
                |entry| !self.is_current(name, entry),
            )
            .await
            .into_value();
        if entry.outcome.is_err() {
            inner.cache.invalidate(name).await;
        }
        entry
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] when there is none.
    pub async fn delete(&self, name: &Name) -> Result<(), KeysError> {
        let result = self.0.store.delete(name).await;
        self.0.forget(name).await;
        Ok(result?)
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
            let batch = self.0.store.list(prefix, last.as_ref(), BATCH).await?;
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

    /// Asks the store whether it could serve a key now; the answer is its latency.
    ///
    /// # Errors
    /// What the store says, or [`StoreError::Unreachable`] when it says nothing for 2 s.
    pub async fn ping(&self) -> Result<Duration, Arc<StoreError>> {
        let start = Instant::now();
        match tokio::time::timeout(PING_DEADLINE, self.0.store.ping()).await {
            Ok(Ok(())) => Ok(start.elapsed()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError::Unreachable {
                reason: format!("no answer within {} s", PING_DEADLINE.as_secs()),
                source: None,
            }
            .into()),
        }
    }

    /// Wipes all keys from memory and lets go of the store.
    pub async fn close(&self) {
        self.0.cache.invalidate_all();
        self.0.cache.run_pending_tasks().await;
        self.0.store.close().await;
    }

    fn is_current(&self, name: &Name, entry: &Entry) -> bool {
        entry.outcome.is_ok()
            && entry.seen == self.0.mutations.of(name).load(Ordering::Acquire)
            && !(self.0.deaf.load(Ordering::Acquire) && entry.loaded.elapsed() > DEAF_LIFETIME)
    }
}

impl Inner {
    /// Makes sure that no key which was loaded before now is used again under this name.
    async fn forget(&self, name: &Name) {
        self.mutations.of(name).fetch_add(1, Ordering::AcqRel);
        self.cache.invalidate(name).await;
    }

    /// The same for all names.
    fn forget_all(&self) {
        for count in self.mutations.stripes.iter().chain([&self.mutations.fallback]) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        self.cache.invalidate_all();
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
                keys.forget_all();
            }
            Ok(Change::Deaf) => keys.deaf.store(true, Ordering::Release),
            Err(RecvError::Lagged(_)) => keys.forget_all(),
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

/// Counts creates and deletes, by name. A load that began under another count than the present one may have read
/// what is no longer there, so its result is not used: without this a deleted key could come back into the cache
/// and encrypt data that nobody can read again.
struct Mutations {
    hasher: RandomState,
    stripes: Box<[AtomicU64]>,
    /// For a name that no stripe has, which cannot be.
    fallback: AtomicU64,
}

impl Default for Mutations {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            fallback: AtomicU64::new(0),
        }
    }
}

impl Mutations {
    fn of(&self, name: &Name) -> &AtomicU64 {
        let hash = usize::try_from(self.hasher.hash_one(name) % STRIPES as u64).unwrap_or_default();
        self.stripes.get(hash).unwrap_or(&self.fallback)
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
