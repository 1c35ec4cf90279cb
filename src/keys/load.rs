//! Loads keys from the keystore into the cache: keystore operations with their deadlines and metrics, one load for all
//! requests that wait for a key, refreshes before expiry, and expired keys for requests that cannot get a new one.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backends::{Name, Operation, StoreError};
use futures_util::FutureExt as _;
use moka::ops::compute::Op;
use tokio::time::{Instant, sleep, timeout};

use super::cached::Cached;
use super::flight::Flight;
use super::health::SLOW_OPERATION;
use super::{ABSENT_LIFETIME, Inner, Keys, KeysError, Loaded, Outcome, Settings};
use crate::crypto::key::Key;

/// The maximum lifetime of a key while the keystore receives no notifications of changes by other processes.
const UNSUBSCRIBED_LIFETIME: Duration = Duration::from_secs(10);

/// How long requests wait for a key to be read again if they may use the expired one instead.
pub(super) const MAX_STALE_WAIT: Duration = Duration::from_millis(250);

impl Keys {
    /// Gets a key that is not in the cache, or whose entry `cached` must be read again.
    pub(super) async fn miss(&self, name: &Name, cached: Option<Arc<Cached>>, now: Instant) -> Outcome {
        let inner = &*self.0;
        if inner.is_absent(name, now).await {
            inner.metrics.absent_hits.inc();
            return Err(KeysError::NotFound);
        }
        if let Some(outage) = inner.health.outage() {
            return inner.stale(name).await.ok_or(KeysError::Down(outage));
        }
        inner.metrics.misses.inc();
        let Some(cached) = cached.filter(|cached| inner.may_be_stale(cached, now)) else {
            return self.fetch(name).await;
        };
        // A key that nobody has used for a while is not served while the keystore is only slow.
        if cached.is_idle(&inner.settings_now(), now) {
            return match self.fetch(name).await {
                Err(failure @ (KeysError::Store(_) | KeysError::Down(_))) => inner.stale(name).await.ok_or(failure),
                answer => answer,
            };
        }
        // An expired key is available. The load continues if this request ends first.
        if !inner.loads.is_in_progress(name) {
            tokio::spawn(self.load(name));
        }
        match timeout(MAX_STALE_WAIT.saturating_sub(cached.waited(now)), self.fetch(name)).await {
            Ok(Err(failure @ (KeysError::Store(_) | KeysError::Down(_)))) => inner.stale(name).await.ok_or(failure),
            Ok(answer) => answer,
            Err(_) => match inner.stale(name).await {
                Some(key) => Ok(key),
                None => self.fetch(name).await,
            },
        }
    }

    /// Loads a key. Retries if a create or delete has overtaken the load.
    async fn fetch(&self, name: &Name) -> Outcome {
        let start = Instant::now();
        loop {
            let (outcome, mutations) = self.load(name).await;
            if mutations == self.0.mutations.of(name) {
                return outcome;
            }
            if start.elapsed() > self.0.settings.load().deadlines.read {
                let reason = "the key was repeatedly changed while it was read".to_owned();
                return Err(KeysError::Store(Arc::new(StoreError::unavailable(reason))));
            }
        }
    }

    /// Reads a key from the keystore, once for all requests that wait for it.
    fn load(&self, name: &Name) -> Flight<Loaded> {
        self.0.loads.join(name.clone(), || {
            let (keys, name) = (self.0.clone(), name.clone());
            async move {
                let mutations = keys.mutations.of(&name);
                let read = AssertUnwindSafe(keys.read(&name, mutations)).catch_unwind().await;
                let panicked = |_| Err(KeysError::Damaged { reason: "reading it panicked".to_owned() });
                keys.loads.finished(&name);
                (read.unwrap_or_else(panicked), mutations)
            }
            .boxed()
        })
    }

    /// Refreshes a key in use in the background before it expires.
    pub(super) fn refresh_if_due(&self, name: &Name, cached: &Cached, now: Instant) {
        let inner = &self.0;
        if !cached.claim_refresh(&inner.settings_now(), now) || inner.health.outage().is_some() {
            return;
        }
        // If the maximum number of refreshes is in progress, the next sweep finds this key again.
        let Ok(permit) = inner.refreshes.clone().try_acquire_owned() else { return };
        let (keys, load) = (inner.clone(), self.load(name));
        tokio::spawn(async move {
            keys.metrics.refreshes.inc();
            if let (Err(KeysError::Store(_) | KeysError::Down(_)), _) = load.await {
                keys.metrics.failed_refreshes.inc();
            }
            drop(permit);
        });
    }
}

impl Inner {
    /// Calls the keystore with a deadline, records its latency, and updates its health. During an outage nothing is
    /// called, and reads that are in progress are abandoned.
    pub(super) async fn call<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, KeysError> {
        if let Some(outage) = self.health.outage() {
            return Err(KeysError::Down(outage));
        }
        let start = Instant::now();
        let deadline = self.settings.load().deadlines.of(operation);
        let is_read = matches!(operation, Operation::Read | Operation::List);
        let mut work = pin!(timeout(deadline, work));
        let mut slow = pin!(sleep(SLOW_OPERATION).fuse());
        let answer = loop {
            tokio::select! {
                biased;
                answer = work.as_mut() => break answer,
                outage = self.health.until_down(), if is_read => return Err(KeysError::Down(outage)),
                () = slow.as_mut() => self.health.request_probe(),
            }
        };
        self.metrics.latency(operation, start.elapsed());
        let error = match answer {
            Ok(Ok(done)) => {
                self.health.succeeded(start);
                return Ok(done);
            }
            Ok(Err(error)) => KeysError::from(error),
            Err(_) => {
                // The deadline may be short, so a probe decides whether this is an outage.
                self.metrics.failed(operation);
                self.health.request_probe();
                let reason = format!("no response within {} s", deadline.as_secs_f64());
                return Err(KeysError::Store(Arc::new(StoreError::unreachable(reason))));
            }
        };
        match &error {
            KeysError::Store(cause) => {
                self.metrics.failed(operation);
                if cause.is_unreachable() {
                    self.health.failed(cause, start);
                } else {
                    self.health.request_probe();
                }
            }
            _ => self.health.succeeded(start),
        }
        Err(error)
    }

    /// Reads and decodes a key, and caches the result. `mutations` is the current count for the name.
    async fn read(&self, name: &Name, mutations: u64) -> Outcome {
        let (start, generation) = (Instant::now(), self.generation.load(Ordering::Acquire));
        let outcome = self.call(Operation::Read, self.store.get(name)).await.and_then(|value| {
            let key = Key::from_stored(value.as_bytes());
            key.map(Arc::new).map_err(|damage| KeysError::Damaged { reason: damage.to_string() })
        });
        let is_cached = !self.settings.load().any.is_zero();
        match &outcome {
            Ok(key) if is_cached => {
                let (random, previous) = (fastrand::u64(..), self.cache.get(name).await);
                let cached = Arc::new(Cached::new(key.clone(), generation, start, random, previous.as_deref()));
                self.cache.insert(name.clone(), cached.clone()).await;
                // A mutation first increments the count and then removes the entry, so one of the two detects the
                // other.
                if self.mutations.of(name) == mutations {
                    cached.confirm();
                } else {
                    self.remove(name, &cached).await;
                }
            }
            Ok(_) => {}
            Err(KeysError::Store(_) | KeysError::Down(_)) => {
                if let Some(cached) = self.cache.get(name).await {
                    cached.mark_unreadable(Instant::now());
                }
            }
            Err(failure) => {
                self.cache.invalidate(name).await;
                if is_cached && matches!(failure, KeysError::NotFound) {
                    self.absent.insert(name.clone(), (start, mutations)).await;
                }
            }
        }
        outcome
    }

    /// Removes this entry from the cache, but not another one that has replaced it.
    pub(super) async fn remove(&self, name: &Name, cached: &Arc<Cached>) {
        let remove = |entry: Option<moka::Entry<Name, Arc<Cached>>>| {
            let is_same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), cached));
            std::future::ready(if is_same { Op::Remove } else { Op::Nop })
        };
        cached.wipe();
        self.cache.entry_by_ref(name).and_compute_with(remove).await;
    }

    /// The settings that currently apply.
    pub(super) fn settings_now(&self) -> Settings {
        let settings = **self.settings.load();
        if self.is_unsubscribed.load(Ordering::Acquire) {
            return Settings { any: settings.any.min(UNSUBSCRIBED_LIFETIME), ..settings };
        }
        settings
    }

    /// Whether a key may be used without reading it again.
    pub(super) fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        let settings = self.settings_now();
        !cached.is_expired(&settings, now)
            && !cached.is_idle(&settings, now)
            && cached.generation == self.generation.load(Ordering::Acquire)
    }

    /// The expired key, if the config allows to serve it while it cannot be read.
    async fn stale(&self, name: &Name) -> Option<Arc<Key>> {
        let (cached, now) = (self.cache.get(name).await?, Instant::now());
        if !self.may_be_stale(&cached, now) {
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

    /// Whether the name is known to have no key.
    async fn is_absent(&self, name: &Name, now: Instant) -> bool {
        self.absent.get(name).await.is_some_and(|(found, mutations)| {
            now.saturating_duration_since(found) < ABSENT_LIFETIME && mutations == self.mutations.of(name)
        })
    }
}
