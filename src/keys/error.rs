//! Errors of key operations.

use std::sync::Arc;

use backends::StoreError;

use super::Outage;

/// Why a key operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysError {
    /// The name is already in use.
    #[error("key already exists")]
    AlreadyExists,
    /// No key has this name.
    #[error("key does not exist")]
    NotFound,
    /// The key exists, but the keystore does not return it.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to restore it.
        reason: String,
    },
    /// The value in the keystore is not a valid key.
    #[error("stored key is damaged: {reason}")]
    Damaged {
        /// The problem, without the value.
        reason: String,
    },
    /// The operating system provides no random bytes.
    #[error("no random bytes available from the operating system")]
    Random,
    /// The keystore operation failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The keystore is known to be down, so the operation was not attempted.
    #[error("keystore is down: {}", .0.cause)]
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
