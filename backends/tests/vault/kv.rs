//! What is stored in KV: the format, versions, other content, and the engine itself.

use std::time::{Duration, Instant};

use backends::StoreError;
use backends::vault::{Config, KvVersion};
use serde_json::{Value as Json, json};

use super::{config, name, open, start, transit, value};
use crate::services::vault::Program;

on_both!(
    keys_of_kes_are_read_and_ours_have_the_same_format,
    the_newest_version_is_read,
    a_deleted_version_is_withheld_and_restored_by_the_command_in_the_message,
    foreign_content_is_damaged_and_never_overwritten,
    a_listing_leaves_out_folders_and_invalid_names,
    an_engine_that_is_gone_or_replaced_is_not_an_absent_key,
    a_claim_that_was_left_behind_is_removed_in_time,
);

async fn keys_of_kes_are_read_and_ours_have_the_same_format(program: Program) {
    let server = start(program).await;
    let (old, new) = (name("old-key"), name("new-key"));
    // As KES writes.
    let text = "CmEKIFBsYWludGV4dA==";
    let sealed = server.root("POST", "transit/encrypt/kes", &json!({"plaintext": "Q21FS0lGQnNZV2x1ZEdWNGRBPT0="}));
    let sealed = sealed["data"]["ciphertext"].as_str().unwrap().to_owned();
    server.root("POST", "kv1/p/old-key", &json!({"old-key": text}));
    server.root("POST", "kv2/data/p/old-key", &json!({"options": {"cas": 0}, "data": {"old-key": text}}));
    server.root("POST", "kv2/data/t/old-key", &json!({"options": {"cas": 0}, "data": {"old-key": sealed}}));

    let (v1, v2) = (config(&server, "kv1", KvVersion::V1), config(&server, "kv2", KvVersion::V2));
    for (config, path) in [
        (Config { prefix: "p".into(), ..v1 }, "kv1/p"),
        (Config { prefix: "p".into(), ..v2.clone() }, "kv2/data/p"),
        (Config { prefix: "t".into(), transit: transit("kes"), ..v2 }, "kv2/data/t"),
    ] {
        let sealed = config.transit.is_some();
        let store = open(config).await;
        assert_eq!(store.get(&old).await.unwrap(), value(text), "{path}");
        assert_eq!(store.list("", None, 9).await.unwrap(), std::slice::from_ref(&old), "{path}");
        store.create(&new, &value(text)).await.unwrap();
        // As KES reads.
        let mut data = server.root("GET", &format!("{path}/new-key"), &Json::Null)["data"].clone();
        if path.starts_with("kv2") {
            assert_eq!(data["metadata"]["version"], 1);
            data = data["data"].clone();
        }
        assert_eq!(data.as_object().unwrap().len(), 1, "{data}");
        let stored = data["new-key"].as_str().unwrap().to_owned();
        if sealed {
            let opened = server.root("POST", "transit/decrypt/kes", &json!({"ciphertext": stored}));
            assert_eq!(opened["data"]["plaintext"], "Q21FS0lGQnNZV2x1ZEdWNGRBPT0=");
        } else {
            assert_eq!(stored, text);
        }
    }
    // Nothing else is left.
    assert_eq!(server.root("LIST", "kv1/p", &Json::Null)["data"]["keys"], json!(["new-key", "old-key"]));
}

async fn the_newest_version_is_read(program: Program) {
    let server = start(program).await;
    let store = open(config(&server, "kv2", KvVersion::V2)).await;
    store.create(&name("k"), &value("lost")).await.unwrap();
    server.root("POST", "kv2/data/k", &json!({"data": {"k": "restored"}}));
    assert_eq!(store.get(&name("k")).await.unwrap(), value("restored"));
    store.delete(&name("k")).await.unwrap();
    assert_eq!(server.call(&server.token, "GET", "kv2/metadata/k", &Json::Null).0, 404);
}

async fn a_deleted_version_is_withheld_and_restored_by_the_command_in_the_message(program: Program) {
    let server = start(program).await;
    let store = open(Config { prefix: "p".into(), ..config(&server, "kv2", KvVersion::V2) }).await;
    let key = name("my-key");
    store.create(&key, &value("one")).await.unwrap();
    server.root("DELETE", "kv2/data/p/my-key", &Json::Null);
    let command = "vault kv undelete -mount=kv2 -versions=1 p/my-key";
    for error in [store.get(&key).await.unwrap_err(), store.create(&key, &value("two")).await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains(command)), "{error}");
    }
    server.root("POST", "kv2/undelete/p/my-key", &json!({"versions": [1]}));
    assert_eq!(store.get(&key).await.unwrap(), value("one"));
    assert!(matches!(store.create(&key, &value("two")).await, Err(StoreError::AlreadyExists)));

    server.root("POST", "kv2/destroy/p/my-key", &json!({"versions": [1]}));
    for error in [store.get(&key).await.unwrap_err(), store.create(&key, &value("two")).await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains("destroyed")), "{error}");
    }
    // A delete is permanent, and then the name is free.
    store.delete(&key).await.unwrap();
    store.create(&key, &value("three")).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), value("three"));
}

async fn foreign_content_is_damaged_and_never_overwritten(program: Program) {
    let server = start(program).await;
    for (engine, version, path) in [("kv1", KvVersion::V1, "kv1/k"), ("kv2", KvVersion::V2, "kv2/data/k")] {
        let store = open(config(&server, engine, version)).await;
        for content in [json!({"password": "s3cr3t"}), json!({"k": 7}), json!({"k": ["s3cr3t"]}), json!({"k": null})] {
            let body = if version == KvVersion::V2 { json!({"data": content}) } else { content.clone() };
            server.root("POST", path, &body);
            let error = store.get(&name("k")).await.unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{content}: {error}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
            assert!(matches!(store.create(&name("k"), &value("x")).await, Err(StoreError::AlreadyExists)));
            assert!(matches!(store.delete(&name("k")).await, Err(StoreError::Damaged { .. })));
            let kept = server.root("GET", path, &Json::Null)["data"].clone();
            assert_eq!(if version == KvVersion::V2 { &kept["data"] } else { &kept }, &content);
        }
    }
}

async fn a_listing_leaves_out_folders_and_invalid_names(program: Program) {
    let server = start(program).await;
    for (engine, version, path) in [("kv1", KvVersion::V1, "kv1/"), ("kv2", KvVersion::V2, "kv2/data/")] {
        let store = open(Config { prefix: "p".into(), ..config(&server, engine, version) }).await;
        assert_eq!(store.list("", None, 10).await.unwrap(), []);
        for key in ["p/a", "p/sub/b", "p/not.a.name", "p/-x", "top"] {
            server.root("POST", &format!("{path}{key}"), &json!({"data": {"a": "x"}}));
        }
        assert_eq!(store.list("", None, 10).await.unwrap(), [name("a")]);
        assert!(matches!(store.get(&name("sub")).await, Err(StoreError::NotFound)));
    }
}

async fn an_engine_that_is_gone_or_replaced_is_not_an_absent_key(program: Program) {
    let server = start(program).await;
    for (engine, version, number) in [("kv1", KvVersion::V1, 1), ("kv2", KvVersion::V2, 2)] {
        let store = open(config(&server, engine, version)).await;
        store.create(&name("k"), &value("x")).await.unwrap();
        let all = async |words: &str| {
            let key = name("k");
            for error in [
                store.get(&key).await.unwrap_err(),
                store.delete(&key).await.unwrap_err(),
                store.list("", None, 9).await.unwrap_err(),
                store.ping().await.unwrap_err(),
            ] {
                let text = error.to_string();
                assert!(matches!(error, StoreError::Unavailable { .. }) && text.contains(words), "{engine}: {text}");
            }
        };
        server.root("DELETE", &format!("sys/mounts/{engine}"), &Json::Null);
        all("nothing is mounted there").await;
        server.enable_kv(engine, number).await;
        all("was replaced or changed since startup").await;
        server.root("DELETE", &format!("sys/mounts/{engine}"), &Json::Null);
        server.enable_kv(engine, 3 - number).await;
        all("engine").await;
    }
}

async fn a_claim_that_was_left_behind_is_removed_in_time(program: Program) {
    let server = start(program).await;
    server.root("POST", "kv1/.keyway/claims/k/0000000000001-dead", &json!({"claim": "of a node that died"}));
    let store = open(config(&server, "kv1", KvVersion::V1)).await;
    let start = Instant::now();
    let error = store.create(&name("k"), &value("x")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("another client is creating")),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(matches!(store.get(&name("k")).await, Err(StoreError::NotFound)));
    store.create(&name("other"), &value("x")).await.unwrap();
    while store.create(&name("k"), &value("x")).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    assert!(start.elapsed() > Duration::from_secs(11));
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
    assert_eq!(store.list("", None, 9).await.unwrap(), [name("k"), name("other")]);
    assert_eq!(server.call(&server.token, "LIST", "kv1/.keyway/claims", &Json::Null).0, 404);
}
