//! `keyway status`: the health of servers and their keystores, once or every second.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Server, Shell};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line:?}"))
}

#[test]
fn it_shows_the_server_and_its_keystore() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let text = shell.done(&["status"]);
    for part in [&server.url(""), keyway::VERSION, "Up for", "Latency", "Keystore     healthy, ", "CPUs", "MiB"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let status = json(&shell.done(&["status", "--json"]));
    assert_eq!(status["endpoint"], server.url("").as_str());
    assert_eq!(status["version"], keyway::VERSION);
    assert!(status["latency_ms"].as_f64().unwrap() > 0.0 && status["keystore_latency"].as_u64().unwrap() >= 1);
}

#[test]
fn an_unavailable_keystore_exits_with_1_and_the_reason() {
    let server = Server::start();
    let keys = server.dir.path().join("keys");
    std::fs::rename(&keys, server.dir.path().join("gone")).unwrap();
    let ended = Shell::of(&server, &server.admin).run(&["status"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("not available") && ended.stdout.contains("keys"), "{ended:?}");
}

#[test]
fn every_server_is_queried_and_reported() {
    let (one, other) = (Server::start(), Server::start());
    let unreachable = "https://127.0.0.1:9";
    let shell = Shell::of(&one, &one.admin);
    let shell = shell.set("KES_SERVER", &format!("{unreachable},{}", one.url("")));
    let ended = shell.run(&["status"]);
    assert_eq!(ended.code, Some(1), "not all are available: {ended:?}");
    assert!(ended.stdout.contains(unreachable) && ended.stdout.contains("cannot be reached"), "{ended:?}");
    assert!(ended.stdout.contains(&one.url("")) && ended.stdout.contains("healthy"), "{ended:?}");
    let shell = shell.set("KES_SERVER", &format!("{},{}", one.url(""), other.url("")));
    let lines = shell.run(&["status", "--json"]).stdout;
    let lines: Vec<_> = lines.lines().map(json).collect();
    assert!(lines[0]["error"].is_null() && lines[1]["error"].as_str().unwrap().contains("not trusted"), "{lines:?}");
    assert_eq!(shell.set("KES_SERVER", unreachable).run(&["status"]).code, Some(5));
    assert_eq!(Shell::of(&one, &one.ops).run(&["status"]).code, Some(3));
}

#[test]
fn watching_prints_a_line_every_second_for_programs() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let mut watch = shell.start(&["status", "--watch", "--json"]);
    let text = watch.wait_for(|watch| Some(watch.stdout()).filter(|text| text.lines().count() >= 3));
    let uptimes: Vec<_> = text.lines().take(3).map(|line| json(line)["uptime"].as_u64().unwrap()).collect();
    assert!(uptimes.is_sorted() && uptimes[2] > uptimes[0], "{uptimes:?}");
    watch.signal(Signal::INT);
    assert_eq!(watch.end().code, Some(0), "Ctrl-C is the normal end");
}

#[test]
fn watching_on_a_terminal_redraws_in_place() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let ended =
        shell.terminal(&["status", "--watch"], &[("Last minute", ""), ("Last minute", ""), ("Last minute", "\u{3}")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let frames: Vec<_> = ended.stdout.split("every second").skip(1).collect();
    assert!(frames.len() >= 3 && frames.iter().all(|frame| frame.contains("Keystore")), "{ended:?}");
    let drawn = frames[0].matches('\n').count();
    assert!(frames[0].contains(&format!("\u{1b}[{drawn}A")), "as many lines up as were drawn: {ended:?}");
}
