//! HMAC-SHA-256 (RFC 2104, FIPS 198-1).

use ::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::secret::Secret;

/// Block size of SHA-256 in bytes (FIPS 180-4 section 1): the `B` of RFC 2104.
const BLOCK_LEN: usize = 64;

/// HMAC-SHA-256 of `message` under `key`.
pub(super) fn hmac_sha256(key: &Secret, message: &[u8]) -> Secret {
    // RFC 2104 section 2, step 1: a key shorter than a block is padded with zeros. Done here because the constructor
    // that takes a full block cannot fail.
    let mut block = Zeroizing::new([0; BLOCK_LEN]);
    for (padded, byte) in block.iter_mut().zip(key.as_bytes()) {
        *padded = *byte;
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    mac.update(message);
    let mut output = Secret::zero();
    output.as_mut_bytes().copy_from_slice(&mac.finalize().into_bytes());
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn another_implementation_gives_the_same_result(key: [u8; 32], message: Vec<u8>) {
            let other = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key), &message);
            let ours = hmac_sha256(&Secret::copy_of(&key).unwrap(), &message);
            prop_assert_eq!(ours.as_bytes().as_slice(), other.as_ref());
        }
    }
}
