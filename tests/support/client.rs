//! Clients: a key pair and the certificate that a server knows it by.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyway::identity::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, SanType, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Somebody with a certificate.
#[derive(Clone)]
pub struct Client {
    pub certificates: Vec<CertificateDer<'static>>,
    key: Arc<KeyPair>,
}

impl Client {
    /// A client with a self-signed P-256 certificate.
    pub fn new(name: &str) -> Self {
        Self::with_algorithm(name, &PKCS_ECDSA_P256_SHA256)
    }

    /// A client with a self-signed certificate of the given kind of key.
    pub fn with_algorithm(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        Self::with_params(name, KeyPair::generate_for(algorithm).unwrap(), |_| {})
    }

    /// A client whose certificate is a CA's, as `openssl req -x509` creates it by default.
    pub fn authority(name: &str) -> Self {
        Self::with_params(name, KeyPair::generate().unwrap(), |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
    }

    /// A server with a certificate that clients accept, for the addresses of this machine.
    pub fn server() -> Self {
        Self::server_with(|_| {})
    }

    /// The same with changes to the certificate.
    pub fn server_with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::with_params("server", KeyPair::generate().unwrap(), |params| {
            params.subject_alt_names =
                vec![SanType::IpAddress([127, 0, 0, 1].into()), SanType::DnsName("localhost".try_into().unwrap())];
            change(params);
        })
    }

    /// A client with a certificate to taste.
    pub fn with_params(name: &str, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificates: vec![certificate], key: Arc::new(key) }
    }

    /// A client with a certificate and a PKCS#8 key that something else has generated.
    pub fn from_pem(certificate: &str, key: &str) -> Self {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        Self { certificates: vec![certificate], key: Arc::new(KeyPair::from_pem(key).unwrap()) }
    }

    /// The identity that servers know this client by.
    pub fn identity(&self) -> Identity {
        Identity::of_certificate(&self.certificates[0]).unwrap()
    }

    /// The private key in PKCS#8.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// Writes `NAME.cert` and `NAME.key`, the key for its owner only.
    pub fn write(&self, dir: &Path, name: &str) {
        let (certificate, key) = self.pem();
        std::fs::write(dir.join(format!("{name}.cert")), certificate).unwrap();
        let file = dir.join(format!("{name}.key"));
        std::fs::write(&file, key).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }

    /// Certificate and key as PEM, the key last.
    pub fn pem(&self) -> (String, String) {
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.certificates[0]);
        let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        (certificate, self.key.serialize_pem())
    }
}

/// A rustls config that trusts `server` and presents `client`.
pub fn tls_config(server: &CertificateDer<'static>, client: Option<&Client>, alpn: &[&[u8]]) -> ClientConfig {
    keyway::tls::install_provider();
    let mut roots = RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match client {
        Some(client) => builder.with_client_auth_cert(client.certificates.clone(), client.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// An HTTP client over `config`.
pub fn http(config: ClientConfig) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}
