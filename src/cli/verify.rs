//! `keyway verify`: compares two keystores without writing to either.

use std::path::PathBuf;
use std::process::ExitCode;

use super::given;
use super::stores::{BulkArgs, prepare, read_keystore};
use crate::glob::Glob;
use crate::transfer::Keystore;
use crate::transfer::verify::verify;

/// What follows the options in the help.
const HELP: &str = "\
Keys that exist only in the second keystore are reported, but are not a failure.

Exit codes: 0 every key of the first keystore is in the second, 1 some keys are missing, different or damaged, 2 \
invalid command line, 130 interrupted.";

/// The arguments of `keyway verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Config file of the first keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    from: PathBuf,
    /// Config file of the second keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    to: PathBuf,
    /// Keys to compare: a name, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*")]
    pattern: Glob,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// Compares the keystores.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let (from, to) = (read_keystore(&args.from)?, read_keystore(&args.to)?);
    Keystore::check_distinct((&args.from, &from), (&args.to, &to))?;
    prepared.run(&args.bulk, async |workers| {
        let source = Keystore::open_to_read(&args.from, &from).await?;
        let target = Keystore::open_to_read(&args.to, &to).await?;
        let report = Box::pin(verify(&source, &target, &args.pattern, &workers)).await;
        source.close().await;
        target.close().await;
        Ok((format!("comparison: {source} and {target}, keys {}", args.pattern), report?))
    })
}
