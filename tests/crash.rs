//! `kill -9` at random moments: a create that was answered is there after the restart, and no key is half a key.
//!
//! The short form runs here; `KEYWAY_CRASH_ROUNDS=20 cargo test --test keyway crash -- --nocapture` is the long one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng as _;
use reqwest::Method;
use serde_json::json;

use crate::support::server::send;
use crate::support::{Server, heavy};

/// Creates of one round, if nobody killed the server.
const CREATES: usize = 2_000;

/// Clients that create at the same time.
const CLIENTS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_key_is_lost_when_fs_is_killed() {
    crash("fs: {path: @dir@/keys}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_key_is_lost_when_sqlite_is_killed() {
    crash("sqlite: {path: @dir@/keys.db}").await;
}

#[expect(clippy::print_stdout, reason = "the long form is run for this line")]
async fn crash(keystore: &str) {
    let _turn = heavy();
    let rounds: usize = std::env::var("KEYWAY_CRASH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let mut server = Server::on(keystore);
    let (mut acknowledged, mut present) = (0, 0);
    for round in 0..rounds {
        let created = create_until_killed(&mut server, round).await;
        server.restart();
        present = verify(&server, &created).await;
        acknowledged += created.len();
    }
    println!(
        "{keystore}: {rounds} rounds, {acknowledged} keys acknowledged, {present} keys present, 0 lost, 0 damaged"
    );
}

/// Creates keys, kills the server at a random moment, and answers with those that were acknowledged: with a data
/// key each, where there was time for it.
async fn create_until_killed(server: &mut Server, round: usize) -> HashMap<String, Option<(String, String)>> {
    let (http, url) = (server.http(Some(&server.admin)), server.url(""));
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (http, url, next) = (http.clone(), url.clone(), next.clone());
            tokio::spawn(async move {
                let mut created = HashMap::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CREATES {
                        return created; // killed too late to disturb it
                    }
                    let name = format!("round-{round}-key-{number}");
                    let create = http.put(format!("{url}/v1/key/create/{name}"));
                    match send(create, None).await {
                        Ok(answer) if answer.status == 200 => {}
                        Ok(answer) => panic!("create {name}: {} {}", answer.status, answer.text()),
                        Err(_) => return created,
                    }
                    let generate = http.put(format!("{url}/v1/key/generate/{name}"));
                    let data_key = send(generate, None).await.ok().map(|answer| {
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        let field = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
                        (field("plaintext"), field("ciphertext"))
                    });
                    let left = data_key.is_none();
                    created.insert(name, data_key);
                    if left {
                        return created;
                    }
                }
            })
        })
        .collect();
    let (fatal, delay) = (rand::rng().random_range(CLIENTS..CREATES), rand::rng().random_range(0..2_000));
    while next.load(Ordering::Relaxed) < fatal {
        tokio::time::sleep(Duration::from_micros(200)).await; // no longer: a create takes about as long
    }
    tokio::time::sleep(Duration::from_micros(delay)).await; // the random moment
    server.kill();
    let mut created = HashMap::new();
    for client in clients {
        created.extend(client.await.unwrap());
    }
    created
}

/// Every acknowledged key is there and decrypts what it encrypted before; every other key that is there is whole.
/// Answers with how many keys are there.
async fn verify(server: &Server, created: &HashMap<String, Option<(String, String)>>) -> usize {
    let http = server.http(Some(&server.admin));
    let names: HashSet<String> = {
        let listed = send(http.get(server.url("/v1/key/list/")), None).await.unwrap();
        serde_json::from_value(listed.json()["names"].clone()).unwrap()
    };
    for name in created.keys() {
        assert!(names.contains(name), "{name} was acknowledged and is lost");
    }
    let round = created.keys().next().and_then(|name| name.rsplit_once("key-")).map(|(round, _)| round.to_owned());
    for name in names.iter().filter(|name| round.as_ref().is_none_or(|round| name.starts_with(round))) {
        let request = match created.get(name).cloned().flatten() {
            Some((plaintext, ciphertext)) => {
                let body = json!({ "ciphertext": ciphertext });
                let decrypt = http.request(Method::PUT, server.url(&format!("/v1/key/decrypt/{name}")));
                let answer = send(decrypt, Some(body)).await.unwrap();
                assert_eq!(
                    (answer.status, answer.json()["plaintext"].as_str()),
                    (200, Some(plaintext.as_str())),
                    "{name}"
                );
                continue;
            }
            None => http.put(server.url(&format!("/v1/key/generate/{name}"))),
        };
        let answer = send(request, None).await.unwrap();
        assert_eq!(answer.status, 200, "{name} is there and not whole: {}", answer.text());
    }
    names.len()
}
