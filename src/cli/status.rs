//! `keyway status`: how servers and their keystores are.

mod picture;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::connection::{Connection, block_on};
use super::exit;
use super::terminal::output::{Form, Output};
use crate::client::answers::Status;
use crate::client::{Client, ClientError};
use picture::Picture;

/// How often `--watch` asks.
const INTERVAL: Duration = Duration::from_secs(1);

/// The arguments of `keyway status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every server of KES_SERVER is asked. The exit code is 0 when all answer and all keystores are \
                        well, 1 when some do not, and otherwise that of the failure.\n\nExample:\n  keyway status --watch"
)]
pub(super) struct Args {
    /// Ask every second, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
    /// Print one JSON object for each server, on a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What one server said.
struct Answer {
    endpoint: String,
    /// How long the request took.
    took: Duration,
    result: Result<(Status, Value), ClientError>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let clients: Vec<_> = args.connection.client()?.each().collect();
    let mut output = Output::new(args.json);
    block_on(async {
        if !args.watch {
            let answers = ask_all(&clients).await;
            print(&answers, &mut output)?;
            return Ok(ExitCode::from(code(&answers)));
        }
        tokio::select! {
            ended = watch(&clients, &mut output) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

async fn watch(clients: &[Client], output: &mut Output) -> anyhow::Result<ExitCode> {
    let mut picture = Picture::new(clients.len());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answers = ask_all(clients).await;
        if output.form == Form::Table {
            output.text(&picture.next(&answers))?;
        } else {
            print(&answers, output)?;
        }
    }
}

/// Asks all at once: one that is gone does not hold up the others.
async fn ask_all(clients: &[Client]) -> Vec<Answer> {
    futures_util::future::join_all(clients.iter().map(ask)).await
}

async fn ask(client: &Client) -> Answer {
    let start = Instant::now();
    let answer = client.get::<Value>("/v1/status").await;
    let took = start.elapsed();
    let endpoint = client.endpoint().to_owned();
    let result = answer.and_then(|answer| match Status::deserialize(&answer) {
        Ok(status) => Ok((status, answer)),
        Err(_) => Err(ClientError::Malformed { endpoint: endpoint.clone(), request: "GET /v1/status".to_owned() }),
    });
    Answer { endpoint, took, result }
}

fn print(answers: &[Answer], output: &mut Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        return answers.iter().try_for_each(|answer| Ok(output.json(&object(answer))?));
    }
    Ok(output.text(&picture::blocks(answers, None))?)
}

/// The server's own answer, with who gave it and how long it took.
fn object(answer: &Answer) -> Value {
    let mut object = Map::new();
    object.insert("endpoint".to_owned(), json!(answer.endpoint));
    match &answer.result {
        Ok((_, Value::Object(status))) => {
            object.insert("latency_ms".to_owned(), json!(milliseconds(answer.took)));
            object.extend(status.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Ok(_) => {}
        Err(error) => {
            object.insert("error".to_owned(), json!(error.to_string()));
        }
    }
    Value::Object(object)
}

/// Milliseconds with three digits after the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn code(answers: &[Answer]) -> u8 {
    let codes: Vec<u8> = answers
        .iter()
        .map(|answer| match &answer.result {
            Ok((status, _)) if status.keystore_is_well() => 0,
            Ok(_) => exit::FAILED,
            Err(error) => exit::of_client(error),
        })
        .collect();
    match codes.split_first() {
        Some((first, rest)) if rest.iter().all(|code| code == first) => *first,
        _ => exit::FAILED,
    }
}
