//! `GET /v1/status`

use std::time::Duration;

use super::Session;
use crate::support::{Server, eventually};

#[tokio::test]
async fn the_status_holds_what_clients_read() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let missing = || "the server is not up for a second".to_owned();
    let status = eventually(Duration::from_secs(5), missing, async || {
        let status = admin.get("/v1/status").await.json();
        (status["uptime"] != 0).then_some(status)
    })
    .await;
    let number = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("{name} in {status}"));
    assert_eq!(status["version"], keyway::VERSION);
    assert_eq!(status["os"], "linux");
    assert!(["amd64", "arm64"].contains(&status["arch"].as_str().unwrap()), "{status}");
    assert!((1..60).contains(&number("uptime")), "{status}");
    assert!(number("num_cpu") >= 1 && number("num_cpu_used") >= 1);
    assert!(number("mem_heap_used") > 100_000 && number("mem_stack_used") > 0, "{status}");
    assert!((1..5000).contains(&number("keystore_latency")), "{status}");
    let mut names: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "arch",
            "cache",
            "keystore_latency",
            "mem_heap_used",
            "mem_stack_used",
            "num_cpu",
            "num_cpu_used",
            "os",
            "uptime",
            "version"
        ]
    );
}

#[tokio::test]
async fn the_status_of_a_server_without_its_store_is_an_answer_all_the_same() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let keys = server.dir.path().join("keys");
    std::fs::rename(&keys, server.dir.path().join("elsewhere")).unwrap();
    let status = admin.get("/v1/status").await;
    assert_eq!(status.status, 200, "{}", status.text());
    let status = status.json();
    assert_eq!(status["keystore_unavailable"], true, "{status}");
    assert_eq!(status.get("keystore_latency"), None, "{status}");
    assert_eq!(status["version"], keyway::VERSION);
    std::fs::rename(server.dir.path().join("elsewhere"), &keys).unwrap();
    let status = admin.get("/v1/status").await.json();
    assert!(status["keystore_latency"].is_u64(), "{status}");
    assert_eq!(status.get("keystore_unavailable"), None, "{status}");
}
