//! Paths spelled otherwise: they lead to the same rules or nowhere.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Session, assert_none, not_an_error};
use crate::support::server::send;
use crate::support::{Raw, Server, Setup, raw};

/// Rules of a client that may do everything but some.
const DENYING: &str = "policy:
  app:
    allow: ['*']
    deny:
    - /v1/key/delete/*
    - /v1/key/create/other
    - /v1/key/generate/app-internal*
    - /v1/policy/*
    identities: ['@app@']
";

/// What may stand where a path has a slash.
const SEPARATORS: &str = "// /// /./ /%2e/ /%2E/ /x/../ /x/%2e%2e/ /x%2f..%2f /%2f %2f/ \\ %5c /\\ /;/ /;x=1/ /.;/ /..;/ /%20 /%09 \
    /%0d%0a /%00/ %c0%af %ef%bc%8f /ü/../ /..%00/ /%2e%2e%2f /..%5c";

/// What may follow a path.
const ENDS: &str = "/ // /. /.. /../ /x/.. ; ;x=1 ;/ ? ?x=1 ?/v1/status # #x %23x %3f %3fx %00 %20 %0a . .. * %2a ~ .json % \
    \\ %5c &x=1 %26 %c2%a0";

/// What may stand before a path.
const STARTS: &str = "/. /.. /x/.. /v1/.. /v1/status/.. /v1/status/%2e%2e/.. //localhost /%2e%2e . /localhost http://localhost \
    https://localhost https://localhost:7373 https://user@localhost ftp://localhost HTTPS://LOCALHOST \
    https://other/v1/status/../..";

/// What `path` could be written as by somebody who hopes that the rule is not found and the API is.
pub(super) fn spellings(path: &str) -> BTreeSet<String> {
    let mut spellings = BTreeSet::new();
    for (at, character) in path.char_indices() {
        let (before, after) = (&path[..at], &path[at + character.len_utf8()..]);
        let code = character as u32;
        let mut put = |instead: String| spellings.insert(format!("{before}{instead}{after}"));
        put(format!("%{code:02x}"));
        put(format!("%{code:02X}"));
        put(format!("%25{code:02x}"));
        put(format!("%2525{code:02x}"));
        put(format!("%u00{code:02x}"));
        put(character.to_uppercase().to_string());
        put(format!("{character}%00"));
        if character == '/' {
            for separator in SEPARATORS.split(' ') {
                put(separator.to_owned());
            }
        }
    }
    for end in ENDS.split(' ') {
        spellings.insert(format!("{path}{end}"));
    }
    for start in STARTS.split(' ') {
        spellings.insert(format!("{start}{path}"));
    }
    spellings.insert(path.trim_start_matches('/').to_owned());
    spellings.insert(path.to_uppercase());
    spellings.insert(path.replace('/', "//"));
    spellings.insert(path.replace('/', "%2f"));
    spellings.insert(path.replace('/', "%2F"));
    spellings.insert(path.replace("/v1", "/V1"));
    spellings.insert(path.replace("/v1", ""));
    let escaped: Vec<_> = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
    spellings.insert(escaped.concat());
    spellings.insert(format!("/{}", escaped[1..].concat()));
    spellings.insert(path.to_owned());
    spellings
}

/// Asks for all spellings of what the app may not do. No answer may be a success.
async fn try_all(server: &Server, method: &str, path: &str, failures: &mut Vec<String>) {
    let mut connection = Raw::connect(server, &server.app).await;
    let mut refused = 0;
    for spelling in spellings(path) {
        let request = format!("{method} {spelling} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.send(request.as_bytes()).await;
        match connection.answer().await {
            Ok(answer) if matches!(answer.status, 400 | 403 | 404 | 405) => {
                refused += usize::from(answer.status == 403);
            }
            Ok(answer) => failures.push(format!("{method} {spelling}: {} {}", answer.status, answer.text())),
            Err(error) => failures.push(format!("{method} {spelling}: {error}")),
        }
        if connection.is_closing() {
            connection = Raw::connect(server, &server.app).await;
        }
    }
    // Every character of the argument can be written as an escape, and is the same path to the rules.
    let argument = path.rsplit('/').next().unwrap();
    if refused <= 2 * argument.len() {
        failures.push(format!("{method} {path}: only {refused} spellings met the rules"));
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_a_missing_rule() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for name in ["app-1", "app-internal1", "key"] {
        admin.create(name).await;
    }
    let mut failures = Vec::new();
    for (method, path) in [
        ("PUT", "/v1/key/generate/app-internal1"),
        ("PUT", "/v1/key/generate/key"),
        ("PUT", "/v1/key/create/other"),
        ("DELETE", "/v1/key/delete/app-1"),
        ("GET", "/v1/key/describe/key"),
        ("GET", "/v1/policy/read/ops"),
        ("GET", "/v1/identity/list/zz"),
    ] {
        try_all(&server, method, path, &mut failures).await;
    }
    assert_none(&failures);
    assert_eq!(admin.get("/v1/key/list/").await.json()["names"], json!(["app-1", "app-internal1", "key"]));
    server.assert_serves().await;
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_a_rule_that_denies() {
    let server = Server::with(Setup { policies: DENYING.to_owned(), ..Setup::default() });
    let admin = Session::admin(&server);
    for name in ["app-1", "app-internal1"] {
        admin.create(name).await;
    }
    let mut failures = Vec::new();
    for (method, path) in
        [("PUT", "/v1/key/generate/app-internal1"), ("DELETE", "/v1/key/delete/app-1"), ("GET", "/v1/policy/read/app")]
    {
        try_all(&server, method, path, &mut failures).await;
    }
    assert_none(&failures);
    // The rule names one key exactly, so other spellings may make other keys, but never this one.
    for spelling in spellings("/v1/key/create/other") {
        let _ = raw::request(&server, &server.app, "PUT", &spelling, b"").await;
    }
    let names = admin.get("/v1/key/list/").await;
    let names: Vec<String> = serde_json::from_value(names.json()["names"].clone()).unwrap();
    assert!(!names.contains(&"other".to_owned()), "{names:?}");
    assert!(names.contains(&"app-1".to_owned()), "{names:?}");
    server.assert_serves().await;
}

#[tokio::test]
async fn rules_names_and_audit_see_the_path_decoded_once() {
    let server = Server::start();
    let mut audit = crate::support::Events::audit(&server).await;
    let app = Session::new(&server, &server.app);
    app.create("app-1").await;
    let http2 = server.http2(Some(&server.app));
    for (target, status, decoded) in [
        ("/v1/key/generate/app-internal1", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/app%2Dinternal1", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/app%2dinternal1", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/app-interna%6c1", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/app-internal%31", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/%61pp-internal1", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/app-internal1?x=1", 403, "/v1/key/generate/app-internal1"),
        ("/v1/key/generate/app-internal1%2F", 403, "/v1/key/generate/app-internal1/"),
        ("/v1/key/generate/APP-1", 403, "/v1/key/generate/APP-1"),
        ("/v1/key/generate/app%252D1", 400, "/v1/key/generate/app%2D1"),
        ("/v1/key/generate/app%2D1", 200, "/v1/key/generate/app-1"),
        ("/v1/key/generate/%61%70%70%2d%31", 200, "/v1/key/generate/app-1"),
    ] {
        let answer = raw::request(&server, &server.app, "PUT", target, b"").await.unwrap();
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert_eq!(audit.of(decoded).await["response"]["code"], status, "{target}");
        if !target.contains("%252D") {
            let answer = send(http2.put(server.url(target)), None).await.unwrap();
            assert_eq!(answer.status, status, "{target} over HTTP/2: {}", answer.text());
            assert_eq!(audit.of(decoded).await["response"]["code"], status, "{target} over HTTP/2");
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_target_in_absolute_form_is_its_path() {
    let server = Server::start();
    Session::admin(&server).create("app-1").await;
    for (target, status) in [
        ("https://localhost/v1/key/generate/app-1", 200),
        ("https://elsewhere.example:1/v1/key/generate/app-1?x", 200),
        ("http://localhost/v1/key/generate/app-internal1", 403),
        ("https://localhost/v1/status/../key/generate/app-internal1", 404),
        ("https://v1/key/generate/app-1", 404),
        ("https://localhost", 404),
    ] {
        let answer = raw::request(&server, &server.app, "PUT", target, b"").await.unwrap();
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn what_denies_an_api_denies_its_alias() {
    let policies = "policy:\n  app:\n    allow: ['*']\n    deny: [/v1/ready]\n    identities: ['@app@']\n".to_owned();
    let server = Server::with(Setup { policies, ..Setup::default() });
    let app = Session::new(&server, &server.app);
    assert_eq!(app.get("/v1/status").await.status, 200);
    for path in ["/v1/ready", "/ready"] {
        assert_eq!(app.get(path).await.status, 403, "{path}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn headers_do_not_change_the_path() {
    let server = Server::start();
    Session::admin(&server).create("app-internal1").await;
    for header in [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "Content-Location",
    ] {
        let mut raw = Raw::connect(&server, &server.app).await;
        for (path, instead, status) in [
            ("/v1/key/generate/app-internal1", "/v1/status", 403),
            ("/v1/status", "/v1/key/generate/app-internal1", 405),
        ] {
            raw.send(format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n{header}: {instead}\r\n\r\n")).await;
            assert_eq!(raw.answer().await.unwrap().status, status, "{header}: {instead}");
        }
    }
    server.assert_serves().await;
}

/// Paths that look like an API, or that other servers have.
const NO_API: &str = "/ // /v1 /v1/ /v1/key /v1/key/ /v1/key/create /v1/key/describe /v1/key/lists /v1/log /v1/log/ /v1/log/audit/ \
    /v1/log/debug /v2/key/create/x /V1/status /v1/Status /v1/status/ /v1/metrics/ /version/ /Version \
    /v1/ready/ /ready/ /v1/version /metrics /health /v1/key/rotate/x /v1/keys/create/x /v1/identity/self \
    /v1/identity/self/ /v1/identity/self/describe/ /v1/policy/write/x /v1/policy/assign/x \
    /v1/identity/delete/x /v1/key/bulk/decrypt/x /v1/secret/read/x /v1/enclave/create/x /favicon.ico \
    /.env /%00 /?x=1 //version /./version /v1//status /v1/status// /v1/status;x /v1/status%20 \
    /v1/status%2F /v1/api/x /debug/pprof/ /v1/../version";

#[tokio::test]
async fn a_path_of_no_api_is_not_found_in_json() {
    let server = Server::start();
    for client in [&server.admin, &server.stranger] {
        for target in NO_API.split(' ') {
            for method in ["GET", "PUT", "DELETE"] {
                let answer = raw::request(&server, client, method, target, b"").await.unwrap();
                assert_eq!(not_an_error(&answer, 404), None, "{method} {target}");
            }
        }
    }
    server.assert_serves().await;
}
