//! What leaves the process about its work: the log, audit events, metrics. Nothing here waits for a reader.
//!
//! | file | what lives there |
//! |---|---|
//! | `log.rs` | the server's own log, on the console and in the error stream |
//! | `audit.rs` | one event for each request |
//! | `stream.rs` | what `/v1/log/audit` and `/v1/log/error` subscribers receive |
//! | `metrics.rs`, `metrics/` | counters, gauges and histograms for Prometheus |

pub mod audit;
pub mod log;
pub mod metrics;
pub mod stream;
