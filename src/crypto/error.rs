//! Errors of import, encryption and decryption. None of them reveals anything about a key.

use super::random::RandomError;
use super::secret::Secret;

/// Why bytes could not be imported as a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImportError {
    /// Their number is not 32.
    #[error("a key must have exactly {} bytes", Secret::LEN)]
    KeySize,
    /// No random bytes were available for the HMAC secret.
    #[error("{RandomError}")]
    Random,
}

/// Why a message was not encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncryptError {
    /// No random bytes were available for iv, nonce or data key.
    #[error("{RandomError}")]
    Random,
    /// The message exceeds the limit of the cipher: 64 GiB (AES256) or 256 GiB (ChaCha20).
    #[error("the message exceeds the maximum length of the cipher")]
    TooLong,
}

/// A ciphertext was not created with this key and this context. Deliberately without details: anything that a failed
/// decryption reveals can help to forge a ciphertext.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ciphertext is not authentic")]
pub struct NotAuthentic;

impl From<RandomError> for ImportError {
    fn from(RandomError: RandomError) -> Self {
        Self::Random
    }
}

impl From<RandomError> for EncryptError {
    fn from(RandomError: RandomError) -> Self {
        Self::Random
    }
}
