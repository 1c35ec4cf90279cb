//! A keystore that is not ready when the server starts, and the flags of old start lines.

use std::time::Duration;

use crate::services::ports::four_free;
use crate::services::postgres::Postgres;
use crate::services::proxy::{Mode, Proxy};
use crate::services::vault::Program as Vault;
use crate::support::program::{Program, run};
use crate::support::server::unique;
use crate::support::stores::{self, Kv};
use crate::support::{Server, Setup, until};

/// Waits for the answer of a path.
async fn answers(server: &Server, path: &str, status: u16) {
    let missing = || format!("{path} does not answer {status}:\n{}", server.log());
    until(Duration::from_secs(20), missing, || async { server.get(path).await.status == status }).await;
}

/// A server on this store that creates the key `first`.
fn with_a_key(keystore: String) -> Server {
    Server::with(Setup { keystore, extra: "keys:\n- name: first".to_owned(), ..Setup::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_vault_is_waited_for() {
    let vault = stores::start(Vault::OpenBao).await;
    let keystore = stores::vault(&vault, &vault.url(), Kv::V2, &unique());
    vault.seal();
    let server = with_a_key(keystore);
    let ready = server.get("/v1/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("sealed"), "{}", ready.text());
    assert!(matches!(server.put("/v1/key/create/my-key", None).await.status, 502 | 503));
    vault.unseal().await;
    answers(&server, "/v1/ready", 200).await;
    answers(&server, "/v1/key/describe/first", 200).await;
    assert_eq!(server.put("/v1/key/create/my-key", None).await.status, 200);
    let waits = server.log().matches("is not ready").count();
    assert_eq!(waits, 1, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_reachable_is_waited_for_and_reports_changes_later() {
    let postgres = Postgres::start();
    let proxy = Proxy::start(postgres.address()).await;
    proxy.set(Mode::Refuse);
    let schema = unique();
    let server = with_a_key(stores::postgres(proxy.address(), &schema));
    let ready = server.get("/v1/ready").await;
    assert_eq!(ready.status, 504, "{}", ready.text());
    proxy.set(Mode::Pass);
    answers(&server, "/v1/ready", 200).await;
    answers(&server, "/v1/key/describe/first", 200).await;
    // A delete on another gateway reaches the cache of this one.
    let other = Server::on(&stores::postgres(postgres.address(), &schema));
    other.request(&other.admin, reqwest::Method::DELETE, "/v1/key/delete/first", None).await;
    answers(&server, "/v1/key/describe/first", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_keys_is_named_in_a_warning_whatever_made_it() {
    let postgres = Postgres::start();
    let schema = unique();
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    for (keystore, first, second) in [
        (
            format!("fs: {{path: {}}}", keys.display()),
            "the key directory contains no keys",
            "the key directory contains no keys",
        ),
        (
            "sqlite: {path: @dir@/keys.db}".to_owned(),
            "created a new, empty key database",
            "the key database contains no keys",
        ),
        (
            stores::postgres(postgres.address(), &schema),
            "created a new, empty key table",
            "the key table contains no keys",
        ),
    ] {
        let mut server = Server::on(&keystore);
        server.logged(&format!("WARN {first}")).await;
        server.restart();
        server.logged(&format!("WARN {second}")).await;
        assert_eq!(server.put("/v1/key/create/my-key", None).await.status, 200);
        server.restart();
        server.assert_serves().await;
        assert!(!server.log().contains(second), "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_startup_fail_and_for_what_waiting_does_not_heal_the_start_ends() {
    let port = four_free();
    let vault = stores::start(Vault::OpenBao).await;
    let server = Server::start();
    let config = std::fs::read_to_string(server.dir.path().join("config.yml")).unwrap();
    let (head, _) = config.split_once("keystore:").unwrap();
    let token = |url: &str, token: &str, engine: &str| {
        format!("vault: {{endpoint: '{url}', engine: {engine}, version: v2, token: {token}}}")
    };
    let gone = format!("http://127.0.0.1:{port}");
    for (extra, keystore, said) in [
        ("startup: fail\n", token(&gone, "x", "kv"), "cannot connect"),
        ("", token(&vault.url(), "wrong", "kv"), "the token is not valid"),
        ("", token(&vault.url(), "root", "nowhere"), "nowhere"),
    ] {
        let file = server.dir.path().join("other.yml");
        std::fs::write(&file, format!("{extra}{head}keystore:\n  {keystore}\n")).unwrap();
        let ended = run(["server".as_ref(), "--config".as_ref(), file.as_os_str()]);
        assert_eq!(ended.code, Some(1), "{keystore}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

#[test]
fn flags_of_old_start_lines_are_warnings() {
    let server = Server::start();
    let path = |name: &str| server.dir.path().join(name).display().to_string();
    let config = std::fs::read_to_string(path("config.yml")).unwrap();
    // The certificate comes from the command line only.
    let bare: Vec<_> = config.lines().filter(|line| !line.contains("server.") && *line != "tls:").collect();
    std::fs::write(path("bare.yml"), bare.join("\n")).unwrap();
    let (key, cert) = (path("server.key"), path("server.cert"));
    for (config, flags, warned) in [
        ("config.yml", &["--auth=off"][..], &["--auth has no effect; tls.auth"][..]),
        ("config.yml", &["--auth", "off"], &["--auth has no effect; tls.auth"]),
        ("config.yml", &["--mtls-auth=ignore"], &["--auth has no effect; tls.auth"]),
        (
            "config.yml",
            &["--mlock", "-q", "--root", "disabled"],
            &["--mlock has no effect", "--quiet has no effect; log.error", "--root has no effect; admin.identity"],
        ),
        ("bare.yml", &["--key", &key, "--cert", &cert], &["--key overrides tls.key", "--cert overrides tls.cert"]),
        ("bare.yml", &["--tls-key", &key, "--tls-cert", &cert], &["--key overrides tls.key", "--cert overrides"]),
    ] {
        let config = path(config);
        let arguments = [&["server", "--addr=127.0.0.1:0", "--config", &config], flags].concat();
        let mut program = Program::start(&arguments);
        program.address();
        let log = program.stderr();
        for part in warned {
            let is_warning = |line: &str| line.contains("WARN") && line.contains(part);
            assert!(log.lines().any(is_warning), "{arguments:?}: {part}: {log}");
        }
    }
}
