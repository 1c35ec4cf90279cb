//! Certificates from files: a server's own chain, and the authorities it trusts.
//!
//! Not here: private keys (`private_key.rs`), and what is done with a peer's certificate (`peer.rs`).

use std::path::{Path, PathBuf};

use pem::Pem;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::pem_file::{self, FileProblem};

/// Labels of a certificate: RFC 7468 section 5.1, and the names that OpenSSL has used.
const LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/// A file did not give certificates.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct CertificateError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: CertificateProblem,
}

/// What is wrong with a file of certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// It has no PEM sections to look at.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It has sections, and all are something else.
    #[error("it holds no certificate")]
    None,
    /// It has a private key and no certificate.
    #[error("it holds no certificate, but a private key: are the two files swapped?")]
    PrivateKey,
    /// A section that is labelled as a certificate holds something else.
    #[error("its certificate number {0} is not an X.509 certificate")]
    NotX509(usize),
}

/// Reads the certificates of a PEM file in their order; a chain has the leaf first. Sections of other kinds, such as a
/// private key in the same file, are skipped.
///
/// It reads the file while the caller waits: off the async threads, please.
///
/// # Errors
/// [`CertificateError`] names the file and what is wrong. One bad certificate makes the file bad.
pub fn load_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read = pem_file::read(file).map_err(CertificateProblem::File);
    read.and_then(only_certificates).map_err(|problem| CertificateError { file: file.to_owned(), problem })
}

/// The same for the text of a file.
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
            // "TRUSTED CERTIFICATE" of OpenSSL goes on after the certificate; that is cut off.
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
    fn a_chain_is_read_in_its_order() {
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
    fn an_error_names_the_file_and_what_is_wrong() {
        let key = certificate().signing_key.serialize_pem();
        assert!(message("").ends_with("server.crt: it is empty"));
        assert!(
            message(&key)
                .ends_with("server.crt: it holds no certificate, but a private key: are the two files swapped?")
        );
        assert!(message("-----BEGIN X-----\nAQID\n-----END X-----\n").ends_with("server.crt: it holds no certificate"));
        let good = certificate().cert.pem();
        let bad = format!("{good}-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
        assert!(message(&bad).ends_with("server.crt: its certificate number 2 is not an X.509 certificate"));
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
