//! What Prometheus scrapes: KES's metrics under KES's names, and our own under `keyway_`.
//!
//! Names, types and buckets are those of KES's HTTP API documentation; dashboards depend on them, which is why
//! counters have no `_total`.

pub mod keystore;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::process;
use crate::telemetry::stream::Broadcast;
use keystore::KeystoreMetrics;

/// Upper bounds of the response time histogram, in seconds.
const BUCKETS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0];

/// Statuses that a fresh server shows at 0.
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
    /// Requests without an answer yet.
    pub active: IntGauge,
    response_time: Histogram,
    system: System,
    connections: IntGauge,
    refused_credentials: IntCounter,
    reloads: IntCounter,
    failed_reloads: IntCounter,
    last_reload: IntGauge,
    /// What is counted about the keystore and the cache.
    pub keystore: Arc<KeystoreMetrics>,
}

/// Counters of requests by status, those of the usual statuses at hand.
#[derive(Debug)]
struct Codes {
    all: IntCounterVec,
    usual: Vec<(u16, IntCounter)>,
}

impl Codes {
    fn inc(&self, code: u16) {
        match self.usual.iter().find(|(usual, _)| *usual == code) {
            Some((_, counter)) => counter.inc(),
            None => self.all.with_label_values(&[code.to_string()]).inc(),
        }
    }
}

/// Gauges that are read from the system at each scrape.
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
    /// Registers all metrics; `audit` and `errors` bring the counters of the two streams with them.
    ///
    /// # Errors
    /// When two metrics have one name, which is a defect.
    pub fn new(audit: &StreamCounters, errors: &StreamCounters) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let codes = |name: &str, help: &str, codes: &[u16]| -> prometheus::Result<Codes> {
            let all = IntCounterVec::new(Opts::new(name, help), &["code"])?;
            let usual = codes.iter().map(|code| (*code, all.with_label_values(&[code.to_string()]))).collect();
            registry.register(Box::new(all.clone()))?;
            Ok(Codes { all, usual })
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        for counters in [audit, errors] {
            registry.register(Box::new(counters.sent.clone()))?;
            registry.register(Box::new(counters.missed.clone()))?;
        }
        let response_time = Histogram::with_opts(
            HistogramOpts::new("kes_http_response_time", "Seconds from a request to its response.")
                .buckets(BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(response_time.clone()))?;
        let refused_credentials = IntCounter::new(
            "keyway_keystore_auth_failures_total",
            "Tokens, logins and renewals that the keystore refused.",
        )?;
        registry.register(Box::new(refused_credentials.clone()))?;
        // Not one metric with labels, see `keystore.rs`.
        let reloads = IntCounter::new("keyway_config_reloads_total", "Reloads of the config that were done.")?;
        registry.register(Box::new(reloads.clone()))?;
        let failed_reloads =
            IntCounter::new("keyway_config_reload_failures_total", "Reloads of the config that were refused.")?;
        registry.register(Box::new(failed_reloads.clone()))?;
        let last_reload = gauge(
            "keyway_config_last_reload_successful",
            "1 when the config in use is the one in the file, 0 when the last reload failed.",
        )?;
        last_reload.set(1);
        Ok(Self {
            reloads,
            failed_reloads,
            last_reload,
            success: codes("kes_http_request_success", "Requests that were answered with a 2xx.", &SUCCESSES)?,
            error: codes("kes_http_request_error", "Requests that were refused with a 4xx.", &ERRORS)?,
            failure: codes("kes_http_request_failure", "Requests that failed with a 5xx.", &FAILURES)?,
            active: gauge("kes_http_request_active", "Requests without an answer yet.")?,
            response_time,
            system: System {
                up_time: gauge("kes_system_up_time", "Seconds since the server started.")?,
                cpus: gauge("kes_system_num_cpu", "Logical CPUs of the machine.")?,
                cpus_used: gauge("kes_system_num_cpu_used", "Logical CPUs that the server uses.")?,
                threads: gauge("kes_system_num_threads", "Threads of the server.")?,
                heap_used: gauge("kes_system_mem_heap_used", "Bytes of anonymous memory in use.")?,
                heap_objects: gauge(
                    "kes_system_mem_heap_objects",
                    "Objects on the heap, which only a garbage-collected runtime counts: 0 here.",
                )?,
                stack_used: gauge("kes_system_mem_stack_used", "Bytes of stack memory in use.")?,
            },
            refused_credentials,
            connections: gauge("keyway_connections", "TLS connections that are open.")?,
            keystore: Arc::new(KeystoreMetrics::new(&registry)?),
            registry,
        })
    }

    /// Counts a finished request by its status.
    pub fn finished(&self, code: u16, time: Duration) {
        let counters = match code {
            500.. => &self.failure,
            400.. => &self.error,
            _ => &self.success,
        };
        counters.inc(code);
        self.response_time.observe(time.as_secs_f64());
    }

    /// Counts a reload of the config.
    pub fn reloaded(&self, is_done: bool) {
        let counter = if is_done { &self.reloads } else { &self.failed_reloads };
        counter.inc();
        self.last_reload.set(i64::from(is_done));
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// All metrics in the text format 0.0.4, those of the system read now.
    ///
    /// # Errors
    /// When a metric has no text form, which is a defect.
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
        let refused = &self.refused_credentials;
        refused.inc_by(backends::credentials_refused().saturating_sub(refused.get()));
        let mut text = Vec::with_capacity(8 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// An open connection, counted until it is dropped.
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
}

impl StreamCounters {
    /// Counters of the audit or error stream: `kind` is `audit` or `error`.
    ///
    /// # Errors
    /// When `kind` makes no metric name.
    pub fn new(kind: &str) -> prometheus::Result<Self> {
        Ok(Self {
            sent: IntCounter::new(format!("kes_log_{kind}_events"), format!("Events of the {kind} log."))?,
            missed: IntCounter::new(
                format!("keyway_log_{kind}_events_missed_total"),
                format!("Events of the {kind} log that a slow subscriber did not get."),
            )?,
        })
    }

    /// A stream that counts here.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.sent.clone(), self.missed.clone())
    }
}
