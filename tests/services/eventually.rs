//! The one way to wait for something: to look often, and to fail when it takes too long.

use std::time::{Duration, Instant};

/// The time between the first two looks; it doubles up to [`LONGEST`], so that what takes long costs few looks.
const SHORTEST: Duration = Duration::from_millis(5);

/// The longest time between two looks.
const LONGEST: Duration = Duration::from_millis(40);

/// Looks until something is found, and returns it. After `within` it fails with what is missing.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    within: Duration,
    missing: impl Fn() -> String,
    mut find: impl FnMut() -> F,
) -> T {
    let (start, mut pause) = (Instant::now(), SHORTEST);
    loop {
        if let Some(found) = find().await {
            return found;
        }
        give_up(start, within, &missing);
        tokio::time::sleep(pause).await;
        pause = LONGEST.min(pause * 2);
    }
}

/// The same until something is so.
pub async fn until<F: Future<Output = bool>>(
    within: Duration,
    missing: impl Fn() -> String,
    mut is_so: impl FnMut() -> F,
) {
    let find = || {
        let is_so = is_so();
        async { is_so.await.then_some(()) }
    };
    eventually(within, missing, find).await;
}

/// [`eventually`] for a thread that may wait.
pub fn eventually_blocking<T>(
    within: Duration,
    missing: impl Fn() -> String,
    mut find: impl FnMut() -> Option<T>,
) -> T {
    let (start, mut pause) = (Instant::now(), SHORTEST);
    loop {
        if let Some(found) = find() {
            return found;
        }
        give_up(start, within, &missing);
        std::thread::sleep(pause);
        pause = LONGEST.min(pause * 2);
    }
}

/// [`until`] for a thread that may wait.
pub fn until_blocking(within: Duration, missing: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
    eventually_blocking(within, missing, || is_so().then_some(()));
}

fn give_up(start: Instant, within: Duration, missing: impl Fn() -> String) {
    assert!(start.elapsed() < within, "{} after {within:?}", missing());
}
