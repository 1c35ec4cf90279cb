//! How the cache behaves, and how long operations of the store may take.

use std::time::Duration;

use backends::Operation;

/// The deadline of a [`Keys::ping`], so that a probe is answered before its own time-out.
pub(super) const PING_DEADLINE: Duration = Duration::from_secs(2);

/// How the cache behaves: `cache` of the config. May be changed while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a key may be served without asking the store again, since it was read; zero: not at all. Each key
    /// has a share of 90 to 100 % of it.
    pub any: Duration,
    /// The same, since it was used last; zero: not at all.
    pub unused: Duration,
    /// How long keys are served while the store is down, since it last answered; zero: not at all.
    pub offline: Duration,
    /// Keys in the cache at most; the least used go first. At about 0.8 KiB a key.
    pub max_entries: u64,
    /// How long operations of the store may take.
    pub deadlines: Deadlines,
}

/// How long operations of the store may take, below the time-outs of the requests that need them. The store's own
/// time-outs are shorter where they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Of [`Operation::Create`].
    pub create: Duration,
    /// Of [`Operation::Read`].
    pub read: Duration,
    /// Of [`Operation::Delete`].
    pub delete: Duration,
    /// Of [`Operation::List`].
    pub list: Duration,
}

impl Deadlines {
    pub(super) fn of(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Create => self.create,
            Operation::Read => self.read,
            Operation::Delete => self.delete,
            Operation::List => self.list,
            Operation::Ping => PING_DEADLINE,
        }
    }
}
