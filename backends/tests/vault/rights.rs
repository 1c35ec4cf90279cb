//! Policies that allow less than everything: a start says what is missing, and what is allowed works.

use std::sync::Arc;

use backends::vault::{Config, KvVersion, Login};
use backends::{Secret, Store, StoreError};
use serde_json::{Value as Json, json};

use super::{config, name, open, start, start_error, transit, value};
use crate::services::vault::{Program, Server};

on_both!(
    a_policy_without_list_can_use_keys_of_version_1_and_says_what_a_create_needs,
    a_policy_by_the_names_of_keys_is_enough_on_version_2,
    a_policy_by_the_names_of_keys_lacks_the_claims_of_version_1,
    the_documented_policies_lack_nothing,
    a_policy_that_allows_to_read_nothing_ends_the_start_with_the_right_that_is_missing,
    a_right_that_is_granted_later_is_noticed,
);

/// The settings with a token that has this policy.
fn with_policy(server: &Server, rules: &str, config: Config) -> Config {
    server.policy("narrow", rules);
    Config { login: Login::Token(Secret::from(server.make_token("narrow", "1h"))), ..config }
}

/// Creates a key, reads it, lists it and deletes it.
async fn use_a_key(store: &Arc<dyn Store>, key: &str) {
    store.create(&name(key), &value("x")).await.unwrap();
    assert!(matches!(store.create(&name(key), &value("y")).await, Err(StoreError::AlreadyExists)));
    assert_eq!(store.get(&name(key)).await.unwrap(), value("x"));
    store.delete(&name(key)).await.unwrap();
}

async fn a_policy_without_list_can_use_keys_of_version_1_and_says_what_a_create_needs(program: Program) {
    let server = start(program).await;
    server.root("PUT", "kv1/old", &json!({"old": "x"}));
    let rules = r#"path "kv1/*" { capabilities = ["create", "read", "delete"] }"#;
    let store = open(with_policy(&server, rules, config(&server, "kv1", KvVersion::V1))).await;
    store.ping().await.unwrap();
    assert_eq!(store.get(&name("old")).await.unwrap(), value("x"));
    let missing = store.missing_rights().unwrap();
    for words in ["`list` on 'kv1/', to list keys", "`list` on 'kv1/.keyway/claims/*', to create keys"] {
        assert!(missing.contains(words), "{missing}");
    }
    assert!(!missing.contains("`read`") && !missing.contains("`create`") && !missing.contains("`delete`"), "{missing}");
    let error = store.create(&name("new"), &value("x")).await.unwrap_err().to_string();
    assert!(error.contains("needs `list` on 'kv1/.keyway/claims/*'"), "{error}");
    let error = store.list("", None, 9).await.unwrap_err().to_string();
    assert!(error.contains("needs `list` on 'kv1/'"), "{error}");
    store.delete(&name("old")).await.unwrap();
}

async fn a_policy_by_the_names_of_keys_is_enough_on_version_2(program: Program) {
    let server = start(program).await;
    let rules = r#"
        path "kv2/data/minio-*" { capabilities = ["create", "read"] }
        path "kv2/metadata/minio-*" { capabilities = ["delete"] }"#;
    let store = open(with_policy(&server, rules, config(&server, "kv2", KvVersion::V2))).await;
    store.ping().await.unwrap();
    use_a_key(&store, "minio-key").await;
    let error = store.get(&name("other")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("needs `read` on 'kv2/data/other'")),
        "{error}"
    );
    let missing = store.missing_rights().unwrap();
    assert!(missing.contains("`list` on 'kv2/metadata/', to list keys") && !missing.contains("create"), "{missing}");
}

async fn a_policy_by_the_names_of_keys_lacks_the_claims_of_version_1(program: Program) {
    let server = start(program).await;
    server.root("PUT", "kv1/p/minio-old", &json!({"minio-old": "x"}));
    let rules = r#"path "kv1/p/minio-*" { capabilities = ["create", "read", "delete"] }"#;
    let config = Config { prefix: "p".into(), ..config(&server, "kv1", KvVersion::V1) };
    let store = open(with_policy(&server, rules, config)).await;
    store.ping().await.unwrap();
    assert_eq!(store.get(&name("minio-old")).await.unwrap(), value("x"));
    let missing = store.missing_rights().unwrap();
    assert!(missing.contains("`create` on 'kv1/p/.keyway/claims/*', to create keys"), "{missing}");
    let error = store.create(&name("minio-new"), &value("x")).await.unwrap_err().to_string();
    assert!(error.contains("needs `create` on 'kv1/p/.keyway/claims/*'"), "{error}");
    // What the message says is enough.
    let rules =
        format!("{rules}\npath \"kv1/p/.keyway/claims/*\" {{ capabilities = [\"create\", \"list\", \"delete\"] }}");
    server.policy("narrow", &rules);
    use_a_key(&store, "minio-new").await;
}

async fn the_documented_policies_lack_nothing(program: Program) {
    let server = start(program).await;
    // As in BACKENDS.md.
    for (engine, version, rules) in [
        ("kv1", KvVersion::V1, r#"path "kv1/p/*" { capabilities = ["create", "read", "delete", "list"] }"#),
        (
            "kv2",
            KvVersion::V2,
            r#"path "kv2/data/p/*" { capabilities = ["create", "read"] }
               path "kv2/metadata/p/*" { capabilities = ["delete", "list"] }"#,
        ),
    ] {
        let rules = format!(
            "{rules}\npath \"transit/encrypt/kes\" {{ capabilities = [\"update\"] }}\n\
             path \"transit/decrypt/kes\" {{ capabilities = [\"update\"] }}"
        );
        let config = Config { prefix: "p".into(), transit: transit("kes"), ..config(&server, engine, version) };
        let store = open(with_policy(&server, &rules, config)).await;
        assert_eq!(store.missing_rights(), None, "{engine}");
        use_a_key(&store, "k").await;
        assert_eq!(store.list("", None, 9).await.unwrap(), []);
    }
}

async fn a_policy_that_allows_to_read_nothing_ends_the_start_with_the_right_that_is_missing(program: Program) {
    let server = start(program).await;
    let rules = r#"path "kv1/other/*" { capabilities = ["create", "read", "delete", "list"] }"#;
    let config = Config { prefix: "p".into(), ..config(&server, "kv1", KvVersion::V1) };
    let error = start_error(with_policy(&server, rules, config)).await;
    assert!(
        matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("needs `read` on 'kv1/p/*'")),
        "{error}"
    );
}

async fn a_right_that_is_granted_later_is_noticed(program: Program) {
    let server = start(program).await;
    let rules = r#"path "kv1/*" { capabilities = ["create", "read", "delete"] }"#;
    let store = open(with_policy(&server, rules, config(&server, "kv1", KvVersion::V1))).await;
    assert!(store.missing_rights().is_some());
    server.policy("narrow", r#"path "kv1/*" { capabilities = ["create", "read", "delete", "list"] }"#);
    store.ping().await.unwrap();
    assert_eq!(store.missing_rights(), None);
    use_a_key(&store, "k").await;
    assert_eq!(server.call(&server.token, "LIST", "kv1", &Json::Null).0, 404);
}
