//! A key in the cache: how long it may be used, and when it is to be read again.
//!
//! All times are those of one clock, which a test can stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::Settings;
use crate::crypto::key::Key;

/// How much of `any` a key lives at least, in percent. Each has its own share, so that keys which were read together
/// are not read again together.
const LEAST_SHARE: u64 = 90;

/// When a key in use is read again, as a share of its life in percent.
const REFRESH_AT: u64 = 80;

/// How long after a refresh has begun the next one may, in milliseconds.
const REFRESH_PAUSE: u64 = 1_000;

/// What the name looked like when a load began; an entry of another version cannot be used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Creates and deletes of the name. Once this has moved, the key may be another one: it is not used at all.
    pub(super) mutations: u64,
    /// How often changes may have been missed. Once this has moved, the key is to be read before it is used.
    pub(super) doubts: u64,
}

/// A key that was read from the store.
pub(super) struct Cached {
    /// Empty once it was wiped: the cache may keep the entry itself for a while.
    key: ArcSwapOption<Key>,
    pub(super) version: Version,
    /// When the load began.
    loaded: Instant,
    /// Percent of `any` that this key lives.
    share: u64,
    /// Milliseconds from `loaded` to the last use.
    used: AtomicU64,
    /// Milliseconds from `loaded` to when the next refresh may begin, once one has begun.
    refresh: AtomicU64,
    /// When the key was first found to be unreadable since it was loaded.
    failed: OnceLock<Instant>,
}

impl Cached {
    /// A key as read by a load that began at `loaded`; `random` spreads its life. It takes the place of `before`.
    pub(super) fn new(key: Arc<Key>, version: Version, loaded: Instant, random: u64, before: Option<&Self>) -> Self {
        let used = before.map_or(loaded, Self::last_use);
        Self {
            key: ArcSwapOption::new(Some(key)),
            version,
            loaded,
            share: LEAST_SHARE + random % (101 - LEAST_SHARE),
            used: AtomicU64::new(millis(used.saturating_duration_since(loaded))),
            refresh: AtomicU64::new(0),
            failed: OnceLock::new(),
        }
    }

    /// The key, unless it was wiped.
    pub(super) fn key(&self) -> Option<Arc<Key>> {
        self.key.load_full()
    }

    /// Lets go of the key: its bytes are wiped when the last request that works with it is done.
    pub(super) fn wipe(&self) {
        self.key.store(None);
    }

    /// Counts a use.
    pub(super) fn touch(&self, now: Instant) {
        self.used.fetch_max(millis(self.age(now)), Ordering::Relaxed);
    }

    /// How old the key is.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.loaded)
    }

    /// Whether the key is older than it may be without being asked for again.
    pub(super) fn is_old(&self, settings: &Settings, now: Instant) -> bool {
        self.age(now) >= self.life(settings)
    }

    /// Whether nobody has used the key for as long as an unused key may stay.
    pub(super) fn is_idle(&self, settings: &Settings, now: Instant) -> bool {
        now.saturating_duration_since(self.last_use()) >= settings.unused
    }

    /// Whether anybody has used the key since it was loaded, but for who it was loaded for.
    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    /// Whether the key should be read again by now, because it is in use and near the end of its life. Says so to one
    /// caller, and to none for a while after.
    pub(super) fn claim_refresh(&self, settings: &Settings, now: Instant) -> bool {
        let age = millis(self.age(now));
        let due = millis(self.life(settings)).saturating_mul(REFRESH_AT) / 100;
        let next = self.refresh.load(Ordering::Relaxed);
        age >= due
            && age >= next
            && self.was_used()
            && self.refresh.compare_exchange(next, age + REFRESH_PAUSE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A load of the key has failed.
    pub(super) fn failed(&self, now: Instant) {
        let _ = self.failed.set(now); // the first failure counts
    }

    /// Until when the key may be served although it cannot be read: `offline` from the last moment at which it could
    /// have been. That is when the store last answered, or when this key was first found to be unreadable.
    pub(super) fn stale_until(&self, settings: &Settings, store_answered: Instant) -> Instant {
        let readable = self.failed.get().map_or(store_answered, |failed| store_answered.min(*failed));
        readable.max(self.loaded) + settings.offline
    }

    fn life(&self, settings: &Settings) -> Duration {
        let share = u32::try_from(self.share).unwrap_or(100);
        settings.any.saturating_mul(share) / 100
    }

    fn last_use(&self) -> Instant {
        self.loaded + Duration::from_millis(self.used.load(Ordering::Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
