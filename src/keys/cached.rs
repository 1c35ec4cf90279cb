//! A cached key: how long it may be used, and when it is refreshed.
//!
//! All times are from the clock of tokio, which tests can pause.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::Settings;
use crate::crypto::key::Key;

/// The minimum lifetime of a key in percent of `any`. Each key has a random lifetime, so that keys which were read
/// together are not refreshed together.
const MIN_LIFETIME_PERCENT: u64 = 90;

/// When a key in use is refreshed, in percent of its lifetime.
const REFRESH_AT_PERCENT: u64 = 80;

/// Minimum time between the starts of two refreshes, in milliseconds.
const MIN_REFRESH_INTERVAL: u64 = 1_000;

/// A key that was read from the store.
pub(super) struct Cached {
    /// Empty once it is wiped; the cache may keep the entry for a while.
    key: ArcSwapOption<Key>,
    /// Whether it is certain that no create or delete has overtaken the read. The key is not used before.
    is_confirmed: AtomicBool,
    /// The generation of the cache when the load started. In a later generation, the key must be read again before it
    /// is used.
    pub(super) generation: u64,
    /// When the load started.
    loaded: Instant,
    /// The lifetime of this key in percent of `any`.
    lifetime_percent: u64,
    /// Milliseconds from `loaded` to the last use; negative if that was before.
    last_use: AtomicI64,
    /// Milliseconds from `loaded` to the earliest start of the next refresh.
    next_refresh: AtomicU64,
    /// When a load of the key first failed since it was loaded.
    unreadable_since: OnceLock<Instant>,
    /// When a request first waited for the key to be read again.
    first_waited: OnceLock<Instant>,
}

impl Cached {
    /// A key from a load that started at `loaded`; `random` varies its lifetime. It replaces the entry `previous`.
    pub(super) fn new(key: Arc<Key>, generation: u64, loaded: Instant, random: u64, previous: Option<&Self>) -> Self {
        let last_use = previous.map(|previous| match previous.last_use() {
            used if used >= loaded => millis(used - loaded),
            used => -millis(loaded - used),
        });
        Self {
            key: ArcSwapOption::new(Some(key)),
            is_confirmed: AtomicBool::new(false),
            generation,
            loaded,
            lifetime_percent: MIN_LIFETIME_PERCENT + random % (101 - MIN_LIFETIME_PERCENT),
            last_use: AtomicI64::new(last_use.unwrap_or_default()),
            next_refresh: AtomicU64::new(0),
            unreadable_since: OnceLock::new(),
            first_waited: OnceLock::new(),
        }
    }

    /// The key, unless it is wiped or not confirmed.
    pub(super) fn key(&self) -> Option<Arc<Key>> {
        if self.is_confirmed.load(Ordering::Acquire) { self.key.load_full() } else { None }
    }

    /// Allows the key to be used.
    pub(super) fn confirm(&self) {
        self.is_confirmed.store(true, Ordering::Release);
    }

    /// Drops the key; its bytes are wiped when the last request that uses it has finished.
    pub(super) fn wipe(&self) {
        self.key.store(None);
    }

    /// Records a use.
    pub(super) fn touch(&self, now: Instant) {
        self.last_use.fetch_max(millis(self.age(now)).max(1), Ordering::Relaxed);
    }

    /// Whether the key has reached the end of its lifetime and must be read again.
    pub(super) fn is_expired(&self, settings: &Settings, now: Instant) -> bool {
        self.age(now) >= self.lifetime(settings)
    }

    /// Whether the key has not been used for as long as an unused key may be served.
    pub(super) fn is_idle(&self, settings: &Settings, now: Instant) -> bool {
        !self.was_used_within(settings.unused, now)
    }

    /// Whether the key was used within this time, also by the requests it was loaded for.
    pub(super) fn was_used_within(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.last_use()) < time
    }

    /// Whether the key has been used since it was loaded, except by the requests it was loaded for.
    pub(super) fn was_used(&self) -> bool {
        self.last_use.load(Ordering::Relaxed) > 0
    }

    /// Whether the key is due for a refresh: in use and near the end of its lifetime. Returns true to only one caller,
    /// and then to none for a while.
    pub(super) fn claim_refresh(&self, settings: &Settings, now: Instant) -> bool {
        let age = self.age(now).as_millis();
        let due = self.lifetime(settings).as_millis() * u128::from(REFRESH_AT_PERCENT) / 100;
        let (age_millis, next) = (u64::try_from(age).unwrap_or(u64::MAX), self.next_refresh.load(Ordering::Relaxed));
        let (then, relaxed) = (age_millis.saturating_add(MIN_REFRESH_INTERVAL), Ordering::Relaxed);
        age >= due
            && age_millis >= next
            && self.was_used()
            && self.next_refresh.compare_exchange(next, then, relaxed, relaxed).is_ok()
    }

    /// How long requests have been waiting for the key to be read again; the first call starts the measurement.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.first_waited.get_or_init(|| now))
    }

    /// Records that a load of the key failed.
    pub(super) fn mark_unreadable(&self, now: Instant) {
        let _ = self.unreadable_since.set(now); // the first failure counts
    }

    /// Until when the key may be served although it cannot be read: for `offline` after it was last known to be
    /// readable. That is when the keystore last answered, or when a load of this key first failed, if that is earlier.
    pub(super) fn stale_until(&self, settings: &Settings, store_answered: Instant) -> Instant {
        let readable = self.unreadable_since.get().map_or(store_answered, |since| store_answered.min(*since));
        readable.max(self.loaded) + settings.offline
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.loaded)
    }

    fn lifetime(&self, settings: &Settings) -> Duration {
        let percent = u32::try_from(self.lifetime_percent).unwrap_or(100);
        settings.any.saturating_mul(percent) / 100
    }

    fn last_use(&self) -> Instant {
        let millis = self.last_use.load(Ordering::Relaxed);
        let distance = Duration::from_millis(millis.unsigned_abs());
        if millis >= 0 { self.loaded + distance } else { self.loaded.checked_sub(distance).unwrap_or(self.loaded) }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
