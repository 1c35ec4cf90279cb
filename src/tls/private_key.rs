//! Private keys of TLS from files: plain, or encrypted with a password in either of the ways that are in use.
//!
//! | label of the section | holds | encrypted as |
//! |---|---|---|
//! | `PRIVATE KEY` | PKCS#8 (RFC 5958) | with headers: RFC 1423, as KES writes it |
//! | `ENCRYPTED PRIVATE KEY` | PKCS#8 (RFC 5958 section 3) | PBES2 (RFC 8018 section 6.2), as OpenSSL writes it |
//! | `RSA PRIVATE KEY` | PKCS#1 (RFC 8017 A.1.2) | with headers: RFC 1423 |
//! | `EC PRIVATE KEY` | SEC 1 (RFC 5915) | with headers: RFC 1423 |
//!
//! No error holds a byte of the key or the password. Not here: certificates (`certificates.rs`), and the keys that
//! clients use by name (`crypto/key.rs`).

#[cfg(test)]
pub(crate) mod openssl;
mod rfc1423;

use std::path::{Path, PathBuf};

use pem::Pem;
use pkcs8::der::{self, Decode};
use pkcs8::{EncryptedPrivateKeyInfoRef, pkcs5};
use rustls::pki_types::PrivateKeyDer;

use super::pem_file::{self, FileProblem};

const PKCS8: &str = "PRIVATE KEY";
const PKCS8_ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

/// A file did not give a private key.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct PrivateKeyError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: PrivateKeyProblem,
}

/// What is wrong with a file that should hold one private key.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyProblem {
    /// It has no PEM sections to look at.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It has sections, and none is a private key.
    #[error("it holds no private key, but {found}")]
    None {
        /// What its first section is.
        found: &'static str,
    },
    /// It is not clear which key is meant.
    #[error("it holds {0} private keys: leave one")]
    Several(usize),
    /// A kind of section that is not read.
    #[error(
        "its private key is in a format that is not supported: convert it with openssl pkey, or ssh-keygen -p -m pem"
    )]
    Format,
    /// A password is needed.
    #[error("its private key is encrypted and there is no password: set tls.password")]
    NoPassword,
    /// The password does not fit, or the file was changed.
    #[error("the password in tls.password does not decrypt its private key")]
    WrongPassword,
    /// Encrypted in a way that is not read.
    #[error(
        "its private key is encrypted in a way that is not supported: \
         convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc, or remove the encryption with openssl pkey"
    )]
    Encryption,
    /// The headers or the structure around an encrypted key are damaged.
    #[error("its encrypted private key is damaged")]
    Damaged,
    /// A section that is labelled as a private key holds none that TLS can use.
    #[error(
        "its private key is damaged, or of a type that TLS cannot use: use RSA (2048 bits or more), ECDSA or Ed25519"
    )]
    Unusable,
}

/// Reads the private key of a PEM file. Certificates in the same file are skipped, and so are EC parameters. A password
/// is not looked at when the key is not encrypted.
///
/// It reads the file and, for an encrypted key, computes for up to a second while the caller waits: off the async
/// threads, please.
///
/// # Errors
/// [`PrivateKeyError`] names the file and what to do. It never holds the password or bytes of the key.
pub fn load(file: &Path, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyError> {
    pem_file::read(file)
        .map_err(PrivateKeyProblem::File)
        .and_then(|sections| of_sections(sections, password))
        .map_err(|problem| PrivateKeyError { file: file.to_owned(), problem })
}

/// The same for the text of a file.
///
/// # Errors
/// [`PrivateKeyProblem`].
pub fn parse(text: &[u8], password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
    of_sections(pem_file::sections(text)?, password)
}

fn of_sections(sections: Vec<Pem>, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
    only_key(sections)?.decode(password).and_then(usable)
}

/// A section that is labelled as a private key.
struct Section(Pem);

fn only_key(sections: Vec<Pem>) -> Result<Section, PrivateKeyProblem> {
    let found = sections.first().map_or("nothing", |section| kind(section.tag()));
    let mut keys: Vec<Pem> = sections.into_iter().filter(|section| section.tag().ends_with(PKCS8)).collect();
    match (keys.pop(), keys.len()) {
        (None, _) => Err(PrivateKeyProblem::None { found }),
        (Some(key), 0) => Ok(Section(key)),
        (Some(_), more) => Err(PrivateKeyProblem::Several(more + 1)),
    }
}

/// A label in words. Labels of other kinds are not repeated: they could hold anything.
fn kind(label: &str) -> &'static str {
    match label {
        "CERTIFICATE" => "a certificate: are the two files swapped?",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a certificate request",
        "EC PARAMETERS" => "only the parameters of one",
        _ => "something else",
    }
}

impl Section {
    fn decode(self, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
        let encrypted = rfc1423::is_encrypted(&self.0);
        let password = || password.ok_or(PrivateKeyProblem::NoPassword);
        let der = match self.0.tag() {
            PKCS8_ENCRYPTED => decrypt_pkcs8(self.0.contents(), password()?)?,
            PKCS8 | PKCS1 | SEC1 if encrypted => rfc1423::decrypt(&self.0, password()?)?,
            PKCS8 | PKCS1 | SEC1 => self.0.into_contents(),
            _ => return Err(PrivateKeyProblem::Format),
        };
        // By what it is and not by its label: Go programs, KES among them, mind no wrong label.
        PrivateKeyDer::try_from(der).map_err(|_| PrivateKeyProblem::Unusable)
    }
}

fn decrypt_pkcs8(der: &[u8], password: &[u8]) -> Result<Vec<u8>, PrivateKeyProblem> {
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| match error.kind() {
        // The structure is right, and names an algorithm or parameters that the crate does not know.
        der::ErrorKind::OidUnknown { .. } | der::ErrorKind::Value { .. } => PrivateKeyProblem::Encryption,
        _ => PrivateKeyProblem::Damaged,
    })?;
    match encrypted.decrypt(password) {
        Ok(document) => Ok(document.as_bytes().to_vec()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::AlgorithmParametersInvalid { .. }
            | pkcs5::Error::NoPbes1CryptSupport,
        )) => Err(PrivateKeyProblem::Encryption),
        // Wrong padding; or, one time in 256, right padding around what is not DER.
        Err(_) => Err(PrivateKeyProblem::WrongPassword),
    }
}

/// Finds out here, where the name of the file is known, what rustls would say later.
fn usable(key: PrivateKeyDer<'static>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
    match rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) {
        Ok(_) => Ok(key),
        Err(_) => Err(PrivateKeyProblem::Unusable),
    }
}

#[cfg(test)]
mod tests;
