//! Bodies that come late, slowly or not at all.

use std::time::{Duration, Instant};

use futures_util::stream;
use serde_json::json;

use super::{chunked, other_message};
use crate::api::{Session, base64, not_an_error};
use crate::support::server::send;
use crate::support::{Raw, Server, Setup};

/// A server whose encrypt API waits one second for its body.
fn impatient() -> Server {
    Server::with(Setup { extra: "api:\n  /v1/key/encrypt/:\n    timeout: 1s".to_owned(), ..Setup::default() })
}

#[tokio::test]
async fn a_body_without_end_is_answered_when_the_time_of_its_api_is_up() {
    let server = impatient();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let path = "/v1/key/encrypt/key";
    let fixed = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n");
    for (head, start) in [
        (chunked("PUT", path), ""),
        (chunked("PUT", path), "6\r\n{\"plai\r\n"),
        (chunked("PUT", path), "10"),
        (fixed.clone(), ""),
        (fixed, "{\"plaintext\":"),
    ] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        let began = Instant::now();
        raw.send(head.clone() + start).await;
        let answer = raw.answer().await.unwrap();
        let failure = not_an_error(&answer, 408)
            .or_else(|| other_message(&answer, "request timed out: the body was not received within 1 s"));
        assert_eq!(failure, None, "{head}{start}");
        let took = began.elapsed().as_secs_f64();
        assert!((0.9..4.0).contains(&took), "answered after {took} s: {head}{start}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_body_that_trickles_in_has_the_time_of_its_api_in_all() {
    let server = impatient();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let body = br#"{"plaintext":"aGVsbG8="}"#;
    for (pause, status) in [(Duration::from_millis(10), 200), (Duration::from_millis(150), 408)] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        let began = Instant::now();
        raw.send(chunked("PUT", "/v1/key/encrypt/key")).await;
        for byte in body {
            raw.send([b"1\r\n", [*byte].as_slice(), b"\r\n"].concat()).await;
            tokio::time::sleep(pause).await; // the trickle
        }
        raw.send("0\r\n\r\n").await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, status, "a byte each {pause:?}: {}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(8));
    }
    let endless = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await; // the trickle
        Some((Ok::<_, std::io::Error>(b" ".to_vec()), ()))
    });
    let http2 = server.http2(Some(&server.admin));
    let request = http2.put(server.url("/v1/key/encrypt/key")).body(reqwest::Body::wrap_stream(endless));
    let answer = send(request, None).await.unwrap();
    assert_eq!(not_an_error(&answer, 408), None, "over HTTP/2");
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_finish_their_bodies_hold_up_nobody() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let mut open = Vec::new();
    for number in 0..200 {
        let mut raw = Raw::connect(&server, &server.admin).await;
        let api = ["encrypt/key", "decrypt/key", "hmac/key", "generate/key", "import/late"][number % 5];
        raw.send(chunked("PUT", &format!("/v1/key/{api}")) + "6\r\n{\"plai\r\n").await;
        open.push(raw);
    }
    let began = Instant::now();
    for number in 0..100 {
        admin.data_key("key").await;
        admin.create(&format!("key-{number}")).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
    drop(open);
    assert_eq!(admin.get("/v1/key/describe/late").await.status, 404);
    server.assert_serves().await;
}

#[tokio::test]
async fn an_import_that_is_cut_off_creates_no_key() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let body = json!({ "key": base64(&[1; 32]), "cipher": "AES256" }).to_string();
    for length in [0, 1, body.len() / 2, body.len() - 1] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.send(format!(
            "PUT /v1/key/import/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .await;
        raw.send(&body[..length]).await;
        drop(raw);
    }
    tokio::time::sleep(Duration::from_millis(500)).await; // no key appears
    assert_eq!(admin.get("/v1/key/describe/cut").await.status, 404);
    let whole = admin.http.put(server.url("/v1/key/import/cut")).body(body);
    assert_eq!(send(whole, None).await.unwrap().status, 200);
    server.assert_serves().await;
}
