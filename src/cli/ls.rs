//! `keyway ls`: lists keys, policies and identities of a server.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::connection::Query;
use super::names::list_all;
use super::terminal::output::Form;
use super::{exit, print_error};
use crate::client::responses::Identities;
use crate::client::{Client, ClientError, path};

/// The arguments of `keyway ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Lists that you may not read are left out, with a note on standard error.\n\n\
                  Example:\n  keyway ls my-",
    mut_arg("json", |json| json.help(r#"Print {"keys": [...], "policies": [...], "identities": [...]}"#))
)]
pub(super) struct Args {
    /// List only names with this prefix.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let (mut found, mut denied) = (Vec::new(), Vec::new());
        for (kind, plural) in [("key", "keys"), ("policy", "policies"), ("identity", "identities")] {
            match names(client, kind, &args.prefix).await {
                Ok(names) => found.push((kind, plural, names)),
                Err(error) if is_denied(&error) => denied.push(error),
                Err(error) => return Err(error),
            }
        }
        denied.iter().for_each(print_error);
        if found.is_empty() {
            return Ok(ExitCode::from(exit::DENIED));
        }
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

fn is_denied(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Api(failure)) if failure.is_denied())
}

async fn names(client: &Client, kind: &str, prefix: &str) -> anyhow::Result<Vec<String>> {
    let api = format!("/v1/{kind}/list/");
    if kind == "identity" {
        return Ok(client.get::<Identities>(&path(&api, prefix)).await?.identities.unwrap_or_default());
    }
    list_all(client, &api, prefix).await
}
