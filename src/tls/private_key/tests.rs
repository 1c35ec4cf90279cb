//! Tests with private keys that the `openssl` program creates.

use std::fs;

use tempfile::TempDir;

use super::openssl::openssl;
use super::*;

const PASSWORD: &[u8] = b"correct horse";

/// Commands that create `key.pem`, a plain PKCS#8 key.
const PLAIN: [&str; 5] = [
    "genpkey -algorithm ED25519 -out key.pem",
    "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
    "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem",
    "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key.pem",
    "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem",
];

/// A directory with a plain key in `key.pem` and [`PASSWORD`] in the file `password`.
fn directory(command: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("password"), PASSWORD).unwrap();
    openssl(directory.path(), command);
    directory
}

fn ecdsa() -> TempDir {
    directory(PLAIN[1])
}

/// The public key that rustls derives from a private key.
fn public_key(key: &PrivateKeyDer<'static>) -> Vec<u8> {
    rustls::crypto::aws_lc_rs::sign::any_supported_type(key).unwrap().public_key().unwrap().to_vec()
}

/// The error of loading `file`, without the directory. Checks that it contains no secret.
fn refusal(directory: &TempDir, file: &str, password: Option<&[u8]>) -> String {
    let path = directory.path().join(file);
    let error = load(&path, password).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("correct") && !text.contains("wrong horse"), "{text}");
    for line in fs::read_to_string(&path).unwrap_or_default().lines().filter(|line| line.len() > 30) {
        assert!(!text.contains(&line[..16]), "{text}");
    }
    error.to_string().replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn plain_keys_of_every_type_are_read() {
    for command in PLAIN {
        let directory = directory(command);
        let key = load(&directory.path().join("key.pem"), None).unwrap();
        assert_eq!(public_key(&key), openssl(directory.path(), "pkey -in key.pem -pubout -outform DER"), "{command}");
    }
}

#[test]
fn the_older_plain_formats_are_read() {
    let old = directory("ecparam -name prime256v1 -genkey -out old.pem"); // EC PARAMETERS, then the key
    assert!(matches!(load(&old.path().join("old.pem"), None).unwrap(), PrivateKeyDer::Sec1(_)));
    let old = directory("genrsa -traditional -out old.pem 2048");
    assert!(matches!(load(&old.path().join("old.pem"), None).unwrap(), PrivateKeyDer::Pkcs1(_)));
}

#[test]
fn a_key_with_the_label_of_another_format_is_read() {
    let directory = ecdsa();
    let text = fs::read_to_string(directory.path().join("key.pem")).unwrap();
    fs::write(directory.path().join("other.pem"), text.replace("PRIVATE KEY", "RSA PRIVATE KEY")).unwrap();
    assert!(matches!(load(&directory.path().join("other.pem"), None).unwrap(), PrivateKeyDer::Pkcs8(_)));
}

#[test]
fn encrypted_pkcs8_is_read_for_every_type_and_scheme() {
    for (command, scheme) in [
        (PLAIN[0], "-v2 aes-256-cbc -v2prf hmacWithSHA256"),
        (PLAIN[1], "-v2 aes-256-cbc -v2prf hmacWithSHA256"),
        (PLAIN[4], "-v2 aes-256-cbc -v2prf hmacWithSHA256"),
        (PLAIN[1], "-v2 aes-128-cbc -v2prf hmacWithSHA512"),
        (PLAIN[1], "-v2 aes-192-cbc"),
        (PLAIN[1], "-v2 aes-256-cbc -v2prf hmacWithSHA1"),
        (PLAIN[1], "-v2 des3"),
        (PLAIN[1], "-scrypt -scrypt_N 1024"),
        (PLAIN[0], "-scrypt"),
    ] {
        let directory = directory(command);
        openssl(
            directory.path(),
            &format!("pkcs8 -topk8 -in key.pem -out encrypted.pem -passout file:password {scheme}"),
        );
        let key = load(&directory.path().join("encrypted.pem"), Some(PASSWORD)).unwrap();
        let plain = load(&directory.path().join("key.pem"), None).unwrap();
        assert_eq!(public_key(&key), public_key(&plain), "{scheme}");
        assert_wrong_passwords_are_rejected(&directory);
    }
}

#[test]
fn encrypted_rfc_1423_is_read_for_every_key_length() {
    for (command, form) in [(PLAIN[1], "ec"), (PLAIN[4], "rsa -traditional")] {
        for cipher in ["-aes256", "-aes192", "-aes128"] {
            let directory = directory(command);
            openssl(
                directory.path(),
                &format!("{form} -in key.pem {cipher} -out encrypted.pem -passout file:password"),
            );
            let text = fs::read_to_string(directory.path().join("encrypted.pem")).unwrap();
            assert!(text.contains("DEK-Info: AES-"), "{text}");
            let key = load(&directory.path().join("encrypted.pem"), Some(PASSWORD)).unwrap();
            let plain = load(&directory.path().join("key.pem"), None).unwrap();
            assert_eq!(public_key(&key), public_key(&plain), "{form} {cipher}");
            assert_wrong_passwords_are_rejected(&directory);
        }
    }
}

#[test]
fn encrypted_pkcs8_with_rfc_1423_headers_is_read_as_kes_writes_it() {
    for command in PLAIN {
        let directory = directory(command);
        openssl(directory.path(), "pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der");
        // openssl cannot write this format, but can derive the same key and encrypt with it.
        let derived = "enc -aes-256-cbc -md md5 -S 0001020304050607 -pass file:password -P";
        let derived = String::from_utf8(openssl(directory.path(), derived)).unwrap();
        let key = derived.lines().find_map(|line| line.strip_prefix("key=")).unwrap();
        let iv = "000102030405060708090A0B0C0D0E0F";
        let encrypted = openssl(directory.path(), &format!("enc -aes-256-cbc -K {key} -iv {iv} -in key.der"));

        let mut section = Pem::new("PRIVATE KEY", encrypted);
        section.headers_mut().add("Proc-Type", "4,ENCRYPTED").unwrap();
        section.headers_mut().add("DEK-Info", &format!("AES-256-CBC,{iv}")).unwrap();
        fs::write(directory.path().join("encrypted.pem"), pem::encode(&section)).unwrap();
        let key = load(&directory.path().join("encrypted.pem"), Some(PASSWORD)).unwrap();
        let plain = load(&directory.path().join("key.pem"), None).unwrap();
        assert_eq!(public_key(&key), public_key(&plain), "{command}");
        assert_wrong_passwords_are_rejected(&directory);
    }
}

fn assert_wrong_passwords_are_rejected(directory: &TempDir) {
    for password in [b"wrong horse".as_slice(), b"", b"correct horse\n"] {
        let message = refusal(directory, "encrypted.pem", Some(password));
        assert_eq!(message, "encrypted.pem: the password in tls.password does not decrypt the private key");
    }
    assert_eq!(
        refusal(directory, "encrypted.pem", None),
        "encrypted.pem: the private key is encrypted; set tls.password"
    );
}

#[test]
fn two_thousand_wrong_passwords_are_rejected() {
    // About eight of them give valid padding.
    let directory = ecdsa();
    openssl(directory.path(), "ec -in key.pem -aes256 -out encrypted.pem -passout file:password");
    let file = directory.path().join("encrypted.pem");
    for i in 0..2000 {
        let error = load(&file, Some(format!("{i}").as_bytes())).unwrap_err();
        assert!(matches!(error.problem, PrivateKeyProblem::WrongPassword), "{i}: {error}");
    }
}

#[test]
fn the_password_is_ignored_for_a_plain_key() {
    let directory = ecdsa();
    assert!(load(&directory.path().join("key.pem"), Some(PASSWORD)).is_ok());
}

#[test]
fn a_key_is_found_between_certificates() {
    let directory = ecdsa();
    openssl(directory.path(), "req -x509 -key key.pem -subj /CN=localhost -out server.crt");
    let [key, certificate] =
        ["key.pem", "server.crt"].map(|file| fs::read_to_string(directory.path().join(file)).unwrap());
    for text in [format!("{certificate}{key}{certificate}"), format!("{key}{certificate}")] {
        fs::write(directory.path().join("both.pem"), text).unwrap();
        assert!(load(&directory.path().join("both.pem"), None).is_ok());
    }
    assert_eq!(
        refusal(&directory, "server.crt", None),
        "server.crt: contains no private key, but a certificate; are the two files swapped?"
    );
    fs::write(directory.path().join("two.pem"), key.repeat(2)).unwrap();
    assert_eq!(refusal(&directory, "two.pem", None), "two.pem: contains 2 private keys; keep only one");
}

#[test]
fn a_file_that_is_not_pem_has_a_specific_error() {
    let directory = ecdsa();
    openssl(directory.path(), "pkey -in key.pem -outform DER -out key.der");
    fs::write(directory.path().join("empty"), "").unwrap();
    fs::write(directory.path().join("garbage"), [0xff; 200]).unwrap();
    fs::create_dir(directory.path().join("folder")).unwrap();
    for (file, expected) in [
        ("none", "none: no such file"),
        ("empty", "empty: the file is empty"),
        ("folder", "folder: is a directory; specify a file"),
        ("garbage", "garbage: not PEM: no line begins with -----BEGIN"),
    ] {
        assert_eq!(refusal(&directory, file, None), expected);
    }
    assert!(refusal(&directory, "key.der", None).starts_with("key.der: binary (DER or PKCS#12) instead of PEM"));
}

#[test]
fn a_damaged_key_is_rejected() {
    let directory = ecdsa();
    let whole = fs::read_to_string(directory.path().join("key.pem")).unwrap();
    for len in "-----BEGIN ".len()..whole.trim_end().len() {
        fs::write(directory.path().join("cut.pem"), &whole[..len]).unwrap();
        assert!(refusal(&directory, "cut.pem", None).contains("damaged or cut off"), "{len}");
    }
    fs::write(directory.path().join("changed.pem"), whole.replacen("MIG", "AAA", 1)).unwrap();
    assert!(refusal(&directory, "changed.pem", None).contains("the private key is damaged or of an unsupported type"));
}

#[test]
fn the_error_for_an_unsupported_key_says_what_to_do() {
    let directory = directory(PLAIN[4]);
    openssl(directory.path(), "rsa -traditional -in key.pem -des3 -out des3.pem -passout file:password");
    openssl(directory.path(), "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in key.pem -out pkcs12.pem -passout file:password");
    for file in ["des3.pem", "pkcs12.pem"] {
        let message = refusal(&directory, file, Some(PASSWORD));
        assert!(
            message.contains("encryption of the private key is not supported; convert it with openssl"),
            "{message}"
        );
    }
    for (label, expected) in [
        ("OPENSSH PRIVATE KEY", "the format of the private key is not supported"),
        ("ENCRYPTED PRIVATE KEY", "the encrypted private key is damaged"),
        ("PRIVATE KEY", "the private key is damaged or of an unsupported type"),
        ("PUBLIC KEY", "contains no private key, but a public key"),
        ("correct horse", "contains no private key, but other data"),
    ] {
        fs::write(directory.path().join("other.pem"), pem::encode(&Pem::new(label, [1, 2, 3]))).unwrap();
        let message = refusal(&directory, "other.pem", Some(PASSWORD));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn keys_that_tls_cannot_use_are_rejected() {
    for command in [
        "genpkey -algorithm X25519 -out key.pem",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out key.pem",
    ] {
        assert!(refusal(&directory(command), "key.pem", None).contains("of an unsupported type"));
    }
}

#[test]
fn missing_or_invalid_headers_are_reported_as_damage() {
    let directory = ecdsa();
    openssl(directory.path(), "ec -in key.pem -aes256 -out encrypted.pem -passout file:password");
    let whole = fs::read_to_string(directory.path().join("encrypted.pem")).unwrap();
    let dek_info = whole.lines().find(|line| line.starts_with("DEK-Info")).unwrap();
    for replacement in ["X-Other: 1", "DEK-Info: AES-256-CBC", "DEK-Info: AES-256-CBC,00", "DEK-Info: AES-256-CBC,zz"] {
        fs::write(directory.path().join("other.pem"), whole.replace(dek_info, replacement)).unwrap();
        let message = refusal(&directory, "other.pem", Some(PASSWORD));
        assert_eq!(message, "other.pem: the encrypted private key is damaged", "{replacement}");
    }
}
