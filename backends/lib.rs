//! Where Keyway keeps keys: one trait, [`Store`], and one file per backend.
//!
//! | file | what it contains |
//! |---|---|
//! | `config.rs` | which store, and where: [`BackendConfig`] and [`open`] |
//! | `error.rs` | why a store failed: [`StoreError`]; and [`chain`], an error with its causes on one line |
//! | `operation.rs` | the names of the operations, for messages and metrics |
//! | `name.rs`, `value.rs`, `secret.rs` | what a store is given: a checked [`Name`], an opaque [`Value`], a [`Secret`] |
//! | `named_file.rs` | the files that the settings of a store name |
//! | `memory.rs` | keys that end with the process, for tests and temporary servers |
//! | `fs.rs`, `fs/` | a directory with one file per key, as KES stores it |
//! | `sqlite.rs`, `sqlite/`, `sqlite.1.sql` | one SQLite database; the numbered files are its schema migrations |
//! | `postgres.rs`, `postgres/`, `postgres.1.sql` | a table in a PostgreSQL database, shared by any number of gateways |
//! | `vault.rs`, `vault/` | the KV engine of HashiCorp Vault or OpenBao, as KES uses it |
//! | `aws.rs`, `aws/` | AWS Secrets Manager, as KES uses it |
//! | `pending.rs` | a store that is opened once its service is ready |
//! | `trash.rs` | a store around a store, in which deleted values stay for a while |
//! | `tls_failure.rs` | failed TLS handshakes in plain words |
//! | `path.rs`, `marker.rs` | what the two backends that use files share |
//! | `deadline.rs` | how the backends that use a network end what takes too long |
//! | `faulty.rs` | a store that delays, fails and freezes, for tests (feature `conformance`) |
//! | `conformance.rs` | the contract as code: the suite that every backend passes (feature `conformance`) |
//!
//! Not here: the meaning of a value, HTTP, policies, caching, retries and the measurement of latency.
//!
//! # Adding a backend
//! 1. A file with a type that implements [`Store`], its settings, and one function that maps its driver's errors to
//!    [`StoreError`]. The file is behind a feature of its own if it brings a dependency.
//! 2. A variant of [`BackendConfig`]. The compiler then lists every question that the variant has to answer, and
//!    [`open`].
//! 3. Tests in `tests/`: the suite of `conformance` on a real server, and what is specific to the backend.
//! 4. In the gateway, the section of the config file that becomes the variant.

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
mod marker;
mod memory;
mod name;
mod named_file;
mod operation;
pub mod path;
mod pending;
#[cfg(feature = "postgres")]
pub mod postgres;
mod secret;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod tls_failure;
pub mod trash;
mod value;
#[cfg(feature = "vault")]
pub mod vault;

pub use config::{BackendConfig, open, open_later};
pub use error::{AbsentStore, StoreError, chain};
pub use name::{InvalidName, Name, is_valid_prefix};
pub use named_file::{FileKind, NamedFile};
pub use operation::Operation;
pub use secret::Secret;
pub use value::Value;

/// Keeps values under names, and never loses or overwrites one.
///
/// # The contract
/// A value is a cryptographic key: if it is lost, all data encrypted under it is lost. The suite `conformance` tests
/// every sentence that can be tested.
///
/// **A name is assigned once.** Of any number of concurrent creates of one name, in this process and in others that
/// share the same storage, exactly one succeeds; every other one gets [`StoreError::AlreadyExists`] and changes
/// nothing. A value never changes: there is no update, only delete and create.
///
/// **A result is durable.** `Ok` from `create` or `delete` means that a power cut right after it does not undo it. The
/// same holds for what other callers see of it: a value that `get` returns, and a name that `create` reports as taken,
/// survive a power cut too, because their caller goes on to encrypt data under that key.
///
/// **`NotFound` is a fact, not a failure.** Clients respond to it by creating a new key under the name, which then is a
/// different key. So a store returns it only when it is certain that it searched the right place and that nothing is
/// there. A place that is gone, replaced, locked or not readable is [`StoreError::Unavailable`]; something that is
/// there but is not a value is [`StoreError::Damaged`], and neither is ever overwritten. An empty or truncated value is
/// returned as it is: only the caller knows what it should be.
///
/// **Futures may be dropped** at any time, for example when a client disconnects. A dropped create or delete has
/// happened completely or not at all, and may still happen shortly after the drop. An operation that failed with
/// [`StoreError::Unreachable`], [`StoreError::NotReady`] or [`StoreError::Unavailable`] may have happened, too: only a
/// later `get` shows it.
///
/// **Calls run concurrently** without any lock of the caller. A call that starts after another one has returned sees
/// the effect of that one, also through another handle on the same place.
///
/// **Sizes.** Values have 0 to [`Value::MAX_LEN`] bytes; a longer one is refused before anything is written.
///
/// **Messages** name the place, the cause and what to do. They never contain any part of a value.
#[async_trait::async_trait]
pub trait Store: Debug + Send + Sync {
    /// Stores `value` under `name`, if there is nothing under that name yet. `Ok` once it is durable.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when there is anything under the name, intact or damaged; a value longer than
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
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`] when what is there is not something this store may remove.
    async fn delete(&self, name: &Name) -> Result<(), StoreError>;

    /// The names that begin with `prefix` and come after `after`, in byte order, at most `limit`; fewer than that
    /// only when there are no more. `after` need not exist.
    ///
    /// What is there but is not a valid [`Name`] is left out. A name that exists during the whole call is in the
    /// result; one that is created or deleted in the meantime may be in it or not.
    ///
    /// # Errors
    /// Only those of reaching the store.
    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError>;

    /// Whether `get` would work now: a real read, with the same rights and over the same connections as `get`.
    ///
    /// # Errors
    /// Only those of reaching the store.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What other processes do to the keys, if this store is notified of it: a receiver of every [`Change`] from now
    /// on. Its first message is the current state: [`Change::Subscribed`] or [`Change::Unsubscribed`]. A receiver that
    /// lags may have missed any change. `None` if the store is never notified: a cache must then rely on the age of its
    /// entries.
    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<Change>>;

    /// Which rights are missing for which operations although the store can be read, with what to do; as of the start or
    /// of the last `ping`. `None` if all operations are allowed, or if the store cannot tell.
    fn missing_rights(&self) -> Option<String>;

    /// Releases connections, locks and leases. Later calls may fail; a second `close` does nothing.
    async fn close(&self);
}

/// What a store is notified of by the processes that share its storage, including this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was created or deleted.
    Key(Name),
    /// The store no longer receives notifications: from now on, changes go unnoticed.
    Unsubscribed,
    /// The store receives notifications, possibly again: anything may have changed before.
    Subscribed,
}

/// See [`credentials_refused`].
static CREDENTIALS_REFUSED: AtomicU64 = AtomicU64::new(0);

/// How often services have refused our credentials since the process started: a token, a login, a renewal. The
/// operations may have succeeded nevertheless, after another login.
pub fn credentials_refused() -> u64 {
    CREDENTIALS_REFUSED.load(Ordering::Relaxed)
}

/// See [`credentials_may_work_again`].
static CREDENTIAL_HINTS: AtomicU64 = AtomicU64::new(0);

/// Ends the pauses after logins that were refused: each store that has to log in tries at once. For a reload, with which
/// an operator says that something was corrected.
pub fn credentials_may_work_again() {
    CREDENTIAL_HINTS.fetch_add(1, Ordering::Relaxed);
}

/// How often [`credentials_may_work_again`] was called.
#[cfg(feature = "vault")]
pub(crate) fn credential_hints() -> u64 {
    CREDENTIAL_HINTS.load(Ordering::Relaxed)
}

#[cfg(feature = "vault")]
pub(crate) fn count_refused_credentials() {
    CREDENTIALS_REFUSED.fetch_add(1, Ordering::Relaxed);
}
