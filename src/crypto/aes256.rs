//! Encryption with an AES256 key: AES-256-GCM with a subkey for each message.
//!
//! subkey = HMAC-SHA-256(key, iv), then AES-256-GCM (NIST SP 800-38D; RFC 5116 section 5.2) with `nonce`.
//!
//! Why this is safe: HMAC-SHA-256 is a pseudorandom function, so different ivs give independent subkeys. GCM breaks if
//! a nonce repeats under the same key; here both iv *and* nonce, 28 random bytes, would have to repeat.
//!
//! Short messages, mostly data keys, are encrypted by `aes-gcm`; long ones by AWS-LC, which is several times faster on
//! CPUs with wide vectors but allocates for each key. Tests check that both give the same results.
//!
//! Not here: the ciphertext formats (`ciphertext.rs`), and the generation of iv and nonce (`key.rs`).

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::ciphertext::{IV_LEN, NONCE_LEN};
use super::error::{EncryptError, NotAuthentic};
use super::hmac::hmac_sha256;
use super::secret::Secret;

/// Messages of at least this many bytes are encrypted by AWS-LC.
const LONG: usize = 2048;

/// Encrypts `buffer` in place and appends the 16-byte tag, for which it should have capacity.
///
/// # Errors
/// [`EncryptError::TooLong`] above 2^36 - 32 bytes (NIST SP 800-38D section 5.2.1.1).
pub(super) fn seal(
    key: &Secret,
    iv: &[u8; IV_LEN],
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), EncryptError> {
    if buffer.len() >= LONG {
        let key = long(key, iv).ok_or(EncryptError::TooLong)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        return key.seal_in_place_append_tag(nonce, Aad::from(context), buffer).map_err(|_| EncryptError::TooLong);
    }
    cipher(key, iv).encrypt_in_place(nonce.into(), context, buffer).map_err(|_| EncryptError::TooLong)
}

/// Decrypts `buffer` in place and removes the tag.
///
/// # Errors
/// [`NotAuthentic`]; the content of `buffer` is then unspecified.
pub(super) fn open(
    key: &Secret,
    iv: &[u8; IV_LEN],
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotAuthentic> {
    if buffer.len() >= LONG {
        let key = long(key, iv).ok_or(NotAuthentic)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from(context), buffer).map_err(|_| NotAuthentic)?.len();
        buffer.truncate(length);
        return Ok(());
    }
    cipher(key, iv).decrypt_in_place(nonce.into(), context, buffer).map_err(|_| NotAuthentic)
}

fn cipher(key: &Secret, iv: &[u8; IV_LEN]) -> Aes256Gcm {
    Aes256Gcm::new(hmac_sha256(key, iv).as_bytes().into())
}

/// The same for long messages. Never `None`: a [`Secret`] has the right length.
fn long(key: &Secret, iv: &[u8; IV_LEN]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, hmac_sha256(key, iv).as_bytes()).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn another_implementation_gives_the_same_result(
            key: [u8; 32],
            iv: [u8; 16],
            nonce: [u8; 12],
            context: Vec<u8>,
            message: Vec<u8>,
        ) {
            let subkey = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &iv);
            let other = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, subkey.as_ref()).unwrap());
            let mut expected = message.clone();
            other
                .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&context), &mut expected)
                .unwrap();

            let key = Secret::copy_of(&key).unwrap();
            let mut buffer = message.clone();
            prop_assert!(seal(&key, &iv, &nonce, &context, &mut buffer).is_ok());
            prop_assert_eq!(&buffer, &expected);
            prop_assert!(open(&key, &iv, &nonce, &context, &mut buffer).is_ok());
            prop_assert_eq!(buffer, message);
        }

        #[test]
        fn both_implementations_agree_around_the_length_limit(
            key: [u8; 32],
            iv: [u8; 16],
            nonce: [u8; 12],
            context: Vec<u8>,
            fill: u8,
            length in LONG - 40..LONG + 40,
        ) {
            let key = Secret::copy_of(&key).unwrap();
            let message = vec![fill; length];
            let mut expected = message.clone();
            cipher(&key, &iv).encrypt_in_place((&nonce).into(), &context, &mut expected).unwrap();
            let mut buffer = message.clone();
            prop_assert!(seal(&key, &iv, &nonce, &context, &mut buffer).is_ok());
            prop_assert_eq!(&buffer, &expected);
            prop_assert!(open(&key, &iv, &nonce, &context, &mut buffer).is_ok());
            prop_assert_eq!(&buffer, &message);
            for damaged in [0, expected.len() / 2, expected.len() - 1] {
                let mut buffer = expected.clone();
                buffer[damaged] ^= 1;
                prop_assert!(open(&key, &iv, &nonce, &context, &mut buffer).is_err());
            }
        }
    }
}
