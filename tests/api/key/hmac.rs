//! `PUT /v1/key/hmac/NAME`

use serde_json::json;

use super::{put_file, text, vectors};
use crate::api::{Session, field};
use crate::support::Server;

#[tokio::test]
async fn sums_are_those_of_kes() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let mut played = 0;
    for vector in vectors() {
        let name = text(&vector, "name");
        put_file(&server, name, text(&vector["stored"], "protobuf"));
        for sum in vector["hmacs"].as_array().unwrap() {
            let answer = admin.put(&format!("/v1/key/hmac/{name}"), Some(json!({ "message": sum["message"] }))).await;
            assert_eq!(answer.json(), json!({ "hmac": sum["hmac"] }), "{name}");
            played += 1;
        }
    }
    assert!(played >= 12, "only {played} sums were tried");
}

#[tokio::test]
async fn a_sum_is_the_same_each_time_and_after_a_restart_and_another_under_each_key() {
    let mut server = Server::start();
    let sum = async |server: &Server, name: &str| {
        let message = Some(json!({ "message": "aGVsbG8=" }));
        field(&Session::admin(server).put(&format!("/v1/key/hmac/{name}"), message).await, "hmac")
    };
    for name in ["key", "other"] {
        Session::admin(&server).create(name).await;
    }
    let before = sum(&server, "key").await;
    assert_eq!(sum(&server, "key").await, before);
    assert_ne!(sum(&server, "other").await, before);
    server.restart();
    assert_eq!(sum(&server, "key").await, before);
}

#[tokio::test]
async fn a_key_from_before_hmac_keys_says_that_it_has_none_and_does_all_else() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for vector in vectors() {
        for form in ["json", "json-oldest"] {
            let Some(stored) = vector["stored"][form].as_str() else { continue };
            let name = format!("{}-{form}", text(&vector, "name"));
            put_file(&server, &name, stored);
            let answer = admin.put(&format!("/v1/key/hmac/{name}"), Some(json!({ "message": "" }))).await;
            assert_eq!(
                (answer.status, answer.json()),
                (501, json!({ "message": "key does not support HMAC" })),
                "{name}"
            );
            let (plaintext, ciphertext) = admin.data_key(&name).await;
            assert_eq!(admin.decrypt(&name, &ciphertext).await.json()["plaintext"], plaintext);
        }
    }
}
