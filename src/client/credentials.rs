//! The credentials of a client: an API key, or a certificate with its private key in files.

use std::io;
use std::path::{Path, PathBuf};

use backends::Secret;
use backends::tls_failure::utc;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::variables::{API_KEY_FILE, CLIENT_CERT, CLIENT_KEY, KEY_PASSWORD, KEY_PASSWORD_FILE};
use crate::identity::Identity;
use crate::identity::api_key::{ApiKey, ApiKeyError};
use crate::tls::certificates::{self, CertificateError};
use crate::tls::private_key::{self, PrivateKeyError, PrivateKeyProblem};

/// A certificate with its private key, ready for TLS.
#[derive(Debug)]
pub struct Credentials {
    /// The client's identity.
    pub identity: Identity,
    /// Warnings about the certificate.
    pub warnings: Vec<String>,
    /// The certificate and its chain.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Where the credentials come from; only one kind may be set.
#[derive(Debug, Default)]
pub struct Source {
    /// An API key, and the variable that it comes from.
    pub api_key: Option<(&'static str, Secret)>,
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

/// Invalid credentials. Contains no part of a key or a password.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Both kinds are set.
    #[error("both {0} and {CLIENT_KEY}/{CLIENT_CERT} are set, but a client has only one identity; unset one of them")]
    Both(&'static str),
    /// Two API keys are set.
    #[error("both {0} and {API_KEY_FILE} are set, but a client has only one API key; unset one of them")]
    TwoApiKeys(&'static str),
    /// The certificate is missing.
    #[error("{CLIENT_KEY} is set but {CLIENT_CERT} is not; set it to the file with the certificate of the key")]
    NoCertificate,
    /// The private key is missing.
    #[error("{CLIENT_CERT} is set but {CLIENT_KEY} is not; set it to the file with the private key of the certificate")]
    NoKey,
    /// The API key is invalid.
    #[error("{from}: {source}")]
    ApiKey {
        /// The variable that it comes from.
        from: &'static str,
        /// What is wrong with it.
        source: ApiKeyError,
    },
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
    /// The private key is encrypted, and there is no password.
    #[error(
        "{CLIENT_KEY}: {}: the private key is encrypted; set {KEY_PASSWORD} or {KEY_PASSWORD_FILE}, or run the command \
         on a terminal to be prompted for the password",
        .0.display()
    )]
    NoPassword(PathBuf),
    /// The password is wrong.
    #[error("{CLIENT_KEY}: {}: wrong password for the private key (from {from})", file.display())]
    WrongPassword {
        /// The file with the key.
        file: PathBuf,
        /// Where the password came from.
        from: String,
    },
    /// The file with the password cannot be read.
    #[error("{KEY_PASSWORD_FILE}: {}: {source}", file.display())]
    PasswordFile {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The prompt failed.
    #[error("cannot prompt for the password: {0}")]
    Terminal(#[source] io::Error),
    /// Key and certificate are valid, but do not belong together.
    #[error(
        "{CLIENT_KEY}: {} does not match the first certificate in {CLIENT_CERT}: {}",
        key.display(),
        certificate.display()
    )]
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
    /// Reads and checks the credentials; `None` if none are set. `prompt` reads a password from the terminal.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load(
        self,
        prompt: &dyn Fn(&str) -> io::Result<Option<Secret>>,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let api_key = match (&self.api_key, &self.api_key_file) {
            (Some((name, _)), Some(_)) => return Err(CredentialsError::TwoApiKeys(name)),
            (None, Some(file)) => {
                let source = |source| CredentialsError::ApiKeyFile { file: file.clone(), source };
                Some((API_KEY_FILE, read_line(file).map_err(source)?))
            }
            (api_key, None) => api_key.clone(),
        };
        match (&api_key, &self.key, &self.certificate) {
            (None, None, None) => Ok(None),
            (Some((name, _)), Some(_), _) | (Some((name, _)), _, Some(_)) => Err(CredentialsError::Both(name)),
            (Some((name, api_key)), None, None) => {
                of_api_key(api_key).map(Some).map_err(|source| CredentialsError::ApiKey { from: name, source })
            }
            (None, Some(_), None) => Err(CredentialsError::NoCertificate),
            (None, None, Some(_)) => Err(CredentialsError::NoKey),
            (None, Some(key), Some(certificate)) => self.of_files(key, certificate, prompt).map(Some),
        }
    }

    fn of_files(
        &self,
        key_file: &Path,
        certificate_file: &Path,
        prompt: &dyn Fn(&str) -> io::Result<Option<Secret>>,
    ) -> Result<Credentials, CredentialsError> {
        let certificates = certificates::load_certificates(certificate_file)?;
        let key = match private_key::load(key_file, None) {
            Err(PrivateKeyError { problem: PrivateKeyProblem::NoPassword, .. }) => self.decrypt(key_file, prompt)?,
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
        let warnings = warning(leaf).map(|warning| format!("{CLIENT_CERT}: {}: {warning}", certificate_file.display()));
        Ok(Credentials { identity, warnings: warnings.into_iter().collect(), certificates, key })
    }

    /// Decrypts the private key in a file, with a password from the variables or a prompt.
    fn decrypt(
        &self,
        file: &Path,
        prompt: &dyn Fn(&str) -> io::Result<Option<Secret>>,
    ) -> Result<PrivateKeyDer<'static>, CredentialsError> {
        let (password, from) = if let Some(password) = &self.password {
            (password.clone(), KEY_PASSWORD.to_owned())
        } else if let Some(file) = &self.password_file {
            let line =
                read_line(file).map_err(|source| CredentialsError::PasswordFile { file: file.clone(), source })?;
            (line, format!("{KEY_PASSWORD_FILE}: {}", file.display()))
        } else {
            let password = prompt(&format!("Password for {}: ", file.display())).map_err(CredentialsError::Terminal)?;
            (password.ok_or_else(|| CredentialsError::NoPassword(file.to_owned()))?, "the terminal".to_owned())
        };
        private_key::load(file, Some(password.expose().as_bytes())).map_err(|error| match error.problem {
            PrivateKeyProblem::WrongPassword => CredentialsError::WrongPassword { file: error.file, from },
            _ => CredentialsError::Key(error),
        })
    }
}

fn of_api_key(text: &Secret) -> Result<Credentials, ApiKeyError> {
    let api_key = ApiKey::parse(text.expose())?;
    let (certificate, key) = api_key.client_certificate();
    let (certificates, key) = (vec![certificate], PrivateKeyDer::Pkcs8(key));
    Ok(Credentials { identity: api_key.identity(), warnings: Vec::new(), certificates, key })
}

/// A reason for which servers may reject a certificate: their own errors rarely mention it.
fn warning(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    if certificate.is_ca() {
        return Some(
            "it is a CA certificate, which cannot identify a client; create a client certificate with keyway identity \
             new, or with basicConstraints=CA:FALSE"
                .to_owned(),
        );
    }
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let problem = match () {
        () if now < from => format!("it is not valid yet (valid from {})", utc(from)),
        () if now > until => format!("it has expired (valid until {})", utc(until)),
        () => return None,
    };
    Some(format!("{problem}; servers with tls.auth: on reject it"))
}
