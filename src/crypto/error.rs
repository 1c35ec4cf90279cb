//! Why keys could not be imported or messages not encrypted or decrypted. None of these errors says anything about a key.

use super::random::RandomError;
use super::secret::Secret;

/// Why bytes did not become a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImportError {
    /// There are not exactly 32 bytes.
    #[error("a key has exactly {} bytes", Secret::LEN)]
    KeySize,
    /// There was no randomness for the HMAC secret.
    #[error("{RandomError}")]
    Random,
}

/// Why a message was not encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncryptError {
    /// There was no randomness for iv, nonce or data key.
    #[error("{RandomError}")]
    Random,
    /// The message is longer than the cipher allows, which is 64 GiB (AES256) or 256 GiB (ChaCha20).
    #[error("the message is longer than the cipher allows")]
    TooLong,
}

/// A ciphertext was not made with this key and this context. It says no more on purpose: whatever a decryption tells
/// about its failure can help to forge the next ciphertext.
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
