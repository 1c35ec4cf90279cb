//! `keyway log`: the streams of a server, followed.

use rustix::process::Signal;
use serde_json::Value;

use crate::services::proxy::{Mode, Proxy};
use crate::support::{Program, Server, Shell};

/// Waits until the command has reported `times` times that it follows the stream.
fn follows(log: &mut Program, times: usize) {
    log.wait_for(|log| (log.stderr().matches("following ").count() >= times).then_some(()));
}

/// The first line of its output that contains `part`.
fn line(log: &mut Program, part: &str) -> String {
    log.wait_for(|log| {
        let stdout = log.stdout();
        let whole = stdout.rsplit_once('\n')?.0;
        whole.lines().find(|line| line.contains(part)).map(str::to_owned)
    })
}

#[test]
fn every_request_is_a_line_with_the_reason_for_a_refusal() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let mut log = shell.start(&["log"]);
    follows(&mut log, 1);
    shell.done(&["key", "create", "a"]);
    Shell::of(&server, &server.app).fails(3, &["key", "create", "other"]);
    let done = line(&mut log, "/v1/key/create/a ");
    let admin = server.admin.identity();
    assert!(done.contains("  200  ") && done.contains(admin.as_str()) && done.contains(" ms"), "{done}");
    let refused = line(&mut log, "/v1/key/create/other");
    for part in ["  403  ", server.app.identity().as_str(), "policy 'app'", "nearest rule is '/v1/key/create/app*'"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    log.signal(Signal::INT);
}

#[test]
fn programs_get_the_events_as_the_server_sends_them() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let mut log = shell.start(&["log", "--audit", "--json"]);
    follows(&mut log, 1);
    shell.done(&["key", "create", "a"]);
    let event: Value = serde_json::from_str(&line(&mut log, "/v1/key/create/a")).unwrap();
    assert_eq!(event["response"]["code"], 200);
    assert_eq!(event["request"]["identity"], server.admin.identity().as_str());
    assert!(event["response"]["time"].is_u64() && event["time"].is_string());
}

#[test]
fn the_error_stream_is_the_other_one() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let mut log = shell.start(&["log", "--error"]);
    follows(&mut log, 1);
    Shell::of(&server, &server.stranger).fails(3, &["key", "ls"]);
    let warning = line(&mut log, server.stranger.identity().as_str());
    assert!(warning.starts_with("WARN ") && warning.contains("has no policy"), "{warning}");
    shell.fails(2, &["log", "--error", "--audit"]);
    Shell::of(&server, &server.app).fails(3, &["log"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reconnects_and_warns_that_events_were_missed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address).await;
    let shell = Shell::of(&server, &server.admin);
    let through = Shell::of(&server, &server.admin).set("KES_SERVER", &format!("https://{}", proxy.address()));
    let mut log = through.start(&["log"]);
    follows(&mut log, 1);
    proxy.set(Mode::Refuse);
    proxy.cut_all();
    log.wait_for(|log| log.stderr().contains("events in between are missed").then_some(()));
    log.wait_for(|log| log.stderr().contains("retrying in").then_some(()));
    shell.done(&["key", "create", "missed"]);
    proxy.set(Mode::Pass);
    follows(&mut log, 2);
    shell.done(&["key", "create", "seen"]);
    line(&mut log, "/v1/key/create/seen");
    assert!(!log.stdout().contains("missed"), "{}", log.stdout());
    // A server that is not trusted is not retried.
    proxy.cut_all();
    let stopped = Server::start();
    proxy.lead_to(stopped.address);
    let ended = log.end();
    assert!(ended.code == Some(5) && ended.stderr.contains("not trusted"), "{ended:?}");
}
