//! The probe listener: plain HTTP for three paths, beside a strict TLS listener.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::Signal;

use crate::services::ports::four_free;
use crate::support::server::{Answer, send};
use crate::support::{Raw, Server, Setup, until};

/// A server with a probe listener, and its address.
fn with_probe(extra: &str) -> (Server, SocketAddr) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, four_free()));
    let extra = format!("probe: {{address: \"{address}\"}}\n{extra}");
    (Server::with(Setup { extra, ..Setup::default() }), address)
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    send(http.request(method.parse().unwrap(), format!("http://{address}{path}")), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_ready_and_metrics_are_answered_and_nothing_else() {
    let (server, probe) = with_probe("");
    for path in ["/live", "/ready"] {
        let answer = ask(probe, "GET", path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{path}");
    }
    let metrics = ask(probe, "GET", "/metrics").await;
    assert!(metrics.text().contains("keyway_keystore_up 1"), "{}", metrics.text());
    for path in ["/", "/version", "/v1/ready", "/v1/status", "/v1/metrics", "/v1/key/list/", "/v1/log/audit", "/live/"]
    {
        assert_eq!(ask(probe, "GET", path).await.status, 404, "{path}");
    }
    let create = ask(probe, "PUT", "/v1/key/create/x").await;
    assert_eq!(create.status, 404, "{}", create.text());
    let wrong = ask(probe, "POST", "/ready").await;
    assert_eq!(wrong.status, 405, "{}", wrong.text());
    // The server itself asks for a certificate as before.
    assert!(server.http(None).get(server.url("/v1/ready")).send().await.is_err());
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_reports_the_store_without_its_words_and_live_does_not_depend_on_it() {
    let (server, probe) = with_probe("");
    let keys = server.dir.path().join("keys");
    std::fs::rename(&keys, server.dir.path().join("elsewhere")).unwrap();
    let ready = ask(probe, "GET", "/ready").await;
    assert!(matches!(ready.status, 502 | 504), "{}", ready.text());
    assert!(!ready.text().contains("keys"), "{}", ready.text());
    assert_eq!(ask(probe, "GET", "/live").await.status, 200);
    std::fs::rename(server.dir.path().join("elsewhere"), &keys).unwrap();
    assert_eq!(ask(probe, "GET", "/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_drains_ready_says_503_and_live_200() {
    let (mut server, probe) = with_probe("");
    assert_eq!(server.put("/v1/key/create/key", None).await.status, 200);
    let mut open = Raw::connect(&server, &server.admin).await;
    open.send(b"PUT /v1/key/encrypt/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{").await;
    server.until_active(1).await;
    server.signal(Signal::TERM);
    let missing = || "it is still ready".to_owned();
    until(Duration::from_secs(2), missing, async || ask(probe, "GET", "/ready").await.status != 200).await;
    let ready = ask(probe, "GET", "/ready").await;
    assert_eq!((ready.status, ready.message().as_str()), (503, "server is stopping"));
    assert_eq!(ready.headers["retry-after"], "1");
    assert_eq!(ask(probe, "GET", "/live").await.status, 200);
    drop(open);
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_the_listener_takes_keep_nobody_out() {
    let (server, probe) = with_probe("");
    let silent: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(probe).unwrap()).collect();
    let start = std::time::Instant::now();
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(ask(probe, "GET", path).await.status, 200, "{path}");
    }
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    drop(silent);
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_broken_probes_keep_nobody_out() {
    let (server, probe) = with_probe("");
    let silent: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(probe).unwrap()).collect();
    for mut stream in &silent {
        std::io::Write::write_all(&mut stream, b"GET /rea").unwrap();
    }
    assert_eq!(ask(probe, "GET", "/ready").await.status, 200);
    drop(silent);
    server.assert_serves().await;
}
