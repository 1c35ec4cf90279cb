//! The figures of one measurement, and the calculation of percentiles.

use std::collections::BTreeMap;
use std::time::Duration;

/// Figures by name. The names are the constants below.
pub(crate) type Sample = BTreeMap<String, f64>;

/// CPU time of the server per request, in microseconds.
pub(crate) const CPU: &str = "cpu_us";
/// Requests per second.
pub(crate) const RATE: &str = "requests_per_second";
/// Median latency in milliseconds.
pub(crate) const P50: &str = "p50_ms";
/// 99th percentile of the latency, in milliseconds.
pub(crate) const P99: &str = "p99_ms";
/// 99.9th percentile of the latency, in milliseconds.
pub(crate) const P999: &str = "p99.9_ms";
/// Resident memory of the server at the end, in MiB.
pub(crate) const RESIDENT: &str = "resident_mib";
/// Peak resident memory during the measurement, in MiB.
pub(crate) const PEAK: &str = "peak_mib";
/// CPU usage of the server, in percent of one core.
pub(crate) const BUSY: &str = "busy_percent";
/// CPU time of the load generator per request, in microseconds.
pub(crate) const LOAD_CPU: &str = "load_cpu_us";
/// The number of measured requests.
pub(crate) const REQUESTS: &str = "requests";
/// The share of handshakes that resumed a session, in percent.
pub(crate) const RESUMED: &str = "resumed_percent";

/// The figures of requests with these latencies, a total duration of `elapsed`, and `cpu` used by the server.
pub(crate) fn sample(latencies: &mut [Duration], elapsed: Duration, cpu: Duration) -> Sample {
    latencies.sort_unstable();
    let count = float(latencies.len());
    let mut sample = Sample::new();
    let mut put = |name: &str, value: f64| sample.insert(name.to_owned(), value);
    put(CPU, cpu.as_secs_f64() * 1e6 / count);
    put(RATE, count / elapsed.as_secs_f64());
    put(BUSY, cpu.as_secs_f64() * 100.0 / elapsed.as_secs_f64());
    put(REQUESTS, count);
    for (name, per_mille) in [(P50, 500), (P99, 990), (P999, 999)] {
        put(name, percentile(latencies, per_mille).as_secs_f64() * 1e3);
    }
    sample
}

/// The smallest value that is not exceeded by at least `per_mille` thousandths of the sorted values.
fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// A count as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measured_latencies() {
        let thousand: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
        for (per_mille, expected) in [(500, 500), (990, 990), (999, 999), (1000, 1000), (0, 1)] {
            assert_eq!(percentile(&thousand, per_mille), Duration::from_millis(expected));
        }
        assert_eq!(percentile(&[Duration::from_secs(7)], 500), Duration::from_secs(7));
        assert_eq!(percentile(&[], 999), Duration::ZERO);
    }

    #[test]
    fn cpu_time_is_per_request_and_rate_per_second() {
        let mut latencies = vec![Duration::from_millis(3), Duration::from_millis(1)];
        let sample = sample(&mut latencies, Duration::from_secs(4), Duration::from_micros(60));
        assert_eq!((sample[CPU], sample[RATE], sample[P50]), (30.0, 0.5, 1.0));
    }
}
