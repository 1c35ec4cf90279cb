//! Over a limit clients are refused at once, and those below it are served on.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::server::send;
use crate::support::{Events, Raw, Server, Setup, until};

fn limited(limits: &str) -> Server {
    Server::with(Setup { extra: format!("limits: {{{limits}}}\n"), ..Setup::default() })
}

/// Requests that have begun and wait for their bodies.
async fn unfinished(server: &Server, client: &crate::support::Client, count: usize) -> Vec<Raw> {
    begun(server, client, count, 20).await
}

/// The same with bodies of `length` bytes.
async fn begun(server: &Server, client: &crate::support::Client, count: usize, length: usize) -> Vec<Raw> {
    let open = (0..count).map(|_| async {
        let mut connection = Raw::connect(server, client).await;
        let head = "PUT /v1/key/decrypt/app-key HTTP/1.1\r\nHost: localhost\r\nContent-Length";
        connection.send(format!("{head}: {length}\r\n\r\n{{")).await;
        connection
    });
    let open = join_all(open).await;
    server.until_active(count.try_into().unwrap()).await;
    open
}

/// Waits until there is room again: what was refused is answered with 200, soon after others have left.
async fn until_answered(status: impl AsyncFn() -> u16) {
    let missing = || "those who have left are still counted".to_owned();
    until(Duration::from_secs(2), missing, async || status().await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_limit_of_all_clients_are_answered_with_503_and_the_status_is_served_on() {
    let server = limited("requests: 5");
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let open = unfinished(&server, &server.app, 5).await;
    let refused = server.put("/v1/key/generate/app-key", None).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.message(), "too many concurrent requests: the limit is 5");
    server.logged("WARN too many concurrent requests: the limit is 5; further requests are rejected").await;
    assert_eq!(refused.headers["retry-after"], "1");
    for path in ["/v1/status", "/v1/ready", "/v1/metrics", "/version"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    drop(open);
    until_answered(async || server.put("/v1/key/generate/app-key", None).await.status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_limit_of_one_identity_are_answered_with_429_and_others_are_served() {
    let server = limited("requests_per_identity: 3");
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let open = unfinished(&server, &server.app, 3).await;
    let body = Some(json!({ "ciphertext": "" }));
    let refused = server.request(&server.app, reqwest::Method::PUT, "/v1/key/decrypt/app-key", body).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(server.put("/v1/key/generate/app-key", None).await.status, 200, "the admin is somebody else");
    drop(open);
    let again = async || server.request(&server.app, reqwest::Method::PUT, "/v1/key/generate/app-key", None).await;
    until_answered(async || again().await.status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_the_limit_is_answered_with_503_and_ends() {
    let server = limited("connections: 4");
    let mut below = Vec::new();
    for _ in 0..4 {
        let mut connection = Raw::connect(&server, &server.admin).await;
        assert_eq!(connection.request("GET", "/version", b"").await.unwrap().status, 200);
        below.push(connection);
    }
    let mut over = Raw::connect(&server, &server.admin).await;
    let refused = over.request("GET", "/version", b"").await.unwrap();
    assert_eq!((refused.status, refused.message().as_str()), (503, "too many connections: the limit is 4"));
    assert_eq!(refused.headers["retry-after"], "1");
    server.logged("WARN too many connections: the limit is 4; further ones are rejected").await;
    assert!(over.rest().await.is_empty(), "the connection goes on");
    let http2 = send(server.http2(Some(&server.admin)).get(server.url("/version")), None).await.unwrap();
    assert_eq!(http2.status, 503);
    for connection in &mut below {
        assert_eq!(connection.request("GET", "/version", b"").await.unwrap().status, 200);
    }
    drop(below);
    until_answered(async || server.get("/v1/ready").await.status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_over_the_limit_are_answered_with_429() {
    let server = limited("subscribers: 2");
    let followed = [Events::audit(&server).await, Events::audit(&server).await];
    let refused = Events::subscribe(&server, &server.admin, "/v1/log/audit").await.err().unwrap();
    assert_eq!(refused.status(), 429);
    Events::error(&server).await;
    drop(followed);
    let subscribe = async || Events::subscribe(&server, &server.admin, "/v1/log/audit").await;
    until_answered(async || subscribe().await.map_or_else(|refused| refused.status().as_u16(), |_| 200)).await;
}

/// The length of a large body: 32 of them have room at a time, and 96 that do not go on keep it for 6 s.
const LARGE: usize = 1 << 20;

/// A body that needs room.
fn large() -> serde_json::Value {
    json!({ "plaintext": "A".repeat(LARGE - 100) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_waits_for_room_and_small_ones_are_served_in_the_meantime() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let open = begun(&server, &server.admin, 96, LARGE).await;
    let waiting = server.put("/v1/key/encrypt/app-key", Some(large()));
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(700), &mut waiting).await.is_err(), "there is room");
    assert_eq!(server.put("/v1/key/generate/app-key", None).await.status, 200);
    drop(open);
    assert_eq!(waiting.await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_finds_no_room_in_time_is_answered_with_503() {
    let extra = "api:\n  /v1/key/encrypt/:\n    timeout: 1s\n".to_owned();
    let server = Server::with(Setup { extra, ..Setup::default() });
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let open = begun(&server, &server.admin, 96, LARGE).await;
    let refused = server.put("/v1/key/encrypt/app-key", Some(large())).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.message(), "too many large requests: the limit is 32 MiB of request bodies in memory");
    assert_eq!(refused.headers["retry-after"], "1");
    drop(open);
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_send_their_large_bodies_keep_no_room_from_others_for_long() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let open = begun(&server, &server.app, 64, LARGE).await;
    // Their own time is up after 15 s.
    let answer = server.put("/v1/key/encrypt/app-key", Some(large()));
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap().status, 200);
    drop(open);
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_large_bodies_than_there_is_room_for_all_pass_over_one_http2_connection() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let http = server.http2(Some(&server.admin));
    assert_eq!(send(http.get(server.url("/version")), None).await.unwrap().status, 200); // opens the connection
    let answers = (0..80).map(|_| send(http.put(server.url("/v1/key/encrypt/app-key")), Some(large())));
    for answer in join_all(answers).await {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_without_a_length_needs_room_too() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let open = begun(&server, &server.admin, 96, LARGE).await;
    let mut chunked = Raw::connect(&server, &server.admin).await;
    let head = "PUT /v1/key/encrypt/app-key HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = large().to_string();
    chunked.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
    let early = tokio::time::timeout(Duration::from_millis(700), chunked.status()).await;
    assert!(early.is_err(), "there is room");
    drop(open);
    assert_eq!(chunked.status().await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_half_of_the_connections_and_known_clients_are_served() {
    let server = limited("connections: 8");
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut connection = Raw::connect(&server, &server.stranger).await;
        assert_eq!(connection.request("GET", "/version", b"").await.unwrap().status, 200);
        strangers.push(connection);
    }
    let mut over = Raw::connect(&server, &server.stranger).await;
    let refused = over.request("GET", "/version", b"").await.unwrap();
    assert_eq!((refused.status, refused.message().as_str()), (503, "too many connections: the limit is 4"));
    server.assert_serves().await;
}
