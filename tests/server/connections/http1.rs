//! What is not HTTP/1.1 over TLS, or too much of it.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::{end_of, tcp, until_open};
use crate::support::{Raw, Server};

const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn plain_http_on_the_tls_port_is_answered_with_an_explanation() {
    let server = Server::start();
    let body = "x".repeat(100_000);
    let requests = [
        "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("PUT /v1/key/create/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    ];
    for request in requests {
        let mut stream = tcp(&server).await;
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.shutdown().await;
        let (answer, _) = end_of(stream, PATIENCE).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("https://") && answer.contains(r#"{"message":""#), "{answer}");
    }
    let http = reqwest::Client::builder().build().unwrap();
    let answer = http.get(format!("http://{}/version", server.address)).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    server.logged("plain HTTP").await;
    server.assert_serves().await;
}

#[tokio::test]
async fn plain_http_that_stays_connected_is_cut() {
    let server = Server::start();
    let mut stream = tcp(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    until_open(&server, 0).await;
}

#[tokio::test]
async fn garbage_in_place_of_a_handshake_ends_the_connection() {
    let server = Server::start();
    let record = |kind: u8, length: u16, fill: u8| {
        let mut bytes = vec![kind, 3, 1];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend(vec![fill; usize::from(length)]);
        bytes
    };
    for bytes in [
        vec![0; 5000],
        vec![0x16; 5000],
        vec![0xff; 5000],
        record(0x16, 512, 1),
        record(0x16, 0, 0),
        record(0x17, 100, 0),
        record(0x15, 2, 2),
        record(0x16, 0xffff, 1),
    ] {
        let mut stream = tcp(&server).await;
        let _ = stream.write_all(&bytes).await;
        let (_, time) = end_of(stream, PATIENCE).await;
        assert!(time < Duration::from_secs(12), "{:?} took {time:?}", &bytes[..5]);
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn garbage_after_the_handshake_ends_the_connection() {
    let server = Server::start();
    for bytes in [&b"\0\x01\x02\x03\r\n\r\n"[..], b"\r\n\r\n hello \r\n\r\n", b"GET\r\n\r\n", &[0xff; 3000]] {
        let mut connection = Raw::connect(&server, &server.admin).await;
        connection.send(bytes).await;
        let answer = String::from_utf8_lossy(&connection.rest().await).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start();
    // The limit is 64 KiB; as much again may have been read by the time it is looked at.
    for length in [130 << 10, 1 << 20, 8 << 20] {
        let mut connection = Raw::connect(&server, &server.admin).await;
        connection
            .send(format!("GET /version HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(length)))
            .await;
        // The answer may be lost in the reset that the unread rest of the head causes.
        if let Ok(answer) = connection.answer().await {
            assert_eq!(answer.status, 431);
        }
    }
    let mut connection = Raw::connect(&server, &server.admin).await;
    connection.send(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(130 << 10))).await;
    if let Ok(answer) = connection.answer().await {
        assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
    }
    let mut connection = Raw::connect(&server, &server.admin).await;
    connection
        .send(format!("GET /version HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(60 << 10)))
        .await;
    assert_eq!(connection.answer().await.unwrap().status, 200, "60 KiB are fine");
    server.assert_serves().await;
}

#[tokio::test]
async fn three_hundred_headers_are_refused() {
    let server = Server::start();
    let mut connection = Raw::connect(&server, &server.admin).await;
    let headers = "X-Header: value\r\n".repeat(300);
    connection.send(format!("GET /version HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
    assert_eq!(connection.answer().await.unwrap().status, 431);
    server.assert_serves().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::start();
    let mut connection = Raw::connect(&server, &server.admin).await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.send([request("/version"), request("/none"), request("/v1/status"), request("/version")].concat()).await;
    for status in [200, 404, 200, 200] {
        assert_eq!(connection.answer().await.unwrap().status, status);
    }
}
