//! Connections of which nothing is known yet. They have a place for as long as nobody else needs it: the one that has waited
//! longest makes room for a new one, so that silent connections keep nobody out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The connections that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Newcomers(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// The number of the next one.
    next: u64,
    by_number: BTreeMap<u64, CancellationToken>,
}

/// A connection that waits, until it arrives or is dropped.
#[derive(Debug)]
pub(super) struct Newcomer {
    all: Newcomers,
    number: u64,
    evicted: CancellationToken,
}

impl Newcomers {
    /// Adds a connection. If more than `limit` wait then, the oldest one has to go; returns whether that is so.
    pub(super) fn enter(&self, limit: usize) -> (Newcomer, bool) {
        let evicted = CancellationToken::new();
        let mut waiting = self.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_number.insert(number, evicted.clone());
        let is_full = waiting.by_number.len() > limit;
        if is_full && let Some((_, oldest)) = waiting.by_number.pop_first() {
            oldest.cancel();
        }
        (Newcomer { all: self.clone(), number, evicted }, is_full)
    }
}

impl Newcomer {
    /// The connection has shown who it is; it is not evicted any more, unless it was.
    pub(super) fn arrive(&self) {
        self.all.0.lock().by_number.remove(&self.number);
    }

    /// Waits until the connection has to go.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.arrive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_waits_makes_room() {
        let newcomers = Newcomers::default();
        let enter = || newcomers.enter(2).0;
        let (first, second) = (enter(), enter());
        first.arrive();
        let third = enter();
        assert!(!second.evicted.is_cancelled());
        let fourth = enter();
        let gone = [&first, &second, &third, &fourth].map(|newcomer| newcomer.evicted.is_cancelled());
        assert_eq!(gone, [false, true, false, false]);
        drop((first, second, third, fourth));
        assert!(newcomers.0.lock().by_number.is_empty());
    }
}
