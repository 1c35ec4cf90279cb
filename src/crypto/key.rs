//! The keys that clients use by name, and their operations.
//!
//! A [`Key`] holds a secret for one cipher, usually a second secret for HMAC, and when and by whom it was created. This
//! file combines the parts: cipher, random bytes, format. Not here: the names of keys and their storage (`keys.rs`).

use std::fmt;

use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use super::algorithm::Algorithm;
use super::ciphertext::{self, Ciphertext, IV_LEN, NONCE_LEN, Sealed};
pub use super::error::{EncryptError, ImportError, NotAuthentic};
use super::hmac::hmac_sha256;
pub use super::random::RandomError;
use super::secret::Secret;
pub use super::wiped::Wiped;
use super::{aes256, chacha20, random};

/// A key: 32 secret bytes for one cipher, and 32 more for HMAC unless the key predates KES's HMAC API.
///
/// Its secrets are wiped on drop, and `Debug` prints none of them.
///
/// ```
/// use keyway::crypto::key::{Algorithm, Key};
///
/// let key = Key::generate(Algorithm::preferred(), time::OffsetDateTime::UNIX_EPOCH, "someone").unwrap();
/// let ciphertext = key.encrypt(b"message", b"context").unwrap();
/// assert_eq!(ciphertext.len(), b"message".len() + Key::OVERHEAD);
/// assert_eq!(key.decrypt(&ciphertext, b"context").unwrap().to_vec(), b"message");
/// assert!(key.decrypt(&ciphertext, b"another context").is_err());
///
/// let stored = key.to_stored();
/// assert!(Key::from_stored(&stored).unwrap().decrypt(&ciphertext, b"context").is_ok());
/// ```
pub struct Key {
    pub(super) algorithm: Algorithm,
    /// Whether the stored key names its algorithm: those of KES 0.13 to 0.17 do not, and their ciphertexts do.
    pub(super) names_algorithm: bool,
    pub(super) secret: Secret,
    pub(super) hmac_secret: Option<Secret>,
    pub(super) created_at: Option<OffsetDateTime>,
    pub(super) created_by: String,
}

/// A data key: in plaintext, for the client to encrypt with, and encrypted, for the client to store.
pub struct DataKey {
    /// 32 random bytes.
    pub plaintext: Zeroizing<[u8; Key::LEN]>,
    /// The data key, encrypted under the key and bound to the context: 76 bytes.
    pub ciphertext: Vec<u8>,
}

impl Key {
    /// Length of a key in bytes, for either algorithm.
    pub const LEN: usize = Secret::LEN;

    /// The number of bytes that a ciphertext is longer than its message.
    pub const OVERHEAD: usize = ciphertext::OVERHEAD;

    /// Generates a random key.
    ///
    /// # Errors
    /// [`RandomError`] if no random bytes are available.
    pub fn generate(algorithm: Algorithm, created_at: OffsetDateTime, created_by: &str) -> Result<Self, RandomError> {
        Ok(Self {
            algorithm,
            names_algorithm: true,
            secret: Secret::random()?,
            hmac_secret: Some(Secret::random()?),
            created_at: Some(created_at),
            created_by: created_by.to_owned(),
        })
    }

    /// Creates a key from existing bytes. Its HMAC secret is random: if the same bytes are imported twice, the two keys
    /// decrypt each other's ciphertexts but give different HMACs, as with KES.
    ///
    /// # Errors
    /// [`ImportError::KeySize`] unless `secret` has [`Key::LEN`] bytes; [`ImportError::Random`].
    pub fn import(
        algorithm: Algorithm,
        secret: &[u8],
        created_at: OffsetDateTime,
        created_by: &str,
    ) -> Result<Self, ImportError> {
        Ok(Self {
            algorithm,
            names_algorithm: true,
            secret: Secret::copy_of(secret).ok_or(ImportError::KeySize)?,
            hmac_secret: Some(Secret::random()?),
            created_at: Some(created_at),
            created_by: created_by.to_owned(),
        })
    }

    /// The cipher of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// When the key was created; `None` if the stored key has no creation time.
    pub fn created_at(&self) -> Option<OffsetDateTime> {
        self.created_at
    }

    /// The identity that created the key; empty if the stored key has none.
    pub fn created_by(&self) -> &str {
        &self.created_by
    }

    /// Encrypts and authenticates `message`, and authenticates `context`. The ciphertext is [`Key::OVERHEAD`] bytes
    /// longer, and reuses the buffer of the message if its capacity is sufficient.
    ///
    /// # Errors
    /// [`EncryptError::Random`]; [`EncryptError::TooLong`].
    pub fn encrypt(&self, message: impl Into<Wiped>, context: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let mut random = [0; IV_LEN + NONCE_LEN];
        random::fill(&mut random)?;
        let (iv, nonce) = random.split_first_chunk().ok_or(EncryptError::Random)?;
        let nonce = nonce.first_chunk().ok_or(EncryptError::Random)?;
        self.seal(message.into(), context, iv, nonce)
    }

    /// Encrypts with this iv and nonce, which must be random and unused.
    fn seal(
        &self,
        message: Wiped,
        context: &[u8],
        iv: &[u8; IV_LEN],
        nonce: &[u8; NONCE_LEN],
    ) -> Result<Vec<u8>, EncryptError> {
        // Capacity for the whole ciphertext: growing later would leave a copy of the message behind.
        let mut buffer = message.with_room_for(Self::OVERHEAD);
        match self.algorithm {
            Algorithm::Aes256 => aes256::seal(&self.secret, iv, nonce, context, buffer.as_mut_vec())?,
            Algorithm::ChaCha20 => chacha20::seal(&self.secret, iv, nonce, context, buffer.as_mut_vec())?,
        }
        Ok(ciphertext::write(buffer.into_inner(), iv, nonce))
    }

    /// Decrypts a ciphertext in any of the three formats that KES has written, reusing its buffer.
    ///
    /// # Errors
    /// [`NotAuthentic`] unless the ciphertext was created with this key, its algorithm and this context.
    pub fn decrypt(&self, ciphertext: impl Into<Wiped>, context: &[u8]) -> Result<Wiped, NotAuthentic> {
        let mut buffer = ciphertext.into();
        let Ciphertext { algorithm, sealed, iv, nonce } = Ciphertext::parse(&buffer).ok_or(NotAuthentic)?;
        // If the format names an algorithm, it must be that of the key: one secret is never used with two ciphers. For a
        // key that names none, the ciphertext decides.
        let algorithm = match algorithm {
            Some(named) if named != self.algorithm && self.names_algorithm => return Err(NotAuthentic),
            Some(named) => named,
            None => self.algorithm,
        };
        match sealed {
            Sealed::Within(part) => {
                buffer.as_mut_vec().truncate(part.end);
                buffer.as_mut_vec().drain(..part.start);
            }
            Sealed::Apart(bytes) => buffer = bytes.into(),
        }
        match algorithm {
            Algorithm::Aes256 => aes256::open(&self.secret, &iv, &nonce, context, buffer.as_mut_vec())?,
            Algorithm::ChaCha20 => chacha20::open(&self.secret, &iv, &nonce, context, buffer.as_mut_vec())?,
        }
        Ok(buffer)
    }

    /// The HMAC-SHA-256 of `message`; `None` if the key has no HMAC secret.
    pub fn hmac(&self, message: &[u8]) -> Option<[u8; 32]> {
        self.hmac_secret.as_ref().map(|secret| *hmac_sha256(secret, message).as_bytes())
    }

    /// Generates a random data key and encrypts it, bound to `context`.
    ///
    /// # Errors
    /// [`EncryptError::Random`].
    pub fn generate_data_key(&self, context: &[u8]) -> Result<DataKey, EncryptError> {
        // In a single call: each call of the generator costs as much as an encryption.
        let mut random = Zeroizing::new([0; Self::LEN + IV_LEN + NONCE_LEN]);
        random::fill(random.as_mut_slice())?;
        let (data_key, rest) = random.split_first_chunk::<{ Self::LEN }>().ok_or(EncryptError::Random)?;
        let (iv, nonce) = rest.split_first_chunk().ok_or(EncryptError::Random)?;
        let nonce = nonce.first_chunk().ok_or(EncryptError::Random)?;
        let ciphertext = self.seal(data_key.into(), context, iv, nonce)?;
        Ok(DataKey { plaintext: Zeroizing::new(*data_key), ciphertext })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .field("created_at", &self.created_at)
            .field("created_by", &self.created_by)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Aes256, Algorithm::ChaCha20];

    fn key(algorithm: Algorithm) -> Key {
        Key::generate(algorithm, OffsetDateTime::UNIX_EPOCH, "someone").unwrap()
    }

    /// Two keys with the same secret bytes, one for each algorithm.
    fn twins() -> [Key; 2] {
        BOTH.map(|algorithm| Key::import(algorithm, &[7; 32], OffsetDateTime::UNIX_EPOCH, "").unwrap())
    }

    #[test]
    fn a_ciphertext_is_44_bytes_longer_than_its_plaintext() {
        for key in BOTH.map(key) {
            for (plaintext, ciphertext) in [(0, 44), (1, 45), (32, 76), (1 << 20, (1 << 20) + 44)] {
                assert_eq!(key.encrypt(vec![0; plaintext], b"").unwrap().len(), ciphertext);
            }
        }
    }

    #[test]
    fn the_same_message_never_encrypts_to_the_same_ciphertext() {
        for key in BOTH.map(key) {
            assert_ne!(key.encrypt(b"message", b"").unwrap(), key.encrypt(b"message", b"").unwrap());
        }
    }

    #[test]
    fn a_mebibyte_is_encrypted_and_decrypted() {
        let plaintext: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        for key in BOTH.map(key) {
            let ciphertext = key.encrypt(&plaintext, b"context").unwrap();
            assert_eq!(*key.decrypt(&ciphertext, b"context").unwrap(), plaintext);
        }
    }

    #[test]
    fn encryption_and_decryption_reuse_a_buffer_with_enough_capacity() {
        for key in BOTH.map(key) {
            let mut message = Vec::with_capacity(1000 + Key::OVERHEAD);
            message.resize(1000, 1);
            let place = message.as_ptr();
            let ciphertext = key.encrypt(message, b"").unwrap();
            assert_eq!((ciphertext.as_ptr(), ciphertext.len()), (place, 1000 + Key::OVERHEAD));
            assert_eq!(key.decrypt(ciphertext, b"").unwrap().as_ptr(), place);
        }
    }

    #[test]
    fn a_data_key_has_32_bytes_and_its_ciphertext_decrypts_to_them() {
        for key in BOTH.map(key) {
            let data_key = key.generate_data_key(b"context").unwrap();
            assert_eq!(data_key.ciphertext.len(), 76);
            let opened = key.decrypt(&data_key.ciphertext, b"context").unwrap();
            assert_eq!(opened.as_slice(), data_key.plaintext.as_slice());
            assert_ne!(data_key.plaintext, key.generate_data_key(b"context").unwrap().plaintext);
            assert!(key.decrypt(&data_key.ciphertext, b"").is_err());
        }
    }

    #[test]
    fn a_key_with_the_same_secret_for_another_algorithm_cannot_decrypt() {
        let [aes256, chacha20] = twins();
        assert!(chacha20.decrypt(aes256.encrypt(b"message", b"").unwrap(), b"").is_err());
        assert!(aes256.decrypt(chacha20.encrypt(b"message", b"").unwrap(), b"").is_err());
    }

    #[test]
    fn another_key_of_the_same_algorithm_cannot_decrypt() {
        for algorithm in BOTH {
            let ciphertext = key(algorithm).encrypt(b"message", b"").unwrap();
            assert_eq!(key(algorithm).decrypt(&ciphertext, b""), Err(NotAuthentic));
        }
    }

    #[test]
    fn only_32_bytes_can_be_imported() {
        for algorithm in BOTH {
            for len in [0, 16, 31, 33, 64] {
                let imported = Key::import(algorithm, &vec![1; len], OffsetDateTime::UNIX_EPOCH, "");
                assert_eq!(imported.unwrap_err(), ImportError::KeySize);
            }
        }
    }

    #[test]
    fn keys_imported_from_the_same_bytes_share_ciphertexts_but_not_hmacs() {
        for (one, other) in twins().iter().zip(&twins()) {
            let ciphertext = one.encrypt(b"message", b"").unwrap();
            assert_eq!(other.decrypt(&ciphertext, b"").unwrap().as_slice(), b"message");
            assert_ne!(one.hmac(b"message").unwrap(), other.hmac(b"message").unwrap());
        }
    }

    #[test]
    fn debug_output_has_no_key_bytes() {
        for key in twins() {
            let text = format!("{key:?} {:?}", key.generate_data_key(b"").unwrap());
            assert!(!text.contains("7, 7") && !text.contains("0707") && !text.contains("plaintext"), "{text}");
            assert!(text.contains("1970") && text.contains(&format!("{:?}", key.algorithm())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_ciphertext_decrypts_only_with_the_same_context(
            plaintext: Vec<u8>, context: Vec<u8>, other: Vec<u8>
        ) {
            for key in BOTH.map(key) {
                let ciphertext = key.encrypt(&plaintext, &context).unwrap();
                prop_assert_eq!(&*key.decrypt(&ciphertext, &context).unwrap(), &plaintext);
                prop_assert_eq!(key.decrypt(&ciphertext, &other).is_ok(), other == context);
            }
        }

        #[test]
        fn arbitrary_bytes_are_not_authentic(start in "\\{|\\x15|", bytes: Vec<u8>) {
            // 0x15 stands for 0x95, which cannot be written in a regular expression over text.
            let start = start.as_bytes().iter().map(|byte| if *byte == 0x15 { 0x95 } else { *byte });
            let ciphertext: Vec<u8> = start.chain(bytes).collect();
            for key in BOTH.map(key) {
                prop_assert_eq!(key.decrypt(&ciphertext, b""), Err(NotAuthentic));
            }
        }
    }
}
