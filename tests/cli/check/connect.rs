//! `--connect`: logs in and reads once, and creates nothing.

use std::fs;

use serde_json::Value;

use super::{chmod, dir, with_keystore, write};
use crate::services::postgres::Postgres;
use crate::services::vault::Program;
use crate::support::program::{Ended, run};
use crate::support::server::unique;
use crate::support::stores::{self, Kv};

/// Checks a config with this keystore, and asks it.
fn connect(dir: &std::path::Path, keystore: &str, options: &[&str]) -> Ended {
    let file = write(dir, &with_keystore(&keystore.trim_end().replace('\n', "\n  ")));
    run([&["check", "--connect"], options, &[file.to_str().unwrap()]].concat())
}

#[test]
fn a_keystore_that_answers_is_reported_with_its_time() {
    let dir = dir();
    fs::create_dir(dir.path().join("keys")).unwrap();
    chmod(&dir.path().join("keys"), 0o700);
    for (keystore, kind) in [("fs: {path: @dir@/keys}", "fs"), ("memory: {}", "memory")] {
        let ended = connect(dir.path(), keystore, &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let said = format!("config.yml: ok; the keystore ({kind}) answered in ");
        assert!(ended.stdout.contains(&said) && ended.stdout.ends_with(" ms\n"), "{ended:?}");
    }
    let ended = connect(dir.path(), "fs: {path: @dir@/keys}", &["--json"]);
    let parsed: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(parsed["ok"] == true && parsed["keystore"]["answered_in_ms"].is_u64(), "{parsed}");
    assert_eq!(parsed["keystore"]["kind"], "fs");
}

#[test]
fn a_keystore_that_does_not_exist_is_one_warning_and_is_not_created() {
    let dir = dir();
    for keystore in ["fs: {path: @dir@/keys}", "sqlite: {path: @dir@/keys.db}"] {
        let ended = connect(dir.path(), keystore, &[]);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:?}");
        assert!(ended.stderr.contains("does not exist yet") && ended.stdout.ends_with(": ok\n"), "{ended:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "config, certificate and key");
    }
}

#[test]
fn a_schema_that_does_not_exist_is_a_warning_and_is_not_created() {
    let (dir, service, schema) = (dir(), Postgres::start(), unique());
    let keystore = stores::postgres(service.address(), &schema);
    for _ in 0..2 {
        let ended = connect(dir.path(), &keystore, &[]);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:?}");
        let warning = "warning: ";
        assert!(ended.stderr.starts_with(warning) && ended.stderr.contains(":8:3: keystore.postgres: "), "{ended:?}");
        assert!(ended.stderr.contains("does not exist"), "{ended:?}");
    }
    let ended = connect(dir.path(), &keystore.replace("password: ", "password: x"), &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("error: ") && ended.stderr.contains("check user and password"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_to_vault_that_works_and_one_that_does_not_are_told_apart() {
    let (dir, service) = (dir(), stores::start(Program::OpenBao).await);
    let keystore = stores::vault(&service, &service.url(), Kv::V2, &unique());
    let before = service.accessors().len();
    let ended = connect(dir.path(), &keystore, &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.contains("the keystore (vault) answered in "), "{ended:?}");
    assert_eq!(service.accessors().len(), before, "the token of the login is revoked");

    fs::write(dir.path().join("token"), "wrong").unwrap();
    chmod(&dir.path().join("token"), 0o600);
    let login = format!("vault: {{endpoint: '{}', token_file: @dir@/token}}", service.url());
    let ended = connect(dir.path(), &login, &[]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.lines().count()), (Some(1), "", 1), "{ended:?}");
    assert!(ended.stderr.contains("error: ") && ended.stderr.contains("config.yml:8:3: keystore.vault: "), "{ended:?}");
    assert!(!ended.stderr.contains("wrong"), "{ended:?}");
}

#[test]
fn a_keystore_without_an_answer_is_an_error_and_one_with_a_wrong_file_is_not_asked() {
    let dir = dir();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = connect(dir.path(), &format!("vault: {{endpoint: 'http://{unused}', token: t}}"), &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("config.yml:8:3: keystore.vault: ") && ended.stderr.contains("refused"), "{ended:?}");
    let ended = connect(dir.path(), &format!("vault: {{endpoint: 'http://{unused}', token_file: @dir@/none}}"), &[]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains("keystore.vault.token_file: "), "{ended:?}");
}
