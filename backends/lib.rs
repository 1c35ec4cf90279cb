//! Where Keyway keeps keys: one trait, [`Store`], and one file per backend.
//!
//! | file | what lives there |
//! |---|---|
//! | `name.rs`, `value.rs`, `secret.rs` | what a store is given: a checked [`Name`], an opaque [`Value`], a [`Secret`] |
//! | `memory.rs` | keys that end with the process: for tests and throw-away servers |
//! | `fs.rs`, `fs/` | a directory with one file per key, as KES keeps it |
//! | `sqlite.rs`, `sqlite/`, `sqlite.1.sql` | one SQLite database; the numbered files are its schema migrations |
//! | `postgres.rs` | a table of a PostgreSQL database, which any number of gateways may share |
//! | `vault.rs` | the KV engine of HashiCorp Vault or OpenBao, as KES uses it |
//! | `aws.rs` | AWS Secrets Manager, as KES uses it |
//! | `path.rs` | what the two backends that live in files share |
//! | `faulty.rs` | a store that delays, fails and freezes, for tests (feature `conformance`) |
//! | `conformance.rs` | the contract as code: the suite that every backend passes (feature `conformance`) |
//!
//! Not here: the meaning of a value, HTTP, policies, caching, retries and the measuring of latency. A store is the
//! last one to know and answers what it sees.
//!
//! # Adding a backend
//! A file with a type that implements [`Store`] and one function that maps its driver's errors; a variant of
//! [`BackendConfig`]; an arm in [`open`]; the conformance suite run against it in `tests/`.

use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod faulty;
mod fs;
mod memory;
mod name;
mod operation;
pub mod path;
#[cfg(feature = "postgres")]
pub mod postgres;
mod secret;
#[cfg(feature = "sqlite")]
mod sqlite;
mod value;
#[cfg(feature = "vault")]
pub mod vault;

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
    /// The store cannot hear any more: from now on, changes go unnoticed.
    Deaf,
    /// The store hears, or hears again: anything may have changed before.
    Hearing,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is something under the name already; it was not touched.
    #[error("key already exists")]
    AlreadyExists,
    /// There is certainly nothing under the name.
    #[error("key does not exist")]
    NotFound,
    /// There is something under the name, but it is no value: a directory, more than [`Value::MAX_LEN`] bytes.
    #[error("stored key is damaged: {reason}")]
    Damaged {
        /// What is there, where, and what to do.
        reason: String,
    },
    /// There is a value under the name that the store does not hand out now: deleted but restorable, scheduled for
    /// deletion, half created. It was not touched, and the name cannot be used until that is resolved.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to get it back.
        reason: String,
    },
    /// Nobody answered.
    #[error("key store is not reachable: {reason}")]
    Unreachable {
        /// Who did not answer, and what to do.
        reason: String,
        /// The driver's error.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The store answered, but not as it should: it refused, is read-only, full, locked, or not the one it was.
    #[error("key store is unavailable: {reason}")]
    Unavailable {
        /// What failed, where, and what to do.
        reason: String,
        /// The driver's error.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl StoreError {
    /// TEMPORARY until merge.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }
    /// TEMPORARY until merge.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self::Unreachable { reason: reason.into(), source: None }
    }
    /// TEMPORARY until merge.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
    /// TEMPORARY until merge.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable { .. })
    }
}

/// TEMPORARY until merge.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Which store to open, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendConfig {
    /// Keys in memory; they end with the process.
    Memory,
    /// One file per key, as KES keeps them.
    Fs {
        /// The directory, made with its parents and mode 0700 when absent. A relative path is one of the working
        /// directory at the time of [`open`].
        path: PathBuf,
    },
    /// A SQLite database.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The database file, made with mode 0600, and its directory with mode 0700, when absent.
        path: PathBuf,
    },
    /// A table of a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Config>),
    /// The KV engine of HashiCorp Vault or OpenBao.
    #[cfg(feature = "vault")]
    Vault(Box<vault::Config>),
    /// AWS Secrets Manager.
    #[cfg(feature = "aws")]
    Aws(Box<aws::Config>),
}

impl BackendConfig {
    /// The files that are read once, when the store is opened. One that changes is used by the next [`open`] only.
    /// Files that a store reads again by itself, such as tokens to log in with, are not among them.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Memory | Self::Fs { .. } => Vec::new(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => Vec::new(),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => config.files(),
            #[cfg(feature = "vault")]
            Self::Vault(config) => {
                let tls = &config.tls;
                [&tls.ca, &tls.cert, &tls.key].into_iter().flatten().cloned().collect()
            }
            #[cfg(feature = "aws")]
            Self::Aws(_) => Vec::new(),
        }
    }

    /// The word for this kind of store in configuration and output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fs { .. } => "fs",
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => "sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "vault")]
            Self::Vault(_) => "vault",
            #[cfg(feature = "aws")]
            Self::Aws(_) => "aws",
        }
    }
}

/// Opens a store and makes sure that it can be read.
///
/// # Errors
/// [`StoreError::Unavailable`] or [`StoreError::Unreachable`], with what failed, where, and what to do.
pub async fn open(config: &BackendConfig) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        BackendConfig::Memory => Arc::new(memory::Memory::default()),
        BackendConfig::Fs { path } => Arc::new(fs::Fs::open(path).await?),
        #[cfg(feature = "sqlite")]
        BackendConfig::Sqlite { path } => Arc::new(sqlite::Sqlite::open(path).await?),
        #[cfg(feature = "postgres")]
        BackendConfig::Postgres(config) => Arc::new(postgres::Postgres::open(config).await?),
        #[cfg(feature = "vault")]
        BackendConfig::Vault(config) => Arc::new(vault::Vault::open(config).await?),
        #[cfg(feature = "aws")]
        BackendConfig::Aws(config) => Arc::new(aws::Aws::open(config).await?),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_error_rides_along_as_the_source() {
        let disk = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = StoreError::Unavailable { reason: "no space in '/keys'".into(), source: Some(disk.into()) };
        assert_eq!(error.to_string(), "key store is unavailable: no space in '/keys'");
        assert_eq!(error.source().unwrap().to_string(), "no storage space");
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn every_kind_of_store_opens_under_its_word() {
        let directory = tempfile::tempdir().unwrap();
        let fs = BackendConfig::Fs { path: directory.path().join("fs") };
        let sqlite = BackendConfig::Sqlite { path: directory.path().join("sqlite/keys.db") };
        for (config, kind) in [(BackendConfig::Memory, "memory"), (fs, "fs"), (sqlite, "sqlite")] {
            assert_eq!(config.kind(), kind);
            open(&config).await.unwrap().ping().await.unwrap();
        }
    }
}
