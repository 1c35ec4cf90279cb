//! As whom a client asks: an API key, or a certificate with its private key in files.

use std::io;
use std::path::{Path, PathBuf};

use backends::Secret;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::variables::{API_KEY, API_KEY_FILE, CLIENT_CERT, CLIENT_KEY, KEY_PASSWORD, KEY_PASSWORD_FILE};
use crate::identity::Identity;
use crate::identity::api_key::{ApiKey, ApiKeyError};
use crate::tls::certificates::{self, CertificateError};
use crate::tls::private_key::{self, PrivateKeyError, PrivateKeyProblem};

/// A certificate with its private key, ready for TLS.
#[derive(Debug)]
pub struct Credentials {
    /// The identity that servers know it by.
    pub identity: Identity,
    /// What is doubtful about it.
    pub warnings: Vec<String>,
    /// The certificate and those behind it.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Where they come from: one kind or the other.
#[derive(Debug, Default)]
pub struct Source {
    /// An API key.
    pub api_key: Option<Secret>,
    /// A file with an API key.
    pub api_key_file: Option<PathBuf>,
    /// A file with a private key.
    pub key: Option<PathBuf>,
    /// A file with its certificate.
    pub certificate: Option<PathBuf>,
    /// The password of the private key.
    pub password: Option<Secret>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// Why there are no credentials. It holds nothing of a key or a password.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Both kinds: which one is meant?
    #[error("both {API_KEY} and {CLIENT_KEY}/{CLIENT_CERT} are set, and a client has one identity: unset one of them")]
    Both,
    /// Half of a pair.
    #[error("{CLIENT_KEY} is set and {CLIENT_CERT} is not: set it to the file with the certificate of that key")]
    NoCertificate,
    /// The other half.
    #[error("{CLIENT_CERT} is set and {CLIENT_KEY} is not: set it to the file with the key of that certificate")]
    NoKey,
    /// The API key is none.
    #[error("{API_KEY}: {0}")]
    ApiKey(#[from] ApiKeyError),
    /// The file with the API key.
    #[error("{API_KEY_FILE}: {}: {source}", file.display())]
    ApiKeyFile {
        /// The file.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The certificate cannot be read.
    #[error("{CLIENT_CERT}: {0}")]
    Certificate(#[from] CertificateError),
    /// The private key cannot be read.
    #[error("{CLIENT_KEY}: {0}")]
    Key(#[source] PrivateKeyError),
    /// Nobody said the password.
    #[error(
        "{CLIENT_KEY}: {}: the private key is encrypted: set {KEY_PASSWORD} or {KEY_PASSWORD_FILE}, or run the command \
         on a terminal, which asks for the password",
        .0.display()
    )]
    NoPassword(PathBuf),
    /// Another password.
    #[error("{CLIENT_KEY}: {}: the password from {from} does not decrypt the private key", file.display())]
    WrongPassword {
        /// The file with the key.
        file: PathBuf,
        /// Where the password came from.
        from: String,
    },
    /// The file with the password.
    #[error("{KEY_PASSWORD_FILE}: {}: {source}", file.display())]
    PasswordFile {
        /// The file.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The terminal failed.
    #[error("the password could not be asked for: {0}")]
    Terminal(#[source] io::Error),
    /// Key and certificate are each fine, but not a pair.
    #[error("{CLIENT_KEY}: {} does not belong to the first certificate in {CLIENT_CERT}: {}", key.display(), certificate.display())]
    NotAPair {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
}

/// A secret in a file of one line.
fn read_line(file: &Path) -> io::Result<Secret> {
    let text = Zeroizing::new(std::fs::read_to_string(file)?);
    Ok(Secret::from(Zeroizing::new(text.strip_suffix('\n').unwrap_or(&text).trim_end_matches('\r').to_owned())))
}

impl Source {
    /// Reads and checks them; nothing when no kind is set. `ask` gets a password from a person.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load(
        self,
        ask: &dyn Fn(&str) -> io::Result<Option<Secret>>,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let api_key = match (&self.api_key, &self.api_key_file) {
            (None, Some(file)) => {
                Some(read_line(file).map_err(|source| CredentialsError::ApiKeyFile { file: file.clone(), source })?)
            }
            (api_key, _) => api_key.clone(),
        };
        match (&api_key, &self.key, &self.certificate) {
            (None, None, None) => Ok(None),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(CredentialsError::Both),
            (Some(api_key), None, None) => of_api_key(api_key).map(Some),
            (None, Some(_), None) => Err(CredentialsError::NoCertificate),
            (None, None, Some(_)) => Err(CredentialsError::NoKey),
            (None, Some(key), Some(certificate)) => self.of_files(key, certificate, ask).map(Some),
        }
    }

    fn of_files(
        &self,
        key_file: &Path,
        certificate_file: &Path,
        ask: &dyn Fn(&str) -> io::Result<Option<Secret>>,
    ) -> Result<Credentials, CredentialsError> {
        let certificates = certificates::load_certificates(certificate_file)?;
        let key = match private_key::load(key_file, None) {
            Err(PrivateKeyError { problem: PrivateKeyProblem::NoPassword, .. }) => self.decrypt(key_file, ask)?,
            other => other.map_err(CredentialsError::Key)?,
        };
        let pair = CertifiedKey::from_der(certificates.clone(), key.clone_key(), &crate::tls::provider());
        let (Ok(_), Some(leaf)) = (pair, certificates.first()) else {
            let (key, certificate) = (key_file.to_owned(), certificate_file.to_owned());
            return Err(CredentialsError::NotAPair { key, certificate });
        };
        let not_x509 = |_| CertificateError {
            file: certificate_file.to_owned(),
            problem: certificates::CertificateProblem::NotX509(1),
        };
        let identity = Identity::of_certificate(leaf).map_err(not_x509)?;
        let warnings = doubts(leaf).map(|doubt| format!("{CLIENT_CERT}: {}: {doubt}", certificate_file.display()));
        Ok(Credentials { identity, warnings: warnings.into_iter().collect(), certificates, key })
    }

    /// The private key of an encrypted file, with the password from wherever there is one.
    fn decrypt(
        &self,
        file: &Path,
        ask: &dyn Fn(&str) -> io::Result<Option<Secret>>,
    ) -> Result<PrivateKeyDer<'static>, CredentialsError> {
        let (password, from) = if let Some(password) = &self.password {
            (password.clone(), KEY_PASSWORD.to_owned())
        } else if let Some(file) = &self.password_file {
            let line =
                read_line(file).map_err(|source| CredentialsError::PasswordFile { file: file.clone(), source })?;
            (line, format!("{KEY_PASSWORD_FILE}: {}", file.display()))
        } else {
            let asked = ask(&format!("Password of {}: ", file.display())).map_err(CredentialsError::Terminal)?;
            (asked.ok_or_else(|| CredentialsError::NoPassword(file.to_owned()))?, "the terminal".to_owned())
        };
        private_key::load(file, Some(password.expose().as_bytes())).map_err(|error| match error.problem {
            PrivateKeyProblem::WrongPassword => CredentialsError::WrongPassword { file: error.file, from },
            _ => CredentialsError::Key(error),
        })
    }
}

fn of_api_key(text: &Secret) -> Result<Credentials, CredentialsError> {
    let api_key = ApiKey::parse(text.expose())?;
    let (certificate, key) = api_key.client_certificate();
    let (certificates, key) = (vec![certificate], PrivateKeyDer::Pkcs8(key));
    Ok(Credentials { identity: api_key.identity(), warnings: Vec::new(), certificates, key })
}

/// What some server may mind about a certificate: a server says so in words that seldom name it.
fn doubts(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    if certificate.is_ca() {
        return Some(
            "it is a CA certificate, which is nobody's identity: make one with keyway identity new, or with \
             basicConstraints=CA:FALSE"
                .to_owned(),
        );
    }
    (!validity.is_valid()).then(|| {
        let (from, until) = (validity.not_before, validity.not_after);
        format!("it is valid from {from} until {until}, and not now: servers with tls.auth: on refuse it")
    })
}
