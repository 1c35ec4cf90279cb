//! The ways to log in, and namespaces.

use std::time::Duration;

use backends::vault::{Config, Credential, KvVersion, Login, Vault};
use backends::{Secret, StoreError};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};

use super::{POLICY, approle, config, http_server, name, open, start, start_error, transit, value};
use crate::services::eventually::until;
use crate::services::vault::{Program, Server};

on_both!(
    an_approle_with_the_policy_of_kes_can_do_everything,
    a_secret_id_file_is_read_at_each_login,
    a_jwt_of_another_issuer_logs_in,
    a_kubernetes_service_account_logs_in,
);

async fn an_approle_with_the_policy_of_kes_can_do_everything(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "0", "0"));
    for (engine, version) in [("kv1", KvVersion::V1), ("kv2", KvVersion::V2)] {
        for transit in [None, transit("kes")] {
            let prefix = if transit.is_some() { "sealed".into() } else { String::new() };
            let config = Config { login: login.clone(), transit, prefix, ..config(&server, engine, version) };
            let (store, key) = (open(config).await, name("my-key"));
            store.ping().await.unwrap();
            assert!(matches!(store.get(&key).await, Err(StoreError::NotFound)));
            store.create(&key, &value("one")).await.unwrap();
            assert!(matches!(store.create(&key, &value("two")).await, Err(StoreError::AlreadyExists)));
            assert_eq!(store.get(&key).await.unwrap(), value("one"));
            assert_eq!(store.list("", None, 9).await.unwrap(), std::slice::from_ref(&key));
            store.delete(&key).await.unwrap();
            assert!(matches!(store.delete(&key).await, Err(StoreError::NotFound)));
            assert_eq!(store.list("", None, 9).await.unwrap(), []);
            store.close().await;
        }
    }
}

async fn a_secret_id_file_is_read_at_each_login(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let (id, secret) = server.approle("kes", "kes", "1h", "0");
    let file = server.directory().join("secret-id");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let login =
        Login::AppRole { engine: "approle".into(), namespace: None, id, secret: Credential::File(file.clone()) };
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    let destroyed = json!({"secret_id": secret});
    server.root("POST", "auth/approle/role/kes/secret-id/destroy", &destroyed);
    server.revoke_all();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("with AppRole")), "{error}");
    assert!(!error.to_string().contains(&secret), "{error}");
    std::fs::write(&file, server.secret_id("kes")).unwrap();
    store.ping().await.unwrap();
}

/// A JWT, signed by the transit key `issuer`.
fn sign(server: &Server, claims: &Json) -> String {
    let encode = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let input = format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT"})), encode(claims));
    let body = json!({"input": STANDARD.encode(&input), "signature_algorithm": "pkcs1v15"});
    let signed = server.root("POST", "transit/sign/issuer/sha2-256", &body);
    let signature = signed["data"]["signature"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(STANDARD.decode(signature).unwrap()))
}

async fn a_jwt_of_another_issuer_logs_in(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    server.root("POST", "transit/keys/issuer", &json!({"type": "rsa-2048"}));
    let key = server.root("GET", "transit/keys/issuer", &Json::Null)["data"]["keys"]["1"]["public_key"].clone();
    server.root("POST", "sys/auth/oidc/ci", &json!({"type": "jwt"}));
    server.root("POST", "auth/oidc/ci/config", &json!({"jwt_validation_pubkeys": [key]}));
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["keyway"], "token_policies": ["kes"],
    });
    server.root("POST", "auth/oidc/ci/role/kes", &role);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let file = server.directory().join("jwt");
    let login = |role: &str| Login::Jwt {
        engine: "oidc/ci".into(),
        namespace: None,
        role: Some(role.to_owned()),
        jwt: Credential::token_or_path(file.to_str().unwrap()),
    };
    let config = |role| Config { login: login(role), ..config(&server, "kv2", KvVersion::V2) };
    std::fs::write(&file, sign(&server, &json!({"sub": "node", "aud": "keyway", "nbf": now - 60, "exp": now + 600})))
        .unwrap();
    let store = open(config("kes")).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    let error = start_error(config("absent")).await.to_string();
    assert!(error.contains("role"), "{error}");
    std::fs::write(&file, sign(&server, &json!({"sub": "node", "aud": "keyway", "nbf": now - 1200, "exp": now - 600})))
        .unwrap();
    let error = start_error(config("kes")).await.to_string();
    assert!(error.contains("expired"), "{error}");
}

/// A Kubernetes API that only knows the service account `keyway` in the namespace `minio`.
async fn kubernetes_api() -> u16 {
    let user = json!({"username": "system:serviceaccount:minio:keyway", "uid": "u-1", "groups": []});
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "status": {"authenticated": true, "user": user},
    })
    .to_string();
    http_server(move |request| {
        assert!(request.contains("/tokenreviews"));
        format!(
            "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    })
    .await
}

async fn a_kubernetes_service_account_logs_in(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let api = format!("http://127.0.0.1:{}", kubernetes_api().await);
    server.root("POST", "sys/mounts/pki", &json!({"type": "pki"}));
    // It is required, but not used for plain HTTP.
    let ca = server.root("POST", "pki/root/generate/internal", &json!({"common_name": "Kubernetes"}));
    let ca = ca["data"]["certificate"].clone();
    server.root("POST", "sys/auth/kubernetes", &json!({"type": "kubernetes"}));
    let settings = json!({"kubernetes_host": api, "disable_local_ca_jwt": true, "kubernetes_ca_cert": ca});
    server.root("POST", "auth/kubernetes/config", &settings);
    let role = json!({
        "bound_service_account_names": ["keyway"], "bound_service_account_namespaces": ["minio"],
        "token_policies": ["kes"],
    });
    server.root("POST", "auth/kubernetes/role/kes", &role);
    server.root("POST", "transit/keys/issuer", &json!({"type": "rsa-2048"}));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:minio:keyway", "nbf": now - 60, "exp": now + 600,
        "kubernetes.io": {"namespace": "minio", "serviceaccount": {"name": "keyway", "uid": "u-1"}},
    });
    let login = |role: &str| Login::Kubernetes {
        engine: "kubernetes".into(),
        namespace: None,
        role: role.to_owned(),
        jwt: Credential::Text(Secret::from(sign(&server, &claims))),
    };
    let config = |role| Config { login: login(role), ..config(&server, "kv2", KvVersion::V2) };
    let store = open(config("kes")).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    let error = start_error(config("absent")).await.to_string();
    assert!(error.contains("invalid role name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_openbao_is_a_separate_place() {
    let server = Server::start(Program::OpenBao).await;
    server.enable_kv("kv", 2).await;
    server.root("POST", "sys/namespaces/team-a", &json!({}));
    server.root("POST", "team-a@sys/mounts/kv", &json!({"type": "kv", "options": {"version": "2"}}));
    let root = config(&server, "kv", KvVersion::V2);
    let team = Config { namespace: Some("team-a".into()), ..root.clone() };
    // A new engine is upgraded to version 2 in the background.
    let is_ready = || async { Vault::open(&team).await.is_ok() };
    until(Duration::from_secs(10), || "the engine in the namespace is not ready".to_owned(), is_ready).await;
    let (outside, inside) = (open(root.clone()).await, open(team.clone()).await);
    outside.create(&name("k"), &value("root")).await.unwrap();
    assert!(matches!(inside.get(&name("k")).await, Err(StoreError::NotFound)));
    inside.create(&name("k"), &value("team")).await.unwrap();
    assert_eq!(outside.get(&name("k")).await.unwrap(), value("root"));
    assert_eq!(inside.get(&name("k")).await.unwrap(), value("team"));
    let absent = Config { namespace: Some("absent".into()), ..root };
    let error = start_error(absent).await;
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("namespace")), "{error}");

    // A login in the namespace, and one in the root namespace for the engine in it.
    let rules = r#"path "kv/*" { capabilities = ["create", "read", "delete", "list"] }"#;
    server.root("PUT", "team-a@sys/policies/acl/kes", &json!({"policy": rules}));
    server.root("POST", "team-a@sys/auth/approle", &json!({"type": "approle"}));
    server.root("POST", "team-a@auth/approle/role/kes", &json!({"token_policies": ["kes"], "token_ttl": "3s"}));
    let id = server.root("GET", "team-a@auth/approle/role/kes/role-id", &Json::Null);
    let secret = server.root("POST", "team-a@auth/approle/role/kes/secret-id", &json!({}));
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let within = approle(&(text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"])));
    server.policy("team-a", r#"path "team-a/kv/*" { capabilities = ["create", "read", "delete", "list"] }"#);
    let Login::AppRole { engine, id, secret, .. } = approle(&server.approle("kes", "team-a", "3s", "0")) else {
        unreachable!()
    };
    let from_root = Login::AppRole { engine, namespace: Some("/".into()), id, secret };
    for login in [within, from_root] {
        let store = open(Config { login, ..team.clone() }).await;
        assert_eq!(store.get(&name("k")).await.unwrap(), value("team"));
        // Longer than a token lives: it is renewed in the namespace of the login.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(store.get(&name("k")).await.unwrap(), value("team"));
        store.close().await;
    }
}
