//! `kes log`

use std::process::ExitCode;

use super::connection::{Connection, Json};
use crate::cli::log::follow;
use crate::cli::terminal::output::Output;

/// The arguments of `kes log`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print audit events. This is the default.
    #[arg(long, default_value = "true")]
    audit: bool,
    /// Print error events.
    #[arg(long)]
    error: bool,
    /// `audit` or `error`, as in old scripts.
    #[arg(long = "type", hide = true)]
    kind: Option<String>,
    /// Without effect: events are printed as they arrive.
    #[arg(long, hide = true)]
    rate: Option<String>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let errors = args.error || !args.audit || args.kind.as_deref() == Some("error");
    let path = if errors { "/v1/log/error" } else { "/v1/log/audit" };
    let mut output = Output::new(args.json.json);
    args.connection.with_client(async |client| follow(&client, path, &mut output).await.map(drop))
}
