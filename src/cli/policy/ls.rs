//! `keyway policy ls`: names of policies.

use std::process::ExitCode;

use crate::cli::connection::{Connection, block_on};
use crate::cli::names::list;
use crate::cli::terminal::output::{Form, Output, printable};

/// The arguments of `keyway policy ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway policy ls")]
pub(super) struct Args {
    /// What the names begin with.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Print an array of names.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let mut all = Vec::new();
        list(&client, "/v1/policy/list/", &args.prefix, |names| {
            all.extend(names);
            Ok(())
        })
        .await?;
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            output.json(&all)?;
        } else {
            all.iter().try_for_each(|name| output.line(printable(name)))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
