//! What is counted about the keystore and the cache in front of it.

use std::time::Duration;

use backends::Operation;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// Upper bounds of the keystore's latency, in seconds: from a local file to a time-out.
const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 3.0, 10.0];

/// Whether requests reach the keystore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// They do.
    Closed,
    /// They do not, and a probe is under way.
    HalfOpen,
    /// They do not.
    Open,
}

/// Counters and gauges of one server's keystore. They outlive a change of the keystore by reload.
#[derive(Debug)]
pub struct KeystoreMetrics {
    up: IntGauge,
    breaker: IntGauge,
    operations: [OperationMetrics; Operation::ALL.len()],
    /// Requests that found their key in the cache.
    pub hits: IntCounter,
    /// Requests whose key was to be read from the keystore, by them or by somebody who asked before.
    pub misses: IntCounter,
    /// Requests for keys that were known to be absent.
    pub absent_hits: IntCounter,
    /// Keys in use that were read again ahead of time.
    pub refreshes: IntCounter,
    /// Refreshes that failed.
    pub failed_refreshes: IntCounter,
    /// Requests that were served a key which could not be read again.
    pub stale: IntCounter,
    /// Keys in the cache.
    pub entries: IntGauge,
}

/// What is counted about one kind of operation. In names of their own and not under one name with labels: the official
/// SDK refuses all metrics of a server of which one, but for the three of requests, has more than one line.
#[derive(Debug)]
struct OperationMetrics {
    latency: Histogram,
    failures: IntCounter,
}

impl KeystoreMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When two metrics have one name, which is a defect.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> prometheus::Result<M> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counter = |name: &str, help: &str| registered(registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help)?);
        let operation = |operation: Operation| -> prometheus::Result<OperationMetrics> {
            let name = operation.as_str();
            let latency = HistogramOpts::new(
                format!("keyway_keystore_{name}_latency_seconds"),
                format!("Seconds that the keystore took to answer a {name}."),
            );
            Ok(OperationMetrics {
                latency: registered(registry, Histogram::with_opts(latency.buckets(BUCKETS.to_vec()))?)?,
                failures: counter(
                    &format!("keyway_keystore_{name}_failures_total"),
                    &format!("Times that the keystore did not do a {name}."),
                )?,
            })
        };
        let metrics = Self {
            up: gauge("keyway_keystore_up", "1 while the keystore answers as it should, else 0.")?,
            breaker: gauge(
                "keyway_keystore_breaker_state",
                "Whether requests reach the keystore: 0 they do, 1 they do not and it is being probed, 2 they do not.",
            )?,
            operations: [
                operation(Operation::Create)?,
                operation(Operation::Read)?,
                operation(Operation::Delete)?,
                operation(Operation::List)?,
                operation(Operation::Ping)?,
            ],
            hits: counter("keyway_cache_hits_total", "Requests that found their key in the cache.")?,
            misses: counter("keyway_cache_misses_total", "Requests whose key had to be read from the keystore.")?,
            absent_hits: counter("keyway_cache_absent_hits_total", "Requests for a key that was known not to exist.")?,
            refreshes: counter("keyway_cache_refreshes_total", "Keys in use that were read again ahead of time.")?,
            failed_refreshes: counter("keyway_cache_refresh_failures_total", "Such reads that failed.")?,
            stale: counter(
                "keyway_cache_stale_serves_total",
                "Requests that got a key past its time, because the keystore could not be read.",
            )?,
            entries: gauge("keyway_cache_entries", "Keys in the cache.")?,
        };
        metrics.up.set(1);
        Ok(metrics)
    }

    /// Requests reach the keystore, or not any more.
    pub fn breaker(&self, state: Breaker) {
        self.up.set(i64::from(state == Breaker::Closed));
        self.breaker.set(match state {
            Breaker::Closed => 0,
            Breaker::HalfOpen => 1,
            Breaker::Open => 2,
        });
    }

    /// Whether the keystore answers as it should, as far as is known.
    pub fn is_up(&self) -> bool {
        self.up.get() == 1
    }

    /// An operation took so long, whether it was answered or given up.
    pub fn latency(&self, operation: Operation, time: Duration) {
        self.of(operation).latency.observe(time.as_secs_f64());
    }

    /// The keystore did not do what it was asked.
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
