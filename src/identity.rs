//! The identity of a client, derived only from its public key.
//!
//! Independent of TLS and HTTP; `tls/peer.rs` derives the [`Identity`] from the certificate of a connection.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::wire::hex;

pub mod api_key;

/// The identity of a client: lower-case hex SHA-256 of the DER `SubjectPublicKeyInfo` of its certificate
/// (HTTP API documentation of KES, "identity").
///
/// Config files also use words that no certificate can have, such as `disabled` for an admin that does not exist. These
/// are identities that never match, see [`Identity::can_match`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<str>);

/// A certificate that is not DER-encoded X.509.
#[derive(Debug, thiserror::Error)]
#[error("not an X.509 certificate in DER encoding")]
pub struct NotACertificate;

impl Identity {
    /// The identity of a public key, a DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
    pub fn of_public_key(subject_public_key_info: &[u8]) -> Self {
        Self(hex(&Sha256::digest(subject_public_key_info)).into())
    }

    /// The identity of the public key in a DER certificate.
    ///
    /// # Errors
    /// [`NotACertificate`] if `der` cannot be parsed.
    pub fn of_certificate(der: &[u8]) -> Result<Self, NotACertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NotACertificate)?;
        Ok(Self::of_public_key(certificate.tbs_certificate.subject_pki.raw))
    }

    /// An identity as written in a config file or a request. Any text is accepted, but only 64 lower-case hex digits
    /// can match a client.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether a certificate can have this identity: 64 lower-case hex digits.
    pub fn can_match(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData as _;

    #[test]
    fn an_identity_is_the_hex_digest_of_the_public_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let identity = Identity::of_certificate(certificate.der()).unwrap();
        assert_eq!(identity, Identity::of_public_key(&key.subject_public_key_info()));
        assert!(identity.can_match());
    }

    #[test]
    fn words_and_upper_case_digests_cannot_match_a_certificate() {
        for text in ["", "disabled", "_", &"A".repeat(64), &"a".repeat(63), &"g".repeat(64)] {
            assert!(!Identity::from_text(text).can_match(), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_certificate_have_no_identity() {
        assert!(Identity::of_certificate(b"").is_err());
        assert!(Identity::of_certificate(b"-----BEGIN CERTIFICATE-----").is_err());
    }
}
