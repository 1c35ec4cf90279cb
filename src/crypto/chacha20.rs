//! Encryption with a ChaCha20 key: ChaCha20-Poly1305 with a subkey for each message.
//!
//! subkey = HChaCha20(key, iv) (draft-irtf-cfrg-xchacha-03 section 2.2), then ChaCha20-Poly1305 (RFC 8439 section
//! 2.8) with `nonce`.
//!
//! Why this is safe: it is XChaCha20-Poly1305 (section 2.3 of the draft; 3.1 for the proof), except that the remaining
//! nonce is 12 random bytes instead of 4 zero bytes and 8 random ones: a key stream repeats only if all 28 random bytes
//! repeat.
//!
//! Not here: the ciphertext formats (`ciphertext.rs`), and the generation of iv and nonce (`key.rs`).

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroize;

use super::ciphertext::{IV_LEN, NONCE_LEN};
use super::error::{EncryptError, NotAuthentic};
use super::secret::Secret;

/// Encrypts `buffer` in place and appends the 16-byte tag.
///
/// # Errors
/// [`EncryptError::TooLong`] above 2^38 - 64 bytes (RFC 8439 section 2.8).
pub(super) fn seal(
    key: &Secret,
    iv: &[u8; IV_LEN],
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), EncryptError> {
    let nonce = Nonce::assume_unique_for_key(*nonce);
    cipher(key, iv)
        .and_then(|cipher| cipher.seal_in_place_append_tag(nonce, Aad::from(context), buffer))
        .map_err(|_| EncryptError::TooLong)
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
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let len = cipher(key, iv)
        .and_then(|cipher| cipher.open_in_place(nonce, Aad::from(context), buffer).map(|plaintext| plaintext.len()))
        .map_err(|_| NotAuthentic)?;
    buffer.truncate(len);
    Ok(())
}

fn cipher(key: &Secret, iv: &[u8; IV_LEN]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, hchacha20(key, iv).as_bytes())?))
}

fn hchacha20(key: &Secret, iv: &[u8; IV_LEN]) -> Secret {
    let mut derived = ::chacha20::hchacha::<::chacha20::R20>(key.as_bytes().into(), iv.into());
    let mut subkey = Secret::zero();
    subkey.as_mut_bytes().copy_from_slice(&derived);
    derived.zeroize();
    subkey
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `n` bytes that count up from `first`.
    fn counting<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|i| first + u8::try_from(i).unwrap())
    }

    #[test]
    fn hchacha20_derives_the_subkey_of_the_draft() {
        // draft-irtf-cfrg-xchacha-03 section 2.2.1
        let iv = [0, 0, 0, 0x09, 0, 0, 0, 0x4a, 0, 0, 0, 0, 0x31, 0x41, 0x59, 0x27];
        let subkey = hchacha20(&Secret::copy_of(&counting::<32>(0)).unwrap(), &iv);
        let expected = [
            0x82, 0x41, 0x3b, 0x42, 0x27, 0xb2, 0x7b, 0xfe, 0xd3, 0x0e, 0x42, 0x50, 0x8a, 0x87, 0x7d, 0x73, 0xa0, 0xf9,
            0xe4, 0xd5, 0x8a, 0x74, 0xa8, 0x53, 0xc1, 0x2e, 0xc4, 0x13, 0x26, 0xd3, 0xec, 0xdc,
        ];
        assert_eq!(subkey.as_bytes(), &expected);
    }

    #[test]
    fn a_message_is_sealed_as_in_the_draft() {
        // draft-irtf-cfrg-xchacha-03 appendix A.3.1; The nonce of XChaCha20 is our iv followed by the last 8 bytes of
        // our nonce, whose first 4 are zero.
        let message = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.";
        let context = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counting::<8>(0x50));
        let key = Secret::copy_of(&counting::<32>(0x80)).unwrap();
        let mut buffer = message.to_vec();
        assert!(seal(&key, &counting::<16>(0x40), &nonce, &context, &mut buffer).is_ok());
        assert!(buffer.starts_with(&[
            0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b, 0x95, 0x76, 0x57, 0x94, 0x93, 0xc0, 0xe9, 0x39
        ]));
        assert!(buffer.ends_with(&[
            0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49
        ]));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(key: [u8; 32], iv: [u8; 16], nonce: [u8; 12], context: Vec<u8>, message: Vec<u8>) {
            let key = Secret::copy_of(&key).unwrap();
            let mut buffer = message.clone();
            prop_assert!(seal(&key, &iv, &nonce, &context, &mut buffer).is_ok());
            prop_assert_eq!(buffer.len(), message.len() + 16);
            prop_assert!(open(&key, &iv, &nonce, &context, &mut buffer).is_ok());
            prop_assert_eq!(buffer, message);
        }
    }
}
