//! `keyway policy ls`: lists the names of all policies.

use std::process::ExitCode;

use crate::cli::connection::Query;
use crate::cli::names::{list_all, note_exact_pattern};
use crate::cli::terminal::output::{Form, printable};
use crate::glob::Glob;

/// The arguments of `keyway policy ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway policy ls",
    mut_arg("json", |json| json.help("Print an array of names"))
)]
pub(super) struct Args {
    /// Policies to list: a name, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*", hide_default_value = true)]
    pattern: Glob,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let names = list_all(client, "/v1/policy/list/", &args.pattern).await?;
        if names.is_empty() {
            note_exact_pattern(&args.pattern);
        }
        if output.form == Form::Json {
            output.json(&names)?;
        } else {
            names.iter().try_for_each(|name| output.line(printable(name)))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
