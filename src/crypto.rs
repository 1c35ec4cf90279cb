//! What keys do: pure functions over bytes, without async and without I/O but for the system's random numbers.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | [`Key`](key::Key): encrypt, decrypt, HMAC, data keys |
//! | `error` | why a key was not imported, a message not encrypted or decrypted |
//! | `algorithm` | the two ciphers by name, and which one this CPU prefers |
//! | `ciphertext` | the written ciphertext format, and the two that are only read |
//! | [`stored`] | the form a key has in a store, written and read |
//! | `aes256`, `chacha20` | one cipher each: the sub-key of a message, seal, open |
//! | `hmac` | HMAC-SHA-256, as a sub-key derivation and as an answer to clients |
//! | `secret`, `wiped`, `random` | 32 bytes, and any number, that are wiped; bytes from the system |
//!
//! Not here: where keys are kept (`keys.rs` and the backends), who may use them (`policy.rs`), private keys of TLS
//! (`tls/private_key.rs`).
//!
//! Invariants:
//! - A message is sealed under a sub-key of its own, derived from the key and 16 random bytes, with 12 more random
//!   bytes as nonce. So random nonces stay safe for any number of messages, where plain GCM would stop at 2^32 (NIST
//!   SP 800-38D section 8.3).
//! - What failed to decrypt says nothing about why.
//! - Keys, sub-keys and plaintexts that are made here are wiped when dropped. Buffers of callers are theirs to wipe.
//! - No error and no `Debug` output holds key bytes.

mod aes256;
mod algorithm;
mod chacha20;
mod ciphertext;
mod error;
mod hmac;
pub mod key;
mod random;
mod secret;
pub mod stored;
#[cfg(test)]
mod vectors;
mod wiped;
