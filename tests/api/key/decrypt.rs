//! `PUT /v1/key/decrypt/NAME`

use serde_json::{Value, json};

use super::{put_file, text, vectors};
use crate::api::{Session, assert_none, base64, field, unbase64};
use crate::support::Server;

const NOT_AUTHENTIC: &str = "decryption failed: ciphertext is not authentic";

#[tokio::test]
async fn everything_that_any_version_of_kes_has_encrypted_decrypts() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let (mut played, mut failures) = (0, Vec::new());
    for vector in vectors() {
        for (form, stored) in vector["stored"].as_object().unwrap() {
            let name = format!("{}-{form}", text(&vector, "name"));
            put_file(&server, &name, stored.as_str().unwrap());
            for message in vector["ciphertexts"].as_array().unwrap() {
                played += 1;
                let body = json!({ "ciphertext": message["ciphertext"], "context": message["context"] });
                let answer = admin.put(&format!("/v1/key/decrypt/{name}"), Some(body)).await;
                if answer.status != 200 || answer.json()["plaintext"] != message["plaintext"] {
                    failures.push(format!("{name}, {}: {}", message["format"], answer.text()));
                }
            }
        }
    }
    assert!(played >= 120, "only {played} ciphertexts were tried");
    assert_none(&failures);
}

#[tokio::test]
async fn what_one_version_of_a_key_encrypts_every_stored_form_of_it_decrypts() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for vector in vectors() {
        let stored = vector["stored"].as_object().unwrap();
        let name = |form: &str| format!("{}-{form}", text(&vector, "name"));
        for (form, value) in stored {
            put_file(&server, &name(form), value.as_str().unwrap());
        }
        for made in stored.keys() {
            let (plaintext, ciphertext) = admin.data_key(&name(made)).await;
            for read in stored.keys() {
                let answer = admin.decrypt(&name(read), &ciphertext).await;
                assert_eq!(answer.json()["plaintext"], plaintext.as_str(), "{} by {}", name(made), name(read));
            }
        }
    }
}

#[tokio::test]
async fn no_ciphertext_that_was_changed_decrypts() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for vector in vectors() {
        let name = text(&vector, "name");
        put_file(&server, name, text(&vector["stored"], "protobuf"));
        for message in vector["ciphertexts"].as_array().unwrap() {
            let whole = unbase64(text(message, "ciphertext"));
            if whole.len() > 200 {
                continue;
            }
            let flipped = (0..whole.len()).map(|at| {
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                changed
            });
            let cut = [0, 1, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
            let longer = [whole.as_slice(), b"\0"].concat();
            for changed in flipped.chain(cut).chain([longer]) {
                let body = json!({ "ciphertext": base64(&changed), "context": message["context"] });
                let answer = admin.put(&format!("/v1/key/decrypt/{name}"), Some(body)).await;
                // A flipped bit may leave the meaning of JSON as it was; it never turns it into another message.
                if answer.status == 200 && text(message, "format") == "json" {
                    assert_eq!(answer.json()["plaintext"], message["plaintext"]);
                    continue;
                }
                let failed = json!({ "message": NOT_AUTHENTIC });
                assert_eq!((answer.status, answer.json()), (400, failed), "{name} {} {changed:?}", message["format"]);
            }
        }
    }
}

#[tokio::test]
async fn what_only_looks_like_an_old_ciphertext_is_not_authentic() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let deep_json = format!(r#"{{"aead":{}"#, "[".repeat(100_000));
    let deep_pack = vec![0x95; 100_000];
    let mut long_pack = vec![0x95, 0xdb, 0xff, 0xff, 0xff, 0xff];
    long_pack.extend([0; 50]);
    let mut wide_pack = vec![0x95, 0xdd, 0xff, 0xff, 0xff, 0xff];
    wide_pack.extend([0x90; 50]);
    let with_iv = |iv: &str| {
        format!(
            r#"{{"aead":"AES-256-GCM-HMAC-SHA-256","iv":"{iv}","nonce":"AAAAAAAAAAAAAAAA","bytes":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}}"#
        )
    };
    for ciphertext in [
        b"{".as_slice(),
        b"{}",
        b"{\"aead\":\"AES-256-GCM\"}",
        b"{\"aead\":5}",
        b"{\"aead\":\"none\",\"iv\":\"\",\"nonce\":\"\",\"bytes\":\"\"}",
        b"[]",
        b"null",
        b"\x95",
        b"\x90",
        b"\x95\xa0\xa0\xa0\xa0\xa0",
        b"\x95\xc0\xc0\xc0\xc0\xc0",
        &deep_pack,
        &long_pack,
        &wide_pack,
        deep_json.as_bytes(),
        with_iv("").as_bytes(),
        with_iv("AA==").as_bytes(),
        with_iv("AAAAAAAAAAAAAAAAAAAAAA==").as_bytes(),
        with_iv("%%").as_bytes(),
        &[0; 43],
        &[0; 44],
        &[0x7b; 44],
        &[0x95; 44],
        &[0; 27],
        &[0; 28],
    ] {
        let answer = admin.decrypt("key", &base64(ciphertext)).await;
        let start = String::from_utf8_lossy(&ciphertext[..ciphertext.len().min(40)]).into_owned();
        assert_eq!((answer.status, answer.json()), (400, json!({ "message": NOT_AUTHENTIC })), "{start:?}");
    }
}

#[tokio::test]
async fn a_failed_decryption_says_the_same_whatever_was_wrong() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for name in ["key", "other"] {
        admin.create(name).await;
    }
    let answer = admin.put("/v1/key/generate/key", Some(json!({ "context": "YWJj" }))).await;
    let ciphertext = field(&answer, "ciphertext");
    let mut answers = Vec::new();
    for (name, ciphertext, context) in [
        ("other", Value::from(ciphertext.clone()), json!("YWJj")),
        ("key", ciphertext.clone().into(), json!("")),
        ("key", ciphertext.into(), Value::Null),
        ("key", Value::Null, json!("YWJj")),
        ("key", json!(""), Value::Null),
    ] {
        let body = json!({ "ciphertext": ciphertext, "context": context });
        let answer = admin.put(&format!("/v1/key/decrypt/{name}"), Some(body)).await;
        answers.push((answer.status, answer.text()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}
