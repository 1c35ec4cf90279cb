//! Tokens: renewed, replaced, revoked.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backends::vault::{Config, Credential, KvVersion, Login};
use backends::{Secret, StoreError};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use super::outage::Proxy;
use super::{POLICY, approle, config, errors, name, open, start, value};
use crate::services::vault::{Program, Server};
use crate::support::Logged;

on_both!(
    a_revoked_token_costs_one_login_and_no_failure,
    a_token_of_a_few_seconds_is_renewed_without_a_storm_of_logins,
    a_policy_that_forbids_does_not_cause_repeated_logins,
    a_token_file_is_read_again,
    a_revoked_static_token_is_unavailable,
    a_refused_login_is_repeated_after_growing_pauses_and_at_once_with_another_credential,
    a_role_that_vault_has_locked_is_named_with_the_command_that_unlocks_it,
    a_token_of_a_login_is_revoked_on_close_and_that_of_the_operator_is_not,
);

async fn a_revoked_token_costs_one_login_and_no_failure(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(server.revoke_all(), 1);
        let mut tasks = JoinSet::new();
        for number in 0..32 {
            let store = store.clone();
            tasks.spawn(async move {
                if number == 0 {
                    store.ping().await.unwrap();
                } else {
                    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(server.accessors().len(), 2, "the root token and one other");
    }
}

async fn a_token_of_a_few_seconds_is_renewed_without_a_storm_of_logins(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    for (role, max_ttl) in [("renewable", "0"), ("short-lived", "6s")] {
        let login = approle(&server.approle(role, "kes", "3s", max_ttl));
        let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
        store.create(&name(role), &value("x")).await.unwrap();
        let (start, mut logins) = (Instant::now(), std::collections::HashSet::new());
        while start.elapsed() < Duration::from_secs(15) {
            assert_eq!(store.get(&name(role)).await.unwrap(), value("x"));
            logins.extend(server.accessors());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        store.close().await;
        // One of them is the root token.
        assert!(logins.len() - 1 <= 11, "{} logins in 15 s with {role}", logins.len() - 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_policy_that_forbids_does_not_cause_repeated_logins(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    server.policy("kes", r#"path "kv1/*" { capabilities = ["read"] }"#);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let error = store.get(&name("k")).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("403")), "{error}");
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.accessors().len() <= 6, "{} tokens", server.accessors().len());
    // When the policy is corrected, it works again.
    server.policy("kes", POLICY);
    assert!(matches!(store.get(&name("k")).await, Err(StoreError::NotFound)));
}

async fn a_token_file_is_read_again(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let (first, second) = (server.make_token("kes", "1h"), server.make_token("kes", "4s"));
    let file = server.directory().join("token");
    std::fs::write(&file, format!(" {first}\n")).unwrap();
    let login = Login::TokenFile(file.clone());
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    server.root("POST", "auth/token/revoke", &json!({"token": first}));
    let error = store.get(&name("k")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("write a new one")), "{error}");
    assert!(!error.to_string().contains(&first), "{error}");
    std::fs::write(&file, &second).unwrap();
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
    // Longer than the token lives: a token of the operator is renewed, too.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
}

async fn a_revoked_static_token_is_unavailable(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let token = server.make_token("kes", "1h");
    let login = Login::Token(Secret::from(token.clone()));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    server.root("POST", "auth/token/revoke", &json!({"token": token}));
    for error in errors(&store, "k").await {
        let text = format!("{error} {error:?}");
        assert!(
            matches!(error, StoreError::Unavailable { .. }) && text.contains("was revoked or has expired"),
            "{text}"
        );
        assert!(!text.contains(&token), "{text}");
    }
}

async fn a_token_of_a_login_is_revoked_on_close_and_that_of_the_operator_is_not(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    assert_eq!(server.accessors().len(), 2);
    store.close().await;
    assert_eq!(server.accessors().len(), 1);
    assert!(matches!(store.get(&name("k")).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(server.accessors().len(), 1, "a closed store does not log in");

    let login = Login::Token(Secret::from(server.make_token("kes", "1h")));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.close().await;
    assert_eq!(server.accessors().len(), 2);
}

/// An `AppRole` whose secret ID is in a file; the role ID, the secret ID and the file.
fn approle_with_file(server: &Server) -> (Login, String, String, PathBuf) {
    let (id, secret) = server.approle("kes", "kes", "1h", "0");
    let file = server.directory().join("secret-id");
    std::fs::write(&file, &secret).unwrap();
    let credential = Credential::File(file.clone());
    let login = Login::AppRole { engine: "approle".into(), namespace: None, id: id.clone(), secret: credential };
    (login, id, secret, file)
}

async fn a_refused_login_is_repeated_after_growing_pauses_and_at_once_with_another_credential(program: Program) {
    const LOAD: Duration = Duration::from_secs(6);
    let logged = Logged::global();
    let server = start(program).await;
    server.policy("kes", POLICY);
    let (login, _, secret, file) = approle_with_file(&server);
    let proxy = Proxy::start(server.port(), "/v1/auth/approle/login").await;
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let place = endpoint.clone();
    let store = open(Config { endpoint, login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    server.root("POST", "auth/approle/role/kes/secret-id/destroy", &json!({"secret_id": secret}));
    server.revoke_all();
    assert_eq!(proxy.seen.load(Ordering::SeqCst), 1);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut failures = 0;
            while start.elapsed() < LOAD {
                let error = store.get(&name("k")).await.unwrap_err();
                assert!(
                    matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("AppRole")),
                    "{error}"
                );
                failures += 1;
            }
            failures
        });
    }
    let failures: usize = tasks.join_all().await.into_iter().sum();
    let logins = proxy.seen.load(Ordering::SeqCst) - 1;
    // After 0, 1 and 5 s.
    assert!((2..=3).contains(&logins) && failures > 100, "{logins} logins for {failures} operations");
    assert_eq!(logged.count(&["cannot log in to Vault again", &place]), 1, "one line at the edge");
    std::fs::write(&file, server.secret_id("kes")).unwrap();
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"), "another secret ID is tried at once");
}

async fn a_role_that_vault_has_locked_is_named_with_the_command_that_unlocks_it(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let (login, id, _, file) = approle_with_file(&server);
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    for _ in 0..5 {
        let wrong = json!({"role_id": id, "secret_id": "wrong"});
        assert!(server.call("", "POST", "auth/approle/login", &wrong).0 >= 400);
    }
    server.revoke_all();
    let error = store.get(&name("k")).await.unwrap_err().to_string();
    assert!(error.contains("`vault write -f sys/locked-users/MOUNT_ACCESSOR/unlock/ROLE_ID`"), "{error}");
    let accessor = server.root("GET", "sys/auth", &Json::Null)["data"]["approle/"]["accessor"].clone();
    server.root("POST", &format!("sys/locked-users/{}/unlock/{id}", accessor.as_str().unwrap()), &json!({}));
    std::fs::write(&file, server.secret_id("kes")).unwrap();
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
}
