//! `keyway ls`: everything that has a name on a server.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::connection::{Connection, block_on};
use super::names::list;
use super::terminal::output::{Form, Output};
use super::{exit, print_error};
use crate::client::answers::Identities;
use crate::client::{Client, ClientError, path};

/// The arguments of `keyway ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Lists that you may not see are left out, with a note on standard error.\n\n\
                        Example:\n  keyway ls my-")]
pub(super) struct Args {
    /// What the names begin with.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Print {"keys": [...], "policies": [...], "identities": [...]}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let (mut found, mut denied) = (Vec::new(), None);
        for (kind, plural) in [("key", "keys"), ("policy", "policies"), ("identity", "identities")] {
            match names(&client, kind, &args.prefix).await {
                Ok(names) => found.push((kind, plural, names)),
                Err(error) => {
                    let is_denied = error
                        .downcast_ref::<ClientError>()
                        .is_some_and(|error| matches!(error, ClientError::Api(failure) if failure.is_denied()));
                    if !is_denied {
                        return Err(error);
                    }
                    denied.get_or_insert_with(Vec::new).push(error);
                }
            }
        }
        for error in denied.iter().flatten() {
            print_error(error);
        }
        if found.is_empty() {
            return Ok(ExitCode::from(exit::DENIED));
        }
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            let lists = found.into_iter().map(|(_, plural, names)| (plural.to_owned(), names.into()));
            output.json(&Value::from(lists.collect::<Map<_, Value>>()))?;
        } else {
            let rows =
                found.into_iter().flat_map(|(kind, _, names)| names.into_iter().map(|name| [kind.to_owned(), name]));
            output.table(["KIND", "NAME"], &rows.collect::<Vec<_>>())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn names(client: &Client, kind: &str, prefix: &str) -> anyhow::Result<Vec<String>> {
    let api = format!("/v1/{kind}/list/");
    if kind == "identity" {
        return Ok(client.get::<Identities>(&path(&api, prefix)).await?.identities.unwrap_or_default());
    }
    let mut all = Vec::new();
    list(client, &api, prefix, |names| {
        all.extend(names);
        Ok(())
    })
    .await?;
    Ok(all)
}
