//! The program under the name `kes`: the command line of KES for the scripts around it. Flags, arguments, what is
//! printed to which stream and exit codes are KES's (recorded from its last release; flags of all of its releases).
//! `keyway` has its own command line, with more in it; commands that KES never had work under both names.
//!
//! Two defects of KES are not repeated: `key ls --json` prints its list once, and `key ls 'my*'` finds keys.

mod connection;
mod identity;
mod key;
mod list;
mod log;
mod metric;
mod migrate;
mod policy;
mod server;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use crate::cli::terminal::output::printable_lines;

/// The commands that KES has, and those below them. Everything else is a command of `keyway`.
const COMMANDS: [(&str, &[&str]); 9] = [
    ("server", &[]),
    ("key", &["create", "import", "info", "ls", "rm", "encrypt", "decrypt", "dek"]),
    ("policy", &["ls", "info", "show"]),
    ("identity", &["new", "of", "info", "ls"]),
    ("log", &[]),
    ("status", &[]),
    ("metric", &[]),
    ("ls", &[]),
    ("migrate", &[]),
];

/// What commands of older releases are called now, for the error. The last release does not have them either.
#[rustfmt::skip]
const OLD_COMMANDS: [(&[&str], &str); 24] = [
    (&["audit"],                    "use 'kes log'"),
    (&["create"],                   "use 'kes key create'"),
    (&["delete"],                   "use 'kes key rm'"),
    (&["derive"],                   "use 'kes key dek'"),
    (&["generate"],                 "use 'kes key dek'"),
    (&["decrypt"],                  "use 'kes key decrypt'"),
    (&["identify"],                 "use 'kes identity of'"),
    (&["tool", "identity", "of"],   "use 'kes identity of'"),
    (&["tool", "identity"],         "use 'kes identity new', with --expiry in place of --time"),
    (&["tool", "migrate"],          "use 'kes migrate'"),
    (&["tool"],                     "use 'kes identity' or 'kes migrate'"),
    (&["key", "delete"],            "use 'kes key rm'"),
    (&["key", "derive"],            "use 'kes key dek'"),
    (&["key", "generate"],          "use 'kes key dek'"),
    (&["key", "list"],              "use 'kes key ls'"),
    (&["policy", "list"],           "use 'kes policy ls'"),
    (&["identity", "list"],         "use 'kes identity ls'"),
    (&["log", "trace"],             "use 'kes log'"),
    (&["enclave"],                  "servers have no enclaves any more"),
    (&["init"],                     "a server needs a config only: use 'kes server --config FILE'"),
    (&["update"],                   "install a new release in place of the program"),
    (&["--update"],                 "install a new release in place of the program"),
    (&["-u"],                       "install a new release in place of the program"),
    (&["--proxy"],                  "set the variable HTTPS_PROXY"),
];

/// What is no command, and means the same as to `keyway`.
const COMMON: [&str; 6] = ["help", "-h", "--help", "-v", "-V", "--version"];

/// The exit code of every failure.
const FAILED: u8 = 1;

/// Commands of KES.
#[derive(Debug, Parser)]
#[command(name = "kes", disable_help_subcommand = true, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a key server.
    Server(server::Args),
    /// Manage and use keys.
    Key(key::Args),
    /// Inspect policies.
    Policy(policy::Args),
    /// Create and inspect identities.
    Identity(identity::Args),
    /// Print error and audit events.
    Log(log::Args),
    /// Print the status of a server.
    Status(status::Args),
    /// Print the metrics of a server.
    Metric(metric::Args),
    /// List keys, identities or policies.
    Ls(list::Args),
    /// Copy the keys of one keystore into another.
    Migrate(migrate::Args),
}

/// Runs the command when it is one of KES's; `None` when the command line is for `keyway`.
pub(super) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let first = arguments.get(1)?.to_str()?;
    let Some((_, below)) = COMMANDS.iter().find(|(name, _)| *name == first) else {
        let is_ours = COMMON.contains(&first) || super::Cli::has_command(&[first]);
        return (!is_ours).then(|| fail(&no_command(arguments, first)));
    };
    if let Some(second) = arguments.get(2).and_then(|second| second.to_str())
        && !below.contains(&second)
        && super::Cli::has_command(&[first, second])
    {
        return None;
    }
    let parsed = as_go_parses(Cli::command()).try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) => {
            let _ = help.print(); // the reader of the help has left
            return Some(ExitCode::from(FAILED));
        }
        Err(error) if error.use_stderr() => {
            if let Some(new) = new_name(arguments) {
                return Some(fail(&anyhow!("not a kes command any more: {new}. See 'kes --help'")));
            }
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            return Some(fail(&anyhow!("{}", text.trim_end())));
        }
        Err(help) => {
            let _ = help.print(); // the reader of the help has left
            return Some(ExitCode::SUCCESS);
        }
    };
    let done = match cli.command {
        Command::Server(args) => server::run(args),
        Command::Key(args) => key::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Identity(args) => identity::run(args),
        Command::Log(args) => log::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Metric(args) => metric::run(&args),
        Command::Ls(args) => list::run(&args),
        Command::Migrate(args) => migrate::run(args),
    };
    Some(
        done.unwrap_or_else(|error| if super::exit::is_broken_pipe(&error) { ExitCode::SUCCESS } else { fail(&error) }),
    )
}

/// The error of a command line that begins with what is no command.
fn no_command(arguments: &[OsString], first: &str) -> anyhow::Error {
    let what = if first.starts_with('-') { "flag" } else { "command" };
    match new_name(arguments) {
        Some(new) => anyhow!("\"{first}\" is not a kes {what} any more: {new}. See 'kes --help'"),
        None => anyhow!("\"{first}\" is not a kes {what}. See 'kes --help'"),
    }
}

/// What to use in place of a command of an older release.
fn new_name(arguments: &[OsString]) -> Option<&'static str> {
    let begins = |words: &[&str]| {
        let given = arguments.iter().skip(1);
        arguments.len() > words.len() && given.zip(words).all(|(given, word)| given.to_str() == Some(*word))
    };
    OLD_COMMANDS.iter().find(|(words, _)| begins(words)).map(|(_, new)| *new)
}

/// Prints an error as KES does: one line that begins with `Error:`.
#[expect(clippy::print_stderr, reason = "a command's error belongs on standard error")]
fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("Error: {}", printable_lines(&text));
    ExitCode::from(FAILED)
}

/// A command, and those below it, with flags as Go reads them: a flag may have a value.
fn as_go_parses(command: clap::Command) -> clap::Command {
    let flag = |argument: Arg| {
        if !matches!(argument.get_action(), ArgAction::SetTrue) {
            return argument;
        }
        let default = if argument.get_default_values().is_empty() { "false" } else { "true" };
        let argument = argument.action(ArgAction::Set).value_parser(go_bool).default_value(default);
        argument.num_args(0..=1).require_equals(true).default_missing_value("true")
    };
    command.mut_args(flag).mut_subcommands(as_go_parses)
}

/// The value of a flag as Go reads it: `--insecure`, `--insecure=true`, `--insecure=0`.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("not a boolean".to_owned()),
    }
}

/// A time of the API as KES prints it, to the second.
fn date(time: &str) -> String {
    let seconds = time.split(['.', 'Z', '+']).next().unwrap_or_default();
    seconds.replacen('T', " ", 1)
}

/// Fields of a JSON object in this order, those that it has.
struct Ordered<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Ordered<'a> {
    fn of(object: &'a Value, names: &[&'a str]) -> Self {
        Self(names.iter().filter_map(|name| Some((*name, object.get(name)?))).collect())
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        as_go_parses(Cli::command()).debug_assert();
    }

    #[test]
    fn a_date_is_shown_to_the_second() {
        for time in ["2026-11-28T12:24:48Z", "2026-11-28T12:24:48.123456789Z", "2026-11-28T12:24:48+01:00"] {
            assert_eq!(date(time), "2026-11-28 12:24:48");
        }
    }
}
