//! `DELETE /v1/key/delete/NAME`

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyway::crypto::key::Key;

use crate::api::{Session, field, unbase64};
use crate::support::program::run;
use crate::support::server::send;
use crate::support::{Server, Setup};

#[tokio::test]
async fn a_deleted_key_is_gone_at_once_although_it_was_cached() {
    for keystore in ["fs: {path: @dir@/keys}", "sqlite: {path: @dir@/keys.db}", "memory: {}"] {
        let server = Server::on(keystore);
        let admin = Session::admin(&server);
        for number in 0..20 {
            admin.create("key").await;
            let (_, ciphertext) = admin.data_key("key").await;
            admin.data_key("key").await;
            assert_eq!(admin.delete("/v1/key/delete/key").await.status, 200);
            for _ in 0..3 {
                let generated = admin.put("/v1/key/generate/key", None).await;
                assert_eq!((generated.status, generated.message().as_str()), (404, "key does not exist"), "{keystore}");
            }
            assert_eq!(admin.decrypt("key", &ciphertext).await.status, 404, "{keystore}, round {number}");
            assert_eq!(admin.delete("/v1/key/delete/key").await.status, 404);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_clients_that_delete_a_key_exactly_one_has_done_it() {
    let server = Server::start();
    for round in 0..10 {
        Session::admin(&server).create("key").await;
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let delete = server.http(Some(&server.admin)).delete(server.url("/v1/key/delete/key"));
                tokio::spawn(async move { send(delete, None).await.unwrap() })
            })
            .collect();
        let mut done = 0;
        for client in clients {
            let answer = client.await.unwrap();
            assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
            done += u32::from(answer.status == 200);
        }
        assert_eq!(done, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_protected_key_is_deleted_by_nobody() {
    let extra = "protect: ['minio-*', exactly]\n".to_owned();
    let server = Server::with(Setup { extra, ..Setup::default() });
    let admin = Session::admin(&server);
    for (name, pattern) in [("minio-key", Some("minio-*")), ("exactly", Some("exactly")), ("exactly-not", None)] {
        admin.create(name).await;
        let answer = admin.delete(&format!("/v1/key/delete/{name}")).await;
        match pattern {
            Some(pattern) => {
                let message = format!("key is protected: it matches '{pattern}' in the server's config");
                assert_eq!((answer.status, answer.message()), (403, message));
                admin.data_key(name).await;
            }
            None => assert_eq!(answer.status, 200),
        }
    }
}

#[tokio::test]
async fn a_deleted_key_stays_in_the_trash_and_decrypts_again_when_it_is_restored() {
    for keystore in ["fs: {path: @dir@/keys}\ntrash: 30d", "sqlite: {path: @dir@/keys.db}\ntrash: 1h"] {
        let server = Server::on(keystore);
        let admin = Session::admin(&server);
        for name in ["key", "other"] {
            admin.create(name).await;
        }
        let (plaintext, ciphertext) = admin.data_key("key").await;
        assert_eq!(admin.delete("/v1/key/delete/key").await.status, 200);
        assert_eq!(admin.put("/v1/key/generate/key", None).await.status, 404);
        assert_eq!(admin.get("/v1/key/list/").await.json()["names"], serde_json::json!(["other"]), "{keystore}");

        let config = server.dir.path().join("config.yml").display().to_string();
        let restore = |arguments: &[&str]| run([&["key", "restore", "--config", &config], arguments].concat());
        let listed = restore(&[]);
        let [line] = listed.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{listed:?}") };
        let fields: Vec<_> = line.split('\t').collect();
        assert!(fields[0] == "key" && fields[2].starts_with("keyway-trash-"), "{line}");
        assert_eq!(restore(&["other"]).code, Some(4), "it was not deleted");
        // Copies leave the trash out.
        let to = server.dir.path().join("to.yml");
        std::fs::write(&to, format!("version: v1\nkeystore: {{fs: {{path: {}/copy}}}}\n", server.dir.path().display()))
            .unwrap();
        let migrated = run(["migrate", "--from", &config, "--to", &to.display().to_string()]);
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        assert_eq!(std::fs::read_dir(server.dir.path().join("copy")).unwrap().count(), 1);

        let restored = restore(&["key"]);
        assert_eq!(restored.code, Some(0), "{restored:?}");
        tokio::time::sleep(Duration::from_millis(1100)).await; // as long as "not found" is cached
        assert_eq!(admin.decrypt("key", &ciphertext).await.json()["plaintext"], plaintext, "{keystore}");
        assert_eq!(restore(&[]).stdout, "");
        assert_eq!(restore(&["key"]).code, Some(4));
        assert_eq!(admin.get("/v1/key/list/").await.json()["names"], serde_json::json!(["key", "other"]));
    }
}

/// A data key, with the number of deletes before it was asked for and after it was answered.
struct DataKey {
    began: u64,
    ended: u64,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// One client deletes a key and creates it again, others generate data keys all the time. What the store holds is read
/// from its files: a key that lives on only in the cache would decrypt its own data keys until a restart.
#[tokio::test(flavor = "multi_thread")]
async fn no_data_key_is_generated_under_a_key_that_was_deleted_before() {
    const ROUNDS: u64 = 150;
    let server = Server::start();
    let (deletes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let admin = Session::admin(&server);
    let stored = || Key::from_stored(&std::fs::read(server.dir.path().join("keys/key")).unwrap()).unwrap();
    admin.create("key").await;
    // The key that stands after so many deletes.
    let mut keys = HashMap::from([(0, stored())]);
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let generate = server.http(Some(&server.admin)).put(server.url("/v1/key/generate/key"));
            let (deletes, stop) = (deletes.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut made, mut refused) = (Vec::new(), Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    let began = deletes.load(Ordering::SeqCst);
                    let answer = send(generate.try_clone().unwrap(), None).await.unwrap();
                    let ended = deletes.load(Ordering::SeqCst);
                    if answer.status == 200 {
                        let field = |name: &str| unbase64(&field(&answer, name));
                        made.push(DataKey {
                            began,
                            ended,
                            plaintext: field("plaintext"),
                            ciphertext: field("ciphertext"),
                        });
                    } else {
                        refused.push((began, ended, answer.status, answer.text()));
                    }
                }
                (made, refused)
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        // At another point of the clients' work each time.
        tokio::time::sleep(Duration::from_millis(round % 12)).await;
        // Odd: no key, or a delete under way; even: the key of that number.
        deletes.store(2 * round - 1, Ordering::SeqCst);
        assert_eq!(admin.delete("/v1/key/delete/key").await.status, 200);
        admin.create("key").await;
        keys.insert(2 * round, stored());
        deletes.store(2 * round, Ordering::SeqCst);
    }
    tokio::time::sleep(Duration::from_millis(50)).await; // the clients use the last key too
    stop.store(true, Ordering::SeqCst);
    let (mut certain, mut total) = (0, 0);
    for client in clients {
        let (made, refused) = client.await.unwrap();
        for (began, ended, status, text) in refused {
            assert_eq!((status, text.as_str()), (404, r#"{"message":"key does not exist"}"#));
            assert!(began != ended || began % 2 == 1, "a key that is there is said not to exist");
        }
        for data_key in made {
            total += 1;
            certain += u32::from(data_key.began == data_key.ended && data_key.began % 2 == 0);
            // Any key that stood at some time between question and answer; a delete under way leaves both.
            let from = data_key.began.saturating_sub(data_key.began % 2);
            let fits = (from..=data_key.ended + 1).filter_map(|number| keys.get(&number)).any(|key| {
                key.decrypt(&data_key.ciphertext, b"").is_ok_and(|plaintext| *plaintext == data_key.plaintext)
            });
            assert!(fits, "a data key of {}..{} is of no key of that time", data_key.began, data_key.ended);
        }
    }
    assert!(certain > 100, "only {certain} of {total} data keys were generated while nothing was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_asked_for_all_the_while_is_served_from_its_create_on() {
    let server = Server::start();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (http, url, stop) = (server.http(Some(&server.admin)), server.url("/v1/key/generate/"), stop.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    number = (number + 1) % 50;
                    let answer = send(http.put(format!("{url}key-{number}")), None).await.unwrap();
                    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
                }
            })
        })
        .collect();
    let admin = Session::admin(&server);
    for number in 0..50 {
        let name = format!("key-{number}");
        admin.create(&name).await;
        admin.data_key(&name).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}
