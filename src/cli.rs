//! The command line: one file per command.
//!
//! Exit codes are those of `exit.rs`. When invoked as `kes`, the program uses that name in its own texts.

mod backup;
mod check;
mod completion;
mod connection;
mod dev;
mod exit;
mod given;
mod identity;
mod kes;
mod key;
mod log;
mod ls;
mod man;
mod metric;
mod migrate;
mod names;
mod policy;
mod restore;
mod server;
mod signals;
mod status;
mod stores;
mod terminal;
mod verify;
mod whole_file;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::ConfigError;

/// A KES-compatible key management gateway.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    disable_version_flag = true,
    arg_required_else_help = true,
    after_help = exit::HELP,
)]
struct Cli {
    /// Print the version.
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a key server.
    Server(server::Args),
    /// Check a config file, and the files that it names, without starting a server.
    Check(check::Args),
    /// Copy all keys from one keystore to another.
    Migrate(migrate::Args),
    /// Compare two keystores.
    Verify(verify::Args),
    /// Back up all keys to one encrypted file.
    Backup(backup::Args),
    /// Restore keys from a backup.
    Restore(restore::Args),
    /// Create, list, use and delete keys.
    Key(key::Args),
    /// Inspect policies and explain their decisions.
    Policy(policy::Args),
    /// Create and inspect identities.
    Identity(identity::Args),
    /// List keys, policies and identities.
    Ls(ls::Args),
    /// Stream the audit or error log of a server.
    Log(log::Args),
    /// Show the health of servers and their keystores.
    Status(status::Args),
    /// Show the metrics of a server.
    Metric(metric::Args),
    /// Print a shell completion script.
    Completion(completion::Args),
    /// Generate manual pages.
    Man(man::Args),
}

/// Whether the program was invoked as `kes`.
fn is_kes() -> bool {
    program_name() == KES
}

/// The name of the program, unless it is invoked through a link.
const NAME: &str = "keyway";

/// The name that scripts for KES use.
const KES: &str = "kes";

/// Runs the program: as `kes` if that is its name, otherwise as `keyway`.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if is_kes()
        && let Some(code) = kes::run(&arguments)
    {
        return code;
    }
    match Cli::read().run() {
        Ok(code) => code,
        Err(error) => {
            if !exit::is_broken_pipe(&error) {
                print_error(&error);
            }
            exit::code(&error)
        }
    }
}

impl Cli {
    /// Parses the command line. Exits after printing help or the version, and on an invalid command line.
    fn read() -> Self {
        let mut command = Self::command_as(program_name());
        let read = command.try_get_matches_from_mut(std::env::args_os());
        read.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The command's error; [`exit::code`] gives the exit code.
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Server(args) => server::run(args),
            Command::Check(args) => check::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Backup(args) => backup::run(&args),
            Command::Restore(args) => restore::run(&args),
            Command::Key(args) => key::run(&args),
            Command::Policy(args) => policy::run(&args),
            Command::Identity(args) => identity::run(&args),
            Command::Ls(args) => ls::run(&args),
            Command::Log(args) => log::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Metric(args) => metric::run(&args),
            Command::Completion(args) => completion::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }

    /// Whether there is a command with these words.
    fn has_command(words: &[&str]) -> bool {
        let command = Self::command();
        let mut command = &command;
        words.iter().all(|word| match command.find_subcommand(word) {
            Some(below) => {
                command = below;
                true
            }
            None => false,
        })
    }

    /// The command-line parser of a program with this name.
    fn command_as(name: &'static str) -> clap::Command {
        let command = Self::command();
        if name == NAME {
            return command;
        }
        let version = concat!(env!("CARGO_PKG_VERSION"), " (Keyway)");
        renamed(command, name).name(name).bin_name(name).version(version)
    }
}

/// `kes` if the program was invoked by that name.
fn program_name() -> &'static str {
    let invoked = std::env::args_os().next().unwrap_or_default();
    let stem = Path::new(&invoked).file_stem().unwrap_or_default();
    if stem == KES { KES } else { NAME }
}

/// A command and its subcommands, with another program name in their texts.
fn renamed(mut command: clap::Command, name: &'static str) -> clap::Command {
    let rename = |text: &clap::builder::StyledStr| Some(with_name(name, &text.to_string()));
    if let Some(text) = command.get_after_help().and_then(rename) {
        command = command.after_help(text);
    }
    command = command.mut_args(|argument| match argument.get_help().and_then(rename) {
        Some(text) => argument.help(text),
        None => argument,
    });
    if command.get_name() == "server" {
        let usage = command.render_usage().to_string().replace(NAME, name);
        command = command.override_usage(usage.trim_start_matches("Usage:").trim_start().to_owned());
    }
    command.mut_subcommands(|subcommand| renamed(subcommand, name))
}

/// Replaces the program's name in a text that mentions its commands.
fn with_name(name: &str, text: &str) -> String {
    text.replace(&format!("{NAME} "), &format!("{name} "))
}

/// Prints an error: each problem of a config, or the error and, on separate lines, the causes that its own text does not
/// include.
#[expect(clippy::print_stderr, reason = "a command's error belongs on standard error")]
fn print_error(error: &anyhow::Error) {
    if let Some(config) = error.downcast_ref::<ConfigError>() {
        for warning in config.warnings() {
            print_problem("warning", &warning.to_string());
        }
        for problem in config.problems() {
            print_problem("error", &problem.to_string());
        }
        return;
    }
    let show = |text: &str| with_name(program_name(), &terminal::output::printable_lines(text));
    let mut printed = error.to_string();
    eprintln!("error: {}", show(&printed));
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !printed.contains(&cause) {
            eprintln!("  because: {}", show(&cause));
            printed = cause;
        }
    }
}

/// Prints a problem of a config on one line. `severity` is `error` or `warning`.
#[expect(clippy::print_stderr, reason = "problems belong on standard error")]
fn print_problem(severity: &str, text: &str) {
    eprintln!("{severity}: {}", with_name(program_name(), &terminal::output::printable(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command_as(NAME).debug_assert();
        Cli::command_as(KES).debug_assert();
    }
}
