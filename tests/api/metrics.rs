//! `GET /v1/metrics`

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Session, assert_none};
use crate::support::server::send;
use crate::support::{Raw, Server, until};

/// KES's metrics with their types; dashboards know them by these.
const KES: [(&str, &str); 14] = [
    ("kes_http_request_active", "gauge"),
    ("kes_http_request_error", "counter"),
    ("kes_http_request_failure", "counter"),
    ("kes_http_request_success", "counter"),
    ("kes_http_response_time", "histogram"),
    ("kes_log_audit_events", "counter"),
    ("kes_log_error_events", "counter"),
    ("kes_system_mem_heap_objects", "gauge"),
    ("kes_system_mem_heap_used", "gauge"),
    ("kes_system_mem_stack_used", "gauge"),
    ("kes_system_num_cpu", "gauge"),
    ("kes_system_num_cpu_used", "gauge"),
    ("kes_system_num_threads", "gauge"),
    ("kes_system_up_time", "gauge"),
];

/// Name with labels, and value, of every sample that is a whole number.
fn samples(text: &str) -> BTreeMap<String, i64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// Name and type of every metric.
fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[tokio::test]
async fn names_types_and_buckets_are_those_of_kes() {
    let server = Server::start();
    let answer = server.get("/v1/metrics").await;
    let content_type = answer.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let text = answer.text();
    let of_kes: Vec<_> = types(&text).into_iter().filter(|(name, _)| name.starts_with("kes_")).collect();
    assert_eq!(of_kes, KES);
    let others: Vec<_> = types(&text).into_keys().filter(|name| !name.starts_with("kes_")).collect();
    assert!(others.iter().all(|name| name.starts_with("keyway_")), "{others:?}");
    for (name, _) in types(&text) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    let buckets: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("kes_http_response_time_bucket{le=\"")).collect();
    let bounds: Vec<_> = buckets.iter().map(|bucket| bucket.split('"').next().unwrap()).collect();
    assert_eq!(bounds, ["0.01", "0.05", "0.1", "0.25", "0.5", "1", "1.5", "3", "5", "10", "+Inf"]);
}

#[tokio::test]
async fn a_fresh_server_shows_every_counter_at_zero() {
    let mut server = Server::start();
    // A start without keys is a warning, which is an event of the error log.
    assert_eq!(server.put("/v1/key/create/key", None).await.status, 200);
    server.restart();
    let text = server.get("/v1/metrics").await.text();
    let samples = samples(&text);
    for name in [
        r#"kes_http_request_success{code="200"}"#,
        r#"kes_http_request_error{code="400"}"#,
        r#"kes_http_request_error{code="403"}"#,
        r#"kes_http_request_error{code="404"}"#,
        r#"kes_http_request_failure{code="500"}"#,
        r#"kes_http_request_failure{code="502"}"#,
        "kes_http_response_time_count",
        "kes_http_response_time_sum",
        "kes_log_audit_events",
        "kes_log_error_events",
    ] {
        assert_eq!(samples.get(name), Some(&0), "{name}\n{text}");
    }
    let types = types(&text);
    for (name, value) in &samples {
        let metric = name.split('{').next().unwrap();
        if types.get(metric) == Some(&"counter") || metric.starts_with("kes_http_response_time") {
            assert_eq!(*value, 0, "{name}");
        }
    }
    assert_eq!(samples["kes_http_request_active"], 1, "the scrape itself");
    assert!(samples["kes_system_num_cpu"] >= 1 && samples["kes_system_num_threads"] >= 1);
    assert!(samples["kes_system_mem_heap_used"] > 100_000);
}

#[tokio::test]
async fn each_request_is_counted_once_where_it_belongs() {
    let server = Server::start();
    let admin = Session::admin(&server);
    std::fs::write(server.dir.path().join("keys/damaged"), "").unwrap();
    std::fs::write(server.dir.path().join("keys/old"), r#"{"bytes":"sQitzv3XdtZfrwteHqHT1mxOE5IwW0wylixoKHf6IzA="}"#)
        .unwrap();
    admin.create("key").await;
    let too_large = "x".repeat((1 << 20) + 1);
    let mut before = samples(&admin.get("/v1/metrics").await.text());
    let mut failures = Vec::new();
    for (client, method, path, body, code) in [
        (&server.admin, "GET", "/v1/status", "", 200),
        (&server.app, "GET", "/v1/key/list/", "", 200),
        (&server.admin, "PUT", "/v1/key/create/key", "", 400),
        (&server.admin, "PUT", "/v1/key/encrypt/key", "{", 400),
        (&server.app, "DELETE", "/v1/key/delete/app-1", "", 403),
        (&server.admin, "GET", "/v1/log/none", "", 404),
        (&server.admin, "PUT", "/v1/key/generate/none", "", 404),
        (&server.admin, "GET", "/v1/key/create/key", "", 405),
        (&server.admin, "PUT", "/v1/key/import/imported", r#"{"key":"AAAA"}"#, 406),
        (&server.admin, "PUT", "/v1/key/encrypt/key", &too_large, 413),
        (&server.admin, "PUT", "/v1/key/generate/damaged", "", 500),
        (&server.admin, "PUT", "/v1/key/hmac/old", "{}", 501),
    ] {
        for http in [server.http(Some(client)), server.http2(Some(client))] {
            let request = http.request(method.parse().unwrap(), server.url(path)).body(body.to_owned());
            let answer = send(request, None).await.unwrap();
            assert_eq!(answer.status, code, "{method} {path}: {}", answer.text());
            let after = samples(&admin.get("/v1/metrics").await.text());
            let kind = match code {
                200 => "success",
                500.. => "failure",
                _ => "error",
            };
            let counter = format!("kes_http_request_{kind}{{code=\"{code}\"}}");
            for (name, value) in &after {
                let mut expected = before.get(name).copied().unwrap_or_default();
                if name.starts_with("kes_http_request_") && name.contains("{code=") {
                    // One more for the request, one more for the scrape before this one.
                    expected += i64::from(*name == counter);
                    expected += i64::from(name == r#"kes_http_request_success{code="200"}"#);
                } else if name == "kes_http_response_time_count" || name == "kes_log_audit_events" {
                    expected += 2;
                } else if name == "kes_log_error_events" {
                    expected += i64::from(matches!(code, 403 | 500 | 501));
                } else {
                    continue;
                }
                if *value != expected {
                    failures.push(format!("{method} {path} {code}: {name} is {value}, not {expected}"));
                }
            }
            before = after;
        }
    }
    assert_none(&failures);
}

#[tokio::test]
async fn requests_are_active_from_their_beginning_to_their_end() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let active = async || samples(&admin.get("/v1/metrics").await.text())["kes_http_request_active"];
    let until_active = async |expected: i64| {
        let missing = || format!("{expected} requests are not active");
        until(Duration::from_secs(5), missing, async || active().await == expected).await;
    };
    assert_eq!(active().await, 1);
    let mut open = Vec::new();
    for path in ["encrypt/key", "decrypt/key", "import/late", "generate/key"] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.send(format!("PUT /v1/key/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{")).await;
        open.push(raw);
    }
    until_active(5).await;
    drop(open.pop());
    until_active(4).await;
    drop(open);
    until_active(1).await;
    for _ in 0..20 {
        admin.data_key("key").await;
        admin.get("/nothing").await;
    }
    assert_eq!(active().await, 1);
}

#[tokio::test]
async fn promtool_finds_nothing_but_the_names_that_kes_gave() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    admin.get("/nothing").await;
    let text = admin.get("/v1/metrics").await.text();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is not installed: run ./setup --tests");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // KES's counters have no `_total`, and dashboards know them so.
    let allowed =
        |line: &str| line.starts_with("kes_") && line.ends_with(r#"counter metrics should have "_total" suffix"#);
    let others: Vec<_> = said.lines().filter(|line| !allowed(line)).collect();
    assert!(others.is_empty(), "{}\n{text}", others.join("\n"));
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", output.status);
}
