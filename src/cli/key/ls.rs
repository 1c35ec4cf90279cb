//! `keyway key ls`: names of keys, past any page.

use std::process::ExitCode;

use crate::cli::connection::{Connection, block_on};
use crate::cli::names::list;
use crate::cli::terminal::output::{DIM, Form, Output, printable, second, time};
use crate::client::answers::Description;
use crate::client::{ClientError, path};

/// The arguments of `keyway key ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway key ls my-")]
pub(super) struct Args {
    /// What the names begin with; a * at its end changes nothing.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Show what each key is; one more request for each.
    #[arg(short, long)]
    long: bool,
    /// Print an array of names, or with --long of objects.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let mut output = Output::new(args.json);
    block_on(async {
        let mut all = Vec::new();
        let print_at_once = !args.long && output.form != Form::Json;
        let mut count = 0;
        list(&client, "/v1/key/list/", &args.prefix, |names| {
            count += names.len();
            if print_at_once {
                let mut lines = String::new();
                for name in &names {
                    lines.push_str(&printable(name));
                    lines.push('\n');
                }
                return Ok(output.text(&lines)?);
            }
            all.extend(names);
            Ok(())
        })
        .await?;
        if args.long {
            let mut keys = Vec::with_capacity(all.len());
            for name in &all {
                keys.push(client.get::<serde_json::Value>(&path("/v1/key/describe/", name)).await?);
            }
            if output.form == Form::Json {
                output.json(&keys)?;
            } else {
                let row = |key| {
                    let key: Description = client.look("key/describe", key)?;
                    let created = second(&time(&key.created_at), output.form);
                    Ok([key.name, key.algorithm.unwrap_or_default(), created, key.created_by])
                };
                let rows: Vec<_> = keys.iter().map(row).collect::<Result<_, ClientError>>()?;
                output.table(["NAME", "ALGORITHM", "CREATED", "CREATED BY"], &rows)?;
            }
        } else if output.form == Form::Json {
            output.json(&all)?;
        }
        if output.form == Form::Table {
            output.line(format!("{DIM}{count} {}{DIM:#}", if count == 1 { "key" } else { "keys" }))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
