//! Why an operation on a key failed.

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

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AlreadyExists => Self::AlreadyExists,
            StoreError::NotFound => Self::NotFound,
            StoreError::Damaged { reason } => Self::Damaged { reason },
            StoreError::Withheld { reason } => Self::Withheld { reason },
            error @ (StoreError::Unreachable { .. } | StoreError::NotReady { .. } | StoreError::Unavailable { .. }) => {
                Self::Store(Arc::new(error))
            }
        }
    }
}
