//! `kes policy ...`

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::connection::{Connection, Json, failed};
use super::{Ordered, date, list};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::path;
use crate::client::responses::{Description, Rules};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List policies.
    Ls(list::Pattern),
    /// Print information about a policy.
    Info(Named),
    /// Print a policy.
    Show(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Name of the policy.
    name: String,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Ls(pattern) => list::print(&pattern, "/v1/policy/list/", "Key"), // KES's header
        Command::Info(args) => info(&args),
        Command::Show(args) => show(&args),
    }
}

fn info(args: &Named) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        let answer = client.get::<Value>(&path("/v1/policy/describe/", &args.name)).await;
        let answer = answer.map_err(failed(format_args!("failed to describe policy '{}'", args.name)))?;
        if args.json.json {
            return json(&Ordered::of(&answer, &["name", "created_at", "created_by"]));
        }
        let policy = client.decode::<Description>("policy/describe", &answer)?;
        Ok(Output::new(false).text(&format!(
            "Name        {}\nDate        {}\nCreated by  {}\n",
            printable(&policy.name),
            printable(&date(&policy.created_at)),
            printable(&policy.created_by)
        ))?)
    })
}

fn show(args: &Named) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        let answer = client.get::<Value>(&path("/v1/policy/read/", &args.name)).await;
        let answer = answer.map_err(failed(format_args!("failed to show policy '{}'", args.name)))?;
        let mut output = Output::new(false);
        let rules = client.decode::<Rules>("policy/read", &answer)?;
        if args.json.json || output.form != Form::Table {
            return json(&Ordered::of(&answer, &["allow", "deny", "created_at", "created_by"]));
        }
        let created = |name: &str| printable(answer.get(name).and_then(Value::as_str).unwrap_or_default()).into_owned();
        let mut text = String::new();
        for (title, rules) in [("Allow", &rules.allow), ("Deny", &rules.deny)] {
            if rules.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}:"); // writing to a String cannot fail
            for rule in rules.keys() {
                let _ = writeln!(text, "  · {}", printable(rule));
            }
            text.push('\n');
        }
        let _ = writeln!(text, "\nCreated at: {}\nCreated by: {}", date(&created("created_at")), created("created_by"));
        Ok(output.text(&text)?)
    })
}

/// JSON on one line in a pipe, indented on a terminal.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut output = Output::new(false);
    let text = match output.form {
        Form::Table => serde_json::to_string_pretty(value)?,
        Form::Plain | Form::Json => serde_json::to_string(value)?,
    };
    Ok(output.line(text)?)
}
