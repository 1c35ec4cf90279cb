//! `kes server`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;

use crate::cli::server;

/// The arguments of `kes server`, with those of every release.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on; it wins over that of the config.
    #[arg(long, visible_alias = "port", value_name = "[IP]:PORT")]
    addr: Option<String>,
    /// Start without a config, for development.
    #[arg(long)]
    dev: bool,
    #[command(flatten)]
    overrides: server::Overrides,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.dev {
        let file = args.config.clone().unwrap_or_default();
        if let Err(error) = std::fs::File::open(&file) {
            let why = if error.kind() == std::io::ErrorKind::NotFound {
                "no such file or directory".to_owned()
            } else {
                error.to_string()
            };
            return Err(anyhow!("open {}: {why}", file.display()));
        }
    }
    server::run_as_kes(args.config.filter(|_| !args.dev), args.addr, args.overrides)
}
