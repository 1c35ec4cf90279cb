//! What prevents a start: wrong settings, a server that is not ready, TLS.

use backends::vault::{Config, Credential, KvVersion, Login, Tls};
use backends::{Secret, StoreError};
use serde_json::json;

use super::{POLICY, approle, config, name, open, start, start_error, value};
use crate::services::vault::{Program, Server};

on_both!(
    a_wrong_engine_version_or_address_is_reported_at_start,
    a_login_that_cannot_work_is_reported_at_start,
    a_server_that_is_sealed_or_not_initialized_is_not_ready,
    tls_trusts_only_the_given_authority_and_the_certificate_logs_in,
);

async fn a_wrong_engine_version_or_address_is_reported_at_start(program: Program) {
    let server = start(program).await;
    let restricted = server.approle("kes", "kes", "0", "0");
    server.policy("kes", POLICY);
    for login in [Login::Token(Secret::from(server.token.clone())), approle(&restricted)] {
        let config = |engine, version| Config { login: login.clone(), ..config(&server, engine, version) };
        for (config, words) in [
            (config("kv2", KvVersion::V1), "the engine is KV v2; set version: v2"),
            (config("absent", KvVersion::V1), "cannot read keys"),
            (config("absent", KvVersion::V2), "cannot read keys"),
        ] {
            let error = start_error(config).await;
            assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains(words)), "{error}");
        }
    }
    let error = start_error(config(&server, "absent", KvVersion::V2)).await.to_string();
    assert!(error.contains("nothing is mounted there"), "{error}");
    let wrong_port = Config { endpoint: "http://127.0.0.1:1".into(), ..config(&server, "kv1", KvVersion::V1) };
    let error = start_error(wrong_port).await;
    assert!(matches!(&error, StoreError::Unreachable { reason, .. } if reason.contains("refused")), "{error}");
    let https = server.url().replace("http:", "https:");
    let error = start_error(Config { endpoint: https, ..config(&server, "kv1", KvVersion::V1) }).await;
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("TLS")), "{error}");
}

async fn a_login_that_cannot_work_is_reported_at_start(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let (id, secret) = server.approle("kes", "kes", "0", "0");
    let with = |login| Config { login, ..config(&server, "kv1", KvVersion::V1) };
    let role = |engine: &str, id: &str, secret: &str| Login::AppRole {
        engine: engine.into(),
        namespace: None,
        id: id.into(),
        secret: Credential::Text(Secret::from(secret.to_owned())),
    };
    for (login, words) in [
        (role("approle", "wrong-role", &secret), "invalid role"),
        (role("approle", &id, "wrong-secret"), "invalid"),
        (role("absent", &id, &secret), "nothing is mounted there"),
        (Login::Token(Secret::from("hvs.wrong".to_owned())), "the token is not valid"),
        (Login::Token(Secret::from("line\nbreak".to_owned())), "contains invalid characters"),
        (Login::TokenFile("/absent/token".into()), "'/absent/token' cannot be read"),
        (
            Login::Kubernetes {
                engine: "kubernetes".into(),
                namespace: None,
                role: "kes".into(),
                jwt: Credential::token_or_path("/absent/jwt"),
            },
            "'/absent/jwt' cannot be read",
        ),
        (
            Login::Jwt {
                engine: "jwt".into(),
                namespace: None,
                role: None,
                jwt: Credential::token_or_path("eyJhbGciOi.eyJzdWIi.c2ln"),
            },
            "nothing is mounted there",
        ),
    ] {
        let error = start_error(with(login)).await;
        assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains(words)), "{words}: {error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains(&secret) && !text.contains("wrong-secret") && !text.contains("hvs.wrong"), "{text}");
    }
    for (ca, words) in [("/absent/ca.pem", "/absent/ca.pem"), ("/dev/null", "contains no PEM certificate")] {
        let tls = Tls { ca: Some(ca.into()), ..Tls::default() };
        let error = start_error(Config { tls, ..config(&server, "kv1", KvVersion::V1) }).await.to_string();
        assert!(error.contains(words), "{error}");
    }
}

async fn a_server_that_is_sealed_or_not_initialized_is_not_ready(program: Program) {
    let server = Server::start_raw(program).await;
    let config = Config { login: approle(&("a".into(), "b".into())), ..config(&server, "kv1", KvVersion::V1) };
    let error = start_error(config).await;
    assert!(matches!(&error, StoreError::NotReady { reason, .. } if reason.contains("not initialized")), "{error}");
    assert!(error.to_string().contains("vault operator init`") && !error.to_string().contains("seal"), "{error}");
    let server = start(program).await;
    server.seal();
    let error = start_error(self::config(&server, "kv1", KvVersion::V1)).await;
    assert!(matches!(&error, StoreError::NotReady { reason, .. } if reason.contains("sealed")), "{error}");
}

async fn tls_trusts_only_the_given_authority_and_the_certificate_logs_in(program: Program) {
    let mut server = start(program).await;
    server.policy("kes", POLICY);
    let files = server.speak_tls().await;
    server.root("POST", "sys/auth/cert", &json!({"type": "cert"}));
    let ca = std::fs::read_to_string(&files.ca).unwrap();
    server.root("POST", "auth/cert/certs/keyway", &json!({"certificate": ca, "token_policies": ["kes"]}));
    let login = Login::Cert { engine: "cert".into(), namespace: None, role: Some("keyway".into()) };
    let tls = Tls { ca: Some(files.ca), cert: Some(files.cert.clone()), key: Some(files.key) };
    let plain = config(&server, "kv2", KvVersion::V2);
    let good = Config { endpoint: server.tls_url(), login, tls: tls.clone(), ..plain.clone() };
    let store = open(good.clone()).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));

    let system = Config { tls: Tls { ca: None, ..tls.clone() }, ..good.clone() };
    let other = Config { tls: Tls { ca: Some(files.cert), ..tls.clone() }, ..good.clone() };
    for config in [system, other] {
        let error = start_error(config).await;
        assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("tls.ca")), "{error}");
    }
    let anonymous = Config { tls: Tls { cert: None, key: None, ..tls.clone() }, ..good.clone() };
    assert!(matches!(start_error(anonymous).await, StoreError::Unavailable { .. }));
    let half = Config { tls: Tls { key: None, ..tls }, ..good };
    assert!(start_error(half).await.to_string().contains("belong together"));
    let plain_to_tls = Config { endpoint: server.tls_url().replace("https", "http"), ..plain };
    assert!(matches!(start_error(plain_to_tls).await, StoreError::Unavailable { .. }));
}
