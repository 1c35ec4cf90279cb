//! One piece of work for all who want its result at the same time.

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

/// A future that many wait for. It goes on while one of them waits, and is dropped with the last.
pub(super) type Flight<T> = Shared<BoxFuture<'static, T>>;

/// Flights among which those that everybody left are looked for, the first time.
const FIRST_SCAN: usize = 1024;

/// Work that is under way, by what it is for.
pub(super) struct Flights<K, T>(Mutex<UnderWay<K, T>>);

struct UnderWay<K, T> {
    flights: HashMap<K, WeakShared<BoxFuture<'static, T>>>,
    /// How many there must be before abandoned ones are looked for: twice as many as the last time were left.
    scan_at: usize,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::new(UnderWay { flights: HashMap::new(), scan_at: FIRST_SCAN }))
    }
}

impl<K: Eq + Hash, T: Clone + Send + 'static> Flights<K, T> {
    /// Joins the work for `key`, which `begin` begins when it is not under way. The work must call
    /// [`Flights::ended`] as its last step, and must not panic: those who wait would not hear of it.
    pub(super) fn join(&self, key: K, begin: impl FnOnce() -> BoxFuture<'static, T>) -> Flight<T> {
        let mut under_way = self.0.lock();
        if let Some(flight) = under_way.flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if under_way.flights.len() >= under_way.scan_at {
            under_way.flights.retain(|_, flight| flight.upgrade().is_some());
            under_way.scan_at = FIRST_SCAN.max(2 * under_way.flights.len());
        }
        let flight = begin().shared();
        if let Some(weak) = flight.downgrade() {
            under_way.flights.insert(key, weak);
        }
        flight
    }

    /// Whether work for `key` is under way.
    pub(super) fn is_under_way(&self, key: &K) -> bool {
        self.0.lock().flights.get(key).is_some_and(|flight| flight.upgrade().is_some())
    }

    /// The work for `key` is done: who comes now begins it anew.
    pub(super) fn ended(&self, key: &K) {
        self.0.lock().flights.remove(key);
    }
}
