//! `GET /v1/ready`, and what all APIs say when the store is gone.

use std::path::{Path, PathBuf};

use super::{Session, not_an_error};
use crate::services::vault::{Program, Server as Vault};
use crate::support::Server;
use crate::support::server::{Answer, send};

async fn ask(session: &Session<'_>, method: &str, path: &str) -> Answer {
    let url = session.server.url(&format!("/v1/key/{path}"));
    send(session.http.request(method.parse().unwrap(), url), None).await.unwrap()
}

/// What no API may say while the store is gone is that a key does not exist: its clients would make another one.
async fn assert_gone(session: &Session<'_>, missing: &[(&str, &str, &str)]) {
    for path in ["/v1/ready", "/ready"] {
        let ready = session.get(path).await;
        let text = if ready.status == 504 { "key store is not reachable" } else { "key store is unavailable" };
        assert!(matches!(ready.status, 502 | 504), "{path}: {}", ready.text());
        assert_eq!(ready.message(), text, "{path}");
    }
    for (method, path, message) in missing {
        let answer = ask(session, method, path).await;
        // 502 from a store that was asked; at once 503 or 504 while it is known to be down.
        assert!(matches!(answer.status, 502..=504), "{path}: {}", answer.text());
        assert_eq!(not_an_error(&answer, answer.status), None, "{path}");
        assert_eq!(answer.message(), *message, "{path}");
    }
}

fn places(server: &Server) -> (PathBuf, PathBuf) {
    (server.dir.path().join("keys"), server.dir.path().join("elsewhere"))
}

#[tokio::test]
async fn a_directory_that_was_moved_away_is_reported_and_loses_no_key() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for name in ["cached", "uncached"] {
        admin.create(name).await;
    }
    let (plaintext, ciphertext) = admin.data_key("cached").await;
    let (keys, elsewhere) = places(&server);
    std::fs::rename(&keys, &elsewhere).unwrap();
    assert_gone(
        &admin,
        &[
            ("PUT", "generate/none", "failed to read key"),
            ("GET", "describe/none", "failed to read key"),
            ("PUT", "create/new", "failed to create key"),
            ("PUT", "create/cached", "failed to create key"),
            ("DELETE", "delete/none", "failed to delete key"),
            ("DELETE", "delete/uncached", "failed to delete key"),
            ("GET", "list/", "failed to list keys"),
        ],
    )
    .await;
    for name in ["cached", "uncached"] {
        let answer = ask(&admin, "PUT", &format!("generate/{name}")).await;
        assert!(matches!(answer.status, 200 | 502..=504), "{name}: {}", answer.text());
    }
    assert!(!keys.exists(), "the directory was created again");
    server.log_line(|line| line.contains("ERROR") && line.contains(&*keys.to_string_lossy())).await;

    std::fs::rename(&elsewhere, &keys).unwrap();
    assert_eq!(admin.get("/v1/ready").await.status, 200);
    assert_eq!(admin.decrypt("cached", &ciphertext).await.json()["plaintext"], plaintext);
    admin.data_key("uncached").await;
    server.assert_serves().await;
}

/// Moves the files of a directory to a new one.
fn move_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_was_removed_is_not_an_empty_store() {
    let mut server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    admin.create("cached").await;
    let (plaintext, ciphertext) = admin.data_key("cached").await;
    let (keys, elsewhere) = places(&server);
    move_files(&keys, &elsewhere);
    std::fs::remove_dir(&keys).unwrap();
    let all = [
        ("PUT", "generate/key", "failed to read key"),
        ("GET", "describe/key", "failed to read key"),
        ("PUT", "create/key", "failed to create key"),
        ("DELETE", "delete/key", "failed to delete key"),
        ("GET", "list/", "failed to list keys"),
    ];
    assert_gone(&admin, &all).await;
    let cached = admin.decrypt("cached", &ciphertext).await;
    assert!(matches!(cached.status, 200 | 502..=504), "{}", cached.text());
    assert!(!keys.exists(), "the directory was created again");

    // Another directory in its place is another store, perhaps the mount point of a volume that is not there.
    std::fs::create_dir(&keys).unwrap();
    assert_gone(&admin, &all).await;
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 0);

    std::fs::remove_dir(&keys).unwrap();
    std::fs::rename(&elsewhere, &keys).unwrap();
    server.restart();
    let admin = Session::admin(&server);
    assert_eq!(admin.decrypt("cached", &ciphertext).await.json()["plaintext"], plaintext);
    admin.data_key("key").await;
    server.assert_serves().await;
}

#[tokio::test]
async fn a_ready_server_says_so_without_a_word() {
    for keystore in ["fs: {path: @dir@/keys}", "sqlite: {path: @dir@/keys.db}", "memory: {}"] {
        let server = Server::on(keystore);
        for path in ["/v1/ready", "/ready"] {
            let answer = server.get(path).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{keystore} {path}");
        }
        server.assert_serves().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_vault_does_not_grant_is_named_at_the_start_by_ready_and_in_the_log_of_the_request_that_needs_it()
{
    let vault = Vault::start(Program::OpenBao).await;
    vault.enable_kv("kv", 1).await;
    vault.policy("old", r#"path "kv/*" { capabilities = ["create", "read", "delete"] }"#);
    let token = vault.make_token("old", "1h");
    let server = Server::on(&format!("vault: {{endpoint: '{}', engine: kv, token: {token}}}", vault.url()));
    let admin = Session::admin(&server);
    let right = "`list` on 'kv/.keyway/claims/*'";
    server.log_line(|line| line.contains("WARN") && line.contains(right)).await;
    let ready = admin.get("/v1/ready").await;
    assert_eq!(ready.status, 200, "keys can be used: {}", ready.text());
    assert!(ready.message().contains(right) && ready.message().contains("to create keys"), "{}", ready.text());
    assert_eq!(admin.put("/v1/key/create/key", None).await.status, 502);
    server.log_line(|line| line.contains("ERROR") && line.contains("request failed") && line.contains(right)).await;
    vault.policy("old", r#"path "kv/*" { capabilities = ["create", "read", "delete", "list"] }"#);
    admin.create("key").await;
    assert_eq!(admin.get("/v1/ready").await.text(), "");
}
