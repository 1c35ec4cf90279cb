//! The cache over time, and during outages. The clock is paused and advanced by the tests.

use backends::faulty::{Fault, Faulty};
use tokio::time::advance;

use super::*;
use crate::keys::load::MAX_STALE_WAIT;

const MINUTE: Duration = Duration::from_mins(1);

const OFFLINE: Settings = Settings { offline: MINUTE, ..LONG };

/// A keystore with one key, `key`, and the cache in front of it.
async fn with_key(settings: Settings) -> (Arc<Faulty>, Keys) {
    let store = Faulty::memory();
    let keys = keys_of(store.clone(), settings);
    keys.create(&name("key"), "me").await.unwrap();
    (store, keys)
}

/// Advances the clock in steps, and runs all tasks after each.
async fn pass(time: Duration) {
    const STEP: Duration = Duration::from_millis(50);
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(STEP.min(end - Instant::now())).await;
        settle().await;
    }
}

/// Uses the key every half second. Returns the time of the first failure.
async fn use_until_failure(keys: &Keys, limit: Duration) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if keys.get(&name("key")).await.is_err() {
            return Some(start.elapsed());
        }
        pass(Duration::from_millis(500)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_refreshed_in_the_background_before_it_expires() {
    let (store, keys) = with_key(LONG).await;
    keys.get(&name("key")).await.unwrap();
    for _ in 0..20 * 60 {
        let reads = store.gets();
        keys.get(&name("key")).await.unwrap();
        assert_eq!(store.gets(), reads, "a request waited for the keystore");
        pass(Duration::from_secs(1)).await;
    }
    // In 20 minutes, 80 % of a lifetime of 4.5 to 5 minutes passes five times.
    assert!((5..=6).contains(&store.gets()), "{}", store.gets());
    assert_eq!(keys.0.metrics.misses.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unused_key_is_wiped_on_time_and_not_read_again() {
    let (store, keys) = with_key(LONG).await;
    let key = Arc::downgrade(&keys.get(&name("key")).await.unwrap());
    pass(Duration::from_secs(29)).await;
    assert!(key.upgrade().is_some());
    pass(Duration::from_secs(3)).await;
    assert!(key.upgrade().is_none(), "the key is still in memory");
    assert_eq!(store.gets(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_read_together_are_not_refreshed_together() {
    let store = Faulty::memory();
    let keys = keys_of(store.clone(), LONG);
    let names: Vec<_> = (0..200).map(|number| name(&format!("key-{number}"))).collect();
    for name in &names {
        keys.create(name, "me").await.unwrap();
    }
    for name in &names {
        keys.get(name).await.unwrap();
    }
    let mut most = 0;
    for _ in 0..250 {
        let reads = store.gets();
        for name in &names {
            keys.get(name).await.unwrap();
        }
        pass(Duration::from_secs(1)).await;
        most = most.max(store.gets() - reads);
    }
    let metrics = &keys.0.metrics;
    let counts = (metrics.misses.get(), metrics.refreshes.get(), store.gets());
    assert_eq!(counts, (200, 200, 400), "misses, refreshes, reads");
    assert!(most < 50, "{most} keys were read within a second");
}

#[tokio::test(start_paused = true)]
async fn not_found_is_cached_for_a_second_or_until_the_key_is_created() {
    let store = Faulty::memory();
    let keys = keys_of(store.clone(), LONG);
    for _ in 0..100 {
        assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
    }
    assert_eq!(store.gets(), 1);
    advance(Duration::from_millis(1001)).await;
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
    assert_eq!(store.gets(), 2);
    keys.create(&name("key"), "me").await.unwrap();
    keys.get(&name("key")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_cache_does_not_exceed_its_maximum_size() {
    let store = Faulty::memory();
    let keys = keys_of(store.clone(), Settings { max_entries: 10, ..LONG });
    let mut seen = Vec::new();
    for number in 0..100 {
        let name = name(&format!("key-{number}"));
        keys.create(&name, "me").await.unwrap();
        seen.push(Arc::downgrade(&keys.get(&name).await.unwrap()));
    }
    pass(Duration::from_secs(2)).await;
    let held = |seen: &[Weak<Key>]| seen.iter().filter(|key| key.upgrade().is_some()).count();
    assert!(held(&seen) <= 10, "{}", held(&seen));
}

#[tokio::test(start_paused = true)]
async fn keys_are_served_for_the_duration_of_offline_after_the_last_answer() {
    for (fault, any) in [
        (Fault::Unreachable, Duration::from_mins(5)),
        (Fault::Unreachable, Duration::from_secs(2)),
        (Fault::Unavailable, Duration::from_secs(2)),
        (Fault::Frozen, Duration::from_secs(2)),
    ] {
        let (store, keys) = with_key(Settings { any, ..OFFLINE }).await;
        assert_eq!(use_until_failure(&keys, MINUTE / 2).await, None);
        store.set(fault.clone());
        let served = use_until_failure(&keys, 6 * MINUTE).await.unwrap();
        // Within `any`, a key is served in any case.
        let least = MINUTE.min(served);
        assert!(served >= least && served <= any.max(MINUTE) + Duration::from_secs(1), "{fault:?} {any:?}: {served:?}");
        if any < MINUTE {
            assert!(served + Duration::from_secs(1) >= MINUTE, "{fault:?}: {served:?}");
        }
        assert!(matches!(keys.get(&name("key")).await, Err(KeysError::Down(_))), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_used_within_offline_is_there_in_an_outage_and_wiped_later() {
    let settings = Settings { any: Duration::from_secs(10), ..OFFLINE };
    let (store, keys) = with_key(settings).await;
    let key = Arc::downgrade(&keys.get(&name("key")).await.unwrap());
    pass(Duration::from_secs(50)).await;
    assert_eq!((store.gets(), keys.0.metrics.entries_for_outage.get()), (1, 1), "not refreshed, but kept");
    store.set(Fault::Unreachable);
    let served = use_until_failure(&keys, 3 * MINUTE).await.unwrap();
    assert!((50..=61).contains(&served.as_secs()), "{served:?}");
    pass(Duration::from_secs(3)).await;
    assert!(key.upgrade().is_none(), "the key is still in memory");

    let (store, keys) = with_key(settings).await;
    let key = Arc::downgrade(&keys.get(&name("key")).await.unwrap());
    pass(MINUTE + Duration::from_secs(3)).await;
    assert!(key.upgrade().is_none(), "the key is still in memory");
    assert_eq!(keys.0.metrics.entries_for_outage.get(), 0);
    store.set(Fault::Unreachable);
    assert!(keys.get(&name("key")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_kept_for_an_outage_is_not_served_without_asking() {
    let (store, keys) = with_key(OFFLINE).await;
    for fault in [Fault::None, Fault::Slow(2 * MAX_STALE_WAIT)] {
        keys.get(&name("key")).await.unwrap();
        pass(Duration::from_secs(50)).await;
        store.set(fault.clone());
        let key = store.within().get(&name("key")).await.unwrap();
        store.within().delete(&name("key")).await.unwrap();
        let answer = keys.get(&name("key")).await;
        assert!(matches!(answer, Err(KeysError::NotFound)), "{fault:?}");
        store.within().create(&name("key"), &key).await.unwrap();
        store.set(Fault::None);
        pass(Duration::from_secs(2)).await; // longer than "not found" is cached
    }
}

#[tokio::test(start_paused = true)]
async fn without_offline_an_expired_key_is_not_served() {
    let (store, keys) = with_key(Settings { any: Duration::from_secs(5), ..LONG }).await;
    keys.get(&name("key")).await.unwrap();
    store.set(Fault::Unreachable);
    let served = use_until_failure(&keys, MINUTE).await.unwrap();
    assert!(served <= Duration::from_millis(5_500), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn during_an_outage_no_request_waits_for_the_keystore() {
    for fault in [Fault::Unreachable, Fault::Frozen] {
        let (store, keys) = with_key(OFFLINE).await;
        keys.get(&name("key")).await.unwrap();
        store.set(fault.clone());
        pass(Duration::from_secs(10)).await; // the outage is detected without requests
        let (gets, start) = (store.gets(), Instant::now());
        for _ in 0..100 {
            keys.get(&name("key")).await.unwrap();
            assert!(matches!(keys.get(&name("cold")).await, Err(KeysError::Down(_))), "{fault:?}");
            assert!(matches!(keys.create(&name("new"), "me").await, Err(KeysError::Down(_))), "{fault:?}");
            assert!(matches!(keys.delete(&name("key")).await, Err(KeysError::Down(_))), "{fault:?}");
            assert!(matches!(keys.list("", None, 1000).await, Err(KeysError::Down(_))), "{fault:?}");
        }
        assert_eq!((store.gets(), start.elapsed()), (gets, Duration::ZERO), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_frozen_keystore_fails_before_its_timeout() {
    let (store, keys) = with_key(OFFLINE).await;
    store.set(Fault::Frozen);
    let start = Instant::now();
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::Down(_))));
    assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_breaker_closes_within_two_seconds_after_an_outage() {
    for fault in [Fault::Unreachable, Fault::Unavailable, Fault::Frozen] {
        for outage in [1, 7, 100] {
            let (store, keys) = with_key(OFFLINE).await;
            store.set(fault.clone());
            let _ = keys.get(&name("key")).await;
            pass(Duration::from_secs(outage)).await;
            assert!(keys.outage().is_some() || outage < 5, "{fault:?}");
            store.set(Fault::None);
            pass(Duration::from_millis(1900)).await;
            assert!(keys.outage().is_none(), "{fault:?} for {outage} s");
            keys.get(&name("key")).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_key_is_not_an_outage_and_is_served_for_offline_at_most() {
    let (store, keys) = with_key(Settings { any: Duration::from_secs(5), ..OFFLINE }).await;
    keys.create(&name("other"), "me").await.unwrap();
    assert_eq!(use_until_failure(&keys, MINUTE).await, None);
    store.set(Fault::UnavailableKey(name("key")));
    let start = Instant::now();
    let mut failed = None;
    while failed.is_none() && start.elapsed() < 2 * MINUTE {
        pass(Duration::from_millis(500)).await;
        keys.get(&name("other")).await.unwrap();
        failed = keys.get(&name("key")).await.err();
        assert!(keys.outage().is_none());
    }
    assert!(matches!(failed, Some(KeysError::Store(_))), "{failed:?}");
    let served = start.elapsed().as_secs_f64();
    assert!((60.0..66.0).contains(&served), "{served}");
}

#[tokio::test(start_paused = true)]
async fn a_key_deleted_elsewhere_is_not_served_once_it_is_read_again() {
    let (store, keys) = with_key(Settings { any: Duration::from_secs(5), ..OFFLINE }).await;
    keys.get(&name("key")).await.unwrap();
    store.within().delete(&name("key")).await.unwrap();
    let served = use_until_failure(&keys, MINUTE).await.unwrap();
    assert!(served <= Duration::from_secs(5), "{served:?}");
    store.set(Fault::Unreachable);
    pass(Duration::from_secs(5)).await;
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound | KeysError::Down(_))));
}

#[tokio::test(start_paused = true)]
async fn a_slow_keystore_does_not_delay_requests_that_may_use_an_expired_key() {
    let (store, keys) = with_key(Settings { any: Duration::from_secs(2), ..OFFLINE }).await;
    keys.get(&name("key")).await.unwrap();
    store.set(Fault::Slow(Duration::from_millis(2500)));
    for _ in 0..200 {
        let start = Instant::now();
        keys.get(&name("key")).await.unwrap();
        assert!(start.elapsed() <= MAX_STALE_WAIT, "{:?}", start.elapsed());
        assert!(keys.outage().is_none());
        pass(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_is_dropped_when_no_request_waits_for_it() {
    let (store, keys) = with_key(LONG).await;
    store.set(Fault::Frozen);
    let waiting = tokio::time::timeout(Duration::from_millis(100), keys.get(&name("key"))).await;
    assert!(waiting.is_err());
    assert!(!keys.0.loads.is_in_progress(&name("key")));
}

#[tokio::test(start_paused = true)]
async fn an_idle_keystore_is_probed_periodically() {
    let (store, keys) = with_key(LONG).await;
    pass(MINUTE).await;
    assert!((5..=7).contains(&store.pings()), "{}", store.pings());
    keys.set(OFFLINE);
    pass(Duration::from_secs(10)).await;
    let pings = store.pings();
    pass(MINUTE).await;
    assert!((55..=62).contains(&(store.pings() - pings)), "{}", store.pings() - pings);
    keys.close().await;
    let pings = store.pings();
    pass(MINUTE).await;
    assert_eq!((store.pings(), store.closes()), (pings, 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_deleted_by_an_old_request_is_not_served_after_a_reload() {
    let (store, old) = with_key(LONG).await;
    let new = keys_of(store.clone(), LONG);
    new.get(&name("key")).await.unwrap();
    new.take_over(Some(&old));
    old.delete(&name("key")).await.unwrap();
    assert!(matches!(new.get(&name("key")).await, Err(KeysError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn failed_creates_and_deletes_do_not_evict_other_keys() {
    let store = Faulty::memory();
    let keys = keys_of(store.clone(), OFFLINE);
    let hot: Vec<_> = (0..300).map(|number| name(&format!("hot-{number}"))).collect();
    for name in &hot {
        keys.create(name, "me").await.unwrap();
        keys.get(name).await.unwrap();
    }
    store.set(Fault::Frozen);
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..2000 {
        let (keys, name) = (keys.clone(), name(&format!("other-{number}")));
        changes.spawn(async move {
            if number % 2 == 0 { keys.create(&name, "me").await } else { keys.delete(&name).await }
        });
    }
    pass(Duration::from_secs(30)).await;
    assert!(changes.join_all().await.iter().all(Result::is_err));
    for name in &hot {
        keys.get(name).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_does_not_open_the_breaker_again() {
    let (store, keys) = with_key(OFFLINE).await;
    store.set(Fault::Frozen);
    let late = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.create(&name("late"), "me").await })
    };
    pass(Duration::from_secs(5)).await;
    assert!(keys.outage().is_some());
    store.set(Fault::None);
    pass(Duration::from_secs(2)).await;
    assert!(keys.outage().is_none());
    late.await.unwrap().unwrap();
    store.set(Fault::Frozen);
    let late = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.create(&name("later"), "me").await })
    };
    settle().await;
    store.set(Fault::Unreachable); // applies to new calls, and ends the frozen one
    settle().await;
    store.set(Fault::None);
    let _ = late.await.unwrap();
    pass(Duration::from_secs(2)).await;
    for number in 0..20 {
        keys.create(&name(&format!("key-{number}")), "me").await.unwrap();
        pass(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_to_a_readiness_probe_is_not_an_outage() {
    let (store, keys) = with_key(OFFLINE).await;
    store.set(Fault::Slow(Duration::from_millis(2500)));
    assert!(keys.ping().await.is_err(), "it takes longer than the deadline of a ping");
    pass(Duration::from_secs(10)).await;
    assert!(keys.outage().is_none());
    keys.get(&name("key")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_metrics_show_only_the_keystore_in_use() {
    let (frozen, old) = with_key(OFFLINE).await;
    let metrics = old.0.metrics.clone();
    let up = || metrics.is_up();
    frozen.set(Fault::Frozen);
    let waiting = {
        let old = old.clone();
        tokio::spawn(async move { old.create(&name("new"), "me").await })
    };
    pass(Duration::from_secs(12)).await;
    assert!(!up());
    let new = Keys::new(Faulty::memory(), OFFLINE, metrics.clone());
    assert!(!up(), "it is not in use yet");
    new.take_over(Some(&old));
    assert!(up());
    let _ = waiting.await.unwrap();
    pass(Duration::from_secs(30)).await;
    assert!(up(), "the metrics still show the old keystore");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_fails_all_waiting_requests_and_the_next_one_succeeds() {
    let (store, keys) = with_key(LONG).await;
    store.set(Fault::Panic);
    let requests: Vec<_> = (0..10)
        .map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.get(&name("key")).await.map(drop) })
        })
        .collect();
    for request in requests {
        assert!(matches!(request.await.unwrap(), Err(KeysError::Damaged { .. })));
    }
    assert!(keys.ping().await.is_err());
    store.set(Fault::None);
    keys.get(&name("key")).await.unwrap();
    keys.ping().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delayed_change_of_unknown_outcome_is_detected() {
    let (store, keys) = with_key(LONG).await;
    store.set(Fault::Unreachable);
    assert!(keys.delete(&name("key")).await.is_err());
    store.set(Fault::None);
    pass(Duration::from_millis(500)).await;
    keys.get(&name("key")).await.unwrap();
    store.within().delete(&name("key")).await.unwrap(); // the abandoned delete
    pass(Duration::from_secs(5)).await;
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
}
