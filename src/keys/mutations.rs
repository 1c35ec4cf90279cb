//! Detects loads that were overtaken by a create or delete.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use backends::Name;

/// Number of counters; names share them by hash. A mutation therefore repeats the loads in progress of 1/1024 of all
/// names.
const STRIPES: usize = 1024;

/// Counts creates and deletes by name. If the count has changed since a load started, its result may be outdated and is
/// not used. Otherwise a deleted key could return to the cache and encrypt data that could never be decrypted.
pub(super) struct Mutations {
    hasher: RandomState,
    stripes: [AtomicU64; STRIPES],
}

impl Default for Mutations {
    fn default() -> Self {
        Self { hasher: RandomState::new(), stripes: [const { AtomicU64::new(0) }; STRIPES] }
    }
}

impl Mutations {
    /// The count for a name.
    pub(super) fn of(&self, name: &Name) -> u64 {
        self.stripe(name).load(Ordering::Acquire)
    }

    /// Counts a create or delete, including one with unknown outcome.
    pub(super) fn count(&self, name: &Name) {
        self.stripe(name).fetch_add(1, Ordering::AcqRel);
    }

    fn stripe(&self, name: &Name) -> &AtomicU64 {
        let index = usize::try_from(self.hasher.hash_one(name) % STRIPES as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor, the length")]
        &self.stripes[index]
    }
}
