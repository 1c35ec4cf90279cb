//! `PUT /v1/key/create/NAME`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::api::{Session, base64};
use crate::support::server::send;
use crate::support::{Events, Raw, Server};

const CLIENTS: usize = 32;
const NAMES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_clients_that_create_one_name_exactly_one_wins_on_fs() {
    race("fs: {path: @dir@/keys}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_clients_that_create_one_name_exactly_one_wins_on_sqlite() {
    race("sqlite: {path: @dir@/keys.db}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_clients_that_create_one_name_exactly_one_wins_in_memory() {
    race("memory: {}").await;
}

/// All clients create all names at once, and make a data key right after each answer, as MinIO's nodes do.
async fn race(keystore: &str) {
    let mut server = Server::on(keystore);
    let start = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let http =
                if number % 4 == 0 { server.http2(Some(&server.admin)) } else { server.http(Some(&server.admin)) };
            let (url, start) = (server.url("/v1/key"), start.clone());
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                send(http.get(format!("{url}/describe/none")), None).await.unwrap(); // the connection is open now
                for name in 0..NAMES {
                    start.wait().await;
                    let name = format!("race-{name}");
                    let created = send(http.put(format!("{url}/create/{name}")), None).await.unwrap();
                    let made = send(http.put(format!("{url}/generate/{name}")), None).await.unwrap();
                    outcomes.push((name, created, made));
                }
                outcomes
            })
        })
        .collect();
    let (mut winners, mut data_keys) = (HashMap::<String, usize>::new(), Vec::new());
    for client in clients {
        for (name, created, made) in client.await.unwrap() {
            match created.status {
                200 => *winners.entry(name.clone()).or_default() += 1,
                _ => assert_eq!((created.status, created.message().as_str()), (400, "key already exists"), "{name}"),
            }
            assert_eq!(made.status, 200, "{name} was created and is not there: {}", made.text());
            data_keys.push((name, made.json()));
        }
    }
    assert_eq!(winners.len(), NAMES);
    assert!(winners.values().all(|winners| *winners == 1), "{winners:?}");
    assert_eq!(data_keys.len(), CLIENTS * NAMES);
    for restarted in [false, true] {
        if restarted && keystore.starts_with("memory") {
            break;
        }
        if restarted {
            server.restart();
        }
        let admin = Session::admin(&server);
        for (name, data_key) in &data_keys {
            let answer = admin.decrypt(name, data_key["ciphertext"].as_str().unwrap()).await;
            assert_eq!(answer.json()["plaintext"], data_key["plaintext"], "{name}, restarted: {restarted}");
        }
    }
}

#[tokio::test]
async fn a_key_that_was_created_again_is_another_key() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let (_, ciphertext) = admin.data_key("key").await;
    let hmac =
        async || admin.put("/v1/key/hmac/key", Some(json!({ "message": "aGVsbG8=" }))).await.json()["hmac"].clone();
    let before = hmac().await;
    assert_eq!(admin.delete("/v1/key/delete/key").await.status, 200);
    admin.create("key").await;
    let answer = admin.decrypt("key", &ciphertext).await;
    assert_eq!((answer.status, answer.message().as_str()), (400, "decryption failed: ciphertext is not authentic"));
    assert_ne!(hmac().await, before);
}

#[tokio::test]
async fn a_key_keeps_its_secret_when_it_is_created_or_imported_again() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let (plaintext, ciphertext) = admin.data_key("key").await;
    for (path, body) in [
        ("/v1/key/create/key", None),
        ("/v1/key/import/key", Some(json!({ "key": base64(&[1; 32]), "cipher": "AES256" }))),
    ] {
        let answer = admin.put(path, body).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, "key already exists"), "{path}");
        assert_eq!(admin.decrypt("key", &ciphertext).await.json()["plaintext"], plaintext.as_str());
    }
}

#[tokio::test]
async fn what_a_client_asked_for_is_done_when_it_leaves_at_once() {
    for keystore in ["fs: {path: @dir@/keys}", "sqlite: {path: @dir@/keys.db}"] {
        let server = Server::on(keystore);
        let admin = Session::admin(&server);
        let mut audit = Events::audit(&server).await;
        for number in 0..30 {
            let (created, imported) = (format!("created-{number}"), format!("imported-{number}"));
            let body = json!({ "bytes": base64(&[1; 32]) }).to_string();
            for (method, api, name, body) in [
                ("PUT", "create", &created, ""),
                ("PUT", "import", &imported, body.as_str()),
                ("DELETE", "delete", &created, ""),
            ] {
                let mut raw = Raw::connect(&server, &server.admin).await;
                let path = format!("/v1/key/{api}/{name}");
                raw.send(format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))
                .await;
                // At once, soon, and when the store may be at work.
                tokio::time::sleep(Duration::from_micros(150 * (number % 3))).await;
                drop(raw);
                let event = audit.of(&path).await;
                assert_eq!(event["response"]["code"], 200, "{keystore}: {event}");
                assert_eq!(event["request"]["identity"], server.admin.identity().as_str());
                let there = admin.get(&format!("/v1/key/describe/{name}")).await.status == 200;
                assert_eq!(there, api != "delete", "{keystore}: {path}");
            }
        }
    }
}
