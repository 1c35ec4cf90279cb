//! Clients that are slow, or silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;

use super::{end_of, slowest_request, tcp};
use crate::support::client::tls_config;
use crate::support::{Raw, Server};

/// A tolerance for machines that are busy with other tests.
const LATE: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_half_sent_head_is_cut_after_5_s() {
    let server = Server::start();
    let mut connection = Raw::connect(&server, &server.admin).await;
    connection.send(b"GET /version HTTP/1.1\r\nHost: loc").await;
    let start = Instant::now();
    connection.rest().await;
    let time = start.elapsed();
    assert!(time > Duration::from_secs(4) && time < Duration::from_secs(5) + LATE, "{time:?}");
    server.assert_serves().await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_after_5_s_all_the_same() {
    let server = Server::start();
    let mut connection = Raw::connect(&server, &server.admin).await;
    let answer = connection.request("GET", "/version", b"").await.unwrap();
    assert_eq!(answer.status, 200, "the second request of a connection is timed as well");
    let start = Instant::now();
    for byte in b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        connection.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(250)).await; // the trickle
    }
    assert!(connection.answer().await.is_err(), "it was answered after {:?}", start.elapsed());
    server.assert_serves().await;
}

#[tokio::test]
async fn an_idle_connection_is_kept() {
    let server = Server::start();
    let mut used = Raw::connect(&server, &server.admin).await;
    assert_eq!(used.request("GET", "/version", b"").await.unwrap().status, 200);
    let mut unused = Raw::connect(&server, &server.admin).await;
    let http2 = server.http2(Some(&server.admin));
    http2.get(server.url("/version")).send().await.unwrap();
    let open = server.metric("keyway_connections").await;
    tokio::time::sleep(Duration::from_millis(7_500)).await; // longer than a head may take
    assert_eq!(used.request("GET", "/version", b"").await.unwrap().status, 200);
    assert_eq!(unused.request("GET", "/version", b"").await.unwrap().status, 200);
    http2.get(server.url("/version")).send().await.unwrap();
    assert!(server.metric("keyway_connections").await <= open, "nobody had to connect again");
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_is_cut_after_10_s() {
    let server = Server::start();
    let silent = tcp(&server).await;
    let mut half = tcp(&server).await;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap(); // the head of a ClientHello of 512 bytes
    let (silent, half) = tokio::join!(end_of(silent, Duration::from_secs(20)), end_of(half, Duration::from_secs(20)));
    for (_, time) in [silent, half] {
        assert!(time > Duration::from_secs(9) && time < Duration::from_secs(10) + LATE, "{time:?}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_handshake_that_trickles_is_cut_after_10_s() {
    let server = Server::start();
    let config = tls_config(&server.certificate, Some(&server.admin), &[b"http/1.1"]);
    let name: ServerName<'static> = server.address.ip().into();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = tcp(&server).await;
    let start = Instant::now();
    for byte in hello {
        if stream.write_all(&[byte]).await.is_err() || start.elapsed() > Duration::from_secs(20) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // the trickle
    }
    let time = start.elapsed();
    assert!(time > Duration::from_secs(9) && time < Duration::from_secs(10) + LATE, "{time:?}");
    server.assert_serves().await;
}

#[tokio::test]
async fn silent_clients_hold_nobody_up() {
    let server = Server::start();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push((tcp(&server).await, Raw::connect(&server, &server.admin).await));
    }
    let slowest = slowest_request(&server, 40).await;
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    drop(silent);
    super::until_open(&server, 0).await;
    server.assert_serves().await;
}
