//! The settings of the cache, and the deadlines of keystore operations.

use std::time::Duration;

use backends::Operation;

/// The deadline of [`super::Keys::ping`]: below the timeout of common probes.
pub(super) const PING_DEADLINE: Duration = Duration::from_secs(2);

/// The settings of the cache: the section `cache` of the config. They can be changed while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a key is served before it is read again; zero: not cached. The lifetime of each key is between 90 and
    /// 100 % of it.
    pub any: Duration,
    /// The same, since the last use; zero: not cached.
    pub unused: Duration,
    /// How long keys are served while the keystore is down, since it last answered; zero: not at all.
    pub offline: Duration,
    /// The maximum number of keys in the cache, about 0.8 KiB each; the least used are removed first.
    pub max_entries: u64,
    /// The deadlines of keystore operations.
    pub deadlines: Deadlines,
}

/// The deadlines of keystore operations, below the timeouts of the requests that use them. The keystore's own timeouts
/// are shorter if possible.
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
