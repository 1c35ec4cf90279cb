//! The metrics of the keystore and the cache in front of it.

use std::time::Duration;

use backends::Operation;
use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use super::registrar::Registrar;

/// Upper bounds of the latency buckets, in seconds: from a local file to a timeout.
const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 3.0, 10.0];

/// The state of the circuit breaker in front of the keystore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Requests reach the keystore.
    Closed,
    /// Requests do not reach the keystore, and it is being probed.
    HalfOpen,
    /// Requests do not reach the keystore.
    Open,
}

/// The metrics of a server's keystore. They are kept if a reload replaces the keystore.
#[derive(Debug)]
pub struct KeystoreMetrics {
    up: IntGauge,
    breaker: IntGauge,
    operations: [OperationMetrics; Operation::ALL.len()],
    /// Requests whose key was in the cache.
    pub hits: IntCounter,
    /// Requests whose key had to be read from the keystore, by this request or one before it.
    pub misses: IntCounter,
    /// Requests for keys that were known not to exist.
    pub absent_hits: IntCounter,
    /// Keys in use that were refreshed before they expired.
    pub refreshes: IntCounter,
    /// Refreshes that failed.
    pub failed_refreshes: IntCounter,
    /// Requests that were served an expired key, because it could not be read.
    pub stale: IntCounter,
    /// Keys in the cache.
    pub entries: IntGauge,
    /// Those of them that are kept only for an outage of the keystore.
    pub entries_for_outage: IntGauge,
}

/// The metrics of one operation. Their names differ, instead of one name with labels: the official SDK rejects the
/// metrics of a server if a metric other than the three of requests has more than one line.
#[derive(Debug)]
struct OperationMetrics {
    latency: Histogram,
    failures: IntCounter,
}

impl OperationMetrics {
    fn new(registrar: Registrar<'_>, operation: Operation) -> prometheus::Result<Self> {
        let name = operation.as_str();
        Ok(Self {
            latency: registrar.histogram(
                &format!("keyway_keystore_{name}_latency_seconds"),
                &format!("Latency of keystore {name} operations in seconds."),
                &BUCKETS,
            )?,
            failures: registrar.counter(
                &format!("keyway_keystore_{name}_failures_total"),
                &format!("Failed keystore {name} operations."),
            )?,
        })
    }
}

impl KeystoreMetrics {
    /// Creates and registers all metrics.
    ///
    /// # Errors
    /// If two metrics have the same name, which is a bug.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let registrar = Registrar::new(registry);
        let metrics = Self {
            up: registrar.gauge("keyway_keystore_up", "Whether the keystore is available (1) or not (0).")?,
            breaker: registrar.gauge(
                "keyway_keystore_breaker_state",
                "State of the circuit breaker in front of the keystore: 0 closed, 1 half-open, 2 open.",
            )?,
            operations: [
                OperationMetrics::new(registrar, Operation::Create)?,
                OperationMetrics::new(registrar, Operation::Read)?,
                OperationMetrics::new(registrar, Operation::Delete)?,
                OperationMetrics::new(registrar, Operation::List)?,
                OperationMetrics::new(registrar, Operation::Ping)?,
            ],
            hits: registrar.counter("keyway_cache_hits_total", "Requests whose key was in the cache.")?,
            misses: registrar
                .counter("keyway_cache_misses_total", "Requests whose key had to be read from the keystore.")?,
            absent_hits: registrar
                .counter("keyway_cache_absent_hits_total", "Requests for keys that were known not to exist.")?,
            refreshes: registrar
                .counter("keyway_cache_refreshes_total", "Keys in use that were refreshed before they expired.")?,
            failed_refreshes: registrar
                .counter("keyway_cache_refresh_failures_total", "Refreshes of keys in use that failed.")?,
            stale: registrar.counter(
                "keyway_cache_stale_serves_total",
                "Requests that were served an expired key, because the keystore could not be read.",
            )?,
            entries: registrar.gauge("keyway_cache_entries", "Keys in the cache.")?,
            entries_for_outage: registrar
                .gauge("keyway_cache_entries_for_outage", "Keys in the cache that are kept only for an outage.")?,
        };
        metrics.up.set(1);
        Ok(metrics)
    }

    /// Sets the state of the circuit breaker.
    pub fn breaker(&self, state: Breaker) {
        self.up.set(i64::from(state == Breaker::Closed));
        self.breaker.set(match state {
            Breaker::Closed => 0,
            Breaker::HalfOpen => 1,
            Breaker::Open => 2,
        });
    }

    /// Whether the keystore is available, as far as is known.
    pub fn is_up(&self) -> bool {
        self.up.get() == 1
    }

    /// Records the duration of an operation, whether it succeeded or not.
    pub fn latency(&self, operation: Operation, time: Duration) {
        self.of(operation).latency.observe(time.as_secs_f64());
    }

    /// Counts a failed operation.
    pub fn failed(&self, operation: Operation) {
        self.of(operation).failures.inc();
    }

    fn of(&self, operation: Operation) -> &OperationMetrics {
        let [create, read, delete, list, ping] = &self.operations;
        match operation {
            Operation::Create => create,
            Operation::Read => read,
            Operation::Delete => delete,
            Operation::List => list,
            Operation::Ping => ping,
        }
    }
}
