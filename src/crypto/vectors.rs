//! Tests against `tests/vectors/kes.json`: keys, ciphertexts and HMACs created with KES.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::key::{Algorithm, Key, NotAuthentic};

#[derive(Deserialize)]
struct Vector {
    name: String,
    algorithm: String,
    /// The key in each stored encoding.
    stored: BTreeMap<String, String>,
    ciphertexts: Vec<Encrypted>,
    hmacs: Vec<Authenticated>,
}

/// One ciphertext; all fields except the format are in base64.
#[derive(Deserialize)]
struct Encrypted {
    format: String,
    plaintext: String,
    context: String,
    ciphertext: String,
}

/// One HMAC, in base64.
#[derive(Deserialize)]
struct Authenticated {
    message: String,
    hmac: String,
}

impl Vector {
    fn algorithm(&self) -> Algorithm {
        Algorithm::parse(&self.algorithm).unwrap()
    }

    fn key(&self) -> Key {
        Key::from_stored(self.stored["protobuf"].as_bytes()).unwrap()
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../tests/vectors/kes.json")).unwrap()
}

fn bytes(base64: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(base64).unwrap()
}

/// Calls `check` with every ciphertext, its key, and a label for messages.
fn for_each_ciphertext(check: impl Fn(&Key, &[u8], &[u8], &[u8], &str)) {
    for vector in vectors() {
        let key = vector.key();
        for (i, one) in vector.ciphertexts.iter().enumerate() {
            let label = format!("{} ciphertext {i}, {}", vector.name, one.format);
            check(&key, &bytes(&one.plaintext), &bytes(&one.context), &bytes(&one.ciphertext), &label);
        }
    }
}

#[test]
fn the_file_covers_both_algorithms_every_stored_encoding_and_every_ciphertext_format() {
    let vectors = vectors();
    let any = |holds: &dyn Fn(&Vector) -> bool| vectors.iter().any(holds);
    for algorithm in [Algorithm::Aes256, Algorithm::ChaCha20] {
        for format in ["binary", "json", "msgpack"] {
            assert!(any(&|v| v.algorithm() == algorithm && v.ciphertexts.iter().any(|c| c.format == format)));
        }
    }
    for form in ["protobuf", "json", "json-oldest"] {
        assert!(any(&|v| v.stored.contains_key(form)), "{form}");
    }
}

#[test]
fn every_stored_encoding_is_read_and_protobuf_is_written_back_byte_for_byte() {
    for vector in vectors() {
        for (form, value) in &vector.stored {
            let key = Key::from_stored(value.as_bytes()).unwrap();
            assert_eq!(key.algorithm(), vector.algorithm(), "{} {form}", vector.name);
            if form == "protobuf" {
                assert_eq!(*key.to_stored(), value.as_bytes(), "{}", vector.name);
            } else {
                // A key read from JSON stays the same when it is written as protobuf and read again.
                let again = Key::from_stored(&key.to_stored()).unwrap();
                assert_eq!(format!("{again:?}"), format!("{key:?}"), "{} {form}", vector.name);
                assert!(again.hmac(b"").is_none());
            }
        }
    }
}

#[test]
fn creation_time_and_creator_are_read_from_both_encodings_and_absent_in_the_oldest() {
    let vector = vectors().remove(0);
    let read = |form: &str| Key::from_stored(vector.stored[form].as_bytes()).unwrap();
    let creator = "56a07fbc23a161bd584a959655233c31942881b49823449d8b3719990474ed80";
    let facts = |key: &Key| -> (Option<OffsetDateTime>, String) { (key.created_at(), key.created_by().to_owned()) };
    let time = |text| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
    assert_eq!(facts(&read("json")), (time("2023-03-24T12:37:33.123456Z"), creator.to_owned()));
    assert_eq!(facts(&read("protobuf")), (time("2024-05-27T08:53:20.123456789Z"), creator.to_owned()));
    assert_eq!(facts(&read("json-oldest")), (None, String::new()));
}

#[test]
fn every_ciphertext_of_every_format_decrypts() {
    for_each_ciphertext(|key, plaintext, context, ciphertext, label| {
        assert_eq!(key.decrypt(ciphertext, context).as_deref(), Ok(plaintext), "{label}");
    });
}

#[test]
fn every_ciphertext_decrypts_with_every_stored_encoding_of_its_key() {
    for vector in vectors() {
        for value in vector.stored.values() {
            let key = Key::from_stored(value.as_bytes()).unwrap();
            for one in &vector.ciphertexts {
                assert!(key.decrypt(bytes(&one.ciphertext), &bytes(&one.context)).is_ok());
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_not_authentic() {
    for_each_ciphertext(|key, _, context, ciphertext, label| {
        // Every bit of short ciphertexts; every 61st of long ones (a prime, so that all bit positions of a byte occur).
        let step = if ciphertext.len() <= 300 { 1 } else { 61 };
        for bit in (0..ciphertext.len() * 8).step_by(step) {
            let mut changed = ciphertext.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.decrypt(&changed[..], context), Err(NotAuthentic), "{label}, bit {bit}");
        }
    });
}

#[test]
fn a_truncated_or_extended_ciphertext_is_not_authentic() {
    for_each_ciphertext(|key, _, context, ciphertext, label| {
        for len in 0..ciphertext.len() {
            assert_eq!(key.decrypt(&ciphertext[..len], context), Err(NotAuthentic), "{label}, {len} bytes");
        }
        assert_eq!(key.decrypt([ciphertext, &[0]].concat(), context), Err(NotAuthentic), "{label}");
    });
}

#[test]
fn another_context_or_another_key_is_not_authentic() {
    let keys: Vec<Key> = vectors().iter().map(Vector::key).collect();
    for_each_ciphertext(|key, _, context, ciphertext, label| {
        assert_eq!(key.decrypt(ciphertext, &[context, b"x"].concat()), Err(NotAuthentic), "{label}");
        let decrypting = keys.iter().filter(|key| key.decrypt(ciphertext, context).is_ok()).count();
        assert_eq!(decrypting, 1, "{label}");
    });
}

#[test]
fn the_same_secret_for_the_other_algorithm_cannot_decrypt_any_format() {
    for vector in vectors() {
        let other = match vector.algorithm() {
            Algorithm::Aes256 => Algorithm::ChaCha20,
            Algorithm::ChaCha20 => Algorithm::Aes256,
        };
        let json: serde_json::Value = serde_json::from_str(&vector.stored["json"]).unwrap();
        let secret = bytes(json["bytes"].as_str().unwrap());
        let key = Key::import(other, &secret, OffsetDateTime::UNIX_EPOCH, "").unwrap();
        for one in &vector.ciphertexts {
            assert_eq!(key.decrypt(bytes(&one.ciphertext), &bytes(&one.context)), Err(NotAuthentic));
        }
    }
}

#[test]
fn a_ciphertext_that_names_the_other_algorithm_is_not_authentic() {
    for_each_ciphertext(|key, _, context, ciphertext, label| {
        if label.ends_with("json") {
            let text = std::str::from_utf8(ciphertext).unwrap();
            let (own, other) = match key.algorithm() {
                Algorithm::Aes256 => ("AES-256-GCM-HMAC-SHA-256", "ChaCha20Poly1305"),
                Algorithm::ChaCha20 => ("ChaCha20Poly1305", "AES-256-GCM-HMAC-SHA-256"),
            };
            assert!(text.contains(own), "{label}");
            assert_eq!(key.decrypt(text.replace(own, other).as_bytes(), context), Err(NotAuthentic), "{label}");
        }
    });
}

#[test]
fn every_hmac_matches() {
    for vector in vectors() {
        for one in &vector.hmacs {
            let hmac = vector.key().hmac(&bytes(&one.message)).unwrap();
            assert_eq!(hmac.as_slice(), bytes(&one.hmac), "{}", vector.name);
        }
    }
}
