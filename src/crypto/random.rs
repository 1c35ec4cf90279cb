//! Random bytes from AWS-LC's generator, which is seeded by the operating system.

/// No random bytes are available. Happens only if the operating system is broken or a sandbox denies access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the operating system provides no random bytes")]
pub struct RandomError;

/// Overwrites `bytes` with random ones.
///
/// # Errors
/// [`RandomError`] if none are available.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| RandomError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_gives_different_bytes() {
        let mut bytes = [[0; 16]; 2];
        for bytes in &mut bytes {
            fill(bytes).unwrap();
        }
        assert_ne!(bytes[0], bytes[1]);
        assert!(!bytes.contains(&[0; 16]));
    }
}
