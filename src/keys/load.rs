//! The way of a key from the store into the cache: every call of the store with its deadline and its stopwatch, one load
//! for all who wait, refreshes ahead of time, and the old key for who cannot get a new one.

use std::future::Future;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backends::{Name, StoreError};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::cached::{Cached, Version};
use super::flight::Flight;
use super::health::SUSPICIOUS;
use super::{ABSENT_LIFETIME, Inner, Keys, KeysError, Loaded, Operation, Outcome};
use crate::crypto::key::Key;

/// How long a key may be served while the store, which tells of the changes of other processes, cannot hear of them.
const DEAF_LIFETIME: Duration = Duration::from_secs(10);

/// How long a request waits for a key to be read again when it may be served the old one instead.
pub(super) const STALE_PATIENCE: Duration = Duration::from_millis(250);

impl Keys {
    /// A key that is not in the cache, or in `cached` but not to be used without asking.
    pub(super) async fn miss(&self, name: &Name, cached: Option<Arc<Cached>>, now: Instant) -> Outcome {
        let inner = &*self.0;
        if inner.is_known_to_be_absent(name, now).await {
            inner.metrics.absent_hits.inc();
            return Err(KeysError::NotFound);
        }
        if let Some(outage) = inner.health.outage() {
            return inner.stale(cached.as_ref()).ok_or(KeysError::Down(outage));
        }
        inner.metrics.misses.inc();
        if !cached.as_ref().is_some_and(|cached| inner.may_be_stale(cached, now)) {
            return self.fetch(name).await;
        }
        // There is a key to fall back on. The load goes on when this request does.
        tokio::spawn(self.load(name));
        match timeout(STALE_PATIENCE, self.fetch(name)).await {
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

    /// What the store says of a key, in an answer that no create or delete has overtaken.
    async fn fetch(&self, name: &Name) -> Outcome {
        loop {
            let (outcome, mutations) = self.load(name).await;
            if mutations == self.0.mutations.of(name) {
                return outcome;
            }
        }
    }

    /// Reads a key from the store, once for all who want it now.
    fn load(&self, name: &Name) -> Flight<Loaded> {
        self.0.loads.join(name.clone(), || {
            let (keys, name) = (self.0.clone(), name.clone());
            async move {
                let loaded = keys.read(&name).await;
                keys.loads.ended(&name);
                loaded
            }
            .boxed()
        })
    }

    /// Reads a key in use again in the background, before its time is up.
    pub(super) fn refresh_if_due(&self, name: &Name, cached: &Cached, now: Instant) {
        let inner = &self.0;
        if !cached.claim_refresh(&inner.settings.load(), now) || inner.health.outage().is_some() {
            return;
        }
        let (keys, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let Ok(_permit) = keys.0.refreshes.acquire().await else { return };
            keys.0.metrics.refreshes.inc();
            if let Err(KeysError::Store(_) | KeysError::Down(_)) = keys.load(&name).await.0 {
                keys.0.metrics.failed_refreshes.inc();
            }
        });
    }
}

impl Inner {
    /// Calls the store: with a deadline, and the one stopwatch; what it answers tells how it is. While it is down it
    /// is not called, and whoever only reads stops to wait for it.
    pub(super) async fn call<T>(
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

    /// Reads and decodes a key, and keeps in the cache what was found. With it comes the count of mutations from before
    /// the read.
    async fn read(&self, name: &Name) -> Loaded {
        let began = Instant::now();
        let version = Version { mutations: self.mutations.of(name), doubts: self.doubts.load(Ordering::Acquire) };
        let outcome = self.call(Operation::Read, self.store.get(name)).await.and_then(|value| {
            let key = Key::from_stored(value.as_bytes());
            key.map(Arc::new).map_err(|damage| KeysError::Damaged { reason: damage.to_string() })
        });
        let (cache, keeps) = (self.cache.load_full(), !self.settings.load().any.is_zero());
        match &outcome {
            Ok(key) if keeps => {
                let (random, before) = (self.random.hash_one((name, began)), cache.get(name).await);
                let cached = Cached::new(key.clone(), version, began, random, before.as_deref());
                cache.insert(name.clone(), Arc::new(cached)).await;
            }
            Ok(_) => {}
            Err(KeysError::Store(_) | KeysError::Down(_)) => {
                if let Some(cached) = cache.get(name).await {
                    cached.failed(Instant::now());
                }
            }
            Err(failure) => {
                cache.invalidate(name).await;
                if keeps && matches!(failure, KeysError::NotFound) {
                    self.absent.insert(name.clone(), (began, version.mutations)).await;
                }
            }
        }
        (outcome, version.mutations)
    }

    /// Whether a key may be used without asking the store.
    pub(super) fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        let settings = self.settings.load();
        let in_time = !cached.is_old(&settings, now) && !cached.is_idle(&settings, now);
        let in_doubt = cached.version.doubts != self.doubts.load(Ordering::Acquire)
            || (self.deaf.load(Ordering::Acquire) && cached.age(now) > DEAF_LIFETIME);
        in_time && !in_doubt
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

    pub(super) fn may_be_stale(&self, cached: &Cached, now: Instant) -> bool {
        let settings = self.settings.load();
        !settings.offline.is_zero() && now < cached.stale_until(&settings, self.health.answered())
    }

    async fn is_known_to_be_absent(&self, name: &Name, now: Instant) -> bool {
        self.absent.get(name).await.is_some_and(|(found, mutations)| {
            now.saturating_duration_since(found) < ABSENT_LIFETIME && mutations == self.mutations.of(name)
        })
    }
}
