//! `keyway identity`: the commands on identities, one file each.

mod info;
mod ls;
pub(super) mod new;
pub(super) mod of;

use std::process::ExitCode;

use clap::Subcommand;

/// The arguments of `keyway identity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway identity new")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an identity: an API key, or a private key and a certificate in files.
    New(new::Args),
    /// Print the identity of a certificate, a private key or an API key.
    Of(of::Args),
    /// Show what a server knows about an identity.
    Info(info::Args),
    /// List the identities that a server knows.
    Ls(ls::Args),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::New(args) => new::run(args),
        Command::Of(args) => of::run(args),
        Command::Info(args) => info::run(args),
        Command::Ls(args) => ls::run(args),
    }
}
