//! `keyway log`: streams the audit or error log of a server, event by event.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::connection::Query;
use super::terminal::output::{BAD, DIM, DOUBTFUL, Form, GOOD, Output, printable, second};
use crate::client::responses::{AuditEvent, ErrorEvent};
use crate::client::{Client, ClientError};

/// The delay before the first attempt to reconnect, and the longest delay after failures.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(15);

/// The longest event that is accepted, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// Digits of an identity that distinguish it from others on a screen.
const SHORT_IDENTITY: usize = 12;

/// The arguments of `keyway log`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs until Ctrl-C. If the connection is lost, the command reconnects and prints a warning to \
                  standard error; events in between are missed.\n\nExample:\n  keyway log --json | grep 403",
    mut_arg("json", |json| json.help("Print events as sent by the server, one JSON object per line"))
)]
pub(super) struct Args {
    /// Follow the audit log: every request that the server receives (default).
    #[arg(long)]
    audit: bool,
    /// Follow the error log: the server's warnings and errors.
    #[arg(long, conflicts_with = "audit")]
    error: bool,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = if args.error { "/v1/log/error" } else { "/v1/log/audit" };
    args.query.run(async |client, output| follow(client, path, output).await)
}

/// Follows the stream until an error. Any error at the start is one; later, only a permanent error.
pub(super) async fn follow(client: &Client, path: &str, output: &mut Output) -> anyhow::Result<ExitCode> {
    let mut response = client.stream(path).await?;
    loop {
        if !super::is_kes() {
            notice(&format!("following {path} of {}", client.endpoint()));
        }
        let reason = events(&mut response, output).await?;
        let mut delay = FIRST_DELAY;
        notice(&format!("{}: {reason}; reconnecting, events in between are missed", client.endpoint()));
        response = loop {
            tokio::time::sleep(delay).await;
            match client.stream(path).await {
                Ok(response) => break response,
                Err(error) if is_permanent(&error) => return Err(error.into()),
                Err(error) => {
                    delay = (2 * delay).min(MAX_DELAY);
                    notice(&format!("{error}; retrying in {} s", delay.as_secs()));
                }
            }
        };
    }
}

/// Whether a retry cannot succeed. A server that is restarting, or whose store is down, recovers.
fn is_permanent(error: &ClientError) -> bool {
    match error {
        ClientError::Api(failure) => failure.status < 500,
        ClientError::Endpoints(failures) => failures.iter().all(|(_, failure)| failure.is_permanent()),
        ClientError::Settings(_) | ClientError::Malformed { .. } => true,
        ClientError::OutcomeUnknown { .. } => false,
    }
}

/// Prints events as they arrive; returns the reason for which they ended.
async fn events(response: &mut reqwest::Response, output: &mut Output) -> anyhow::Result<String> {
    let mut received = Vec::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok("the server closed the stream".to_owned()),
            Err(error) => return Ok(format!("connection lost ({})", backends::chain(&error))),
        };
        received.extend_from_slice(&chunk);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            print(line.trim_ascii(), output)?;
        }
        if received.len() > MAX_EVENT {
            return Ok("received data that is not an event".to_owned());
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
            notice("skipped a line that is not an event");
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

/// An event on one line. A terminal shows only the beginning of an identity.
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
    let milliseconds = response.time as f64 / 1e3;
    let reason = reason.as_deref().map(|reason| format!("  {style}{}{style:#}", printable(reason))).unwrap_or_default();
    format!(
        "{DIM}{}{DIM:#}  {style}{}{style:#}  {:<40}  {}  {}  {milliseconds:.1} ms{reason}",
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

/// Prints a message about the stream, which is not part of it.
#[expect(clippy::print_stderr, reason = "standard output is only for events")]
fn notice(what: &str) {
    eprintln!("{}", super::terminal::output::printable_lines(what));
}
