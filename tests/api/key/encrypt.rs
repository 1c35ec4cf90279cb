//! `PUT /v1/key/encrypt/NAME`

use serde_json::json;

use crate::api::{Session, base64, field, unbase64};
use crate::support::Server;

#[tokio::test]
async fn a_message_of_any_length_comes_back() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for cipher in ["AES256", "ChaCha20"] {
        let name = format!("key-{cipher}");
        let key = json!({ "key": base64(&[3; 32]), "cipher": cipher });
        assert_eq!(admin.put(&format!("/v1/key/import/{name}"), Some(key)).await.status, 200);
        for length in [0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 1000, 65_536, 700_000] {
            let message: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
            let body = json!({ "plaintext": base64(&message), "context": base64(b"context") });
            let answer = admin.put(&format!("/v1/key/encrypt/{name}"), Some(body)).await;
            let ciphertext = field(&answer, "ciphertext");
            assert_eq!(unbase64(&ciphertext).len(), message.len() + 44);
            let body = json!({ "ciphertext": ciphertext, "context": base64(b"context") });
            let answer = admin.put(&format!("/v1/key/decrypt/{name}"), Some(body)).await;
            assert!(unbase64(&field(&answer, "plaintext")) == message, "{cipher}, {length} bytes");
        }
    }
}

#[tokio::test]
async fn one_message_is_encrypted_otherwise_each_time() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let encrypt = async || {
        let answer = admin.put("/v1/key/encrypt/key", Some(json!({ "plaintext": "aGVsbG8=" }))).await;
        field(&answer, "ciphertext")
    };
    assert_ne!(encrypt().await, encrypt().await);
}
