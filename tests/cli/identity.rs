//! `keyway identity`: creating identities, and using them with a server.

use keyway::identity::api_key::ApiKey;

use crate::support::openssl::openssl;
use crate::support::shell::mode;
use crate::support::{Client, Server, Setup, Shell};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text:?}"))
}

#[test]
fn a_new_api_key_is_known_to_a_server_by_the_identity_that_comes_with_it() {
    let shell = Shell::new();
    let new = json(&shell.done(&["identity", "new", "--json"]));
    let (api_key, identity) = (new["api_key"].as_str().unwrap(), new["identity"].as_str().unwrap());
    let policies = format!("policy:\n  new:\n    allow: [/v1/key/create/*]\n    identities: ['{identity}']\n");
    let server = Server::with(Setup { policies, ..Setup::default() });
    let shell =
        Shell::of(&server, &server.admin).unset("KES_CLIENT_KEY").unset("KES_CLIENT_CERT").set("KES_API_KEY", api_key);
    shell.done(&["key", "create", "a"]);
    shell.fails(3, &["key", "rm", "a", "--yes"]);
    let info = shell.done(&["identity", "info"]);
    assert!(info.contains(&format!("Identity: {identity}")) && info.contains("Policy: new"), "{info}");
    let plain = shell.done(&["identity", "new"]);
    assert!(plain.starts_with("api_key: kes:v1:") && plain.contains("\nidentity: "), "{plain}");
    assert!(!plain.contains(api_key), "each is new");
}

#[test]
fn a_new_identity_in_files_works_at_a_server_and_for_openssl() {
    let shell = Shell::new();
    let identity = shell.done(&["identity", "new", "--key", "new.key", "--cert", "new.cert"]);
    assert_eq!(mode(&shell.path("new.key")), 0o600);
    openssl(shell.dir.path(), "verify -check_ss_sig -purpose sslclient -CAfile new.cert new.cert");
    openssl(shell.dir.path(), "pkey -in new.key -pubout -outform DER -out new.der");
    assert!(openssl(shell.dir.path(), "dgst -sha256 -r new.der").starts_with(&identity));
    let policies = format!("policy:\n  new:\n    allow: [/v1/key/create/*]\n    identities: ['{identity}']\n");
    let server = Server::with(Setup { policies, ..Setup::default() });
    let at = |name: &str| shell.path(name).display().to_string();
    let shell =
        Shell::of(&server, &server.admin).set("KES_CLIENT_KEY", &at("new.key")).set("KES_CLIENT_CERT", &at("new.cert"));
    shell.done(&["key", "create", "a"]);
}

#[test]
fn existing_files_are_replaced_only_with_force_and_only_both() {
    let shell = Shell::new();
    shell.file("old.cert", "old");
    let new = ["identity", "new", "--key", "new.key", "--cert", "old.cert"];
    let said = shell.fails(1, &new);
    assert!(said.contains("old.cert already exists") && said.contains("--force"), "{said}");
    assert!(!shell.path("new.key").exists());
    assert_eq!(std::fs::read(shell.path("old.cert")).unwrap(), b"old");
    let identity = shell.done(&[&new[..], &["--force"]].concat());
    assert_eq!(shell.done(&["identity", "of", "old.cert"]), identity);
    assert_eq!(shell.done(&["identity", "of", "new.key"]), identity);
    let said = shell.fails(1, &["identity", "new", "--key", "none/a.key", "--cert", "a.cert"]);
    assert!(said.contains("none/a.key"), "{said}");
    let entries: Vec<_> =
        std::fs::read_dir(shell.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries.len(), 2, "{entries:?}");
    shell.fails(2, &["identity", "new", "--key", "a.key"]);
    shell.fails(2, &["identity", "new", "--encrypt"]);
    shell.fails(2, &["identity", "new", "--key", "a", "--cert", "a"]);
}

#[test]
fn an_encrypted_key_prompts_twice_and_is_readable_by_openssl_and_clients() {
    let shell = Shell::new();
    let new = ["identity", "new", "--key", "a.key", "--cert", "a.cert", "--encrypt"];
    let said = shell.fails(2, &new);
    assert!(said.contains("no terminal"), "{said}");
    let ended = shell.terminal(&new, &[("Password", "hunter2\r"), ("Repeat", "hunter3\r")]);
    assert!(ended.code == Some(1) && ended.stdout.contains("do not match"), "{ended:?}");
    let ended = shell.terminal(&new, &[("Password", "\r")]);
    assert!(ended.code == Some(1) && ended.stdout.contains("empty"), "{ended:?}");
    let ended = shell.terminal(&new, &[("Password", "hunt\u{3}")]);
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(std::fs::read_dir(shell.dir.path()).unwrap().count(), 0, "nothing was written");
    // With typing errors deleted again, one of them a character of two bytes.
    let ended = shell.terminal(&new, &[("Password", "wrong\u{15}hü\u{7f}unterr\u{7f}2\r"), ("Repeat", "hunter2\r")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("hunter2"), "{ended:?}");
    assert_eq!(mode(&shell.path("a.key")), 0o600);
    let text = std::fs::read_to_string(shell.path("a.key")).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
    openssl(shell.dir.path(), "pkey -in a.key -passin pass:hunter2 -noout");
    let identity = shell.done(&["identity", "of", "a.cert"]);
    assert!(shell.fails(2, &["identity", "of", "a.key"]).contains("KEYWAY_CLIENT_KEY_PASSWORD"));
    let ended = shell.terminal(&["identity", "of", "a.key"], &[("Password for a.key", "hunter2\r")]);
    assert!(ended.code == Some(0) && ended.stdout.contains(&identity), "{ended:?}");
    let shell = shell.set("KEYWAY_CLIENT_KEY_PASSWORD", "hunter2");
    assert_eq!(shell.done(&["identity", "of", "a.key"]), identity);
}

#[test]
fn a_certificate_for_a_server_works_in_a_server() {
    let shell = Shell::new();
    let new = "identity new --key s.key --cert s.cert --ip 127.0.0.1 --dns localhost --expiry 720h";
    shell.done(&new.split(' ').collect::<Vec<_>>());
    let read = |name: &str| std::fs::read_to_string(shell.path(name)).unwrap();
    let text = openssl(shell.dir.path(), "x509 -in s.cert -noout -text");
    for part in ["IP Address:127.0.0.1", "DNS:localhost", "TLS Web Server Authentication", "CA:FALSE"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    openssl(shell.dir.path(), "x509 -in s.cert -noout -checkend 2591000"); // 720 h are 2,592,000 s
    assert!(shell.run(&["identity", "new", "--key", "t.key", "--cert", "t.cert", "--expiry", "1d"]).code == Some(2));
    let server = Server::with(Setup { certificate: Some((read("s.cert"), read("s.key"))), ..Setup::default() });
    let shell = Shell::of(&server, &server.admin);
    shell.done(&["key", "create", "a"]);
    shell.done(&["key", "ls", "--server", &format!("https://localhost:{}", server.address.port())]);
}

#[test]
fn the_identity_of_a_certificate_a_key_and_an_api_key_is_what_servers_see() {
    let shell = Shell::new();
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let client = Client::with_algorithm("client", algorithm);
        let (certificate, key) = client.pem();
        let identity = client.identity();
        let (certificate_file, key_file) = (shell.file("a.cert", &certificate), shell.file("a.key", &key));
        let both = shell.file("both", format!("{key}{certificate}"));
        for file in [&certificate_file, &key_file, &both] {
            assert_eq!(shell.done(&["identity", "of", file]), identity.as_str(), "{file}");
        }
        assert_eq!(shell.run_with(&["identity", "of"], key.as_bytes()).stdout.trim_end(), identity.as_str());
        assert_eq!(json(&shell.done(&["identity", "of", &key_file, "--json"]))["identity"], identity.as_str());
    }
    openssl(shell.dir.path(), "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key");
    openssl(shell.dir.path(), "pkey -in rsa.key -pubout -outform DER -out rsa.der");
    let digest = openssl(shell.dir.path(), "dgst -sha256 -r rsa.der");
    assert!(digest.starts_with(&shell.done(&["identity", "of", "rsa.key"])));
    let api_key = ApiKey::generate().unwrap();
    let file = shell.file("api-key", format!("{}\n", api_key.to_text().as_str()));
    assert_eq!(shell.done(&["identity", "of", &file]), api_key.identity().as_str());
    let ended = shell.run(&["identity", "of", &api_key.to_text()]);
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), api_key.identity().as_str()));
    assert!(ended.stderr.starts_with("warning: the API key on the command line"), "{ended:?}");
}

#[test]
fn a_file_without_an_identity_is_refused_with_the_reason() {
    let shell = Shell::new();
    for (name, content, part) in [
        ("empty", "", "empty"),
        ("text", "hello", "not PEM"),
        ("half", "-----BEGIN CERTIFICATE-----\nAQID\n", "cut off"),
        ("api-key", "kes:v1:AAAA", "3 bytes"),
    ] {
        let file = shell.file(name, content);
        let said = shell.fails(1, &["identity", "of", &file]);
        assert!(said.contains(part) && said.contains(name), "{part}: {said}");
    }
    assert!(shell.fails(1, &["identity", "of", "missing"]).contains("No such file"));
}

#[test]
fn a_server_lists_the_identities_it_knows() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let list = shell.done(&["identity", "ls"]);
    let mut expected = [&server.admin, &server.app, &server.ops].map(|client| client.identity().to_string());
    expected.sort();
    assert_eq!(list, expected.join("\n"));
    let app = server.app.identity();
    assert!(shell.done(&["identity", "info", app.as_str()]).contains("Policy: app"));
    assert_eq!(json(&shell.done(&["identity", "info", app.as_str(), "--json"]))["policy"], "app");
    assert!(shell.done(&["identity", "info"]).contains("Admin: yes"));
    let stranger = server.stranger.identity();
    assert!(shell.fails(4, &["identity", "info", stranger.as_str()]).contains("identity does not exist"));
    let table = shell.terminal(&["identity", "ls"], &[]).stdout;
    assert!(table.contains("POLICY") && table.contains("(admin)") && table.contains("ops"), "{table}");
    assert_eq!(Shell::of(&server, &server.app).run(&["identity", "ls"]).code, Some(3));
}

#[test]
fn key_and_certificate_cannot_be_one_file_under_two_paths() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (directory.path().join("a"), directory.path().join("./a"));
    for round in 0..2 {
        let ended = crate::support::program::run([
            "identity".into(),
            "new".into(),
            "--force".into(),
            "--key".into(),
            one.as_os_str().to_owned(),
            "--cert".into(),
            other.as_os_str().to_owned(),
        ]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("the same file"), "{ended:?}");
        assert_eq!(one.exists(), round > 0);
        std::fs::write(&one, "something").unwrap();
    }
    assert_eq!(std::fs::read(&one).unwrap(), b"something");
}
