//! Many keys at a time, a bounded number of them, until all are done, the store is gone, or somebody says stop.

use std::fmt;
use std::num::NonZeroUsize;

use backends::StoreError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;

/// Failures in a row that end the work at least, however few keys are in work at a time: one may be a key's own.
const FAILURES: usize = 4;

/// Who does the work on many keys.
#[derive(Clone, Debug)]
pub struct Workers {
    /// Keys in work at a time.
    pub concurrency: NonZeroUsize,
    /// No further key is begun once this is cancelled.
    pub stop: CancellationToken,
    /// Hears of every key that is done.
    pub progress: Progress,
}

/// What was done, and why not all of it.
#[derive(Debug)]
pub(crate) struct Done<T> {
    /// One result for each item that was begun, in no order.
    pub(crate) results: Vec<T>,
    /// Why the rest was not begun.
    pub(crate) cut_short: Option<CutShort>,
}

/// Why a stretch of work ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CutShort {
    /// Somebody said stop.
    Stopped,
    /// A store failed again and again; its last words.
    StoreFailed(String),
}

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped by a signal"),
            Self::StoreFailed(said) => write!(f, "one key after the other failed ({said})"),
        }
    }
}

/// The words of an error of which the next key is to expect the same.
pub(crate) fn trouble(error: &StoreError) -> Option<String> {
    error.is_transient().then(|| error.to_string())
}

impl Workers {
    /// Does `work` on every item. `trouble` tells what of a result says that a store is away: when as many results in a
    /// row say so as there are keys in work at a time, the rest is left.
    ///
    /// Work that has begun is always waited for. The item of a `work` that panics has no result.
    pub(crate) async fn run<I, T, F>(
        &self,
        items: impl IntoIterator<Item = I>,
        work: impl Fn(I) -> F,
        trouble: impl Fn(&T) -> Option<String>,
    ) -> Done<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut items = items.into_iter();
        let mut open = JoinSet::new();
        let mut done = Done { results: Vec::new(), cut_short: None };
        let mut in_a_row = 0;
        let mut is_over = false;
        loop {
            while !is_over && done.cut_short.is_none() && open.len() < self.concurrency.get() {
                if self.stop.is_cancelled() {
                    // Nothing is cut short when nothing is left.
                    done.cut_short = items.next().map(|_| CutShort::Stopped);
                    is_over = true;
                    break;
                }
                match items.next() {
                    Some(item) => drop(open.spawn(work(item))),
                    None => is_over = true,
                }
            }
            let Some(joined) = open.join_next().await else { return done };
            self.progress.advance();
            let Ok(result) = joined else { continue };
            match trouble(&result) {
                None => in_a_row = 0,
                Some(words) => {
                    in_a_row += 1;
                    if in_a_row >= self.concurrency.get().max(FAILURES) && done.cut_short.is_none() && !is_over {
                        done.cut_short = Some(CutShort::StoreFailed(words));
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
    async fn everything_is_done_and_never_more_at_a_time_than_allowed() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |number: usize| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                number
            }
        };
        let mut done = workers(7).run(0..1000, work, |_| None).await;
        done.results.sort_unstable();
        assert_eq!(done.results, (0..1000).collect::<Vec<_>>());
        assert_eq!((done.cut_short, most.load(Ordering::SeqCst)), (None, 7));
    }

    #[tokio::test]
    async fn a_store_that_keeps_failing_ends_the_work_and_one_that_recovers_does_not() {
        let trouble = |failed: &bool| failed.then(|| "away".to_owned());
        let done = workers(4).run(0..1000, |number: usize| async move { number >= 100 }, trouble).await;
        assert_eq!(done.cut_short, Some(CutShort::StoreFailed("away".to_owned())));
        assert!((104..=112).contains(&done.results.len()), "{}", done.results.len());
        let done = workers(4).run(0..1000, |number: usize| async move { !number.is_multiple_of(4) }, trouble).await;
        assert_eq!((done.cut_short, done.results.len()), (None, 1000));
    }

    #[tokio::test]
    async fn stop_leaves_what_was_not_begun() {
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
