//! `keyway identity ls`: lists the identities that a server knows.

use std::process::ExitCode;

use crate::cli::connection::Query;
use crate::cli::names::{list_identities, note_exact_pattern};
use crate::cli::terminal::output::{Form, printable};
use crate::client::responses::IdentityInfo;
use crate::client::{Client, path};
use crate::glob::Glob;

/// The arguments of `keyway identity ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway identity ls",
    mut_arg("json", |json| json.help("Print an array of identities"))
)]
pub(super) struct Args {
    /// Identities to list: a whole one, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*", hide_default_value = true)]
    pattern: Glob,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let identities = list_identities(client, &args.pattern).await?;
        if identities.is_empty() {
            note_exact_pattern(&args.pattern);
        }
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
