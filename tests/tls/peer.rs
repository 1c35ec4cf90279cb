//! Who a client is: the one whose key signed the handshake, and nobody else.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize, date_time_ymd,
};
use rustls::version::{TLS12, TLS13};

use super::{READY_FOR_ALL, VERSIONS, WHO_AM_I, get, hello, hello_as, identity, known, s_client};
use crate::support::openssl::{openssl, talk};
use crate::support::server::send;
use crate::support::{Client, Server, Setup, client};

#[tokio::test]
async fn self_signed_certificates_of_every_kind_are_identities() {
    let rsa = |size| Client::with_params("rsa", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap(), |_| {});
    let clients = [
        ("Ed25519", Client::with_algorithm("ed25519", &PKCS_ED25519)),
        ("P-256", Client::with_algorithm("p256", &PKCS_ECDSA_P256_SHA256)),
        ("P-384", Client::with_algorithm("p384", &PKCS_ECDSA_P384_SHA384)),
        ("P-521", Client::with_algorithm("p521", &PKCS_ECDSA_P521_SHA512)),
        ("RSA-2048", rsa(RsaKeySize::_2048)),
        ("RSA-3072", rsa(RsaKeySize::_3072)),
    ];
    let server = Server::with(known(&clients.each_ref().map(|(_, client)| client)));
    for (kind, client) in &clients {
        for version in VERSIONS {
            for alpn in ["h2", "http/1.1"] {
                let mut config = hello_as(&server, version, client);
                config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
                let seen = identity(&server, config).await;
                let seen = seen.unwrap_or_else(|error| panic!("{kind} {version:?} {alpn}: {error:?}"));
                assert_eq!(seen, client.identity().as_str(), "{kind} {version:?} {alpn}");
            }
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_is_an_identity_as_long_as_chains_are_not_checked() {
    let expired = Client::with_params("expired", KeyPair::generate().unwrap(), |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let server = Server::with(known(&[&expired]));
    for version in VERSIONS {
        let seen = identity(&server, hello_as(&server, version, &expired)).await.unwrap();
        assert_eq!(seen, expired.identity().as_str());
    }
}

#[tokio::test]
async fn a_version_1_certificate_works_over_tls_1_3_and_is_refused_over_1_2() {
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out v1.key");
    openssl(dir.path(), "req -new -key v1.key -subj /CN=v1 -out v1.csr");
    openssl(dir.path(), "x509 -req -in v1.csr -signkey v1.key -days 2 -out v1.cert");
    assert!(openssl(dir.path(), "x509 -in v1.cert -noout -text").contains("Version: 1 "));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let old = Client::from_pem(&read("v1.cert"), &read("v1.key"));

    let server = Server::with(known(&[&old]));
    let seen = identity(&server, hello_as(&server, &TLS13, &old)).await.unwrap();
    assert_eq!(seen, old.identity().as_str());
    assert!(identity(&server, hello_as(&server, &TLS12, &old)).await.is_err());
    server.logged("TLS handshake failed").await;
    server.assert_serves().await;
}

#[tokio::test]
async fn an_rsa_key_of_1024_bits_is_refused() {
    let server = Server::start();
    let dir = server.dir.path().to_owned();
    openssl(&dir, "req -x509 -newkey rsa:1024 -nodes -keyout weak.key -subj /CN=weak -days 2 -out weak.cert");
    for version in ["tls1_2", "tls1_3"] {
        let arguments = format!("-{version} -cipher DEFAULT@SECLEVEL=0 -cert weak.cert -key weak.key");
        let said = talk(&dir, &s_client(&server, &arguments), WHO_AM_I);
        assert!(!said.contains("HTTP/1.1 "), "{version}: {said}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_client_without_a_certificate_fails_in_the_handshake() {
    let server = Server::start();
    for version in VERSIONS {
        for path in ["/version", "/v1/ready"] {
            assert!(get(&server, hello(&server, version, None), path).await.is_err(), "{path}");
        }
    }
    server.logged("the client sent no certificate; it needs one, or an API key").await;
    server.assert_serves().await;
}

#[tokio::test]
async fn where_an_api_skips_authentication_the_others_ask_for_a_certificate_in_json() {
    let server = Server::with(Setup { extra: READY_FOR_ALL.to_owned(), ..Setup::default() });
    for version in VERSIONS {
        for path in ["/v1/ready", "/ready", "/version"] {
            assert_eq!(get(&server, hello(&server, version, None), path).await.unwrap().status, 200, "{path}");
        }
        for path in ["/v1/status", "/v1/api", "/v1/metrics", "/v1/key/list/", "/v1/identity/self/describe"] {
            let answer = get(&server, hello(&server, version, None), path).await.unwrap();
            assert_eq!(
                (answer.status, answer.message().as_str()),
                (400, "tls: client certificate is required"),
                "{path}"
            );
            assert_eq!(answer.headers["content-type"], "application/json");
        }
        // A client with a certificate is who it was before.
        assert_eq!(get(&server, hello_as(&server, version, &server.admin), "/v1/status").await.unwrap().status, 200);
        assert_eq!(get(&server, hello_as(&server, version, &server.stranger), "/v1/status").await.unwrap().status, 403);
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_ca_certificate_is_refused_by_its_name_with_what_to_do() {
    let authority = Client::authority("the-ca-of-minio");
    let server = Server::with(known(&[&authority]));
    for version in VERSIONS {
        let answer = get(&server, hello_as(&server, version, &authority), "/v1/status").await.unwrap();
        assert_eq!(answer.status, 400);
        let message = answer.message();
        for part in ["tls: client certificate is required", "CN=the-ca-of-minio", "CA certificate", "CA:FALSE"] {
            assert!(message.contains(part), "{message}");
        }
    }
    server.logged("the-ca-of-minio").await;
    server.assert_serves().await;
}

#[tokio::test]
async fn two_leaf_certificates_are_refused() {
    let server = Server::start();
    for (first, second) in [(&server.admin, &server.stranger), (&server.stranger, &server.admin)] {
        let chain = [first.certificates.clone(), second.certificates.clone()].concat();
        for version in VERSIONS {
            let config = hello(&server, version, Some((chain.clone(), first.key())));
            let answer = get(&server, config, "/v1/status").await.unwrap();
            let expected = (400, "tls: received more than one client certificate");
            assert_eq!((answer.status, answer.message().as_str()), expected);
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn the_certificate_of_another_client_behind_ones_own_does_not_make_one_that_client() {
    let server = Server::start();
    let attacker = Client::authority("attacker");
    let chain = [attacker.certificates.clone(), server.admin.certificates.clone()].concat();
    for version in VERSIONS {
        for path in ["/v1/identity/self/describe", "/v1/key/list/", "/v1/status"] {
            let config = hello(&server, version, Some((chain.clone(), attacker.key())));
            let answer = get(&server, config, path).await.unwrap();
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
            assert!(!answer.text().contains(server.admin.identity().as_str()), "{}", answer.text());
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_leaf_with_the_certificates_of_its_cas_is_an_identity() {
    let server = Server::start();
    let chain =
        [server.app.certificates.clone(), Client::authority("ca").certificates, Client::authority("root").certificates];
    for version in VERSIONS {
        let config = hello(&server, version, Some((chain.concat(), server.app.key())));
        assert_eq!(identity(&server, config).await.unwrap(), server.app.identity().as_str());
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_nobody() {
    let server = Server::start();
    for version in VERSIONS {
        let config = hello(&server, version, Some((server.admin.certificates.clone(), server.stranger.key())));
        assert!(get(&server, config, "/version").await.is_err());
    }
    server.logged("TLS handshake failed").await;
    server.assert_serves().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_x509_fails_in_the_handshake() {
    let server = Server::start();
    let whole = server.admin.certificates[0].to_vec();
    for garbage in [vec![], b"certificate".to_vec(), vec![0x30; 3000], whole[..whole.len() / 2].to_vec()] {
        for version in VERSIONS {
            let config = hello(&server, version, Some((vec![garbage.clone().into()], server.admin.key())));
            assert!(get(&server, config, "/version").await.is_err(), "{garbage:?}");
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn clients_on_one_server_keep_their_own_identities() {
    let server = Server::start();
    let clients = [&server.admin, &server.app, &server.ops];
    let requests = (0..60).map(|number| {
        let client = clients[number % clients.len()];
        let http = client::http(hello_as(&server, VERSIONS[number % 2], client));
        let request = http.get(server.url("/v1/identity/self/describe"));
        async move { (client.identity(), send(request, None).await.unwrap().json()["identity"].clone()) }
    });
    for (expected, seen) in futures_util::future::join_all(requests).await {
        assert_eq!(seen, expected.as_str());
    }
}
