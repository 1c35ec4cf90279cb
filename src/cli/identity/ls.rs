//! `keyway identity ls`: the identities that a server knows.

use std::process::ExitCode;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::answers::{Identities, IdentityInfo};
use crate::client::{Client, path};

/// The arguments of `keyway identity ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway identity ls")]
pub(super) struct Args {
    /// What the identities begin with.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Print an array of identities.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let answer: Identities = client.get(&path("/v1/identity/list/", &args.prefix)).await?;
        let identities = answer.identities.unwrap_or_default();
        let mut output = Output::new(args.json);
        match output.form {
            Form::Json => output.json(&identities)?,
            Form::Plain => identities.iter().try_for_each(|identity| output.line(printable(identity)))?,
            Form::Table => {
                let mut rows = Vec::new();
                for identity in identities {
                    let policy = policy(&client, &identity).await;
                    rows.push([identity, policy]);
                }
                output.table(["IDENTITY", "POLICY"], &rows)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The policy of an identity; a client that may list identities need not be one that may look at each.
async fn policy(client: &Client, identity: &str) -> String {
    match client.get::<IdentityInfo>(&path("/v1/identity/describe/", identity)).await {
        Ok(info) if info.admin => "(admin)".to_owned(),
        Ok(info) => info.policy.unwrap_or_default(),
        Err(_) => "?".to_owned(),
    }
}
