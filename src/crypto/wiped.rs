//! Bytes of any length that are wiped when they are dropped.

use std::fmt;
use std::ops::Deref;

use super::ciphertext::OVERHEAD;

/// Bytes that are wiped on drop, in one sweep: `Zeroizing<Vec<u8>>` writes them one by one and twice, which takes a third
/// of the time of encrypting a large message. `Debug` prints the length alone.
#[derive(Default, PartialEq, Eq)]
pub struct Wiped(Vec<u8>);

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// A copy, with room for what a cipher appends.
impl<T: AsRef<[u8]> + ?Sized> From<&T> for Wiped {
    fn from(bytes: &T) -> Self {
        let bytes = bytes.as_ref();
        let mut copy = Vec::with_capacity(bytes.len() + OVERHEAD);
        copy.extend_from_slice(bytes);
        Self(copy)
    }
}

impl Wiped {
    /// No bytes yet, and memory for so many: growing beyond would leave a copy behind.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes in memory that has room for so many more; they move when theirs has not.
    pub(super) fn with_room_for(self, more: usize) -> Self {
        if self.0.capacity() - self.0.len() >= more {
            return self;
        }
        let mut larger = Vec::with_capacity(self.0.len() + more);
        larger.extend_from_slice(&self.0);
        Self(larger)
    }

    /// The bytes, which are no secret any more: they will not be wiped.
    pub(super) fn into_inner(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// The bytes, to be changed in place: growing would leave a copy behind.
    pub(crate) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        let capacity = self.0.capacity();
        self.0.clear();
        self.0.resize(capacity, 0);
        // What was written counts as read, so it is not optimized away.
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
    fn debug_output_has_the_length_and_nothing_of_the_bytes() {
        assert_eq!(format!("{:?}", Wiped::from(b"secret".to_vec())), "Wiped(6 bytes)");
    }
}
