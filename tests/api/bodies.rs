//! Request bodies that no well-behaved client sends.

mod size;
mod time;

use std::time::{Duration, Instant};

use super::{Session, assert_none, not_an_error};
use crate::support::server::{Answer, send};
use crate::support::{Raw, Server};

/// The most that an API reads.
const LIMIT: usize = 1 << 20;

/// APIs that take a body, with the name of a field and the message for a body that they cannot read.
const APIS: [(&str, &str, &str); 5] = [
    ("/v1/key/encrypt/key", "plaintext", "invalid request body"),
    ("/v1/key/decrypt/key", "ciphertext", "invalid request body"),
    ("/v1/key/hmac/key", "message", "invalid request body"),
    ("/v1/key/generate/key", "context", "invalid request body"),
    ("/v1/key/import/imported", "key", "invalid import key request body"),
];

/// The head of a request with a chunked body.
fn chunked(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
}

#[tokio::test]
async fn what_is_not_the_json_of_an_api_is_refused() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let mut failures = Vec::new();
    for (path, field, message) in APIS {
        let text = |template: &str| template.replace("FIELD", field).into_bytes();
        let with_field = |value: &str| format!(r#"{{"{field}":{value}}}"#).into_bytes();
        let utf16: Vec<u8> = format!(r#"{{"{field}":""}}"#).encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bodies = vec![
            // cut
            text("{"),
            text(r#"{"FIELD"#),
            text(r#"{"FIELD":"aGVs"#),
            text(r#"{"FIELD":"aGVs""#),
            text(r#"{"FIELD":"","#),
            // not JSON, or not this JSON
            text("hello"),
            text("FIELD=aGVsbG8="),
            text("<FIELD>aGVsbG8=</FIELD>"),
            text("{'FIELD':''}"),
            text(r#"{FIELD:""}"#),
            text(r#"{"FIELD":"",}"#),
            text(r#"/**/{"FIELD":""}"#),
            text("[]"),
            text(r#"["aGVsbG8="]"#),
            text(r#"[{"FIELD":""}]"#),
            text("5"),
            text(r#""FIELD""#),
            // more than JSON
            text(r#"{"FIELD":""}x"#),
            text(r#"{"FIELD":""}{}"#),
            text("{\"FIELD\":\"\"}\0"),
            text(r#"{"FIELD":"","FIELD":""}"#),
            // another encoding
            utf16.clone(),
            [&[0xff, 0xfe], utf16.as_slice()].concat(),
            [&[0xef, 0xbb, 0xbf], text(r#"{"FIELD":""}"#).as_slice()].concat(),
            [text(r#"{"FIELD":""#), vec![0xff], text(r#""}"#)].concat(),
            vec![0; 100],
            vec![0xff; 100],
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(),
        ];
        // wrong types, and what is not standard padded base64
        bodies.extend(
            [
                "5",
                "-1",
                "1e400",
                "true",
                "{}",
                r#"["aGVsbG8="]"#,
                r#"{"a":""}"#,
                r#""hello""#,
                r#""%%%%""#,
                r#""_-8=""#,
                r#""aGVsbG8""#,
                r#""aGVsbG8==""#,
                r#""aGVs bG8=""#,
                r#""aGVsbG8= ""#,
                r#""=""#,
                r#""aGVs=bG8""#,
                r#""\u0000""#,
                r#""\ud800""#,
                r#""68656c6c6f0""#,
                r#""ü""#,
                "\"\t\"",
            ]
            .map(with_field),
        );
        if !path.contains("/generate/") {
            bodies.push(Vec::new());
        }
        for body in bodies {
            let request = admin.http.put(server.url(path)).body(body.clone());
            let answer = send(request, None).await.unwrap();
            if let Some(failure) = not_an_error(&answer, 400).or_else(|| other_message(&answer, message)) {
                failures.push(format!("{path} {:?}: {failure}", String::from_utf8_lossy(&body)));
            }
        }
    }
    assert_none(&failures);
    assert_eq!(admin.get("/v1/key/describe/imported").await.status, 404, "a refused import has created a key");
    server.assert_serves().await;
}

fn other_message(answer: &Answer, message: &str) -> Option<String> {
    (answer.message() != message).then(|| format!("the message is {:?}", answer.message()))
}

#[tokio::test]
async fn what_an_api_does_not_know_is_ignored_however_odd() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let extra = [
        r#""x":1e999999"#,
        r#""version":123456789012345678901234567890123456789012345678901234567890"#,
        r#""version":-0.00000000000000000000000000000000000000001"#,
        r#""x":null"#,
        r#""x":[{"y":[1,2,{}]}]"#,
        r#""":"""#,
        r#""PLAINTEXT2":"%%%""#,
        r#""\u0000":1"#,
    ];
    let known = [r#""plaintext":"aGVsbG8=","context":null"#, r#""plaintext":"aGVsbG8=""#, r#""plaintext":null"#];
    for (extra, known) in extra.iter().flat_map(|extra| known.map(|known| (extra, known))) {
        for body in [format!("{{{extra},{known}}}"), format!(" {{ {known} ,\r\n\t{extra} }} \n")] {
            let request = admin.http.put(server.url("/v1/key/encrypt/key")).body(body.clone());
            let answer = send(request, None).await.unwrap();
            assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn ten_thousand_nested_arrays_do_no_harm() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    for depth in [127, 128, 129, 10_000, 500_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let open = open.repeat(depth.min(LIMIT / 8));
            let closed = format!("{open}1{}", close.repeat(depth.min(LIMIT / 8)));
            for (path, field, _) in APIS {
                let in_a_known_field = format!(r#"{{"{field}":{open}"#);
                let bodies = [
                    (in_a_known_field, false),
                    (format!(r#"{{"{field}":{closed}}}"#), false),
                    (format!(r#"{{"{field}":"","x":{open}"#), false),
                    // A field that is ignored may hold anything that is JSON; a parser may also have enough of it.
                    (format!(r#"{{"{field}":"","x":{closed}}}"#), true),
                    (open.clone(), false),
                ];
                for (body, may_pass) in bodies {
                    let start: String = body.chars().take(40).collect();
                    let answer = send(admin.http.put(server.url(path)).body(body), None).await.unwrap();
                    let passes = may_pass && matches!(answer.status, 200 | 400 | 406);
                    let failure = if passes { None } else { not_an_error(&answer, 400) };
                    assert_eq!(failure, None, "{path} {start}... at depth {depth}");
                }
            }
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_body_where_none_is_taken_is_ignored() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for (number, body) in
        ["{}", "null", "hello", "\0", r#"{"name":"other"}"#, &"x".repeat(3 * LIMIT)].iter().enumerate()
    {
        let name = format!("key-{number}");
        let request = admin.http.put(server.url(&format!("/v1/key/create/{name}"))).body((*body).to_owned());
        assert_eq!(send(request, None).await.unwrap().status, 200);
        let request = admin.http.get(server.url(&format!("/v1/key/describe/{name}"))).body((*body).to_owned());
        assert_eq!(send(request, None).await.unwrap().json()["name"], name.as_str());
        let request = admin.http.delete(server.url(&format!("/v1/key/delete/{name}"))).body((*body).to_owned());
        assert_eq!(send(request, None).await.unwrap().status, 200);
    }
    let mut raw = Raw::connect(&server, &server.admin).await;
    let began = Instant::now();
    raw.send(chunked("PUT", "/v1/key/create/endless") + "1\r\nx\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "a create waits for a body: {:?}", began.elapsed());
    server.assert_serves().await;
}

#[tokio::test]
async fn what_a_body_holds_is_never_taken_for_a_request() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("victim").await;
    let inner = "DELETE /v1/key/delete/victim HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (method, path) in [
        ("PUT", "/v1/key/create/key"),
        ("GET", "/v1/status"),
        ("GET", "/v1/nothing"),
        ("GET", "/v1/key/create/key"),
        ("PUT", "/v1/key/encrypt/victim"),
        ("PUT", "/v1/key/generate/not%zz"),
    ] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.request(method, path, inner.as_bytes()).await.unwrap();
        let after = raw.request("GET", "/v1/key/describe/victim", b"").await;
        assert!(after.is_err() || after.is_ok_and(|answer| answer.status == 200), "{method} {path}");
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.send(format!("{}{:x}\r\n{inner}\r\n0\r\n\r\n", chunked(method, path), inner.len())).await;
        raw.answer().await.unwrap();
        assert_eq!(admin.get("/v1/key/describe/victim").await.status, 200, "{method} {path}, chunked");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn null_is_an_object_without_fields() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    for (path, status) in [
        ("/v1/key/generate/key", 200),
        ("/v1/key/encrypt/key", 200),
        ("/v1/key/hmac/key", 200),
        ("/v1/key/decrypt/key", 400),
        ("/v1/key/import/other", 406),
    ] {
        for body in ["null", " null\n", "{}"] {
            let answer = send(admin.http.put(server.url(path)).body(body), None).await.unwrap();
            assert_eq!(answer.status, status, "{path} {body:?}: {}", answer.text());
        }
    }
}
