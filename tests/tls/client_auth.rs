//! `tls.auth: on`: chains of client certificates are checked against `tls.ca`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::HandshakeKind;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use super::{READY_FOR_ALL, VERSIONS, get, hello, hello_as};
use crate::server::connections::memory;
use crate::support::program::refusal;
use crate::support::server::send;
use crate::support::{Client, Raw, Server, Setup, client, eventually, heavy, until};

/// A certificate authority.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A chain and the key of its first certificate.
type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// An authority under this one.
    fn authority(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        Self { certificate: params.signed_by(&key, &self.issuer).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "client");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }
}

/// A server that trusts the CAs in `ca`, which must stay while it starts.
fn checking(ca: &std::path::Path, extra: &str) -> Server {
    let tls = format!("auth: on\nca: {}", ca.display());
    Server::with(Setup { tls, extra: extra.to_owned(), ..Setup::default() })
}

fn with_ca(authority: &Authority) -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, authority.certificate.pem()).unwrap();
    let server = checking(&file, "");
    (dir, server)
}

#[tokio::test]
async fn a_chain_that_ends_at_the_ca_is_accepted() {
    let root = Authority::new("root");
    let (_dir, mut server) = with_ca(&root);
    let between = root.authority("intermediate");
    let (leaf, key) = between.client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    for version in VERSIONS {
        assert_eq!(
            get(&server, hello(&server, version, Some(root.client(|_| {}))), "/version").await.unwrap().status,
            200
        );
        let chain = vec![leaf[0].clone(), between.certificate.der().clone()];
        let config = hello(&server, version, Some((chain, key.clone_key())));
        assert_eq!(get(&server, config, "/version").await.unwrap().status, 200);
        let without_intermediate = hello(&server, version, Some((leaf.clone(), key.clone_key())));
        assert!(get(&server, without_intermediate, "/version").await.is_err());
    }
    assert!(server.is_running());
}

#[tokio::test]
async fn what_the_ca_did_not_sign_is_refused_and_the_log_says_what_to_do() {
    let root = Authority::new("root");
    let advice = "tls.auth is on and no CA in tls.ca signed the client's certificate";
    for other_ca in [true, false] {
        let (_dir, mut server) = with_ca(&root);
        let (chain, key) = if other_ca {
            Authority::new("another").client(|_| {})
        } else {
            (server.admin.certificates.clone(), server.admin.key())
        };
        for version in VERSIONS {
            let config = hello(&server, version, Some((chain.clone(), key.clone_key())));
            assert!(get(&server, config, "/version").await.is_err());
        }
        server.logged(advice).await;
        assert!(server.is_running());
    }
}

#[tokio::test]
async fn a_ca_that_was_created_again_under_its_old_name_is_distinguished_from_a_broken_client() {
    let (_dir, server) = with_ca(&Authority::new("root"));
    let config = hello(&server, &TLS13, Some(Authority::new("root").client(|_| {})));
    assert!(get(&server, config, "/version").await.is_err());
    server.logged("TLS handshake failed").await;
    let log = server.log();
    let line = log.lines().find(|line| line.contains("TLS handshake failed")).unwrap();
    assert!(line.contains("tls.ca"), "the line does not say what to look at: {line}");
}

#[tokio::test]
async fn an_expired_client_certificate_is_refused_and_the_log_says_so() {
    let root = Authority::new("root");
    let (_dir, server) = with_ca(&root);
    let expired = root.client(|params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    assert!(get(&server, hello(&server, &TLS13, Some(expired)), "/version").await.is_err());
    server.logged("the client's certificate has expired; renew it").await;
}

#[tokio::test]
async fn a_certificate_that_is_for_servers_only_is_refused_and_the_log_says_what_to_do() {
    let root = Authority::new("root");
    let (_dir, server) = with_ca(&root);
    let for_servers = root.client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(get(&server, hello(&server, &TLS13, Some(for_servers)), "/version").await.is_err());
    server.logged("does not allow extended key usage for client authentication").await;
}

#[tokio::test]
async fn the_chain_does_not_prove_a_key() {
    let root = Authority::new("root");
    let (_dir, server) = with_ca(&root);
    let ((victim, _), (_, other_key)) = (root.client(|_| {}), root.client(|_| {}));
    for version in [&TLS12, &TLS13] {
        let config = hello(&server, version, Some((victim.clone(), other_key.clone_key())));
        assert!(get(&server, config, "/version").await.is_err());
    }
}

#[tokio::test]
async fn a_directory_of_cas_is_read_and_what_is_not_a_certificate_in_it_is_skipped_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    std::fs::write(dir.path().join("first.pem"), first.certificate.pem()).unwrap();
    std::fs::write(dir.path().join("second.crt"), second.certificate.pem()).unwrap();
    std::fs::write(dir.path().join("README"), "no certificate").unwrap();
    std::fs::create_dir(dir.path().join("old")).unwrap();
    let server = checking(dir.path(), "");
    for authority in [&first, &second] {
        let config = hello(&server, &TLS13, Some(authority.client(|_| {})));
        assert_eq!(get(&server, config, "/version").await.unwrap().status, 200);
    }
    let config = hello_as(&server, &TLS13, &server.admin);
    assert!(get(&server, config, "/version").await.is_err());
    server.logged("README").await;
    assert!(server.log().lines().any(|line| line.contains("WARN") && line.contains("README")), "{}", server.log());
}

#[tokio::test]
async fn where_an_api_skips_authentication_a_client_without_a_certificate_may_ask_it_and_a_bad_chain_may_not() {
    let (dir, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, root.certificate.pem()).unwrap();
    let server = checking(&file, READY_FOR_ALL);
    assert_eq!(get(&server, hello(&server, &TLS13, None), "/v1/ready").await.unwrap().status, 200);
    let answer = get(&server, hello(&server, &TLS13, None), "/v1/status").await.unwrap();
    assert_eq!((answer.status, answer.message().as_str()), (400, "tls: client certificate is required"));
    assert!(get(&server, hello_as(&server, &TLS13, &server.admin), "/v1/ready").await.is_err());
}

#[tokio::test]
async fn a_certificate_that_expired_after_the_first_handshake_is_refused_when_its_session_is_resumed() {
    let (dir, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, root.certificate.pem()).unwrap();
    let server = checking(&file, "");
    for version in VERSIONS {
        let end = time::OffsetDateTime::now_utc() + Duration::from_secs(4);
        let config = Arc::new(hello(&server, version, Some(root.client(|params| params.not_after = end))));
        let ask = async || {
            let mut connection = Raw::with(&server, config.clone()).await.unwrap();
            let answer = connection.request("GET", "/v1/identity/self/describe", b"").await.unwrap();
            (connection.session().handshake_kind() == Some(HandshakeKind::Resumed), answer)
        };
        let (is_resumed, answer) = ask().await;
        assert_eq!((is_resumed, answer.status), (false, 404), "{}", answer.text()); // accepted, but without a policy
        let (is_resumed, answer) = ask().await;
        assert_eq!((is_resumed, answer.status), (true, 404), "{}", answer.text());
        let refused = eventually(
            Duration::from_secs(15),
            || "it is still accepted".to_owned(),
            async || Some(ask().await).filter(|(_, answer)| answer.status != 404),
        );
        let (is_resumed, answer) = refused.await;
        assert_eq!((is_resumed, answer.status), (true, 400), "{version:?}");
        assert!(answer.message().starts_with("tls: client certificate is not valid: "), "{}", answer.text());
        assert!(answer.message().to_lowercase().contains("expired"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_certificate_that_a_proxy_forwards_is_checked_as_that_of_a_client_without_one() {
    let (dir, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, root.certificate.pem()).unwrap();
    let (chain, key) = root.client(|_| {});
    let proxy = keyway::identity::Identity::of_certificate(&chain[0]).unwrap();
    let tls = format!("auth: on\nca: {}\nproxy:\n  identities: [{proxy}]\n  header: {{cert: X-Cert}}", file.display());
    let server = Server::with(Setup { tls, ..Setup::default() });
    let forward = async |certificate: &CertificateDer<'_>| {
        let config = hello(&server, &TLS13, Some((chain.clone(), key.clone_key())));
        let request = client::http(config).get(server.url("/v1/identity/self/describe"));
        let value = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate);
        send(request.header("X-Cert", value), None).await.unwrap()
    };
    let (good, _) = root.client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(forward(&good[0]).await.status, 404, "accepted, but without a policy");
    let (expired, _) = root.client(|params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (for_servers, _) = root.client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let (of_another, _) = Authority::new("another").client(|_| {});
    for refused in [&server.admin.certificates, &expired, &for_servers, &of_another] {
        let answer = forward(&refused[0]).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().starts_with("tls: client certificate is not valid: "), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_chain_of_more_than_16_kib_is_refused_whatever_tls_auth_says_and_the_log_says_why() {
    let (dir, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, root.certificate.pem()).unwrap();
    for server in [Server::start(), checking(&file, "")] {
        for version in VERSIONS {
            for (size, is_accepted) in [(15 << 10, true), (60_000, false)] {
                let (leaf, key) = root.client(|_| {});
                let config = hello(&server, version, Some((vec![leaf[0].clone(), long(size)], key)));
                let answer = get(&server, config, "/version").await;
                assert_eq!(answer.is_ok(), is_accepted, "{size} bytes over {version:?}: {answer:?}");
            }
        }
        server.logged("at most 16384 are accepted").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_clients_with_long_chains_are_bounded_in_bytes() {
    let _turn = heavy();
    let server = Server::start();
    let shake = async |count: usize| {
        let ca = long(15 << 10);
        let shakes = (0..count).map(|_| async {
            let chain = vec![server.admin.certificates[0].clone(), ca.clone()];
            let config = hello(&server, &TLS13, Some((chain, server.admin.key())));
            drop(Raw::with(&server, Arc::new(config)).await.unwrap());
        });
        futures_util::stream::iter(shakes).buffer_unordered(16).count().await
    };
    shake(50).await;
    let before = memory(&server);
    shake(2_500).await;
    let grown = memory(&server).saturating_sub(before);
    println!("2500 sessions with chains of 15 KiB: {grown} bytes");
    assert!(grown < 32 << 20, "{grown} bytes");
    server.assert_serves().await;
}

/// A CA certificate of about this many bytes.
fn long(size: usize) -> CertificateDer<'static> {
    let mut params = Authority::params("long");
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; size - 400]));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[tokio::test]
async fn a_client_of_the_ca_has_the_policy_of_its_key() {
    let (dir, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, root.certificate.pem()).unwrap();
    let (chain, key) = root.client(|_| {});
    let name = keyway::identity::Identity::of_certificate(&chain[0]).unwrap();
    let policies = format!("policy:\n  known:\n    allow: [/v1/status]\n    identities: [{name}]\n");
    let server = Server::with(Setup { tls: format!("auth: on\nca: {}", file.display()), policies, ..Setup::default() });
    let config = || hello(&server, &TLS13, Some((chain.clone(), key.clone_key())));
    assert_eq!(get(&server, config(), "/v1/status").await.unwrap().status, 200);
    assert_eq!(get(&server, config(), "/v1/metrics").await.unwrap().status, 403);
}

#[test]
fn a_ca_that_cannot_be_read_is_reported_at_start_even_when_chains_are_not_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = Client::new("server").pem();
    std::fs::write(dir.path().join("server.cert"), certificate).unwrap();
    std::fs::write(dir.path().join("server.key"), &key).unwrap();
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    std::fs::write(dir.path().join("key.pem"), key).unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for auth in ["on", "off"] {
        for ca in ["missing.pem", "empty.pem", "key.pem", "empty"] {
            let message = refusal(
                dir.path(),
                &format!(
                    "address: @address@\nadmin: {{identity: disabled}}\nkeystore: {{fs: {{path: @dir@/keys}}}}\n\
                     tls:\n  key: @dir@/server.key\n  cert: @dir@/server.cert\n  ca: @dir@/{ca}\n  auth: {auth}\n"
                ),
            );
            assert!(message.contains("tls.ca") && message.contains(&format!("/{ca}: ")), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_replaced_holds_for_new_connections_without_a_restart() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (dir, server) = with_ca(&old);
    let version = VERSIONS[0];
    let ask = |authority: &Authority| {
        let config = hello(&server, version, Some(authority.client(|_| {})));
        get(&server, config, "/version")
    };
    assert_eq!(ask(&old).await.unwrap().status, 200);
    assert!(ask(&new).await.is_err());
    std::fs::write(dir.path().join("ca.pem"), new.certificate.pem()).unwrap();
    until(Duration::from_secs(5), || server.log(), async || ask(&new).await.is_ok()).await;
    assert!(ask(&old).await.is_err());
}
