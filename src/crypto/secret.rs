//! 32 secret bytes: the form of every key, HMAC key and subkey.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::random::{self, RandomError};

/// 32 secret bytes, wiped when dropped; `Debug` prints none of them.
///
/// They are boxed, so that a move copies only a pointer and leaves no copies of the secret on the stack.
pub(super) struct Secret(Box<[u8; Self::LEN]>);

impl Secret {
    /// Length in bytes.
    pub(super) const LEN: usize = 32;

    /// 32 zero bytes, to be overwritten by a derivation.
    pub(super) fn zero() -> Self {
        Self(Box::new([0; Self::LEN]))
    }

    /// A secret of random bytes.
    ///
    /// # Errors
    /// [`RandomError`] if none are available.
    pub(super) fn random() -> Result<Self, RandomError> {
        let mut secret = Self::zero();
        random::fill(secret.as_mut_bytes())?;
        Ok(secret)
    }

    /// A copy of `bytes`; `None` unless there are exactly 32.
    pub(super) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let mut secret = Self::zero();
        secret.as_mut_bytes().copy_from_slice(bytes);
        Some(secret)
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The bytes, for writing.
    pub(super) fn as_mut_bytes(&mut self) -> &mut [u8; Self::LEN] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_exactly_32_bytes() {
        for len in [0, 1, 31, 33, 64] {
            assert!(Secret::copy_of(&vec![1; len]).is_none(), "{len}");
        }
        assert_eq!(Secret::copy_of(&[7; 32]).unwrap().as_bytes(), &[7; 32]);
    }

    #[test]
    fn debug_output_has_none_of_the_bytes() {
        assert_eq!(format!("{:?}", Secret::copy_of(&[7; 32]).unwrap()), "Secret(..)");
    }
}
