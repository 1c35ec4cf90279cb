//! Byte buffers of any length that are wiped when dropped.

use std::fmt;
use std::ops::Deref;

use super::ciphertext::OVERHEAD;

/// Bytes that are wiped on drop, in one pass: `Zeroizing<Vec<u8>>` overwrites them byte by byte and twice, which takes
/// a third of the time of encrypting a large message. `Debug` prints only the length.
#[derive(Default, PartialEq, Eq)]
pub struct Wiped(Vec<u8>);

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// A copy, with capacity for what a cipher appends.
impl<T: AsRef<[u8]> + ?Sized> From<&T> for Wiped {
    fn from(bytes: &T) -> Self {
        let bytes = bytes.as_ref();
        let mut copy = Vec::with_capacity(bytes.len() + OVERHEAD);
        copy.extend_from_slice(bytes);
        Self(copy)
    }
}

impl Wiped {
    /// An empty buffer of this capacity. Do not grow it further: that would leave an unwiped copy behind.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes with capacity for `more`, moved to a larger buffer if necessary.
    pub(super) fn with_room_for(self, more: usize) -> Self {
        if self.0.capacity() - self.0.len() >= more {
            return self;
        }
        let mut larger = Vec::with_capacity(self.0.len() + more);
        larger.extend_from_slice(&self.0);
        Self(larger)
    }

    /// The bytes, which are no longer secret: they will not be wiped.
    pub(super) fn into_inner(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// The bytes, to be changed in place. Do not exceed their capacity: that would leave an unwiped copy behind.
    pub(crate) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        let capacity = self.0.capacity();
        self.0.clear();
        self.0.resize(capacity, 0);
        // Marks the zeros as read, so that writing them is not optimized away.
        zeroize::optimization_barrier(self.0.as_slice());
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiped({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_only_the_length() {
        assert_eq!(format!("{:?}", Wiped::from(b"secret".to_vec())), "Wiped(6 bytes)");
    }
}
