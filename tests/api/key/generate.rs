//! `PUT /v1/key/generate/NAME`

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::api::{Session, base64, field, unbase64};
use crate::support::Server;

#[tokio::test]
async fn every_data_key_is_another_one_of_32_bytes() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let (mut plaintexts, mut ciphertexts) = (HashSet::new(), HashSet::new());
    for number in 0..100 {
        let body = [
            None,
            Some(json!({})),
            Some(json!({ "context": "" })),
            Some(json!({ "context": null })),
            Some(json!({ "length": 64 })),
        ];
        let answer = admin.put("/v1/key/generate/key", body[number % body.len()].clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json().as_object().unwrap().len(), 2, "{}", answer.text());
        let (plaintext, ciphertext) = (field(&answer, "plaintext"), field(&answer, "ciphertext"));
        assert_eq!((unbase64(&plaintext).len(), unbase64(&ciphertext).len()), (32, 76));
        assert_eq!(admin.decrypt("key", &ciphertext).await.json()["plaintext"], plaintext.as_str());
        assert!(plaintexts.insert(plaintext) && ciphertexts.insert(ciphertext));
    }
}

#[tokio::test]
async fn a_data_key_is_bound_to_its_context() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let contexts = [
        String::new(),
        base64(b"a"),
        base64(b"ab"),
        base64(b"a\0"),
        base64(br#"{"bucket":"a/b"}"#),
        base64(&vec![7; 500_000]),
    ];
    for made in &contexts {
        let answer = admin.put("/v1/key/generate/key", Some(json!({ "context": made }))).await;
        let ciphertext = field(&answer, "ciphertext");
        for tried in &contexts {
            let body = json!({ "ciphertext": ciphertext, "context": tried });
            let decrypted = admin.put("/v1/key/decrypt/key", Some(body)).await;
            if made == tried {
                assert_eq!(decrypted.json()["plaintext"], answer.json()["plaintext"]);
            } else {
                assert_eq!(decrypted.status, 400);
                assert_eq!(decrypted.json(), json!({ "message": "decryption failed: ciphertext is not authentic" }));
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_is_reported_and_not_created() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for (api, body) in
        [("generate", Value::Null), ("encrypt", json!({ "plaintext": "" })), ("hmac", json!({ "message": "" }))]
    {
        let body = (!body.is_null()).then_some(body);
        let answer = admin.put(&format!("/v1/key/{api}/key"), body).await;
        assert_eq!((answer.status, answer.message().as_str()), (404, "key does not exist"), "{api}");
    }
    assert_eq!(admin.get("/v1/key/list/").await.json()["names"], json!([]));
    admin.create("key").await;
    admin.data_key("key").await; // the answer that there is none is not remembered
}
