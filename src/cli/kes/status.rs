//! `kes status`

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::Value;

use super::Ordered;
use super::connection::{Json, Options, failed};
use super::policy::json;
use crate::cli::terminal::output::{Output, printable};
use crate::client::responses::{Api, Status};

/// The arguments of `kes status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print only whether the server answers.
    #[arg(short, long)]
    short: bool,
    /// Print the APIs of the server too.
    #[arg(long)]
    api: bool,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    connection: Options,
}

/// The fields of KES's status, in its order.
const FIELDS: [&str; 11] = [
    "version",
    "os",
    "arch",
    "uptime",
    "num_cpu",
    "num_cpu_used",
    "mem_heap_used",
    "mem_stack_used",
    "keystore_latency",
    "keystore_unreachable",
    "keystore_unavailable",
];

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        let began = Instant::now();
        let answer: Value = client.get("/v1/status").await.map_err(failed("failed to fetch status"))?;
        let latency = began.elapsed();
        let status = client.decode::<Status>("status", &answer)?;
        if args.json.json {
            return json(&Ordered::of(&answer, &FIELDS));
        }
        let endpoint = client.endpoint().trim_start_matches("https://").to_owned();
        let mut text = format!("● {}\n", printable(&endpoint));
        if !args.short {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  Version  {}", printable(&status.version));
            let _ = writeln!(text, "  Uptime   {}", uptime(status.uptime));
            let _ = writeln!(text, "  Latency  {}ms", latency.as_millis());
            let _ = writeln!(text, "  OS       {}", printable(&status.os));
            let _ = writeln!(text, "  CPUs     {} {}", status.num_cpu, printable(&status.arch));
            let _ = writeln!(text, "  Memory  ");
            let _ = writeln!(text, "  · Heap   {}", size(status.mem_heap_used));
            let _ = writeln!(text, "  · Stack  {}", size(status.mem_stack_used));
            if !status.keystore_is_healthy() {
                let what = if status.keystore_unreachable { "not reachable" } else { "unavailable" };
                let _ = writeln!(text, "  Keystore is {what}");
            }
        }
        if args.api {
            let apis: Vec<Api> = client.get("/v1/api").await.map_err(failed("failed to list APIs"))?;
            let _ = writeln!(text, "\n  {:<6}  {:<27}  Timeout", "Method", "API");
            for api in apis {
                let timeout = if api.timeout == 0 { "Inf".to_owned() } else { format!("{}s", api.timeout) };
                let _ = writeln!(text, "  {:<6}  {:<27}  {timeout}", printable(&api.method), printable(&api.path));
            }
        }
        Ok(Output::new(false).text(&text)?)
    })
}

/// The largest unit that fits, as KES prints it.
fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} seconds"),
        60..3600 => format!("{} minutes {} seconds", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} hours {} minutes", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days {} hours", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Bytes in decimal units with one digit after the point.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if value < 1000.0 {
            return format!("{value:.1}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}
