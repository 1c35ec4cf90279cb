//! `keyway identity info`: what a server knows of an identity, or of who asks.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::output::{Form, Output, second, time};
use crate::client::answers::{IdentityInfo, SelfInfo};
use crate::client::path;

/// The arguments of `keyway identity info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway identity info")]
pub(super) struct Args {
    /// The identity. Without it, your own.
    identity: Option<String>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let answer: Value = match &args.identity {
            Some(identity) => client.get(&path("/v1/identity/describe/", identity)).await?,
            None => client.get("/v1/identity/self/describe").await?,
        };
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            output.json(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        let (identity, admin, policy) = if let Some(identity) = &args.identity {
            let info = client.look::<IdentityInfo>("identity/describe", &answer)?;
            (identity.clone(), info.admin, info.policy)
        } else {
            let info = client.look::<SelfInfo>("identity/self/describe", &answer)?;
            (info.identity, info.admin, info.policy)
        };
        let created = answer.get("created_at").and_then(Value::as_str).unwrap_or_default();
        let may = match policy {
            _ if admin => ("Admin", "yes: it may do anything".to_owned()),
            policy => ("Policy", policy.unwrap_or_default()),
        };
        output.fields(&[("Identity", identity), may, ("Created", second(&time(created), output.form))])?;
        Ok(ExitCode::SUCCESS)
    })
}
