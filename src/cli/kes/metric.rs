//! `kes metric`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde::ser::{Serialize, Serializer};

use super::connection::{Connection, Json, failed};
use crate::cli::metric::number;
use crate::cli::terminal::output::{Form, Output};
use crate::config::duration::GoDuration;

/// The arguments of `kes metric`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often the metrics are fetched.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    rate: GoDuration,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.with_client(async |client| {
        let mut output = Output::new(args.json.json);
        loop {
            let text = client.get_bytes("/v1/metrics").await.map_err(failed("failed to fetch metrics"))?;
            let metrics = Metrics::read(&String::from_utf8_lossy(&text));
            if output.form == Form::Table {
                output.line(metrics.lines())?;
            } else {
                output.json(&metrics)?;
            }
            tokio::time::sleep(args.rate.0).await;
        }
    })
}

/// The metrics of KES, in its order; counters by status are added up, as KES does.
struct Metrics(Vec<(&'static str, Sample)>);

enum Sample {
    Number(f64),
    /// Requests by the upper bound of their time in nanoseconds.
    Buckets(BTreeMap<String, f64>),
}

const NAMES: [&str; 14] = [
    "kes_http_request_success",
    "kes_http_request_error",
    "kes_http_request_failure",
    "kes_http_request_active",
    "kes_log_audit_events",
    "kes_log_error_events",
    BUCKETS,
    "kes_system_up_time",
    "kes_system_num_cpu",
    "kes_system_num_cpu_used",
    "kes_system_num_threads",
    "kes_system_mem_heap_used",
    "kes_system_mem_heap_objects",
    "kes_system_mem_stack_used",
];

const BUCKETS: &str = "kes_http_response_time";

impl Metrics {
    /// Reads the text format 0.0.4.
    fn read(text: &str) -> Self {
        let samples = || text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let parsed = |value: &str| value.parse::<f64>().unwrap_or_default();
        let sample = |name: &'static str| {
            if name == BUCKETS {
                let bound = |series: &str| {
                    let bound = series.strip_prefix(BUCKETS)?.strip_prefix("_bucket{le=\"")?.strip_suffix("\"}")?;
                    let seconds = bound.parse::<f64>().ok().filter(|bound| bound.is_finite())?;
                    Some(format!("{:.0}", seconds * 1e9))
                };
                let buckets = samples().filter_map(|(series, value)| Some((bound(series)?, parsed(value))));
                return Sample::Buckets(buckets.collect());
            }
            let is_named = |series: &str| series.split('{').next() == Some(name);
            Sample::Number(samples().filter(|(series, _)| is_named(series)).map(|(_, value)| parsed(value)).sum())
        };
        Self(NAMES.iter().map(|name| (*name, sample(name))).collect())
    }

    /// For a person: a line for each metric, buckets left out.
    fn lines(&self) -> String {
        let mut text = String::new();
        for (name, sample) in &self.0 {
            if let Sample::Number(value) = sample {
                let _ = writeln!(text, "{name:<28} {value}"); // writing to a String cannot fail
            }
        }
        text
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, sample)| (name, sample)))
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(value) => number(*value).serialize(serializer),
            Self::Buckets(buckets) => {
                serializer.collect_map(buckets.iter().map(|(bound, value)| (bound, number(*value))))
            }
        }
    }
}
