//! `keyway log`: follows what a server does, event by event.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::connection::{Connection, block_on};
use super::terminal::output::{BAD, DIM, DOUBTFUL, Form, GOOD, Output, printable, second};
use crate::client::answers::{AuditEvent, ErrorEvent};
use crate::client::{Client, ClientError};

/// How long to wait before the first attempt to connect again, and the longest wait after failures.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// Digits of an identity that tell it from others on a screen.
const SHORT_IDENTITY: usize = 12;

/// The arguments of `keyway log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "It runs until Ctrl-C. When the connection breaks it says so on standard error and connects \
                        again; events in between are missed.\n\nExample:\n  keyway log --json | grep 403")]
pub(super) struct Args {
    /// Follow the requests that the server gets: the default.
    #[arg(long)]
    audit: bool,
    /// Follow the server's warnings and errors.
    #[arg(long, conflicts_with = "audit")]
    error: bool,
    /// Print events as the server sends them, one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let path = if args.error { "/v1/log/error" } else { "/v1/log/audit" };
    let mut output = Output::new(args.json);
    block_on(follow(&client, path, &mut output))
}

/// Follows for ever. What stands in the way at the start ends it; later, only a refusal does.
pub(super) async fn follow(client: &Client, path: &str, output: &mut Output) -> anyhow::Result<ExitCode> {
    let mut response = client.stream(path).await?;
    loop {
        tell(&format!("following {path} of {}", client.endpoint()));
        let why = events(&mut response, output).await?;
        let mut wait = FIRST_WAIT;
        tell(&format!("{} {why}; connecting again, events in between are missed", client.endpoint()));
        response = loop {
            tokio::time::sleep(wait).await;
            match client.stream(path).await {
                Ok(response) => break response,
                Err(error) if is_lasting(&error) => return Err(error.into()),
                Err(error) => {
                    wait = (2 * wait).min(LONGEST_WAIT);
                    tell(&format!("{error}; the next attempt is in {} s", wait.as_secs()));
                }
            }
        };
    }
}

/// Whether waiting does not help. A server that stops, or whose store is down, comes back.
fn is_lasting(error: &ClientError) -> bool {
    match error {
        ClientError::Api(failure) => failure.status < 500,
        ClientError::Endpoints(failures) => failures.iter().all(|(_, failure)| failure.is_lasting()),
        ClientError::Settings(_) | ClientError::Malformed { .. } => true,
        ClientError::Unknown { .. } => false,
    }
}

/// Prints events as they come; answers with the reason of their end.
async fn events(response: &mut reqwest::Response, output: &mut Output) -> anyhow::Result<String> {
    let mut received = Vec::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok("has ended the stream".to_owned()),
            Err(error) => return Ok(format!("is gone ({})", backends::chain(&error))),
        };
        received.extend_from_slice(&chunk);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            print(line.trim_ascii(), output)?;
        }
        if received.len() > MAX_EVENT {
            return Ok("sends something else than events".to_owned());
        }
    }
}

fn print(line: &[u8], output: &mut Output) -> anyhow::Result<()> {
    if line.is_empty() {
        return Ok(());
    }
    if output.form == Form::Json {
        if serde_json::from_slice::<Value>(line).is_ok() {
            output.line(String::from_utf8_lossy(line))?;
        } else {
            tell("a line that is no event was left out");
        }
        return Ok(());
    }
    let text = match serde_json::from_slice::<AuditEvent>(line) {
        Ok(event) => audit_line(&event, output.form),
        Err(_) => match serde_json::from_slice::<ErrorEvent>(line) {
            Ok(event) => error_line(&event),
            Err(_) => printable(&String::from_utf8_lossy(line)).into_owned(),
        },
    };
    Ok(output.line(text)?)
}

/// An event on one line. At a terminal, the beginning of an identity is enough.
fn audit_line(event: &AuditEvent, form: Form) -> String {
    let AuditEvent { time, request, response, reason } = event;
    let style = match response.code {
        500.. => BAD,
        400.. => DOUBTFUL,
        _ => GOOD,
    };
    let identity = match (request.identity.as_str(), form) {
        ("", _) => "nobody",
        (identity, Form::Table) => identity.get(..SHORT_IDENTITY).unwrap_or(identity),
        (identity, _) => identity,
    };
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far from 2^53")]
    let took = response.time as f64 / 1e3;
    let reason = reason.as_deref().map(|reason| format!("  {style}{}{style:#}", printable(reason))).unwrap_or_default();
    format!(
        "{DIM}{}{DIM:#}  {style}{}{style:#}  {:<40}  {}  {}  {took:.1} ms{reason}",
        printable(&second(time, form)),
        response.code,
        printable(&request.path),
        printable(identity),
        printable(&request.ip),
    )
}

fn error_line(event: &ErrorEvent) -> String {
    let message = printable(&event.message);
    let style = if message.starts_with("ERROR") { BAD } else { DOUBTFUL };
    match message.split_once(' ') {
        Some((level @ ("ERROR" | "WARN"), rest)) => format!("{style}{level}{style:#} {rest}"),
        _ => message.into_owned(),
    }
}

/// Says something about the stream, which is not part of it.
#[expect(clippy::print_stderr, reason = "standard output is for the events alone")]
fn tell(what: &str) {
    eprintln!("{}", super::terminal::output::printable_lines(what));
}
