//! The command line: one file per command.
//!
//! Exit codes are those of [`exit`]. Called as `kes`, the program is the same and calls itself so.

mod backup;
mod check;
mod completion;
mod connection;
mod dev;
mod exit;
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
mod status;
mod stores;
mod terminal;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    /// Check a config file without starting a server.
    Check(check::Args),
    /// Copy all keys of one keystore into another.
    Migrate(migrate::Args),
    /// Compare two keystores.
    Verify(verify::Args),
    /// Write all keys into one encrypted file.
    Backup(backup::Args),
    /// Put the keys of a backup into a keystore.
    Restore(restore::Args),
    /// Create, list, use and delete keys.
    Key(key::Args),
    /// Look at policies, and explain what they decide.
    Policy(policy::Args),
    /// Make and look at identities.
    Identity(identity::Args),
    /// List keys, policies and identities.
    Ls(ls::Args),
    /// Follow what a server does.
    Log(log::Args),
    /// Show how servers and their keystores are.
    Status(status::Args),
    /// Show the metrics of a server.
    Metric(metric::Args),
    /// Print the completions of a shell.
    Completion(completion::Args),
    /// Write the manual pages to a directory.
    Man(man::Args),
}

/// What the program is called, unless by a link.
const NAME: &str = "keyway";

/// What scripts call it.
const KES: &str = "kes";

/// Runs the program: as `kes` when it is called so, and else as `keyway`.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if program_name() == KES
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
    /// Reads the command line. Ends the process after help and version, and when the command line is wrong.
    fn read() -> Self {
        let mut command = Self::command_as(program_name());
        let read = command.try_get_matches_from_mut(std::env::args_os());
        read.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// What the command says; the exit code is then that of [`exit::code`].
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

    /// The command line of a program with this name.
    fn command_as(name: &'static str) -> clap::Command {
        let command = Self::command();
        if name == NAME {
            return command;
        }
        let version = concat!(env!("CARGO_PKG_VERSION"), " (Keyway)");
        renamed(command, name).name(name).bin_name(name).version(version)
    }
}

/// `kes` when the program was called so.
fn program_name() -> &'static str {
    let called = std::env::args_os().next().unwrap_or_default();
    let stem = Path::new(&called).file_stem().unwrap_or_default();
    if stem == KES { KES } else { NAME }
}

/// A command, and those below it, whose texts call the program by another name.
fn renamed(mut command: clap::Command, name: &'static str) -> clap::Command {
    let ours = |text: &clap::builder::StyledStr| Some(in_the_name_of(name, &text.to_string()));
    if let Some(text) = command.get_after_help().and_then(ours) {
        command = command.after_help(text);
    }
    command = command.mut_args(|argument| match argument.get_help().and_then(ours) {
        Some(text) => argument.help(text),
        None => argument,
    });
    if command.get_name() == "server" {
        let usage = command.render_usage().to_string().replace(NAME, name);
        command = command.override_usage(usage.trim_start_matches("Usage:").trim_start().to_owned());
    }
    command.mut_subcommands(|below| renamed(below, name))
}

/// A text that names commands of ours, as a program with this name says it.
fn in_the_name_of(name: &str, text: &str) -> String {
    text.replace(&format!("{NAME} "), &format!("{name} "))
}

/// Prints an error, with those of its causes that it does not tell itself on lines of their own.
#[expect(clippy::print_stderr, reason = "a command's error belongs on standard error")]
fn print_error(error: &anyhow::Error) {
    let say = |text: &str| in_the_name_of(program_name(), &terminal::output::printable_lines(text));
    let mut told = error.to_string();
    eprintln!("error: {}", say(&told));
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            eprintln!("  because: {}", say(&cause));
            told = cause;
        }
    }
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
