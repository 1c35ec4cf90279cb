//! `keyway check FILE`: all checks that `keyway server --config FILE` makes before it opens anything.

use std::path::PathBuf;
use std::process::ExitCode;

use super::exit;
use crate::{config, tls};

/// The arguments of `keyway check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Config file.
    file: PathBuf,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
}

/// Reads the config and the TLS files it names. Warnings go to standard error.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command's output")]
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::read(&args.file)?;
    let of_tls = tls::server_config(&config.tls, config.certificate_required())?.warnings;
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).chain(of_tls).collect();
    let word = if args.strict { "error" } else { "warning" };
    for warning in &warnings {
        eprintln!("{word}: {warning}");
    }
    if args.strict && !warnings.is_empty() {
        return Ok(ExitCode::from(exit::FAILED));
    }
    println!("{}: ok", args.file.display());
    Ok(ExitCode::SUCCESS)
}
