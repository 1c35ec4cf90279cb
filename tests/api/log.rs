//! `/v1/log/audit` and `/v1/log/error`: what happens, as it happens.

mod audit;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Session;
use crate::server::connections::until_open;
use crate::support::server::send;
use crate::support::{Client, Events, Raw, Server, heavy, until};

/// Subscribers that a stream takes.
const MAX_SUBSCRIBERS: usize = 64;

#[tokio::test]
async fn a_refusal_names_the_policy_and_the_nearest_rule_only_to_the_operator() {
    let server = Server::start();
    let mut audit = Events::audit(&server).await;
    let mut errors = Events::error(&server).await;
    for (client, method, path, words) in [
        (
            &server.app,
            "PUT",
            "/v1/key/generate/app-internal1",
            ["'app'", "/v1/key/generate/app-internal*", "denies"].as_slice(),
        ),
        (&server.app, "PUT", "/v1/key/create/other", &["'app'", "/v1/key/create/app*", "nearest"]),
        (&server.ops, "GET", "/v1/key/describe", &[]),
        (&server.ops, "GET", "/v1/status", &["'ops'", "nearest"]),
        (&server.stranger, "GET", "/v1/status", &["no policy"]),
    ] {
        let request = server.http(Some(client)).request(method.parse().unwrap(), server.url(path));
        let answer = send(request, None).await.unwrap();
        if words.is_empty() {
            assert_eq!(answer.status, 404);
            continue;
        }
        assert_eq!(answer.json(), json!({ "message": "not authorized: insufficient permissions" }));
        let event = audit.of(path).await;
        let line = errors.find(|line| line["message"].as_str().unwrap().contains(path)).await;
        assert_eq!(line.as_object().unwrap().len(), 1, "{line}");
        let (reason, line) = (event["reason"].as_str().unwrap(), line["message"].as_str().unwrap());
        assert!(line.starts_with("WARN "), "{line}");
        assert!(line.contains(client.identity().as_str()), "{line}");
        for word in words {
            assert!(reason.contains(word), "no {word} in {reason}");
            assert!(line.contains(word), "no {word} in {line}");
        }
        let logged = server
            .log_line(|logged| {
                logged.contains("WARN") && logged.contains(path) && logged.contains(client.identity().as_str())
            })
            .await;
        assert!(words.iter().all(|word| logged.contains(word)), "{logged}");
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_stream_is_json_lines_for_those_whose_policy_allows_it() {
    let server = Server::start();
    for path in ["/v1/log/audit", "/v1/log/error"] {
        let stream = Events::subscribe(&server, &server.admin, path).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "application/x-ndjson");
        for client in [&server.app, &server.ops, &server.stranger] {
            let refused = Events::subscribe(&server, client, path).await.err().unwrap();
            assert_eq!(refused.status(), 403);
        }
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn a_stream_takes_64_subscribers_and_refuses_the_others() {
    let server = Server::start();
    for path in ["/v1/log/audit", "/v1/log/error"] {
        let mut open = Vec::new();
        for number in 0..70 {
            match Events::subscribe(&server, &server.admin, path).await {
                Ok(stream) => open.push(stream),
                Err(refused) => {
                    assert_eq!(refused.status(), 429, "subscriber {number} of {path}");
                    let message: Value = refused.json().await.unwrap();
                    assert_eq!(message, json!({ "message": "too many subscribers: the limit is 64" }));
                }
            }
        }
        assert_eq!(open.len(), MAX_SUBSCRIBERS, "{path}");
        open.truncate(MAX_SUBSCRIBERS - 1);
        let kept = || "a subscriber that has left keeps its place".to_owned();
        let subscribe = async || Events::subscribe(&server, &server.admin, path).await.is_ok();
        until(Duration::from_secs(10), kept, subscribe).await;
    }
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_that_come_at_once_are_no_more_than_64() {
    let server = Server::start();
    for _ in 0..3 {
        let subscribe: Vec<_> = (0..80)
            .map(|_| {
                let request = server.http(Some(&server.admin)).get(server.url("/v1/log/error"));
                tokio::spawn(async move { request.send().await.unwrap() })
            })
            .collect();
        let mut open = Vec::new();
        for response in subscribe {
            let response = response.await.unwrap();
            match response.status().as_u16() {
                200 => open.push(response),
                status => assert_eq!(status, 429),
            }
        }
        assert_eq!(open.len(), MAX_SUBSCRIBERS);
        drop(open);
        until_open(&server, 0).await;
    }
    server.assert_serves().await;
}

/// Opens a stream and does not read it.
async fn subscribe_and_fall_asleep(server: &Server, client: &Client, path: &str) -> Raw {
    let mut raw = Raw::connect(server, client).await;
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    assert_eq!(raw.status().await, Ok(200));
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_that_never_read_slow_nobody() {
    let _turn = heavy();
    let server = Server::start();
    let mut asleep = Vec::new();
    for _ in 0..20 {
        for path in ["/v1/log/audit", "/v1/log/error"] {
            asleep.push(subscribe_and_fall_asleep(&server, &server.admin, path).await);
        }
    }
    let long = "k".repeat(30_000); // of which 1 KiB is in the event; enough of them fill every buffer on the way
    let mut awake = Events::audit(&server).await;
    let awake =
        tokio::spawn(async move { while awake.next().await.unwrap()["request"]["path"] != "/v1/key/create/after" {} });
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let refused = server.http(Some(&server.app)).delete(server.url(&format!("/v1/key/delete/{long}")));
            tokio::spawn(async move {
                let mut slowest = Duration::ZERO;
                for _ in 0..600 {
                    let began = Instant::now();
                    assert_eq!(send(refused.try_clone().unwrap(), None).await.unwrap().status, 403);
                    slowest = slowest.max(began.elapsed());
                }
                slowest
            })
        })
        .collect();
    for client in clients {
        let slowest = client.await.unwrap();
        assert!(slowest < Duration::from_secs(3), "a request took {slowest:?}");
    }
    Session::admin(&server).create("after").await;
    tokio::time::timeout(Duration::from_secs(20), awake).await.expect("the event does not arrive").unwrap();
    drop(asleep);
    server.assert_serves().await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let mut server = Server::start();
    let mut audit = Events::audit(&server).await;
    let mut errors = Events::error(&server).await;
    let admin = Session::admin(&server);
    admin.create("key").await; // leaves an idle connection
    audit.of("/v1/key/create/key").await;
    let began = Instant::now();
    server.signal(Signal::TERM);
    while audit.next().await.is_some() {}
    while errors.next().await.is_some() {}
    let status = server.wait();
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(3), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_subscriber_that_never_reads_holds_up_the_end_for_a_while_at_most() {
    let mut server = Server::start();
    let _asleep = subscribe_and_fall_asleep(&server, &server.admin, "/v1/log/audit").await;
    let refused = server.http(Some(&server.app)).delete(server.url(&format!("/v1/key/delete/{}", "k".repeat(30_000))));
    for _ in 0..600 {
        assert_eq!(send(refused.try_clone().unwrap(), None).await.unwrap().status, 403);
    }
    let began = Instant::now();
    server.signal(Signal::TERM);
    let status = server.wait();
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(13), "took {:?}", began.elapsed());
}
