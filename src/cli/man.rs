//! `keyway man DIR`: generates manual pages, one per command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::terminal::output::confirm_done;
use super::{Cli, program_name};

/// The arguments of `keyway man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway man /usr/local/share/man/man1 && man keyway-key-create")]
pub(super) struct Args {
    /// Directory for keyway.1 and the other pages; created if missing.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    let write = || {
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Cli::command_as(program_name()), directory)
    };
    write().with_context(|| format!("cannot write to {}", directory.display()))?;
    confirm_done(&format!("manual pages written to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
