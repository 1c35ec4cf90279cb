//! Values that are encrypted under a transit key.

use backends::vault::{Config, KvVersion, Login, Transit};
use backends::{Secret, StoreError};
use serde_json::{Value as Json, json};

use super::outage::Proxy;
use super::{POLICY, config, name, open, start, start_error, transit, value};
use crate::services::vault::{Program, Server};
use crate::support::unavailable;

on_both!(
    a_rotated_transit_key_and_rewrapped_values_change_nothing,
    values_of_another_transit_setting_are_damaged,
    a_missing_transit_key_is_reported_and_not_created,
    a_transit_key_that_was_deleted_is_not_created_again_and_its_backup_brings_everything_back,
    a_transit_key_that_is_replaced_during_a_create_is_noticed_before_anything_is_stored,
);

async fn a_rotated_transit_key_and_rewrapped_values_change_nothing(program: Program) {
    let server = start(program).await;
    let store = open(Config { transit: transit("kes"), ..config(&server, "kv2", KvVersion::V2) }).await;
    let (before, after) = (name("before"), name("after"));
    store.create(&before, &value("one")).await.unwrap();
    server.root("POST", "transit/keys/kes/rotate", &json!({}));
    store.create(&after, &value("two")).await.unwrap();
    let stored = |key: &str| {
        let read = server.root("GET", &format!("kv2/data/{key}"), &Json::Null);
        read["data"]["data"][key].as_str().unwrap().to_owned()
    };
    assert!(stored("before").starts_with("vault:v1:") && stored("after").starts_with("vault:v2:"));
    let rewrapped = server.root("POST", "transit/rewrap/kes", &json!({"ciphertext": stored("before")}));
    let body = json!({"data": {"before": rewrapped["data"]["ciphertext"]}});
    server.root("POST", "kv2/data/before", &body);
    assert!(stored("before").starts_with("vault:v2:"));
    assert_eq!(store.get(&before).await.unwrap(), value("one"));
    assert_eq!(store.get(&after).await.unwrap(), value("two"));
    // That a version of the transit key may not be used any more does not mean that the key is absent.
    for _ in 0..2 {
        server.root("POST", "transit/keys/kes/rotate", &json!({}));
    }
    server.root("POST", "transit/keys/kes/config", &json!({"min_decryption_version": 3, "min_encryption_version": 3}));
    let error = store.get(&after).await.unwrap_err();
    assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains("min_decryption_version")), "{error}");
    assert!(matches!(store.create(&after, &value("x")).await, Err(StoreError::AlreadyExists)));
    // The sample of the start is too old as well, and it is the same key.
    store.create(&name("later"), &value("three")).await.unwrap();
    assert_eq!(store.get(&name("later")).await.unwrap(), value("three"));
    store.ping().await.unwrap();
}

async fn values_of_another_transit_setting_are_damaged(program: Program) {
    let server = start(program).await;
    server.root("POST", "transit/keys/other", &json!({}));
    let plain = config(&server, "kv2", KvVersion::V2);
    let (store, sealed) = (open(plain.clone()).await, open(Config { transit: transit("kes"), ..plain.clone() }).await);
    let other = open(Config { transit: transit("other"), ..plain }).await;
    store.create(&name("plain"), &value("text")).await.unwrap();
    sealed.create(&name("sealed"), &value("text")).await.unwrap();
    for (store, key, words) in [
        (&store, "sealed", "configure the transit key"),
        (&sealed, "plain", "is not encrypted by transit"),
        (&other, "sealed", "was encrypted under another transit key"),
    ] {
        let error = store.get(&name(key)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { reason } if reason.contains(words)), "{error}");
    }
}

async fn a_missing_transit_key_is_reported_and_not_created(program: Program) {
    let server = start(program).await;
    let error = start_error(Config { transit: transit("absent"), ..config(&server, "kv2", KvVersion::V2) }).await;
    assert!(error.to_string().contains("vault write -f transit/keys/absent"), "{error}");
    assert_eq!(server.call(&server.token, "GET", "transit/keys/absent", &Json::Null).0, 404);
    let nowhere = Some(Transit { engine: "absent".into(), key: "kes".into() });
    let error = start_error(Config { transit: nowhere, ..config(&server, "kv2", KvVersion::V2) }).await;
    assert!(error.to_string().contains("nothing is mounted there"), "{error}");
}

/// Deletes the transit key.
fn delete_key(server: &Server) {
    server.root("POST", "transit/keys/kes/config", &json!({"deletion_allowed": true}));
    server.root("DELETE", "transit/keys/kes", &Json::Null);
}

async fn a_transit_key_that_was_deleted_is_not_created_again_and_its_backup_brings_everything_back(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let encrypt = |rights: &str| POLICY.replace(r#"encrypt/kes" { capabilities = ["update"]"#, rights);
    server.policy("creates", &encrypt(r#"encrypt/kes" { capabilities = ["create", "update"]"#));
    let allow = json!({"exportable": true, "allow_plaintext_backup": true});
    server.root("POST", "transit/keys/kes/config", &allow);
    let backup = server.root("GET", "transit/backup/kes", &Json::Null)["data"]["backup"].clone();
    for (number, token) in [server.token.clone(), server.make_token("creates", "1h"), server.make_token("kes", "1h")]
        .into_iter()
        .enumerate()
    {
        let (old, new) = (name(&format!("old-{number}")), name(&format!("new-{number}")));
        let login = Login::Token(Secret::from(token));
        let store = open(Config { login, transit: transit("kes"), ..config(&server, "kv2", KvVersion::V2) }).await;
        store.create(&old, &value("one")).await.unwrap();
        let fails = async |words: &str| {
            for reason in [unavailable(store.create(&new, &value("two")).await), unavailable(store.ping().await)] {
                assert!(reason.contains(words), "{number}: {reason}");
            }
            let stored = server.call(&server.token, "GET", &format!("kv2/data/{new}"), &Json::Null);
            assert_eq!(stored.0, 404, "{number}: {}", stored.1);
        };
        delete_key(&server);
        fails("was deleted since startup").await;
        assert!(unavailable(store.get(&old).await).contains("was deleted since startup"));
        assert_eq!(
            server.call(&server.token, "GET", "transit/keys/kes", &Json::Null).0,
            404,
            "{number}: it was created"
        );
        // By an administrator, or by another program.
        server.root("POST", "transit/keys/kes", &json!({}));
        fails("was replaced since startup").await;
        assert!(matches!(store.get(&old).await, Err(StoreError::Damaged { .. })));
        // As the message says.
        delete_key(&server);
        server.root("POST", "transit/restore/kes", &json!({"backup": backup}));
        store.create(&new, &value("two")).await.unwrap();
        store.ping().await.unwrap();
        assert_eq!(store.get(&old).await.unwrap(), value("one"));
        assert_eq!(store.get(&new).await.unwrap(), value("two"));
    }
}

async fn a_transit_key_that_is_replaced_during_a_create_is_noticed_before_anything_is_stored(program: Program) {
    let server = std::sync::Arc::new(start(program).await);
    let is_armed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (behind, armed) = (server.clone(), is_armed.clone());
    let proxy = Proxy::start_with(server.port(), "POST /v1/transit/encrypt/kes", move || {
        if armed.load(std::sync::atomic::Ordering::SeqCst) {
            delete_key(&behind);
            behind.root("POST", "transit/keys/kes", &json!({}));
        }
    })
    .await;
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let store = open(Config { endpoint, transit: transit("kes"), ..config(&server, "kv2", KvVersion::V2) }).await;
    is_armed.store(true, std::sync::atomic::Ordering::SeqCst);
    let reason = unavailable(store.create(&name("new"), &value("x")).await);
    assert!(reason.contains("was replaced since startup"), "{reason}");
    assert_eq!(server.call(&server.token, "GET", "kv2/data/new", &Json::Null).0, 404);
}
