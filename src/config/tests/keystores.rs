//! The keystores with their own settings: postgres, vault, aws.

use backends::vault::{Credential, KvVersion, Login, Transit};
use backends::{aws, postgres, vault};

use super::*;

/// Three lines before the keystore, which begins on line 4.
fn with_store(store: &str) -> String {
    format!("admin: {{identity: _}}\ntls: {{key: k, cert: c}}\nkeystore:\n{store}")
}

fn store(text: &str) -> BackendConfig {
    parsed(&with_store(text)).unwrap_or_else(|error| panic!("{text}\n{error}")).keystore
}

fn postgres(text: &str) -> postgres::Config {
    let BackendConfig::Postgres(config) = store(text) else { panic!("{text}") };
    *config
}

fn vault(text: &str) -> vault::Config {
    let BackendConfig::Vault(config) = store(text) else { panic!("{text}") };
    *config
}

fn aws(text: &str) -> aws::Config {
    let BackendConfig::Aws(config) = store(text) else { panic!("{text}") };
    *config
}

#[test]
fn postgres_has_defaults_and_every_key_is_read() {
    let minimal = postgres("  postgres: {url: 'postgres://u:p@h/d'}\n");
    let url = Some(backends::Secret::from("postgres://u:p@h/d".to_owned()));
    assert_eq!(minimal, postgres::Config { url, ..postgres::Config::default() });
    let all = postgres(
        "  postgres: {host: h, port: 6432, database: d, user: u, password: '${SECRET}', sslmode: verify-ca, ca: ca.pem, cert: \
         c.pem, key: k.pem, schema: s, migrate: off, connections: 3, connect_timeout: 1s, timeout: 4s, listen: {host: l, \
         port: 5433}}\n",
    );
    let expected = postgres::Config {
        url: None,
        host: Some("h".into()),
        port: Some(6432),
        database: Some("d".into()),
        user: Some("u".into()),
        password: Some(backends::Secret::from("hunter2".to_owned())),
        sslmode: Some(postgres::SslMode::VerifyCa),
        ca: Some("ca.pem".into()),
        cert: Some("c.pem".into()),
        key: Some("k.pem".into()),
        schema: "s".into(),
        migrate: false,
        connections: 3,
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(4),
        listen: postgres::Listen::At { host: "l".into(), port: 5433 },
    };
    assert_eq!(all, expected);
    for (word, listen) in [("off", postgres::Listen::Off), ("on", postgres::Listen::Same), ("", postgres::Listen::Same)]
    {
        assert_eq!(postgres(&format!("  postgres: {{url: 'postgres://u@h/d', listen: {word}}}\n")).listen, listen);
    }
}

#[test]
fn vault_has_the_defaults_of_kes_and_every_key_is_read() {
    let minimal = vault("  vault:\n    endpoint: https://v:8200\n    approle: {id: i, secret: 0012}\n");
    let login = Login::AppRole {
        engine: "approle".into(),
        namespace: None,
        id: "i".into(),
        secret: Credential::Text(backends::Secret::from("0012".to_owned())),
    };
    let expected = vault::Config {
        endpoint: "https://v:8200".into(),
        engine: "kv".into(),
        version: KvVersion::V1,
        namespace: None,
        prefix: String::new(),
        transit: None,
        login,
        tls: vault::Tls::default(),
    };
    assert_eq!(minimal, expected);
    let empty = vault(
        "  vault:\n    endpoint: https://v:8200\n    engine: \"\"\n    version: \"\"\n    namespace: \"\"\n    prefix: \"\"\n    \
         transit:\n    approle: {engine: \"\", namespace: \"\", id: i, secret: 0012}\n    tls: {key: \"\", cert: \"\", ca: \"\"}\n    \
         status: {ping: 10s}\n",
    );
    assert_eq!(empty, expected);
    let all = vault(
        "  vault:\n    endpoint: https://v:8200\n    engine: e\n    version: v2\n    namespace: n\n    prefix: p/q\n    \
         transit: {key: t}\n    kubernetes: {engine: k8s, namespace: /, role: r, jwt: /var/token}\n    \
         tls: {key: k.pem, cert: c.pem, ca: ca.pem}\n    status:\n      ping: 10s\n",
    );
    let expected = vault::Config {
        endpoint: "https://v:8200".into(),
        engine: "e".into(),
        version: KvVersion::V2,
        namespace: Some("n".into()),
        prefix: "p/q".into(),
        transit: Some(Transit { engine: "transit".into(), key: "t".into() }),
        login: Login::Kubernetes {
            engine: "k8s".into(),
            namespace: Some("/".into()),
            role: "r".into(),
            jwt: Credential::File("/var/token".into()),
        },
        tls: vault::Tls { key: Some("k.pem".into()), cert: Some("c.pem".into()), ca: Some("ca.pem".into()) },
    };
    assert_eq!(all, expected);
}

#[test]
fn every_login_method_of_vault_is_read() {
    let secret = || backends::Secret::from("hunter2".to_owned());
    let jwt = |jwt| Login::Jwt { engine: "jwt".into(), namespace: None, role: None, jwt };
    for (text, login) in [
        ("token: '${SECRET}'", Login::Token(secret())),
        ("token: hunter2, approle: ", Login::Token(secret())),
        ("token: '${EMPTY}', token_file: t", Login::TokenFile("t".into())),
        ("jwt: {jwt: hunter2}", jwt(Credential::Text(secret()))),
        ("jwt: {jwt: ./t}", jwt(Credential::File("./t".into()))),
        (
            "cert: {role: r}, tls: {key: k, cert: c}",
            Login::Cert { engine: "cert".into(), namespace: None, role: Some("r".into()) },
        ),
        (
            "approle: {id: i, secret_id_file: f}",
            Login::AppRole {
                engine: "approle".into(),
                namespace: None,
                id: "i".into(),
                secret: Credential::File("f".into()),
            },
        ),
    ] {
        assert_eq!(vault(&format!("  vault: {{endpoint: 'https://v', {text}}}\n")).login, login, "{text}");
    }
}

#[test]
fn aws_has_the_defaults_of_kes_and_every_key_is_read() {
    let none = "  aws:\n    secretsmanager:\n      endpoint: \"\"\n      region: \"\"\n      kmskey: \"\"\n      credentials:\n        \
                accesskey: \"\"\n        secretkey: \"\"\n        token: \"\"\n";
    assert_eq!(aws(none), aws::Config::default());
    assert_eq!(aws("  aws: {secretsmanager: }\n"), aws::Config::default());
    let all = aws(
        "  aws:\n    secretsmanager: {endpoint: secretsmanager.us-east-2.amazonaws.com, region: us-east-2, kmskey: k, \
         credentials: {accesskey: AKIA, secretkey: '${SECRET}', token: t}, prefix: kes/, recovery_window: 7, \
         timeout: {connect: 1s, attempt: 2s, operation: 5s}}\n",
    );
    let expected = aws::Config {
        endpoint: Some("secretsmanager.us-east-2.amazonaws.com".into()),
        region: Some("us-east-2".into()),
        kms_key: Some("k".into()),
        credentials: Some(aws::Credentials {
            access_key: "AKIA".into(),
            secret_key: backends::Secret::from("hunter2".to_owned()),
            token: Some(backends::Secret::from("t".to_owned())),
        }),
        prefix: "kes/".into(),
        recovery_window: Some(7),
        timeouts: aws::Timeouts {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(2),
            operation: Duration::from_secs(5),
        },
    };
    assert_eq!(all, expected);
}

#[test]
fn every_error_of_a_keystore_has_its_position() {
    let (url, vault) = ("url: 'postgres://u@h/d'", "endpoint: 'https://v'");
    let role = "approle: {id: i, secret: s}";
    for (text, path, contains) in [
        ("postgres: ".to_owned(), "4:3: keystore.postgres.url:", "is missing; set url, or host, database and user"),
        ("postgres: x".to_owned(), "4:13: keystore.postgres:", "expected a mapping"),
        (
            "postgres: {host: h, user: u}".to_owned(),
            "4:3: keystore.postgres.database:",
            "is missing; set it, or use url",
        ),
        ("postgres: {host: h, database: d, user: ''}".to_owned(), "4:3: keystore.postgres.user:", "is missing"),
        (format!("postgres: {{{url}, prot: 1}}"), "4:39: keystore.postgres.prot:", "did you mean 'port'?"),
        (format!("postgres: {{{url}, user: u}}"), "4:3: keystore.postgres:", "user"),
        ("postgres: {url: 'mysql://u@h/d'}".to_owned(), "4:3: keystore.postgres:", "postgres://"),
        ("postgres: {url: 'postgres://u:${X}@h/d'}".to_owned(), "4:19: keystore.postgres.url:", "not the whole value"),
        (format!("postgres: {{{url}, port: 0}}"), "4:45: keystore.postgres.port:", "use a number from 1 to 65535"),
        (format!("postgres: {{{url}, sslmode: prefer}}"), "4:48: keystore.postgres.sslmode:", "TLS"),
        (
            format!("postgres: {{{url}, sslmode: on}}"),
            "4:48: keystore.postgres.sslmode:",
            "'on' is not a valid sslmode; use",
        ),
        (format!("postgres: {{{url}, cert: c}}"), "4:3: keystore.postgres:", "cert and key"),
        (format!("postgres: {{{url}, schema: A-B}}"), "4:3: keystore.postgres:", "1 to 56"),
        (format!("postgres: {{{url}, connections: 1001}}"), "4:52: keystore.postgres.connections:", "from 1 to 1000"),
        (format!("postgres: {{{url}, timeout: 15s}}"), "4:3: keystore.postgres:", "1s to 14s"),
        (format!("postgres: {{{url}, connect_timeout: 4s}}"), "4:3: keystore.postgres:", "half of timeout"),
        (format!("postgres: {{{url}, migrate: x}}"), "4:48: keystore.postgres.migrate:", "is neither on nor off"),
        (format!("postgres: {{{url}, listen: x}}"), "4:47: keystore.postgres.listen:", "use on, off, or host and"),
        (format!("postgres: {{{url}, listen: {{host: l}}}}"), "4:39: keystore.postgres.listen.port:", "is missing"),
        (format!("vault: {{{role}}}"), "4:3: keystore.vault.endpoint:", "is missing; set it to the URL"),
        (format!("vault: {{{vault}}}"), "4:3: keystore.vault:", "has no login method; add one of approle, "),
        (format!("vault: {{{vault}, token: ''}}"), "4:3: keystore.vault:", "has no login method; add one of"),
        (
            format!("vault: {{{vault}, {role}, token: t}}"),
            "4:63: keystore.vault.token:",
            "'approle' (line 4) and 'token'",
        ),
        (format!("vault: {{{vault}, {role}, jwt: {{jwt: t}}}}"), "4:63: keystore.vault.jwt:", "only one login method"),
        (format!("vault: {{{vault}, approle: {{id: i}}}}"), "4:34: keystore.vault.approle.secret:", "secret_id_file"),
        (
            format!("vault: {{{vault}, approle: {{secret: s}}}}"),
            "4:34: keystore.vault.approle.id:",
            "is missing; set it",
        ),
        (
            format!("vault: {{{vault}, approle: {{id: i, secret: s, secret_id_file: f}}}}"),
            "4:34: keystore.vault.approle:",
            "both secret and secret_id_file; remove one",
        ),
        (format!("vault: {{{vault}, kubernetes: {{jwt: t}}}}"), "4:34: keystore.vault.kubernetes.role:", "is missing"),
        (
            format!("vault: {{{vault}, cert: {{role: r}}}}"),
            "4:3: keystore.vault.tls.cert:",
            "to the client certificate",
        ),
        (format!("vault: {{{vault}, {role}, tls: {{key: k}}}}"), "4:3: keystore.vault.tls.cert:", "or neither"),
        (
            format!("vault: {{{vault}, {role}, version: 2}}"),
            "4:72: keystore.vault.version:",
            "'2' is not a version of the KV",
        ),
        (
            format!("vault: {{{vault}, {role}, transit: {{}}}}"),
            "4:63: keystore.vault.transit.key:",
            "is missing; set it",
        ),
        (format!("vault: {{{vault}, {role}, prefix: a/../b}}"), "4:3: keystore.vault:", "'a/../b'"),
        (format!("vault: {{endpoint: v, {role}}}"), "4:3: keystore.vault:", "https://HOST:PORT"),
        (format!("vault: {{{vault}, {role}, status: {{ping: 10}}}}"), "4:78: keystore.vault.status.ping:", "no unit"),
        (format!("vault: {{{vault}, {role}, retry: 1s}}"), "4:63: keystore.vault.retry:", "unknown key"),
        ("aws: {secretsmanager: , region: x}".to_owned(), "4:27: keystore.aws.region:", "valid here: secretsmanager"),
        ("aws: ".to_owned(), "4:3: keystore.aws.secretsmanager:", "is missing; set endpoint and region"),
        ("aws: {secretsmanager: {endpoint: 'ftp://x'}}".to_owned(), "4:3: keystore.aws:", "URL"),
        ("aws: {secretsmanager: {prefix: 'a b'}}".to_owned(), "4:3: keystore.aws:", "prefix 'a b'"),
        (
            "aws: {secretsmanager: {recovery_window: 31}}".to_owned(),
            "4:43: keystore.aws.secretsmanager.recovery_window:",
            "'31' is out of range; use a number from 7 to 30",
        ),
        ("aws: {secretsmanager: {timeout: {attempt: 0}}}".to_owned(), "4:3: keystore.aws:", " 0"),
        (
            "aws: {secretsmanager: {credentials: {accesskey: a}}}".to_owned(),
            "4:26: keystore.aws.secretsmanager.credentials.secretkey:",
            "is missing; set accesskey and secretkey, or remove",
        ),
    ] {
        rejected(&with_store(&format!("  {text}\n")), &format!("k.yml:{path}"), contains);
    }
}

#[test]
fn no_error_of_a_keystore_contains_a_possible_secret() {
    for text in [
        "postgres: {url: hunter2}",
        "postgres: {url: 'postgres://u:hunter2@h'}",
        "postgres: {url: 'postgres://u:hun/hunter2@h/d'}",
        "postgres: {url: 'postgres://u:a?hunter2=b@h/d'}",
        "postgres: {url: 'postgres://u:hunter2@h/d', password: hunter2}",
        "postgres: {url: ['postgres://u:hunter2@h/d']}",
        "postgres: {host: h, password: hunter2}",
        "postgres: {host: h, database: d, user: u, password: {a: hunter2}}",
        "postgres: {url: 'postgres://u@h/d', schema: '${SECRET} ', port: '${SECRET}', sslmode: '${SECRET}', listen: '${SECRET}'}",
        "vault: {endpoint: 'https://u:hunter2@h', token: hunter2}",
        "vault: {endpoint: 'https://h', token: [hunter2]}",
        "vault: {endpoint: 'https://h', token: hunter2, approle: {id: hunter2, secret: hunter2, secret: hunter2}}",
        "vault: {endpoint: 'https://h', approle: {id: x, secret: hunter2, secret_id_file: hunter2}}",
        "vault: {endpoint: 'https://h', kubernetes: {jwt: hunter2}}",
        "vault: {endpoint: 'https://h', jwt: hunter2}",
        "vault: {endpoint: 'https://h', token: x, prefix: '${BAD}'}",
        "vault: {endpoint: 'https://h', token: x, version: '${SECRET}', engine: '${BAD}'}",
        "vault: {endpoint: '${SECRET}', token: x}",
        "aws: {secretsmanager: {endpoint: 'ftp://u:hunter2@h'}}",
        "aws: {secretsmanager: {endpoint: 'https://u:hunter2@h'}}",
        "aws: {secretsmanager: {prefix: '${BAD}'}}",
        "aws: {secretsmanager: {recovery_window: '${SECRET}', credentials: {secretkey: hunter2}}}",
        "aws: {secretsmanager: {credentials: hunter2}}",
        "aws: {secretsmanager: {credentials: {accesskey: a, secretkey: hunter2, tokn: hunter2}}}",
    ] {
        let text = with_store(&format!("  {text}\n"));
        let bad = |name: &str| if name == "BAD" { Some("/hunter2\u{fc} /../".to_owned()) } else { env(name) };
        let error = parse_with(Path::new("k.yml"), &text, &Overrides::default(), &bad).expect_err(&text);
        assert!(!format!("{error}{error:?}").contains("hunter2"), "{text}\n{error}");
    }
}

#[test]
fn the_reference_config_contains_every_key_of_every_keystore_and_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/keyway.yml");
    let text = fs::read_to_string(&file).unwrap();
    let (head, stores) = text.split_once("\nkeystore:\n").unwrap();
    let stores = stores.replace("\n  # ", "\n  ");
    for (kind, keys) in super::super::keystores::KEYS {
        let begin = stores.find(&format!("  {kind}:\n")).unwrap();
        let own = |line: &&str| line.starts_with("    ") || line.trim() == format!("{kind}:");
        let block: Vec<_> = stores[begin..].lines().take_while(own).collect();
        for key in keys.iter().copied().flatten() {
            let shown = |line: &&str| line.trim_start_matches([' ', '#']).starts_with(&format!("{key}:"));
            assert!(block.iter().any(shown), "config/keyway.yml does not contain {key} of {kind}");
        }
        let text = format!("{head}\nkeystore:\n{}\n", block.join("\n"));
        let config = parse_with(&file, &text, &Overrides::default(), &|_| Some(A.to_owned()))
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.keystore.kind(), config.warnings), (kind, Vec::new()));
    }
}

#[test]
fn a_trash_is_a_duration_in_days_too_beside_exactly_one_keystore() {
    let trash = |text: &str| parsed(&with_store(&format!("  memory: {{}}\n  trash: {text}\n"))).unwrap().trash;
    let hours = Duration::from_hours;
    for (text, keep) in
        [("30d", Some(hours(720))), ("12h", Some(hours(12))), ("1d", Some(hours(24))), ("0s", None), ("0d", None)]
    {
        assert_eq!(trash(text), keep, "{text}");
    }
    assert_eq!(parsed(&with_store("  memory: {}\n")).unwrap().trash, None);
    for text in ["30", "x", "-1d", "1.5d", "d"] {
        rejected(&with_store(&format!("  memory: {{}}\n  trash: {text}\n")), "k.yml:5:10: keystore.trash:", "");
    }
    rejected(&with_store("  trash: 30d\n"), "k.yml:1:1: keystore:", "choose one of");
}

#[test]
fn protected_names_are_patterns() {
    let config = with_head("protect: ['minio-*', key]\n").unwrap();
    assert_eq!(config.protect.iter().map(ToString::to_string).collect::<Vec<_>>(), ["minio-*", "key"]);
    rejected(&format!("{HEAD}protect: ['a/*']\n"), "k.yml:5:11: protect[0]:", "not a valid key pattern");
    rejected(&format!("{HEAD}protect: ['']\n"), "k.yml:5:11: protect[0]:", "is empty");
}
