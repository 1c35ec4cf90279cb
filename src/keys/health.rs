//! Whether the store answers: the circuit breaker in front of it.
//!
//! While the store is down nothing waits for it but probes. The breaker opens at the first sign that nobody answers; a
//! store that answers with a failure is asked once more, by a probe, for one bad key is no outage. It closes with the
//! first probe that succeeds. A store that nobody uses is asked from time to time, so that the state is never old.

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

/// An operation that takes longer makes us ask whether the store answers at all.
pub(super) const SUSPICIOUS: Duration = Duration::from_secs(1);

/// A store that says nothing to a probe for so long is down.
const UNANSWERED: Duration = Duration::from_secs(3);

/// A store that has answered so recently is not suspected.
const RECENT: Duration = Duration::from_millis(100);

/// How long a probe of a store that is down may take: longer, since a slow answer is one.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Pauses between the beginnings of the first probes of a store that is down, and between all others. With them the
/// breaker closes within 2 s of the store's return, also when a probe before it hangs.
const PROBE_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
const LAST_PROBE_PAUSE: Duration = Duration::from_secs(1);

/// The longest time for which a store that nobody uses is not asked.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// The shortest. `offline` counts from the last answer, so the shorter it is, the more exactly that is to be known.
const MIN_SILENCE: Duration = Duration::from_secs(1);

/// A store that does not answer, or not as it should.
#[derive(Debug)]
pub struct Outage {
    /// Since when we know.
    pub since: Instant,
    /// How it showed.
    pub cause: Arc<StoreError>,
}

/// What is known of the store, for all who use it.
pub(super) struct Health {
    epoch: Instant,
    /// Milliseconds from `epoch` to the beginning of the last operation that the store answered.
    answered: AtomicU64,
    /// Whether there is an outage, for those who come by often. Written under the lock of `outage` alone.
    is_down: AtomicBool,
    outage: watch::Sender<Option<Arc<Outage>>>,
    suspicion: Notify,
    /// Whether metrics and log tell of this store, and not of one that a reload has put in its place or refused.
    is_published: AtomicBool,
    metrics: Arc<KeystoreMetrics>,
}

impl Health {
    /// The store is well: it has just been opened.
    pub(super) fn new(metrics: Arc<KeystoreMetrics>) -> Self {
        Self {
            epoch: Instant::now(),
            answered: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            outage: watch::Sender::new(None),
            suspicion: Notify::new(),
            is_published: AtomicBool::new(false),
            metrics,
        }
    }

    /// From now on metrics and log tell of this store.
    pub(super) fn publish(&self) {
        self.is_published.store(true, Ordering::Release);
        self.outage.send_if_modified(|outage| {
            self.show(if outage.is_some() { Breaker::Open } else { Breaker::Closed });
            false
        });
    }

    /// From now on they tell of another one.
    pub(super) fn retire(&self) {
        self.is_published.store(false, Ordering::Release);
    }

    /// Whether metrics and log tell of this store.
    pub(super) fn is_published(&self) -> bool {
        self.is_published.load(Ordering::Acquire)
    }

    /// The outage, if there is one.
    pub(super) fn outage(&self) -> Option<Arc<Outage>> {
        if self.is_down.load(Ordering::Acquire) { self.outage.borrow().clone() } else { None }
    }

    /// When the store last was known to be well.
    pub(super) fn answered(&self) -> Instant {
        self.epoch + Duration::from_millis(self.answered.load(Ordering::Acquire))
    }

    /// The store has answered something that was asked at `began`.
    pub(super) fn succeeded(&self, began: Instant) {
        let millis = u64::try_from(began.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        self.answered.fetch_max(millis, Ordering::AcqRel);
        if !self.is_down.load(Ordering::Acquire) {
            return;
        }
        self.outage.send_if_modified(|outage| {
            // What was asked before the outage says nothing about its end.
            let Some(ended) = outage.take_if(|outage| outage.since <= began) else { return false };
            self.is_down.store(false, Ordering::Release);
            self.show(Breaker::Closed);
            if self.is_published() {
                warn!(seconds = ended.since.elapsed().as_secs_f64(), "key store is back");
            }
            true
        });
    }

    /// Nobody answered what was asked at `began`, or a probe was refused: the store is down, unless it has answered
    /// something since; then a probe is to find out.
    pub(super) fn failed(&self, cause: &Arc<StoreError>, began: Instant) {
        if self.answered() > began {
            self.suspect();
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
                error!(reason, "key store is down: keys of the cache alone are served, as cache.expiry.offline says");
            }
            true
        });
    }

    /// Something points to an outage: a probe is to find out.
    pub(super) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Waits until the store is down.
    pub(super) async fn until_down(&self) -> Arc<Outage> {
        let mut outage = self.outage.subscribe();
        loop {
            if let Some(outage) = outage.borrow_and_update().clone() {
                return outage;
            }
            let _ = outage.changed().await; // the sender is in `self`
        }
    }

    /// Asks the store whether it could serve a key now, and draws the conclusion: one that says nothing `within` this
    /// time is down.
    async fn probe(&self, store: &dyn Store, within: Duration) -> bool {
        let began = Instant::now();
        let answer = self.ask(store, within).await;
        if let Err(cause) = &answer {
            self.failed(cause, began);
        }
        answer.is_ok()
    }

    /// Asks the store whether it could serve a key now. The answer is its latency. No answer `within` this time is an
    /// error, and no more than a reason to look.
    pub(super) async fn ask(&self, store: &dyn Store, within: Duration) -> Result<Duration, Arc<StoreError>> {
        let began = Instant::now();
        let Ok(answer) = timeout(within, store.ping()).await else {
            self.metrics.failed(Operation::Ping);
            self.suspect();
            let reason = format!("no answer within {} s", within.as_secs());
            return Err(Arc::new(StoreError::unreachable(reason)));
        };
        let latency = began.elapsed();
        self.metrics.latency(Operation::Ping, latency);
        match answer.map_err(Arc::new) {
            Ok(()) => {
                self.succeeded(began);
                Ok(latency)
            }
            Err(cause) => {
                self.metrics.failed(Operation::Ping);
                self.failed(&cause, began);
                Err(cause)
            }
        }
    }

    /// Keeps the state true, for as long as the store is in use. `offline` is asked before each wait.
    pub(super) async fn keep(&self, store: &dyn Store, offline: impl Fn() -> Duration) {
        loop {
            if self.outage().is_some() {
                self.probe_until_back(store).await;
            }
            let silence = match offline() {
                Duration::ZERO => MAX_SILENCE,
                offline => (offline / 60).clamp(MIN_SILENCE, MAX_SILENCE),
            };
            // Where others are answered at this moment, there is no outage to find.
            let quiet = tokio::select! {
                _ = self.until_down() => continue,
                () = self.suspicion.notified() => RECENT,
                () = sleep_until(self.answered() + silence) => silence,
            };
            if self.answered().elapsed() >= quiet {
                tokio::select! {
                    _ = self.until_down() => {}
                    _ = self.probe(store, UNANSWERED) => {}
                }
            }
        }
    }

    /// Probes side by side, so that one that hangs does not hide the store's return.
    async fn probe_until_back(&self, store: &dyn Store) {
        let mut probes = FuturesUnordered::new();
        let mut pauses = PROBE_PAUSES.into_iter();
        let mut next = Instant::now();
        while self.outage().is_some() {
            tokio::select! {
                () = sleep_until(next) => {
                    self.show_in_outage(Breaker::HalfOpen);
                    probes.push(self.probe(store, PROBE_DEADLINE));
                    next = Instant::now() + pauses.next().unwrap_or(LAST_PROBE_PAUSE);
                }
                Some(_) = probes.next() => if probes.is_empty() {
                    self.show_in_outage(Breaker::Open);
                },
                () = self.until_back() => {}
            }
        }
    }

    fn show(&self, breaker: Breaker) {
        if self.is_published() {
            self.metrics.breaker(breaker);
        }
    }

    /// Shows a state of the breaker that there is only during an outage.
    fn show_in_outage(&self, breaker: Breaker) {
        self.outage.send_if_modified(|outage| {
            if outage.is_some() {
                self.show(breaker);
            }
            false
        });
    }

    async fn until_back(&self) {
        let mut outage = self.outage.subscribe();
        let _ = outage.wait_for(Option::is_none).await;
    }
}
