//! Bodies at the limit, over it, and of a length that is not what it says.

use std::time::{Duration, Instant};

use futures_util::stream;

use super::{LIMIT, chunked, other_message};
use crate::api::{Session, base64, field, not_an_error};
use crate::support::server::send;
use crate::support::{Raw, Server};

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let plaintext = base64(&vec![7; 700_000]);
    let body = |length: usize| {
        let start = format!(r#"{{"plaintext":"{plaintext}""#);
        format!("{start}{}}}", " ".repeat(length - start.len() - 1)).into_bytes()
    };
    let too_large = "request body is too large: at most 1048576 bytes are accepted";
    let url = server.url("/v1/key/encrypt/key");
    for (http, version) in [(server.http(Some(&server.admin)), 1), (server.http2(Some(&server.admin)), 2)] {
        let answer = send(http.put(&url).body(body(LIMIT)), None).await.unwrap();
        assert_eq!(answer.status, 200, "HTTP/{version}: {}", answer.text());
        assert_eq!(
            admin.decrypt("key", &field(&answer, "ciphertext")).await.status,
            200,
            "the ciphertext of the largest message cannot be sent back"
        );
        for length in [LIMIT + 1, LIMIT + 2, 2 * LIMIT, 4 * LIMIT] {
            let answer = send(http.put(&url).body(body(length)), None).await.unwrap();
            let failure = not_an_error(&answer, 413).or_else(|| other_message(&answer, too_large));
            assert_eq!(failure, None, "HTTP/{version}, {length} bytes of known length");
        }
        for (length, status) in [(LIMIT, 200), (LIMIT + 1, 413), (2 * LIMIT, 413), (4 * LIMIT, 413)] {
            let chunks: Vec<_> =
                body(length).chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
            let chunked = reqwest::Body::wrap_stream(stream::iter(chunks));
            let answer = send(http.put(&url).body(chunked), None).await.unwrap();
            assert_eq!(answer.status, status, "HTTP/{version}, {length} bytes in chunks: {}", answer.text());
            if status != 200 {
                assert_eq!(not_an_error(&answer, status), None);
            }
        }
        // Nobody reads a body without end: past some length the connection is cut.
        if let Ok(answer) = send(http.put(&url).body(body(50 * LIMIT)), None).await {
            assert_eq!(not_an_error(&answer, 413), None, "HTTP/{version}");
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_length_that_makes_no_sense_is_refused() {
    let server = Server::start();
    Session::admin(&server).create("key").await;
    for length in [
        "Content-Length: -1",
        "Content-Length: +14",
        "Content-Length: x",
        "Content-Length: 14, 15",
        "Content-Length: 14\r\nContent-Length: 15",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 0x0e",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.send(format!(
            "PUT /v1/key/encrypt/key HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n{{\"plaintext\":\"\"}}"
        ))
        .await;
        let status = raw.status().await;
        assert_eq!(status, Ok(400), "{length}");
    }
    let mut raw = Raw::connect(&server, &server.admin).await;
    raw.send("PUT /v1/key/encrypt/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\n{")
        .await;
    let answer = raw.answer().await.unwrap();
    assert!(matches!(answer.status, 400 | 413 | 431), "{}", answer.status);
    for chunk in ["zz\r\n", "-1\r\n", "fffffffffffffffff\r\n", "1;\r\nab\r\n", "5\r\nhelloX"] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.send(chunked("PUT", "/v1/key/encrypt/key")).await;
        raw.send(chunk).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(not_an_error(&answer, 400), None, "{chunk:?}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_client_that_asks_first_may_go_on_only_when_its_body_is_wanted() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let body = r#"{"plaintext":"aGVsbG8="}"#;
    let head = |path: &str, length: usize| {
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut raw = Raw::connect(&server, &server.admin).await;
    raw.send(head("/v1/key/encrypt/key", body.len())).await;
    assert_eq!(raw.status().await, Ok(100));
    raw.send(body).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    for (client, path, length, status) in [
        (&server.admin, "/v1/key/encrypt/key", LIMIT + 1, 413),
        (&server.app, "/v1/key/encrypt/app-1", body.len(), 403),
        (&server.admin, "/v1/nothing", body.len(), 404),
        (&server.admin, "/v1/key/list/", body.len(), 405),
        (&server.admin, "/v1/key/create/asked", body.len(), 200),
    ] {
        let mut raw = Raw::connect(&server, client).await;
        let began = Instant::now();
        raw.send(head(path, length)).await;
        assert_eq!(raw.status().await, Ok(status), "{path}");
        assert!(began.elapsed() < Duration::from_secs(5), "{path}: {:?}", began.elapsed());
    }
    server.assert_serves().await;
}
