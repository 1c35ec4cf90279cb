//! A key in the cache: how long it may be used, and when it is to be read again.
//!
//! All times are those of one clock, which a test can stop.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
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

/// A key that was read from the store.
pub(super) struct Cached {
    /// Empty once it was wiped: the cache may keep the entry itself for a while.
    key: ArcSwapOption<Key>,
    /// Whether it is certain that no create or delete has overtaken the read. Until then the key is not used.
    is_confirmed: AtomicBool,
    /// How often changes may have been missed until the load began. Once there are more, the key is to be read before
    /// it is used.
    pub(super) doubts: u64,
    /// When the load began.
    loaded: Instant,
    /// Percent of `any` that this key lives.
    share: u64,
    /// Milliseconds from `loaded` to the last use; negative when that was before.
    last_use: AtomicI64,
    /// Milliseconds from `loaded` to when the next refresh may begin, once one has begun.
    next_refresh: AtomicU64,
    /// When the key was first found to be unreadable since it was loaded.
    unreadable_since: OnceLock<Instant>,
    /// When a request first waited for the key to be read again.
    awaited_since: OnceLock<Instant>,
}

impl Cached {
    /// A key as read by a load that began at `loaded`; `random` spreads its life. It takes the place of `before`.
    pub(super) fn new(key: Arc<Key>, doubts: u64, loaded: Instant, random: u64, before: Option<&Self>) -> Self {
        let used_before = before.map(|before| match before.last_use() {
            used if used >= loaded => millis(used - loaded),
            used => -millis(loaded - used),
        });
        Self {
            key: ArcSwapOption::new(Some(key)),
            is_confirmed: AtomicBool::new(false),
            doubts,
            loaded,
            share: LEAST_SHARE + random % (101 - LEAST_SHARE),
            last_use: AtomicI64::new(used_before.unwrap_or_default()),
            next_refresh: AtomicU64::new(0),
            unreadable_since: OnceLock::new(),
            awaited_since: OnceLock::new(),
        }
    }

    /// The key, unless it was wiped or is not confirmed.
    pub(super) fn key(&self) -> Option<Arc<Key>> {
        if self.is_confirmed.load(Ordering::Acquire) { self.key.load_full() } else { None }
    }

    /// From now on the key may be used.
    pub(super) fn confirm(&self) {
        self.is_confirmed.store(true, Ordering::Release);
    }

    /// Lets go of the key: its bytes are wiped when the last request that works with it is done.
    pub(super) fn wipe(&self) {
        self.key.store(None);
    }

    /// Counts a use.
    pub(super) fn touch(&self, now: Instant) {
        self.last_use.fetch_max(millis(self.age(now)).max(1), Ordering::Relaxed);
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
        self.last_use.load(Ordering::Relaxed) > 0
    }

    /// Whether the key should be read again by now, because it is in use and near the end of its life. Says so to one
    /// caller, and to none for a while after.
    pub(super) fn claim_refresh(&self, settings: &Settings, now: Instant) -> bool {
        let age = self.age(now).as_millis();
        let due = self.life(settings).as_millis() * u128::from(REFRESH_AT) / 100;
        let (age_millis, next) = (u64::try_from(age).unwrap_or(u64::MAX), self.next_refresh.load(Ordering::Relaxed));
        let (then, relaxed) = (age_millis.saturating_add(REFRESH_PAUSE), Ordering::Relaxed);
        age >= due
            && age_millis >= next
            && self.was_used()
            && self.next_refresh.compare_exchange(next, then, relaxed, relaxed).is_ok()
    }

    /// How long a request may have waited by now for the key to be read again; it begins with the first that asks.
    pub(super) fn awaited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.awaited_since.get_or_init(|| now))
    }

    /// A load of the key has failed.
    pub(super) fn is_unreadable(&self, now: Instant) {
        let _ = self.unreadable_since.set(now); // the first failure counts
    }

    /// Until when the key may be served although it cannot be read: `offline` from the last moment at which it could
    /// have been. That is when the store last answered, or when this key was first found to be unreadable.
    pub(super) fn stale_until(&self, settings: &Settings, store_answered: Instant) -> Instant {
        let readable = self.unreadable_since.get().map_or(store_answered, |since| store_answered.min(*since));
        readable.max(self.loaded) + settings.offline
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.loaded)
    }

    fn life(&self, settings: &Settings) -> Duration {
        let share = u32::try_from(self.share).unwrap_or(100);
        settings.any.saturating_mul(share) / 100
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
