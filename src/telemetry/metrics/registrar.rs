//! Creates metrics and registers them.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Creates metrics and adds them to a registry. Every function fails if the name is invalid or already registered,
/// which is a bug.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registrar<'a>(&'a Registry);

impl<'a> Registrar<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self(registry)
    }

    /// Registers a metric and returns it.
    pub(super) fn register<M: Collector + Clone + 'static>(self, metric: M) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn counter(self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    /// A counter with the label `code`.
    pub(super) fn counter_by_code(self, name: &str, help: &str) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), &["code"])?)
    }

    pub(super) fn gauge(self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    /// A histogram; `buckets` are the upper bounds of its buckets.
    pub(super) fn histogram(self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }
}
