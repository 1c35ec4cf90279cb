//! Verification of client certificates in the handshake. In every mode the client proves possession of the private key.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use tracing::warn;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The maximum size of all certificates of a client, in bytes. A chain with RSA keys of 4096 bits has 6 KiB; the protocol
/// would allow 64 KiB, which are kept as long as the connection and the session.
const MAX_CHAIN: usize = 16 << 10;

/// A client sent more certificates than [`MAX_CHAIN`].
#[derive(Debug, thiserror::Error)]
#[error(
    "the client's certificates have {0} bytes, and at most {MAX_CHAIN} are accepted; send the chain without its root, and no others"
)]
struct ChainTooLong(usize);

/// `tls.auth: off`: accepts any certificate, regardless of its issuer and validity; the policy decides by its key.
pub fn any(required: bool, provider: &CryptoProvider) -> Arc<dyn ClientCertVerifier> {
    Arc::new(AnyCertificate { required, algorithms: provider.signature_verification_algorithms })
}

/// Whether chains of client certificates can end at this certificate.
pub fn is_authority(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// `tls.auth: on`: the chain must end at one of `authorities` or at a root certificate of the system.
///
/// # Errors
/// [`VerifierBuilderError`] if there is no root certificate at all.
pub fn chain(
    authorities: Vec<CertificateDer<'static>>,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        warn!(%error, "cannot read a root certificate of the system");
    }
    roots.add_parsable_certificates(system.certs);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if required { builder } else { builder.allow_unauthenticated() }.build()
}

/// Refuses chains that are too long before `verifier` reads them.
pub fn bounded(verifier: Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier> {
    Arc::new(Bounded(verifier))
}

/// A verifier behind a limit on the size of the chain.
#[derive(Debug)]
struct Bounded(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Bounded {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let size = leaf.len() + others.iter().map(|other| other.len()).sum::<usize>();
        if size > MAX_CHAIN {
            let reason = OtherError(Arc::new(ChainTooLong(size)));
            return Err(Error::InvalidCertificate(CertificateError::Other(reason)));
        }
        self.0.verify_client_cert(leaf, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Accepts every certificate, but verifies every signature.
#[derive(Debug)]
struct AnyCertificate {
    required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion()) // only of the certificate; the signatures below prove possession of the key
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    /// Verifies with the raw public key: webpki reads only X.509 v3, and `openssl x509 -req` creates v1.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let key = SubjectPublicKeyInfoDer::from(certificate.tbs_certificate.subject_pki.raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
