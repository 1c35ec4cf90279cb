//! What is stored under a name. Its meaning (a key, encrypted or not) does not concern a store.

use std::fmt;

use zeroize::Zeroizing;

use crate::StoreError;

/// The bytes stored under a name, at most [`Value::MAX_LEN`]. Wiped from memory on drop; `Debug` prints only the
/// length.
#[derive(PartialEq, Eq)]
pub struct Value(Zeroizing<Vec<u8>>);

impl Value {
    /// The maximum number of bytes in a value: 1 MiB. It is Keyway's own bound, so that no store has to hold or read
    /// without one; a key is about 200 bytes long.
    pub const MAX_LEN: usize = 1_048_576;

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second value with the same bytes. Not `Clone`, so that key material is not copied by accident.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    /// Refuses a value that is too long to be created, with the same message in every store.
    pub(crate) fn check_len(&self) -> Result<(), StoreError> {
        if self.len() <= Self::MAX_LEN {
            return Ok(());
        }
        let reason = format!("the value has {} bytes, and a store accepts at most {}", self.len(), Self::MAX_LEN);
        Err(StoreError::unavailable(reason))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_the_length_and_none_of_the_bytes() {
        assert_eq!(format!("{:?}", Value::from(b"secret".to_vec())), "Value(6 bytes)");
    }
}
