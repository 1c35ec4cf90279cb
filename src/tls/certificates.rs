//! Certificates from PEM files: the server's chain and the CAs that it trusts.
//!
//! Private keys are in `private_key.rs`, and the certificates of clients in `peer.rs`.

use std::path::{Path, PathBuf};

use pem::Pem;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem_file::{self, FileProblem};

/// PEM labels of certificates: RFC 7468 section 5.1, and those that OpenSSL has used.
const LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/// A file with certificates is not usable.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct CertificateError {
    /// The file.
    pub file: PathBuf,
    /// The problem.
    #[source]
    pub problem: CertificateProblem,
}

/// A problem with a file of certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// It cannot be read, or is not PEM.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It contains only other kinds of PEM sections.
    #[error("contains no certificate")]
    None,
    /// It contains a private key and no certificate.
    #[error("contains no certificate, but a private key; are the two files swapped?")]
    PrivateKey,
    /// A section with the label of a certificate is not one.
    #[error("certificate number {0} is not a valid X.509 certificate")]
    NotX509(usize),
}

/// Reads the certificates of a PEM file in order; a chain has the leaf first. Other sections, such as a private key in
/// the same file, are skipped.
///
/// Blocks while it reads the file; do not call it on async threads.
///
/// # Errors
/// [`CertificateError`], with the file and the problem. One invalid certificate makes the file invalid.
pub fn load_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read = pem_file::read(file).map_err(CertificateProblem::File);
    read.and_then(only_certificates).map_err(|problem| CertificateError { file: file.to_owned(), problem })
}

/// The same for the content of a file.
///
/// # Errors
/// [`CertificateProblem`].
pub fn parse(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    only_certificates(pem_file::sections(text)?)
}

fn only_certificates(sections: Vec<Pem>) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    let (certificates, others): (Vec<_>, Vec<_>) =
        sections.into_iter().partition(|section| LABELS.contains(&section.tag()));
    if certificates.is_empty() {
        let private_key = others.iter().any(|section| section.tag().ends_with("PRIVATE KEY"));
        return Err(if private_key { CertificateProblem::PrivateKey } else { CertificateProblem::None });
    }
    certificates
        .into_iter()
        .enumerate()
        .map(|(i, section)| match X509Certificate::from_der(section.contents()) {
            // A "TRUSTED CERTIFICATE" of OpenSSL has data after the certificate, which is cut off.
            Ok((rest, _)) => {
                let mut der = section.contents().to_vec();
                der.truncate(der.len() - rest.len());
                Ok(CertificateDer::from(der))
            }
            Err(_) => Err(CertificateProblem::NotX509(i + 1)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server.crt");
        std::fs::write(&file, text).unwrap();
        load_certificates(&file)
    }

    fn message(text: &str) -> String {
        load_text(text).unwrap_err().to_string()
    }

    fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    #[test]
    fn a_chain_is_read_in_order() {
        let chain = [certificate(), certificate()];
        let read = load_text(&format!("leaf\n{}\n{}", chain[0].cert.pem(), chain[1].cert.pem())).unwrap();
        assert_eq!(read, [chain[0].cert.der().clone(), chain[1].cert.der().clone()]);
    }

    #[test]
    fn a_private_key_in_the_same_file_is_skipped() {
        let both = certificate();
        let read = load_text(&format!("{}{}", both.signing_key.serialize_pem(), both.cert.pem())).unwrap();
        assert_eq!(read, [both.cert.der().clone()]);
    }

    #[test]
    fn an_error_contains_the_file_and_the_problem() {
        let key = certificate().signing_key.serialize_pem();
        assert!(message("").ends_with("server.crt: the file is empty"));
        assert!(
            message(&key)
                .ends_with("server.crt: contains no certificate, but a private key; are the two files swapped?")
        );
        assert!(message("-----BEGIN X-----\nAQID\n-----END X-----\n").ends_with("server.crt: contains no certificate"));
        let good = certificate().cert.pem();
        let bad = format!("{good}-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
        assert!(message(&bad).ends_with("server.crt: certificate number 2 is not a valid X.509 certificate"));
        assert!(message(&good[..good.len() / 2]).contains("cut off"));
    }

    #[test]
    fn what_openssl_adds_to_a_trusted_certificate_is_cut_off() {
        let whole = certificate();
        let trusted = [whole.cert.der().as_ref(), &[0x30, 0x00]].concat();
        let read = load_text(&pem::encode(&pem::Pem::new("TRUSTED CERTIFICATE", trusted))).unwrap();
        assert_eq!(read, [whole.cert.der().clone()]);
    }
}
