//! `keyway key create NAME...`: the server makes keys of random bytes.

use std::process::ExitCode;

use reqwest::Method;

use crate::cli::connection::{Connection, block_on};
use crate::cli::names::for_each;
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::path;

/// The arguments of `keyway key create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A name that is taken is an error; nothing is ever overwritten.\n\n\
                        Example:\n  keyway key create my-key my-other-key")]
pub(super) struct Args {
    /// Names of the new keys: 1 to 80 of 0-9 A-Z a-z _ -, with no - at either end.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(for_each(&args.names, async |name| {
        client.change(Method::PUT, &path("/v1/key/create/", name), None).await?;
        let mut output = Output::new(false);
        if output.form == Form::Table {
            output.line(format!("created {}", printable(name)))?;
        }
        Ok(())
    }))
}
