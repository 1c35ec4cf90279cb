//! The command line: arguments, output, errors and exit codes.

mod backup;
mod check;
mod completion;
mod connection;
mod dev;
mod help;
mod identity;
mod kes;
mod key;
mod log;
mod ls;
mod metric;
mod migrate;
mod output;
mod policy;
mod restore;
mod server;
mod status;
mod verify;

use crate::support::program::run;

#[test]
fn without_arguments_it_shows_help_and_exits_with_2() {
    let ended = run::<&str>([]);
    assert_eq!(ended.code, Some(2));
    let said = ended.stdout + &ended.stderr;
    for part in ["Usage: keyway", "server", "check"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn it_prints_its_version() {
    for flag in ["-v", "-V", "--version"] {
        let ended = run([flag]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{flag}");
        assert_eq!(ended.stdout.trim_end(), format!("keyway {}", keyway::VERSION), "{flag}");
    }
}

#[test]
fn every_command_has_help() {
    for arguments in [&["--help"][..], &["help"], &["server", "--help"], &["check", "--help"]] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}");
        assert!(ended.stdout.contains("Usage: keyway"), "{arguments:?}: {}", ended.stdout);
    }
}

#[test]
fn an_unknown_command_or_option_exits_with_2_and_names_the_nearest() {
    for (arguments, nearest) in [(&["serve"][..], "server"), (&["server", "--confg", "x"], "--config")] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains(nearest), "{arguments:?}: {}", ended.stderr);
    }
}
