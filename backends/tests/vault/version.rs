//! A `version` that is not that of the engine: KES worked with it, so every key that it stored is found, and every setting
//! that a message names leads to it.

use backends::StoreError;
use backends::vault::{Config, KvVersion};
use serde_json::{Value as Json, json};

use super::{config, name, open, start, start_error, value};
use crate::services::vault::{Program, Server};

on_both!(
    keys_that_kes_stored_with_version_2_on_version_1_are_read_and_new_ones_can_be_read_by_it,
    every_setting_that_a_message_names_leads_to_the_old_keys,
    a_key_at_the_place_of_another_version_is_not_missing_nor_created_again,
    an_engine_that_was_upgraded_keeps_its_keys,
);

const TEXT: &str = "CmEKIFBsYWludGV4dA==";

/// Stores a key as KES does with `version: v2` on an engine of version 1.
fn store_as_kes(server: &Server, path: &str, key: &str) {
    server.root("PUT", &format!("kv1/data/{path}"), &json!({"options": {"cas": 0}, "data": {key: TEXT}}));
}

async fn keys_that_kes_stored_with_version_2_on_version_1_are_read_and_new_ones_can_be_read_by_it(program: Program) {
    let server = start(program).await;
    store_as_kes(&server, "p/old", "old");
    let store = open(Config { prefix: "p".into(), ..config(&server, "kv1", KvVersion::V2) }).await;
    assert_eq!(store.get(&name("old")).await.unwrap(), value(TEXT));
    assert!(matches!(store.create(&name("old"), &value("x")).await, Err(StoreError::AlreadyExists)));
    store.create(&name("new"), &value(TEXT)).await.unwrap();
    assert_eq!(store.list("", None, 9).await.unwrap(), [name("new"), name("old")]);
    store.ping().await.unwrap();
    // As KES reads a value of version 2.
    let stored = server.root("GET", "kv1/data/p/new", &Json::Null);
    assert_eq!(stored["data"]["data"], json!({"new": TEXT}));
    store.delete(&name("old")).await.unwrap();
    assert!(matches!(store.get(&name("old")).await, Err(StoreError::NotFound)));
    assert_eq!(server.call(&server.token, "GET", "kv1/data/p/old", &Json::Null).0, 404);
}

async fn every_setting_that_a_message_names_leads_to_the_old_keys(program: Program) {
    let server = start(program).await;
    store_as_kes(&server, "old", "old");
    store_as_kes(&server, "p/old", "old");
    // The warning: `version: v1` and `prefix: data`, with the prefix of the config behind it.
    for prefix in ["data", "data/p"] {
        let store = open(Config { prefix: prefix.into(), ..config(&server, "kv1", KvVersion::V1) }).await;
        assert_eq!(store.get(&name("old")).await.unwrap(), value(TEXT), "{prefix}");
        store.create(&name("new"), &value(TEXT)).await.unwrap();
    }
    let store = open(config(&server, "kv1", KvVersion::V2)).await;
    assert_eq!(store.get(&name("new")).await.unwrap(), value(TEXT), "and back");

    // `version: v2`, for version 1 on an engine of version 2.
    server.root("PUT", "kv2/data/old", &json!({"options": {"cas": 0}, "data": {"old": TEXT}}));
    let error = start_error(config(&server, "kv2", KvVersion::V1)).await.to_string();
    assert!(error.contains("the engine is KV v2; set version: v2"), "{error}");
    let store = open(config(&server, "kv2", KvVersion::V2)).await;
    assert_eq!(store.get(&name("old")).await.unwrap(), value(TEXT));
}

async fn a_key_at_the_place_of_another_version_is_not_missing_nor_created_again(program: Program) {
    let server = start(program).await;
    store_as_kes(&server, "p/of-v2", "of-v2");
    server.root("PUT", "kv1/p/of-v1", &json!({"of-v1": TEXT}));
    for (version, key, settings, leads_to) in [
        (KvVersion::V1, "of-v2", "set prefix: data/p", (KvVersion::V1, "data/p")),
        (KvVersion::V2, "of-v1", "set version: v1", (KvVersion::V1, "p")),
    ] {
        let store = open(Config { prefix: "p".into(), ..config(&server, "kv1", version) }).await;
        for error in [
            store.get(&name(key)).await.unwrap_err(),
            store.create(&name(key), &value("another")).await.unwrap_err(),
            store.delete(&name(key)).await.unwrap_err(),
        ] {
            assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains(settings)), "{error}");
        }
        let (version, prefix) = leads_to;
        let store = open(Config { prefix: prefix.into(), ..config(&server, "kv1", version) }).await;
        assert_eq!(store.get(&name(key)).await.unwrap(), value(TEXT), "{settings}");
    }
}

async fn an_engine_that_was_upgraded_keeps_its_keys(program: Program) {
    let server = start(program).await;
    server.root("PUT", "kv1/of-v1", &json!({"of-v1": TEXT}));
    store_as_kes(&server, "of-v2", "of-v2");
    server.root("POST", "sys/mounts/kv1/tune", &json!({"options": {"version": "2"}}));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while server.call(&server.token, "GET", "kv1/data/of-v1", &Json::Null).0 != 200 {
        assert!(std::time::Instant::now() < deadline, "the upgrade does not end");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await; // asks Vault, which has no event for it
    }
    let error = start_error(config(&server, "kv1", KvVersion::V1)).await.to_string();
    assert!(error.contains("set version: v2"), "{error}");
    let store = open(config(&server, "kv1", KvVersion::V2)).await;
    assert_eq!(store.get(&name("of-v1")).await.unwrap(), value(TEXT));
    for error in
        [store.get(&name("of-v2")).await.unwrap_err(), store.create(&name("of-v2"), &value("x")).await.unwrap_err()]
    {
        assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains("set prefix: data,")), "{error}");
    }
    let store = open(Config { prefix: "data".into(), ..config(&server, "kv1", KvVersion::V2) }).await;
    assert_eq!(store.get(&name("of-v2")).await.unwrap(), value(TEXT));
}
