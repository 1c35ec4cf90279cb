//! `keyway metric`: the metrics of a server.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::connection::{Connection, block_on};
use super::terminal::output::{Form, Output, printable_lines};

/// The arguments of `keyway metric`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For a pipe it prints what the server sends, in the text format of Prometheus; on a terminal a \
                        table, without the buckets of histograms.\n\nExample:\n  keyway metric | grep kes_http_request"
)]
pub(super) struct Args {
    /// Print one JSON object: names with labels, and values.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    block_on(async {
        let text = client.get_bytes("/v1/metrics").await?;
        let text = std::str::from_utf8(&text).context("the metrics of the server are not UTF-8")?;
        let mut output = Output::new(args.json);
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        match output.form {
            Form::Plain => output.text(&printable_lines(text))?,
            Form::Json => {
                let number = |value: &str| value.parse::<f64>().map_or_else(|_| value.into(), number);
                let object: Map<_, _> = samples.map(|(name, value)| (name.to_owned(), number(value))).collect();
                output.json(&Value::from(object))?;
            }
            Form::Table => {
                let shown = samples.filter(|(name, _)| !name.contains("_bucket{"));
                let rows: Vec<_> = shown.map(|(name, value)| [name.to_owned(), value.to_owned()]).collect();
                output.table(["METRIC", "VALUE"], &rows)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// A whole number without a point, and NaN and infinities, which JSON does not have, as text.
pub(super) fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 2^53")]
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        return (value as i64).into();
    }
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}
