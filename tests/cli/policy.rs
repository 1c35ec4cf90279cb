//! `keyway policy`: rules, explanations of their decisions, and a policy for MinIO.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::support::program::Ended;
use crate::support::{Client, Server, Setup, Shell};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// A config in which A is the admin and B has a policy.
const CONFIG: &str = "admin: {identity: @A@}
tls: {key: server.key, cert: server.cert}
keystore: {memory: {}}
api:
  /v1/metrics: {skip_auth: on}
policy:
  app:
    allow: [/v1/key/create/app*, /v1/key/generate/app*, /v1/ready]
    deny: [/v1/key/create/app-internal*]
    identities: [@B@]
";

fn config(shell: &Shell) -> String {
    shell.file("config.yml", CONFIG.replace("@A@", A).replace("@B@", B))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text:?}"))
}

#[test]
fn policies_are_listed_and_shown() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    assert_eq!(shell.done(&["policy", "ls"]), "app\nops");
    assert_eq!(json(&shell.done(&["policy", "ls", "o*", "--json"])), serde_json::json!(["ops"]));
    let rules = shell.done(&["policy", "show", "app"]);
    assert!(rules.starts_with("deny   /v1/key/generate/app-internal*\nallow  /v1/key/create/app*\n"), "{rules}");
    assert!(json(&shell.done(&["policy", "show", "app", "--json"]))["allow"]["/v1/status"].is_object());
    let info = shell.done(&["policy", "info", "ops"]);
    assert!(info.starts_with("Name: ops\n") && info.contains(server.admin.identity().as_str()), "{info}");
    for command in ["show", "info"] {
        assert!(shell.fails(4, &["policy", command, "none"]).contains("policy does not exist"));
    }
}

#[test]
fn a_config_explains_which_rule_decides() {
    let shell = Shell::new();
    let file = config(&shell);
    for (identity, method, path, code, parts) in [
        (A, "DELETE", "/v1/key/delete/x", 0, &["allowed", "admin"][..]),
        (B, "PUT", "/v1/key/create/app-1", 0, &["allowed", "policy: app", "rule: /v1/key/create/app*"]),
        (B, "post", "/v1/key/create/app-1", 0, &["allowed"]),
        (B, "PUT", "https://kes:7373/v1/key/create/app%2D1", 0, &["allowed"]),
        (B, "GET", "/ready", 0, &["allowed", "rule: /v1/ready"]),
        (
            B,
            "PUT",
            "/v1/key/create/app-internal-1",
            3,
            &["refused", "policy: app", "rule: /v1/key/create/app-internal*"],
        ),
        (B, "PUT", "/v1/key/generate/other", 3, &["refused", "no rule", "nearest rule: /v1/key/generate/app*"]),
        (C, "PUT", "/v1/key/create/app-1", 3, &["refused", "has no policy"]),
        (C, "GET", "/version", 0, &["open to everyone"]),
        (C, "GET", "/v1/metrics", 0, &["skip_auth"]),
        (C, "GET", "/v1/status", 3, &["has no policy"]),
        (C, "GET", "/v1/identity/self/describe", 0, &["every client"]),
    ] {
        let ended = shell.run(&["policy", "explain", identity, method, path, "--config", &file]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{method} {path}: {ended:?}");
        for part in parts {
            assert!(ended.stdout.contains(part), "{part}: {method} {path}: {ended:?}");
        }
    }
    let verdict = shell.run(&["policy", "explain", B, "put", "/v1/key/generate/x", "--config", &file, "--json"]).stdout;
    let verdict = json(&verdict);
    assert_eq!(
        (&verdict["allowed"], &verdict["policy"], &verdict["nearest"], &verdict["method"]),
        (&false.into(), &"app".into(), &"/v1/key/generate/app*".into(), &"PUT".into())
    );
}

#[test]
fn an_invalid_question_is_refused_with_the_reason() {
    let shell = Shell::new();
    let file = config(&shell);
    for (identity, method, path, parts) in [
        (B, "GET", "/v1/key/create/a", &["PUT", "405"][..]),
        (B, "PUT", "/v1/keys/create/a", &["no API", "/v1/key/create/"]),
        ("app", "PUT", "/v1/key/create/a", &["64", "identity of"]),
        (B, "PUT", "/v1/key/create/a.b", &["'a.b'", "400"]),
    ] {
        let said = shell.fails(2, &["policy", "explain", identity, method, path, "--config", &file]);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let said = shell.fails(1, &["policy", "explain", B, "PUT", "/v1/key/create/a", "--config", "none.yml"]);
    assert!(said.contains("none.yml"), "{said}");
}

#[tokio::test]
async fn an_explanation_is_what_the_server_then_does() {
    let server = Server::start();
    let file = server.dir.path().join("config.yml").display().to_string();
    let admin = Shell::of(&server, &server.admin);
    let paths = [
        (Method::PUT, "/v1/key/create/app-1"),
        (Method::PUT, "/v1/key/create/other"),
        (Method::PUT, "/v1/key/generate/app-internal"),
        (Method::GET, "/v1/key/list/"),
        (Method::GET, "/v1/key/describe/app-1"),
        (Method::GET, "/v1/policy/read/app"),
        (Method::GET, "/v1/policy/read/ops"),
        (Method::GET, "/v1/status"),
        (Method::GET, "/v1/metrics"),
        (Method::GET, "/v1/ready"),
        (Method::GET, "/ready"),
        (Method::GET, "/version"),
        (Method::GET, "/v1/identity/self/describe"),
        (Method::DELETE, "/v1/key/delete/app-1"),
    ];
    for client in [&server.admin, &server.app, &server.ops, &server.stranger] {
        let identity = client.identity();
        for (method, path) in &paths {
            let refused = server.request(client, method.clone(), path, None).await.status == 403;
            let expected = Some(if refused { 3 } else { 0 });
            let offline = ["policy", "explain", identity.as_str(), method.as_str(), path, "--config", &file];
            let (offline, online) = (admin.run(&offline), admin.run(&offline[..5]));
            assert_eq!(offline.code, expected, "{identity} {method} {path}: {offline:?}");
            let open = " (unless the config opens this API with skip_auth; use --config FILE to check)";
            let online = Ended { stdout: online.stdout.replace(open, ""), ..online };
            assert_eq!(online, offline, "{identity} {method} {path}");
        }
    }
    let stranger = Shell::of(&server, &server.stranger).run(&["policy", "explain", "self", "GET", "/v1/status"]);
    assert!(stranger.code == Some(3) && stranger.stdout.contains("has no policy"), "{stranger:?}");
    // Every client may query its own identity, by its digits or as self.
    let app = Shell::of(&server, &server.app);
    for name in ["self", server.app.identity().as_str()] {
        let ended = app.run(&["policy", "explain", name, "PUT", "/v1/key/create/other"]);
        assert!(ended.code == Some(3) && ended.stdout.contains("nearest rule: /v1/key/create/app*"), "{ended:?}");
    }
}

#[tokio::test]
async fn the_log_line_of_a_refusal_names_policy_rule_and_nearest_rule() {
    let server = Server::start();
    for (client, path, parts) in [
        (&server.app, "/v1/key/create/other", &["policy 'app'", "nearest rule is '/v1/key/create/app*'"][..]),
        (&server.app, "/v1/key/generate/app-internal-1", &["policy 'app'", "rule '/v1/key/generate/app-internal*'"]),
        (&server.stranger, "/v1/key/create/app", &["has no policy", "identities"]),
    ] {
        assert_eq!(server.request(client, Method::PUT, path, None).await.status, 403);
        let line =
            server.log_line(|line| line.contains("code=403") && line.contains(&format!("path=\"{path}\""))).await;
        assert!(line.contains("WARN") && line.contains(client.identity().as_str()), "{line}");
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

/// The template in a config of its own.
fn template(shell: &Shell, arguments: &[&str]) -> String {
    let policy = shell.done(&[&["policy", "template", "minio"], arguments].concat());
    Client::server().write(shell.dir.path(), "server");
    let head = "admin: {identity: disabled}\ntls: {key: server.key, cert: server.cert}\nkeystore: {memory: {}}\n";
    shell.file("config.yml", format!("{head}{policy}\n"))
}

#[test]
fn the_template_for_minio_is_a_good_config_and_allows_what_minio_calls() {
    let shell = Shell::new();
    for prefix in ["", "minio-"] {
        let file = template(&shell, &["--prefix", prefix, "--identity", A]);
        let checked = shell.run(&["check", &file]);
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
        let allowed = |method: &str, path: &str| {
            let ended = shell.run(&["policy", "explain", A, method, path, "--config", &file]);
            assert_eq!(ended.stderr, "", "{ended:?}");
            ended.code == Some(0)
        };
        for api in ["create", "generate", "decrypt", "hmac"] {
            assert!(allowed("PUT", &format!("/v1/key/{api}/minio-key")), "{api}");
            assert_eq!(allowed("PUT", &format!("/v1/key/{api}/other")), prefix.is_empty(), "{api}");
        }
        for path in ["/v1/key/describe/minio-key", "/v1/key/list/minio-", "/v1/status", "/v1/api", "/version"] {
            assert!(allowed("GET", path), "{path}");
        }
        for (method, path) in [
            ("DELETE", "/v1/key/delete/minio-key"),
            ("PUT", "/v1/key/import/minio-key"),
            ("PUT", "/v1/key/encrypt/minio-key"),
            ("GET", "/v1/policy/list/"),
            ("GET", "/v1/log/audit"),
        ] {
            assert!(!allowed(method, path), "{path}");
        }
    }
}

#[test]
fn an_entry_goes_below_the_policy_line_of_a_config_that_has_policies() {
    let shell = Shell::new();
    Client::server().write(shell.path("server.key").parent().unwrap(), "server");
    let text = CONFIG.replace("@A@", A).replace("@B@", B);
    let entry = shell.done(&["policy", "template", "minio", "--entry", "--prefix", "minio-", "--identity", C]);
    assert!(entry.lines().all(|line| line.starts_with("  ")), "{entry}");
    for part in ["below the line `policy:`", "Indent"] {
        assert!(entry.contains(part), "{part}: {entry}");
    }
    let first = text.replace("policy:\n", &format!("policy:\n{entry}\n"));
    for pasted in [first, format!("{text}{entry}\n")] {
        let file = shell.file("config.yml", &pasted);
        let checked = shell.run(&["check", "--strict", &file]);
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{pasted}");
        for (identity, path) in [(B, "/v1/key/create/app-1"), (C, "/v1/key/create/minio-1")] {
            let explained = shell.run(&["policy", "explain", identity, "PUT", path, "--config", &file]);
            assert_eq!(explained.code, Some(0), "{explained:?}");
        }
    }
    // A whole section says where it belongs: a second one is an error.
    let section = shell.done(&["policy", "template", "minio", "--identity", C]);
    assert!(section.contains("without a `policy:` section") && section.contains("--entry"), "{section}");
    let twice = shell.file("twice.yml", format!("{text}{section}\n"));
    assert!(shell.fails(1, &["check", &twice]).contains("duplicate key"));
}

#[test]
fn a_template_without_identities_needs_a_variable() {
    let shell = Shell::new();
    let file = template(&shell, &[]);
    let said = shell.fails(1, &["check", &file]);
    assert!(said.contains("MINIO_IDENTITY"), "{said}");
    assert_eq!(shell.set("MINIO_IDENTITY", A).run(&["check", &file]).code, Some(0));
    let shell = Shell::new();
    assert!(shell.fails(2, &["policy", "template", "minio", "--prefix", "a/b"]).contains("a/b"));
    assert!(shell.fails(2, &["policy", "template", "minio", "--name", "a/b"]).contains("a/b"));
}

#[tokio::test]
async fn a_server_with_the_template_serves_minio_and_nothing_more() {
    let minio = Client::new("minio");
    let shell = Shell::new();
    let identity = minio.identity();
    let policies = shell.done(&["policy", "template", "minio", "--prefix", "minio-", "--identity", identity.as_str()]);
    let server = Server::with(Setup { policies, ..Setup::default() });
    for (method, path, status) in [
        (Method::PUT, "/v1/key/generate/minio-key", 404),
        (Method::PUT, "/v1/key/create/minio-key", 200),
        (Method::PUT, "/v1/key/generate/minio-key", 200),
        (Method::GET, "/v1/key/describe/minio-key", 200),
        (Method::GET, "/v1/key/list/minio-", 200),
        (Method::GET, "/v1/key/list/", 403),
        (Method::GET, "/v1/status", 200),
        (Method::GET, "/v1/api", 200),
        (Method::DELETE, "/v1/key/delete/minio-key", 403),
        (Method::PUT, "/v1/key/create/other", 403),
    ] {
        assert_eq!(server.request(&minio, method, path, None).await.status, status, "{path}");
    }
    assert!(Path::new(&server.dir.path().join("keys/minio-key")).exists());
}
