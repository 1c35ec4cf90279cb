//! `keyway key rm NAME...`: deletes keys, and thereby all data that is encrypted under them.

use std::process::ExitCode;

use anyhow::bail;
use reqwest::Method;

use crate::cli::connection::Connection;
use crate::cli::names::for_each;
use crate::cli::terminal;
use crate::cli::terminal::output::{confirm_done, printable};
use crate::client::path;

/// The arguments of `keyway key rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Data encrypted under a deleted key can never be decrypted again. On a terminal the command \
                        prompts for confirmation.\n\nExample:\n  keyway key rm my-key")]
pub(super) struct Args {
    /// Names of the keys.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not prompt for confirmation.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        let names = args.names.iter().map(|name| format!("'{}'", printable(name))).collect::<Vec<_>>().join(", ");
        let object = if args.names.len() == 1 { "this key" } else { "these keys" };
        let question = format!("Delete {names}? Data encrypted under {object} can never be decrypted again.");
        if !args.yes && terminal::confirm(&question)? == Some(false) {
            bail!("cancelled; no key was deleted");
        }
        for_each(&args.names, async |name| {
            client.change(Method::DELETE, &path("/v1/key/delete/", name), None).await?;
            Ok(confirm_done(&format!("deleted {}", printable(name)))?)
        })
        .await
    })
}
