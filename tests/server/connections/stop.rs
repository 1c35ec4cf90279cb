//! Signals: SIGTERM lets open requests finish, a second one does not, SIGHUP stops nothing.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::http2::Frames;
use super::tcp;
use crate::support::server::{program, send};
use crate::support::{Events, Program, Raw, Server, Setup, until};

/// Less than the server lets open requests take.
const AT_ONCE: Duration = Duration::from_secs(5);

const BODY: &[u8] = br#"{"plaintext":"aGVsbG8="}"#;

/// Begins a request of which the server has the head and half of the body.
async fn half_a_request(server: &Server) -> Raw {
    assert_eq!(server.put("/v1/key/create/my-key", None).await.status, 200);
    let mut connection = Raw::connect(server, &server.admin).await;
    let head =
        format!("PUT /v1/key/encrypt/my-key HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", BODY.len());
    connection.send([head.as_bytes(), &BODY[..10]].concat()).await;
    server.until_active(1).await;
    connection
}

/// Waits until the server takes no connections any more.
async fn until_refused(server: &Server) {
    let missing = || "connections are still accepted".to_owned();
    until(AT_ONCE, missing, async || TcpStream::connect(server.address).await.is_err()).await;
}

#[tokio::test]
async fn on_sigterm_an_open_request_finishes_and_new_connections_are_refused() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start();
        let mut connection = half_a_request(&server).await;
        server.signal(signal);
        until_refused(&server).await;
        connection.send(&BODY[10..]).await;
        let answer = connection.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.json()["ciphertext"].is_string());
        let start = Instant::now();
        assert_eq!(server.wait().code(), Some(0));
        assert!(start.elapsed() < AT_ONCE, "it waited on after the last request");
        assert!(server.log().trim_end().ends_with("stopped"), "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_a_request_over_http_2_finishes() {
    let mut server = Server::start();
    assert_eq!(server.put("/v1/key/create/my-key", None).await.status, 200);
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let body = futures_util::stream::once(async move {
        let _ = receiver.await;
        Ok::<_, std::io::Error>(BODY)
    });
    let http = server.http2(Some(&server.admin));
    let request = http.put(server.url("/v1/key/encrypt/my-key")).body(reqwest::Body::wrap_stream(body));
    let request = tokio::spawn(send(request, None));
    server.until_active(1).await;
    server.signal(Signal::TERM);
    until_refused(&server).await;
    sender.send(()).unwrap();
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    let start = Instant::now();
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < AT_ONCE, "it waited on after the last request");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_connections_without_a_request_are_closed_at_once() {
    let mut server = Server::start();
    let mut used = Raw::connect(&server, &server.admin).await;
    assert_eq!(used.request("GET", "/version", b"").await.unwrap().status, 200);
    let mut unused = Raw::connect(&server, &server.admin).await;
    let silent = tcp(&server).await;
    let http2 = server.http2(Some(&server.admin));
    assert_eq!(send(http2.get(server.url("/version")), None).await.unwrap().status, 200);
    let mut events = Events::audit(&server).await;
    let events = tokio::spawn(async move { while events.next().await.is_some() {} });
    let open = server.metric("keyway_connections").await;
    assert!(open >= 5.0, "{open}");

    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(used.rest().await.is_empty() && unused.rest().await.is_empty());
    events.await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn on_sigterm_an_http_2_client_that_is_dead_is_not_waited_for_as_if_it_had_a_request() {
    let mut server = Server::start();
    let dead = Frames::open(&server).await; // nothing answers its pings while this test waits below
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(!server.log().contains("did not finish in time"), "there was no request: {}", server.log());
    drop(dead);
}

#[tokio::test]
async fn on_sigterm_a_request_that_does_not_finish_is_cut_when_the_time_is_up() {
    let mut server = Server::start();
    let connection = half_a_request(&server).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let time = start.elapsed();
    assert!(time > Duration::from_secs(9) && time < Duration::from_secs(14), "{time:?}");
    assert!(server.log().contains("did not finish in time"), "{}", server.log());
    drop(connection);
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut server = Server::start();
        let connection = half_a_request(&server).await;
        server.signal(Signal::TERM);
        until_refused(&server).await;
        assert!(server.is_running(), "it waits for the request");
        let start = Instant::now();
        server.signal(second);
        let status = server.wait();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_ne!(status.code(), Some(0), "a request was cut: that is not a clean end");
        drop(connection);
    }
}

#[tokio::test]
async fn sigusr1_and_sigusr2_stop_nothing_and_are_answered_in_the_log() {
    let mut server = Server::start();
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        server.signal(signal);
        server.logged(&format!("{name} ignored")).await;
    }
    assert!(server.is_running());
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_standard_output_loses_events_with_a_count_and_a_line_and_holds_up_no_end() {
    let extra = "log:\n  audit: on\n".to_owned();
    let mut server = Server::with(Setup { extra, ..Setup::default() });
    server.kill();
    let pipe = server.dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Held open, and never read.
    let _held = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" server --config config.yml > pipe"]);
    command.arg(program()).current_dir(server.dir.path());
    let mut blocked = Program::spawn(command);
    server.address = blocked.address();
    let http = server.http2(Some(&server.admin));
    let path = format!("/v1/key/describe/{}", "k".repeat(2_000));
    let lost = async || server.metric("keyway_log_audit_lines_lost_total").await;
    while lost().await < 100.0 {
        assert!(blocked.stderr().len() < 1 << 20, "{}", blocked.stderr());
        let requests = (0..200).map(|_| send(http.get(server.url(&path)), None));
        assert!(join_all(requests).await.iter().all(|answer| answer.as_ref().unwrap().status == 400));
    }
    blocked.wait_for(|program| program.stderr().contains("standard output takes no audit events").then_some(()));
    assert!(blocked.stderr().matches("standard output takes no audit events").count() < 9, "{}", blocked.stderr());
    let start = Instant::now();
    blocked.signal(Signal::TERM);
    let ended = blocked.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(ended.stderr.contains("the last ones are lost"), "{}", ended.stderr);
}

#[tokio::test]
async fn sighup_stops_nothing_and_is_answered_in_the_log() {
    let server = Server::start();
    let mut connection = half_a_request(&server).await;
    for _ in 0..3 {
        server.signal(Signal::HUP);
    }
    connection.send(&BODY[10..]).await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    assert_eq!(server.request(&server.admin, Method::GET, "/v1/status", None).await.status, 200);
    until(AT_ONCE, || server.log(), async || server.log().contains("SIGHUP")).await;
    server.assert_serves().await;
}
