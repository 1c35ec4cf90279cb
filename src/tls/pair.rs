//! A private key and the certificate that it belongs to.

use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

/// Why a certificate and a private key cannot be used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairProblem {
    /// The key is that of another certificate.
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
    /// The certificate has no extensions. `openssl x509 -req` creates such certificates by default.
    #[error("the certificate is not X.509 version 3, as TLS requires; create it with extensions (subjectAltName)")]
    Version,
    /// The certificate has a structure that rustls rejects.
    #[error("the certificate cannot be used for TLS; create another one")]
    Certificate,
}

/// The key with its chain, the certificate of the key first.
///
/// # Errors
/// [`PairProblem`]
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, PairProblem> {
    let is_v3 = chain.first().is_some_and(|first| {
        X509Certificate::from_der(first).is_ok_and(|(_, certificate)| certificate.version() == X509Version::V3)
    });
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => PairProblem::Mismatch,
        _ if !is_v3 => PairProblem::Version,
        _ => PairProblem::Certificate,
    })
}
