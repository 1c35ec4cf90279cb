//! `keyway policy info NAME`: when a policy was created, and by whom.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::Query;
use crate::cli::terminal::output::{Form, second, time};
use crate::client::path;
use crate::client::responses::Description;

/// The arguments of `keyway policy info`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway policy info my-app",
    mut_arg("json", |json| json.help("Print a JSON object"))
)]
pub(super) struct Args {
    /// Name of the policy.
    name: String,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let response: Value = client.get(&path("/v1/policy/describe/", &args.name)).await?;
        if output.form == Form::Json {
            output.json(&response)?;
        } else {
            let policy = client.decode::<Description>("policy/describe", &response)?;
            let created = second(&time(&policy.created_at), output.form);
            output.fields(&[("Name", policy.name), ("Created", created), ("Created by", policy.created_by)])?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
