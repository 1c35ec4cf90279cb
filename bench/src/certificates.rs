//! The certificate of the servers, and clients with certificates like those from API keys: Ed25519, self-signed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PublicKeyData as _,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The P-256 certificate for 127.0.0.1 that all servers share, and the clients.
#[derive(Debug)]
pub(crate) struct Certificates {
    server: CertificateDer<'static>,
    /// PEM file with the certificate of the servers.
    pub(crate) cert: PathBuf,
    /// PEM file with its private key.
    pub(crate) key: PathBuf,
    /// The admin, which may do anything.
    pub(crate) admin: Client,
    /// A client with a policy.
    pub(crate) app: Client,
}

/// A client with a certificate.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its identity: the hex SHA-256 of its public key.
    pub(crate) identity: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Certificates {
    /// Generates certificates; writes those of the servers to files in `directory`.
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let server = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let file = |name: &str, pem: String| {
            let path = directory.join(name);
            fs::write(&path, pem).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            server: server.der().clone(),
            cert: file("server.cert", server.pem())?,
            key: file("server.key", key.serialize_pem())?,
            admin: Client::new("admin")?,
            app: Client::new("app")?,
        })
    }

    /// The TLS config of `client`, without session resumption.
    pub(crate) fn client_config(&self, client: &Client, http2: bool) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.clone())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(client.key.serialize_der()));
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client.certificate.clone()], key)?;
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl Client {
    fn new(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { identity: identity(&key.subject_public_key_info()), certificate, key })
    }
}

fn identity(public_key: &[u8]) -> String {
    let digest = aws_lc_rs_digest(public_key);
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

fn aws_lc_rs_digest(data: &[u8]) -> Vec<u8> {
    ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, data).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_hex_digest_of_the_public_key() {
        // SHA-256 of the empty string (FIPS 180-4, example values).
        assert_eq!(identity(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
