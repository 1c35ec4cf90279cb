//! The cache over time, and in front of a store that fails. The clock is stopped and moved by the tests.

use backends::faulty::{Fault, Faulty};
use tokio::time::advance;

use super::*;
use crate::keys::load::STALE_PATIENCE;

const MINUTE: Duration = Duration::from_mins(1);

const OFFLINE: Settings = Settings { offline: MINUTE, ..LONG };

/// A store with one key, `key`, and the cache in front of it.
async fn with_key(settings: Settings) -> (Arc<Faulty>, Keys) {
    let store = Faulty::memory();
    let keys = keys_of(store.clone(), settings);
    keys.create(&name("key"), "me").await.unwrap();
    (store, keys)
}

/// Moves the clock, in steps in which all tasks run.
async fn pass(time: Duration) {
    const STEP: Duration = Duration::from_millis(50);
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(STEP.min(end - Instant::now())).await;
        settle().await;
    }
}

/// Uses the key each half second, and answers with the time of the first failure.
async fn use_until_failure(keys: &Keys, most: Duration) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < most {
        if keys.get(&name("key")).await.is_err() {
            return Some(start.elapsed());
        }
        pass(Duration::from_millis(500)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_read_again_in_the_background_before_its_time_is_up() {
    let (store, keys) = with_key(LONG).await;
    keys.get(&name("key")).await.unwrap();
    for _ in 0..20 * 60 {
        let reads = store.gets();
        keys.get(&name("key")).await.unwrap();
        assert_eq!(store.gets(), reads, "a request waited for the store");
        pass(Duration::from_secs(1)).await;
    }
    // In 20 minutes a life of 4.5 to 5 minutes ends at 80 % of it five times.
    assert!((5..=6).contains(&store.gets()), "{}", store.gets());
    assert_eq!(keys.0.metrics.misses.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_uses_is_wiped_on_time_and_not_read_again() {
    let (store, keys) = with_key(LONG).await;
    let key = Arc::downgrade(&keys.get(&name("key")).await.unwrap());
    pass(Duration::from_secs(29)).await;
    assert!(key.upgrade().is_some());
    pass(Duration::from_secs(3)).await;
    assert!(key.upgrade().is_none(), "the key is still in memory");
    assert_eq!(store.gets(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_read_together_are_not_read_again_together() {
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
async fn that_a_key_does_not_exist_is_known_for_a_second_or_until_it_is_created() {
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
async fn the_cache_holds_no_more_keys_than_it_may() {
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
async fn offline_serves_keys_for_as_long_as_it_says_after_the_last_answer() {
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
        // What `any` allows is allowed in any case.
        let least = MINUTE.min(served);
        assert!(served >= least && served <= any.max(MINUTE) + Duration::from_secs(1), "{fault:?} {any:?}: {served:?}");
        if any < MINUTE {
            assert!(served + Duration::from_secs(1) >= MINUTE, "{fault:?}: {served:?}");
        }
        assert!(matches!(keys.get(&name("key")).await, Err(KeysError::Down(_))), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_offline_a_key_past_its_time_is_not_served() {
    let (store, keys) = with_key(Settings { any: Duration::from_secs(5), ..LONG }).await;
    keys.get(&name("key")).await.unwrap();
    store.set(Fault::Unreachable);
    let served = use_until_failure(&keys, MINUTE).await.unwrap();
    assert!(served <= Duration::from_millis(5_500), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nobody_waits_for_it() {
    for fault in [Fault::Unreachable, Fault::Frozen] {
        let (store, keys) = with_key(OFFLINE).await;
        keys.get(&name("key")).await.unwrap();
        store.set(fault.clone());
        pass(Duration::from_secs(10)).await; // nobody asks, and it is found out all the same
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
async fn who_waits_for_a_store_that_freezes_is_told_so_before_any_time_out() {
    let (store, keys) = with_key(OFFLINE).await;
    store.set(Fault::Frozen);
    let start = Instant::now();
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::Down(_))));
    assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_reach_the_store_again_within_two_seconds_of_its_return() {
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
async fn one_key_that_cannot_be_read_is_no_outage_and_is_served_for_offline_at_most() {
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
async fn a_key_that_was_deleted_elsewhere_is_not_served_once_the_store_says_so() {
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
async fn a_slow_store_delays_no_request_for_a_key_that_may_be_served() {
    let (store, keys) = with_key(Settings { any: Duration::from_secs(2), ..OFFLINE }).await;
    keys.get(&name("key")).await.unwrap();
    store.set(Fault::Slow(Duration::from_millis(2500)));
    for _ in 0..200 {
        let start = Instant::now();
        keys.get(&name("key")).await.unwrap();
        assert!(start.elapsed() <= STALE_PATIENCE, "{:?}", start.elapsed());
        assert!(keys.outage().is_none());
        pass(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_everybody_left_is_dropped() {
    let (store, keys) = with_key(LONG).await;
    store.set(Fault::Frozen);
    let waiting = tokio::time::timeout(Duration::from_millis(100), keys.get(&name("key"))).await;
    assert!(waiting.is_err());
    assert!(!keys.0.loads.is_under_way(&name("key")));
}

#[tokio::test(start_paused = true)]
async fn an_idle_store_is_asked_now_and_then_whether_it_is_there() {
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
async fn what_old_requests_delete_after_a_reload_is_not_used_by_new_ones() {
    let (store, old) = with_key(LONG).await;
    let new = keys_of(store.clone(), LONG);
    new.get(&name("key")).await.unwrap();
    new.take_over(Some(&old));
    old.delete(&name("key")).await.unwrap();
    assert!(matches!(new.get(&name("key")).await, Err(KeysError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn creates_and_deletes_that_fail_take_no_other_key_from_the_cache() {
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
async fn a_failure_that_comes_late_does_not_stop_a_store_that_answers_again() {
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
    store.set(Fault::Unreachable); // meets new calls; the frozen one goes on with it
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
async fn a_slow_answer_to_a_probe_of_readiness_is_no_outage() {
    let (store, keys) = with_key(OFFLINE).await;
    store.set(Fault::Slow(Duration::from_millis(2500)));
    assert!(keys.ping().await.is_err(), "it takes longer than a probe may wait");
    pass(Duration::from_secs(10)).await;
    assert!(keys.outage().is_none());
    keys.get(&name("key")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_metrics_tell_of_the_store_in_use_alone() {
    let (sick, before) = with_key(OFFLINE).await;
    let metrics = before.0.metrics.clone();
    let up = || metrics.is_up();
    sick.set(Fault::Frozen);
    let waiting = {
        let before = before.clone();
        tokio::spawn(async move { before.create(&name("new"), "me").await })
    };
    pass(Duration::from_secs(12)).await;
    assert!(!up());
    let now = Keys::new(Faulty::memory(), OFFLINE, metrics.clone());
    assert!(!up(), "it is not in use yet");
    now.take_over(Some(&before));
    assert!(up());
    let _ = waiting.await.unwrap();
    pass(Duration::from_secs(30)).await;
    assert!(up(), "the store before speaks on");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_is_an_error_for_all_who_wait_and_the_next_one_is_made() {
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
async fn a_change_of_unknown_outcome_that_comes_to_pass_later_is_found_out() {
    let (store, keys) = with_key(LONG).await;
    store.set(Fault::Unreachable);
    assert!(keys.delete(&name("key")).await.is_err());
    store.set(Fault::None);
    pass(Duration::from_millis(500)).await;
    keys.get(&name("key")).await.unwrap();
    store.within().delete(&name("key")).await.unwrap(); // the delete that was given up
    pass(Duration::from_secs(5)).await;
    assert!(matches!(keys.get(&name("key")).await, Err(KeysError::NotFound)));
}
