//! `keyway identity info`: what a server knows about an identity, or about the client's own.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::connection::Query;
use crate::cli::terminal::output::{Form, second, time};
use crate::client::path;
use crate::client::responses::{IdentityInfo, SelfInfo};

/// The arguments of `keyway identity info`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway identity info",
    mut_arg("json", |json| json.help("Print a JSON object"))
)]
pub(super) struct Args {
    /// Identity to look up. Default: your own.
    identity: Option<String>,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let response: Value = match &args.identity {
            Some(identity) => client.get(&path("/v1/identity/describe/", identity)).await?,
            None => client.get("/v1/identity/self/describe").await?,
        };
        if output.form == Form::Json {
            output.json(&response)?;
            return Ok(ExitCode::SUCCESS);
        }
        let (identity, admin, policy) = if let Some(identity) = &args.identity {
            let info = client.decode::<IdentityInfo>("identity/describe", &response)?;
            (identity.clone(), info.admin, info.policy)
        } else {
            let info = client.decode::<SelfInfo>("identity/self/describe", &response)?;
            (info.identity, info.admin, info.policy)
        };
        let created = response.get("created_at").and_then(Value::as_str).unwrap_or_default();
        let access = match policy {
            _ if admin => ("Admin", "yes (all requests are allowed)".to_owned()),
            policy => ("Policy", policy.unwrap_or_default()),
        };
        output.fields(&[("Identity", identity), access, ("Created", second(&time(created), output.form))])?;
        Ok(ExitCode::SUCCESS)
    })
}
