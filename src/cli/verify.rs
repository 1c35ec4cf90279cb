//! `keyway verify`: two keystores compared, without writing to either.

use std::path::PathBuf;
use std::process::ExitCode;

use super::stores::{Work, keystore, prepare};
use crate::transfer::Keystore;
use crate::transfer::glob::Glob;
use crate::transfer::verify::verify;

/// What follows the options in the help.
const HELP: &str = "\
Exit codes: 0 every key of the first is in the second, 1 one is missing there, differs or is damaged, 2 the command line \
is wrong, 130 interrupted. Keys that only the second has are told, and are no failure.";

/// The arguments of `keyway verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The config with the first keystore. Only its `keystore` is used.
    #[arg(long, value_name = "CONFIG")]
    from: PathBuf,
    /// The config with the second keystore. Only its `keystore` is used.
    #[arg(long, value_name = "CONFIG")]
    to: PathBuf,
    /// Which keys: a name, or a pattern with * for any characters and ? for one.
    #[arg(default_value = "*")]
    pattern: Glob,
    #[command(flatten)]
    work: Work,
}

/// Compares the keystores.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let (from, to) = (keystore(&args.from)?, keystore(&args.to)?);
    Keystore::check_distinct((&args.from, &from), (&args.to, &to))?;
    prepared.run(&args.work, async |workers| {
        let source = Keystore::open_to_read(&args.from, &from).await?;
        let target = Keystore::open_to_read(&args.to, &to).await?;
        let report = Box::pin(verify(&source, &target, &args.pattern, &workers)).await;
        source.close().await;
        target.close().await;
        Ok((format!("comparison: {source} and {target}, keys {}", args.pattern), report?))
    })
}
