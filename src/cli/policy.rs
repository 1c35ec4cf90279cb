//! `keyway policy`: the commands on policies, one file each.

mod explain;
mod info;
mod ls;
mod show;
mod template;

use std::process::ExitCode;

use clap::Subcommand;

/// The arguments of `keyway policy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway policy explain self PUT /v1/key/create/my-key")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show when a policy was created, and by whom.
    Info(info::Args),
    /// List policies.
    Ls(ls::Args),
    /// Show the rules of a policy.
    Show(show::Args),
    /// Explain whether a request is allowed, and which rule decides.
    Explain(explain::Args),
    /// Print a config file section with the policy for a well-known client.
    Template(template::Args),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Info(args) => info::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Show(args) => show::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Template(args) => template::run(args),
    }
}
