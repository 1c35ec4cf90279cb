//! `keyway check FILE`: all checks that `keyway server --config FILE` makes before it opens anything.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::{config, tls};

/// The arguments of `keyway check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Config file.
    file: PathBuf,
}

/// Reads the config and the TLS files it names. Warnings go to standard error.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command's output")]
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::read(&args.file)?;
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    for warning in tls::server_config(&config.tls, config.certificate_required())?.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}: ok", args.file.display());
    Ok(ExitCode::SUCCESS)
}
