//! `keyway policy show NAME`: the rules of a policy.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::output::{BAD, Form, GOOD, Output, printable};
use crate::client::answers::Rules;
use crate::client::path;

/// The arguments of `keyway policy show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway policy show my-app")]
pub(super) struct Args {
    /// Name of the policy.
    name: String,
    /// Print the policy as the server has it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let answer: Value = client.get(&path("/v1/policy/read/", &args.name)).await?;
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            output.json(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rules = client.look::<Rules>("policy/read", &answer)?;
        // Deny first: those rules win.
        for rule in rules.deny.keys() {
            output.line(format!("{BAD}deny{BAD:#}   {}", printable(rule)))?;
        }
        for rule in rules.allow.keys() {
            output.line(format!("{GOOD}allow{GOOD:#}  {}", printable(rule)))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
