//! Engines that are replaced while they are in use, and engines that delete keys by themselves.

use std::sync::Arc;

use backends::vault::{Config, KvVersion, Login};
use backends::{Secret, StoreError};
use serde_json::{Value as Json, json};

use super::outage::Proxy;
use super::{POLICY, config, name, open, start, value};
use crate::services::vault::{Program, Server};
use crate::support::{Logged, unavailable};

on_both!(
    a_key_is_not_created_in_an_engine_that_was_replaced,
    a_key_is_not_created_in_an_engine_that_was_upgraded_or_moved,
    a_create_is_not_acknowledged_if_the_engine_is_replaced_during_it,
    an_engine_that_deletes_keys_by_itself_is_reported_and_gets_no_new_ones,
    a_key_that_vault_will_delete_is_reported_and_kept_by_the_commands_in_the_message,
);

/// The status of a read with the root token.
fn status(server: &Server, path: &str) -> u16 {
    server.call(&server.token, "GET", path, &Json::Null).0
}

async fn a_key_is_not_created_in_an_engine_that_was_replaced(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    for (engine, version, number, path) in
        [("kv1", KvVersion::V1, 1, "kv1/new"), ("kv2", KvVersion::V2, 2, "kv2/data/new")]
    {
        let limited = Login::Token(Secret::from(server.make_token("kes", "1h")));
        let stores = [
            open(config(&server, engine, version)).await,
            open(Config { login: limited, ..config(&server, engine, version) }).await,
        ];
        server.root("DELETE", &format!("sys/mounts/{engine}"), &Json::Null);
        server.enable_kv(engine, number).await;
        for store in &stores {
            let reason = unavailable(store.create(&name("new"), &value("x")).await);
            assert!(reason.contains("was replaced or changed since startup"), "{engine}: {reason}");
        }
        assert_eq!(status(&server, path), 404, "{engine}");
        // A start says that it is intended.
        open(config(&server, engine, version)).await.create(&name("new"), &value("x")).await.unwrap();
    }
}

async fn a_key_is_not_created_in_an_engine_that_was_upgraded_or_moved(program: Program) {
    let server = start(program).await;
    let (upgraded, moved) =
        (open(config(&server, "kv1", KvVersion::V1)).await, open(config(&server, "kv2", KvVersion::V2)).await);
    server.root("POST", "sys/mounts/kv1/tune", &json!({"options": {"version": "2"}}));
    let is_upgraded = async || status(&server, "kv1/config") == 200;
    crate::services::eventually::until(std::time::Duration::from_secs(30), || "no upgrade".to_owned(), is_upgraded)
        .await;
    unavailable(upgraded.create(&name("new"), &value("x")).await);
    assert_eq!(status(&server, "kv1/data/new"), 404);
    server.root("POST", "sys/remount", &json!({"from": "kv2", "to": "away"}));
    let is_moved = async || status(&server, "away/config") == 200;
    crate::services::eventually::until(std::time::Duration::from_secs(30), || "not moved".to_owned(), is_moved).await;
    unavailable(moved.create(&name("new"), &value("x")).await);
    server.enable_kv("kv2", 2).await;
    let reason = unavailable(moved.create(&name("new"), &value("x")).await);
    assert!(reason.contains("was replaced or changed since startup"), "{reason}");
    assert_eq!((status(&server, "away/data/new"), status(&server, "kv2/data/new")), (404, 404));
}

async fn a_create_is_not_acknowledged_if_the_engine_is_replaced_during_it(program: Program) {
    let server = Arc::new(start(program).await);
    let behind = server.clone();
    // After the write, and before its response.
    let proxy = Proxy::start_with(server.port(), "POST /v1/kv2/data/key", move || {
        behind.root("DELETE", "sys/mounts/kv2", &Json::Null);
        behind.root("POST", "sys/mounts/kv2", &json!({"type": "kv", "options": {"version": "2"}}));
    })
    .await;
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let store = open(Config { endpoint, ..config(&server, "kv2", KvVersion::V2) }).await;
    let reason = unavailable(store.create(&name("key"), &value("x")).await);
    assert!(reason.contains("was replaced or changed since startup"), "{reason}");
}

async fn an_engine_that_deletes_keys_by_itself_is_reported_and_gets_no_new_ones(program: Program) {
    let logged = Logged::global();
    let server = start(program).await;
    let warnings = || logged.count(&["DELETES EVERY KEY 1h", &server.url()]);
    let before = open(config(&server, "kv2", KvVersion::V2)).await;
    assert_eq!(warnings(), 0);
    server.root("POST", "kv2/config", &json!({"delete_version_after": "1h"}));
    let after = open(config(&server, "kv2", KvVersion::V2)).await;
    assert_eq!(warnings(), 1);
    for store in [&before, &after] {
        let reason = unavailable(store.create(&name("new"), &value("x")).await);
        assert!(reason.contains("`vault write kv2/config delete_version_after=0s`"), "{reason}");
        store.ping().await.unwrap();
    }
    assert_eq!(status(&server, "kv2/metadata/new"), 404);
    for off in ["0s", "-1s"] {
        server.root("POST", "kv2/config", &json!({"delete_version_after": off}));
        after.create(&name(&format!("kept{off}")), &value("x")).await.unwrap();
    }
}

async fn a_key_that_vault_will_delete_is_reported_and_kept_by_the_commands_in_the_message(program: Program) {
    let logged = Logged::global();
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = Login::Token(Secret::from(server.make_token("kes", "1h")));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    server.root("POST", "kv2/config", &json!({"delete_version_after": "1h"}));
    // The policy does not allow to read the settings of the engine, so that only the response to the write shows it.
    let key = name("short-lived");
    let error = store.create(&key, &value("x")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains("WILL DELETE the key")), "{error}");
    for _ in 0..3 {
        assert_eq!(store.get(&key).await.unwrap(), value("x"));
    }
    assert_eq!(logged.count(&["WILL DELETE the key 'short-lived'", &server.url()]), 1);
    let deletion =
        || server.root("GET", "kv2/data/short-lived", &Json::Null)["data"]["metadata"]["deletion_time"].clone();
    assert_ne!(deletion(), "");
    server.root("POST", "kv2/config", &json!({"delete_version_after": "0s"}));
    server.root("POST", "kv2/metadata/short-lived", &json!({"delete_version_after": "0s"}));
    server.root("POST", "kv2/undelete/short-lived", &json!({"versions": [1]}));
    assert_eq!(deletion(), "");
    assert!(matches!(store.create(&key, &value("y")).await, Err(StoreError::AlreadyExists)));
    store.create(&name("kept"), &value("x")).await.unwrap();
}
