//! `keyway metric`: the server's metrics in every form of output.

use crate::support::{Server, Shell};

#[test]
fn a_pipe_gets_the_response_unchanged() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.ops);
    let text = shell.done(&["metric"]);
    assert!(text.starts_with("# HELP ") && text.contains("\nkes_http_request_active 1\n"), "{text}");
    assert!(text.contains("kes_http_response_time_bucket{le=\"0.01\"}"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&shell.done(&["metric", "--json"])).unwrap();
    assert_eq!(json["kes_http_request_success{code=\"200\"}"], 1);
    assert_eq!(Shell::of(&server, &server.app).run(&["metric"]).code, Some(3));
}

#[test]
fn a_terminal_gets_a_table() {
    let server = Server::start();
    let ended = Shell::of(&server, &server.ops).terminal(&["metric"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("METRIC") && ended.stdout.contains("kes_system_num_cpu"), "{ended:?}");
    assert!(!ended.stdout.contains("_bucket") && !ended.stdout.contains("# HELP"), "{ended:?}");
}
