//! Values that are encrypted under a transit key.

use backends::StoreError;
use backends::vault::{Config, KvVersion, Transit};
use serde_json::{Value as Json, json};

use super::{config, name, open, start, start_error, transit, value};
use crate::services::vault::Program;

on_both!(
    a_rotated_transit_key_and_rewrapped_values_change_nothing,
    values_of_another_transit_setting_are_damaged,
    a_missing_transit_key_is_reported_and_not_created,
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
