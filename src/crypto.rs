//! Cryptographic operations of keys: pure functions over bytes. No async, and no I/O except for random numbers.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | [`Key`](key::Key): encrypt, decrypt, HMAC, data keys |
//! | `error` | errors of import, encryption and decryption |
//! | `algorithm` | the two ciphers and their names, and which one suits this CPU |
//! | `ciphertext` | the ciphertext formats: one is written, two more are read |
//! | [`stored`] | the encoding of a key in a store |
//! | `aes256`, `chacha20` | one cipher each: subkey derivation, seal, open |
//! | `hmac` | HMAC-SHA-256, for subkey derivation and for the HMAC API |
//! | `secret`, `wiped`, `random` | 32 bytes that are wiped, any number of bytes that are wiped, random bytes |
//!
//! Not here: storage of keys (`keys.rs` and the backends), access control (`policy.rs`), TLS private keys
//! (`tls/private_key.rs`).
//!
//! # Invariants
//! - Each message is sealed under its own subkey, derived from the key and 16 random bytes, with 12 more random bytes
//!   as the nonce. So random nonces remain safe for any number of messages, whereas plain GCM is limited to 2^32 (NIST
//!   SP 800-38D section 8.3).
//! - A decryption failure does not reveal its cause.
//! - Keys, subkeys and plaintexts created here are wiped when dropped. Callers wipe their own buffers.
//! - No error and no `Debug` output contains key bytes.

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
