//! `keyway man DIR`: manual pages, one for each command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::terminal::output::{Form, Output};
use super::{Cli, program_name};

/// The arguments of `keyway man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway man /usr/local/share/man/man1 && man keyway-key-create")]
pub(super) struct Args {
    /// Where to write keyway.1 and the others; made when it is not there.
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
    let mut output = Output::new(false);
    if output.form == Form::Table {
        output.line(format!("written to {}", directory.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
