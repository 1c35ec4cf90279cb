//! Derives the [`Identity`] of a client from its certificate in the handshake, or in the header of a trusted proxy.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::Identity;

/// The client of a connection. The handshake has proved that it possesses the key of its identity.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the client.
    pub address: SocketAddr,
    /// Its identity, or why it has none.
    pub identity: Result<Identity, PeerError>,
}

/// Why a client has no identity. `Display` is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No certificate.
    #[error("tls: client certificate is required")]
    Missing,
    /// More than one certificate that is not a CA's.
    #[error("tls: received more than one client certificate")]
    Several,
    /// A CA certificate, which is not accepted as an identity. `openssl req -x509` creates CA certificates by default.
    #[error(
        "tls: client certificate is required: '{subject}' is a CA certificate; create one with the extension \
         basicConstraints=CA:FALSE"
    )]
    Authority {
        /// Its subject.
        subject: String,
    },
    /// Not a certificate.
    #[error("tls: client certificate is not valid X.509")]
    Invalid,
    /// `tls.auth` is on, and the chain of a resumed session, or that a proxy forwards, is not or no longer valid.
    #[error("tls: client certificate is not valid: {0}")]
    NotVerified(String),
    /// A proxy sent no client certificate, or several.
    #[error("tls: the proxy must send exactly one client certificate in the header '{0}'")]
    NotOneHeader(String),
    /// A proxy sent an invalid header.
    #[error("tls: the header '{0}' contains neither a URL-escaped PEM nor a base64-encoded DER certificate")]
    InvalidHeader(String),
}

impl Peer {
    /// The client of a connection after the handshake.
    pub fn new(address: SocketAddr, certificates: Option<&[CertificateDer<'_>]>) -> Self {
        Self { address, identity: identity(certificates.unwrap_or_default()) }
    }

    /// This client, without its identity if its chain is not valid now. A handshake that resumes a session does not look
    /// at the chain again, which may have expired since the first one.
    #[must_use]
    pub fn verified(mut self, verifier: &dyn ClientCertVerifier, certificates: Option<&[CertificateDer<'_>]>) -> Self {
        if self.identity.is_ok()
            && let Err(error) = verify(verifier, certificates.unwrap_or_default())
        {
            self.identity = Err(error);
        }
        self
    }

    /// A client without an address and an identity.
    pub fn unknown() -> Self {
        Self { address: (Ipv4Addr::UNSPECIFIED, 0).into(), identity: Err(PeerError::Missing) }
    }
}

/// The identity of a client that sent `certificates`.
///
/// Only the first one counts, because its key has signed the handshake (RFC 8446 section 4.4.2). KES takes the first
/// one that is not a CA certificate. A client could then send its own CA certificate followed by a certificate of
/// another client, and get the identity of that client.
fn identity(certificates: &[CertificateDer<'_>]) -> Result<Identity, PeerError> {
    let (first, rest) = certificates.split_first().ok_or(PeerError::Missing)?;
    let leaf = parse(first)?;
    if leaf.is_ca() {
        return Err(PeerError::Authority { subject: leaf.subject().to_string() });
    }
    for other in rest {
        if !parse(other)?.is_ca() {
            return Err(PeerError::Several);
        }
    }
    Ok(Identity::of_public_key(leaf.tbs_certificate.subject_pki.raw))
}

/// Verifies a chain as the handshake does: issuer, dates and usage.
fn verify(verifier: &dyn ClientCertVerifier, certificates: &[CertificateDer<'_>]) -> Result<(), PeerError> {
    let (first, rest) = certificates.split_first().ok_or(PeerError::Missing)?;
    let outcome = verifier.verify_client_cert(first, rest, UnixTime::now());
    outcome.map(|_| ()).map_err(|error| PeerError::NotVerified(error.to_string()))
}

/// The identity of the client for which a proxy forwards a request, from the configured header. With a `verifier`, its
/// certificate must be valid as that of a client without a proxy.
///
/// # Errors
/// [`PeerError::NotOneHeader`], [`PeerError::InvalidHeader`], and errors of the certificate.
pub fn identity_in_header(
    headers: &HeaderMap,
    name: &str,
    verifier: Option<&dyn ClientCertVerifier>,
) -> Result<Identity, PeerError> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(PeerError::NotOneHeader(name.to_owned()));
    };
    let invalid = || PeerError::InvalidHeader(name.to_owned());
    let plain = plain(value.to_str().map_err(|_| invalid())?);
    // Parsers differ in which of several sections they read, and some read none that begins in the middle of a line.
    if plain.windows(BEGIN.len()).filter(|window| *window == BEGIN).count() > 1 {
        return Err(PeerError::Several);
    }
    let certificates = [certificate_in(&plain).ok_or_else(invalid)?];
    let identity = identity(&certificates)?;
    verifier.map_or(Ok(()), |verifier| verify(verifier, &certificates))?;
    Ok(identity)
}

/// The start of a section of PEM.
const BEGIN: &[u8] = b"-----BEGIN";

/// The value of a header without its escapes.
fn plain(text: &str) -> Vec<u8> {
    // Go's `url.QueryEscape`, which KES decodes, escapes a space as a plus; other encoders do not produce this prefix.
    let spaced = text.strip_prefix("-----BEGIN+").map(|_| text.replace('+', " "));
    percent_decode_str(spaced.as_deref().unwrap_or(text)).collect()
}

/// The certificate in the formats that proxies send: PEM, as nginx's `$ssl_client_escaped_cert`, or base64 DER.
fn certificate_in(plain: &[u8]) -> Option<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    if plain.starts_with(BEGIN) {
        return CertificateDer::from_pem_slice(plain).ok();
    }
    let der = base64::engine::general_purpose::STANDARD.decode(plain.trim_ascii()).ok()?;
    Some(CertificateDer::from(der))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PeerError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PeerError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn certificate(ca: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_first_certificate_determines_the_identity() {
        let (leaf, ca) = (certificate(false), certificate(true));
        let expected = Identity::of_certificate(&leaf).unwrap();
        assert_eq!(identity(std::slice::from_ref(&leaf)), Ok(expected.clone()));
        assert_eq!(identity(&[leaf, ca]), Ok(expected));
    }

    #[test]
    fn a_leaf_after_a_ca_certificate_is_not_an_identity() {
        let (leaf, ca) = (certificate(false), certificate(true));
        assert!(matches!(identity(&[ca.clone(), leaf]), Err(PeerError::Authority { .. })));
        assert!(matches!(identity(&[ca]), Err(PeerError::Authority { .. })));
    }

    #[test]
    fn two_leaves_and_no_certificate_are_rejected() {
        assert_eq!(identity(&[certificate(false), certificate(false)]), Err(PeerError::Several));
        assert_eq!(identity(&[]), Err(PeerError::Missing));
        assert_eq!(identity(&[CertificateDer::from(vec![0; 40])]), Err(PeerError::Invalid));
    }

    #[test]
    fn a_header_contains_exactly_one_certificate_in_either_format() {
        let leaf = certificate(false);
        let expected = Ok(Identity::of_certificate(&leaf).unwrap());
        let base64 = base64::engine::general_purpose::STANDARD.encode(&leaf);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        let escaped = pem.replace('+', "%2B").replace('\n', "%0A").replace(' ', "%20").replace('/', "%2F");
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-tls-client-cert", value.parse().unwrap());
            }
            identity_in_header(&headers, "X-Tls-Client-Cert", None)
        };
        assert_eq!(read(&[&escaped]), expected);
        assert_eq!(read(&[&base64]), expected);
        assert!(matches!(read(&[]), Err(PeerError::NotOneHeader(_))));
        assert!(matches!(read(&[&base64, &base64]), Err(PeerError::NotOneHeader(_))));
        let joined = format!("{}{}", escaped.trim_end_matches("%0A"), escaped);
        for two in [format!("{escaped}{escaped}"), joined, format!("{escaped}-----BEGIN%20X")] {
            assert_eq!(read(&[&two]), Err(PeerError::Several), "{two}");
        }
        for bad in ["", "hello", "-----BEGIN%20CERTIFICATE", "%2D"] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }
}
