//! One piece of work for all who want its result at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// A future that many wait for. It goes on while one of them waits, and is dropped with the last.
pub(super) type Flight<T> = Shared<BoxFuture<'static, T>>;

/// Flights of those who left, beyond which they are looked for and removed.
const ABANDONED: usize = 1024;

/// Work that is under way, by what it is for.
pub(super) struct Flights<K, T>(Mutex<HashMap<K, WeakShared<BoxFuture<'static, T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Clone + Send + 'static> Flights<K, T> {
    /// Joins the work for `key`, which `begin` begins when it is not under way. The work must call
    /// [`Flights::ended`] as its last step.
    pub(super) fn join(&self, key: K, begin: impl FnOnce() -> BoxFuture<'static, T>) -> Flight<T> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if flights.len() > ABANDONED {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = begin().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }

    /// Whether work for `key` is under way.
    pub(super) fn is_under_way(&self, key: &K) -> bool {
        self.lock().get(key).is_some_and(|flight| flight.upgrade().is_some())
    }

    /// The work for `key` is done: who comes now begins it anew.
    pub(super) fn ended(&self, key: &K) {
        self.lock().remove(key);
    }

    // A poisoned lock is as good as another: every change is one call into the map.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, WeakShared<BoxFuture<'static, T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
