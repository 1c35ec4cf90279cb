//! `keyway key info NAME...`: what keys are, without their secrets.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::{Connection, block_on};
use crate::cli::names::for_each;
use crate::cli::terminal::output::{Form, Output, second, time};
use crate::client::answers::Description;
use crate::client::path;

/// The arguments of `keyway key info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway key info my-key")]
pub(super) struct Args {
    /// Names of keys.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON object for each key.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let several = args.names.len() > 1;
    block_on(for_each(&args.names, async |name| {
        let answer: Value = client.get(&path("/v1/key/describe/", name)).await?;
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            return Ok(output.json(&answer)?);
        }
        let key = client.look::<Description>("key/describe", &answer)?;
        output.fields(&[
            ("Name", key.name),
            ("Algorithm", key.algorithm.unwrap_or_default()),
            ("Created", second(&time(&key.created_at), output.form)),
            ("Created by", key.created_by),
        ])?;
        if several {
            output.line("")?;
        }
        Ok(())
    }))
}
