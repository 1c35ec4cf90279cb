//! Messages under an AES256 key: AES-256-GCM under a sub-key of the message's own.
//!
//! sub-key = HMAC-SHA-256(key, iv), then AES-256-GCM (NIST SP 800-38D; RFC 5116 section 5.2) with `nonce`.
//!
//! Why it is safe: HMAC-SHA-256 is a pseudo-random function, so the sub-keys of different ivs are independent keys.
//! GCM breaks when a nonce repeats under one key; here iv *and* nonce, 28 random bytes, would have to repeat.
//! Not here: the layout of a ciphertext (`ciphertext.rs`), and where iv and nonce come from (`key.rs`).

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};

use super::ciphertext::{IV_LEN, NONCE_LEN};
use super::hmac::hmac_sha256;
use super::key::{EncryptError, NotAuthentic};
use super::secret::Secret;

/// Encrypts `buffer` in place and appends the tag of 16 bytes.
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
    cipher(key, iv).encrypt_in_place(nonce.into(), context, buffer).map_err(|_| EncryptError::TooLong)
}

/// Decrypts `buffer` in place and cuts the tag off. The tag is checked before a byte is decrypted.
///
/// # Errors
/// [`NotAuthentic`]; what is in `buffer` is then worthless.
pub(super) fn open(
    key: &Secret,
    iv: &[u8; IV_LEN],
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotAuthentic> {
    cipher(key, iv).decrypt_in_place(nonce.into(), context, buffer).map_err(|_| NotAuthentic)
}

fn cipher(key: &Secret, iv: &[u8; IV_LEN]) -> Aes256Gcm {
    Aes256Gcm::new(hmac_sha256(key, iv).as_bytes().into())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use aws_lc_rs::hmac;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_implementations_agree(key: [u8; 32], iv: [u8; 16], nonce: [u8; 12], context: Vec<u8>, message: Vec<u8>) {
            let sub_key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &iv);
            let other = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, sub_key.as_ref()).unwrap());
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
    }
}
