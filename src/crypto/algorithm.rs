//! The ciphers a key can be for, and their names.

use std::fmt;

/// The cipher of a key. Both take a key of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// AES-256-GCM under sub-keys by HMAC-SHA-256.
    Aes256,
    /// ChaCha20-Poly1305 under sub-keys by `HChaCha20`.
    ChaCha20,
}

impl Algorithm {
    /// The algorithm of new keys: AES where the CPU has instructions for it (and for GCM's multiplication), and
    /// ChaCha20 elsewhere, where AES would be slow and leak its key through the timing of table look-ups.
    pub fn preferred() -> Self {
        if has_aes_instructions() { Self::Aes256 } else { Self::ChaCha20 }
    }

    /// The algorithm of a name, in the spelling of KES since 2023 or the one before it; `None` for any other text.
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

/// Rust's feature `aes` of AArch64 stands for AES and PMULL together.
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
    fn the_older_names_are_understood() {
        assert_eq!(Algorithm::parse("AES256-GCM_SHA256"), Some(Algorithm::Aes256));
        assert_eq!(Algorithm::parse("XCHACHA20-POLY1305"), Some(Algorithm::ChaCha20));
    }

    #[test]
    fn other_texts_name_no_algorithm() {
        for name in ["", "aes256", "AES-256", "AES256 ", "ChaCha20Poly1305", "DES"] {
            assert_eq!(Algorithm::parse(name), None, "{name:?}");
        }
    }
}
