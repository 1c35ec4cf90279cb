//! Why an operation on a key failed, and the words for operations.

use std::fmt;
use std::sync::Arc;

use backends::StoreError;

use super::Outage;

/// Why a key operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysError {
    /// The name is taken.
    #[error("key already exists")]
    AlreadyExists,
    /// No key has the name.
    #[error("key does not exist")]
    NotFound,
    /// There is a key, but the store does not hand it out.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to get it back.
        reason: String,
    },
    /// The store holds something under the name that is no key.
    #[error("stored key is damaged: {reason}")]
    Damaged {
        /// What is wrong with it, without its content.
        reason: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store is known to be down, and was not asked.
    #[error("key store is down: {}", .0.cause)]
    Down(Arc<Outage>),
}

/// The operations of a store, as messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`backends::Store::create`]
    Create,
    /// [`backends::Store::get`]
    Read,
    /// [`backends::Store::delete`]
    Delete,
    /// [`backends::Store::list`]
    List,
}

impl Operation {
    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create key",
            Self::Read => "read key",
            Self::Delete => "delete key",
            Self::List => "list keys",
        })
    }
}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AlreadyExists => Self::AlreadyExists,
            StoreError::NotFound => Self::NotFound,
            StoreError::Damaged { reason } => Self::Damaged { reason },
            StoreError::Withheld { reason } => Self::Withheld { reason },
            other => Self::Store(Arc::new(other)),
        }
    }
}
