//! TLS of the server: builds a rustls config from certificates, keys and the settings for client authentication.
//!
//! TLS 1.2 and 1.3 with the cipher suites of aws-lc-rs, HTTP/2 and HTTP/1.1. [`peer`] derives the identity of a client;
//! [`client_auth`] verifies its certificate; [`server_certificate`] says why clients will reject that of the server.

pub mod certificates;
pub mod client_auth;
pub mod pair;
pub mod peer;
pub mod pem_file;
pub mod private_key;
pub mod server_certificate;
mod sessions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::config::{self, ConfigError, Problem, Source};
use certificates::{CertificateError, load_certificates};
use pair::PairProblem;
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
    pub warnings: Vec<TlsWarning>,
}

/// A setting that can be used, but probably not as intended, or not for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsWarning {
    /// The setting.
    pub key: &'static str,
    /// The problem and what to do; names the file.
    pub text: String,
}

impl TlsWarning {
    /// The warning with its position in the config.
    pub fn at(&self, source: &Source) -> Problem {
        source.problem(self.key, &self.text)
    }
}

/// A problem with the TLS settings; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key is not usable.
    #[error(transparent)]
    Key(PrivateKeyError),
    /// A file with certificates is not usable; with the setting that names it.
    #[error("{1}")]
    Certificates(&'static str, #[source] CertificateError),
    /// The directory with CAs cannot be read.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The directory with CAs contains no certificate.
    #[error("{}: no file in the directory contains a certificate; add PEM files to it", .0.display())]
    EmptyDirectory(PathBuf),
    /// The private key does not belong to the certificate.
    #[error(
        "{} does not belong to the first certificate in tls.cert: {}; configure the key that the certificate was \
         created for",
        key.display(),
        cert.display()
    )]
    NotAPair {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        cert: PathBuf,
    },
    /// The certificate is valid X.509, but not for TLS.
    #[error("{}: {problem}", cert.display())]
    Unusable {
        /// The file with the certificate.
        cert: PathBuf,
        /// Why.
        problem: PairProblem,
    },
    /// rustls rejects the config.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// The verifier of client certificates cannot be created.
    #[error("cannot verify client certificates: {0}; set tls.ca to the CAs that issue them")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl TlsError {
    /// The setting to change.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::NotAPair { .. } => "tls.key",
            Self::Certificates(key, _) => key,
            Self::Directory { .. } | Self::EmptyDirectory(_) => "tls.ca",
            Self::Unusable { .. } => "tls.cert",
            Self::Setup(_) => "tls",
            Self::Verifier(_) => "tls.auth",
        }
    }
}

/// All problems with the TLS settings. `Display` is one line per error.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", .errors.iter().map(|error| format!("{}: {error}", error.key())).collect::<Vec<_>>().join("\n"))]
pub struct TlsErrors {
    /// The errors, at least one.
    pub errors: Vec<TlsError>,
    /// What else was found.
    pub warnings: Vec<TlsWarning>,
}

impl TlsErrors {
    /// The problems with their positions in the config.
    pub fn at(&self, source: &Source) -> ConfigError {
        let errors = self.errors.iter().map(|error| source.problem(error.key(), &error.to_string()));
        ConfigError::new(errors.collect(), self.warnings.iter().map(|warning| warning.at(source)).collect())
    }

    /// The value, or `None` after its error was recorded.
    fn check<T>(&mut self, found: Result<T, TlsError>) -> Option<T> {
        found.map_err(|error| self.errors.push(error)).ok()
    }

    fn warn(&mut self, key: &'static str, text: String) {
        self.warnings.push(TlsWarning { key, text });
    }
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
/// [`TlsErrors`]: every problem of every file, because one often hides another.
pub fn server_config(tls: &config::Tls, certificate_required: bool) -> Result<Server, TlsErrors> {
    let mut found = TlsErrors::default();
    let provider = provider();
    let password = tls.password.as_ref().map(|password| password.expose().as_bytes());
    let key = found.check(private_key::load(&tls.key, password).map_err(TlsError::Key));
    let chain = found.check(load_certificates(&tls.cert).map_err(|error| TlsError::Certificates("tls.cert", error)));
    for text in
        chain.iter().flat_map(|chain| server_certificate::warnings(chain, OffsetDateTime::now_utc().unix_timestamp()))
    {
        found.warn("tls.cert", format!("{}: {text}", tls.cert.display()));
    }
    // Also read if chains are not verified: a wrong path should fail at start, not when auth is turned on.
    let authorities = match tls.ca.as_deref() {
        Some(path) => authorities(path, &mut found),
        None => Some(Vec::new()),
    };
    let pair = key.zip(chain).map(|(key, chain)| {
        pair::certified_key(chain, key, &provider).map_err(|problem| match problem {
            PairProblem::Mismatch => TlsError::NotAPair { key: tls.key.clone(), cert: tls.cert.clone() },
            PairProblem::Version | PairProblem::Certificate => TlsError::Unusable { cert: tls.cert.clone(), problem },
        })
    });
    let pair = pair.and_then(|pair| found.check(pair));
    let verifier = match authorities {
        Some(authorities) if tls.auth => {
            let chain = client_auth::chain(authorities, certificate_required, provider.clone());
            found.check(chain.map_err(TlsError::Verifier))
        }
        Some(_) => Some(client_auth::any(certificate_required, &provider)),
        None => None,
    };
    let (Some(pair), Some(verifier)) = (pair, verifier) else { return Err(found) };
    let verifier = client_auth::bounded(verifier);
    let later = tls.auth.then(|| verifier.clone());
    let config = found.check(rustls_config(pair, verifier, provider));
    match config {
        Some(config) if found.errors.is_empty() => {
            Ok(Server { config: Arc::new(config), verifier: later, warnings: found.warnings })
        }
        _ => Err(found),
    }
}

fn rustls_config(
    pair: CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(Sessions::default());
    config.send_tls13_tickets = 1; // the default of two doubles what a handshake costs
    Ok(config)
}

/// The certificates in `tls.ca`: a PEM file or a directory of them, in which files without certificates are skipped.
/// `None` after an error, which `found` then contains.
fn authorities(path: &Path, found: &mut TlsErrors) -> Option<Vec<CertificateDer<'static>>> {
    let read = if path.is_dir() {
        authorities_in(path, found)
    } else {
        load_certificates(path).map_err(|error| TlsError::Certificates("tls.ca", error))
    };
    let mut authorities = found.check(read)?;
    let all = authorities.len();
    authorities.retain(client_auth::is_authority);
    if authorities.len() < all {
        let (unusable, path) = (all - authorities.len(), path.display());
        found.warn("tls.ca", format!("{path}: {unusable} of {all} certificates cannot be used as a CA; remove them"));
    }
    Some(authorities)
}

fn authorities_in(path: &Path, found: &mut TlsErrors) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Directory { path: path.to_owned(), source };
    let mut authorities = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.is_dir() {
            continue;
        }
        match load_certificates(&file) {
            Ok(mut certificates) => authorities.append(&mut certificates),
            Err(error) => found.warn("tls.ca", format!("skipped a file in the directory: {error}")),
        }
    }
    if authorities.is_empty() {
        return Err(TlsError::EmptyDirectory(path.to_owned()));
    }
    Ok(authorities)
}

/// Sets the default provider of the process, for libraries that need one. Further calls have no effect.
pub fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
