//! The server's own key: every form in which operators have it, and every way in which it is not usable.

use std::path::Path;

use reqwest::Method;

use crate::support::openssl::openssl;
use crate::support::program::{refusal, run};
use crate::support::{Client, Server, Setup};

const PASSWORD: &str = "correct-horse-battery";

/// How openssl creates a private key `server.key` in the form that the name says.
const PLAIN: [(&str, &str); 8] = [
    ("PKCS#8, P-256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out server.key"),
    ("PKCS#8, P-384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out server.key"),
    ("PKCS#8, RSA", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out server.key"),
    ("PKCS#8, Ed25519", "genpkey -algorithm ED25519 -out server.key"),
    ("PKCS#1", "genrsa -traditional -out server.key 2048"),
    ("SEC1", "ecparam -name prime256v1 -genkey -noout -out server.key"),
    ("SEC1 with parameters", "ecparam -name prime256v1 -genkey -out server.key"),
    ("SEC1, P-384", "ecparam -name secp384r1 -genkey -noout -out server.key"),
];

/// How openssl creates an encrypted `server.key` of the P-256 key `ec.key` or the RSA key `rsa.key`.
const ENCRYPTED: [(&str, &str); 8] = [
    ("PKCS#8, AES-256", "pkcs8 -topk8 -in ec.key -passout pass:PASSWORD -out server.key"),
    ("PKCS#8, RSA", "pkcs8 -topk8 -in rsa.key -passout pass:PASSWORD -out server.key"),
    ("PKCS#8, scrypt", "pkcs8 -topk8 -scrypt -in ec.key -passout pass:PASSWORD -out server.key"),
    ("PKCS#8, 3DES", "pkcs8 -topk8 -v2 des3 -in ec.key -passout pass:PASSWORD -out server.key"),
    (
        "PKCS#8, HMAC-SHA-1",
        "pkcs8 -topk8 -v2 aes128 -v2prf hmacWithSHA1 -in ec.key -passout pass:PASSWORD -out server.key",
    ),
    ("RFC 1423, EC", "ec -aes256 -in ec.key -passout pass:PASSWORD -out server.key"),
    ("RFC 1423, RSA", "rsa -traditional -aes256 -in rsa.key -passout pass:PASSWORD -out server.key"),
    ("RFC 1423, RSA, AES-128", "rsa -traditional -aes128 -in rsa.key -passout pass:PASSWORD -out server.key"),
];

/// Creates `server.key` and a certificate for it.
fn make(dir: &Path, command: &str) {
    openssl(dir, &command.replace("PASSWORD", PASSWORD));
    let certificate = "req -x509 -key server.key -subj /CN=server -addext subjectAltName=IP:127.0.0.1 \
                       -addext basicConstraints=CA:FALSE -days 2 -out server.cert";
    openssl(dir, &format!("{certificate} -passin pass:{PASSWORD}"));
}

fn make_inputs(dir: &Path) {
    openssl(dir, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key");
    openssl(dir, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key");
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

#[tokio::test]
async fn a_server_serves_with_a_plain_key_of_every_form() {
    for (form, command) in PLAIN {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), command);
        let certificate = Some((read(dir.path(), "server.cert"), read(dir.path(), "server.key")));
        let server = Server::with(Setup { certificate, ..Setup::default() });
        assert_eq!(server.get("/version").await.status, 200, "{form}");
    }
}

#[tokio::test]
async fn a_server_serves_with_an_encrypted_key_of_every_form_and_its_password_is_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    make_inputs(dir.path());
    for (form, command) in ENCRYPTED {
        make(dir.path(), command);
        let key = read(dir.path(), "server.key");
        assert!(key.contains("ENCRYPTED"), "{form}: {key}");
        let certificate = Some((read(dir.path(), "server.cert"), key));
        let env = vec![("KEYWAY_TEST_PASSWORD".to_owned(), PASSWORD.to_owned())];
        let tls = "password: ${KEYWAY_TEST_PASSWORD}".to_owned();
        let server = Server::with(Setup { tls, env, certificate, ..Setup::default() });
        let answer = server.request(&server.admin, Method::GET, "/version", None).await;
        assert_eq!(answer.status, 200, "{form}");
        assert!(!server.log().contains(PASSWORD) && !server.output().contains(PASSWORD), "{form}");
    }
}

/// A config with a key and certificate of these names and, perhaps, a password.
fn config(key: &str, certificate: &str, password: Option<&str>) -> String {
    let password = password.map(|password| format!("  password: {password}\n")).unwrap_or_default();
    format!(
        "address: @address@\nadmin: {{identity: disabled}}\nkeystore: {{fs: {{path: @dir@/keys}}}}\n\
         tls:\n  key: @dir@/{key}\n  cert: @dir@/{certificate}\n{password}"
    )
}

/// Asserts that the config is refused in words that hold all of `parts` and are said once, without the password.
fn refused(dir: &Path, config: &str, parts: &[&str]) {
    let message = refusal(dir, config);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    assert!(!message.contains(PASSWORD) && !message.contains("wrong-horse"), "{message}");
    let said = message.lines().next().unwrap().rsplit(": ").next().unwrap();
    assert_eq!(message.matches(said).count(), 1, "it is said more than once: {message}");
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_option_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    make(path, PLAIN[0].1);
    std::fs::write(path.join("empty"), "").unwrap();
    std::fs::write(path.join("text"), "my key").unwrap();
    let key = read(path, "server.key");
    std::fs::write(path.join("cut"), &key[..key.len() / 2]).unwrap();
    std::fs::write(path.join("twice"), format!("{key}{key}")).unwrap();
    std::fs::create_dir(path.join("directory")).unwrap();
    openssl(path, "pkey -in server.key -outform DER -out der");
    openssl(path, "pkey -in server.key -pubout -out public");
    for (file, remedy) in [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("text", "not PEM"),
        ("cut", "damaged or cut off"),
        ("twice", "keep only one"),
        ("directory", "is a directory"),
        ("der", "openssl pkey"),
        ("public", "public key"),
        ("server.cert", "are the two files swapped?"),
    ] {
        refused(path, &config(file, "server.cert", None), &["tls.key", &format!("/{file}: "), remedy]);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_option_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    make(path, PLAIN[0].1);
    std::fs::write(path.join("empty"), "").unwrap();
    std::fs::write(path.join("junk"), "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::create_dir(path.join("directory")).unwrap();
    for (file, remedy) in [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("junk", "not a valid X.509 certificate"),
        ("directory", "is a directory"),
        ("server.key", "are the two files swapped?"),
    ] {
        refused(path, &config("server.key", file, None), &["tls.cert", &format!("/{file}: "), remedy]);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_files() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), PLAIN[0].1);
    make_inputs(dir.path());
    for other in ["ec.key", "rsa.key"] {
        let parts = ["tls.key", "tls.cert", &format!("/{other}"), "/server.cert", "does not belong"];
        refused(dir.path(), &config(other, "server.cert", None), &parts);
    }
}

#[test]
fn a_wrong_or_missing_password_is_refused_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    make_inputs(dir.path());
    for (form, command) in ENCRYPTED {
        make(dir.path(), command);
        let wrong = config("server.key", "server.cert", Some("wrong-horse"));
        refused(dir.path(), &wrong, &["tls.password", "does not decrypt", "/server.key: "]);
        let missing = config("server.key", "server.cert", None);
        refused(dir.path(), &missing, &["set tls.password", "/server.key: "]);
        std::fs::write(
            dir.path().join("good.yml"),
            config("server.key", "server.cert", Some(PASSWORD))
                .replace("@dir@", &dir.path().display().to_string())
                .replace("@address@", "127.0.0.1:0"),
        )
        .unwrap();
        let checked = run(["check".as_ref(), dir.path().join("good.yml").as_os_str()]);
        assert_eq!(checked.code, Some(0), "{form}: {checked:?}");
    }
}

#[test]
fn an_encrypted_key_that_was_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    make_inputs(dir.path());
    for (form, command) in ENCRYPTED {
        make(dir.path(), command);
        // Half of the base64, between whole lines of PEM.
        let key = read(dir.path(), "server.key");
        let lines: Vec<_> = key.lines().collect();
        let cut = [&lines[..=lines.len() / 2], &lines[lines.len() - 1..]].concat().join("\n");
        std::fs::write(dir.path().join("cut.key"), cut).unwrap();
        let message = refusal(dir.path(), &config("cut.key", "server.cert", Some(PASSWORD)));
        assert!(message.contains("tls.key") && message.contains("/cut.key: "), "{form}: {message}");
        assert!(!message.contains(PASSWORD), "{form}: {message}");
    }
}

#[test]
fn a_certificate_that_has_expired_is_checked_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let expired = Client::with_params("expired", rcgen::KeyPair::generate().unwrap(), |params| {
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let (certificate, key) = expired.pem();
    std::fs::write(dir.path().join("server.cert"), certificate).unwrap();
    std::fs::write(dir.path().join("server.key"), key).unwrap();
    let text = config("server.key", "server.cert", None).replace("@address@", "127.0.0.1:0");
    let file = dir.path().join("config.yml");
    std::fs::write(&file, text.replace("@dir@", &dir.path().display().to_string())).unwrap();
    let checked = run(["check".as_ref(), file.as_os_str()]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains("warning: ") && checked.stderr.contains("server.cert"), "{checked:?}");
}
