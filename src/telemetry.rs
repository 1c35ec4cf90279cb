//! The outputs for operators: log, audit events and metrics. Producers never wait for readers.
//!
//! | file | content |
//! |---|---|
//! | `log.rs` | the server's log, on the console and in the error stream |
//! | `audit.rs` | one event per request |
//! | `console.rs` | standard output and standard error, behind a queue |
//! | `bounded.rs` | bounds the text of clients in lines |
//! | `stream.rs` | the streams of `/v1/log/audit` and `/v1/log/error` |
//! | `rarely.rs` | lines that clients could otherwise repeat without end |
//! | `metrics.rs`, `metrics/` | counters, gauges and histograms for Prometheus |

pub mod audit;
pub mod bounded;
pub mod console;
pub mod log;
pub mod metrics;
pub mod rarely;
pub mod stream;
