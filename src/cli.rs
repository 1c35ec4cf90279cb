//! The command line: one file per command.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 interrupted.

mod backup;
mod check;
mod dev;
mod migrate;
mod passphrase;
mod restore;
mod server;
mod stores;
mod terminal;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A KES-compatible key management gateway.
#[derive(Debug, Parser)]
#[command(name = "keyway", version, disable_version_flag = true, arg_required_else_help = true)]
pub struct Cli {
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
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What the command says; the exit code is then 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Server(args) => server::run(args),
            Command::Check(args) => check::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Backup(args) => backup::run(&args),
            Command::Restore(args) => restore::run(&args),
        }
    }
}

/// Prints an error, with those of its causes that it does not tell itself on lines of their own.
#[expect(clippy::print_stderr, reason = "a command's error belongs on standard error")]
pub fn print_error(error: &anyhow::Error) {
    let mut told = error.to_string();
    eprintln!("error: {told}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            eprintln!("  because: {cause}");
            told = cause;
        }
    }
}
