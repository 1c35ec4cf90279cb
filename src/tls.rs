//! The TLS side of the server: certificates, keys and client authentication become one rustls config.
//!
//! TLS 1.2 and 1.3 with the suites of aws-lc-rs, HTTP/2 and HTTP/1.1. Who the client is, is [`peer`]'s matter;
//! whether its chain is checked is [`client_auth`]'s.

pub mod certificates;
pub mod client_auth;
pub mod peer;
mod pem_file;
pub mod private_key;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::CertifiedKey;

use crate::config;
use certificates::{CertificateError, load_certificates};
use private_key::PrivateKeyError;

/// Sessions that can be resumed without a full handshake, at about 1 KiB each.
const SESSIONS: usize = 10_000;

/// What a server needs for TLS.
#[derive(Debug)]
pub struct Server {
    /// The config of rustls.
    pub config: Arc<ServerConfig>,
    /// What is doubtful about the files.
    pub warnings: Vec<String>,
}

/// What is wrong with the TLS part of a config; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key cannot be used.
    #[error("tls.key: {0}")]
    Key(#[source] PrivateKeyError),
    /// A file of certificates cannot be used.
    #[error("{0}: {1}")]
    Certificates(&'static str, #[source] CertificateError),
    /// The directory of CAs cannot be read.
    #[error("tls.ca: {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The directory of CAs has no certificate in it.
    #[error("tls.ca: {}: no file of the directory holds a certificate; put PEM files there", .0.display())]
    EmptyDirectory(PathBuf),
    /// Key and certificate are each fine, but not a pair.
    #[error("tls.key: {} does not belong to the first certificate in tls.cert: {}: {reason}", key.display(), cert.display())]
    NotAPair {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        cert: PathBuf,
        /// How the pair failed.
        reason: String,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The check of client chains cannot be set up.
    #[error("tls.auth: client certificates cannot be checked: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The cryptography of all TLS in the program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Reads key, certificates and CAs and builds the config. Each call has a session store of its own, so that no
/// session made under other rules can be resumed. `certificate_required` says whether a client without a
/// certificate is refused in the handshake.
///
/// May take some hundred milliseconds when the key is encrypted: not for a thread that serves requests.
///
/// # Errors
/// [`TlsError`] names the option and the file.
pub fn server_config(tls: &config::Tls, certificate_required: bool) -> Result<Server, TlsError> {
    let mut warnings = Vec::new();
    let password = tls.password.as_ref().map(|password| password.expose().as_bytes());
    let key = private_key::load(&tls.key, password).map_err(TlsError::Key)?;
    let certificates = load_certificates(&tls.cert).map_err(|error| TlsError::Certificates("tls.cert", error))?;
    warnings.extend(expired(&tls.cert, &certificates));

    let provider = provider();
    let pair = CertifiedKey::from_der(certificates, key, &provider).map_err(|error| TlsError::NotAPair {
        key: tls.key.clone(),
        cert: tls.cert.clone(),
        reason: error.to_string(),
    })?;
    // Read even when chains are not checked: a wrong path is told at start and not on the day it is needed.
    let authorities = tls.ca.as_deref().map(|path| authorities(path, &mut warnings)).transpose()?;
    let verifier = if tls.auth {
        client_auth::chain(authorities.unwrap_or_default(), certificate_required, provider.clone())?
    } else {
        client_auth::any(certificate_required, &provider)
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(Server { config: Arc::new(config), warnings })
}

/// The certificates of `tls.ca`: a PEM file, or a directory of them, in which files without one are skipped.
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
            Err(error) => warnings.push(format!("tls.ca: skipped a file of the directory: {error}")),
        }
    }
    if found.is_empty() {
        return Err(TlsError::EmptyDirectory(path.to_owned()));
    }
    Ok(found)
}

/// Clients refuse an expired certificate with words that seldom name it.
fn expired(path: &Path, certificates: &[CertificateDer<'_>]) -> Option<String> {
    certificates.iter().find_map(|certificate| {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let (subject, end) = (certificate.subject(), certificate.validity().not_after);
        (!certificate.validity().is_valid()).then(|| {
            format!("tls.cert: {}: '{subject}' is not valid now (until {end}): clients will refuse it", path.display())
        })
    })
}

/// Makes this the provider of the process, for libraries that ask for one; a second call changes nothing.
pub fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
