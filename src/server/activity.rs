//! The activity of a connection: open requests, when the last one ended, and answers that the client does not take.
//!
//! While answers wait, `stalls.rs` counts seconds; each answer knows the second in which the client last took bytes of
//! it. An answer costs a few additions to counters of its own connection: no lock, no allocation, no clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::state::shares::{FREE_ANSWERS, Visitor};

/// Seconds after which an answer ends of which the client takes no bytes.
pub(super) const PATIENCE: u32 = 10;

/// The same if more answers wait for the client than its share allows.
const PATIENCE_OVER_SHARE: u32 = 2;

/// Seconds that are told apart: more than [`PATIENCE`], and a power of two, so that they wrap around as `u32` does.
const SECONDS: usize = 16;

/// Shared between a connection and its requests.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opened: Instant,
    visitor: Arc<Visitor>,
    /// Requests whose response is not complete.
    open: AtomicUsize,
    /// All requests so far.
    begun: AtomicUsize,
    /// Milliseconds from `opened` to the last start or end of a request.
    last: AtomicU64,
    /// Answers that wait for the client to take bytes.
    waiting: AtomicUsize,
    /// Seconds in which answers waited.
    second: AtomicU32,
    /// Waiting answers by the second of their last progress, modulo [`SECONDS`]; HTTP/2 has few hundred at a time.
    by_second: [AtomicU16; SECONDS],
}

impl Activity {
    /// The activity of a new connection of a stranger.
    #[cfg(test)]
    pub(super) fn of_a_stranger() -> Self {
        Self::new(crate::state::shares::Shares::default().visitor(None))
    }

    pub(super) fn new(visitor: Arc<Visitor>) -> Self {
        Self(Arc::new(Inner {
            opened: Instant::now(),
            visitor,
            open: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            second: AtomicU32::new(0),
            by_second: Default::default(),
        }))
    }

    /// Starts a request, which is open until the guard is dropped.
    pub(super) fn begin(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        self.touch();
        Open { activity: self.clone(), waits: None }
    }

    /// The client of the connection.
    pub(super) fn visitor(&self) -> &Arc<Visitor> {
        &self.0.visitor
    }

    /// Whether no request is open.
    pub(super) fn is_idle(&self) -> bool {
        self.0.open.load(Ordering::Acquire) == 0
    }

    /// The number of requests so far.
    pub(super) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Acquire)
    }

    /// When a request last started or ended, or the connection was opened.
    pub(super) fn last(&self) -> Instant {
        self.0.opened + Duration::from_millis(self.0.last.load(Ordering::Acquire))
    }

    /// Counts as activity now.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.fetch_max(now, Ordering::AcqRel);
    }

    /// The number of answers that wait for the client.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// A second has passed. Returns whether an answer has waited too long; call it while answers wait.
    pub(super) fn second_passed(&self, limits: &Limits) -> bool {
        let now = self.0.second.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        // Not on a connection that is merely slow with a few.
        let over_share = self.waiting() > FREE_ANSWERS && self.0.visitor.exceeds_answers(limits);
        let patience = if over_share { PATIENCE_OVER_SHARE } else { PATIENCE };
        (patience..=PATIENCE).any(|age| self.of(now.wrapping_sub(age)).load(Ordering::Acquire) > 0)
    }

    /// The counter of the answers with progress in this second.
    fn of(&self, second: u32) -> &AtomicU16 {
        let [first, ..] = &self.0.by_second;
        self.0.by_second.get(second as usize % SECONDS).unwrap_or(first)
    }
}

/// An open request.
#[derive(Debug)]
pub(super) struct Open {
    activity: Activity,
    waits: Option<Waits>,
}

/// An answer that waits for the client.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// The second of its last progress.
    since: u32,
    /// Whether it counts towards the share of the client.
    is_counted: bool,
}

impl Open {
    /// The answer waits for the client from now on.
    pub(super) fn progress(&mut self) {
        let activity = &self.activity;
        let now = activity.0.second.load(Ordering::Acquire);
        match &mut self.waits {
            Some(waits) if waits.since == now => {}
            Some(waits) => {
                activity.of(now).fetch_add(1, Ordering::AcqRel);
                activity.of(waits.since).fetch_sub(1, Ordering::AcqRel);
                waits.since = now;
            }
            None => {
                activity.of(now).fetch_add(1, Ordering::AcqRel);
                let others = activity.0.waiting.fetch_add(1, Ordering::AcqRel);
                self.waits = Some(Waits { since: now, is_counted: activity.0.visitor.waits(others) });
            }
        }
    }

    /// The answer does not wait for the client: it has no more bytes at present.
    pub(super) fn rest(&mut self) {
        let Some(waits) = self.waits.take() else { return };
        self.activity.of(waits.since).fetch_sub(1, Ordering::AcqRel);
        self.activity.0.waiting.fetch_sub(1, Ordering::AcqRel);
        if waits.is_counted {
            self.activity.0.visitor.taken();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.rest();
        self.activity.0.open.fetch_sub(1, Ordering::AcqRel);
        self.activity.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_open_until_it_is_dropped() {
        let activity = Activity::of_a_stranger();
        assert!(activity.is_idle());
        let request = activity.begin();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!activity.is_idle());
        let before = activity.last();
        drop(request);
        assert!(activity.is_idle() && activity.last() == before + Duration::from_secs(3));
        assert_eq!((activity.begun(), activity.waiting()), (1, 0));
    }

    #[test]
    fn an_answer_waits_10_seconds_from_its_last_progress_and_2_over_the_share() {
        let limits = |requests| Limits { connections: 1, requests, requests_per_identity: None, subscribers: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let activity = Activity::of_a_stranger();
        let mut open = activity.begin();
        open.progress();
        for _ in 0..PATIENCE - 1 {
            assert!(!activity.second_passed(&limits(100)));
        }
        open.progress();
        let waited = (1..40).find(|_| activity.second_passed(&limits(100)));
        assert_eq!(waited, Some(PATIENCE));
        open.rest();
        assert!((0..40).all(|_| !activity.second_passed(&limits(100))), "an answer without bytes waits");

        let mut many: Vec<_> = (0..10).map(|_| activity.begin()).collect();
        many.iter_mut().for_each(Open::progress);
        let waited = (1..40).find(|_| activity.second_passed(&limits(20)));
        assert_eq!(waited, Some(PATIENCE_OVER_SHARE));
    }
}
