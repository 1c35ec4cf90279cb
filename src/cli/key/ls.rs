//! `keyway key ls`: lists the names of all keys, however many.

use std::process::ExitCode;

use crate::cli::connection::Query;
use crate::cli::names::{list_matching, note_exact_pattern};
use crate::cli::terminal::output::{DIM, Form, printable, second, time};
use crate::client::responses::Description;
use crate::client::{ClientError, path};
use crate::glob::Glob;

/// The arguments of `keyway key ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway key ls 'my-*'",
    mut_arg("json", |json| json.help("Print an array of names, or of objects with --long"))
)]
pub(super) struct Args {
    /// Keys to list: a name, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*", hide_default_value = true)]
    pattern: Glob,
    /// Show the properties of each key; sends one request per key.
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let mut all = Vec::new();
        let streams = !args.long && output.form != Form::Json;
        let mut count = 0;
        list_matching(client, "/v1/key/list/", &args.pattern, |names| {
            count += names.len();
            if streams {
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
        if count == 0 {
            note_exact_pattern(&args.pattern);
        }
        if args.long {
            let mut keys = Vec::with_capacity(all.len());
            for name in &all {
                keys.push(client.get::<serde_json::Value>(&path("/v1/key/describe/", name)).await?);
            }
            if output.form == Form::Json {
                output.json(&keys)?;
            } else {
                let row = |key| {
                    let key: Description = client.decode("key/describe", key)?;
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
