//! `keyway policy info NAME`: where a policy comes from.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::output::{Form, Output, second, time};
use crate::client::answers::Description;
use crate::client::path;

/// The arguments of `keyway policy info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway policy info my-app")]
pub(super) struct Args {
    /// Name of the policy.
    name: String,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let answer: Value = client.get(&path("/v1/policy/describe/", &args.name)).await?;
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            output.json(&answer)?;
        } else {
            let policy = client.look::<Description>("policy/describe", &answer)?;
            let created = second(&time(&policy.created_at), output.form);
            output.fields(&[("Name", policy.name), ("Created", created), ("Created by", policy.created_by)])?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
