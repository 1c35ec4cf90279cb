//! What happens to cached keys without a request: those in use are read again ahead of time, the others are wiped when
//! their time is up, and not at the next call.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::cached::Cached;
use super::{Inner, Keys, Settings};

/// How long a key may outlive its time in memory, unless there are very many.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A pause is this many times as long as the look at all keys before it: so a million of them take 2 % of one CPU, and
/// not half of it.
const REST: u32 = 50;

/// How long a key may outlive its time however many there are.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The shortest pause between two looks at all keys.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Keys that are looked at before others may run.
const BATCH: usize = 512;

/// Looks after the cache for as long as the keys are in use.
pub(super) async fn keep(keys: Weak<Inner>) {
    let mut took = Duration::ZERO;
    loop {
        let Some(pause) = keys.upgrade().map(|keys| pause(&keys.settings.load(), took)) else { return };
        sleep(pause).await;
        let Some(keys) = keys.upgrade() else { return };
        took = sweep(&Keys(keys)).await;
    }
}

/// A tenth of the shortest life, within bounds, and longer after a look at all keys that took long.
fn pause(settings: &Settings, took: Duration) -> Duration {
    let pause = (settings.any.min(settings.unused) / 10).clamp(MIN_PAUSE, MAX_PAUSE);
    pause.max(took.saturating_mul(REST).min(LONGEST_PAUSE))
}

/// Looks at every key once. The answer is how long that took, without what others did meanwhile.
async fn sweep(keys: &Keys) -> Duration {
    let inner = &keys.0;
    let (mut took, mut begun) = (Duration::ZERO, Instant::now());
    for (number, (name, cached)) in inner.cache.iter().enumerate() {
        if number % BATCH == BATCH - 1 {
            took += begun.elapsed();
            yield_now().await;
            begun = Instant::now();
        }
        let now = Instant::now();
        if may_stay(inner, &name, &cached, now) {
            keys.refresh_if_due(&name, &cached, now);
        } else {
            inner.remove(&name, &cached).await;
        }
    }
    inner.cache.run_pending_tasks().await;
    inner.absent.run_pending_tasks().await;
    took += begun.elapsed();
    if inner.health.is_published() {
        inner.metrics.entries.set(i64::try_from(inner.cache.entry_count()).unwrap_or(i64::MAX));
    }
    took
}

/// Whether a key may be needed: it is within its time, or the config lets it be served while it cannot be read, and
/// that may come to pass.
fn may_stay(inner: &Inner, name: &backends::Name, cached: &Arc<Cached>, now: Instant) -> bool {
    let settings = inner.settings_now();
    let is_idle = cached.is_idle(&settings, now);
    if !cached.is_old(&settings, now) && !is_idle {
        return true;
    }
    let may_fail = inner.health.outage().is_some() || inner.loads.is_under_way(name) || (cached.was_used() && !is_idle); // it is about to be read again
    may_fail && inner.may_be_stale(cached, now)
}

#[cfg(test)]
mod tests {
    use super::super::tests::LONG;
    use super::*;

    #[test]
    fn very_many_keys_are_looked_at_less_often() {
        let pause = |millis| pause(&LONG, Duration::from_millis(millis)).as_secs();
        assert_eq!([0, 1, 20].map(pause), [1, 1, 1]);
        assert_eq!([400, 10_000].map(pause), [20, 30]);
    }
}
