//! Processes keys concurrently, up to a limit, until all are done, the store is unavailable, or the user stops the run.

use std::fmt;
use std::num::NonZeroUsize;

use backends::StoreError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;

/// The minimum number of consecutive failures that ends a run, however low the concurrency: a single failure may
/// concern only its key.
const MIN_FAILURES: usize = 4;

/// How keys are processed concurrently.
#[derive(Clone, Debug)]
pub struct Workers {
    /// Keys in progress at a time.
    pub concurrency: NonZeroUsize,
    /// Once this is cancelled, no further key is started.
    pub stop: CancellationToken,
    /// Advanced for every finished key.
    pub progress: Progress,
}

/// The results of a run, and why it is incomplete, if it is.
#[derive(Debug)]
pub(crate) struct Done<T> {
    /// One result for each item that was started, in no particular order.
    pub(crate) results: Vec<T>,
    /// Why the remaining items were not started.
    pub(crate) cut_short: Option<CutShort>,
}

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CutShort {
    /// A signal stopped it.
    Stopped,
    /// Too many consecutive items failed; the last error.
    StoreFailed(String),
}

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped by a signal"),
            Self::StoreFailed(error) => write!(f, "too many consecutive failures (last error: {error})"),
        }
    }
}

/// The error as text, if it says that the store is unavailable, so that other keys would fail too.
pub(crate) fn outage(error: &StoreError) -> Option<String> {
    error.is_transient().then(|| error.to_string())
}

impl Workers {
    /// Runs `work` for every item. `outage` extracts from a result the error, if any, that says that the store is
    /// unavailable: when as many consecutive results have one as items may be in progress, no further item is started.
    ///
    /// Items in progress are always completed. An item whose `work` panics has no result.
    pub(crate) async fn run<I, T, F>(
        &self,
        items: impl IntoIterator<Item = I>,
        work: impl Fn(I) -> F,
        outage: impl Fn(&T) -> Option<String>,
    ) -> Done<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut items = items.into_iter();
        let mut running = JoinSet::new();
        let mut done = Done { results: Vec::new(), cut_short: None };
        let mut consecutive = 0;
        let mut is_exhausted = false;
        loop {
            while !is_exhausted && done.cut_short.is_none() && running.len() < self.concurrency.get() {
                if self.stop.is_cancelled() {
                    // A run without remaining items is complete.
                    done.cut_short = items.next().map(|_| CutShort::Stopped);
                    is_exhausted = true;
                    break;
                }
                match items.next() {
                    Some(item) => drop(running.spawn(work(item))),
                    None => is_exhausted = true,
                }
            }
            let Some(joined) = running.join_next().await else { return done };
            self.progress.advance();
            let Ok(result) = joined else { continue };
            match outage(&result) {
                None => consecutive = 0,
                Some(error) => {
                    consecutive += 1;
                    if consecutive >= self.concurrency.get().max(MIN_FAILURES)
                        && done.cut_short.is_none()
                        && !is_exhausted
                    {
                        done.cut_short = Some(CutShort::StoreFailed(error));
                    }
                }
            }
            done.results.push(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn workers(concurrency: usize) -> Workers {
        Workers {
            concurrency: NonZeroUsize::new(concurrency).unwrap(),
            stop: CancellationToken::new(),
            progress: Progress::new(),
        }
    }

    #[tokio::test]
    async fn all_items_are_processed_within_the_concurrency_limit() {
        let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |number: usize| {
            let (running, peak) = (running.clone(), peak.clone());
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                number
            }
        };
        let mut done = workers(7).run(0..1000, work, |_| None).await;
        done.results.sort_unstable();
        assert_eq!(done.results, (0..1000).collect::<Vec<_>>());
        assert_eq!((done.cut_short, peak.load(Ordering::SeqCst)), (None, 7));
    }

    #[tokio::test]
    async fn consecutive_failures_end_the_run_and_occasional_ones_do_not() {
        let outage = |failed: &bool| failed.then(|| "unavailable".to_owned());
        let done = workers(4).run(0..1000, |number: usize| async move { number >= 100 }, outage).await;
        assert_eq!(done.cut_short, Some(CutShort::StoreFailed("unavailable".to_owned())));
        assert!((104..=112).contains(&done.results.len()), "{}", done.results.len());
        let done = workers(4).run(0..1000, |number: usize| async move { !number.is_multiple_of(4) }, outage).await;
        assert_eq!((done.cut_short, done.results.len()), (None, 1000));
    }

    #[tokio::test]
    async fn after_a_stop_no_further_item_is_started() {
        let workers = workers(4);
        let work = |number: usize| {
            if number == 10 {
                workers.stop.cancel();
            }
            async move { number }
        };
        let done = workers.run(0..1000, work, |_| None).await;
        assert_eq!((done.cut_short, done.results.len()), (Some(CutShort::Stopped), 11));
    }
}
