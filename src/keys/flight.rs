//! Shares the result of one operation among all tasks that wait for it at the same time.

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

/// A future that several tasks can await. It runs as long as one of them waits, and is dropped with the last.
pub(super) type Flight<T> = Shared<BoxFuture<'static, T>>;

/// Number of entries at which abandoned flights are removed for the first time.
const FIRST_SCAN: usize = 1024;

/// Operations in progress, by key.
pub(super) struct Flights<K, T>(Mutex<InProgress<K, T>>);

struct InProgress<K, T> {
    flights: HashMap<K, WeakShared<BoxFuture<'static, T>>>,
    /// Number of entries at which abandoned ones are removed: twice the number that remained last time.
    scan_at: usize,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::new(InProgress { flights: HashMap::new(), scan_at: FIRST_SCAN }))
    }
}

impl<K: Eq + Hash, T: Clone + Send + 'static> Flights<K, T> {
    /// Joins the operation for `key`, or starts it with `begin`. The operation must call [`Flights::finished`] as its
    /// last step, and must not panic, because waiting tasks would not be notified.
    pub(super) fn join(&self, key: K, begin: impl FnOnce() -> BoxFuture<'static, T>) -> Flight<T> {
        let mut in_progress = self.0.lock();
        if let Some(flight) = in_progress.flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if in_progress.flights.len() >= in_progress.scan_at {
            in_progress.flights.retain(|_, flight| flight.upgrade().is_some());
            in_progress.scan_at = FIRST_SCAN.max(2 * in_progress.flights.len());
        }
        let flight = begin().shared();
        if let Some(weak) = flight.downgrade() {
            in_progress.flights.insert(key, weak);
        }
        flight
    }

    /// Whether an operation for `key` is in progress.
    pub(super) fn is_in_progress(&self, key: &K) -> bool {
        self.0.lock().flights.get(key).is_some_and(|flight| flight.upgrade().is_some())
    }

    /// Removes the operation for `key`, so that the next call starts a new one.
    pub(super) fn finished(&self, key: &K) {
        self.0.lock().flights.remove(key);
    }
}
