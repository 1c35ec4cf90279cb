//! The metrics for Prometheus: those of KES under the same names, and our own with the prefix `keyway_`.
//!
//! The names, types and buckets of KES's metrics are those of its HTTP API documentation, because dashboards depend on
//! them. That is why their counters have no suffix `_total`.

pub mod keystore;
mod registrar;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder as _, Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use crate::process;
use crate::telemetry::stream::Broadcast;
use keystore::KeystoreMetrics;
use registrar::Registrar;

/// Upper bounds of the response time buckets, in seconds.
const BUCKETS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0];

/// Status codes that a new server reports with the value 0.
const SUCCESSES: [u16; 1] = [200];
const ERRORS: [u16; 11] = [400, 401, 403, 404, 405, 406, 408, 409, 413, 429, 499];
const FAILURES: [u16; 5] = [500, 501, 502, 503, 504];

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    success: Codes,
    error: Codes,
    failure: Codes,
    /// Requests in progress.
    pub active: IntGauge,
    response_time: Histogram,
    system: System,
    connections: IntGauge,
    /// Connections that were closed because the client did not take its answers.
    pub stalled: IntCounter,
    rejected_credentials: IntCounter,
    reloads: IntCounter,
    failed_reloads: IntCounter,
    last_reload: IntGauge,
    /// The metrics of the keystore and the cache.
    pub keystore: Arc<KeystoreMetrics>,
}

/// Counters of requests by status code. Those of common codes are kept, to avoid a lookup.
#[derive(Debug)]
struct Codes {
    all: IntCounterVec,
    common: Vec<(u16, IntCounter)>,
}

impl Codes {
    fn new(registrar: Registrar<'_>, name: &str, help: &str, common: &[u16]) -> prometheus::Result<Self> {
        let all = registrar.counter_by_code(name, help)?;
        let common = common.iter().map(|code| (*code, all.with_label_values(&[code.to_string()]))).collect();
        Ok(Self { all, common })
    }

    fn inc(&self, code: u16) {
        match self.common.iter().find(|(common, _)| *common == code) {
            Some((_, counter)) => counter.inc(),
            None => self.all.with_label_values(&[code.to_string()]).inc(),
        }
    }
}

/// Gauges that are updated at each scrape.
#[derive(Debug)]
struct System {
    up_time: IntGauge,
    cpus: IntGauge,
    cpus_used: IntGauge,
    threads: IntGauge,
    heap_used: IntGauge,
    heap_objects: IntGauge,
    stack_used: IntGauge,
}

impl Metrics {
    /// Creates and registers all metrics, together with the counters of the two event streams.
    ///
    /// # Errors
    /// If two metrics have the same name, which is a bug.
    pub fn new(audit: &StreamCounters, errors: &StreamCounters) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let registrar = Registrar::new(&registry);
        for counters in [audit, errors] {
            registrar.register(counters.sent.clone())?;
            registrar.register(counters.missed.clone())?;
            registrar.register(counters.lost.clone())?;
        }
        let last_reload = registrar.gauge(
            "keyway_config_last_reload_successful",
            "Whether the last config reload succeeded (1) or failed (0); 1 before the first one.",
        )?;
        last_reload.set(1);
        Ok(Self {
            // Two metrics instead of one with a label, see `keystore.rs`.
            reloads: registrar.counter("keyway_config_reloads_total", "Successful config reloads.")?,
            failed_reloads: registrar.counter("keyway_config_reload_failures_total", "Failed config reloads.")?,
            last_reload,
            success: Codes::new(registrar, "kes_http_request_success", "Requests with a 2xx response.", &SUCCESSES)?,
            error: Codes::new(registrar, "kes_http_request_error", "Requests rejected with a 4xx response.", &ERRORS)?,
            failure: Codes::new(
                registrar,
                "kes_http_request_failure",
                "Requests that failed with a 5xx response.",
                &FAILURES,
            )?,
            active: registrar.gauge("kes_http_request_active", "Requests in progress.")?,
            response_time: registrar.histogram(
                "kes_http_response_time",
                "Time from a request to its response in seconds.",
                &BUCKETS,
            )?,
            system: System {
                up_time: registrar.gauge("kes_system_up_time", "Seconds since the server started.")?,
                cpus: registrar.gauge("kes_system_num_cpu", "Logical CPUs of the machine.")?,
                cpus_used: registrar.gauge("kes_system_num_cpu_used", "Logical CPUs that the server uses.")?,
                threads: registrar.gauge("kes_system_num_threads", "Threads of the server.")?,
                heap_used: registrar.gauge("kes_system_mem_heap_used", "Anonymous memory in use, in bytes.")?,
                heap_objects: registrar.gauge(
                    "kes_system_mem_heap_objects",
                    "Objects on the heap; always 0, because only garbage-collected runtimes count them.",
                )?,
                stack_used: registrar.gauge("kes_system_mem_stack_used", "Stack memory in use, in bytes.")?,
            },
            rejected_credentials: registrar.counter(
                "keyway_keystore_auth_failures_total",
                "Rejected tokens, and failed logins and token renewals (Vault only).",
            )?,
            connections: registrar.gauge("keyway_connections", "Open TLS connections.")?,
            stalled: registrar.counter(
                "keyway_connections_stalled_total",
                "Connections closed because the client did not take its answers.",
            )?,
            keystore: Arc::new(KeystoreMetrics::new(&registry)?),
            registry,
        })
    }

    /// Counts a finished request by its status code.
    pub fn finished(&self, code: u16, time: Duration) {
        let counters = match code {
            500.. => &self.failure,
            400.. => &self.error,
            _ => &self.success,
        };
        counters.inc(code);
        self.response_time.observe(time.as_secs_f64());
    }

    /// Counts a config reload.
    pub fn reloaded(&self, is_successful: bool) {
        let counter = if is_successful { &self.reloads } else { &self.failed_reloads };
        counter.inc();
        self.last_reload.set(i64::from(is_successful));
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// All metrics in the text format 0.0.4. Updates those of the system first.
    ///
    /// # Errors
    /// If a metric cannot be encoded, which is a bug.
    pub fn text(&self, up_time: Duration, worker_threads: usize) -> prometheus::Result<Vec<u8>> {
        let usage = process::Usage::now();
        let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.system.up_time, up_time.as_secs());
        set(&self.system.cpus, process::cpus() as u64);
        set(&self.system.cpus_used, worker_threads as u64);
        set(&self.system.threads, usage.threads);
        set(&self.system.heap_used, usage.heap);
        set(&self.system.heap_objects, 0);
        set(&self.system.stack_used, usage.stack);
        let rejected = &self.rejected_credentials;
        rejected.inc_by(backends::credentials_refused().saturating_sub(rejected.get()));
        let mut text = Vec::with_capacity(8 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters of one event stream.
#[derive(Clone, Debug)]
pub struct StreamCounters {
    sent: IntCounter,
    missed: IntCounter,
    lost: IntCounter,
}

impl StreamCounters {
    /// The counters of the audit or error stream; `kind` is `audit` or `error`.
    ///
    /// # Errors
    /// If `kind` is not valid in the name of a metric.
    pub fn new(kind: &str) -> prometheus::Result<Self> {
        Ok(Self {
            sent: IntCounter::new(format!("kes_log_{kind}_events"), format!("Events in the {kind} log."))?,
            missed: IntCounter::new(
                format!("keyway_log_{kind}_events_missed_total"),
                format!("Events in the {kind} log that slow subscribers missed."),
            )?,
            lost: IntCounter::new(
                format!("keyway_log_{kind}_lines_lost_total"),
                format!("Lines of the {kind} log that a console did not take."),
            )?,
        })
    }

    /// The counter of lines that a console did not take.
    pub fn lost(&self) -> IntCounter {
        self.lost.clone()
    }

    /// A stream that uses these counters.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.sent.clone(), self.missed.clone())
    }
}
