//! The ciphers that a key can be used with, and their names.

use std::fmt;

/// The cipher of a key. Both take a key of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// AES-256-GCM with subkeys derived by HMAC-SHA-256.
    Aes256,
    /// ChaCha20-Poly1305 with subkeys derived by `HChaCha20`.
    ChaCha20,
}

impl Algorithm {
    /// The algorithm for new keys: AES if the CPU has instructions for it and for the multiplication of GCM, otherwise
    /// ChaCha20, because AES in software is slow and leaks its key through the timing of table lookups.
    pub fn preferred() -> Self {
        if has_aes_instructions() { Self::Aes256 } else { Self::ChaCha20 }
    }

    /// The algorithm with this name, in the spelling that KES has used since 2023 or the earlier one; `None` for any
    /// other text.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "AES256" | "AES256-GCM_SHA256" => Some(Self::Aes256),
            "ChaCha20" | "XCHACHA20-POLY1305" => Some(Self::ChaCha20),
            _ => None,
        }
    }

    /// The name as the HTTP API writes it: `AES256` or `ChaCha20`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::ChaCha20 => "ChaCha20",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

/// On AArch64, Rust's feature `aes` covers both AES and PMULL.
#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_parses_from_its_own_name() {
        for algorithm in [Algorithm::Aes256, Algorithm::ChaCha20, Algorithm::preferred()] {
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
            assert_eq!(algorithm.to_string(), algorithm.as_str());
        }
    }

    #[test]
    fn the_older_names_are_parsed() {
        assert_eq!(Algorithm::parse("AES256-GCM_SHA256"), Some(Algorithm::Aes256));
        assert_eq!(Algorithm::parse("XCHACHA20-POLY1305"), Some(Algorithm::ChaCha20));
    }

    #[test]
    fn other_texts_are_not_names_of_algorithms() {
        for name in ["", "aes256", "AES-256", "AES256 ", "ChaCha20Poly1305", "DES"] {
            assert_eq!(Algorithm::parse(name), None, "{name:?}");
        }
    }
}
