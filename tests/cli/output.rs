//! The form of the output: tables and colors on a terminal, plain lines in a pipe, JSON on request.

use crate::support::{Server, Shell};

const ESCAPE: char = '\u{1b}';

#[test]
fn tables_and_colors_are_only_for_terminals() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    shell.done(&["key", "create", "a", "b"]);
    let ended = shell.terminal(&["key", "ls", "--long"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(ESCAPE) && ended.stdout.contains("ALGORITHM"), "{ended:?}");
    assert!(ended.stdout.contains("2 keys"), "{ended:?}");
    let columns: Vec<_> =
        ended.stdout.lines().filter_map(|line| line.find("AES256").or(line.find("ChaCha20"))).collect();
    assert!(columns.len() == 2 && columns[0] == columns[1], "{ended:?}");
    for command in [
        &["key", "ls", "--long"][..],
        &["key", "info", "a"],
        &["ls"],
        &["status"],
        &["metric"],
        &["identity", "ls"],
        &["policy", "show", "app"],
        &["key", "ls", "--json"],
    ] {
        let plain = shell.done(command);
        assert!(!plain.contains(ESCAPE) && !plain.contains("CREATED BY") && !plain.is_empty(), "{command:?}: {plain}");
    }
}

#[test]
fn no_color_removes_the_colors_but_not_the_table() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin).set("NO_COLOR", "1");
    shell.done(&["key", "create", "a"]);
    let ended = shell.terminal(&["key", "ls", "--long"], &[]);
    assert!(ended.stdout.contains("ALGORITHM") && !ended.stdout.contains(ESCAPE), "{ended:?}");
}

#[test]
fn a_server_cannot_control_the_terminal() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    let ended = shell.terminal(&["key", "info", "a\u{1b}[31mb"], &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains(r"a\u{1b}[31mb"), "{ended:?}");
}
