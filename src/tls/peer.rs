//! Derives the [`Identity`] of a client from its certificate in the handshake, or in the header of a trusted proxy.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
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

/// The identity of the client for which a proxy forwards a request, from the configured header.
///
/// # Errors
/// [`PeerError::NotOneHeader`], [`PeerError::InvalidHeader`], and errors of the certificate.
pub fn identity_in_header(headers: &HeaderMap, name: &str) -> Result<Identity, PeerError> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(PeerError::NotOneHeader(name.to_owned()));
    };
    let invalid = || PeerError::InvalidHeader(name.to_owned());
    let certificates = certificates_in(value.to_str().map_err(|_| invalid())?).ok_or_else(invalid)?;
    identity(&certificates)
}

/// Parses the formats that proxies send: URL-escaped PEM, as nginx's `$ssl_client_escaped_cert`, or base64 DER.
fn certificates_in(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    use rustls::pki_types::pem::PemObject as _;
    // Go's `url.QueryEscape`, which KES decodes, escapes a space as a plus; other encoders do not produce this prefix.
    let spaced = text.strip_prefix("-----BEGIN+").map(|_| text.replace('+', " "));
    let plain = percent_decode_str(spaced.as_deref().unwrap_or(text)).collect::<Vec<u8>>();
    if plain.starts_with(b"-----BEGIN") {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&plain).collect::<Result<_, _>>().ok()?;
        return (!certificates.is_empty()).then_some(certificates);
    }
    let der = base64::engine::general_purpose::STANDARD.decode(plain.trim_ascii()).ok()?;
    Some(vec![CertificateDer::from(der)])
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
            identity_in_header(&headers, "X-Tls-Client-Cert")
        };
        assert_eq!(read(&[&escaped]), expected);
        assert_eq!(read(&[&base64]), expected);
        assert!(matches!(read(&[]), Err(PeerError::NotOneHeader(_))));
        assert!(matches!(read(&[&base64, &base64]), Err(PeerError::NotOneHeader(_))));
        for bad in ["", "hello", "-----BEGIN%20CERTIFICATE", "%2D"] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }
}
