//! `kes migrate`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::migrate;
use crate::glob::Glob;

/// The arguments of `kes migrate`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Args {
    /// The config of the keystore to read from.
    #[arg(long, value_name = "CONFIG")]
    from: PathBuf,
    /// The config of the keystore to write to.
    #[arg(long, value_name = "CONFIG")]
    to: PathBuf,
    /// Replace keys that the target has already.
    #[arg(short, long)]
    force: bool,
    /// Keep keys that the target has already.
    #[arg(long)]
    merge: bool,
    /// Print less; a report is printed all the same.
    #[arg(short, long, hide = true)]
    quiet: bool,
    /// Without effect: keys are copied between keystores, not between servers.
    #[arg(short = 'k', long, hide = true)]
    insecure: bool,
    /// Likewise.
    #[arg(short, long, hide = true)]
    server: Option<String>,
    /// Likewise.
    #[arg(short, long, hide = true)]
    api_key: Option<String>,
    /// Likewise.
    #[arg(short, long, hide = true)]
    enclave: Option<String>,
    /// Likewise.
    #[arg(long, hide = true)]
    color: Option<String>,
    /// Which keys.
    #[arg(default_value = "*")]
    pattern: Glob,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    migrate::run(&migrate::Args::of_kes(args.from, args.to, args.pattern, args.merge, args.force))
}
