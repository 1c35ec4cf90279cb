//! Whether the store answers: the circuit breaker in front of it.
//!
//! While the store is down nothing waits for it but probes. The breaker opens at the first sign that nobody answers; a
//! store that answers with a failure is asked once more, by a probe, for one bad key is no outage. It closes with the
//! first probe that succeeds. A store that nobody uses is asked from time to time, so that the state is never old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backends::{Store, StoreError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, warn};

use crate::error::chain;
use crate::metrics::keystore::{Breaker, KeystoreMetrics};

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
    /// Whether there is an outage, for those who come by often.
    is_down: AtomicBool,
    outage: watch::Sender<Option<Arc<Outage>>>,
    suspicion: Notify,
    metrics: Arc<KeystoreMetrics>,
}

impl Health {
    /// The store is well: it has just been opened.
    pub(super) fn new(metrics: Arc<KeystoreMetrics>) -> Self {
        metrics.breaker(Breaker::Closed);
        Self {
            epoch: Instant::now(),
            answered: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            outage: watch::Sender::new(None),
            suspicion: Notify::new(),
            metrics,
        }
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
        let mut ended = None;
        self.outage.send_if_modified(|outage| {
            // What was asked before the outage says nothing about its end.
            ended = outage.take_if(|outage| outage.since <= began);
            ended.is_some()
        });
        if let Some(outage) = ended {
            self.is_down.store(false, Ordering::Release);
            self.metrics.breaker(Breaker::Closed);
            warn!(seconds = outage.since.elapsed().as_secs_f64(), "key store is back");
        }
    }

    /// Nobody answered, or a probe was refused: the store is down.
    pub(super) fn failed(&self, cause: &Arc<StoreError>) {
        let began = self.outage.send_if_modified(|outage| {
            let begins = outage.is_none();
            outage.get_or_insert_with(|| Arc::new(Outage { since: Instant::now(), cause: cause.clone() }));
            begins
        });
        if began {
            self.is_down.store(true, Ordering::Release);
            self.metrics.breaker(Breaker::Open);
            error!(
                reason = chain(&**cause),
                "key store is down: cached keys alone are served, for as long as cache.expiry.offline says"
            );
        }
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

    /// Asks the store whether it could serve a key now, and draws the conclusion. The answer is its latency.
    pub(super) async fn probe(&self, store: &dyn Store, within: Duration) -> Result<Duration, Arc<StoreError>> {
        let began = Instant::now();
        let result = timeout(within, store.ping()).await.unwrap_or_else(|_| {
            Err(StoreError::Unreachable { reason: format!("no answer within {} s", within.as_secs()), source: None })
        });
        match result.map_err(Arc::new) {
            Ok(()) => {
                let latency = began.elapsed();
                self.metrics.latency("ping", latency);
                self.succeeded(began);
                Ok(latency)
            }
            Err(cause) => {
                self.metrics.failed("ping");
                self.failed(&cause);
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
            tokio::select! {
                _ = self.until_down() => {}
                () = self.suspicion.notified() => {
                    // Where others are answered at this moment, there is no outage to find.
                    if self.answered().elapsed() >= RECENT {
                        drop(self.probe(store, UNANSWERED).await);
                    }
                }
                () = sleep_until(self.answered() + silence) => {
                    if self.answered().elapsed() >= silence {
                        drop(self.probe(store, UNANSWERED).await);
                    }
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
                    self.metrics.breaker(Breaker::HalfOpen);
                    probes.push(self.probe(store, PROBE_DEADLINE));
                    next = Instant::now() + pauses.next().unwrap_or(LAST_PROBE_PAUSE);
                }
                Some(answer) = probes.next() => if answer.is_err() && probes.is_empty() {
                    self.metrics.breaker(Breaker::Open);
                },
                () = self.until_back() => {}
            }
        }
    }

    async fn until_back(&self) {
        let mut outage = self.outage.subscribe();
        let _ = outage.wait_for(Option::is_none).await;
    }
}
