//! `GET /v1/log/audit`

use rustix::process::Signal;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Session, assert_none, base64, not_an_error};
use crate::support::server::{Setup, send};
use crate::support::{Events, Raw, Server};

#[tokio::test]
async fn every_request_is_one_audit_event_whatever_became_of_it() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("app-1").await;
    std::fs::write(server.dir.path().join("keys/damaged"), "").unwrap();
    std::fs::write(server.dir.path().join("keys/old"), r#"{"bytes":"sQitzv3XdtZfrwteHqHT1mxOE5IwW0wylixoKHf6IzA="}"#)
        .unwrap();
    let mut audit = Events::audit(&server).await;
    let own = audit.next().await.unwrap();
    assert_eq!((&own["request"]["path"], &own["response"]["code"]), (&json!("/v1/log/audit"), &json!(200)));
    let too_large = "x".repeat((1 << 20) + 1);
    let mut failures = Vec::new();
    for (client, method, path, body, code) in [
        (&server.admin, "GET", "/version", "", 200),
        (&server.stranger, "GET", "/version", "", 200),
        (&server.admin, "GET", "/v1/status", "", 200),
        (&server.admin, "GET", "/v1/metrics", "", 200),
        (&server.admin, "PUT", "/v1/key/create/key", "", 200),
        (&server.app, "PUT", "/v1/key/generate/app-1", "", 200),
        (&server.app, "GET", "/v1/key/list/", "", 200),
        (&server.admin, "DELETE", "/v1/key/delete/key", "", 200),
        (&server.admin, "PUT", "/v1/key/create/app-1", "", 400),
        (&server.admin, "PUT", "/v1/key/create/a.b", "", 400),
        (&server.admin, "PUT", "/v1/key/encrypt/app-1", "{", 400),
        (&server.admin, "PUT", "/v1/key/import/key", "", 400),
        (&server.admin, "PUT", "/v1/key/decrypt/app-1", r#"{"ciphertext":"AAAA"}"#, 400),
        (&server.admin, "GET", "/v1/key/list/a.b", "", 400),
        (&server.app, "DELETE", "/v1/key/delete/app-1", "", 403),
        (&server.app, "PUT", "/v1/key/generate/app-internal1", "", 403),
        (&server.stranger, "GET", "/v1/ready", "", 403),
        (&server.admin, "GET", "/nothing", "", 404),
        (&server.stranger, "GET", "/", "", 404),
        (&server.admin, "PUT", "/v1/key/generate/none", "", 404),
        (&server.admin, "GET", "/v1/policy/read/none", "", 404),
        (&server.admin, "GET", "/v1/key/create/key", "", 405),
        (&server.stranger, "POST", "/version", "", 405),
        (&server.admin, "PUT", "/v1/key/import/key", r#"{"key":"AAAA"}"#, 406),
        (&server.admin, "PUT", "/v1/key/encrypt/app-1", &too_large, 413),
        (&server.admin, "PUT", "/v1/key/generate/damaged", "", 500),
        (&server.admin, "PUT", "/v1/key/hmac/old", "{}", 501),
    ] {
        let before = OffsetDateTime::now_utc();
        let request = server.http(Some(client)).request(method.parse().unwrap(), server.url(path));
        let answer = send(request.body(body.to_owned()), None).await.unwrap();
        assert_eq!(answer.status, code, "{method} {path}: {}", answer.text());
        let event = audit.next().await.unwrap();
        let reason = event["reason"].as_str().map(str::to_owned);
        let mut expected = json!({
            "time": event["time"],
            "request": { "ip": "127.0.0.1", "path": path, "identity": client.identity().as_str() },
            "response": { "code": code, "time": event["response"]["time"] },
        });
        if let Some(reason) = &reason {
            expected["reason"] = reason.as_str().into();
        }
        if event != expected {
            failures.push(format!("{method} {path}: {event}"));
        }
        if reason.as_ref().is_some_and(|reason| !reason.is_empty()) == (code == 200) {
            failures.push(format!("{method} {path}: the reason is {reason:?}"));
        }
        let time = OffsetDateTime::parse(event["time"].as_str().unwrap(), &Rfc3339).unwrap();
        assert!(before <= time && time <= OffsetDateTime::now_utc(), "{event}");
        let micros = event["response"]["time"].as_u64().unwrap_or_else(|| panic!("{event}"));
        assert!((1..20_000_000).contains(&micros), "{event}");
    }
    assert_none(&failures);
}

#[tokio::test]
async fn standard_output_shows_what_log_audit_says_and_the_changes_by_default() {
    for (audit, created, deleted, imported, refused, read) in [
        ("", 1, 1, 1, 0, 0),
        ("log:\n  error: on\n", 1, 1, 1, 0, 0),
        ("log:\n  audit: changes\n", 1, 1, 1, 0, 0),
        ("log:\n  audit: on\n", 1, 1, 1, 2, 1),
        ("log:\n  audit: WARN\n", 0, 0, 0, 2, 0),
        ("log:\n  audit: off\n", 0, 0, 0, 0, 0),
    ] {
        let mut server = Server::with(Setup { extra: audit.to_owned(), ..Setup::default() });
        let admin = Session::admin(&server);
        admin.create("key").await;
        let body = json!({ "key": base64(b"a secret that is 32 bytes long.."), "cipher": "AES256" });
        assert_eq!(admin.put("/v1/key/import/own", Some(body)).await.status, 200);
        admin.data_key("key").await;
        assert_eq!(admin.put("/v1/key/create/key", None).await.status, 400);
        let request = server.http(Some(&server.app)).delete(server.url("/v1/key/delete/key"));
        assert_eq!(send(request, None).await.unwrap().status, 403);
        assert_eq!(send(admin.http.delete(server.url("/v1/key/delete/key")), None).await.unwrap().status, 200);
        drop(admin);
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        let output = server.output();
        let count = |code: u16, path: &str| {
            output.lines().filter(|line| line.contains(&format!(" AUDIT {code} {path:?} by "))).count()
        };
        assert_eq!(count(200, "/v1/key/create/key"), created, "{audit:?}:\n{output}");
        assert_eq!(count(200, "/v1/key/import/own"), imported, "{audit:?}:\n{output}");
        assert_eq!(count(200, "/v1/key/delete/key"), deleted, "{audit:?}:\n{output}");
        assert_eq!(count(200, "/v1/key/generate/key"), read, "{audit:?}:\n{output}");
        let refusals = count(400, "/v1/key/create/key") + count(403, "/v1/key/delete/key");
        assert_eq!(refusals, refused, "{audit:?}:\n{output}");
    }
}

#[tokio::test]
async fn a_request_whose_client_leaves_at_once_is_an_event_too() {
    let server = Server::start();
    Session::admin(&server).create("key").await;
    let mut audit = Events::audit(&server).await;
    for (method, path) in
        [("GET", "/v1/status"), ("PUT", "/v1/key/generate/key"), ("GET", "/nothing"), ("GET", "/version")]
    {
        for _ in 0..10 {
            let mut raw = Raw::connect(&server, &server.admin).await;
            raw.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            drop(raw);
            let event = audit.of(path).await;
            let code = event["response"]["code"].as_u64().unwrap();
            assert!(matches!(code, 200 | 404 | 499), "{event}");
            assert_eq!(event["request"]["identity"], server.admin.identity().as_str());
        }
    }
}

#[tokio::test]
async fn a_long_path_and_its_reason_are_cut_to_1_kib_with_a_mark() {
    let server = Server::with(Setup { extra: "log:\n  audit: on\n".to_owned(), ..Setup::default() });
    let mut audit = Events::audit(&server).await;
    let mut errors = Events::error(&server).await;
    let name = "k".repeat(30_000);
    let request = server.http(Some(&server.app)).delete(server.url(&format!("/v1/key/delete/{name}")));
    assert_eq!(send(request, None).await.unwrap().status, 403);
    let cut = |text: &str| text.len() < (1 << 10) + 40 && text.ends_with(" bytes)") && text.contains("kkk... (30");
    let event = audit.find(|event| event["response"]["code"] == 403).await;
    assert!(cut(event["request"]["path"].as_str().unwrap()), "{event}");
    let line = errors.find(|line| line["message"].as_str().unwrap().contains("request rejected")).await;
    assert!(line["message"].as_str().unwrap().len() < 3 << 10, "{line}");
    let request = server.http(Some(&server.admin)).get(server.url(&format!("/v1/key/describe/{name}")));
    assert_eq!(send(request, None).await.unwrap().status, 400);
    let event = audit.find(|event| event["response"]["code"] == 400).await;
    assert!(cut(event["reason"].as_str().unwrap()), "{event}");
    server.logged("... (30").await;
    assert!(server.log().lines().chain(server.output().lines()).all(|line| line.len() < 4 << 10));
}

#[tokio::test]
async fn a_path_forges_no_event() {
    let server = Server::start();
    let mut audit = Events::audit(&server).await;
    let mut errors = Events::error(&server).await;
    audit.next().await.unwrap();
    let forged = "a%0A%7B%22time%22%3A%222020-01-01T00%3A00%3A00Z%22%7D%0A%1B%5B31m%0D%00%E2%80%A8b";
    let decoded = "/v1/key/delete/a\n{\"time\":\"2020-01-01T00:00:00Z\"}\n\u{1b}[31m\r\0\u{2028}b";
    let request = server.http(Some(&server.app)).delete(server.url(&format!("/v1/key/delete/{forged}")));
    assert_eq!(send(request, None).await.unwrap().status, 403);
    let event = audit.of(decoded).await;
    assert_eq!(event["response"]["code"], 403);
    let line = errors.find(|line| line["message"].as_str().unwrap().contains("2020-01-01")).await;
    assert!(line["message"].as_str().unwrap().starts_with("WARN "), "{line}");
    assert!(!server.log().contains('\u{1b}'), "an escape sequence is in the log");
    assert!(!server.log().lines().any(|line| line.starts_with('{')), "{}", server.log());
}

#[tokio::test]
async fn no_secret_is_in_a_log_line_or_an_event() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let mut audit = Events::audit(&server).await;
    let secret = base64(b"a secret that is 32 bytes long..");
    let body = json!({ "key": secret, "cipher": "AES256" });
    assert_eq!(admin.put("/v1/key/import/key", Some(body.clone())).await.status, 200);
    assert_eq!(admin.put("/v1/key/import/key", Some(body)).await.status, 400);
    let (plaintext, ciphertext) = admin.data_key("key").await;
    assert_eq!(admin.decrypt("key", &ciphertext).await.status, 200);
    let cut = format!(r#"{{"key":"{secret}""#);
    assert_eq!(send(admin.http.put(server.url("/v1/key/import/k2")).body(cut), None).await.unwrap().status, 400);
    let mut seen = String::new();
    loop {
        let event = audit.next().await.unwrap();
        seen.push_str(&event.to_string());
        if event["request"]["path"] == "/v1/key/import/k2" {
            break;
        }
    }
    seen.push_str(&server.log());
    seen.push_str(&server.output());
    for word in [&secret, &plaintext, &ciphertext] {
        assert!(!seen.contains(word.as_str()), "{word} in\n{seen}");
    }
}

#[tokio::test]
async fn a_refused_body_is_reported_with_its_reason() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let mut audit = Events::audit(&server).await;
    let mut raw = Raw::connect(&server, &server.admin).await;
    raw.send("PUT /v1/key/encrypt/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n").await;
    let answer = raw.answer().await.unwrap();
    assert_eq!(not_an_error(&answer, 413), None);
    let event = audit.of("/v1/key/encrypt/key").await;
    assert_eq!(event["response"]["code"], 413);
    assert_eq!(event["reason"], "request body is too large: at most 1048576 bytes are accepted");
}
