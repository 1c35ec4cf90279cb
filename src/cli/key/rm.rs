//! `keyway key rm`: deletes keys, and thereby all data that is encrypted under them.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use reqwest::Method;

use crate::cli::connection::Connection;
use crate::cli::exit::{self, Usage};
use crate::cli::names::{for_each, list_all};
use crate::cli::terminal::output::{Output, confirm_done, printable};
use crate::cli::{print_error, terminal};
use crate::client::{Client, path};
use crate::glob::Glob;

/// The arguments of `keyway key rm`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Data encrypted under a deleted key can never be decrypted again. The command prompts for \
                  confirmation; without a terminal it deletes only with --yes. With --match, the matching keys are \
                  listed first.\n\n\
                  Examples:\n  keyway key rm my-key\n  keyway key rm --match 'test-*'",
    group = clap::ArgGroup::new("which").required(true)
)]
pub(super) struct Args {
    /// Names of the keys.
    #[arg(value_name = "NAME", group = "which")]
    names: Vec<String>,
    /// Delete the keys that match a pattern with * for any characters and ? for one character.
    #[arg(long = "match", value_name = "PATTERN", group = "which")]
    pattern: Option<Glob>,
    /// Do not prompt for confirmation.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        if let Some(pattern) = &args.pattern {
            return delete_matching(client, pattern, args.yes).await;
        }
        let names = args.names.iter().map(|name| format!("'{}'", printable(name))).collect::<Vec<_>>().join(", ");
        let question = format!("Delete {names}? {}", warning(args.names.len()));
        if !args.yes {
            confirm(&question, args.names.len())?;
        }
        for_each(&args.names, async |name| {
            delete(client, name).await?;
            Ok(confirm_done(&format!("deleted {}", printable(name)))?)
        })
        .await
    })
}

/// Deletes the keys that match when they are listed here: a key that is created later was not confirmed.
async fn delete_matching(client: &Client, pattern: &Glob, yes: bool) -> anyhow::Result<ExitCode> {
    let names = list_all(client, "/v1/key/list/", pattern).await?;
    if names.is_empty() {
        print_error(&anyhow!("no key matches '{pattern}'; list the keys with `keyway key ls`"));
        return Ok(ExitCode::from(exit::NOT_FOUND));
    }
    let mut output = Output::new(false);
    if !yes {
        names.iter().try_for_each(|name| output.line(printable(name)))?;
        let keys = if names.len() == 1 { "key" } else { "keys" };
        let question = format!("Delete {} {keys} that match '{pattern}'? {}", names.len(), warning(names.len()));
        confirm(&question, names.len())?;
    }
    for_each(&names, async |name| {
        delete(client, name).await?;
        Ok(Output::new(false).line(format!("deleted {}", printable(name)))?)
    })
    .await
}

/// Asks on the terminal. Without one, nobody has agreed: what a pipe says is not an answer.
fn confirm(question: &str, count: usize) -> anyhow::Result<()> {
    match terminal::confirm(question)? {
        Some(true) => Ok(()),
        Some(false) => bail!("cancelled; no key was deleted"),
        None => bail!(Usage(format!(
            "no key was deleted: there is no terminal to confirm that {count} {} to be deleted; use --yes",
            if count == 1 { "key is" } else { "keys are" }
        ))),
    }
}

async fn delete(client: &Client, name: &str) -> anyhow::Result<()> {
    Ok(client.change(Method::DELETE, &path("/v1/key/delete/", name), None).await?)
}

fn warning(count: usize) -> String {
    let object = if count == 1 { "this key" } else { "these keys" };
    format!("Data encrypted under {object} can never be decrypted again.")
}
