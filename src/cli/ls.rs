//! `keyway ls`: lists keys, policies and identities of a server.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::connection::Query;
use super::names::{list_all, list_identities, note_exact_pattern};
use super::terminal::output::Form;
use super::{exit, print_error};
use crate::client::{Client, ClientError};
use crate::glob::Glob;

/// The arguments of `keyway ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Lists that you may not read are left out, with a note on standard error.\n\n\
                  Example:\n  keyway ls 'my-*'",
    mut_arg("json", |json| json.help(r#"Print {"keys": [...], "policies": [...], "identities": [...]}"#))
)]
pub(super) struct Args {
    /// Names to list: a whole one, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*", hide_default_value = true)]
    pattern: Glob,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let (mut found, mut denied) = (Vec::new(), Vec::new());
        for (kind, plural) in [("key", "keys"), ("policy", "policies"), ("identity", "identities")] {
            match names(client, kind, &args.pattern).await {
                Ok(names) => found.push((kind, plural, names)),
                Err(error) if is_denied(&error) => denied.push(error),
                Err(error) => return Err(error),
            }
        }
        denied.iter().for_each(print_error);
        if found.is_empty() {
            return Ok(ExitCode::from(exit::DENIED));
        }
        if found.iter().all(|(.., names)| names.is_empty()) {
            note_exact_pattern(&args.pattern);
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

async fn names(client: &Client, kind: &str, pattern: &Glob) -> anyhow::Result<Vec<String>> {
    if kind == "identity" {
        return list_identities(client, pattern).await;
    }
    list_all(client, &format!("/v1/{kind}/list/"), pattern).await
}
