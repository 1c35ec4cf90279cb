//! TLS as clients meet it: versions and sessions here; below, who a client is and with which keys a server serves.

mod client_auth;
mod peer;
mod private_key;
mod proxy;

use std::sync::Arc;

use reqwest::Method;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};

use crate::support::openssl::{openssl, talk};
use crate::support::server::{Answer, send};
use crate::support::{Client, Raw, Server, Setup, client};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Lets clients without a certificate ask whether the server is ready.
const READY_FOR_ALL: &str = "api:\n  /v1/ready:\n    skip_auth: true\n";

/// A handshake in which the client presents what it likes, signed with whatever key; rustls itself would refuse
/// to present what does not fit together.
fn hello(
    server: &Server,
    version: &'static SupportedProtocolVersion,
    credentials: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(keyway::tls::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match credentials {
        Some((chain, key)) => {
            let pair = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The handshake of a client with its own certificate and key.
fn hello_as(server: &Server, version: &'static SupportedProtocolVersion, client: &Client) -> ClientConfig {
    hello(server, version, Some((client.certificates.clone(), client.key())))
}

/// One request over a connection of its own.
async fn get(server: &Server, config: ClientConfig, path: &str) -> reqwest::Result<Answer> {
    send(client::http(config).request(Method::GET, server.url(path)), None).await
}

/// The identity that the server takes a client for, or what it says instead.
async fn identity(server: &Server, config: ClientConfig) -> reqwest::Result<String> {
    let answer = get(server, config, "/v1/identity/self/describe").await?;
    Ok(answer.json()["identity"].as_str().map_or_else(|| answer.text(), str::to_owned))
}

/// A policy for these clients, so that they can ask who they are.
fn known(clients: &[&Client]) -> Setup {
    let identities: Vec<_> = clients.iter().map(|client| client.identity().to_string()).collect();
    let identities = identities.join(", ");
    let policies = format!("policy:\n  known:\n    allow: [/v1/status]\n    identities: [{identities}]\n");
    Setup { policies, ..Setup::default() }
}

/// A request for the client's own identity, over openssl.
const WHO_AM_I: &[u8] = b"GET /v1/identity/self/describe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Arguments of `openssl s_client` towards a server.
fn s_client(server: &Server, more: &str) -> String {
    format!("s_client -connect {} -CAfile server.cert -ign_eof {more}", server.address)
}

/// Writes the admin's certificate and key where openssl runs.
fn write_admin(server: &Server) {
    let (certificate, key) = server.admin.pem();
    std::fs::write(server.dir.path().join("admin.cert"), certificate).unwrap();
    std::fs::write(server.dir.path().join("admin.key"), key).unwrap();
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_over_http_1_1_and_2() {
    let server = Server::start();
    for version in VERSIONS {
        for (alpn, http) in [("http/1.1", "HTTP/1.1"), ("h2", "HTTP/2.0")] {
            let mut config = hello_as(&server, version, &server.admin);
            config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
            let response = client::http(config).get(server.url("/v1/status")).send().await.unwrap();
            assert_eq!((response.status().as_u16(), format!("{:?}", response.version())), (200, http.to_owned()));
        }
    }
}

#[tokio::test]
async fn a_client_without_alpn_is_served_http_1_1() {
    let server = Server::start();
    let mut config = hello_as(&server, &TLS13, &server.admin);
    config.alpn_protocols.clear();
    assert_eq!(get(&server, config, "/v1/status").await.unwrap().status, 200);
}

#[tokio::test]
async fn tls_1_1_and_1_0_are_refused_and_1_2_is_not() {
    let server = Server::start();
    write_admin(&server);
    for (version, spoken) in [("tls1", false), ("tls1_1", false), ("tls1_2", true)] {
        let arguments =
            s_client(&server, &format!("-{version} -cipher DEFAULT@SECLEVEL=0 -cert admin.cert -key admin.key"));
        let said = talk(server.dir.path(), &arguments, WHO_AM_I);
        assert_eq!(said.contains("HTTP/1.1 200"), spoken, "{version}: {said}");
        let refused = said.contains("alert protocol version") || said.contains("alert handshake failure");
        assert_eq!(refused, !spoken, "{version}: {said}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_resumed_session_has_the_identity_of_the_first() {
    let server = Server::start();
    for version in VERSIONS {
        let config = Arc::new(hello_as(&server, version, &server.app));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut connection = Raw::with(&server, config.clone()).await.unwrap();
            let answer = connection.request("GET", "/v1/identity/self/describe", b"").await.unwrap();
            // With post-quantum key shares a first handshake may take a round more; it is a full one all the same.
            let resumed = connection.session().handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(resumed, kind == HandshakeKind::Resumed, "{version:?}");
            assert_eq!(answer.json()["identity"], server.app.identity().as_str(), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_began_without_a_certificate_goes_on_without_one() {
    let server = Server::with(Setup { extra: READY_FOR_ALL.to_owned(), ..Setup::default() });
    for version in VERSIONS {
        let config = Arc::new(hello(&server, version, None));
        for round in 0..2 {
            let mut connection = Raw::with(&server, config.clone()).await.unwrap();
            assert_eq!(connection.request("GET", "/v1/ready", b"").await.unwrap().status, 200);
            let answer = connection.request("GET", "/v1/status", b"").await.unwrap();
            assert_eq!((answer.status, answer.message().as_str()), (400, "tls: client certificate is required"));
            let resumed = connection.session().handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(resumed, round == 1, "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_session_id_without_the_secret_of_the_session_is_nobody() {
    let server = Server::with(Setup { extra: READY_FOR_ALL.to_owned(), ..Setup::default() });
    write_admin(&server);
    let dir = server.dir.path().to_owned();
    for version in ["tls1_2", "tls1_3"] {
        let first = s_client(&server, &format!("-{version} -cert admin.cert -key admin.key -sess_out session.pem"));
        let said = talk(&dir, &first, WHO_AM_I);
        assert!(said.contains("HTTP/1.1 200"), "{version}: {said}");

        // Whoever has the secret is the client: the session can be resumed at all.
        let again = s_client(&server, &format!("-{version} -sess_in session.pem"));
        let said = talk(&dir, &again, WHO_AM_I);
        assert!(said.contains("Reused") && said.contains(server.admin.identity().as_str()), "{version}: {said}");

        let said = talk(&dir, &first, WHO_AM_I);
        assert!(said.contains("HTTP/1.1 200"), "{version}: {said}");
        let text = openssl(&dir, "sess_id -in session.pem -noout -text");
        let secret = text.lines().find_map(|line| line.trim().strip_prefix("Master-Key: ")?.get(..32));
        let secret =
            secret.or_else(|| text.lines().find_map(|line| line.trim().strip_prefix("Resumption PSK: ")?.get(..32)));
        let secret = secret.unwrap_or_else(|| panic!("no secret in {text}"));
        let secret: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16).unwrap()).collect();
        let session = pem::parse(std::fs::read(dir.join("session.pem")).unwrap()).unwrap();
        let mut der = session.contents().to_vec();
        let at = der.windows(16).position(|window| window == secret).expect("the secret in the session");
        der[at] ^= 1;
        std::fs::write(dir.join("stolen.pem"), pem::encode(&pem::Pem::new(session.tag(), der))).unwrap();
        let said = talk(&dir, &s_client(&server, &format!("-{version} -sess_in stolen.pem")), WHO_AM_I);
        assert!(!said.contains("HTTP/1.1 200"), "{version}: {said}");
        assert!(!said.contains(server.admin.identity().as_str()), "{version}: {said}");
    }
    server.assert_serves().await;
}
