//! Maintains the cache independently of requests: keys in use are refreshed before they expire, others are wiped on
//! time.

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

/// Visits every key once. Returns how long that took, without the time spent in other tasks.
async fn sweep(keys: &Keys) -> Duration {
    let inner = &keys.0;
    let (mut duration, mut start) = (Duration::ZERO, Instant::now());
    for (index, (name, cached)) in inner.cache.iter().enumerate() {
        if index % BATCH == BATCH - 1 {
            duration += start.elapsed();
            yield_now().await;
            start = Instant::now();
        }
        let now = Instant::now();
        if should_stay(inner, &name, &cached, now) {
            keys.refresh_if_due(&name, &cached, now);
        } else {
            inner.remove(&name, &cached).await;
        }
    }
    inner.cache.run_pending_tasks().await;
    inner.absent.run_pending_tasks().await;
    duration += start.elapsed();
    if inner.health.is_published() {
        inner.metrics.entries.set(i64::try_from(inner.cache.entry_count()).unwrap_or(i64::MAX));
    }
    duration
}

/// Whether a key may still be needed: it has not expired, or it may be served although expired and a read may fail.
fn should_stay(inner: &Inner, name: &backends::Name, cached: &Arc<Cached>, now: Instant) -> bool {
    let settings = inner.settings_now();
    let is_idle = cached.is_idle(&settings, now);
    if !cached.is_expired(&settings, now) && !is_idle {
        return true;
    }
    let is_refreshed = cached.was_used() && !is_idle;
    let may_fail = inner.health.outage().is_some() || inner.loads.is_in_progress(name) || is_refreshed;
    may_fail && inner.may_be_stale(cached, now)
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
