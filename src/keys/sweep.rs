//! Maintains the cache independently of requests: keys in use are refreshed before they expire, others are wiped on
//! time. With `offline`, a key that was used within that time stays for an outage; while the keystore is up, it is read
//! again before it is used.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::cached::Cached;
use super::{Inner, Keys, Settings};

/// The maximum time that a key stays in memory after it has expired, unless there are very many keys.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The pause after a sweep is at least this many times its duration, so that a million keys take 2 % of a CPU and not
/// half of it.
const PAUSE_FACTOR: u32 = 50;

/// The maximum time that a key stays in memory after it has expired, however many keys there are.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The minimum pause between two sweeps.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Number of keys after which a sweep yields to other tasks.
const BATCH: usize = 512;

/// Sweeps the cache as long as it is in use.
pub(super) async fn run(keys: Weak<Inner>) {
    let mut duration = Duration::ZERO;
    loop {
        let Some(pause) = keys.upgrade().map(|keys| pause(&keys.settings.load(), duration)) else { return };
        sleep(pause).await;
        let Some(keys) = keys.upgrade() else { return };
        duration = sweep(&Keys(keys)).await;
    }
}

/// A tenth of the shortest lifetime, within limits, and longer after a sweep that took long.
fn pause(settings: &Settings, duration: Duration) -> Duration {
    let pause = (settings.any.min(settings.unused) / 10).clamp(MIN_PAUSE, MAX_PAUSE);
    pause.max(duration.saturating_mul(PAUSE_FACTOR).min(LONGEST_PAUSE))
}

/// What becomes of a cached key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is in use.
    InUse,
    /// It stays in case that the keystore fails.
    ForOutage,
    /// It is wiped.
    Wiped,
}

/// Visits every key once. Returns how long that took, without the time spent in other tasks.
async fn sweep(keys: &Keys) -> Duration {
    let inner = &keys.0;
    let (mut duration, mut start) = (Duration::ZERO, Instant::now());
    let mut for_outage = 0;
    for (index, (name, cached)) in inner.cache.iter().enumerate() {
        if index % BATCH == BATCH - 1 {
            duration += start.elapsed();
            yield_now().await;
            start = Instant::now();
        }
        let now = Instant::now();
        match fate(inner, &name, &cached, now) {
            Fate::InUse => keys.refresh_if_due(&name, &cached, now),
            Fate::ForOutage => for_outage += 1,
            Fate::Wiped => inner.remove(&name, &cached).await,
        }
    }
    inner.cache.run_pending_tasks().await;
    inner.absent.run_pending_tasks().await;
    duration += start.elapsed();
    if inner.health.is_published() {
        inner.metrics.entries.set(i64::try_from(inner.cache.entry_count()).unwrap_or(i64::MAX));
        inner.metrics.entries_for_outage.set(for_outage);
    }
    duration
}

/// Whether a key is in use: it may be served without asking, or is being read again; or whether it may be served if a
/// read fails.
fn fate(inner: &Inner, name: &backends::Name, cached: &Arc<Cached>, now: Instant) -> Fate {
    let settings = inner.settings_now();
    let is_idle = cached.is_idle(&settings, now);
    if !is_idle && !cached.is_expired(&settings, now) {
        return Fate::InUse;
    }
    if !inner.may_be_stale(cached, now) {
        return Fate::Wiped;
    }
    if cached.was_used() && !is_idle {
        return Fate::InUse;
    }
    let may_fail = inner.health.outage().is_some() || inner.loads.is_in_progress(name);
    if may_fail || cached.was_used_within(settings.offline, now) { Fate::ForOutage } else { Fate::Wiped }
}

#[cfg(test)]
mod tests {
    use super::super::tests::LONG;
    use super::*;

    #[test]
    fn very_many_keys_are_swept_less_often() {
        let pause = |millis| pause(&LONG, Duration::from_millis(millis)).as_secs();
        assert_eq!([0, 1, 20].map(pause), [1, 1, 1]);
        assert_eq!([400, 10_000].map(pause), [20, 30]);
    }
}
