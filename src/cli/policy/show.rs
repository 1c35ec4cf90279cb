//! `keyway policy show NAME`: the rules of a policy.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::Query;
use crate::cli::terminal::output::{BAD, Form, GOOD, printable};
use crate::client::path;
use crate::client::responses::Rules;

/// The arguments of `keyway policy show`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway policy show my-app",
    mut_arg("json", |json| json.help("Print the policy as a JSON object, as returned by the server"))
)]
pub(super) struct Args {
    /// Name of the policy.
    name: String,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let response: Value = client.get(&path("/v1/policy/read/", &args.name)).await?;
        if output.form == Form::Json {
            output.json(&response)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rules = client.decode::<Rules>("policy/read", &response)?;
        // Deny rules come first, as they take precedence.
        for rule in rules.deny.keys() {
            output.line(format!("{BAD}deny{BAD:#}   {}", printable(rule)))?;
        }
        for rule in rules.allow.keys() {
            output.line(format!("{GOOD}allow{GOOD:#}  {}", printable(rule)))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
