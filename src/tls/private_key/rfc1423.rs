//! The original PEM encryption (RFC 1421 section 4.6, RFC 1423), as written by KES and `openssl rsa -aes256`.
//!
//! The key is a single MD5 over password and iv (`EVP_BytesToKey` of OpenSSL). This is weak: an attacker can try
//! millions of passwords per second, and the file is not authenticated. It is supported only for reading, because KES
//! creates such files.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, KeySizeUser};
use md5::{Digest, Md5};
use pem::Pem;
use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{Decode, Tag, Tagged};
use zeroize::Zeroizing;

use super::PrivateKeyProblem;

/// Length of the iv in bytes: an AES block.
const IV_LEN: usize = 16;

/// Length of the prefix of the iv that is the salt of the password, in bytes.
const SALT_LEN: usize = 8;

/// Whether the headers of a section mark it as encrypted.
pub(super) fn is_encrypted(section: &Pem) -> bool {
    section.headers().get("Proc-Type").is_some_and(|value| value.ends_with("ENCRYPTED"))
}

/// Decrypts the section.
///
/// # Errors
/// [`PrivateKeyProblem::Encryption`] for a cipher other than AES in CBC mode, [`PrivateKeyProblem::Damaged`] for
/// missing or invalid headers, [`PrivateKeyProblem::WrongPassword`] if the result is not DER.
pub(super) fn decrypt(section: &Pem, password: &[u8]) -> Result<Vec<u8>, PrivateKeyProblem> {
    let header = section.headers().get("DEK-Info").ok_or(PrivateKeyProblem::Damaged)?;
    let (cipher, iv) = header.split_once(',').ok_or(PrivateKeyProblem::Damaged)?;
    let decrypt = match cipher.trim() {
        "AES-128-CBC" => decrypt_cbc::<Aes128>,
        "AES-192-CBC" => decrypt_cbc::<Aes192>,
        "AES-256-CBC" => decrypt_cbc::<Aes256>,
        _ => return Err(PrivateKeyProblem::Encryption),
    };
    let iv = iv_of_hex(iv.trim()).ok_or(PrivateKeyProblem::Damaged)?;
    let der = decrypt(section.contents(), password, &iv).ok_or(PrivateKeyProblem::WrongPassword)?;
    // A wrong password gives valid padding in one of 256 cases, but not a SEQUENCE of exactly this length.
    let is_sequence = AnyRef::from_der(&der).is_ok_and(|value| value.tag() == Tag::Sequence);
    if is_sequence { Ok(der.to_vec()) } else { Err(PrivateKeyProblem::WrongPassword) }
}

fn decrypt_cbc<C>(ciphertext: &[u8], password: &[u8], iv: &[u8; IV_LEN]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit + KeySizeUser,
    Decryptor<C>: KeyIvInit + BlockModeDecrypt,
{
    let key = key_of_password(password, iv, C::key_size());
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let len = Decryptor::<C>::new_from_slices(&key, iv).ok()?.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(buffer)
}

/// `EVP_BytesToKey` with MD5 and one round: MD5(password, salt), then MD5(previous digest, password, salt), and so on
/// until there are `len` bytes.
fn key_of_password(password: &[u8], iv: &[u8; IV_LEN], len: usize) -> Zeroizing<Vec<u8>> {
    let salt: Vec<u8> = iv.iter().copied().take(SALT_LEN).collect();
    let mut key = Zeroizing::new(Vec::with_capacity(len + Md5::output_size()));
    let mut block = Zeroizing::new(Vec::with_capacity(Md5::output_size()));
    while key.len() < len {
        let digest = Md5::new().chain_update(&*block).chain_update(password).chain_update(&salt).finalize();
        block.clear();
        block.extend_from_slice(&digest);
        key.extend_from_slice(&digest);
    }
    key.truncate(len);
    key
}

fn iv_of_hex(hex: &str) -> Option<[u8; IV_LEN]> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 2 * IV_LEN { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iv_is_32_hex_digits() {
        assert_eq!(iv_of_hex("000102030405060708090A0B0C0D0E0f"), Some(std::array::from_fn(|i| i.try_into().unwrap())));
        for text in ["", "00", &"0".repeat(31), &"0".repeat(33), &"0".repeat(34), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(iv_of_hex(text), None, "{text}");
        }
    }
}
