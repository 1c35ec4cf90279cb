//! The circuit breaker: whether the keystore is available.
//!
//! During an outage only probes are sent to the keystore. The breaker opens as soon as an operation gets no response.
//! If the keystore responds with an error, a probe decides, because one bad key is not an outage. The breaker closes
//! with the first successful probe. An idle keystore is probed periodically, so that its state is up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backends::{Operation, Store, StoreError, chain};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, warn};

use crate::telemetry::metrics::keystore::{Breaker, KeystoreMetrics};

/// An operation that takes longer triggers a probe.
pub(super) const SLOW_OPERATION: Duration = Duration::from_secs(1);

/// If a probe is not answered within this time, the keystore is down.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);

/// No probe is needed if the keystore has answered within this time.
const RECENT_ANSWER: Duration = Duration::from_millis(100);

/// The deadline of a probe during an outage; longer, because a slow response ends the outage.
const OUTAGE_PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Pauses between the starts of the first probes of an outage, and between all others. The breaker thereby closes
/// within 2 s after the keystore is available again, even if a previous probe hangs.
const PROBE_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
const LAST_PROBE_PAUSE: Duration = Duration::from_secs(1);

/// The maximum interval between probes of an idle keystore.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// The minimum interval. `offline` counts from the last answer, so a short `offline` needs frequent probes.
const MIN_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// An outage of the keystore: it is unreachable or returns errors.
#[derive(Debug)]
pub struct Outage {
    /// When it was detected.
    pub since: Instant,
    /// The error that it was detected by.
    pub cause: Arc<StoreError>,
}

/// The health of a keystore, shared by all tasks.
pub(super) struct Health {
    created: Instant,
    /// Milliseconds from `created` to the start of the last operation that the keystore answered.
    answered: AtomicU64,
    /// Whether there is an outage, for a fast check. Written only while `outage` is locked.
    is_down: AtomicBool,
    outage: watch::Sender<Option<Arc<Outage>>>,
    probe_requested: Notify,
    /// Whether metrics and log show this keystore. Not before a reload has put it into use, nor after its replacement.
    is_published: AtomicBool,
    /// Whether the store has answered since it was opened; opening it counts.
    has_answered: AtomicBool,
    metrics: Arc<KeystoreMetrics>,
}

impl Health {
    /// The keystore has just been opened and is available.
    pub(super) fn new(metrics: Arc<KeystoreMetrics>) -> Self {
        Self {
            created: Instant::now(),
            answered: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            outage: watch::Sender::new(None),
            probe_requested: Notify::new(),
            is_published: AtomicBool::new(false),
            has_answered: AtomicBool::new(true),
            metrics,
        }
    }

    /// Shows this keystore in metrics and log from now on.
    pub(super) fn publish(&self) {
        self.is_published.store(true, Ordering::Release);
        self.outage.send_if_modified(|outage| {
            self.show(if outage.is_some() { Breaker::Open } else { Breaker::Closed });
            false
        });
    }

    /// Stops showing this keystore in metrics and log.
    pub(super) fn unpublish(&self) {
        self.is_published.store(false, Ordering::Release);
    }

    /// Whether metrics and log show this keystore.
    pub(super) fn is_published(&self) -> bool {
        self.is_published.load(Ordering::Acquire)
    }

    /// The outage, if there is one.
    pub(super) fn outage(&self) -> Option<Arc<Outage>> {
        if self.is_down.load(Ordering::Acquire) { self.outage.borrow().clone() } else { None }
    }

    /// When the keystore was last known to be available.
    pub(super) fn answered(&self) -> Instant {
        self.created + Duration::from_millis(self.answered.load(Ordering::Acquire))
    }

    /// The store could not be opened yet.
    pub(super) fn set_pending(&self) {
        self.has_answered.store(false, Ordering::Release);
    }

    /// Whether the store has answered since it was opened; opening it counts.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// Records that the keystore has answered an operation that started at `start`.
    pub(super) fn succeeded(&self, start: Instant) {
        let millis = u64::try_from(start.saturating_duration_since(self.created).as_millis()).unwrap_or(u64::MAX);
        self.answered.fetch_max(millis, Ordering::AcqRel);
        self.has_answered.store(true, Ordering::Release);
        if !self.is_down.load(Ordering::Acquire) {
            return;
        }
        self.outage.send_if_modified(|outage| {
            // An operation from before the outage does not prove its end.
            let Some(ended) = outage.take_if(|outage| outage.since <= start) else { return false };
            self.is_down.store(false, Ordering::Release);
            self.show(Breaker::Closed);
            if self.is_published() {
                warn!(seconds = ended.since.elapsed().as_secs_f64(), "keystore is available again");
            }
            true
        });
    }

    /// Records that an operation that started at `start` got no answer, or that a probe failed: the keystore is down.
    /// If it has answered another operation since then, a probe decides.
    pub(super) fn failed(&self, cause: &Arc<StoreError>, start: Instant) {
        if self.answered() > start {
            self.request_probe();
            return;
        }
        self.outage.send_if_modified(|outage| {
            if outage.is_some() {
                return false;
            }
            *outage = Some(Arc::new(Outage { since: Instant::now(), cause: cause.clone() }));
            self.is_down.store(true, Ordering::Release);
            self.show(Breaker::Open);
            if self.is_published() {
                let reason = chain(&**cause);
                error!(
                    reason,
                    "keystore is down; serving only cached keys, for as long as cache.expiry.offline allows"
                );
            }
            true
        });
    }

    /// Requests a probe, because there are signs of an outage.
    pub(super) fn request_probe(&self) {
        self.probe_requested.notify_one();
    }

    /// Waits until the keystore is down.
    pub(super) async fn until_down(&self) -> Arc<Outage> {
        let mut outage = self.outage.subscribe();
        loop {
            if let Some(outage) = outage.borrow_and_update().clone() {
                return outage;
            }
            let _ = outage.changed().await; // the sender is in `self`
        }
    }

    /// Pings the keystore and updates its state: if there is no answer within `deadline`, it is down.
    async fn probe(&self, store: &dyn Store, deadline: Duration) -> bool {
        let start = Instant::now();
        let answer = self.ping(store, deadline).await;
        if let Err(cause) = &answer {
            self.failed(cause, start);
        }
        answer.is_ok()
    }

    /// Pings the keystore: whether it could serve a key. Returns its latency. No answer within `deadline` is an error,
    /// but only triggers a probe.
    pub(super) async fn ping(&self, store: &dyn Store, deadline: Duration) -> Result<Duration, Arc<StoreError>> {
        let start = Instant::now();
        let Ok(answer) = timeout(deadline, store.ping()).await else {
            self.metrics.failed(Operation::Ping);
            self.request_probe();
            let reason = format!("no response within {} s", deadline.as_secs());
            return Err(Arc::new(StoreError::unreachable(reason)));
        };
        let latency = start.elapsed();
        self.metrics.latency(Operation::Ping, latency);
        match answer.map_err(Arc::new) {
            Ok(()) => {
                self.succeeded(start);
                Ok(latency)
            }
            Err(cause) => {
                self.metrics.failed(Operation::Ping);
                self.failed(&cause, start);
                Err(cause)
            }
        }
    }

    /// Monitors the keystore as long as it is in use. `offline` returns the current setting.
    pub(super) async fn monitor(&self, store: &dyn Store, offline: impl Fn() -> Duration) {
        loop {
            if self.outage().is_some() {
                self.probe_until_up(store).await;
            }
            let interval = match offline() {
                Duration::ZERO => MAX_PROBE_INTERVAL,
                offline => (offline / 60).clamp(MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL),
            };
            // No probe is needed if the keystore has just answered another operation.
            let min_age = tokio::select! {
                _ = self.until_down() => continue,
                () = self.probe_requested.notified() => RECENT_ANSWER,
                () = sleep_until(self.answered() + interval) => interval,
            };
            if self.answered().elapsed() >= min_age {
                tokio::select! {
                    _ = self.until_down() => {}
                    _ = self.probe(store, PROBE_DEADLINE) => {}
                }
            }
        }
    }

    /// Sends probes concurrently, so that one that hangs does not delay the end of the outage.
    async fn probe_until_up(&self, store: &dyn Store) {
        let mut probes = FuturesUnordered::new();
        let mut pauses = PROBE_PAUSES.into_iter();
        let mut next = Instant::now();
        while self.outage().is_some() {
            tokio::select! {
                () = sleep_until(next) => {
                    self.show_in_outage(Breaker::HalfOpen);
                    probes.push(self.probe(store, OUTAGE_PROBE_DEADLINE));
                    next = Instant::now() + pauses.next().unwrap_or(LAST_PROBE_PAUSE);
                }
                Some(_) = probes.next() => if probes.is_empty() {
                    self.show_in_outage(Breaker::Open);
                },
                () = self.until_up() => {}
            }
        }
    }

    fn show(&self, breaker: Breaker) {
        if self.is_published() {
            self.metrics.breaker(breaker);
        }
    }

    /// Shows a state that exists only during an outage.
    fn show_in_outage(&self, breaker: Breaker) {
        self.outage.send_if_modified(|outage| {
            if outage.is_some() {
                self.show(breaker);
            }
            false
        });
    }

    async fn until_up(&self) {
        let mut outage = self.outage.subscribe();
        let _ = outage.wait_for(Option::is_none).await;
    }
}
