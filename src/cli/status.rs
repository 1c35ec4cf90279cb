//! `keyway status`: the health of servers and their keystores.

mod view;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::connection::Query;
use super::exit;
use super::terminal::output::{Form, Output};
use crate::client::responses::Status;
use crate::client::{Client, ClientError};
use view::View;

/// How often `--watch` queries the servers.
const INTERVAL: Duration = Duration::from_secs(1);

/// The arguments of `keyway status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All servers of KES_SERVER are queried. The exit code is 0 if all servers and keystores are \
                  available, the code of the failure if all servers fail alike, and otherwise 1.\n\n\
                  Example:\n  keyway status --watch",
    mut_arg("json", |json| json.help("Print one JSON object per server, one per line"))
)]
pub(super) struct Args {
    /// Refresh every second until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    query: Query,
}

/// The result of querying one server.
struct Reply {
    endpoint: String,
    /// How long the request took.
    latency: Duration,
    result: Result<(Status, Value), ClientError>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let clients: Vec<_> = client.each().collect();
        if !args.watch {
            let replies = query_all(&clients).await;
            print(&replies, output)?;
            return Ok(ExitCode::from(code(&replies)));
        }
        tokio::select! {
            ended = watch(&clients, output) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

async fn watch(clients: &[Client], output: &mut Output) -> anyhow::Result<ExitCode> {
    let mut view = View::new(clients.len());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let replies = query_all(clients).await;
        if output.form == Form::Table {
            output.text(&view.next(&replies))?;
        } else {
            print(&replies, output)?;
        }
    }
}

/// Queries all servers concurrently, so that one that is down does not delay the others.
async fn query_all(clients: &[Client]) -> Vec<Reply> {
    futures_util::future::join_all(clients.iter().map(query)).await
}

async fn query(client: &Client) -> Reply {
    let start = Instant::now();
    let response = client.get::<Value>("/v1/status").await;
    let latency = start.elapsed();
    let result = response.and_then(|response| Ok((client.decode("status", &response)?, response)));
    Reply { endpoint: client.endpoint().to_owned(), latency, result }
}

fn print(replies: &[Reply], output: &mut Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        return replies.iter().try_for_each(|reply| Ok(output.json(&object(reply))?));
    }
    Ok(output.text(&view::blocks(replies, None))?)
}

/// The server's own response, with its endpoint and latency.
fn object(reply: &Reply) -> Value {
    let mut object = Map::new();
    object.insert("endpoint".to_owned(), json!(reply.endpoint));
    match &reply.result {
        Ok((_, Value::Object(status))) => {
            object.insert("latency_ms".to_owned(), json!(milliseconds(reply.latency)));
            object.extend(status.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Ok(_) => {}
        Err(error) => {
            object.insert("error".to_owned(), json!(error.to_string()));
        }
    }
    Value::Object(object)
}

/// Milliseconds, rounded to three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn code(replies: &[Reply]) -> u8 {
    let codes: Vec<u8> = replies
        .iter()
        .map(|reply| match &reply.result {
            Ok((status, _)) if status.keystore_is_healthy() => 0,
            Ok(_) => exit::FAILED,
            Err(error) => exit::of_client(error),
        })
        .collect();
    match codes.split_first() {
        Some((first, rest)) if rest.iter().all(|code| code == first) => *first,
        _ => exit::FAILED,
    }
}
