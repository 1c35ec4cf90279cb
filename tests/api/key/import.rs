//! `PUT /v1/key/import/NAME`

use serde_json::{Value, json};

use super::{text, vectors};
use crate::api::{Session, base64, not_an_error};
use crate::support::Server;

#[tokio::test]
async fn an_imported_key_decrypts_what_was_encrypted_elsewhere_in_either_form_of_the_request() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for vector in vectors() {
        let stored: Value = serde_json::from_str(text(&vector["stored"], "json")).unwrap();
        let secret = &stored["bytes"];
        let mut forms = if vector["algorithm"] == "AES256" {
            vec![
                json!({ "key": secret, "cipher": "AES256" }),
                json!({ "key": secret, "cipher": "AES256-GCM_SHA256" }),
                json!({ "key": secret }),
                json!({ "bytes": secret }),
                json!({ "bytes": secret, "cipher": "" }),
                json!({ "bytes": secret, "cipher": null, "key": null }),
            ]
        } else {
            vec![
                json!({ "key": secret, "cipher": "ChaCha20" }),
                json!({ "key": secret, "cipher": "XCHACHA20-POLY1305" }),
                json!({ "bytes": secret, "cipher": "ChaCha20" }),
            ]
        };
        forms.push({
            let mut with_more = forms[0].clone();
            with_more["version"] = json!("v1");
            with_more
        });
        for (number, form) in forms.into_iter().enumerate() {
            let name = format!("{}-{number}", text(&vector, "name"));
            let answer = admin.put(&format!("/v1/key/import/{name}"), Some(form)).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{name}");
            assert_eq!(admin.get(&format!("/v1/key/describe/{name}")).await.json()["algorithm"], vector["algorithm"]);
            let message = &vector["ciphertexts"][3];
            let body = json!({ "ciphertext": message["ciphertext"], "context": message["context"] });
            let answer = admin.put(&format!("/v1/key/decrypt/{name}"), Some(body)).await;
            assert_eq!(answer.json()["plaintext"], message["plaintext"], "{name}");
            let sum = admin.put(&format!("/v1/key/hmac/{name}"), Some(json!({ "message": "" }))).await;
            assert_eq!(sum.status, 200, "an imported key has no HMAC key");
        }
    }
}

#[tokio::test]
async fn a_key_of_another_size_or_algorithm_is_not_taken() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for (cipher, name) in [("AES256", "AES256"), ("ChaCha20", "ChaCha20"), ("", "AES256")] {
        for length in [0, 1, 16, 24, 31, 33, 64, 4096] {
            let body = json!({ "key": base64(&vec![1; length]), "cipher": cipher });
            let answer = admin.put("/v1/key/import/key", Some(body)).await;
            assert_eq!(not_an_error(&answer, 406), None, "{length} bytes for {cipher}");
            assert_eq!(answer.message(), format!("invalid key size for '{name}'"));
        }
    }
    for cipher in ["AES128", "aes256", "chacha20", "AES256 ", "AES-256-GCM", "none", "null", "AES256\0"] {
        let answer = admin.put("/v1/key/import/key", Some(json!({ "key": base64(&[1; 32]), "cipher": cipher }))).await;
        assert_eq!(not_an_error(&answer, 406), None, "{cipher}");
        assert_eq!(answer.message(), format!("algorithm '{cipher}' is not supported"));
    }
    for body in
        [json!({ "key": base64(&[1; 32]), "cipher": 5 }), json!({ "key": base64(&[1; 32]), "cipher": ["AES256"] })]
    {
        let answer = admin.put("/v1/key/import/key", Some(body)).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, "invalid import key request body"));
    }
    assert_eq!(admin.put("/v1/key/import/key", Some(json!({}))).await.status, 406);
    assert_eq!(admin.get("/v1/key/list/").await.json()["names"], json!([]));
    assert!(!server.log().contains(&base64(&[1; 32])), "a key is in the log");
}
