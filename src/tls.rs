//! TLS of the server: builds a rustls config from certificates, keys and the settings for client authentication.
//!
//! TLS 1.2 and 1.3 with the cipher suites of aws-lc-rs, HTTP/2 and HTTP/1.1. [`peer`] derives the identity of a client;
//! [`client_auth`] verifies its certificate.

pub mod certificates;
pub mod client_auth;
pub mod peer;
mod pem_file;
pub mod private_key;
mod sessions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use crate::config;
use certificates::{CertificateError, load_certificates};
use private_key::PrivateKeyError;
use sessions::Sessions;

/// The TLS config of a server.
#[derive(Debug)]
pub struct Server {
    /// The config of rustls.
    pub config: Arc<ServerConfig>,
    /// Verifies the chains of clients after the handshake, with `tls.auth: on`: of resumed sessions, and those that a
    /// proxy forwards.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Problems that do not prevent its use, such as an expired certificate.
    pub warnings: Vec<String>,
}

/// A problem with the TLS settings; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key is not usable.
    #[error("tls.key: {0}")]
    Key(#[source] PrivateKeyError),
    /// A file with certificates is not usable.
    #[error("{0}: {1}")]
    Certificates(&'static str, #[source] CertificateError),
    /// The directory with CAs cannot be read.
    #[error("tls.ca: {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The directory with CAs contains no certificate.
    #[error("tls.ca: {}: no file in the directory contains a certificate; add PEM files to it", .0.display())]
    EmptyDirectory(PathBuf),
    /// The private key does not belong to the certificate.
    #[error(
        "tls.key: {} does not belong to the first certificate in tls.cert: {}: {reason}",
        key.display(),
        cert.display()
    )]
    NotAPair {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        cert: PathBuf,
        /// The error of rustls.
        reason: String,
    },
    /// rustls rejects the config.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// The verifier of client certificates cannot be created.
    #[error("tls.auth: cannot verify client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The cryptography provider for all TLS connections of the program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Reads the key, the certificates and the CAs and builds the config. Each call creates a new session store, so that
/// sessions from a previous config cannot be resumed. With `certificate_required`, the handshake fails for clients
/// without a certificate.
///
/// May take several hundred milliseconds for an encrypted key; do not call it on threads that serve requests.
///
/// # Errors
/// [`TlsError`], with the setting and the file.
pub fn server_config(tls: &config::Tls, certificate_required: bool) -> Result<Server, TlsError> {
    let mut warnings = Vec::new();
    let password = tls.password.as_ref().map(|password| password.expose().as_bytes());
    let key = private_key::load(&tls.key, password).map_err(TlsError::Key)?;
    let certificates = load_certificates(&tls.cert).map_err(|error| TlsError::Certificates("tls.cert", error))?;
    warnings.extend(validity_warning(&tls.cert, &certificates));

    let provider = provider();
    let pair = CertifiedKey::from_der(certificates, key, &provider).map_err(|error| TlsError::NotAPair {
        key: tls.key.clone(),
        cert: tls.cert.clone(),
        reason: error.to_string(),
    })?;
    // Also read if chains are not verified: a wrong path should fail at start, not when auth is turned on.
    let authorities = tls.ca.as_deref().map(|path| authorities(path, &mut warnings)).transpose()?;
    let verifier = if tls.auth {
        client_auth::chain(authorities.unwrap_or_default(), certificate_required, provider.clone())?
    } else {
        client_auth::any(certificate_required, &provider)
    };
    let verifier = client_auth::bounded(verifier);
    let later = tls.auth.then(|| verifier.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(Sessions::default());
    config.send_tls13_tickets = 1; // the default of two doubles what a handshake costs
    Ok(Server { config: Arc::new(config), verifier: later, warnings })
}

/// The certificates in `tls.ca`: a PEM file or a directory of them, in which files without certificates are skipped.
fn authorities(path: &Path, warnings: &mut Vec<String>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if !path.is_dir() {
        return load_certificates(path).map_err(|error| TlsError::Certificates("tls.ca", error));
    }
    let unreadable = |source| TlsError::Directory { path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.is_dir() {
            continue;
        }
        match load_certificates(&file) {
            Ok(mut certificates) => found.append(&mut certificates),
            Err(error) => warnings.push(format!("tls.ca: skipped a file in the directory: {error}")),
        }
    }
    if found.is_empty() {
        return Err(TlsError::EmptyDirectory(path.to_owned()));
    }
    Ok(found)
}

/// The warning about a certificate that is not valid now; the errors of clients rarely identify it.
fn validity_warning(path: &Path, certificates: &[CertificateDer<'_>]) -> Option<String> {
    certificates.iter().find_map(|certificate| {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let (subject, end) = (certificate.subject(), certificate.validity().not_after);
        (!certificate.validity().is_valid()).then(|| {
            let file = path.display();
            format!("tls.cert: {file}: '{subject}' is not currently valid (until {end}); clients will reject it")
        })
    })
}

/// Sets the default provider of the process, for libraries that need one. Further calls have no effect.
pub fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
