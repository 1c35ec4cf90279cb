//! `keyway identity ls`: lists the identities that a server knows.

use std::process::ExitCode;

use crate::cli::connection::Query;
use crate::cli::terminal::output::{Form, printable};
use crate::client::responses::{Identities, IdentityInfo};
use crate::client::{Client, path};

/// The arguments of `keyway identity ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway identity ls",
    mut_arg("json", |json| json.help("Print an array of identities"))
)]
pub(super) struct Args {
    /// List only identities with this prefix.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let response: Identities = client.get(&path("/v1/identity/list/", &args.prefix)).await?;
        let identities = response.identities.unwrap_or_default();
        match output.form {
            Form::Json => output.json(&identities)?,
            Form::Plain => identities.iter().try_for_each(|identity| output.line(printable(identity)))?,
            Form::Table => {
                let mut rows = Vec::new();
                for identity in identities {
                    let policy = policy(client, &identity).await;
                    rows.push([identity, policy]);
                }
                output.table(["IDENTITY", "POLICY"], &rows)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The policy of an identity, or `?`: a client that may list identities need not have access to each of them.
async fn policy(client: &Client, identity: &str) -> String {
    match client.get::<IdentityInfo>(&path("/v1/identity/describe/", identity)).await {
        Ok(info) if info.admin => "(admin)".to_owned(),
        Ok(info) => info.policy.unwrap_or_default(),
        Err(_) => "?".to_owned(),
    }
}
