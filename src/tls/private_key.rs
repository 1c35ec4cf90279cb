//! Private keys for TLS from PEM files, plain or encrypted with a password.
//!
//! | label of the section | content | encryption |
//! |---|---|---|
//! | `PRIVATE KEY` | PKCS#8 (RFC 5958) | RFC 1423 headers, as KES writes them |
//! | `ENCRYPTED PRIVATE KEY` | PKCS#8 (RFC 5958 section 3) | PBES2 (RFC 8018 section 6.2), as OpenSSL writes it |
//! | `RSA PRIVATE KEY` | PKCS#1 (RFC 8017 A.1.2) | RFC 1423 headers |
//! | `EC PRIVATE KEY` | SEC 1 (RFC 5915) | RFC 1423 headers |
//!
//! Errors contain no part of the key or the password. Certificates are in `certificates.rs`, and the keys that clients
//! use by name in `crypto/key.rs`.

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

/// A file with a private key is not usable.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct PrivateKeyError {
    /// The file.
    pub file: PathBuf,
    /// The problem.
    #[source]
    pub problem: PrivateKeyProblem,
}

/// A problem with a file that should contain one private key.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyProblem {
    /// It cannot be read, or is not PEM.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It contains only other kinds of PEM sections.
    #[error("contains no private key, but {found}")]
    None {
        /// The kind of its first section.
        found: &'static str,
    },
    /// It contains several keys.
    #[error("contains {0} private keys; keep only one")]
    Several(usize),
    /// The format of the key is not supported.
    #[error("the format of the private key is not supported; convert it with openssl pkey, or ssh-keygen -p -m pem")]
    Format,
    /// The key is encrypted and no password is configured.
    #[error("the private key is encrypted; set tls.password")]
    NoPassword,
    /// The password is wrong, or the file was modified.
    #[error("the password in tls.password does not decrypt the private key")]
    WrongPassword,
    /// The encryption of the key is not supported.
    #[error(
        "the encryption of the private key is not supported; \
         convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc, or remove the encryption with openssl pkey"
    )]
    Encryption,
    /// The headers or the structure of an encrypted key are damaged.
    #[error("the encrypted private key is damaged")]
    Damaged,
    /// A section with the label of a private key is not one that TLS can use.
    #[error("the private key is damaged or of an unsupported type; use RSA (2048 bits or more), ECDSA or Ed25519")]
    Unusable,
}

/// Reads the private key of a PEM file. Certificates and EC parameters in the same file are skipped. The password is
/// ignored if the key is not encrypted.
///
/// Blocks while it reads the file and, for up to a second, while it decrypts the key; do not call it on async threads.
///
/// # Errors
/// [`PrivateKeyError`], with the file and what to do. It never contains the password or a part of the key.
pub fn load(file: &Path, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyError> {
    pem_file::read(file)
        .map_err(PrivateKeyProblem::File)
        .and_then(|sections| of_sections(sections, password))
        .map_err(|problem| PrivateKeyError { file: file.to_owned(), problem })
}

/// The same for the content of a file.
///
/// # Errors
/// [`PrivateKeyProblem`].
pub fn parse(text: &[u8], password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
    of_sections(pem_file::sections(text)?, password)
}

fn of_sections(sections: Vec<Pem>, password: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
    only_key(sections)?.decode(password).and_then(usable)
}

/// A section with the label of a private key.
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

/// A description of a label. Unknown labels are not repeated, because they could contain anything.
fn kind(label: &str) -> &'static str {
    match label {
        "CERTIFICATE" => "a certificate; are the two files swapped?",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a certificate request",
        "EC PARAMETERS" => "EC parameters",
        _ => "other data",
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
        // By content and not by label: Go programs, including KES, accept wrong labels.
        PrivateKeyDer::try_from(der).map_err(|_| PrivateKeyProblem::Unusable)
    }
}

fn decrypt_pkcs8(der: &[u8], password: &[u8]) -> Result<Vec<u8>, PrivateKeyProblem> {
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| match error.kind() {
        // Valid structure with an algorithm or parameters that the crate does not support.
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
        // Invalid padding or, in one of 256 cases, valid padding around data that is not DER.
        Err(_) => Err(PrivateKeyProblem::WrongPassword),
    }
}

/// Checks here that rustls can use the key, because the name of the file is known.
fn usable(key: PrivateKeyDer<'static>) -> Result<PrivateKeyDer<'static>, PrivateKeyProblem> {
    match rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) {
        Ok(_) => Ok(key),
        Err(_) => Err(PrivateKeyProblem::Unusable),
    }
}

#[cfg(test)]
mod tests;
