//! Keys whose value in the store is not a key: never "not found", never replaced, never a panic.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{put_file, text, vectors};
use crate::api::{Session, assert_none, base64, not_an_error};
use crate::support::server::send;
use crate::support::{Events, Server, Setup};

/// What may lie in the place of a key: a name for it, and its content.
fn damaged() -> Vec<(String, Vec<u8>)> {
    let vector = &vectors()[0];
    let (protobuf, stored_json) = (text(&vector["stored"], "protobuf"), text(&vector["stored"], "json"));
    let mut flipped = protobuf.as_bytes().to_vec();
    flipped[0] = b'!';
    let mut files: Vec<(String, Vec<u8>)> = [
        ("empty", Vec::new()),
        ("newline", b"\n".to_vec()),
        ("text", b"this is not a key".to_vec()),
        ("zeros", vec![0; 192]),
        ("ones", vec![0xff; 192]),
        ("utf16", stored_json.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("not-base64", flipped),
        ("base64-of-text", base64(b"this is not a key either").into_bytes()),
        ("base64-of-nothing", base64(b"").into_bytes()),
        (
            "base64-of-short-key",
            base64(b"\x0a\x14\x0a\x10\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x10\x01")
                .into_bytes(),
        ),
        ("json-empty", b"{}".to_vec()),
        ("json-null", b"null".to_vec()),
        ("json-list", b"[]".to_vec()),
        ("json-short-key", br#"{"bytes":"AAAA","algorithm":"AES256"}"#.to_vec()),
        ("json-algorithm", stored_json.replace("AES256", "DES56").into_bytes()),
        ("json-type", br#"{"bytes":5}"#.to_vec()),
        ("json-deep", format!(r#"{{"bytes":{}"#, "[".repeat(50_000)).into_bytes()),
        ("large", vec![b'A'; 3 << 20]),
        ("vault", b"vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==".to_vec()),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into();
    for length in [1, 2, 4, 60, protobuf.len() / 2] {
        files.push((format!("cut-{length}"), protobuf.as_bytes()[..length].to_vec()));
        files.push((format!("json-cut-{length}"), stored_json.as_bytes()[..length].to_vec()));
    }
    files
}

#[tokio::test]
async fn a_damaged_key_is_an_error_with_a_reason_and_never_not_found() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let mut audit = Events::audit(&server).await;
    let mut errors = Events::error(&server).await;
    let mut failures = Vec::new();
    for (name, content) in damaged() {
        put_file(&server, &name, &content);
        for (method, api, body) in [
            ("GET", "describe", Value::Null),
            ("PUT", "generate", Value::Null),
            ("PUT", "encrypt", json!({ "plaintext": "" })),
            ("PUT", "decrypt", json!({ "ciphertext": "AAAA" })),
            ("PUT", "hmac", json!({ "message": "" })),
        ] {
            let path = format!("/v1/key/{api}/{name}");
            let request = admin.http.request(method.parse().unwrap(), server.url(&path));
            let answer = send(request, (!body.is_null()).then_some(body)).await.unwrap();
            failures.extend(not_an_error(&answer, 500).map(|failure| format!("{path}: {failure}")));
            if answer.status == 500 {
                if answer.message() != "stored key is damaged" {
                    failures.push(format!("{path}: {}", answer.text()));
                }
                let event = audit.of(&path).await;
                if event["reason"].as_str().is_none_or(|reason| reason.len() <= "stored key is damaged: ".len()) {
                    failures.push(format!("no reason in {event}"));
                }
                errors.find(|line| line["message"].as_str().unwrap().contains(&path)).await;
            }
        }
        for (api, body) in [("create", None), ("import", Some(json!({ "bytes": base64(&[1; 32]) })))] {
            let answer = admin.put(&format!("/v1/key/{api}/{name}"), body).await;
            if (answer.status, answer.message().as_str()) != (400, "key already exists") {
                failures.push(format!("{api}/{name}: {} {}", answer.status, answer.text()));
            }
        }
        if std::fs::read(server.dir.path().join("keys").join(&name)).unwrap() != content {
            failures.push(format!("{name} was overwritten"));
        }
        server.log_line(|line| line.contains("ERROR") && line.contains(&format!("/v1/key/generate/{name}\""))).await;
    }
    assert_none(&failures);
    server.assert_serves().await;
}

#[tokio::test]
async fn what_is_not_a_file_in_the_place_of_a_key_is_damaged_and_not_waited_for() {
    let extra = "api:\n  /v1/key/generate/:\n    timeout: 3s\n  /v1/key/create/:\n    timeout: 3s";
    let server = Server::with(Setup { extra: extra.to_owned(), ..Setup::default() });
    let admin = Session::admin(&server);
    let place = |name: &str| server.dir.path().join("keys").join(name);
    std::fs::create_dir(place("directory")).unwrap();
    std::fs::create_dir(place("full-directory")).unwrap();
    std::fs::write(place("full-directory").join("file"), "content").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", place("link-to-text")).unwrap();
    std::os::unix::fs::symlink("loop", place("loop")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place("endless")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place("socket")).unwrap();
    make_pipe(&place("pipe"));
    for name in ["directory", "full-directory", "link-to-text", "loop", "endless", "socket", "pipe"] {
        let began = Instant::now();
        let answer = admin.put(&format!("/v1/key/generate/{name}"), None).await;
        assert!(matches!(answer.status, 500 | 502), "{name}: {} {}", answer.status, answer.text());
        assert!(began.elapsed() < Duration::from_secs(2), "{name} is waited for");
        let answer = admin.put(&format!("/v1/key/create/{name}"), None).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, "key already exists"), "{name}");
        assert!(std::fs::symlink_metadata(place(name)).is_ok(), "{name} is gone");
    }
    assert!(place("full-directory").join("file").is_file());
    for name in ["directory", "full-directory"] {
        let answer = admin.delete(&format!("/v1/key/delete/{name}")).await;
        assert!(matches!(answer.status, 500 | 502), "{name}: {} {}", answer.status, answer.text());
        assert!(place(name).is_dir());
    }
    admin.create("key").await;
    assert!(!admin.get("/v1/key/list/").await.text().contains("directory"));
    server.assert_serves().await;
}

fn make_pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
}

#[tokio::test]
async fn a_key_that_was_repaired_is_served_at_once() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let vector = &vectors()[0];
    let stored = text(&vector["stored"], "protobuf");
    put_file(&server, "key", &stored[..50]);
    assert_eq!(admin.put("/v1/key/generate/key", None).await.status, 500);
    put_file(&server, "key", stored);
    let message = &vector["ciphertexts"][3];
    let answer = admin.decrypt("key", text(message, "ciphertext")).await;
    assert_eq!(answer.json()["plaintext"], message["plaintext"]);
    server.assert_serves().await;
}

#[tokio::test]
async fn a_damaged_key_can_be_deleted_and_created_again() {
    let server = Server::start();
    let admin = Session::admin(&server);
    put_file(&server, "key", "");
    assert_eq!(admin.put("/v1/key/generate/key", None).await.status, 500);
    assert_eq!(admin.delete("/v1/key/delete/key").await.status, 200);
    assert_eq!(admin.put("/v1/key/generate/key", None).await.status, 404);
    admin.create("key").await;
    admin.data_key("key").await;
    server.assert_serves().await;
}
