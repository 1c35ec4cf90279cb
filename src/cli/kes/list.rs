//! `kes ls`, and the lists of keys, policies and identities.

use std::process::ExitCode;

use super::connection::{Connection, Json, failed};
use crate::cli::names::list;
use crate::cli::terminal::output::{Output, printable};
use crate::client::responses::Identities;
use crate::client::{Client, ClientError, path};

/// What to list.
#[derive(Debug, clap::Args)]
pub(super) struct Pattern {
    /// List only names that begin so; a `*` at its end is a wildcard.
    #[arg(value_name = "PATTERN", default_value = "", hide_default_value = true)]
    pub(super) prefix: String,
    #[command(flatten)]
    pub(super) json: Json,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// The arguments of `kes ls`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pattern: Pattern,
    /// List identities.
    #[arg(short, long)]
    identity: bool,
    /// List policies.
    #[arg(short, long)]
    policy: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (args.identity, args.policy) {
        (true, _) => print(&args.pattern, "/v1/identity/list/", "Identity"),
        (false, true) => print(&args.pattern, "/v1/policy/list/", "Policy"),
        (false, false) => print(&args.pattern, "/v1/key/list/", "Key"),
    }
}

/// Prints all names of a list API under a header, or as a JSON array. Nothing when there are none.
pub(super) fn print(pattern: &Pattern, api: &str, header: &str) -> anyhow::Result<ExitCode> {
    pattern.connection.with_client(async |client| {
        let names = names(&client, api, &pattern.prefix).await?;
        let mut output = Output::new(pattern.json.json);
        if pattern.json.json {
            return Ok(output.json(&names)?);
        }
        if !names.is_empty() {
            output.line(header)?;
        }
        Ok(names.iter().try_for_each(|name| output.line(printable(name)))?)
    })
}

async fn names(client: &Client, api: &str, prefix: &str) -> anyhow::Result<Vec<String>> {
    if api == "/v1/identity/list/" {
        let answer = client.get::<Identities>(&path(api, prefix)).await;
        return Ok(answer.map_err(failed("failed to list identities"))?.identities.unwrap_or_default());
    }
    let mut all = Vec::new();
    let listed = list(client, api, prefix, |names| {
        all.extend(names);
        Ok(())
    });
    match listed.await {
        Ok(()) => Ok(all),
        Err(error) => Err(match error.downcast::<ClientError>() {
            Ok(error) => failed("failed to list names")(error),
            Err(error) => error,
        }),
    }
}
