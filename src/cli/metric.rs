//! `keyway metric`: the metrics of a server.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::connection::Query;
use super::terminal::output::{Form, printable_lines};

/// The arguments of `keyway metric`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A pipe receives the server's response in Prometheus text format; a terminal shows a table without \
                  histogram buckets.\n\nExample:\n  keyway metric | grep kes_http_request",
    mut_arg("json", |json| json.help("Print one JSON object: metric names with labels, and their values"))
)]
pub(super) struct Args {
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let text = client.get_bytes("/v1/metrics").await?;
        let text = std::str::from_utf8(&text).context("the server's metrics are not valid UTF-8")?;
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

/// A whole number without a decimal point; NaN and the infinities, which JSON lacks, as strings.
pub(super) fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 2^53")]
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        return (value as i64).into();
    }
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}
