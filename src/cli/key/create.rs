//! `keyway key create NAME...`: the server generates random keys.

use std::process::ExitCode;

use reqwest::Method;

use crate::cli::connection::Connection;
use crate::cli::names::for_each;
use crate::cli::terminal::output::{confirm_done, printable};
use crate::client::path;

/// The arguments of `keyway key create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A name that is already in use is an error; a key is never overwritten.\n\n\
                        Example:\n  keyway key create my-key my-other-key")]
pub(super) struct Args {
    /// Names of the new keys: 1 to 80 characters of 0-9 A-Z a-z _ -, without a leading or trailing -.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        for_each(&args.names, async |name| {
            client.change(Method::PUT, &path("/v1/key/create/", name), None).await?;
            Ok(confirm_done(&format!("created {}", printable(name)))?)
        })
        .await
    })
}
