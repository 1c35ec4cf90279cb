//! Where Keyway keeps keys: one trait, [`Store`], and one file per backend.
//!
//! | file | what lives there |
//! |---|---|
//! | `config.rs` | which store, and where: [`BackendConfig`] and [`open`] |
//! | `error.rs` | why a store did not do what it was asked |
//! | `operation.rs` | the names of the operations, for messages and metrics |
//! | `name.rs`, `value.rs`, `secret.rs` | what a store is given: a checked [`Name`], an opaque [`Value`], a [`Secret`] |
//! | `memory.rs` | keys that end with the process: for tests and throw-away servers |
//! | `fs.rs`, `fs/` | a directory with one file per key, as KES keeps it |
//! | `sqlite.rs`, `sqlite/`, `sqlite.1.sql` | one SQLite database; the numbered files are its schema migrations |
//! | `postgres.rs` | a table of a PostgreSQL database, which any number of gateways may share |
//! | `vault.rs` | the KV engine of HashiCorp Vault or OpenBao, as KES uses it |
//! | `aws.rs` | AWS Secrets Manager, as KES uses it |
//! | `pending.rs` | a store that is opened once it is ready |
//! | `path.rs` | what the two backends that live in files share |
//! | `faulty.rs` | a store that delays, fails and freezes, for tests (feature `conformance`) |
//! | `conformance.rs` | the contract as code: the suite that every backend passes (feature `conformance`) |
//!
//! Not here: the meaning of a value, HTTP, policies, caching, retries and the measuring of latency. A store is the
//! last one to know and answers what it sees.
//!
//! # Adding a backend
//! A file with a type that implements [`Store`] and one function that maps its driver's errors; a variant of
//! [`BackendConfig`], after which the compiler names every question that it has to answer; the conformance suite run
//! against it in `tests/`.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "aws")]
pub mod aws;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "postgres", feature = "vault", feature = "aws"))]
mod deadline;
mod error;
#[cfg(feature = "conformance")]
pub mod faulty;
mod fs;
mod memory;
mod name;
mod operation;
pub mod path;
mod pending;
#[cfg(feature = "postgres")]
pub mod postgres;
mod secret;
#[cfg(feature = "sqlite")]
mod sqlite;
mod value;
#[cfg(feature = "vault")]
pub mod vault;

pub use config::{BackendConfig, open, open_or_wait};
pub use error::{AbsentStore, StoreError, chain};
pub use name::{InvalidName, Name, is_valid_prefix};
pub use operation::Operation;
pub use secret::Secret;
pub use value::Value;

/// Keeps values under names, and never loses or overwrites one.
///
/// # The contract
/// A value is a cryptographic key: whoever loses it loses all data encrypted under it. The suite `conformance`
/// tests every sentence that can be tested.
///
/// **A name is given once.** Of any number of concurrent creates of one name, in this process and in others that
/// share the place of storage, exactly one succeeds; every other one is told [`StoreError::AlreadyExists`] and
/// changes nothing. A value never changes: there is no update, only delete and create.
///
/// **An answer is durable.** `Ok` from `create` or `delete` means that a power cut at once does not undo it. The
/// same holds for what others are told of it: a value that `get` returns, and a name that `create` calls taken,
/// outlast a power cut too, for their caller goes on to encrypt data under that key.
///
/// **`NotFound` is knowledge, not failure.** Clients answer it by making a new key under the name, and their
/// default key is then another one. So a store says it only when it is certain that it looked in the right place
/// and that nothing is there. A place that is gone, replaced, locked or not readable is
/// [`StoreError::Unavailable`]; something that is there but is no value is [`StoreError::Damaged`], and neither is
/// ever overwritten. An empty or cut value is returned as it is: what it should be is known to the caller alone.
///
/// **Futures may be dropped** at any time, as when a client leaves. A dropped create or delete has happened or has
/// not, never by half, and may still happen shortly after the drop. An operation that failed with `Unreachable` or
/// `Unavailable` may have happened, too: only a later `get` tells.
///
/// **Calls run side by side** without any lock of the caller. A call that starts after another one has returned
/// sees what that one did, also through another handle on the same place.
///
/// **Sizes.** Values have 0 to [`Value::MAX_LEN`] bytes; a longer one is refused before anything is written.
///
/// **Messages** name the place, the cause and what to do. They never hold any part of a value.
#[async_trait::async_trait]
pub trait Store: Debug + Send + Sync {
    /// Stores `value` under `name`, if there is nothing under that name yet. `Ok` once it is durable.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when there is anything under the name, whole or damaged; a value longer than
    /// [`Value::MAX_LEN`] is [`StoreError::Unavailable`].
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError>;

    /// The value under `name`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    async fn get(&self, name: &Name) -> Result<Value, StoreError>;

    /// Removes `name` and its value. `Ok` once that is durable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`] when what is there is nothing this store may remove.
    async fn delete(&self, name: &Name) -> Result<(), StoreError>;

    /// The names that begin with `prefix` and come after `after`, in byte order, at most `limit`; fewer than that
    /// only when there are no more. `after` need not exist.
    ///
    /// What is there but is no valid [`Name`] is left out. A name that stands during the whole call is in its
    /// answer; one that is created or deleted meanwhile may be or not.
    ///
    /// # Errors
    /// None but those of reaching the store.
    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError>;

    /// Whether `get` would work now: a real read, with the rights and on the way of `get`.
    ///
    /// # Errors
    /// None but those of reaching the store.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What other processes do to the keys, where this store hears of it: a receiver of every [`Change`] from now
    /// on. Its first message says whether the store hears now. A receiver that lags may have missed any change.
    /// `None` where nobody tells: there, a cache bounds what it does not know by time alone.
    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<Change>>;

    /// Lets go of connections, locks and leases. Later calls may fail; a second `close` does nothing.
    async fn close(&self);
}

/// What a store hears of the processes that share its place of storage, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was created or deleted.
    Key(Name),
    /// The store receives no notifications any more: from now on, changes go unnoticed.
    Unsubscribed,
    /// The store receives notifications, perhaps again: anything may have changed before.
    Subscribed,
}

/// See [`credentials_refused`].
static CREDENTIALS_REFUSED: AtomicU64 = AtomicU64::new(0);

/// How often services have refused our credentials since the process began: a token, a login, a renewal. Operations may
/// have succeeded all the same, after another login.
pub fn credentials_refused() -> u64 {
    CREDENTIALS_REFUSED.load(Ordering::Relaxed)
}

#[cfg(feature = "vault")]
pub(crate) fn count_refused_credentials() {
    CREDENTIALS_REFUSED.fetch_add(1, Ordering::Relaxed);
}
