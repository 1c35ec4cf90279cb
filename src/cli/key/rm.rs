//! `keyway key rm NAME...`: deletes keys, and with them all data that is encrypted under them.

use std::process::ExitCode;

use anyhow::bail;
use reqwest::Method;

use crate::cli::connection::{Connection, block_on};
use crate::cli::names::for_each;
use crate::cli::terminal;
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::path;

/// The arguments of `keyway key rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Data that is encrypted under a deleted key can never be read again. On a terminal you are \
                        asked before.\n\nExample:\n  keyway key rm my-key")]
pub(super) struct Args {
    /// Names of the keys.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let names = args.names.iter().map(|name| format!("'{}'", printable(name))).collect::<Vec<_>>().join(", ");
    let question = format!("Delete {names}? Data encrypted under it can never be read again.");
    if !args.yes && terminal::confirm(&question)? == Some(false) {
        bail!("nothing was deleted");
    }
    block_on(for_each(&args.names, async |name| {
        client.change(Method::DELETE, &path("/v1/key/delete/", name), None).await?;
        let mut output = Output::new(false);
        if output.form == Form::Table {
            output.line(format!("deleted {}", printable(name)))?;
        }
        Ok(())
    }))
}
