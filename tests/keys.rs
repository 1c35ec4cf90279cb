//! The cache in front of real stores that go away: what is served on, what fails at once, how soon all is well again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::services::postgres::Postgres;
use crate::services::proxy::{Mode, Proxy};
use crate::services::vault::Program;
use crate::support::server::{send, unique};
use crate::support::stores::{self, Kv};
use crate::support::{Events, Server, Setup, until};

fn gateway(keystore: &str, expiry: &str) -> Server {
    let extra = format!("cache: {{expiry: {{{expiry}}}}}\n");
    Server::with(Setup { keystore: keystore.to_owned(), extra, ..Setup::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_for_one_cold_key_read_the_backend_once() {
    const REQUESTS: usize = 1000;
    let service = stores::start(Program::OpenBao).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], service.port()))).await;
    let keystore = stores::vault(&service, &format!("http://{}", proxy.address()), Kv::V2, &unique());
    let server = Arc::new(gateway(&keystore, "any: 5m"));
    assert_eq!(server.put("/v1/key/create/cold", None).await.status, 200);
    let reads = "keyway_keystore_read_latency_seconds_count";
    let before = server.metric(reads).await;
    proxy.set(Mode::Delay(Duration::from_millis(1500))); // so that all come before the answer
    let http = server.http2(Some(&server.admin));
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        let (http, server) = (http.clone(), server.clone());
        requests.spawn(async move { send(http.put(server.url("/v1/key/generate/cold")), None).await.unwrap().status });
    }
    assert!(requests.join_all().await.iter().all(|status| *status == 200));
    proxy.set(Mode::Pass);
    assert!((server.metric(reads).await - before - 1.0).abs() < 0.5, "more than one read");
}

/// How long the outage test lets keys be served; `KEYWAY_OFFLINE_SECONDS=60` for the long form.
fn offline() -> Duration {
    let seconds = std::env::var("KEYWAY_OFFLINE_SECONDS").map(|seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_serves_hot_keys_for_as_long_as_it_says() {
    let offline = offline();
    let mut service = Postgres::start();
    let server = gateway(
        &stores::postgres(service.address(), &unique()),
        &format!("any: 2s, unused: 30s, offline: {}s", offline.as_secs()),
    );
    for name in ["hot", "cold"] {
        assert_eq!(server.put(&format!("/v1/key/create/{name}"), None).await.status, 200);
    }
    let http = server.http(Some(&server.admin));
    let generate = |name: &str| send(http.put(server.url(&format!("/v1/key/generate/{name}"))), None);
    for _ in 0..30 {
        assert_eq!(generate("hot").await.unwrap().status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await; // in use for longer than the 2 s of `any`
    }
    service.stop();
    let stopped = Instant::now();
    let mut slowest = Duration::ZERO;
    let (lasted, answer) = loop {
        let start = Instant::now();
        let answer = generate("hot").await.unwrap();
        if answer.status != 200 {
            break (stopped.elapsed(), answer);
        }
        slowest = slowest.max(start.elapsed());
        assert!(stopped.elapsed() < offline + Duration::from_secs(5), "it is served on and on");
        tokio::time::sleep(Duration::from_millis(20)).await; // the pace at which it is used
    };
    println!(
        "offline | {} s | served for {:.2} s after the stop, the slowest in {} ms | then {} {}",
        offline.as_secs(),
        lasted.as_secs_f64(),
        slowest.as_millis(),
        answer.status,
        answer.text()
    );
    let difference = lasted.as_secs_f64() - offline.as_secs_f64();
    assert!(difference.abs() <= 1.0, "{difference} s off");
    assert_eq!((answer.status, answer.message().as_str()), (504, "failed to read key"));
    assert_eq!(
        (&answer.json()["reason"], answer.headers["retry-after"].as_bytes()),
        (&"key store is not reachable".into(), &b"1"[..])
    );
    server.logged("keystore is down").await;
    assert!(server.metric("keyway_keystore_up").await < 0.5);
    assert!(server.metric("keyway_keystore_breaker_state").await > 0.5);
    assert!(server.metric("keyway_cache_stale_serves_total").await > 0.5);
    let status = server.get("/v1/status").await.json();
    assert!(status["keystore_down_seconds"].as_u64().unwrap() + 2 >= offline.as_secs(), "{status}");

    // What needs the store fails at once.
    for path in ["create/new", "generate/cold"] {
        let start = Instant::now();
        let answer = send(http.put(server.url(&format!("/v1/key/{path}"))), None).await.unwrap();
        assert_eq!(answer.status, 504, "{path}: {}", answer.text());
        assert!(start.elapsed() < Duration::from_millis(500), "{path}: {:?}", start.elapsed());
    }
    let mut errors = Events::error(&server).await; // a client gives up a stream after a minute
    service.resume();
    let back = Instant::now();
    let create = async || server.put("/v1/key/create/after", None).await.status == 200;
    until(Duration::from_secs(2), || server.log(), create).await;
    println!("offline | creates succeed {:.2} s after the store's return", back.elapsed().as_secs_f64());
    errors.find(|event| event["message"].as_str().unwrap().contains("keystore is available again")).await;
    assert_eq!(generate("hot").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_backend_costs_hot_keys_a_moment_and_others_no_time_out() {
    let mut service = Postgres::start();
    let server = gateway(&stores::postgres(service.address(), &unique()), "any: 2s, unused: 30s, offline: 5m");
    for name in ["hot", "cold"] {
        assert_eq!(server.put(&format!("/v1/key/create/{name}"), None).await.status, 200);
    }
    let http = server.http(Some(&server.admin));
    let generate = |name: &str| send(http.put(server.url(&format!("/v1/key/generate/{name}"))), None);
    assert_eq!(generate("hot").await.unwrap().status, 200);
    service.freeze();
    let start = Instant::now();
    let cold = generate("cold");
    let hot = async {
        let mut slowest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(8) {
            let asked = Instant::now();
            assert_eq!(generate("hot").await.unwrap().status, 200);
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await; // the pace at which it is used
        }
        slowest
    };
    let cold = async { (cold.await.unwrap(), start.elapsed()) };
    let ((cold, waited), slowest) = tokio::join!(cold, hot);
    assert!(matches!(cold.status, 502 | 504), "{}", cold.text());
    assert!(waited < Duration::from_secs(6), "{waited:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    service.thaw();
    until(Duration::from_secs(2), || server.log(), async || generate("cold").await.unwrap().status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_cache_off_every_request_asks_the_store() {
    let server = Server::with(Setup { extra: "cache: off\n".to_owned(), ..Setup::default() });
    assert_eq!(server.put("/v1/key/create/key", None).await.status, 200);
    let reads = "keyway_keystore_read_latency_seconds_count";
    let before = server.metric(reads).await;
    for _ in 0..10 {
        assert_eq!(server.put("/v1/key/generate/key", None).await.status, 200);
    }
    assert!((server.metric(reads).await - before - 10.0).abs() < 0.5);
    assert!(server.metric("keyway_cache_entries").await < 0.5);
}
