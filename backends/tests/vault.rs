//! The Vault backend on the real thing, each test on OpenBao and on HashiCorp Vault.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::services::vault::{Program, Server};
use backends::vault::{Config, Credential, KvVersion, Login, Tls, Transit, Vault};
use backends::{BackendConfig, Name, Secret, Store, StoreError, Value, conformance};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Runs each test on both servers.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod openbao {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() { super::$test(super::Program::OpenBao).await; })*
        }
        mod hashicorp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() { super::$test(super::Program::Vault).await; })*
        }
    };
}

on_both!(
    the_suite_passes_on_kv_v1,
    the_suite_passes_on_kv_v2,
    the_suite_passes_on_kv_v2_with_transit,
    the_suite_passes_on_kv_v1_with_transit,
    all_kinds_of_engine_answer_alike,
    keys_of_kes_are_read_and_ours_look_like_those,
    a_rotated_transit_key_and_rewrapped_values_change_nothing,
    values_of_another_transit_setting_are_told,
    a_deleted_version_is_withheld_and_comes_back_by_the_command_in_the_message,
    the_newest_version_is_read,
    foreign_content_is_damaged_and_never_overwritten,
    a_listing_leaves_out_folders_and_names_that_are_none,
    an_engine_that_is_gone_or_replaced_is_not_an_absent_key,
    the_wrong_engine_or_version_or_address_is_told_at_start,
    a_login_that_cannot_work_is_told_at_start,
    a_missing_transit_key_is_told_and_not_made,
    a_server_that_is_not_initialised_or_sealed_is_told_so,
    an_approle_with_the_policy_of_kes_can_do_everything,
    a_revoked_token_costs_one_login_and_no_failure,
    a_token_of_a_few_seconds_is_kept_alive_without_a_storm,
    a_policy_that_forbids_is_no_reason_to_log_in_all_the_time,
    a_secret_id_file_is_read_at_each_login,
    a_token_file_is_read_again,
    a_revoked_static_token_is_unavailable,
    a_token_of_our_own_is_revoked_on_close_and_that_of_the_operator_is_not,
    sealing_is_told_and_unsealing_is_noticed,
    a_restart_is_noticed,
    a_frozen_server_is_unreachable_within_the_deadline,
    a_create_whose_answer_is_cut_is_read_back,
    a_redirect_of_a_standby_is_followed_and_no_other,
    a_jwt_of_another_issuer_logs_in,
    a_kubernetes_service_account_logs_in,
    one_wins_each_race_of_two_nodes_on_kv_v1,
    one_wins_each_race_of_two_nodes_on_kv_v2,
    a_claim_that_was_left_behind_is_removed_in_time,
    tls_trusts_the_given_authority_alone_and_the_certificate_logs_in,
    nothing_secret_is_logged_or_told,
);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::from(text.as_bytes().to_vec())
}

fn config(server: &Server, engine: &str, version: KvVersion) -> Config {
    Config {
        endpoint: server.url(),
        engine: engine.to_owned(),
        version,
        namespace: None,
        prefix: String::new(),
        transit: None,
        login: Login::Token(Secret::from(server.token.clone())),
        tls: Tls::default(),
    }
}

async fn open(config: Config) -> Arc<dyn Store> {
    backends::open(&BackendConfig::Vault(Box::new(config))).await.unwrap()
}

async fn start_error(config: Config) -> StoreError {
    Vault::open(&config).await.expect_err("must not start")
}

/// Starts a server with `kv1`, `kv2` and `transit/kes`.
async fn start(program: Program) -> Server {
    let server = Server::start(program).await;
    server.enable_kv("kv1", 1).await;
    server.enable_kv("kv2", 2).await;
    server.enable_transit("transit", "kes");
    server
}

#[expect(clippy::unnecessary_wraps, reason = "it is the value of an optional field")]
fn transit(key: &str) -> Option<Transit> {
    Some(Transit { engine: "transit".into(), key: key.into() })
}

fn approle(ids: &(String, String)) -> Login {
    Login::AppRole {
        engine: "approle".into(),
        namespace: None,
        id: ids.0.clone(),
        secret: Credential::Text(Secret::from(ids.1.clone())),
    }
}

/// What KES's documentation tells operators to allow, for both versions.
const POLICY: &str = r#"
    path "kv1/*" { capabilities = ["create", "read", "delete", "list"] }
    path "kv2/data/*" { capabilities = ["create", "read"] }
    path "kv2/metadata/*" { capabilities = ["list", "delete"] }
    path "transit/encrypt/kes" { capabilities = ["update"] }
    path "transit/decrypt/kes" { capabilities = ["update"] }
"#;

async fn suite(program: Program, of: impl Fn(&Server) -> Config) {
    let server = start(program).await;
    let stores = AtomicUsize::new(0);
    conformance::run(async || {
        let prefix = format!("suite/{}", stores.fetch_add(1, Ordering::Relaxed));
        open(Config { prefix, ..of(&server) }).await
    })
    .await;
    conformance::survives_reopening(async || open(Config { prefix: "reopened".into(), ..of(&server) }).await).await;
}

async fn the_suite_passes_on_kv_v1(program: Program) {
    suite(program, |server| config(server, "kv1", KvVersion::V1)).await;
}

async fn the_suite_passes_on_kv_v2(program: Program) {
    suite(program, |server| config(server, "kv2", KvVersion::V2)).await;
}

async fn the_suite_passes_on_kv_v2_with_transit(program: Program) {
    suite(program, |server| Config { transit: transit("kes"), ..config(server, "kv2", KvVersion::V2) }).await;
}

async fn the_suite_passes_on_kv_v1_with_transit(program: Program) {
    suite(program, |server| Config { transit: transit("kes"), ..config(server, "kv1", KvVersion::V1) }).await;
}

async fn all_kinds_of_engine_answer_alike(program: Program) {
    let server = start(program).await;
    let (v1, v2) = (config(&server, "kv1", KvVersion::V1), config(&server, "kv2", KvVersion::V2));
    let stores = vec![
        backends::open(&BackendConfig::Memory).await.unwrap(),
        open(v1.clone()).await,
        open(v2.clone()).await,
        open(Config { prefix: "with a/prefix%2F?#".into(), ..v2.clone() }).await,
        open(Config { prefix: "sealed".into(), transit: transit("kes"), ..v2 }).await,
    ];
    conformance::differential(stores, 7, 400).await;
}

async fn keys_of_kes_are_read_and_ours_look_like_those(program: Program) {
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
    // Nothing is left beside the keys.
    assert_eq!(server.root("LIST", "kv1/p", &Json::Null)["data"]["keys"], json!(["new-key", "old-key"]));
}

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
    // A version of the transit key that may not be used any more is no reason to call the key absent.
    for _ in 0..2 {
        server.root("POST", "transit/keys/kes/rotate", &json!({}));
    }
    server.root("POST", "transit/keys/kes/config", &json!({"min_decryption_version": 3, "min_encryption_version": 3}));
    let error = store.get(&after).await.unwrap_err();
    assert!(matches!(&error, StoreError::Withheld { reason } if reason.contains("min_decryption_version")), "{error}");
    assert!(matches!(store.create(&after, &value("x")).await, Err(StoreError::AlreadyExists)));
}

async fn values_of_another_transit_setting_are_told(program: Program) {
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
        (&other, "sealed", "of another transit key"),
    ] {
        let error = store.get(&name(key)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { reason } if reason.contains(words)), "{error}");
    }
}

async fn a_deleted_version_is_withheld_and_comes_back_by_the_command_in_the_message(program: Program) {
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
    // Whoever deletes it by its name wants it gone, and then the name is free.
    store.delete(&key).await.unwrap();
    store.create(&key, &value("three")).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), value("three"));
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

async fn a_listing_leaves_out_folders_and_names_that_are_none(program: Program) {
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
        all("was replaced or changed since the start").await;
        server.root("DELETE", &format!("sys/mounts/{engine}"), &Json::Null);
        server.enable_kv(engine, 3 - number).await;
        all("engine").await;
    }
}

async fn the_wrong_engine_or_version_or_address_is_told_at_start(program: Program) {
    let server = start(program).await;
    let restricted = server.approle("kes", "kes", "0", "0");
    server.policy("kes", POLICY);
    for login in [Login::Token(Secret::from(server.token.clone())), approle(&restricted)] {
        let config = |engine, version| Config { login: login.clone(), ..config(&server, engine, version) };
        for (config, words) in [
            (config("kv1", KvVersion::V2), "the engine is KV v1; set version: v1"),
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

async fn a_login_that_cannot_work_is_told_at_start(program: Program) {
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
        (Login::Token(Secret::from("hvs.wrong".to_owned())), "it refuses the token"),
        (Login::Token(Secret::from("line\nbreak".to_owned())), "characters that no token has"),
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
    for (ca, words) in [("/absent/ca.pem", "/absent/ca.pem"), ("/dev/null", "holds no PEM certificate")] {
        let tls = Tls { ca: Some(ca.into()), ..Tls::default() };
        let error = start_error(Config { tls, ..config(&server, "kv1", KvVersion::V1) }).await.to_string();
        assert!(error.contains(words), "{error}");
    }
}

async fn a_missing_transit_key_is_told_and_not_made(program: Program) {
    let server = start(program).await;
    let error = start_error(Config { transit: transit("absent"), ..config(&server, "kv2", KvVersion::V2) }).await;
    assert!(error.to_string().contains("vault write -f transit/keys/absent"), "{error}");
    assert_eq!(server.call(&server.token, "GET", "transit/keys/absent", &Json::Null).0, 404);
    let nowhere = Some(Transit { engine: "absent".into(), key: "kes".into() });
    let error = start_error(Config { transit: nowhere, ..config(&server, "kv2", KvVersion::V2) }).await;
    assert!(error.to_string().contains("nothing is mounted there"), "{error}");
}

async fn a_server_that_is_not_initialised_or_sealed_is_told_so(program: Program) {
    let server = Server::start_raw(program).await;
    let config = Config { login: approle(&("a".into(), "b".into())), ..config(&server, "kv1", KvVersion::V1) };
    let error = start_error(config).await;
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("not initialised")), "{error}");
    let server = start(program).await;
    server.seal();
    let error = start_error(self::config(&server, "kv1", KvVersion::V1)).await;
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("sealed")), "{error}");
}

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

async fn a_token_of_a_few_seconds_is_kept_alive_without_a_storm(program: Program) {
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
        // One of them is the root token's.
        assert!(logins.len() - 1 <= 11, "{} logins in 15 s with {role}", logins.len() - 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_policy_that_forbids_is_no_reason_to_log_in_all_the_time(program: Program) {
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
    // And when the policy is mended, it works again.
    server.policy("kes", POLICY);
    assert!(matches!(store.get(&name("k")).await, Err(StoreError::NotFound)));
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
    // While Vault is still removing the secret id, it answers 500 in place of 400.
    let told = |reason: &str| reason.contains("AppRole") || reason.contains("invalid secret id");
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if told(reason)), "{error}");
    assert!(!error.to_string().contains(&secret), "{error}");
    std::fs::write(&file, server.secret_id("kes")).unwrap();
    store.ping().await.unwrap();
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
    // A token of the operator is renewed, too.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
}

async fn a_revoked_static_token_is_unavailable(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let token = server.make_token("kes", "1h");
    let login = Login::Token(Secret::from(token.clone()));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    server.root("POST", "auth/token/revoke", &json!({"token": token}));
    for error in [
        store.get(&name("k")).await.unwrap_err(),
        store.ping().await.unwrap_err(),
        store.create(&name("k"), &value("x")).await.unwrap_err(),
        store.delete(&name("k")).await.unwrap_err(),
        store.list("", None, 9).await.unwrap_err(),
    ] {
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Unavailable { .. }) && text.contains("revoked or has ended"), "{text}");
        assert!(!text.contains(&token), "{text}");
    }
}

async fn a_token_of_our_own_is_revoked_on_close_and_that_of_the_operator_is_not(program: Program) {
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

/// How long it takes until a read works.
async fn recovery(store: &Arc<dyn Store>, key: &Name) -> Duration {
    let start = Instant::now();
    loop {
        match store.get(key).await {
            Ok(found) => {
                assert_eq!(found, value("x"));
                return start.elapsed();
            }
            Err(error) => assert!(!matches!(error, StoreError::NotFound | StoreError::Damaged { .. }), "{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(30), "does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sealing_is_told_and_unsealing_is_noticed(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv1", KvVersion::V1) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    server.seal();
    for error in [
        store.get(&name("k")).await.unwrap_err(),
        store.ping().await.unwrap_err(),
        store.create(&name("l"), &value("x")).await.unwrap_err(),
        store.delete(&name("k")).await.unwrap_err(),
        store.list("", None, 9).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unavailable { .. }) && text.contains("the server is sealed"), "{text}");
    }
    server.unseal().await;
    assert!(recovery(&store, &name("k")).await < Duration::from_secs(5));
    store.create(&name("l"), &value("y")).await.unwrap();
}

async fn a_restart_is_noticed(program: Program) {
    let mut server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    server.stop();
    for error in [
        store.get(&name("k")).await.unwrap_err(),
        store.ping().await.unwrap_err(),
        store.create(&name("l"), &value("x")).await.unwrap_err(),
        store.delete(&name("k")).await.unwrap_err(),
        store.list("", None, 9).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    }
    server.restart().await;
    assert!(recovery(&store, &name("k")).await < Duration::from_secs(5));
    store.create(&name("l"), &value("y")).await.unwrap();
}

async fn a_frozen_server_is_unreachable_within_the_deadline(program: Program) {
    let server = start(program).await;
    for (engine, version) in [("kv1", KvVersion::V1), ("kv2", KvVersion::V2)] {
        let store = open(config(&server, engine, version)).await;
        store.create(&name("k"), &value("x")).await.unwrap();
        server.freeze();
        let began = Instant::now();
        let (key, new, x) = (name("k"), name("new"), value("x"));
        let (get, create, ping) = tokio::join!(store.get(&key), store.create(&new, &x), store.ping());
        for error in [get.unwrap_err(), create.unwrap_err(), ping.unwrap_err()] {
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        }
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        server.thaw();
        assert!(recovery(&store, &key).await < Duration::from_secs(5));
        // Whatever became of the create, the name can be used again, and has one value.
        let start = Instant::now();
        loop {
            match store.create(&new, &value("y")).await {
                Ok(()) => assert_eq!(store.get(&new).await.unwrap(), value("y")),
                Err(StoreError::AlreadyExists) => assert_eq!(store.get(&new).await.unwrap(), value("x")),
                Err(error) => {
                    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                    assert!(start.elapsed() < Duration::from_secs(13), "{error}");
                    continue;
                }
            }
            break;
        }
    }
}

/// A proxy for plain HTTP. Forwards requests and cuts the connection instead of forwarding the answer, as long as
/// `cuts` lasts, of those that hold `needle`.
struct Proxy {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(upstream: u16, needle: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, cuts) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let left = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, cuts) = (TcpStream::connect(("127.0.0.1", upstream)).await.unwrap(), left.clone());
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let (mut request, mut answer) = (vec![0; 65536], vec![0; 65536]);
                    let mut cut = false;
                    loop {
                        tokio::select! {
                            Ok(len @ 1..) = from_client.read(&mut request) => {
                                let lasts = |left: usize| left.checked_sub(1);
                                cut = String::from_utf8_lossy(&request[..len]).contains(needle)
                                    && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lasts).is_ok();
                                to_server.write_all(&request[..len]).await.unwrap();
                            }
                            Ok(len @ 1..) = from_server.read(&mut answer) => {
                                if cut || to_client.write_all(&answer[..len]).await.is_err() {
                                    break;
                                }
                            }
                            else => break,
                        }
                    }
                });
            }
        });
        Self { port, cuts }
    }
}

async fn a_create_whose_answer_is_cut_is_read_back(program: Program) {
    let server = start(program).await;
    for (engine, version, needle) in
        [("kv1", KvVersion::V1, "POST /v1/kv1/key"), ("kv2", KvVersion::V2, "POST /v1/kv2/data/key")]
    {
        let proxy = Proxy::start(server.port(), needle).await;
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        let store = open(Config { endpoint, ..config(&server, engine, version) }).await;
        for number in 0..5 {
            proxy.cuts.store(1, Ordering::SeqCst);
            let key = name(&format!("key-{number}"));
            store.create(&key, &value("ours")).await.unwrap();
            assert_eq!(proxy.cuts.load(Ordering::SeqCst), 0, "nothing was cut");
            assert_eq!(store.get(&key).await.unwrap(), value("ours"));
            assert!(matches!(store.create(&key, &value("other")).await, Err(StoreError::AlreadyExists)));
        }
        store.close().await;

        let reads = if version == KvVersion::V1 { "GET /v1/kv1/key" } else { "GET /v1/kv2/data/key" };
        let proxy = Proxy::start(server.port(), reads).await;
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        let store = open(Config { endpoint, ..config(&server, engine, version) }).await;
        proxy.cuts.store(1, Ordering::SeqCst);
        assert_eq!(store.get(&name("key-0")).await.unwrap(), value("ours"));
        proxy.cuts.store(1000, Ordering::SeqCst);
        for error in [
            store.get(&name("key-0")).await.unwrap_err(),
            store.create(&name("key-0"), &value("x")).await.unwrap_err(),
            store.delete(&name("key-0")).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        }
        proxy.cuts.store(0, Ordering::SeqCst);
        assert_eq!(store.get(&name("key-0")).await.unwrap(), value("ours"));
    }
}

/// A standby that does not forward: it answers every request with a redirect to `target`, `PATH` being the request's.
async fn standby(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 65536];
            let len = client.read(&mut request).await.unwrap();
            let path = String::from_utf8_lossy(&request[..len]).split(' ').nth(1).unwrap_or("/").to_owned();
            let location = target.replace("PATH", &path);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://127.0.0.1:{port}")
}

async fn a_redirect_of_a_standby_is_followed_and_no_other(program: Program) {
    let server = start(program).await;
    for (engine, version) in [("kv1", KvVersion::V1), ("kv2", KvVersion::V2)] {
        let endpoint = standby(format!("{}PATH", server.url())).await;
        let store = open(Config { endpoint, ..config(&server, engine, version) }).await;
        store.create(&name("k"), &value("x")).await.unwrap();
        assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
        assert_eq!(store.list("", None, 9).await.unwrap(), [name("k")]);
    }
    let to_another_path = format!("{}/elsewherePATH", server.url());
    let to_another_scheme = format!("https://127.0.0.1:{}PATH", server.port());
    let twice = format!("{}PATH", standby(format!("{}PATH", server.url())).await);
    for target in [to_another_path, to_another_scheme, twice] {
        let endpoint = standby(target).await;
        let error = start_error(Config { endpoint, ..config(&server, "kv2", KvVersion::V2) }).await;
        assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("redirects")), "{error}");
    }
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

/// A Kubernetes API that knows one thing: the service account `keyway` in the namespace `minio`.
async fn kubernetes_api() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 65536];
            let len = client.read(&mut request).await.unwrap();
            assert!(String::from_utf8_lossy(&request[..len]).contains("/tokenreviews"));
            let user = json!({"username": "system:serviceaccount:minio:keyway", "uid": "u-1", "groups": []});
            let body = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "status": {"authenticated": true, "user": user},
            });
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

async fn a_kubernetes_service_account_logs_in(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let api = format!("http://127.0.0.1:{}", kubernetes_api().await);
    server.root("POST", "sys/mounts/pki", &json!({"type": "pki"}));
    // It is wanted, and not used over plain HTTP.
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

/// 100 names, two nodes, eight tasks on each, all at once.
async fn race(program: Program, engine: &str, version: KvVersion) {
    const NAMES: usize = 100;
    let server = start(program).await;
    let nodes = [open(config(&server, engine, version)).await, open(config(&server, engine, version)).await];
    let start = Arc::new(Barrier::new(16));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (store, start) = (nodes[task % 2].clone(), start.clone());
        tasks.spawn(async move {
            let mut won = Vec::new();
            for number in 0..NAMES {
                start.wait().await;
                match store.create(&name(&format!("key-{number}")), &value(&format!("{number} by {task}"))).await {
                    Ok(()) => won.push((number, task)),
                    Err(StoreError::AlreadyExists) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let winners: HashMap<usize, usize> = won.iter().copied().collect();
    assert_eq!((won.len(), winners.len()), (NAMES, NAMES));
    for (number, winner) in winners {
        for node in &nodes {
            let got = node.get(&name(&format!("key-{number}"))).await.unwrap();
            assert_eq!(got, value(&format!("{number} by {winner}")));
        }
    }
    if version == KvVersion::V1 {
        let left = server.call(&server.token, "LIST", &format!("{engine}/.keyway/claims"), &Json::Null);
        assert_eq!(left.0, 404, "claims are left: {}", left.1);
    }
}

async fn one_wins_each_race_of_two_nodes_on_kv_v1(program: Program) {
    race(program, "kv1", KvVersion::V1).await;
}

async fn one_wins_each_race_of_two_nodes_on_kv_v2(program: Program) {
    race(program, "kv2", KvVersion::V2).await;
}

async fn a_claim_that_was_left_behind_is_removed_in_time(program: Program) {
    let server = start(program).await;
    server.root("POST", "kv1/.keyway/claims/k/0000000000001-dead", &json!({"claim": "of a node that died"}));
    let store = open(config(&server, "kv1", KvVersion::V1)).await;
    let start = Instant::now();
    let error = store.create(&name("k"), &value("x")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("under way")), "{error}");
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

async fn tls_trusts_the_given_authority_alone_and_the_certificate_logs_in(program: Program) {
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
    let nobody = Config { tls: Tls { cert: None, key: None, ..tls.clone() }, ..good.clone() };
    assert!(matches!(start_error(nobody).await, StoreError::Unavailable { .. }));
    let half = Config { tls: Tls { key: None, ..tls }, ..good };
    assert!(start_error(half).await.to_string().contains("belong together"));
    let plain_to_tls = Config { endpoint: server.tls_url().replace("https", "http"), ..plain };
    assert!(matches!(start_error(plain_to_tls).await, StoreError::Unavailable { .. }));
}

/// Everything that anyone logs in this process, from TRACE upwards.
#[derive(Default)]
struct Logged(Mutex<String>);

impl Logged {
    fn global() -> &'static Self {
        static LOGGED: OnceLock<&'static Logged> = OnceLock::new();
        LOGGED.get_or_init(|| {
            let logged: &'static Self = Box::leak(Box::default());
            tracing::subscriber::set_global_default(Recorder(logged)).unwrap();
            logged
        })
    }
}

struct Recorder(&'static Logged);

impl tracing::Subscriber for Recorder {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Fields(self.0, span.metadata().target()));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Fields(self.0, "span"));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields(self.0, event.metadata().target()));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Fields<'a>(&'static Logged, &'a str);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0.0.lock().unwrap(), "{} {field}={value:?}", self.1).unwrap();
    }
}

async fn nothing_secret_is_logged_or_told(program: Program) {
    let logged = Logged::global();
    let server = start(program).await;
    server.policy("kes", POLICY);
    let ids = server.approle("kes", "kes", "2s", "4s");
    let config = Config { login: approle(&ids), transit: transit("kes"), ..config(&server, "kv2", KvVersion::V2) };
    let mut told = format!("{config:?}");
    let vault = Vault::open(&config).await.unwrap();
    let (key, secret) = (name("k"), value("Pl4inKeyMaterial"));
    vault.create(&key, &secret).await.unwrap();
    let mut note = |text: String| told.push_str(&text);
    note(format!("{vault:?} {:?}", vault.create(&key, &secret).await));
    note(format!("{:?} {:?}", vault.get(&name("absent")).await, vault.get(&key).await));
    let sealed = server.root("GET", "kv2/data/k", &Json::Null)["data"]["data"]["k"].as_str().unwrap().to_owned();
    server.root("POST", "kv2/data/foreign", &json!({"data": {"other": "F0reignSecret"}}));
    note(format!("{:?}", vault.get(&name("foreign")).await));
    server.revoke_all();
    note(format!("{:?}", vault.ping().await));
    server.root("DELETE", "auth/approle/role/kes", &Json::Null);
    server.revoke_all();
    note(format!("{:?}", vault.get(&key).await));
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.seal();
    note(format!("{:?}", vault.get(&key).await));
    let logs = logged.0.lock().unwrap().clone();
    assert!(logs.contains("cannot log in to Vault anew"), "the recorder does not record");
    for (what, text) in [("told", &told), ("logged", &logs)] {
        for secret in [&ids.1, &server.token, "Pl4inKeyMaterial", "F0reignSecret", &sealed, "hvs.", "s.AAAA"] {
            assert!(!text.contains(secret), "{what}: {secret} in {text}");
        }
    }
    for noisy in ["vaultrs", "rustify"] {
        assert!(!logs.lines().any(|line| line.starts_with(noisy)), "{noisy} logs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_openbao_is_a_place_of_its_own() {
    let server = Server::start(Program::OpenBao).await;
    server.enable_kv("kv", 2).await;
    server.root("POST", "sys/namespaces/team-a", &json!({}));
    server.root("POST", "team-a@sys/mounts/kv", &json!({"type": "kv", "options": {"version": "2"}}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let root = config(&server, "kv", KvVersion::V2);
    let team = Config { namespace: Some("team-a".into()), ..root.clone() };
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
        // Longer than a token lives: renewal is asked of the namespace of the login.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(store.get(&name("k")).await.unwrap(), value("team"));
        store.close().await;
    }
}
