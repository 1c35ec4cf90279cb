//! `--help`: every command has an example.

use crate::support::Shell;

#[test]
fn every_command_shows_an_example_that_calls_it() {
    let shell = Shell::new();
    for command in [
        "key",
        "key create",
        "key import",
        "key info",
        "key ls",
        "key rm",
        "key restore",
        "key encrypt",
        "key decrypt",
        "key dek",
        "key hmac",
        "policy",
        "policy info",
        "policy ls",
        "policy show",
        "policy explain",
        "policy template",
        "identity",
        "identity new",
        "identity of",
        "identity info",
        "identity ls",
        "ls",
        "log",
        "status",
        "metric",
        "completion",
        "man",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = shell.done(&words);
        let (_, example) = help.split_once("Example").unwrap_or_else(|| panic!("{command}: {help}"));
        assert!(example.contains(&format!("keyway {command}")), "{command}: {help}");
    }
}

#[test]
fn the_exit_codes_and_variables_are_in_the_main_help() {
    let help = Shell::new().done(&["--help"]);
    for part in [
        "0  done",
        "1  failed",
        "2  the command line",
        "3  not authorized",
        "4  ",
        "5  no server",
        "KES_SERVER",
        "KES_API_KEY",
        "KES_CLIENT_KEY",
        "KES_CLIENT_CERT",
        "KEYWAY_CLIENT_KEY_PASSWORD",
        "KEYWAY_CA",
        "NO_COLOR",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
