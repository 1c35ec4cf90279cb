//! Tests of stored keys, intact and damaged.

use proptest::prelude::*;

use super::*;

/// The byte that all secrets here consist of: in base64 `Kysr...`, in hex `2b2b...`, in `Debug` output `43, 43...`.
const BYTE: u8 = b'+';

fn message(key_len: usize) -> KeyVersion {
    KeyVersion {
        key: Some(SecretKey { key: vec![BYTE; key_len], algorithm: 1 }),
        hmac_key: Some(HmacKey { key: vec![BYTE; 32], hash: SHA256 }),
        created_at: Some(Timestamp { seconds: 1_700_000_000, nanos: 5 }),
        created_by: "someone".to_owned(),
    }
}

fn stored(message: &KeyVersion) -> Vec<u8> {
    BASE64_STANDARD.encode(message.encode_to_vec()).into_bytes()
}

/// The error for a value that must be rejected. Checks that it does not reveal the value.
fn rejection(value: &[u8]) -> Damaged {
    let damage = read(value).expect_err(&String::from_utf8_lossy(value));
    let text = format!("{damage} {damage:?}");
    for leak in ["Kys", "2b2b", "43, 43", "++"] {
        assert!(!text.contains(leak), "{text}");
    }
    damage
}

#[test]
fn a_key_is_read_and_written_back_unchanged() {
    let key = read(&stored(&message(32))).unwrap();
    assert_eq!(key.algorithm, Algorithm::Aes256);
    assert_eq!(key.secret.as_bytes(), &[BYTE; 32]);
    assert_eq!(key.hmac_secret.as_ref().unwrap().as_bytes(), &[BYTE; 32]);
    assert_eq!(key.created_at.unwrap().unix_timestamp_nanos(), 1_700_000_000_000_000_005);
    assert_eq!(key.created_by, "someone");
    assert_eq!(*write(&key), stored(&message(32)));
}

#[test]
fn absent_fields_stay_absent() {
    let bare = stored(&KeyVersion { hmac_key: None, created_at: None, created_by: String::new(), ..message(32) });
    let key = read(&bare).unwrap();
    assert!(key.hmac_secret.is_none() && key.created_at.is_none() && key.created_by.is_empty());
    assert_eq!(*write(&key), bare);
}

#[test]
fn line_breaks_and_surrounding_white_space_are_ignored() {
    let value = String::from_utf8(stored(&message(32))).unwrap();
    let (start, end) = value.split_at(76);
    for edited in [format!("{value}\n"), format!(" \t{value}\r\n\n"), format!("{start}\r\n{end}\n")] {
        assert_eq!(*write(&read(edited.as_bytes()).unwrap()), value.as_bytes());
    }
    assert_eq!(rejection(format!("{start} {end}").as_bytes()), Damaged::Encoding);
}

#[test]
fn unknown_fields_are_ignored() {
    // Field 15, a varint.
    let bytes = [message(32).encode_to_vec(), vec![0x78, 0x01]].concat();
    assert!(read(BASE64_STANDARD.encode(bytes).as_bytes()).is_ok());
    assert!(read(format!(r#"{{"bytes":"{}","id":[1]}}"#, BASE64_STANDARD.encode([BYTE; 32])).as_bytes()).is_ok());
}

#[test]
fn a_value_that_is_not_a_key_is_rejected_with_the_reason() {
    for (value, expected) in [
        ("", Damaged::Empty),
        (" \r\n", Damaged::Empty),
        ("A", Damaged::Encoding),
        ("!", Damaged::Encoding),
        ("total 8\n-rw------- 1 kes kes 208 Mar 24 12:37 my-key\n", Damaged::Encoding),
        ("null", Damaged::Protobuf), // base64 of three bytes, too
        ("AAAA", Damaged::Protobuf),
        ("{", Damaged::Json),
        ("{}", Damaged::NoKey),
        (r#"{"bytes":""}"#, Damaged::NoKey),
        (r#"{"bytes":null}"#, Damaged::Json),
        (r#"{"bytes":"Kysr"}"#, Damaged::KeySize(3)),
        (r#"{"bytes":"Kysr+"}"#, Damaged::Json),
        (r#"{"bytes":43}"#, Damaged::Json),
        (r#"{"bytes":"Kysr"} {}"#, Damaged::Json),
    ] {
        assert_eq!(rejection(value.as_bytes()), expected, "{value}");
    }
    assert_eq!(rejection(&vec![b'K'; MAX_LEN + 1]), Damaged::TooLong(MAX_LEN + 1));
    assert_eq!(rejection(&vec![b'\xff'; 300]), Damaged::Encoding);
}

#[test]
fn a_key_of_another_size_is_rejected() {
    assert_eq!(rejection(&stored(&message(0))), Damaged::NoKey);
    for len in [1, 16, 31, 33, 64, 30_000] {
        assert_eq!(rejection(&stored(&message(len))), Damaged::KeySize(len));
        let hmac_key = Some(HmacKey { key: vec![BYTE; len], hash: SHA256 });
        assert_eq!(rejection(&stored(&KeyVersion { hmac_key, ..message(32) })), Damaged::HmacKeySize(len));
        let json = format!(r#"{{"bytes":"{}"}}"#, BASE64_STANDARD.encode(vec![BYTE; len]));
        assert_eq!(rejection(json.as_bytes()), Damaged::KeySize(len));
    }
}

#[test]
fn an_unknown_algorithm_or_hash_is_rejected_and_an_invalid_time_is_left_out() {
    for algorithm in [0, 3, u32::MAX] {
        let key = Some(SecretKey { key: vec![BYTE; 32], algorithm });
        assert_eq!(rejection(&stored(&KeyVersion { key, ..message(32) })), Damaged::Algorithm);
    }
    for hash in [0, 2, u32::MAX] {
        let hmac_key = Some(HmacKey { key: vec![BYTE; 32], hash });
        assert_eq!(rejection(&stored(&KeyVersion { hmac_key, ..message(32) })), Damaged::Hash(hash));
    }
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
        let created_at = Some(Timestamp { seconds, nanos });
        assert_eq!(read(&stored(&KeyVersion { created_at, ..message(32) })).unwrap().created_at, None);
    }
    let bytes = BASE64_STANDARD.encode([BYTE; 32]);
    let json = |field: &str, value: &str| format!(r#"{{"bytes":"{bytes}","{field}":"{value}"}}"#).into_bytes();
    assert_eq!(rejection(&json("algorithm", "AES512")), Damaged::Algorithm);
    assert_eq!(read(&json("created_at", "yesterday")).unwrap().created_at, None);
}

#[test]
fn json_with_empty_texts_is_read_like_the_oldest_encoding() {
    let bytes = BASE64_STANDARD.encode([BYTE; 32]);
    let json = format!(r#"{{"bytes":"{bytes}","algorithm":"","created_at":"","created_by":""}}"#);
    let key = read(json.as_bytes()).unwrap();
    assert_eq!((key.algorithm, key.created_at, key.created_by.as_str()), (Algorithm::Aes256, None, ""));
}

#[test]
fn a_time_with_an_offset_is_converted_to_utc() {
    let json = |time: &str| {
        read(format!(r#"{{"bytes":"{}","created_at":"{time}"}}"#, BASE64_STANDARD.encode([BYTE; 32])).as_bytes())
    };
    let created_at = json("2023-03-24T14:37:33+02:00").unwrap().created_at.unwrap();
    assert_eq!(created_at.format(&Rfc3339).unwrap(), "2023-03-24T12:37:33Z");
    assert_eq!(json("9999-12-31T23:59:59-01:00").unwrap().created_at, None);
}

#[test]
fn a_value_truncated_anywhere_is_rejected_or_keeps_its_secret() {
    // A value truncated between two fields is the same as a key without the later ones.
    let json = format!(r#"{{"bytes":"{}","algorithm":"AES256"}}"#, BASE64_STANDARD.encode([BYTE; 32]));
    for whole in [stored(&message(32)), json.into_bytes()] {
        for len in 0..whole.len() {
            match read(&whole[..len]) {
                Ok(key) => assert_eq!(key.secret.as_bytes(), &[BYTE; 32]),
                Err(_) => _ = rejection(&whole[..len]),
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = read(&bytes);
        let _ = read(&[b"{", bytes.as_slice()].concat());
        let _ = read(BASE64_STANDARD.encode(&bytes).as_bytes());
    }

    #[test]
    fn every_key_is_read_back_unchanged(
        secret: [u8; 32], hmac: Option<[u8; 32]>, chacha20: bool, created_by: String,
        time in proptest::option::of((-62_135_596_800_i64..253_402_300_800, 0..1_000_000_000_u32)),
    ) {
        let key = Key {
            names_algorithm: true,
            algorithm: if chacha20 { Algorithm::ChaCha20 } else { Algorithm::Aes256 },
            secret: Secret::copy_of(&secret).unwrap(),
            hmac_secret: hmac.map(|hmac| Secret::copy_of(&hmac).unwrap()),
            created_at: time.map(|(seconds, nanos)| {
                OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanos).unwrap()
            }),
            created_by,
        };
        let read = read(&write(&key)).unwrap();
        prop_assert_eq!(read.algorithm, key.algorithm);
        prop_assert_eq!(read.secret.as_bytes(), key.secret.as_bytes());
        prop_assert_eq!(
            read.hmac_secret.as_ref().map(Secret::as_bytes),
            key.hmac_secret.as_ref().map(Secret::as_bytes)
        );
        prop_assert_eq!((read.created_at, read.created_by), (key.created_at, key.created_by));
    }
}

#[test]
fn a_key_that_names_no_algorithm_decrypts_what_its_ciphertexts_name() {
    let bytes = BASE64_STANDARD.encode([BYTE; 32]);
    let nameless = read(format!(r#"{{"bytes":"{bytes}"}}"#).as_bytes()).unwrap();
    let named = read(format!(r#"{{"bytes":"{bytes}","algorithm":"AES256"}}"#).as_bytes()).unwrap();
    let of = |algorithm| Key::import(algorithm, &[BYTE; 32], OffsetDateTime::UNIX_EPOCH, "").unwrap();
    for (algorithm, name) in
        [(Algorithm::ChaCha20, "ChaCha20Poly1305"), (Algorithm::Aes256, "AES-256-GCM-HMAC-SHA-256")]
    {
        let ciphertext = of(algorithm).encrypt(b"message", b"context").unwrap();
        let (rest, nonce) = ciphertext.split_at(ciphertext.len() - 12);
        let (sealed, iv) = rest.split_at(rest.len() - 16);
        let [sealed, iv, nonce] = [sealed, iv, nonce].map(|bytes| BASE64_STANDARD.encode(bytes));
        let json = format!(r#"{{"aead":"{name}","iv":"{iv}","nonce":"{nonce}","bytes":"{sealed}"}}"#);
        assert_eq!(nameless.decrypt(json.as_bytes(), b"context").unwrap().to_vec(), b"message", "{name}");
        assert_eq!(named.decrypt(json.as_bytes(), b"context").is_ok(), algorithm == Algorithm::Aes256, "{name}");
    }
    assert_eq!(nameless.algorithm(), Algorithm::Aes256);
}
