//! Retries of store operations. The backends already retry after a single lost connection; this covers a store that is
//! briefly unavailable: a failover, a restart, throttling.

use std::time::Duration;

use backends::StoreError;

/// The pauses between attempts. If the store is still unavailable after the last one, the run ends; running the same
/// command again resumes it.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// Runs a store operation, and retries it while it fails with a transient error.
///
/// # Errors
/// The error of the last attempt.
pub(crate) async fn retrying<T, F>(operation: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for pause in PAUSES {
        match operation().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            result => return result,
        }
    }
    operation().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The number of attempts, and whether the last one succeeded, of an operation that fails this many times.
    async fn attempts(failures: usize, error: fn() -> StoreError) -> (usize, bool) {
        let attempts = AtomicUsize::new(0);
        let attempt =
            || async { if attempts.fetch_add(1, Ordering::Relaxed) < failures { Err(error()) } else { Ok(()) } };
        let is_ok = retrying(attempt).await.is_ok();
        (attempts.load(Ordering::Relaxed), is_ok)
    }

    #[tokio::test(start_paused = true)]
    async fn a_briefly_unavailable_store_is_retried() {
        let unavailable = || StoreError::unreachable("");
        assert_eq!(attempts(2, unavailable).await, (3, true));
        assert_eq!(attempts(3, unavailable).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_about_a_single_key_are_not_retried() {
        assert_eq!(attempts(1, || StoreError::NotFound).await, (1, false));
        assert_eq!(attempts(1, || StoreError::Damaged { reason: String::new() }).await, (1, false));
    }
}
