//! Random bytes: AWS-LC's generator, which the operating system seeds.

/// The system gives no random bytes. Seen only where the operating system is broken or a sandbox forbids it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct RandomError;

/// Overwrites `bytes` with random ones.
///
/// # Errors
/// [`RandomError`] when the system gives none.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| RandomError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_calls_give_the_same_bytes() {
        let mut bytes = [[0; 16]; 2];
        for bytes in &mut bytes {
            fill(bytes).unwrap();
        }
        assert_ne!(bytes[0], bytes[1]);
        assert!(!bytes.contains(&[0; 16]));
    }
}
