//! More connections than a server has clients.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt as _, iter};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;

use super::{memory, slowest_request, tcp, until_open};
use crate::support::client::tls_config;
use crate::support::server::program;
use crate::support::{Program, Raw, Server, Setup, heavy, until};

/// Clients that are connected through TLS and ask nothing.
const QUIET: usize = 10_000;

/// Clients that have begun a handshake, and as many that have not.
const HALF_OPEN: usize = 500;

/// Bytes that rustls itself holds for an open connection, as counted by an allocator around its own types; what its
/// cryptography allocates in C comes on top.
const RUSTLS: u64 = 7_600;

/// Bytes of memory that one of them may cost.
const COST: u64 = RUSTLS + (20 << 10);

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_harm_nobody_and_cost_little() {
    let _turn = heavy();
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    assert!(limit.is_none_or(|limit| limit > 12_000), "this test needs 12000 open files: ulimit -Hn 12000");

    let extra = "limits: {connections: 12000}\n".to_owned();
    let server = Server::with(Setup { extra, ..Setup::default() });
    // The first pass over new code and the first handshake are not what is measured.
    slowest_request(&server, 20).await;
    let before = memory(&server);
    let config = Arc::new(tls_config(&server.certificate, Some(&server.admin), &[b"http/1.1"]));
    let open = iter(0..QUIET).map(|_| Raw::with(&server, config.clone())).buffer_unordered(64);
    let quiet: Vec<Raw> = open.map(Result::unwrap).collect().await;
    let half_open = iter(0..2 * HALF_OPEN).map(|number| {
        let server = &server;
        async move {
            let mut stream = tcp(server).await;
            if number % 2 == 0 {
                stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
            }
            stream
        }
    });
    let half_open: Vec<_> = half_open.buffer_unordered(64).collect().await;
    let opened = Instant::now();

    let count = server.metric("keyway_connections").await;
    let all = u32::try_from(QUIET + 2 * HALF_OPEN).unwrap();
    assert!(count >= f64::from(all), "only {count} of {all} connections are open");
    let slowest = slowest_request(&server, 100).await;
    assert!(slowest < Duration::from_secs(2), "{slowest:?} for one request");
    let cost = memory(&server).saturating_sub(before) / u64::from(all);
    println!("{all} connections: {cost} bytes each, slowest request {slowest:?}");
    assert!(cost < COST, "{cost} bytes for one connection");
    assert!(opened.elapsed() < Duration::from_secs(9), "the half-open connections are gone by now");

    drop((quiet, half_open));
    until_open(&server, 0).await;
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_wait_and_are_served_when_others_leave() {
    let mut server = Server::start();
    server.kill();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$0\" server --config config.yml"]);
    command.arg(program()).current_dir(server.dir.path());
    let mut limited = Program::spawn(command);
    server.address = limited.address();

    // As many as files are left for, and those that would be refused: further ones wait.
    let config = Arc::new(tls_config(&server.certificate, Some(&server.admin), &[b"http/1.1"]));
    let connections = iter(0..96).map(|_| Raw::with(&server, config.clone())).buffer_unordered(8);
    let silent: Vec<_> = connections.map(Result::unwrap).collect().await;
    let asking = tokio::time::timeout(Duration::from_secs(1), server.get("/version")).await;
    assert!(asking.is_err(), "97 connections were accepted with 128 files");
    drop(silent);
    let start = Instant::now();
    let missing = || "the connections that left still count".to_owned();
    until(Duration::from_secs(5), missing, async || server.get("/version").await.status != 503).await;
    server.assert_serves().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!limited.stderr().contains("Too many open files"), "{}", limited.stderr());
    limited.signal(Signal::TERM);
    assert_eq!(limited.end().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_send_nothing_do_not_use_up_the_limit() {
    let extra = "limits: {connections: 100}\n".to_owned();
    let server = Server::with(Setup { extra, ..Setup::default() });
    let silent: Vec<_> = iter(0..300).map(|_| tcp(&server)).buffer_unordered(50).collect().await;
    let slowest = slowest_request(&server, 10).await;
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    server.logged("without a finished handshake").await;
    drop(silent);
    until_open(&server, 0).await;
    server.assert_serves().await;
}
