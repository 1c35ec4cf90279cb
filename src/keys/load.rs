//! The way of a key from the store into the cache: every call of the store with its deadline and its stopwatch, one load
//! for all who wait, refreshes ahead of time, and the old key for who cannot get a new one.

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
use super::health::SUSPICIOUS;
use super::{ABSENT_LIFETIME, Inner, Keys, KeysError, Loaded, Outcome, Settings};
use crate::crypto::key::Key;

/// How long a key may be served while the store, which tells of the changes of other processes, cannot hear of them.
const DEAF_LIFETIME: Duration = Duration::from_secs(10);

/// How long requests wait for a key to be read again when they may be served the old one instead.
pub(super) const STALE_PATIENCE: Duration = Duration::from_millis(250);

impl Keys {
    /// A key that is not in the cache, or in `cached` but not to be used without asking.
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
        // There is a key to fall back on. The load goes on when this request does.
        if !inner.loads.is_under_way(name) {
            tokio::spawn(self.load(name));
        }
        match timeout(STALE_PATIENCE.saturating_sub(cached.awaited(now)), self.fetch(name)).await {
            Ok(Err(failure @ (KeysError::Store(_) | KeysError::Down(_)))) => inner.stale(name).await.ok_or(failure),
            Ok(answer) => answer,
            Err(_) => match inner.stale(name).await {
                Some(key) => Ok(key),
                None => self.fetch(name).await,
            },
        }
    }

    /// What the store says of a key, in an answer that no create or delete has overtaken.
    async fn fetch(&self, name: &Name) -> Outcome {
        let began = Instant::now();
        loop {
            let (outcome, mutations) = self.load(name).await;
            if mutations == self.0.mutations.of(name) {
                return outcome;
            }
            if began.elapsed() > self.0.settings.load().deadlines.read {
                let reason = "the key is created or deleted all the time".to_owned();
                return Err(KeysError::Store(Arc::new(StoreError::unavailable(reason))));
            }
        }
    }

    /// Reads a key from the store, once for all who want it now.
    fn load(&self, name: &Name) -> Flight<Loaded> {
        self.0.loads.join(name.clone(), || {
            let (keys, name) = (self.0.clone(), name.clone());
            async move {
                let mutations = keys.mutations.of(&name);
                let read = AssertUnwindSafe(keys.read(&name, mutations)).catch_unwind().await;
                let panicked = |_| Err(KeysError::Damaged { reason: "reading it failed by a panic".to_owned() });
                keys.loads.ended(&name);
                (read.unwrap_or_else(panicked), mutations)
            }
            .boxed()
        })
    }

    /// Reads a key in use again in the background, before its time is up.
    pub(super) fn refresh_if_due(&self, name: &Name, cached: &Cached, now: Instant) {
        let inner = &self.0;
        if !cached.claim_refresh(&inner.settings_now(), now) || inner.health.outage().is_some() {
            return;
        }
        // As many as there may be are under way: the next look at the cache finds this key again.
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
        let deadline = self.settings.load().deadlines.of(operation);
        let reads = matches!(operation, Operation::Read | Operation::List);
        let mut work = pin!(timeout(deadline, work));
        let mut suspicious = pin!(sleep(SUSPICIOUS).fuse());
        let answer = loop {
            tokio::select! {
                biased;
                answer = work.as_mut() => break answer,
                outage = self.health.until_down(), if reads => return Err(KeysError::Down(outage)),
                () = suspicious.as_mut() => self.health.suspect(),
            }
        };
        self.metrics.latency(operation, began.elapsed());
        let error = match answer {
            Ok(Ok(done)) => {
                self.health.succeeded(began);
                return Ok(done);
            }
            Ok(Err(error)) => KeysError::from(error),
            Err(_) => {
                // The deadline may be a short one: a probe is to find out what this means.
                self.metrics.failed(operation);
                self.health.suspect();
                let reason = format!("no answer within {} s", deadline.as_secs_f64());
                return Err(KeysError::Store(Arc::new(StoreError::unreachable(reason))));
            }
        };
        match &error {
            KeysError::Store(cause) => {
                self.metrics.failed(operation);
                if cause.is_unreachable() {
                    self.health.failed(cause, began);
                } else {
                    self.health.suspect();
                }
            }
            _ => self.health.succeeded(began),
        }
        Err(error)
    }

    /// Reads and decodes a key, and keeps in the cache what was found. `mutations` is the count of the name now.
    async fn read(&self, name: &Name, mutations: u64) -> Outcome {
        let (began, doubts) = (Instant::now(), self.doubts.load(Ordering::Acquire));
        let outcome = self.call(Operation::Read, self.store.get(name)).await.and_then(|value| {
            let key = Key::from_stored(value.as_bytes());
            key.map(Arc::new).map_err(|damage| KeysError::Damaged { reason: damage.to_string() })
        });
        let keeps = !self.settings.load().any.is_zero();
        match &outcome {
            Ok(key) if keeps => {
                let (random, before) = (fastrand::u64(..), self.cache.get(name).await);
                let cached = Arc::new(Cached::new(key.clone(), doubts, began, random, before.as_deref()));
                self.cache.insert(name.clone(), cached.clone()).await;
                // Who changes the key counts first and then empties the cache: one of the two sees the other.
                if self.mutations.of(name) == mutations {
                    cached.confirm();
                } else {
                    self.remove(name, &cached).await;
                }
            }
            Ok(_) => {}
            Err(KeysError::Store(_) | KeysError::Down(_)) => {
                if let Some(cached) = self.cache.get(name).await {
                    cached.is_unreadable(Instant::now());
                }
            }
            Err(failure) => {
                self.cache.invalidate(name).await;
                if keeps && matches!(failure, KeysError::NotFound) {
                    self.absent.insert(name.clone(), (began, mutations)).await;
                }
            }
        }
        outcome
    }

    /// Takes this entry out of the cache, and not another one that has come in its place.
    pub(super) async fn remove(&self, name: &Name, cached: &Arc<Cached>) {
        let remove = |entry: Option<moka::Entry<Name, Arc<Cached>>>| {
            let is_same = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), cached));
            std::future::ready(if is_same { Op::Remove } else { Op::Nop })
        };
        cached.wipe();
        self.cache.entry_by_ref(name).and_compute_with(remove).await;
    }

    /// The settings that hold now.
    pub(super) fn settings_now(&self) -> Settings {
        let settings = **self.settings.load();
        if self.deaf.load(Ordering::Acquire) {
            return Settings { any: settings.any.min(DEAF_LIFETIME), ..settings };
        }
        settings
    }

    /// Whether a key may be used without asking the store.
    pub(super) fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        let settings = self.settings_now();
        !cached.is_old(&settings, now)
            && !cached.is_idle(&settings, now)
            && cached.doubts == self.doubts.load(Ordering::Acquire)
    }

    /// The key to serve when the store cannot be asked, for as long as the config says.
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

    /// Whether it is known that the name has no key.
    async fn is_absent(&self, name: &Name, now: Instant) -> bool {
        self.absent.get(name).await.is_some_and(|(found, mutations)| {
            now.saturating_duration_since(found) < ABSENT_LIFETIME && mutations == self.mutations.of(name)
        })
    }
}
