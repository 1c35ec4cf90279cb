//! Which loads have been overtaken, because something was done to their names meanwhile.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use backends::Name;

/// Number of counters; names share one by hash. A mutation makes loads of 1/1024 of all names, if they are under way,
/// be done again.
const STRIPES: usize = 1024;

/// Counts creates and deletes, by name. A load that began under another count than the present one may have read
/// what is no longer there, so its result is not used: without this a deleted key could come back into the cache
/// and encrypt data that nobody can read again.
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
    /// The count of a name.
    pub(super) fn of(&self, name: &Name) -> u64 {
        self.stripe(name).load(Ordering::Acquire)
    }

    /// The key of the name was created or deleted, or may have been.
    pub(super) fn count(&self, name: &Name) {
        self.stripe(name).fetch_add(1, Ordering::AcqRel);
    }

    fn stripe(&self, name: &Name) -> &AtomicU64 {
        let number = usize::try_from(self.hasher.hash_one(name) % STRIPES as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor, the length")]
        &self.stripes[number]
    }
}
