//! Answers that nobody takes: they end, and in the meantime they keep nothing from others.

use std::time::{Duration, Instant};

use super::http2::{Frames, WINDOW_UPDATE, frame};
use super::{status, until_open};
use crate::support::{Client, Raw, Server, Setup, heavy, until};

/// `:method: GET`, indexed in the static table of HPACK.
const GET: u8 = 0x82;

/// How long an answer may wait for its client, and how much later that may show.
const WAIT: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(6);

/// The most memory that a process had at a time.
const PEAK: &str = "VmHWM:";

/// A server with this limit on requests, a third of what attackers ask.
fn limited(requests: usize) -> Server {
    Server::with(Setup { extra: format!("limits: {{requests: {requests}}}\n"), ..Setup::default() })
}

/// Connections that ask for more answers than the server has permits, and take `window` bytes of each.
async fn attack(server: &Server, client: &Client, window: u32, path: &str) -> Vec<Frames> {
    let mut attackers = Vec::new();
    for _ in 0..3 {
        let mut frames = Frames::with_window(server, client, window).await;
        assert!(frames.ask(60, GET, path).await);
        attackers.push(frames);
    }
    let asked = async || server.metric("kes_http_request_success{code=\"200\"}").await;
    until(Duration::from_secs(10), || server.log(), async || asked().await >= 180.0).await;
    attackers
}

/// Waits until the server has ended all of them, and asserts that it says so.
async fn assert_end(server: &Server, attackers: Vec<Frames>, start: Instant) {
    let missing = || format!("the connections are still open after {:?}:\n{}", start.elapsed(), server.log());
    until(WAIT + LATE, missing, async || attackers.iter().all(Frames::is_ended)).await;
    server.logged("does not take its answers").await;
    until_open(server, 0).await;
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_take_no_answers_keep_no_look_from_others_and_are_cut() {
    let server = limited(60);
    let start = Instant::now();
    let attackers = attack(&server, &server.stranger, 0, "/version").await;
    for path in ["/version", "/v1/status", "/v1/ready", "/v1/metrics"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_end(&server, attackers, start).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_takes_no_answers_keeps_no_key_from_others_and_is_cut() {
    for window in [0, 1] {
        let server = limited(60);
        assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
        let start = Instant::now();
        let attackers = attack(&server, &server.app, window, "/v1/key/list/").await;
        let answer = server.put("/v1/key/generate/app-key", None).await;
        assert_eq!(answer.status, 200, "window {window}: {}", answer.text());
        assert_end(&server, attackers, start).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_that_is_not_taken_ends_its_connection_after_10_s() {
    let server = Server::start();
    let mut frames = Frames::with_window(&server, &server.admin, 0).await;
    assert!(frames.ask(1, GET, "/v1/metrics").await);
    let start = Instant::now();
    until(WAIT + LATE, || "it is still open".to_owned(), async || frames.is_ended()).await;
    assert!(start.elapsed() > WAIT.saturating_sub(Duration::from_secs(1)), "{:?}", start.elapsed());
    assert!(server.metric("keyway_connections_stalled_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_taken_slowly_is_sent_to_its_end() {
    let server = Server::start();
    let mut frames = Frames::with_window(&server, &server.admin, 0).await;
    assert!(frames.ask(1, GET, "/v1/metrics").await);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(2)).await; // slowly
        assert!(frames.send(&frame(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes())).await);
        assert!(!frames.is_ended(), "{}", server.log());
    }
    assert!(server.metric("keyway_connections_stalled_total").await < 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_1_1_a_client_that_does_not_read_is_cut_too() {
    let server = Server::start();
    let mut connection = Raw::connect(&server, &server.admin).await;
    let start = Instant::now();
    // More answers than the buffers of the system hold.
    let requests = "GET /v1/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4_000);
    let sent = tokio::spawn(async move {
        connection.send(requests).await;
        connection
    });
    let stalled = async || server.metric("keyway_connections_stalled_total").await >= 1.0;
    until(WAIT + LATE + Duration::from_secs(10), || server.log(), stalled).await;
    assert!(start.elapsed() > WAIT.saturating_sub(Duration::from_secs(1)), "{:?}", start.elapsed());
    drop(sent.await.unwrap());
    until_open(&server, 0).await;
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_nobody_takes_are_bounded_in_bytes() {
    let _turn = heavy();
    let server = limited(200);
    let keys = server.dir.path().join("keys");
    for number in 0..12_000 {
        std::fs::write(keys.join(format!("{number:080}")), "").unwrap(); // a name is enough for a listing
    }
    let listing = server.get("/v1/key/list/").await;
    assert!(listing.body.len() > 900_000, "{}: {} bytes", listing.status, listing.body.len());
    let before = status(&server, PEAK);
    let mut attackers = Vec::new();
    for _ in 0..2 {
        let mut frames = Frames::with_window(&server, &server.admin, 1).await;
        assert!(frames.ask(100, GET, "/v1/key/list/").await);
        attackers.push(frames);
    }
    let ended = async || attackers.iter().all(Frames::is_ended);
    until(Duration::from_secs(40), || "they are still open".to_owned(), ended).await;
    let grown = status(&server, PEAK) - before;
    println!("200 listings of 1 MB that nobody takes: {grown} bytes");
    assert!(grown < 130 << 20, "{grown} bytes");
    server.assert_serves().await;
}
